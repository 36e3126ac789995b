// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM: what a vCPU does from its halt to its wake-up
 */

/**
 * DOC: halt polling
 *
 * Waking a sleeping vCPU takes an IPI, a trip through the idle loop and two
 * context switches.  When the wake-up is only microseconds away, it is cheaper
 * to look for it a little while, and sleep only then.  This file is the
 * mechanism; how long to look is the governor's choice (halt_poll_governor*.c).
 *
 * A halt goes through up to three stages:
 *
 *	begin:	  choose the window; find out whether to poll at all
 *	poll:	  until the window is over, counted from the halt's beginning
 *	sleep:	  until there is something to do
 *
 * and ends when there is something for the guest.  A wait may end before that:
 * by a signal, by KVM_REQ_UNBLOCK, or by a call that turns out to be for nothing.
 * The halt is open then, and the next wait goes on with it.  All its waits are
 * judged, counted and traced as one halt, by its whole length.
 *
 * An architecture whose run loop looks for events anyway waits with
 * kvm_vcpu_halt_wait(), which does not look once more when it is called, and says
 * kvm_vcpu_halt_end() when the guest goes on.  For the others kvm_vcpu_halt() is
 * all of that.
 *
 * Being woken, awake
 * ------------------
 * Whoever has something for a vCPU must call kvm_vcpu_wake_up(), or it could
 * sleep forever.  So a poll need not look for events, which would mean SRCU,
 * the local APIC and a dozen other places at each iteration; it waits for the
 * call.  kvm_vcpu.halt_polling is the flag between the two; it shares a cache
 * line with kvm_vcpu.requests, which wakers write anyway.  kvm_halt_wake() is
 * the waker's half:
 *
 *	vCPU				waker
 *	halt_polling = true		event
 *	full barrier (A)		full barrier (B), in rcuwait_wake_up()
 *	look for events			if (halt_polling)
 *	while (halt_polling)			halt_polling = false
 *		relax
 *
 * Either the vCPU sees the event or the waker sees the flag.  When the flag was
 * cleared, the vCPU looks; if it finds nothing and waits on, that begins with
 * the flag, the barrier and a look again, so that a waker who comes in between
 * finds the flag or is found.  A waker who is late, and clears the flag of some
 * later poll, costs that poll a round.
 *
 * Events that no call announces, a posted interrupt sent by hardware say, are
 * the architecture's to notice: kvm_arch_vcpu_poll_event() is asked at each
 * iteration, must be cheap and lockless, and may err towards true.  Without one,
 * each iteration is a full look.
 *
 * An iteration reads the flag, this task's own flags for a signal and for
 * another task to run, and what the architecture asks for.  The clock, and
 * whether another task waits for this CPU, are read once in POLL_BATCH
 * iterations: under a microsecond with the slowest PAUSE that is built (140
 * cycles).  A poll that was woken takes the last reading for its end, as nothing
 * should delay the guest now.
 *
 * Being woken, asleep
 * -------------------
 * The sleep is the usual one on an rcuwait, which has the same two barriers.
 * The first waker that finds a vCPU in it leaves the time, before the actual
 * wake-up, and the vCPU compares that with the time when it runs.  This is a
 * measurement: in a race it may lose a time, or find one from before the sleep,
 * which is not counted.  No wake-up depends on it.
 *
 * On which CPU the wake-up is done is halt_wake.c's choice.
 */

#include <linux/debugfs.h>
#include <linux/kernel_stat.h>
#include <linux/kvm_host.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/sched/stat.h>
#include <linux/string.h>

#include <trace/events/kvm.h>

#define CREATE_TRACE_POINTS
#include <trace/events/kvm_halt_poll.h>

#define POLL_BATCH	8

/* kvm_vcpu_stats_read() hands out all up to stats_id as one. */
static_assert(offsetof(struct kvm_vcpu, halt_stat) ==
	      offsetofend(struct kvm_vcpu, stat));

unsigned int halt_poll_ns = CONFIG_KVM_HALT_POLL_NS;
EXPORT_SYMBOL_GPL(halt_poll_ns);
module_param(halt_poll_ns, uint, 0644);
MODULE_PARM_DESC(halt_poll_ns, "Longest time a halted vCPU may poll, in ns; 0 turns polling off");

