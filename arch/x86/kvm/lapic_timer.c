// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM: the local APIC's timer, and what keeps its deadline
 */

/**
 * DOC: the local APIC's timer
 *
 * In all of its modes the timer has one deadline at a time.  Two backends can
 * keep it:
 *
 *	guest	the VMX preemption timer: the vCPU thread's own business.  It
 *		counts only in guest mode, where its end is a VM exit.
 *	host	an hrtimer: works always, and costs a host timer interrupt.
 *
 * The timer is a machine of four states, which with the deadline are one word,
 * so that every transition is atomic.  D is a host TSC, the guest's deadline
 * less the advance (see lapic_timer_advance.c):
 *
 *	            write                 end of the wait
 *	   IDLE ------------> GUEST(D) <------------------ HOST(D)
 *	    ^                  |   |  ------------------->   |
 *	    |                  |   |     goes to sleep       |
 *	    |  deliver         v   v                         |
 *	    +-------------- EXPIRED <------------------------+
 *	                               D is over
 *
 * Without a preemption timer, or where D is out of its reach, a write leads to
 * HOST(D) at once.  A write or a clear may come in each state; the periodic
 * mode's delivery is a write of the next deadline.
 *
 * The vCPU thread makes all transitions but one: HOST(D), or GUEST(D), may also
 * become EXPIRED in the hrtimer's callback.  Who makes that one delivers the
 * interrupt, or makes the vCPU do so: no deadline counts twice.  Those of the
 * vCPU thread happen with preemption off, because preemption itself may change
 * the TSC's offset, and with it D.
 *
 * A halt moves no timer
 * ---------------------
 * In GUEST(D) somebody has to watch D while the vCPU is not in the guest.  An
 * exit or a preempted thread need nothing: the next entry finds out.  A poll
 * compares the TSC with D in each iteration, kvm_lapic_timer_poll().  Only when the
 * vCPU goes to sleep, the hrtimer is programmed, after the last point where
 * polling goes on and before the last look for events:
 *
 *	vCPU				callback
 *	state = HOST(D), (A)		state = EXPIRED
 *	program the hrtimer		kvm_vcpu_kick()
 *	known as a sleeper, barrier	    barrier
 *	look for events, EXPIRED	    if (known as a sleeper) wake
 *
 * Where D is kept by the hrtimer already, the poll takes it over shortly before
 * it is due, HOST(D) to GUEST(D), so that the host's interrupt does not land on
 * what follows.  If the poll ends without it, the end of the wait gives it back.
 *
 * The hrtimer is lazy
 * -------------------
 * It may stay programmed for a time earlier than D, for an older deadline or one
 * that was cleared.  When it fires it looks at the state, and is programmed again
 * if that is HOST(D).  So a deadline that moves later all the time costs one word:
 *
 *	vCPU				callback
 *	state = new			host_armed = 0
 *	full barrier (A), by xchg()	full barrier (B)
 *	if (host_armed does not suit)	if (state is HOST(D), D not over)
 *		cancel, program			host_armed = D
 *						full barrier (C)
 *						if (state is the same)
 *							program
 *						else start over
 *
 * Either the vCPU sees the 0 and programs, or the callback sees the new state; and
 * what the callback is about to program, the vCPU sees, or the callback sees that it
 * is outdated.  If both program, the vCPU is last, as hrtimer_cancel() waits for the
 * callback.
 *
 * A useless firing costs an exit, and the end of an idle state.  It takes a decision
 * to leave the hrtimer without a deadline of its own, and that is made only if it
 * will fire LAZY_GAP or more after the last useless one: that is at most 2,000 a
 * second.  Not counted is one that hits the vCPU thread in the midst of the
 * operation that makes it useless; it disturbs nobody.
 *
 * tools/kvm/model in this series' own tree has a model of all this.
 *
 * The callback takes a deadline as over by the TSC, not because it fired: the
 * host's clock may be slewed against the TSC.  If the TSC went backwards, as in a
 * suspend of the host, D makes no sense until the vCPU's next load adjusts its offset
 * and arms the timer again; so the vCPU is woken.  Where TSCs differ between CPUs,
 * nothing is lazy and the hrtimer is believed.
 */

