// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM: what the handlers of exit fastpaths share
 */

/**
 * DOC: handlers
 *
 * kvm.exit_fastpath has a bit for each, in the order of enum kvm_fastpath.  Each counts
 * what it has done or declined, and tells the tracepoint.  What most of them end in, an
 * interrupt for the vCPU itself, has no need of all that one from elsewhere needs.
 *
 * The LAPIC timer is a user of this, and used by fastpath.c.
 */

#include <linux/kvm_host.h>

#include "fastpath.h"
#include "lapic.h"
#include "trace.h"

#define CREATE_TRACE_POINTS
#include <trace/events/kvm_fastpath.h>

#define ALL_HANDLERS	GENMASK(KVM_FASTPATH_NR - 1, 0)

unsigned int kvm_exit_fastpath __read_mostly = ALL_HANDLERS;
EXPORT_SYMBOL_GPL(kvm_exit_fastpath);

static int exit_fastpath_set(const char *val, const struct kernel_param *kp)
{
	return param_set_uint_minmax(val, kp, 0, ALL_HANDLERS);
}

static const struct kernel_param_ops exit_fastpath_ops = {
	.set = exit_fastpath_set,
	.get = param_get_uint,
};

module_param_cb(exit_fastpath, &exit_fastpath_ops, &kvm_exit_fastpath, 0644);
MODULE_PARM_DESC(exit_fastpath, "Exits answered early: 1 ICR, 2 TSC deadline, 4 its expiry, 8 HLT, 16 EOI, 32 self-IPI, 64 injection, 128 LVTT, 256 TMICT");

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
		[KVM_FASTPATH_TMICT]	= offsetof(struct kvm_vcpu_stat, fastpath_tmict),
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
