// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM: halt polling, what x86 adds
 */

/**
 * DOC: events without a wake-up call
 *
 * While a halted vCPU polls, it counts as running for the interrupt hardware:
 * a VT-d device, or another vCPU with IPI virtualization, posts to its
 * descriptor and notifies the CPU, where nobody listens; AVIC writes straight
 * into the virtual APIC page.  None of these calls kvm_vcpu_wake_up(), so the
 * poll has to look for them.
 *
 * With posted interrupts that is one bit, which the next full look clears as it
 * moves the interrupts on.  Devices go on posting while APICv is inhibited for
 * the VM, so only the module parameter rules it out.  AVIC has no such bit: the
 * look is the cheapest way.
 *
 * The deadline of the vCPU's own timer is another one: no host timer stands in
 * for it before the vCPU sleeps.  Everything else that ends a halt makes the call.
 */

#include <linux/kvm_host.h>

#include "lapic.h"
#include "x86.h"

static bool timer_event(struct kvm_vcpu *vcpu)
{
	struct kvm_lapic *apic = vcpu->arch.apic;
	u64 state;

	if (!lapic_in_kernel(vcpu))
		return false;

	state = atomic64_read(&apic->lapic_timer.state);
	return state != KVM_LAPIC_TIMER_IDLE && kvm_lapic_timer_poll(apic, state);
}

/**
 * kvm_arch_vcpu_poll_event - might there be an event that nobody announced?
 * @vcpu: the running task's vCPU, polling in a halt
 *
 * Context: process context, preemptible; called at each iteration of a poll.
 * Return: false when a full look would certainly find nothing of the kind.
 * Source: Intel SDM vol. 3, "Posted-Interrupt Processing"; AMD APM vol. 2,
 * "Advanced Virtual Interrupt Controller".
 */
bool kvm_arch_vcpu_poll_event(struct kvm_vcpu *vcpu)
{
	if (timer_event(vcpu))
		return true;
	if (!enable_apicv)
		return false;
	if (kvm_x86_ops.dy_apicv_has_pending_interrupt)
		return kvm_x86_call(dy_apicv_has_pending_interrupt)(vcpu);

	return kvm_vcpu_apicv_active(vcpu);
}

/**
 * kvm_arch_vcpu_timer_ns - how long until the vCPU's own timer is due?
 * @vcpu: the running task's vCPU, at the beginning of a halt
 *
 * Context: process context.
 * Return: ns, 0 when it has expired; U64_MAX when it is not armed.
 */
u64 kvm_arch_vcpu_timer_ns(struct kvm_vcpu *vcpu)
{
	u64 now = rdtsc();
	u64 state, due;

	if (!lapic_in_kernel(vcpu))
		return U64_MAX;

	state = atomic64_read(&vcpu->arch.apic->lapic_timer.state);
	due = kvm_lapic_timer_due(state);
	if (!kvm_lapic_timer_armed(state))
		return state == KVM_LAPIC_TIMER_IDLE ? U64_MAX : 0;
	if (due <= now)
		return 0;

	return mul_u64_u32_div(due - now, NSEC_PER_MSEC, tsc_khz);
}
