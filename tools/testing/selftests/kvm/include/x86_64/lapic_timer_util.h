/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest that keeps books of what its LAPIC timer may do (struct timer): each of
 * the timer's interrupts is held against them.  None may come before its deadline,
 * none twice, none after the timer was cleared.
 *
 * Books are changed with interrupts off.  What is left then is an interrupt that
 * came for the old deadline before the timer was rewritten or cleared: the APIC's
 * IRR tells, and such a "stale" one may still be delivered, once.
 *
 * An interrupt that the APIC does not know to be in service is no timer's: it is one
 * that an emulator delivered again.
 *
 * A period that is over before its interrupt's handler is leaves a guest no time for
 * anything else, on a slow machine; its timer is then stopped.
 */
#ifndef SELFTEST_KVM_LAPIC_TIMER_UTIL_H
#define SELFTEST_KVM_LAPIC_TIMER_UTIL_H

#include "halt_util.h"

#define US		1000ull
#define MS		1000000ull

#define MAX_VCPUS	16
/* Each vCPU has a vector of its own: to learn which it runs on is an exit. */
#define TIMER_VECTOR	0x30

#define APIC_ISR	0x100
#define TDCR_DIVIDE_1	0xb	/* a count is 1 ns */

enum timer_mode { ONESHOT, PERIODIC, DEADLINE, NR_MODES };

static const uint32_t lvt_modes[] = {
	[ONESHOT] = APIC_LVT_TIMER_ONESHOT,
	[PERIODIC] = APIC_LVT_TIMER_PERIODIC,
	[DEADLINE] = APIC_LVT_TIMER_TSCDEADLINE,
};

/* The books on one vCPU's timer, in ticks of the guest's TSC. */
struct timer {
	/* Before this the next interrupt is early; 0: none may come. */
	uint64_t deadline;
	/* After it the next one is due; 0: it is the last. */
	uint64_t period;
	/* One may still come that an earlier deadline sent. */
	uint64_t stale;
	/* How often it was armed, and fired when it was to. */
	uint64_t armed;
	uint64_t fired;
	/* What an emulator delivered again. */
	uint64_t phantoms;
	/* Interrupts since the guest got on, and where it was then. */
	uint64_t in_a_row;
	uint64_t steps;
	enum timer_mode mode;
	uint32_t vector;
} __aligned(64);

/* The guest's; each VM has a copy. */
static struct timer timers[MAX_VCPUS];

/* How often a guest looked up from what it waits for. */
static uint64_t guest_steps;

static inline void guest_note_step(void)
{
	WRITE_ONCE(guest_steps, guest_steps + 1);
}

/* So many interrupts with no step between them are a storm. */
#define STORM	100

static inline bool guest_apic_bit(uint32_t reg, int vector)
{
	return x2apic_read_reg(reg + vector / 32 * 0x10) & BIT(vector % 32);
}

static inline void guest_timer_fired(struct timer *t, uint64_t now)
{
	if (t->deadline && now >= t->deadline) {
		t->fired++;
		t->deadline = t->period ? t->deadline + t->period : 0;
		return;
	}

	if (t->stale) {
		t->stale = 0;
		return;
	}

	__GUEST_ASSERT(!t->deadline, "The timer fired %lu ticks early",
		       t->deadline - now);
	GUEST_FAIL("The timer fired where none was armed, after %lu times", t->fired);
}

static inline void guest_timer_switch(struct timer *t, enum timer_mode mode, uint32_t flags)
{
	t->mode = mode;
	x2apic_write_reg(APIC_LVTT, lvt_modes[mode] | flags | t->vector);
}

static inline void guest_init(struct timer *t, int vcpu, enum timer_mode mode)
{
	x2apic_enable();
	x2apic_write_reg(APIC_TDCR, TDCR_DIVIDE_1);
	t->vector = TIMER_VECTOR + vcpu;
	guest_timer_switch(t, mode, 0);
}

