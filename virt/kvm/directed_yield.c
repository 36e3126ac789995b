// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM: run the vCPU that the others wait for
 */

/**
 * DOC: directed yield
 *
 * Where vCPUs outnumber CPUs, a vCPU that spins may wait for one that the host has
 * taken off its CPU: for the holder of a lock, for an answer to an IPI, for the next
 * in a queue.  It burns the time that the other one needs.  When it is noticed, be
 * it by a PAUSE-loop exit or by a hypercall, its task gives way to the task of a vCPU
 * that is known to be able to run and does not: a candidate.
 *
 * Whom to choose
 * --------------
 * In this order, and in turn among equals:
 *
 *	1. The vCPU to which the spinner last sent an IPI, while that one has an
 *	   interrupt to take and has not run since.  Whoever sends an IPI and then
 *	   spins most probably waits for the answer.
 *	2. A vCPU with an interrupt to take, or called by kvm_vcpu_wake_up().  Some
 *	   IPI is among these, and its sender, or the next one, waits for it.  This
 *	   asks for no exit at the send or at the EOI: the interrupt that has not been
 *	   delivered is the evidence, posted ones included.
 *	3. A vCPU that was preempted in kernel mode: it may hold a lock.
 *	4. The rest: those preempted in user mode, unless the spinner is known to spin
 *	   in the kernel, whose locks are not held there; and those that gave way here
 *	   themselves, which wait as the spinner does.
 *
 * Each eighth time a spinner asks, the order is turned round (with the IPI's target
 * still first): a vCPU of the last rank would never be chosen while there is always
 * one of a higher rank.  Within a rank, a search goes on behind the vCPU chosen last,
 * whatever came of it, so each is reached within one round.
 *
 * Candidates
 * ----------
 * They are kept as the scheduler's notifiers and the wakers see them come and go, as
 * bits by vcpu_idx, so that a search reads words and not vCPUs.  The words of all sets
 * for as many neighbouring vCPUs as a word has bits share a cache line, and nothing
 * else does.  kvm_dy.busy tells which of these groups to look at; if it is empty, and
 * it nearly always is on a host with enough CPUs, that is all that a search reads.  A
 * group is written to when a vCPU is preempted, or called while it is off its CPU, and
 * when it runs again after that.
 *
 *	preempted:	scheduled_out = true, then into its set
 *	called:		into KVM_DY_CALLED, if scheduled_out
 *	runs again:	scheduled_out = false, then out of all sets; no look is needed,
 *			as it will see by itself what it was called for
 *
 * All this must work beneath the run queue's lock and in hard interrupts.  It takes no
 * lock, so there are races, and there are two kinds of them.
 *
 * A bit may be left that says nothing any more, as when a waker was overtaken by the
 * vCPU that it woke.  Bits are but a hint for that reason: a vCPU is looked at before
 * it is yielded to, and what is stale is cleared by whoever finds it.  In the end it is
 * the scheduler that, with its locks held, declines a task that runs or sleeps.
 *
 * A candidate must not be missing, or its wait would be as long as the scheduler
 * makes it.  Whoever clears a bit of another vCPU thus looks afterwards whether it
 * should be set, and sets it again; the one who sets it does so after making true what
 * is looked at.  With a full barrier in between on both sides, either the clearing
 * comes first and the bit stays, or the look finds what made it set (A).  The same goes
 * for busy, which only a search clears (B), and for an interrupt that comes while its
 * vCPU is being scheduled out: the sender sees scheduled_out or the vCPU sees the
 * interrupt (C).  So one that was preempted is in a set until it runs, or until a search
 * saw it asleep, which it may be on its way to; being woken makes it a candidate again.
 *
 * What hardware posts to a preempted vCPU calls nobody.  For each search of a spinner
 * that may not choose from KVM_DY_USER, a few of that set are asked for such an
 * interrupt, the next search goes on with the next ones.  The other sets need not be
 * asked, since all in them can be chosen.
 *
 * vCPUs are freed with their VM only, when none of them runs.  A vCPU's task can
 * change and go, and is taken by way of its pid, under RCU.
 *
 * Backing off
 * -----------
 * A vCPU is a candidate once for each time that it is preempted or called: when it
 * runs, it is none any more.  Not so those that gave way here.  They come back to spin,
 * give way again, and two of them could go on like that while the one that both wait
 * for runs elsewhere, or sleeps.
 *
 * So a spinner that is back, and spins again, looks at the one of these that it gave
 * way to.  If that has moved, it was of use; if it only spun on, or did not run, it was
 * not, and neither was a yield that the scheduler declined.
 *
 * To spin on is to give way twice with the same registers.  Exits do not tell: one that
 * takes the lock, releases it and waits for the next one has been of use, and need not
 * have left the guest meanwhile.  Where registers are not known, each spin is taken for
 * a new one.  To leave the CPU otherwise than by giving way is to move, too.
 *
 * When dozens in a row were of no use, the spinner lets some spins pass, twice as many
 * each time, up to kvm.directed_yield_backoff: it then tries one vCPU that was preempted
 * or called, if there is one, but none of those that gave way.  The caller is told when
 * that begins, to let the guest spin for longer before the next exit.
 *
 * Before a sleep
 * --------------
 * A vCPU that goes to sleep in a halt often waits for one that was preempted, too: for
 * the holder of a lock for which its guest sleeps instead of spinning.  Where others of
 * its VM wait on this CPU's queue, the scheduler runs them by itself.  Where they only
 * wait on another one's, this CPU goes to a stranger, and all that the VM has not used
 * of it is lost.  So the sleeper, which leaves its CPU anyway, gives way to one of these:
 * the scheduler runs that one now, before the slice of whoever has its CPU is over, if
 * its group has not had its share there.
 *
 * Those preempted in kernel mode come first.  The others that were called would mostly
 * take a timer's interrupt, and sleep again.
 *
 * Giving way puts the sleeper behind all that its own group has waiting here, when it
 * is back.  That is fine where the group has but vCPUs of this VM, and not where it has
 * strangers, which would get the VM's share.  Whoever was on the CPU after it tells:
 * next_is_rival() is asked at each switch.
 */

