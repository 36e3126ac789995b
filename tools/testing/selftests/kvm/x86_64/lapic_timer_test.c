// SPDX-License-Identifier: GPL-2.0-only
/*
 * Prove that a guest's LAPIC timer fires when it has to, and only then: no
 * interrupt before its deadline, none lost, none twice, none after the timer was
 * cleared.  Whoever runs the test chooses the backend, by module parameter
 * kvm_intel.preemption_timer, and with it which of KVM's timers this is about.
 *
 * The guest keeps books of what its timer may do (lapic_timer_util.h), and each
 * interrupt is held against them, on three axes: the timer's mode (one-shot,
 * periodic, TSC deadline), how the guest waits (it spins, it halts and the host
 * polls, it halts and the host sleeps), and what happens to an armed timer: it
 * is rewritten, cleared, masked, switched to another mode or pace, its TSC is moved
 * or scaled, it is saved and restored into another vCPU, its APIC is disabled or
 * reset.  Races against wake-ups and
 * migration from CPU to CPU are lapic_timer_stress_test's.
 *
 * A KVM that has statistics on its LAPIC timers is also tested for what they say:
 * which backend did the work, and how often the host's timer had to be programmed.
 * Its trace has to tell each transition of them, and why.
 * It has to follow changes of the TSC, too, where others follow only sometimes.
 */
#include <regex.h>

#include "kvm_test_harness.h"
#include "lapic_timer_rig.h"

FIXTURE(lapic_timer) {
	struct rig rig;
};

FIXTURE_VARIANT(lapic_timer) {
	enum timer_mode mode;
	bool halts;
	uint64_t poll_ns;
};

FIXTURE_VARIANT_ADD(lapic_timer, oneshot_spin) { ONESHOT };
FIXTURE_VARIANT_ADD(lapic_timer, oneshot_poll) { ONESHOT, true, WINDOW_NS };
FIXTURE_VARIANT_ADD(lapic_timer, oneshot_sleep) { ONESHOT, true };
FIXTURE_VARIANT_ADD(lapic_timer, periodic_spin) { PERIODIC };
FIXTURE_VARIANT_ADD(lapic_timer, periodic_poll) { PERIODIC, true, WINDOW_NS };
FIXTURE_VARIANT_ADD(lapic_timer, periodic_sleep) { PERIODIC, true };
FIXTURE_VARIANT_ADD(lapic_timer, deadline_spin) { DEADLINE };
FIXTURE_VARIANT_ADD(lapic_timer, deadline_poll) { DEADLINE, true, WINDOW_NS };
FIXTURE_VARIANT_ADD(lapic_timer, deadline_sleep) { DEADLINE, true };

FIXTURE_SETUP(lapic_timer)
{
	rig_create(&self->rig, variant->mode, variant->halts, variant->poll_ns);
}

FIXTURE_TEARDOWN(lapic_timer)
{
	rig_destroy(&self->rig);
}

static void guest_fires(struct timer *t)
{
	static const uint64_t delays[] = { 20 * US, 200 * US, 500 * US, 2 * MS };
	int i;

	for (i = 0; i < 4 * ARRAY_SIZE(delays); i++) {
		guest_arm(t, delays[i % ARRAY_SIZE(delays)]);
		guest_expect(t);
		if (i % 4 == 3)
			guest_linger();
	}
}

TEST_F(lapic_timer, fires_once)
{
	rig_do(&self->rig, guest_fires);
}

static void guest_expect_at_once(struct timer *t, int64_t ahead)
{
	if (t->mode == DEADLINE)
		guest_arm_at(t, rdtsc() + ahead);
	else
		guest_arm_count(t, max_t(int64_t, ahead, 1));

	guest_expect(t);
	guest_linger();
}

/* Deadlines in the past, now, and one tick ahead. */
static void guest_at_once(struct timer *t)
{
	static const int64_t ahead[] = { -1000000, -1, 0, 1, 2, 100 };
	int i;

	/* A new guest's TSC has no such past. */
	guest_spin_until(-ahead[0]);

	for (i = 0; i < ARRAY_SIZE(ahead); i++)
		guest_expect_at_once(t, ahead[i]);

	if (t->mode != DEADLINE)
		return;

	guest_arm_at(t, 1);
	guest_expect(t);
	guest_linger();
}

TEST_F(lapic_timer, past_now_and_next_tick)
{
	rig_do(&self->rig, guest_at_once);
}

static const uint64_t far[] = {
	1ull << 31, (1ull << 32) - 1, 1ull << 32, (1ull << 32) + 1, 1ull << 63,
};

static void guest_arm_far(struct timer *t, uint64_t ticks)
{
	if (t->mode == DEADLINE)
		guest_arm_at(t, rdtsc() + ticks);
	else
		guest_arm_count(t, min_t(uint64_t, ticks, UINT32_MAX));
}

/* Far ones do not fire; they can be cleared, and replaced by a near one. */
static void guest_far(struct timer *t)
{
	uint64_t fired = t->fired;
	int i;

	for (i = 0; i < ARRAY_SIZE(far); i++) {
		guest_arm_far(t, far[i]);
		guest_linger();
		GUEST_ASSERT_EQ(t->fired, fired);
		guest_clear(t);
		guest_linger();

		guest_arm_far(t, far[i]);
		guest_linger();
		GUEST_ASSERT_EQ(t->fired, fired);
		guest_arm(t, 200 * US);
		guest_expect(t);
		fired = t->fired;
		guest_linger();
	}
}

TEST_F(lapic_timer, far)
{
	rig_do(&self->rig, guest_far);
}

/* Nearer and farther, now and then one that fires meanwhile. */
static void guest_rewrites(struct timer *t)
{
	struct guest_random_state rng = new_guest_random_state(1);
	int i, j;

	for (i = 0; i < 50; i++) {
		for (j = guest_random_u32(&rng) % 8; j; j--) {
			guest_arm(t, (20 + guest_random_u32(&rng) % 400) * US);
			guest_spin(guest_random_u32(&rng) % (100 * US));
		}
		guest_arm(t, (10 + guest_random_u32(&rng) % 300) * US);
		guest_expect(t);
	}
	guest_linger();
}

TEST_F(lapic_timer, rewritten)
{
	rig_do(&self->rig, guest_rewrites);
}

/*
 * Whether an interrupt that was due while masked comes after all when it is
 * unmasked is not asked here: processors drop it, KVM may do either.
 */
static void guest_unmask(struct timer *t)
{
	guest_book(t, 1, t->mode == PERIODIC);
	guest_timer_switch(t, t->mode, 0);
	guest_linger();
	guest_clear(t);
	guest_spin(10 * US);
}

static void guest_mask(struct timer *t)
{
	bool was = guest_book(t, 0, 0);

	guest_timer_switch(t, t->mode, APIC_LVT_MASKED);
	guest_book_stale(t, was);
}

