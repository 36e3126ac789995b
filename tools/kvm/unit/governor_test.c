// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the halt polling governors promise, proved on the files kvm.ko runs:
 *
 * - a window never exceeds the maximum of the moment, whatever 32-bit values
 *   the parameters have and whenever they change, in mid-halt too;
 * - "grow" starts closed, stays closed for an idle guest, opens for a guest
 *   that waits for messages, settles at its need and closes again;
 * - "grow" polls exactly as long as the dynamic rule that KVM has had since
 *   2015, on any sequence of halts, so an idle guest costs no more;
 * - the edges: 0, UINT_MAX, a product beyond 32 bits, a divisor of 0.
 */

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <linux/kvm_halt_governor.h>
#include "kselftest.h"

#define US	1000U
#define MS	1000000U

static const struct kvm_halt_poll_tunables defaults = {
	.max_ns = 200 * US,
	.grow = 2,
	.grow_start_ns = 10 * US,
	.shrink = 2,
};

static const struct kvm_halt_poll_governor *grow = &kvm_halt_poll_grow;

/* One halt of the given length; returns for how long it polled. */
static u64 halt(struct kvm_halt_poll_state *state,
		const struct kvm_halt_poll_tunables *tunables, u64 halt_ns)
{
	struct kvm_halt_poll_sample sample = { .halt_ns = halt_ns, .valid = true };
	u32 window;

	grow->select(state, tunables);
	window = state->window_ns;
	grow->reflect(state, tunables, &sample);
	return halt_ns < window ? halt_ns : window;
}

static u64 halts(struct kvm_halt_poll_state *state, u64 halt_ns, int n)
{
	u64 polled = 0;

	while (n--)
		polled += halt(state, &defaults, halt_ns);
	return polled;
}

static bool starts_closed(void)
{
	struct kvm_halt_poll_state state = {};

	grow->select(&state, &defaults);
	return state.window_ns == 0;
}

static bool idle_stays_closed(void)
{
	struct kvm_halt_poll_state state = {};
	u64 tickless = halts(&state, 100ULL * MS, 1000);
	u64 hz_250 = halts(&state, 4 * MS, 1000);

	return tickless == 0 && hz_250 == 0 && state.window_ns == 0;
}

static bool settles_at_need(void)
{
	struct kvm_halt_poll_state state = {};

	halts(&state, 8 * US, 1000);
	if (state.window_ns != 10 * US)
		return false;
	halts(&state, 30 * US, 1000);
	return state.window_ns == 40 * US;
}

static bool closes_when_idle(void)
{
	struct kvm_halt_poll_state state = { .window_ns = 200 * US };
	u64 polled = halts(&state, 50ULL * MS, 100);

	return state.window_ns == 0 && polled < 400 * US;
}

static bool tick_does_not_open(void)
{
	struct kvm_halt_poll_tunables tunables = defaults;
	struct kvm_halt_poll_state state = {};

	/* As long as the maximum and longer, by the smallest margin. */
	halt(&state, &tunables, tunables.max_ns + 1ULL);
	return state.window_ns == 0;
}

static bool invalid_wakeup_shrinks(void)
{
	struct kvm_halt_poll_sample sample = { .halt_ns = 50 * US };
	struct kvm_halt_poll_state state = { .window_ns = 40 * US };

	grow->reflect(&state, &defaults, &sample);
	return state.window_ns == 20 * US;
}

static bool grow_of_0_keeps(void)
{
	struct kvm_halt_poll_tunables tunables = defaults;
	struct kvm_halt_poll_state state = { .window_ns = 20 * US };

	tunables.grow = 0;
	halt(&state, &tunables, 100 * US);
	return state.window_ns == 20 * US;
}

static bool grow_of_1_opens(void)
{
	struct kvm_halt_poll_tunables tunables = defaults;
	struct kvm_halt_poll_state state = {};

	tunables.grow = 1;
	halt(&state, &tunables, 5 * US);
	if (state.window_ns != 10 * US)
		return false;
	halt(&state, &tunables, 100 * US);
	return state.window_ns == 10 * US;
}

