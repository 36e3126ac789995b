// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a guest pays, in ticks of its own TSC, for the actions that KVM's
 * latency paths serve.  Proves nothing; it measures, so that two KVMs, or one
 * KVM with two settings, can be compared on one machine.
 *
 * Each row is measured in a VM of its own, its vCPU threads pinned to a CPU
 * each.  "polled" and "off" say what KVM_CAP_HALT_POLL is set to in that VM,
 * so that no module parameter needs to be touched.  The first rounds of a row
 * are not counted: caches warm up, and a halt-polling window grows.
 *
 *   cpuid                an exit that KVM completes in the kernel, for scale
 *   timer_write_ahead    a write of the TSC deadline, 1 s ahead, while an earlier
 *                        deadline is armed: each is later than the last.
 *   timer_write_earlier  the same, but each is earlier than the last.
 *   timer_write_zero     a write of 0, while a deadline 1 s ahead is armed.
 *   timer_write_count    a write of TMICT, in one-shot mode, as far ahead.
 *   timer_later_1000     1,000 writes of a deadline 1 ms ahead, one each 20 us:
 *                        the ticks that all of these writes take together.
 *   timer_running        a vCPU sets its TSC deadline 30 us ahead and spins.
 *                        From the deadline to after the handler.
 *   timer_periodic       the APIC's timer in periodic mode, 200 us (the shortest
 *                        period that KVM allows by default), in a vCPU that
 *                        spins.  From when the tick is due to after the handler;
 *                        the first is due a period after the counter is written,
 *                        which is done anew for each ten ticks.
 *   icr_physical         a write of the ICR: a fixed interrupt to one vCPU, which does
 *                        not run, and has it in its IRR already.
 *   icr_logical          the same, to a logical destination of one vCPU.
 *   icr_running          to a vCPU that spins and takes it.  What the write takes.
 *   icr_polling          to a vCPU that halts, and polls, likewise.
 *   icr_sleeping         to one that halts and sleeps.
 *   self_ipi_off         a write of SELF_IPI with interrupts off, the vector being in
 *                        the IRR already.
 *   self_ipi             with interrupts on: from before the write to after the
 *                        handler.
 *   eoi                  an EOI after which nothing else waits.
 *   eoi_next             an EOI in a handler, until the handler of the next one.
 *   hlt_pending          a HLT with an interrupt pending: to after the handler.
 *   mix_1000             1,000 of these writes, to this vCPU, in an order that a
 *                        random number picks: the ticks that they take together.
 *   halt_ipi_*           vCPU 1 halts; 50 us later vCPU 0 sends it an IPI.
 *                        From before the write to the ICR to after the HLT.
 *   halt_timer_30us_*    a vCPU sets its TSC deadline 30 us ahead and halts.
 *                        From the deadline to after the HLT.
 *   halt_timer_10ms      the same, 10 ms ahead: too far for any polling.
 *   pingpong_*           two vCPUs wake each other by IPI and halt.  The round
 *                        trip, from before the write to the ICR to after HLT.
 *   pause_none_*         a vCPU spins until a PAUSE-loop exit, in a VM of so many
 *                        vCPUs, of which none could run instead.  From before
 *                        that PAUSE to after it.
 *   pause_one_8          a vCPU spins while one other of 8 is preempted on the
 *                        same CPU.  From before the PAUSE that exits to the first
 *                        instruction of the other one.
 *   pause_many_64        the same with 15 others, of 64.
 *   lock_8_on_2          8 vCPUs on two CPUs each take a lock ten times, for 2 us,
 *                        and then wait for each other.  For all of that.
 *   ipi_8_on_2           the same, where each sends an IPI to the next one ten times
 *                        and spins until that has answered.
 *
 * "After the HLT" and "after the handler" include the handler and its EOI.  Guests
 * that wait for each other spin without PAUSE, lest they leave by PAUSE-loop exits.
 * The rows pause_* need these exits, and thus VMX.
 * Rows that take milliseconds a sample take fewer of them.  Output, a line each:
 *
 *   tsc_khz <frequency>
 *   row <name> min <ticks> median <ticks> avg <ticks> p99 <ticks> n <number>
 *   stat <name> <KVM stat> <value> ...      all rounds, all vCPUs of the row
 *   samples <name> <ticks> ...              with -s: as they came
 */
#include <pthread.h>
#include <sys/resource.h>

#include "halt_util.h"

#define APIC_SELF_IPI	0x3f0

