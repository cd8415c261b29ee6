#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# octant search as a user calls it: the best of a small space against every plan of it made one by one, requirements that
# nothing meets, the description that --write makes, the same output twice, and what wrong options get.

command -v python3 >/dev/null || { echo "1..0 # SKIP no python3"; exit 77; }
work=$(mktemp -d "${TMPDIR:-/tmp}/search.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
export work
. "$OCTANT_SOURCE_DIR/tests/tap.sh"
small='--sequences 8 --prompt-tokens 256 --new-tokens 8 --simulate 0'
workload='require={ workload = { sequences = 8; prompt_tokens = 256; new_tokens = 8; }; }'

# searches STATUS ARGUMENTS...: runs octant search with standard output in $work/out, and wants that exit status
searches()
{
	want=$1
	shift
	status=0
	"$OCTANT" search "$@" >"$work/out" 2>"$work/err" || status=$?
	cat "$work/err"
	test "$status" = "$want"
}

# refuses WORDS ARGUMENTS...: exit status 2, one line with the words on standard error, nothing on standard output
refuses()
{
	words=$1
	shift
	searches 2 "$@" && grep -qF -e "$words" "$work/err" && test ! -s "$work/out" && test "$(wc -l <"$work/err")" = 1
}

# Each candidate's plan made by octant plan with the options that the search gives: the figures are the same, none is
# better than the first, and the space has as many candidates as its keys multiply to.
brute_force()
{
	searches 0 tp2_ep2_pp2 --set "$workload" --simulate 0 --json --top 100000 --exhaustive --tp-size 2 --ep-size 2 --pp-size 2 \
		--set residual=fp32 --set schedule.prefill.tokens=512 --set schedule.ahead=2 --set schedule.slots=4 \
		--set schedule.prefill.micro_batches=2 &&
	cp "$work/out" "$work/search.json" && python3 - <<'PYTHON'
import json, os, subprocess
search = json.load(open(os.environ["work"] + "/search.json"))
fixed = ["require={ workload = { sequences = 8; prompt_tokens = 256; new_tokens = 8; }; }", "residual=fp32",
         "schedule.prefill.tokens=512", "schedule.ahead=2", "schedule.slots=4", "schedule.prefill.micro_batches=2"]
values, meshes = [], set()
for c in search["candidates"]:
    sets = [x for s in fixed + c["set"] for x in ("--set", s)]
    plan = json.loads(subprocess.run([os.environ["OCTANT"], "plan", "tp2_ep2_pp2", "--json", "--quick"] + sets,
                                     capture_output=True, text=True, check=True).stdout)
    assert abs(plan["makespan_s"] - c["planned"]["makespan_s"]) < 1e-9 * plan["makespan_s"], (plan["makespan_s"], c)
    assert abs(plan["ttft_s"]["max"] - c["planned"]["ttft_s"]) < 1e-9
    values.append(plan["makespan_s"])
    meshes.add(tuple(sorted(c["mesh"].items())) + (c["chain"], c["send"]))
assert values[0] == min(values) and values == sorted(values)
# 3 chains, 2 of them with send in two places; 5 numbers of groups; 3 orders
assert len(values) == search["planned_candidates"] == 5 * 15, (len(values), meshes)
assert len(meshes) == 5, meshes
PYTHON
}

# Coarse to fine finds what trying everything finds.
coarse_to_fine()
{
	set -- tp2_ep2_pp2 $small --json --top 1 --tp-size 1 --ep-size 1 --pp-size 4 --set residual=fp32 --set schedule.ahead=2 \
		--set schedule.prefill.micro_batches=4 --anyway
	searches 0 "$@" && cp "$work/out" "$work/fine.json" && searches 0 "$@" --exhaustive && python3 - <<'PYTHON'
import json, os
fine, all = (json.load(open(os.environ["work"] + name)) for name in ("/fine.json", "/out"))
assert all["planned_candidates"] > 2 * fine["planned_candidates"]
a, b = (x["candidates"][0]["planned"]["makespan_s"] for x in (fine, all))
assert a <= b * 1.02, (a, b)
PYTHON
}

goals()
{
	for goal in makespan ttft prefill decode total memory exposed; do
		searches 0 tp2_ep2_pp2 $small --goal $goal --anyway --csv --top 100000 --pp-size 2 --tp-size 2 --ep-size 2 \
			--set residual=fp32 && cp "$work/out" "$work/$goal.csv" || return 1
	done
	python3 - <<'PYTHON'
import csv, os
column = {"makespan": ("planned_makespan_s", 1), "ttft": ("planned_ttft_s", 1), "memory": ("memory_bytes", 1),
          "prefill": ("planned_prefill_tokens_per_ms_per_device", -1), "exposed": ("planned_exposed_comm_share", 1),
          "decode": ("planned_decode_tokens_per_ms_per_device", -1), "total": ("planned_tokens_per_ms_per_device", -1)}
for goal, (name, sign) in column.items():
    rows = list(csv.DictReader(open("%s/%s.csv" % (os.environ["work"], goal))))
    values = [sign * float(r[name]) for r in rows]
    assert len(values) > 50 and values == sorted(values), goal
    front = [r for r in rows if r["pareto"] == "1"]
    points = [(float(r["planned_ttft_s"]), -float(r["planned_tokens_per_ms_per_device"])) for r in rows]
    for r in front:
        t, x = float(r["planned_ttft_s"]), -float(r["planned_tokens_per_ms_per_device"])
        assert not any(a < t and b < x for a, b in points), r
PYTHON
}

nothing_meets()
{
	searches 1 tp2_ep2_pp2 $small --set require.ttft_s=1e-7 && grep -q 'nearest: tensor . × experts . × stages' "$work/err" &&
		grep -q 'ttft_s is .* 1e-07 is required' "$work/err" && test ! -s "$work/out" &&
		searches 1 tp2_ep2_pp2 $small --set 'require={ workload = { prompt_tokens = 256; }; }' --pp-size 2 --max-exposed 0.001 \
			--tp-size 2 --ep-size 2 --set schedule.slots=1 && grep -q 'exposed communication in prefill is' "$work/err"
}

nothing_fits()
{
	refuses 'GB too much; ' tp2_ep2_pp2 $small --set 'machine.devices[0].memory=2e8'
}

written()
{
	searches 0 tp2_ep2_pp2 $small --anyway --write "$work/best.cfg" -o "$work/pareto.svg" --json --top 1 --set residual=fp32 &&
		"$OCTANT" graph check "$work/best.cfg" && cp "$work/out" "$work/search.json" &&
		python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' "$work/pareto.svg" && {
		"$OCTANT" plan "$work/best.cfg" --json --quick >"$work/plan.json" || test $? = 1
	} && python3 - <<'PYTHON'
import json, os
plan, search = (json.load(open(os.environ["work"] + name)) for name in ("/plan.json", "/search.json"))
c = search["candidates"][0]
assert abs(plan["makespan_s"] - c["planned"]["makespan_s"]) < 1e-9
assert plan["mesh"]["stages"] == c["mesh"]["stages"] and plan["graph"] == "best"
PYTHON
}

