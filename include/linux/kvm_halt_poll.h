/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __LINUX_KVM_HALT_POLL_H
#define __LINUX_KVM_HALT_POLL_H

#include <linux/atomic.h>
#include <linux/kvm_halt_governor.h>
#include <linux/smp.h>

struct dentry;
struct kvm_vcpu;

#define KVM_HALT_WAKE_HIST_COUNT	32

/* How the polling of a halt ended, or why it was withheld */
enum kvm_halt_poll_end {
	KVM_HALT_POLL_WOKEN,		/* something for the vCPU to do */
	KVM_HALT_POLL_WINDOW,		/* nothing came in the whole window */
	KVM_HALT_POLL_CONTENTION,	/* another task wants the CPU */
	KVM_HALT_POLL_SIGNAL,		/* a signal for the vCPU's task */
	KVM_HALT_POLL_STEAL,		/* withheld: the host loses time itself */
	KVM_HALT_POLL_GUEST,		/* withheld: kvm_arch_no_poll() */
	KVM_HALT_POLL_NR_ENDS,
	KVM_HALT_POLL_NONE = KVM_HALT_POLL_NR_ENDS, /* no window, not counted */
};

/* How a vCPU came out of its wait */
enum kvm_halt_wakeup {
	KVM_HALT_WAKE_POLLED,		/* it had not slept */
	KVM_HALT_WAKE_SIGNAL,
	KVM_HALT_WAKE_TIMED,		/* kvm_vcpu_wake_up() left the time */
	KVM_HALT_WAKE_UNTIMED,		/* it slept, and no time was left */
	KVM_HALT_NR_WAKES,
};

/*
 * Where these stand in struct kvm_vcpu
 * ------------------------------------
 * Modules are also built for kernels that do not have this series.  There the
 * core kernel, in xfer_to_guest_mode_handle_work(), writes to vcpu->run and
 * vcpu->stat.signal_exits by their stock offsets, so nothing before these may
 * grow: what is new stands behind the stock statistics, or fills a hole.
 */

/* The vCPU's statistics of this series; directly behind kvm_vcpu.stat */
struct kvm_halt_stat {
	u64 end[KVM_HALT_POLL_NR_ENDS];
	u64 wake[KVM_HALT_NR_WAKES];
	u64 wake_home;
	u64 wake_ns;
	u64 wake_hist[KVM_HALT_WAKE_HIST_COUNT];
};

/* Like STATS_DESC(), for a member of it; offsets count from kvm_vcpu.stat. */
#define KVM_HALT_POLL_DESC(name_, field, type, unit, exp, size)		\
{									\
	STATS_DESC_COMMON(type, unit, KVM_STATS_BASE_POW10, exp, size, 0), \
	.offset = offsetof(struct kvm_vcpu, halt_stat.field) -		\
		  offsetof(struct kvm_vcpu, stat),			\
	.name = name_,							\
}

#define KVM_HALT_POLL_COUNTER(name, field)				\
	KVM_HALT_POLL_DESC(name, field, KVM_STATS_TYPE_CUMULATIVE,	\
			   KVM_STATS_UNIT_NONE, 0, 1)

#define KVM_HALT_POLL_TIME(name, field, type, size)			\
	KVM_HALT_POLL_DESC(name, field, type, KVM_STATS_UNIT_SECONDS, -9, size)

/**
 * struct kvm_halt - the halt that a vCPU is in, or was last in
 * @wake_stamp: when the first waker of a sleep came, in ns; 0 for not yet
 * @start_ns: when the halt began
 * @stop_ns: when its polling has to stop
 * @now_ns: when the clock was last read; its end, when it is over
 * @poll_ns: how long it polled
 * @wait_ns: how long it slept
 * @wake_ns: from the last sleep's stamp to the vCPU running; 0 if not known
 * @governor: who chose the window, and is told what came of it
 * @tunables: by which values
 * @steal: the steal back-off's memory
 * @poll_end: enum kvm_halt_poll_end, the outcome of its last poll
 * @wake: enum kvm_halt_wakeup, how its last wait ended
 * @event: what ended its last wait
 * @open: it has begun, and not ended
 * @polled: it really polled, be it for one iteration
 * @slept: it was scheduled out
 * @crowded: when it last went to sleep, another task wanted its CPU
 * @home: has it woken by the CPU that it sleeps on
 * @home_busy: @home is under way
 *
 * All belongs to the vCPU's task, except for @wake_stamp, @home and @home_busy, which
 * the wakers of a sleeping vCPU write; and they read @crowded.
 */
struct kvm_halt {
	atomic64_t wake_stamp;
	u64 start_ns;
	u64 stop_ns;
	u64 now_ns;
	u64 poll_ns;
	u64 wait_ns;
	u64 wake_ns;
	const struct kvm_halt_poll_governor *governor;
	struct kvm_halt_poll_tunables tunables;
	struct kvm_halt_poll_steal steal;
	u8 poll_end;
	u8 wake;
	u8 event;
	bool open;
	bool polled;
	bool slept;
	bool crowded;
	call_single_data_t home;
	unsigned long home_busy;
};

bool kvm_halt_wake(struct kvm_vcpu *vcpu);
bool kvm_halt_wake_here(struct kvm_vcpu *vcpu);
bool kvm_halt_wake_home(struct kvm_vcpu *vcpu);
void kvm_halt_wake_flush(struct kvm_vcpu *vcpu);
void kvm_vcpu_halt_wait(struct kvm_vcpu *vcpu);
void kvm_vcpu_halt_end(struct kvm_vcpu *vcpu);
void kvm_halt_poll_create_debugfs(struct kvm_vcpu *vcpu, struct dentry *dir);

#endif