static void guest_masked(struct timer *t)
{
	uint64_t deadline, period;

	/* Armed masked, and unmasked after it was due. */
	guest_mask(t);
	guest_arm(t, 200 * US);
	guest_book_stale(t, guest_book(t, 0, 0));
	guest_linger();
	guest_linger();
	guest_unmask(t);

	/* Masked after it was armed. */
	guest_arm(t, 200 * US);
	guest_mask(t);
	guest_linger();
	guest_linger();
	guest_unmask(t);

	/* Unmasked before it is due. */
	guest_arm(t, 10 * MS);
	deadline = t->deadline;
	period = t->period;
	guest_mask(t);
	guest_linger();
	guest_book(t, deadline, period);
	guest_timer_switch(t, t->mode, 0);
	if (rdtsc() < deadline) {
		guest_expect(t);
		guest_linger();
	} else {
		guest_unmask(t);
	}
}

TEST_F(lapic_timer, masked)
{
	rig_do(&self->rig, guest_masked);
}

/* Between counter and deadline: what was armed is gone, and stays so. */
static void guest_switch_disarms(struct timer *t, enum timer_mode to)
{
	bool was = guest_book(t, 0, 0);

	guest_timer_switch(t, to, 0);
	guest_book_stale(t, was);
	guest_linger();
	guest_linger();

	/* The register of the other mode does nothing. */
	if (to == DEADLINE)
		x2apic_write_reg(APIC_TMICT, 50 * US);
	else
		wrmsr(MSR_IA32_TSC_DEADLINE, rdtsc() + ns_to_guest_tsc(50 * US));
	guest_linger();
	GUEST_ASSERT_EQ(x2apic_read_reg(APIC_TMCCT), 0);
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_TSC_DEADLINE), 0);
}

/* From one counting mode to the other: the count goes on, if it still runs. */
static void guest_switch_goes_on(struct timer *t, enum timer_mode to, uint64_t ns)
{
	enum timer_mode from = t->mode;

	for (;;) {
		t->period = to == PERIODIC ? ns_to_guest_tsc(ns - ns / 1000) : 0;
		guest_timer_switch(t, to, 0);
		if (rdtsc() < t->deadline)
			break;

		guest_clear(t);
		guest_spin(10 * US);
		guest_timer_switch(t, from, 0);
		guest_arm(t, ns);
	}

	guest_expect(t);
	guest_linger();
}

static void guest_switches(struct timer *t)
{
	enum timer_mode from, to;

	for (from = 0; from < NR_MODES; from++) {
		for (to = 0; to < NR_MODES; to++) {
			if (from == to || (from != request.mode && to != request.mode))
				continue;

			guest_timer_switch(t, from, 0);
			guest_arm(t, 300 * US);
			if (from == DEADLINE || to == DEADLINE)
				guest_switch_disarms(t, to);
			else
				guest_switch_goes_on(t, to, 300 * US);

			guest_arm(t, 200 * US);
			guest_expect(t);
		}
	}
}

TEST_F(lapic_timer, mode_switched)
{
	rig_do(&self->rig, guest_switches);
}

/* Interrupts are off for some 50 us: not for long, even for an emulator. */
static void guest_clears(struct timer *t)
{
	struct guest_random_state rng = new_guest_random_state(1);
	uint64_t end;
	int i;

	for (i = 0; i < 200; i++) {
		guest_arm(t, 50 * US);
		end = rdtsc() + ns_to_guest_tsc(35 * US + guest_random_u32(&rng) % (20 * US));
		if (i % 2)
			guest_spin_until(end);
		while (rdtsc() < end)
			;
		guest_clear(t);
		guest_spin(30 * US);
	}
	guest_linger();
}

TEST_F(lapic_timer, cleared_while_firing)
{
	rig_do(&self->rig, guest_clears);
}

static void guest_migrates(struct timer *t)
{
	int i;

	for (i = 0; i < request.nr; i++) {
		guest_arm(t, request.ns);
		GUEST_SYNC(STAGE_HOST);
		guest_expect(t);
		guest_linger();
	}
}

static void rig_get_lapic(struct rig *rig, struct kvm_lapic_state *lapic,
			  uint64_t *deadline)
{
	vcpu_ioctl(rig->vcpu, KVM_GET_LAPIC, lapic);
	*deadline = vcpu_get_msr(rig->vcpu, MSR_IA32_TSC_DEADLINE);
}

/* In this order: the deadline is ignored in any other mode. */
static void rig_set_lapic(struct rig *rig, struct kvm_lapic_state *lapic,
			  uint64_t deadline)
{
	vcpu_ioctl(rig->vcpu, KVM_SET_LAPIC, lapic);
	vcpu_set_msr(rig->vcpu, MSR_IA32_TSC_DEADLINE, deadline);
}

static void rig_migrate(struct rig *rig)
{
	struct kvm_lapic_state lapic;
	struct kvm_x86_state *state;
	uint64_t deadline;

	/* First the timer, then the TSC: it may fire later by that, not earlier. */
	vcpu_run_complete_io(rig->vcpu);
	rig_get_lapic(rig, &lapic, &deadline);
	state = vcpu_save_state(rig->vcpu);

	vcpu_stats_close(&rig->stats);
	kvm_vm_release(rig->vm);
	rig->vcpu = vm_recreate_with_one_vcpu(rig->vm);
	rig_vcpu_init(rig);
	vcpu_load_state(rig->vcpu, state);
	rig_set_lapic(rig, &lapic, deadline);
	kvm_x86_state_cleanup(state);
}

TEST_F(lapic_timer, saved_and_restored)
{
	struct rig *rig = &self->rig;
	struct kvm_lapic_state lapic;
	uint64_t deadline;
	int i;

	rig->request->nr = 4;
	rig->request->ns = 20 * MS;
	rig_start(rig, guest_migrates);

	for (i = 0; i < rig->request->nr; i++) {
		rig_run_until_armed(rig);
		if (i % 2) {
			rig_get_lapic(rig, &lapic, &deadline);
			rig_set_lapic(rig, &lapic, deadline);
		} else {
			rig_migrate(rig);
		}
	}
	rig_finish(rig);
}

static uint64_t rig_tsc_offset(struct rig *rig)
{
	uint64_t offset;

	vcpu_device_attr_get(rig->vcpu, KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET,
			     &offset);
	return offset;
}

static void rig_move_tsc(struct rig *rig, int64_t ticks)
{
	uint64_t offset = rig_tsc_offset(rig) + ticks;

	vcpu_device_attr_set(rig->vcpu, KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET,
			     &offset);
}

static void rig_write_tsc(struct rig *rig, int64_t ticks)
{
	vcpu_set_msr(rig->vcpu, MSR_IA32_TSC,
		     vcpu_get_msr(rig->vcpu, MSR_IA32_TSC) + ticks);
}

/*
 * Books in the TSC are of no use to a counter once the TSC was moved; it is to
 * fire after its time, whatever the TSC says.
 */
