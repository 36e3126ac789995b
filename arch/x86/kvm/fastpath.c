// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM: exits that are answered before interrupts are on
 */

/**
 * DOC: exit fastpaths
 *
 * Some exits are so frequent, and so quickly answered, that the way out of
 * vcpu_enter_guest() and in again costs more than the answer.  Vendor code hands them
 * to the handlers here right after the exit, and the guest is entered again.
 *
 * All of it is with the host's interrupts off, in the guest's timing context, and
 * without kvm->srcu.  So a handler
 *
 *	- takes no lock that may sleep, which on PREEMPT_RT is every spinlock_t: the
 *	  I/O APIC's and the PIC's among them; nor does it call what recalculates the
 *	  map of local APICs, or changes APICv's inhibits, under a mutex;
 *	- touches no guest memory, not even that of the virtual APIC page's or
 *	  the PV EOI's kind;
 *	- makes up its mind before it changes anything: once it has begun, it ends
 *	  well;
 *	- declines whatever is not plain.  The slow path knows everything.
 *
 * For all of them: no nested guest is running, which vendor code sees to; nobody
 * debugs the guest or steps through it, neither user space nor the guest itself.
 * kvm->srcu is taken only where something under it may be looked at: user space's filter
 * on MSRs, and then for the TSC deadline alone, as x2APIC's are beyond it; its filter on
 * PMU events, in a guest that has counters; and all that may end a halt.
 */

#include <linux/kvm_host.h>

#include "fastpath.h"
#include "lapic.h"
#include "pmu.h"
#include "trace.h"
#include "x86.h"

/* If there is a next interrupt, the lower priority brings about KVM_REQ_EVENT. */
static bool fastpath_eoi(struct kvm_vcpu *vcpu, u64 data)
{
	struct kvm_lapic *apic = vcpu->arch.apic;
	int vector = kvm_fastpath_isr(apic);

	if (data || vector < 0 || apic->apicv_active || kvm_fastpath_hyperv(vcpu) ||
	    vcpu->arch.apic_attention ||
	    test_bit(vector, vcpu->arch.ioapic_handled_vectors))
		return false;

	trace_kvm_apic_write(APIC_EOI, 0);
	trace_kvm_eoi(apic, vector);
	__clear_bit(VEC_POS(vector), apic->regs + APIC_ISR + REG_POS(vector));
	--apic->isr_count;
	apic->highest_isr_cache = -1;
	kvm_fastpath_priority(vcpu);
	return true;
}

static bool fastpath_self_ipi(struct kvm_vcpu *vcpu, u64 data)
{
	return data <= APIC_VECTOR_MASK && kvm_fastpath_set_irr(vcpu, data);
}

static bool fastpath_tmict(struct kvm_vcpu *vcpu, u64 data)
{
	if (data > U32_MAX)
		return false;

	trace_kvm_apic_write(APIC_TMICT, data);
	kvm_lapic_timer_set_count(vcpu->arch.apic, data);
	return true;
}

/* Nothing but the vector changes, and with it nothing else. */
static bool fastpath_lvtt(struct kvm_vcpu *vcpu, u64 data)
{
	struct kvm_lapic *apic = vcpu->arch.apic;
	u32 *lvtt = apic->regs + APIC_LVTT;

	if ((data ^ *lvtt) & ~(u64)APIC_VECTOR_MASK)
		return false;

	trace_kvm_apic_write(APIC_LVTT, data);
	*lvtt = data;
	return true;
}

/* QEMU has a filter in each VM, for an MSR that is none of these. */
static bool filtered(struct kvm_vcpu *vcpu, u32 msr)
{
	return rcu_access_pointer(vcpu->kvm->arch.msr_filter) &&
	       !kvm_msr_allowed(vcpu, msr, KVM_MSR_FILTER_WRITE);
}

static bool plain(struct kvm_vcpu *vcpu, unsigned long rflags)
{
	return !vcpu->arch.guest_state_protected && !vcpu->guest_debug &&
	       !(rflags & X86_EFLAGS_TF);
}

/* It counts as an instruction, and PMU event filters are under kvm->srcu. */
static void retire(struct kvm_vcpu *vcpu)
{
	if (bitmap_empty(vcpu_to_pmu(vcpu)->all_valid_pmc_idx, X86_PMC_IDX_MAX))
		return;

	kvm_vcpu_srcu_read_lock(vcpu);
	kvm_pmu_trigger_event(vcpu, kvm_pmu_eventsel.INSTRUCTIONS_RETIRED);
	kvm_vcpu_srcu_read_unlock(vcpu);
}

static enum kvm_fastpath_result fastpath_deadline(struct kvm_vcpu *vcpu, u64 data,
						  unsigned long rflags)
{
	if (!kvm_apic_present(vcpu))
		return KVM_FASTPATH_NO_APIC;
	if (!plain(vcpu, rflags))
		return KVM_FASTPATH_DEBUGGED;
	if (filtered(vcpu, MSR_IA32_TSC_DEADLINE))
		return KVM_FASTPATH_FILTERED;

	kvm_set_lapic_tscdeadline_msr(vcpu, data);
	return KVM_FASTPATH_DONE;
}