/* What the hardware is told, whatever the books say; 0 disarms. */
static inline void guest_timer_write(struct timer *t, uint64_t ns)
{
	if (t->mode == DEADLINE)
		guest_timer_arm(ns ? rdtsc() + ns_to_guest_tsc(ns) : 0);
	else
		x2apic_write_reg(APIC_TMICT, ns);
}

/* The next interrupt, or none, is another one from here; was there an earlier? */
static inline bool guest_book(struct timer *t, uint64_t deadline, uint64_t period)
{
	bool was = t->deadline || t->stale;

	t->stale = 0;
	t->period = period;
	WRITE_ONCE(t->deadline, deadline);
	if (deadline)
		WRITE_ONCE(t->armed, t->armed + 1);
	return was;
}

static inline void guest_book_stale(struct timer *t, bool was)
{
	t->stale = was && guest_apic_bit(APIC_IRR, t->vector);
}

static inline void guest_arm_at(struct timer *t, uint64_t deadline)
{
	bool was = guest_book(t, deadline, 0);

	guest_timer_arm(deadline);
	guest_book_stale(t, was);
}

/*
 * The counter's clock is the host's, which is not exactly that of the TSC: the
 * books allow for 0.1 % and a microsecond.  So many ticks it takes at least,
 */
static inline uint64_t guest_least(uint64_t ns)
{
	uint64_t ticks = ns_to_guest_tsc(ns - ns / 1000);

	return ticks - min_t(uint64_t, ticks, ns_to_guest_tsc(1 * US));
}

/* and so many at most. */
static inline uint64_t guest_most(uint64_t ns)
{
	return ns_to_guest_tsc(ns + ns / 1000 + 1 * US);
}

static inline void guest_arm_count_from(struct timer *t, uint32_t count, uint64_t now)
{
	uint64_t ticks = ns_to_guest_tsc(count - count / 1000);
	bool was;

	/* A period may be less than a tick. */
	was = guest_book(t, now + guest_least(count),
			 t->mode == PERIODIC ? max_t(uint64_t, ticks, 1) : 0);
	x2apic_write_reg(APIC_TMICT, count);
	guest_book_stale(t, was);
}

static inline void guest_arm_count(struct timer *t, uint32_t count)
{
	guest_arm_count_from(t, count, rdtsc());
}

static inline void guest_arm(struct timer *t, uint64_t ns)
{
	if (t->mode == DEADLINE)
		guest_arm_at(t, rdtsc() + ns_to_guest_tsc(ns));
	else
		guest_arm_count(t, ns);
}

static inline void guest_clear(struct timer *t)
{
	bool was = guest_book(t, 0, 0);

	guest_timer_write(t, 0);
	guest_book_stale(t, was);
}

static inline bool guest_storms(struct timer *t)
{
	uint64_t steps = READ_ONCE(guest_steps);

	if (t->steps != steps)
		t->in_a_row = 0;
	t->steps = steps;
	return t->period && ++t->in_a_row > STORM;
}

static __maybe_unused void guest_timer_handler(struct ex_regs *regs)
{
	struct timer *t = &timers[regs->vector - TIMER_VECTOR];
	uint64_t now = rdtsc();

	if (guest_apic_bit(APIC_ISR, regs->vector))
		guest_timer_fired(t, now);
	else
		t->phantoms++;

	if (guest_storms(t))
		guest_clear(t);
	guest_end_irq(regs);
}

/* Interrupts may come in these, and in guest_halt(). */
static inline void guest_spin_once(void)
{
	guest_note_step();
	asm volatile("sti\n\t"
		     "nop\n\t"
		     "nop\n\t"
		     "cli" ::: "memory");
}

static inline void guest_spin_until(uint64_t tsc)
{
	asm volatile("sti" ::: "memory");
	while (rdtsc() < tsc)
		guest_note_step();
	asm volatile("cli" ::: "memory");
}

static inline void guest_spin(uint64_t ns)
{
	guest_spin_until(rdtsc() + ns_to_guest_tsc(ns));
}

#endif /* SELFTEST_KVM_LAPIC_TIMER_UTIL_H */