#include <linux/kvm_host.h>

#include "irq.h"
#include "lapic.h"
#include "trace.h"
#include "x86.h"

#define CREATE_TRACE_POINTS
#include <trace/events/kvm_lapic_timer.h>

/* Host ticks between two useless firings, at least: 500 us. */
#define LAZY_GAP	((u64)tsc_khz / 2)
/* How long before the deadline a poll takes it over from the hrtimer: 4 us. */
#define TAKE_OVER	((u64)tsc_khz / 256)
/* No hrtimer is programmed further ahead, and none needs to be. */
#define HOST_MAX_TICKS	BIT_ULL(50)

static bool lapic_timer_lazy = true;
module_param(lapic_timer_lazy, bool, 0644);
MODULE_PARM_DESC(lapic_timer_lazy, "Leave the host timer as it is where a deadline moves later or is cleared");

static bool lapic_timer_poll = true;
module_param(lapic_timer_poll, bool, 0644);
MODULE_PARM_DESC(lapic_timer_poll, "Watch the deadline while polling in a halt, without a host timer");

static struct kvm_timer *vcpu_timer(struct kvm_vcpu *vcpu)
{
	return &vcpu->arch.apic->lapic_timer;
}

/*
 * May the host's timer post the interrupt itself?  Where the guest does not leave its
 * CPU to halt, and APICv is there to take it.
 */
static inline bool can_post(struct kvm_vcpu *vcpu)
{
	return pi_inject_timer && kvm_vcpu_apicv_active(vcpu) &&
	       (kvm_mwait_in_guest(vcpu->kvm) || kvm_hlt_in_guest(vcpu->kvm));
}

static u64 timer_state(enum kvm_lapic_timer_tag tag, u64 due)
{
	return due << KVM_LAPIC_TIMER_TAG_BITS | tag;
}

/* Unconditional: (A), a full barrier. */
static u64 timer_move(struct kvm_lapic *apic, u64 to,
		      enum kvm_lapic_timer_reason reason)
{
	u64 from = atomic64_xchg(&apic->lapic_timer.state, to);

	trace_kvm_lapic_timer(apic->vcpu, from, to, reason);
	return from;
}

static bool timer_try_move(struct kvm_lapic *apic, u64 from, u64 to,
			   enum kvm_lapic_timer_reason reason)
{
	if (!atomic64_try_cmpxchg(&apic->lapic_timer.state, (s64 *)&from, to))
		return false;

	trace_kvm_lapic_timer(apic->vcpu, from, to, reason);
	return true;
}

static bool unscaled(struct kvm_vcpu *vcpu)
{
	return vcpu->arch.l1_tsc_scaling_ratio == kvm_caps.default_tsc_scaling_ratio;
}

/**
 * kvm_lapic_timer_host_ticks - how long a time by the guest's TSC takes
 * @vcpu: the vCPU
 * @ticks: L1's ticks, to become the host's, rounded up
 *
 * Context: any.
 * Return: false if they are too many.
 */
bool kvm_lapic_timer_host_ticks(struct kvm_vcpu *vcpu, u64 *ticks)
{
	unsigned int frac = kvm_caps.tsc_scaling_ratio_frac_bits;
	u64 ratio = vcpu->arch.l1_tsc_scaling_ratio;

	if (unscaled(vcpu))
		return true;
	if (*ticks >> (64 - frac) >= ratio)
		return false;

	*ticks = mul_u64_u64_div_u64(*ticks, BIT_ULL(frac), ratio) + 1;
	return true;
}

/* Where nothing is scaled, without a call. */
static u64 guest_tsc(struct kvm_vcpu *vcpu, u64 now)
{
	return unscaled(vcpu) ? now + vcpu->arch.l1_tsc_offset : kvm_read_l1_tsc(vcpu, now);
}