static void guest_tsc_moves(struct timer *t)
{
	guest_arm(t, request.ns);
	if (t->mode != DEADLINE)
		t->deadline = 1;
	GUEST_SYNC(STAGE_HOST);
	guest_expect(t);
	guest_linger();
}

/*
 * The TSC jumps over the deadline, by more than the second that KVM takes for an
 * attempt to synchronize TSCs: the timer fires at once.
 */
static void rig_move_tsc_over(struct rig *rig,
			      void (*move)(struct rig *rig, int64_t ticks))
{
	uint64_t start;

	rig->request->ns = 3000 * MS;
	rig_start(rig, guest_tsc_moves);
	rig_run_until_armed(rig);
	move(rig, ns_to_guest_tsc(3000 * MS));
	start = now_ns();
	rig_finish(rig);
	TEST_ASSERT(now_ns() - start < 1000 * MS,
		    "The timer fired %lu ms after the TSC had passed its deadline",
		    (now_ns() - start) / 1000000);
}

/*
 * It jumps back: the timer does not fire before it has got there again, even if the
 * TSC was beyond the deadline while the guest was not there to see it.
 */
static void rig_move_tsc_back(struct rig *rig,
			      void (*move)(struct rig *rig, int64_t ticks))
{
	rig->request->ns = 20 * MS;
	rig_start(rig, guest_tsc_moves);
	rig_run_until_armed(rig);
	move(rig, ns_to_guest_tsc(3000 * MS));
	move(rig, -ns_to_guest_tsc(6000 * MS));
	TEST_ASSERT_EQ(rig_run_for(rig, 40 * MS), STAGE_INTERRUPTED);
	move(rig, ns_to_guest_tsc(3000 * MS));
	rig_finish(rig);
}

static void rig_tsc_moves(struct rig *rig,
			  void (*move)(struct rig *rig, int64_t ticks))
{
	int i;

	if (rig->request->mode == DEADLINE) {
		rig_move_tsc_over(rig, move);
		rig_move_tsc_back(rig, move);
		return;
	}

	rig->request->ns = 20 * MS;
	for (i = 0; i < 4; i++) {
		rig_start(rig, guest_tsc_moves);
		rig_run_until_armed(rig);
		move(rig, ns_to_guest_tsc(3000 * MS) * (i % 2 ? -1 : 1));
		rig_finish(rig);
	}
}

TEST_F(lapic_timer, tsc_offset_changed)
{
	if (!rig_has_stats(&self->rig))
		SKIP(return, "This KVM does not follow changes of the TSC");
	if (__vcpu_has_device_attr(self->rig.vcpu, KVM_VCPU_TSC_CTRL,
				   KVM_VCPU_TSC_OFFSET))
		SKIP(return, "takes KVM_VCPU_TSC_OFFSET");

	rig_tsc_moves(&self->rig, rig_move_tsc);
}

TEST_F(lapic_timer, tsc_written_by_host)
{
	if (!rig_has_stats(&self->rig))
		SKIP(return, "This KVM does not follow changes of the TSC");

	rig_tsc_moves(&self->rig, rig_write_tsc);
}

static void guest_adjust(int64_t ns)
{
	wrmsr(MSR_IA32_TSC_ADJUST, rdmsr(MSR_IA32_TSC_ADJUST) + ns_to_guest_tsc(ns));
}

static void guest_adjusts(struct timer *t)
{
	guest_arm(t, 1000 * MS);
	if (t->mode != DEADLINE)
		t->deadline = 1;
	guest_spin(20 * US);
	GUEST_ASSERT_EQ(t->fired, request.nr);

	guest_adjust(2000 * MS);
	guest_expect(t);
	guest_linger();
}

/* By the guest itself; a counter goes on as if nothing had happened. */
TEST_F(lapic_timer, tsc_adjusted_by_guest)
{
	struct rig *rig = &self->rig;
	uint64_t start = now_ns();
	struct timer *t;

	if (!rig_has_stats(rig))
		SKIP(return, "This KVM does not follow changes of the TSC");
	if (!kvm_cpu_has(X86_FEATURE_TSC_ADJUST))
		SKIP(return, "takes MSR_IA32_TSC_ADJUST");
	if (variant->mode != DEADLINE)
		SKIP(return, "takes the TSC deadline");

	t = addr_gva2hva(rig->vm, (vm_vaddr_t)&timers[0]);
	rig->request->nr = t->fired;
	rig_do(rig, guest_adjusts);
	TEST_ASSERT(now_ns() - start < 900 * MS,
		    "The timer did not fire when its deadline was jumped over");
}

/* Another frequency; the TSC goes on from where it was. */
static void rig_scale_tsc(struct rig *rig, uint64_t khz)
{
	uint64_t tsc = vcpu_get_msr(rig->vcpu, MSR_IA32_TSC);

	vcpu_ioctl(rig->vcpu, KVM_SET_TSC_KHZ, (void *)khz);
	rig_move_tsc(rig, tsc - vcpu_get_msr(rig->vcpu, MSR_IA32_TSC));
	write_guest_global(rig->vm, guest_tsc_khz, khz);
}

TEST_F(lapic_timer, tsc_scaled)
{
	struct rig *rig = &self->rig;
	uint64_t khz = guest_tsc_khz;
	int i;

	if (!kvm_has_cap(KVM_CAP_TSC_CONTROL))
		SKIP(return, "takes TSC scaling");
	if (!rig_has_stats(rig))
		SKIP(return, "This KVM does not follow changes of the TSC");

	rig_scale_tsc(rig, khz / 2);
	rig_do(rig, guest_fires);
	rig_do(rig, guest_at_once);
	rig_do(rig, guest_far);

	for (i = 0; i < 4; i++) {
		rig->request->ns = 20 * MS;
		rig_start(rig, guest_tsc_moves);
		rig_run_until_armed(rig);
		rig_scale_tsc(rig, i % 2 ? khz / 2 : khz * 2 / 3);
		rig_finish(rig);
	}

	rig_scale_tsc(rig, khz);
	rig_do(rig, guest_fires);
}

/* The divider at first, and what it is changed to. */
#define NR_SHIFTS	3

/* TDCR, by the power of two that it divides by. */
static void guest_set_divider(unsigned int shift)
{
	static const uint32_t tdcr[] = { TDCR_DIVIDE_1, 0x0, 0x1, 0x2, 0x3, 0x8, 0x9, 0xa };

	x2apic_write_reg(APIC_TDCR, tdcr[shift]);
}

/* While it counts down, TMCCT does so at the divider's pace. */
static void guest_check_pace(struct timer *t, unsigned int shift)
{
	uint64_t start, from, to, end, ns, fired = t->fired;
	uint32_t count, left;

	start = rdtsc();
	count = x2apic_read_reg(APIC_TMCCT);
	from = rdtsc();
	guest_spin_until(from + ns_to_guest_tsc(300 * US));
	to = rdtsc();
	left = x2apic_read_reg(APIC_TMCCT);
	end = rdtsc();

	/* If that took long, it is over, or another period's. */
	if (!left || left > count || t->fired != fired)
		return;
	ns = (uint64_t)(count - left) << shift;

	/* A count is as long as its divider. */
	GUEST_ASSERT(guest_least(ns - min_t(uint64_t, ns, 1 << shift)) <= end - start);
	GUEST_ASSERT(guest_most(ns + (1 << shift)) >= to - from);
}

