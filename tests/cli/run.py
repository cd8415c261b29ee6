# SPDX-License-Identifier: Apache-2.0
"""octant run as a user calls it: its options under their own names and the plan's, the forms of input and output,
sampling, every graph that ships, and what is printed."""
import glob
import json
import math
import os
import re
import resource
import struct

from harness import (GOLDEN, QUICKSTART, QUICKSTART_MODEL, SOURCE, Safetensors, edit_config, fresh, lines_of, main, model_copy, octant,
                     path, read_json, refused, results, test, tokens, write_json, write_lines)

MIXTRAL = os.path.join(GOLDEN, "mixtral")
ANSWERS = {row["id"]: row["answer"] for row in lines_of(os.path.join(QUICKSTART, "heldout_answers.jsonl"))}
PROMPTS = [dict(row, id=str(row["id"])) for row in lines_of(os.path.join(QUICKSTART, "heldout.jsonl"))[:16]]
INPUT = write_lines("prompts.jsonl", PROMPTS)
POLICIES = ("homes", "eager", "prio", "ws", "lws", "dm", "dmda", "dmdas")


def run(*options, graph="one_device", input=INPUT, model=QUICKSTART_MODEL, status=0):
    """Runs and returns the output folder; in FP32, so that graphs give the same tokens, and by the policy that is
    quick also where other processes want the cores (workers of dm* spin)."""
    out = fresh()
    octant("run", *([graph] if graph else []), "--model", model, "--input", input, "--output-dir", out, "--quiet",
           "--compute", "fp32", "--policy", "homes", *options, status=status)
    return out


def right(directory):
    """How many answers are those that they should be."""
    return sum(row["text"] == ANSWERS[key] for key, row in results(directory).items())


REFERENCE = None


def reference():
    global REFERENCE
    if not REFERENCE:
        REFERENCE = tokens(run("--no-trace"))
    return REFERENCE


# ---- how it is called

@test("the plan's own command")
def plans_command():
    out, short = fresh(), [row for row in PROMPTS if row["id"].startswith(("add", "count"))]
    said = octant("run", "--parallel_config", "tp2_ep2_pp2", "--model_path", QUICKSTART_MODEL, "--input_batch",
                  write_json("input_batch.json", short), "--output_dir", out, "--measure_performance", "true")
    assert len(short) == 8 and right(out) >= 7, results(out)
    for word in ("8 sequences finished", "tokens/s", os.path.join(out, "outputs.jsonl"), "metrics.json", "trace.json",
                 "experts", "all_gather"):
        assert word in said.out, (word, said)
    assert sorted(os.listdir(out)) == ["metrics.json", "outputs.jsonl", "replay.json", "run.json", "trace.json"]
    metrics = read_json(out, "metrics.json")
    assert metrics["graph"] == "tp2_ep2_pp2" and metrics["source"] == "measured" and metrics["policy"] == "dmdas"
    assert [d["id"] for d in metrics["devices"]] == [0, 1, 2, 3]
    assert metrics["sequences"]["finished"] == 8 and metrics["sequences"]["failed"] == 0


@test("degrees on the command line, without a graph")
def degrees():
    out = run("--tp-size", "2", "--ep-size", "2", "--pp-size", "2", "--batch-size", "128", "--max-seq-len", "256", graph=None)
    assert tokens(out) == reference()
    devices = read_json(out, "metrics.json")["devices"]
    assert [(d["stage"], d["tensor"], d["experts"]) for d in devices] == [(0, 0, 0), (0, 1, 1), (1, 0, 0), (1, 1, 1)], devices
    long = write_lines("long.jsonl", [{"id": "long", "prompt": "sort 1 2 3 =" * 20, "max_new_tokens": 200}])
    out = run("--tp_size=2", "--max_seq_len=256", graph=None, input=long, status=1)
    assert "256" in results(out)["long"]["error"]


@test("--set reaches every key; bare words are strings; the last one holds")
def overrides():
    for options in (["--set", "schedule.slots=1", "--set", "schedule.ahead=1"], ["--set", 'compute="fp32"'],
                    ["--set", "compute=bf16", "--set", "compute=fp32"], ["--set", "kv.page_tokens=4", "--set", "kv.pages=40"],
                    ["--set", "schedule.prefill.tokens=5", "--set", "limits.sequences=3"]):
        assert tokens(run(*options, graph="tp2_ep2_pp2", status=0)) == reference(), options
    out = run("--set", "mesh.layers=[9, 7]", "--set", "mesh.stages=2")
    assert [d["layers"] for d in read_json(out, "metrics.json")["devices"]] == [[0, 9], [9, 16]]  # end behind the last


