# SPDX-License-Identifier: Apache-2.0
"""Kills, interrupts and full disks, and going on after them: every sequence once, the same tokens as an undisturbed
run, and nothing lost that was finished."""
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time

from harness import (GOLDEN, LIMIT_S, OCTANT, SEED, fresh, main, model_copy, octant, path, refused, results, test, write_lines)

MIXTRAL = os.path.join(GOLDEN, "mixtral")
RANDOM = random.Random(SEED)
ROWS = [{"id": f"q{i}", "tokens": [RANDOM.randrange(257) for _ in range(RANDOM.randrange(1, 30))], "ignore_eos": True,
         "max_new_tokens": RANDOM.randrange(5, 90), "temperature": 0.7 * (i % 2), "logprobs": True} for i in range(80)]
INPUT = write_lines("input.jsonl", ROWS)
# few at a time, so that sequences finish all along; a log-probability of every bit would change with a lost token
COMMAND = ["run", "tp2_ep2_pp2", "--policy", "homes", "--set", "limits.sequences=8", "--compute", "fp32", "--model", MIXTRAL,
           "--input", INPUT]


def answers(directory):
    return {key: (row["tokens"], row["logprobs"], row["finish_reason"]) for key, row in results(directory).items()}


REFERENCE = None


def reference():
    """The undisturbed run, and how long it took."""
    global REFERENCE
    if not REFERENCE:
        out, begin = fresh(), time.monotonic()
        octant(*COMMAND, "--output-dir", out, "--no-trace", "--quiet")
        REFERENCE = answers(out), time.monotonic() - begin
        assert len(REFERENCE[0]) == len(ROWS)
    return REFERENCE


def start(out, *options, **arguments):
    return subprocess.Popen([OCTANT, *COMMAND, "--output-dir", out, *options], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, **arguments)


def lines_in(out):
    try:
        with open(os.path.join(out, "outputs.jsonl"), "rb") as file:
            return file.read().count(b"\n")
    except FileNotFoundError:
        return 0


def wait_for_lines(process, out, count):
    """Until so many lines are there, or the process has ended."""
    end = time.monotonic() + LIMIT_S
    while lines_in(out) < count and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.002)


def whole_lines(out):
    """The whole lines of the file, torn one left out; each must be a result of the reference."""
    try:
        with open(os.path.join(out, "outputs.jsonl"), "rb") as file:
            lines = file.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    rows = [json.loads(line) for line in lines]
    for row in rows:
        assert (row["tokens"], row["logprobs"], row["finish_reason"]) == reference()[0][row["id"]], row["id"]
    assert len({row["id"] for row in rows}) == len(rows)
    return lines


@test("kill -9 at any moment, --resume until it is finished: every sequence once, the same tokens")
def kills():
    _, seconds = reference()
    kills_, halfway, cycle = 0, 0, 0
    # on a busy machine a run may end before its kill comes: then another one
    while cycle < 2 or ((kills_ < 6 or halfway < 3) and cycle < 20):
        out, finished, cycle = fresh(), False, cycle + 1
        for round_ in range(40):
            process = start(out, "--resume", "--quiet")
            before = whole_lines(out)
            # at any time, also while it loads, or soon after the next lines
            if round_ % 3 == 0:
                time.sleep(RANDOM.random() * seconds * 0.5)
            else:
                wait_for_lines(process, out, len(before) + RANDOM.randrange(1, 8))
                time.sleep(RANDOM.random() * 0.01)
            process.kill()
            process.communicate()
            finished = process.returncode == 0
            if finished:
                break
            assert process.returncode == -signal.SIGKILL, process.returncode
            kills_ += 1
            after = whole_lines(out)
            assert after[:len(before)] == before, "a finished line was lost or changed"
            halfway += 0 < len(after) < len(ROWS)
            if round_ % 4 == 1 and len(after) > 1:  # a machine that lost its power leaves less than a whole line
                name = os.path.join(out, "outputs.jsonl")
                os.truncate(name, os.path.getsize(name) - RANDOM.randrange(1, 30))
        if not finished:
            octant(*COMMAND, "--output-dir", out, "--resume", "--quiet")
        assert answers(out) == reference()[0], f"cycle {cycle}"
    print(f"# seed {SEED}, {kills_} kills, {halfway} with results")
    assert kills_ >= 6 and halfway >= 3, "the kills came too late to test anything"


@test("a finished folder is finished: status 0, nothing changes")
def finished():
    out = fresh()
    octant(*COMMAND, "--output-dir", out, "--quiet")
    before = {name: open(os.path.join(out, name), "rb").read() for name in os.listdir(out)}
    said = octant(*COMMAND, "--output-dir", out, "--resume")
    assert "finished already" in said.err, said
    assert {name: open(os.path.join(out, name), "rb").read() for name in os.listdir(out)} == before
    # sequences that failed are finished, but a run with failures ends with 1, resumed or not
    rows = write_lines("failing.jsonl", [{"id": "long", "tokens": [1] * 600}, {"id": "short", "tokens": [1], "max_new_tokens": 2}])
    out = fresh()
    for options in [], ["--resume"]:
        octant("run", "one_device", "--model", MIXTRAL, "--input", rows, "--output-dir", out, "--quiet", *options, status=1)
        assert len(results(out)) == 2


