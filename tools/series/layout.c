// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmlinux knows a little of struct kvm_vcpu, too: kernel/entry/kvm.c notes in
 * it that a signal ends KVM_RUN.  Compiled to assembly, this tells where the
 * modules have these members; tools/series/modules compares.
 */
#include <linux/kbuild.h>
#include <linux/kvm_host.h>

void layout(void);

void layout(void)
{
	DEFINE(run, offsetof(struct kvm_vcpu, run));
	DEFINE(signal_exits, offsetof(struct kvm_vcpu, stat.signal_exits));
}
