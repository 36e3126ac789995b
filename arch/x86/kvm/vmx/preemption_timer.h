/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_X86_VMX_PREEMPTION_TIMER_H
#define __KVM_X86_VMX_PREEMPTION_TIMER_H

#include <linux/kvm_host.h>

#include "vmx.h"

#define NO_HV_DEADLINE	U64_MAX

extern bool enable_preemption_timer;

void vmx_preemption_timer_setup(void);
void vmx_preemption_timer_set(struct vcpu_vmx *vmx, bool force_immediate_exit);
fastpath_t handle_fastpath_preemption_timer(struct kvm_vcpu *vcpu,
					    bool force_immediate_exit);
int handle_preemption_timer(struct kvm_vcpu *vcpu);

/**
 * vmx_preemption_timer_enter - set the timer for this entry
 * @vmx: the vCPU
 * @force_immediate_exit: the guest is to exit at once
 *
 * Context: interrupts off, right before the entry.
 */
static __always_inline void vmx_preemption_timer_enter(struct vcpu_vmx *vmx,
						       bool force_immediate_exit)
{
	if (vmx->hv_deadline_tsc != NO_HV_DEADLINE || force_immediate_exit ||
	    vmx->loaded_vmcs->hv_timer_value != U32_MAX)
		vmx_preemption_timer_set(vmx, force_immediate_exit);
}

#endif