/*
 * What is left of the count goes on, at the new pace.  Returns when it is over at the
 * latest, or 0 if it may have been over meanwhile, at the old pace or at the new one:
 * then an interrupt is under way, and a period may have begun.
 */
static uint64_t guest_redivide(struct timer *t, uint32_t count, unsigned int old,
			       unsigned int shift)
{
	uint64_t start = rdtsc(), tsc;
	uint32_t before, left;

	before = x2apic_read_reg(APIC_TMCCT);
	guest_set_divider(shift);
	tsc = rdtsc();
	left = x2apic_read_reg(APIC_TMCCT);

	start += guest_least((uint64_t)before << min(old, shift));
	if (rdtsc() >= min(t->deadline, start))
		return 0;
	GUEST_ASSERT(left <= before);

	t->deadline = tsc + guest_least((uint64_t)left << shift);
	t->period = t->mode == PERIODIC ? guest_least((uint64_t)count << shift) : 0;
	return rdtsc() + guest_most((uint64_t)(left + 1) << shift);
}

/*
 * Counts 10 ms down, and changes the pace now and then.  Returns how late the last
 * interrupt is, of three in periodic mode; UINT64_MAX if it cannot say.
 */
static uint64_t guest_redivided(struct timer *t, const unsigned int *shifts)
{
	uint32_t count = (10 * MS) >> shifts[0];
	uint64_t end = 0, fired = t->fired, now;
	int i, times = 1;
	bool was;

	guest_set_divider(shifts[0]);
	was = guest_book(t, rdtsc() + guest_least(10 * MS),
			 t->mode == PERIODIC ? guest_least(10 * MS) : 0);
	x2apic_write_reg(APIC_TMICT, count);
	guest_book_stale(t, was);
	guest_check_pace(t, shifts[0]);

	for (i = 1; i < NR_SHIFTS; i++) {
		guest_spin(1 * MS);
		end = guest_redivide(t, count, shifts[i - 1], shifts[i]);
		if (!end)
			break;
		guest_check_pace(t, shifts[i]);
	}

	if (!end || t->fired != fired) {
		guest_clear(t);
		guest_spin(10 * US);
		return UINT64_MAX;
	}

	if (t->mode == PERIODIC) {
		times = 3;
		end += 2 * guest_most((uint64_t)count << shifts[i - 1]);
	}
	guest_wait_fired(t, times);
	now = rdtsc();
	guest_clear(t);
	return now - min(now, end);
}

/*
 * Whatever it is changed to and how often, the interrupt comes when the count is
 * over: never before it, and right after it, unless something is in the way.
 */
static void guest_divides(struct timer *t)
{
	static const unsigned int shifts[][NR_SHIFTS] = {
		{ 0, 2, 2 }, { 3, 3, 1 }, { 1, 3, 0 }, { 2, 4, 1 },
	};
	int i, try;

	for (i = 0; i < ARRAY_SIZE(shifts); i++) {
		for (try = 1; guest_redivided(t, shifts[i]) > ns_to_guest_tsc(3 * MS); try++)
			GUEST_ASSERT(try < 30);
	}
	guest_linger();

	/* The next one starts at the pace that it finds. */
	guest_set_divider(0);
	guest_arm(t, 200 * US);
	guest_expect(t);
	guest_linger();
}

/* The deadline has nothing to do with it. */
static void guest_divides_nothing(struct timer *t)
{
	int shift;

	for (shift = 7; shift >= 0; shift--) {
		guest_arm(t, 300 * US);
		guest_set_divider(shift);
		guest_expect(t);
		guest_set_divider(7 - shift);
		guest_linger();
	}
	guest_set_divider(0);
}

TEST_F(lapic_timer, divider_changed)
{
	rig_do(&self->rig, variant->mode == DEADLINE ? guest_divides_nothing : guest_divides);
}

/* A count that is over does not come again at another pace. */
static void guest_divides_late(struct timer *t)
{
	int shift;

	for (shift = 7; shift >= 0; shift--) {
		guest_arm(t, 100 * US);
		guest_expect(t);
		guest_set_divider(shift);
		GUEST_ASSERT_EQ(x2apic_read_reg(APIC_TMCCT), 0);
		guest_linger();
	}
	guest_set_divider(0);
}

TEST_F(lapic_timer, divider_changed_after)
{
	if (variant->mode != ONESHOT)
		SKIP(return, "takes a one-shot timer");
	if (!rig_has_stats(&self->rig))
		SKIP(return, "This KVM fires again");

	rig_do(&self->rig, guest_divides_late);
}

/* Armed in xAPIC mode, and then the APIC is switched to x2APIC mode. */
static void guest_apic_modes(struct timer *t)
{
	int i;

	for (i = 0; i < 10; i++) {
		xapic_enable();
		xapic_write_reg(APIC_LVTT, lvt_modes[t->mode] | t->vector);
		xapic_write_reg(APIC_TDCR, TDCR_DIVIDE_1);
		if (t->mode == DEADLINE) {
			guest_book(t, rdtsc() + ns_to_guest_tsc(300 * US), 0);
			wrmsr(MSR_IA32_TSC_DEADLINE, t->deadline);
		} else {
			guest_book(t, rdtsc() + ns_to_guest_tsc(298 * US),
				   t->mode == PERIODIC ? ns_to_guest_tsc(299 * US) : 0);
			xapic_write_reg(APIC_TMICT, 300 * US);
		}
		x2apic_enable();
		guest_expect(t);
		/* The last tick's, if that one was just under way. */
		guest_spin(10 * US);
	}
	guest_linger();
}

TEST_F(lapic_timer, apic_mode_switched)
{
	struct rig *rig = &self->rig;

	virt_pg_map(rig->vm, APIC_DEFAULT_GPA, APIC_DEFAULT_GPA);
	rig_do(rig, guest_apic_modes);
}

/* Masked for good once the APIC is off, as it is to stay when it is on again. */
static void guest_assert_masked(struct timer *t)
{
	GUEST_ASSERT_EQ(x2apic_read_reg(APIC_LVTT),
			lvt_modes[t->mode] | APIC_LVT_MASKED | t->vector);
}

