/* SPDX-License-Identifier: Apache-2.0
 *
 * What may be asked of a batcher: how sequences ended, counters, and a micro-batch as a line of text. */
#include <stdarg.h>
#include <stdio.h>
#include "runtime/batcher_internal.h"

int batcher_sequences(const struct batcher *b)
{
	return b->entries;
}

enum finish_reason batcher_finished(const struct batcher *b, int sequence)
{
	return sequence >= 0 && sequence < b->entries ? b->entry[sequence].reason : FINISH_NONE;
}

const char *batcher_reason(const struct batcher *b, int sequence)
{
	if (batcher_finished(b, sequence) != FINISH_ERROR)
		return "";
	return b->entry[sequence].why ? b->entry[sequence].why : "failed, and there was no memory for the reason";
}

const int32_t *batcher_generated(const struct batcher *b, int sequence, int *count)
{
	const struct seat *seat;

	*count = 0;
	if (sequence < 0 || sequence >= b->entries || b->entry[sequence].seat < 0)
		return NULL;
	seat = &b->seat[b->entry[sequence].seat];
	*count = seat->known - seat->prompt;
	return seat->history + seat->prompt;
}

int batcher_seat_sequence(const struct batcher *b, int seat)
{
	return seat >= 0 && seat < b->options.seats ? b->seat[seat].sequence : -1;
}

void batcher_count(const struct batcher *b, struct batcher_counters *counters)
{
	struct batcher_counters c = b->counters;

	c.micro_batches = (int64_t) b->formed;
	c.iterations = (int64_t) b->iteration + b->iteration_formed;
	for (int i = 0; i < b->active; i++)
		c.running += seat_runs(&b->seat[b->order[i]]);
	c.waiting = b->entries - c.finished - c.failed - c.running;
	for (int g = 0; g < b->options.groups; g++) {
		c.pages_used += kv_pages_used(b->pool[g]);
		c.pages_peak += kv_pages_peak(b->pool[g]);
	}
	*counters = c;
}

struct line {
	char *text;
	size_t size;
	int length;
};

__attribute__((format(printf, 2, 3))) static void put(struct line *line, const char *format, ...)
{
	size_t used = (size_t) line->length;
	va_list list;

	va_start(list, format);
	line->length += vsnprintf(
		used < line->size ? line->text + used : NULL, used < line->size ? line->size - used : 0, format, list);
	va_end(list);
}

int batcher_dump(const struct batcher *b, const struct micro_batch *m, char *text, size_t size)
{
	static const char *const phases[] = {"prefill", "decode", "mixed"};
	struct line line = {text, size, 0};
	const struct slot *slot = &b->slot[m->number % (uint64_t) b->options.slots];
	int sample = 0;

	put(&line, "%llu i%llu %s", (unsigned long long) m->number, (unsigned long long) slot->iteration,
		phases[m->phase]);
	for (int g = 0; g < m->groups; g++) {
		if (m->groups > 1)
			put(&line, " g%d", g);
		for (int i = m->group_segment[g]; i < m->group_segment[g + 1]; i++) {
			const struct segment *s = &m->segment[i];
			bool sampled = sample < m->samples && m->sample[sample].row == s->row + s->rows - 1;

			put(&line, " s%d:%d+%d@%d%s%s", batcher_seat_sequence(b, s->seat), s->position, s->rows,
				s->seat, sampled ? "*" : "", m->token[s->row] < 0 ? "!" : "");
			sample += sampled;
		}
	}
	for (int i = 0; i < m->after_count; i++)
		put(&line, "%s %llu", i ? "" : " after", (unsigned long long) m->after[i]);
	for (int i = 0; i < m->sampled_after_count; i++)
		put(&line, "%s %llu", i ? "" : " sampled", (unsigned long long) m->sampled_after[i]);
	if (m->in_turn)
		put(&line, " enters after %llu", (unsigned long long) m->enters_after);
	return line.length;
}
