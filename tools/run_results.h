/* SPDX-License-Identifier: Apache-2.0
 *
 * What happens with each token and each finished sequence of a run: log-probabilities and times are kept, stop
 * strings looked for, text decoded, lines written. Driven by the batcher's callbacks, in the submitting thread. */
#ifndef OCTANT_TOOLS_RUN_RESULTS_H
#define OCTANT_TOOLS_RUN_RESULTS_H

#include <stdbool.h>
#include "runtime/batcher.h"
#include "runtime/output.h"
#include "runtime/request.h"
#include "runtime/tokenizer.h"

struct run_result { /* of one sequence */
	int request; /* index in the input */
	float *logprobs;  /* [count], where wanted; freed when the line is written */
	double *token_s;  /* [count] when each token was seen, seconds since the run's start; kept for the metrics */
	int count;
	enum finish_reason reason;
	double finished_s;
	/* with stop strings: text so far */
	struct tokenizer_stream *stream;
	char *text;
	size_t text_bytes, text_room;
	bool stopped; /* text ends where the stop string began */
};

struct run_results {
	const struct requests *requests;
	const struct tokenizer *tokenizer; /* NULL: outputs have no text */
	struct output *output;
	struct batcher *batcher;
	double now_s; /* set by the run before results are consumed */
	int sequences;
	struct run_result *result; /* [sequences], by the batcher's index */
	int finished, failed;
	int64_t tokens; /* kept */
	int code; /* first failure; `error` says what */
	struct error error;
};

/* Room for all requests that `output` does not have already. */
int run_results_create(const struct requests *requests, const struct tokenizer *tokenizer, struct output *output,
	struct run_results *results, struct error *error);
void run_results_destroy(struct run_results *results);

/* Queues every sequence that is not finished. batcher_add may finish one at once (too long). */
int run_results_add_all(struct run_results *results, struct batcher *batcher, struct error *error);

/* The batcher's callbacks; context: struct run_results. */
int run_results_on_token(void *context, int sequence, int count, int32_t token, float logprob);
void run_results_on_finish(void *context, int sequence, enum finish_reason reason);

#endif