/* By software, and then on again: no interrupt comes that LVTT did not ask for anew. */
static void guest_apic_software_off(struct timer *t)
{
	uint64_t spiv = x2apic_read_reg(APIC_SPIV);
	bool was;
	int i;

	for (i = 0; i < 4; i++) {
		guest_arm(t, 1 * MS);
		guest_spin(i % 2 ? 10 * US : 500 * US);

		was = guest_book(t, 0, 0);
		x2apic_write_reg(APIC_SPIV, spiv & ~APIC_SPIV_APIC_ENABLED);
		guest_book_stale(t, was);
		guest_assert_masked(t);
		x2apic_write_reg(APIC_LVTT, lvt_modes[t->mode] | t->vector);
		guest_assert_masked(t);
		guest_spin(3 * MS);

		x2apic_write_reg(APIC_SPIV, spiv);
		guest_assert_masked(t);
		guest_linger();
		guest_unmask(t);

		guest_arm(t, 200 * US);
		guest_expect(t);
		guest_linger();
	}
}

TEST_F(lapic_timer, apic_software_disabled)
{
	rig_do(&self->rig, guest_apic_software_off);
}

/*
 * Off altogether.  What its registers have when it is on again is not asked here, but
 * that a timer which expired meanwhile is none of its interrupts; request.nr: or may be,
 * as where it is masked.
 */
static void guest_apic_off(struct timer *t)
{
	uint64_t deadline;
	bool late;
	int i;

	for (i = 0; i < 4; i++) {
		guest_arm(t, 1 * MS);
		guest_spin(i % 2 ? 10 * US : 500 * US);

		deadline = t->deadline;
		guest_book(t, 0, 0);
		apic_disable();
		late = rdtsc() >= deadline;
		t->stale = late;
		GUEST_ASSERT_EQ(rdmsr(MSR_IA32_TSC_DEADLINE), 0);
		guest_spin(3 * MS);

		xapic_enable();
		x2apic_enable();
		guest_timer_write(t, 0);
		/* The period that it was on again for may have ended. */
		if (t->mode == PERIODIC || request.nr)
			t->stale = 1;
		else if (!late)
			GUEST_ASSERT(!guest_apic_bit(APIC_IRR, t->vector));
		guest_linger();
		guest_book(t, 0, 0);

		guest_init(t, 0, t->mode);
		guest_arm(t, 200 * US);
		guest_expect(t);
		guest_linger();
	}
}

TEST_F(lapic_timer, apic_disabled)
{
	struct rig *rig = &self->rig;

	virt_pg_map(rig->vm, APIC_DEFAULT_GPA, APIC_DEFAULT_GPA);
	rig->request->nr = !rig_has_stats(rig);
	rig_do(rig, guest_apic_off);
}

static void guest_send_init(void)
{
	wrmsr(APIC_BASE_MSR + (APIC_ICR >> 4),
	      x2apic_read_reg(APIC_ID) << 32 | APIC_INT_ASSERT | APIC_DM_INIT);
}

static uint32_t lapic_reg(const struct kvm_lapic_state *lapic, unsigned int reg)
{
	return *(uint32_t *)&lapic->regs[reg];
}

/* Waits for its timer, and is reset. */
static void guest_waits_for_init(struct timer *t)
{
	guest_arm(t, request.ns);
	GUEST_SYNC(STAGE_HOST);
	if (request.nr)
		guest_send_init();
	for (;;)
		guest_wait();
}

/* All is as it was before, but the APIC, and nothing comes of the timer. */
static void guest_after_init(struct timer *t)
{
	GUEST_ASSERT_EQ(x2apic_read_reg(APIC_LVTT), APIC_LVT_MASKED);
	guest_book(t, 0, 0);
	guest_init(t, 0, t->mode);
	guest_linger();
	/* If it still ran, it would fire by then. */
	guest_spin(request.ns);
	GUEST_ASSERT_EQ(x2apic_read_reg(APIC_TMICT), 0);
	GUEST_ASSERT_EQ(x2apic_read_reg(APIC_TMCCT), 0);
	GUEST_ASSERT_EQ(rdmsr(MSR_IA32_TSC_DEADLINE), 0);

	guest_arm(t, 200 * US);
	guest_expect(t);
	guest_linger();
}

static bool rig_waits_for_sipi(struct rig *rig)
{
	struct kvm_mp_state mp_state;

	vcpu_mp_state_get(rig->vcpu, &mp_state);
	return mp_state.mp_state == KVM_MP_STATE_INIT_RECEIVED;
}

static void rig_assert_reset(struct rig *rig)
{
	struct kvm_lapic_state lapic;
	uint64_t deadline;

	TEST_ASSERT(rig_waits_for_sipi(rig), "It was not reset");
	rig_get_lapic(rig, &lapic, &deadline);
	TEST_ASSERT_EQ(lapic_reg(&lapic, APIC_LVTT), APIC_LVT_MASKED);
	TEST_ASSERT_EQ(lapic_reg(&lapic, APIC_TMICT), 0);
	TEST_ASSERT_EQ(lapic_reg(&lapic, APIC_TMCCT), 0);
	TEST_ASSERT_EQ(lapic_reg(&lapic, APIC_IRR + TIMER_VECTOR / 32 * 0x10), 0);
	TEST_ASSERT_EQ(deadline, 0);
}

/* Who goes on as before the INIT, starts at a place where its stack does not matter. */
static void rig_load_state(struct rig *rig, struct kvm_x86_state *state)
{
	state->regs.rip = (uint64_t)guest_loop;
	state->regs.rsp = (state->regs.rsp & ~0xfull) - sizeof(uint64_t);
	vcpu_load_state(rig->vcpu, state);
	kvm_x86_state_cleanup(state);
	rig_finish(rig);
}

/*
 * An INIT that the host sends, or the guest itself; the SIPI never comes, not until
 * the timer would have fired, or not before.
 */
static void rig_reset(struct rig *rig, bool itself, uint64_t ns)
{
	struct timer *t = addr_gva2hva(rig->vm, (vm_vaddr_t)&timers[0]);
	struct kvm_x86_state *state = vcpu_save_state(rig->vcpu);
	uint64_t fired = t->fired;
	int i;

	rig->request->nr = itself;
	rig->request->ns = 50 * MS;
	rig_start(rig, guest_waits_for_init);
	TEST_ASSERT_EQ(rig_run(rig), STAGE_HOST);
	if (!itself) {
		TEST_ASSERT_EQ(rig_run_for(rig, 1 * MS), STAGE_INTERRUPTED);
		rig_send_msi(rig, APIC_DM_INIT);
	}
	/* It may take longer until it gets to send it. */
	for (i = 0; i < 10 && (!i || !rig_waits_for_sipi(rig)); i++)
		TEST_ASSERT_EQ(rig_run_for(rig, ns), STAGE_INTERRUPTED);
	TEST_ASSERT_EQ(t->fired, fired);
	rig_assert_reset(rig);

	rig_load_state(rig, state);
	rig_do(rig, guest_after_init);
}

TEST_F(lapic_timer, reset_by_init)
{
	int i;

	for (i = 0; i < 4; i++)
		rig_reset(&self->rig, i % 2, i < 2 ? 70 * MS : 2 * MS);
}

static void rig_set_mp_state(struct rig *rig, uint32_t mp_state)
{
	struct kvm_mp_state state = { .mp_state = mp_state };

	vcpu_mp_state_set(rig->vcpu, &state);
}

