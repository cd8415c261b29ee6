/* SPDX-License-Identifier: Apache-2.0
 *
 * Sequences with a known truth, run through the batcher and the fake executor: what the batcher's tests are made of. */
#ifndef OCTANT_BATCHER_SCENE_H
#define OCTANT_BATCHER_SCENE_H

#include "runtime/batcher_internal.h"
#include "tests/fake_executor.h"

enum { VOCAB = 97, EOS = 5, MAX_SEQUENCES = 40, MAX_TOKENS = 64 };

struct truth { /* what a sequence must become */
	struct sequence sequence;
	int32_t prompt[MAX_TOKENS];
	int stop_token; /* −1: none; ends like a stop string */
	int fail_at;    /* 0: never; fails itself when that many tokens are known */
	bool never_fits;
	int32_t token[MAX_TOKENS];
	float logprob[MAX_TOKENS];
	int count;
	enum finish_reason reason;
	/* what it has become */
	int got, ends;
	bool wrong;
};

struct scene {
	struct batcher_options options;
	struct truth truth[MAX_SEQUENCES];
	int sequences;
	struct batcher *batcher;
	char *dump;
	size_t dump_length, dump_room;
	struct batcher_counters counters;
};

/* Random options and sequences, with their truth. */
void scene_make(struct scene *scene, uint64_t seed);
/* Equal sequences that run to their full length, without their truth; simple options. */
void scene_equal(struct scene *scene, int sequences, int prompt, int new_tokens);
void scene_find_truths(struct scene *scene);

/* Runs the scene; `eager`: how many tasks run for each call of the batcher, on average. `drain_after` micro-batches it
 * is drained, 0: never. Appends what was formed to `dump`, which the caller frees. */
void scene_play(struct scene *scene, uint64_t timing, int eager, int drain_after);
void scene_check_results(const struct scene *scene); /* against the truth, all of it */
void scene_check_pages(const struct batcher *b);     /* no page in two page tables, every taken one in one */
void scene_end(struct scene *scene);

#endif
