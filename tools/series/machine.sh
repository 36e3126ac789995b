# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh disable=SC2154 # root and modules are set by who sources it
#
# What keeps a machine from taking other KVM modules; sourced by those who put them there (tools/series/install,
# tools/kvm/bench-host).  They set $root, which stands before /lib, /proc and /sys (the tests give it), and $modules,
# the directory of the series' modules, and define die().

content() { cat "$root$1" 2>/dev/null || :; }

# The kernel counts the open /dev/kvm, VMs and vCPUs as users of the vendor module.
vm_runs()
{
	for user_of_kvm in kvm_intel kvm_amd; do
		users=$(content "/sys/module/$user_of_kvm/refcnt")
		[ "${users:-0}" -eq 0 ] || return 0
	done
	return 1
}

refuse_kvm_in_use()
{
	! vm_runs || die "a VM is running or /dev/kvm is open: stop it first"
	for holder in "$root"/sys/module/kvm/holders/*; do
		case ${holder##*/} in
		"*" | kvm_intel | kvm_amd) ;;
		*) die "the loaded module ${holder##*/} depends on the kvm.ko in use: unload it first" ;;
		esac
	done
}

secure_boot()
{
	for variable in "$root"/sys/firmware/efi/efivars/SecureBoot-*; do
		[ -e "$variable" ] || return 1
		[ "$(od -An -t u1 -j 4 -N 1 "$variable" | tr -d ' ')" != 1 ] || return 0
	done
	return 1
}

refuse_signed_only()
{
	case $(content /sys/kernel/security/lockdown) in
	*"[integrity]"* | *"[confidentiality]"*)
		die "the kernel is locked down and loads signed modules only; these are unsigned" ;;
	esac
	! secure_boot || die "Secure Boot is on, and the kernel loads signed modules only; these are unsigned"
	[ "$(content /sys/module/module/parameters/sig_enforce)" != Y ] ||
		die "the kernel runs with module.sig_enforce and loads signed modules only; these are unsigned"
}

# refuse_wrong_kernel RELEASE: of the running kernel
refuse_wrong_kernel()
{
	for name in kvm kvm-intel kvm-amd; do
		[ -e "$modules/$name.ko" ] ||
			die "the running kernel is $1 and no modules are built for it: make modules KREL=$1"
		built_for=$(modinfo -F vermagic "$modules/$name.ko" | cut -d ' ' -f 1)
		[ "$built_for" = "$1" ] ||
			die "$name.ko is built for $built_for and the running kernel is $1: make modules KREL=$1"
	done
}