unsigned int halt_poll_ns_grow = 2;
EXPORT_SYMBOL_GPL(halt_poll_ns_grow);
module_param(halt_poll_ns_grow, uint, 0644);
MODULE_PARM_DESC(halt_poll_ns_grow, "Factor by which a window grows; 0 keeps it as it is");

unsigned int halt_poll_ns_grow_start = 10000;
EXPORT_SYMBOL_GPL(halt_poll_ns_grow_start);
module_param(halt_poll_ns_grow_start, uint, 0644);
MODULE_PARM_DESC(halt_poll_ns_grow_start, "Smallest window above zero, in ns");

unsigned int halt_poll_ns_shrink = 2;
EXPORT_SYMBOL_GPL(halt_poll_ns_shrink);
module_param(halt_poll_ns_shrink, uint, 0644);
MODULE_PARM_DESC(halt_poll_ns_shrink, "Divisor by which a window shrinks; 0 closes it at once");

static const struct kvm_halt_poll_governor *const governors[] = {
	&kvm_halt_poll_static,
	&kvm_halt_poll_grow,
};

static const struct kvm_halt_poll_governor *halt_poll_governor =
	IS_ENABLED(CONFIG_KVM_HALT_POLL_GOVERNOR_STATIC) ? &kvm_halt_poll_static
							 : &kvm_halt_poll_grow;

static int governor_set(const char *val, const struct kernel_param *kp)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(governors); i++) {
		if (sysfs_streq(val, governors[i]->name)) {
			WRITE_ONCE(halt_poll_governor, governors[i]);
			return 0;
		}
	}

	return -EINVAL;
}

static int governor_get(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%s\n", READ_ONCE(halt_poll_governor)->name);
}

static const struct kernel_param_ops governor_ops = {
	.set = governor_set,
	.get = governor_get,
};

module_param_cb(halt_poll_governor, &governor_ops, NULL, 0644);
MODULE_PARM_DESC(halt_poll_governor, "Who chooses the window: static (always the longest) or grow (by the last halts)");

static unsigned int halt_poll_steal_pct = CONFIG_KVM_HALT_POLL_STEAL_PCT;

static int steal_pct_set(const char *val, const struct kernel_param *kp)
{
	return param_set_uint_minmax(val, kp, 0, 100);
}

static const struct kernel_param_ops steal_pct_ops = {
	.set = steal_pct_set,
	.get = param_get_uint,
};

module_param_cb(halt_poll_steal_pct, &steal_pct_ops, &halt_poll_steal_pct, 0644);
MODULE_PARM_DESC(halt_poll_steal_pct, "Polling backs off when more of the CPU than this is stolen, in percent; 100 for never");

static bool halt_wake_latency = IS_ENABLED(CONFIG_KVM_HALT_WAKE_LATENCY);
module_param(halt_wake_latency, bool, 0644);
MODULE_PARM_DESC(halt_wake_latency, "Measure the time from a wake-up to the vCPU running");

/* What ended a wait */
enum halt_event {
	EVENT_NONE,
	EVENT_CALLED,	/* kvm_vcpu_wake_up(): something for the guest, maybe */
	EVENT_GUEST,	/* seen: something for the guest */
	EVENT_SIGNAL,
	EVENT_UNBLOCK,	/* the host wants the vCPU, the guest stays halted */
};

/*
 * The full look.  SRCU is for nested guests and Xen emulation, whose events
 * live in guest memory.
 */
static enum halt_event halt_look(struct kvm_vcpu *vcpu)
{
	enum halt_event event = EVENT_NONE;
	int idx = srcu_read_lock(&vcpu->kvm->srcu);

	if (kvm_arch_vcpu_runnable(vcpu) || kvm_cpu_has_pending_timer(vcpu))
		event = EVENT_GUEST;
	else if (signal_pending(current))
		event = EVENT_SIGNAL;
	else if (kvm_check_request(KVM_REQ_UNBLOCK, vcpu))
		event = EVENT_UNBLOCK;

	srcu_read_unlock(&vcpu->kvm->srcu, idx);
	return event;
}

#ifndef kvm_arch_vcpu_poll_event
static bool kvm_arch_vcpu_poll_event(struct kvm_vcpu *vcpu)
{
	return true;
}
#endif

