# SPDX-License-Identifier: Apache-2.0
"""What bad input gets: exit status 2, one line that says where, what is wrong and what would be right, and no trace
of it in the output folder. A sequence that is only too long fails alone, with status 1.

OCTANT_TEST_SHOW=1 prints every message, to be read as a user would."""
import glob
import json
import os
import struct

import harness
from harness import (GOLDEN, SOURCE, Safetensors, complaints, edit_config, fresh, main, model_copy,
                     octant, path, refused, results, test, write_lines, write_text)

MIXTRAL = os.path.join(GOLDEN, "mixtral")
GOOD = write_lines("good.jsonl", [{"id": "a", "tokens": [1, 2, 3], "max_new_tokens": 2}])
SHOW = os.environ.get("OCTANT_TEST_SHOW")


def show(said):
    if SHOW:
        print("#", " ".join(said.arguments).replace(harness.WORK, "."), "\n#   ", said.err.replace(harness.WORK, ".").rstrip())
    return said


def run_refused(words, *options, model=MIXTRAL, input=GOOD, graph="one_device", status=2):
    """octant run must refuse this and leave no output folder."""
    out = fresh()
    said = show(refused(words, "run", graph, "--model", model, "--input", input, "--output-dir", out, *options,
                        status=status))
    if os.path.exists(out):
        complaints.append(f"{os.listdir(out)} is left of\n{said}")
    return said


# ---- the command line

@test("commands, options and their values")
def usage():
    show(refused(["no command", '"run"'], "rnu"))
    show(refused(["--help"], "wibble-wobble"))
    base = ["run", "--model", MIXTRAL, "--input", GOOD, "--output-dir", path("never")]
    for words, arguments in [
        ("--model is missing", ["run"]),
        ("--input is missing", ["run", "--model", MIXTRAL]),
        ("--output-dir is missing", ["run", "--model", MIXTRAL, "--input", GOOD]),
        (["no option --modl", "--model"], ["run", "--modl", MIXTRAL]),
        (["no option --outputdir", "--output-dir"], [*base, "--outputdir", "x"]),
        (["no option --tp_sise", "--tp-size"], [*base, "--tp_sise=2"]),
        ("no option -m", [*base, "-m"]),
        (["--model lacks its value", "--model DIR"], ["run", "--model"]),
        (["--model lacks its value"], ["run", "--model", "--input", GOOD]),
        ("--workers", [*base, "--workers", "0"]),
        ("--workers", [*base, "--workers", "2x"]),
        ("--temperature", [*base, "--temperature", "nan"]),
        ("--top-p", [*base, "--top-p", "1.5"]),
        ("--max-new-tokens", [*base, "--max-new-tokens", "-1"]),
        ("--max-new-tokens", [*base, "--max-new-tokens", "99999999999999999999"]),
        ("true or false", [*base, "--measure-performance=maybe"]),
        ("one argument too many", ["run", "one_device", "tp4", *base[1:]]),
        ("--set PATH=VALUE", [*base, "--set", "slots"]),
        (["schedule.slotz", "schedule.slots?"], [*base, "--set", "schedule.slotz=2"]),
        ("choose one", [*base, "--resume", "--force"]),
        ("--compute", [*base, "--compute", "fp8"]),
        (["--policy", "heteroprio", "it hangs", "homes"], [*base, "--policy", "heteroprio"]),
        (["--policy", "dmdaz", '"dmda"'], [*base, "--policy", "dmdaz"]),
        (["--set schedule.policy", "heteroprio"], [*base, "--set", "schedule.policy=heteroprio"]),
        (["--tp-size", "mesh.tensor"], [*base, "--tp_size", "0"]),
        (["--tp-size", "mesh.tensor"], [*base, "--tp-size", "two"]),
        (["heads", "3"], [*base, "--tp-size", "3"]),
        (["experts", "3"], [*base, "--ep-size", "3"]),
        ("stages", [*base, "--pp-size", "5"]),
        ("limits.sequences", [*base, "--batch-size", "0"]),
        (["no_such_graph", "tp2_ep2_pp2"], ["run", "no_such_graph", *base[1:]]),
        (["tp2_ep2_pp3", "tp2_ep2_pp2"], ["run", "--parallel-config", "tp2_ep2_pp3", *base[1:]]),
        ("no directory is named", ["model"]),
        ("check, show, draw", ["graph"]),
        (["chek", "check"], ["graph", "chek", "one_device"]),
        ("too many", ["topology", "here"]),
    ]:
        show(refused(words, *arguments))
    assert not os.path.exists(path("never"))