#include <linux/kvm_host.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/sched/task.h>

#define CREATE_TRACE_POINTS
#include <trace/events/kvm_directed_yield.h>

/* How many candidates may turn out to be none, or be declined, in one search */
#define MAX_TRIES	4

/* How many vCPUs are asked for an interrupt in one search */
#define MAX_LOOKS	8

/*
 * How many yields in a row have to be useless to make a spinner back off, and how many
 * are counted.  To wait in vain is much dearer than a yield, so that one of use among
 * dozens is worth it.
 */
#define USELESS_MIN	32
#define USELESS_MAX	40

/* How often the order of ranks is turned round */
#define TURN		8

#define ALL_REASONS	GENMASK(KVM_DY_NR_REASONS - 1, 0)
#define MAX_BACKOFF	128

/* kvm_vcpu_stats_read() hands out all three as one. */
static_assert(offsetof(struct kvm_vcpu, dy_stat) ==
	      offsetofend(struct kvm_vcpu, halt_stat));
static_assert(offsetof(struct kvm_vcpu, stats_id) ==
	      offsetofend(struct kvm_vcpu, dy_stat));

static unsigned int directed_yield = ALL_REASONS;

static int directed_yield_set(const char *val, const struct kernel_param *kp)
{
	return param_set_uint_minmax(val, kp, 0, ALL_REASONS);
}

static const struct kernel_param_ops directed_yield_ops = {
	.set = directed_yield_set,
	.get = param_get_uint,
};

module_param_cb(directed_yield, &directed_yield_ops, &directed_yield, 0644);
MODULE_PARM_DESC(directed_yield, "Whom a spinning vCPU may yield to: 1 its IPI's target, 2 who has an interrupt, 4 lock holders, 8 a queue's head, 16 the rest");

static unsigned int directed_yield_backoff = 4;

static int directed_yield_backoff_set(const char *val, const struct kernel_param *kp)
{
	return param_set_uint_minmax(val, kp, 0, MAX_BACKOFF);
}

static const struct kernel_param_ops directed_yield_backoff_ops = {
	.set = directed_yield_backoff_set,
	.get = param_get_uint,
};

