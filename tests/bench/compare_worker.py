# SPDX-License-Identifier: Apache-2.0
"""What the programs that `compare` measures have in common: a process that holds its model and is idle until it gets
a request, so that rounds of several programs can alternate and nobody's loading is counted.

A request is a line of JSON on standard input, its answer one on standard output; whatever else a library prints there
goes to standard error. The two requests:

  {"do": "measure", "case": {...}, "setting": {...}}  ->  {"tokens_per_s": x, "seconds": s}
  {"do": "score", "tokens": [...], "prompt": n}       ->  {"best": [...], "logprobs": [...]}
      for each token behind the prompt: what greedy would have chosen in its place, and the token's log-probability

A case has `phase` (prefill or decode), `sequences`, `context` (prefill: of the prompts; decode: at the first step) and
`steps` (decode). What counts is the same for all, see `compare`.
"""
import json
import os
import sys
import traceback


def serve(functions):
    """Answers requests until standard input ends; `functions` is {what to do: function of the request}."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            request = json.loads(line)
            answer = functions[request.pop("do")](**request)
        except Exception as error:  # the caller decides what a failed setting means
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
