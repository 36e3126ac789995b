// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM: the local APIC's interrupts, injected where they are noticed
 */

/**
 * DOC: events
 *
 * Most answers of a fastpath end in an interrupt: a self-IPI, a timer, the next one
 * after an EOI.  That is KVM_REQ_EVENT, which leaves the loop, and a round of
 * questions about all that an event may be.  If there is nothing but an interrupt of
 * the local APIC to think about, all that is to be done is to inject it, or to open
 * the window for it.  kvm_fastpath_reenter() does that on the spot;
 * kvm_fastpath_inject(), on the way from a halt or from a handler to the entry.
 *
 * If something else comes up between that and the entry, the injection is taken back,
 * as it is on the slow path.  Nobody's kick is lost by staying in the loop:
 * vcpu->mode is IN_GUEST_MODE all the time, so who makes a request of this vCPU and
 * kicks it also sends an interrupt to this CPU, which ends the next entry.
 *
 * A guest that is told by a bit in its memory that it needs no EOI (KVM_FEATURE_PV_EOI)
 * may have cleared it: whether an interrupt is still in service is known only after a
 * look, and that is not for here.  kvm_fastpath_inject() comes after that look.
 *
 * IRR and irr_pending
 * -------------------
 * Others set a bit in IRR, then irr_pending; irr_pending may be true with no bit set,
 * not the other way around.  So who takes a bit clears irr_pending first, then
 * the bit, a full barrier, and looks through IRR for what is left.
 */

#include <linux/entry-kvm.h>
#include <linux/kvm_host.h>

#include "fastpath.h"
#include "irq.h"
#include "lapic.h"
#include "trace.h"
#include "x86.h"
#include "xen.h"

#ifdef CONFIG_KVM_XEN
/* Whose events are in guest memory. */
static bool xen_in_use(void)
{
	return static_branch_unlikely(&kvm_xen_enabled.key);
}
#else
static bool xen_in_use(void)
{
	return false;
}
#endif

/* In IRR or ISR; -1 if there is none. */
static int highest(struct kvm_lapic *apic, int reg)
{
	u32 *words = apic->regs + reg;
	int i;

	/* A register of 32 vectors each 16 bytes. */
	for (i = 7; i >= 0; i--) {
		u32 word = READ_ONCE(words[i * 4]);

		if (word)
			return i * 32 + __fls(word);
	}

	return -1;
}

/**
 * kvm_fastpath_isr - the interrupt in service
 * @apic: the local APIC, without APICv
 *
 * Context: the vCPU's thread; also with interrupts off.
 * Return: the highest vector, or -1 if there is none.
 */
int kvm_fastpath_isr(struct kvm_lapic *apic)
{
	if (!apic->isr_count)
		return -1;
	if (apic->highest_isr_cache < 0)
		apic->highest_isr_cache = highest(apic, APIC_ISR);

	return apic->highest_isr_cache;
}

/* SDM vol. 3, "Task and Processor Priorities" */
static u32 update_ppr(struct kvm_lapic *apic)
{
	u32 ppr = kvm_lapic_get_reg(apic, APIC_TASKPRI) & 0xff;
	int isr = kvm_fastpath_isr(apic);

	if (isr >= 0 && (isr & 0xf0) > (ppr & 0xf0))
		ppr = isr & 0xf0;

	*(u32 *)(apic->regs + APIC_PROCPRI) = ppr;
	return ppr;
}

static int pending(struct kvm_lapic *apic)
{
	return READ_ONCE(apic->irr_pending) ? highest(apic, APIC_IRR) : -1;
}

/* CR8 is to be watched while TPR masks an interrupt. */
static void watch_cr8(struct kvm_vcpu *vcpu, int irr)
{
	if (kvm_x86_ops.update_cr8_intercept)
		kvm_x86_call(update_cr8_intercept)(vcpu, kvm_lapic_get_cr8(vcpu),
						   irr < 0 ? irr : irr >> 4);
}

/**
 * kvm_fastpath_priority - an interrupt is no longer in service
 * @vcpu: the vCPU, without APICv
 *
 * Context: the vCPU's thread; also with interrupts off.
 */
void kvm_fastpath_priority(struct kvm_vcpu *vcpu)
{
	struct kvm_lapic *apic = vcpu->arch.apic;
	u32 ppr = update_ppr(apic);
	int irr = pending(apic);

	if (irr < 0)
		return;

	watch_cr8(vcpu, irr);
	if ((irr & 0xf0) > (ppr & 0xf0))
		kvm_make_request(KVM_REQ_EVENT, vcpu);
}