/* When the timer is due, by the host's TSC; at or before now if it is over. */
static u64 timer_due(struct kvm_lapic *apic, u64 now)
{
	struct kvm_timer *t = &apic->lapic_timer;
	struct kvm_vcpu *vcpu = apic->vcpu;
	u64 early, ticks;

	early = guest_tsc(vcpu, now);
	if (t->timer_advance_ns)
		early += nsec_to_cycles(vcpu, t->timer_advance_ns);
	if (t->tscdeadline <= early)
		return now;

	ticks = t->tscdeadline - early;
	if (!kvm_lapic_timer_host_ticks(vcpu, &ticks) || ticks > KVM_LAPIC_TIMER_DUE_MAX - now)
		return KVM_LAPIC_TIMER_DUE_MAX;

	return now + ticks;
}

/* An interrupt between the two clocks' readings would make it late. */
static ktime_t host_expires(u64 due)
{
	unsigned long flags;
	ktime_t ktime;
	u64 ticks;

	local_irq_save(flags);
	ticks = rdtsc();
	ktime = ktime_get();
	local_irq_restore(flags);

	ticks = due > ticks ? min(due - ticks, HOST_MAX_TICKS) : 0;

	/* Rounded up, lest it fires early. */
	return ktime_add_ns(ktime, mul_u64_u32_div(ticks, NSEC_PER_MSEC, tsc_khz) + 1);
}

static bool host_lazy(struct kvm_lapic *apic)
{
	return READ_ONCE(lapic_timer_lazy) && !check_tsc_unstable() &&
	       !can_post(apic->vcpu);
}

/* May the hrtimer stay as it is, though the timer is due only later? */
static bool host_may_stay(struct kvm_lapic *apic, u64 due, u64 now)
{
	struct kvm_timer *t = &apic->lapic_timer;
	u64 armed = READ_ONCE(t->host_armed);
	u64 useless = READ_ONCE(t->useless_at);

	if (!armed || armed > due)
		return false;
	if (armed == due)
		return true;

	/* It is in the future if the TSC went backwards. */
	return host_lazy(apic) &&
	       (armed >= useless + LAZY_GAP || useless > now);
}

static void host_cancel(struct kvm_timer *t)
{
	hrtimer_cancel(&t->timer);
	/* No callback runs now. */
	WRITE_ONCE(t->host_armed, 0);
}

/* The state is HOST(due) already. */
static void host_arm(struct kvm_lapic *apic, u64 due, u64 now)
{
	struct kvm_timer *t = &apic->lapic_timer;

	if (host_may_stay(apic, due, now)) {
		++apic->vcpu->stat.lapic_timer_host_saved;
		return;
	}

	hrtimer_cancel(&t->timer);
	t->host_armed_at = now;
	WRITE_ONCE(t->host_armed, due);
	++apic->vcpu->stat.lapic_timer_host_arms;
	hrtimer_start(&t->timer, host_expires(due), HRTIMER_MODE_ABS_HARD);
}

/* It was armed, and is not needed.  What fires right now anyway had better not. */
static void host_idle(struct kvm_lapic *apic, u64 armed)
{
	struct kvm_timer *t = &apic->lapic_timer;
	u64 now = rdtsc();

	if (armed > now + TAKE_OVER && host_may_stay(apic, KVM_LAPIC_TIMER_DUE_MAX, now))
		++apic->vcpu->stat.lapic_timer_host_saved;
	else
		host_cancel(t);
}

static inline void host_disarm(struct kvm_lapic *apic)
{
	u64 armed = READ_ONCE(apic->lapic_timer.host_armed);

	if (armed)
		host_idle(apic, armed);
}

static void hv_disarm(struct kvm_lapic *apic)
{
	struct kvm_timer *t = &apic->lapic_timer;

	if (t->hv)
		kvm_x86_call(cancel_hv_timer)(apic->vcpu);
	t->hv = false;
}

