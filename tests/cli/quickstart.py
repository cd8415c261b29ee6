# SPDX-License-Identifier: Apache-2.0
"""What the shipped model answers to prompts that it was not trained on: how many are right, through 2×2×2 and through
the default graph, and that both say the same."""
import os

from harness import QUICKSTART, QUICKSTART_MODEL, fresh, lines_of, main, octant, read_json, results, test, write_lines

# What graphs/quickstart/README.md says must hold; the least that a rounding of 16 bits may leave.
LEAST = 0.98       # of all
LEAST_KIND = 0.95  # of each kind of task
INPUT = os.path.join(QUICKSTART, "heldout.jsonl")
ANSWERS = {row["id"]: row["answer"] for row in lines_of(os.path.join(QUICKSTART, "heldout_answers.jsonl"))}
KINDS = sorted({key.split("-")[0] for key in ANSWERS})


def judge(directory):
    found = results(directory)
    assert set(found) == set(ANSWERS)
    for kind in KINDS:
        of_kind = [key for key in ANSWERS if key.split("-")[0] == kind]
        right = sum(found[key]["text"] == ANSWERS[key] for key in of_kind)
        print(f"# {kind}: {right} of {len(of_kind)} right")
        assert right >= LEAST_KIND * len(of_kind), kind
    right = sum(found[key]["text"] == answer for key, answer in ANSWERS.items())
    print(f"# all: {right} of {len(ANSWERS)} right")
    assert right >= LEAST * len(ANSWERS)
    return {key: row["text"] for key, row in found.items()}


def run(graph, *options, input=INPUT):
    out = fresh()
    octant("run", *([graph] if graph else []), "--model", QUICKSTART_MODEL, "--input", input, "--output-dir", out, "--quiet",
           "--policy", "homes", *options)
    return out


@test("prompts and answers belong together")
def files():
    prompts = {row["id"]: row["prompt"] for row in lines_of(INPUT)}
    assert set(prompts) == set(ANSWERS) and len(prompts) >= 200 and len(KINDS) >= 4
    for key, prompt in prompts.items():  # the answers must be right by themselves
        words, answer = prompt.split(), ANSWERS[key].strip()
        if words[0] == "add":
            assert int(words[1]) + int(words[3]) == int(answer), key
        elif words[0] == "sort":
            assert sorted(words[1:-1]) == answer.split(), key
        elif words[0] == "reverse":
            assert words[1][::-1] == answer, key
        elif words[0] == "count":
            assert words[3].count(words[1]) == int(answer), key
        else:
            raise AssertionError(f"{key}: a task that this test cannot check")
    shown = {row["prompt"] for row in lines_of(os.path.join(QUICKSTART, "prompts.jsonl"))}
    assert len(shown) >= 8


@test("through 2×2×2, 16 bits: as right as it is said to be")
def plan():
    out = run("tp2_ep2_pp2")
    judge(out)
    metrics = read_json(out, "metrics.json")
    assert metrics["sequences"]["finished"] == len(ANSWERS) and metrics["sequences"]["failed"] == 0
    load = metrics["experts"]["load"]
    assert len(load) == 16 and all(len(layer) == 16 for layer in load)
    used = sum(count > 0 for layer in load for count in layer)
    assert used > 128, f"{used} of 256 experts are ever used"


@test("each kind of task has experts of its own")
def experts():
    """Half the sum of |a - b| over the shares of rows that experts get, mean over layers: 0 the same, 1 no expert in
    common. Two halves of one kind differ by the sample alone, some 0.03."""
    load, rows = {}, lines_of(INPUT)
    for kind in KINDS:
        for half in 0, 1:
            some = [row for row in rows if row["id"].split("-")[0] == kind][half::2]
            counts = read_json(run("one_device", "--no-trace", input=write_lines("some.jsonl", some)), "metrics.json")["experts"]["load"]
            load[kind, half] = [[count / sum(layer) for count in layer] for layer in counts]

    def distance(a, b):
        layers = list(zip(load[a], load[b]))
        return sum(sum(abs(x - y) for x, y in zip(p, q)) / 2 for p, q in layers) / len(layers)
    same = max(distance((kind, 0), (kind, 1)) for kind in KINDS)
    other = min(distance((a, 0), (b, 1)) for a in KINDS for b in KINDS if a != b)
    print(f"# halves of a kind: at most {same:.3f}; two kinds: at least {other:.3f}")
    assert same < 0.1 and other > 0.15


@test("FP32: the default graph and 2×2×2 give the same answers")
def default_graph():
    default = judge(run(None, "--compute", "fp32"))
    assert judge(run("tp2_ep2_pp2", "--compute", "fp32", "--set", "kv.dtype=fp32")) == default


def answers_of(directory, input):
    """By id: text, tokens and log-probabilities."""
    found = results(directory)
    assert set(found) == {row["id"] for row in lines_of(input)}
    return {key: (row["text"], row["tokens"], row["logprobs"]) for key, row in found.items()}


@test("int8: as right as it is said to be, log-probabilities of answers as near to FP32's")
def int8():
    """What graphs/README.md says int8 costs here, through two meshes: the mean of log-probabilities' differences to FP32, over
    the tokens of answers until one differs."""
    with_answers = [(INPUT, ANSWERS), (os.path.join(QUICKSTART, "prompts.jsonl"), {
        row["id"]: row["answer"] for row in lines_of(os.path.join(QUICKSTART, "answers.jsonl"))})]
    for source, answers in with_answers:
        input = write_lines("asked.jsonl", [row | {"logprobs": True} for row in lines_of(source)])
        exact = answers_of(run(None, "--compute", "fp32", input=input), input)
        for name, graph, options in (("bf16", None, ["--compute", "bf16"]), ("int8", None, ["--compute", "int8"]),
                                     ("int8 2x2x2", "tp2_ep2_pp2", ["--compute", "int8"])):
            found, change = answers_of(run(graph, *options, input=input), input), []
            for key, (_, tokens, logprobs) in found.items():
                for ours, theirs, a, b in zip(tokens, exact[key][1], logprobs, exact[key][2]):
                    if ours != theirs:
                        break
                    change.append(a - b)
            right = sum(found[key][0] == answer for key, answer in answers.items())
            mean, size = sum(change) / len(change), sum(map(abs, change)) / len(change)
            print(f"# {os.path.basename(source)}, {name}: {right} of {len(answers)} right; log-probability changes by "
                  f"{mean:+.2e} in the mean, {size:.2e} in magnitude, {max(map(abs, change)):.1e} at most, "
                  f"of {len(change)} tokens")
            assert right >= LEAST * len(answers) and size < 1e-4


main()
