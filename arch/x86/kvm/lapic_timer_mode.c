// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM: the local APIC timer's modes and registers
 */

/**
 * DOC: the timer's modes
 *
 * TSC-deadline mode has the deadline in an MSR.  The other two count a clock of
 * kvm->arch.apic_bus_cycle_ns, divided by TDCR, down from TMICT.  That is time,
 * not TSC ticks: their truth is target_expiration, and the deadline follows from
 * it whenever the guest's TSC is set to another time or speed.
 *
 * The periods of the periodic mode form a grid.  An interrupt that is late does
 * not move it; of several that are over, one is delivered.
 *
 * Source: Intel SDM vol. 3, "APIC Timer".
 */

#include <linux/kvm_host.h>

#include "lapic.h"
#include "x86.h"

static s64 count_ns(struct kvm_lapic *apic, u32 count)
{
	return (u64)count * apic->vcpu->kvm->arch.apic_bus_cycle_ns *
	       apic->divide_count;
}

/* An hrtimer is not throttled: a guest must not flood its host. */
static void limit_period(struct kvm_lapic *apic)
{
	struct kvm_timer *t = &apic->lapic_timer;
	s64 least = min_timer_period_us * 1000LL;

	if (!kvm_lapic_timer_periodic(&apic->lapic_timer) || !t->period || t->period >= least)
		return;

	pr_info_once("vCPU %i: a local APIC timer of %lld ns gets the least period, %lld ns\n",
		     apic->vcpu->vcpu_id, t->period, least);
	t->period = least;
}

static s64 left_ns(struct kvm_timer *t)
{
	return ktime_to_ns(ktime_sub(t->target_expiration, ktime_get()));
}

static void set_tmict(struct kvm_lapic *apic, u32 count)
{
	u32 *reg = apic->regs + APIC_TMICT;

	*reg = count;
}

/**
 * kvm_lapic_timer_update_deadline - what the deadline is by the guest's TSC
 * @apic: the local APIC
 *
 * In TSC-deadline mode it is what the guest said.
 *
 * Context: the vCPU's thread, or the callback of the host's timer.
 */
void kvm_lapic_timer_update_deadline(struct kvm_lapic *apic)
{
	struct kvm_timer *t = &apic->lapic_timer;
	unsigned long flags;
	u64 tsc;
	s64 ns;

	if (kvm_lapic_timer_tscdeadline(t))
		return;

	/* In this order it is not early, and with interrupts off not late either. */
	local_irq_save(flags);
	ns = left_ns(t);
	tsc = rdtsc();
	local_irq_restore(flags);

	tsc = kvm_read_l1_tsc(apic->vcpu, tsc) + nsec_to_cycles(apic->vcpu, max_t(s64, ns, 0));
	/* 0 would be none at all. */
	t->tscdeadline = tsc ?: 1;
}

static void start_counting(struct kvm_lapic *apic, s64 ns)
{
	struct kvm_timer *t = &apic->lapic_timer;

	t->target_expiration = ktime_add_ns(ktime_get(), ns);
	kvm_lapic_timer_update_deadline(apic);
	kvm_lapic_timer_start(apic, KVM_LAPIC_TIMER_WRITE);
}

/**
 * kvm_lapic_timer_next_period - begin the next period
 * @apic: the local APIC, its timer in periodic mode and expired
 *
 * The caller arms the timer.
 *
 * Context: the vCPU's thread, or the callback of the host's timer.
 */
void kvm_lapic_timer_next_period(struct kvm_lapic *apic)
{
	struct kvm_timer *t = &apic->lapic_timer;
	s64 left;

	t->target_expiration = ktime_add_ns(t->target_expiration, t->period);
	left = left_ns(t);
	if (left <= 0)
		t->target_expiration = ktime_add_ns(t->target_expiration,
						    (div64_s64(-left, t->period) + 1) * t->period);
	kvm_lapic_timer_update_deadline(apic);
}

/**
 * kvm_lapic_timer_set_mode - the guest has written LVTT
 * @apic: the local APIC, whose register has the new value
 *
 * A switch from or to TSC-deadline mode disarms the timer.
 *
 * Context: the vCPU's thread.
 */
void kvm_lapic_timer_set_mode(struct kvm_lapic *apic)
{
	struct kvm_timer *t = &apic->lapic_timer;
	u32 mode = kvm_lapic_get_reg(apic, APIC_LVTT) & t->timer_mode_mask;

	if (t->timer_mode == mode)
		return;

	if (kvm_lapic_timer_tscdeadline(&apic->lapic_timer) || mode == APIC_LVT_TIMER_TSCDEADLINE) {
		kvm_lapic_timer_stop(apic);
		set_tmict(apic, 0);
		t->period = 0;
		t->tscdeadline = 0;
	}

	t->timer_mode = mode;
	limit_period(apic);
}

/* From TMICT; false if there is nothing to count. */
static bool set_period(struct kvm_lapic *apic)
{
	struct kvm_timer *t = &apic->lapic_timer;

	t->period = count_ns(apic, kvm_lapic_get_reg(apic, APIC_TMICT));
	limit_period(apic);
	return t->period;
}

