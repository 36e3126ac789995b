// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM: writes of the ICR, with interrupts off
 */

/**
 * DOC: IPIs
 *
 * A fixed, edge-triggered interrupt from an x2APIC to one vCPU, or to some of a cluster,
 * needs the map of local APICs and nothing else: where the map says that no vCPU is
 * meant, none is.  One to all others is for each vCPU in turn, where they are few.
 *
 * For other fixed interrupts without a shorthand, local APICs in xAPIC mode among the
 * targets for one, kvm_x2apic_icr_write() is called, which is right with interrupts off
 * but not short.
 *
 * The map is freed after an RCU grace period, which interrupts being off defer.
 */

#include <linux/kvm_host.h>

#include "fastpath.h"
#include "lapic.h"
#include "trace.h"
#include "x86.h"

/* Vector, destination mode, the level that an edge ignores, and the destination. */
#define SIMPLE_BITS	(APIC_VECTOR_MASK | APIC_DEST_LOGICAL | APIC_INT_ASSERT | \
			 GENMASK_ULL(63, 32))
/* In VMs of so many vCPUs, each may reach all others. */
#define MAX_OTHERS	16

static void deliver(struct kvm_vcpu *vcpu, struct kvm_lapic *to, u32 vector)
{
	vcpu->dy.ipi_target = to->vcpu;
	trace_kvm_apic_accept_irq(to->vcpu->vcpu_id, APIC_DM_FIXED, vector, false);
	if (!kvm_apic_sw_enabled(to) || !kvm_apic_hw_enabled(to))
		return;

	if (unlikely(test_bit(VEC_POS(vector), to->regs + APIC_TMR + REG_POS(vector))))
		clear_bit(VEC_POS(vector), to->regs + APIC_TMR + REG_POS(vector));

	kvm_x86_call(deliver_interrupt)(to, APIC_DM_FIXED, false, vector);
}

static void set_icr(struct kvm_lapic *apic, u64 data)
{
	if (kvm_x86_ops.x2apic_icr_is_split) {
		*(u32 *)(apic->regs + APIC_ICR) = data;
		*(u32 *)(apic->regs + APIC_ICR2) = data >> 32;
	} else {
		*(u64 *)(apic->regs + APIC_ICR) = data;
	}
	trace_kvm_apic_write(APIC_ICR, data);
}

/* The vCPUs of which IDs: the first, and those of the next 16 that are meant. */
struct targets {
	u32 first;
	unsigned long mask;
};

/* false where it is not simple */
static bool find_targets(struct kvm_apic_map *map, u64 data, struct targets *t)
{
	u32 dest = data >> 32;

	if (data & APIC_DEST_LOGICAL) {
		*t = (struct targets){ dest >> 16 << 4, dest & 0xffff };
		return map->logical_mode == KVM_APIC_MODE_X2APIC && dest != X2APIC_BROADCAST;
	}

	*t = (struct targets){ dest, 1 };
	/* One of these may stand for all. */
	return dest != APIC_BROADCAST && dest != X2APIC_BROADCAST;
}

static void deliver_to(struct kvm_vcpu *vcpu, struct kvm_apic_map *map,
		       const struct targets *t, u32 vector)
{
	struct kvm_lapic **apics;
	unsigned long mask = t->mask;
	u32 max = map->max_apic_id;
	int i;

	if (t->first > max)
		return;
	if (max - t->first < 15)
		mask &= GENMASK(max - t->first, 0);

	apics = &map->phys_map[array_index_nospec(t->first, max + 1)];
	for_each_set_bit(i, &mask, 16)
		if (apics[i])
			deliver(vcpu, apics[i], vector);
}

static bool to_named(struct kvm_vcpu *vcpu, u64 data)
{
	struct kvm_apic_map *map;
	struct targets targets;

	if (data & ~SIMPLE_BITS)
		return false;

	map = rcu_dereference_sched(vcpu->kvm->arch.apic_map);
	if (!map || !find_targets(map, data, &targets))
		return false;

	trace_kvm_apic_ipi(data, data >> 32);
	deliver_to(vcpu, map, &targets, data & APIC_VECTOR_MASK);
	set_icr(vcpu->arch.apic, data);
	return true;
}

/* Few enough to keep interrupts off for. */
static bool to_all_others(struct kvm_vcpu *vcpu, u64 data)
{
	struct kvm_vcpu *to;
	unsigned long i;

	if ((data & ~SIMPLE_BITS) != APIC_DEST_ALLBUT ||
	    atomic_read(&vcpu->kvm->online_vcpus) > MAX_OTHERS)
		return false;

	trace_kvm_apic_ipi(data, data >> 32);
	kvm_for_each_vcpu(i, to, vcpu->kvm)
		if (to != vcpu && kvm_apic_present(to))
			deliver(vcpu, to->arch.apic, data & APIC_VECTOR_MASK);

	set_icr(vcpu->arch.apic, data);
	return true;
}

static bool to_self(struct kvm_vcpu *vcpu, u64 data)
{
	if ((data & ~SIMPLE_BITS) != APIC_DEST_SELF)
		return false;

	if (!kvm_fastpath_set_irr(vcpu, data & APIC_VECTOR_MASK))
		return false;

	trace_kvm_apic_ipi(data, data >> 32);
	set_icr(vcpu->arch.apic, data);
	return true;
}

/**
 * kvm_fastpath_icr - send a fixed interrupt to whoever is named
 * @vcpu: the sender, in x2APIC mode
 * @data: what is written to the ICR
 *
 * Context: interrupts off.
 * Return: false where it is another kind of IPI, or a fault; nothing is done then.
 */
bool kvm_fastpath_icr(struct kvm_vcpu *vcpu, u64 data)
{
	if ((data & APIC_MODE_MASK) != APIC_DM_FIXED || (data & APIC_VECTOR_MASK) < 16)
		return false;

	switch (data & APIC_SHORT_MASK) {
	case APIC_DEST_SELF:
		return to_self(vcpu, data);
	case APIC_DEST_NOSHORT:
		return to_named(vcpu, data) || ((u32)(data >> 32) != X2APIC_BROADCAST &&
						!kvm_x2apic_icr_write(vcpu->arch.apic, data));
	case APIC_DEST_ALLBUT:
		return to_all_others(vcpu, data);
	default:
		return false;
	}
}
