/* SPDX-License-Identifier: GPL-2.0-only */
/* What is asked of the local APIC's timer before each VM entry; part of lapic.h. */
#ifndef __KVM_X86_LAPIC_TIMER_ENTRY_H
#define __KVM_X86_LAPIC_TIMER_ENTRY_H

void kvm_lapic_timer_before_entry(struct kvm_vcpu *vcpu);

/**
 * kvm_lapic_timer_expired - is there a timer interrupt to be delivered?
 * @vcpu: the vCPU
 *
 * Context: any.
 * Return: true if so; one that LVTT masks is delivered to nowhere.
 */
static inline bool kvm_lapic_timer_expired(struct kvm_vcpu *vcpu)
{
	return lapic_in_kernel(vcpu) &&
	       atomic64_read(&vcpu->arch.apic->lapic_timer.state) == KVM_LAPIC_TIMER_EXPIRED;
}

/**
 * kvm_wait_lapic_expire - let no guest see a timer's interrupt before its time
 * @vcpu: the vCPU, about to enter its guest
 *
 * Context: interrupts off.
 */
static inline void kvm_wait_lapic_expire(struct kvm_vcpu *vcpu)
{
	if (lapic_in_kernel(vcpu) && vcpu->arch.apic->lapic_timer.expired_tscdeadline)
		kvm_lapic_timer_before_entry(vcpu);
}

#endif
