# SPDX-License-Identifier: Apache-2.0
"""llama.cpp as `compare` measures it: through its own batch calls, with the bindings of llama-cpp-python.

As llama-batched-bench does: a prompt's logits are wanted for its last token only, decode steps take one token of each
sequence, tokens are drawn (nothing is sampled), every sequence has a KV stream of its own. For decode one prompt is
computed and its keys and values are copied to all sequences' streams; after a measurement the steps' tokens are
removed again.

usage: compare_llama.py MODEL.gguf THREADS
"""
import ctypes
import math
import random
import sys
import time

import compare_worker
import llama_cpp as llama


class Context:
    """A llama context for one case and setting, filled where the case is decode."""

    def __init__(self, model, threads, case, setting):
        self.case, self.vocab = case, llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
        params = llama.llama_context_default_params()
        params.n_seq_max = case["sequences"]
        params.n_ctx = case["sequences"] * 256 * math.ceil((case["context"] + case["steps"] + 1) / 256)
        params.n_batch = max(setting["ubatch"], 2048)
        params.n_ubatch = setting["ubatch"]
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = setting["flash"]
        params.kv_unified = False
        self.n_batch = params.n_batch
        self.context = llama.llama_init_from_model(model, params)
        if not self.context:
            raise RuntimeError("llama.cpp made no context")
        self.memory = llama.llama_get_memory(self.context)
        self.batch = llama.llama_batch_init(self.n_batch, 0, 1)
        self.dice = random.Random(1)
        self.decode([(self.token(), i, 0, i == 15) for i in range(16)])  # wakes threads, touches weights
        llama.llama_memory_clear(self.memory, False)
        if case["phase"] == "decode":
            self.fill()

    def close(self):
        llama.llama_batch_free(self.batch)
        llama.llama_free(self.context)

    def token(self):
        return self.dice.randrange(self.vocab)

    def decode(self, rows):
        """rows: (token, position, sequence, logits wanted); handed over in batches, waited for at the end."""
        for first in range(0, len(rows), self.n_batch):
            part = rows[first : first + self.n_batch]
            batch = self.batch
            batch.n_tokens = len(part)
            for i, (token, position, sequence, wanted) in enumerate(part):
                batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, position, 1, wanted
                batch.seq_id[i][0] = sequence
            if llama.llama_decode(self.context, batch) != 0:
                raise RuntimeError("llama_decode failed")
        llama.llama_synchronize(self.context)

    def prompts(self, sequences):
        context = self.case["context"]
        return [(self.token(), i, s, i == context - 1) for s in range(sequences) for i in range(context)]

    def fill(self):
        self.decode(self.prompts(1))
        for sequence in range(1, self.case["sequences"]):
            llama.llama_memory_seq_cp(self.memory, 0, sequence, -1, -1)
        self.steps(1)  # applies the copies

    def steps(self, count):
        start, sequences = self.case["context"], self.case["sequences"]
        rows = [[(self.token(), start + i, s, True) for s in range(sequences)] for i in range(count)]
        begin = time.perf_counter()
        for row in rows:
            self.decode(row)
        seconds = time.perf_counter() - begin
        for sequence in range(sequences):
            llama.llama_memory_seq_rm(self.memory, sequence, start, -1)
        return seconds

    def measure(self):
        sequences = self.case["sequences"]
        if self.case["phase"] == "decode":
            return sequences * self.case["steps"], self.steps(self.case["steps"])
        rows = self.prompts(sequences)
        llama.llama_memory_clear(self.memory, False)
        begin = time.perf_counter()
        self.decode(rows)
        return len(rows), time.perf_counter() - begin


def main():
    path, threads = sys.argv[1], int(sys.argv[2])
    llama.llama_backend_init()
    model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
    if not model:
        sys.exit(f"{path}: llama.cpp does not load it")
    contexts = {}

    def measure(case, setting):
        name = case["name"]
        if name in contexts and contexts[name][:2] != (case, setting):
            contexts.pop(name)[2].close()
        if name not in contexts:
            contexts[name] = (case, setting, Context(model, threads, case, setting))
        tokens, seconds = contexts[name][2].measure()
        return {"tokens_per_s": tokens / seconds, "seconds": seconds}

    def score(tokens, prompt):
        case = {"phase": "prefill", "sequences": 1, "context": len(tokens), "steps": 0}
        context = Context(model, threads, case, {"ubatch": 512, "flash": 0})
        context.decode([(token, i, 0, i >= prompt - 1) for i, token in enumerate(tokens)])
        best, logprobs = [], []
        for i in range(prompt - 1, len(tokens) - 1):
            row = llama.llama_get_logits_ith(context.context, i)
            row = list(ctypes.cast(row, ctypes.POINTER(ctypes.c_float * context.vocab)).contents)
            top = max(row)
            total = math.log(math.fsum(math.exp(x - top) for x in row))
            best.append(row.index(top))
            logprobs.append(row[tokens[i + 1]] - top - total)
        context.close()
        return {"best": best, "logprobs": logprobs}

    compare_worker.serve({"measure": measure, "score": score})


if __name__ == "__main__":
    main()
