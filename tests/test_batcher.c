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
#include "tests/batcher_scene.h"

static void test_random(void **state)
{
	static struct scene scene;
	int64_t preemptions = 0, wasted = 0, recomputed = 0;
	int scenes = getenv("OCTANT_TEST_LONG") ? 40000 : 1500;

	(void) state;
	for (int seed = 1; seed <= scenes; seed++) {
		char *first;

		scene_make(&scene, (uint64_t) seed);
		scene_play(&scene, 1, 3, 0);
		scene_check_results(&scene);
		preemptions += scene.counters.preemptions;
		wasted += scene.counters.wasted_rows;
		recomputed += scene.counters.recomputed_rows;
		first = scene.dump;
		scene_end(&scene);
		for (int timing = 2; timing < 4; timing++) { /* as slow as can be, and as fast */
			scene.dump = NULL;
			scene.dump_room = 0;
			scene_play(&scene, (uint64_t) timing, timing == 2 ? 0 : 100, 0);
			scene_check_results(&scene);
			scene_end(&scene);
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

static void expect_dump(struct scene *scene, const char *expected)
{
	scene_find_truths(scene);
	scene_play(scene, 1, 2, 0);
	scene_check_results(scene);
	assert_string_equal(scene->dump, expected);
	scene_end(scene);
	free(scene->dump);
}

static void test_chunked(void **state)
{
	static struct scene scene;

	(void) state;
	/* two prompts of 12 rows in chunks of 8: the second chunk has pieces of both; a chunk goes before a
	 * decode step, and who ends its prompt decodes from the next iteration on */
	scene_equal(&scene, 2, 12, 3);
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
	scene_equal(&scene, 1, 20, 2);
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
	scene_equal(&scene, 3, 8, 3);
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
	scene_equal(&scene, 3, 8, 2);
	scene.options.interleave = INTERLEAVE_PREFILL_FIRST;
	scene.options.decode_micro_batches = 2;
	expect_dump(&scene, "0 i0 prefill s0:0+8@0*\n"
			    "1 i1 prefill s1:0+8@1*\n"
			    "2 i2 prefill s2:0+8@2*\n"
			    "3 i3 decode s0:8+1@0*! s2:8+1@2*!\n"
			    "4 i3 decode s1:8+1@1*!\n");
}

static void test_turns_in_a_pipeline(void **state)
{
	static struct scene scene;

	(void) state;
	/* 4 groups on 2 stages: two may be in a stage, so each step enters when the second before it leaves the first stage;
	 * not while chunks come between */
	scene_equal(&scene, 4, 8, 3);
	scene.options.interleave = INTERLEAVE_PREFILL_FIRST;
	scene.options.decode_micro_batches = 4;
	scene.options.stages = 2;
	expect_dump(&scene, "0 i0 prefill s0:0+8@0*\n"
			    "1 i1 prefill s1:0+8@1*\n"
			    "2 i2 prefill s2:0+8@2*\n"
			    "3 i3 prefill s3:0+8@3*\n"
			    "4 i4 decode s0:8+1@0*!\n"
			    "5 i4 decode s1:8+1@1*!\n"
			    "6 i4 decode s2:8+1@2*! enters after 4\n"
			    "7 i4 decode s3:8+1@3*! enters after 5\n"
			    "8 i5 decode s0:9+1@0*! enters after 6\n"
			    "9 i5 decode s1:9+1@1*! enters after 7\n"
			    "10 i5 decode s2:9+1@2*! enters after 8\n"
			    "11 i5 decode s3:9+1@3*! enters after 9\n");
	scene_equal(&scene, 2, 12, 3);
	scene.options.ahead = 2;
	scene.options.decode_micro_batches = 2;
	scene.options.stages = 2;
	expect_dump(&scene, "0 i0 prefill s0:0+8@0\n"
			    "1 i1 prefill s0:8+4@0* s1:0+4@1 after 0\n"
			    "2 i2 prefill s1:4+8@1* after 1\n"
			    "3 i2 decode s0:12+1@0*! sampled 1\n"
			    "4 i3 decode s0:13+1@0*! sampled 3 enters after 3\n"
			    "5 i3 decode s1:12+1@1*! sampled 2 enters after 4\n"
			    "6 i4 decode s1:13+1@1*! sampled 5 enters after 5\n");
}

static void test_groups_share_a_chunk(void **state)
{
	static struct scene scene;

	(void) state;
	/* two attention groups: a long prompt does not fill the chunk while the other group has rows */
	scene_equal(&scene, 2, 12, 1);
	scene.options.groups = 2;
	expect_dump(&scene, "0 i0 prefill g0 s0:0+4@0 g1 s1:0+4@1\n"
			    "1 i1 prefill g0 s0:4+4@0 g1 s1:4+4@1\n"
			    "2 i2 prefill g0 s0:8+4@0* g1 s1:8+4@1*\n");
	/* and one alone takes all of it */
	scene_equal(&scene, 1, 12, 1);
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
	scene_equal(&scene, 3, 8, 4);
	scene.options.slots = 1;
	scene.options.ahead = 4;
	scene.options.decode_micro_batches = 2;
	for (int i = 0; i < 3; i++)
		scene.truth[i].sequence.ignore_eos = false;
	scene.options.eos_count = 0;
	scene_find_truths(&scene);
	scene.options.eos[0] = scene.truth[0].token[1];
	scene.options.eos_count = 1;
	for (int i = 0; i < 3; i++)
		scene.truth[i].stop_token = scene.options.eos[0];
	scene_find_truths(&scene);
	assert_int_equal(scene.truth[0].count, 2);
	scene_play(&scene, 1, 2, 0);
	scene_check_results(&scene);
	assert_int_equal(scene.counters.wasted_rows, 0);
	assert_null(strstr(scene.dump, "after"));
	assert_null(strstr(scene.dump, "sampled"));
	scene_end(&scene);
	free(scene.dump);
}

static void test_full_pool_never_preempts(void **state)
{
	static struct scene scene;

	(void) state;
	/* a pool of just what all seats need at their longest: all sit at once, and none is ever preempted */
	scene_equal(&scene, 12, 9, 12);
	scene.options.pages = 4 * 5;
	scene.options.prefill_tokens = 40;
	scene_find_truths(&scene);
	scene_play(&scene, 1, 2, 0);
	scene_check_results(&scene);
	assert_non_null(strstr(scene.dump, "0 i0 prefill s0:0+9@0* s1:0+9@1* s2:0+9@2* s3:0+9@3*\n"));
	assert_int_equal(scene.counters.preemptions, 0);
	assert_int_equal(scene.counters.recomputed_rows, 0);
	assert_int_equal(scene.counters.pages_peak, 20);
	scene_end(&scene);
	free(scene.dump);
	/* no room is kept for those that have all their pages */
	scene_equal(&scene, 4, 9, 2);
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
	scene_equal(&scene, 4, 8, 32);
	scene.options.pages = 12;
	scene.options.prefill_tokens = 32;
	scene_find_truths(&scene);
	scene_play(&scene, 1, 2, 0);
	scene_check_results(&scene);
	assert_true(scene.counters.preemptions >= 1);
	/* room is kept for those that run: not a preemption at each page boundary */
	assert_true(scene.counters.preemptions <= 4);
	assert_true(scene.counters.recomputed_rows > 0);
	assert_int_equal(scene.counters.pages_peak, 12);
	scene_end(&scene);
	free(scene.dump);
}

static void test_wasted(void **state)
{
	static struct scene scene;

	(void) state;
	/* with `ahead` 3, two steps are on their way when the end is seen */
	scene_equal(&scene, 1, 8, 10);
	scene.options.ahead = 3;
	scene_find_truths(&scene);
	scene.truth[0].stop_token = scene.truth[0].token[3];
	scene_find_truths(&scene);
	scene_play(&scene, 1, 2, 0);
	scene_check_results(&scene);
	assert_int_equal(scene.counters.wasted_rows, scene.truth[0].count == 4 ? 2 : 0);
	assert_int_equal(scene.truth[0].count, 4);
	scene_end(&scene);
	free(scene.dump);
}

static void test_drain(void **state)
{
	static struct scene scene;
	int unfinished = 0;

	(void) state;
	scene_equal(&scene, 8, 8, 6);
	scene_find_truths(&scene);
	scene_play(&scene, 1, 0, 5);
	assert_int_equal(scene.counters.micro_batches, 5);
	for (int i = 0; i < scene.sequences; i++) {
		assert_false(scene.truth[i].wrong); /* what there is is right */
		unfinished += batcher_finished(scene.batcher, i) == FINISH_NONE;
	}
	assert_true(unfinished > 0);
	assert_int_equal(scene.counters.running + scene.counters.waiting, unfinished);
	scene_end(&scene);
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
	scene_equal(&scene, 6, 8, 4);
	scene_find_truths(&scene);
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
			scene_check_pages(scene.batcher);
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
	scene_end(&scene);
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
	scene_equal(&scene, 0, 0, 0);
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
	scene_end(&scene);
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
	scene_equal(&scene, 0, 0, 0);
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
		cmocka_unit_test(test_turns_in_a_pipeline),
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
