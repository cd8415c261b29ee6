/* SPDX-License-Identifier: Apache-2.0
 *
 * A rehearsal finds the rows, samples and pages that a workload uses; what it finds is in memory afterwards, and a
 * large pool that it does not need is not. */
#define _GNU_SOURCE /* mincore */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "tasks/kinds.h"
#include "tasks/run.h"
#include "tasks/touch.h"

#define HUGE_PAGE ((size_t) 2 << 20)

/* Bytes of the range that are in memory. */
static size_t resident(void *memory, size_t bytes)
{
	size_t page = (size_t) sysconf(_SC_PAGESIZE), lead = (size_t) ((uintptr_t) memory % page);
	size_t pages = (lead + bytes + page - 1) / page, found = 0;
	unsigned char *in = malloc(pages);
	assert_non_null(in);
	assert_int_equal(mincore((char *) memory - lead, pages * page, in), 0);
	for (size_t i = 0; i < pages; i++)
		found += in[i] & 1;
	free(in);
	return found * page;
}

static void touching_takes_memory_and_leaves_its_content(void **state)
{
	struct arena arena;
	struct error error = { 0 };
	(void) state;
	assert_int_equal(arena_create(&arena, 0, 16 * HUGE_PAGE, &error), 0);
	char *at = arena.base + 3 * HUGE_PAGE;
	memset(at, 7, 100);
	assert_true(resident(arena.base, arena.bytes) <= 2 * HUGE_PAGE);
	arena_touch(at, 5 * HUGE_PAGE + 1);
	assert_true(resident(at, 5 * HUGE_PAGE + 1) >= 5 * HUGE_PAGE + 1);
	assert_true(resident(arena.base, arena.bytes) <= 8 * HUGE_PAGE);
	for (int i = 0; i < 100; i++)
		assert_int_equal(at[i], 7);
	assert_int_equal(at[100], 0);
	arena_touch(at, 0);
	arena_destroy(&arena);
}

static const struct batcher_options options = { .groups = 1, .seats = 4, .tokens_per_sequence = 64, .page_tokens = 4,
	.pages = 1000, .prefill_tokens = 16, .prefill_micro_batches = 1, .decode_micro_batches = 1, .stages = 1, .ahead = 1, .slots = 2,
	.interleave = INTERLEAVE_CHUNKED, .vocab = 100, .eos = { 0 }, .eos_count = 1 };

/* One prompt of 20 tokens in chunks of 16, then single rows: slots 0 and 1 get 16 and 4 rows; 20 + 5 tokens, the last
 * of which is never stored, take 6 pages. Token 0, which the rehearsal samples, would end the sequence. */
static void a_rehearsal_knows_what_is_used(void **state)
{
	static const int32_t prompt[20];
	struct sequence sequence = { .prompt = prompt, .prompt_tokens = 20, .max_new_tokens = 5 };
	struct touch_need need;
	struct error error = { 0 };
	(void) state;
	assert_int_equal(touch_rehearse(&options, &sequence, 1, &need, &error), 0);
	assert_int_equal(need.slots, 2);
	assert_int_equal(need.rows[0], 16);
	assert_int_equal(need.rows[1], 4);
	assert_int_equal(need.samples[0], 1);
	assert_int_equal(need.samples[1], 1);
	assert_int_equal(need.pages, 6);
	assert_true(need.kv_bytes > 0);
	touch_free(&need);
	assert_int_equal(touch_rehearse(&options, NULL, 0, &need, &error), 0); /* nothing to run: nothing is used */
	assert_int_equal(need.rows[0] + need.rows[1] + (int) need.pages, 0);
	touch_free(&need);
	sequence.prompt_tokens = 0;
	assert_int_equal(touch_rehearse(&options, &sequence, 1, &need, &error), ERROR_INPUT);
}

/* A pool of far more pages than are needed, the need first more than may be touched of it, then less. */
static void check_touched(bool capped)
{
	enum { ROWS = 300, SAMPLES = 5, POOL = 20000, CAP = 64 };
	int64_t pages = capped ? 8 * CAP : CAP;
	const struct graph_override set[] = { { "machine", "{ host = true; }" }, { "model.layers", "2" } };
	struct engine_options engine_options = { .workers = 2 };
	struct deployment_sizes sizes = { .slots = 2, .max_rows = 4096, .max_samples = 128, .seats = 128, .pages = POOL };
	int rows[] = { ROWS, 0 }, samples[] = { SAMPLES, 0 };
	struct touch_need need = { rows, samples, 2, pages, 0 };
	struct engine *engine;
	struct deployment *d;
	struct graph *graph;
	struct error error = { 0 };
	assert_int_equal(graph_read("tp2_ep2_pp2", &task_kinds, set, 2, &graph, &error), 0);
	assert_int_equal(graph_resolve(graph, NULL, &task_kinds, &error), 0);
	assert_int_equal(engine_start(&engine_options, &engine, &error), 0);
	assert_int_equal(deployment_create(graph, NULL, DTYPE_FP32, &sizes, engine, &d, &error), 0);
	need.kv_bytes = capped ? (double) CAP * (double) deployment_page_bytes(graph) * graph->mesh.groups : 0;
	assert_int_equal(touch_deployment(d, &need, &error), 0);
	for (int i = 0; i < graph->mesh.devices; i++) {
		const struct device_part *device = &d->device[i];
		const struct message *m = &d->slot[0].message[i], *other = &d->slot[1].message[i];
		size_t row = (size_t) graph->model.hidden * sizeof(float), page = kv_page_bytes(
			device->layer[0].attention.kv_heads, graph->kv.page_tokens, graph->model.head_dim, graph->kv.dtype);
		assert_true(resident(m->x, ROWS * row) >= ROWS * row);
		assert_true(resident(m->done, ROWS * row) >= ROWS * row);
		assert_true(resident(other->partial, 4096 * row) <= 2 * HUGE_PAGE); /* neighbours' ends */
		assert_true(resident(device->layer[0].kv_pool, CAP * page) >= CAP * page);
		assert_true(resident(device->layer[0].kv_pool, POOL * page) <= CAP * page + 2 * HUGE_PAGE);
	}
	deployment_destroy(d);
	engine_stop(engine);
	graph_destroy(graph);
}

static void a_deployment_has_what_is_needed(void **state)
{
	(void) state;
	check_touched(false);
	check_touched(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(touching_takes_memory_and_leaves_its_content),
		cmocka_unit_test(a_rehearsal_knows_what_is_used),
		cmocka_unit_test(a_deployment_has_what_is_needed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
