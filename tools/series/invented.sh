# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034,SC2154 # tmp is the test's, failed is for it
#
# An invented machine below SYSROOT, and KTAP's result lines, for the tests of what changes a machine's KVM modules.
# Sourced; $tmp is a directory to work in.

export SYSROOT=$tmp/root BUILD=$tmp/build
release=6.12.0-toy
count=0 failed=0

report() # STATUS NAME
{
	count=$((count + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $count $2"
	else
		failed=1
		echo "not ok $count $2"
	fi
}

put() # FILE TEXT
{
	mkdir -p "$(dirname "$SYSROOT$1")"
	printf '%s\n' "$2" >"$SYSROOT$1"
}

# A module is an ELF file with a .modinfo section.
module() # NAME RELEASE
{
	printf 'vermagic=%s SMP mod_unload \0name=%s\0license=GPL\0' "$2" "$1" >"$tmp/modinfo"
	echo '' | gcc -c -x c -o "$tmp/module.o" -
	objcopy --add-section .modinfo="$tmp/modinfo" "$tmp/module.o" "$BUILD/modules/$release/$1.ko"
}

machine()
{
	chmod -R u+w "$tmp"
	rm -rf "$SYSROOT" "$BUILD"
	mkdir -p "$SYSROOT/lib/modules/$release/kernel/arch/x86/kvm" "$SYSROOT/sys/module/kvm/holders/kvm_intel"
	mkdir -p "$BUILD/modules/$release"
	: >"$SYSROOT/lib/modules/$release/modules.order"
	: >"$SYSROOT/lib/modules/$release/modules.builtin"
	: >"$SYSROOT/lib/modules/$release/modules.builtin.modinfo"
	put /proc/sys/kernel/osrelease $release
	put /sys/module/kvm_intel/refcnt 0
	put /sys/module/module/parameters/sig_enforce N
	put /sys/kernel/security/lockdown "[none] integrity confidentiality"
	for name in kvm kvm-intel kvm-amd; do
		module $name $release
		cp "$BUILD/modules/$release/$name.ko" "$SYSROOT/lib/modules/$release/kernel/arch/x86/kvm"
	done
	depmod -b "$SYSROOT/" $release
}
