// SPDX-License-Identifier: GPL-2.0-only
/* A module that does nothing but warn: what selftest provokes a report with. */
#include <linux/module.h>

static int __init splat_init(void)
{
	WARN(1, "a warning for the lab's selftest");
	return 0;
}
module_init(splat_init);

static void __exit splat_exit(void)
{
}
module_exit(splat_exit);

MODULE_DESCRIPTION("warns when loaded");
MODULE_LICENSE("GPL");
