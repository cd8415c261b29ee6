#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# octant simulate as a user calls it, and against octant run: the same tasks in the same order, with the same buffers
# and dependencies, for the same sequences.

[ -x "$OCTANT-sim" ] || { echo "1..0 # SKIP octant-sim is not built"; exit 77; }
command -v python3 >/dev/null || { echo "1..0 # SKIP no python3"; exit 77; }
work=$(mktemp -d "${TMPDIR:-/tmp}/simulate.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
model="$OCTANT_SOURCE_DIR/tests/golden/models/mixtral"
. "$OCTANT_SOURCE_DIR/tests/tap.sh"

# refuses WORDS ARGUMENTS...: exit status 2, one line with the words on standard error, nothing on standard output
refuses()
{
	words=$1
	shift
	status=0
	"$OCTANT" simulate "$@" >"$work/out" 2>"$work/err" || status=$?
	cat "$work/out" "$work/err"
	test "$status" = 2 && grep -qF -e "$words" "$work/err" && test ! -s "$work/out" && test "$(wc -l <"$work/err")" = 1
}

small="--sequences 12 --prompt-tokens [100,3000] --new-tokens 9 --seed 3 --quiet"

# The same words twice are the same bytes, wherever it writes.
repeats()
{
	for turn in 1 2; do
		"$OCTANT" simulate tp2_ep2_pp2 $small --policy "$1" --output-dir "$work/repeat$turn"
		test $? -le 1 || return 1
	done
	cmp "$work/repeat1/metrics.json" "$work/repeat2/metrics.json" && cmp "$work/repeat1/trace.json" "$work/repeat2/trace.json"
}

every_policy()
{
	for policy in homes eager prio ws lws dm dmda dmdas; do
		repeats "$policy" || { echo "policy $policy"; return 1; }
		cp "$work/repeat1/metrics.json" "$work/$policy.json"
	done
	# with one worker that may run a task only the order is left to choose: by priority, by readiness, or from the own queue
	python3 - "$work" <<'PYTHON'
import json, sys
time = {p: json.load(open(f"{sys.argv[1]}/{p}.json"))["makespan_s"] for p in "homes eager prio ws lws dm dmda dmdas".split()}
assert time["homes"] == time["prio"] == time["dmdas"] and time["dm"] == time["dmda"] == time["eager"] and time["ws"] == time["lws"], time
PYTHON
}

metrics_are_whole()
{
	"$OCTANT" simulate tp2_ep2_pp2 $small --json --output-dir "$work/whole" >"$work/json"
	test $? -le 1 || return 1
	cmp "$work/json" "$work/whole/metrics.json" && python3 - "$work/whole" <<'PYTHON'
import json, sys
m = json.load(open(sys.argv[1] + "/metrics.json"))
t = json.load(open(sys.argv[1] + "/trace.json"))
assert m["source"] == "simulated" and m["machine"] == "plan-4x64g" and m["sequences"]["finished"] == 12
assert all(r["holds"] in (True, False) for r in m["requirements"]) and len(m["requirements"]) == 5
slices = [e for e in t["traceEvents"] if e["ph"] == "X"]
end = max(e["ts"] + e["dur"] for e in slices)
assert abs(end * 1e-6 - m["makespan_s"]) < 5e-6, (end, m["makespan_s"])
assert m["ttft_s"]["max"] < m["makespan_s"] and 0 < m["exposed_comm_share"] < 1
# a device computes one task at a time
for device in range(4):
    own = sorted((e["ts"], e["dur"]) for e in slices if e["pid"] == device + 1 and e["name"] in ("attention", "experts", "route"))
    assert own and all(a[0] + a[1] <= b[0] + 0.01 for a, b in zip(own, own[1:]))
PYTHON
}

# GRAPH-AND-OPTIONS...: run on this host and simulated on the machine that the graph names, or $machine
same_tasks()
{
	python3 - >"$work/input.jsonl" <<'PYTHON'
import json, random
random.seed(5)
for i in range(9):
    print(json.dumps({"id": str(i), "tokens": [1 + (7 * i + j) % 40 for j in range(random.randint(3, 60))],
        "max_new_tokens": random.randint(2, 12), "ignore_eos": True}))
PYTHON
	"$OCTANT" run "$@" --model "$model" --input "$work/input.jsonl" --output-dir "$work/run" --force --quiet \
		--dump-tasks "$work/run.tasks" || return 1
	# the batcher hears of sequences in the input's order, not in the order in which they finished
	python3 - "$work/run/outputs.jsonl" >"$work/lengths.jsonl" <<'PYTHON'
import json, sys
for line in sorted(map(json.loads, open(sys.argv[1])), key=lambda line: int(line["id"])):
    print(json.dumps(line))
PYTHON
	"$OCTANT" simulate "$@" $machine --model "$model" --input "$work/lengths.jsonl" --quiet --dump-tasks "$work/sim.tasks"
	test $? -le 1 || return 1
	grep -v '^load' "$work/run.tasks" >"$work/run.own"
	wc -l "$work/run.own"
	test -s "$work/run.own" && cmp "$work/run.own" "$work/sim.tasks"
}

limits="--set limits.sequences=6 --set limits.tokens_per_sequence=128 --set kv.page_tokens=8 --set schedule.prefill.tokens=32"
fp32="--set compute=\"fp32\" --set kv.dtype=\"fp32\""

same_everywhere()
{
	machine= task="--set schedule.grain=task" # a task a step, as GPUs have it by default
	same_tasks tp2_ep2_pp2 $limits $fp32 $task --set kv.pages=64 --policy homes || return 1
	# too few pages: sequences wait, or are preempted and computed again
	same_tasks tp2_ep2_pp2 $limits $fp32 $task --set kv.pages=14 --set schedule.slots=2 --policy dmdas || return 1
	same_tasks tp2_ep2_local $limits $fp32 $task --set kv.pages=64 --set 'schedule.interleave="mixed"' || return 1
	same_tasks send_shards $limits $fp32 $task --set kv.pages=64 --set schedule.slots=7 --set schedule.ahead=3 || return 1
	# merged tasks, as a host has them whatever machine the graph names: all, and those of few rows
	machine="--machine host"
	same_tasks tp2_ep2_pp2 $limits $fp32 --set kv.pages=64 --set schedule.grain=device || return 1
	grep -q ' + ' "$work/run.own" || return 1
	same_tasks tp2_ep2_local $limits --set kv.pages=64 --set compute=int8 || return 1
	for graph in tp2_ep2_local "default --tp-size 2 --ep-size 2"; do
		same_tasks $graph $limits $fp32 --set kv.pages=64 --set schedule.prefill.tokens=200 || return 1
		grep -q '^embed[^:]* + attention[^:]*: decode' "$work/run.own" || return 1
		grep -q '^embed[^:+]*: prefill' "$work/run.own" || return 1
	done
}

# Where nothing contends and nothing waits, the plan and the simulation say the same: seconds of compute and of collectives
# always, and of one prompt the makespan but for StarPU's looks at its queues (2 us a task at most).
agrees_with_the_plan()
{
	for graph in one_device tensor_only tp2_ep2_reduce_scatter stages_only; do
		for sequences in 1 24; do
			words="--sequences $sequences --prompt-tokens 1500 --new-tokens 1 --json"
			"$OCTANT" plan "$graph" $words >"$work/plan.json"
			test $? -le 1 || return 1
			"$OCTANT" simulate "$graph" $words >"$work/sim.json"
			test $? -le 1 || return 1
			python3 - "$graph" "$sequences" "$work/plan.json" "$work/sim.json" <<'PYTHON' || return 1
import json, sys
plan, sim = (json.load(open(path)) for path in sys.argv[3:])
for key in "comm_s", "compute_s":
    assert abs(plan[key] - sim[key]) <= 1e-5 * plan["compute_s"], (sys.argv, key, plan[key], sim[key])
if sys.argv[2] == "1":
    late = sim["makespan_s"] - plan["makespan_s"]
    calls = sum(kind["calls"] for kind in sim["tasks"])
    assert abs(late) < 0.1e-6 * calls, (sys.argv, late, calls)
PYTHON
		done
	done
}

# Stages, prompts and decode: the plan is near, and the nearer the less sends meet collectives on links. Policies without
# priorities take longer, in both. Decode groups take turns: with one of them in each stage, a stage idles for less than a fifth
# of the time (half, were they together).
near_the_plan_in_pipelines()
{
	work="$work" python3 - <<'PYTHON'
import json, os, subprocess
def metrics(command, *words):
    done = subprocess.run([os.environ["OCTANT"], command, *words, "--json"], capture_output=True, text=True)
    assert done.returncode <= 1, done.stderr
    return json.loads(done.stdout)
load = ["--sequences", "128", "--prompt-tokens", "512", "--new-tokens", "24"]
first = ["--set", "schedule.interleave=prefill_first", "--set", "schedule.slots=8"]
for words, off in ((["tp2_ep2_pp2", *first], 0.03), (["tp2_ep2_local", *first], 0.03), (["stages_only"], 0.002), (["plan_best"], 0.002),
                   (["experts_only"], 0.005), (["tp2_ep2_pp2", "--set", "mesh={tensor=1;experts=4;stages=1;}"], 0.01),
                   (["tp2_ep2_pp2"], 0.03), (["tp2_ep2_pp2", "--machine", "plan-4x64g-nvlink"], 0.01),
                   (["tp2_ep2_pp2", "--set", "schedule.policy=homes"], 0.03), (["tp2_ep2_pp2", "--set", "schedule.policy=eager"], 0.03)):
    plan, sim = metrics("plan", *words, *load, "--quick"), metrics("simulate", *words, *load)
    ratio = plan["makespan_s"] / sim["makespan_s"]
    print(words, ratio, sim["bubble_share_decode"])
    assert abs(ratio - 1) < off, (words, ratio)
    for share in "exposed_comm_share", "bubble_share":
        assert abs(plan[share] - sim[share]) < 2 * off, (words, share, plan[share], sim[share])
    assert sim["bubble_share_decode"] < 0.2, (words, sim["bubble_share_decode"])
PYTHON
}

# One rule for memory: the pool that the limits need, whatever the workload uses of it; and the same words where it does not fit.
# A card of a host in int8, in which all that takes time are the weights' bytes: experts' matrices are half those of bf16.
# Each card serves its own type alone.
int8_card()
{
	cores=$("$OCTANT" topology --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["cores"]["usable"])') || return 1
	cpu=$("$OCTANT" topology --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["processor"])') || return 1
	for compute in int8 bf16; do
		{
			echo "host = true; cpu = \"$cpu\"; measured = \"2026-01-01\"; compute = \"$compute\"; cores = $cores; workers = 1; kinds = ("
			comma=''
			for task in embed attention all_reduce route dispatch experts combine head sample; do
				echo "$comma{ task = \"$task\"; alone = { call_s = 1e-7; weight_byte_s = 1e-10; }; }"
				comma=,
			done
			echo ");"
		} >"$work/$compute.cfg"
		"$OCTANT" simulate default --model "$model" --set "compute=\"$compute\"" --workers 1 --machine "$work/$compute.cfg" --sequences 6 \
			--prompt-tokens 20 --new-tokens 4 --json >"$work/$compute.json" || return 1
	done
	refuses 'measured with compute = "int8", not "bf16"' default --model "$model" --set compute=bf16 --workers 1 \
		--machine "$work/int8.cfg" --sequences 6 --prompt-tokens 20 --new-tokens 4 || return 1
	python3 - "$work/int8.json" "$work/bf16.json" <<'PYTHON'
import json, sys
low, high = ({t["kind"]: t for t in json.load(open(path))["tasks"]} for path in sys.argv[1:])
a, b = (t["experts"]["seconds"] - 1e-7 * t["experts"]["calls"] for t in (low, high))
print(a, b, low["experts"], high["experts"])
assert low["experts"]["calls"] == high["experts"]["calls"] and 0.499 < a / b < 0.6, a / b
PYTHON
}

same_memory_as_the_plan()
{
	for command in plan simulate; do
		"$OCTANT" $command tp2_ep2_pp2 --sequences 8 --prompt-tokens 200 --new-tokens 4 --json >"$work/$command.json"
		test $? -le 1 || return 1
		for misfit in 'machine.devices[0].memory=2e8' kv.pages=900000000; do
			"$OCTANT" $command tp2_ep2_pp2 --sequences 8 --set "$misfit" 2>&1 && return 1
		done >"$work/$command.said"
	done
	cmp "$work/plan.said" "$work/simulate.said" && test "$(wc -l <"$work/plan.said")" = 2 && python3 - "$work/plan.json" "$work/simulate.json" <<'PYTHON'
import json, sys
plan, sim = (json.load(open(path)) for path in sys.argv[1:])
for a, b in zip(plan["devices"], sim["devices"]):
    for key in "weight_bytes", "kv_bytes", "kv_used_bytes", "activation_bytes", "peak_bytes":
        assert abs(a[key] - b[key]) <= 1, (key, a[key], b[key])
    assert 10 * b["kv_used_bytes"] < b["kv_bytes"]
a, b = ([r for r in m["requirements"] if r["name"] == "memory_gb_per_device"][0] for m in (plan, sim))
assert a["why"] == b["why"] and "KV pool" in a["why"], (a, b)
PYTHON
}

# Longer prompts than the limit allows raise it, and say so; a limit that is given stands. Without GRAPH, a model has its own.
limits_and_defaults()
{
	for command in plan simulate; do
		"$OCTANT" $command tp2_ep2_pp2 --sequences 2 --prompt-tokens 10240 --new-tokens 9 --json >"$work/out" 2>"$work/err"
		test $? -le 1 && grep -q '"prompt_tokens": *20480' "$work/out" &&
			test "$(cat "$work/err")" = 'octant: limits.tokens_per_sequence = 10249 for this workload; the graph says 10240' || return 1
		"$OCTANT" $command --model "$model" --sequences 2 --prompt-tokens 20 --new-tokens 3 --json >"$work/out" 2>"$work/err"
		test $? -le 1 && grep -q '"graph": *"default"' "$work/out" || return 1
	done
}

# Buffers stay with their devices: what moves is said by collectives alone.
nothing_else_moves()
{
	STARPU_BUS_STATS=1 STARPU_SILENT=0 "$OCTANT" simulate tp2_ep2_pp2 $small --policy dmda >"$work/bus" 2>&1
	test $? -le 1 && grep -q 'Total transfers: 0.0000 GB' "$work/bus" && ! grep 'transfers : [1-9]' "$work/bus"
}

# All rows to few experts are more work for whom they lie with, and more to send there.
routing_counts()
{
	for how in balanced zipf:2; do
		"$OCTANT" simulate tp2_ep2_pp2 $small --routing "$how" --json >"$work/$how.json"
		test $? -le 1 || return 1
	done
	python3 - "$work/balanced.json" "$work/zipf:2.json" <<'PYTHON'
import json, sys
even, skewed = (json.load(open(path)) for path in sys.argv[1:])
assert even["experts"]["imbalance"] < 1.01 < 2 < skewed["experts"]["imbalance"], (even["experts"]["imbalance"], skewed["experts"]["imbalance"])
assert even["makespan_s"] < skewed["makespan_s"], (even["makespan_s"], skewed["makespan_s"])
PYTHON
}

tap "the same words give the same bytes, with every policy" every_policy
tap "metrics and trace agree, and verdicts are given" metrics_are_whole
tap "a run submits the same tasks" same_everywhere
tap "the plan says the same where it must" agrees_with_the_plan
tap "and is near in pipelines that decode" near_the_plan_in_pipelines
tap "memory is the plan's" same_memory_as_the_plan
tap "limits and graphs that are not given" limits_and_defaults
tap "a card of a host in int8, and of no other type" int8_card
tap "StarPU itself moves nothing" nothing_else_moves
tap "uneven routing costs" routing_counts
tap "octant-sim says which SimGrid it has" sh -c '"$OCTANT-sim" --version | grep -q "StarPU 1.*, SimGrid [0-9][.0-9]*,"'
tap "a graph of no name is refused" refuses "nosuch" nosuch
tap "a policy that hangs is refused" refuses "heteroprio" tp2_ep2_pp2 --policy heteroprio
tap "what does not fit is refused, with how much" refuses "GB too much; " tp2_ep2_pp2 --set \
	'machine.devices=({count=4;flops=1e12;bandwidth=1e12;memory=1e8;})'
tap "too many pages are refused, with how many fit" refuses "at most" tp2_ep2_pp2 --set kv.pages=900000000
tap "lengths that are none are refused" refuses "--prompt-tokens" tp2_ep2_pp2 --prompt-tokens [9,1]
tap "a file of no lengths is refused" refuses "$model/config.json:1" tp2_ep2_pp2 --input "$model/config.json"
tap "links that join nothing are refused" refuses "no link connects" tp2_ep2_pp2 --set \
	'machine={devices=({count=4;flops=1e12;bandwidth=1e12;memory=64e9;});links=({from=0;to=1;bandwidth=1e9;})}'
echo "1..$number"
exit $failed