static bool grow_saturates(void)
{
	struct kvm_halt_poll_tunables tunables = defaults;
	struct kvm_halt_poll_state state = { .window_ns = 0x80000001 };

	tunables.max_ns = UINT_MAX;
	tunables.grow = UINT_MAX;
	halt(&state, &tunables, 0x90000000);
	if (state.window_ns != UINT_MAX)
		return false;

	state.window_ns = 0x80000000;	/* twice that is 0 in 32 bits */
	tunables.grow = 2;
	halt(&state, &tunables, 0x90000000);
	return state.window_ns == UINT_MAX;
}

static bool grow_start_beyond_max(void)
{
	struct kvm_halt_poll_tunables tunables = defaults;
	struct kvm_halt_poll_state state = {};

	tunables.grow_start_ns = UINT_MAX;
	halt(&state, &tunables, 5 * US);
	return state.window_ns == tunables.max_ns;
}

static bool shrink_of_0_closes(void)
{
	struct kvm_halt_poll_tunables tunables = defaults;
	struct kvm_halt_poll_state state = { .window_ns = 160 * US };

	tunables.shrink = 0;
	halt(&state, &tunables, 10 * MS);
	return state.window_ns == 0;
}

static bool shrink_of_1_keeps(void)
{
	struct kvm_halt_poll_tunables tunables = defaults;
	struct kvm_halt_poll_state state = { .window_ns = 160 * US };

	tunables.shrink = 1;
	halt(&state, &tunables, 10 * MS);
	return state.window_ns == 160 * US;
}

static bool shrink_of_uint_max_closes(void)
{
	struct kvm_halt_poll_tunables tunables = defaults;
	struct kvm_halt_poll_state state = { .window_ns = UINT_MAX };

	tunables.max_ns = UINT_MAX;
	tunables.shrink = UINT_MAX;
	halt(&state, &tunables, UINT64_MAX);
	return state.window_ns == 0;
}

static bool max_of_0_closes(void)
{
	struct kvm_halt_poll_tunables tunables = defaults;
	struct kvm_halt_poll_state state = { .window_ns = 160 * US };

	tunables.max_ns = 0;
	return halt(&state, &tunables, 5 * US) == 0 && state.window_ns == 0;
}

static bool max_lowered_in_mid_halt(void)
{
	struct kvm_halt_poll_sample sample = { .halt_ns = 50 * US, .valid = true };
	struct kvm_halt_poll_tunables tunables = defaults;
	struct kvm_halt_poll_state state = { .window_ns = 160 * US };

	grow->select(&state, &tunables);
	tunables.max_ns = 20 * US;
	grow->reflect(&state, &tunables, &sample);
	grow->select(&state, &tunables);
	return state.window_ns <= 20 * US;
}

static bool static_is_max(void)
{
	static const u32 edges[] = { 0, 1, 200 * US, UINT_MAX };
	struct kvm_halt_poll_tunables tunables = defaults;
	struct kvm_halt_poll_state state = { .window_ns = 12345 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(edges); i++) {
		tunables.max_ns = edges[i];
		kvm_halt_poll_static.select(&state, &tunables);
		if (state.window_ns != edges[i])
			return false;
	}
	return true;
}

static u32 any_u32(void)
{
	static const u32 edges[] = { 0, 1, 2, 10 * US, 200 * US, 0x80000000, UINT_MAX };

	if (rand() % 2)
		return edges[rand() % ARRAY_SIZE(edges)];
	return ((u32)rand() << 16 ^ (u32)rand()) >> rand() % 32;
}

static struct kvm_halt_poll_tunables any_tunables(void)
{
	return (struct kvm_halt_poll_tunables) {
		.max_ns = any_u32(), .grow = any_u32(),
		.grow_start_ns = any_u32(), .shrink = any_u32(),
	};
}