#define WAKE_VECTOR	0x30
#define CROWD_VECTOR	0x40
#define MAX_VCPUS	16
#define MAX_GUESTS	2
#define MAX_ROUNDS	10000
#define WARM_UP		50

#define POLL_NS		200000
#define IPI_DELAY_NS	50000
#define SECOND_NS	1000000000
#define PERIOD_NS	200000
#define PERIOD_TICKS	10
#define LATER_WRITES	1000
#define LATER_STEP_NS	20000
#define EARLIER_STEP_NS	20000
#define MIX_WRITES	1000
/* Of another class than each other, and than that of who wakes. */
#define LOW_VECTOR	0x60
#define OPEN_VECTOR	0x70

#define PHASE		10

/* What takes so many ticks was no PAUSE, and no two instructions, but an exit. */
#define EXIT_TICKS	400

struct row {
	/* What vCPU 0 runs, and what all others run. */
	void (*guest[MAX_GUESTS])(void);
	const char *name;
	/* KVM_CAP_HALT_POLL */
	uint64_t poll_ns;
	/* Until the wake-up, or the deadline. */
	uint64_t delay_ns;
	/* One sample where others take so many; 0 is 1. */
	int fewer;
	/* How many vCPUs run, if not one for each guest, and on how many CPUs. */
	int crowd, cpus;
	/* How many vCPUs the VM has; most never run.  It needs PAUSE-loop exits. */
	int vcpus;
};

/* The guest's; each VM has a copy. */
static uint64_t rounds, delay;
static int64_t samples[MAX_ROUNDS];
/* Which wake-up was sent last, and which was seen last. */
static uint64_t posted[MAX_VCPUS], woken[MAX_VCPUS];
static uint64_t halting, awake, awake_tsc;
/* When LOW_VECTOR's handler was entered, and how often; how often OPEN_VECTOR's. */
static uint64_t handled_tsc, handled, opened;
/* Of a vCPU that spins, the last look at the clock; and how many samples there are. */
static uint64_t paused_tsc, taken;
/* Of a crowd: how many have come to the end of a phase, which that is, and its start */
static uint64_t crowd, arrived, phase, phase_tsc;
static uint64_t lock, asked[MAX_VCPUS], answered[MAX_VCPUS];

/* What KVM's stats say of a row; a KVM that lacks one leaves it out. */
static const char * const stat_names[] = {
	"exits",
	"halt_exits",
	"halt_attempted_poll",
	"halt_successful_poll",
	"halt_poll_success_ns",
	"halt_poll_fail_ns",
	"halt_wakeup",
	"halt_wait_ns",
	"halt_wake_timed",
	"halt_wake_ns",
	"lapic_timer_hv_arms",
	"lapic_timer_host_arms",
	"lapic_timer_hv_expired",
	"lapic_timer_host_expired",
	"lapic_timer_poll_expired",
	"lapic_timer_halt_no_host",
	"lapic_timer_host_saved",
	"lapic_timer_useless",
	"lapic_timer_erange",
	"lapic_timer_hv_early",
	"fastpath_icr",
	"fastpath_deadline",
	"fastpath_expired",
	"fastpath_hlt",
	"fastpath_eoi",
	"fastpath_self_ipi",
	"fastpath_event",
	"fastpath_lvtt",
	"fastpath_tmict",
	"fastpath_declined",
	"directed_yield_interrupt",
	"directed_yield_lock_holder",
	"directed_yield_other",
	"directed_yield_no_candidate",
	"directed_yield_target_ran",
	"directed_yield_declined",
	"directed_yield_backed_off",
};

/* A vector each: to learn which vCPU it runs on could cost an exit. */
static void guest_wake_handler(struct ex_regs *regs)
{
	int vcpu = regs->vector - WAKE_VECTOR;

	WRITE_ONCE(woken[vcpu], READ_ONCE(posted[vcpu]));
	guest_end_irq(regs);
}

/* Halts until woken for the nth time; interrupts are off, before and after. */
static void guest_wait(int vcpu, uint64_t nth)
{
	while (READ_ONCE(woken[vcpu]) != nth)
		guest_halt();
}

static void guest_wake(int vcpu, uint64_t nth)
{
	WRITE_ONCE(posted[vcpu], nth);
	guest_send_ipi(vcpu, WAKE_VECTOR + vcpu);
}

