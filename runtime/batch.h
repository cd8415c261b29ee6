/* SPDX-License-Identifier: Apache-2.0
 *
 * One micro-batch as tasks see it: which rows of which sequences travel together, and where their
 * tokens, positions and pages are. Made by the batcher, read by every task of the micro-batch, in host
 * memory that stays as it is until the last of them has ended.
 *
 *   rows, grouped by attention group, then by segment:
 *
 *     group_row:  0                      g1                 rows
 *                 | segment 0 | segment 1 | segment 2 | …    |
 *
 *   A row's index is global in the micro-batch; a group's own rows start at group_row[group]. */
#ifndef OCTANT_BATCH_H
#define OCTANT_BATCH_H

#include <stdbool.h>
#include <stdint.h>
#include "runtime/mesh.h"

struct segment {     /* consecutive rows of one sequence */
	int32_t row;      /* first row, global */
	int32_t rows;
	int32_t position; /* of the first row in its sequence */
	int32_t seat;     /* which running sequence: index into the token table and page tables */
	const int32_t *pages; /* the sequence's page table: page index of tokens [i·page, (i+1)·page) */
};

struct sampling {        /* how a sequence's tokens are chosen */
	float temperature;   /* 0: greedy */
	float top_p, min_p;  /* 1 and 0: off */
	int top_k;           /* 0: off */
	uint64_t seed;
};

struct sample {           /* a row whose next token is wanted */
	int32_t row;      /* global */
	int32_t seat;
	int32_t position; /* of the token that is sampled: position of the row + 1; with the seed, all the state
	                   * that random choice has, so that recomputation repeats it */
	struct sampling sampling;
};

enum phase { PHASE_PREFILL, PHASE_DECODE, PHASE_MIXED };

struct micro_batch {
	uint64_t number;   /* 0, 1, 2 … in submission order */
	enum phase phase;
	int rows, groups;
	int group_row[MESH_MAX_DEVICES + 1];     /* [groups + 1] */
	int segments;
	int group_segment[MESH_MAX_DEVICES + 1]; /* [groups + 1] */
	struct segment *segment;                 /* [segments] */
	int32_t *token;    /* [rows] token id, or −1: the token table's entry of the row's seat */
	int32_t *position; /* [rows] */
	int32_t *seat;     /* [rows] */
	int samples;
	int group_sample[MESH_MAX_DEVICES + 1];  /* [groups + 1] */
	struct sample *sample;                   /* [samples], by group */

	/* filled by the sample tasks, read by the batcher once the micro-batch has ended */
	int32_t *sampled; /* [samples] token ids */
	float *logprob;   /* [samples] natural log of the model's probability of that token */

	/* earlier micro-batches that must be attended to first: an attention (layer, shard) of this one starts
	 * after that of each of these; numbers, ascending */
	int after_count;
	uint64_t *after;

	/* earlier micro-batches whose sample tasks write the token table's entries that this one's embedding
	 * reads: it starts after these sample tasks; numbers, ascending */
	int sampled_after_count;
	uint64_t *sampled_after;

	/* where decode groups take turns in a pipeline's stages (batcher_form.c): the earlier micro-batch that must have passed
	 * attention in the first stage's last layer before this one's embedding starts */
	bool in_turn;
	uint64_t enters_after;

	int32_t *routed; /* [layers][experts] rows sent to each expert, counted by route tasks; NULL: not wanted */
};

#endif