/* Every call with other parameters, and with a state nobody would leave. */
static bool never_beyond_max(void)
{
	struct kvm_halt_poll_state state = {};
	int i;

	for (i = 0; i < 1000000; i++) {
		struct kvm_halt_poll_tunables before = any_tunables();
		struct kvm_halt_poll_tunables after = any_tunables();
		struct kvm_halt_poll_sample sample = {
			.halt_ns = (u64)any_u32() << rand() % 33,
			.valid = rand() % 8,
		};

		if (!(i % 64))
			state.window_ns = any_u32();
		grow->select(&state, &before);
		if (state.window_ns > before.max_ns)
			return false;
		grow->reflect(&state, &after, &sample);
	}
	return true;
}

/*
 * The dynamic rule, put down once more from its description in
 * Documentation/virt/kvm/halt-polling.rst, in a form as unlike the governor's
 * as can be: in 128 bits, which cannot overflow, and by cases.
 */
static u32 rule(u32 window, const struct kvm_halt_poll_tunables *t, u64 halt_ns)
{
	unsigned __int128 next = window;

	if (halt_ns > t->max_ns) {
		next = t->shrink ? next / t->shrink : 0;
		return next >= t->grow_start_ns ? next : 0;
	}
	if (halt_ns <= window || window >= t->max_ns || !t->grow)
		return window;
	next *= t->grow;
	if (next < t->grow_start_ns)
		next = t->grow_start_ns;
	return next < t->max_ns ? next : t->max_ns;
}

static bool equals_dynamic_rule(void)
{
	struct kvm_halt_poll_tunables tunables = defaults;
	struct kvm_halt_poll_state state = {};
	u32 window = 0;
	int i;

	for (i = 0; i < 1000000; i++) {
		u64 halt_ns = (u64)(rand() % 1000) << rand() % 20;

		if (!(i % 1000)) {
			tunables = any_tunables();
			window = window < tunables.max_ns ? window : tunables.max_ns;
		}
		halt(&state, &tunables, halt_ns);
		window = tunables.max_ns ? rule(window, &tunables, halt_ns) : 0;
		if (state.window_ns != window)
			return false;
	}
	return true;
}

static const struct {
	const char *name;
	bool (*run)(void);
} tests[] = {
	{ "grow starts closed", starts_closed },
	{ "grow stays closed for an idle guest, tickless and 250 Hz", idle_stays_closed },
	{ "grow settles at the need of a message passing guest", settles_at_need },
	{ "grow closes when the guest falls idle", closes_when_idle },
	{ "grow is not opened by a halt longer than the maximum", tick_does_not_open },
	{ "grow shrinks after an invalid wake-up", invalid_wakeup_shrinks },
	{ "grow of 0 keeps the window", grow_of_0_keeps },
	{ "grow of 1 opens the window, and no further", grow_of_1_opens },
	{ "grow saturates beyond 32 bits", grow_saturates },
	{ "grow_start beyond the maximum gives the maximum", grow_start_beyond_max },
	{ "shrink of 0 closes the window", shrink_of_0_closes },
	{ "shrink of 1 keeps the window", shrink_of_1_keeps },
	{ "shrink of UINT_MAX closes the widest window", shrink_of_uint_max_closes },
	{ "maximum of 0 closes the window", max_of_0_closes },
	{ "maximum lowered in mid-halt holds for the next halt", max_lowered_in_mid_halt },
	{ "static is the maximum, at its edges too", static_is_max },
	{ "no window beyond the maximum, a million random halts", never_beyond_max },
	{ "grow equals the dynamic rule, a million random halts", equals_dynamic_rule },
};

int main(void)
{
	unsigned int i;

	srand(1);
	ksft_print_header();
	ksft_set_plan(ARRAY_SIZE(tests));
	for (i = 0; i < ARRAY_SIZE(tests); i++)
		ksft_test_result(tests[i].run(), "%s\n", tests[i].name);
	ksft_finished();
}