# ---- the graph

@test("each wrong description: its line, in octant graph check and in octant run")
def graphs():
    files = sorted(glob.glob(os.path.join(SOURCE, "tests", "graphs", "*.cfg")))
    assert len(files) >= 80
    for number, file in enumerate(files):
        with open(file, encoding="utf-8", errors="replace") as f:
            first = f.readline()
        line, says = int(first.split()[3].rstrip(":")), first.split(": ", 1)[1].rstrip("\n")
        place = f"{file}:{line}" if line else file
        show(refused([says], "graph", "check", file))
        if number % 10 == 0:  # every other caller reads graphs by the same function
            refused([says], "run", file, "--dry-run")
            refused([says], "graph", "show", file)
        if line:
            assert f"{file}:{line}" in octant("graph", "check", file, status=2).err, place


# ---- checkpoints

def shard(folder, number=0):
    return Safetensors(sorted(glob.glob(os.path.join(folder, "*.safetensors")))[number])


def damaged(damage, words, name="mixtral"):
    folder = model_copy(name)
    tensor = damage(folder)
    run_refused([words] if isinstance(words, str) else words, model=folder)
    if tensor:
        run_refused([tensor], model=folder)


def rewrite(change):
    """Damage to a header, as a function of the file taken apart."""
    def damage(folder):
        file = shard(folder)
        change(file)
        file.write()
    return damage


def cut(bytes_kept):
    def damage(folder):
        name = os.path.join(folder, "model.safetensors")
        size = os.path.getsize(name)
        os.truncate(name, bytes_kept if bytes_kept >= 0 else size + bytes_kept)
    return damage


def with_length(length):
    return lambda folder: shard(folder).write(length=length)


def with_header(header):
    return lambda folder: shard(folder).write(header=header)


Q = "model.layers.1.self_attn.q_proj.weight"


def move(file, first, last, name=Q):
    begin, end = file.header[name]["data_offsets"]
    file.header[name]["data_offsets"] = [begin + first, end + last]


def put(name, value, at=100):
    """Writes one number into a tensor of FP32."""
    def damage(folder):
        for number in range(len(glob.glob(os.path.join(folder, "*.safetensors")))):
            file = shard(folder, number)
            if name in file.header:
                begin = file.header[name]["data_offsets"][0]
                size, pattern = {"F32": (4, "<f"), "BF16": (2, "<H"), "F16": (2, "<e")}[file.header[name]["dtype"]]
                number = struct.unpack("<I", struct.pack("<f", value))[0] >> 16 if pattern == "<H" else value
                file.data[begin + at * size:begin + (at + 1) * size] = struct.pack(pattern, number)
                file.write()
                return
        raise AssertionError(name)
    return damage


def repack(file):
    """Lays the tensors of the header out anew, without a hole, in their order."""
    data = bytearray()
    for tensor in sorted((t for n, t in file.header.items() if n != "__metadata__"), key=lambda t: t["data_offsets"]):
        begin, end = tensor["data_offsets"]
        tensor["data_offsets"] = [len(data), len(data) + end - begin]
        data += file.data[begin:end]
    file.data = data


def drop(name):
    def change(file):
        file.header.pop(name)
        repack(file)
    return rewrite(change)


@test("a checkpoint that is not there, or not whole")
def missing():
    run_refused(["config.json", "cannot be opened"], model=path("nowhere"))
    run_refused(["config.json"], model=GOOD)

    def remove(name):
        return lambda folder: os.remove(os.path.join(folder, name))
    damaged(remove("model.safetensors"), ["neither model.safetensors nor", "index"])
    damaged(remove("config.json"), "config.json")
    damaged(remove("model-00003-of-00004.safetensors"), "model-00003-of-00004.safetensors", name="mixtral16")
    for kept in (0, 7, 8, 100, 20000, -1, -4096):
        damaged(cut(kept), "model.safetensors")
    damaged(drop(Q), ["no tensor", Q])
    damaged(drop("lm_head.weight"), ["no tensor", "lm_head.weight"])
    damaged(drop("model.layers.3.block_sparse_moe.experts.7.w2.weight"), ["no tensor", "experts.7.w2"])


