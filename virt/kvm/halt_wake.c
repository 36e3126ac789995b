// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM: wake a vCPU on the CPU that it slept on
 */

/**
 * DOC: where a vCPU is woken
 *
 * The scheduler lets a task be woken on the CPU of whoever wakes it, or on the one
 * where it slept, as their loads compare at that moment.  Between vCPUs of one VM that
 * is a bad choice: a vCPU that sends an IPI goes on running, so the other one, if it
 * comes over, waits behind it.  Where vCPUs outnumber CPUs they so gather on one
 * CPU, and a VM that is on one of two CPUs gets its share of that one only.
 *
 * So where a vCPU wakes another of its VM, whose CPU was not left idle, it has that
 * CPU do it, by an IPI.  Both of the scheduler's choices are the same then; it still
 * looks for an idle CPU nearby.  A wake-up from one CPU to another costs an IPI anyway
 * if it preempts; where it does not, this is one more.
 *
 * No wake-up is lost
 * ------------------
 *	waker				vCPU
 *	something to do			known as a sleeper
 *	full barrier (D)		full barrier
 *	IPI: a sleeper?  Wake it up	look, sleep
 *
 * Either the IPI finds a sleeper, or the vCPU becomes one later, and its look finds what
 * there is to do.  What the waker itself finds may be old.  A vCPU that polls is told by
 * the IPI as it would be by the waker.
 *
 * There is one IPI at a time for a vCPU.  Who finds it under way wakes the vCPU directly,
 * as it may have been sent, and done its work, too early for the newcomer.
 */

#include <linux/kvm_host.h>
#include <linux/module.h>
#include <linux/sched.h>

/* The bit of kvm_halt.home_busy */
#define HOME_BUSY	0

static bool halt_wake_home = true;
module_param(halt_wake_home, bool, 0644);
MODULE_PARM_DESC(halt_wake_home, "Wake a vCPU on the CPU that it slept on, where others want that and a vCPU wakes it");

/* On the CPU where it slept */
static void wake_home(void *arg)
{
	struct kvm_vcpu *vcpu = arg;

	kvm_halt_wake_here(vcpu);
	/* The last access; pairs with kvm_halt_wake_flush() */
	clear_bit_unlock(HOME_BUSY, &vcpu->halt.home_busy);
}

/* Where it sleeps; below 0 if it does not, or is not off its CPU yet. */
static int sleeps_on(struct kvm_vcpu *vcpu)
{
	struct task_struct *task;
	int cpu = -1;

	rcu_read_lock();
	task = rcu_dereference(kvm_arch_vcpu_get_wait(vcpu)->task);
	if (task && !READ_ONCE(task->on_rq))
		cpu = task_cpu(task);
	rcu_read_unlock();

	return cpu;
}

static bool send_home(struct kvm_vcpu *vcpu, int cpu)
{
	struct kvm_halt *halt = &vcpu->halt;

	/* (D), see above */
	smp_mb__before_atomic();
	if (test_and_set_bit_lock(HOME_BUSY, &halt->home_busy))
		return false;

	INIT_CSD(&halt->home, wake_home, vcpu);
	/* Fails if the CPU is offline. */
	if (smp_call_function_single_async(cpu, &halt->home)) {
		clear_bit_unlock(HOME_BUSY, &halt->home_busy);
		return false;
	}

	return true;
}

/**
 * kvm_halt_wake_home - have a vCPU woken by the CPU that it sleeps on
 * @vcpu: the vCPU, for which there is something to do
 *
 * Context: any but NMI.
 * Return: false when the caller has to wake it.
 */
bool kvm_halt_wake_home(struct kvm_vcpu *vcpu)
{
	struct kvm_vcpu *me = kvm_get_running_vcpu();
	bool sent = false;
	int cpu;

	if (!me || me->kvm != vcpu->kvm || !READ_ONCE(vcpu->halt.crowded) ||
	    !READ_ONCE(halt_wake_home))
		return false;

	preempt_disable();
	cpu = sleeps_on(vcpu);
	if (cpu >= 0 && cpu != smp_processor_id())
		sent = send_home(vcpu, cpu);
	preempt_enable();

	if (sent)
		++vcpu->halt_stat.wake_home;
	return sent;
}

/**
 * kvm_halt_wake_flush - the last wake-up of a vCPU is over
 * @vcpu: the vCPU, which is about to be freed; none of its VM runs
 *
 * Context: process context.
 */
void kvm_halt_wake_flush(struct kvm_vcpu *vcpu)
{
	/* Pairs with wake_home() */
	while (smp_load_acquire(&vcpu->halt.home_busy))
		cpu_relax();
}
