/* SPDX-License-Identifier: Apache-2.0
 *
 * The output folder: outputs.jsonl, one whole line a finished sequence, and run.json, which says what run the
 * folder belongs to.
 *
 *   OUTPUT_DIR/run.json       written first: fingerprints of the input and of the settings that decide tokens
 *   OUTPUT_DIR/outputs.jsonl  appended to: each line by one write(2) when its sequence finishes
 *
 * A line survives the death of the process as soon as output_write returns; against the death of the machine
 * the file is synchronised (fdatasync) every few seconds while lines come, and by output_close. A line torn by a
 * kill or a full disk is cut off when the folder is opened again, and its sequence runs again; so is a damaged end,
 * as a machine that lost its power may leave it. Damage before whole lines is refused.
 *
 * A line of a plain row, and of an OpenAI batch row:
 *
 *   {"id": "a", "text": "…", "tokens": [1, 2], "finish_reason": "stop" | "length" | "error", "prompt_tokens": 3,
 *    "completion_tokens": 2, "ttft_s": 0.01, "latency_s": 0.02, "logprobs": [-0.1, -0.2], "error": "why"}
 *   {"id": "batch_req_1", "custom_id": "a", "response": {"status_code": 200, "request_id": "req_1", "body": {
 *    "id": "cmpl-1", "object": "text_completion", "created": 1700000000, "model": "m", "choices": [{"index": 0,
 *    "text": "…", "finish_reason": "stop", "token_ids": [1, 2], "logprobs": {"tokens": ["token_id:1", …],
 *    "token_logprobs": [-0.1, …]} | null}], "usage": {"prompt_tokens": 3, "completion_tokens": 2,
 *    "total_tokens": 5}}}, "error": null | {"code": "failed", "message": "why"}, "ttft_s": 0.01, "latency_s": 0.02}
 *
 * Reals have 9 significant digits, enough to tell any two floats apart. One thread at a time. */
#ifndef OCTANT_OUTPUT_H
#define OCTANT_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "runtime/batcher.h"
#include "runtime/error.h"
#include "runtime/request.h"

struct output;

enum output_mode {
	OUTPUT_FRESH,  /* refuse a folder that holds results */
	OUTPUT_RESUME, /* go on where this same run stopped; a missing or empty folder starts afresh */
	OUTPUT_FORCE,  /* remove the results that the folder holds (the files that a run writes) and start afresh */
};

struct output_identity { /* what a resumed run must have in common with the one it goes on with */
	const char *model;   /* its name, for people, and for rows that do not say one; not compared */
	uint64_t model_fingerprint;    /* of config.json and the weights' names, sizes and headers */
	uint64_t settings_fingerprint; /* of what else decides tokens: compute and KV dtype, mesh, reductions */
	const char *settings;          /* the same as a short text, for the message: "bf16, kv fp16, 2x2x2" */
};

/* Makes the folder (and those above it) where it is missing, takes a lock on it (another live run in the same folder
 * is refused) and finds the sequences that are finished. It writes and removes nothing in it: that is for output_begin,
 * so that a run which fails before its first sequence leaves the folder as it was. Errors: ERROR_INPUT when the folder
 * holds another run's results, is locked, cannot be written, or holds lines that do not belong to `requests`;
 * ERROR_RUN when it cannot be read; ERROR_MEMORY. `requests` must outlive the output. */
int output_open(const char *directory, enum output_mode mode, const struct output_identity *identity,
	const struct requests *requests, struct output **output, struct error *error);

/* Makes the folder this run's: removes what OUTPUT_FORCE removes, writes run.json, cuts a torn last line off. Once,
 * before the first output_write. Errors: ERROR_RUN when the folder cannot be written. */
int output_begin(struct output *output, struct error *error);

bool output_has(const struct output *output, int sequence); /* finished already */
int output_count(const struct output *output);              /* lines that are in the file */
int output_failed(const struct output *output);             /* those of them that finished with an error */
const char *output_path(const struct output *output);       /* of outputs.jsonl */

struct output_result {
	int sequence;        /* index into requests */
	const int32_t *tokens; /* [count] the generated ones, the end token included */
	const float *logprobs; /* [count]; NULL: not wanted */
	int count;
	const char *text;    /* [text_bytes] UTF-8; NULL: no tokenizer, the line has no `text` */
	size_t text_bytes;
	enum finish_reason reason;
	const char *why;     /* with FINISH_ERROR */
	double ttft_s, latency_s; /* since the run's start; negative: unknown, null in the line */
};

/* Writes one line. The caller ignores SIGXFSZ, or a limit on file sizes ends the process. Errors: ERROR_RUN with the system's reason (a full disk): what was written of the line is cut
 * off again, and the earlier lines stand. A second result of a sequence is an ERROR_RUN. */
int output_write(struct output *output, const struct output_result *result, struct error *error);

/* Synchronises and closes; frees in any case. Folders that output_open made go again if there was no output_begin.
 * Accepts NULL. Errors: ERROR_RUN where the disk refuses. */
int output_close(struct output *output, struct error *error);

/* Writes `bytes` bytes to DIRECTORY/NAME so that a reader sees the old file or the whole new one: a temporary
 * file, fsync, rename. Errors: ERROR_RUN. */
int output_write_file(
	const char *directory, const char *name, const char *text, size_t bytes, struct error *error);

/* FNV-1a, to make fingerprints with; start from OUTPUT_HASH. */
#define OUTPUT_HASH 14695981039346656037ull
uint64_t output_hash(uint64_t hash, const void *data, size_t bytes);

#endif
