// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the steal back-off promises, with injected readings, as no lab's host
 * has steal time: a host that loses none polls always; one that loses more
 * than allowed is left alone for a while, then longer, with a bound; a good
 * reading takes it back; readings of two CPUs are never compared.
 */

#include <limits.h>
#include <stdbool.h>
#include <linux/kvm_halt_governor.h>
#include "kselftest.h"

#define MS	1000000ULL
#define SPAN	(20 * MS)	/* between two readings */
#define YEAR	(365ULL * 24 * 3600 * 1000 * MS)

/* A host CPU, its clock and its steal time */
struct host {
	struct kvm_halt_poll_steal steal;
	u64 now;
	u64 stolen;
	int cpu;
	unsigned int max_pct;
};

static struct host host(unsigned int max_pct)
{
	struct host host = { .now = 1000 * MS, .stolen = 777, .max_pct = max_pct };

	kvm_halt_poll_steal_sample(&host.steal, host.now, 0, host.stolen, max_pct);
	return host;
}

static bool withheld(const struct host *host, u64 later)
{
	return kvm_halt_poll_steal_withholds(&host->steal, host->now + later,
					     host->max_pct);
}

/* Let time pass, so much of it stolen; returns whether polling is withheld. */
static bool pass(struct host *host, u64 span, u64 stolen)
{
	host->now += span;
	host->stolen += stolen;
	if (kvm_halt_poll_steal_due(&host->steal, host->now))
		kvm_halt_poll_steal_sample(&host->steal, host->now, host->cpu,
					   host->stolen, host->max_pct);
	return withheld(host, 0);
}

static bool fresh_polls(void)
{
	struct kvm_halt_poll_steal steal = {};

	return kvm_halt_poll_steal_due(&steal, 1) &&
	       !kvm_halt_poll_steal_withholds(&steal, 1, 0);
}

static bool first_reading_is_no_verdict(void)
{
	struct host h = host(0);

	return !withheld(&h, 0);
}

static bool without_steal_polls(void)
{
	struct host h = host(0);
	int i;

	for (i = 0; i < 1000; i++)
		if (pass(&h, SPAN, 0))
			return false;
	return true;
}

static bool threshold_is_exact(void)
{
	struct host h = host(10);

	return !pass(&h, SPAN, SPAN / 10) && pass(&h, SPAN, SPAN / 10 + 1);
}

static bool read_once_in_span(void)
{
	struct host h = host(10);

	/* All stolen, but nobody looks before the span is over. */
	return !pass(&h, SPAN - 1, SPAN - 1) && pass(&h, 1, 1);
}

static bool pct_0_tolerates_none(void)
{
	struct host h = host(0);

	return pass(&h, SPAN, 1);
}

static bool pct_100_never_backs_off(void)
{
	struct host h = host(100);

	return !pass(&h, SPAN, SPAN) && !pass(&h, SPAN, 2 * SPAN);
}

static u64 backoff(struct host *h)
{
	return h->steal.until_ns > h->now ? h->steal.until_ns - h->now : 0;
}

/* Let time pass until the next reading, all or none of it stolen. */
static void pass_backoff(struct host *h, bool stolen)
{
	u64 span = backoff(h) ? backoff(h) : SPAN;

	pass(h, span, stolen ? span : 0);
}

static bool pct_100_lifts_it(void)
{
	struct host h = host(10);

	if (!pass(&h, SPAN, SPAN))
		return false;
	h.max_pct = 100;
	return !withheld(&h, 0);
}

static bool asks_again_at_its_end(void)
{
	struct host h = host(10);

	pass(&h, SPAN, SPAN);
	pass(&h, SPAN, SPAN);
	/* Two spans long now: a good reading in its midst does not count. */
	pass(&h, SPAN, 0);
	return withheld(&h, 0) && !kvm_halt_poll_steal_due(&h.steal, h.now) &&
	       kvm_halt_poll_steal_due(&h.steal, h.now + SPAN);
}

static bool doubles_to_a_bound(void)
{
	struct host h = host(10);
	u64 last = 0, longest = 0;
	int i;

	for (i = 0; i < 100; i++) {
		pass_backoff(&h, true);
		if (last && backoff(&h) != 2 * last && backoff(&h) != last)
			return false;
		last = backoff(&h);
		longest = last > longest ? last : longest;
	}
	return longest == 64 * SPAN;
}

static bool ends_by_itself(void)
{
	struct host h = host(10);

	pass(&h, SPAN, SPAN);
	return withheld(&h, SPAN - 1) &&
	       !withheld(&h, SPAN);
}

static bool good_readings_take_it_back(void)
{
	struct host h = host(10);
	int i;

	for (i = 0; i < 100; i++)
		pass_backoff(&h, true);
	for (i = 0; i < 100; i++)
		pass_backoff(&h, false);
	/* As if it had never been. */
	return pass(&h, SPAN, SPAN) && backoff(&h) == SPAN;
}

static bool other_cpu_is_a_new_start(void)
{
	struct host h = host(10);

	h.cpu = 1;
	if (pass(&h, SPAN, SPAN))
		return false;
	return pass(&h, SPAN, SPAN);
}

static bool moving_does_not_end_it(void)
{
	struct host h = host(10);

	pass(&h, SPAN, SPAN);
	pass(&h, SPAN, SPAN);
	h.cpu = 1;
	return pass(&h, SPAN, 0);
}

static bool counter_that_went_back(void)
{
	struct host h = host(10);

	h.stolen = 0;
	return !pass(&h, SPAN, 0);
}

static bool long_spans_do_not_overflow(void)
{
	struct host h = host(99);

	return !pass(&h, 5 * YEAR, 4 * YEAR) && pass(&h, 5 * YEAR, 5 * YEAR);
}

static const struct {
	const char *name;
	bool (*run)(void);
} tests[] = {
	{ "a fresh vCPU polls, and reads the steal time", fresh_polls },
	{ "the first reading is no verdict", first_reading_is_no_verdict },
	{ "without steal, polling is never withheld", without_steal_polls },
	{ "the threshold is exact", threshold_is_exact },
	{ "steal time is read once a span", read_once_in_span },
	{ "0 percent tolerates none", pct_0_tolerates_none },
	{ "100 percent never backs off", pct_100_never_backs_off },
	{ "100 percent lifts a back-off under way", pct_100_lifts_it },
	{ "a back-off lasts until its end, then asks again", asks_again_at_its_end },
	{ "the back-off doubles, to a bound", doubles_to_a_bound },
	{ "the back-off ends by itself", ends_by_itself },
	{ "good readings take the doublings back", good_readings_take_it_back },
	{ "another CPU is a new start", other_cpu_is_a_new_start },
	{ "moving does not end a back-off", moving_does_not_end_it },
	{ "a counter that went back is no steal", counter_that_went_back },
	{ "spans of years do not overflow", long_spans_do_not_overflow },
};

int main(void)
{
	unsigned int i;

	ksft_print_header();
	ksft_set_plan(ARRAY_SIZE(tests));
	for (i = 0; i < ARRAY_SIZE(tests); i++)
		ksft_test_result(tests[i].run(), "%s\n", tests[i].name);
	ksft_finished();
}