static void guest_cpuid(void)
{
	uint32_t eax, ebx, ecx, edx;
	uint64_t start;
	int i;

	for (i = 0; i < rounds; i++) {
		start = rdtsc();
		cpuid(0, &eax, &ebx, &ecx, &edx);
		samples[i] = rdtsc() - start;
	}

	GUEST_DONE();
}

static void guest_timer(void)
{
	uint64_t deadline;
	int i;

	guest_timer_init(WAKE_VECTOR);

	for (i = 0; i < rounds; i++) {
		deadline = rdtsc() + delay;
		WRITE_ONCE(posted[0], i + 1);
		guest_timer_arm(deadline);
		guest_wait(0, i + 1);
		samples[i] = rdtsc() - deadline;
	}

	GUEST_DONE();
}

static uint64_t guest_timer_write(uint64_t deadline)
{
	uint64_t start = rdtsc();

	guest_timer_arm(deadline);
	return rdtsc() - start;
}

static void guest_write_ahead(void)
{
	int i;

	guest_timer_init(WAKE_VECTOR);

	for (i = 0; i < rounds; i++)
		samples[i] = guest_timer_write(rdtsc() + delay);

	guest_timer_arm(0);
	GUEST_DONE();
}

static void guest_write_zero(void)
{
	int i;

	guest_timer_init(WAKE_VECTOR);

	for (i = 0; i < rounds; i++) {
		guest_timer_arm(rdtsc() + delay);
		samples[i] = guest_timer_write(0);
	}

	GUEST_DONE();
}

static void guest_write_earlier(void)
{
	uint64_t deadline;
	int i;

	guest_timer_init(WAKE_VECTOR);
	deadline = rdtsc() + delay;

	for (i = 0; i < rounds; i++) {
		deadline -= ns_to_guest_tsc(EARLIER_STEP_NS);
		samples[i] = guest_timer_write(deadline);
	}

	guest_timer_arm(0);
	GUEST_DONE();
}

/* A count is 1 ns. */
static void guest_count_init(uint32_t lvtt)
{
	x2apic_enable();
	x2apic_write_reg(APIC_LVTT, lvtt);
	x2apic_write_reg(APIC_TDCR, 0xb);
}

static void guest_write_count(void)
{
	uint64_t start;
	int i;

	guest_count_init(APIC_LVT_TIMER_ONESHOT | WAKE_VECTOR);

	for (i = 0; i < rounds; i++) {
		start = rdtsc();
		x2apic_write_reg(APIC_TMICT, delay);
		samples[i] = rdtsc() - start;
	}

	x2apic_write_reg(APIC_TMICT, 0);
	GUEST_DONE();
}

/* With interrupts on, as anyone who spins; see below. */
static void guest_spin_until(uint64_t tsc)
{
	asm volatile("sti");
	while (rdtsc() < tsc)
		;
	asm volatile("cli");
}

static void guest_later(void)
{
	uint64_t next, step = ns_to_guest_tsc(LATER_STEP_NS);
	int i, j;

	guest_timer_init(WAKE_VECTOR);

	for (i = 0; i < rounds; i++) {
		samples[i] = 0;
		for (j = 0; j < LATER_WRITES; j++) {
			next = rdtsc() + step;
			samples[i] += guest_timer_write(rdtsc() + delay);
			guest_spin_until(next);
		}
		guest_timer_arm(0);
	}

	GUEST_DONE();
}

static void guest_spin_until_woken(uint64_t nth)
{
	asm volatile("sti");
	while (READ_ONCE(woken[0]) != nth)
		;
	asm volatile("cli");
}

static void guest_running(void)
{
	uint64_t deadline;
	int i;

	guest_timer_init(WAKE_VECTOR);

	for (i = 0; i < rounds; i++) {
		deadline = rdtsc() + delay;
		WRITE_ONCE(posted[0], i + 1);
		guest_timer_arm(deadline);
		guest_spin_until_woken(i + 1);
		samples[i] = rdtsc() - deadline;
	}

	GUEST_DONE();
}

/* An interrupt before the next tick is due is one that an emulator repeats. */
static void guest_ticks(int64_t *sample, uint64_t *nth)
{
	uint64_t now, due = rdtsc();
	int i;

	x2apic_write_reg(APIC_TMICT, PERIOD_NS);

	for (i = 0; i < PERIOD_TICKS; i++) {
		due += delay;
		do {
			WRITE_ONCE(posted[0], ++*nth);
			guest_spin_until_woken(*nth);
			now = rdtsc();
		} while (now < due);
		sample[i] = now - due;
	}

	x2apic_write_reg(APIC_TMICT, 0);
}

