#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# octant calibrate and octant simulate --against as a user calls them: a card of this machine, a run, and what the
# simulation predicts of it.

[ -x "$OCTANT-sim" ] || { echo "1..0 # SKIP octant-sim is not built"; exit 77; }
command -v python3 >/dev/null || { echo "1..0 # SKIP no python3"; exit 77; }
work=$(mktemp -d "${TMPDIR:-/tmp}/calibrate.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
model="$OCTANT_SOURCE_DIR/tests/golden/models/mixtral"
. "$OCTANT_SOURCE_DIR/tests/tap.sh"

# refuses WORDS ARGUMENTS...: exit status 2, one line with the words on standard error
refuses()
{
	words=$1
	shift
	status=0
	"$OCTANT" simulate "$@" >"$work/out" 2>"$work/err" || status=$?
	cat "$work/out" "$work/err"
	test "$status" = 2 && grep -qF -e "$words" "$work/err" && test "$(wc -l <"$work/err")" = 1
}

card()
{
	"$OCTANT" calibrate --model "$model" --repetitions 1 --memory 0.05 --workers 1 --set limits.sequences=16 \
		--set limits.tokens_per_sequence=128 -o "$work/here.cfg" || return
	grep -q 'task = "attention"' "$work/here.cfg" && grep -q 'task = "experts"' "$work/here.cfg"
}

run()
{
	for i in 1 2 3; do
		echo "{\"id\": \"$i\", \"tokens\": [1, 2, 3, 4, $i], \"max_new_tokens\": $((3 + i)), \"ignore_eos\": true}"
	done >"$work/input.jsonl"
	"$OCTANT" run --model "$model" --input "$work/input.jsonl" --output-dir "$work/run" --workers 1 --record-routing \
		--set schedule.slots=3 --quiet
}

predicts()
{
	"$OCTANT" simulate --against "$work/run" --machine "$work/here.cfg" --json >"$work/against.json" || return
	python3 - "$work/against.json" "$work/run/metrics.json" <<-'END'
	import json, sys
	against, metrics = (json.load(open(name)) for name in sys.argv[1:])
	figures = {f["name"]: f for f in against["figures"]}
	assert figures["makespan_s"]["measured"] == metrics["makespan_s"], figures
	assert figures["makespan_s"]["predicted"] > 0 and "ttft_s.max" in figures, figures
	tasks = {t["name"] for t in against["tasks"]}
	assert tasks == {t["kind"] for t in metrics["tasks"]}, (tasks, metrics["tasks"])
	for f in against["figures"] + against["tasks"]:
	    assert abs(f["error"] - (f["predicted"] / f["measured"] - 1)) < 1e-9, f
	END
}

# The same micro-batches: as many tasks of each kind as the run had.
same_tasks()
{
	"$OCTANT" simulate --against "$work/run" --machine "$work/here.cfg" --output-dir "$work/simulated" || return
	python3 - "$work/simulated/metrics.json" "$work/run/metrics.json" <<-'END'
	import json, sys
	simulated, measured = ({t["kind"]: t["calls"] for t in json.load(open(name))["tasks"]} for name in sys.argv[1:])
	assert simulated == measured, (simulated, measured)
	END
}

foreign()
{
	sed 's/^cpu = .*/cpu = "Another";/' "$work/here.cfg" >"$work/foreign.cfg"
	refuses "another machine" --against "$work/run" --machine "$work/foreign.cfg"
}

echo 1..7
tap "a machine card is written" card
tap "a run tells what is needed to simulate it" run
tap "it is predicted, figure by figure and kind by kind" predicts
tap "the simulation submits the run's tasks" same_tasks
tap "a card of another machine is refused" foreign
tap "a folder without a run is refused" refuses "finished octant run" --against "$work" --machine "$work/here.cfg"
tap "a machine without curves is refused" refuses "no curves" --against "$work/run" --machine host
exit $failed