module_param_cb(directed_yield_backoff, &directed_yield_backoff_ops,
		&directed_yield_backoff, 0644);
MODULE_PARM_DESC(directed_yield_backoff, "How many spins in a row may be let pass where yielding was of no use; 0 for none");

static bool directed_yield_halt = true;
module_param(directed_yield_halt, bool, 0644);
MODULE_PARM_DESC(directed_yield_halt, "Whether a vCPU that goes to sleep gives way to one that waits on another CPU");

/* Why those of a set are chosen */
static const u8 set_reasons[] = {
	[KVM_DY_CALLED]		= KVM_DY_INTERRUPT,
	[KVM_DY_KERNEL]		= KVM_DY_LOCK_HOLDER,
	[KVM_DY_USER]		= KVM_DY_OTHER,
	[KVM_DY_SPINNER]	= KVM_DY_OTHER,
};

#ifndef kvm_arch_dy_posted_interrupts
#define kvm_arch_dy_posted_interrupts()	false
#endif

/* What the registers of a vCPU that spins amount to, in one number; 0 is unknown. */
#ifndef kvm_arch_dy_where
static unsigned long kvm_arch_dy_where(struct kvm_vcpu *vcpu)
{
	return 0;
}
#endif

static bool reason_enabled(enum kvm_dy_reason reason)
{
	return READ_ONCE(directed_yield) & BIT(reason);
}

/* In hard interrupts too, and beneath the run queue's lock */
static void add(struct kvm_vcpu *vcpu, enum kvm_dy_set set)
{
	unsigned int group = vcpu->vcpu_idx / BITS_PER_LONG;
	unsigned int bit = vcpu->vcpu_idx % BITS_PER_LONG;
	struct kvm_dy *dy = &vcpu->kvm->dy;
	unsigned long *word = &dy->groups[group].sets[set];

	/*
	 * Between what makes the vCPU a candidate and its bit; pairs with forget()
	 * (A).  In kvm_directed_yield_sched_out() it stands between scheduled_out
	 * and the look for an interrupt, too, and pairs with kvm_vcpu_wake_up() (C).
	 */
	smp_mb();
	if (test_bit(bit, word))
		return;

	/* A full barrier before busy is read; pairs with group_bits() (B) */
	if (!test_and_set_bit(bit, word) && !test_bit(group, dy->busy[set]))
		set_bit(group, dy->busy[set]);
}

static bool in_set(struct kvm_vcpu *vcpu, enum kvm_dy_set set)
{
	unsigned int group = vcpu->vcpu_idx / BITS_PER_LONG;

	return test_bit(vcpu->vcpu_idx % BITS_PER_LONG,
			&vcpu->kvm->dy.groups[group].sets[set]);
}

static bool asleep(struct task_struct *task)
{
	/* While it is being woken, it is neither asleep nor running. */
	return READ_ONCE(task->__state) & TASK_NORMAL;
}

/* Off its CPU, and able to run: on whose queue?  Below 0 if it is neither. */
static int waits_on(struct kvm_vcpu *vcpu)
{
	struct task_struct *task;
	int cpu = -1;

	rcu_read_lock();
	task = pid_task(rcu_dereference(vcpu->pid), PIDTYPE_PID);
	if (READ_ONCE(vcpu->scheduled_out) && task && !asleep(task))
		cpu = task_cpu(task);
	rcu_read_unlock();

	return cpu;
}

static bool waits(struct kvm_vcpu *vcpu)
{
	return waits_on(vcpu) >= 0;
}

/* The vCPU was found in a set and is no candidate; unless it has become one. */
static void forget(struct kvm_vcpu *vcpu, enum kvm_dy_set set)
{
	unsigned int group = vcpu->vcpu_idx / BITS_PER_LONG;

	/* A full barrier; pairs with add() (A) */
	if (test_and_clear_bit(vcpu->vcpu_idx % BITS_PER_LONG,
			       &vcpu->kvm->dy.groups[group].sets[set]) &&
	    waits(vcpu))
		add(vcpu, set);
}

/**
 * kvm_directed_yield_called - kvm_vcpu_wake_up() was called for a vCPU
 * @vcpu: the vCPU, for which there is something to do
 *
 * Context: any but NMI, after __kvm_vcpu_wake_up(), whose full barrier is half of (C).
 */
