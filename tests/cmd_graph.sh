#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# octant graph as a user calls it: what it prints, JSON that programs can read, pictures that are written whole, and
# exit statuses.

command -v python3 >/dev/null || { echo "1..0 # SKIP no python3"; exit 77; }
work=$(mktemp -d "${TMPDIR:-/tmp}/cmd_graph.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
models="$OCTANT_SOURCE_DIR/tests/golden/models"
. "$OCTANT_SOURCE_DIR/tests/tap.sh"

# refuses WORDS ARGUMENTS...: exit status 2, one line with the words on standard error, nothing on standard output
refuses()
{
	words=$1
	shift
	status=0
	"$OCTANT" graph "$@" >"$work/out" 2>"$work/err" || status=$?
	cat "$work/err"
	test "$status" = 2 && grep -qF -e "$words" "$work/err" && test ! -s "$work/out" && test "$(wc -l <"$work/err")" = 1
}

# says WORDS ARGUMENTS...
says()
{
	words=$1
	shift
	"$OCTANT" graph "$@" >"$work/out" && cat "$work/out" && grep -qF -e "$words" "$work/out"
}

plan_json()
{
	"$OCTANT" graph show tp2_ep2_pp2 --json >"$work/json" && python3 - "$work/json" <<'PYTHON'
import json, sys
show = json.load(open(sys.argv[1]))
table = [(d["id"], d["stage"], d["tensor"], d["layers"], d["expert_range"]) for d in show["devices"]]
assert table == [(0, 0, 0, [0, 8], [0, 8]), (1, 0, 1, [0, 8], [8, 16]), (2, 1, 0, [8, 16], [0, 8]), (3, 1, 1, [8, 16], [8, 16])], table
assert 0 <= sum(d["kv_bytes"] for d in show["devices"]) - (40 << 30) < 65536 # pools begin at pages of memory
assert show["model"]["declared_parameters"] == 10e9 and show["model"]["parameters"] == 452346368
assert [s["task"] for s in show["chains"]["layer"]] == \
    ["attention", "reduce_scatter", "route", "dispatch", "experts", "combine", "all_gather"]
assert show["require"]["ttft_s"] == 10 and show["require"]["workload"]["prompt_tokens"] == [128, 10112]
PYTHON
}

all_are_right()
{
	for graph in $("$OCTANT" graph list); do
		test "$graph" != default || continue
		"$OCTANT" graph check "$graph" && "$OCTANT" graph show "$graph" --json -o "$work/json" &&
			python3 -m json.tool "$work/json" /dev/null && "$OCTANT" graph draw "$graph" -o "$work/$graph.svg" &&
			python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' "$work/$graph.svg" || return 1
	done
	test "$(ls "$work"/*.svg | wc -l)" -ge 14
}

wrong_file()
{
	printf 'mesh = {\n\ttensr = 2;\n};\n' >"$work/wrong.cfg"
	refuses "$work/wrong.cfg:2: mesh.tensr is no key; did you mean mesh.tensor?" check "$work/wrong.cfg"
}

several_errors()
{
	printf 'mesh = {\n\ttensr = 2;\n};\nlayer = ( { task = "atention"; } );\nschedule = { slots = 0; };\n' >"$work/several.cfg"
	status=0
	"$OCTANT" graph check "$work/several.cfg" --tp-size two >"$work/out" 2>"$work/err" || status=$?
	cat "$work/err"
	test "$status" = 2 && test ! -s "$work/out" && test "$(wc -l <"$work/err")" = 4 &&
		grep -qF "several.cfg:2: mesh.tensr is no key" "$work/err" && grep -qF "several.cfg:4: \"atention\"" "$work/err" &&
		grep -qF "several.cfg:5: schedule.slots is 0" "$work/err" && grep -q "^--tp-size: mesh.tensor is a string" "$work/err" &&
		refuses "mesh.tensr is no key" show "$work/several.cfg"
}

# What show says of memory and compute is what a run allocates.
memory_of_a_run()
{
	for model in mixtral qwen2_moe olmoe llama; do
		for arguments in default "default --set compute=fp32 --set limits.sequences=3" \
			"default --set kv.pages=77 --set schedule.slots=3" "default --set schedule.interleave=mixed --pp-size 2"; do
			"$OCTANT" graph show $arguments --cores 2 --model "$models/$model" --json >"$work/show" &&
				"$OCTANT" run $arguments --workers 2 --model "$models/$model" --dry-run --json >"$work/run" &&
				python3 - "$work/show" "$work/run" <<'PYTHON' || return 1
import json, sys
show, run = (json.load(open(path)) for path in sys.argv[1:])
keys = "id", "weight_bytes", "kv_bytes", "activation_bytes", "total_bytes"
table = [[[d[k] for k in keys] for d in x["devices"]] for x in (show, run)]
assert table[0] == table[1], table
assert max(d["workspace_bytes"] for d in show["devices"]) * 2 == run["workspace_bytes"]
PYTHON
		done
	done
}

lowered_json()
{
	"$OCTANT" graph show default --model "$models/qwen2_moe" --tp-size 2 --ep-size 4 --json >"$work/json" && python3 - "$work/json" <<'PYTHON'
import json, sys
chains = json.load(open(sys.argv[1]))["chains"]
def steps(name): return [("+" if s["inserted"] else "") + s["task"] + ("*" if s["collective"] else "") for s in chains[name]]
assert steps("layer") == ["attention", "reduce_scatter*", "route", "+shared_expert", "dispatch*", "experts", "combine*",
    "all_gather*"], steps("layer")
assert steps("dense_layer") == ["attention", "all_reduce*", "+norm", "+gather_rows*", "mlp", "all_reduce*"], steps("dense_layer")
for chain in chains.values():
    for a, b in zip(chain, chain[1:]):
        assert a["leaves"] == b["takes"], (a, b)
PYTHON
}

full_disk()
{
	test -w /dev/full || return 0
	status=0
	"$OCTANT" graph show one_device -o /dev/full || status=$?
	test "$status" = 1
}

tap "every shipped graph is checked, shown and drawn" all_are_right
tap "the plan's table, memory and claims as JSON" plan_json
tap "check says ok and the mesh" says "8 parts on 4 devices" check tp2_ep2_pp2
tap "show holds the claim against what is computed" says "the claim does not hold" show tp2_ep2_pp2
tap "show lists what a checkpoint changes" says "layers 4 (card 16)" show tp2_ep2_pp2 --model "$models/mixtral"
tap "show tells what was inserted" says "inserted in place of attention" show tp2_ep2_pp2 --model "$models/olmoe"
tap "show tells what the lowering inserts" lowered_json
tap "gather_rows is told, as a collective" says "+ gather_rows (collective)" show --model "$models/qwen2_moe" --tp-size 2 --ep-size 4
tap "and so are norm" says "+ norm" show --model "$models/qwen2_moe" --tp-size 2 --ep-size 4
tap "and shared_expert" says "+ shared_expert" show --model "$models/qwen2_moe" --tp-size 2 --ep-size 4
tap "memory and compute are those of a run" memory_of_a_run
tap "parts and their copies" says "3 distinct parts (4 placed: each group has its tensor shards) on 2 devices" check experts_only
tap "show tells of devices that are not used" says "2 of its 4 devices are not used" show tensor_only
tap "the default graph" says "tensor 4, experts 4" check --model "$models/mixtral16" --cores 4
tap "the default graph by name" says "default: ok" check default --model "$models/mixtral"
tap "the default graph is listed" says "default" list
tap "the default graph is drawn" says "<title>default</title>" draw default --model "$models/llama"
tap "the default graph needs a model" refuses "default: the default graph depends on the model; --model DIR is needed" show default
tap "an override" says "0-8" show tp2_ep2_pp2 --set 'mesh.layers=[9,7]'
tap "help" says "usage: octant graph check" --help
tap "a wrong file" wrong_file
tap "every error is told" several_errors
tap "a mesh that fails by an option" refuses "--tp-size: the mesh does not fold" check tp2_ep2_pp2 --tp-size 3
tap "a mesh that fails by an override" refuses "--set mesh.stages: the mesh needs 8 devices" show tp2_ep2_pp2 --set mesh.stages=4
tap "fp16 on a host" refuses '--set compute: compute = "fp16" needs a GPU' check default --model "$models/mixtral" --set compute=fp16
tap "a wrong override" refuses "--set mesh.tensr: mesh.tensr is no key; did you mean mesh.tensor?" check tp2_ep2_pp2 --set mesh.tensr=2
tap "an override without a value" refuses "--set PATH=VALUE would be right" check tp2_ep2_pp2 --set mesh.tensor
tap "an unknown graph" refuses "did you mean tp2_ep2_pp" check tp2_ep2_pp3
tap "an unknown verb" refuses "did you mean show" shwo tp2_ep2_pp2
tap "no verb" refuses "graph what?"
tap "no graph" refuses "no graph is named" show
tap "an unknown option" refuses "there is no option --wrong; octant graph --help lists them" show tp2_ep2_pp2 --wrong
tap "one argument too many" refuses "one argument too many" show tp2_ep2_pp2 tp4
tap "a folder that is no model" refuses "config.json" show tp2_ep2_pp2 --model "$work"
tap "an output that cannot be written" refuses "cannot be written" draw tp2_ep2_pp2 -o "$work/no/such/folder.svg"
tap "a full disk is an error" full_disk
echo "1..$number"
exit $failed