@test("every policy gives the same tokens and log-probabilities")
def policies():
    rows = write_lines("hot.jsonl", [dict(row, temperature=0.8 if i % 2 else 0, logprobs=True) for i, row in enumerate(PROMPTS[:6])])
    found = set()
    for policy in POLICIES:
        out = run("--policy", policy, "--workers", "2" if policy in ("homes", "ws", "prio") else "1", "--no-trace", graph="tp2_ep2_reduce_scatter", input=rows)
        assert read_json(out, "metrics.json")["policy"] == policy
        found.add(json.dumps({key: (row["tokens"], row["logprobs"]) for key, row in sorted(results(out).items())}))
    assert len(found) == 1


@test("STARPU_SCHED wins over the graph, and --policy over both")
def policy_from_environment():
    def policy(*options, sched):
        out = fresh()
        said = octant("run", "one_device", "--model", QUICKSTART_MODEL, "--input", INPUT, "--output-dir", out, "--quiet",
                      *options, status=None, env={**os.environ, "STARPU_SCHED": sched})
        return read_json(out, "metrics.json")["policy"] if not said.code else said
    assert policy(sched="prio") == "prio"
    assert policy("--policy", "ws", sched="prio") == "ws"
    assert policy("--set", "schedule.policy=homes", sched="heteroprio") == "homes"
    said = policy(sched="heteroprio")
    assert said.code == 2 and "STARPU_SCHED: heteroprio cannot be used" in said.err, said


@test("every shipped graph gives the answers of the default graph")
def shipped_graphs():
    default = tokens(run("--no-trace", graph=None))
    assert default == reference()
    names = [os.path.basename(name)[:-4] for name in sorted(glob.glob(os.path.join(SOURCE, "graphs", "*.cfg")))]
    assert "tp2_ep2_pp2" in names and len(names) >= 14
    for name in names:
        if name == "dense":
            continue
        # a graph for GPUs may keep its residual stream in 16 bits, which CPUs do not
        assert tokens(run("--no-trace", "--set", "residual=fp32", graph=name)) == reference(), name
    rows = write_lines("tokens.jsonl", [{"id": i, "tokens": [1, 7 + i, 3], "max_new_tokens": 12} for i in range(6)])
    llama = os.path.join(GOLDEN, "llama")
    assert tokens(run(graph="dense", model=llama, input=rows)) == \
        tokens(run(graph=None, model=llama, input=rows))


# ---- input and output

@test("a JSON array, JSON lines and an OpenAI batch: the same tokens, each with its form of output")
def forms():
    out = run(input=write_json("array.json", PROMPTS))
    assert tokens(out) == reference()
    for row in results(out).values():
        assert set(row) == {"id", "text", "tokens", "finish_reason", "prompt_tokens", "completion_tokens", "ttft_s", "latency_s"}
        assert row["completion_tokens"] == len(row["tokens"]) and 0 < row["ttft_s"] <= row["latency_s"]
        assert row["finish_reason"] == "stop" and row["tokens"][-1] == 2
    batch = [{"custom_id": row["id"], "method": "POST", "url": "/v1/completions",
              "body": {"model": "mine", "prompt": row["prompt"], "max_tokens": 16, "logprobs": 1 if i == 0 else None}}
             for i, row in enumerate(PROMPTS)]
    out = run(input=write_lines("batch.jsonl", batch))
    rows = results(out)
    for key, row in rows.items():
        body = row["response"]["body"]
        assert row["error"] is None and row["response"]["status_code"] == 200 and body["model"] == "mine"
        choice = body["choices"][0]
        assert choice["token_ids"] == reference()[key] and choice["finish_reason"] == "stop" and choice["index"] == 0
        usage = body["usage"]
        assert usage["completion_tokens"] == len(choice["token_ids"])
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        assert (choice["logprobs"] is not None) == (key == PROMPTS[0]["id"])
    assert len(rows[PROMPTS[0]["id"]]["response"]["body"]["choices"][0]["logprobs"]["token_logprobs"]) == \
        len(reference()[PROMPTS[0]["id"]])
    # token ids in place of text, as `octant model --tokenize` gives them
    texts = write_lines("texts.jsonl", [{"text": row["prompt"]} for row in PROMPTS])
    ids = [json.loads(line)["ids"] for line in octant("model", QUICKSTART_MODEL, "--tokenize", texts).out.splitlines()]
    rows = [{"id": row["id"], "tokens": i, "max_new_tokens": 16} for row, i in zip(PROMPTS, ids)]
    assert tokens(run(input=write_lines("ids.jsonl", rows))) == reference()
    out = run("--max-new-tokens", "2", model=MIXTRAL, input=write_lines("numbers.jsonl", [{"tokens": [3]}, {"id": 77, "tokens": [4]}]))
    assert set(results(out)) == {"1", "77"} and all("text" not in row for row in results(out).values())


