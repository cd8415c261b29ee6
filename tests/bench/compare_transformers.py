# SPDX-License-Identifier: Apache-2.0
"""Hugging Face transformers as `compare` measures it: forward passes with a KV cache, in batches without padding.

Prompts' logits are computed for their last tokens only; the decode steps take drawn tokens and their logits are
looked at for the largest, as generate() would. For decode one prompt is computed and its keys and values are repeated
for all sequences; after a measurement the steps' tokens are cropped off again.

usage: compare_transformers.py MODEL THREADS DTYPE
"""
import copy
import sys
import time

import compare_worker
import torch
import transformers


class Filled:
    """The prompts of a decode case in a cache."""

    def __init__(self, model, case, setting):
        self.case, batch = case, setting["batch"]
        prompt = torch.randint(model.config.vocab_size, (1, case["context"]))
        one = transformers.DynamicCache(config=model.config)
        model(prompt, past_key_values=one, logits_to_keep=1)
        self.caches = []
        for _ in range(case["sequences"] // batch):
            if setting["cache"] == "static":
                cache = transformers.StaticCache(config=model.config, max_cache_len=case["context"] + case["steps"])
                model(prompt.expand(batch, -1)[:, :1], past_key_values=cache, logits_to_keep=1)  # gives it its shape
                for to, layer in zip(cache.layers, one.layers):
                    to.keys[:, :, : case["context"]] = layer.keys
                    to.values[:, :, : case["context"]] = layer.values
                    to.cumulative_length.fill_(case["context"])
            else:
                cache = copy.deepcopy(one)
                cache.batch_repeat_interleave(batch)
            self.caches.append(cache)

    def steps(self, model, setting):
        start, count, static = self.case["context"], self.case["steps"], setting["cache"] == "static"
        tokens = torch.randint(model.config.vocab_size, (len(self.caches), count, setting["batch"], 1))
        begin = time.perf_counter()
        for which, cache in enumerate(self.caches):
            for i in range(count):
                at = torch.arange(start + i, start + i + 1)
                model(tokens[which, i], past_key_values=cache, position_ids=at[None], logits_to_keep=1).logits.argmax(-1)
        seconds = time.perf_counter() - begin
        for cache in self.caches:
            if static:
                for layer in cache.layers:
                    layer.cumulative_length.fill_(start)
            else:
                cache.crop(-count)
        return seconds


def main():
    path, threads, dtype = sys.argv[1], int(sys.argv[2]), getattr(torch, sys.argv[3])
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation="sdpa")
    model.eval()
    filled = {}

    def measure(case, setting):
        model.set_experts_implementation(setting["experts"])
        sequences, batch = case["sequences"], setting["batch"]
        if case["phase"] == "decode":
            key = case["name"]
            if key in filled and filled[key][:2] != (case, setting):
                del filled[key]
            if key not in filled:
                filled[key] = (case, setting, Filled(model, case, setting))
            seconds = filled[key][2].steps(model, setting)
            tokens = sequences * case["steps"]
        else:
            prompts = torch.randint(model.config.vocab_size, (sequences, case["context"]))
            begin = time.perf_counter()
            for first in range(0, sequences, batch):
                model(prompts[first : first + batch], logits_to_keep=1, use_cache=True).logits.argmax(-1)
            seconds = time.perf_counter() - begin
            tokens = sequences * case["context"]
        return {"tokens_per_s": tokens / seconds, "seconds": seconds}

    def score(tokens, prompt):
        logits = model(torch.tensor([tokens]), use_cache=False).logits[0, prompt - 1 : -1].float()
        chosen = torch.tensor(tokens[prompt:])
        logprobs = logits.log_softmax(-1)[torch.arange(len(chosen)), chosen]
        return {"best": logits.argmax(-1).tolist(), "logprobs": logprobs.tolist()}

    with torch.inference_mode():
        compare_worker.serve({"measure": measure, "score": score})


if __name__ == "__main__":
    main()