static bool hv_arm(struct kvm_lapic *apic, u64 due, u64 now)
{
	struct kvm_vcpu *vcpu = apic->vcpu;
	bool possible = kvm_can_use_hv_timer(vcpu);

	if (possible && !kvm_x86_call(set_hv_timer)(vcpu, due, now)) {
		apic->lapic_timer.hv = true;
		++vcpu->stat.lapic_timer_hv_arms;
	} else {
		hv_disarm(apic);
		vcpu->stat.lapic_timer_erange += possible;
	}

	trace_kvm_hv_timer_state(vcpu->vcpu_id, apic->lapic_timer.hv);
	return apic->lapic_timer.hv;
}

/* The interrupt; only who took the deadline, and it alone, comes here. */
static void timer_deliver(struct kvm_lapic *apic)
{
	u32 lvtt = kvm_lapic_get_reg(apic, APIC_LVTT);
	struct kvm_timer *t = &apic->lapic_timer;

	t->expired_tscdeadline = t->tscdeadline;
	if ((lvtt & APIC_LVT_MASKED) ||
	    !kvm_fastpath_set_irr(apic->vcpu, lvtt & APIC_VECTOR_MASK))
		kvm_apic_local_deliver(apic, APIC_LVTT);

	if (kvm_lapic_timer_periodic(t) && t->period) {
		kvm_lapic_timer_next_period(apic);
		kvm_lapic_timer_start(apic, KVM_LAPIC_TIMER_PERIOD);
		return;
	}

	t->tscdeadline = 0;
}

/*
 * A deadline that the vCPU's thread took.  If it is not on the way to its guest,
 * but sets up its state, the interrupt has to wait.
 */
static void timer_expired(struct kvm_lapic *apic)
{
	struct kvm_vcpu *vcpu = apic->vcpu;

	hv_disarm(apic);
	host_disarm(apic);
	if (vcpu->wants_to_run) {
		timer_deliver(apic);
		return;
	}

	atomic64_set(&apic->lapic_timer.state, KVM_LAPIC_TIMER_EXPIRED);
	kvm_make_request(KVM_REQ_UNBLOCK, vcpu);
}

/* Takes a deadline that is over, and delivers it; false if another one did. */
static bool timer_take(struct kvm_lapic *apic, u64 state,
		       enum kvm_lapic_timer_reason reason)
{
	if (!timer_try_move(apic, state, KVM_LAPIC_TIMER_IDLE, reason))
		return false;

	timer_expired(apic);
	return true;
}

/**
 * kvm_lapic_timer_settle - before the guest changes what the timer counts
 * @apic: the local APIC
 *
 * Where the callback delivers the interrupt itself, it changes the vCPU's part
 * of the timer.
 *
 * Context: the vCPU's thread; also with interrupts off.
 */
void kvm_lapic_timer_settle(struct kvm_lapic *apic)
{
	if (unlikely(can_post(apic->vcpu)))
		host_cancel(&apic->lapic_timer);
}

/**
 * kvm_lapic_timer_start - arm the timer for its deadline
 * @apic: the local APIC, with tscdeadline set
 * @reason: why, for the trace
 *
 * Whatever it was doing before is forgotten, an interrupt that is not delivered
 * yet included.
 *
 * Context: the vCPU's thread, which has loaded the vCPU; also with interrupts off.
 */
void kvm_lapic_timer_start(struct kvm_lapic *apic,
			   enum kvm_lapic_timer_reason reason)
{
	u64 due, now;

	if (!apic->lapic_timer.tscdeadline) {
		kvm_lapic_timer_stop(apic);
		return;
	}

	preempt_disable();
	now = rdtsc();
	due = timer_due(apic, now);

	if (due <= now) {
		timer_move(apic, KVM_LAPIC_TIMER_IDLE, KVM_LAPIC_TIMER_PAST);
		timer_expired(apic);
	} else if (hv_arm(apic, due, now)) {
		timer_move(apic, timer_state(KVM_LAPIC_TIMER_GUEST, due), reason);
		host_disarm(apic);
	} else {
		timer_move(apic, timer_state(KVM_LAPIC_TIMER_HOST, due), reason);
		host_arm(apic, due, now);
	}
	preempt_enable();
}

