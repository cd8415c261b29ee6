# SPDX-License-Identifier: Apache-2.0
"""octant run --weights-cache as a user sees it: the same results with a cache that is off, cold, hot or damaged, and
with several runs at a time."""
import glob
import os
import re
import subprocess
import time

from harness import GOLDEN, OCTANT, fresh, main, model_copy, octant, refused, results, test, write_lines

ROWS = [{"id": str(i), "tokens": [3 + (7 * i + j * j) % 60 for j in range(5 + 9 * i)], "max_new_tokens": 12,
         "ignore_eos": True, "logprobs": True} for i in range(6)]
INPUT = write_lines("input.jsonl", ROWS)
SETTLED_S = 2.2  # nothing is kept of a checkpoint that changed in the last two seconds


def command(model, cache, out, *options):
    return ["run", "--model", model, "--input", INPUT, "--output-dir", out, "--no-trace", "--measure-performance",
            *(["--weights-cache", cache] if cache else []), *options]


def run(model, cache, *options):
    """What was generated, to the last bit, and (devices packed, devices out of the cache, kept, what it says of the cache)."""
    out = fresh()
    said = octant(*command(model, cache, out, *options))
    found = re.search(r"weights: [\d.]+ GB on \d+ devices, (\d+) packed, (\d+) from the cache, ready in [\d.]+ s"
                      r"(?:; (\d+) kept in [\d.]+ s)?$", said.out, re.M)
    assert found, said
    told = [line for line in said.err.splitlines() if ".octant" in line or "kept" in line]
    return ({key: (row["tokens"], row["logprobs"]) for key, row in results(out).items()},
            (int(found[1]), int(found[2]), int(found[3] or 0), "\n".join(told)))


def settled(name="mixtral"):
    model = model_copy(name)
    time.sleep(SETTLED_S)
    return model


def damage(file, at, how):
    with open(file, "r+b") as f:
        if how == "truncate":
            f.truncate(at)
            return
        f.seek(at)
        byte = f.read(1)
        f.seek(at)
        if byte:
            f.write(bytes([byte[0] ^ 0x40]))


@test("off, cold and hot give the same bits, in every family and cut")
def same_bits():
    time.sleep(SETTLED_S)  # a source tree that was just unpacked
    cache = fresh("cache")
    for model, graph in (("mixtral", "one_device"), ("mixtral", "tp2_ep2_pp2"), ("olmoe", "tp2_ep2_local"),
                         ("qwen2_moe", "tp2_ep2_pp2"), ("qwen3_moe_sparse", "tp2_ep2_all_reduce"),
                         ("mixtral16", "expert_tensor")):
        for compute in ("fp32", "bf16"):
            options = (graph, "--compute", compute, "--policy", "homes")
            model_path = os.path.join(GOLDEN, model)
            off, how = run(model_path, "off", *options)
            devices = how[0]
            assert how == (devices, 0, 0, how[3])
            assert run(model_path, cache, *options) == (off, (devices, 0, devices, how[3])), (model, graph, compute)
            assert run(model_path, cache, *options) == (off, (0, devices, 0, how[3])), (model, graph, compute)


@test("off is the default, beside is a folder in the checkpoint's")
def places():
    model = settled()
    before = sorted(os.listdir(model))
    run(model, None)
    assert sorted(os.listdir(model)) == before
    _, how = run(model, "beside")
    assert how[1] == 0 and how[2] == how[0]
    assert sorted(os.listdir(model)) == sorted(before + ["octant-weights"])
    _, again = run(model, "beside")
    assert again[0] == 0 and again[1] == how[0]
    refused("--weights-cache WHERE", "run", "--model", model, "--input", INPUT, "--output-dir", fresh(),
            "--weights-cache=")


@test("a cache that is damaged, cut short or of something else is told, not believed, and mended")
def damaged():
    model, cache = settled(), fresh("cache")
    off, _ = run(model, "off", "one_device")
    run(model, cache, "one_device")
    weights, = glob.glob(os.path.join(cache, "weights-*.octant"))
    size = os.path.getsize(weights)
    for at, how in ((5, "flip"), (40, "flip"), (64, "flip"), (4096, "flip"), (size - 1, "flip"), (size - 1, "truncate"),
                    (4000, "truncate"), (10, "truncate"), (0, "truncate")):
        damage(weights, at, how)
        found, told = run(model, cache, "one_device")
        assert found == off and told[:3] == (1, 0, 1) and weights in told[3], (at, how, told)
        found, told = run(model, cache, "one_device")
        assert found == off and told == (0, 1, 0, ""), (at, how, told)
    content, = glob.glob(os.path.join(cache, "content-*.octant"))
    damage(content, 4100, "flip")
    found, told = run(model, cache, "one_device")
    assert found == off and told[:3] == (0, 1, 0) and content in told[3], told


@test("weights that changed in place are not taken from the cache")
def changed():
    model, cache = settled(), fresh("cache")
    old, _ = run(model, cache, "one_device")
    file = os.path.join(model, "model.safetensors")
    times = os.stat(file)
    for at in range(times.st_size // 8 * 4 + 3, times.st_size, 4096):  # exponents of FP32
        damage(file, at, "flip")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    off, _ = run(model, "off", "one_device")
    assert off != old
    found, told = run(model, cache, "one_device")
    assert found == off and told[:2] == (1, 0), told


@test("a folder that cannot be written is told, and the run goes on")
def unwritable():
    model = settled()
    off, _ = run(model, "off")
    for cache in (os.path.join(model, "config.json"), "/nonexistent/folder"):
        found, told = run(model, cache)
        assert found == off and told[1:3] == (0, 0) and "not kept" in told[3], told


@test("eight runs at a time, on a cold cache and on one that is damaged under them")
def together():
    model, cache = settled(), fresh("cache")
    off, _ = run(model, "off", "tp2_ep2_pp2")
    for cold in (True, False):
        outs = [fresh() for _ in range(8)]
        runs = [subprocess.Popen([OCTANT, *command(model, cache, out, "tp2_ep2_pp2", "--quiet")], stderr=subprocess.PIPE)
                for out in outs]
        for i in range(0 if cold else 40):
            for weights in glob.glob(os.path.join(cache, "weights-*.octant")):
                damage(weights, 4096 + 997 * i if i % 2 else 3000 * i, "flip" if i % 2 else "truncate")
            time.sleep(0.02)
        for r, out in zip(runs, outs):
            said = r.communicate()[1].decode()
            assert r.returncode == 0, said
            assert {key: (row["tokens"], row["logprobs"]) for key, row in results(out).items()} == off, said
    assert not glob.glob(os.path.join(cache, ".*")), os.listdir(cache)


if __name__ == "__main__":
    main()
