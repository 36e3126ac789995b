# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# A Linux guest inside a lab, for scripts that run there: boot_guest MODULES VCPUS [PARAMETER]...
# boots it, each vCPU pinned to a CPU unless $float is set, and it then obeys descriptor
# 3 and answers on 4, see init; expect WORD SECONDS waits for an answer; stop_guest ends
# it.  $cpu is the model of CPU that it sees.

# The guest stays with HLT and the TSC-deadline timer; the rest is haste.
readonly CMDLINE="console=ttyS0 quiet idle=halt cpuidle.off=1 mitigations=off \
cryptomgr.notests tsc=reliable lpj=1000000 nokaslr \
initcall_blacklist=jent_mod_init,load_system_certificate_list"
# Long enough for the slowest emulator, short enough to end a hung guest.
readonly BOOT_S=30

qemu=
cpu=host float=
exec 5>&1	# for what must be seen even when the answer is not wanted

say() {
	echo "# $*"
}

fail() {
	{
		echo "fail $*"
		echo "# the guest's console ends:"
		tail -n 20 guest.log
	} >&5
	exit 1
}

stop_guest() {
	[ -n "$qemu" ] || return 0
	kill -9 "$qemu" 2>/dev/null || :
	wait "$qemu" 2>/dev/null || :
	qemu=
	exec 3>&- 4<&-
}
trap stop_guest EXIT

# expect WORD SECONDS: the rest of the next line from the guest that starts with WORD
expect() {
	local line
	while IFS= read -r -t "$2" line <&4; do
		line=${line%$'\r'}
		echo "$line" >>guest.log
		case $line in
		"$1" | "$1 "*) answer=${line#"$1"}; return 0 ;;
		"unknown "*) return 1 ;;
		esac
	done
	return 1
}

boot_guest() {
	local i task
	rm -f to from
	mkfifo to from
	: >guest.log
	qemu-system-x86_64 -name guest,debug-threads=on -machine pc,accel=kvm,smm=off -cpu "$cpu" \
		-smp "$2" -m 128 -nodefaults -display none -no-reboot -serial stdio \
		-kernel /guest/vmlinuz -initrd guest.cpio -append "$CMDLINE ${*:3}" <to >from 2>&1 &
	qemu=$!
	exec 3>to 4<from
	expect ready "$BOOT_S" || fail "the guest on $1's modules did not boot"
	say "the guest is up:$answer"
	[ -z "$float" ] || return 0

	# A vCPU that wanders between CPUs measures the scheduler.
	for task in /proc/"$qemu"/task/*; do
		i=$(sed -n 's|^CPU \([0-9]*\)/KVM$|\1|p' "$task/comm")
		[ -z "$i" ] || taskset -p -c "$((i % $(nproc)))" "${task##*/}" >/dev/null
	done
}
