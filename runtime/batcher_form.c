/* SPDX-License-Identifier: Apache-2.0
 *
 * What an iteration consists of, and how one micro-batch is filled.
 *
 *   chunked        chunk 0, decode group 0, chunk 1, decode group 1, …: a stage that has finished with a chunk
 *                  finds a decode step waiting, and the other way round
 *   mixed          chunk 0 with decode group 0, chunk 1 with decode group 1, …
 *   prefill_first  chunks only as long as there are prompts to compute, then decode groups only
 *
 * Decode groups take turns in the stages of a pipeline. Groups that start together stay together: each stage then has all
 * of them, or none. With one of them in each stage a step of S groups takes S (c + m) seconds, c of compute and m of
 * collectives in a stage; with all in one, however well they hide each other's collectives, at least S · S max(c, m). So of
 * decode micro-batches that follow one another, each enters the first stage when the one as many before as a stage is to
 * hold is leaving it (`enters_after`).
 *
 * Steps that would be empty are left out. A sequence whose last chunk is in this iteration decodes from the
 * next one on: within the same one its step would wait for the chunk to pass through all stages. */
#include <string.h>
#include "runtime/batcher_internal.h"

static bool prefill_waits(const struct batcher *b)
{
	for (int i = 0; i < b->active; i++)
		if (b->seat[b->order[i]].state == SEAT_PREFILL)
			return true;
	return false;
}

void batcher_begin_iteration(struct batcher *b)
{
	if (b->options.interleave != INTERLEAVE_PREFILL_FIRST)
		return;
	b->iteration_prefill = prefill_waits(b) || batcher_admit(b);
}

int batcher_steps(const struct batcher *b)
{
	int chunks = b->options.prefill_micro_batches, decodes = b->options.decode_micro_batches;
	int most = chunks > decodes ? chunks : decodes;

	switch (b->options.interleave) {
	case INTERLEAVE_MIXED:
		return most;
	case INTERLEAVE_PREFILL_FIRST:
		return b->iteration_prefill ? chunks : decodes;
	default:
		return 2 * most;
	}
}

/* One row of each sequence of decode group `d`. Older sequences come first to the pages. */
static void take_decode(struct batcher *b, int d)
{
	for (int i = 0; i < b->active; i++) {
		struct seat *seat = &b->seat[b->order[i]];

		if (seat->state != SEAT_DECODE || seat->decode_group != d || seat->ready > b->iteration ||
			seat->scheduled >= b->entry[seat->sequence].sequence.max_new_tokens)
			continue;
		if (batcher_page_for_row(b, seat))
			b->take[b->order[i]] = 1;
	}
}

/* Rows that groups have left to prefill; the number of groups that have some. */
static int count_prefill(struct batcher *b)
{
	int groups = 0;

	memset(b->share, 0, (size_t) b->options.groups * sizeof *b->share);
	for (int i = 0; i < b->active; i++) {
		const struct seat *seat = &b->seat[b->order[i]];
		if (seat->state != SEAT_PREFILL)
			continue;
		groups += !b->share[seat->group];
		b->share[seat->group] += seat->target - seat->done;
	}
	return groups;
}

/* Admits until every attention group has its part of a chunk, or nobody can be admitted. */
static void admit_for_chunk(struct batcher *b)
{
	int part = (b->options.prefill_tokens + b->options.groups - 1) / b->options.groups;
	bool enough;

	do {
		enough = true;
		count_prefill(b);
		for (int g = 0; g < b->options.groups; g++)
			enough &= b->share[g] >= part;
	} while (!enough && batcher_admit(b));
}

/* Up to prefill_tokens rows, the oldest sequences first: equal parts for the attention groups, which compute
 * side by side, then the rest for whoever has rows. */
static void take_chunk(struct batcher *b)
{
	int left = b->options.prefill_tokens, groups;

	admit_for_chunk(b);
	groups = count_prefill(b);
	if (!groups)
		return;
	for (int g = 0; g < b->options.groups; g++)
		b->share[g] = (left + groups - 1) / groups;
	for (int pass = 0; pass < 2; pass++)
		for (int i = 0; i < b->active && left; i++) {
			struct seat *seat = &b->seat[b->order[i]];
			int *take = &b->take[b->order[i]];
			int rows = seat->target - seat->done - *take;

			if (seat->state != SEAT_PREFILL)
				continue;
			if (rows > left)
				rows = left;
			if (pass == 0 && rows > b->share[seat->group])
				rows = (int) b->share[seat->group];
			*take += rows;
			left -= rows;
			b->share[seat->group] -= rows;
		}
}

static void add_number(uint64_t *list, int *count, uint64_t number)
{
	int i = *count;

	for (int k = 0; k < *count; k++)
		if (list[k] == number)
			return;
	for (; i > 0 && list[i - 1] > number; i--)
		list[i] = list[i - 1];
	list[i] = number;
	(*count)++;
}