/**
 * kvm_lapic_timer_tsc_changed - the guest's TSC has another offset or pace
 * @vcpu: the vCPU
 *
 * If the vCPU is about to sleep, it has had its last look for events: only the
 * host's timer can wake it, even if the deadline is over.
 *
 * A deadline that has expired, but whose interrupt the vCPU does not have yet, is
 * ahead again if the TSC goes back.  User space that changes pace and offset, one
 * after the other, may jump over a deadline in between, where no guest runs.
 *
 * Context: the vCPU's thread, preemption off, in the middle of whatever it does
 * with preemption on; also under kvm->arch.tsc_write_lock.
 */
void kvm_lapic_timer_tsc_changed(struct kvm_vcpu *vcpu)
{
	struct kvm_lapic *apic = vcpu->arch.apic;
	u64 state, due, now;

	if (!apic)
		return;

	kvm_lapic_timer_settle(apic);
	state = atomic64_read(&apic->lapic_timer.state);
	if (state == KVM_LAPIC_TIMER_IDLE)
		return;

	kvm_lapic_timer_update_deadline(apic);
	now = rdtsc();
	due = timer_due(apic, now);
	if (state == KVM_LAPIC_TIMER_EXPIRED && due <= now)
		return;

	if (!apic->lapic_timer.blocked) {
		kvm_lapic_timer_start(apic, KVM_LAPIC_TIMER_TSC);
		return;
	}

	hv_disarm(apic);
	due = max(due, now + 1);
	timer_move(apic, timer_state(KVM_LAPIC_TIMER_HOST, due), KVM_LAPIC_TIMER_TSC);
	host_arm(apic, due, now);
}

/**
 * kvm_lapic_timer_stop - disarm the timer
 * @apic: the local APIC
 *
 * An interrupt that is not delivered yet is forgotten.
 *
 * Context: the vCPU's thread; also with interrupts off.
 */
void kvm_lapic_timer_stop(struct kvm_lapic *apic)
{
	kvm_lapic_timer_settle(apic);
	preempt_disable();
	if (atomic64_read(&apic->lapic_timer.state) != KVM_LAPIC_TIMER_IDLE)
		timer_move(apic, KVM_LAPIC_TIMER_IDLE, KVM_LAPIC_TIMER_CLEAR);
	hv_disarm(apic);
	host_disarm(apic);
	preempt_enable();
}

/**
 * kvm_lapic_timer_hv_expired - the preemption timer has ended the guest
 * @vcpu: the vCPU
 *
 * Context: the vCPU's thread, after an exit; also with interrupts off.
 * Return: false when the deadline was no longer that of the preemption timer, or
 * is another one since.
 */
bool kvm_lapic_timer_hv_expired(struct kvm_vcpu *vcpu)
{
	struct kvm_lapic *apic = vcpu->arch.apic;
	bool expired = false;
	u64 state;

	preempt_disable();
	state = atomic64_read(&apic->lapic_timer.state);
	if (kvm_lapic_timer_tag(state) != KVM_LAPIC_TIMER_GUEST) {
		/* The callback was first, and has sent a request. */
		hv_disarm(apic);
	} else if (kvm_lapic_timer_due(state) <= rdtsc()) {
		expired = timer_take(apic, state, KVM_LAPIC_TIMER_DUE_GUEST);
		vcpu->stat.lapic_timer_hv_expired += expired;
	}
	preempt_enable();

	return expired;
}
EXPORT_SYMBOL_GPL(kvm_lapic_timer_hv_expired);

/* In the last moments before the deadline: the poll is to see it, undisturbed. */
static void poll_take_over(struct kvm_lapic *apic, u64 state)
{
	preempt_disable();
	if (kvm_lapic_timer_tag(state) == KVM_LAPIC_TIMER_GUEST ||
	    timer_try_move(apic, state, timer_state(KVM_LAPIC_TIMER_GUEST,
						    kvm_lapic_timer_due(state)),
			   KVM_LAPIC_TIMER_POLL))
		host_cancel(&apic->lapic_timer);
	preempt_enable();
}

