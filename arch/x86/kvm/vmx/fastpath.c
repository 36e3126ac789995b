// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM: from an exit's fastpath straight to the next VM entry
 */

/**
 * DOC: entering the guest again
 *
 * What vmx_vcpu_run() does around an entry is mostly a matter of the host's state,
 * and between an exit that a fastpath answers and the next entry it would be undone
 * and done again to no effect.  So it goes round its innermost part only, with
 * interrupts off.  This is what is kept across it, and why that may be; an NMI or a
 * machine check may come at any time, and another CPU may write to the vCPU:
 *
 *	HOST_CR3, HOST_CR4	change with a switch of tasks or mms, or by IPI
 *	DEBUGCTL		is 0, as between any exit and its restoration.  What an
 *				NMI's handler sets, the next exit clears; the last one
 *				restores what was there first
 *	PERF_GLOBAL_CTRL and	are switched by lists that follow perf's state.  Events
 *	others of the PMU	are scheduled by the task or by IPI; an NMI at most
 *				stops one, by its own control, which these leave alone
 *	LBRs			are passed through as an event is scheduled, likewise
 *	XCR0, XSS, PKRU		stay the guest's.  Nothing in the kernel uses the FPU here.
 *				PKRU governs accesses to user pages: an NMI that walks
 *				a user stack may be denied one, and copes
 *	Intel PT		stays on or off in "system" mode; in "host-guest" mode,
 *				nothing is kept
 *	PLE window, DR0 to 7	change in exit handlers, or in user space
 *	GUEST_RSP		is only cached by what reads it
 *	RCU's notion		see kvm_guest_state_note()
 *
 * What was injected has been delivered, unless the IDT-vectoring information is valid.
 * Then, with a nested guest, and whenever exits or entries are traced, vmx_vcpu_run()
 * does it all.
 */

#include <linux/kvm_host.h>

#include "fastpath.h"
#include "preemption_timer.h"
#include "trace.h"
#include "vmx.h"
#include "vmx_onhyperv.h"
#include "x86.h"

static bool plain(struct kvm_vcpu *vcpu)
{
	struct vcpu_vmx *vmx = to_vmx(vcpu);

	return !(vmx->idt_vectoring_info & VECTORING_INFO_VALID_MASK) &&
	       !is_guest_mode(vcpu) && !vmx->loaded_vmcs->soft_vnmi_blocked &&
	       !vmx_pt_mode_is_host_guest() && !kvm_is_using_evmcs() &&
	       !trace_kvm_exit_enabled() && !trace_kvm_entry_enabled();
}

/* The entry has succeeded, and delivered what there was. */
static void delivered(struct kvm_vcpu *vcpu)
{
	to_vmx(vcpu)->loaded_vmcs->launched = true;
	vcpu->arch.nmi_injected = false;
	kvm_clear_exception_queue(vcpu);
	kvm_clear_interrupt_queue(vcpu);
}

/* Past the WRMSR, of which the length is always known; no blocking by STI is left. */
static void skip(struct kvm_vcpu *vcpu)
{
	unsigned long from = vmcs_readl(GUEST_RIP);
	unsigned long rip = from + vmcs_read32(VM_EXIT_INSTRUCTION_LEN);
	u32 blocked = vmcs_read32(GUEST_INTERRUPTIBILITY_INFO);

	if (unlikely((from ^ rip) >> 31 == 3) && !is_64_bit_mode(vcpu))
		rip = (u32)rip;
	kvm_rip_write(vcpu, rip);

	if (unlikely(blocked & (GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS)))
		vmcs_write32(GUEST_INTERRUPTIBILITY_INFO,
			     blocked & ~(GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS));
}

static fastpath_t handle(struct kvm_vcpu *vcpu)
{
	switch (to_vmx(vcpu)->exit_reason.full) {
	case EXIT_REASON_MSR_WRITE:
		if (!kvm_fastpath_wrmsr(vcpu, vmcs_readl(GUEST_RFLAGS)))
			return EXIT_FASTPATH_NONE;
		skip(vcpu);
		return EXIT_FASTPATH_REENTER_GUEST;
	case EXIT_REASON_PREEMPTION_TIMER:
		return handle_fastpath_preemption_timer(vcpu, false);
	default:
		return handle_fastpath_hlt(vcpu);
	}
}

static void prepare(struct kvm_vcpu *vcpu)
{
	if (kvm_register_is_dirty(vcpu, VCPU_REGS_RIP))
		vmcs_writel(GUEST_RIP, vcpu->arch.regs[VCPU_REGS_RIP]);
	vcpu->arch.regs_dirty = 0;

	if (enable_preemption_timer)
		vmx_preemption_timer_enter(to_vmx(vcpu), false);
	kvm_wait_lapic_expire(vcpu);
}

/**
 * vmx_fastpath_handle - answer an exit, and prepare the next entry
 * @vcpu: the vCPU, after an exit that may be one for a fastpath
 *
 * Context: interrupts off, right after the exit; the rest of the host's state is not
 * restored yet.
 * Return: EXIT_FASTPATH_AGAIN if the guest is to be entered again; otherwise what the
 * handler says, or EXIT_FASTPATH_UNTRIED.
 */
unsigned int vmx_fastpath_handle(struct kvm_vcpu *vcpu)
{
	fastpath_t result;

	if (!plain(vcpu))
		return EXIT_FASTPATH_UNTRIED;

	delivered(vcpu);
	result = handle(vcpu);
	if (result != EXIT_FASTPATH_REENTER_GUEST)
		return result;

	if (!kvm_fastpath_reenter(vcpu))
		return EXIT_FASTPATH_EXIT_HANDLED;

	++vcpu->stat.exits;
	prepare(vcpu);
	return EXIT_FASTPATH_AGAIN;
}
