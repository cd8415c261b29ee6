/* SPDX-License-Identifier: Apache-2.0
 *
 * What the batcher's files share: seats, slots and the sequences behind them.
 *
 * A seat's states:
 *
 *   FREE ──admit──▶ PREFILL ──last chunk formed──▶ DECODE ──end seen──▶ LEAVING ──drained──▶ FREE
 *                     │ ▲                            │
 *                     │ └──admit again── WAITING     │ pages run out
 *                     └────────▶ PREEMPTING ◀────────┘
 *                                    └──drained──▶ WAITING (seat and tokens kept, pages given back)
 *
 * "Drained": the result of the last micro-batch that names the seat has been consumed, so no task can touch
 * its pages, its page table or its entry of the token table any more. */
#ifndef OCTANT_BATCHER_INTERNAL_H
#define OCTANT_BATCHER_INTERNAL_H

#include <stdlib.h>
#include "runtime/batcher.h"
#include "runtime/kv_pages.h"

enum seat_state { SEAT_FREE, SEAT_PREFILL, SEAT_DECODE, SEAT_PREEMPTING, SEAT_WAITING, SEAT_LEAVING };

struct seat {
	enum seat_state state;
	int sequence;     /* index, −1: free */
	int group;        /* attention group: whose pool its pages are from */
	int decode_group;
	int32_t *history; /* [tokens_per_sequence] prompt, then the new tokens whose results have been consumed */
	int prompt, known; /* tokens of the prompt; of the history */
	int scheduled;    /* new tokens consumed or in flight */
	int done;         /* rows formed since admission: their keys and values are in the pages, or will be */
	int target;       /* rows to prefill since admission: the history as it was then */
	int seen;         /* rows formed before a preemption, computed again below this */
	int32_t *page;    /* [pages_per_sequence] page table */
	int pages, full_pages; /* taken; needed at its longest */
	bool stalled;     /* wants a page that the pool does not have */
	uint64_t last_end;     /* last micro-batch that names the seat + 1, 0: none */
	uint64_t sampled_end;  /* last micro-batch that samples for it + 1 */
	uint64_t ready;   /* the first iteration that may decode it */
};

struct entry { /* a sequence, from batcher_add to the end */
	struct sequence sequence;
	enum finish_reason reason;
	char *why; /* of FINISH_ERROR, NULL: none or out of memory */
	int seat;  /* −1: none */
};

struct slot {
	struct micro_batch micro_batch;
	uint64_t iteration;
};

struct batcher {
	struct batcher_options options;
	int max_rows, max_segments, pages_per_sequence;
	struct slot *slot; /* [slots] */
	struct seat *seat; /* [seats] */
	int *order;        /* [active] seats that are not free, oldest sequence first */
	int active;
	int *free_seat;    /* a stack, the lowest on top at the start */
	int free_seats;
	int *take;         /* [seats] rows that the micro-batch being formed takes of a seat */
	struct kv_pages **pool;  /* [groups] */
	int *decode_count;       /* [decode_micro_batches] sequences that run in a decode group */
	int64_t *share;          /* [groups] scratch */

	struct entry *entry; /* [entries] */
	int entries, entry_room;
	int next_new; /* the first sequence that has never had a seat */

	uint64_t formed, consumed; /* micro-batches */
	uint64_t required;         /* consumed must reach this before anything is formed */
	uint64_t iteration;
	uint64_t *iteration_end;   /* [ahead] by iteration % ahead: micro-batches formed by its end */
	int step;                  /* of the iteration */
	bool iteration_formed;     /* it has a micro-batch */
	uint64_t *decoded;         /* [batcher_decodes_per_stage] the last decode micro-batches formed, by count */
	uint64_t decodes;          /* formed since the last that was not one */
	bool iteration_prefill;    /* prefill_first: this one has chunks only */
	bool draining;
	struct batcher_counters counters;
};

static inline bool seat_runs(const struct seat *seat)
{
	return seat->state == SEAT_PREFILL || seat->state == SEAT_DECODE;
}

static inline bool seat_in_flight(const struct batcher *b, const struct seat *seat)
{
	return seat->last_end > b->consumed;
}

static inline int batcher_pages_for(const struct batcher *b, int tokens)
{
	return (tokens + b->options.page_tokens - 1) / b->options.page_tokens;
}

/* batcher_seat.c */
void batcher_seat_drained(struct batcher *b, struct seat *seat);
bool batcher_admit(struct batcher *b); /* seats the oldest sequence that waits; false: none, or no room */
bool batcher_page_for_row(struct batcher *b, struct seat *seat); /* false: the seat must wait */

/* batcher_form.c: fills micro-batch number `formed` with the iteration's `step`, false: it would be empty. */
bool batcher_form(struct batcher *b);
int batcher_steps(const struct batcher *b);
void batcher_begin_iteration(struct batcher *b);

#endif