/**
 * kvm_lapic_timer_poll - look for the deadline while polling
 * @apic: the running task's vCPU's
 * @state: the timer's, which is not idle
 *
 * Context: process context, at each iteration of a poll.
 * Return: true when the timer has expired; either the poll is called off then,
 * or the next look finds it.
 */
bool kvm_lapic_timer_poll(struct kvm_lapic *apic, u64 state)
{
	struct kvm_timer *t = &apic->lapic_timer;
	u64 due = kvm_lapic_timer_due(state);
	struct kvm_vcpu *vcpu = apic->vcpu;
	bool hv = t->hv;
	u64 now;

	if (!kvm_lapic_timer_armed(state))
		return true;
	/* The hrtimer was made to stand in, and will tell. */
	if (t->blocked)
		return false;

	now = rdtsc();
	if (now < due) {
		if (due - now < TAKE_OVER && READ_ONCE(t->host_armed))
			poll_take_over(apic, state);
		return false;
	}

	preempt_disable();
	if (timer_take(apic, state, KVM_LAPIC_TIMER_DUE_POLL)) {
		++vcpu->stat.lapic_timer_poll_expired;
		vcpu->stat.lapic_timer_halt_no_host += hv;
	}
	preempt_enable();
	return true;
}

/* The host's timer is to wake the vCPU. */
static void timer_to_host(struct kvm_lapic *apic, u64 state,
			  enum kvm_lapic_timer_reason reason)
{
	u64 due = kvm_lapic_timer_due(state);
	u64 now = rdtsc();

	if (due <= now) {
		timer_take(apic, state, reason);
		return;
	}

	if (timer_try_move(apic, state, timer_state(KVM_LAPIC_TIMER_HOST, due), reason))
		host_arm(apic, due, now);
}

/**
 * kvm_lapic_timer_block - the vCPU goes to sleep
 * @vcpu: the running task's vCPU
 *
 * A look for events has to follow, after a full barrier: the timer may expire here.
 *
 * Context: process context, preemption off.
 */
void kvm_lapic_timer_block(struct kvm_vcpu *vcpu)
{
	struct kvm_lapic *apic = vcpu->arch.apic;
	u64 state;

	if (!lapic_in_kernel(vcpu))
		return;

	apic->lapic_timer.blocked = true;
	state = atomic64_read(&apic->lapic_timer.state);
	if (kvm_lapic_timer_tag(state) == KVM_LAPIC_TIMER_GUEST)
		timer_to_host(apic, state, KVM_LAPIC_TIMER_BLOCK);
}

/**
 * kvm_lapic_timer_begin_wait - the vCPU is about to poll and sleep
 * @vcpu: the running task's vCPU
 *
 * Context: process context.
 */
void kvm_lapic_timer_begin_wait(struct kvm_vcpu *vcpu)
{
	if (!lapic_in_kernel(vcpu))
		return;

	vcpu_timer(vcpu)->blocked = false;
	if (READ_ONCE(lapic_timer_poll))
		return;

	preempt_disable();
	kvm_lapic_timer_block(vcpu);
	preempt_enable();
}

/**
 * kvm_lapic_timer_end_wait - the vCPU polls and sleeps no more
 * @vcpu: the running task's vCPU
 *
 * Context: process context.
 */
void kvm_lapic_timer_end_wait(struct kvm_vcpu *vcpu)
{
	struct kvm_lapic *apic = vcpu->arch.apic;
	struct kvm_timer *t;
	u64 state;

	if (!lapic_in_kernel(vcpu))
		return;

	t = &apic->lapic_timer;
	state = atomic64_read(&t->state);
	if (state == KVM_LAPIC_TIMER_IDLE) {
		t->blocked = false;
		return;
	}

	preempt_disable();
	state = atomic64_read(&t->state);
	if (!t->blocked && t->hv)
		++vcpu->stat.lapic_timer_halt_no_host;

	if (kvm_lapic_timer_tag(state) == KVM_LAPIC_TIMER_HOST && t->hv)
		timer_try_move(apic, state, timer_state(KVM_LAPIC_TIMER_GUEST,
							kvm_lapic_timer_due(state)),
			       KVM_LAPIC_TIMER_UNBLOCK);
	else if (kvm_lapic_timer_tag(state) == KVM_LAPIC_TIMER_GUEST && !t->hv)
		timer_to_host(apic, state, KVM_LAPIC_TIMER_UNBLOCK);

	t->blocked = false;
	kvm_inject_apic_timer_irqs(vcpu);
	preempt_enable();
}

