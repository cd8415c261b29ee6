/* SPDX-License-Identifier: Apache-2.0
 *
 * The batcher's life: its memory, the sequences' queue, results, and when the next micro-batch may be formed. */
#include <stdio.h>
#include <string.h>
#include "runtime/batcher_internal.h"

static int at_most(int64_t value, int64_t limit)
{
	return (int) (value < limit ? value : limit);
}

static int decode_rows(const struct batcher_options *o)
{
	/* each newcomer goes to the emptiest group, so none is ever fuller than its even part */
	return (int) (((int64_t) o->seats + o->decode_micro_batches - 1) / o->decode_micro_batches);
}

int batcher_max_rows(const struct batcher_options *o)
{
	int decode = decode_rows(o);

	if (o->interleave == INTERLEAVE_MIXED)
		return o->prefill_tokens + decode;
	return o->prefill_tokens > decode ? o->prefill_tokens : decode;
}

int batcher_max_segments(const struct batcher_options *o)
{
	return at_most(batcher_max_rows(o), o->seats); /* a sequence is at most one segment */
}

int batcher_max_samples(const struct batcher_options *o)
{
	return batcher_max_segments(o);
}

int batcher_decodes_per_stage(const struct batcher_options *o)
{
	return (o->decode_micro_batches + o->stages - 1) / o->stages;
}

static int check_range(const char *name, int64_t value, int64_t least, int64_t most, struct error *error)
{
	if (value >= least && value <= most)
		return 0;
	return error_set(error, ERROR_INPUT, NULL, "%s = %lld; %lld to %lld are possible", name, (long long) value,
		(long long) least, (long long) most);
}

static int check_options(const struct batcher_options *o, struct error *error)
{
	int code = 0;
	const struct {
		const char *name;
		int64_t value, least, most;
	} ranges[] = {
		{"attention groups", o->groups, 1, MESH_MAX_DEVICES},
		{"limits.sequences", o->seats, 1, 1 << 20},
		{"limits.tokens_per_sequence", o->tokens_per_sequence, 1, 1 << 28},
		{"kv.page_tokens", o->page_tokens, 1, 1 << 20},
		{"kv.pages", o->pages, 0, INT32_MAX},
		{"schedule.prefill.tokens", o->prefill_tokens, 1, 1 << 20},
		{"schedule.prefill.micro_batches", o->prefill_micro_batches, 1, 1 << 16},
		{"schedule.decode.micro_batches", o->decode_micro_batches, 1, 1 << 16},
		{"stages", o->stages, 1, MESH_MAX_STAGES},
		{"schedule.ahead", o->ahead, 1, 1 << 16},
		{"schedule.slots", o->slots, 1, 1 << 16},
		{"schedule.interleave", o->interleave, INTERLEAVE_CHUNKED, INTERLEAVE_PREFILL_FIRST},
		{"vocab", o->vocab, 1, INT32_MAX},
		{"max_position_embeddings", o->max_positions, 0, INT32_MAX},
		{"end tokens", o->eos_count, 0, MODEL_MAX_EOS},
		{"layers", o->record_routing ? o->layers : 1, 1, MODEL_MAX_LAYERS},
		{"experts", o->record_routing ? o->experts : 1, 1, MODEL_MAX_EXPERTS},
	};

	for (size_t i = 0; !code && i < sizeof ranges / sizeof *ranges; i++)
		code = check_range(ranges[i].name, ranges[i].value, ranges[i].least, ranges[i].most, error);
	return code;
}

static bool create_slot(struct batcher *b, struct slot *slot)
{
	struct micro_batch *m = &slot->micro_batch;
	size_t rows = (size_t) b->max_rows, segments = (size_t) b->max_segments, slots = (size_t) b->options.slots;

	m->segment = calloc(segments, sizeof *m->segment);
	m->token = calloc(rows, sizeof *m->token);
	m->position = calloc(rows, sizeof *m->position);
	m->seat = calloc(rows, sizeof *m->seat);
	m->sample = calloc(segments, sizeof *m->sample);
	m->sampled = calloc(segments, sizeof *m->sampled);
	m->logprob = calloc(segments, sizeof *m->logprob);
	m->after = calloc(slots, sizeof *m->after);
	m->sampled_after = calloc(slots, sizeof *m->sampled_after);
	if (b->options.record_routing)
		m->routed = calloc((size_t) b->options.layers * (size_t) b->options.experts, sizeof *m->routed);
	return m->segment && m->token && m->position && m->seat && m->sample && m->sampled && m->logprob && m->after &&
	       m->sampled_after && (m->routed || !b->options.record_routing);
}

