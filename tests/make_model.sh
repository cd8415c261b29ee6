#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# tools/make_model: the same bytes for the same seed, files that hold what their headers say, clear refusals.

command -v python3 >/dev/null || { echo "1..0 # SKIP no python3"; exit 77; }
make_model="$OCTANT_SOURCE_DIR/tools/make_model"
work=$(mktemp -d "${TMPDIR:-/tmp}/make_model.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
small="--layers 3 --hidden 48 --heads 4 --head-dim 12 --kv-heads 2 --experts 4 --expert-hidden 20 --vocab 301"
. "$OCTANT_SOURCE_DIR/tests/tap.sh"

refuses()
{
	status=0
	python3 "$make_model" "$@" || status=$?
	test "$status" = 2
}

# Reads every shard as a stranger would: offsets without gaps, the file's length, the index, deviations.
read_back()
{
	python3 - "$work/$1" "$2" <<'PYTHON'
import array, json, math, os, struct, sys
folder, size = sys.argv[1], int(sys.argv[2])
config = json.load(open(folder + "/config.json"))
index = json.load(open(folder + "/model.safetensors.index.json"))
seen = {}
for file in sorted(f for f in os.listdir(folder) if f.endswith(".safetensors")):
    data = open(f"{folder}/{file}", "rb").read()
    length = struct.unpack("<Q", data[:8])[0]
    at = 0
    for name, t in json.loads(data[8:8 + length]).items():
        if name == "__metadata__":
            continue
        assert index["weight_map"].pop(name) == file, name
        assert t["data_offsets"] == [at, at + math.prod(t["shape"]) * size], name
        seen[name] = data[8 + length + at:8 + length + t["data_offsets"][1]]
        at = t["data_offsets"][1]
    assert len(data) == 8 + length + at, file
assert not index["weight_map"] and index["metadata"]["total_size"] == sum(map(len, seen.values()))
assert len(seen) == 3 + config["num_hidden_layers"] * (7 + 3 * config["num_local_experts"])
if size == 4:
    values = array.array("f", seen["model.layers.0.self_attn.q_proj.weight"])
    deviation = math.sqrt(sum(v * v for v in values) / len(values)) * math.sqrt(config["hidden_size"])
    assert 0.9 < deviation < 1.1, deviation
    assert set(array.array("f", seen["model.norm.weight"])) == {1.0}
    rows = seen["lm_head.weight"]
    row = config["hidden_size"] * size
    assert len({rows[i:i + row] for i in range(0, len(rows), row)}) == config["vocab_size"], "two rows are alike"
PYTHON
}

echo 1..9
tap "makes a model in shards" python3 "$make_model" $small --dtype fp32 --shard-size 100K --out "$work/a"
tap "which reads back" read_back a 4
tap "makes it again" python3 "$make_model" $small --dtype fp32 --shard-size 100K --out "$work/b"
tap "with the same bytes" diff -r "$work/a" "$work/b"
tap "makes one of 16 bit" python3 "$make_model" $small --dtype fp16 --shard-size 60K --out "$work/c"
tap "which reads back too" read_back c 2
tap "a folder that is not empty is refused" refuses $small --out "$work/a"
tap "more experts a token than there are" refuses $small --top-k 5 --out "$work/d"
tap "and nothing is left of it" test ! -e "$work/d"
exit $failed
