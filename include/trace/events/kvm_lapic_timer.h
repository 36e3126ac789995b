/* SPDX-License-Identifier: GPL-2.0-only */
#if !defined(_TRACE_KVM_LAPIC_TIMER_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_KVM_LAPIC_TIMER_H

#include <linux/kvm_host.h>
#include <linux/tracepoint.h>

#undef TRACE_SYSTEM
#define TRACE_SYSTEM kvm

/* User space tools know the numbers only if they are told. */
TRACE_DEFINE_ENUM(KVM_LAPIC_TIMER_IDLE);
TRACE_DEFINE_ENUM(KVM_LAPIC_TIMER_EXPIRED);
TRACE_DEFINE_ENUM(KVM_LAPIC_TIMER_GUEST);
TRACE_DEFINE_ENUM(KVM_LAPIC_TIMER_HOST);
TRACE_DEFINE_ENUM(KVM_LAPIC_TIMER_WRITE);
TRACE_DEFINE_ENUM(KVM_LAPIC_TIMER_CLEAR);
TRACE_DEFINE_ENUM(KVM_LAPIC_TIMER_PAST);
TRACE_DEFINE_ENUM(KVM_LAPIC_TIMER_PERIOD);
TRACE_DEFINE_ENUM(KVM_LAPIC_TIMER_TSC);
TRACE_DEFINE_ENUM(KVM_LAPIC_TIMER_BLOCK);
TRACE_DEFINE_ENUM(KVM_LAPIC_TIMER_UNBLOCK);
TRACE_DEFINE_ENUM(KVM_LAPIC_TIMER_POLL);
TRACE_DEFINE_ENUM(KVM_LAPIC_TIMER_DUE_GUEST);
TRACE_DEFINE_ENUM(KVM_LAPIC_TIMER_DUE_HOST);
TRACE_DEFINE_ENUM(KVM_LAPIC_TIMER_DUE_POLL);
TRACE_DEFINE_ENUM(KVM_LAPIC_TIMER_DELIVER);

/*
 * The local APIC's timer goes from one state to another.  What is left until it is
 * due is host TSC ticks, less the advance; negative if it is over.
 */
TRACE_EVENT(kvm_lapic_timer,
	    TP_PROTO(const struct kvm_vcpu *vcpu, u64 from, u64 to, int reason),
	    TP_ARGS(vcpu, from, to, reason),

	    TP_STRUCT__entry(__field(u64, deadline)
			     __field(s64, left)
			     __field(unsigned int, vcpu_id)
			     __field(u8, from)
			     __field(u8, to)
			     __field(u8, reason)
	    ),

	    TP_fast_assign(u64 armed = kvm_lapic_timer_armed(to) ? to : from;

			   __entry->deadline = vcpu->arch.apic->lapic_timer.tscdeadline;
			   __entry->left = kvm_lapic_timer_armed(armed) ?
					   kvm_lapic_timer_due(armed) - rdtsc() : 0;
			   __entry->vcpu_id = vcpu->vcpu_id;
			   __entry->from = kvm_lapic_timer_tag(from);
			   __entry->to = kvm_lapic_timer_tag(to);
			   __entry->reason = reason;
	    ),

	    TP_printk("vcpu %u %s -> %s (%s) deadline %llu left %lld",
		      __entry->vcpu_id,
		      __print_symbolic(__entry->from,
				       { KVM_LAPIC_TIMER_IDLE,		"idle" },
				       { KVM_LAPIC_TIMER_EXPIRED,	"expired" },
				       { KVM_LAPIC_TIMER_GUEST,		"guest" },
				       { KVM_LAPIC_TIMER_HOST,		"host" }),
		      __print_symbolic(__entry->to,
				       { KVM_LAPIC_TIMER_IDLE,		"idle" },
				       { KVM_LAPIC_TIMER_EXPIRED,	"expired" },
				       { KVM_LAPIC_TIMER_GUEST,		"guest" },
				       { KVM_LAPIC_TIMER_HOST,		"host" }),
		      __print_symbolic(__entry->reason,
				       { KVM_LAPIC_TIMER_WRITE,		"write" },
				       { KVM_LAPIC_TIMER_CLEAR,		"clear" },
				       { KVM_LAPIC_TIMER_PAST,		"past" },
				       { KVM_LAPIC_TIMER_PERIOD,	"period" },
				       { KVM_LAPIC_TIMER_TSC,		"tsc" },
				       { KVM_LAPIC_TIMER_BLOCK,		"block" },
				       { KVM_LAPIC_TIMER_UNBLOCK,	"unblock" },
				       { KVM_LAPIC_TIMER_POLL,		"poll" },
				       { KVM_LAPIC_TIMER_DUE_GUEST,	"due-guest" },
				       { KVM_LAPIC_TIMER_DUE_HOST,	"due-host" },
				       { KVM_LAPIC_TIMER_DUE_POLL,	"due-poll" },
				       { KVM_LAPIC_TIMER_DELIVER,	"deliver" }),
		      __entry->deadline, __entry->left)
);

#endif

#undef TRACE_INCLUDE_PATH
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE kvm_lapic_timer

/* This part must be outside protection */
#include <trace/define_trace.h>
