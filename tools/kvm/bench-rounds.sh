# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# bench_rounds ROUNDS SAMPLES LOADER BENCHMARK
#
# Runs the benchmark on stock's and on the series' modules in turn, so that what
# changes slowly on the machine meets both alike; which of them comes first changes
# from round to round. LOADER takes "stock" or "series" and module parameters, as
# MODULE.PARAM=VALUE. The lines "modules NAME" tell whose figures follow.
#
# Some rows are measured again with another setting, named at the end of that line:
#   advance0  those that end in a timer interrupt, without KVM's timer advance,
#             which tunes itself and scatters
#   hrtimer   writes of a deadline where KVM has the VMX preemption timer, without it

bench_child=

bench_rounds() {
	local round set order
	for ((round = 1; round <= $1; round++)); do
		order="stock series"
		((round % 2)) || order="series stock"
		for set in $order; do
			bench_set "$set" "round $round of $1" "$2" "$3" "$4" || return
		done
	done
}

# bench_set SET ROUND SAMPLES LOADER BENCHMARK
bench_set() {
	local timer=${SYSROOT:-}/sys/module/kvm_intel/parameters/preemption_timer

	"$4" "$1" || return
	bench_run "$1 $2" "$3" "$5" || return

	if [ -r "$timer" ] && [ "$(cat "$timer")" = Y ]; then
		"$4" "$1" kvm_intel.preemption_timer=0 || return
		bench_run "$1 $2 hrtimer" "$3" "$5" timer_write_ahead timer_write_zero \
			timer_later_1000 || return
	fi

	"$4" "$1" kvm.lapic_timer_advance=0 || return
	bench_run "$1 $2 advance0" "$3" "$5" timer_running timer_periodic \
		halt_timer_30us_polled halt_timer_30us_off halt_timer_10ms
}

# bench_run HEAD SAMPLES BENCHMARK [ROW]...: all rows unless some are named
bench_run() {
	local head=$1 samples=$2 benchmark=$3 rows=() row
	shift 3
	for row; do
		rows+=(-r "$row")
	done
	echo "modules $head"
	# A signal is to end the wait, not to wait for the benchmark's end.
	"$benchmark" -s -n "$samples" "${rows[@]}" &
	bench_child=$!
	wait $bench_child || return
	bench_child=
}