/* The vCPU is in the guest and does not leave it for a HLT: see pi_inject_timer. */
static enum hrtimer_restart timer_post(struct kvm_lapic *apic)
{
	struct kvm_timer *t = &apic->lapic_timer;
	u64 now, due;

	/* Nothing delays a posted interrupt until the deadline but this. */
	t->expired_tscdeadline = t->tscdeadline;
	if (t->timer_advance_ns)
		kvm_lapic_timer_wait(apic->vcpu);
	kvm_apic_local_deliver(apic, APIC_LVTT);
	t->expired_tscdeadline = 0;

	if (!kvm_lapic_timer_periodic(t) || !t->period) {
		t->tscdeadline = 0;
		return HRTIMER_NORESTART;
	}

	kvm_lapic_timer_next_period(apic);
	now = rdtsc();
	due = max(timer_due(apic, now), now + 1);
	timer_move(apic, timer_state(KVM_LAPIC_TIMER_HOST, due), KVM_LAPIC_TIMER_PERIOD);
	WRITE_ONCE(t->host_armed, due);
	hrtimer_set_expires(&t->timer, host_expires(due));
	return HRTIMER_RESTART;
}

static enum hrtimer_restart timer_kick(struct kvm_vcpu *vcpu)
{
	kvm_make_request(KVM_REQ_UNBLOCK, vcpu);
	kvm_vcpu_kick(vcpu);
	return HRTIMER_NORESTART;
}

static bool timer_over(u64 state, u64 now)
{
	return kvm_lapic_timer_armed(state) &&
	       (kvm_lapic_timer_due(state) <= now || check_tsc_unstable());
}

/* Fire again, when the deadline is over; false if it is another one meanwhile. */
static bool timer_again(struct kvm_lapic *apic, u64 state)
{
	struct kvm_timer *t = &apic->lapic_timer;
	u64 due = kvm_lapic_timer_due(state);

	WRITE_ONCE(t->host_armed, due);
	/* (C), pairs with (A) of timer_move(): see above. */
	smp_mb();
	if (atomic64_read(&t->state) != state)
		return false;

	hrtimer_set_expires(&t->timer, host_expires(due));
	return true;
}

static enum hrtimer_restart timer_fn(struct hrtimer *timer)
{
	struct kvm_lapic *apic = container_of(timer, struct kvm_lapic, lapic_timer.timer);
	struct kvm_timer *t = &apic->lapic_timer;
	struct kvm_vcpu *vcpu = apic->vcpu;
	bool post = can_post(vcpu) && vcpu->mode == IN_GUEST_MODE;
	u64 state, now;

again:
	WRITE_ONCE(t->host_armed, 0);
	/* (B), pairs with (A) of timer_move(): see above. */
	smp_mb();

	state = atomic64_read(&t->state);
	now = rdtsc();
	if (!timer_over(state, now)) {
		++vcpu->stat.lapic_timer_useless;
		WRITE_ONCE(t->useless_at, now);
		if (kvm_lapic_timer_tag(state) != KVM_LAPIC_TIMER_HOST)
			return HRTIMER_NORESTART;
		if (now < t->host_armed_at)
			return timer_kick(vcpu);
		if (timer_again(apic, state))
			return HRTIMER_RESTART;
		goto again;
	}

	if (!timer_try_move(apic, state, post ? KVM_LAPIC_TIMER_IDLE :
						KVM_LAPIC_TIMER_EXPIRED,
			    KVM_LAPIC_TIMER_DUE_HOST))
		goto again;

	++vcpu->stat.lapic_timer_host_expired;
	if (post)
		return timer_post(apic);

	return timer_kick(vcpu);
}