static void destroy_slot(struct slot *slot)
{
	struct micro_batch *m = &slot->micro_batch;

	free(m->segment);
	free(m->token);
	free(m->position);
	free(m->seat);
	free(m->sample);
	free(m->sampled);
	free(m->logprob);
	free(m->after);
	free(m->sampled_after);
	free(m->routed);
}

static bool create_seats(struct batcher *b)
{
	size_t seats = (size_t) b->options.seats;

	b->seat = calloc(seats, sizeof *b->seat);
	b->order = calloc(seats, sizeof *b->order);
	b->free_seat = calloc(seats, sizeof *b->free_seat);
	b->take = calloc(seats, sizeof *b->take);
	if (!b->seat || !b->order || !b->free_seat || !b->take)
		return false;
	for (int i = 0; i < b->options.seats; i++) {
		struct seat *seat = &b->seat[i];
		seat->sequence = -1;
		seat->history = calloc((size_t) b->options.tokens_per_sequence, sizeof *seat->history);
		seat->page = calloc((size_t) b->pages_per_sequence, sizeof *seat->page);
		if (!seat->history || !seat->page)
			return false;
		b->free_seat[b->options.seats - 1 - i] = i;
	}
	b->free_seats = b->options.seats;
	return true;
}

int batcher_create(const struct batcher_options *options, struct batcher **out, struct error *error)
{
	struct batcher *b;
	int code = check_options(options, error);

	if (code)
		return code;
	b = calloc(1, sizeof *b);
	if (!b)
		return error_memory(error, "making the batcher");
	b->options = *options;
	b->max_rows = batcher_max_rows(options);
	b->max_segments = batcher_max_segments(options);
	b->pages_per_sequence = batcher_pages_for(b, options->tokens_per_sequence);
	b->slot = calloc((size_t) options->slots, sizeof *b->slot);
	b->pool = calloc((size_t) options->groups, sizeof(struct kv_pages *));
	b->share = calloc((size_t) options->groups, sizeof *b->share);
	b->decode_count = calloc((size_t) options->decode_micro_batches, sizeof *b->decode_count);
	b->iteration_end = calloc((size_t) options->ahead, sizeof *b->iteration_end);
	b->decoded = calloc((size_t) batcher_decodes_per_stage(options), sizeof *b->decoded);
	if (!b->slot || !b->pool || !b->share || !b->decode_count || !b->iteration_end || !b->decoded || !create_seats(b))
		goto no_memory;
	for (int i = 0; i < options->slots; i++)
		if (!create_slot(b, &b->slot[i]))
			goto no_memory;
	for (int g = 0; g < options->groups; g++) {
		code = kv_pages_create(options->pages, &b->pool[g], error);
		if (code) {
			batcher_destroy(b);
			return code;
		}
	}
	*out = b;
	return 0;
no_memory:
	batcher_destroy(b);
	return error_memory(error, "making the batcher");
}

void batcher_destroy(struct batcher *b)
{
	if (!b)
		return;
	for (int i = 0; b->slot && i < b->options.slots; i++)
		destroy_slot(&b->slot[i]);
	for (int i = 0; b->seat && i < b->options.seats; i++) {
		free(b->seat[i].history);
		free(b->seat[i].page);
	}
	for (int g = 0; b->pool && g < b->options.groups; g++)
		kv_pages_destroy(b->pool[g]);
	for (int i = 0; i < b->entries; i++)
		free(b->entry[i].why);
	free(b->slot);
	free(b->seat);
	free(b->order);
	free(b->free_seat);
	free(b->take);
	free(b->pool);
	free(b->share);
	free(b->decode_count);
	free(b->iteration_end);
	free(b->decoded);
	free(b->entry);
	free(b);
}

