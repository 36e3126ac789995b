/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_X86_FASTPATH_H
#define __KVM_X86_FASTPATH_H

#include <linux/kvm_host.h>

/* Handlers, as bits of kvm.exit_fastpath, and as numbers in traces and statistics. */
enum kvm_fastpath {
	KVM_FASTPATH_ICR,
	KVM_FASTPATH_DEADLINE,
	KVM_FASTPATH_EXPIRED,
	KVM_FASTPATH_HLT,
	KVM_FASTPATH_EOI,
	KVM_FASTPATH_SELF_IPI,
	KVM_FASTPATH_EVENT,
	KVM_FASTPATH_NR,
};

/**
 * kvm_fastpath_more_requests - are there requests besides KVM_REQ_EVENT?
 * @vcpu: the vCPU
 *
 * Context: any.
 * Return: true if so.
 */
static inline bool kvm_fastpath_more_requests(struct kvm_vcpu *vcpu)
{
	return READ_ONCE(vcpu->requests) & ~BIT_ULL(KVM_REQ_EVENT & KVM_REQUEST_MASK);
}

bool kvm_fastpath_enabled(enum kvm_fastpath nr);
bool kvm_fastpath_event(struct kvm_vcpu *vcpu);
bool kvm_fastpath_set_irr(struct kvm_vcpu *vcpu, u32 vector);
fastpath_t handle_fastpath_set_msr_irqoff(struct kvm_vcpu *vcpu);
fastpath_t handle_fastpath_hlt(struct kvm_vcpu *vcpu);

#endif
