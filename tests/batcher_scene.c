/* SPDX-License-Identifier: Apache-2.0
 *
 * Sequences with a known truth, run through the batcher and the fake executor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/batcher_scene.h"

static int on_token(void *context, int index, int count, int32_t token, float logprob)
{
	struct scene *scene = context;
	struct truth *t = &scene->truth[index];

	if (count != ++t->got || count > t->count || token != t->token[count - 1] || logprob != t->logprob[count - 1])
		t->wrong = true;
	if (t->fail_at == count) {
		batcher_fail(scene->batcher, index, "asked to");
		return 0;
	}
	return token == t->stop_token;
}

static void on_finish(void *context, int index, enum finish_reason reason)
{
	struct scene *scene = context;
	struct truth *t = &scene->truth[index];
	int count;
	const int32_t *generated = batcher_generated(scene->batcher, index, &count);

	t->ends++;
	if (reason != t->reason || t->got != t->count || count != t->got ||
		(count && memcmp(generated, t->token, (size_t) count * sizeof *generated)))
		t->wrong = true;
}

/* The plain loop: one sequence, one token after the other. */
static void find_truth(struct scene *scene, struct truth *t)
{
	const struct sequence *s = &t->sequence;
	const struct batcher_options *o = &scene->options;
	int total = s->prompt_tokens + s->max_new_tokens, known = s->prompt_tokens;
	int32_t history[2 * MAX_TOKENS];

	t->count = 0;
	t->reason = FINISH_ERROR;
	if (total > o->tokens_per_sequence || (total - 1 + o->page_tokens - 1) / o->page_tokens > o->pages) {
		t->never_fits = true;
		return;
	}
	memcpy(history, t->prompt, sizeof t->prompt);
	for (;;) {
		int32_t token = fake_next(history, known, s->sampling.seed, VOCAB, &t->logprob[t->count]);
		history[known++] = t->token[t->count++] = token;
		if (t->fail_at == t->count)
			return;
		t->reason = FINISH_STOP;
		if (token == t->stop_token || (!s->ignore_eos && token == EOS))
			return;
		t->reason = FINISH_LENGTH;
		if (t->count == s->max_new_tokens)
			return;
		t->reason = FINISH_ERROR;
	}
}

void scene_make(struct scene *scene, uint64_t seed)
{
	uint64_t random = seed;
#define RANDOM(least, most) ((int) (fake_random(&random) % (uint64_t) ((most) - (least) + 1)) + (least))
	struct batcher_options *o = &scene->options;
	int longest;

	memset(scene, 0, sizeof *scene);
	/* one statement each: the order of an initializer's values would be the compiler's */
	o->groups = RANDOM(1, 3);
	o->seats = RANDOM(1, 9);
	o->page_tokens = RANDOM(1, 5);
	o->prefill_tokens = RANDOM(0, 1) ? RANDOM(1, 6) : RANDOM(1, 100);
	o->prefill_micro_batches = RANDOM(1, 3);
	o->decode_micro_batches = RANDOM(1, 4);
	o->stages = RANDOM(1, 4);
	o->ahead = RANDOM(1, 4);
	o->slots = RANDOM(1, 8);
	o->interleave = (enum interleave) RANDOM(0, 2);
	o->vocab = VOCAB;
	o->eos[0] = EOS;
	o->eos_count = 1;
	o->on_token = on_token;
	o->on_finish = on_finish;
	o->context = scene;
	longest = RANDOM(2, 50);
	o->tokens_per_sequence = longest;
	o->pages = (longest - 1 + o->page_tokens - 1) / o->page_tokens + (RANDOM(0, 2) ? RANDOM(0, 12) : 200);
	if (RANDOM(0, 9) == 0 && o->pages > 2)
		o->pages /= 2; /* some can never fit */
	scene->sequences = RANDOM(1, MAX_SEQUENCES);
	for (int i = 0; i < scene->sequences; i++) {
		struct truth *t = &scene->truth[i];
		t->sequence.prompt = t->prompt;
		t->sequence.prompt_tokens = RANDOM(1, longest);
		t->sequence.max_new_tokens = RANDOM(1, longest);
		t->sequence.ignore_eos = RANDOM(0, 1);
		if (RANDOM(0, 15) && t->sequence.prompt_tokens + t->sequence.max_new_tokens > longest)
			t->sequence.max_new_tokens = longest - t->sequence.prompt_tokens;
		if (t->sequence.max_new_tokens < 1)
			t->sequence.max_new_tokens = 1;
		t->sequence.sampling.seed = fake_random(&random);
		for (int k = 0; k < t->sequence.prompt_tokens; k++)
			t->prompt[k] = RANDOM(0, VOCAB - 1);
		t->stop_token = RANDOM(0, 3) ? -1 : RANDOM(0, VOCAB - 1);
		t->fail_at = RANDOM(0, 11) ? 0 : RANDOM(1, 5);
		find_truth(scene, t);
	}
#undef RANDOM
}

/* No page in two page tables, and every page that is taken in one. */
void scene_check_pages(const struct batcher *b)
{
	for (int g = 0; g < b->options.groups; g++) {
		char held[512] = {0};
		int count = 0;

		for (int i = 0; i < b->options.seats; i++) {
			const struct seat *seat = &b->seat[i];
			if (seat->state == SEAT_FREE || seat->state == SEAT_WAITING)
				assert_int_equal(seat->pages, 0);
			for (int k = 0; seat->group == g && k < seat->pages; k++) {
				assert_false(held[seat->page[k]]);
				held[seat->page[k]] = 1;
				count++;
			}
		}
		assert_int_equal(count, kv_pages_used(b->pool[g]));
	}
}