@test("stop strings end a sequence and are not in its text")
def stops():
    cases = {"none": None, "first": " ", "middle": "3", "across": "3 5", "list": ["zzz", " 5", "3"], "absent": "zzz", "end": "9"}
    rows = write_lines("stops.jsonl", [{"id": key, "prompt": "sort 5 9 3 1 =", "max_new_tokens": 16, "stop": stop}
                                       for key, stop in cases.items()])
    found = results(run(input=rows, graph="tp2_ep2_pp2"))
    whole = found["none"]["text"]
    assert whole == " 1 3 5 9", whole
    for key, stop in cases.items():
        list_ = [] if stop is None else [stop] if isinstance(stop, str) else stop
        ends = [whole.index(s) for s in list_ if s in whole]
        assert found[key]["text"] == whole[:min(ends, default=len(whole))], (key, found[key])
        assert found[key]["finish_reason"] == "stop"
    assert len(found["middle"]["tokens"]) < len(found["none"]["tokens"]) == len(found["absent"]["tokens"])


@test("log-probabilities: one a token, at most 0, no float32 is mistaken for another")
def logprobs():
    rows = [dict(row, logprobs=True if i % 2 else 5, temperature=1.5 * (i % 3)) for i, row in enumerate(PROMPTS)]
    out = run(input=write_lines("logprobs.jsonl", rows))
    for row in results(out).values():
        assert len(row["logprobs"]) == len(row["tokens"]) and max(row["logprobs"]) <= 0
    with open(os.path.join(out, "outputs.jsonl"), encoding="utf-8") as file:
        numbers = re.findall(r"-\d[\d.e+-]*", " ".join(re.findall(r'"logprobs":\[([^]]*)', file.read())))
    assert numbers and max(len(re.sub(r"e.*|[-.]", "", n).lstrip("0")) for n in numbers) == 9
    for number in numbers:
        assert f"{struct.unpack('<f', struct.pack('<f', float(number)))[0]:.9g}" == f"{float(number):.9g}", number
    assert all("logprobs" not in row for row in results(run()).values())
    assert all("logprobs" in row for row in results(run("--logprobs")).values())


@test("ignore_eos goes on to max_new_tokens")
def ignore_eos():
    rows = write_lines("eos.jsonl", [dict(row, ignore_eos=bool(i % 2)) for i, row in enumerate(PROMPTS)])
    for options, ignored in ([], lambda i: i % 2), (["--ignore-eos"], lambda i: i % 2):
        found = results(run(*options, input=rows))
        for i, row in enumerate(PROMPTS):
            got = found[row["id"]]
            assert (got["finish_reason"] == "length") == bool(ignored(i)), got
            assert got["completion_tokens"] == 16 if ignored(i) else got["tokens"][-1] == 2
    found = results(run("--ignore-eos", "--max-new-tokens", "5", input=write_lines("p.jsonl", [{"prompt": "add 1 + 1 ="}])))
    assert found["1"]["completion_tokens"] == 5 and found["1"]["finish_reason"] == "length"