static void guest_periodic(void)
{
	uint64_t nth = 0;
	int i;

	guest_count_init(APIC_LVT_TIMER_PERIODIC | WAKE_VECTOR);

	for (i = 0; i + PERIOD_TICKS <= MAX_ROUNDS && i < rounds; i += PERIOD_TICKS)
		guest_ticks(samples + i, &nth);

	GUEST_DONE();
}

/*
 * For the nth time the other one is about to halt, or to spin; then for the row's delay.
 *
 * Who spins has interrupts on: Bochs does not end the guest for a host interrupt
 * while they are off, and a host CPU may be waiting for this one to answer.
 */
static void guest_await_halter(uint64_t nth)
{
	uint64_t start;

	while (READ_ONCE(halting) != nth)
		;

	start = rdtsc();
	while (rdtsc() - start < delay)
		;
}

static void guest_ipi_sender(void)
{
	uint64_t start;
	int i;

	x2apic_enable();
	asm volatile("sti");

	for (i = 0; i < rounds; i++) {
		guest_await_halter(i + 1);
		start = rdtsc();
		guest_wake(1, i + 1);

		while (READ_ONCE(awake) != i + 1)
			;
		samples[i] = READ_ONCE(awake_tsc) - start;
	}

	GUEST_DONE();
}

static void guest_ipi_halter(void)
{
	int i;

	x2apic_enable();

	for (i = 0; i < rounds; i++) {
		WRITE_ONCE(halting, i + 1);
		guest_wait(1, i + 1);
		WRITE_ONCE(awake_tsc, rdtsc());
		WRITE_ONCE(awake, i + 1);
	}

	GUEST_DONE();
}

static void guest_ping(void)
{
	uint64_t start;
	int i;

	x2apic_enable();
	asm volatile("sti");
	while (!READ_ONCE(halting))
		;
	asm volatile("cli");

	for (i = 0; i < rounds; i++) {
		start = rdtsc();
		guest_wake(1, i + 1);
		guest_wait(0, i + 1);
		samples[i] = rdtsc() - start;
	}

	GUEST_DONE();
}

static void guest_pong(void)
{
	int i;

	x2apic_enable();
	WRITE_ONCE(halting, 1);

	for (i = 0; i < rounds; i++) {
		guest_wait(1, i + 1);
		guest_wake(0, i + 1);
	}

	GUEST_DONE();
}

static uint64_t guest_apic_write(uint32_t reg, uint64_t val)
{
	uint64_t start = rdtsc();

	x2apic_write_reg(reg, val);
	return rdtsc() - start;
}

static void guest_icr(uint64_t icr)
{
	int i;

	x2apic_enable();
	asm volatile("sti");
	while (!READ_ONCE(halting))
		;

	for (i = 0; i < rounds; i++)
		samples[i] = guest_apic_write(APIC_ICR, icr);

	GUEST_DONE();
}

static void guest_icr_physical(void)
{
	guest_icr(1ull << 32 | APIC_INT_ASSERT | LOW_VECTOR);
}

static void guest_icr_logical(void)
{
	guest_icr(2ull << 32 | APIC_DEST_LOGICAL | APIC_INT_ASSERT | LOW_VECTOR);
}

/* To be sent to, without running. */
static void guest_absent(void)
{
	x2apic_enable();
	WRITE_ONCE(halting, 1);
	GUEST_DONE();
}

static void guest_icr_wake(void)
{
	int i;

	x2apic_enable();
	asm volatile("sti");

	for (i = 0; i < rounds; i++) {
		guest_await_halter(i + 1);
		WRITE_ONCE(posted[1], i + 1);
		samples[i] = guest_apic_write(APIC_ICR, 1ull << 32 | APIC_INT_ASSERT |
					      (WAKE_VECTOR + 1));
	}

	GUEST_DONE();
}

static void guest_spinner(void)
{
	int i;

	x2apic_enable();
	asm volatile("sti");

	for (i = 0; i < rounds; i++) {
		WRITE_ONCE(halting, i + 1);
		while (READ_ONCE(woken[1]) != i + 1)
			;
	}

	GUEST_DONE();
}

static void guest_self_ipi_off(void)
{
	int i;

	x2apic_enable();

	for (i = 0; i < rounds; i++)
		samples[i] = guest_apic_write(APIC_SELF_IPI, LOW_VECTOR);

	GUEST_DONE();
}

