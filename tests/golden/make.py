#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the tiny checkpoints under models/ and what Hugging Face transformers says of them.

Each model is written twice over: once as a checkpoint that looks like one from the hub (config.json,
generation_config.json, *.safetensors with the names that published checkpoints use), and once as
golden.json, the answers of transformers in FP32 with eager attention on that same checkpoint
(16-bit weights are read and widened). See README.md beside this file for what golden.json holds.

    make.py [--out DIR] [NAME ...]    write the models (default: all, into models/ beside this file)
    make.py --check [NAME ...]        recompute everything and compare it with what is there
    make.py --search N NAME ...       try N seeds and tell which of them would make a good model

It needs PyPI's torch, transformers and safetensors, which nothing else here does. Weights and prompts
come from Python's own generator, seeded by name, so that they do not depend on torch's version.
"""

import argparse
import copy
import json
import math
import os
import random
import shutil
import sys
import tempfile

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# Prompt lengths and the tokens generated after each. Lengths lie on and beside the usual chunk sizes
# (16, 32, 64) and KV pages (16); the last ones are longer than any chunk that a test uses.
PROMPTS = [(1, 24), (2, 20), (3, 24), (7, 20), (16, 20), (17, 20),
           (33, 16), (64, 16), (65, 16), (100, 16), (128, 16), (177, 16)]
FIRST_LOGITS = (0, 5, 11)  # the prompts whose first-step logits are kept in full
HIDDEN_TOKENS = 5          # length of the prompt whose hidden states are kept

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}

# Each model: "config" is config.json as a published checkpoint of the family has it; the other keys are
#   seed    of the weights and prompts, found with --search
#   shards  number of safetensors files
#   form    "old": config.json is written as above, with `rope_theta` and `rope_scaling`
#           "new": config.json is what transformers makes of it, with `rope_parameters`
#   eos     how many end tokens, and where they are named: "int" (both files, one number),
#           "list" (generation_config.json names two, config.json the first), "config" (no generation_config.json)
#   gain    how strongly the layers' outputs outweigh the embedding (default 0.5)
# Head counts are divisible by 4 (KV heads at least by 2), inner sizes by 4 but not by 16.
MODELS = {
    "mixtral": dict(seed=3, shards=1, form="old", eos="int", config={
        "architectures": ["MixtralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2,
        "hidden_act": "silu", "hidden_size": 48, "initializer_range": 0.02, "intermediate_size": 12,
        "max_position_embeddings": 512, "model_type": "mixtral", "num_attention_heads": 8,
        "num_experts_per_tok": 2, "num_hidden_layers": 4, "num_key_value_heads": 4, "num_local_experts": 8,
        "output_router_logits": False, "rms_norm_eps": 1e-05, "rope_theta": 1000000.0,
        "router_aux_loss_coef": 0.02, "sliding_window": None, "tie_word_embeddings": False,
        "torch_dtype": "float32", "transformers_version": "4.36.0.dev0", "use_cache": True, "vocab_size": 257}),
    "mixtral16": dict(seed=1, shards=4, form="new", eos="int", config={
        "architectures": ["MixtralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2,
        "hidden_act": "silu", "hidden_size": 40, "initializer_range": 0.02, "intermediate_size": 12,
        "max_position_embeddings": 512, "model_type": "mixtral", "num_attention_heads": 4,
        "num_experts_per_tok": 2, "num_hidden_layers": 5, "num_key_value_heads": 4, "num_local_experts": 16,
        "output_router_logits": False, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
        "router_aux_loss_coef": 0.02, "sliding_window": None, "tie_word_embeddings": False,
        "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": 333}),
    "mixtral_fp16": dict(seed=1, shards=2, form="old", eos="int", config={
        "architectures": ["MixtralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2,
        "head_dim": 4, "hidden_act": "silu", "hidden_size": 40, "initializer_range": 0.02,
        "intermediate_size": 36, "max_position_embeddings": 512, "model_type": "mixtral",
        "num_attention_heads": 12, "num_experts_per_tok": 3, "num_hidden_layers": 3, "num_key_value_heads": 12,
        "num_local_experts": 6, "output_router_logits": False, "rms_norm_eps": 1e-05, "rope_theta": 100.0,
        "rope_scaling": None, "router_aux_loss_coef": 0.001, "router_jitter_noise": 0.0, "sliding_window": None,
        "tie_word_embeddings": False, "torch_dtype": "float16", "transformers_version": "4.46.0",
        "use_cache": True, "vocab_size": 257}),
    "olmoe": dict(seed=1, shards=2, form="old", eos="int", config={
        "architectures": ["OlmoeForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "clip_qkv": None, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 48,
        "initializer_range": 0.02, "intermediate_size": 20, "max_position_embeddings": 512,
        "model_type": "olmoe", "norm_topk_prob": False, "num_attention_heads": 4, "num_experts": 8,
        "num_experts_per_tok": 3, "num_hidden_layers": 4, "num_key_value_heads": 4,
        "output_router_logits": False, "pad_token_id": 1, "rms_norm_eps": 1e-05, "rope_scaling": None,
        "rope_theta": 10000.0, "router_aux_loss_coef": 0.01, "tie_word_embeddings": False,
        "torch_dtype": "bfloat16", "transformers_version": "4.43.0.dev0", "use_cache": True, "vocab_size": 301}),
    "olmoe_clip": dict(seed=3, shards=1, form="new", eos="config", config={
        "architectures": ["OlmoeForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "clip_qkv": 0.75, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 48,
        "initializer_range": 0.02, "intermediate_size": 20, "max_position_embeddings": 512,
        "model_type": "olmoe", "norm_topk_prob": False, "num_attention_heads": 8, "num_experts": 4,
        "num_experts_per_tok": 2, "num_hidden_layers": 2, "num_key_value_heads": 4,
        "output_router_logits": False, "pad_token_id": 1, "rms_norm_eps": 1e-05, "rope_scaling": None,
        "rope_theta": 10000.0, "router_aux_loss_coef": 0.01, "tie_word_embeddings": False,
        "torch_dtype": "float32", "use_cache": True, "vocab_size": 257}),
    "qwen2_moe": dict(seed=3, shards=3, form="old", eos="list", config={
        "architectures": ["Qwen2MoeForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 3,
        "decoder_sparse_step": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 48,
        "initializer_range": 0.02, "intermediate_size": 76, "max_position_embeddings": 512,
        "max_window_layers": 2, "mlp_only_layers": [1], "model_type": "qwen2_moe",
        "moe_intermediate_size": 20, "norm_topk_prob": False, "num_attention_heads": 4, "num_experts": 8,
        "num_experts_per_tok": 3, "num_hidden_layers": 4, "num_key_value_heads": 4,
        "output_router_logits": False, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
        "router_aux_loss_coef": 0.001, "shared_expert_intermediate_size": 44, "sliding_window": 32,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "transformers_version": "4.39.0.dev0",
        "use_cache": True, "use_sliding_window": False, "vocab_size": 333}),
    "qwen2_moe_norm": dict(seed=1, shards=1, form="new", eos="int", config={
        "architectures": ["Qwen2MoeForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 3,
        "decoder_sparse_step": 2, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 40,
        "initializer_range": 0.02, "intermediate_size": 44, "max_position_embeddings": 512,
        "max_window_layers": 4, "mlp_only_layers": [], "model_type": "qwen2_moe",
        "moe_intermediate_size": 28, "norm_topk_prob": True, "num_attention_heads": 4, "num_experts": 4,
        "num_experts_per_tok": 2, "num_hidden_layers": 4, "num_key_value_heads": 2,
        "output_router_logits": False, "rms_norm_eps": 1e-06, "rope_theta": 10000.0,
        "router_aux_loss_coef": 0.001, "shared_expert_intermediate_size": 20, "sliding_window": 32,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "use_cache": True,
        "use_sliding_window": False, "vocab_size": 257}),
    "qwen3_moe": dict(seed=6, shards=2, form="old", eos="list", config={
        "architectures": ["Qwen3MoeForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 3, "decoder_sparse_step": 1, "eos_token_id": 2, "head_dim": 8, "hidden_act": "silu",
        "hidden_size": 40, "initializer_range": 0.02, "intermediate_size": 52, "max_position_embeddings": 512,
        "max_window_layers": 4, "mlp_only_layers": [], "model_type": "qwen3_moe",
        "moe_intermediate_size": 20, "norm_topk_prob": True, "num_attention_heads": 8, "num_experts": 8,
        "num_experts_per_tok": 4, "num_hidden_layers": 4, "num_key_value_heads": 4,
        "output_router_logits": False, "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 1000000.0,
        "router_aux_loss_coef": 0.001, "sliding_window": None, "tie_word_embeddings": False,
        "torch_dtype": "bfloat16", "transformers_version": "4.51.0", "use_cache": True,
        "use_sliding_window": False, "vocab_size": 333}),
    "qwen3_moe_sparse": dict(seed=5, gain=4.0, shards=1, form="new", eos="list", config={
        "architectures": ["Qwen3MoeForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 3, "decoder_sparse_step": 2, "eos_token_id": 2, "head_dim": 12, "hidden_act": "silu",
        "hidden_size": 40, "initializer_range": 0.02, "intermediate_size": 44, "max_position_embeddings": 512,
        "max_window_layers": 5, "mlp_only_layers": [3], "model_type": "qwen3_moe",
        "moe_intermediate_size": 28, "norm_topk_prob": False, "num_attention_heads": 4, "num_experts": 8,
        "num_experts_per_tok": 2, "num_hidden_layers": 6, "num_key_value_heads": 4,
        "output_router_logits": False, "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 10000.0,
        "router_aux_loss_coef": 0.001, "sliding_window": None, "tie_word_embeddings": True,
        "torch_dtype": "float16", "use_cache": True, "use_sliding_window": False, "vocab_size": 257}),
    "llama": dict(seed=2, shards=1, form="old", eos="list", config={
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 48,
        "initializer_range": 0.02, "intermediate_size": 52, "max_position_embeddings": 512,
        "mlp_bias": False, "model_type": "llama", "num_attention_heads": 8, "num_hidden_layers": 4,
        "num_key_value_heads": 4, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": LLAMA3,
        "rope_theta": 500.0, "tie_word_embeddings": False, "torch_dtype": "float32",
        "transformers_version": "4.43.0.dev0", "use_cache": True, "vocab_size": 257}),
    "llama_bias": dict(seed=1, gain=1.0, shards=1, form="new", eos="int", config={
        "architectures": ["LlamaForCausalLM"], "attention_bias": True, "attention_dropout": 0.0,
        "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 72,
        "initializer_range": 0.02, "intermediate_size": 44, "max_position_embeddings": 512,
        "mlp_bias": True, "model_type": "llama", "num_attention_heads": 4, "num_hidden_layers": 3,
        "num_key_value_heads": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": LLAMA3,
        "rope_theta": 10000.0, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "use_cache": True,
        "vocab_size": 301}),
    "qwen2": dict(seed=7, gain=1.0, shards=1, form="old", eos="list", config={
        "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 3, "eos_token_id": 2,
        "hidden_act": "silu", "hidden_size": 56, "initializer_range": 0.02, "intermediate_size": 76,
        "max_position_embeddings": 512, "max_window_layers": 2, "model_type": "qwen2",
        "num_attention_heads": 4, "num_hidden_layers": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0, "sliding_window": 32, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        "transformers_version": "4.40.1", "use_cache": True, "use_sliding_window": False, "vocab_size": 333}),
    "qwen3": dict(seed=1, shards=1, form="new", eos="list", config={
        "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 3, "eos_token_id": 2, "head_dim": 12, "hidden_act": "silu", "hidden_size": 40,
        "initializer_range": 0.02, "intermediate_size": 52, "max_position_embeddings": 512,
        "max_window_layers": 5, "model_type": "qwen3", "num_attention_heads": 8, "num_hidden_layers": 5,
        "num_key_value_heads": 4, "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 1000000.0,
        "sliding_window": None, "tie_word_embeddings": False, "torch_dtype": "float16", "use_cache": True,
        "use_sliding_window": False, "vocab_size": 257}),
}


def is_sparse(c, layer):
    """Whether this layer has experts, as transformers decides it."""
    if c["model_type"] in ("mixtral", "olmoe"):
        return True
    if c["model_type"] not in ("qwen2_moe", "qwen3_moe"):
        return False
    return layer not in c["mlp_only_layers"] and (layer + 1) % c["decoder_sparse_step"] == 0


def tensor_list(c, gain):
    """All tensors of a checkpoint, [(name, shape, kind, deviation)], in the order in which they are written."""
    family, h = c["model_type"], c["hidden_size"]
    d = c.get("head_dim") or h // c["num_attention_heads"]
    q, kv = c["num_attention_heads"] * d, c["num_key_value_heads"] * d
    # The deviation of biases; those that go into the residual stream are smaller, or all tokens would look alike.
    qkv_bias = 0.5 if family in ("qwen2", "qwen2_moe") or c.get("attention_bias") else 0.0
    out_bias = 0.2 if c.get("attention_bias") else 0.0
    mlp_bias = 0.5 if c.get("mlp_bias") else 0.0
    per_head, all_heads = family in ("qwen3", "qwen3_moe"), family == "olmoe"
    out = []

    def linear(name, rows, columns, bias=0.0, scale=1.0):
        out.append((name + ".weight", (rows, columns), "normal", scale / math.sqrt(columns)))
        if bias:
            out.append((name + ".bias", (rows,), "normal", bias))

    def norm(name, size):
        out.append((name + ".weight", (size,), "norm", 0.3))

    def mlp(name, inner, names=("gate_proj", "up_proj", "down_proj"), bias=0.0):
        linear(f"{name}.{names[0]}", inner, h, bias, 2.0)
        linear(f"{name}.{names[1]}", inner, h, bias, 1.5)
        linear(f"{name}.{names[2]}", h, inner, 0.4 * bias, gain)

    out.append(("model.embed_tokens.weight", (c["vocab_size"], h), "normal",
                2.5 / math.sqrt(h) if c["tie_word_embeddings"] else 1.0))
    for l in range(c["num_hidden_layers"]):
        at = f"model.layers.{l}"
        norm(at + ".input_layernorm", h)
        linear(at + ".self_attn.q_proj", q, h, qkv_bias, 1.5)
        linear(at + ".self_attn.k_proj", kv, h, qkv_bias, 1.5)
        linear(at + ".self_attn.v_proj", kv, h, qkv_bias, 1.5)
        linear(at + ".self_attn.o_proj", h, q, out_bias, 1.5 * gain)
        if per_head or all_heads:
            norm(at + ".self_attn.q_norm", d if per_head else q)
            norm(at + ".self_attn.k_norm", d if per_head else kv)
        norm(at + ".post_attention_layernorm", h)
        if family == "mixtral":
            linear(at + ".block_sparse_moe.gate", c["num_local_experts"], h, scale=2.0)
            for e in range(c["num_local_experts"]):
                mlp(f"{at}.block_sparse_moe.experts.{e}", c["intermediate_size"], ("w1", "w3", "w2"))
        elif is_sparse(c, l):
            linear(at + ".mlp.gate", c["num_experts"], h, scale=2.0)
            for e in range(c["num_experts"]):
                mlp(f"{at}.mlp.experts.{e}", c.get("moe_intermediate_size", c["intermediate_size"]))
            if family == "qwen2_moe":
                mlp(at + ".mlp.shared_expert", c["shared_expert_intermediate_size"])
                linear(at + ".mlp.shared_expert_gate", 1, h, scale=2.0)
        else:
            mlp(at + ".mlp", c["intermediate_size"], bias=mlp_bias)
    norm("model.norm", h)
    if not c["tie_word_embeddings"]:
        linear("lm_head", c["vocab_size"], h, scale=3.0)
    return out


def make_tensors(name, spec):
    """The weights, drawn tensor by tensor: {name: tensor}."""
    tensors = {}
    dtype = DTYPES[spec["config"]["torch_dtype"]]
    for tensor, shape, kind, deviation in tensor_list(spec["config"], spec.get("gain", 0.5)):
        rng = random.Random(f"{name} {spec['seed']} {tensor}")
        values = [rng.gauss(0.0, deviation) for _ in range(math.prod(shape))]
        if kind == "norm":
            values = [1.0 + max(-0.8, min(0.8, v)) for v in values]
        tensors[tensor] = torch.tensor(values, dtype=torch.float64).to(dtype).reshape(shape)
    return tensors


def make_prompts(name, spec):
    rng = random.Random(f"{name} {spec['seed']} prompts")
    vocab = spec["config"]["vocab_size"]
    prompts = [[rng.randrange(vocab) for _ in range(length)] for length, _ in PROMPTS]
    return prompts, [rng.randrange(vocab) for _ in range(HIDDEN_TOKENS)]


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as f:
        f.write(json.dumps(value, indent=2, sort_keys=True) + "\n")


def write_tensors(folder, tensors, shards):
    """One file, or `shards` of them and the index, cut where the bytes are even."""
    if shards == 1:
        save_file(tensors, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
        return
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    files, index, done = [{} for _ in range(shards)], {}, 0
    for name, t in tensors.items():
        k = done * shards // total
        done += t.numel() * t.element_size()
        files[k][name] = t
        index[name] = f"model-{k + 1:05d}-of-{shards:05d}.safetensors"
    for k, part in enumerate(files):
        save_file(part, os.path.join(folder, f"model-{k + 1:05d}-of-{shards:05d}.safetensors"),
                  metadata={"format": "pt"})
    write_json(os.path.join(folder, "model.safetensors.index.json"),
               {"metadata": {"total_size": total}, "weight_map": index})


def write_config(folder, spec, eos):
    """config.json and generation_config.json, with the end tokens `eos` (one or two)."""
    c = copy.deepcopy(spec["config"])
    c["eos_token_id"] = eos[0]
    if spec["form"] == "old":
        write_json(os.path.join(folder, "config.json"), c)
    else:
        c["dtype"] = c.pop("torch_dtype")
        AutoConfig.for_model(**c).save_pretrained(folder)
    if spec["eos"] == "config":
        return
    g = {"_from_model_config": True, "eos_token_id": eos if spec["eos"] == "list" else eos[0],
         "transformers_version": c.get("transformers_version", transformers.__version__)}
    g.update({k: c[k] for k in ("bos_token_id", "pad_token_id") if k in c})
    write_json(os.path.join(folder, "generation_config.json"), g)


class Reference:
    """transformers on one checkpoint, with what its routers and layers said in the last forward pass."""

    def __init__(self, folder, dtype=torch.float32):
        self.model, info = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, attn_implementation="eager", experts_implementation="eager",
            output_loading_info=True)
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            if info[kind]:
                raise SystemExit(f"{folder}: {kind}: {info[kind]}")
        self.model.eval()
        self.gaps, self.chosen, self.states = [], [], []
        for module in self.model.modules():
            kind = type(module).__name__
            if kind.endswith("TopKRouter"):
                module.register_forward_hook(self.see_router)
            elif kind.endswith("DecoderLayer"):
                module.register_forward_hook(self.see_layer)

    def see_router(self, module, inputs, output):
        logits, _, chosen = output
        top = logits.double().topk(min(module.top_k + 1, logits.shape[-1]), dim=-1).values
        self.gaps.append(top[:, -2] - top[:, -1])
        self.chosen.append(chosen)

    def see_layer(self, module, inputs, output):
        self.states.append((output[0] if isinstance(output, tuple) else output)[0])

    @torch.no_grad()
    def forward(self, tokens):
        """logits [tokens][vocab] in FP64, without a KV cache: every position is computed in one pass."""
        self.gaps, self.chosen, self.states = [], [], []
        return self.model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0].double()

    def greedy(self, prompt, count):
        """One prompt's record, and the number of times that each expert of each layer was chosen."""
        tokens, out = list(prompt), {"tokens": prompt, "greedy": [], "logprobs": [], "margins": []}
        for step in range(count):
            logits = self.forward(tokens)[-1]
            if step == 0:
                out["first_logits"] = logits.tolist()
            best = logits.topk(2)
            token = int(best.indices[0])
            out["greedy"].append(token)
            out["logprobs"].append(float(torch.log_softmax(logits, -1)[token]))
            out["margins"].append(float(best.values[0] - best.values[1]))
            tokens.append(token)
        if self.gaps:
            # The last pass has seen all positions that any step depends on.
            gaps = torch.stack(self.gaps).min(dim=0).values
            out["router_gaps"] = [float(gaps[:len(prompt) + i].min()) for i in range(count)]
        return out


