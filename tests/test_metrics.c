/* SPDX-License-Identifier: Apache-2.0
 *
 * Every figure of a small run that can be reckoned by hand, the verdicts, and the file's keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "runtime/batch.h"
#include "runtime/metrics.h"

/* sums of a few doubles near 1: the last bits differ by the order they are added in */
#define assert_near(a, b) assert_true(fabs((a) - (b)) < 1e-12)

static const char *const kinds[] = {"attention", "all_reduce", "unused"};

/* Two stages of one device each, numbered 3 and 1. */
static struct graph *make_graph(void)
{
	struct graph *graph = calloc(1, sizeof *graph);
	struct error error = {0};

	assert_non_null(graph);
	snprintf(graph->name, sizeof graph->name, "g");
	snprintf(graph->machine.name, sizeof graph->machine.name, "plan");
	snprintf(graph->model.name, sizeof graph->model.name, "m\xff");
	snprintf(graph->schedule.policy, sizeof graph->schedule.policy, "homes");
	graph->model.layers = 5;
	graph->model.experts = 4;
	assert_int_equal(mesh_make(&graph->mesh, 1, 1, 2, 0, 5, &error), 0);
	graph->mesh.part[0].device = 3;
	graph->mesh.part[1].device = 1;
	return graph;
}

/* Times are on a clock where the run starts at 100 s.
 *
 *   device 3  attention 0-2, all_reduce 1-4 (both devices), attention 6-7      T = 5
 *   device 1                 all_reduce 1-4, attention 4-5, attention 8-9 (decode) */
static const struct task_record records[] = {
	{.start_s = 108, .end_s = 109, .devices = 1 << 1, .kind = 0, .phase = PHASE_DECODE, .worker = 1},
	{.start_s = 100, .end_s = 102, .devices = 1 << 3, .kind = 0, .phase = PHASE_PREFILL, .worker = 0},
	{.start_s = 101,
		.end_s = 104,
		.devices = 1 << 3 | 1 << 1,
		.kind = 1,
		.phase = PHASE_PREFILL,
		.worker = 1,
		.collective = true},
	{.start_s = 104.00002, .end_s = 105, .devices = 1 << 1, .kind = 0, .phase = PHASE_MIXED, .worker = 1},
	{.start_s = 106, .end_s = 107, .devices = 1 << 3, .kind = 0, .phase = PHASE_DECODE, .worker = 0},
};

static const double times_a[] = {3, 6, 8}, times_b[] = {5, 5.5, 10};

static const struct metrics_sequence sequences[] = {
	{.prompt_tokens = 20, .tokens = 3, .token_s = times_a}, {.prompt_tokens = 10, .tokens = 3, .token_s = times_b},
	{.prompt_tokens = 99, .tokens = 0}, /* failed */
};

static void compute(struct metrics *m, const struct graph *graph)
{
	struct error error = {0};

	metrics_begin(m, METRICS_MEASURED, graph);
	assert_int_equal(metrics_tokens(m, sequences, 3, 100, 110, &error), 0);
	assert_int_equal(metrics_records(m, records, 5, kinds, 3, 0, 100, 110, &error), 0);
}

static void test_figures(void **state)
{
	struct graph *graph = make_graph();
	struct metrics m;

	(void) state;
	compute(&m, graph);
	assert_near(m.makespan_s, 10);
	assert_near(m.ttft_s.p50, 3);
	assert_near(m.ttft_s.p99, 5);
	assert_near(m.ttft_s.max, 5);
	assert_near(m.itl_s.p50, 2); /* of 0.5, 2, 3, 4.5 */
	assert_near(m.itl_s.p99, 4.5);
	assert_near(m.prefill_tokens_per_s, 30 / 5.0);
	assert_near(m.decode_tokens_per_s, 4 / 5.0); /* 6, 8, 5.5, 10 */
	assert_near(m.total_tokens_per_s, 36 / 10.0);
	assert_near(m.tokens_per_ms_per_device.prefill, 6 / 1e3 / 2);
	assert_near(m.prefill_tokens_per_busy_s, 30 / (4 + 0.99998)); /* 0-4, 4.00002-5 */
	assert_near(m.decode_tokens_per_busy_s, 4 / (0.99998 + 1 + 1));
	assert_near(m.comm_s, 3);
	assert_near(m.compute_s, (2 + 1 + 0.99998 + 1) / 2);
	assert_near(m.comm_over_compute, m.comm_s / m.compute_s);
	/* device 3 waits 2-4, device 1 1-4 */
	assert_near(m.exposed_comm_share, (2 + 3) / 10.0 / 2);
	assert_near(m.exposed_comm_share_prefill, (2 + 3) / 5.0 / 2);
	assert_near(m.exposed_comm_share_decode, 0);
	/* device 3: 4-6 of 0-7; device 1: 5-8 and 20 µs of 1-9 */
	assert_near(m.bubble_share, (2 / 7.0 + 3.00002 / 8) / 2);
	assert_near(m.bubble_share_prefill, (0 + 0.00002 / 4) / 2);
	assert_near(m.bubble_share_decode, 0);
	assert_near(m.device[0].busy_share, 0.5);
	assert_near(m.device[1].busy_share, 0.499998);
	assert_int_equal(m.workers, 2);
	assert_near(m.runtime_overhead_share, 0.00002 / (2 * 10));
	assert_int_equal(m.kind[0].calls, 4);
	assert_near(m.kind[1].seconds, 3);
	assert_true(m.kind[1].collective && !m.kind[0].collective);
	assert_int_equal(m.prompt_min, 10);
	assert_int_equal(m.prompt_max, 99);
	assert_int_equal(m.new_tokens, 6);
	assert_int_equal(m.device[0].layers.end, 3);
	assert_int_equal(m.device[1].layers.first, 3);
	assert_int_equal(m.device[1].id, 1);
	free(graph);
}

