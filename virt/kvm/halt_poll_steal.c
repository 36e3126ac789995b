// SPDX-License-Identifier: GPL-2.0-only
/*
 * Halt polling: back-off when the host loses time to its own hypervisor
 */

/**
 * DOC: steal
 *
 * A host that is itself a guest sees only its own run queue.  When it polls,
 * its hypervisor sees a busy CPU and may take the time from somebody who had
 * use for it, this host's other CPUs included.  The one sign of that is steal
 * time: how long a host CPU was ready to run and was not let.
 *
 * The kernel updates steal time with the tick, so it says nothing about a poll
 * of some microseconds.  It can say that this CPU has been contended lately.
 * Hence a rule across halts: a vCPU reads the steal time of the CPU that it is
 * on, no more than once in SAMPLE_NS (some ticks), and compares it with the
 * last reading.  Was more than the allowed share of the time between them
 * stolen, then polling is withheld for a while, at the end of which the next
 * reading is due; and twice as long after each further bad one, up to MAX_LEVEL
 * doublings.  Each good reading takes one doubling back.  So a contended host
 * is asked again every 20 ms at first and every 1.3 s at last, and a host with
 * none pays two comparisons a halt.
 *
 * Readings of two CPUs have nothing in common: a vCPU that has moved starts
 * with a new first reading, but a back-off under way goes on, because the load
 * that caused it is mostly the host's and not one CPU's.
 *
 * Ranges: times are ns in 64 bits; the largest product is 100 times the span
 * between two readings, which fits for spans up to five years.
 */

#include <linux/kvm_halt_governor.h>

#define SAMPLE_NS	20000000ULL
#define MAX_LEVEL	6

/**
 * kvm_halt_poll_steal_due - is it time to read the steal time again?
 * @steal: the vCPU's back-off state
 * @now_ns: now, in ns, on a clock that does not go back
 *
 * Return: true when the caller should read its CPU's steal time and pass it to
 * kvm_halt_poll_steal_sample().
 */
bool kvm_halt_poll_steal_due(const struct kvm_halt_poll_steal *steal, u64 now_ns)
{
	if (!steal->sampled_ns)
		return true;

	return now_ns >= steal->until_ns &&
	       now_ns - steal->sampled_ns >= SAMPLE_NS;
}

/**
 * kvm_halt_poll_steal_sample - judge a reading of the steal time
 * @steal: the vCPU's back-off state
 * @now_ns: when the reading was taken, in ns
 * @cpu: the host CPU that it was taken of
 * @stolen_ns: all time stolen from @cpu so far, in ns
 * @max_pct: share of the time that may be stolen, in percent; 100 allows all
 */
void kvm_halt_poll_steal_sample(struct kvm_halt_poll_steal *steal, u64 now_ns,
				int cpu, u64 stolen_ns, unsigned int max_pct)
{
	bool comparable = steal->sampled_ns && steal->cpu == cpu &&
			  stolen_ns >= steal->stolen_ns;
	u64 stolen = stolen_ns - steal->stolen_ns;
	u64 span = now_ns - steal->sampled_ns;

	steal->sampled_ns = now_ns;
	steal->stolen_ns = stolen_ns;
	steal->cpu = cpu;

	if (!comparable)
		return;

	if (stolen * 100 > span * max_pct) {
		steal->until_ns = now_ns + (SAMPLE_NS << steal->level);
		if (steal->level < MAX_LEVEL)
			steal->level++;
	} else if (steal->level) {
		steal->level--;
	}
}

/**
 * kvm_halt_poll_steal_withholds - is polling withheld at this time?
 * @steal: the vCPU's back-off state
 * @now_ns: now, in ns
 * @max_pct: as above; 100 lifts a back-off under way
 *
 * Return: true when the halt that begins now should not poll.
 */
bool kvm_halt_poll_steal_withholds(const struct kvm_halt_poll_steal *steal,
				   u64 now_ns, unsigned int max_pct)
{
	return max_pct < 100 && now_ns < steal->until_ns;
}
