/* SPDX-License-Identifier: GPL-2.0-only */
#if !defined(_TRACE_KVM_DIRECTED_YIELD_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_KVM_DIRECTED_YIELD_H

#include <linux/kvm_host.h>
#include <linux/tracepoint.h>

#undef TRACE_SYSTEM
#define TRACE_SYSTEM kvm

/* User space tools know the numbers only if they are told. */
TRACE_DEFINE_ENUM(KVM_DY_IPI_TARGET);
TRACE_DEFINE_ENUM(KVM_DY_INTERRUPT);
TRACE_DEFINE_ENUM(KVM_DY_LOCK_HOLDER);
TRACE_DEFINE_ENUM(KVM_DY_QUEUE_HEAD);
TRACE_DEFINE_ENUM(KVM_DY_OTHER);
TRACE_DEFINE_ENUM(KVM_DY_NR_REASONS);
TRACE_DEFINE_ENUM(KVM_DY_NO_CANDIDATE);
TRACE_DEFINE_ENUM(KVM_DY_TARGET_RAN);
TRACE_DEFINE_ENUM(KVM_DY_DECLINED);
TRACE_DEFINE_ENUM(KVM_DY_BACKED_OFF);

/*
 * A vCPU gave way to another one, or tried; after the fact, when it is back.  The
 * target is -1, and the reason none, where there was nobody to choose.
 */
TRACE_EVENT(kvm_directed_yield,
	    TP_PROTO(const struct kvm_vcpu *from, const struct kvm_vcpu *to,
		     unsigned int reason, unsigned int outcome),
	    TP_ARGS(from, to, reason, outcome),

	    TP_STRUCT__entry(__field(int, from)
			     __field(int, to)
			     __field(u8, reason)
			     __field(u8, outcome)
	    ),

	    TP_fast_assign(__entry->from = from->vcpu_id;
			   __entry->to = to ? to->vcpu_id : -1;
			   __entry->reason = reason;
			   __entry->outcome = outcome;
	    ),

	    TP_printk("vcpu %d to %d, reason %s: %s", __entry->from, __entry->to,
		      __print_symbolic(__entry->reason,
				       { KVM_DY_IPI_TARGET,	"ipi-target" },
				       { KVM_DY_INTERRUPT,	"interrupt" },
				       { KVM_DY_LOCK_HOLDER,	"lock-holder" },
				       { KVM_DY_QUEUE_HEAD,	"queue-head" },
				       { KVM_DY_OTHER,		"other" },
				       { KVM_DY_NR_REASONS,	"none" }),
		      __print_symbolic(__entry->outcome,
				       { KVM_DY_NO_CANDIDATE,	"no-candidate" },
				       { KVM_DY_TARGET_RAN,	"ran" },
				       { KVM_DY_DECLINED,	"declined" },
				       { KVM_DY_BACKED_OFF,	"backed-off" }))
);

#endif

#undef TRACE_INCLUDE_PATH
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE kvm_directed_yield

/* This part must be outside protection */
#include <trace/define_trace.h>
