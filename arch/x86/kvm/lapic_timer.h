/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_X86_LAPIC_TIMER_H
#define __KVM_X86_LAPIC_TIMER_H

#include <asm/apicdef.h>

#include <linux/atomic.h>
#include <linux/hrtimer.h>
#include <linux/kvm_host.h>

struct kvm_lapic;

/* What the timer is doing; see the DOC comment of lapic_timer.c. */
enum kvm_lapic_timer_tag {
	KVM_LAPIC_TIMER_IDLE,
	KVM_LAPIC_TIMER_EXPIRED,
	KVM_LAPIC_TIMER_GUEST,
	KVM_LAPIC_TIMER_HOST,
};

/* Why it changed. */
enum kvm_lapic_timer_reason {
	KVM_LAPIC_TIMER_WRITE,		/* armed, by the guest or by user space */
	KVM_LAPIC_TIMER_CLEAR,		/* disarmed likewise */
	KVM_LAPIC_TIMER_PAST,		/* armed for a time that is over */
	KVM_LAPIC_TIMER_PERIOD,		/* the next period begins */
	KVM_LAPIC_TIMER_TSC,		/* the guest's TSC was changed */
	KVM_LAPIC_TIMER_BLOCK,		/* the vCPU goes to sleep */
	KVM_LAPIC_TIMER_UNBLOCK,	/* the vCPU goes on */
	KVM_LAPIC_TIMER_POLL,		/* the poll watches the deadline now */
	KVM_LAPIC_TIMER_DUE_GUEST,	/* expired: by VM exit */
	KVM_LAPIC_TIMER_DUE_HOST,	/* expired: by host timer */
	KVM_LAPIC_TIMER_DUE_POLL,	/* expired: seen while polling */
	KVM_LAPIC_TIMER_DELIVER,	/* the interrupt is on its way */
};

#define KVM_LAPIC_TIMER_TAG_BITS	2
#define KVM_LAPIC_TIMER_TAG_MASK	(BIT(KVM_LAPIC_TIMER_TAG_BITS) - 1)
/* Times are 62 bits wide: decades.  What is later, never comes. */
#define KVM_LAPIC_TIMER_DUE_MAX		(U64_MAX >> KVM_LAPIC_TIMER_TAG_BITS)

/**
 * struct kvm_timer - the timer of an emulated local APIC
 * @state: a tag and, while armed, when it is due; all transitions are atomic
 * @host_armed: for when @timer is programmed, a host TSC; 0 if it is not
 * @host_armed_at: the host TSC when that was done
 * @useless_at: the host TSC when @timer last fired for nothing
 * @timer: the host's stand-in
 * @period: of the modes with an initial count, in ns
 * @target_expiration: when these modes expire, CLOCK_MONOTONIC
 * @timer_mode: bits of LVTT
 * @timer_mode_mask: those that the guest may set
 * @tscdeadline: when it expires by the guest's TSC, in any mode; 0 if it does not
 * @expired_tscdeadline: the last one that expired, if no entry waited for it yet
 * @timer_advance_ns: how much earlier than @tscdeadline it is due
 * @hv: the processor has accepted this deadline
 * @blocked: the vCPU has been asleep, or about to be, in this wait
 *
 * @state, @host_armed and @useless_at are shared with the callback of @timer;
 * it only reads @host_armed_at.  The rest is the vCPU's.
 */
struct kvm_timer {
	atomic64_t state;
	u64 host_armed;
	u64 host_armed_at;
	u64 useless_at;
	struct hrtimer timer;
	s64 period;
	ktime_t target_expiration;
	u32 timer_mode;
	u32 timer_mode_mask;
	u64 tscdeadline;
	u64 expired_tscdeadline;
	u32 timer_advance_ns;
	bool hv;
	bool blocked;
};

static inline enum kvm_lapic_timer_tag kvm_lapic_timer_tag(u64 state)
{
	return state & KVM_LAPIC_TIMER_TAG_MASK;
}

static inline u64 kvm_lapic_timer_due(u64 state)
{
	return state >> KVM_LAPIC_TIMER_TAG_BITS;
}

static inline bool kvm_lapic_timer_armed(u64 state)
{
	return state & KVM_LAPIC_TIMER_GUEST;
}

static inline bool kvm_lapic_timer_periodic(const struct kvm_timer *t)
{
	return t->timer_mode == APIC_LVT_TIMER_PERIODIC;
}

static inline bool kvm_lapic_timer_tscdeadline(const struct kvm_timer *t)
{
	return t->timer_mode == APIC_LVT_TIMER_TSCDEADLINE;
}

/* lapic_timer.c */
void kvm_lapic_timer_init(struct kvm_lapic *apic);
void kvm_lapic_timer_start(struct kvm_lapic *apic, enum kvm_lapic_timer_reason reason);
void kvm_lapic_timer_stop(struct kvm_lapic *apic);
void kvm_lapic_timer_settle(struct kvm_lapic *apic);
void kvm_lapic_timer_catch_up(struct kvm_vcpu *vcpu);
void kvm_lapic_timer_free(struct kvm_lapic *apic);
void kvm_lapic_timer_tsc_changed(struct kvm_vcpu *vcpu);
bool kvm_lapic_timer_hv_expired(struct kvm_vcpu *vcpu);
void kvm_lapic_timer_begin_wait(struct kvm_vcpu *vcpu);
void kvm_lapic_timer_end_wait(struct kvm_vcpu *vcpu);
bool kvm_lapic_timer_host_ticks(struct kvm_vcpu *vcpu, u64 *ticks);
bool kvm_lapic_timer_poll(struct kvm_lapic *apic, u64 state);

/* lapic_timer_mode.c */
void kvm_lapic_timer_set_mode(struct kvm_lapic *apic);
void kvm_lapic_timer_set_count(struct kvm_lapic *apic, u32 count);
void kvm_lapic_timer_set_divider(struct kvm_lapic *apic, u32 old_divisor);
u32 kvm_lapic_timer_count(struct kvm_lapic *apic);
void kvm_lapic_timer_restore(struct kvm_lapic *apic);
void kvm_lapic_timer_next_period(struct kvm_lapic *apic);
void kvm_lapic_timer_update_deadline(struct kvm_lapic *apic);

/* lapic_timer_advance.c */
void kvm_lapic_timer_init_advance(struct kvm_timer *timer);
void kvm_lapic_timer_wait(struct kvm_vcpu *vcpu);

#endif