@test("seeds: the same tokens again, alone or among others; other seeds, other tokens")
def seeds():
    rows = [{"id": f"s{i}", "prompt": "reverse spider =", "temperature": 3.0, "max_new_tokens": 12, "ignore_eos": True,
             "seed": i // 2} for i in range(8)] + \
           [{"id": f"n{i}", "prompt": "reverse spider =", "temperature": 3.0, "max_new_tokens": 12, "ignore_eos": True}
            for i in range(4)]
    first = tokens(run(input=write_lines("seeds.jsonl", rows)))
    assert tokens(run("--set", "kv.dtype=fp32", graph="tp2_ep2_pp2", input=path("seeds.jsonl"))) == first
    for i in range(0, 8, 2):
        assert first[f"s{i}"] == first[f"s{i + 1}"]
    assert len({json.dumps(t) for t in first.values()}) == 8  # 4 seeds, 4 ids without one
    for key in ("s3", "n2"):
        alone = write_lines("alone.jsonl", [row for row in rows if row["id"] == key])
        assert tokens(run(input=alone)) == {key: first[key]}
    cold = [dict(row, temperature=0) for row in rows]
    assert len({json.dumps(t) for t in tokens(run(input=write_lines("cold.jsonl", cold))).values()}) == 1
    for key, value in (("top_k", 1), ("top_p", 1e-6), ("min_p", 1)):  # each leaves the best token alone
        narrow = write_lines("narrow.jsonl", [dict(row, **{key: value}) for row in rows])
        assert len({json.dumps(t) for t in tokens(run(input=narrow)).values()}) == 1, key


@test("weights at odd addresses, as an unpadded header leaves them, are the same weights")
def odd_addresses():
    rows = write_lines("few.jsonl", [{"id": i, "tokens": [5 + i, 9], "max_new_tokens": 6, "logprobs": True} for i in range(4)])
    for name in ("mixtral", "mixtral_fp16", "qwen2_moe_norm", "llama"):
        odd = model_copy(name)
        for shard in glob.glob(os.path.join(odd, "*.safetensors")):
            file = Safetensors(shard)
            text = json.dumps(file.header).encode()
            file.write(text + b" " * (len(text) % 2 == 0))
        for compute in ("fp32", "bf16"):
            found = [{key: (row["tokens"], row["logprobs"]) for key, row in
                      results(run("--compute", compute, "--no-trace", graph=None, model=model, input=rows)).items()}
                     for model in (os.path.join(GOLDEN, name), odd)]
            assert found[0] == found[1], (name, compute)


# ---- what is told

@test("--dry-run tells each device's memory and reads no weight")
def dry_run():
    folder = model_copy("mixtral")
    file = Safetensors(os.path.join(folder, "model.safetensors"))
    file.data[:] = b"\xff" * len(file.data)  # not a number, all of them
    file.write()
    said = octant("run", "tp2_ep2_pp2", "--dry-run", "--model", folder, "--input", write_lines("one.jsonl", [{"tokens": [1]}]))
    for word in ("device", "weights", "KV pool", "activations", "64.000 GB"):
        assert word in said.out, said
    assert len([line for line in said.out.splitlines() if re.match(r"[0-3] ", line)]) == 4, said
    refused("not a number", "run", "tp2_ep2_pp2", "--model", folder, "--input", path("one.jsonl"), "--output-dir", fresh())
    # the plan's model needs no checkpoint
    told = json.loads(octant("run", "tp2_ep2_pp2", "--dry-run", "--json").out)
    weights = [d["weight_bytes"] for d in told["devices"]]
    assert 0.84e9 < sum(weights) < 1.1e9, "0.42 G parameters in 16 bits, norms and routers replicated"
    assert told["total_bytes"] <= told["available_bytes"]
    out = fresh()
    octant("run", "--model", QUICKSTART_MODEL, "--input", INPUT, "--output-dir", out, "--dry-run")
    assert not os.path.exists(out)


@test("--dry-run of a checkpoint that no memory holds: the table, and that it does not fit")
def dry_run_large():
    folder, experts, hidden, wide, vocab = model_copy("mixtral16"), 64, 4096, 4 * 65536, 1000
    for name in glob.glob(os.path.join(folder, "*safetensors*")):
        os.remove(name)
    edit_config(folder, num_hidden_layers=1, hidden_size=hidden, intermediate_size=wide, num_local_experts=experts,
                num_attention_heads=32, num_key_value_heads=32, head_dim=128, vocab_size=vocab, tie_word_embeddings=False)
    shapes = {"model.embed_tokens.weight": [vocab, hidden], "lm_head.weight": [vocab, hidden], "model.norm.weight": [hidden]}
    layer = "model.layers.0."
    shapes |= {layer + name + "_layernorm.weight": [hidden] for name in ("input", "post_attention")}
    shapes |= {layer + f"self_attn.{name}_proj.weight": [hidden, hidden] for name in "qkvo"}
    shapes[layer + "block_sparse_moe.gate.weight"] = [experts, hidden]
    for e in range(experts):
        for name in ("w1", "w2", "w3"):
            shapes[layer + f"block_sparse_moe.experts.{e}.{name}.weight"] = [hidden, wide] if name == "w2" else [wide, hidden]
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)  # a hole: 412 GB that take no room
    # what is wrong here would take all memory of the machine: a limit, which AddressSanitizer's own would exceed
    limit = None if os.environ.get("SANITIZE_CFLAGS") else lambda: resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30))
    said = octant("run", "tp2_ep2_pp2", "--set", "mesh.stages=1", "--set", "mesh.place=()", "--dry-run", "--model", folder,
                  status=None, preexec_fn=limit)
    assert said.code in (0, 2) and re.search(r"^1 +0 +206\.\d{3} GB .* 64\.000 GB !$", said.out, re.M), said
    assert said.code == 0 or "this host has" in said.err, said