@test("a header that lies")
def lies():
    for length in (0, 1, 2**63, 2**64 - 1, 2**64 - 8, 100_000_001, 500_000):
        damaged(with_length(length), ["model.safetensors", "header" if length > 1 else "JSON"])
    for header in (b"", b"{", b"[]", b"null", b"{}", b'{"a": 1}', b"\0" * 64, b"\xff" * 64, b'{"a": {}, "a": {}}',
                   b"{" * 5000, b'{"a":' * 5000):
        damaged(with_header(header), "model.safetensors")
    for change in (lambda f: move(f, -8, 0), lambda f: move(f, 0, 8), lambda f: move(f, 4, 4), lambda f: move(f, 8, 0),
                   lambda f: move(f, 10**12, 10**12), lambda f: move(f, 2**62, 2**62),
                   lambda f: f.header[Q].update(data_offsets=[9216, 0]), lambda f: f.header[Q].update(data_offsets=[0]),
                   lambda f: f.header[Q].update(data_offsets=[-9216, 0]), lambda f: f.header[Q].update(data_offsets="x"),
                   lambda f: f.header[Q].update(shape=[48, 47]), lambda f: f.header[Q].update(shape=[-48, -48]),
                   lambda f: f.header[Q].update(shape=[2**32, 2**32]), lambda f: f.header[Q].update(shape=[2**62, 4]),
                   lambda f: f.header[Q].update(shape=[48.5, 48]), lambda f: f.header[Q].update(shape=None),
                   lambda f: f.header[Q].update(dtype="F16"), lambda f: f.header[Q].pop("dtype")):
        damaged(rewrite(change), ["model.safetensors", Q])

    def overlap(file):
        begin = file.header[Q]["data_offsets"][0]
        file.header["model.layers.1.self_attn.v_proj.weight"]["data_offsets"] = [begin + 4, begin + 4 + 24 * 48 * 4]
    damaged(rewrite(overlap), ["model.safetensors", "overlap", Q])
    damaged(rewrite(lambda file: file.header.pop(Q)), "hole")
    for dtype, size in (("I8", 1), ("F8_E4M3", 1), ("F64", 8), ("Q4", 1), ("I32", 4)):
        def change(file, dtype=dtype, size=size):
            begin, end = file.header[Q]["data_offsets"]
            file.header[Q]["dtype"] = dtype
            file.data[begin:end] = bytes((end - begin) // 4 * size)
            for tensor in file.header.values():
                if tensor.get("data_offsets", [0])[0] > begin:
                    tensor["data_offsets"] = [x + (end - begin) // 4 * (size - 4) for x in tensor["data_offsets"]]
            file.header[Q]["data_offsets"] = [begin, begin + (end - begin) // 4 * size]
        damaged(rewrite(change), ["model.safetensors", Q, dtype])


@test("a tensor of another shape than config.json says")
def shapes():
    damaged(rewrite(lambda f: f.header[Q].update(shape=[24, 96])), [Q, "48"])
    damaged(lambda folder: edit_config(folder, vocab_size=300), ["embed_tokens", "300"])
    damaged(lambda folder: edit_config(folder, hidden_size=64), "64")
    damaged(lambda folder: edit_config(folder, num_hidden_layers=5), "layers.4")
    damaged(lambda folder: edit_config(folder, num_local_experts=9), ["9"])


@test("an index that names what is not there")
def index():
    name = "model.safetensors.index.json"

    def change(**changes):
        def damage(folder):
            with open(os.path.join(folder, name), encoding="utf-8") as f:
                index = json.load(f)
            index["weight_map"].update(changes)
            with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
                json.dump(index, f)
        return damage
    key = "lm_head.weight"
    damaged(change(**{key: "model-00009-of-00004.safetensors"}), "model-00009-of-00004.safetensors", name="mixtral16")
    damaged(change(**{key: "../model.safetensors"}), [key], name="mixtral16")
    damaged(change(**{key: "/etc/passwd"}), [key], name="mixtral16")
    damaged(change(**{key: 7}), [key], name="mixtral16")
    for text in ("", "{", "[]", '{"weight_map": []}', '{"metadata": {}}'):
        damaged(lambda folder: open(os.path.join(folder, name), "w").write(text) and None, name, name="mixtral16")


@test("weights that are not finite: refused, with the tensor's name")
def not_finite():
    for name, tensor in [
        ("mixtral", Q),
        ("mixtral", "model.embed_tokens.weight"),
        ("mixtral", "model.norm.weight"),
        ("mixtral", "model.layers.2.block_sparse_moe.gate.weight"),
        ("mixtral", "model.layers.3.block_sparse_moe.experts.5.w3.weight"),
        ("mixtral", "lm_head.weight"),
        ("llama", "model.layers.1.mlp.down_proj.weight"),
        ("mixtral_fp16", "model.layers.0.self_attn.o_proj.weight"),
        ("qwen2_moe_norm", "model.layers.1.mlp.shared_expert.up_proj.weight"),
    ]:
        for value in (float("nan"), float("inf"), float("-inf")):
            if name != "mixtral" and value == float("-inf"):
                continue
            folder = model_copy(name)
            put(tensor, value, at=7)(folder)
            run_refused([tensor, "not a number" if value != value else "infinity"], model=folder, graph="--parallel-config=one_device"
                        if name != "llama" else "--tp-size=1")
    folder = model_copy("mixtral")
    put(Q, float("nan"))(folder)
    refused([Q], "model", folder, "--check")


@test("weights that overflow: the run fails with the task and the micro-batch, finished lines stay")
def overflow():
    folder, out = model_copy("mixtral"), fresh()
    for element in range(48):
        put("model.norm.weight", 3e38, at=element)(folder)
    said = show(octant("run", "one_device", "--model", folder, "--input", GOOD, "--output-dir", out, "--quiet", status=1))
    assert "sample" in said.err and "micro-batch 0" in said.err and "not a number" in said.err, said
    assert results(out) == {}
    octant("run", "one_device", "--model", MIXTRAL, "--input", GOOD, "--output-dir", out, "--quiet")  # nothing to lose: no --force


# ---- config and tokenizer

@test("a configuration of an unsupported kind is refused by name")
def configs():
    for words, changes in [
        (["model_type", "deepseek_v3"], {"model_type": "deepseek_v3"}),
        (["model_type", "mixtrall", "mixtral"], {"model_type": "mixtrall"}),
        ("gelu", {"hidden_act": "gelu"}),
        ("sliding window", {"sliding_window": 64}),
        (["rope", "yarn"], {"rope_scaling": {"type": "yarn", "factor": 4.0}}),
        (["quant", "gptq"], {"quantization_config": {"quant_method": "gptq", "bits": 4}}),
        ("num_hidden_layers", {"num_hidden_layers": 0}),
        ("num_hidden_layers", {"num_hidden_layers": -1}),
        ("num_hidden_layers", {"num_hidden_layers": "4"}),
        ("num_hidden_layers", {"num_hidden_layers": 2**40}),
        (["layers.4", "32 layers"], {"num_hidden_layers": None}),  # transformers' default
        ("vocab_size", {"vocab_size": 2**31}),
        ("heads", {"num_attention_heads": 7}),
        (["experts a token goes to", "9"], {"num_experts_per_tok": 9}),
        ("rms_norm_eps", {"rms_norm_eps": -1}),
        ("eos_token_id", {"eos_token_id": "five"}),
        ("torch_dtype", {"torch_dtype": "float8_e4m3fn"}),
    ]:
        folder = model_copy("mixtral")
        os.remove(os.path.join(folder, "generation_config.json"))
        edit_config(folder, **changes)
        said = run_refused(words, model=folder)
        if not any(value is None for value in changes.values()):
            assert "config.json:" in said.err, said
    for text, words in [("", "config.json"), ("{", "config.json"), ('{\n "a": 1,\n}', "config.json:3"), ("[]", "object"),
                        (b"\xff\xfe{", "config.json"), ("{}", "model_type"), ('{"a": 1e999}', "config.json"),
                        ("[" * 100000, "config.json")]:
        folder = model_copy("mixtral")
        with open(os.path.join(folder, "config.json"), "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        run_refused(words, model=folder)


@test("a tokenizer of an unsupported kind, or broken")
def tokenizers():
    prompts = write_lines("text.jsonl", [{"prompt": "add 1 + 1 ="}])

    def with_tokenizer(change, words):
        folder = model_copy("quickstart")
        name = os.path.join(folder, "tokenizer.json")
        if isinstance(change, str):
            with open(name, "w", encoding="utf-8") as file:
                file.write(change)
        else:
            with open(name, encoding="utf-8") as file:
                told = json.load(file)
            change(told)
            with open(name, "w", encoding="utf-8") as file:
                json.dump(told, file)
        run_refused(["tokenizer.json", *([words] if isinstance(words, str) else words)], model=folder, input=prompts)

    with_tokenizer(lambda t: t["model"].update(type="Unigram"), "Unigram")
    with_tokenizer(lambda t: t.update(pre_tokenizer={"type": "BertPreTokenizer"}), "BertPreTokenizer")
    with_tokenizer(lambda t: t.update(normalizer={"type": "Precompiled", "precompiled_charsmap": ""}), "Precompiled")
    with_tokenizer(lambda t: t.update(decoder={"type": "CTC"}), "CTC")
    with_tokenizer(lambda t: t.update(post_processor={"type": "Mystery"}), "Mystery")
    with_tokenizer(lambda t: t.pop("model"), "model")
    with_tokenizer(lambda t: t["model"].update(merges=[["a"]]), "merge 0")
    with_tokenizer(lambda t: t["model"].update(vocab={"a": -1}), '"a"')
    with_tokenizer("", "JSON")
    with_tokenizer('{\n"version": "1.0",\n"model": \n}', ":4")
    with_tokenizer("[]", "object")
    run_refused(["text.jsonl:1", "no tokenizer", "tokens"], input=prompts)  # this model has none


# ---- the input

@test("input files that cannot be read, and broken JSON with its line")
def broken_input():
    run_refused(["nowhere.jsonl", "cannot be opened"], input=path("nowhere.jsonl"))
    run_refused(["regular file"], input=harness.WORK)
    for text, words in [
        ("", "has no requests"),
        ("\n\n  \n", "has no requests"),
        ("[]", "has no requests"),
        ('{"tokens": [1]}\n{"tokens": [1]\n', ":2"),
        ('{"tokens": [1]}\n\n{"tokens": [1],}\n', ":3"),
        ('[\n{"tokens": [1]},\n{"tokens" [1]}\n]', ":3"),
        ('[{"tokens": [1]}', "JSON"),
        ('{"tokens": [1]} {"tokens": [2]}\n', ":1"),
        ('"text"\n', ":1"),
        ("7\n", ":1"),
        ('[7]', ":1"),
        (b'{"prompt": "\xff\xfe"}\n', ":1"),
        (b'\xef\xbb\xbf\x00\x00', ":1"),
        ('{"id": "a\\u0000b", "tokens": [1]}\n', ":1"),
        ('{"tokens": [1], "tokens": [2]}\n', ":1"),
        ("[" * 100000, ":1"),
        ('{"tokens": [1e999]}\n', ":1"),
    ]:
        run_refused(words, input=write_text("bad_input", text))


@test("a row that is wrong in itself refuses the whole input")
def rows():
    good = {"id": "good", "tokens": [1]}
    for words, row in [
        (["prompt", "tokens"], {"id": "a"}),
        (["prompt", "tokens"], {"prompt": "x", "tokens": [1]}),
        ("tokens", {"tokens": []}),
        ("tokens", {"tokens": "1 2"}),
        ("257", {"tokens": [1, 257]}),
        ("-1", {"tokens": [-1]}),
        ("tokens", {"tokens": [1.5]}),
        ("tokens", {"tokens": [True]}),
        ("tokens", {"tokens": [2**40]}),
        ("max_new_tokens", {"tokens": [1], "max_new_tokens": -1}),
        ("max_new_tokens", {"tokens": [1], "max_new_tokens": 0}),
        ("max_new_tokens", {"tokens": [1], "max_new_tokens": "many"}),
        ("max_new_tokens", {"tokens": [1], "max_new_tokens": 2**40}),
        ("temperature", {"tokens": [1], "temperature": -0.5}),
        ("temperature", {"tokens": [1], "temperature": "hot"}),
        ("top_p", {"tokens": [1], "top_p": 1.01}),
        ("top_p", {"tokens": [1], "top_p": -0.1}),
        ("top_k", {"tokens": [1], "top_k": -1}),
        ("min_p", {"tokens": [1], "min_p": 2}),
        ("seed", {"tokens": [1], "seed": "x"}),
        ("seed", {"tokens": [1], "seed": 1.5}),
        ("stop", {"tokens": [1], "stop": ""}),
        ("stop", {"tokens": [1], "stop": [1]}),
        ("stop", {"tokens": [1], "stop": ["x"] * 17}),
        ("ignore_eos", {"tokens": [1], "ignore_eos": "yes"}),
        ("logprobs", {"tokens": [1], "logprobs": -1}),
        ("logprobs", {"tokens": [1], "logprobs": 0}),
        ("id", {"tokens": [1], "id": [1]}),
        ("id", {"tokens": [1], "id": ""}),
        (["max_tokens", "max_new_tokens"], {"tokens": [1], "max_tokens": 3}),
        (["temprature", "temperature"], {"tokens": [1], "temprature": 0.5}),
        (["good", "line 1"], {"id": "good", "tokens": [2]}),
        ("one form", {"custom_id": "b", "method": "POST", "url": "/v1/completions", "body": {"prompt": [1]}}),
    ]:
        run_refused([":2:", *([words] if isinstance(words, str) else words)], input=write_lines("rows.jsonl", [good, row]))
    for words, row in [
        ("chat", {"url": "/v1/chat/completions"}),
        ("embeddings", {"url": "/v1/embeddings"}),
        ("custom_id", {"custom_id": None}),
        ("body", {"body": None}),
        ("n", {"body": {"prompt": [1], "n": 2}}),
        ("stream", {"body": {"prompt": [1], "stream": True}}),
        ("echo", {"body": {"prompt": [1], "echo": True}}),
        ("logit_bias", {"body": {"prompt": [1], "logit_bias": {"5": 1}}}),
        ("prompt", {"body": {}}),
    ]:
        whole = {"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"prompt": [1]}, **row}
        run_refused([":1:", words], input=write_lines("rows.jsonl", [{k: v for k, v in whole.items() if v is not None}]))


@test("a sequence that is too long fails alone, with a reason; the others finish; status 1")
def too_long():
    rows = [{"id": "fits", "tokens": [1, 2, 3], "max_new_tokens": 4, "ignore_eos": True},
            {"id": "model", "tokens": [1] * 500, "max_new_tokens": 100},
            {"id": "also", "tokens": [4, 5], "max_new_tokens": 3, "ignore_eos": True}]
    lines = write_lines("long.jsonl", rows)
    for options, long in ([[], {"model"}], [["--max-seq-len", "6"], {"model", "fits"}],
                          [["--set", "kv.pages=1", "--set", "kv.page_tokens=4"], {"model", "fits"}]):
        out = fresh()
        said = show(octant("run", "one_device", "--model", MIXTRAL, "--input", lines, "--output-dir", out, "--compute", "fp32",
                           *options, status=1))
        found = results(out)
        assert set(found) == {"fits", "model", "also"}, found
        for key, row in found.items():
            assert (row["finish_reason"] == "error") == (key in long), (options, row)
            if key in long:
                assert any(str(number) in row["error"] for number in (512, 6, 1)) and row["tokens"] == [], row
                if SHOW:
                    print("#   ", row["error"])
        assert f"{len(long)} failed" in said.out, said


# ---- the output folder

@test("an output folder that cannot be one, or holds another run's results")
def output_folder():
    def run(out, *options, words=None, input=GOOD, status=2, model=MIXTRAL):
        arguments = ["run", "one_device", "--model", model, "--input", input, "--output-dir", out, "--quiet", *options]
        return show(refused(words, *arguments, status=status)) if words else octant(*arguments)

    run(GOOD, words="cannot be")
    run(os.path.join(GOOD, "below"), words=["cannot be made", "Not a directory"])
    run("", words="--output-dir")
    run("/proc/nowhere", words="cannot be made")
    out = fresh()
    run(out)
    before = {name: open(os.path.join(out, name), "rb").read() for name in os.listdir(out)}
    run(out, words=["--resume", "--force"])
    other = write_lines("other.jsonl", [{"id": "a", "tokens": [1, 2, 4], "max_new_tokens": 2}])
    run(out, "--resume", words="another input", input=other)
    run(out, "--resume", words="another model", model=os.path.join(GOLDEN, "mixtral_fp16"))
    run(out, "--resume", "--compute", "bf16", words=["bf16", "fp32"])
    broken = model_copy("mixtral")
    put(Q, float("nan"))(broken)
    run(out, "--force", words=Q, model=broken)
    for name, was in before.items():
        with open(os.path.join(out, name), "rb") as file:
            assert file.read() == was, f"{name} has changed"
    run(out, "--force", input=other)
    run(out, "--resume", input=other)


main()
