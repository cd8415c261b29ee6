/* SPDX-License-Identifier: Apache-2.0
 *
 * The input of a run: a JSON array, JSON lines, or an OpenAI batch file, read whole and checked whole.
 *
 *   {"id": "a", "prompt": "text" | "tokens": [1, 2], "max_new_tokens": 128, "temperature": 0, "top_p": 1,
 *    "top_k": 0, "min_p": 0, "seed": 7, "stop": "x" | ["x", "y"], "ignore_eos": false, "logprobs": false}
 *   {"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"model": "…", "prompt": "text" | [1, 2],
 *    "max_tokens": 128, "temperature": 0, "top_p": 1, "seed": 7, "stop": …, "logprobs": 1, …}}
 *
 * A row that is wrong in itself refuses the whole input with file and line, before anything runs: a key that is not
 * known, a value of another type or range, an id twice, both `prompt` and `tokens` or neither, an empty prompt, a
 * token outside the vocabulary. Lengths that depend on the model or the KV pool are the batcher's to judge. null is
 * as good as leaving a key out. An id may be an integer; then its digits are the id.
 *
 * Of the OpenAI API what is not supported is refused by name: other urls (/v1/chat/completions needs chat templates),
 * n and best_of other than 1, stream, echo, suffix, penalties other than 0, logit_bias. `user` is ignored.
 * `logprobs` gives the chosen token's alone, whatever its number.
 *
 * Defaults: id = the row's number, 1 for the first; max_new_tokens 128; temperature 0 (greedy); top_p 1, top_k 0,
 * min_p 0 (off); seed = the 64-bit FNV-1a hash of the id, which is the same in every run and on every machine. An OpenAI body
 * takes the same defaults (not that API's own 16 tokens at temperature 1), and `top_k`, `min_p`, `ignore_eos` in
 * a body are understood as other servers do. */
#ifndef OCTANT_REQUEST_H
#define OCTANT_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "runtime/batch.h"
#include "runtime/error.h"

#define REQUEST_MAX_STOPS 16
#define REQUEST_MAX_NEW_TOKENS 128 /* the default, not a limit */

struct request {
	char *id;          /* custom_id in the OpenAI form */
	unsigned line;     /* in the input file */
	int32_t *tokens;   /* [prompt_tokens] */
	int prompt_tokens; /* ≥ 1 */
	int max_new_tokens;
	struct sampling sampling;
	bool ignore_eos, logprobs;
	int stops;
	char *stop[REQUEST_MAX_STOPS]; /* UTF-8, not empty */
	size_t stop_bytes[REQUEST_MAX_STOPS];
	bool openai; /* row of an OpenAI batch: the output has that form */
	char *model; /* the body's "model", repeated in its response; NULL: none */
};

struct requests {
	int count;
	struct request *request; /* [count], in the order of the file */
	uint64_t fingerprint; /* of everything that decides tokens: rows in order with ids, tokens, settings */
	int *table; /* [table_size] rows by the hash of their ids, −1: none; for request_find */
	size_t table_size;
};

struct request_options {
	int vocab; /* tokens must be below */
	struct sampling sampling; /* defaults of rows that do not say; its seed is not used */
	int max_new_tokens; /* the same; 0: REQUEST_MAX_NEW_TOKENS */
	bool ignore_eos, logprobs; /* the same */
	/* Turns a prompt into tokens, as tokenizer_encode does; *tokens is freed by request_read. NULL: there is no
	 * tokenizer, rows must give tokens. */
	int (*encode)(void *context, const char *text, size_t bytes, int32_t **tokens, size_t *count,
		struct error *error);
	void *context;
};

/* All off, as above. */
void request_options_default(struct request_options *options);

/* Errors: ERROR_INPUT with file:line, ERROR_MEMORY. The caller destroys *requests. */
int request_read(
	const char *path, const struct request_options *options, struct requests **requests, struct error *error);
void request_destroy(struct requests *requests); /* accepts NULL */

/* The row of an id, −1: none has it. */
int request_find(const struct requests *requests, const char *id);

/* The seed of a sequence that gives none. */
uint64_t request_seed(const char *id);

#endif
