/* SPDX-License-Identifier: Apache-2.0
 *
 * Task records as one worker keeps them. */
#include "runtime/record_log.h"
#include <stdlib.h>
#include <string.h>

#define RECORDS_A_BLOCK 16384

struct record_block {
	struct record_block *older;
	size_t used;
	struct task_record record[RECORDS_A_BLOCK];
};

void record_log_add(struct record_log *log, const struct task_record *record)
{
	struct record_block *block = log->newest;
	if (!block || block->used == RECORDS_A_BLOCK) {
		block = malloc(sizeof *block);
		if (!block)
			return;
		block->older = log->newest;
		block->used = 0;
		log->newest = block;
	}
	block->record[block->used++] = *record;
}

size_t record_log_count(const struct record_log *log)
{
	size_t count = 0;
	for (const struct record_block *block = log->newest; block; block = block->older)
		count += block->used;
	return count;
}

size_t record_log_move(struct record_log *log, struct task_record *to)
{
	size_t count = 0;
	while (log->newest) {
		struct record_block *block = log->newest;
		if (to)
			memcpy(to + count, block->record, block->used * sizeof *to);
		count += block->used;
		log->newest = block->older;
		free(block);
	}
	return count;
}

static int by_start(const void *a, const void *b)
{
	double x = ((const struct task_record *) a)->start_s, y = ((const struct task_record *) b)->start_s;
	return (x > y) - (x < y);
}

void record_sort(struct task_record *records, size_t count)
{
	qsort(records, count, sizeof *records, by_start);
}