@test("--json prints metrics.json, and nothing else")
def json_output():
    out = fresh()
    said = octant("run", "one_device", "--model", QUICKSTART_MODEL, "--input", INPUT, "--output-dir", out, "--json")
    assert json.loads(said.out) == read_json(out, "metrics.json")
    assert octant("run", "one_device", "--model", QUICKSTART_MODEL, "--input", INPUT, "--output-dir", fresh(), "--quiet").out == ""


@test("--record-routing counts every row top_k times in every layer")
def routing():
    other = fresh("routing")
    for options, name in (["--record-routing"], None), ([f"--record-routing={other}"], other):
        out = run(*options, graph="tp2_ep2_pp2")
        total = [[0] * 16 for _ in range(16)]
        lines = lines_of(name or os.path.join(out, "routing.jsonl"))
        for line in lines:
            assert len(line["counts"]) == 16
            for layer, counts in enumerate(line["counts"]):
                assert sum(counts) == 2 * line["rows"], line
                for expert, count in enumerate(counts):
                    total[layer][expert] += count
        prompts = sum(row["prompt_tokens"] for row in results(out).values())
        assert sum(line["rows"] for line in lines if line["phase"] == "prefill") == prompts
        assert read_json(out, "metrics.json")["experts"]["load"] == total
    refused("no experts", "run", "--model", os.path.join(GOLDEN, "llama"), "--input", write_lines("t.jsonl", [{"tokens": [1]}]),
            "--output-dir", fresh(), "--record-routing")
    refused("cannot be written", "run", "one_device", "--model", QUICKSTART_MODEL, "--input", INPUT, "--output-dir", fresh(),
            f"--record-routing={path('no', 'such', 'folder')}")


@test("--version and --help")
def help_():
    said = octant("--version")
    assert re.match(r"octant \d+\.\d+\.\d+.*StarPU 1\.4\.\d+.*hwloc.*libconfig.*jansson.*PCRE2", said.out), said
    whole = octant("--help").out
    commands = re.findall(r"^  ([a-z]+) ", whole, re.M)
    assert {"run", "graph", "model", "topology"} <= set(commands), whole
    for command in commands:
        said = octant(command, "--help")
        assert said.out.startswith(f"usage: octant {command}") and "--help" in said.out and "example" in said.out, said
        assert said.err == "", said
    for sub in ("check", "show", "draw"):
        assert octant("graph", sub, "--help").out.startswith("usage: octant graph")
    text = octant("run", "--help").out
    for option in ("--model", "--input", "--output-dir", "--resume", "--force", "--dry-run", "--record-routing", "--set",
                   "--policy", "--tp-size", "--ep-size", "--pp-size", "--batch-size", "--max-seq-len", "--workers", "--watchdog"):
        assert re.search(rf"^  {option}\b", text, re.M), option
    assert octant(status=2).err.startswith("usage: octant")


@test("a shell may read its progress, and no terminal means none")
def progress():
    said = octant("run", "one_device", "--model", QUICKSTART_MODEL, "--input", INPUT, "--output-dir", fresh())
    assert "\r" not in said.err and "16 sequences finished, 0 failed" in said.out, said


main()
