// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM: from an exit's fastpath straight to the next VMRUN
 */

/**
 * DOC: entering the guest again
 *
 * As on VMX, see arch/x86/kvm/vmx/fastpath.c, svm_vcpu_run() goes round its innermost
 * part only, and keeps what is around it.  All of it is with GIF at 0: no NMI, SMI
 * or machine check comes in between, and one that waits ends the next VMRUN.  So here
 * this is kept:
 *
 *	DEBUGCTL, XCR0, XSS,	the guest's, until the last exit
 *	PKRU
 *	ASID, TLB_CONTROL	this CPU stays the vCPU's, and no other one's entry
 *				comes in between; the flush that was asked for is done,
 *				another one is a request
 *	CR2, DR6, RSP		the VMCB has them, and nobody asks
 *	V_TPR			the guest's CR8: passed to the local APIC, which does not
 *				change it
 *	clean bits		all, but for what the handler marks
 *
 * The switch of SSBD where that takes an MSR of its own (virt_spec_ctrl) is done each
 * time: the host's mitigation, which may be "on" for the kernel, too.
 */

#include <linux/kvm_host.h>

#include "fastpath.h"
#include "lapic.h"
#include "svm.h"
#include "trace.h"
#include "x86.h"

static bool plain(struct kvm_vcpu *vcpu)
{
	struct vcpu_svm *svm = to_svm(vcpu);
	struct vmcb_control_area *control = &svm->vmcb->control;

	return nrips && control->next_rip && !(control->exit_int_info & SVM_EXITINTINFO_VALID) &&
	       (control->exit_code != SVM_EXIT_MSR || control->exit_info_1) &&
	       !is_guest_mode(vcpu) && !sev_es_guest(vcpu->kvm) &&
	       !svm->nmi_singlestep && !svm->awaiting_iret_completion &&
	       !trace_kvm_exit_enabled() && !trace_kvm_entry_enabled();
}

/* VMRUN has succeeded, delivered what there was, and flushed what was to be. */
static void delivered(struct kvm_vcpu *vcpu)
{
	struct vcpu_svm *svm = to_svm(vcpu);

	svm->nmi_l1_to_l2 = false;
	svm->soft_int_injected = false;
	vcpu->arch.nmi_injected = false;
	kvm_clear_exception_queue(vcpu);
	kvm_clear_interrupt_queue(vcpu);

	svm->vmcb->control.tlb_ctl = TLB_CONTROL_DO_NOTHING;
	vmcb_mark_all_clean(svm->vmcb);
}

static void load(struct kvm_vcpu *vcpu)
{
	struct vcpu_svm *svm = to_svm(vcpu);
	struct vmcb *vmcb = svm->vmcb;
	u8 cr8 = vmcb->control.int_ctl & V_TPR_MASK;

	vcpu->arch.regs[VCPU_REGS_RAX] = vmcb->save.rax;
	vcpu->arch.regs[VCPU_REGS_RSP] = vmcb->save.rsp;
	vcpu->arch.regs[VCPU_REGS_RIP] = vmcb->save.rip;
	vcpu->arch.regs_avail &= ~SVM_REGS_LAZY_LOAD_SET;
	svm->next_rip = 0;

	if (!svm_is_intercept(svm, INTERCEPT_CR8_WRITE) && kvm_get_cr8(vcpu) != cr8)
		kvm_set_cr8(vcpu, cr8);
}

static fastpath_t handle(struct kvm_vcpu *vcpu)
{
	struct vmcb *vmcb = to_svm(vcpu)->vmcb;

	if (vmcb->control.exit_code == SVM_EXIT_HLT)
		return handle_fastpath_hlt(vcpu);
	if (!kvm_fastpath_wrmsr(vcpu, vmcb->save.rflags))
		return EXIT_FASTPATH_NONE;

	/* Past the WRMSR, where STI blocks no more. */
	vcpu->arch.regs[VCPU_REGS_RIP] = vmcb->control.next_rip;
	vmcb->control.int_state &= ~SVM_INTERRUPT_SHADOW_MASK;
	return EXIT_FASTPATH_REENTER_GUEST;
}

/**
 * svm_fastpath_handle - answer an exit, and prepare the next entry
 * @vcpu: the vCPU, after an exit that may be one for a fastpath
 *
 * Context: GIF is 0, right after the exit; the rest of the host's state is not
 * restored yet.
 * Return: EXIT_FASTPATH_AGAIN if the guest is to be entered again; otherwise what the
 * handler says, or EXIT_FASTPATH_UNTRIED.
 */
unsigned int svm_fastpath_handle(struct kvm_vcpu *vcpu)
{
	fastpath_t result;

	if (!plain(vcpu))
		return EXIT_FASTPATH_UNTRIED;

	delivered(vcpu);
	load(vcpu);
	result = handle(vcpu);
	to_svm(vcpu)->vmcb->save.rip = vcpu->arch.regs[VCPU_REGS_RIP];
	if (result != EXIT_FASTPATH_REENTER_GUEST)
		return result;

	if (!kvm_fastpath_reenter(vcpu))
		return EXIT_FASTPATH_EXIT_HANDLED;

	++vcpu->stat.exits;
	kvm_wait_lapic_expire(vcpu);
	return EXIT_FASTPATH_AGAIN;
}
