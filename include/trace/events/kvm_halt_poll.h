/* SPDX-License-Identifier: GPL-2.0-only */
#if !defined(_TRACE_KVM_HALT_POLL_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_KVM_HALT_POLL_H

#include <linux/kvm_host.h>
#include <linux/tracepoint.h>

#undef TRACE_SYSTEM
#define TRACE_SYSTEM kvm

/* User space tools know the numbers only if they are told. */
TRACE_DEFINE_ENUM(KVM_HALT_POLL_WOKEN);
TRACE_DEFINE_ENUM(KVM_HALT_POLL_WINDOW);
TRACE_DEFINE_ENUM(KVM_HALT_POLL_CONTENTION);
TRACE_DEFINE_ENUM(KVM_HALT_POLL_SIGNAL);
TRACE_DEFINE_ENUM(KVM_HALT_POLL_STEAL);
TRACE_DEFINE_ENUM(KVM_HALT_POLL_GUEST);
TRACE_DEFINE_ENUM(KVM_HALT_POLL_NONE);
TRACE_DEFINE_ENUM(KVM_HALT_WAKE_POLLED);
TRACE_DEFINE_ENUM(KVM_HALT_WAKE_SIGNAL);
TRACE_DEFINE_ENUM(KVM_HALT_WAKE_TIMED);
TRACE_DEFINE_ENUM(KVM_HALT_WAKE_UNTIMED);

/*
 * One whole halt, when it is over: the window that the governor gave it, how
 * its polling ended and what that took, how it was woken and, where the waker
 * left the time, how long the vCPU then took to run.
 */
TRACE_EVENT(kvm_halt,
	    TP_PROTO(const struct kvm_vcpu *vcpu, u64 halt_ns),
	    TP_ARGS(vcpu, halt_ns),

	    TP_STRUCT__entry(__field(u64, halt_ns)
			     __field(u64, poll_ns)
			     __field(u64, wake_ns)
			     __field(unsigned int, vcpu_id)
			     __field(u32, window_ns)
			     __field(u8, outcome)
			     __field(u8, wake)
	    ),

	    TP_fast_assign(__entry->halt_ns = halt_ns;
			   __entry->poll_ns = vcpu->halt.poll_ns;
			   __entry->wake_ns = vcpu->halt.wake_ns;
			   __entry->vcpu_id = vcpu->vcpu_id;
			   __entry->window_ns = vcpu->halt_poll.window_ns;
			   __entry->outcome = vcpu->halt.poll_end;
			   __entry->wake = vcpu->halt.wake;
	    ),

	    TP_printk("vcpu %u: window %u ns, poll %s %llu ns, halt %llu ns, wake %s %llu ns",
		      __entry->vcpu_id, __entry->window_ns,
		      __print_symbolic(__entry->outcome,
				       { KVM_HALT_POLL_WOKEN, "woken" },
				       { KVM_HALT_POLL_WINDOW, "window" },
				       { KVM_HALT_POLL_CONTENTION, "contention" },
				       { KVM_HALT_POLL_SIGNAL, "signal" },
				       { KVM_HALT_POLL_STEAL, "steal" },
				       { KVM_HALT_POLL_GUEST, "guest" },
				       { KVM_HALT_POLL_NONE, "none" }),
		      __entry->poll_ns, __entry->halt_ns,
		      __print_symbolic(__entry->wake,
				       { KVM_HALT_WAKE_POLLED, "polled" },
				       { KVM_HALT_WAKE_SIGNAL, "signal" },
				       { KVM_HALT_WAKE_TIMED, "timed" },
				       { KVM_HALT_WAKE_UNTIMED, "untimed" }),
		      __entry->wake_ns)
);

#endif

#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE kvm_halt_poll

/* This part must be outside protection */
#include <trace/define_trace.h>
