/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_X86_VMX_PLE_H
#define __KVM_X86_VMX_PLE_H

#include "vmx.h"

void vmx_ple_window_urgent(struct kvm_vcpu *vcpu);
void vmx_ple_window_load(struct kvm_vcpu *vcpu);

#endif