#ifndef kvm_arch_vcpu_timer_ns
static u64 kvm_arch_vcpu_timer_ns(struct kvm_vcpu *vcpu)
{
	return U64_MAX;
}
#endif

/* Is a poll over, after so many iterations?  KVM_HALT_POLL_NONE if not. */
static enum kvm_halt_poll_end halt_poll_over(struct kvm_halt *halt,
					     enum halt_event event,
					     unsigned int iterations)
{
	unsigned int turn = iterations % POLL_BATCH;

	if (event == EVENT_SIGNAL)
		return KVM_HALT_POLL_SIGNAL;
	if (event != EVENT_NONE)
		return KVM_HALT_POLL_WOKEN;
	if (need_resched() || (turn == 0 && !single_task_running()))
		return KVM_HALT_POLL_CONTENTION;
	if (turn == POLL_BATCH - 1) {
		halt->now_ns = ktime_get_ns();
		if (halt->now_ns >= halt->stop_ns)
			return KVM_HALT_POLL_WINDOW;
	}

	return KVM_HALT_POLL_NONE;
}

static enum halt_event halt_poll(struct kvm_vcpu *vcpu)
{
	enum halt_event event = EVENT_NONE;
	struct kvm_halt *halt = &vcpu->halt;
	enum kvm_halt_poll_end end;
	bool look = true;
	unsigned int i;

	WRITE_ONCE(vcpu->halt_polling, true);
	/* (A), pairs with (B) of kvm_halt_wake_here(): see above. */
	smp_mb();

	for (i = 0; ; i++) {
		if (look)
			event = halt_look(vcpu);

		end = halt_poll_over(halt, event, i);
		if (end != KVM_HALT_POLL_NONE)
			break;

		cpu_relax();
		look = signal_pending(current) || kvm_arch_vcpu_poll_event(vcpu);
		if (!READ_ONCE(vcpu->halt_polling)) {
			event = EVENT_CALLED;
			look = false;
		}
	}

	WRITE_ONCE(vcpu->halt_polling, false);
	if (i)
		halt->polled = true;
	halt->poll_end = end;
	++vcpu->halt_stat.end[end];
	return event;
}

/**
 * kvm_halt_wake_here - wake a vCPU that waits, from this CPU
 * @vcpu: the vCPU, for which there is something to do
 *
 * Context: any but NMI, and any locks, those of the timekeeper excepted.
 * Return: true when the vCPU slept; false when it ran, or polled.
 */
bool kvm_halt_wake_here(struct kvm_vcpu *vcpu)
{
	if (rcuwait_wake_up(kvm_arch_vcpu_get_wait(vcpu)))
		return true;

	/*
	 * (B) is the full barrier with which rcuwait_wake_up() begins.  It
	 * orders the caller's event before this read and pairs with (A).
	 */
	if (READ_ONCE(vcpu->halt_polling))
		WRITE_ONCE(vcpu->halt_polling, false);

	return false;
}

/**
 * kvm_halt_wake - wake a vCPU that waits, in whichever way it does
 * @vcpu: the vCPU, for which there is something to do
 *
 * The caller has made the event visible, in program order; nothing more is
 * asked.  This is __kvm_vcpu_wake_up(), beneath kvm_vcpu_wake_up().
 *
 * Context: any but NMI, and any locks, those of the timekeeper excepted.
 * Return: true when the vCPU slept; false when it ran, or polled.
 */
bool kvm_halt_wake(struct kvm_vcpu *vcpu)
{
	struct kvm_halt *halt = &vcpu->halt;

	if (rcuwait_active(kvm_arch_vcpu_get_wait(vcpu)) && READ_ONCE(halt_wake_latency) &&
	    !atomic64_read(&halt->wake_stamp))
		atomic64_cmpxchg_relaxed(&halt->wake_stamp, 0, ktime_get_ns());

	return kvm_halt_wake_home(vcpu) || kvm_halt_wake_here(vcpu);
}

/* With the task's state set; a wake-up ends both. */
#ifndef kvm_arch_vcpu_sleep
static void kvm_arch_vcpu_sleep(struct kvm_vcpu *vcpu)
{
	schedule();
}
#endif

/* When a sleep was ended, and by whose word; zeroes if there was none. */
struct halt_sleep {
	u64 woken_ns;
	u64 ran_ns;
};

