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
quickstart="$OCTANT_SOURCE_DIR/graphs/quickstart/model"
. "$OCTANT_SOURCE_DIR/tests/tap.sh"

# command_refuses WORDS COMMAND...: exit status 2, one line with the words on standard error
command_refuses()
{
	words=$1
	shift
	status=0
	"$OCTANT" "$@" >"$work/out" 2>"$work/err" || status=$?
	cat "$work/out" "$work/err"
	test "$status" = 2 && grep -qF -e "$words" "$work/err" && test "$(wc -l <"$work/err")" = 1
}

simulate_refuses()
{
	words=$1
	shift
	command_refuses "$words" simulate "$@"
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

# Two passes make one card, which needs no third to be made again; samples of something else are no part of it.
two_passes()
{
	pass="calibrate --model $quickstart --workers 1 --memory 0.05 --set limits.sequences=16 --set limits.tokens_per_sequence=128
		--samples $work/samples.json --quiet"
	"$OCTANT" $pass --repetitions 1 -o "$work/first.cfg" && "$OCTANT" $pass --repetitions 2 -o "$work/both.cfg" || return
	"$OCTANT" $pass --repetitions 0 -o "$work/again.cfg" || return
	grep -q "after 1 pass," "$work/first.cfg" && grep -q "after 2 passes," "$work/both.cfg" || return
	grep -v '^#' "$work/both.cfg" >"$work/both.keys"
	grep -v '^#' "$work/again.cfg" | cmp - "$work/both.keys" || return
	python3 - "$work/samples.json" <<-'END' || return
	import collections, json, sys
	record = json.load(open(sys.argv[1]))
	times = collections.Counter(s["pass"] for s in record["samples"])
	print(times, record["sources"])
	assert len(record["passes"]) == 2 and set(times) == {0, 1} and times[0] < times[1] <= 2 * times[0], times
	END
	cp "$work/samples.json" "$work/samples.before"
	command_refuses "layers = 16, not 4" calibrate --model "$model" --workers 1 --set compute=bf16 --samples "$work/samples.json" || return
	command_refuses "1 workers, not 2" $pass --workers 2 || return
	command_refuses "earlier pass" calibrate --repetitions 0 --samples "$work/none.json" || return
	echo '{"version": 1, "terms": []}' >"$work/old.json"
	command_refuses "other terms" calibrate --model "$model" --samples "$work/old.json" || return
	cmp "$work/samples.json" "$work/samples.before" && test ! -e "$work/none.json"
}

# Two workers. Tolerances are wide: the machine may have other work. What they find is a kind that the card lacks, a worker
# that never works, a unit that is wrong.
two_workers()
{
	"$OCTANT" calibrate --model "$quickstart" --repetitions 3 --memory 0.05 --workers 2 --set limits.sequences=16 \
		--set limits.tokens_per_sequence=256 -o "$work/two.cfg" --quiet || return
	for i in 1 2 3 4 5 6 7 8; do
		echo "{\"id\": \"$i\", \"tokens\": [$(seq -s, 10 200)], \"max_new_tokens\": 8, \"ignore_eos\": true}"
	done >"$work/eight.jsonl"
	for i in 1 2 3; do
		"$OCTANT" run --model "$quickstart" --input "$work/eight.jsonl" --output-dir "$work/two$i" --workers 2 \
			--record-routing --quiet || return
		"$OCTANT" simulate --against "$work/two$i" --machine "$work/two.cfg" --json >"$work/two$i.json" 2>"$work/err" || return
		test ! -s "$work/err" || { cat "$work/err"; return 1; }
	done
	"$OCTANT" simulate --against "$work/two1" --machine "$work/two.cfg" --output-dir "$work/simulated2" || return
	python3 - "$work/simulated2/trace.json" "$work"/two[123].json <<-'END'
	import collections, json, sys
	busy = collections.Counter()
	for e in json.load(open(sys.argv[1]))["traceEvents"]:
	    if e["ph"] == "X":
	        busy[e["args"]["worker"]] += e["dur"]
	assert len(busy) == 2 and min(busy.values()) > 0.1 * sum(busy.values()), busy
	runs = [json.load(open(name)) for name in sys.argv[2:]]
	def least(part, name): # what disturbs a run only ever adds
	    return min(f["measured"] for run in runs for f in run[part] if f["name"] == name)
	makespan, tasks = runs[0]["figures"][0], runs[0]["tasks"]
	print(makespan, *tasks, sep="\n")
	assert sum(t["predicted"] for t in tasks) <= 2.000001 * makespan["predicted"]
	assert 1 / 30 < makespan["predicted"] / least("figures", "makespan_s") < 30
	for t in tasks:
	    assert 1 / 30 < t["predicted"] / least("tasks", t["name"]) < 10, t
	END
}

# A kind that is not in the card is not silently made up.
tells_what_is_missing()
{
	sed '/task = "experts"/,/^\t}/d' "$work/here.cfg" >"$work/less.cfg"
	"$OCTANT" simulate --against "$work/run" --machine "$work/less.cfg" >"$work/out" 2>"$work/err" || return
	cat "$work/err"
	grep -q "no curve of experts" "$work/err"
}

foreign()
{
	sed 's/^cpu = .*/cpu = "Another";/' "$work/here.cfg" >"$work/foreign.cfg"
	simulate_refuses "another machine" --against "$work/run" --machine "$work/foreign.cfg"
}

echo 1..10
tap "a machine card is written" card
tap "a run tells what is needed to simulate it" run
tap "it is predicted, figure by figure and kind by kind" predicts
tap "the simulation submits the run's tasks" same_tasks
tap "a kind of task that the card lacks is named" tells_what_is_missing
tap "a card of another machine is refused" foreign
tap "a folder without a run is refused" simulate_refuses "finished octant run" --against "$work" --machine "$work/here.cfg"
tap "a machine without curves is refused" simulate_refuses "no curves" --against "$work/run" --machine host
tap "two passes make one card" two_passes
if [ "$(nproc)" -ge 2 ]; then
	tap "two workers are predicted" two_workers
else
	skip "two workers are predicted" "there is one processor"
fi
exit $failed
