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
	KVM_FASTPATH_LVTT,
	KVM_FASTPATH_TMICT,
	KVM_FASTPATH_NR,
};

/* What became of it: for all but the first, the slow path. */
enum kvm_fastpath_result {
	KVM_FASTPATH_DONE,
	KVM_FASTPATH_NOT_PLAIN,		/* what is written, or where it goes */
	KVM_FASTPATH_NO_APIC,		/* none of KVM's, or not in x2APIC mode */
	KVM_FASTPATH_DEBUGGED,		/* stepped through, or not to be looked at */
	KVM_FASTPATH_FILTERED,		/* user space denies the MSR */
	KVM_FASTPATH_REQUESTED,		/* the vCPU is wanted elsewhere */
	KVM_FASTPATH_PV_EOI,		/* the guest's memory has to be asked */
	KVM_FASTPATH_OTHER_EVENT,	/* something besides a local interrupt */
};

extern unsigned int kvm_exit_fastpath;

/**
 * kvm_fastpath_enabled - does the administrator allow this handler?
 * @nr: the handler
 *
 * Context: any.
 * Return: true if so.
 */
static inline bool kvm_fastpath_enabled(enum kvm_fastpath nr)
{
	return READ_ONCE(kvm_exit_fastpath) & BIT(nr);
}

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

/**
 * kvm_fastpath_hyperv - does the guest use what Hyper-V offers?
 * @vcpu: the vCPU
 *
 * Context: any.
 * Return: true if so.
 */
static inline bool kvm_fastpath_hyperv(struct kvm_vcpu *vcpu)
{
#ifdef CONFIG_KVM_HYPERV
	return vcpu->arch.hyperv;
#else
	return false;
#endif
}

/* Beside EXIT_FASTPATH_*, for what vendor code does after an exit. */
#define EXIT_FASTPATH_AGAIN	BIT(31)
#define EXIT_FASTPATH_UNTRIED	BIT(30)

/**
 * kvm_guest_state_note - tell RCU that this CPU's task holds nothing of its
 *
 * guest_state_enter_irqoff() and guest_state_exit_irqoff() do that at each turn, as
 * for RCU the guest is a quiescent state.  Between two entries that only a fastpath
 * divides it is in vain: a host's timer tick is an exit of another kind.  So that is
 * apart, here.  A CPU without a tick has context tracking, and RCU does not watch it
 * in its guest: then these do all that they are meant to.
 *
 * Context: interrupts off, before a row of entries or after it.
 */
static __always_inline void kvm_guest_state_note(void)
{
	if (!context_tracking_enabled())
		rcu_virt_note_context_switch();
}

/**
 * kvm_guest_state_enter - guest_state_enter_irqoff(), see kvm_guest_state_note()
 *
 * Context: interrupts off, noinstr.
 */
static __always_inline void kvm_guest_state_enter(void)
{
	if (context_tracking_enabled()) {
		guest_state_enter_irqoff();
		return;
	}

	instrumentation_begin();
	trace_hardirqs_on_prepare();
	lockdep_hardirqs_on_prepare();
	instrumentation_end();
	lockdep_hardirqs_on(CALLER_ADDR0);
}

/**
 * kvm_guest_state_exit - guest_state_exit_irqoff(), see kvm_guest_state_note()
 *
 * Context: interrupts off, noinstr.
 */
static __always_inline void kvm_guest_state_exit(void)
{
	if (context_tracking_enabled()) {
		guest_state_exit_irqoff();
		return;
	}

	lockdep_hardirqs_off(CALLER_ADDR0);
	instrumentation_begin();
	trace_hardirqs_off_finish();
	instrumentation_end();
}

struct kvm_lapic;

/* fastpath_handler.c */
bool kvm_fastpath_count(struct kvm_vcpu *vcpu, enum kvm_fastpath nr, u64 value,
			enum kvm_fastpath_result result);
bool kvm_fastpath_set_irr(struct kvm_vcpu *vcpu, u32 vector);

/* fastpath.c */
bool kvm_fastpath_wrmsr(struct kvm_vcpu *vcpu, unsigned long rflags);
fastpath_t handle_fastpath_set_msr_irqoff(struct kvm_vcpu *vcpu);
fastpath_t handle_fastpath_hlt(struct kvm_vcpu *vcpu);

/* fastpath_event.c */
int kvm_fastpath_isr(struct kvm_lapic *apic);
void kvm_fastpath_priority(struct kvm_vcpu *vcpu);
bool kvm_fastpath_reenter(struct kvm_vcpu *vcpu);
bool kvm_fastpath_inject(struct kvm_vcpu *vcpu, bool window);

/* fastpath_icr.c */
bool kvm_fastpath_icr(struct kvm_vcpu *vcpu, u64 data);

#endif
