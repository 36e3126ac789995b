/* SPDX-License-Identifier: GPL-2.0-only */
#if !defined(_TRACE_KVM_FASTPATH_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_KVM_FASTPATH_H

#include <linux/tracepoint.h>

#undef TRACE_SYSTEM
#define TRACE_SYSTEM kvm

/* User space tools know the numbers only if they are told. */
TRACE_DEFINE_ENUM(KVM_FASTPATH_ICR);
TRACE_DEFINE_ENUM(KVM_FASTPATH_DEADLINE);
TRACE_DEFINE_ENUM(KVM_FASTPATH_EXPIRED);
TRACE_DEFINE_ENUM(KVM_FASTPATH_HLT);
TRACE_DEFINE_ENUM(KVM_FASTPATH_EOI);
TRACE_DEFINE_ENUM(KVM_FASTPATH_SELF_IPI);
TRACE_DEFINE_ENUM(KVM_FASTPATH_EVENT);
TRACE_DEFINE_ENUM(KVM_FASTPATH_LVTT);
TRACE_DEFINE_ENUM(KVM_FASTPATH_TMICT);
TRACE_DEFINE_ENUM(KVM_FASTPATH_DONE);
TRACE_DEFINE_ENUM(KVM_FASTPATH_NOT_PLAIN);
TRACE_DEFINE_ENUM(KVM_FASTPATH_NO_APIC);
TRACE_DEFINE_ENUM(KVM_FASTPATH_DEBUGGED);
TRACE_DEFINE_ENUM(KVM_FASTPATH_FILTERED);
TRACE_DEFINE_ENUM(KVM_FASTPATH_REQUESTED);
TRACE_DEFINE_ENUM(KVM_FASTPATH_PV_EOI);
TRACE_DEFINE_ENUM(KVM_FASTPATH_OTHER_EVENT);

/*
 * A fastpath was tried.  The value is what the guest writes; for "event", the
 * requests that are left.
 */
TRACE_EVENT(kvm_fastpath,
	    TP_PROTO(unsigned int vcpu_id, int handler, u64 value, int result),
	    TP_ARGS(vcpu_id, handler, value, result),

	    TP_STRUCT__entry(__field(u64, value)
			     __field(unsigned int, vcpu_id)
			     __field(u8, handler)
			     __field(u8, result)
	    ),

	    TP_fast_assign(__entry->value = value;
			   __entry->vcpu_id = vcpu_id;
			   __entry->handler = handler;
			   __entry->result = result;
	    ),

	    TP_printk("vcpu %u %s 0x%llx: %s", __entry->vcpu_id,
		      __print_symbolic(__entry->handler,
				       { KVM_FASTPATH_ICR,	"icr" },
				       { KVM_FASTPATH_DEADLINE,	"deadline" },
				       { KVM_FASTPATH_EXPIRED,	"expired" },
				       { KVM_FASTPATH_HLT,	"hlt" },
				       { KVM_FASTPATH_EOI,	"eoi" },
				       { KVM_FASTPATH_SELF_IPI,	"self-ipi" },
				       { KVM_FASTPATH_EVENT,	"event" },
				       { KVM_FASTPATH_LVTT,	"lvtt" },
				       { KVM_FASTPATH_TMICT,	"tmict" }),
		      __entry->value,
		      __print_symbolic(__entry->result,
				       { KVM_FASTPATH_DONE,		"done" },
				       { KVM_FASTPATH_NOT_PLAIN,	"declined: not plain" },
				       { KVM_FASTPATH_NO_APIC,		"declined: no x2APIC" },
				       { KVM_FASTPATH_DEBUGGED,		"declined: debugged" },
				       { KVM_FASTPATH_FILTERED,		"declined: filtered" },
				       { KVM_FASTPATH_REQUESTED,	"declined: requested" },
				       { KVM_FASTPATH_PV_EOI,		"declined: PV EOI" },
				       { KVM_FASTPATH_OTHER_EVENT,	"declined: other event" }))
);

#endif

#undef TRACE_INCLUDE_PATH
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE kvm_fastpath

/* This part must be outside protection */
#include <trace/define_trace.h>
