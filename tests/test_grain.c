/* SPDX-License-Identifier: Apache-2.0
 *
 * Merged tasks hold all of a slot's calls, each once and in order, and those of a step's devices can run side by side: what
 * one writes, no other of them reads. How many there are is what graphs/README.md says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include "tasks/grain.h"

enum { LAYERS = 4 };

static struct engine *engine;
static struct graph *graph;
static struct deployment *deployment;

static void build(const char *name, const struct graph_override *set, int count)
{
	struct deployment_sizes sizes = { .slots = 1, .max_rows = 200, .max_samples = 8, .seats = 8, .pages = 20 };
	struct error error = { 0 };
	assert_int_equal(graph_read(name, &task_kinds, set, count, &graph, &error), 0);
	assert_int_equal(graph_resolve(graph, NULL, &task_kinds, &error), 0);
	assert_int_equal(engine_start(&(struct engine_options){ .workers = 1 }, &engine, &error), 0);
	assert_int_equal(deployment_create(graph, NULL, DTYPE_FP32, &sizes, engine, &deployment, &error), 0);
}

static void clear(void)
{
	deployment_destroy(deployment);
	engine_stop(engine);
	graph_destroy(graph);
}

/* Every call is a part of one task, or each of its members has a share in one; a task's parts are in the program's order
 * and on one device, but for one whose call stands alone. */
static void check_parts(const struct slot *slot)
{
	const struct grain_program *g = slot->grain;
	int *parts = calloc((size_t) slot->calls, sizeof *parts), shares = 0;
	assert_non_null(parts);
	for (int t = 0; t < g->tasks; t++) {
		const struct call *first = g->task[t].part[0];
		const struct call *last = NULL; /* of those that are no shares */
		assert_true(g->task[t].parts > 0);
		for (int i = 0; i < g->task[t].parts; i++) {
			const struct call *c = g->task[t].part[i];
			shares += c->base.share != 0;
			if (c->base.share) {
				assert_null(last);
				assert_true(c->base.devices & c->base.share);
				continue;
			}
			parts[c - slot->call]++;
			assert_true(!last || (c > last && c->device == last->device));
			assert_true(c->members == 1 || g->task[t].parts == 1);
			assert_true(!first->base.share || c->device == first->device + first->own);
			last = c;
		}
	}
	int joint = 0;
	for (int i = 0; i < slot->calls; i++) {
		if (!parts[i])
			joint += slot->call[i].members;
		assert_true(parts[i] == 1 || (!parts[i] && ((const struct call_type *) slot->call[i].base.type)->share));
	}
	assert_int_equal(joint, shares);
	assert_int_equal(g->shares, shares);
	free(parts);
}

static bool conflict(const struct engine_uses *a, const struct engine_uses *b)
{
	for (int i = 0; i < a->count; i++)
		for (int j = 0; j < b->count; j++)
			if (a->buffer[i] == b->buffer[j] && (a->mode[i] | b->mode[j]) != ENGINE_READ)
				return true;
	return false;
}

/* Neighbours that begin with the same step, on different devices. */
static int check_side_by_side(const struct grain_program *g)
{
	int pairs = 0;
	for (int t = 1; t < g->tasks; t++) {
		const struct call *a = g->task[t - 1].part[0], *b = g->task[t].part[0];
		if (a->base.type != b->base.type || a->base.layer != b->base.layer || a->takes != b->takes
			|| a->device + a->own == b->device + b->own)
			continue;
		assert_false(conflict(&g->task[t - 1].uses, &g->task[t].uses));
		pairs++;
	}
	return pairs;
}

static const struct graph_override layers = { "model.layers", "4" }, host = { "machine", "{ host = true; }" },
	all = { "schedule.grain", "device" }, none = { "schedule.grain", "task" }, one_stage = { "mesh.stages", "1" };

static void a_host_needs_four_tasks_a_layer(void **state)
{
	const struct graph_override set[] = { layers, host, one_stage };
	(void) state;
	build("tp2_ep2_local", set, 3);
	const struct slot *slot = &deployment->slot[0];
	assert_int_equal(slot->calls, 2 + 12 * LAYERS + 3);
	check_parts(slot);
	/* embedding goes with attention; the last joins go with the head, sampling stands alone */
	assert_int_equal(slot->grain->tasks, 4 * LAYERS + 3);
	assert_int_equal(check_side_by_side(slot->grain), 2 * LAYERS + 1);
	assert_int_equal(deployment->grain_rows, GRAIN_AUTO_ROWS);
	clear();
}

static void all_kinds_of_chain_are_cut_right(void **state)
{
	static const char *const graphs[] = { "tp2_ep2_pp2", "tp2_ep2_local", "tp2_ep2_reduce_scatter", "one_device", "send_shards" };
	(void) state;
	for (size_t i = 0; i < sizeof graphs / sizeof *graphs; i++)
		for (int on_host = 0; on_host < 2; on_host++) {
			const struct graph_override set[] = { layers, all, host };
			build(graphs[i], set, 2 + on_host);
			check_parts(&deployment->slot[0]);
			check_side_by_side(deployment->slot[0].grain);
			assert_true(deployment->slot[0].grain->tasks < deployment->slot[0].calls);
			assert_int_equal(deployment->grain_rows, 200);
			clear();
		}
}

/* By default where a machine with links is described, and where it is asked for. */
static void nothing_is_merged_elsewhere(void **state)
{
	const struct graph_override asked[] = { layers, host, none };
	(void) state;
	build("tp2_ep2_local", &layers, 1);
	assert_null(deployment->slot[0].grain);
	assert_int_equal(deployment->grain_rows, 0);
	clear();
	build("tp2_ep2_local", asked, 3);
	assert_null(deployment->slot[0].grain);
	clear();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_host_needs_four_tasks_a_layer),
		cmocka_unit_test(all_kinds_of_chain_are_cut_right),
		cmocka_unit_test(nothing_is_merged_elsewhere),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
