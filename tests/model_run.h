/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests: a golden model, deployed as a set of overrides says, run on given sequences on an engine that is
 * already started, so that many graphs share one start of StarPU. */
#ifndef OCTANT_TESTS_MODEL_RUN_H
#define OCTANT_TESTS_MODEL_RUN_H

#include <stddef.h>
#include <stdint.h>
#include "runtime/batcher.h"
#include "runtime/engine.h"
#include "runtime/graph.h"

struct deployment;
struct run_hooks;

struct golden_prompt {
	int32_t *tokens, *greedy;
	double *logprobs, *margins, *router_gaps; /* router_gaps NULL for dense models */
	int prompt_tokens, new_tokens;
	int eos_at; /* −1: none */
};

struct golden {
	char directory[1024];
	int prompts;
	struct golden_prompt *prompt;
};

/* tests/golden/models/NAME. Ends the test program on failure. */
struct golden *golden_load(const char *name);
void golden_free(struct golden *golden);

struct model_run_sequence {
	struct sequence sequence;
	/* results */
	int32_t *tokens;
	float *logprobs;
	int count;
	enum finish_reason reason;
};

struct model_run {
	const char *directory;  /* the checkpoint */
	const char *graph;      /* name or path; NULL: the default graph */
	const char *const *set; /* "path=value", NULL at the end */
	int64_t pages;          /* of each group's pool; 0: as many as all sequences need together */
	bool guard;             /* only a task's own devices' memory can be touched */
	const struct run_hooks *hooks;
	void (*built)(struct deployment *deployment); /* called before anything runs; NULL: nothing to do */
	struct batcher_counters counters; /* afterwards */
};

/* Runs all sequences; results are allocated. On an error prints it and returns its code. */
int model_run(struct engine *engine, struct model_run *run, struct model_run_sequence *sequences, int count);
/* Forms the same micro-batches without computing any: the answers are given, in `sequences`. Fills the counters. */
int model_run_rehearse(struct model_run *run, const struct model_run_sequence *sequences, int count);

/* Whether the description's checks take it: the model can be cut that way, and the chains compose. */
bool model_run_possible(const struct model_run *run);
void model_run_free(struct model_run_sequence *sequences, int count);

/* A sequence for each golden prompt, greedy, ignoring end tokens. */
struct model_run_sequence *model_run_sequences(const struct golden *golden);

#endif
