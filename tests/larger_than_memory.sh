#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# A workload larger than the KV pool: sequences wait, the youngest are preempted and computed again, all finish, and
# tokens and log-probabilities are, bit for bit, those of a pool that holds all of them. What that took is counted.

command -v python3 >/dev/null || { echo "1..0 # SKIP no python3"; exit 77; }
work=$(mktemp -d "${TMPDIR:-/tmp}/larger.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
model="$OCTANT_SOURCE_DIR/tests/golden/models/mixtral"
. "$OCTANT_SOURCE_DIR/tests/tap.sh"

# 24 sequences of 6 to 28 prompt tokens and 20 new ones, in pages of 4: at most 12 pages each, 213 in all
python3 - >"$work/input.jsonl" <<'END'
import json
for i in range(24):
    print(json.dumps({"id": str(i), "tokens": [3 + (7 * i + j) % 60 for j in range(6 + i * 22 // 23)], "max_new_tokens": 20,
                      "ignore_eos": True, "logprobs": True}))
END

# runs FOLDER PAGES OPTIONS...
runs()
{
	folder=$1 pages=$2
	shift 2
	"$OCTANT" run "$@" --model "$model" --input "$work/input.jsonl" --output-dir "$work/$folder" --quiet --no-trace \
		--workers 2 --set kv.page_tokens=4 --set kv.pages="$pages" --set limits.sequences=24
}

same()
{
	python3 - "$work/$1" "$work/$2" <<-'END'
	import json, sys
	def results(folder):
	    rows = map(json.loads, open(folder + "/outputs.jsonl"))
	    return {r["id"]: (r["tokens"], r["logprobs"], r["finish_reason"]) for r in rows}
	a, b = map(results, sys.argv[1:])
	assert len(a) == 24 and a == b, {i: (a.get(i), b.get(i)) for i in a if a.get(i) != b.get(i)}
	END
}

counted()
{
	python3 - "$work/$1/metrics.json" "$2" <<-'END'
	import json, sys
	m, small = json.load(open(sys.argv[1])), sys.argv[2] == "small"
	s = m["sequences"]
	assert s["finished"] == 24 and s["failed"] == 0, s
	assert (s["preempted"] > 0) == small and (m["recomputed_rows"] > 0) == small, (s, m["recomputed_rows"])
	# a preempted sequence is computed again at most once for each time, and never more than it had
	assert m["recomputed_rows"] <= s["preempted"] * 48, m["recomputed_rows"]
	END
}

quarter()
{
	runs quarter 53 && same all quarter && counted quarter small
}

# the longest sequence alone: one after the other
least()
{
	runs least 12 && same all least
}

stages()
{
	runs stages_all 300 stages_only && runs stages_small 53 stages_only && same stages_all stages_small &&
		counted stages_small small
}

# less than a sequence needs: that one fails alone, the shorter ones finish
too_small()
{
	runs none 10
	test $? = 1 || return
	python3 - "$work/none/outputs.jsonl" <<-'END'
	import json, sys
	rows = [json.loads(line) for line in open(sys.argv[1])]
	failed = [r for r in rows if r["finish_reason"] == "error"]
	assert len(rows) == 24 and 0 < len(failed) < 24, (len(rows), len(failed))
	END
}

echo 1..5
tap "a pool for all: nothing is preempted" eval 'runs all 300 && counted all all'
tap "a quarter of the pages: the same tokens, by recomputation" quarter
tap "pages for one sequence: the same tokens" least
tap "a quarter of the pages through two stages" stages
tap "fewer pages than a sequence needs: it fails alone" too_small
exit $failed