static enum halt_event halt_sleep(struct kvm_vcpu *vcpu, struct halt_sleep *sleep)
{
	struct rcuwait *wait = kvm_arch_vcpu_get_wait(vcpu);
	atomic64_t *stamp = &vcpu->halt.wake_stamp;
	enum halt_event event;

	atomic64_set(stamp, 0);
	vcpu->stat.generic.blocking = 1;

	preempt_disable();
	kvm_arch_vcpu_blocking(vcpu);
	prepare_to_rcuwait(wait);
	preempt_enable();

	/*
	 * A full barrier between being known as a sleeper and the look; pairs
	 * with (B) of kvm_halt_wake_here().
	 */
	set_current_state(TASK_INTERRUPTIBLE);
	event = halt_look(vcpu);
	if (event == EVENT_NONE) {
		WRITE_ONCE(vcpu->halt.crowded, !single_task_running());
		kvm_arch_vcpu_sleep(vcpu);
		event = signal_pending(current) ? EVENT_SIGNAL : EVENT_CALLED;
		/* In this order: what stamps now has not ended the sleep. */
		sleep->woken_ns = atomic64_read(stamp);
		sleep->ran_ns = ktime_get_ns();
	}

	preempt_disable();
	finish_rcuwait(wait);
	kvm_arch_vcpu_unblocking(vcpu);
	preempt_enable();

	vcpu->stat.generic.blocking = 0;
	return event;
}

/**
 * kvm_vcpu_block - wait, without polling, until there is something to do
 * @vcpu: the running task's vCPU
 *
 * For states other than a halt, such as x86's wait-for-SIPI.
 *
 * Context: process context, kvm->srcu not held.
 * Return: true when the vCPU slept.
 */
bool kvm_vcpu_block(struct kvm_vcpu *vcpu)
{
	struct halt_sleep sleep = {};

	while (halt_sleep(vcpu, &sleep) == EVENT_CALLED &&
	       halt_look(vcpu) == EVENT_NONE)
		;

	return sleep.ran_ns;
}

/* How the wait was ended.  It counts with the halt's end, if it is the end. */
static void halt_note_wake(struct kvm_vcpu *vcpu, const struct halt_sleep *sleep)
{
	struct kvm_halt *halt = &vcpu->halt;
	u64 slept_from = halt->now_ns;

	halt->wake_ns = 0;

	if (sleep->ran_ns) {
		halt->slept = true;
		halt->now_ns = sleep->ran_ns;
		halt->wait_ns += sleep->ran_ns - slept_from;
	}

	if (halt->event == EVENT_SIGNAL) {
		halt->wake = KVM_HALT_WAKE_SIGNAL;
		++vcpu->halt_stat.wake[KVM_HALT_WAKE_SIGNAL];
	} else if (!sleep->ran_ns) {
		halt->wake = KVM_HALT_WAKE_POLLED;
	} else if (sleep->woken_ns < slept_from ||
		   sleep->woken_ns > sleep->ran_ns) {
		halt->wake = KVM_HALT_WAKE_UNTIMED;
	} else {
		halt->wake = KVM_HALT_WAKE_TIMED;
		halt->wake_ns = sleep->ran_ns - sleep->woken_ns;
	}
}

static void halt_count_wake(struct kvm_vcpu *vcpu)
{
	struct kvm_halt_stat *stat = &vcpu->halt_stat;
	struct kvm_halt *halt = &vcpu->halt;

	if (halt->wake == KVM_HALT_WAKE_SIGNAL)
		return;

	++stat->wake[halt->wake];
	if (halt->wake == KVM_HALT_WAKE_TIMED) {
		stat->wake_ns += halt->wake_ns;
		KVM_STATS_LOG_HIST_UPDATE(stat->wake_hist, halt->wake_ns);
	}
}

static struct kvm_halt_poll_tunables halt_tunables(struct kvm *kvm)
{
	struct kvm_halt_poll_tunables tunables = {
		.max_ns		= READ_ONCE(halt_poll_ns),
		.grow		= READ_ONCE(halt_poll_ns_grow),
		.grow_start_ns	= READ_ONCE(halt_poll_ns_grow_start),
		.shrink		= READ_ONCE(halt_poll_ns_shrink),
	};

