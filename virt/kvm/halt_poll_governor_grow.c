// SPDX-License-Identifier: GPL-2.0-only
/*
 * Halt polling governor "grow"
 */

/**
 * DOC: grow
 *
 * A vCPU that waits for a message halts for some microseconds, and for about
 * as long each time.  A vCPU with nothing to do halts until its next tick, a
 * thousand times as long.  The length of a halt tells them apart; whether its
 * interrupt came while polling does not, as that depends on the window that is
 * to be judged.  So each whole halt is sorted by its length into one of three
 * ranges:
 *
 *	0 ......... window ................ max ................
 *	  window is     a wider window         no window allowed
 *	  right: keep   would do: grow         would do: shrink
 *
 * Growing multiplies the window, beginning with grow_start, so a vCPU that
 * passes messages has the window it needs after a few halts and keeps it:
 * nothing pushes it further up to the maximum.  Shrinking divides it, and
 * closes it once it is below grow_start, so a vCPU that fell idle stops
 * polling after a few halts.  The window starts closed, and an idle guest
 * never opens it: all its halts are longer than the maximum.
 *
 * That gives the bound on what idling costs: a long halt polls for no more than
 * the window left by the last short one, and halves it (by default).
 */

#include <linux/kvm_halt_governor.h>
#include <linux/minmax.h>

static void grow_window(struct kvm_halt_poll_state *state,
			const struct kvm_halt_poll_tunables *tunables)
{
	u64 wider = (u64)state->window_ns * tunables->grow;

	if (!tunables->grow)
		return;

	wider = max_t(u64, wider, tunables->grow_start_ns);
	state->window_ns = min_t(u64, wider, tunables->max_ns);
}

static void shrink_window(struct kvm_halt_poll_state *state,
			  const struct kvm_halt_poll_tunables *tunables)
{
	u32 narrower = 0;

	if (tunables->shrink)
		narrower = state->window_ns / tunables->shrink;

	state->window_ns = narrower < tunables->grow_start_ns ? 0 : narrower;
}

static void grow_select(struct kvm_halt_poll_state *state,
			const struct kvm_halt_poll_tunables *tunables)
{
	state->window_ns = min(state->window_ns, tunables->max_ns);
}

static void grow_reflect(struct kvm_halt_poll_state *state,
			 const struct kvm_halt_poll_tunables *tunables,
			 const struct kvm_halt_poll_sample *sample)
{
	if (!tunables->max_ns)
		state->window_ns = 0;
	else if (!sample->valid || sample->halt_ns > tunables->max_ns)
		shrink_window(state, tunables);
	else if (sample->halt_ns > state->window_ns)
		grow_window(state, tunables);
}

const struct kvm_halt_poll_governor kvm_halt_poll_grow = {
	.name = "grow",
	.select = grow_select,
	.reflect = grow_reflect,
};
