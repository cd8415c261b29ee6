#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/tokenizers: small tokenizers of every supported kind, and what the `tokenizers` library
(PyPI, written with 0.23) makes of hard texts and of odd lists of ids.

    python3 tests/golden/make_tokenizers.py [DIR]

Files: texts.json          [text, …]
       NAME.json           a tokenizer.json
       NAME.expected.json  {"plain": [ids of each text], "special": [the same with special tokens added],
                            "decode": [[ids, text without special tokens, text with them], …]}
"""
import json
import os
import random
import sys

from tokenizers import Tokenizer, pre_tokenizers

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+")

CORPUS = """
The actor receives a message, does exactly one thing, and sends the next message on its way. It doesn't wait; we'll
see that it can't, that they've tried, that I'm sure, that you'd agree and that she's right. The experts are chosen
by a router: two of sixteen for every token, and the tokens travel to the experts' devices and back again.
Numbers such as 7, 42, 1024, 65536 and 3.14159 are cut in their own way. for (int i = 0; i < 10; i++) {
	sum += values[i];	/* tabs and    several   spaces */
}
Der Schauspieler erhält eine Nachricht, größer als üblich, und schickt sie über die Straße. L'élève français a déjà
reçu le message à l'œuvre. El niño pequeño envió la señal mañana. Актёр получает сообщение и отправляет его дальше.
俳優はメッセージを受け取り、次のメッセージを送る。 演员收到一条消息，然后发送下一条消息。 배우는 메시지를 받는다.
प्रत्येक संदेश एक कार्य है। كل رسالة مهمة واحدة. כל הודעה היא משימה אחת. 😀 👍🏽 👩‍👩‍👧 🇩🇪 ☕️
"""

TEXTS = [
    "", " ", "  ", "   \n", "\t", "\t\t x", "\r\n", "a\r\nb\r\n\r\nc", "\n\n\n", " leading", "trailing ", "  both  ",
    "Hello world", "Hello  world", "Hello   big    world", "hello\u00a0world\u3000wide\u2003space\u180eend", "a b c d",
    "The actor's message: we'll see, they've DON'T I'M you'd 'tis she'S it'ſ",
    "0 1 12 123 1234 12345 1234567890 3.14159 ١٢٣ Ⅷ ½ ² ①", "x=1+2*3;//ok\n\tif(a&&b){c[i]->d;}",
    "俳優はメッセージを受け取り、次へ送る。", "演员收到一条消息，然后。𠀀𠮷", "배우는 메시지를 받는다", "각 각",
    "प्रत्येक संदेश", "كل رسالة", "שָׁלוֹם", "e\u0301 \u00e9 n\u0303 o\u0308\u0323 \u1e69 s\u0323\u0307 A\u030a \u212b",
    "\ufb01 \u2460 \uff21\uff22 \u33a1 \u017f \u0130 \u1e9e \u03a3\u03c2", "😀👍🏽👩‍👩‍👧🇩🇪☕️ 😀 ", "a😀b 👨‍👩‍👧‍👦.",
    "\u0000", "a\u0000b", "\u0001\u0002\u001f\u007f\u0080\u0085\u200b\ufeff\ufffd", "line\u2028sep\u2029par\u000bvt\u000cff",
    "<s>", "</s>", "<s>Hello</s>", " <s> hi </s> ", "<unk>", "<0x0A>", "<|endoftext|>", "a<|endoftext|>b", "x <|endoftext|> y",
    "<|begin_of_text|>Hi<|eot_id|>", "<|im_start|>user\nHello<|im_end|>\n", "<|im_start|", "[MASK] the[MASK]", " [MASK]  x",
    "<left>  <left>  a", "a  <left>b", "a <right>   b", "<right> <right> <left>", "word sword word-s wordy (word)",
    "Plain PLAIN plain ex-plain", "  <both>  <both>x", "UPPER lower ÄÖÜ ẞ İI", "aaaa" * 50, "ab" * 100, "a" * 31 + " " * 40 + "b",
    "\u2581under\u2581line \u2581", "\u2581", " \u2581", "--the-final--countdown-", "a.b,c!d?e", "...!!!", "don't-stop_it @user #tag $9.99",
    "Ġ Ċ ġ ĉ é", "\U0010ffff\U000e0001", "mixed Привет 你好 مرحبا 🙂 end\n", "\u0301start", "  ﬁne  ", "    indented\n        more\n",
]


def train(pre_tokenizer, size, names=()):
    """Byte pair encoding of CORPUS, the same at every call (the library's trainer breaks ties by hash order)."""
    words = {}
    for line in CORPUS.split("\n"):
        for piece, _ in pre_tokenizer.pre_tokenize_str(line):
            words[piece] = words.get(piece, 0) + 1
    words = [(list(word), count) for word, count in sorted(words.items())]
    names = list(dict.fromkeys(list(names) + sorted({c for word, _ in words for c in word})))
    merges = []
    while len(names) < size:
        pairs = {}
        for word, count in words:
            for pair in zip(word, word[1:]):
                pairs[pair] = pairs.get(pair, 0) + count
        if not pairs:
            break
        best = max(sorted(pairs), key=pairs.get)
        merges.append(list(best))
        names += [best[0] + best[1]] * (best[0] + best[1] not in names)
        for word, _ in words:
            i = 0
            while i + 1 < len(word):
                if word[i] == best[0] and word[i + 1] == best[1]:
                    word[i:i + 2] = [best[0] + best[1]]
                i += 1
    return {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": {name: i for i, name in enumerate(names)}, "merges": merges}


def sentencepiece_model(byte_fallback=True, legacy=False, fuse=True, vocab=700):
    """A BPE model as converted from sentencepiece: control tokens, bytes, then pieces with \u2581 for a space."""
    model = train(pre_tokenizers.Metaspace(), vocab - 259)
    head = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(256)] * byte_fallback
    names = head + sorted(model["vocab"], key=model["vocab"].get)
    if byte_fallback:  # leave some letters to the bytes
        names = [n for n in names if n not in "çœÖ演你😀"]
    vocab = {name: i for i, name in enumerate(names)}
    merges = [m for m in model["merges"] if all(p in vocab for p in (m[0], m[1], m[0] + m[1]))]
    for spaces in ("\u2581\u2581", "\u2581\u2581\u2581\u2581"):
        if spaces not in vocab:
            vocab[spaces] = len(vocab)
            merges.append([spaces[:len(spaces) // 2]] * 2)
    model.update(unk_token="<unk>", fuse_unk=fuse, byte_fallback=byte_fallback, vocab=vocab,
                 merges=[" ".join(m) for m in merges] if legacy else merges)
    return model


def byte_level_model(special=(), vocab=620, ignore_merges=False, legacy=False):
    model = train(pre_tokenizers.ByteLevel(add_prefix_space=False), vocab,
                  list(special) + sorted(pre_tokenizers.ByteLevel.alphabet()))
    model["ignore_merges"] = ignore_merges
    if ignore_merges:  # a word that no merges lead to
        model["vocab"]["\u0120octant"] = len(model["vocab"])
    if legacy:
        model["merges"] = [" ".join(m) for m in model["merges"]]
    return model


def added(id, content, special=True, **flags):
    token = {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": not special, "special": special}
    token.update(flags)
    return token


def document(model, tokens=(), normalizer=None, pre_tokenizer=None, post_processor=None, decoder=None):
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": list(tokens),
            "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": post_processor,
            "decoder": decoder, "model": model}


def template(*tokens):
    """template(("<s>", 1), None, ("</s>", 2)): None is the text."""
    single = [{"Sequence": {"id": "A", "type_id": 0}} if t is None else {"SpecialToken": {"id": t[0], "type_id": 0}}
              for t in tokens]
    return {"type": "TemplateProcessing", "single": single,
            "pair": single + [{"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {t[0]: {"id": t[0], "ids": [t[1]], "tokens": [t[0]]} for t in tokens if t}}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def sequence(key, *parts):
    return {"type": "Sequence", key: list(parts)}


def byte_level(prefix=False, regex=True, trim=True):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": trim, "use_regex": regex}


SPACE = "\u2581"
REPLACE_SPACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
LLAMA_DECODER = sequence("decoders", {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                         {"type": "ByteFallback"}, {"type": "Fuse"},
                         {"type": "Strip", "content": " ", "start": 1, "stop": 0})
CONTROL = [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>")]


def metaspace(scheme="first", cut=False):
    return {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": cut}


def make_all():
    """Each name with its tokenizer.json."""
    made = {}
    made["llama2"] = document(sentencepiece_model(legacy=True), CONTROL, sequence("normalizers", {"type": "Prepend", "prepend": SPACE},
                              REPLACE_SPACE), None, template(("<s>", 1), None), LLAMA_DECODER)
    made["mixtral"] = document(sentencepiece_model(), CONTROL, None, metaspace("first"), template(("<s>", 1), None), LLAMA_DECODER)
    made["metaspace_always"] = document(sentencepiece_model(byte_fallback=False), CONTROL, None, metaspace("always", True),
                                        template(("<s>", 1), None, ("</s>", 2)), metaspace("always", True))
    made["metaspace_never"] = document(sentencepiece_model(byte_fallback=False, fuse=False, vocab=500), CONTROL,
                                       {"type": "NFKC"}, metaspace("never", True), None, metaspace("never", True))

    model = byte_level_model(["<|endoftext|>"], legacy=True)
    made["gpt2"] = document(model, [added(0, "<|endoftext|>", normalized=True)], None, byte_level(), byte_level(), byte_level(True))
    model = byte_level_model(["<s>", "</s>", "<unk>", "[MASK]"], vocab=500)
    made["roberta"] = document(model, [added(0, "<s>"), added(1, "</s>"), added(2, "<unk>"), added(3, "[MASK]", lstrip=True)], None,
                               byte_level(True), {"type": "RobertaProcessing", "sep": ["</s>", 1], "cls": ["<s>", 0],
                                                  "trim_offsets": True, "add_prefix_space": True}, byte_level(True))
    parts = sequence("pretokenizers", split(LLAMA3), byte_level(regex=False))
    model = byte_level_model(ignore_merges=True)
    n = len(model["vocab"])
    made["llama3"] = document(model, [added(n, "<|begin_of_text|>"), added(n + 1, "<|end_of_text|>"), added(n + 2, "<|eot_id|>")], None,
                              parts, sequence("processors", byte_level(True, trim=False), template(("<|begin_of_text|>", n), None)),
                              byte_level(True))
    parts = sequence("pretokenizers", split(QWEN), byte_level(regex=False, trim=False))
    model = byte_level_model(legacy=True)
    n = len(model["vocab"])
    made["qwen2"] = document(model, [added(n, "<|endoftext|>"), added(n + 1, "<|im_start|>"), added(n + 2, "<|im_end|>"),
                                     added(n + 3, "<tool_call>", special=False, normalized=False)],
                             {"type": "NFC"}, parts, byte_level(regex=False, trim=False), byte_level(regex=False, trim=False))
    model = byte_level_model(["|||IP_ADDRESS|||", "<|padding|>"])
    n = len(model["vocab"])
    spaces = [added(n + i, " " * (24 - i), special=False) for i in range(23)]
    made["olmoe"] = document(model, [added(0, "|||IP_ADDRESS|||", special=False), added(1, "<|padding|>")] + spaces +
                             [added(n + 23, "<|endoftext|>")], {"type": "NFC"}, byte_level(),
                             template(None, ("<|endoftext|>", n + 23)), byte_level())

    cuts = sequence("pretokenizers", split(r"[\r\n]"), split(r"\s?[A-Za-zµÀ-ÖØ-öø-ƺ]+"), split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"),
                    split(r"\s+$"), split(r"[一-龥ࠀ-一가-퟿]+"), {"type": "Digits", "individual_digits": True}, byte_level(regex=False))
    made["deepseek"] = document(byte_level_model(vocab=450), [], sequence("normalizers"), cuts, byte_level(True), byte_level(True))
    cuts = sequence("pretokenizers", split("-", "MergedWithPrevious", kind="String"), split(r"\p{Lu}+", "MergedWithNext"),
                    split(r"\s+", "Contiguous"), split(r"[^.]+", "Removed", True), {"type": "Digits", "individual_digits": False},
                    {"type": "Punctuation", "behavior": "Contiguous"}, byte_level(regex=False))
    made["behaviors"] = document(byte_level_model(vocab=400), [], None, cuts, None, byte_level())

    model = sentencepiece_model(byte_fallback=False, vocab=560)
    n = len(model["vocab"])
    zoo = [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>", lstrip=True, rstrip=True),
           added(n, "<left>", lstrip=True), added(n + 1, "<right>", special=False, rstrip=True, normalized=False),
           added(n + 2, "<both>", special=False, lstrip=True, rstrip=True), added(n + 3, "word", special=False, single_word=True),
           added(n + 4, "Plain", special=False), added(n + 5, "PLAIN", special=False, normalized=False),
           added(n + 6, "  ", special=False, normalized=False), added(n + 7, "<|im_start|>", single_word=True),
           added(n + 8, "[MASK]", lstrip=True, normalized=True)]
    made["added_zoo"] = document(model, zoo, sequence("normalizers", {"type": "Lowercase"}, {"type": "Strip", "strip_left": True,
                                 "strip_right": False}, {"type": "NFD"}), metaspace("first", True), None, None)
    words = {piece for piece, _ in pre_tokenizers.Whitespace().pre_tokenize_str(CORPUS)}
    words = {word: i for i, word in enumerate(["<unk>", "<s>", "</s>"] + sorted(words))}
    made["wordlevel"] = document({"type": "WordLevel", "vocab": words, "unk_token": "<unk>"}, CONTROL,
                                 sequence("normalizers", {"type": "Strip", "strip_left": True, "strip_right": True},
                                          {"type": "Replace", "pattern": {"Regex": r"\d+"}, "content": "7"}),
                                 {"type": "Whitespace"}, {"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]}, None)
    model = sentencepiece_model(vocab=460, fuse=False)
    del model["vocab"]["<0xF0>"], model["vocab"]["<0xE5>"]  # characters with these bytes are unknown
    names = sorted(model["vocab"], key=model["vocab"].get)
    model["vocab"] = {name: i for i, name in enumerate(names)}
    made["strip_nfkd"] = document(model, CONTROL, sequence("normalizers", {"type": "NFKD"}, REPLACE_SPACE),
                                  sequence("pretokenizers", {"type": "WhitespaceSplit"}), None,
                                  sequence("decoders", {"type": "ByteFallback"}, {"type": "Strip", "content": SPACE, "start": 1, "stop": 0},
                                           {"type": "Replace", "pattern": {"Regex": r"[aeiou]+"}, "content": "*"}, {"type": "Fuse"},
                                           {"type": "Replace", "pattern": {"String": "**"}, "content": "#"}))
    return made


def id_lists(tokenizer, rng, count=24):
    """Lists of ids that no text gives: pieces of characters, unknown ids, special tokens anywhere, bytes."""
    size = max(tokenizer.get_vocab(True).values()) + 1
    vocab = tokenizer.get_vocab(True)
    byte_ids = sorted(i for t, i in vocab.items() if (len(t) == 6 and t.startswith("<0x")) or (len(t) == 1 and ord(t) > 0xa0))
    lists = [[], [0], [1, 2], [size - 1], [size + 5, 3, size + 100000], [2, 2, 3, 1, 4, 2]]
    for i in range(count):
        pool = byte_ids if byte_ids and i % 3 == 0 else range(size)
        lists.append([rng.choice(pool) if rng.random() < 0.9 else rng.randrange(size + 4) for _ in range(rng.randint(1, 40))])
    return lists


def expected(tokenizer, rng):
    plain = [tokenizer.encode(t, add_special_tokens=False).ids for t in TEXTS]
    special = [tokenizer.encode(t).ids for t in TEXTS]
    lists = id_lists(tokenizer, rng) + [i for i in plain if len(i) < 60]
    decode = []
    for ids in lists:
        decode.append([ids, tokenizer.decode(ids), tokenizer.decode(ids, skip_special_tokens=False)])
    return {"plain": plain, "special": special, "decode": decode}


def write(path, value, ascii=True):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=ascii, separators=(",", ":"))
        file.write("\n")


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "tokenizers")
    os.makedirs(folder, exist_ok=True)
    write(os.path.join(folder, "texts.json"), TEXTS)
    for name, data in make_all().items():
        path = os.path.join(folder, name + ".json")
        write(path, data, ascii=False)
        tokenizer = Tokenizer.from_file(path)
        write(os.path.join(folder, name + ".expected.json"), expected(tokenizer, random.Random(name)))
        print(name, tokenizer.get_vocab_size(), "tokens")


if __name__ == "__main__":
    main()
