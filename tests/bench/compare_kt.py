# SPDX-License-Identifier: Apache-2.0
"""ktransformers' CPU kernel for experts alone (PyPI's kt-kernel): all layers of the model with random BF16 weights, one
after the other, so that weights come from memory as in a decode step.

Prints JSON: {rows: {"flops": multiply-adds x 2 a second, "bandwidth": bytes of weights that the rows need a second}}.

usage: compare_kt.py MODEL THREADS ROWS...
"""
import json
import os
import sys
import time

import torch

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # the library prints on standard output
from kt_kernel import kt_kernel_ext  # noqa: E402


def draw(c):
    """{name: a matrix an expert} of a layer; packed into memory of its own each time it is loaded."""
    hidden, width = c["hidden_size"], c["intermediate_size"]
    shapes = {"gate": (width, hidden), "up": (width, hidden), "down": (hidden, width)}
    return {name: [(torch.randn(shape) * shape[1] ** -0.5).bfloat16() for _ in range(c["num_local_experts"])]
            for name, shape in shapes.items()}


def layer(pool, c, rows, matrices, on_gpu):
    """A layer's experts, loaded."""
    experts, hidden, width = c["num_local_experts"], c["hidden_size"], c["intermediate_size"]
    config = kt_kernel_ext.moe.MOEConfig(experts, c["num_experts_per_tok"], hidden, width, on_gpu.data_ptr())
    config.layer_idx, config.pool, config.max_len = 0, pool.backend_, max(rows)
    for name, weights in matrices.items():
        setattr(config, name + "_projs", [[w.data_ptr() for w in weights]])
        setattr(config, name + "_scales", [[0] * experts])
    moe, order = kt_kernel_ext.moe.AMXBF16_MOE(config), torch.arange(experts)
    pool.submit(moe.load_weights_task(order.data_ptr()))
    pool.sync()
    return moe


def main():
    folder, threads, rows = sys.argv[1], int(sys.argv[2]), [int(r) for r in sys.argv[3:]]
    with open(os.path.join(folder, "config.json")) as file:
        c = json.load(file)
    torch.manual_seed(1)
    workers = kt_kernel_ext.WorkerPoolConfig()
    workers.subpool_count, workers.subpool_numa_map, workers.subpool_thread_count = 1, [0], [threads]
    pool = kt_kernel_ext.CPUInfer(workers)
    matrices, on_gpu = draw(c), torch.zeros(c["num_local_experts"], dtype=torch.bool)
    layers = [layer(pool, c, rows, matrices, on_gpu) for _ in range(c["num_hidden_layers"])]
    top_k, experts, hidden = c["num_experts_per_tok"], c["num_local_experts"], c["hidden_size"]
    weights, found = 3 * hidden * c["intermediate_size"], {}
    for n in rows:
        x, y, count = torch.randn(n, hidden).bfloat16(), torch.zeros(n, hidden).bfloat16(), torch.tensor([n], dtype=torch.int32)
        ids = torch.stack([torch.randperm(experts)[:top_k] for _ in range(n)]).contiguous()
        share = torch.full((n, top_k), 1 / top_k)
        seconds = []
        while len(seconds) < 3 or sum(seconds) * len(layers) < 1:
            begin = time.perf_counter()
            for moe in layers:
                pool.submit(moe.forward_task(count.data_ptr(), top_k, ids.data_ptr(), share.data_ptr(), x.data_ptr(),
                                             y.data_ptr(), False))
                pool.sync()
            seconds.append((time.perf_counter() - begin) / len(layers))
        best = min(seconds)
        found[n] = {"flops": 2 * n * top_k * weights / best, "bandwidth": 2 * len(ids.unique()) * weights / best}
    answers.write(json.dumps(found) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