same_twice()
{
	searches 0 tp2_ep2_pp2 $small --anyway --csv --top 100000 --threads 1 --pp-size 2 && cp "$work/out" "$work/one" &&
		searches 0 tp2_ep2_pp2 $small --anyway --csv --top 100000 --threads 4 --pp-size 2 && cmp "$work/out" "$work/one"
}

more_devices()
{
	searches 0 tp2_ep2_pp2 $small --anyway --devices 8 --csv && grep -q '^1,' "$work/out" && python3 - <<'PYTHON'
import csv, os
rows = list(csv.DictReader(open(os.environ["work"] + "/out")))
sizes = {int(r["experts"]) * int(r["expert_tensor"]) * int(r["stages"]) for r in rows}
assert 8 in sizes, sizes
PYTHON
}

other_models()
{
	searches 0 dense --simulate 0 --anyway && searches 0 tp2_ep2_pp2 $small --anyway --routing zipf:1.2 --pp-size 1 --set residual=fp32
}

simulated()
{
	test -x "$OCTANT-sim" || { searches 1 tp2_ep2_pp2 --simulate 1 --anyway --set "$workload" && grep -q 'not built' "$work/err"; return; }
	set -- tp2_ep2_pp2 --set "$workload" --simulate 3 --near 0 --json --tp-size 1 --pp-size 4 --set residual=fp32
	searches 0 "$@" && cp "$work/out" "$work/first" && python3 - <<'PYTHON' && searches 0 "$@" && cmp "$work/out" "$work/first"
import json, os
found = [c["simulated"] for c in json.load(open(os.environ["work"] + "/out"))["candidates"]]
values = [s["makespan_s"] for s in found[:3]]
assert values == sorted(values) and all(s is None for s in found[3:])
PYTHON
}

# A switch and further links stay what they are.
links_stay()
{
	searches 0 tp2_ep2_pp2 $small --anyway --simulate 0 --tp-size 2 --ep-size 2 --pp-size 2 --write "$work/links.cfg" \
		--set 'machine.links=({ from = 0; to = 1; bandwidth = 50e9; latency_s = 3e-6; })' &&
		grep -q 'name = "PCIe 5.0 x16 through one switch"' "$work/links.cfg" && test "$(grep -v '^#' "$work/links.cfg" | grep -c 'from = ')" = 1 &&
		"$OCTANT" graph check "$work/links.cfg"
}

# Simulated are the neighbours of the best too, so that it is never worse, and no more than asked for.
neighbours()
{
	set -- tp2_ep2_pp2 --set "$workload" --simulate 2 --json --tp-size 2 --ep-size 2 --pp-size 2 --anyway --set residual=fp32
	for near in 0 6; do
		searches 0 "$@" --near $near --top 100 && cp "$work/out" "$work/near$near" || return 1
	done
	python3 - <<'PYTHON'
import json, os
few, more = (json.load(open(os.environ["work"] + "/near" + n))["candidates"] for n in "06")
count = lambda found: sum(c["simulated"] is not None for c in found)
assert count(few) == 2 and 2 < count(more) <= 8, (count(few), count(more))
assert more[0]["simulated"]["makespan_s"] <= few[0]["simulated"]["makespan_s"]
PYTHON
}