	if (READ_ONCE(kvm->override_halt_poll_ns)) {
		/* Pairs with smp_wmb() where KVM_CAP_HALT_POLL is enabled. */
		smp_rmb();
		tunables.max_ns = READ_ONCE(kvm->max_halt_poll_ns);
	}

	return tunables;
}

/* What governors do to the window is traced here, for all of them. */
static void halt_trace_window(struct kvm_vcpu *vcpu, u32 old)
{
	u32 new = vcpu->halt_poll.window_ns;

	if (new != old)
		trace_kvm_halt_poll_ns(new > old, vcpu->vcpu_id, new, old);
}

static bool halt_stolen(struct kvm_halt_poll_steal *steal, u64 now_ns)
{
	unsigned int max_pct = READ_ONCE(halt_poll_steal_pct);
	struct kernel_cpustat cpustat;
	int cpu;

	if (kvm_halt_poll_steal_due(steal, now_ns)) {
		cpu = raw_smp_processor_id();
		kcpustat_cpu_fetch(&cpustat, cpu);
		kvm_halt_poll_steal_sample(steal, now_ns, cpu,
					   cpustat.cpustat[CPUTIME_STEAL],
					   max_pct);
	}

	return kvm_halt_poll_steal_withholds(steal, now_ns, max_pct);
}

/* Choose the window, and whether to use it: then it ends by itself at first. */
static enum kvm_halt_poll_end halt_select(struct kvm_vcpu *vcpu)
{
	const struct kvm_halt_poll_governor *governor = READ_ONCE(halt_poll_governor);
	struct kvm_halt *halt = &vcpu->halt;
	bool no_poll = kvm_arch_no_poll(vcpu);
	u32 old = vcpu->halt_poll.window_ns;

	/* A governor never sees what another one left. */
	if (halt->governor != governor) {
		halt->governor = governor;
		vcpu->halt_poll = (struct kvm_halt_poll_state){};
	}

	halt->tunables = halt_tunables(vcpu->kvm);
	halt->tunables.timer_ns = governor->asks_timer ? kvm_arch_vcpu_timer_ns(vcpu) : U64_MAX;
	halt->governor->select(&vcpu->halt_poll, &halt->tunables);
	halt_trace_window(vcpu, old);

	if (!halt->tunables.max_ns)
		return KVM_HALT_POLL_NONE;
	if (no_poll)
		return KVM_HALT_POLL_GUEST;
	if (!vcpu->halt_poll.window_ns)
		return KVM_HALT_POLL_NONE;
	if (halt_stolen(&halt->steal, halt->start_ns))
		return KVM_HALT_POLL_STEAL;

	return KVM_HALT_POLL_WINDOW;
}

static void halt_begin(struct kvm_vcpu *vcpu)
{
	struct kvm_halt *halt = &vcpu->halt;
	enum kvm_halt_poll_end end;

	halt->start_ns = halt->now_ns;
	halt->stop_ns = halt->now_ns;
	halt->poll_ns = 0;
	halt->wait_ns = 0;
	halt->open = true;
	halt->polled = false;
	halt->slept = false;

	end = halt_select(vcpu);
	if (end == KVM_HALT_POLL_WINDOW)
		halt->stop_ns += vcpu->halt_poll.window_ns;
	else if (end != KVM_HALT_POLL_NONE)
		++vcpu->halt_stat.end[end];

	halt->poll_end = end;
}

static void halt_reflect(struct kvm_vcpu *vcpu, u64 halt_ns)
{
	struct kvm_halt_poll_sample sample = {
		.halt_ns = halt_ns,
		.valid = vcpu_valid_wakeup(vcpu),
	};
	struct kvm_halt *halt = &vcpu->halt;
	u32 old = vcpu->halt_poll.window_ns;

	if (!halt->governor->reflect || halt->poll_end == KVM_HALT_POLL_GUEST)
		return;

	halt->governor->reflect(&vcpu->halt_poll, &halt->tunables, &sample);
	halt_trace_window(vcpu, old);
}

