# SPDX-License-Identifier: Apache-2.0
"""What the scripts beside share: a model of the deployment plan's form, what this machine could reach with it, and runs
of octant."""
import dataclasses
import json
import os
import random
import resource
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@dataclasses.dataclass(frozen=True)
class Model:
    """The plan's: 16 heads of 32 and as many KV heads, so that a token's keys and values are 2 x hidden numbers a layer."""
    layers: int = 16
    hidden: int = 512
    experts: int = 16
    top_k: int = 2
    width: int = 1024
    vocab: int = 32000
    weight_bytes: int = 2  # of a number

    def attention(self):
        return 4 * self.hidden * self.hidden

    def expert(self):
        return 3 * self.hidden * self.width

    def flops_a_token(self, context, head):
        """Multiply-adds count twice. Head only for rows that are sampled."""
        layer = 2 * (self.attention() + self.top_k * self.expert() + self.experts * self.hidden)
        return self.layers * (layer + 4 * self.hidden * context) + (2 * self.hidden * self.vocab if head else 0)

    def step_bytes(self, sequences, context):
        """Bytes that a decode step must read: the weights of all layers' attention and of the experts that any
        row chose, the head, and each sequence's keys and values in 16 bits (the plan's: 32 KiB a token of context)."""
        touched = self.experts * (1 - (1 - self.top_k / self.experts) ** sequences)
        weights = self.layers * (self.attention() + touched * self.expert()) + self.hidden * self.vocab
        return self.weight_bytes * weights + sequences * context * self.layers * 2 * self.hidden * 2

    def prefill_limit(self, prompt, speed):
        """Tokens/s at the machine's limit: multiplications."""
        return speed["flops"] / self.flops_a_token(prompt / 2, False)

    def decode_limit(self, sequences, context, speed):
        """Tokens/s where reading and multiplying happen at the same time, and one after the other; what binds."""
        compute = sequences * self.flops_a_token(context, True) / speed["flops"]
        memory = self.step_bytes(sequences, context) / speed["bandwidth"]
        return sequences / max(compute, memory), sequences / (compute + memory), "memory" if memory > compute else "compute"


def compute_of(options):
    """The `compute` that options of octant run set."""
    return ([word.split("=")[1].strip('"') for word in options if word.startswith("compute=")] or [""])[-1]


def machine_speed(octant, workers=0, compute=""):
    """What so many cores (0: all) reach together: FLOP/s in `compute`, or in BF16 where the processor has it, and bytes/s."""
    out = subprocess.run([octant, "topology", "--measure", "--json"], check=True, capture_output=True, text=True)
    found = json.loads(out.stdout)
    speed, workers = found["measured_a_core"], workers or found["workers"]
    flops = speed.get((compute or "bf16") + "_flops") or speed["fp32_flops"]
    return {"flops": flops * workers, "bandwidth": speed["bandwidth"] * workers}


def best_speed(speeds):
    """A limit is the best that the machine has shown."""
    return {key: max(s[key] for s in speeds) for key in speeds[0]}


def make_model(out, *options):
    subprocess.run([os.path.join(ROOT, "tools", "make_model"), "--card", "plan", "--dtype", "bf16", *options, "--out", out],
                   check=True, stdout=subprocess.DEVNULL)
    return out


def write_input(path, vocab, sequences, prompt, new):
    dice = random.Random(1)
    with open(path, "w") as file:
        for i in range(sequences):
            row = {"id": str(i), "tokens": [dice.randrange(vocab) for _ in range(prompt)], "max_new_tokens": new,
                   "ignore_eos": True}
            file.write(json.dumps(row) + "\n")


def run(octant, model, folder, graph, sequences, prompt, new, options, vocab=Model.vocab):
    """One run; what its metrics.json says, and cpu_s of the whole process, which a busy machine disturbs less than its
    rates. Its outputs lie in FOLDER/out."""
    source, out = os.path.join(folder, "input.jsonl"), os.path.join(folder, "out")
    write_input(source, vocab, sequences, prompt, new)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([octant, "run"] + ([graph] if graph else []) + [
        "--model", model, "--input", source, "--output-dir", out, "--force", "--quiet", "--no-trace"] + options, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(os.path.join(out, "metrics.json")) as file:
        return dict(json.load(file), cpu_s=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def sets(keys):
    """Options that set keys of the graph."""
    return [word for key in keys for word in ("--set", key)]