# plan_best reaches the goals, and the table of the language reference says what it simulates to.
table_matches()
{
	"$OCTANT" simulate plan_best --json >"$work/best.json" || return 1
	python3 - "$OCTANT_SOURCE_DIR/graphs/README.md" "$work/best.json" <<'PYTHON'
import json, re, sys
cells = {}
for line in open(sys.argv[1]):
    if line.startswith("| ") and line.count("|") == 6:
        row = [cell.strip() for cell in line.strip().strip("|").split("|")]
        cells.setdefault(row[0], row[1])
m = json.load(open(sys.argv[2]))
assert m["exposed_comm_share_prefill"] <= 0.05 and m["bubble_share_prefill"] <= 0.08
assert cells["mesh, tensor × experts × stages"] == "{tensor} × {experts} × {stages}".format(**m["mesh"]), cells
assert cells["exposed communication in prefill"] == "%.1f %%" % (100 * m["exposed_comm_share_prefill"])
assert cells["bubbles in prefill"] == "%.1f %%" % (100 * m["bubble_share_prefill"])
assert cells["prefill (TTFT), ms"] == "%.1f" % (1e3 * m["ttft_s"]["max"])
assert cells["makespan, ms"] == "%.1f" % (1e3 * m["makespan_s"])
factors = re.findall(r"\((\d\.\d\d) ×\)", cells["its lower bound, ms"])
assert factors and float(factors[0]) <= 1.10, cells["its lower bound, ms"]
PYTHON
}

# A machine of fewer devices than the graph's own mesh needs: other meshes are searched. One that is asked for is refused.
smaller_machine()
{
	two='machine={name="two";devices=({count=2;flops=1e14;bandwidth=1e12;memory=64e9;});interconnect={bandwidth=1e9;};}'
	searches 0 tp2_ep2_pp2 $small --anyway --simulate 0 --set "$two" --json || return 1
	python3 - "$work/out" <<'PYTHON' || return 1
import json, sys
meshes = {tuple(c["mesh"][k] for k in ("tensor", "experts", "stages")) for c in json.load(open(sys.argv[1]))["candidates"]}
assert meshes and all(max(m) == 2 or m == (1, 1, 1) for m in meshes), meshes
PYTHON
	refuses 'the mesh needs 4 devices' tp2_ep2_pp2 $small --set "$two" --set mesh.stages=2 || return 1
	printf 'devices = ( { count = 4; flops = 1e14; bandwidth = 1e12; memory = 64e9; } ); interconnect = { bandwidth = 0; };' \
		>"$work/zero.cfg"
	refuses "--machine $work/zero.cfg: machine.interconnect.bandwidth is 0" tp2_ep2_pp2 $small --machine "$work/zero.cfg"
}

bad_options()
{
	refuses 'no graph is named' &&
		refuses 'no mesh of these degrees' tp2_ep2_pp2 --tp-size 3 &&
		refuses 'did you mean ttft' tp2_ep2_pp2 --goal tttf &&
		refuses '--json and --csv' tp2_ep2_pp2 --json --csv &&
		refuses 'needs --routing' tp2_ep2_pp2 --capacity 1.2 &&
		refuses '--max-exposed 2' tp2_ep2_pp2 --max-exposed 2 &&
		refuses '--devices 0' tp2_ep2_pp2 --devices 0 &&
		refuses 'did you mean --simulate' tp2_ep2_pp2 --simulat 3 &&
		refuses 'did you mean require.ttft_s' tp2_ep2_pp2 --set require.tft_s=1 &&
		searches 1 tp2_ep2_pp2 $small --anyway --tp-size 1 --pp-size 4 -o "$work/nowhere/x.svg" && grep -q 'cannot be written' "$work/err"
}

tap "a small space: the same as every plan made one by one" brute_force
tap "a machine smaller than the graph's own mesh" smaller_machine
tap "coarse to fine finds what trying everything finds" coarse_to_fine
tap "each goal ranks by its figure, and nothing beats the front" goals
tap "requirements that nothing meets: the nearest is named" nothing_meets
tap "a model that fits no mesh" nothing_fits
tap "--write is a complete description, -o a picture" written
tap "the same output with one thread and with four" same_twice
tap "--devices" more_devices
tap "a dense model, and routing that is not even" other_models
tap "the best are simulated and ranked by that" simulated
tap "--write keeps a switch beside other links" links_stay
if [ -x "$OCTANT-sim" ]; then
	tap "neighbours of the best are simulated" neighbours
	tap "plan_best reaches its goals, and its table is right" table_matches
else
	skip "neighbours of the best are simulated" "octant-sim is not built"
	skip "plan_best reaches its goals, and its table is right" "octant-sim is not built"
fi
tap "wrong options are refused" bad_options
tap "--help has an example" sh -c '"$OCTANT" search --help | grep -q "^example: octant search"'
echo "1..$number"
exit $failed