/* The end is known; what is in flight for the sequence is discarded when its results come. */
static void finish(struct batcher *b, int sequence, enum finish_reason reason, const char *why)
{
	struct entry *entry = &b->entry[sequence];
	struct seat *seat = entry->seat < 0 ? NULL : &b->seat[entry->seat];

	entry->reason = reason;
	if (reason == FINISH_ERROR) {
		entry->why = strdup(why);
		b->counters.failed++;
	} else {
		b->counters.finished++;
	}
	if (b->options.on_finish)
		b->options.on_finish(b->options.context, sequence, reason);
	if (!seat)
		return;
	seat->state = SEAT_LEAVING;
	seat->stalled = false;
	if (!seat_in_flight(b, seat))
		batcher_seat_drained(b, seat);
}

/* Why a sequence can never run; false: it can. */
static bool never_fits(const struct batcher *b, const struct sequence *sequence, char *why, size_t size)
{
	const struct batcher_options *o = &b->options;
	int64_t tokens = (int64_t) sequence->prompt_tokens + sequence->max_new_tokens, pages;

	if (tokens > o->tokens_per_sequence)
		snprintf(why, size, "%d prompt and %d new tokens are more than %s = %d",
			sequence->prompt_tokens, sequence->max_new_tokens,
			o->max_positions == o->tokens_per_sequence
				? "the model's max_position_embeddings"
				: "limits.tokens_per_sequence",
			o->tokens_per_sequence);
	else if (o->max_positions && tokens > o->max_positions)
		snprintf(why, size, "%d prompt and %d new tokens are more than the model's %d positions",
			sequence->prompt_tokens, sequence->max_new_tokens, o->max_positions);
	else if ((pages = batcher_pages_for(b, (int) tokens - 1)) > o->pages)
		snprintf(why, size, "%d prompt and %d new tokens need %lld KV pages of %d tokens; the pool has %lld",
			sequence->prompt_tokens, sequence->max_new_tokens, (long long) pages, o->page_tokens,
			(long long) o->pages);
	else
		return false;
	return true;
}

int batcher_add(struct batcher *b, const struct sequence *sequence, int *index, struct error *error)
{
	char why[256];

	if (!sequence->prompt || sequence->prompt_tokens < 1)
		return error_set(error, ERROR_INPUT, NULL, "a sequence without prompt tokens");
	if (sequence->max_new_tokens < 1)
		return error_set(error, ERROR_INPUT, NULL, "max_new_tokens = %d; at least 1 is needed",
			sequence->max_new_tokens);
	for (int i = 0; i < sequence->prompt_tokens; i++)
		if (sequence->prompt[i] < 0 || sequence->prompt[i] >= b->options.vocab)
			return error_set(error, ERROR_INPUT, NULL, "prompt token %d is %d; the vocabulary has 0 to %d",
				i, sequence->prompt[i], b->options.vocab - 1);
	if (b->entries == b->entry_room) {
		int room = b->entry_room ? 2 * b->entry_room : 256;
		struct entry *grown;

		if (b->entry_room > INT32_MAX / 2)
			return error_set(error, ERROR_INPUT, NULL, "too many sequences");
		grown = realloc(b->entry, (size_t) room * sizeof *grown);
		if (!grown)
			return error_memory(error, "queueing sequences");
		b->entry = grown;
		b->entry_room = room;
	}
	*index = b->entries++;
	b->entry[*index] = (struct entry){.sequence = *sequence, .seat = -1};
	if (never_fits(b, sequence, why, sizeof why))
		finish(b, *index, FINISH_ERROR, why);
	return 0;
}

bool batcher_needs(const struct batcher *b, uint64_t *number)
{
	if (b->consumed >= b->required || b->consumed >= b->formed)
		return false;
	*number = b->consumed;
	return true;
}

static bool is_end(const struct batcher *b, int32_t token)
{
	for (int i = 0; i < b->options.eos_count; i++)
		if (b->options.eos[i] == token)
			return true;
	return false;
}

static int take_token(struct batcher *b, const struct micro_batch *m, int i, struct error *error)
{
	struct seat *seat = &b->seat[m->sample[i].seat];
	int sequence = seat->sequence, count, stop = 0;
	const struct sequence *s;
	int32_t token = m->sampled[i];

	if (token < 0 || token >= b->options.vocab)
		return error_set(error, ERROR_RUN, NULL,
			"micro-batch %llu sampled token %d for sequence %d at position %d; the vocabulary has 0 to %d",
			(unsigned long long) m->number, token, sequence, m->sample[i].position, b->options.vocab - 1);
	seat->history[seat->known++] = token;
	count = seat->known - seat->prompt;
	b->counters.sampled++;
	if (b->options.on_token)
		stop = b->options.on_token(b->options.context, sequence, count, token, m->logprob[i]);
	/* the callback may have called batcher_fail, and batcher_add, which moves the entries */
	if (b->entry[sequence].reason != FINISH_NONE)
		return 0;
	s = &b->entry[sequence].sequence;
	if (stop || (!s->ignore_eos && is_end(b, token)))
		finish(b, sequence, FINISH_STOP, NULL);
	else if (count == s->max_new_tokens)
		finish(b, sequence, FINISH_LENGTH, NULL);
	return 0;
}