void kvm_directed_yield_called(struct kvm_vcpu *vcpu)
{
	if (!READ_ONCE(vcpu->scheduled_out))
		return;

	add(vcpu, KVM_DY_CALLED);
	/* It may have run before, and not have seen the bit. */
	if (!READ_ONCE(vcpu->scheduled_out))
		forget(vcpu, KVM_DY_CALLED);
}

static bool same_group(struct task_struct *a, struct task_struct *b)
{
#ifdef CONFIG_CGROUP_SCHED
	return a->sched_task_group == b->sched_task_group;
#else
	return true;
#endif
}

/* Is the task that comes next a stranger, in this one's group?  OLD if that is unknown. */
static bool next_is_rival(struct task_struct *next, bool old)
{
	/* The kernel's own tasks are soon done; another vCPU, or QEMU, is none. */
	if (!next->mm || next->mm == current->mm)
		return old;

	return same_group(next, current);
}

/**
 * kvm_directed_yield_sched_out - a vCPU's task leaves its CPU
 * @vcpu: the vCPU; its scheduled_out and preempted say so already
 * @next: the task that comes next
 *
 * Context: the preempt notifier, with the run queue's lock held.
 */
void kvm_directed_yield_sched_out(struct kvm_vcpu *vcpu, struct task_struct *next)
{
	enum kvm_dy_set set = KVM_DY_USER;

	vcpu->dy.rivals = next_is_rival(next, vcpu->dy.rivals);
	if (vcpu->dy.yielding)
		set = KVM_DY_SPINNER;
	else
		WRITE_ONCE(vcpu->dy.moves, vcpu->dy.moves + 1);

	if (!vcpu->preempted)
		return;

	if (set == KVM_DY_USER && kvm_arch_vcpu_preempted_in_kernel(vcpu))
		set = KVM_DY_KERNEL;
	add(vcpu, set);

	/* After the full barrier of add() (C) */
	if (kvm_arch_dy_has_pending_interrupt(vcpu))
		add(vcpu, KVM_DY_CALLED);
}

/**
 * kvm_directed_yield_sched_in - a vCPU's task is on a CPU again
 * @vcpu: the vCPU; its scheduled_out is false already
 *
 * Context: the preempt notifier, interrupts may be on.
 */
void kvm_directed_yield_sched_in(struct kvm_vcpu *vcpu)
{
	unsigned int group = vcpu->vcpu_idx / BITS_PER_LONG;
	unsigned int bit = vcpu->vcpu_idx % BITS_PER_LONG;
	unsigned long *sets = vcpu->kvm->dy.groups[group].sets;
	enum kvm_dy_set set;

	/* While it is being created, it bears another one's index. */
	if (!vcpu->wants_to_run)
		return;

	/*
	 * Between scheduled_out and the bits; pairs with the full barriers of add()
	 * in kvm_directed_yield_called().
	 */
	smp_mb();
	for (set = 0; set < KVM_DY_NR_SETS; set++)
		if (test_bit(bit, &sets[set]))
			clear_bit(bit, &sets[set]);
}

static unsigned long group_bits(struct kvm_dy *dy, enum kvm_dy_set set,
				unsigned int group)
{
	unsigned long *word = &dy->groups[group].sets[set];

	if (READ_ONCE(*word))
		return READ_ONCE(*word);

	clear_bit(group, dy->busy[set]);
	/* Pairs with add() (B) */
	smp_mb__after_atomic();
	if (READ_ONCE(*word))
		set_bit(group, dy->busy[set]);

	return READ_ONCE(*word);
}

/* The next vCPU of a set, in turn; NULL when there is none. */
static struct kvm_vcpu *next(struct kvm *kvm, enum kvm_dy_set set, unsigned int after)
{
	unsigned int first = after / BITS_PER_LONG;
	struct kvm_dy *dy = &kvm->dy;
	unsigned int group;
	unsigned long bits;

	if (bitmap_empty(dy->busy[set], KVM_DY_NR_GROUPS))
		return NULL;