static void guest_low_handler(struct ex_regs *regs)
{
	WRITE_ONCE(handled_tsc, rdtsc());
	WRITE_ONCE(handled, READ_ONCE(handled) + 1);
	guest_end_irq(regs);
}

static void guest_self_ipi(void)
{
	uint64_t start, nth;
	int i;

	x2apic_enable();
	asm volatile("sti");

	for (i = 0; i < rounds; i++) {
		nth = handled + 1;
		start = rdtsc();
		x2apic_write_reg(APIC_SELF_IPI, LOW_VECTOR);
		while (READ_ONCE(handled) < nth)
			;
		samples[i] = rdtsc() - start;
	}

	GUEST_DONE();
}

/* Of a vector that does not end what it is an interrupt of. */
static void guest_open_handler(struct ex_regs *regs)
{
	WRITE_ONCE(opened, READ_ONCE(opened) + 1);
}

/* An emulator may deliver more than were sent.  Ends with interrupts off. */
static void guest_await(uint64_t *count, uint64_t nth)
{
	/* Once would do, but for Bochs' SVM; see fastpath_test. */
	while (READ_ONCE(*count) < nth)
		asm volatile("cli\n\t"
			     "sti\n\t"
			     "nop");
	asm volatile("cli");
}

static void guest_open(void)
{
	uint64_t nth = opened + 1;

	x2apic_write_reg(APIC_SELF_IPI, OPEN_VECTOR);
	guest_await(&opened, nth);
}

static void guest_eoi(void)
{
	int i;

	x2apic_enable();

	for (i = 0; i < rounds; i++) {
		guest_open();
		samples[i] = guest_apic_write(APIC_EOI, 0);
	}

	GUEST_DONE();
}

static void guest_eoi_next(void)
{
	uint64_t start, nth;
	int i;

	x2apic_enable();

	for (i = 0; i < rounds; i++) {
		guest_open();
		nth = handled + 1;
		x2apic_write_reg(APIC_SELF_IPI, LOW_VECTOR);
		asm volatile("sti");
		start = rdtsc();
		x2apic_write_reg(APIC_EOI, 0);
		guest_await(&handled, nth);
		samples[i] = handled_tsc - start;
	}

	GUEST_DONE();
}

static void guest_hlt_pending(void)
{
	uint64_t start;
	int i;

	x2apic_enable();

	for (i = 0; i < rounds; i++) {
		WRITE_ONCE(posted[0], i + 1);
		x2apic_write_reg(APIC_SELF_IPI, WAKE_VECTOR);
		start = rdtsc();
		guest_wait(0, i + 1);
		samples[i] = rdtsc() - start;
	}

	GUEST_DONE();
}

/* All that an interrupt may take is done before the next write. */
static uint64_t guest_mix_write(struct guest_random_state *rng)
{
	switch (guest_random_u32(rng) % 4) {
	case 0:
		return guest_timer_write(rdtsc() + delay);
	case 1:
		return guest_timer_write(0);
	case 2:
		return guest_apic_write(APIC_SELF_IPI, LOW_VECTOR);
	default:
		return guest_apic_write(APIC_ICR, APIC_INT_ASSERT | LOW_VECTOR);
	}
}

static void guest_mix(void)
{
	struct guest_random_state rng = new_guest_random_state(4);
	int i, j;

	guest_timer_init(WAKE_VECTOR);
	asm volatile("sti");

	for (i = 0; i < rounds; i++) {
		samples[i] = 0;
		for (j = 0; j < MIX_WRITES; j++)
			samples[i] += guest_mix_write(&rng);
	}

	GUEST_DONE();
}

/* The sleep has the PAUSE-loop window start from its first value. */
static void guest_pause(void)
{
	uint64_t start, ticks;
	int i;

	guest_timer_init(WAKE_VECTOR);

	for (i = 0; i < rounds; i++) {
		WRITE_ONCE(posted[0], i + 1);
		guest_timer_arm(rdtsc() + delay);
		guest_wait(0, i + 1);

		asm volatile("sti");
		do {
			start = rdtsc();
			asm volatile("pause");
			ticks = rdtsc() - start;
		} while (ticks < EXIT_TICKS);
		asm volatile("cli");
		samples[i] = ticks;
	}

	GUEST_DONE();
}

static void guest_pauser(void)
{
	asm volatile("sti");
	while (READ_ONCE(taken) < rounds) {
		WRITE_ONCE(paused_tsc, rdtsc());
		asm volatile("pause");
	}

	GUEST_DONE();
}

