/* SPDX-License-Identifier: Apache-2.0
 *
 * A stand-in for model and engine, to test the batcher with: runs micro-batches in a random order that honours
 * only the dependencies they declare, and computes with what it finds in its pages.
 *
 *   embed(n)      after sample(m) for m in sampled_after; a token of −1 is read from the token table
 *   attention(n)  after embed(n) and attention(m) for m in after; each row writes its token to its page, and
 *                 hashes the tokens that it reads from the pages at positions 0 … its own
 *   sample(n)     after attention(n); the hash chooses the token, which goes to the token table
 *
 * So a missing dependency, a wrong page, row, position or seat gives other tokens than fake_next does for the
 * plain history of the sequence. */
#ifndef OCTANT_FAKE_EXECUTOR_H
#define OCTANT_FAKE_EXECUTOR_H

#include <stdint.h>
#include "runtime/batcher.h"

struct fake_executor {
	struct batcher *batcher;
	const struct batcher_options *options;
	uint64_t random;
	int32_t *table;      /* [seats] */
	int32_t **kv;        /* [groups][pages · page_tokens] token */
	int **owner;         /* [groups][pages] sequence that wrote it last */
	struct fake_run {
		struct micro_batch *micro_batch;
		int done; /* 0 … 3 tasks of it */
		int32_t *token;
		uint64_t *hash;
	} *run; /* [slots] */
	uint64_t submitted, finished;
};

uint64_t fake_random(uint64_t *state);
/* The token after history[0 … count − 1], and its log-probability. */
int32_t fake_next(const int32_t *history, int count, uint64_t seed, int vocab, float *logprob);

void fake_create(struct fake_executor *fake, struct batcher *batcher, const struct batcher_options *options, uint64_t seed);
void fake_destroy(struct fake_executor *fake);
void fake_submit(struct fake_executor *fake, struct micro_batch *micro_batch); /* checks its shape */
int fake_step(struct fake_executor *fake); /* runs one task that may run; 0: there is none */
int fake_ended(const struct fake_executor *fake, uint64_t number);

#endif