/*
 * User space says that the vCPU waits for a SIPI.  That is no reset: the timer goes on,
 * and its interrupt is there when the vCPU runs again.
 */
TEST_F(lapic_timer, waits_for_sipi)
{
	struct rig *rig = &self->rig;
	struct timer *t = addr_gva2hva(rig->vm, (vm_vaddr_t)&timers[0]);
	uint64_t fired;
	int i;

	rig->request->nr = 4;
	rig->request->ns = 20 * MS;
	rig_start(rig, guest_migrates);
	for (i = 0; i < rig->request->nr; i++) {
		rig_run_until_armed(rig);
		fired = t->fired;
		rig_set_mp_state(rig, KVM_MP_STATE_INIT_RECEIVED);
		TEST_ASSERT_EQ(rig_run_for(rig, i % 2 ? 40 * MS : 5 * MS), STAGE_INTERRUPTED);
		TEST_ASSERT_EQ(t->fired, fired);
		rig_set_mp_state(rig, KVM_MP_STATE_RUNNABLE);
	}
	rig_finish(rig);
}

/* What KVM says of its timers. */
struct counts {
	uint64_t hv_arms, host_arms;
	uint64_t hv_expired, host_expired, poll_expired;
	uint64_t halt_no_host, host_saved, useless;
	uint64_t erange, hv_early;
};

static const struct {
	const char *name;
	size_t offset;
} stats[] = {
#define STAT(field)	{ "lapic_timer_" #field, offsetof(struct counts, field) }
	STAT(hv_arms),
	STAT(host_arms),
	STAT(hv_expired),
	STAT(host_expired),
	STAT(poll_expired),
	STAT(halt_no_host),
	STAT(host_saved),
	STAT(useless),
	STAT(erange),
	STAT(hv_early),
};

static struct counts rig_counts(struct rig *rig)
{
	struct counts c;
	int i;

	for (i = 0; i < ARRAY_SIZE(stats); i++)
		*(uint64_t *)((void *)&c + stats[i].offset) =
			vcpu_stat(&rig->stats, stats[i].name);
	return c;
}

/* What comes of fn. */
static struct counts rig_count(struct rig *rig, void (*fn)(struct timer *t))
{
	struct counts before = rig_counts(rig), c;
	uint64_t *from = (void *)&before, *to = (void *)&c;
	int i;

	rig_do(rig, fn);
	c = rig_counts(rig);
	for (i = 0; i < sizeof(c) / sizeof(*to); i++)
		to[i] -= from[i];
	return c;
}

static void print_counts(const struct counts *c)
{
	int i;

	ksft_print_msg("counts:");
	for (i = 0; i < ARRAY_SIZE(stats); i++)
		printf(" %s %lu", stats[i].name + strlen("lapic_timer_"),
		       *(uint64_t *)((void *)c + stats[i].offset));
	printf("\n");
}

