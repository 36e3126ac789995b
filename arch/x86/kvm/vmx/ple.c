// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM: the PAUSE-loop window of who is about to spin in vain
 */

/**
 * DOC: an urgent window
 *
 * How long a vCPU may spin before the first PAUSE-loop exit is a guess: most spins
 * end soon, and an exit is dear.  It is no guess where somebody else is known to be
 * off its CPU with an interrupt to take.  Whoever waits for that one waits in vain; and
 * these come in crowds: a sender waits for the answers of all, and all others for the
 * lock that it holds.  So the first window is kvm_intel.ple_window_urgent
 *
 *	- for a vCPU that comes onto a CPU while there is such a one;
 *	- for one that sends an IPI to such a one, right then.
 *
 * From there on it grows by the rules of ple_window_grow, and when nobody waits any
 * more the next one is ple_window again.
 */

#include <linux/module.h>

#include "ple.h"
#include "trace.h"
#include "x86.h"

static unsigned int ple_window_urgent = 512;
module_param(ple_window_urgent, uint, 0644);
MODULE_PARM_DESC(ple_window_urgent, "The first PAUSE-loop window where another vCPU waits for a CPU with an interrupt to take; 0 for ple_window");

/**
 * vmx_ple_window_urgent - let the vCPU spin no longer than it has to
 * @vcpu: the vCPU; the next vmx_vcpu_run() writes the window
 *
 * Context: the vCPU's thread; also with interrupts off.
 */
void vmx_ple_window_urgent(struct kvm_vcpu *vcpu)
{
	unsigned int new = READ_ONCE(ple_window_urgent);
	struct vcpu_vmx *vmx = to_vmx(vcpu);

	vcpu->dy.urgent = false;
	if (!new || vmx->ple_window <= new || kvm_pause_in_guest(vcpu->kvm))
		return;

	trace_kvm_ple_window_update(vcpu->vcpu_id, new, vmx->ple_window);
	vmx->ple_window = new;
	vmx->ple_window_dirty = true;
}

/**
 * vmx_ple_window_load - choose the first window of a vCPU that was off its CPU
 * @vcpu: the vCPU, whose window is the ordinary one
 *
 * Context: the preempt notifier, or process context; preemption off.
 */
void vmx_ple_window_load(struct kvm_vcpu *vcpu)
{
	vcpu->dy.urgent = false;
	if (kvm_directed_yield_urgent(vcpu))
		vmx_ple_window_urgent(vcpu);
}