static void test_nothing(void **state)
{
	struct graph *graph = make_graph();
	struct metrics m;
	struct error error = {0};
	char *text;
	json_t *root;

	(void) state;
	metrics_begin(&m, METRICS_MEASURED, graph);
	assert_int_equal(metrics_tokens(&m, NULL, 0, 0, 0, &error), 0);
	assert_int_equal(metrics_records(&m, NULL, 0, kinds, 3, 1, 0, 0, &error), 0);
	assert_true(isnan(m.ttft_s.max) && isnan(m.prefill_tokens_per_s) && isnan(m.bubble_share));
	assert_int_equal(metrics_text(&m, &text, &error), 0);
	root = json_loads(text, 0, NULL);
	assert_true(json_is_null(json_object_get(root, "decode_tokens_per_s")));
	json_decref(root);
	free(text);
	free(graph);
}

static void test_percentiles(void **state)
{
	struct graph *graph = make_graph();
	struct metrics_sequence many[100];
	double times[100];
	struct metrics m;
	struct error error = {0};

	(void) state;
	for (int i = 0; i < 100; i++) {
		times[i] = (i * 37) % 100 + 1;
		many[i] = (struct metrics_sequence){.prompt_tokens = 1, .tokens = 1, .token_s = &times[i]};
	}
	metrics_begin(&m, METRICS_MEASURED, graph);
	assert_int_equal(metrics_tokens(&m, many, 100, 0, 100, &error), 0);
	assert_near(m.ttft_s.p50, 50);
	assert_near(m.ttft_s.p99, 99);
	assert_near(m.ttft_s.max, 100);
	assert_true(isnan(m.itl_s.p50));
	assert_true(isnan(m.decode_tokens_per_s)); /* nothing came after the last first token */
	free(graph);
}

static void test_load(void **state)
{
	static const int64_t load[] = {10, 10, 10, 10, 0, 0, 0, 0, 40, 0, 0, 0};
	struct graph *graph = make_graph();
	struct metrics m;

	(void) state;
	metrics_begin(&m, METRICS_SIMULATED, graph);
	metrics_load(&m, load, 3, 4);
	assert_near(m.imbalance, (1 + 4) / 2.0); /* the layer in between has no experts */
	free(graph);
}

static void add_requirement(struct graph *graph, const char *name, double limit)
{
	struct graph_requirement *r = &graph->requirement[graph->requirements++];

	snprintf(r->name, sizeof r->name, "%s", name);
	r->limit = limit;
}