/*
 * When the clock jumps, and the spinner ran meanwhile, this is the first look at it;
 * for the first one who takes that, as the next one's came later.
 */
static void guest_preempted(void)
{
	uint64_t now, paused, last = rdtsc();
	uint64_t i;

	asm volatile("sti");
	while (READ_ONCE(taken) < rounds) {
		now = rdtsc();
		if (now - last > EXIT_TICKS) {
			paused = __atomic_exchange_n(&paused_tsc, 0, __ATOMIC_RELAXED);
			if (paused > last) {
				i = __atomic_fetch_add(&taken, 1, __ATOMIC_RELAXED);
				if (i < rounds)
					samples[i] = now - paused;
			}
		}
		last = now;
	}

	GUEST_DONE();
}

static void guest_meet(uint64_t nth)
{
	uint64_t now;

	if (__atomic_add_fetch(&arrived, 1, __ATOMIC_RELAXED) < crowd) {
		while (READ_ONCE(phase) == nth)
			asm volatile("pause");
		return;
	}

	now = rdtsc();
	samples[nth] = now - phase_tsc;
	phase_tsc = now;
	WRITE_ONCE(arrived, 0);
	__atomic_store_n(&phase, nth + 1, __ATOMIC_RELEASE);
}

static void guest_work(void)
{
	uint64_t until = rdtsc() + delay;

	while (rdtsc() < until)
		;
}

static void guest_locker(void)
{
	uint64_t i, j;

	asm volatile("sti");
	for (i = 0; i < rounds; i++) {
		for (j = 0; j < PHASE; j++) {
			while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
				while (READ_ONCE(lock))
					asm volatile("pause");
			guest_work();
			__atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
			guest_work();
		}
		guest_meet(i);
	}

	GUEST_DONE();
}

static void guest_answer_handler(struct ex_regs *regs)
{
	int vcpu = regs->vector - CROWD_VECTOR;

	WRITE_ONCE(answered[vcpu], READ_ONCE(asked[vcpu]));
	guest_end_irq(regs);
}

static void guest_asker(void)
{
	uint64_t next, i, j, nth = 0;

	x2apic_enable();
	next = (x2apic_read_reg(APIC_ID) + 1) % crowd;
	asm volatile("sti");
	guest_meet(0);

	for (i = 1; i < rounds; i++) {
		for (j = 0; j < PHASE; j++) {
			WRITE_ONCE(asked[next], ++nth);
			guest_send_ipi(next, CROWD_VECTOR + next);
			while (READ_ONCE(answered[next]) != nth)
				asm volatile("pause");
			guest_work();
		}
		guest_meet(i);
	}

	GUEST_DONE();
}

static const struct row rows[] = {
	{ { guest_cpuid }, "cpuid" },
	{ { guest_write_ahead }, "timer_write_ahead", 0, SECOND_NS },
	{ { guest_write_earlier }, "timer_write_earlier", 0, SECOND_NS },
	{ { guest_write_zero }, "timer_write_zero", 0, SECOND_NS },
	{ { guest_write_count }, "timer_write_count", 0, SECOND_NS },
	{ { guest_later }, "timer_later_1000", 0, 1000000, 20 },
	{ { guest_running }, "timer_running", 0, 30000 },
	{ { guest_periodic }, "timer_periodic", 0, PERIOD_NS },
	{ { guest_icr_physical, guest_absent }, "icr_physical" },
	{ { guest_icr_logical, guest_absent }, "icr_logical" },
	{ { guest_icr_wake, guest_spinner }, "icr_running", 0, 10000 },
	{ { guest_icr_wake, guest_ipi_halter }, "icr_polling", POLL_NS, IPI_DELAY_NS },
	{ { guest_icr_wake, guest_ipi_halter }, "icr_sleeping", 0, IPI_DELAY_NS },
	{ { guest_self_ipi_off }, "self_ipi_off" },
	{ { guest_self_ipi }, "self_ipi" },
	{ { guest_eoi }, "eoi" },
	{ { guest_eoi_next }, "eoi_next" },
	{ { guest_hlt_pending }, "hlt_pending" },
	{ { guest_mix }, "mix_1000", 0, SECOND_NS, 20 },
	{ { guest_ipi_sender, guest_ipi_halter }, "halt_ipi_polled",
	  POLL_NS, IPI_DELAY_NS },
	{ { guest_ipi_sender, guest_ipi_halter }, "halt_ipi_off",
	  0, IPI_DELAY_NS },
	{ { guest_timer }, "halt_timer_30us_polled", POLL_NS, 30000 },
	{ { guest_timer }, "halt_timer_30us_off", 0, 30000 },
	{ { guest_timer }, "halt_timer_10ms", POLL_NS, 10000000, 2 },
	{ { guest_ping, guest_pong }, "pingpong_polled", POLL_NS },
	{ { guest_ping, guest_pong }, "pingpong_off", 0 },
	{ { guest_pause }, "pause_none_2", 0, 30000, .vcpus = 2 },
	{ { guest_pause }, "pause_none_8", 0, 30000, .vcpus = 8 },
	{ { guest_pause }, "pause_none_64", 0, 30000, .vcpus = 64 },
	{ { guest_pause }, "pause_none_256", 0, 30000, .vcpus = 256 },
	{ { guest_pause }, "pause_none_1024", 0, 30000, .vcpus = 1024 },
	{ { guest_pauser, guest_preempted }, "pause_one_8",
	  .fewer = 2, .crowd = 2, .vcpus = 8 },
	{ { guest_pauser, guest_preempted }, "pause_many_64",
	  .fewer = 5, .crowd = 16, .vcpus = 64 },
	{ { guest_locker, guest_locker }, "lock_8_on_2", 0, 2000,
	  .fewer = 5, .crowd = 8, .cpus = 2, .vcpus = 8 },
	{ { guest_asker, guest_asker }, "ipi_8_on_2", 0, 2000,
	  .fewer = 5, .crowd = 8, .cpus = 2, .vcpus = 8 },
};