	/* The rest of its group, all other groups, and its group from the start */
	group = first;
	bits = READ_ONCE(dy->groups[group].sets[set]) &
	       (~1UL << (after % BITS_PER_LONG));
	if (bits)
		return kvm_get_vcpu(kvm, group * BITS_PER_LONG + __ffs(bits));

	for_each_set_bit_wrap(group, dy->busy[set], KVM_DY_NR_GROUPS, first + 1) {
		bits = group_bits(dy, set, group);
		if (bits)
			return kvm_get_vcpu(kvm, group * BITS_PER_LONG + __ffs(bits));
	}

	return NULL;
}

static void count(struct kvm_vcpu *me, struct kvm_vcpu *target,
		  unsigned int reason, enum kvm_dy_outcome outcome)
{
	if (reason < KVM_DY_NR_REASONS)
		++me->dy_stat.reason[reason];
	++me->dy_stat.outcome[outcome];
	trace_kvm_directed_yield(me, target, reason, outcome);
}

/**
 * kvm_vcpu_yield_to - let the scheduler prefer a vCPU's task to this one
 * @target: the vCPU
 *
 * Context: process context, preemptible; schedules.
 * Return: above 0 when it does and this task was away meanwhile; 0 when it does not,
 * as the task runs, sleeps or is gone; below 0 when there was nothing to gain.
 */
int kvm_vcpu_yield_to(struct kvm_vcpu *target)
{
	struct task_struct *task;
	int ret;

	rcu_read_lock();
	task = pid_task(rcu_dereference(target->pid), PIDTYPE_PID);
	if (task)
		get_task_struct(task);
	rcu_read_unlock();
	if (!task)
		return 0;

	ret = yield_to(task, true);
	put_task_struct(task);
	return ret;
}
EXPORT_SYMBOL_GPL(kvm_vcpu_yield_to);

static void note_use(struct kvm_vcpu_dy *dy, bool useful)
{
	unsigned int max = READ_ONCE(directed_yield_backoff);

	if (useful) {
		dy->useless = 0;
		return;
	}

	if (dy->useless < USELESS_MAX)
		dy->useless++;
	if (dy->useless >= USELESS_MIN)
		dy->skip = min(max, 1U << (dy->useless - USELESS_MIN));
}

/* What has come of the last yield that could be one of many in a circle? */
static void judge(struct kvm_vcpu_dy *dy)
{
	struct kvm_vcpu *target = dy->boosted;

	if (!target)
		return;

	dy->boosted = NULL;
	if (READ_ONCE(target->dy.moves) != dy->boosted_moves)
		note_use(dy, true);
	else if (READ_ONCE(target->dy.spins) != dy->boosted_spins ||
		 READ_ONCE(target->scheduled_out))
		note_use(dy, false);
}

static void note_spin(struct kvm_vcpu *me)
{
	unsigned long where = kvm_arch_dy_where(me);
	struct kvm_vcpu_dy *dy = &me->dy;

	if (!where || where != dy->where)
		WRITE_ONCE(dy->moves, dy->moves + 1);
	dy->where = where;
	WRITE_ONCE(dy->spins, dy->spins + 1);
}

static enum kvm_dy_outcome attempt(struct kvm_vcpu *me, struct kvm_vcpu *target,
				   enum kvm_dy_reason reason)
{
	struct kvm_vcpu_dy *dy = &me->dy;
	enum kvm_dy_outcome outcome;

	/* One that was preempted while it polls in a halt only waits itself. */
	if (target == me || READ_ONCE(target->halt_polling) || !waits(target))
		return KVM_DY_STALE;

	dy->boosted_moves = READ_ONCE(target->dy.moves);
	dy->boosted_spins = READ_ONCE(target->dy.spins);

	note_spin(me);
	dy->yielding = true;
	outcome = kvm_vcpu_yield_to(target) > 0 ? KVM_DY_TARGET_RAN : KVM_DY_DECLINED;
	dy->yielding = false;

	count(me, target, reason, outcome);
	/* It may have begun to run meanwhile: the scheduler declines that, too. */
	if (outcome == KVM_DY_DECLINED && waits(target))
		note_use(dy, false);
	else if (outcome == KVM_DY_TARGET_RAN && reason == KVM_DY_OTHER)
		dy->boosted = target;

	return outcome;
}

