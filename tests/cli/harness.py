# SPDX-License-Identifier: Apache-2.0
"""What the tests of the command line share: calling octant as a user does, TAP, and files to damage.

A test is a function that takes no arguments and is marked with @test("what holds"); it fails by raising. `main`
runs those of the module in their order. Python's standard library only.
"""
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import traceback

OCTANT = os.environ["OCTANT"]
SOURCE = os.environ["OCTANT_SOURCE_DIR"]
GOLDEN = os.path.join(SOURCE, "tests", "golden", "models")
QUICKSTART = os.path.join(SOURCE, "graphs", "quickstart")
QUICKSTART_MODEL = os.path.join(QUICKSTART, "model")
SEED = int(os.environ.get("OCTANT_TEST_SEED", "1"))
WORK = tempfile.mkdtemp(prefix="cli.", dir=os.environ.get("TMPDIR"))
LIMIT_S = 240  # for one call: a hang, not slowness (sanitizers, busy machines), is what this is to find

tests = []
complaints = []  # of the test that runs: what is wrong that did not end it, so that a table of cases is gone through


def test(name):
    def add(function):
        tests.append((name, function))
        return function
    return add


def main():
    failed = 0
    if not os.access(OCTANT, os.X_OK):
        sys.exit(f"Bail out! there is no program {OCTANT}")
    only = os.environ.get("OCTANT_TEST_ONLY", "")  # a part of the name, for whoever works at one of them
    chosen = [(name, function) for name, function in tests if only in name]
    print(f"1..{len(chosen)}", flush=True)
    for number, (name, function) in enumerate(chosen, 1):
        complaints.clear()
        try:
            function()
            assert not complaints, f"{len(complaints)} cases, these among them:\n" + "\n".join(complaints[:4])
        except Exception:  # noqa: BLE001 (whatever goes wrong is this test's failure)
            failed += 1
            print(f"not ok {number} - {name}", flush=True)
            for line in traceback.format_exc().splitlines():
                print("#", line)
        else:
            print(f"ok {number} - {name}", flush=True)
    shutil.rmtree(WORK, ignore_errors=True)
    sys.exit(1 if failed else 0)


def path(*parts):
    return os.path.join(WORK, *parts)


class Said:
    """How a call ended, and what it said."""

    def __init__(self, arguments, code, out, err):
        self.arguments, self.code, self.out, self.err = arguments, code, out, err

    def __repr__(self):
        return f"octant {' '.join(self.arguments)}\nstatus {self.code}\nstdout: {self.out}\nstderr: {self.err}"


def octant(*arguments, status=0, limit_s=LIMIT_S, **options):
    """Calls octant; it must end by itself with this status (None: with any of 0, 1, 2), never by a signal."""
    done = subprocess.run([OCTANT, *arguments], capture_output=True, timeout=limit_s, stdin=subprocess.DEVNULL, **options)
    said = Said(list(arguments), done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
    assert said.code == status if status is not None else said.code in (0, 1, 2), said
    assert "Sanitizer" not in said.err and "runtime error" not in said.err, said
    return said


def refused(words, *arguments, status=2, **options):
    """The call must end with this status, all the words in its one line on stderr, and nothing on stdout. What is
    wrong is kept for the end of the test."""
    said = octant(*arguments, status=None, **options)
    lines = [line for line in said.err.splitlines() if not line.startswith("octant: the checkpoint's own values replace")]
    if said.code != status or said.out or len(lines) != 1:
        complaints.append(f"not refused by status {status} and one line:\n{said}")
    for word in [words] if isinstance(words, str) else words:
        if word not in said.err:
            complaints.append(f'"{word}" is not in\n{said}')
    return said


def lines_of(name):
    with open(name, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def results(directory):
    """The results of a run by id; each sequence must be there once."""
    rows = lines_of(os.path.join(directory, "outputs.jsonl"))
    found = {row.get("custom_id", row["id"]): row for row in rows}
    assert len(found) == len(rows), f"{directory}: an id is there twice"
    return found


def tokens(directory):
    return {key: row["tokens"] for key, row in results(directory).items()}


def write_json(name, value):
    with open(path(name), "w", encoding="utf-8") as file:
        json.dump(value, file)
    return path(name)


def write_lines(name, rows):
    with open(path(name), "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")
    return path(name)


def write_text(name, text):
    with open(path(name), "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode())
    return path(name)


def read_json(*parts):
    with open(os.path.join(*parts), encoding="utf-8") as file:
        return json.load(file)


_fresh = 0


def fresh(name="out"):
    """A path that does not exist."""
    global _fresh
    _fresh += 1
    return path(f"{name}{_fresh}")


def model_copy(name):
    """A checkpoint that may be damaged: a copy of a golden one, or of the shipped one for "quickstart"."""
    folder = fresh("model")
    shutil.copytree(QUICKSTART_MODEL if name == "quickstart" else os.path.join(GOLDEN, name), folder)
    for root, _, files in os.walk(folder):
        os.chmod(root, 0o755)
        for file in files:
            os.chmod(os.path.join(root, file), 0o644)
    return folder


class Safetensors:
    """A safetensors file taken apart: the header as a dictionary, and the bytes behind it."""

    def __init__(self, name):
        self.name = name
        with open(name, "rb") as file:
            everything = file.read()
        length = struct.unpack("<Q", everything[:8])[0]
        self.header = json.loads(everything[8:8 + length])
        self.data = bytearray(everything[8 + length:])

    def write(self, header=None, length=None):
        header = json.dumps(self.header).encode() if header is None else header
        with open(self.name, "wb") as file:
            file.write(struct.pack("<Q", len(header) if length is None else length) + header + self.data)


def edit_config(folder, name="config.json", **changes):
    """Changes keys of a JSON file of a checkpoint; None removes one. It is written with a line a key."""
    file = os.path.join(folder, name)
    with open(file, encoding="utf-8") as f:
        config = json.load(f)
    for key, value in changes.items():
        if value is None:
            config.pop(key, None)
        else:
            config[key] = value
    with open(file, "w", encoding="utf-8") as f:
        json.dump(config, f, indent=2)