static int row_vcpus(const struct row *row)
{
	if (row->crowd)
		return row->crowd;
	return row->guest[1] ? 2 : 1;
}

static int row_cpus(const struct row *row)
{
	return row->crowd ? max(row->cpus, 1) : row_vcpus(row);
}

/* Why a row cannot be measured here, or NULL. */
static const char *row_obstacle(const struct row *row)
{
	if (row_cpus(row) > CPU_COUNT(&host_cpus))
		return "it takes 2 CPUs";
	if (row->vcpus && !has_pause_exits())
		return "there are no PAUSE-loop exits";
	if (row->vcpus > kvm_check_cap(KVM_CAP_MAX_VCPUS))
		return "it takes more vCPUs than KVM allows";
	return NULL;
}

/* A vCPU, and the CPU that it runs on. */
struct runner {
	struct kvm_vcpu *vcpu;
	int cpu;
};

static void *vcpu_thread(void *arg)
{
	struct runner *runner = arg;
	struct kvm_vcpu *vcpu = runner->vcpu;

	kvm_pin_this_task_to_pcpu(runner->cpu);
	vcpu_run(vcpu);
	expect_ucall(vcpu, UCALL_DONE);
	return NULL;
}

static void print_stats(const struct row *row, struct vcpu_stats *stats)
{
	uint64_t val, sum;
	int i, v;

	printf("stat %s", row->name);

	for (i = 0; i < ARRAY_SIZE(stat_names); i++) {
		sum = 0;
		for (v = 0; v < row_vcpus(row); v++) {
			if (!__vcpu_stat(&stats[v], stat_names[i], &val, 1))
				break;
			sum += val;
		}
		if (v == row_vcpus(row))
			printf(" %s %lu", stat_names[i], sum);
	}

	printf("\n");
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void print_row(const struct row *row, int64_t *s, int n)
{
	int64_t sum = 0;
	int i;

	qsort(s, n, sizeof(*s), compare);
	for (i = 0; i < n; i++)
		sum += s[i];

	printf("row %s min %ld median %ld avg %ld p99 %ld n %d\n", row->name,
	       s[0], s[n / 2], sum / n, s[(n - 1) * 99 / 100], n);
}

static void run_row(const struct row *row, int n, bool raw)
{
	int fewer = max(row->fewer, 1), warm_up = WARM_UP / fewer;
	struct runner runners[MAX_VCPUS];
	struct kvm_vcpu *vcpu;
	struct vcpu_stats stats[MAX_VCPUS];
	pthread_t threads[MAX_VCPUS];
	struct kvm_vm *vm;
	int i;

	n = (n + fewer - 1) / fewer;
	vm = vm_create(row_vcpus(row));
	vm_enable_cap(vm, KVM_CAP_HALT_POLL, row->poll_ns);
	for (i = 0; i < MAX_GUESTS; i++)
		vm_install_exception_handler(vm, WAKE_VECTOR + i, guest_wake_handler);
	vm_install_exception_handler(vm, LOW_VECTOR, guest_low_handler);
	vm_install_exception_handler(vm, OPEN_VECTOR, guest_open_handler);
	write_guest_global(vm, rounds, (uint64_t)warm_up + n);
	write_guest_global(vm, delay, ns_to_guest_tsc(row->delay_ns));
	for (i = 0; i < row->crowd; i++)
		vm_install_exception_handler(vm, CROWD_VECTOR + i, guest_answer_handler);
	write_guest_global(vm, crowd, (uint64_t)row->crowd);

	for (i = 0; i < row_vcpus(row); i++) {
		vcpu = vm_vcpu_add(vm, i, row->guest[min(i, MAX_GUESTS - 1)]);
		vcpu_set_tsc_deadline(vcpu);
		vcpu_stats_open(&stats[i], vcpu);
		runners[i].vcpu = vcpu;
		runners[i].cpu = host_cpu(i % row_cpus(row));
	}
	for (; i < row->vcpus; i++)
		__vm_vcpu_add(vm, i);

	/* Only now: a vCPU that spins keeps the rest of the set-up waiting. */
	for (i = 0; i < row_vcpus(row); i++)
		TEST_ASSERT(!pthread_create(&threads[i], NULL, vcpu_thread, &runners[i]),
			    "pthread_create() failed");

	for (i = 0; i < row_vcpus(row); i++)
		pthread_join(threads[i], NULL);

	sync_global_from_guest(vm, samples);
	if (raw) {
		printf("samples %s", row->name);
		for (i = 0; i < n; i++)
			printf(" %ld", samples[warm_up + i]);
		printf("\n");
	}
	print_row(row, samples + warm_up, n);
	print_stats(row, stats);

	for (i = 0; i < row_vcpus(row); i++)
		vcpu_stats_close(&stats[i]);
	kvm_vm_free(vm);
}

static void help(char *name)
{
	int i;

	printf("usage: %s [-h] [-n samples] [-r row]... [-s]\n\n", name);
	printf("-n: How many samples a row takes (default 300, at most %d).\n",
	       MAX_ROUNDS - WARM_UP);
	printf("-r: Measure only rows that are named like this; any of:\n");
	for (i = 0; i < ARRAY_SIZE(rows); i++)
		printf("    %s\n", rows[i].name);
	printf("-s: Print the samples too.\n");
}

static bool wanted[ARRAY_SIZE(rows)];

static bool want(const char *name)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		if (!strcmp(name, rows[i].name)) {
			wanted[i] = true;
			return true;
		}
	}

	return false;
}

