#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# octant plan as a user calls it: text, JSON, CSV and pictures; exit statuses; what wrong machines and options get.

command -v python3 >/dev/null || { echo "1..0 # SKIP no python3"; exit 77; }
work=$(mktemp -d "${TMPDIR:-/tmp}/cmd_plan.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
. "$OCTANT_SOURCE_DIR/tests/tap.sh"

# plans STATUS ARGUMENTS...: runs octant plan with standard output in $work/out, and wants that exit status
plans()
{
	want=$1
	shift
	status=0
	"$OCTANT" plan "$@" >"$work/out" 2>"$work/err" || status=$?
	cat "$work/err"
	test "$status" = "$want"
}

# refuses WORDS ARGUMENTS...: exit status 2, one line with the words on standard error, nothing on standard output
refuses()
{
	words=$1
	shift
	plans 2 "$@" && grep -qF -e "$words" "$work/err" && test ! -s "$work/out" && test "$(wc -l <"$work/err")" = 1
}

the_deployment_plan()
{
	plans 1 tp2_ep2_pp2 || return 1
	for words in 'weights  KV pool' 'bound by' 'lower bound' 'memory binds' 'would make it hold' 'contradicted' 'confirmed' \
		'nearest: ' 'DOES NOT HOLD'; do
		grep -qF -e "$words" "$work/out" || { echo "no \"$words\""; return 1; }
	done
	test "$(grep -c 'contradicted\|confirmed' "$work/out")" = 12
}

requirements_that_hold()
{
	plans 0 tp2_ep2_pp2 --set 'require={ ttft_s = 10.0; memory_gb_per_device = 15.0; workload = { prompt_tokens = 128; }; }' &&
		! grep -q 'DOES NOT' "$work/out"
}

json_has_the_form_of_a_run()
{
	plans 1 tp2_ep2_pp2 --json && python3 - "$work/out" <<'PYTHON'
import json, sys
m = json.load(open(sys.argv[1]))
assert m["source"] == "planned" and m["measured_on"] is None and m["workload"]["sequences"] == 128
assert {r["name"]: r["holds"] for r in m["requirements"]} == {"ttft_s": True, "tokens_per_ms_per_device.prefill": True,
    "tokens_per_ms_per_device.decode": False, "memory_gb_per_device": True, "comm_over_compute": False}
plan = m["plan"]
assert plan["lower_bound_s"] <= plan["full_overlap"]["makespan_s"] <= plan["no_overlap"]["makespan_s"]
assert m["makespan_s"] == plan["full_overlap"]["makespan_s"]
assert m["tokens_per_ms_per_device"]["prefill"] == plan["full_overlap"]["prefill_tokens_per_ms_per_device"]
assert abs(sum(d["kv"] for d in plan["memory"]) / 2**30 - 40) < 0.01
assert len(plan["claims"]) == 12 and all(c["why"] for c in plan["claims"])
assert any("stages 4" in c["text"] for c in plan["changes"])
PYTHON
}

a_range()
{
	plans 0 tp2_ep2_pp2 --over prompt_tokens=128:10240 -o "$work/plan.svg" && test "$(grep -c '|' "$work/out")" = 9 &&
		grep -q 'limits.tokens_per_sequence = 10368 for this workload' "$work/err" &&
		python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' "$work/plan.svg" &&
		plans 0 tp2_ep2_pp2 --over prompt_tokens=128:10240:5 --csv && python3 - "$work/out" <<'PYTHON'
import csv, sys
rows = list(csv.DictReader(open(sys.argv[1])))
assert [int(r["prompt_tokens"]) for r in rows] == [128, 383, 1145, 3424, 10240], rows
flops = [float(r["mflop_per_token"]) for r in rows]
assert flops == sorted(flops) and abs(flops[0] - 137) < 1 and abs(flops[-1] - 302) < 1
ttft = [float(r["ttft_s"]) for r in rows]
assert ttft == sorted(ttft)
PYTHON
}

a_picture_that_cannot_be_written()
{
	plans 1 tp2_ep2_pp2 --over sequences=1:8:2 -o "$work/nowhere/plan.svg" && grep -q 'cannot be written' "$work/err" &&
		test ! -e "$work/nowhere"
}

machines_that_ship()
{
	count=0
	for file in "$OCTANT_SOURCE_DIR"/graphs/machines/*.cfg; do
		machine=$(basename "$file" .cfg)
		status=0
		"$OCTANT" plan tp2_ep2_pp2 --machine "$machine" --quick >"$work/out" 2>"$work/err" || status=$?
		test "$status" -le 1 && grep -q " on $machine, " "$work/out" || { cat "$work/err"; return 1; }
		test "$machine" = host || grep -q 'source\|datasheet\|whitepaper\|Specification\|plan-4x64g' "$file" || return 1
		count=$((count + 1))
	done
	test "$count" -ge 11
}

# What crosses from node to node is slower than what stays inside one.
two_nodes()
{
	for place in '' '--set' ; do
		set -- tp2_ep2_pp2 --machine h100-2x4-infiniband --json --quick
		if [ "$place" ]; then
			set -- "$@" --set 'mesh.place=( { device = 0; stage = 0; tensor = 0; experts = 0; }, { device = 4; stage = 0; tensor = 1; experts = 1; }, { device = 1; stage = 1; tensor = 0; experts = 0; }, { device = 5; stage = 1; tensor = 1; experts = 1; } )'
		fi
		"$OCTANT" plan "$@" >"$work/nodes$place.json"
	done
	python3 -c 'import json, sys
inside, across = (json.load(open(name))["comm_s"] for name in sys.argv[1:])
assert across > 2 * inside, (inside, across)' "$work/nodes.json" "$work/nodes--set.json"
}

bad_machines()
{
	printf 'name = "x";\ndevices = ( { count = 4; flops = 400e12; bandwidth = 1.8e12; } );\n' >"$work/lacks.cfg"
	printf 'name = "x";\ndevices = ( { count = 4; flops = 400e12; bandwidth = 1.8e12; memory = 64e9; } );\n' >"$work/unlinked.cfg"
	printf 'name = "x";\n\ndevices = ( { count = 4 flops };\n' >"$work/syntax.cfg"
	printf 'name = "x";\ndevices = ( { count = 4; flps = 400e12; bandwidth = 1.8e12; memory = 64e9; } );\n' >"$work/key.cfg"
	sed 's/memory = 64e9/memory = 2e8/' "$OCTANT_SOURCE_DIR/graphs/machines/plan-4x64g.cfg" >"$work/small.cfg"
	refuses 'has no `memory`' tp2_ep2_pp2 --machine "$work/lacks.cfg" &&
		refuses 'has no links' tp2_ep2_pp2 --machine "$work/unlinked.cfg" &&
		refuses 'syntax.cfg:3' tp2_ep2_pp2 --machine "$work/syntax.cfg" &&
		refuses 'did you mean machine.devices[0].flops' tp2_ep2_pp2 --machine "$work/key.cfg" &&
		refuses 'GB too much; ' tp2_ep2_pp2 --machine "$work/small.cfg" &&
		refuses 'no such file' tp2_ep2_pp2 --machine h100-sxm-3 &&
		refuses 'needs 4 devices' tp2_ep2_pp2 --set machine.devices[0].count=2
}

bad_options()
{
	refuses 'no graph is named' &&
		refuses 'did you mean --over' tp2_ep2_pp2 --ovr prompt_tokens=1:2 &&
		refuses '--over prompt' tp2_ep2_pp2 --over prompt &&
		refuses '--over prompt_tokens=0:5' tp2_ep2_pp2 --over prompt_tokens=0:5 &&
		refuses '--over prompt_tokens=8:5' tp2_ep2_pp2 --over prompt_tokens=8:5 &&
		refuses '--over: prompt_tokns is no key' tp2_ep2_pp2 --over prompt_tokns=1:5 &&
		refuses 'belongs to --over' tp2_ep2_pp2 --csv &&
		refuses 'routing "zipff"' tp2_ep2_pp2 --routing zipff &&
		refuses 'needs --routing' tp2_ep2_pp2 --capacity 1.2 &&
		refuses 'cannot be read' tp2_ep2_pp2 --routing replay:/nowhere &&
		refuses 'has no experts' dense --routing balanced &&
		refuses 'did you mean require.ttft_s' tp2_ep2_pp2 --set require.tft_s=1 &&
		refuses 'can be planned' tp2_ep2_pp2 --sequences 16777216 &&
		refuses '--sequences' tp2_ep2_pp2 --sequences 0
}

# One sequence is not "1 sequences"; names that no graph has get the list, the default among them.
words()
{
	"$OCTANT" plan tp2_ep2_pp2 --sequences 1 --quick | grep -q '^workload: 1 sequence, prompt of ' &&
		refuses 'uneven_layers, default (with --model DIR)' nosuch && refuses 'says nothing' /dev/null
}

routing_shows()
{
	plans 1 tp2_ep2_pp2 --routing zipf:1.2 --capacity 1.5 --quick && grep -q 'largest / mean load of an expert .*dropped [1-9]' "$work/out"
}

tap "the deployment plan: every part is printed" the_deployment_plan
tap "exit status 0 where all requirements hold" requirements_that_hold
tap "--json has the form of a run's metrics" json_has_the_form_of_a_run
tap "--over: table, CSV and picture" a_range
tap "a picture that cannot be written is an error" a_picture_that_cannot_be_written
tap "machines that ship can be planned on" machines_that_ship
tap "two nodes" two_nodes
tap "wrong machines are refused" bad_machines
tap "wrong options are refused" bad_options
tap "what one sequence and unknown graphs are called" words
tap "routing that is not even is shown" routing_shows
tap "--help has an example" sh -c '"$OCTANT" plan --help | grep -q "^example: octant plan"'
echo "1..$number"
exit $failed