/* To the next of a set, or one behind it; *TRIES is for all sets together. */
static enum kvm_dy_outcome yield_to_set(struct kvm_vcpu *me, enum kvm_dy_set set,
					unsigned int *tries)
{
	enum kvm_dy_outcome outcome = KVM_DY_NO_CANDIDATE, result = outcome;
	struct kvm_vcpu *target, *first = NULL;
	struct kvm *kvm = me->kvm;

	if (!reason_enabled(set_reasons[set]))
		return outcome;

	for (; *tries && outcome != KVM_DY_TARGET_RAN; --*tries) {
		target = next(kvm, set, READ_ONCE(kvm->dy.last[set]));
		if (!target || target == first)
			break;
		if (!first)
			first = target;

		WRITE_ONCE(kvm->dy.last[set], target->vcpu_idx);
		outcome = attempt(me, target, set_reasons[set]);
		if (outcome == KVM_DY_STALE)
			forget(target, set);
		else
			result = outcome;
	}

	return result;
}

/* Has hardware posted an interrupt to one that may not be chosen otherwise? */
static bool find_posted(struct kvm *kvm)
{
	struct kvm_vcpu *vcpu, *first = NULL;
	unsigned int i;

	for (i = 0; i < MAX_LOOKS; i++) {
		vcpu = next(kvm, KVM_DY_USER, READ_ONCE(kvm->dy.looked));
		if (!vcpu || vcpu == first)
			break;
		if (!first)
			first = vcpu;

		WRITE_ONCE(kvm->dy.looked, vcpu->vcpu_idx);
		if (kvm_arch_dy_has_pending_interrupt(vcpu)) {
			add(vcpu, KVM_DY_CALLED);
			return true;
		}
	}

	return false;
}

static enum kvm_dy_outcome yield_to_ipi_target(struct kvm_vcpu *me)
{
	struct kvm_vcpu *target = me->dy.ipi_target;

	if (!target || !READ_ONCE(target->scheduled_out) ||
	    !reason_enabled(KVM_DY_IPI_TARGET))
		return KVM_DY_NO_CANDIDATE;
	if (!in_set(target, KVM_DY_CALLED) && !kvm_arch_dy_has_pending_interrupt(target))
		return KVM_DY_NO_CANDIDATE;

	return attempt(me, target, KVM_DY_IPI_TARGET);
}

static enum kvm_dy_outcome yield_to_any(struct kvm_vcpu *me, bool kernel_only)
{
	enum kvm_dy_outcome outcome, result = KVM_DY_NO_CANDIDATE;
	bool back_off = me->dy.skip && READ_ONCE(directed_yield_backoff);
	bool turned = me->dy.asked % TURN == 0 && !back_off;
	unsigned int tries = back_off ? 1 : MAX_TRIES;
	enum kvm_dy_set rank, set;

	if (back_off) {
		me->dy.skip--;
		result = KVM_DY_BACKED_OFF;
	}

	for (rank = 0; rank < KVM_DY_NR_SETS; rank++) {
		set = turned ? KVM_DY_NR_SETS - 1 - rank : rank;
		if ((set == KVM_DY_USER && kernel_only) ||
		    (set == KVM_DY_SPINNER && back_off))
			continue;

		outcome = yield_to_set(me, set, &tries);
		if (outcome == KVM_DY_NO_CANDIDATE && set == KVM_DY_CALLED && kernel_only &&
		    kvm_arch_dy_posted_interrupts() && find_posted(me->kvm))
			outcome = yield_to_set(me, set, &tries);
		if (outcome == KVM_DY_TARGET_RAN)
			return outcome;
		if (outcome == KVM_DY_DECLINED)
			result = outcome;
	}

	return result;
}

/**
 * kvm_vcpu_on_spin - a vCPU was found spinning: give way to one it may wait for
 * @me: the running task's vCPU
 * @yield_to_kernel_mode: it spins in the guest's kernel, and so waits for nobody who
 *	was preempted in user mode
 *
 * Context: process context, preemptible; may schedule.
 * Return: true when it begins to back off, as that has been of no use lately; the
 * guest should spin for longer before it is asked again.
 */