static void halt_count(struct kvm_vcpu *vcpu)
{
	struct kvm_vcpu_stat_generic *stat = &vcpu->stat.generic;
	struct kvm_halt *halt = &vcpu->halt;

	if (halt->slept) {
		stat->halt_wait_ns += halt->wait_ns;
		KVM_STATS_LOG_HIST_UPDATE(stat->halt_wait_hist, halt->wait_ns);
	}

	if (!halt->polled)
		return;

	++stat->halt_attempted_poll;
	if (halt->slept) {
		stat->halt_poll_fail_ns += halt->poll_ns;
		KVM_STATS_LOG_HIST_UPDATE(stat->halt_poll_fail_hist, halt->poll_ns);
	} else {
		++stat->halt_successful_poll;
		if (!vcpu_valid_wakeup(vcpu))
			++stat->halt_poll_invalid;
		stat->halt_poll_success_ns += halt->poll_ns;
		KVM_STATS_LOG_HIST_UPDATE(stat->halt_poll_success_hist, halt->poll_ns);
	}
}

static void halt_end(struct kvm_vcpu *vcpu)
{
	struct kvm_halt *halt = &vcpu->halt;
	u64 halt_ns = halt->now_ns - halt->start_ns;

	halt->open = false;
	halt_count_wake(vcpu);
	halt_count(vcpu);
	trace_kvm_halt(vcpu, halt_ns);
	halt_reflect(vcpu, halt_ns);
	trace_kvm_vcpu_wakeup(halt_ns, halt->slept, vcpu_valid_wakeup(vcpu));
}

/**
 * kvm_vcpu_halt_wait - wait as a halted vCPU does: poll a while, then sleep
 * @vcpu: the running task's vCPU, which has executed HLT, WFI or the like
 *
 * Returns when kvm_vcpu_wake_up() was called, when there is something for the
 * guest, at a signal or KVM_REQ_UNBLOCK.  The caller finds out what it was, and
 * then either waits on or calls kvm_vcpu_halt_end().
 *
 * Context: process context, preemptible, kvm->srcu not held.
 */
void kvm_vcpu_halt_wait(struct kvm_vcpu *vcpu)
{
	struct kvm_halt *halt = &vcpu->halt;
	struct halt_sleep sleep = {};
	u64 from_ns = ktime_get_ns();

	halt->now_ns = from_ns;
	if (!halt->open)
		halt_begin(vcpu);

	halt->event = EVENT_NONE;
	if (from_ns < halt->stop_ns) {
		halt->event = halt_poll(vcpu);
		halt->poll_ns += halt->now_ns - from_ns;
	}

	if (halt->event == EVENT_NONE)
		halt->event = halt_sleep(vcpu, &sleep);

	halt_note_wake(vcpu, &sleep);
}

/**
 * kvm_vcpu_halt_end - the guest is not halted any more
 * @vcpu: the vCPU, whose mutex is held
 *
 * Closes the halt, if one is open.
 *
 * Context: process context.
 */
void kvm_vcpu_halt_end(struct kvm_vcpu *vcpu)
{
	struct kvm_halt *halt = &vcpu->halt;

	if (!halt->open)
		return;

	/* It went on while the vCPU was away. */
	if (halt->event == EVENT_SIGNAL || halt->event == EVENT_UNBLOCK)
		halt->now_ns = ktime_get_ns();

	halt_end(vcpu);
}

/**
 * kvm_vcpu_halt - a whole halt, up to whatever ends it
 * @vcpu: the running task's vCPU, which has executed HLT, WFI or the like
 *
 * Returns when there is something for the guest, at a signal or
 * KVM_REQ_UNBLOCK.
 *
 * Context: process context, preemptible; kvm->srcu should not be held.
 */
void kvm_vcpu_halt(struct kvm_vcpu *vcpu)
{
	do {
		kvm_vcpu_halt_wait(vcpu);
	} while (vcpu->halt.event == EVENT_CALLED &&
		 halt_look(vcpu) == EVENT_NONE);

	kvm_vcpu_halt_end(vcpu);
}
EXPORT_SYMBOL_GPL(kvm_vcpu_halt);

/**
 * kvm_halt_poll_create_debugfs - show a vCPU's window to the administrator
 * @vcpu: the vCPU
 * @dir: its debugfs directory, which goes before it does
 *
 * Context: process context.
 */
void kvm_halt_poll_create_debugfs(struct kvm_vcpu *vcpu, struct dentry *dir)
{
	debugfs_create_u32("halt_poll_window_ns", 0444, dir,
			   &vcpu->halt_poll.window_ns);
}
