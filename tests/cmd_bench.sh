#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# octant bench as a user calls it: tables, JSON, graphs by name, and what wrong sizes get. It judges no figure but those
# that follow from others.

command -v python3 >/dev/null || { echo "1..0 # SKIP no python3"; exit 77; }
work=$(mktemp -d "${TMPDIR:-/tmp}/cmd_bench.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
model="$OCTANT_SOURCE_DIR/tests/golden/models/mixtral"
. "$OCTANT_SOURCE_DIR/tests/tap.sh"

# bench STATUS ARGUMENTS...: standard output in $work/out, and wants that exit status
bench()
{
	want=$1
	shift
	status=0
	"$OCTANT" bench --model "$model" --repetitions 1 --memory 0.02 --workers 2 --set limits.sequences=8 "$@" \
		>"$work/out" 2>"$work/err" || status=$?
	cat "$work/err"
	test "$status" = "$want"
}

refuses()
{
	words=$1
	shift
	bench 2 "$@" && grep -qF -e "$words" "$work/err" && test ! -s "$work/out" && test "$(wc -l <"$work/err")" = 1
}

tables()
{
	bench 0 --decode 1x16,4x32 --prefill 32x32 || return
	for words in 'decode, 4 sequences, context 32' 'prefill, 32 rows, context 32' 'attention' 'binds' 'waiting' \
		'share of the limit' 'decode      4 x 32'; do
		grep -qF -e "$words" "$work/out" || { echo "no \"$words\""; return 1; }
	done
}

# Sums: rates from times, shares of time and waiting make a whole, two stages decode in two groups.
json()
{
	bench 0 stages_only --decode 4x32 --prefill 16x16,32x8 --json || return
	python3 - "$work/out" <<-'END'
	import json, sys
	found = json.load(open(sys.argv[1]))
	assert found["workers"] == 2 and found["limits_a_worker"]["bandwidth"] > 0, found
	assert [c["phase"] for c in found["cases"]] == ["decode", "prefill", "prefill"]
	decode = found["cases"][0]["micro_batches"]
	assert decode == {"in_flight": 2, "sequences": 2, "rows": 1, "position": 31}, decode
	for c in found["cases"]:
	    m = c["micro_batches"]
	    assert abs(c["tokens_per_s"] * c["seconds"] / (m["in_flight"] * m["sequences"] * m["rows"]) - 1) < 1e-6, c
	    shares = sum(t["time_share"] for t in c["tasks"]) + c["waiting_share"]
	    assert abs(shares - 1) < 1e-6, shares
	    assert {"embed", "attention", "experts", "head"} <= {t["task"] for t in c["tasks"]}, c
	    for t in c["tasks"]:
	        assert t["binds"] in ("compute", "memory", "call") and t["limit_share"] >= 0, t
	        assert abs(t["flops_per_s"] * t["seconds"] - t["flops"]) <= 1e-6 * t["flops"], t
	END
}

without_a_model()
{
	"$OCTANT" bench --repetitions 1 --memory 0.02 --decode 1x16 --prefill none --set limits.sequences=1 \
		--set limits.tokens_per_sequence=32 --set schedule.prefill.tokens=16 >"$work/out" && grep -q experts "$work/out"
}

what_does_not_fit()
{
	bench 0 --decode 4x32,9x32 --prefill none && grep -q "9 sequences, context 32: does not fit" "$work/out"
}

echo 1..8
tap "tables by case, and shares of the limit" tables
tap "JSON whose figures agree with each other" json
tap "the plan's model without a checkpoint" without_a_model
tap "a size beyond the graph's limits is named" what_does_not_fit
tap "no size fits: refused" refuses "none of the sizes fits" --decode 9x32 --prefill none
tap "what is no size is refused" refuses "no list of sizes" --decode 4
tap "an unknown key is refused" refuses "schedule" --set schedule.slosts=2
tap "an unknown option is refused" refuses "--decode" --decod 1x1
exit $failed