/**
 * apic_has_pending_timer - is there a timer interrupt to be delivered?
 * @vcpu: the vCPU, whose local APIC is KVM's
 *
 * Context: any.
 * Return: true if so; one that LVTT masks is delivered to nowhere.
 */
int apic_has_pending_timer(struct kvm_vcpu *vcpu)
{
	return kvm_lapic_timer_expired(vcpu);
}

/**
 * kvm_inject_apic_timer_irqs - deliver the timer's interrupt, if there is one
 * @vcpu: the vCPU
 *
 * Context: the vCPU's thread.
 */
void kvm_inject_apic_timer_irqs(struct kvm_vcpu *vcpu)
{
	struct kvm_lapic *apic = vcpu->arch.apic;

	if (!kvm_lapic_timer_expired(vcpu) ||
	    !timer_try_move(apic, KVM_LAPIC_TIMER_EXPIRED, KVM_LAPIC_TIMER_IDLE,
			    KVM_LAPIC_TIMER_DELIVER))
		return;

	hv_disarm(apic);
	timer_deliver(apic);
}

/**
 * kvm_lapic_timer_catch_up - before a local APIC may be switched on
 * @vcpu: the vCPU
 *
 * What expired while it was off is none of its interrupts, however late the host's
 * timer tells.
 *
 * Context: the vCPU's thread, which has loaded the vCPU.
 */
void kvm_lapic_timer_catch_up(struct kvm_vcpu *vcpu)
{
	struct kvm_lapic *apic = vcpu->arch.apic;
	u64 state;

	if (!lapic_in_kernel(vcpu) || kvm_apic_hw_enabled(apic))
		return;

	preempt_disable();
	state = atomic64_read(&apic->lapic_timer.state);
	if (timer_over(state, rdtsc()))
		timer_take(apic, state, KVM_LAPIC_TIMER_DELIVER);
	/* The callback may have been first. */
	kvm_inject_apic_timer_irqs(vcpu);
	preempt_enable();
}

/**
 * __kvm_migrate_apic_timer - take the host's timer along to this CPU
 * @vcpu: the vCPU, which has moved
 *
 * Context: the vCPU's thread.
 */
void __kvm_migrate_apic_timer(struct kvm_vcpu *vcpu)
{
	struct hrtimer *timer;

	if (!lapic_in_kernel(vcpu) || can_post(vcpu))
		return;

	timer = &vcpu_timer(vcpu)->timer;
	if (hrtimer_cancel(timer))
		hrtimer_start_expires(timer, HRTIMER_MODE_ABS_HARD);
}

/**
 * kvm_can_use_hv_timer - may the deadline be kept by the preemption timer?
 * @vcpu: the vCPU
 *
 * Context: any.
 * Return: false where there is none, or the guest waits without an exit: it does
 * not count in inactive states.
 * Source: Intel SDM vol. 3, "VMX-Preemption Timer".
 */
bool kvm_can_use_hv_timer(struct kvm_vcpu *vcpu)
{
	return kvm_x86_ops.set_hv_timer && !kvm_mwait_in_guest(vcpu->kvm) &&
	       !can_post(vcpu);
}

/**
 * kvm_lapic_timer_init - a new local APIC's timer
 * @apic: the local APIC
 *
 * Context: process context.
 */
void kvm_lapic_timer_init(struct kvm_lapic *apic)
{
	struct kvm_timer *t = &apic->lapic_timer;

	hrtimer_init(&t->timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS_HARD);
	t->timer.function = timer_fn;
	t->useless_at = rdtsc() - LAZY_GAP;
	kvm_lapic_timer_init_advance(t);
}

/**
 * kvm_lapic_timer_free - the end of a local APIC's timer
 * @apic: the local APIC, which nobody uses any more
 *
 * Context: process context.
 */
void kvm_lapic_timer_free(struct kvm_lapic *apic)
{
	atomic64_set(&apic->lapic_timer.state, KVM_LAPIC_TIMER_IDLE);
	hrtimer_cancel(&apic->lapic_timer.timer);
}
