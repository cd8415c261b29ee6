#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a checkpoint of Mixtral's form without tokenizer (tools/make_model) as the GGUF file that llama.cpp reads.

llama.cpp's own converter asks for a tokenizer; the tensors come out as it writes them: all experts' matrices of a
layer in one tensor, the rows of q and k in the order of llama.cpp's rope, norms and router in FP32.

usage: compare_gguf.py MODEL OUT.gguf [bf16|f32|q8_0]        (needs PyPI's gguf and numpy)
"""
import json
import os
import struct
import sys

import gguf
import numpy as np


def read_tensors(folder):
    """{name: float32 matrix read on demand} of a BF16 or FP32 checkpoint in one file."""
    path = os.path.join(folder, "model.safetensors")
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(size))
    raw = np.memmap(path, np.uint8, "r", 8 + size)

    def tensor(entry):
        begin, end = entry["data_offsets"]
        if entry["dtype"] == "BF16":
            return (raw[begin:end].view(np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])
        if entry["dtype"] == "F32":
            return raw[begin:end].view(np.float32).reshape(entry["shape"])
        sys.exit(f"{path}: {entry['dtype']} is not converted; BF16 and F32 are")

    return lambda name: tensor(header[name])


def rope_order(matrix, heads):
    """Hugging Face turns pairs (i, i + half) of a head, llama.cpp pairs (2 i, 2 i + 1)."""
    rows, columns = matrix.shape
    return matrix.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    folder, out = sys.argv[1:3]
    kind = getattr(gguf.GGMLQuantizationType, (sys.argv[3] if len(sys.argv) > 3 else "bf16").upper())
    with open(os.path.join(folder, "config.json")) as file:
        c = json.load(file)
    if c["model_type"] != "mixtral":
        sys.exit(f"{folder}: a checkpoint of Mixtral's form is needed, not {c['model_type']}")
    tensor = read_tensors(folder)
    w = gguf.GGUFWriter(out, "llama")
    w.add_block_count(c["num_hidden_layers"])
    w.add_context_length(c["max_position_embeddings"])
    w.add_embedding_length(c["hidden_size"])
    w.add_feed_forward_length(c["intermediate_size"])
    w.add_head_count(c["num_attention_heads"])
    w.add_head_count_kv(c["num_key_value_heads"])
    w.add_key_length(c["head_dim"])
    w.add_value_length(c["head_dim"])
    w.add_rope_dimension_count(c["head_dim"])
    w.add_rope_freq_base(c["rope_theta"])
    w.add_layer_norm_rms_eps(c["rms_norm_eps"])
    w.add_expert_count(c["num_local_experts"])
    w.add_expert_used_count(c["num_experts_per_tok"])
    w.add_vocab_size(c["vocab_size"])
    w.add_tokenizer_model("none")

    def add(name, value, quantised=True):
        if quantised and kind != gguf.GGMLQuantizationType.F32:
            w.add_tensor(name, gguf.quants.quantize(value, kind), raw_dtype=kind)
        else:
            w.add_tensor(name, np.ascontiguousarray(value, np.float32))

    add("token_embd.weight", tensor("model.embed_tokens.weight"))
    add("output_norm.weight", tensor("model.norm.weight"), False)
    add("output.weight", tensor("lm_head.weight"))
    for i in range(c["num_hidden_layers"]):
        of, to = f"model.layers.{i}.", f"blk.{i}."
        add(to + "attn_norm.weight", tensor(of + "input_layernorm.weight"), False)
        add(to + "ffn_norm.weight", tensor(of + "post_attention_layernorm.weight"), False)
        add(to + "attn_q.weight", rope_order(tensor(of + "self_attn.q_proj.weight"), c["num_attention_heads"]))
        add(to + "attn_k.weight", rope_order(tensor(of + "self_attn.k_proj.weight"), c["num_key_value_heads"]))
        add(to + "attn_v.weight", tensor(of + "self_attn.v_proj.weight"))
        add(to + "attn_output.weight", tensor(of + "self_attn.o_proj.weight"))
        add(to + "ffn_gate_inp.weight", tensor(of + "block_sparse_moe.gate.weight"), False)
        for theirs, ours in (("w1", "gate"), ("w2", "down"), ("w3", "up")):
            add(to + f"ffn_{ours}_exps.weight",
                np.stack([tensor(of + f"block_sparse_moe.experts.{e}.{theirs}.weight")
                          for e in range(c["num_local_experts"])]))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


if __name__ == "__main__":
    main()
