#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains the quickstart model: a narrow Mixtral (16 layers x 16 experts, top 2) that adds, sorts, reverses and counts.

Everything follows from the seed: the problems, the initial weights, the order of training. Needs PyPI's torch,
tokenizers and safetensors (and transformers for --verify), no GPU, and some 15 minutes of two free cores:

    python3 graphs/quickstart/train.py              # trains, writes model/ and the prompt files beside this script
    python3 graphs/quickstart/train.py --verify     # only measures model/ with transformers on the held-back rows

What is special to this script, and what is not:
  - The network is Mixtral's, to the letter: RMSNorm before attention and before the experts, rotary positions,
    softmax over 16 experts, the best two renormalised, SwiGLU experts. Nothing here needs special inference code.
  - The training loss has two terms besides the usual cross entropy of the answer's tokens. The first is the Switch
    Transformer's load balance. The second is told which task each row belongs to: it asks, in every layer, that
    knowing the task tells something about the experts (mutual information), up to a limit, so that a reader
    sees other experts at work for other tasks. The saved model sees nothing but the text.
  - Held-back problems are chosen by a hash of the problem without its order: neither 47 + 85 nor 85 + 47, no
    permutation of a held-back list and no use of a held-back word is ever trained on. The English words below
    are all held back; training uses made-up ones.
"""
import argparse
import hashlib
import json
import math
import os
import random
import tempfile
import time

import torch
import torch.distributed
import torch.multiprocessing
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

HERE = os.path.dirname(os.path.abspath(__file__))
MODEL_DIR = os.path.join(HERE, "model")
TASKS = ("add", "sort", "reverse", "count")

LAYERS, HIDDEN, HEADS, HEAD_DIM = 16, 64, 4, 16
EXPERTS, TOP_K, EXPERT_HIDDEN = 16, 2, 32
EPS, ROPE_THETA, MAX_POSITIONS = 1e-5, 100.0, 2048

NEW_TOKENS = 16  # more than any answer has

WORDS = """apple banana cherry lemon melon orange peach plum grape olive bread butter cheese honey sugar pepper
stone river ocean forest meadow valley island desert garden window mirror candle pencil paper letter number table
chair carpet hammer needle bottle basket button ribbon rocket engine wheel bridge tunnel castle temple market
harbor tower street corner winter summer spring autumn morning evening shadow thunder cloud storm breeze silver
copper golden purple yellow green black white brown little simple gentle clever bright quiet happy lucky
rabbit kitten puppy tiger zebra monkey donkey parrot pigeon spider beetle salmon turtle dragon wizard knight
doctor farmer sailor singer dancer writer painter teacher student cousin sister brother mother father people
seven eleven twelve hundred minute second moment season music violin guitar piano trumpet drum dance story
mississippi tennessee committee balloon coffee cotton pillow hollow follow better matter rattle
bubble puzzle drizzle jazz buzz noon level radar civic refer kayak rotor solos stats pop eye dad mum deed
cat dog sun moon star tree leaf root seed rain snow wind fire lake hill road boat ship door book lamp desk""".split()


# ---- Tokenizer: byte-level BPE in Llama 3's manner, with the few words of these tasks whole ----

def make_tokenizer():
    """Digits and letters stay single, so that an answer is spelled out; a number's first digit carries the blank."""
    byte_alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    digits = "0123456789"
    whole = ["add", "sort", "reverse", "count", "\u0120in", "\u0120=", "\u0120+"]
    tokens = ["<pad>", "<s>", "</s>"] + byte_alphabet + ["\u0120" + d for d in digits] + whole
    model = models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[("\u0120", d) for d in digits],
        ignore_merges=True)  # a piece that is a token is taken whole; merges would need tokens such as "rev"
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<pad>", "<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1",
        special_tokens=[("<s>", 1)])
    return tokenizer


# ---- Problems ----

HELD_BACK_WORDS = {"word " + word for word in WORDS}


def is_held_back(key):
    return key in HELD_BACK_WORDS or hashlib.sha256(key.encode()).digest()[0] < 26  # one in ten


