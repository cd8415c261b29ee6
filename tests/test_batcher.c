/* SPDX-License-Identifier: Apache-2.0
 *
 * The batcher under a fake executor: every token against the sequential truth, for random options, sequences and
 * orders of completion; the same micro-batches whatever the order; pages accounted for; nobody lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "runtime/batcher_internal.h"
#include "tests/fake_executor.h"

enum { VOCAB = 97, EOS = 5, MAX_SEQUENCES = 40, MAX_TOKENS = 64 };

struct truth { /* what a sequence must become */
	struct sequence sequence;
	int32_t prompt[MAX_TOKENS];
	int stop_token; /* −1: none; ends like a stop string */
	int fail_at;    /* 0: never; fails itself when that many tokens are known */
	bool never_fits;
	int32_t token[MAX_TOKENS];
	float logprob[MAX_TOKENS];
	int count;
	enum finish_reason reason;
	/* what it has become */
	int got, ends;
	bool wrong;
};

struct scene {
	struct batcher_options options;
	struct truth truth[MAX_SEQUENCES];
	int sequences;
	struct batcher *batcher;
	char *dump;
	size_t dump_length, dump_room;
	struct batcher_counters counters;
};

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

static void make_scene(struct scene *scene, uint64_t seed)
{
	uint64_t random = seed;
#define RANDOM(least, most) ((int) (fake_random(&random) % (uint64_t) ((most) - (least) + 1)) + (least))
	struct batcher_options *o = &scene->options;
	int longest;

	memset(scene, 0, sizeof *scene);
	*o = (struct batcher_options){.groups = RANDOM(1, 3),
		.seats = RANDOM(1, 9),
		.page_tokens = RANDOM(1, 5),
		.prefill_tokens = RANDOM(0, 1) ? RANDOM(1, 6) : RANDOM(1, 100),
		.prefill_micro_batches = RANDOM(1, 3),
		.decode_micro_batches = RANDOM(1, 4),
		.ahead = RANDOM(1, 4),
		.slots = RANDOM(1, 8),
		.interleave = (enum interleave) RANDOM(0, 2),
		.vocab = VOCAB,
		.eos = {EOS},
		.eos_count = 1,
		.on_token = on_token,
		.on_finish = on_finish,
		.context = scene};
	longest = RANDOM(2, 50);
	o->tokens_per_sequence = longest;
	o->pages = (longest - 1 + o->page_tokens - 1) / o->page_tokens + (RANDOM(0, 2) ? RANDOM(0, 12) : 200);
	if (RANDOM(0, 9) == 0 && o->pages > 2)
		o->pages /= 2; /* some can never fit */
	scene->sequences = RANDOM(1, MAX_SEQUENCES);
	for (int i = 0; i < scene->sequences; i++) {
		struct truth *t = &scene->truth[i];
		t->sequence = (struct sequence){.prompt = t->prompt,
			.prompt_tokens = RANDOM(1, longest),
			.max_new_tokens = RANDOM(1, longest),
			.ignore_eos = RANDOM(0, 1)};
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
static void check_pages(const struct batcher *b)
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
static void play(struct scene *scene, uint64_t timing, int eager, int drain_after)
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
			check_pages(scene->batcher);
		}
		step = batcher_next(scene->batcher, &m, &error);
		assert_int_not_equal(step, BATCHER_STUCK);
		if (step == BATCHER_DONE)
			break;
		if (step == BATCHER_SUBMIT) {
			check_pages(scene->batcher);
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

static void check_results(const struct scene *scene)
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

static void end_scene(struct scene *scene)
{
	batcher_destroy(scene->batcher);
	scene->batcher = NULL;
}

static void test_random(void **state)
{
	static struct scene scene;
	int64_t preemptions = 0, wasted = 0, recomputed = 0;
	int scenes = getenv("OCTANT_TEST_LONG") ? 40000 : 1500;

	(void) state;
	for (int seed = 1; seed <= scenes; seed++) {
		char *first;

		make_scene(&scene, (uint64_t) seed);
		play(&scene, 1, 3, 0);
		check_results(&scene);
		preemptions += scene.counters.preemptions;
		wasted += scene.counters.wasted_rows;
		recomputed += scene.counters.recomputed_rows;
		first = scene.dump;
		end_scene(&scene);
		for (int timing = 2; timing < 4; timing++) { /* as slow as can be, and as fast */
			scene.dump = NULL;
			scene.dump_room = 0;
			play(&scene, (uint64_t) timing, timing == 2 ? 0 : 100, 0);
			check_results(&scene);
			end_scene(&scene);
			if (first && scene.dump)
				assert_string_equal(first, scene.dump);
			else
				assert_ptr_equal(first, scene.dump);
			free(scene.dump);
		}
		free(first);
	}
	/* the scenes do meet what they are for */
	assert_true(preemptions > scenes && wasted > scenes && recomputed > scenes);
}

/* A scene of equal sequences that run to their full length. */
static void equal_scene(struct scene *scene, int sequences, int prompt, int new_tokens)
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

static void find_truths(struct scene *scene)
{
	for (int i = 0; i < scene->sequences; i++)
		find_truth(scene, &scene->truth[i]);
}

static void expect_dump(struct scene *scene, const char *expected)
{
	find_truths(scene);
	play(scene, 1, 2, 0);
	check_results(scene);
	assert_string_equal(scene->dump, expected);
	end_scene(scene);
	free(scene->dump);
}

static void test_chunked(void **state)
{
	static struct scene scene;

	(void) state;
	/* two prompts of 12 rows in chunks of 8: the second chunk has pieces of both; a chunk goes before a
	 * decode step, and who ends its prompt decodes from the next iteration on */
	equal_scene(&scene, 2, 12, 3);
	scene.options.ahead = 2;
	expect_dump(&scene, "0 i0 prefill s0:0+8@0\n"
			    "1 i1 prefill s0:8+4@0* s1:0+4@1 after 0\n"
			    "2 i2 prefill s1:4+8@1* after 1\n"
			    "3 i2 decode s0:12+1@0*! sampled 1\n"
			    "4 i3 decode s0:13+1@0*! s1:12+1@1*! sampled 2 3\n"
			    "5 i4 decode s1:13+1@1*! sampled 4\n");
}

static void test_ahead_one_waits(void **state)
{
	static struct scene scene;

	(void) state;
	/* each iteration has seen all before it: nothing is declared but what lies within one */
	equal_scene(&scene, 1, 20, 2);
	scene.options.prefill_micro_batches = 2;
	expect_dump(&scene, "0 i0 prefill s0:0+8@0\n"
			    "1 i0 prefill s0:8+8@0 after 0\n"
			    "2 i1 prefill s0:16+4@0*\n"
			    "3 i2 decode s0:20+1@0*!\n");
}

static void test_mixed(void **state)
{
	static struct scene scene;

	(void) state;
	equal_scene(&scene, 3, 8, 3);
	scene.options.interleave = INTERLEAVE_MIXED;
	expect_dump(&scene, "0 i0 prefill s0:0+8@0*\n"
			    "1 i1 mixed s0:8+1@0*! s1:0+8@1*\n"
			    "2 i2 mixed s0:9+1@0*! s1:8+1@1*! s2:0+8@2*\n"
			    "3 i3 decode s1:9+1@1*! s2:8+1@2*!\n"
			    "4 i4 decode s2:9+1@2*!\n");
}

static void test_prefill_first(void **state)
{
	static struct scene scene;

	(void) state;
	equal_scene(&scene, 3, 8, 2);
	scene.options.interleave = INTERLEAVE_PREFILL_FIRST;
	scene.options.decode_micro_batches = 2;
	expect_dump(&scene, "0 i0 prefill s0:0+8@0*\n"
			    "1 i1 prefill s1:0+8@1*\n"
			    "2 i2 prefill s2:0+8@2*\n"
			    "3 i3 decode s0:8+1@0*! s2:8+1@2*!\n"
			    "4 i3 decode s1:8+1@1*!\n");
}

static void test_groups_share_a_chunk(void **state)
{
	static struct scene scene;

	(void) state;
	/* two attention groups: a long prompt does not fill the chunk while the other group has rows */
	equal_scene(&scene, 2, 12, 1);
	scene.options.groups = 2;
	expect_dump(&scene, "0 i0 prefill g0 s0:0+4@0 g1 s1:0+4@1\n"
			    "1 i1 prefill g0 s0:4+4@0 g1 s1:4+4@1\n"
			    "2 i2 prefill g0 s0:8+4@0* g1 s1:8+4@1*\n");
	/* and one alone takes all of it */
	equal_scene(&scene, 1, 12, 1);
	scene.options.groups = 2;
	expect_dump(&scene, "0 i0 prefill g0 s0:0+8@0 g1\n"
			    "1 i1 prefill g0 s0:8+4@0* g1\n");
}

static void test_one_slot(void **state)
{
	static struct scene scene;

	(void) state;
	/* with one slot each micro-batch has seen the one before, whatever `ahead` says: a sequence that has
	 * ended is out of the next */
	equal_scene(&scene, 3, 8, 4);
	scene.options.slots = 1;
	scene.options.ahead = 4;
	scene.options.decode_micro_batches = 2;
	for (int i = 0; i < 3; i++)
		scene.truth[i].sequence.ignore_eos = false;
	scene.options.eos_count = 0;
	find_truths(&scene);
	scene.options.eos[0] = scene.truth[0].token[1];
	scene.options.eos_count = 1;
	for (int i = 0; i < 3; i++)
		scene.truth[i].stop_token = scene.options.eos[0];
	find_truths(&scene);
	assert_int_equal(scene.truth[0].count, 2);
	play(&scene, 1, 2, 0);
	check_results(&scene);
	assert_int_equal(scene.counters.wasted_rows, 0);
	assert_null(strstr(scene.dump, "after"));
	assert_null(strstr(scene.dump, "sampled"));
	end_scene(&scene);
	free(scene.dump);
}

static void test_full_pool_never_preempts(void **state)
{
	static struct scene scene;

	(void) state;
	/* a pool of just what all seats need at their longest: all sit at once, and none is ever preempted */
	equal_scene(&scene, 12, 9, 12);
	scene.options.pages = 4 * 5;
	scene.options.prefill_tokens = 40;
	find_truths(&scene);
	play(&scene, 1, 2, 0);
	check_results(&scene);
	assert_non_null(strstr(scene.dump, "0 i0 prefill s0:0+9@0* s1:0+9@1* s2:0+9@2* s3:0+9@3*\n"));
	assert_int_equal(scene.counters.preemptions, 0);
	assert_int_equal(scene.counters.recomputed_rows, 0);
	assert_int_equal(scene.counters.pages_peak, 20);
	end_scene(&scene);
	free(scene.dump);
	/* no room is kept for those that have all their pages */
	equal_scene(&scene, 4, 9, 2);
	scene.options.pages = 4 * 3;
	scene.options.prefill_tokens = 40;
	expect_dump(&scene, "0 i0 prefill s0:0+9@0* s1:0+9@1* s2:0+9@2* s3:0+9@3*\n"
			    "1 i1 decode s0:9+1@0*! s1:9+1@1*! s2:9+1@2*! s3:9+1@3*!\n");
}

static void test_preemption(void **state)
{
	static struct scene scene;

	(void) state;
	/* 4 sequences that grow to 10 pages each in a pool of 12: the youngest go, the oldest never */
	equal_scene(&scene, 4, 8, 32);
	scene.options.pages = 12;
	scene.options.prefill_tokens = 32;
	find_truths(&scene);
	play(&scene, 1, 2, 0);
	check_results(&scene);
	assert_true(scene.counters.preemptions >= 1);
	/* room is kept for those that run: not a preemption at each page boundary */
	assert_true(scene.counters.preemptions <= 4);
	assert_true(scene.counters.recomputed_rows > 0);
	assert_int_equal(scene.counters.pages_peak, 12);
	end_scene(&scene);
	free(scene.dump);
}

static void test_wasted(void **state)
{
	static struct scene scene;

	(void) state;
	/* with `ahead` 3, two steps are on their way when the end is seen */
	equal_scene(&scene, 1, 8, 10);
	scene.options.ahead = 3;
	find_truths(&scene);
	scene.truth[0].stop_token = scene.truth[0].token[3];
	find_truths(&scene);
	play(&scene, 1, 2, 0);
	check_results(&scene);
	assert_int_equal(scene.counters.wasted_rows, scene.truth[0].count == 4 ? 2 : 0);
	assert_int_equal(scene.truth[0].count, 4);
	end_scene(&scene);
	free(scene.dump);
}

static void test_drain(void **state)
{
	static struct scene scene;
	int unfinished = 0;

	(void) state;
	equal_scene(&scene, 8, 8, 6);
	find_truths(&scene);
	play(&scene, 1, 0, 5);
	assert_int_equal(scene.counters.micro_batches, 5);
	for (int i = 0; i < scene.sequences; i++) {
		assert_false(scene.truth[i].wrong); /* what there is is right */
		unfinished += batcher_finished(scene.batcher, i) == FINISH_NONE;
	}
	assert_true(unfinished > 0);
	assert_int_equal(scene.counters.running + scene.counters.waiting, unfinished);
	end_scene(&scene);
	free(scene.dump);
}

static void test_fail(void **state)
{
	static struct scene scene;
	struct error error = {0};
	struct micro_batch *m;
	uint64_t number;
	int index;

	(void) state;
	equal_scene(&scene, 6, 8, 4);
	find_truths(&scene);
	for (int i = 0; i < 6; i += 2) {
		scene.truth[i].count = 0;
		scene.truth[i].reason = FINISH_ERROR;
	}
	assert_int_equal(batcher_create(&scene.options, &scene.batcher, &error), 0);
	for (int i = 0; i < 6; i++)
		assert_int_equal(batcher_add(scene.batcher, &scene.truth[i].sequence, &index, &error), 0);
	batcher_fail(scene.batcher, 4, "before it runs");
	assert_int_equal(batcher_next(scene.batcher, &m, &error), BATCHER_SUBMIT);
	batcher_fail(scene.batcher, 0, "in flight");
	batcher_fail(scene.batcher, 0, "again"); /* does nothing */
	batcher_fail(scene.batcher, -1, "nobody");
	batcher_fail(scene.batcher, 6, "nobody");
	batcher_fail(scene.batcher, 2, "waiting");
	assert_string_equal(batcher_reason(scene.batcher, 0), "in flight");
	assert_string_equal(batcher_reason(scene.batcher, 1), "");
	for (;;) {
		enum batcher_step step;
		while (batcher_needs(scene.batcher, &number)) {
			m = batcher_micro_batch(scene.batcher, (int) (number % 4));
			for (int i = 0; i < m->samples; i++) {
				int s = batcher_seat_sequence(scene.batcher, m->sample[i].seat);
				int known = m->sample[i].position - 8;
				m->sampled[i] = scene.truth[s].token[known];
				m->logprob[i] = scene.truth[s].logprob[known];
			}
			assert_int_equal(batcher_result(scene.batcher, number, &error), 0);
			check_pages(scene.batcher);
		}
		step = batcher_next(scene.batcher, &m, &error);
		if (step == BATCHER_DONE)
			break;
	}
	batcher_count(scene.batcher, &scene.counters);
	assert_int_equal(scene.counters.failed, 3);
	assert_int_equal(scene.counters.finished, 3);
	assert_int_equal(scene.counters.wasted_rows, 8);
	assert_int_equal(scene.counters.pages_used, 0);
	for (int i = 0; i < 6; i++) {
		assert_false(scene.truth[i].wrong);
		assert_int_equal(scene.truth[i].ends, 1);
	}
	/* more may be added when all is done */
	scene.truth[6] = scene.truth[5];
	scene.truth[6].got = scene.truth[6].ends = 0;
	assert_int_equal(batcher_add(scene.batcher, &scene.truth[6].sequence, &index, &error), 0);
	assert_int_equal(index, 6);
	assert_int_equal(batcher_next(scene.batcher, &m, &error), BATCHER_SUBMIT);
	end_scene(&scene);
}

static void test_never_fits(void **state)
{
	static struct scene scene;
	struct error error = {0};
	struct sequence s;
	int32_t prompt[64] = {0};
	int index;
	struct micro_batch *m;

	(void) state;
	equal_scene(&scene, 0, 0, 0);
	scene.options.on_finish = NULL;
	scene.options.on_token = NULL;
	scene.options.pages = 5;
	scene.options.max_positions = 30;
	assert_int_equal(batcher_create(&scene.options, &scene.batcher, &error), 0);
	s = (struct sequence){.prompt = prompt, .prompt_tokens = 30, .max_new_tokens = 11};
	assert_int_equal(batcher_add(scene.batcher, &s, &index, &error), 0);
	assert_string_equal(batcher_reason(scene.batcher, index),
		"30 prompt and 11 new tokens are more than limits.tokens_per_sequence = 40");
	s.max_new_tokens = 1;
	assert_int_equal(batcher_add(scene.batcher, &s, &index, &error), 0);
	assert_string_equal(batcher_reason(scene.batcher, index),
		"30 prompt and 1 new tokens are more than the model's 30 positions");
	s.prompt_tokens = 20;
	s.max_new_tokens = 2;
	assert_int_equal(batcher_add(scene.batcher, &s, &index, &error), 0);
	assert_string_equal(batcher_reason(scene.batcher, index),
		"20 prompt and 2 new tokens need 6 KV pages of 4 tokens; the pool has 5");
	s.max_new_tokens = INT32_MAX;
	assert_int_equal(batcher_add(scene.batcher, &s, &index, &error), 0);
	assert_int_equal(batcher_finished(scene.batcher, index), FINISH_ERROR);
	assert_int_equal(batcher_next(scene.batcher, &m, &error), BATCHER_DONE);
	s.max_new_tokens = 1; /* the last new token has no row: this one just fits */
	assert_int_equal(batcher_add(scene.batcher, &s, &index, &error), 0);
	assert_int_equal(batcher_finished(scene.batcher, index), FINISH_NONE);
	assert_int_equal(batcher_next(scene.batcher, &m, &error), BATCHER_SUBMIT);
	end_scene(&scene);
}

static void test_refusals(void **state)
{
	static struct scene scene;
	struct error error = {0};
	struct batcher *b = NULL;
	struct micro_batch *m;
	struct batcher_options wrong;
	int32_t prompt[] = {1, VOCAB};
	struct sequence s = {.prompt = prompt, .prompt_tokens = 2, .max_new_tokens = 1};
	int index;

	(void) state;
	equal_scene(&scene, 0, 0, 0);
	scene.options.on_finish = NULL;
	scene.options.on_token = NULL;
#define REFUSED(change, message)                                                                                       \
	do {                                                                                                           \
		memset(&error, 0, sizeof error);                                                                       \
		wrong = scene.options;                                                                                 \
		change;                                                                                                \
		assert_int_equal(batcher_create(&wrong, &b, &error), ERROR_INPUT);                                     \
		assert_non_null(strstr(error.text, message));                                                          \
		assert_null(b);                                                                                        \
	} while (0)
	REFUSED(wrong.slots = 0, "schedule.slots = 0; 1 to");
	REFUSED(wrong.ahead = 0, "schedule.ahead");
	REFUSED(wrong.seats = -3, "limits.sequences");
	REFUSED(wrong.prefill_tokens = 0, "schedule.prefill.tokens");
	REFUSED(wrong.groups = 65, "attention groups");
	REFUSED(wrong.pages = -1, "kv.pages");
	REFUSED((wrong.record_routing = true, wrong.layers = 0), "layers");
	batcher_destroy(NULL);

	memset(&error, 0, sizeof error);
	assert_int_equal(batcher_create(&scene.options, &b, &error), 0);
	assert_int_equal(batcher_add(b, &s, &index, &error), ERROR_INPUT);
	assert_non_null(strstr(error.text, "prompt token 1 is 97; the vocabulary has 0 to 96"));
	s.prompt_tokens = 0;
	assert_int_equal(batcher_add(b, &s, &index, NULL), ERROR_INPUT);
	s.prompt_tokens = 1;
	s.max_new_tokens = 0;
	assert_int_equal(batcher_add(b, &s, &index, NULL), ERROR_INPUT);
	s.max_new_tokens = 2;
	assert_int_equal(batcher_add(b, &s, &index, NULL), 0);
	memset(&error, 0, sizeof error);
	assert_int_equal(batcher_result(b, 0, &error), ERROR_RUN); /* nothing was submitted */
	assert_int_equal(batcher_next(b, &m, NULL), BATCHER_SUBMIT);
	assert_int_equal(batcher_result(b, 0, NULL), ERROR_RUN); /* not needed yet */
	assert_int_equal(batcher_next(b, &m, NULL), BATCHER_WAIT);
	memset(&error, 0, sizeof error);
	assert_int_equal(batcher_result(b, 0, &error), ERROR_RUN); /* nobody has filled in a token */
	assert_non_null(strstr(error.text, "micro-batch 0 sampled token -1 for sequence 0 at position 1"));
	batcher_destroy(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chunked),
		cmocka_unit_test(test_ahead_one_waits),
		cmocka_unit_test(test_mixed),
		cmocka_unit_test(test_prefill_first),
		cmocka_unit_test(test_groups_share_a_chunk),
		cmocka_unit_test(test_one_slot),
		cmocka_unit_test(test_full_pool_never_preempts),
		cmocka_unit_test(test_preemption),
		cmocka_unit_test(test_wasted),
		cmocka_unit_test(test_drain),
		cmocka_unit_test(test_fail),
		cmocka_unit_test(test_never_fits),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