#define ASSERT_COUNT(a, op, b)						\
do {									\
	uint64_t __a = (a), __b = (b);					\
	bool __ok = __a op __b;						\
									\
	if (!__ok)							\
		print_counts(&c);					\
	TEST_ASSERT(__ok, "%s is %lu, %s is %lu", #a, __a, #b, __b);	\
} while (0)

/* Some disturbance may come in between: then it is worth another try. */
#define TRIES		10
#define HALTS		10

FIXTURE(lapic_timer_stats) {
	struct rig rig;
	/* It has a timer that ends the guest by itself. */
	bool hv;
};

FIXTURE_VARIANT(lapic_timer_stats) {
	enum timer_mode mode;
};

FIXTURE_VARIANT_ADD(lapic_timer_stats, oneshot) { .mode = ONESHOT };
FIXTURE_VARIANT_ADD(lapic_timer_stats, periodic) { .mode = PERIODIC };
FIXTURE_VARIANT_ADD(lapic_timer_stats, deadline) { .mode = DEADLINE };

FIXTURE_SETUP(lapic_timer_stats)
{
	rig_create(&self->rig, variant->mode, true, WINDOW_NS);
	if (!rig_has_stats(&self->rig))
		SKIP(return, "This KVM has no statistics on its LAPIC timers");

	self->hv = vcpu_stat(&self->rig.stats, "lapic_timer_hv_arms") > 0;
}

FIXTURE_TEARDOWN(lapic_timer_stats)
{
	rig_destroy(&self->rig);
}

/* request.nr halts, or ticks, of request.ns each. */
static void guest_halts(struct timer *t)
{
	int i;

	if (t->mode == PERIODIC) {
		guest_arm(t, request.ns);
		guest_wait_fired(t, request.nr);
		guest_clear(t);
		return;
	}

	for (i = 0; i < request.nr; i++) {
		guest_arm(t, request.ns);
		guest_expect(t);
	}
}

static struct counts rig_halt(struct rig *rig, uint64_t nr, uint64_t ns)
{
	rig->request->nr = nr;
	rig->request->ns = ns;
	return rig_count(rig, guest_halts);
}

static uint64_t expired(const struct counts *c)
{
	return c->hv_expired + c->host_expired + c->poll_expired;
}

/* Ticks may come while the guest cannot take them, and one before it stops them. */
static void assert_expired(struct rig *rig, struct counts c, uint64_t nr)
{
	if (rig->request->mode == PERIODIC)
		ASSERT_COUNT(expired(&c), >=, nr);
	else
		ASSERT_COUNT(expired(&c), ==, nr);
}

/* The poll sees the deadline pass, and no host timer is touched for it. */
TEST_F(lapic_timer_stats, poll_ends_by_deadline)
{
	struct rig *rig = &self->rig;
	struct counts c;
	int try;

	for (try = 1; try <= TRIES; try++) {
		c = rig_halt(rig, HALTS, 3 * MS);
		if (c.poll_expired == HALTS && (!self->hv || !c.host_arms))
			break;
	}

	assert_expired(rig, c, HALTS);
	if (self->hv) {
		ASSERT_COUNT(c.poll_expired, ==, HALTS);
		ASSERT_COUNT(c.host_arms, ==, 0);
		ASSERT_COUNT(c.host_expired, ==, 0);
		ASSERT_COUNT(c.halt_no_host, >=, HALTS);
	} else {
		/* Once when it is armed, and no more for the halt. */
		ASSERT_COUNT(c.host_arms, <=, HALTS + 2);
		ASSERT_COUNT(c.hv_arms + c.hv_expired, ==, 0);
	}
}

/* Who sleeps needs the host's timer. */
TEST_F(lapic_timer_stats, sleep_takes_host_timer)
{
	struct rig *rig = &self->rig;
	struct counts c;

	vm_enable_cap(rig->vm, KVM_CAP_HALT_POLL, 0);
	c = rig_halt(rig, HALTS, 3 * MS);
	assert_expired(rig, c, HALTS);
	ASSERT_COUNT(c.host_expired, >=, HALTS / 2);
	ASSERT_COUNT(c.host_arms, >=, HALTS / 2);
	ASSERT_COUNT(c.poll_expired, ==, 0);
}

/* While the guest runs it is the processor's timer, where it has one. */
TEST_F(lapic_timer_stats, runs_on_its_backend)
{
	struct rig *rig = &self->rig;
	struct counts c;

	rig->request->halts = false;
	c = rig_halt(rig, HALTS, 1 * MS);
	assert_expired(rig, c, HALTS);
	ASSERT_COUNT(c.poll_expired, ==, 0);
	if (self->hv) {
		ASSERT_COUNT(c.hv_expired, >=, HALTS / 2);
		ASSERT_COUNT(c.hv_arms, >=, HALTS / 2);
	} else {
		ASSERT_COUNT(c.host_expired, ==, expired(&c));
		ASSERT_COUNT(c.host_arms, >, 0);
		ASSERT_COUNT(c.hv_arms, ==, 0);
	}
}

static void guest_too_far(struct timer *t)
{
	guest_arm_at(t, rdtsc() + (1ull << 63));
	guest_spin(100 * US);
	guest_clear(t);
}

/* No timer of 32 bits can hold that, at any rate. */
TEST_F(lapic_timer_stats, erange)
{
	struct rig *rig = &self->rig;
	struct counts c;

	if (!self->hv || variant->mode != DEADLINE)
		SKIP(return, "takes a preemption timer and the TSC deadline");

	c = rig_count(rig, guest_too_far);
	ASSERT_COUNT(c.erange, >, 0);
	ASSERT_COUNT(expired(&c), ==, 0);
}

/* As a tick or a timeout is moved: request.nr times, every request.step_ns. */
static void guest_later(struct timer *t)
{
	uint64_t step = ns_to_guest_tsc(request.step_ns);
	uint64_t next = rdtsc();
	int i;

	for (i = 0; i < request.nr; i++) {
		guest_arm(t, request.ns);
		next += step;
		guest_spin_until(next);
		/* If that took longer, the guest does not try to catch up. */
		next = max(next, rdtsc());
	}
	guest_clear(t);
}

#define LATER_WRITES	1000
#define LATER_NS	(1 * MS)
#define LATER_STEP_NS	(20 * US)

static struct counts rig_later(struct rig *rig, uint64_t *ns)
{
	struct counts c;

	rig->request->nr = LATER_WRITES;
	rig->request->ns = LATER_NS;
	rig->request->step_ns = LATER_STEP_NS;

	*ns = now_ns();
	c = rig_count(rig, guest_later);
	*ns = now_ns() - *ns;
	return c;
}

/*
 * The host's timer fires for each deadline that it was set to, and is then set to
 * the newest: about once each LATER_NS.  1,000 writes take 20 of them, unless the
 * machine is slow.
 */
TEST_F(lapic_timer_stats, lazy_host_timer)
{
	struct rig *rig = &self->rig;
	uint64_t planned_ns = LATER_WRITES * LATER_STEP_NS;
	struct counts c;
	uint64_t ns;

	if (self->hv)
		SKIP(return, "takes a host timer while the guest runs");

	c = rig_later(rig, &ns);
	print_counts(&c);
	/* 50 where nothing is in the way. */
	ASSERT_COUNT(c.host_arms, <=, 10 + 2 * max(ns, planned_ns) / LATER_NS);
	ASSERT_COUNT(c.host_saved, >=, LATER_WRITES * 9 / 10);
	ASSERT_COUNT(c.useless, <=, 2000 * ns / NSEC_PER_SEC + 10);
}

TEST_F(lapic_timer_stats, lazy_off)
{
	struct rig *rig = &self->rig;
	struct counts c;
	uint64_t planned_ns = LATER_WRITES * LATER_STEP_NS;
	uint64_t ns, past;

	if (self->hv)
		SKIP(return, "takes a host timer while the guest runs");

	kvm_param_write("lapic_timer_lazy", "N");
	c = rig_later(rig, &ns);
	/* A deadline that is over when KVM sees it has cost its guest LATER_NS. */
	past = (max(ns, planned_ns) - planned_ns) / LATER_NS;
	ASSERT_COUNT(c.host_arms + past, >=, LATER_WRITES);
	/* But for one that fires while it is moved: it then sets itself to the new deadline. */
	ASSERT_COUNT(c.useless, <=, 2 + past);
	ASSERT_COUNT(c.host_saved, <=, c.useless);
}

/* As if there was no polling, the host's timer stands in for the halt. */
TEST_F(lapic_timer_stats, poll_off)
{
	struct rig *rig = &self->rig;
	struct counts c;

	kvm_param_write("lapic_timer_poll", "N");
	c = rig_halt(rig, HALTS, 3 * MS);
	assert_expired(rig, c, HALTS);
	ASSERT_COUNT(c.poll_expired, ==, 0);
	ASSERT_COUNT(c.host_arms, >=, HALTS / 2);
	if (self->hv)
		ASSERT_COUNT(c.halt_no_host, ==, 0);
}

/*
 * Tries to have the host's timer fire for nothing, as often as it can: sets it to
 * fire soon and moves the deadline away, to and fro; or clears it.
 */
static void guest_adversary(struct timer *t)
{
	uint64_t end = rdtsc() + ns_to_guest_tsc(request.ns);
	int i;

	for (i = 0; rdtsc() < end; i++) {
		guest_arm(t, request.step_ns);
		if (request.nr)
			guest_clear(t);
		else
			guest_arm(t, 10 * MS);
		guest_spin(request.step_ns * (i % 4));
	}
	guest_clear(t);
}

TEST_F(lapic_timer_stats, useless_firings_bounded)
{
	static const uint64_t steps[] = { 20 * US, 100 * US, 300 * US };
	struct rig *rig = &self->rig;
	uint64_t start, ns;
	struct counts c;
	int i;

	for (i = 0; i < 2 * ARRAY_SIZE(steps); i++) {
		rig->request->nr = i % 2;
		rig->request->step_ns = steps[i / 2];
		rig->request->ns = 50 * MS;

		start = now_ns();
		c = rig_count(rig, guest_adversary);
		ns = now_ns() - start;
		print_counts(&c);
		ASSERT_COUNT(c.useless, <=, 2000 * ns / NSEC_PER_SEC + 2);
	}
}

/* A halt is not ended by a firing that was of no use. */
static void guest_useless_while_halted(struct timer *t)
{
	int i;

	for (i = 0; i < request.nr; i++) {
		guest_arm(t, 300 * US);
		guest_arm(t, request.ns);
		guest_expect(t);
	}
}

TEST_F(lapic_timer_stats, useless_firing_wakes_nobody)
{
	struct rig *rig = &self->rig;
	uint64_t wakeups;
	struct counts c;

	vm_enable_cap(rig->vm, KVM_CAP_HALT_POLL, 0);
	rig->request->nr = HALTS;
	rig->request->ns = 3 * MS;
	wakeups = vcpu_stat(&rig->stats, "halt_wakeup");
	c = rig_count(rig, guest_useless_while_halted);
	wakeups = vcpu_stat(&rig->stats, "halt_wakeup") - wakeups;

	/* In periodic mode each goes on for three ticks. */
	ASSERT_COUNT(expired(&c), >=, HALTS);
	ASSERT_COUNT(wakeups, <=, expired(&c) + 1);
	if (!self->hv)
		ASSERT_COUNT(c.useless, >=, HALTS / 2);
}

struct transition {
	char from[16], to[16], reason[16];
};

/* What the trace tells, as words "from>to:reason". */
struct traced {
	char words[4096];
	size_t len;
	char state[16];
	/* One that was traced too early: it does not begin where the last one ended. */
	struct transition early;
	bool disordered;
};

static bool trace_prepare(void)
{
	if (!trace_create())
		return false;

	trace_write("tracing_on", "0");
	trace_write("events/kvm/kvm_lapic_timer/enable", "1");
	return true;
}

static void trace_clear(void)
{
	char path[128];

	trace_path(path, sizeof(path), "trace");
	close(open(path, O_WRONLY | O_TRUNC));
}

static void trace_add_next(struct traced *t, const struct transition *next)
{
	t->disordered |= t->len && strcmp(t->state, next->from);
	memcpy(t->state, next->to, sizeof(t->state));
	t->len += snprintf(t->words + t->len, sizeof(t->words) - t->len, "%s>%s:%s ",
			   next->from, next->to, next->reason);
	TEST_ASSERT(t->len < sizeof(t->words), "More transitions than asked for");
}

/*
 * One after the other; an armed timer is due later, unless that is traced much later,
 * and one that is over was due before.
 */
static void trace_add(struct traced *t, const char *event)
{
	struct transition now;
	unsigned long long deadline;
	unsigned int vcpu;
	long long left;
	int nr;

	nr = sscanf(event, "vcpu %u %15s -> %15s (%15[a-z-]) deadline %llu left %lld",
		    &vcpu, now.from, now.to, now.reason, &deadline, &left);
	TEST_ASSERT(nr == 6 && !vcpu, "Cannot make sense of '%s'", event);
	t->disordered |= !strcmp(now.reason, "write") && (left <= 0 || !deadline);
	TEST_ASSERT(strncmp(now.reason, "due", 3) || left <= 0, "Not due at '%s'", event);

	/* One that hits another before it is traced is traced first. */
	if (t->len && strcmp(t->state, now.from) && !t->early.reason[0]) {
		t->early = now;
		return;
	}

	trace_add_next(t, &now);
	if (t->early.reason[0]) {
		trace_add_next(t, &t->early);
		t->early.reason[0] = 0;
	}
}

static struct traced trace_read(void)
{
	static const char event[] = " kvm_lapic_timer: ";
	struct traced t = {};
	char line[512];
	char *found;
	FILE *f;

	f = trace_open();
	while ((found = trace_next(f, line, sizeof(line), event)))
		trace_add(&t, found);
	fclose(f);
	t.disordered |= !!t.early.reason[0];
	return t;
}

/* What fn does is just that; if not at once, for a disturbance, then soon. */
static void rig_expect_trace(struct rig *rig, void (*fn)(struct timer *t), const char *pattern)
{
	struct traced traced;
	regex_t regex;
	bool found;
	int try;

	TEST_ASSERT(!regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB),
		    "Not an expression: '%s'", pattern);
	for (try = 1; try <= TRIES; try++) {
		trace_clear();
		/* What the host has to do after that is done by then. */
		rig_do(rig, guest_warm_up);
		trace_write("tracing_on", "1");
		rig_do(rig, fn);
		trace_write("tracing_on", "0");
		traced = trace_read();
		found = !traced.disordered && !regexec(&regex, traced.words, 0, NULL, 0);
		if (found)
			break;
	}
	regfree(&regex);
	TEST_ASSERT(found, "Expected '%s', traced '%s'", pattern, traced.words);
}

