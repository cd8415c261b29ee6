/* SPDX-License-Identifier: Apache-2.0
 *
 * Task records as one worker keeps them: blocks that grow at the end, so that the worker allocates once in many
 * thousand tasks and copies nothing.
 *
 * A log belongs to one thread at a time: its worker while tasks run, the submitter when nothing does. */
#ifndef OCTANT_RECORD_LOG_H
#define OCTANT_RECORD_LOG_H

#include <stddef.h>
#include "runtime/record.h"

struct record_block;

struct record_log { /* zero: empty */
	struct record_block *newest;
};

/* Without memory the record is left out: a trace with a hole is better than a run that fails. */
void record_log_add(struct record_log *log, const struct task_record *record);
size_t record_log_count(const struct record_log *log);
/* Moves all records to `to` (NULL: drops them), in no order, and empties the log. Returns how many. */
size_t record_log_move(struct record_log *log, struct task_record *to);

/* By start. */
void record_sort(struct task_record *records, size_t count);

#endif