static enum kvm_fastpath x2apic_handler(u32 msr)
{
	switch (msr) {
	case APIC_BASE_MSR + (APIC_ICR >> 4):
		return KVM_FASTPATH_ICR;
	case APIC_BASE_MSR + (APIC_EOI >> 4):
		return KVM_FASTPATH_EOI;
	case APIC_BASE_MSR + (APIC_SELF_IPI >> 4):
		return KVM_FASTPATH_SELF_IPI;
	case APIC_BASE_MSR + (APIC_TMICT >> 4):
		return KVM_FASTPATH_TMICT;
	case APIC_BASE_MSR + (APIC_LVTT >> 4):
		return KVM_FASTPATH_LVTT;
	default:
		return KVM_FASTPATH_NR;
	}
}

static bool handle_x2apic(struct kvm_vcpu *vcpu, enum kvm_fastpath nr, u64 data)
{
	switch (nr) {
	case KVM_FASTPATH_ICR:
		return kvm_fastpath_icr(vcpu, data);
	case KVM_FASTPATH_EOI:
		return fastpath_eoi(vcpu, data);
	case KVM_FASTPATH_SELF_IPI:
		return fastpath_self_ipi(vcpu, data);
	case KVM_FASTPATH_TMICT:
		return fastpath_tmict(vcpu, data);
	default:
		return fastpath_lvtt(vcpu, data);
	}
}

static enum kvm_fastpath_result fastpath_x2apic(struct kvm_vcpu *vcpu,
						enum kvm_fastpath nr, u64 data,
						unsigned long rflags)
{
	if (!kvm_apic_present(vcpu) || !apic_x2apic_mode(vcpu->arch.apic))
		return KVM_FASTPATH_NO_APIC;
	if (!plain(vcpu, rflags))
		return KVM_FASTPATH_DEBUGGED;

	return handle_x2apic(vcpu, nr, data) ? KVM_FASTPATH_DONE : KVM_FASTPATH_NOT_PLAIN;
}

/**
 * kvm_fastpath_wrmsr - a WRMSR has ended the guest
 * @vcpu: the vCPU
 * @rflags: the guest's
 *
 * Context: interrupts off, right after the exit.
 * Return: true when it is done, but for going on to the next instruction; false when
 * nothing is.
 */
bool kvm_fastpath_wrmsr(struct kvm_vcpu *vcpu, unsigned long rflags)
{
	enum kvm_fastpath nr = KVM_FASTPATH_DEADLINE;
	u32 msr = kvm_rcx_read(vcpu);
	enum kvm_fastpath_result result;
	u64 data;

	lockdep_assert_irqs_disabled();
	if (msr != MSR_IA32_TSC_DEADLINE)
		nr = x2apic_handler(msr);
	if (nr == KVM_FASTPATH_NR || !kvm_fastpath_enabled(nr))
		return false;

	data = kvm_read_edx_eax(vcpu);
	result = nr == KVM_FASTPATH_DEADLINE ? fastpath_deadline(vcpu, data, rflags) :
					       fastpath_x2apic(vcpu, nr, data, rflags);
	if (!kvm_fastpath_count(vcpu, nr, data, result))
		return false;

	retire(vcpu);
	trace_kvm_msr_write(msr, data);
	return true;
}
EXPORT_SYMBOL_GPL(kvm_fastpath_wrmsr);

/**
 * handle_fastpath_set_msr_irqoff - a WRMSR has ended the guest
 * @vcpu: the vCPU
 *
 * Context: interrupts off, right after the exit.
 * Return: EXIT_FASTPATH_REENTER_GUEST when it is done, EXIT_FASTPATH_NONE when
 * nothing is.
 */
fastpath_t handle_fastpath_set_msr_irqoff(struct kvm_vcpu *vcpu)
{
	if (!kvm_fastpath_wrmsr(vcpu, kvm_x86_call(get_rflags)(vcpu)))
		return EXIT_FASTPATH_NONE;

	kvm_x86_call(skip_emulated_instruction)(vcpu);
	return EXIT_FASTPATH_REENTER_GUEST;
}
EXPORT_SYMBOL_GPL(handle_fastpath_set_msr_irqoff);

/**
 * handle_fastpath_hlt - a HLT has ended the guest
 * @vcpu: the vCPU
 *
 * If there is an event already, it is for kvm_fastpath_reenter() to see to.
 *
 * Context: interrupts off, right after the exit.
 * Return: whether to enter the guest again, or to wait.
 */
fastpath_t handle_fastpath_hlt(struct kvm_vcpu *vcpu)
{
	bool go_on;

	lockdep_assert_irqs_disabled();
	if (!kvm_fastpath_enabled(KVM_FASTPATH_HLT))
		return EXIT_FASTPATH_NONE;

	kvm_vcpu_srcu_read_lock(vcpu);
	go_on = kvm_emulate_halt(vcpu);
	kvm_vcpu_srcu_read_unlock(vcpu);

	if (!go_on)
		return EXIT_FASTPATH_EXIT_USERSPACE;
	if (vcpu->arch.mp_state != KVM_MP_STATE_RUNNABLE || vcpu->arch.apf.halted)
		return EXIT_FASTPATH_EXIT_HANDLED;

	kvm_fastpath_count(vcpu, KVM_FASTPATH_HLT, 0, KVM_FASTPATH_DONE);
	kvm_make_request(KVM_REQ_EVENT, vcpu);
	return EXIT_FASTPATH_REENTER_GUEST;
}
EXPORT_SYMBOL_GPL(handle_fastpath_hlt);
