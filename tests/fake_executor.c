/* SPDX-License-Identifier: Apache-2.0
 *
 * A stand-in for model and engine, to test the batcher with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/fake_executor.h"

uint64_t fake_random(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15ull; /* splitmix64 */

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
	uint64_t state = hash * 31 + value;

	return fake_random(&state);
}

static int32_t choose(uint64_t hash, int position, uint64_t seed, int vocab, float *logprob)
{
	uint64_t h = mix(mix(hash, (uint64_t) position), seed);

	*logprob = -(float) (h >> 40) / 65536;
	return (int32_t) (h % (uint64_t) vocab);
}

int32_t fake_next(const int32_t *history, int count, uint64_t seed, int vocab, float *logprob)
{
	uint64_t hash = 0;

	for (int i = 0; i < count; i++)
		hash = mix(hash, (uint64_t) history[i]);
	return choose(hash, count, seed, vocab, logprob);
}

void fake_create(struct fake_executor *fake, struct batcher *batcher, const struct batcher_options *o, uint64_t seed)
{
	*fake = (struct fake_executor){.batcher = batcher, .options = o, .random = seed};
	fake->table = calloc((size_t) o->seats, sizeof *fake->table);
	fake->kv = calloc((size_t) o->groups, sizeof *fake->kv);
	fake->owner = calloc((size_t) o->groups, sizeof *fake->owner);
	for (int g = 0; g < o->groups; g++) {
		size_t pages = (size_t) o->pages, tokens = pages * (size_t) o->page_tokens;
		fake->kv[g] = malloc((tokens + 1) * sizeof **fake->kv);
		fake->owner[g] = malloc((pages + 1) * sizeof **fake->owner);
		memset(fake->kv[g], 0x7f, (tokens + 1) * sizeof **fake->kv);
		memset(fake->owner[g], 0xff, (pages + 1) * sizeof **fake->owner);
	}
	fake->run = calloc((size_t) o->slots, sizeof *fake->run);
	for (int s = 0; s < o->slots; s++) {
		fake->run[s].token = calloc((size_t) batcher_max_rows(o), sizeof(int32_t));
		fake->run[s].hash = calloc((size_t) batcher_max_rows(o), sizeof(uint64_t));
		fake->run[s].done = 3;
	}
}

void fake_destroy(struct fake_executor *fake)
{
	for (int s = 0; s < fake->options->slots; s++) {
		free(fake->run[s].token);
		free(fake->run[s].hash);
	}
	for (int g = 0; g < fake->options->groups; g++) {
		free(fake->kv[g]);
		free(fake->owner[g]);
	}
	free(fake->run);
	free(fake->kv);
	free(fake->owner);
	free(fake->table);
}

static struct fake_run *run_of(const struct fake_executor *fake, uint64_t number)
{
	return &fake->run[number % (uint64_t) fake->options->slots];
}

static void check_shape(const struct fake_executor *fake, const struct micro_batch *m)
{
	const struct batcher_options *o = fake->options;
	int row = 0, segment = 0, sample = 0;

	assert_int_equal(m->number, fake->submitted);
	assert_ptr_equal(m, batcher_micro_batch(fake->batcher, (int) (m->number % (uint64_t) o->slots)));
	assert_int_equal(m->groups, o->groups);
	assert_in_range(m->rows, 1, batcher_max_rows(o));
	assert_in_range(m->segments, 1, batcher_max_segments(o));
	assert_in_range(m->samples, 0, batcher_max_samples(o));
	for (int g = 0; g < m->groups; g++) {
		assert_int_equal(m->group_row[g], row);
		assert_int_equal(m->group_segment[g], segment);
		assert_int_equal(m->group_sample[g], sample);
		for (; segment < m->group_segment[g + 1]; segment++) {
			const struct segment *s = &m->segment[segment];
			assert_int_equal(s->row, row);
			assert_true(s->rows >= 1);
			for (int r = 0; r < s->rows; r++, row++) {
				assert_int_equal(m->position[row], s->position + r);
				assert_int_equal(m->seat[row], s->seat);
				if (sample < m->samples && m->sample[sample].row == row) {
					assert_int_equal(r, s->rows - 1);
					assert_int_equal(m->sample[sample].seat, s->seat);
					assert_int_equal(m->sample[sample++].position, m->position[row] + 1);
				}
			}
		}
		assert_int_equal(m->group_row[g + 1], row);
		assert_int_equal(m->group_sample[g + 1], sample);
	}
	assert_int_equal(m->rows, row);
	assert_int_equal(m->segments, segment);
	assert_int_equal(m->samples, sample);
	for (int i = 0; i < m->after_count; i++)
		assert_true(m->after[i] < m->number && (!i || m->after[i] > m->after[i - 1]));
	for (int i = 0; i < m->sampled_after_count; i++)
		assert_true(m->sampled_after[i] < m->number && (!i || m->sampled_after[i] > m->sampled_after[i - 1]));
	if (m->in_turn)
		assert_true(o->stages > 1 && m->phase == PHASE_DECODE && m->enters_after < m->number);
}