/* It has higher priority than all that are in service. */
static void take(struct kvm_lapic *apic, int vector)
{
	WRITE_ONCE(apic->irr_pending, false);
	clear_bit(VEC_POS(vector), apic->regs + APIC_IRR + REG_POS(vector));
	/* Pairs with the setting of a bit before irr_pending: see above. */
	smp_mb__after_atomic();
	if (highest(apic, APIC_IRR) >= 0)
		WRITE_ONCE(apic->irr_pending, true);

	__set_bit(VEC_POS(vector), apic->regs + APIC_ISR + REG_POS(vector));
	++apic->isr_count;
	apic->highest_isr_cache = vector;
	*(u32 *)(apic->regs + APIC_PROCPRI) = vector & 0xf0;
}

static void inject(struct kvm_vcpu *vcpu)
{
	struct kvm_lapic *apic = vcpu->arch.apic;
	u32 ppr = update_ppr(apic) & 0xf0;
	int irr = pending(apic);

	if (irr < 0)
		return;

	if ((irr & 0xf0) > ppr && kvm_x86_call(interrupt_allowed)(vcpu, true) > 0) {
		take(apic, irr);
		kvm_queue_interrupt(vcpu, irr, false);
		kvm_x86_call(inject_irq)(vcpu, false);
		ppr = irr & 0xf0;
		irr = pending(apic);
	}

	watch_cr8(vcpu, irr);
	if (irr >= 0 && (irr & 0xf0) > ppr)
		kvm_x86_call(enable_irq_window)(vcpu);
}

/*
 * The guest, or its local APIC, has something besides an ordinary interrupt.  With
 * APICv, be it inhibited, to open a window on AMD takes a mutex.
 */
static bool more_to_do(struct kvm_vcpu *vcpu)
{
	return is_guest_mode(vcpu) || vcpu->guest_debug || enable_apicv ||
	       vcpu->arch.exception.pending || kvm_event_needs_reinjection(vcpu) ||
	       vcpu->arch.nmi_pending || vcpu->arch.smi_pending ||
	       kvm_fastpath_hyperv(vcpu) || xen_in_use() || !kvm_apic_present(vcpu) ||
	       kvm_apic_has_pending_init_or_sipi(vcpu) || kvm_cpu_has_extint(vcpu);
}

static bool enabled(struct kvm_vcpu *vcpu)
{
	return kvm_fastpath_enabled(KVM_FASTPATH_EVENT) && lapic_in_kernel(vcpu);
}

static enum kvm_fastpath_result try_event(struct kvm_vcpu *vcpu)
{
	if (kvm_fastpath_more_requests(vcpu) || vcpu->mode != IN_GUEST_MODE ||
	    xfer_to_guest_mode_work_pending())
		return KVM_FASTPATH_REQUESTED;
	if (vcpu->arch.apic_attention)
		return KVM_FASTPATH_PV_EOI;
	if (more_to_do(vcpu))
		return KVM_FASTPATH_OTHER_EVENT;

	kvm_clear_request(KVM_REQ_EVENT, vcpu);
	++vcpu->stat.req_event;
	inject(vcpu);

	if (likely(!kvm_request_pending(vcpu)))
		return KVM_FASTPATH_DONE;

	kvm_make_request(KVM_REQ_EVENT, vcpu);
	kvm_x86_call(cancel_injection)(vcpu);
	return KVM_FASTPATH_REQUESTED;
}

/* true when that was all, and the guest can be entered. */
static bool event(struct kvm_vcpu *vcpu)
{
	if (!enabled(vcpu) || !kvm_test_request(KVM_REQ_EVENT, vcpu))
		return false;

	return kvm_fastpath_count(vcpu, KVM_FASTPATH_EVENT, READ_ONCE(vcpu->requests),
				  try_event(vcpu));
}

/**
 * kvm_fastpath_reenter - an exit is answered; may the guest be entered again?
 * @vcpu: the vCPU
 *
 * Context: interrupts off, between an exit and an entry.
 * Return: false if somebody, or something, wants the vCPU out of its guest.
 */
bool kvm_fastpath_reenter(struct kvm_vcpu *vcpu)
{
	if (kvm_lapic_enabled(vcpu))
		kvm_x86_call(sync_pir_to_irr)(vcpu);

	xfer_to_guest_mode_prepare();
	return (vcpu->mode == IN_GUEST_MODE && !kvm_request_pending(vcpu) &&
		!xfer_to_guest_mode_work_pending()) || event(vcpu);
}
EXPORT_SYMBOL_GPL(kvm_fastpath_reenter);

/**
 * kvm_fastpath_inject - handle KVM_REQ_EVENT before an entry, if it is a plain one
 * @vcpu: the vCPU, whose requests have been handled, and cleared, up to this one
 * @window: user space waits for the interrupt window
 *
 * Context: the vCPU's thread, which holds kvm->srcu.
 * Return: false if it is not plain, and nothing is done.
 */
bool kvm_fastpath_inject(struct kvm_vcpu *vcpu, bool window)
{
	if (window || !enabled(vcpu) || more_to_do(vcpu))
		return false;

	++vcpu->stat.req_event;
	inject(vcpu);
	kvm_lapic_sync_to_vapic(vcpu);
	return true;
}