int batcher_result(struct batcher *b, uint64_t number, struct error *error)
{
	struct micro_batch *m = &b->slot[number % (uint64_t) b->options.slots].micro_batch;
	uint64_t needed;

	if (!batcher_needs(b, &needed) || needed != number)
		return error_set(error, ERROR_RUN, NULL, "the result of micro-batch %llu is given out of turn",
			(unsigned long long) number);
	for (int i = 0; i < m->segments; i++)
		if (b->entry[b->seat[m->segment[i].seat].sequence].reason != FINISH_NONE)
			b->counters.wasted_rows += m->segment[i].rows;
	for (int i = 0; i < m->samples; i++)
		if (b->entry[b->seat[m->sample[i].seat].sequence].reason == FINISH_NONE) {
			int code = take_token(b, m, i, error);
			if (code)
				return code;
		}
	b->consumed++;
	for (int i = 0; i < m->segments; i++) {
		struct seat *seat = &b->seat[m->segment[i].seat];
		if (!seat_in_flight(b, seat))
			batcher_seat_drained(b, seat);
	}
	return 0;
}

/* How many results must have been consumed before micro-batch `formed` of this iteration is formed. */
static uint64_t required_results(const struct batcher *b)
{
	uint64_t ahead = (uint64_t) b->options.ahead, slots = (uint64_t) b->options.slots;
	uint64_t by_ahead = b->iteration >= ahead ? b->iteration_end[b->iteration % ahead] : 0;
	uint64_t by_slots = b->formed >= slots ? b->formed - slots + 1 : 0;

	return by_ahead > by_slots ? by_ahead : by_slots;
}

static bool all_ended(struct batcher *b)
{
	while (b->next_new < b->entries && b->entry[b->next_new].reason != FINISH_NONE)
		b->next_new++;
	return !b->active && b->next_new == b->entries;
}

enum batcher_step batcher_next(struct batcher *b, struct micro_batch **micro_batch, struct error *error)
{
	if (b->draining) {
		b->required = b->formed;
		return b->consumed < b->formed ? BATCHER_WAIT : BATCHER_DONE;
	}
	for (;;) {
		uint64_t required = required_results(b);

		if (required > b->required)
			b->required = required;
		if (b->consumed < b->required)
			return BATCHER_WAIT;
		if (b->step == 0)
			batcher_begin_iteration(b);
		while (b->step < batcher_steps(b)) {
			bool some = batcher_form(b);
			b->step++;
			if (some) {
				b->iteration_formed = true;
				*micro_batch = &b->slot[(b->formed - 1) % (uint64_t) b->options.slots].micro_batch;
				return BATCHER_SUBMIT;
			}
		}
		b->step = 0;
		if (b->iteration_formed) {
			b->iteration_end[b->iteration % (uint64_t) b->options.ahead] = b->formed;
			b->iteration++;
			b->iteration_formed = false;
			continue;
		}
		/* nothing to form without one more result: the same iteration is tried again after it */
		if (b->consumed < b->formed) {
			b->required = b->consumed + 1;
			return BATCHER_WAIT;
		}
		if (all_ended(b))
			return BATCHER_DONE;
		error_set(error, ERROR_RUN, NULL,
			"the batcher is stuck: %d sequences have seats, %d wait, and nothing is in flight", b->active,
			b->entries - b->next_new);
		return BATCHER_STUCK;
	}
}

struct micro_batch *batcher_micro_batch(struct batcher *b, int slot)
{
	return &b->slot[slot].micro_batch;
}

void batcher_fail(struct batcher *b, int sequence, const char *reason)
{
	if (sequence >= 0 && sequence < b->entries && b->entry[sequence].reason == FINISH_NONE)
		finish(b, sequence, FINISH_ERROR, reason);
}

void batcher_drain(struct batcher *b)
{
	b->draining = true;
}