static void test_verdicts(void **state)
{
	struct graph *graph = make_graph();
	struct metrics m;

	(void) state;
	add_requirement(graph, "ttft_s", 5);
	add_requirement(graph, "tokens_per_ms_per_device", 0.001);
	add_requirement(graph, "memory_gb_per_device", 15);
	add_requirement(graph, "comm_over_compute", 0.15);
	compute(&m, graph);
	m.device[0].peak_bytes = 1e9;
	m.device[1].peak_bytes = 15.1e9;
	metrics_judge(&m, graph, true);
	assert_int_equal(m.requirements, 5);
	assert_string_equal(m.requirement[0].name, "ttft_s");
	assert_int_equal(m.requirement[0].holds, 1); /* the limit itself is good */
	assert_string_equal(m.requirement[1].name, "tokens_per_ms_per_device.prefill");
	assert_int_equal(m.requirement[1].holds, 1);
	assert_string_equal(m.requirement[2].name, "tokens_per_ms_per_device.decode");
	assert_int_equal(m.requirement[2].holds, 0); /* 0.0004 */
	assert_int_equal(m.requirement[3].holds, 0);
	assert_string_equal(m.requirement[3].unit, "GB");
	assert_near(m.requirement[3].value, 15.1);
	assert_string_equal(m.requirement[3].why, "device 1, the fullest of 2");
	assert_int_equal(m.requirement[4].holds, 0);
	assert_true(metrics_fails(&m));

	/* elsewhere nothing is judged, but the figures stand */
	snprintf(m.measured_on, sizeof m.measured_on, "this host");
	metrics_judge(&m, graph, false);
	assert_int_equal(m.requirements, 5);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(m.requirement[i].holds, -1);
		assert_string_equal(m.requirement[i].why, "not judged: measured on this host, the graph names plan");
	}
	assert_near(m.requirement[3].value, 15.1);
	assert_false(metrics_fails(&m));

	/* a simulation is of the machine that the graph names */
	m.source = METRICS_SIMULATED;
	m.tokens_per_ms_per_device.decode = NAN;
	metrics_judge(&m, graph, false);
	assert_int_equal(m.requirement[0].holds, 1);
	assert_int_equal(m.requirement[2].holds, -1);
	assert_string_equal(m.requirement[2].why, "not judged: there is no figure");
	free(graph);
}

static void test_file(void **state)
{
	static const char *const keys[] = {"graph", "model", "machine", "mesh", "policy", "workload", "source",
		"prefill_tokens_per_s", "decode_tokens_per_s", "total_tokens_per_s", "tokens_per_ms_per_device",
		"ttft_s", "itl_s", "makespan_s", "comm_s", "compute_s", "comm_over_compute", "exposed_comm_share",
		"exposed_comm_share_prefill", "exposed_comm_share_decode", "bubble_share", "bubble_share_prefill",
		"bubble_share_decode", "runtime_overhead_share", "devices", "experts", "requirements", "sequences",
		"wasted_rows"};
	static const char *const device_keys[] = {"id", "stage", "tensor", "experts", "layers", "expert_range",
		"weight_bytes", "kv_bytes", "kv_used_bytes", "activation_bytes", "peak_bytes", "busy_share"};
	static const int64_t load[20] = {1};
	struct graph *graph = make_graph();
	struct metrics m;
	struct error error = {0};
	char *text;
	json_t *root, *device, *requirement;

	(void) state;
	add_requirement(graph, "ttft_s", 1);
	compute(&m, graph);
	metrics_load(&m, load, 5, 4);
	m.device[0].weight_bytes = 123456789012.0;
	m.finished = 2;
	m.failed = 1;
	metrics_judge(&m, graph, true);
	assert_int_equal(metrics_text(&m, &text, &error), 0);
	assert_int_equal(text[strlen(text) - 1], '\n');
	root = json_loads(text, 0, NULL);
	assert_non_null(root);
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
		if (!json_object_get(root, keys[i]))
			fail_msg("no key %s", keys[i]);
	assert_string_equal(json_string_value(json_object_get(root, "source")), "measured");
	assert_string_equal(json_string_value(json_object_get(root, "model")), "m?");
	device = json_array_get(json_object_get(root, "devices"), 0);
	for (size_t i = 0; i < sizeof device_keys / sizeof *device_keys; i++)
		if (!json_object_get(device, device_keys[i]))
			fail_msg("no device key %s", device_keys[i]);
	assert_true(json_integer_value(json_object_get(device, "weight_bytes")) == 123456789012);
	assert_int_equal(json_integer_value(json_object_get(device, "id")), 3);
	requirement = json_array_get(json_object_get(root, "requirements"), 0);
	assert_true(json_is_false(json_object_get(requirement, "holds")));
	assert_int_equal(json_array_size(json_object_get(json_object_get(root, "experts"), "load")), 5);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(root, "sequences"), "failed")), 1);
	assert_near(json_number_value(json_object_get(root, "bubble_share")), m.bubble_share);
	json_decref(root);
	free(text);
	free(graph);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_figures),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_percentiles),
		cmocka_unit_test(test_load),
		cmocka_unit_test(test_verdicts),
		cmocka_unit_test(test_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