/* Appends a seat's rows and moves the seat on. */
static void emit(struct batcher *b, struct micro_batch *m, int index, int rows)
{
	struct seat *seat = &b->seat[index];
	struct segment *segment = &m->segment[m->segments++];
	bool decode = seat->state == SEAT_DECODE;

	*segment = (struct segment){
		.row = m->rows, .rows = rows, .position = seat->done, .seat = index, .pages = seat->page};
	for (int r = 0; r < rows; r++) {
		m->token[m->rows + r] = decode ? -1 : seat->history[seat->done + r];
		m->position[m->rows + r] = seat->done + r;
		m->seat[m->rows + r] = index;
	}
	if (decode) {
		if (seat->sampled_end > b->consumed)
			add_number(m->sampled_after, &m->sampled_after_count, seat->sampled_end - 1);
		b->counters.decode_rows += rows;
	} else {
		/* the chunk before; those before that precede it in turn */
		if (seat_in_flight(b, seat))
			add_number(m->after, &m->after_count, seat->last_end - 1);
		b->counters.prefill_rows += rows;
	}
	if (seat->done < seat->seen)
		b->counters.recomputed_rows +=
			(seat->seen < seat->done + rows ? seat->seen : seat->done + rows) - seat->done;
	m->rows += rows;
	seat->done += rows;
	seat->last_end = m->number + 1;
	if (!decode && seat->done < seat->target)
		return;
	m->sample[m->samples++] = (struct sample){.row = m->rows - 1,
		.seat = index,
		.position = seat->done,
		.sampling = b->entry[seat->sequence].sequence.sampling};
	seat->scheduled++;
	seat->sampled_end = m->number + 1;
	if (!decode) {
		seat->state = SEAT_DECODE;
		seat->ready = b->iteration + 1;
	}
}

/* Whose place in the first stage a decode micro-batch takes. */
static void take_turns(struct batcher *b, struct micro_batch *m)
{
	uint64_t most = (uint64_t) batcher_decodes_per_stage(&b->options);

	m->in_turn = false;
	if (m->phase != PHASE_DECODE) {
		b->decodes = 0;
		return;
	}
	if (b->options.stages > 1 && b->options.decode_micro_batches > 1 && b->decodes >= most) {
		m->in_turn = true;
		m->enters_after = b->decoded[b->decodes % most];
	}
	b->decoded[b->decodes++ % most] = m->number;
}

static void fill(struct batcher *b, struct micro_batch *m)
{
	bool prefill = false, decode = false;

	m->number = b->formed;
	m->rows = m->segments = m->samples = m->after_count = m->sampled_after_count = 0;
	m->groups = b->options.groups;
	for (int g = 0; g < m->groups; g++) {
		m->group_row[g] = m->rows;
		m->group_segment[g] = m->segments;
		m->group_sample[g] = m->samples;
		for (int i = 0; i < b->active; i++) {
			int index = b->order[i];
			if (b->seat[index].group != g || !b->take[index])
				continue;
			if (b->seat[index].state == SEAT_DECODE)
				decode = true;
			else
				prefill = true;
			emit(b, m, index, b->take[index]);
		}
	}
	m->group_row[m->groups] = m->rows;
	m->group_segment[m->groups] = m->segments;
	m->group_sample[m->groups] = m->samples;
	m->phase = !decode ? PHASE_PREFILL : !prefill ? PHASE_DECODE : PHASE_MIXED;
	take_turns(b, m);
	for (int i = 0; i < m->samples; i++) {
		m->sampled[i] = -1;
		m->logprob[i] = 0;
	}
	if (m->routed)
		memset(m->routed, 0, sizeof *m->routed * (size_t) b->options.layers * (size_t) b->options.experts);
	b->counters.rows += m->rows;
}

bool batcher_form(struct batcher *b)
{
	int chunk = -1, decode = -1;
	bool any = false;
	struct slot *slot = &b->slot[b->formed % (uint64_t) b->options.slots];

	switch (b->options.interleave) {
	case INTERLEAVE_MIXED:
		chunk = decode = b->step;
		break;
	case INTERLEAVE_PREFILL_FIRST:
		*(b->iteration_prefill ? &chunk : &decode) = b->step;
		break;
	default:
		*(b->step % 2 ? &decode : &chunk) = b->step / 2;
	}
	memset(b->take, 0, (size_t) b->options.seats * sizeof *b->take);
	if (decode >= 0 && decode < b->options.decode_micro_batches)
		take_decode(b, decode);
	if (chunk >= 0 && chunk < b->options.prefill_micro_batches)
		take_chunk(b);
	for (int i = 0; i < b->active; i++)
		any |= b->take[b->order[i]] > 0;
	if (!any)
		return false;
	fill(b, &slot->micro_batch);
	slot->iteration = b->iteration;
	b->formed++;
	return true;
}