bool kvm_vcpu_on_spin(struct kvm_vcpu *me, bool yield_to_kernel_mode)
{
	struct kvm_vcpu_dy *dy = &me->dy;
	enum kvm_dy_outcome outcome;
	u8 backed_off;

	backed_off = dy->skip;
	judge(dy);
	++dy->asked;

	outcome = yield_to_ipi_target(me);
	if (outcome == KVM_DY_TARGET_RAN)
		return false;

	outcome = yield_to_any(me, yield_to_kernel_mode);
	if (outcome == KVM_DY_NO_CANDIDATE || outcome == KVM_DY_BACKED_OFF)
		count(me, NULL, KVM_DY_NR_REASONS, outcome);

	return outcome == KVM_DY_BACKED_OFF && dy->skip >= backed_off;
}
EXPORT_SYMBOL_GPL(kvm_vcpu_on_spin);

/**
 * kvm_directed_yield - give way to a certain vCPU
 * @me: the running task's vCPU
 * @target: the vCPU that it, or its guest, knows to be waited for
 * @reason: why, for parameters, statistics and traces
 *
 * Context: process context, preemptible; may schedule.
 * Return: true when it did.
 */
bool kvm_directed_yield(struct kvm_vcpu *me, struct kvm_vcpu *target,
			enum kvm_dy_reason reason)
{
	enum kvm_dy_outcome outcome = KVM_DY_STALE;

	if (reason_enabled(reason))
		outcome = attempt(me, target, reason);
	if (outcome == KVM_DY_STALE)
		count(me, target, KVM_DY_NR_REASONS, KVM_DY_NO_CANDIDATE);

	return outcome == KVM_DY_TARGET_RAN;
}

/*
 * The first, by rank, of those that wait on other CPUs' queues; NULL if one waits here,
 * or none.  In a VM that has many waiting, some of them are looked at.
 */
static struct kvm_vcpu *left_behind(struct kvm *kvm, enum kvm_dy_set *from)
{
	static const u8 ranks[] = { KVM_DY_KERNEL, KVM_DY_USER, KVM_DY_CALLED, KVM_DY_SPINNER };
	struct kvm_vcpu *target, *first, *found = NULL;
	unsigned int i, after, looks = MAX_LOOKS;
	enum kvm_dy_set set;
	int cpu;

	for (i = 0; i < ARRAY_SIZE(ranks); i++) {
		set = ranks[i];
		if (!reason_enabled(set_reasons[set]))
			continue;

		after = READ_ONCE(kvm->dy.last[set]);
		for (first = NULL; looks; looks--, after = target->vcpu_idx) {
			target = next(kvm, set, after);
			if (!target || target == first)
				break;
			if (!first)
				first = target;

			cpu = READ_ONCE(target->halt_polling) ? -1 : waits_on(target);
			if (cpu == raw_smp_processor_id())
				return NULL;
			if (cpu < 0) {
				forget(target, set);
			} else if (!found) {
				found = target;
				*from = set;
			}
		}
	}

	return found;
}

/**
 * kvm_directed_yield_sleep - schedule() for a vCPU that sleeps in a halt
 * @me: the running task's vCPU
 *
 * The task is in the state in which it wants to sleep, and whoever wakes it ends that
 * state; nothing in here does, so a wake-up is not lost: yield_to() ends with the
 * schedule() that would have been called otherwise, and looks at the state then.
 *
 * Context: process context, preemptible; schedules, and nothing in it sleeps before.
 */
void kvm_directed_yield_sleep(struct kvm_vcpu *me)
{
	struct kvm_vcpu *target = NULL;
	enum kvm_dy_outcome outcome;
	enum kvm_dy_set set;

	if (READ_ONCE(directed_yield_halt) && !me->dy.rivals)
		target = left_behind(me->kvm, &set);
	if (!target) {
		schedule();
		return;
	}

	WRITE_ONCE(me->kvm->dy.last[set], target->vcpu_idx);
	outcome = kvm_vcpu_yield_to(target) > 0 ? KVM_DY_TARGET_RAN : KVM_DY_DECLINED;
	if (outcome == KVM_DY_DECLINED)
		schedule();

	++me->dy_stat.halts;
	count(me, target, set_reasons[set], outcome);
}
