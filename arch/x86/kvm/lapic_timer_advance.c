// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM: how much earlier than the guest's deadline its timer is due
 */

/**
 * DOC: the timer's advance
 *
 * From the moment that a timer expires it takes a microsecond or two until the
 * guest runs its handler.  So the timer is made to expire earlier by just that,
 * and what is too early is waited for right before the entry.
 *
 * How long it takes is learned: each entry with a timer's interrupt tells how far
 * from the deadline it was, and the advance goes an eighth of the way there.
 * What is close enough, and what is so far that something else was the reason,
 * teaches nothing.  If the advance gets out of hand, it starts again.
 *
 * The posted interrupt of pi_inject_timer has no entry, and waits before it is
 * sent.
 */

#include <linux/delay.h>
#include <linux/kvm_host.h>

#include "lapic.h"
#include "trace.h"
#include "x86.h"

/* Guest ticks off the deadline that are a reason to adjust. */
#define OFF_MIN		100
#define OFF_MAX		10000

#define ADVANCE_INIT_NS	1000
#define ADVANCE_MAX_NS	5000
#define ADVANCE_STEP	8

static bool lapic_timer_advance __ro_after_init = true;
module_param(lapic_timer_advance, bool, 0444);
MODULE_PARM_DESC(lapic_timer_advance, "Let timers expire early, by as much as it takes to enter the guest");

/**
 * kvm_lapic_timer_init_advance - the advance of a new timer
 * @timer: the timer
 *
 * Context: any.
 */
void kvm_lapic_timer_init_advance(struct kvm_timer *timer)
{
	timer->timer_advance_ns = lapic_timer_advance ? ADVANCE_INIT_NS : 0;
}

static void adjust(struct kvm_vcpu *vcpu, s64 late)
{
	struct kvm_timer *t = &vcpu->arch.apic->lapic_timer;
	u64 off = abs(late);
	u32 step;

	if (off < OFF_MIN || off > OFF_MAX)
		return;

	step = div_u64(off * NSEC_PER_MSEC, vcpu->arch.virtual_tsc_khz) / ADVANCE_STEP;
	if (late < 0)
		t->timer_advance_ns -= min(step, t->timer_advance_ns);
	else
		t->timer_advance_ns += step;

	if (t->timer_advance_ns > ADVANCE_MAX_NS)
		t->timer_advance_ns = ADVANCE_INIT_NS;
}

/*
 * For as long as the advance ever is: the one that the timer was armed with may have been
 * larger than the present one, which an entry since then, or this one, has adjusted.
 */
static void delay_ticks(struct kvm_vcpu *vcpu, u64 ticks)
{
	u64 max = tsc_khz / (NSEC_PER_MSEC / ADVANCE_MAX_NS);

	if (!kvm_lapic_timer_host_ticks(vcpu, &ticks) || ticks > max)
		ticks = max;

	__delay(ticks);
}

/**
 * kvm_lapic_timer_wait - wait until the deadline that has expired is over
 * @vcpu: the vCPU
 *
 * Context: interrupts off, or the callback of the timer.
 */
void kvm_lapic_timer_wait(struct kvm_vcpu *vcpu)
{
	struct kvm_timer *t = &vcpu->arch.apic->lapic_timer;
	u64 deadline = t->expired_tscdeadline;
	u64 tsc = kvm_read_l1_tsc(vcpu, rdtsc());

	t->expired_tscdeadline = 0;
	trace_kvm_wait_lapic_expire(vcpu->vcpu_id, tsc - deadline);
	adjust(vcpu, tsc - deadline);

	if (tsc >= deadline)
		return;

	/* That took a while. */
	tsc = kvm_read_l1_tsc(vcpu, rdtsc());
	if (tsc < deadline)
		delay_ticks(vcpu, deadline - tsc);
}

/* Is it the timer's interrupt that the guest is about to take? */
static bool injected(struct kvm_lapic *apic)
{
	int vector = kvm_lapic_get_reg(apic, APIC_LVTT) & APIC_VECTOR_MASK;
	void *bitmap = apic->regs + (apic->apicv_active ? APIC_IRR : APIC_ISR);

	return kvm_apic_hw_enabled(apic) &&
	       test_bit(VEC_POS(vector), bitmap + REG_POS(vector));
}

/**
 * kvm_lapic_timer_before_entry - kvm_wait_lapic_expire(), where a timer has expired
 * @vcpu: the vCPU, about to enter its guest
 *
 * Context: interrupts off.
 */
void kvm_lapic_timer_before_entry(struct kvm_vcpu *vcpu)
{
	struct kvm_lapic *apic = vcpu->arch.apic;

	if (apic->lapic_timer.timer_advance_ns && injected(apic))
		kvm_lapic_timer_wait(vcpu);
}
EXPORT_SYMBOL_GPL(kvm_lapic_timer_before_entry);