static void print_tsc_khz(void)
{
	struct kvm_vm *vm = vm_create(1);

	printf("tsc_khz %lu\n", guest_tsc_khz);
	kvm_vm_free(vm);
}

int main(int argc, char *argv[])
{
	struct rlimit files = { 2 * 1024 + 256, 2 * 1024 + 256 };
	bool raw = false, all = true;
	const char *obstacle;
	int opt, i, n = 300;

	while ((opt = getopt(argc, argv, "hn:r:s")) != -1) {
		switch (opt) {
		case 'n':
			n = atoi_positive("Number of samples", optarg);
			TEST_ASSERT(n <= MAX_ROUNDS - WARM_UP,
				    "At most %d samples", MAX_ROUNDS - WARM_UP);
			break;
		case 'r':
			if (!want(optarg)) {
				fprintf(stderr, "%s: no row '%s'; -h lists them\n",
					argv[0], optarg);
				return KSFT_FAIL;
			}
			all = false;
			break;
		case 's':
			raw = true;
			break;
		case 'h':
		default:
			help(argv[0]);
			exit(opt == 'h' ? KSFT_PASS : KSFT_FAIL);
		}
	}

	TEST_REQUIRE(kvm_has_cap(KVM_CAP_HALT_POLL));
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_TSC_DEADLINE_TIMER));

	/* A VM with many vCPUs has as many files. */
	setrlimit(RLIMIT_NOFILE, &files);
	print_tsc_khz();

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		if (!all && !wanted[i])
			continue;

		obstacle = row_obstacle(&rows[i]);
		if (obstacle) {
			printf("# row %s left out: %s\n", rows[i].name, obstacle);
			continue;
		}
		run_row(&rows[i], n, raw);
	}

	return 0;
}