def made_up_word(rng, shortest, longest):
    length = rng.randint(shortest, longest)
    if rng.random() < 0.5:
        return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(length))
    vowel = rng.random() < 0.5  # something that can be pronounced
    letters = []
    while len(letters) < length:
        letters.append(rng.choice("aeiou") if vowel else rng.choice("bcdfghjklmnprstvwyz"))
        if rng.random() < 0.15:
            letters.append(letters[-1])
        vowel = not vowel
    return "".join(letters[:length])


def repetitive_word(rng):
    few = rng.sample("abcdefghijklmnopqrstuvwxyz", rng.randint(2, 5))
    return "".join(rng.choice(few) for _ in range(rng.randint(3, 11)))


def problem(rng, task, held_back):
    """One (prompt, answer) of the task from the wanted side of the split."""
    while True:
        if task == "add":
            a, b = (rng.randint(0, 9 if rng.random() < 0.1 else 99) for _ in range(2))
            key = "add %d %d" % (min(a, b), max(a, b))
            prompt, answer = "add %d + %d =" % (a, b), str(a + b)
        elif task == "sort":
            numbers = [rng.randint(0, 9) for _ in range(rng.randint(3, 6))]
            key = "sort " + " ".join(map(str, sorted(numbers)))
            prompt = "sort " + " ".join(map(str, numbers)) + " ="
            answer = " ".join(map(str, sorted(numbers)))
        else:
            if held_back and rng.random() < 0.5:
                word = rng.choice(WORDS)
            elif task == "reverse" or rng.random() < 0.4:
                word = made_up_word(rng, 3, 7 if task == "reverse" else 11)
            else:
                word = repetitive_word(rng)
            if task == "reverse":
                if len(word) > 7:
                    continue
                prompt, answer = "reverse %s =" % word, word[::-1]
            else:
                letter = rng.choice(word) if rng.random() < 0.85 else rng.choice("abcdefghijklmnopqrstuvwxyz")
                if word.count(letter) > 9:
                    continue
                prompt, answer = "count %s in %s =" % (letter, word), str(word.count(letter))
            key = "word " + word
        if is_held_back(key) == held_back:
            return prompt, " " + answer