void fake_submit(struct fake_executor *fake, struct micro_batch *m)
{
	struct fake_run *run = run_of(fake, m->number);

	assert_int_equal(run->done, 3); /* the slot is free */
	check_shape(fake, m);
	run->micro_batch = m;
	run->done = 0;
	fake->submitted++;
}

int fake_ended(const struct fake_executor *fake, uint64_t number)
{
	const struct fake_run *run = run_of(fake, number);

	return run->micro_batch->number != number || run->done == 3;
}

/* Whether the first `tasks` tasks of a micro-batch that was submitted earlier have run. */
static int has_run(const struct fake_executor *fake, uint64_t number, int tasks)
{
	const struct fake_run *run = run_of(fake, number);

	return run->micro_batch->number != number || run->done >= tasks;
}

static int may_run(const struct fake_executor *fake, const struct fake_run *run)
{
	const struct micro_batch *m = run->micro_batch;
	int ready = m && run->done < 3;

	for (int i = 0; ready && run->done == 0 && i < m->sampled_after_count; i++)
		ready = has_run(fake, m->sampled_after[i], 3);
	if (ready && run->done == 0 && m->in_turn)
		ready = has_run(fake, m->enters_after, 2);
	for (int i = 0; ready && run->done == 1 && i < m->after_count; i++)
		ready = has_run(fake, m->after[i], 2);
	return ready;
}

static void embed(struct fake_executor *fake, struct fake_run *run)
{
	const struct micro_batch *m = run->micro_batch;

	for (int i = 0; i < m->rows; i++)
		run->token[i] = m->token[i] < 0 ? fake->table[m->seat[i]] : m->token[i];
}

static void attend(struct fake_executor *fake, struct fake_run *run)
{
	const struct micro_batch *m = run->micro_batch;
	int page_tokens = fake->options->page_tokens;

	for (int g = 0; g < m->groups; g++)
		for (int i = m->group_segment[g]; i < m->group_segment[g + 1]; i++) {
			const struct segment *s = &m->segment[i];
			int sequence = batcher_seat_sequence(fake->batcher, s->seat);
			uint64_t hash = 0;

			assert_true(sequence >= 0);
			for (int r = 0; r < s->rows; r++) {
				int position = s->position + r, page = s->pages[position / page_tokens];
				assert_in_range(page, 0, fake->options->pages - 1);
				fake->kv[g][page * page_tokens + position % page_tokens] = run->token[s->row + r];
				fake->owner[g][page] = sequence;
			}
			for (int position = 0; position < s->position + s->rows; position++) {
				int page = s->pages[position / page_tokens];
				assert_int_equal(fake->owner[g][page], sequence);
				hash = mix(hash, (uint64_t) fake->kv[g][page * page_tokens + position % page_tokens]);
				if (position >= s->position)
					run->hash[s->row + position - s->position] = hash;
			}
		}
}

static void sample(struct fake_executor *fake, struct fake_run *run)
{
	struct micro_batch *m = run->micro_batch;

	for (int i = 0; i < m->samples; i++) {
		const struct sample *s = &m->sample[i];
		m->sampled[i] =
			choose(run->hash[s->row], s->position, s->sampling.seed, fake->options->vocab, &m->logprob[i]);
		fake->table[s->seat] = m->sampled[i];
	}
}

int fake_step(struct fake_executor *fake)
{
	int slots = fake->options->slots, first = (int) (fake_random(&fake->random) % (uint64_t) slots);

	for (int i = 0; i < slots; i++) {
		struct fake_run *run = &fake->run[(first + i) % slots];
		if (!may_run(fake, run))
			continue;
		if (run->done == 0)
			embed(fake, run);
		else if (run->done == 1)
			attend(fake, run);
		else
			sample(fake, run);
		run->done++;
		return 1;
	}
	return 0;
}