/**
 * kvm_lapic_timer_set_count - the guest has written TMICT
 * @apic: the local APIC
 * @count: the initial count
 *
 * Context: the vCPU's thread; also with interrupts off.
 */
void kvm_lapic_timer_set_count(struct kvm_lapic *apic, u32 count)
{
	if (kvm_lapic_timer_tscdeadline(&apic->lapic_timer))
		return;

	kvm_lapic_timer_settle(apic);
	set_tmict(apic, count);
	if (set_period(apic)) {
		start_counting(apic, apic->lapic_timer.period);
	} else {
		apic->lapic_timer.tscdeadline = 0;
		kvm_lapic_timer_stop(apic);
	}
}

/**
 * kvm_lapic_timer_set_divider - the guest has written TDCR
 * @apic: the local APIC, whose divide_count is the new one
 * @old_divisor: the divide_count that the timer has counted with
 *
 * What is left of the count is left, at the new pace.
 *
 * Context: the vCPU's thread.
 */
void kvm_lapic_timer_set_divider(struct kvm_lapic *apic, u32 old_divisor)
{
	struct kvm_timer *t = &apic->lapic_timer;
	s64 left;

	if (apic->divide_count == old_divisor || !t->period)
		return;

	kvm_lapic_timer_settle(apic);
	left = left_ns(t);
	set_period(apic);
	/* One that has expired stays so. */
	if (kvm_lapic_timer_armed(atomic64_read(&t->state)))
		start_counting(apic, mul_u64_u32_div(max_t(s64, left, 0),
						     apic->divide_count, old_divisor));
}

/**
 * kvm_lapic_timer_count - what TMCCT reads as
 * @apic: the local APIC
 *
 * Context: any.
 * Return: what is left of the initial count.
 */
u32 kvm_lapic_timer_count(struct kvm_lapic *apic)
{
	struct kvm_timer *t = &apic->lapic_timer;
	u64 over;
	s64 left;

	if (kvm_lapic_timer_tscdeadline(t) || !t->period ||
	    !kvm_lapic_get_reg(apic, APIC_TMICT))
		return 0;

	left = left_ns(t);
	if (left < 0 && !kvm_lapic_timer_periodic(t))
		return 0;
	if (left < 0) {
		/* A period is over, and that was not noticed yet. */
		div64_u64_rem(-left, t->period, &over);
		left = t->period - over;
	}

	return div64_u64(min(left, t->period - 1),
			 apic->vcpu->kvm->arch.apic_bus_cycle_ns * apic->divide_count);
}

/**
 * kvm_lapic_timer_restore - go on from registers that user space has set
 * @apic: the local APIC
 *
 * TMCCT has what is left of the count; 0 is a one-shot timer that is over, or a
 * period that begins.
 *
 * Context: the vCPU's thread.
 */
void kvm_lapic_timer_restore(struct kvm_lapic *apic)
{
	struct kvm_timer *t = &apic->lapic_timer;
	s64 left;

	if (kvm_lapic_timer_tscdeadline(&apic->lapic_timer)) {
		kvm_lapic_timer_start(apic, KVM_LAPIC_TIMER_WRITE);
		return;
	}

	if (!set_period(apic)) {
		t->tscdeadline = 0;
		return;
	}

	left = count_ns(apic, kvm_lapic_get_reg(apic, APIC_TMCCT));
	if (left > t->period) {
		pr_info_ratelimited("vCPU %i: a local APIC timer with %lld ns left of %lld ns starts anew\n",
				    apic->vcpu->vcpu_id, left, t->period);
		left = t->period;
	} else if (!left && kvm_lapic_timer_periodic(&apic->lapic_timer)) {
		left = t->period;
	}

	start_counting(apic, left);
}

/**
 * kvm_get_lapic_tscdeadline_msr - what MSR_IA32_TSC_DEADLINE reads as
 * @vcpu: the vCPU
 *
 * Context: the vCPU's thread.
 * Return: the deadline; 0 when it is over, or there is none.
 */
u64 kvm_get_lapic_tscdeadline_msr(struct kvm_vcpu *vcpu)
{
	struct kvm_lapic *apic = vcpu->arch.apic;

	if (!kvm_apic_present(vcpu) || !kvm_lapic_timer_tscdeadline(&apic->lapic_timer))
		return 0;

	return apic->lapic_timer.tscdeadline;
}

/**
 * kvm_set_lapic_tscdeadline_msr - a write to MSR_IA32_TSC_DEADLINE
 * @vcpu: the vCPU
 * @data: the deadline, by the guest's TSC; 0 disarms
 *
 * In the other modes it has no effect.
 *
 * Context: the vCPU's thread; also with interrupts off.
 */
void kvm_set_lapic_tscdeadline_msr(struct kvm_vcpu *vcpu, u64 data)
{
	struct kvm_lapic *apic = vcpu->arch.apic;

	if (!kvm_apic_present(vcpu) || !kvm_lapic_timer_tscdeadline(&apic->lapic_timer))
		return;

	kvm_lapic_timer_settle(apic);
	apic->lapic_timer.tscdeadline = data;
	kvm_lapic_timer_start(apic, KVM_LAPIC_TIMER_WRITE);
}
