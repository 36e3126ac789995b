// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM: the VMX preemption timer
 */

/**
 * DOC: the VMX preemption timer
 *
 * It counts down while the processor is in guest mode, at the TSC's pace divided
 * by a power of two, from what VMX_PREEMPTION_TIMER_VALUE has at each entry; at 0 the
 * guest exits.  Two use it:
 *
 *	the local APIC's timer	hv_deadline_tsc is its deadline, a host TSC; at
 *				each entry the field gets what is left.
 *	immediate exits		0, to leave the guest once an event is injected.
 *
 * If neither does, the field has its maximum, which costs nothing to begin with
 * and is no write at the next entry.  On a processor whose timer is fast, that may
 * still expire in a guest that runs for seconds without an exit.  Only then the
 * control bit is cleared, and set again with the next deadline.
 *
 * Each VMCS has its own field and control bit, nested guests theirs: what was
 * written last is remembered with the VMCS, and the bit is taken from the cached
 * controls, which all who change them keep up to date.
 *
 * The timer counts when the bit of the TSC that it is divided by changes, so it
 * may be early by up to one of its own ticks; that much is waited for.
 *
 * Source: Intel SDM vol. 3, "VMX-Preemption Timer".
 */

#include <linux/kvm_host.h>

#include "capabilities.h"
#include "lapic.h"
#include "preemption_timer.h"
#include "vmx.h"
#include "vmx_ops.h"
#include "x86.h"
#include "x86_ops.h"

bool __read_mostly enable_preemption_timer = true;
#ifdef CONFIG_X86_64
module_param_named(preemption_timer, enable_preemption_timer, bool, 0444);
MODULE_PARM_DESC(preemption_timer, "Keep the guest's timer with the VMX preemption timer");
#endif

/* TSC ticks in one of the timer's, as a power of two. */
static unsigned int timer_shift __read_mostly;

/**
 * vmx_preemption_timer_setup - find out whether and how it works
 *
 * Context: module initialization, after vmcs_config is set up.
 */
void vmx_preemption_timer_setup(void)
{
	if (!cpu_has_vmx_preemption_timer())
		enable_preemption_timer = false;

	timer_shift = vmx_misc_preemption_timer_rate(vmcs_config.misc);
}

#ifdef CONFIG_X86_64
/**
 * vmx_set_hv_timer - take over the local APIC timer's deadline
 * @vcpu: the vCPU
 * @due: a host TSC
 * @now: the host's TSC, which is earlier
 *
 * Context: the vCPU's thread, preemption off.
 * Return: 0, or -ERANGE when the timer does not count that far.
 */
int vmx_set_hv_timer(struct kvm_vcpu *vcpu, u64 due, u64 now)
{
	if ((due - now) >> timer_shift >= U32_MAX)
		return -ERANGE;

	to_vmx(vcpu)->hv_deadline_tsc = due;
	return 0;
}

/**
 * vmx_cancel_hv_timer - give up the local APIC timer's deadline
 * @vcpu: the vCPU
 *
 * Context: the vCPU's thread, preemption off.
 */
void vmx_cancel_hv_timer(struct kvm_vcpu *vcpu)
{
	to_vmx(vcpu)->hv_deadline_tsc = NO_HV_DEADLINE;
}
#endif

/* The field's value for what is left, never too early but by the timer's phase. */
static u32 value_until(u64 deadline)
{
	u64 now = rdtsc();

	return deadline > now ? ((deadline - now - 1) >> timer_shift) + 1 : 0;
}

/**
 * vmx_preemption_timer_set - vmx_preemption_timer_enter(), where something is to do
 * @vmx: the vCPU
 * @force_immediate_exit: the guest is to exit at once
 *
 * Context: interrupts off, right before the entry.
 */
void vmx_preemption_timer_set(struct vcpu_vmx *vmx, bool force_immediate_exit)
{
	struct loaded_vmcs *vmcs = vmx->loaded_vmcs;
	u32 value = U32_MAX;

	if (force_immediate_exit)
		value = 0;
	else if (vmx->hv_deadline_tsc != NO_HV_DEADLINE)
		value = value_until(vmx->hv_deadline_tsc);

	if (value != vmcs->hv_timer_value) {
		vmcs_write32(VMX_PREEMPTION_TIMER_VALUE, value);
		vmcs->hv_timer_value = value;
	}

	if (value != U32_MAX &&
	    unlikely(!(pin_controls_get(vmx) & PIN_BASED_VMX_PREEMPTION_TIMER)))
		pin_controls_setbit(vmx, PIN_BASED_VMX_PREEMPTION_TIMER);
}

/* Is the deadline over, or will it be before the timer could count once more? */
static bool deadline_over(u64 deadline)
{
	if (deadline > rdtsc() + BIT(timer_shift))
		return false;

	while (rdtsc() < deadline)
		cpu_relax();

	return true;
}

/**
 * handle_fastpath_preemption_timer - the timer has ended the guest
 * @vcpu: the vCPU
 * @force_immediate_exit: it was to
 *
 * Context: interrupts off, right after the exit.
 * Return: whether to enter the guest again; a nested guest's exit may be needed
 * first, which is handle_preemption_timer()'s business.
 */
fastpath_t handle_fastpath_preemption_timer(struct kvm_vcpu *vcpu,
					    bool force_immediate_exit)
{
	struct vcpu_vmx *vmx = to_vmx(vcpu);

	if (force_immediate_exit)
		return EXIT_FASTPATH_EXIT_HANDLED;

	if (unlikely(vmx->hv_deadline_tsc == NO_HV_DEADLINE)) {
		pin_controls_clearbit(vmx, PIN_BASED_VMX_PREEMPTION_TIMER);
		return EXIT_FASTPATH_REENTER_GUEST;
	}

	if (unlikely(!deadline_over(vmx->hv_deadline_tsc))) {
		++vcpu->stat.lapic_timer_hv_early;
		return EXIT_FASTPATH_REENTER_GUEST;
	}

	if (is_guest_mode(vcpu) || !kvm_fastpath_enabled(KVM_FASTPATH_EXPIRED))
		return EXIT_FASTPATH_NONE;

	++vcpu->stat.fastpath_expired;
	kvm_lapic_timer_hv_expired(vcpu);
	return EXIT_FASTPATH_REENTER_GUEST;
}

/**
 * handle_preemption_timer - the timer has ended a guest, nested or not
 * @vcpu: the vCPU
 *
 * Context: the vCPU's thread.
 * Return: 1, to go on.
 */
int handle_preemption_timer(struct kvm_vcpu *vcpu)
{
	kvm_lapic_timer_hv_expired(vcpu);
	return 1;
}
