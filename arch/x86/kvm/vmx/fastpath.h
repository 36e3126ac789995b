/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_X86_VMX_FASTPATH_H
#define __KVM_X86_VMX_FASTPATH_H

#include <linux/kvm_host.h>

#include <asm/vmx.h>

/* For vmx_vcpu_enter_exit(), beside VMX_RUN_*: see kvm_guest_state_enter(). */
#define VMX_RUN_AGAIN	BIT(31)

/**
 * vmx_fastpath_reason - can a fastpath answer this exit?
 * @reason: the exit's, all 32 bits of it
 *
 * Context: any, noinstr.
 * Return: true if there is one for it.
 */
static __always_inline bool vmx_fastpath_reason(u32 reason)
{
	return reason == EXIT_REASON_MSR_WRITE || reason == EXIT_REASON_HLT ||
	       reason == EXIT_REASON_PREEMPTION_TIMER;
}

unsigned int vmx_fastpath(struct kvm_vcpu *vcpu, bool force_immediate_exit, int *fastpath);

#endif