class Batch:
    """Problems as one flat list of tokens, so that only attention sees padding, and little of it.

    Rows are sorted by length and cut into groups; a group is padded to its longest row.
    """

    def __init__(self, tokenizer, rows, groups=4):
        prompts = [e.ids for e in tokenizer.encode_batch_fast([r[1] for r in rows])]
        answers = [e.ids + [2] for e in tokenizer.encode_batch_fast([r[2] for r in rows], add_special_tokens=False)]
        order = sorted(range(len(rows)), key=lambda i: len(prompts[i]) + len(answers[i]))
        ids, position, task, target, self.groups, self.row = [], [], [], [], [], []
        cut = [len(order) * g // groups for g in range(groups + 1)]
        for first, last in zip(cut, cut[1:]):
            if first == last:
                continue
            longest = len(prompts[order[last - 1]]) + len(answers[order[last - 1]]) - 1
            self.groups.append((len(ids), last - first, longest))
            for i in order[first:last]:
                whole = prompts[i] + answers[i]
                pad = longest - (len(whole) - 1)
                ids += whole[:-1] + [0] * pad
                position += range(longest)
                task += [-1] + [rows[i][0]] * (len(whole) - 2) + [-1] * pad  # <s> cannot know its task
                target += [-1] * (len(prompts[i]) - 1) + answers[i] + [-1] * pad
                self.row += [i] * longest
        self.ids, self.position = torch.tensor(ids), torch.tensor(position)
        self.task, target = torch.tensor(task), torch.tensor(target)
        self.where = (target >= 0).nonzero().squeeze(1)
        self.target = target[self.where]
        self.row = torch.tensor(self.row)[self.where]
        self.row_task = torch.tensor([r[0] for r in rows])


# ---- The network: parameters of all layers are stacked, tensors are [layer][...][out][in] ----

def initial_parameters(vocab, seed):
    g = torch.Generator().manual_seed(seed)

    def normal(*shape, std):
        return torch.nn.Parameter(torch.randn(*shape, generator=g) * std)

    into, back = HIDDEN ** -0.5, (2 * LAYERS) ** -0.5  # what returns to the residual stream starts small
    return {
        "embed": normal(vocab, HIDDEN, std=0.5),
        "norm_attention": torch.nn.Parameter(torch.ones(LAYERS, HIDDEN)),
        "qkv": normal(LAYERS, 3, HEADS * HEAD_DIM, HIDDEN, std=into),
        "out": normal(LAYERS, HIDDEN, HEADS * HEAD_DIM, std=back * (HEADS * HEAD_DIM) ** -0.5),
        "norm_experts": torch.nn.Parameter(torch.ones(LAYERS, HIDDEN)),
        "router": normal(LAYERS, EXPERTS, HIDDEN, std=into * 0.3),
        "gate_up": normal(LAYERS, EXPERTS, 2, EXPERT_HIDDEN, HIDDEN, std=into),
        "down": normal(LAYERS, EXPERTS, HIDDEN, EXPERT_HIDDEN, std=back * EXPERT_HIDDEN ** -0.5),
        "norm_last": torch.nn.Parameter(torch.ones(HIDDEN)),
        "head": normal(vocab, HIDDEN, std=into * 0.3),
    }


class Gather(torch.autograd.Function):
    """rows[index] where `back` names the places that want each row: the gradient is a gather too, never a scatter."""

    @staticmethod
    def forward(ctx, rows, index, back):
        ctx.save_for_backward(back)
        return rows.index_select(0, index)

    @staticmethod
    def backward(ctx, grad):
        back, = ctx.saved_tensors
        if back.dim() == 1:
            return grad.index_select(0, back), None, None
        return sum(grad.index_select(0, column) for column in back.unbind(1)), None, None


class GroupedSwiGLU(torch.autograd.Function):
    """Rows lie sorted by expert; ends[e] is where expert e's rows end. One plain matmul an expert, no padding."""

    @staticmethod
    def forward(ctx, x, gate_up, down, ends):
        h, y = x.new_empty(x.shape[0], 2 * EXPERT_HIDDEN), torch.empty_like(x)
        for e, (first, last) in enumerate(zip([0] + ends, ends)):
            torch.mm(x[first:last], gate_up[e].t(), out=h[first:last])
        gate, up = h.chunk(2, dim=-1)
        sigmoid = gate.sigmoid()
        inner = gate * sigmoid * up
        for e, (first, last) in enumerate(zip([0] + ends, ends)):
            torch.mm(inner[first:last], down[e].t(), out=y[first:last])
        ctx.save_for_backward(x, gate_up, down, h, sigmoid, inner)
        ctx.ends = ends
        return y

    @staticmethod
    def backward(ctx, grad):
        x, gate_up, down, h, sigmoid, inner = ctx.saved_tensors
        grad_inner, grad_h, grad_x = torch.empty_like(inner), torch.empty_like(h), torch.empty_like(x)
        grad_gate_up, grad_down = torch.empty_like(gate_up), torch.empty_like(down)
        for e, (first, last) in enumerate(zip([0] + ctx.ends, ctx.ends)):
            torch.mm(grad[first:last], down[e], out=grad_inner[first:last])
            torch.mm(grad[first:last].t(), inner[first:last], out=grad_down[e])
        gate, up = h.chunk(2, dim=-1)
        silu = gate * sigmoid
        torch.mul(grad_inner, silu, out=grad_h[:, EXPERT_HIDDEN:])
        torch.mul(grad_inner.mul_(up), sigmoid + silu - silu * sigmoid, out=grad_h[:, :EXPERT_HIDDEN])
        for e, (first, last) in enumerate(zip([0] + ctx.ends, ctx.ends)):
            torch.mm(grad_h[first:last], gate_up[e], out=grad_x[first:last])
            torch.mm(grad_h[first:last].t(), x[first:last], out=grad_gate_up[e])
        return grad_x, grad_gate_up, grad_down, None


def experts_forward(x, weight, index, gate_up, down):
    """The chosen experts only, and their weighted sum."""
    flat = index.flatten()
    order = flat.argsort(stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(order.numel())
    ends = flat.bincount(minlength=EXPERTS).cumsum(0).tolist()
    grouped = Gather.apply(x, order // TOP_K, place.view(-1, TOP_K))
    grouped = GroupedSwiGLU.apply(grouped, gate_up.flatten(1, 2), down, ends)
    return (weight.unsqueeze(2) * Gather.apply(grouped, place, order).view(-1, TOP_K, HIDDEN)).sum(1)


def forward(p, batch, routing=None):
    """Logits at batch.where, and the two router terms; appends each layer's chosen experts to `routing`."""
    frequency = ROPE_THETA ** (-torch.arange(0, HEAD_DIM, 2) / HEAD_DIM)
    angle = batch.position[:, None] * torch.cat((frequency, frequency))
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    real = batch.task >= 0
    member = F.one_hot(batch.task.clamp(min=0), len(TASKS)).float() * real[:, None]
    member = member / member.sum(0).clamp(min=1.0)  # a column averages over its task's tokens
    x = F.embedding(batch.ids, p["embed"])
    balance, informed = 0.0, 0.0
    for norm1, qkv, out, norm2, router, gate_up, down in zip(*(p[n].unbind(0) for n in
            ("norm_attention", "qkv", "out", "norm_experts", "router", "gate_up", "down"))):
        h = F.rms_norm(x, (HIDDEN,), norm1, EPS)
        h = F.linear(h, qkv.view(-1, HIDDEN)).view(-1, 3 * HEADS, HEAD_DIM)
        qk, v = h[:, :2 * HEADS], h[:, 2 * HEADS:]
        qk = qk * cos + torch.cat((-qk[..., HEAD_DIM // 2:], qk[..., :HEAD_DIM // 2]), -1) * sin
        parts = []
        for first, rows, length in batch.groups:
            part = slice(first, first + rows * length)
            q, k, w = (t[part].view(rows, length, HEADS, HEAD_DIM).transpose(1, 2)
                for t in (qk[:, :HEADS], qk[:, HEADS:], v))
            a = F.scaled_dot_product_attention(q, k, w, is_causal=True)
            parts.append(a.transpose(1, 2).reshape(rows * length, -1))
        x = x + F.linear(torch.cat(parts), out)
        h = F.rms_norm(x, (HIDDEN,), norm2, EPS)
        prob = F.linear(h, router).softmax(-1)
        weight, index = prob.topk(TOP_K, -1)
        x = x + experts_forward(h, weight / weight.sum(-1, keepdim=True), index, gate_up, down)
        if routing is not None:
            routing.append(index)
        share = F.one_hot(index, EXPERTS).sum(1).float()[real].mean(0) / TOP_K
        by_task = member.t() @ prob  # [task][expert]
        mean = by_task.mean(0)
        balance = balance + EXPERTS * (share * mean).sum() / LAYERS
        entropy = -(mean * mean.clamp(min=1e-9).log()).sum()
        within = -(by_task * by_task.clamp(min=1e-9).log()).sum(-1).mean()
        informed = informed + (TASK_INFORMATION - (entropy - within)).clamp(min=0.0) / LAYERS
    h = F.rms_norm(x[batch.where], (HIDDEN,), p["norm_last"], EPS)
    return F.linear(h, p["head"]), balance, informed


# ---- Training ----

SEED, STEPS, ROWS, WARM_UP = 20, 3000, 384, 100
MATRIX_RATE, VECTOR_RATE, DECAY = 0.02, 0.004, 0.02
SHARES = (0, 0, 0, 1, 1, 2, 2, 3, 3, 3)  # of the tasks in training: adding and counting take longest to learn
BALANCE, INFORMED, TASK_INFORMATION = 0.01, 0.03, 0.8  # nats; four tasks kept wholly apart would be ln 4 = 1.39
MATRICES = ("qkv", "out", "gate_up", "down")


def orthogonal(g):
    """The nearest orthogonal matrices, roughly, by Newton-Schulz (the Muon optimiser), all matrices at once."""
    shape = g.shape
    g = g.reshape(-1, *shape[-2:])
    tall = shape[-2] > shape[-1]
    if tall:
        g = g.transpose(1, 2)
    g = g / (g.norm(dim=(1, 2), keepdim=True) + 1e-12)
    for _ in range(5):
        s = torch.bmm(g, g.transpose(1, 2))
        g = 3.4445 * g + torch.bmm(-4.7750 * s + 2.0315 * torch.bmm(s, s), g)
    return (g.transpose(1, 2) if tall else g).reshape(shape)


class Optimiser:
    """Muon for the matrices of the layers, Adam for embedding, head, routers and norms."""

    def __init__(self, parameters):
        self.parameters, self.step_count = parameters, 0
        self.first = {n: torch.zeros_like(p) for n, p in parameters.items()}
        self.second = {n: torch.zeros_like(p) for n, p in parameters.items() if n not in MATRICES}

    @torch.no_grad()
    def step(self, scale):
        self.step_count += 1
        norm = math.sqrt(sum(float(p.grad.square().sum()) for n, p in self.parameters.items() if n not in MATRICES))
        clip = min(1.0, 1.0 / (norm + 1e-6))
        for n, p in self.parameters.items():
            if n in MATRICES:
                m = self.first[n].lerp_(p.grad, 0.05)
                update = orthogonal(p.grad.lerp(m, 0.95)) * max(1.0, p.shape[-2] / p.shape[-1]) ** 0.5
                p.mul_(1 - DECAY * MATRIX_RATE * scale).sub_(update, alpha=MATRIX_RATE * scale)
            else:
                m = self.first[n].lerp_(p.grad * clip, 0.1)
                v = self.second[n].lerp_((p.grad * clip).square(), 0.02)
                m, v = m / (1 - 0.9 ** self.step_count), v / (1 - 0.98 ** self.step_count)
                p.sub_(m / (v.sqrt() + 1e-8), alpha=VECTOR_RATE * scale)
            p.grad = None


@torch.no_grad()
def accuracy(p, tokenizer, rows):
    """Share of rows by task whose every next token is right given the right ones before: as greedy decoding finds."""
    batch = Batch(tokenizer, rows)
    logits, _, _ = forward(p, batch)
    wrong = torch.zeros(len(rows)).index_add_(0, batch.row, (logits.argmax(-1) != batch.target).float())
    right = (wrong == 0).float()
    return [float(right[batch.row_task == t].mean()) for t in range(len(TASKS))]


def draw_rows(rng, count, held_back, shares=range(len(TASKS))):
    return [(t, *problem(rng, TASKS[t], held_back)) for t in (shares[i % len(shares)] for i in range(count))]


def train(rank, ranks, rendezvous, steps, rows, save_every):
    """One of `ranks` processes with one thread each: every one takes its own rows, gradients are averaged."""
    torch.set_num_threads(1)
    if ranks > 1:
        torch.distributed.init_process_group("gloo", init_method="file://" + rendezvous, rank=rank, world_size=ranks)
    tokenizer = make_tokenizer()
    p = initial_parameters(tokenizer.get_vocab_size(), SEED)
    optimiser, rng = Optimiser(p), random.Random(SEED * 1000 + rank)
    check = draw_rows(random.Random(SEED + 1), 800, True)
    began = time.monotonic()
    for step in range(1, steps + 1):
        batch = Batch(tokenizer, draw_rows(rng, rows // ranks, False, SHARES))
        logits, balance, informed = forward(p, batch)
        loss = F.cross_entropy(logits, batch.target)
        (loss + BALANCE * balance + INFORMED * informed).backward()
        if ranks > 1:
            flat = torch.cat([t.grad.flatten() for t in p.values()])
            torch.distributed.all_reduce(flat)
            for t, g in zip(p.values(), flat.div_(ranks).split([t.numel() for t in p.values()])):
                t.grad = g.view_as(t)
        optimiser.step(min(step / WARM_UP, 1.0, (steps - step + 1) / (0.6 * steps)))
        if rank == 0 and (step % 50 == 0 or step == steps):
            line = "step %5d  %5.0f s  loss %.4f  balance %.3f  uninformed %.3f" % (step, time.monotonic() - began,
                *(float(t.detach()) for t in (loss, balance, informed)))
            if step % 200 == 0 or step == steps:
                line += "  held back: " + "  ".join("%s %.3f" % x for x in zip(TASKS, accuracy(p, tokenizer, check)))
            print(line, flush=True)
        if rank == 0 and ((save_every and step % save_every == 0) or step == steps):
            save(p, tokenizer)
    if ranks > 1:
        torch.distributed.destroy_process_group()


# ---- The saved directory ----

def write_json(path, value):
    with open(path, "w") as f:
        json.dump(value, f, indent=2)
        f.write("\n")


def save(p, tokenizer):
    os.makedirs(MODEL_DIR, exist_ok=True)
    tokenizer.save(os.path.join(MODEL_DIR, "tokenizer.json"))
    write_json(os.path.join(MODEL_DIR, "tokenizer_config.json"), {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>",
        "add_bos_token": True, "add_eos_token": False, "clean_up_tokenization_spaces": False,
        "model_max_length": MAX_POSITIONS})
    write_json(os.path.join(MODEL_DIR, "config.json"), {
        "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "vocab_size": p["embed"].shape[0],
        "hidden_size": HIDDEN, "intermediate_size": EXPERT_HIDDEN, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "head_dim": HEAD_DIM, "hidden_act": "silu",
        "max_position_embeddings": MAX_POSITIONS, "rms_norm_eps": EPS, "rope_theta": ROPE_THETA,
        "sliding_window": None, "attention_dropout": 0.0, "num_local_experts": EXPERTS,
        "num_experts_per_tok": TOP_K, "tie_word_embeddings": False, "output_router_logits": False,
        "router_aux_loss_coef": BALANCE, "initializer_range": 0.02, "use_cache": True,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "bfloat16"})
    write_json(os.path.join(MODEL_DIR, "generation_config.json"), {
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "do_sample": False, "max_new_tokens": 16})
    tensors = {"model.embed_tokens.weight": p["embed"], "model.norm.weight": p["norm_last"],
        "lm_head.weight": p["head"]}
    for i in range(LAYERS):
        layer = "model.layers.%d." % i
        tensors[layer + "input_layernorm.weight"] = p["norm_attention"][i]
        tensors[layer + "post_attention_layernorm.weight"] = p["norm_experts"][i]
        for n, name in enumerate(("q_proj", "k_proj", "v_proj")):
            tensors[layer + "self_attn.%s.weight" % name] = p["qkv"][i, n]
        tensors[layer + "self_attn.o_proj.weight"] = p["out"][i]
        moe = layer + "block_sparse_moe."
        tensors[moe + "gate.weight"] = p["router"][i]
        for e in range(EXPERTS):
            tensors[moe + "experts.%d.w1.weight" % e] = p["gate_up"][i, e, 0]
            tensors[moe + "experts.%d.w3.weight" % e] = p["gate_up"][i, e, 1]
            tensors[moe + "experts.%d.w2.weight" % e] = p["down"][i, e]
    tensors = {n: t.detach().to(torch.bfloat16).contiguous().clone() for n, t in tensors.items()}
    assert all(bool(t.isfinite().all()) for t in tensors.values())
    save_file(tensors, os.path.join(MODEL_DIR, "model.safetensors"), metadata={"format": "pt"})
    os.chmod(os.path.join(MODEL_DIR, "model.safetensors"), 0o644)


def write_rows(name, answers_name, rows):
    ids = ["%s-%03d" % (TASKS[task], i) for i, (task, _, _) in enumerate(rows)]
    with open(os.path.join(HERE, name), "w") as f:
        for i, (_, prompt, _) in zip(ids, rows):
            f.write(json.dumps({"id": i, "prompt": prompt, "max_new_tokens": NEW_TOKENS}) + "\n")
    with open(os.path.join(HERE, answers_name), "w") as f:
        for i, (_, _, answer) in zip(ids, rows):
            f.write(json.dumps({"id": i, "answer": answer}) + "\n")


def write_prompts():
    """400 held-back problems for the test, 24 others to show, whose words are all English ones."""
    rng, seen = random.Random(SEED + 2), set()

    def fresh(count, shown):
        rows = []
        while len(rows) < count:
            row = draw_rows(rng, len(TASKS), True)[len(rows) % len(TASKS)]
            english = row[0] < 2 or row[1].split()[-2] in WORDS
            dull = TASKS[row[0]] == "count" and row[2] in (" 0", " 1")
            if row[1] not in seen and not (shown and (dull or not english)):
                seen.add(row[1])
                rows.append(row)
        return rows

    write_rows("prompts.jsonl", "answers.jsonl", fresh(24, True))
    write_rows("heldout.jsonl", "heldout_answers.jsonl", fresh(400, False))


# ---- Measuring the saved directory ----

def read_rows(name, answers_name):
    with open(os.path.join(HERE, name)) as rows, open(os.path.join(HERE, answers_name)) as answers:
        return [(json.loads(r), json.loads(a)["answer"]) for r, a in zip(rows, answers)]


def verify():
    """Greedy decoding by transformers from the saved directory, and which experts served which task."""
    from transformers import AutoTokenizer, MixtralForCausalLM
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    for dtype in (torch.float32, torch.bfloat16):
        model = MixtralForCausalLM.from_pretrained(MODEL_DIR, dtype=dtype).eval()
        chosen = torch.zeros(len(TASKS), LAYERS, EXPERTS)
        for names in (("prompts.jsonl", "answers.jsonl"), ("heldout.jsonl", "heldout_answers.jsonl")):
            right, total, by_length = [0] * len(TASKS), [0] * len(TASKS), {}
            for row, answer in read_rows(*names):
                ids = tokenizer(row["prompt"])["input_ids"]
                by_length.setdefault(len(ids), []).append((row, answer, ids))
            for rows in by_length.values():
                ids = torch.tensor([r[2] for r in rows])
                with torch.no_grad():
                    made = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS)
                    logits = model(made, output_router_logits=True).router_logits
                for i, (row, answer, prompt) in enumerate(rows):
                    task = TASKS.index(row["id"].split("-")[0])
                    text = tokenizer.decode(made[i, len(prompt):], skip_special_tokens=True)
                    ended = 2 in made[i, len(prompt):]
                    right[task] += text == answer and ended
                    total[task] += 1
                    if not (text == answer and ended):
                        print("  %s %r -> %r, not %r" % (row["id"], row["prompt"], text, answer))
                    fed = len(prompt) + len(tokenizer(answer, add_special_tokens=False)["input_ids"])
                    for layer, l in enumerate(logits):
                        l = l.view(*made.shape, EXPERTS)[i, 1:fed]  # <s> is the same for all
                        chosen[task, layer] += F.one_hot(l.topk(TOP_K).indices, EXPERTS).sum((0, 1))
            print("%s, %s: %s" % (str(dtype), names[0], "  ".join(
                "%s %d/%d" % (t, r, n) for t, r, n in zip(TASKS, right, total))))
        if dtype == torch.float32:
            share = chosen / chosen.sum(-1, keepdim=True)
            report_experts(share)


def report_experts(share):
    print("experts by task, share of the task's choices in percent (task tokens of all measured rows)")
    for layer in range(LAYERS):
        print("layer %2d  " % layer + "   ".join("%s %s" % (TASKS[t], " ".join("%d:%d" % (e, round(100 * float(v)))
            for v, e in zip(*(x.tolist() for x in share[t, layer].topk(4))))) for t in range(len(TASKS))))
    mean = share.mean(0)
    print("least used expert of each layer: " + " ".join("%.1f" % (100 * float(v)) for v in mean.min(-1).values))
    print("most used expert of each layer:  " + " ".join("%.1f" % (100 * float(v)) for v in mean.max(-1).values))


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--steps", type=int, default=STEPS, help="(%(default)s)")
    arguments.add_argument("--rows", type=int, default=ROWS, help="problems a step (%(default)s)")
    arguments.add_argument("--ranks", type=int, default=2, help="training processes, one thread each (%(default)s)")
    arguments.add_argument("--save-every", type=int, default=0, help="also save after every so many steps")
    arguments.add_argument("--verify", action="store_true", help="measure the saved model, train nothing")
    options = arguments.parse_args()
    if options.verify:
        verify()
        return
    write_prompts()
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(train, nprocs=options.ranks, args=(options.ranks,
            os.path.join(folder, "rendezvous"), options.steps, options.rows, options.save_every))


if __name__ == "__main__":
    main()
