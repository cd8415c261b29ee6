/* SPDX-License-Identifier: Apache-2.0
 *
 * Which rows travel together, and when: a pure state machine that cuts prompts into chunks, groups decoding
 * sequences, hands out KV pages and seats, and forms one micro-batch after the other.
 *
 * It has no clock, no threads and no engine. What it forms depends on its options, on the sequences and on
 * the results of micro-batches in their order, never on when those results came:
 *
 *   iteration i   = prefill chunks and one step of each decode group, by turns (`interleave`)
 *   micro-batch n is formed when exactly these results have been consumed: all of iterations ≤ i − ahead,
 *                   all of micro-batches ≤ n − slots, and, where nothing could be formed without a further
 *                   result, one more at a time.
 *   slot          = n % slots: with the rule above, it is free when n is formed.
 *
 * Results are consumed in submission order, and only when the batcher needs them. The loop of a run:
 *
 *   for (;;) {
 *           while (batcher_needs(b, &number)) {
 *                   wait until micro-batch `number` has ended (a real run), its sampled and logprob filled
 *                   batcher_result(b, number, …);
 *           }
 *           step = batcher_next(b, &micro_batch, …);
 *           BATCHER_SUBMIT: submit it      BATCHER_WAIT: go round again      BATCHER_DONE: leave
 *   }
 *
 * Any slots ≥ 1 and ahead ≥ 1 make progress. One thread at a time. */
#ifndef OCTANT_BATCHER_H
#define OCTANT_BATCHER_H

#include <stdbool.h>
#include <stdint.h>
#include "runtime/batch.h"
#include "runtime/error.h"
#include "runtime/graph.h"

struct batcher;

enum finish_reason {
	FINISH_NONE,    /* not finished */
	FINISH_STOP,    /* an end token, or a stop string */
	FINISH_LENGTH,  /* max_new_tokens */
	FINISH_ERROR,   /* failed alone: batcher_reason says why */
};

struct batcher_options {
	int groups;              /* attention groups, each with a pool of its own */
	int seats;               /* limits.sequences: that run at the same time */
	int tokens_per_sequence; /* prompt and new tokens */
	int page_tokens;
	int64_t pages;           /* of each group's pool */
	int prefill_tokens;        /* rows of a chunk */
	int prefill_micro_batches; /* chunks an iteration, ≥ 1 */
	int decode_micro_batches;  /* decode groups, ≥ 1 */
	int stages;                /* that micro-batches pass one after the other, ≥ 1 */
	int ahead, slots;          /* ≥ 1 */
	enum interleave interleave;

	int vocab;         /* sampled tokens must be below */
	int max_positions; /* of the model; 0: no limit of its own */
	int eos[MODEL_MAX_EOS];
	int eos_count;
	int layers, experts; /* with record_routing: sizes of micro_batch.routed */
	bool record_routing;

	/* Called by batcher_result for each token kept, in order; `token` is the sequence's `count`-th new one
	 * (1, 2 …). Non-zero: a stop string is complete, the sequence ends with this token. NULL: none. */
	int (*on_token)(void *context, int sequence, int count, int32_t token, float logprob);
	/* Called once a sequence, when its end is known: by batcher_result, by batcher_fail, or by batcher_add
	 * for one that can never fit. batcher_generated is valid within. NULL: none. */
	void (*on_finish)(void *context, int sequence, enum finish_reason reason);
	void *context;
};

struct sequence {
	const int32_t *prompt; /* [prompt_tokens], the caller's, unchanged until the batcher is destroyed */
	int prompt_tokens;     /* ≥ 1 */
	int max_new_tokens;    /* ≥ 1 */
	bool ignore_eos;
	struct sampling sampling;
};

struct batcher_counters {
	int64_t micro_batches, iterations;
	int64_t rows;               /* of all micro-batches formed: prefill_rows + decode_rows */
	int64_t prefill_rows, decode_rows;
	int64_t sampled;            /* tokens kept */
	int64_t preemptions;
	int64_t recomputed_rows;    /* computed again after a preemption */
	int64_t wasted_rows;        /* computed for sequences that had ended */
	int64_t finished, failed;   /* sequences */
	int64_t running, waiting;   /* now */
	int64_t pages_used, pages_peak; /* now; the sum of each pool's peak */
};

