// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM: writes of the ICR, with interrupts off
 */

/**
 * DOC: IPIs
 *
 * A fixed, edge-triggered interrupt from an x2APIC to one vCPU, or to some of a
 * cluster, needs the map of local APICs and nothing else: where the map says that no
 * vCPU is meant, none is.  For the rest of fixed interrupts without a shorthand,
 * guests in xAPIC mode among the targets for one, kvm_x2apic_icr_write() is called,
 * which is right for the irqs-off path but not short.
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

static void deliver(struct kvm_lapic *apic, u32 vector)
{
	trace_kvm_apic_accept_irq(apic->vcpu->vcpu_id, APIC_DM_FIXED, vector, false);
	if (!kvm_apic_sw_enabled(apic) || !kvm_apic_hw_enabled(apic))
		return;

	if (unlikely(test_bit(VEC_POS(vector), apic->regs + APIC_TMR + REG_POS(vector))))
		clear_bit(VEC_POS(vector), apic->regs + APIC_TMR + REG_POS(vector));

	kvm_x86_call(deliver_interrupt)(apic, APIC_DM_FIXED, false, vector);
}

/* The first of the targets, and which of the 16 from there; NULL if it is not simple. */
static struct kvm_lapic **targets(struct kvm_apic_map *map, u64 data, unsigned long *mask)
{
	u32 dest = data >> 32, first = dest;

	/* One of these may stand for all. */
	if (dest == APIC_BROADCAST || dest == X2APIC_BROADCAST)
		return NULL;

	*mask = 1;
	if (data & APIC_DEST_LOGICAL) {
		if (map->logical_mode != KVM_APIC_MODE_X2APIC)
			return NULL;
		first = dest >> 16 << 4;
		*mask = dest & 0xffff;
	}

	if (first > map->max_apic_id) {
		*mask = 0;
		first = 0;
	} else if (map->max_apic_id - first < 15) {
		*mask &= GENMASK(map->max_apic_id - first, 0);
	}

	return &map->phys_map[array_index_nospec(first, map->max_apic_id + 1)];
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

static bool simple(struct kvm_lapic *apic, u64 data)
{
	struct kvm_lapic **first;
	struct kvm_apic_map *map;
	unsigned long mask;
	int i;

	if (data & ~SIMPLE_BITS)
		return false;

	map = rcu_dereference_sched(apic->vcpu->kvm->arch.apic_map);
	first = map ? targets(map, data, &mask) : NULL;
	if (!first)
		return false;

	trace_kvm_apic_ipi(data, data >> 32);
	for_each_set_bit(i, &mask, 16)
		if (first[i])
			deliver(first[i], data & APIC_VECTOR_MASK);

	set_icr(apic, data);
	return true;
}

/* Likewise, to the sender. */
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
	if ((data & APIC_SHORT_MASK) != APIC_DEST_NOSHORT)
		return to_self(vcpu, data);
	if ((u32)(data >> 32) == X2APIC_BROADCAST)
		return false;

	return simple(vcpu->arch.apic, data) ||
	       !kvm_x2apic_icr_write(vcpu->arch.apic, data);
}