static void note(struct scene *scene, const struct micro_batch *m)
{
	size_t need = (size_t) batcher_dump(scene->batcher, m, NULL, 0) + 2;

	for (int i = 0; i < m->samples; i++) { /* never beyond max_new_tokens, not even ahead */
		int index = batcher_seat_sequence(scene->batcher, m->sample[i].seat);
		const struct sequence *s = &scene->truth[index].sequence;
		assert_in_range(m->sample[i].position, s->prompt_tokens, s->prompt_tokens + s->max_new_tokens - 1);
	}

	if (scene->dump_length + need > scene->dump_room) {
		scene->dump_room = 2 * (scene->dump_length + need);
		scene->dump = realloc(scene->dump, scene->dump_room);
		assert_non_null(scene->dump);
	}
	assert_int_equal(batcher_dump(scene->batcher, m, scene->dump + scene->dump_length, need), need - 2);
	scene->dump_length += need - 1;
	scene->dump[scene->dump_length - 1] = '\n';
	scene->dump[scene->dump_length] = 0;
}

/* Runs the scene; `eager`: how many tasks run for each call of the batcher, on average. */
void scene_play(struct scene *scene, uint64_t timing, int eager, int drain_after)
{
	struct error error = {0};
	struct fake_executor fake;
	struct micro_batch *m;
	uint64_t number;
	int index;

	assert_int_equal(batcher_create(&scene->options, &scene->batcher, &error), 0);
	fake_create(&fake, scene->batcher, &scene->options, timing);
	scene->dump_length = 0;
	for (int i = 0; i < scene->sequences; i++) {
		scene->truth[i].got = scene->truth[i].ends = 0;
		assert_int_equal(batcher_add(scene->batcher, &scene->truth[i].sequence, &index, &error), 0);
		assert_int_equal(index, i);
	}
	for (;;) {
		enum batcher_step step;

		while (batcher_needs(scene->batcher, &number)) {
			while (!fake_ended(&fake, number))
				assert_true(fake_step(&fake)); /* declared dependencies have no cycle */
			assert_int_equal(batcher_result(scene->batcher, number, &error), 0);
			scene_check_pages(scene->batcher);
		}
		step = batcher_next(scene->batcher, &m, &error);
		assert_int_not_equal(step, BATCHER_STUCK);
		if (step == BATCHER_DONE)
			break;
		if (step == BATCHER_SUBMIT) {
			scene_check_pages(scene->batcher);
			note(scene, m);
			fake_submit(&fake, m);
			if (drain_after && m->number + 1 == (uint64_t) drain_after)
				batcher_drain(scene->batcher);
		}
		for (uint64_t n = fake_random(&fake.random) % (uint64_t) (2 * eager + 1); n && fake_step(&fake); n--)
			;
	}
	batcher_count(scene->batcher, &scene->counters);
	fake_destroy(&fake);
}

void scene_check_results(const struct scene *scene)
{
	const struct batcher_counters *c = &scene->counters;
	int64_t rows = 0, sampled = 0, finished = 0;

	for (int i = 0; i < scene->sequences; i++) {
		const struct truth *t = &scene->truth[i];
		assert_false(t->wrong);
		assert_int_equal(t->ends, 1);
		assert_int_equal(t->got, t->count);
		assert_int_equal(batcher_finished(scene->batcher, i), t->reason);
		assert_int_equal(strlen(batcher_reason(scene->batcher, i)) > 0, t->reason == FINISH_ERROR);
		rows += t->never_fits ? 0 : t->sequence.prompt_tokens + t->count - 1;
		sampled += t->count;
		finished += t->reason != FINISH_ERROR;
	}
	assert_int_equal(c->sampled, sampled);
	assert_int_equal(c->finished, finished);
	assert_int_equal(c->failed, scene->sequences - finished);
	assert_int_equal(c->rows, c->prefill_rows + c->decode_rows);
	assert_int_equal(c->pages_used, 0);
	assert_int_equal(c->running + c->waiting, 0);
	assert_int_equal(c->rows - c->recomputed_rows - c->wasted_rows, rows);
}

void scene_end(struct scene *scene)
{
	batcher_destroy(scene->batcher);
	scene->batcher = NULL;
}

/* A scene of equal sequences that run to their full length. */
void scene_equal(struct scene *scene, int sequences, int prompt, int new_tokens)
{
	memset(scene, 0, sizeof *scene);
	scene->options = (struct batcher_options){.groups = 1,
		.seats = 4,
		.tokens_per_sequence = 40,
		.page_tokens = 4,
		.pages = 40,
		.prefill_tokens = 8,
		.prefill_micro_batches = 1,
		.decode_micro_batches = 1,
		.stages = 1,
		.ahead = 1,
		.slots = 4,
		.interleave = INTERLEAVE_CHUNKED,
		.vocab = VOCAB,
		.eos = {EOS},
		.eos_count = 1,
		.on_token = on_token,
		.on_finish = on_finish,
		.context = scene};
	scene->sequences = sequences;
	for (int i = 0; i < sequences; i++) {
		struct truth *t = &scene->truth[i];
		t->sequence = (struct sequence){.prompt = t->prompt,
			.prompt_tokens = prompt,
			.max_new_tokens = new_tokens,
			.ignore_eos = true,
			.sampling = {.seed = (uint64_t) i}};
		for (int k = 0; k < prompt; k++)
			t->prompt[k] = (i + k) % VOCAB;
		t->stop_token = -1;
	}
}

void scene_find_truths(struct scene *scene)
{
	for (int i = 0; i < scene->sequences; i++)
		find_truth(scene, &scene->truth[i]);
}