def teacher_forced(reference, record):
    """Log-probabilities of the recorded greedy tokens, by another precision or another path."""
    n = len(record["tokens"])
    logits = reference.forward(record["tokens"] + record["greedy"][:-1])[n - 1:]
    chosen = torch.tensor(record["greedy"])
    return torch.log_softmax(logits, -1).gather(1, chosen[:, None])[:, 0].tolist()


def worst(a, b):
    return max(abs(x - y) for x, y in zip(a, b))


def choose_eos(records):
    """Two end tokens that really occur, neither at once: the first late in some prompt, the second in another."""
    def first(token, record):
        return record["greedy"].index(token) if token in record["greedy"] else None

    out = []
    for r in records[2:]:
        for i in range(len(r["greedy"]) // 3, len(r["greedy"]) - 2):
            token = r["greedy"][i]
            hits = [first(token, x) for x in records]
            if token > 3 and token not in out and first(token, r) == i and \
               0 not in hits and sum(h is not None for h in hits) <= 4:
                out.append(token)
                break
        if len(out) == 2:
            return out
    raise SystemExit("no end token found: the greedy tokens do not vary")


def golden(folder, name, spec):
    """What golden.json holds; writes config.json again with end tokens that occur."""
    prompts, short = make_prompts(name, spec)
    reference = Reference(folder)
    theta = reference.model.config.rope_parameters["rope_theta"]
    if theta != spec["config"]["rope_theta"]:
        raise SystemExit(f"{name}: transformers took rope_theta {theta}")
    double, half = Reference(folder, torch.float64), Reference(folder, torch.bfloat16)
    records, used = [], None
    for i, (prompt, (_, count)) in enumerate(zip(prompts, PROMPTS)):
        r = reference.greedy(prompt, count)
        if i not in FIRST_LOGITS:
            del r["first_logits"]
        r["fp32_error"] = worst(r["logprobs"], teacher_forced(double, r))
        r["bf16_logprobs"] = [round(x, 5) for x in teacher_forced(half, r)]
        records.append(r)
        if reference.chosen:
            experts = reference.model.config.num_experts
            now = torch.stack([torch.bincount(c.flatten(), minlength=experts) for c in reference.chosen])
            used = now if used is None else used + now
    eos = choose_eos(records)[:2 if spec["eos"] == "list" else 1]
    write_config(folder, spec, eos)
    for r in records:
        at = [i for i, t in enumerate(r["greedy"]) if t in eos]
        if at:
            r["eos_at"] = at[0]
    reference.forward(short)
    hidden = {"tokens": short, "embedding": reference.model.get_input_embeddings()(torch.tensor(short)).tolist(),
              "layers": [s.tolist() for s in reference.states]}
    if reference.chosen:
        hidden["experts"] = [c.tolist() for c in reference.chosen]
    return {"model": name, "seed": spec["seed"], "eos": eos, "prompts": records, "hidden": hidden,
            "made_with": {"python": sys.version.split()[0], "torch": torch.__version__.split("+")[0],
                          "transformers": transformers.__version__}}, used


def check_generate(folder, data):
    """transformers' own generate (KV cache, end tokens from the files) must tell the same story."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    for r in data["prompts"]:
        ids = torch.tensor([r["tokens"]])  # without the mask, a token 0 in a prompt would pass for padding
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=len(r["greedy"]),
                             do_sample=False, pad_token_id=0)[0, len(r["tokens"]):].tolist()
        want = r["greedy"][:r["eos_at"] + 1] if "eos_at" in r else r["greedy"]
        if out != want:
            raise SystemExit(f"{data['model']}: generate says {out}, step by step it was {want}")


def quality(data, used):
    """(text, whether it is a good model): varied tokens, clear margins, decisive routing, all experts at work."""
    records = data["prompts"]
    tokens = [t for r in records for t in r["greedy"]]
    repeats = sum(a == b for r in records for a, b in zip(r["greedy"], r["greedy"][1:])) / len(tokens)
    distinct = len(set(tokens))
    least = min(len(set(r["greedy"])) for r in records)
    margin = min(m for r in records for m in r["margins"])
    gap = min((g for r in records for g in r.get("router_gaps", [])), default=1.0)
    fp32 = max(r["fp32_error"] for r in records)
    bf16 = sorted(abs(a - b) for r in records for a, b in zip(r["logprobs"], r["bf16_logprobs"]))
    idle = int((used == 0).sum()) if used is not None else 0
    share = f"{float(used.min(dim=1).values.min() / used[0].sum()):.3f}" if used is not None else "-"
    text = (f"{distinct} distinct of {len(tokens)} tokens, at least {least} a prompt, {repeats:.2f} repeated, margin {margin:.4f}, "
            f"router gap {gap:.1e}, FP32 error {fp32:.1e}, "
            f"BF16 error mean {sum(bf16) / len(bf16):.2f} max {bf16[-1]:.2f}, idle experts {idle}, "
            f"least share {share}, {sum('eos_at' in r for r in records)} prompts meet an end token")
    good = (distinct >= len(tokens) // 4 and least >= 6 and repeats < 0.15 and margin > 0.002 and gap > 2e-5 and
            fp32 < 2e-5 and idle == 0)
    return text, good


def compact(value):
    """JSON with 9 significant digits."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)}: {compact(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(compact(v) for v in value) + "]"
    return f"{value:.9g}" if isinstance(value, float) else json.dumps(value)


