// SPDX-License-Identifier: GPL-2.0-only
/*
 * Halt polling governor "static"
 */

/**
 * DOC: static
 *
 * Every halt may poll for as long as the administrator allows, whatever came
 * of it before.  That is right where a host core belongs to a vCPU and only
 * latency counts.  It is wrong nearly everywhere else: an idle guest halts a
 * few times a second for its housekeeping, none of these polls finds anything,
 * and each burns the whole window.
 */

#include <linux/kvm_halt_governor.h>

static void static_select(struct kvm_halt_poll_state *state,
			  const struct kvm_halt_poll_tunables *tunables)
{
	state->window_ns = tunables->max_ns;
}

const struct kvm_halt_poll_governor kvm_halt_poll_static = {
	.name = "static",
	.select = static_select,
};
