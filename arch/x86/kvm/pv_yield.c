// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM: a guest that knows whom it waits for says so
 */

/**
 * DOC: paravirtual yield
 *
 * Two hypercalls name the vCPU that should run now, by its APIC ID:
 *
 * KVM_HC_KICK_CPU ends the halt of a vCPU that waited for a lock.  The unlocker has
 * handed the lock over to it, and all others wait for it, so it should not wait itself
 * until the host's scheduler thinks of it: the unlocker gives way.
 *
 * KVM_HC_SCHED_YIELD comes from the sender of call-function IPIs, for the first of its
 * targets that the guest knows to be preempted (by its steal time), as its answer is
 * what the sender is going to spin for.
 *
 * If no other task wants the caller's CPU, giving way leaves that idle, for a target
 * that mostly sits on another CPU's queue: the caller then stays.
 *
 * A vCPU that gives way is off its CPU, and its guest had better know.  Waiters that
 * take it for running spin on a lock of which it is the owner, queue behind it to spin,
 * or send it IPIs to flush its TLB and wait; told by its steal time that it is preempted,
 * they sleep, or leave the flush to its next entry.  KVM may tell that only while no
 * instruction of the vCPU is being emulated, as the emulation could go on with a
 * translation that the flush was meant to end.  So a hypercall only names the target;
 * kvm_pv_hypercall_done() gives way, with the instruction behind it.
 */

#include <linux/kvm_host.h>
#include <linux/nospec.h>
#include <linux/sched/stat.h>

#include "irq.h"
#include "lapic.h"
#include "x86.h"

/* NULL when there is none, as while the map of local APICs is being made */
static struct kvm_vcpu *vcpu_by_apic_id(struct kvm *kvm, unsigned long id)
{
	struct kvm_lapic *apic = NULL;
	struct kvm_apic_map *map;

	rcu_read_lock();
	map = rcu_dereference(kvm->arch.apic_map);
	if (map && id <= map->max_apic_id)
		apic = map->phys_map[array_index_nospec(id, map->max_apic_id + 1)];
	rcu_read_unlock();

	/* It is freed with its VM only. */
	return apic ? apic->vcpu : NULL;
}

/* To be yielded to when the hypercall is done */
static void name_target(struct kvm_vcpu *vcpu, unsigned long apic_id,
			enum kvm_dy_reason reason)
{
	++vcpu->stat.directed_yield_attempted;
	if (single_task_running())
		return;

	vcpu->dy.named = vcpu_by_apic_id(vcpu->kvm, apic_id);
	vcpu->dy.named_for = reason;
}

/**
 * kvm_pv_sched_yield - KVM_HC_SCHED_YIELD
 * @vcpu: the running task's vCPU, which waits for the other one
 * @apic_id: who that is
 *
 * Context: process context, preemptible; kvm_pv_hypercall_done() has to follow.
 */
void kvm_pv_sched_yield(struct kvm_vcpu *vcpu, unsigned long apic_id)
{
	name_target(vcpu, apic_id, KVM_DY_IPI_TARGET);
}

/**
 * kvm_pv_kick - KVM_HC_KICK_CPU
 * @vcpu: the running task's vCPU, which has handed a lock over
 * @apic_id: to whom
 *
 * Context: process context, preemptible; kvm_pv_hypercall_done() has to follow.
 */
void kvm_pv_kick(struct kvm_vcpu *vcpu, unsigned long apic_id)
{
	struct kvm_lapic_irq irq = {
		.delivery_mode	= APIC_DM_REMRD,
		.dest_mode	= APIC_DEST_PHYSICAL,
		.shorthand	= APIC_DEST_NOSHORT,
		.dest_id	= apic_id,
	};

	kvm_irq_delivery_to_apic(vcpu->kvm, NULL, &irq, NULL);
	name_target(vcpu, apic_id, KVM_DY_QUEUE_HEAD);
}

/**
 * kvm_skip_before_yield - skip the instruction behind which a vCPU may give way
 * @vcpu: the running task's vCPU
 *
 * Nothing is left to emulate then; see kvm_steal_time_set_preempted().
 *
 * Context: process context, preemptible, in srcu.
 * Return: as kvm_skip_emulated_instruction()
 */
int kvm_skip_before_yield(struct kvm_vcpu *vcpu)
{
	int ret = kvm_skip_emulated_instruction(vcpu);

	vcpu->arch.at_instruction_boundary = true;
	return ret;
}
EXPORT_SYMBOL_GPL(kvm_skip_before_yield);

/**
 * kvm_pv_hypercall_done - skip a hypercall's instruction, and give way if it asked for that
 * @vcpu: the running task's vCPU
 *
 * Context: process context, preemptible, in srcu; may schedule.
 * Return: as kvm_skip_emulated_instruction()
 */
int kvm_pv_hypercall_done(struct kvm_vcpu *vcpu)
{
	int ret = kvm_skip_before_yield(vcpu);
	struct kvm_vcpu *target = vcpu->dy.named;

	if (target) {
		vcpu->dy.named = NULL;
		if (kvm_directed_yield(vcpu, target, vcpu->dy.named_for))
			++vcpu->stat.directed_yield_successful;
	}

	return ret;
}

/**
 * kvm_arch_dy_has_pending_interrupt - has the vCPU an interrupt to take?
 * @vcpu: any vCPU
 *
 * It may be masked yet; this is for choosing whom to run.
 *
 * Context: any, beneath the run queue's lock too.
 * Return: true if it has.
 */
bool kvm_arch_dy_has_pending_interrupt(struct kvm_vcpu *vcpu)
{
	if (!lapic_in_kernel(vcpu))
		return false;
	if (kvm_test_request(KVM_REQ_NMI, vcpu))
		return true;
	if (kvm_lapic_find_highest_irr(vcpu) >= 0)
		return true;

	return vcpu->arch.apic->apicv_active &&
	       kvm_x86_call(dy_apicv_has_pending_interrupt)(vcpu);
}

/**
 * kvm_arch_dy_where - what the registers of a spinning vCPU amount to
 * @vcpu: the running task's vCPU
 *
 * A loop that waits leaves them alone, and what comes after it does not.  RSP and RIP
 * may have to be read first, and would tell little more.
 *
 * Context: the vCPU's thread.
 * Return: a number for all of them; 0 when KVM cannot see them.
 */
unsigned long kvm_arch_dy_where(struct kvm_vcpu *vcpu)
{
	const unsigned long *regs = vcpu->arch.regs;
	unsigned long sum = 1;
	int i;

	if (vcpu->arch.guest_state_protected)
		return 0;

	for (i = 0; i < VCPU_REGS_RIP; i++)
		if (i != VCPU_REGS_RSP)
			sum = sum * 31 + regs[i];

	return sum ?: 1;
}