/* The largest micro-batch that can be formed: what slots are sized by. A group's rows, segments and samples
 * are bounded by the same figures. */
int batcher_max_rows(const struct batcher_options *options);
int batcher_max_segments(const struct batcher_options *options); /* of samples too */
int batcher_max_samples(const struct batcher_options *options);
/* Decode micro-batches that a stage holds at a time when groups take turns. */
int batcher_decodes_per_stage(const struct batcher_options *options);

/* All memory but that of batcher_add is allocated here. Errors: ERROR_INPUT for options out of range,
 * ERROR_MEMORY. */
int batcher_create(const struct batcher_options *options, struct batcher **batcher, struct error *error);
void batcher_destroy(struct batcher *batcher); /* accepts NULL */

/* Queues a sequence; its index is the number of those added before. One that can never fit (prompt and new
 * tokens beyond tokens_per_sequence, the model's positions, or a pool's pages) fails at once, alone: that is
 * no error of the call. May be called at any time, also during a run. Errors: ERROR_INPUT for numbers out of
 * range (an empty prompt), ERROR_MEMORY. */
int batcher_add(struct batcher *batcher, const struct sequence *sequence, int *index, struct error *error);

/* Whether a result must be consumed before anything can be formed, and of which micro-batch. */
bool batcher_needs(const struct batcher *batcher, uint64_t *number);

/* Consumes the result of the micro-batch that batcher_needs named, once all its tasks have ended. Errors:
 * ERROR_RUN for another number, or a token outside the vocabulary for a sequence that runs. */
int batcher_result(struct batcher *batcher, uint64_t number, struct error *error);

enum batcher_step {
	BATCHER_SUBMIT, /* *micro_batch is formed; it lies in slot number % slots until its result is consumed */
	BATCHER_WAIT,   /* a result is needed first: batcher_needs says which */
	BATCHER_DONE,   /* nothing is left, or drained */
	BATCHER_STUCK,  /* `error` is set: cannot happen unless the batcher is wrong */
};
enum batcher_step batcher_next(struct batcher *batcher, struct micro_batch **micro_batch, struct error *error);

/* A slot's micro-batch, whose arrays have their largest size from the start: their addresses never change. */
struct micro_batch *batcher_micro_batch(struct batcher *batcher, int slot);

/* Ends one sequence with FINISH_ERROR; rows in flight are discarded. Does nothing when it has ended. */
void batcher_fail(struct batcher *batcher, int sequence, const char *reason);

/* Forms no more micro-batches: batcher_next says DONE once what is in flight has been consumed. Sequences
 * that have not ended stay so. */
void batcher_drain(struct batcher *batcher);

int batcher_sequences(const struct batcher *batcher);
enum finish_reason batcher_finished(const struct batcher *batcher, int sequence);
const char *batcher_reason(const struct batcher *batcher, int sequence); /* of FINISH_ERROR, else "" */

/* The new tokens so far, the end token included: *count of them, valid while the sequence runs and within
 * on_finish; afterwards NULL. */
const int32_t *batcher_generated(const struct batcher *batcher, int sequence, int *count);

/* The sequence that a seat belongs to, −1: none. Of a segment in flight it is the segment's sequence. */
int batcher_seat_sequence(const struct batcher *batcher, int seat);

void batcher_count(const struct batcher *batcher, struct batcher_counters *counters);

/* One micro-batch as one line without a newline, as tests compare it:
 * "12 i3 mixed g0 s4:128+32@7* g1 s9:200+1@2*! after 10 11 sampled 9": sequence : position + rows @ seat,
 * `*` its last row is sampled, `!` its token comes from the token table; "enters after 8" may follow. Returns the length that was needed,
 * like snprintf. */
int batcher_dump(const struct batcher *batcher, const struct micro_batch *micro_batch, char *text, size_t size);

#endif
