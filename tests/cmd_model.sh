#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# octant model and octant topology as a user calls them: what they print, that their card and machine file are good
# graph descriptions, texts to ids and back, and exit statuses.

command -v python3 >/dev/null || { echo "1..0 # SKIP no python3"; exit 77; }
work=$(mktemp -d "${TMPDIR:-/tmp}/cmd_model.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
models="$OCTANT_SOURCE_DIR/tests/golden/models"
tokenizers="$OCTANT_SOURCE_DIR/tests/golden/tokenizers"
. "$OCTANT_SOURCE_DIR/tests/tap.sh"

# refuses WORDS ARGUMENTS...: exit status 2, the words in the message, nothing on standard output
refuses()
{
	words=$1
	shift
	status=0
	"$OCTANT" "$@" >"$work/out" 2>"$work/err" || status=$?
	cat "$work/err"
	test "$status" = 2 && grep -qF -e "$words" "$work/err" && test ! -s "$work/out"
}

told()
{
	"$OCTANT" model "$models/$1" --check >"$work/text" && cat "$work/text" &&
		grep -q "all weights are finite" "$work/text" && grep -q "^parameters  total" "$work/text"
}

json_holds()
{
	"$OCTANT" model "$models/$1" --json >"$work/json" && python3 - "$work/json" "$models/$1/config.json" <<'PYTHON'
import json, sys
told, config = json.load(open(sys.argv[1])), json.load(open(sys.argv[2]))
model, parameters = told["model"], told["parameters"]
assert model["family"] == config["model_type"], model
assert model["hidden"] == config["hidden_size"] and model["layers"] == config["num_hidden_layers"]
assert parameters["total"] == sum(v for k, v in parameters.items() if k not in ("total", "active"))
size = {"fp32": 4, "fp16": 2, "bf16": 2}[model["dtype"]]
assert told["memory"]["weight_bytes"] == told["files"]["bytes"] == size * parameters["total"]
assert told["memory"]["kv_bytes_per_token_32_bits"] == 8 * model["layers"] * model["kv_heads"] * model["head_dim"]
PYTHON
}

# The card must say all that the checkpoint says, as graph_card_differs sees it.
card_is_complete()
{
	"$OCTANT" model "$models/$1" --card >"$work/$1.cfg" && cat "$work/$1.cfg" &&
		"$OCTANT" graph check "$work/$1.cfg" &&
		"$OCTANT" graph show "$work/$1.cfg" --model "$models/$1" >"$work/shown" 2>&1 &&
		! grep "differs" "$work/shown"
}

config_alone_is_enough()
{
	mkdir -p "$work/alone" && cp "$models/mixtral/config.json" "$work/alone" &&
		"$OCTANT" model "$work/alone" >"$work/text" && grep -q "config.json only" "$work/text" &&
		refuses "neither model.safetensors nor" model "$work/alone" --check
}

machine_file_is_read()
{
	{ echo 'machine = {' && "$OCTANT" topology --machine && echo '};' && "$OCTANT" model "$models/mixtral" --card; } \
		>"$work/machine.cfg" && cat "$work/machine.cfg" && "$OCTANT" graph check "$work/machine.cfg" &&
		"$OCTANT" graph check "$work/machine.cfg" --set mesh.stages=2 --set mesh.tensor=2 --set mesh.experts=2
}

topology_is_told()
{
	"$OCTANT" topology && "$OCTANT" topology --json >"$work/json" && python3 - "$work/json" <<'PYTHON'
import json, os, sys
told = json.load(open(sys.argv[1]))
assert 1 <= told["workers"] <= told["cores"]["usable"] <= told["cores"]["total"]
assert told["hardware_threads"]["usable"] == len(os.sched_getaffinity(0)), told
assert 0 < told["memory_bytes"]["available"] <= told["memory_bytes"]["total"]
PYTHON
}

# Golden encodings and decodings through the command, lines in and out.
converts()
{
	mkdir -p "$work/tok" && cp "$tokenizers/$1.json" "$work/tok/tokenizer.json" || return 1
	python3 - "$tokenizers" "$1" "$work" <<'PYTHON' || return 1
import json, sys
folder, name, work = sys.argv[1:]
golden = json.load(open(f"{folder}/{name}.expected.json"))
texts = json.load(open(f"{folder}/texts.json"))
assert len(texts) == len(golden["special"])
with open(f"{work}/texts.jsonl", "w") as file:
    for text in texts:
        print(json.dumps({"text": text}), file=file)
with open(f"{work}/given.jsonl", "w") as file:
    for case in golden["decode"]:
        print(json.dumps({"ids": case[0]}), file=file)
PYTHON
	"$OCTANT" model "$work/tok" --tokenize "$work/texts.jsonl" >"$work/ids.jsonl" &&
		"$OCTANT" model "$work/tok" --detokenize - <"$work/given.jsonl" >"$work/decoded.jsonl" &&
		python3 - "$tokenizers/$1.expected.json" "$work" <<'PYTHON'
import json, sys
golden = json.load(open(sys.argv[1]))
def lines(name): return [json.loads(l) for l in open(f"{sys.argv[2]}/{name}")]
assert [l["ids"] for l in lines("ids.jsonl")] == golden["special"]
assert [l["text"] for l in lines("decoded.jsonl")] == [case[1] for case in golden["decode"]]
PYTHON
}

bad_lines_have_numbers()
{
	printf '{"text": "a"}\n\n{"text": 3}\n' >"$work/bad"
	"$OCTANT" model "$work/tok" --tokenize "$work/bad" >"$work/out" 2>"$work/err" && return 1
	cat "$work/err"
	grep -qF "bad:3: has no \"text\"" "$work/err" && test "$(wc -l <"$work/out")" = 1 || return 1
	printf '{"ids": [1]\n' >"$work/bad"
	refuses "bad:1: is not valid JSON" model "$work/tok" --detokenize "$work/bad" || return 1
	printf '{"ids": [1, -1]}\n' >"$work/bad"
	refuses "bad:1: element 1 of" model "$work/tok" --detokenize "$work/bad" || return 1
	printf '{"text": "\377"}\n' >"$work/bad"
	refuses "bad:1: is not valid JSON" model "$work/tok" --tokenize "$work/bad" || return 1
	refuses "cannot be opened" model "$work/tok" --tokenize "$work/missing"
}

tap "a model is told of" told mixtral16
tap "dense layers are told of" told qwen3_moe_sparse
for m in mixtral olmoe_clip qwen2_moe qwen3_moe_sparse llama_bias qwen2 qwen3; do
	tap "$m: JSON agrees with config.json" json_holds $m
	tap "$m: the card is complete" card_is_complete $m
done
tap "config.json alone is enough" config_alone_is_enough
tap "a directory must be named" refuses "no directory is named" model
tap "one is enough" refuses "one argument too many" model a b
tap "a missing directory is named" refuses "config.json: cannot be opened" model "$work/missing"
tap "options are known" refuses "there is no option --jsn; did you mean --json?" model "$models/mixtral" --jsn
tap "--tokenize needs a file" refuses "--tokenize" model "$models/mixtral" --tokenize
tap "--tokenize needs a tokenizer" refuses "tokenizer.json" model "$models/mixtral" --tokenize -
for t in mixtral llama3 qwen2 gpt2; do
	tap "$t: texts to ids and back" converts $t
done
tap "bad lines have numbers" bad_lines_have_numbers
tap "topology is told" topology_is_told
tap "the machine file is read" machine_file_is_read
tap "topology takes no arguments" refuses "argument too many" topology here
echo "1..$number"
exit $failed