def write_golden(folder, data):
    with open(os.path.join(folder, "golden.json"), "w", encoding="utf-8") as f:
        f.write("{\n")
        for key, value in data.items():
            last = key == list(data)[-1]
            if key == "prompts":
                f.write('"prompts": [\n' + ",\n".join(compact(r) for r in value) + "\n]")
            else:
                f.write(f"{json.dumps(key)}: {compact(value)}")
            f.write("\n" if last else ",\n")
        f.write("}\n")


def make(folder, name, spec):
    """Writes one model's folder; returns golden.json's contents and the experts' use."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    write_config(folder, spec, [spec["config"]["eos_token_id"]])
    write_tensors(folder, make_tensors(name, spec), spec["shards"])
    data, used = golden(folder, name, spec)
    write_golden(folder, data)
    for file in os.listdir(folder):
        os.chmod(os.path.join(folder, file), 0o644)
    return data, used


def differences(old, new, where=""):
    """Where two JSON values differ: numbers with a point by more than 1e-5, anything else at all."""
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        for k in old:
            if k not in ("made_with", "fp32_error", "bf16_logprobs", "transformers_version"):
                yield from differences(old[k], new[k], f"{where}.{k}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (a, b) in enumerate(zip(old, new)):
            yield from differences(a, b, f"{where}[{i}]")
    elif isinstance(old, float) or isinstance(new, float):
        if abs(old - new) > 1e-5 * max(1.0, abs(old)):
            yield f"{where}: {old} is there, {new} was computed"
    elif old != new:
        yield f"{where}: {str(old)[:60]} is there, {str(new)[:60]} was computed"


def check(folder, name, spec):
    """What in `folder` is not what this script makes: a list of complaints."""
    with tempfile.TemporaryDirectory() as scratch:
        fresh = os.path.join(scratch, name)
        make(fresh, name, spec)
        bad = []
        if not os.path.isdir(folder) or sorted(os.listdir(folder)) != sorted(os.listdir(fresh)):
            return [f"{folder}: not the files {' '.join(sorted(os.listdir(fresh)))}"]
        for file in sorted(os.listdir(fresh)):
            a, b = (open(os.path.join(d, file), "rb").read() for d in (folder, fresh))
            if file.endswith(".json"):
                bad += [f"{folder}/{file}: {d}" for d in differences(json.loads(a), json.loads(b))]
            elif a != b:
                bad.append(f"{folder}/{file}: other bytes than were computed")
        return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=" ".join(MODELS))
    parser.add_argument("--out", default=os.path.join(HERE, "models"), help="folder of the models (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="compare what is there with what this script makes")
    parser.add_argument("--search", type=int, metavar="N", help="try N seeds, write nothing")
    args = parser.parse_args()
    unknown = [n for n in args.names if n not in MODELS]
    if unknown:
        parser.error(f"no model {unknown[0]}; there are {' '.join(MODELS)}")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    failed = 0
    for name in args.names or MODELS:
        spec, folder = MODELS[name], os.path.join(args.out, name)
        if args.check:
            bad = check(folder, name, spec)
            failed += len(bad) > 0
            print(f"{name}: " + ("as computed" if not bad else "differs\n  " + "\n  ".join(bad[:10])), flush=True)
        elif args.search:
            with tempfile.TemporaryDirectory() as scratch:
                for seed in range(1, args.search + 1):
                    try:
                        text, good = quality(*make(os.path.join(scratch, name), name, dict(spec, seed=seed)))
                    except SystemExit as e:
                        text, good = str(e), False
                    print(f"{name} seed {seed} {'good' if good else 'poor'}: {text}", flush=True)
                    if good:
                        break
        else:
            data, used = make(folder, name, spec)
            check_generate(folder, data)
            text, good = quality(data, used)
            failed += not good
            print(f"{name}: {'' if good else 'POOR: '}{text}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