@test("a missing and an empty folder start afresh")
def afresh():
    out, empty = os.path.join(fresh(), "deep", "deeper"), fresh()
    os.mkdir(empty)
    for folder in (out, empty):
        octant(*COMMAND, "--output-dir", folder, "--resume", "--quiet", "--no-trace")
        assert answers(folder) == reference()[0]


def partial():
    """A folder with some of the results, as a kill leaves it."""
    out = fresh()
    octant(*COMMAND, "--output-dir", out, "--quiet", "--no-trace")
    name = os.path.join(out, "outputs.jsonl")
    with open(name, "rb") as file:
        lines = file.readlines()
    with open(name, "wb") as file:
        file.writelines(lines[:len(lines) // 2])
    return out


@test("a torn last line is repaired, by whatever it was torn")
def torn():
    half = partial()
    name = os.path.join(half, "outputs.jsonl")
    with open(name, "rb") as file:
        good = file.read()
    last = good[good.rstrip(b"\n").rindex(b"\n") + 1:]
    for tail in (last[:20], last[:-1], b"{", b"\0" * 4096, b"garbage\n", last[:-2] + b"\n", b"\xff\xfe\n\n"):
        out = fresh()
        shutil.copytree(half, out)
        with open(os.path.join(out, "outputs.jsonl"), "wb") as file:
            file.write((good[:-len(last)] if tail.startswith(last[:20]) else good) + tail)
        octant(*COMMAND, "--output-dir", out, "--resume", "--quiet", "--no-trace")
        assert answers(out) == reference()[0], tail
    # but a damaged line with whole ones behind it is no torn end
    with open(name, "wb") as file:
        file.write(good[:-len(last)] + b"garbage\n" + last)
    refused([f"outputs.jsonl:{len(good.splitlines())}", "whole"], *COMMAND, "--output-dir", half, "--resume")


@test("another input, model or computation is refused, and without --resume any results are")
def others():
    out = partial()
    with open(os.path.join(out, "outputs.jsonl"), "rb") as file:
        before = file.read()

    def other(words, *options, command=COMMAND):
        refused(words, *command, "--output-dir", out, "--quiet", *options)
        with open(os.path.join(out, "outputs.jsonl"), "rb") as file:
            assert file.read() == before
    other(["results", "--resume", "--force"])

    def with_input(rows):
        return [write_lines("changed.jsonl", rows) if word == INPUT else word for word in COMMAND]
    for change in ({"tokens": [1]}, {"temperature": 0.1}, {"max_new_tokens": 4}, {"seed": 3}, {"id": "z"}, {"ignore_eos": False},
                   {"top_k": 2}, {"logprobs": False}):
        other("another input", "--resume", command=with_input([{**ROWS[0], **change}, *ROWS[1:]]))
    other("another input", "--resume", command=with_input(ROWS[:-1]))
    other("another input", "--resume", command=with_input(ROWS[::-1]))
    retrained = model_copy("mixtral")
    with open(os.path.join(retrained, "model.safetensors"), "r+b") as file:
        file.seek(-5000, os.SEEK_END)  # as training on changes them: all weights, the header not at all
        end = file.tell()
        file.seek(40000)
        while file.tell() < end:
            at = file.tell()
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1]))
            file.seek(at + 64)
    other("another model", "--resume", command=[retrained if word == MIXTRAL else word for word in COMMAND])
    other("bf16", "--resume", "--compute", "bf16")
    other("kv fp32", "--resume", "--set", "kv.dtype=fp32")
    other("computed with", "--resume", "--set", "mesh.stages=1", "--set", "mesh.place=()")
    os.remove(os.path.join(out, "run.json"))
    other(["run.json", "--force"], "--resume")
    # what changes no token may change: the scheduler, slots, how many at a time, the name of the model's folder
    out = partial()
    moved = model_copy("mixtral")
    command = [moved if word == MIXTRAL else word for word in COMMAND]
    octant(*command, "--output-dir", out, "--resume", "--quiet", "--policy", "ws", "--set", "schedule.slots=2", "--workers", "1",
           "--batch-size", "20")
    assert answers(out) == reference()[0]
    # --force starts afresh, and removes what the other run left
    out = partial()
    for name in ("trace.json", "routing.jsonl", "notes.txt"):
        with open(os.path.join(out, name), "w", encoding="utf-8") as file:
            file.write("old")
    octant(*COMMAND, "--output-dir", out, "--force", "--quiet", "--no-trace")
    assert answers(out) == reference()[0]
    assert sorted(os.listdir(out)) == ["metrics.json", "notes.txt", "outputs.jsonl", "replay.json", "run.json"]


