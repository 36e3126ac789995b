// SPDX-License-Identifier: GPL-2.0-only
/*
 * Does wrong what each of the debug kernel's checks has to notice.  The order is that
 * in which none of them makes the next one give up.
 */
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>

static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);
static int __rcu *pointer;

static int __init splat_init(void)
{
	char *gone = kmalloc(8, GFP_KERNEL);

	if (!gone)
		return -ENOMEM;

	WARN_ON(rcu_dereference(pointer));

	local_irq_disable();
	might_sleep();
	local_irq_enable();

	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);
	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);

	kfree(gone);
	OPTIMIZER_HIDE_VAR(gone);
	READ_ONCE(*gone);
	return 0;
}
module_init(splat_init);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("bugs for the checks of a debug kernel");
