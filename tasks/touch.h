/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory that a run will use is taken from the system before its clock starts.
 *
 * Slots are as large as the graph's largest micro-batch, KV pools as all sequences that may run together; a workload often
 * needs little of either, and memory that is reserved costs nothing until it is touched (runtime/arena.h). What it will need
 * is known beforehand: the batcher has no clock, so that a rehearsal of it, without any tasks, forms the same
 * micro-batches.
 *
 *   touch_rehearse    sequences → rows and samples of each slot, pages of the pools
 *   touch_deployment  touches just that, in parallel on the workers */
#ifndef OCTANT_TASKS_TOUCH_H
#define OCTANT_TASKS_TOUCH_H

#include "runtime/batcher.h"
#include "tasks/deployment.h"

/* Rehearsed are the first so many micro-batches: those that take slots and pages for the first time. */
#define TOUCH_MICRO_BATCHES 1024

/* What a rehearsal asks for of KV pools at most: what needs more runs for minutes, of which touching the rest on the way is a
 * percent, while doing so beforehand would let its user wait for seconds. */
#define TOUCH_KV_BYTES ((double) (1 << 30))

struct touch_need {
	int *rows, *samples; /* [slots] of the largest micro-batch in each slot */
	int slots;
	int64_t pages;    /* of a group's pool, from its start on */
	double kv_bytes;  /* of KV pools at most so many, all devices together; 0: as many as `pages` are */
};

/* `options` as the run's batcher has them; callbacks are not called. A sequence that an end token may cut short is taken
 * to its full length. *need is freed by touch_free. Errors: as batcher_create and batcher_add. */
int touch_rehearse(const struct batcher_options *options, const struct sequence *sequence, int sequences,
	struct touch_need *need, struct error *error);
void touch_free(struct touch_need *need);

/* Between deployment_create and the first submission. Errors: ERROR_MEMORY. */
int touch_deployment(struct deployment *deployment, const struct touch_need *need, struct error *error);

#endif
