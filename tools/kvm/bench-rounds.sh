# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# bench_rounds ROUNDS SAMPLES LOADER BENCHMARK
#
# Runs the benchmark on stock's and on the series' modules in turn, so that what
# changes slowly on the machine meets both alike; which of them comes first changes
# from round to round. LOADER takes "stock" or "series". The lines "modules NAME"
# tell whose figures follow.

bench_child=

bench_rounds() {
	local round set order
	for ((round = 1; round <= $1; round++)); do
		order="stock series"
		((round % 2)) || order="series stock"
		for set in $order; do
			"$3" "$set" || return
			echo "modules $set round $round of $1"
			# A signal is to end the wait, not to wait for the benchmark's end.
			"$4" -s -n "$2" &
			bench_child=$!
			wait $bench_child || return
			bench_child=
		done
	done
}
