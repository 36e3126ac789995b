/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_X86_VMX_FASTPATH_H
#define __KVM_X86_VMX_FASTPATH_H

#include <linux/kvm_host.h>

#include <asm/vmx.h>

#include "../fastpath.h"

/* Can a fastpath answer this exit? */
static inline bool vmx_fastpath_reason(u32 reason)
{
	const u64 reasons = BIT_ULL(EXIT_REASON_MSR_WRITE) | BIT_ULL(EXIT_REASON_HLT) |
			    BIT_ULL(EXIT_REASON_PREEMPTION_TIMER);

	return reason >= EXIT_REASON_HLT && reason <= EXIT_REASON_PREEMPTION_TIMER &&
	       reasons & BIT_ULL(reason);
}

unsigned int vmx_fastpath_handle(struct kvm_vcpu *vcpu);

/**
 * vmx_fastpath - answer an exit, if it is one for a fastpath
 * @vcpu: the vCPU
 * @reason: the exit's, all 32 bits of it
 * @force_immediate_exit: it was to exit at once
 *
 * Context: interrupts off, right after the exit.
 * Return: see vmx_fastpath_handle().
 */
static __always_inline unsigned int vmx_fastpath(struct kvm_vcpu *vcpu, u32 reason,
						 bool force_immediate_exit)
{
	if (!vmx_fastpath_reason(reason) || force_immediate_exit) {
		kvm_guest_state_note();
		return EXIT_FASTPATH_UNTRIED;
	}

	return vmx_fastpath_handle(vcpu);
}

#endif