@test("a folder that another run writes into is refused")
def in_use():
    out = fresh()
    process = start(out, "--quiet")
    wait_for_lines(process, out, 1)
    process.send_signal(signal.SIGSTOP)
    try:
        refused("another run is writing", *COMMAND, "--output-dir", out, "--resume")
        refused("another run is writing", *COMMAND, "--output-dir", out, "--force")
    finally:
        process.send_signal(signal.SIGCONT)
        process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0 and answers(out) == reference()[0]


@test("Ctrl-C drains, writes what there is, says so, ends with 130; --resume completes")
def interrupt():
    for number, status, count in ((signal.SIGINT, 130, 3), (signal.SIGTERM, 143, 20)):
        out = fresh()
        process = start(out)
        wait_for_lines(process, out, count)
        process.send_signal(number)
        told, said = process.communicate(timeout=LIMIT_S)
        assert process.returncode == status, (process.returncode, said)
        lines = whole_lines(out)
        assert count <= len(lines) < len(ROWS)
        assert f"interrupted; {len(lines)} of {len(ROWS)} sequences are finished, --resume" in said, said
        with open(os.path.join(out, "outputs.jsonl"), "rb") as file:
            assert file.read().endswith(b"\n")
        with open(os.path.join(out, "metrics.json"), encoding="utf-8") as file:
            metrics = json.load(file)
        assert metrics["sequences"]["finished"] == len(lines), metrics["sequences"]
        with open(os.path.join(out, "trace.json"), encoding="utf-8") as file:
            json.load(file)
        said = octant(*COMMAND, "--output-dir", out, "--resume")
        assert f"{len(ROWS) - len(lines)} sequences finished, 0 failed, {len(lines)} were finished before" in said.out, said
        assert answers(out) == reference()[0] and whole_lines(out)[:len(lines)] == lines
    # twice, and it ends at once
    out = fresh()
    process = start(out)
    wait_for_lines(process, out, 1)
    process.send_signal(signal.SIGSTOP)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    end = time.monotonic() + LIMIT_S
    while process.poll() is None and time.monotonic() < end:
        process.send_signal(signal.SIGINT)
        time.sleep(0.001)
    process.communicate()
    assert process.returncode in (-signal.SIGINT, 130), process.returncode
    octant(*COMMAND, "--output-dir", out, "--resume", "--quiet")
    assert answers(out) == reference()[0]


@test("a full disk is an error, not a loss; --resume completes when there is room")
def full_disk():
    def limited(size):
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    for size in (8000, 30000):
        out = fresh()
        process = start(out, "--no-trace", preexec_fn=limited(size))
        _, said = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 1, (process.returncode, said)
        lines = whole_lines(out)
        assert 0 < len(lines) < len(ROWS) and sum(map(len, lines)) + len(lines) <= size
        assert "outputs.jsonl: cannot be written: File too large" in said and f"{len(lines)} results" in said, said
        assert "--resume" in said, said
        octant(*COMMAND, "--output-dir", out, "--resume", "--quiet", "--no-trace")
        assert answers(out) == reference()[0] and whole_lines(out)[:len(lines)] == lines
    # a trace or metrics that do not fit cost no result
    out = fresh()
    process = start(out, preexec_fn=limited(200_000))
    _, said = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1 and "trace.json" in said and "cannot be written" in said, (process.returncode, said)
    assert answers(out) == reference()[0]
    octant(*COMMAND, "--output-dir", out, "--resume", "--quiet")


@test("a disk that is really full (a small tmpfs, where root may mount one)")
def full_tmpfs():
    folder = fresh("mount")
    os.mkdir(folder)
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True).returncode:
        print("# skipped: no tmpfs can be mounted here")
        return
    try:
        out = os.path.join(folder, "out")
        said = octant(*COMMAND, "--output-dir", out, "--quiet", "--no-trace", status=1)
        assert "No space left on device" in said.err, said
        lines = whole_lines(out)
        assert 0 < len(lines) < len(ROWS)
        subprocess.run(["mount", "-o", "remount,size=4m", folder], check=True)
        octant(*COMMAND, "--output-dir", out, "--resume", "--quiet", "--no-trace")
        assert answers(out) == reference()[0] and whole_lines(out)[:len(lines)] == lines
    finally:
        subprocess.run(["umount", folder], check=True)


@test("routing.jsonl goes on behind whole lines")
def routing():
    out = fresh()
    process = start(out, "--record-routing")
    wait_for_lines(process, out, 3)
    process.kill()
    process.communicate()
    name = os.path.join(out, "routing.jsonl")
    with open(name, "a", encoding="utf-8") as file:
        file.write('{"micro_batch": 7, "pha')
    octant(*COMMAND, "--output-dir", out, "--resume", "--quiet", "--record-routing")
    with open(name, encoding="utf-8") as file:
        for line in file:
            assert set(json.loads(line)) == {"micro_batch", "phase", "rows", "counts"}


main()