/* What becomes of an armed timer when it fires, by how the guest waits. */
static void rig_expect_fires(struct rig *rig, bool hv, const char *due)
{
	const char *armed = hv ? "guest" : "host";
	char pattern[512];

	rig->request->nr = rig->request->mode == PERIODIC ? 2 : 1;
	rig->request->ns = 3 * MS;
	if (rig->request->mode == PERIODIC)
		snprintf(pattern, sizeof(pattern),
			 "^idle>%s:write ((%s) idle>%s:period ){2}%s>idle:clear $",
			 armed, due, armed, armed);
	else
		snprintf(pattern, sizeof(pattern), "^idle>%s:write (%s) $", armed, due);
	rig_expect_trace(rig, guest_halts, pattern);
}

/* A while before it is due, which a guest that halts is woken from. */
static void guest_arms_and_clears(struct timer *t)
{
	guest_arm(t, 20 * MS);
	guest_linger();
	guest_clear(t);
}

static void guest_arms_past(struct timer *t)
{
	guest_arm_at(t, 1);
	guest_expect(t);
}

#define BY_HOST		"host>expired:due-host expired>idle:deliver"
/* The poll takes it over from the host's timer, which may be faster. */
#define BY_POLL		"(guest|host)>idle:due-poll"
#define BY_EITHER	"(guest|host)>expired:due-host expired>idle:deliver"
#define BY_POLL_OR_HOST	"(host>guest:poll )?(" BY_POLL "|" BY_EITHER ")"
/* It sleeps, and is woken by something else. */
#define WOKEN		"guest>host:block host>guest:unblock"

TEST_F(lapic_timer_stats, trace_tells_each_transition)
{
	struct rig *rig = &self->rig;
	bool hv = self->hv;

	if (!trace_prepare())
		SKIP(return, "takes tracefs at " TRACEFS);

	rig_expect_fires(rig, hv, hv ? "guest>idle:due-poll" : BY_POLL_OR_HOST);

	rig->request->halts = false;
	rig_expect_fires(rig, hv, hv ? "guest>idle:due-guest" : BY_HOST);
	rig_expect_trace(rig, guest_arms_and_clears,
			 hv ? "^idle>guest:write guest>idle:clear $" :
			      "^idle>host:write host>idle:clear $");

	vm_enable_cap(rig->vm, KVM_CAP_HALT_POLL, 0);
	rig->request->halts = true;
	rig_expect_fires(rig, hv, hv ? "guest>host:block " BY_HOST : BY_HOST);
	rig_expect_trace(rig, guest_arms_and_clears,
			 hv ? "^idle>guest:write " WOKEN " guest>idle:clear $" :
			      "^idle>host:write host>idle:clear $");

	if (variant->mode == DEADLINE)
		rig_expect_trace(rig, guest_arms_past, "^[a-z]+>idle:past $");
	trace_remove();
}

int main(int argc, char *argv[])
{
	rig_require();

	return test_harness_run(argc, argv);
}
