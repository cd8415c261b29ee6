# SPDX-License-Identifier: Apache-2.0
"""What nobody thought of: damage by chance to every kind of file that octant reads. It must never end by a signal, never
hang, and never fail without a word.

OCTANT_TEST_SEED chooses the damage."""
import glob
import json
import os
import random
import re

import harness
from harness import GOLDEN, SEED, SOURCE, Safetensors, fresh, main, model_copy, octant, path, test, write_lines, write_text

MIXTRAL = os.path.join(GOLDEN, "mixtral")
GOOD = write_lines("good.jsonl", [{"id": "a", "tokens": [1, 2, 3], "max_new_tokens": 2}])

SPLICES = [b"", b"-1", b"0", b"1e999", b"99999999999999999999", b"[", b"]", b"{", b"}", b'"', b"\0", b"\xff", b"null", b",", b";",
           b"=", b"@include", b"/*", b"\\u0000", b"\\ud800", b"2147483648", b"0.5", b"NaN", b"#", b"\n"]


def mutate(random, data):
    """A few bytes changed, cut out, doubled or spliced in."""
    data = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        at, kind = random.randrange(len(data) or 1), random.randrange(6)
        if kind == 0 and data:
            data[at] ^= 1 << random.randrange(8)
        elif kind == 1 and data:
            data[at] = random.randrange(256)
        elif kind == 2:
            del data[at:at + random.choice((1, 2, 8, 64))]
        elif kind == 3:
            data[at:at] = data[at:at + random.choice((1, 8, 64))]
        elif kind == 4:
            data[at:at + random.choice((0, 1, 4))] = random.choice(SPLICES)
        elif random.randrange(4) == 0:
            del data[at:]
    return bytes(data)


ODD_VALUES = [None, True, -1, 0, 1, 2, 3, 7, 64, 257, 65536, 2**31 - 1, 2**31, 2**32 + 1, 2**63 - 1, -2**63, 0.5, 1e-300, 1e308, "",
              "x", "0", "\u0000", "\U0010ffff", [], [0], [[]], {}, {"a": 1}, [-1, 2**62], "a" * 5000]


def mutate_value(random, text):
    """One value of a JSON text replaced by an odd one, doubled, or removed: what still parses."""
    places = []

    def walk(value):
        for key in (value if isinstance(value, dict) else range(len(value))):
            places.append((value, key))
            if isinstance(value[key], (dict, list)):
                walk(value[key])
    root = json.loads(text)
    walk(root)
    for _ in range(random.choice((1, 1, 2))):
        parent, key = random.choice(places)
        try:
            if random.randrange(8) == 0:
                del parent[key]
            elif random.randrange(8) == 0 and isinstance(parent, list):
                parent.append(parent[key])
            else:
                parent[key] = random.choice(ODD_VALUES)
        except (IndexError, KeyError):
            pass  # removed before
    return json.dumps(root).encode()


def mutate_numbers(random, text):
    """One number or word of a description replaced."""
    found = list(re.finditer(rb"\b\d[\w.]*|\"\w+\"", text))
    at = random.choice(found)
    return text[:at.start()] + random.choice((b"0", b"-1", b"1", b"3", b"5", b"64", b"65", b"1e9", b"2147483648", b"1e-9", b'"x"',
                                              b'"experts"', b'"local"', b"9223372036854775807", b"[]", b"[1,2]")) + text[at.end():]


@test("damage of all kinds to every kind of file: exit status 0, 1 or 2, and a word about it")
def fuzz():
    random_ = random.Random(SEED)
    print(f"# seed {SEED} (OCTANT_TEST_SEED)")
    with open(os.path.join(SOURCE, "graphs", "tp2_ep2_pp2.cfg"), "rb") as file:
        graph = file.read()
    with open(os.path.join(MIXTRAL, "config.json"), "rb") as file:
        config = file.read()
    with open(os.path.join(harness.QUICKSTART_MODEL, "tokenizer.json"), "rb") as file:
        tokenizer = file.read()
    rows = (b'[{"id": "a", "tokens": [1, 2], "max_new_tokens": 3, "temperature": 0.5, "top_p": 0.5, "top_k": 3, "min_p": 0.1},\n'
            b'{"id": "b", "tokens": [3], "stop": ["x", "yz"], "ignore_eos": true, "logprobs": 1, "seed": 7}]\n')
    batch = (b'{"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"model": "m", "prompt": [1, 2], '
             b'"max_tokens": 3, "logprobs": 1, "n": 1}}\n')
    texts = write_lines("texts.jsonl", [{"text": t} for t in ("add 1 + 1 =", "", "<s> \u00e9\U0001f600", "sort 2 1")])
    folder = model_copy("mixtral")
    weights = Safetensors(glob.glob(os.path.join(folder, "*.safetensors"))[0])
    header = json.dumps(weights.header).encode()
    run = ["run", "one_device", "--policy", "homes", "--compute", "fp32", "--workers", "1", "--quiet", "--no-trace"]
    outcomes = {0: 0, 1: 0, 2: 0}

    def call(*arguments):
        said = octant(*arguments, status=None)
        if said.code:  # 1: a requirement that does not hold is told of on stdout
            assert (said.err or (said.code == 1 and said.out)).strip(), said
        outcomes[said.code] += 1

    for round in range(24):
        change = mutate_value if round % 2 else mutate
        call("graph", "check", write_text("fuzz.cfg", mutate(random_, graph)))
        call("graph", "show", write_text("fuzz.cfg", (mutate_numbers if round % 2 else mutate)(random_, graph)))
        call("run", path("fuzz.cfg"), "--dry-run")
        call("plan", path("fuzz.cfg"))
        for text in (rows, batch):
            call(*run, "--dry-run", "--model", MIXTRAL, "--input", write_text("fuzz.json", change(random_, text)))
        write_text(os.path.join(os.path.basename(folder), "tokenizer.json"), change(random_, tokenizer))
        call("model", folder, "--tokenize", texts)
        os.remove(os.path.join(folder, "tokenizer.json"))
        write_text(os.path.join(os.path.basename(folder), "config.json"), change(random_, config))
        call("model", folder, "--check")
        call(*run, "--dry-run", "--model", folder)
        write_text(os.path.join(os.path.basename(folder), "config.json"), config)
        text = change(random_, header)
        weights.write(text, random_.choice((None, None, None, len(text) + 1, max(0, len(text) - 1), random_.getrandbits(64))))
        call("model", folder, "--check")
        if round % 4 == 0:
            call(*run, "--model", folder, "--input", GOOD, "--output-dir", fresh())
            data = bytes(weights.data)
            for _ in range(3):
                weights.data[random_.randrange(len(data))] ^= 1 << random_.randrange(8)
            weights.write()
            call(*run, "--model", folder, "--input", GOOD, "--output-dir", fresh())
            weights.data = bytearray(data)
    print(f"# statuses {outcomes}")
    assert outcomes[0] > 5 and outcomes[2] > 60, "the damage is too much or too little to tell anything"


main()
