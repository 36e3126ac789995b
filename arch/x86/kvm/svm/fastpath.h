/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_X86_SVM_FASTPATH_H
#define __KVM_X86_SVM_FASTPATH_H

#include "../fastpath.h"
#include "svm.h"

unsigned int svm_fastpath_handle(struct kvm_vcpu *vcpu);

/**
 * svm_fastpath - answer an exit, if it is one for a fastpath
 * @vcpu: the vCPU
 *
 * Context: GIF is 0, right after the exit.
 * Return: see svm_fastpath_handle().
 */
static __always_inline unsigned int svm_fastpath(struct kvm_vcpu *vcpu)
{
	u32 code = to_svm(vcpu)->vmcb->control.exit_code;

	if (code != SVM_EXIT_MSR && code != SVM_EXIT_HLT) {
		kvm_guest_state_note();
		return EXIT_FASTPATH_UNTRIED;
	}

	return svm_fastpath_handle(vcpu);
}

#endif
