/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __LINUX_KVM_HALT_GOVERNOR_H
#define __LINUX_KVM_HALT_GOVERNOR_H

/*
 * The policy half of halt polling: plain data and pure functions.  Everything
 * declared here, and the files that define it, also compile in user space, so
 * that the unit tests run what kvm.ko runs.
 */

#include <linux/types.h>

/**
 * struct kvm_halt_poll_tunables - what the administrator asked for, and the time
 * @max_ns: upper bound of a window, in ns; 0 turns polling off
 * @grow: factor by which a window grows; 0 keeps it as it is
 * @grow_start_ns: the first window above zero, and the smallest, in ns
 * @shrink: divisor by which a window shrinks; 0 closes it at once
 * @timer_ns: until the vCPU's own timer is due, for a governor that asks; in ns,
 *	      U64_MAX when it is not armed or nothing is known of it
 *
 * A snapshot, taken anew for each halt, as the module parameters behind it may
 * change at any time.  Any 32-bit value may stand in any member.
 */
struct kvm_halt_poll_tunables {
	u32 max_ns;
	u32 grow;
	u32 grow_start_ns;
	u32 shrink;
	u64 timer_ns;
};

/**
 * struct kvm_halt_poll_state - what a governor remembers of one vCPU
 * @window_ns: how long the next halt may poll, in ns
 */
struct kvm_halt_poll_state {
	u32 window_ns;
};

/**
 * struct kvm_halt_poll_sample - one whole halt, as a governor judges it
 * @halt_ns: from the guest's halt to the vCPU running again, in ns, however
 *	     often the vCPU slept in between
 * @valid: false when the architecture says that the wake-up was meant for
 *	   another vCPU (see vcpu_valid_wakeup())
 */
struct kvm_halt_poll_sample {
	u64 halt_ns;
	bool valid;
};

/**
 * struct kvm_halt_poll_governor - a halt polling policy
 * @name: what the halt_poll_governor parameter calls it
 * @select: choose @window_ns of the state for the halt that begins, at most
 *	    @max_ns of the tunables
 * @reflect: learn from the halt that ended; optional
 * @asks_timer: @timer_ns of the tunables is wanted
 *
 * Both callbacks run in the vCPU's own task, with nothing held, once a halt.
 * The state is zero when a vCPU comes to the governor.
 */
struct kvm_halt_poll_governor {
	const char *name;
	void (*select)(struct kvm_halt_poll_state *state,
		       const struct kvm_halt_poll_tunables *tunables);
	void (*reflect)(struct kvm_halt_poll_state *state,
			const struct kvm_halt_poll_tunables *tunables,
			const struct kvm_halt_poll_sample *sample);
	bool asks_timer;
};

extern const struct kvm_halt_poll_governor kvm_halt_poll_static;
extern const struct kvm_halt_poll_governor kvm_halt_poll_grow;

/**
 * struct kvm_halt_poll_steal - back-off of one vCPU when its host loses time
 * @sampled_ns: when the host CPU's steal time was last read; 0 for never
 * @stolen_ns: what it was then
 * @until_ns: polling is withheld before this time
 * @cpu: the host CPU that @stolen_ns belongs to
 * @level: the next back-off lasts 2^level units
 */
struct kvm_halt_poll_steal {
	u64 sampled_ns;
	u64 stolen_ns;
	u64 until_ns;
	int cpu;
	unsigned int level;
};

bool kvm_halt_poll_steal_due(const struct kvm_halt_poll_steal *steal,
			     u64 now_ns);
void kvm_halt_poll_steal_sample(struct kvm_halt_poll_steal *steal, u64 now_ns,
				int cpu, u64 stolen_ns, unsigned int max_pct);
bool kvm_halt_poll_steal_withholds(const struct kvm_halt_poll_steal *steal,
				   u64 now_ns, unsigned int max_pct);

#endif
