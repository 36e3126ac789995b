/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __LINUX_KVM_DIRECTED_YIELD_H
#define __LINUX_KVM_DIRECTED_YIELD_H

#include <linux/bits.h>
#include <linux/cache.h>
#include <linux/types.h>

struct kvm_vcpu;
struct task_struct;

/* Why this vCPU was chosen; bits of kvm.directed_yield, and numbers in traces */
enum kvm_dy_reason {
	KVM_DY_IPI_TARGET,	/* it has not taken an IPI of the one who waits */
	KVM_DY_INTERRUPT,	/* it has any interrupt to take, or was called */
	KVM_DY_LOCK_HOLDER,	/* preempted in kernel mode */
	KVM_DY_QUEUE_HEAD,	/* its lock was handed to it, says the unlocker */
	KVM_DY_OTHER,
	KVM_DY_NR_REASONS,
};

/* What came of it */
enum kvm_dy_outcome {
	KVM_DY_NO_CANDIDATE,
	KVM_DY_TARGET_RAN,
	KVM_DY_DECLINED,	/* by the scheduler */
	KVM_DY_BACKED_OFF,	/* nearly nobody tried: it has been of no use lately */
	KVM_DY_NR_OUTCOMES,
	KVM_DY_STALE = KVM_DY_NR_OUTCOMES, /* no candidate after all, not counted */
};

/* Candidates, from the highest rank on; one can be in the first set and another. */
enum kvm_dy_set {
	KVM_DY_CALLED,		/* kvm_vcpu_wake_up(), or an interrupt */
	KVM_DY_KERNEL,		/* preempted in kernel mode */
	KVM_DY_USER,		/* preempted in user mode */
	KVM_DY_SPINNER,		/* gave way to another one, instead of spinning */
	KVM_DY_NR_SETS,
};

#define KVM_DY_NR_GROUPS	DIV_ROUND_UP(KVM_MAX_VCPUS, BITS_PER_LONG)

/* As many neighbours as a word has bits; a cache line of their own */
struct kvm_dy_group {
	unsigned long sets[KVM_DY_NR_SETS];
} ____cacheline_aligned_in_smp;

/**
 * struct kvm_dy - the candidates of a VM
 * @busy: by set, the groups that may have a vCPU in it
 * @last: by set, the vCPU that was chosen last
 * @looked: the vCPU of %KVM_DY_USER that was last looked at for an interrupt
 * @groups: the sets themselves, by kvm_vcpu.vcpu_idx
 */
struct kvm_dy {
	unsigned long busy[KVM_DY_NR_SETS][BITS_TO_LONGS(KVM_DY_NR_GROUPS)];
	unsigned int last[KVM_DY_NR_SETS] ____cacheline_aligned_in_smp;
	unsigned int looked;
	struct kvm_dy_group groups[KVM_DY_NR_GROUPS];
};

/* The vCPU's statistics of directed yield; directly behind kvm_vcpu.halt_stat */
struct kvm_dy_stat {
	u64 reason[KVM_DY_NR_REASONS];
	u64 outcome[KVM_DY_NR_OUTCOMES];
	u64 halts;
};

/* Like STATS_DESC_COUNTER(), for a member of it; offsets count from kvm_vcpu.stat. */
#define KVM_DIRECTED_YIELD_COUNTER(name_, field)			\
{									\
	STATS_DESC_COMMON(KVM_STATS_TYPE_CUMULATIVE, KVM_STATS_UNIT_NONE, \
			  KVM_STATS_BASE_POW10, 0, 1, 0),		\
	.offset = offsetof(struct kvm_vcpu, dy_stat.field) -		\
		  offsetof(struct kvm_vcpu, stat),			\
	.name = name_,							\
}

/**
 * struct kvm_vcpu_dy - what a vCPU knows for its directed yields
 * @ipi_target: to whom it last sent an IPI, or NULL
 * @named: whom a hypercall asks to yield to, while it is carried out, or NULL
 * @named_for: why
 * @boosted: who ran in its place, and is to be judged by that, or NULL
 * @boosted_moves: its @moves then
 * @boosted_spins: its @spins then
 * @where: its registers when it last gave way, in one number
 * @asked: how often it was found spinning
 * @spins: how often it gave way, or tried
 * @moves: how often it was elsewhere than in the spin before, or off its CPU otherwise
 * @useless: evidence that giving way is of no use, from 0 up
 * @skip: for so many more spins it backs off
 * @yielding: it is giving way right now
 * @rivals: strangers of its own control group want its CPU
 *
 * All is written by the vCPU's task only.  Others read @spins and @moves.
 */
struct kvm_vcpu_dy {
	struct kvm_vcpu *ipi_target;
	struct kvm_vcpu *named;
	struct kvm_vcpu *boosted;
	unsigned int boosted_moves;
	unsigned int boosted_spins;
	unsigned long where;
	unsigned int asked;
	unsigned int spins;
	unsigned int moves;
	enum kvm_dy_reason named_for;
	u8 useless;
	u8 skip;
	bool yielding;
	bool rivals;
};

void kvm_directed_yield_sched_in(struct kvm_vcpu *vcpu);
void kvm_directed_yield_sched_out(struct kvm_vcpu *vcpu, struct task_struct *next);
void kvm_directed_yield_called(struct kvm_vcpu *vcpu);
void kvm_directed_yield_sleep(struct kvm_vcpu *me);
bool kvm_directed_yield(struct kvm_vcpu *me, struct kvm_vcpu *target,
			enum kvm_dy_reason reason);

#endif
