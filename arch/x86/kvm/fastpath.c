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
 *
 * kvm.exit_fastpath has a bit for each handler, in the order of enum kvm_fastpath.
 */

#include <linux/kvm_host.h>

#include "fastpath.h"
#include "lapic.h"
#include "pmu.h"
#include "trace.h"
#include "x86.h"

#define CREATE_TRACE_POINTS
#include <trace/events/kvm_fastpath.h>

#define ALL_HANDLERS	GENMASK(KVM_FASTPATH_NR - 1, 0)

static unsigned int exit_fastpath = ALL_HANDLERS;

static int exit_fastpath_set(const char *val, const struct kernel_param *kp)
{
	return param_set_uint_minmax(val, kp, 0, ALL_HANDLERS);
}

static const struct kernel_param_ops exit_fastpath_ops = {
	.set = exit_fastpath_set,
	.get = param_get_uint,
};

module_param_cb(exit_fastpath, &exit_fastpath_ops, &exit_fastpath, 0644);
MODULE_PARM_DESC(exit_fastpath, "Exits answered early: 1 ICR, 2 TSC deadline, 4 its expiry, 8 HLT, 16 EOI, 32 self-IPI, 64 injection, 128 LVTT");

/**
 * kvm_fastpath_enabled - does the administrator allow this handler?
 * @nr: the handler
 *
 * Context: any.
 * Return: true if so.
 */
bool kvm_fastpath_enabled(enum kvm_fastpath nr)
{
	return READ_ONCE(exit_fastpath) & BIT(nr);
}
EXPORT_SYMBOL_GPL(kvm_fastpath_enabled);

/**
 * kvm_fastpath_count - count what a handler has done, or declined
 * @vcpu: the vCPU
 * @nr: the handler
 * @value: what was written, or the like; for the trace
 * @result: what became of it
 *
 * Context: the vCPU's thread; also with interrupts off.
 * Return: true if it is done.
 */
bool kvm_fastpath_count(struct kvm_vcpu *vcpu, enum kvm_fastpath nr, u64 value,
			enum kvm_fastpath_result result)
{
	static const size_t stats[] = {
		[KVM_FASTPATH_ICR]	= offsetof(struct kvm_vcpu_stat, fastpath_icr),
		[KVM_FASTPATH_DEADLINE]	= offsetof(struct kvm_vcpu_stat, fastpath_deadline),
		[KVM_FASTPATH_EXPIRED]	= offsetof(struct kvm_vcpu_stat, fastpath_expired),
		[KVM_FASTPATH_HLT]	= offsetof(struct kvm_vcpu_stat, fastpath_hlt),
		[KVM_FASTPATH_EOI]	= offsetof(struct kvm_vcpu_stat, fastpath_eoi),
		[KVM_FASTPATH_SELF_IPI]	= offsetof(struct kvm_vcpu_stat, fastpath_self_ipi),
		[KVM_FASTPATH_EVENT]	= offsetof(struct kvm_vcpu_stat, fastpath_event),
		[KVM_FASTPATH_LVTT]	= offsetof(struct kvm_vcpu_stat, fastpath_lvtt),
	};
	if (result == KVM_FASTPATH_DONE)
		++*(u64 *)((void *)&vcpu->stat + stats[nr]);
	else
		++vcpu->stat.fastpath_declined;
	trace_kvm_fastpath(vcpu->vcpu_id, nr, value, result);
	return result == KVM_FASTPATH_DONE;
}

/**
 * kvm_fastpath_set_irr - the vCPU's own thread has an interrupt for it
 * @vcpu: the running task's vCPU
 * @vector: an edge-triggered, fixed interrupt
 *
 * Nobody needs to be kicked, but a poll to be called off: the thread is on its way to
 * look at its requests.
 *
 * Context: the vCPU's thread; also with interrupts off.
 * Return: false when it is not plain, and was not delivered.
 */
bool kvm_fastpath_set_irr(struct kvm_vcpu *vcpu, u32 vector)
{
	struct kvm_lapic *apic = vcpu->arch.apic;

	if (apic->apicv_active || !kvm_lapic_enabled(vcpu) || vector < 16 ||
	    test_bit(VEC_POS(vector), apic->regs + APIC_TMR + REG_POS(vector)))
		return false;

	trace_kvm_apic_accept_irq(vcpu->vcpu_id, APIC_DM_FIXED, vector, false);
	kvm_lapic_set_irr(vector, apic);
	kvm_make_request(KVM_REQ_EVENT, vcpu);
	WRITE_ONCE(vcpu->halt_polling, false);
	return true;
}

static bool fastpath_deadline(struct kvm_vcpu *vcpu, u64 data)
{
	kvm_set_lapic_tscdeadline_msr(vcpu, data);
	return true;
}

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
	return msr == MSR_IA32_TSC_DEADLINE &&
	       rcu_access_pointer(vcpu->kvm->arch.msr_filter) &&
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

static enum kvm_fastpath msr_handler(u32 msr)
{
	switch (msr) {
	case MSR_IA32_TSC_DEADLINE:
		return KVM_FASTPATH_DEADLINE;
	case APIC_BASE_MSR + (APIC_ICR >> 4):
		return KVM_FASTPATH_ICR;
	case APIC_BASE_MSR + (APIC_EOI >> 4):
		return KVM_FASTPATH_EOI;
	case APIC_BASE_MSR + (APIC_SELF_IPI >> 4):
		return KVM_FASTPATH_SELF_IPI;
	case APIC_BASE_MSR + (APIC_LVTT >> 4):
		return KVM_FASTPATH_LVTT;
	default:
		return KVM_FASTPATH_NR;
	}
}

static bool handle(struct kvm_vcpu *vcpu, u32 msr, u64 data)
{
	switch (msr) {
	case MSR_IA32_TSC_DEADLINE:
		return fastpath_deadline(vcpu, data);
	case APIC_BASE_MSR + (APIC_ICR >> 4):
		return kvm_fastpath_icr(vcpu, data);
	case APIC_BASE_MSR + (APIC_EOI >> 4):
		return fastpath_eoi(vcpu, data);
	case APIC_BASE_MSR + (APIC_SELF_IPI >> 4):
		return fastpath_self_ipi(vcpu, data);
	default:
		return fastpath_lvtt(vcpu, data);
	}
}

static enum kvm_fastpath_result answer(struct kvm_vcpu *vcpu, u32 msr, u64 data,
				       unsigned long rflags)
{
	if (!kvm_apic_present(vcpu) || (msr != MSR_IA32_TSC_DEADLINE &&
					!apic_x2apic_mode(vcpu->arch.apic)))
		return KVM_FASTPATH_NO_APIC;
	if (!plain(vcpu, rflags))
		return KVM_FASTPATH_DEBUGGED;
	if (filtered(vcpu, msr))
		return KVM_FASTPATH_FILTERED;

	return handle(vcpu, msr, data) ? KVM_FASTPATH_DONE : KVM_FASTPATH_NOT_PLAIN;
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
	u32 msr = kvm_rcx_read(vcpu);
	enum kvm_fastpath nr = msr_handler(msr);
	u64 data;

	lockdep_assert_irqs_disabled();
	if (nr == KVM_FASTPATH_NR || !kvm_fastpath_enabled(nr))
		return false;

	data = kvm_read_edx_eax(vcpu);
	if (!kvm_fastpath_count(vcpu, nr, data, answer(vcpu, msr, data, rflags)))
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
