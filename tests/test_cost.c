/* SPDX-License-Identifier: Apache-2.0
 *
 * The cost model against known answers: each expectation is computed here from its derivation, not from the code. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/cost.h"
#include "runtime/routing.h"
#include "runtime/workload.h"
#include "tasks/work.h"

static void near(double value, double expected, double tolerance)
{
	if (!(fabs(value - expected) <= tolerance * fabs(expected)))
		fail_msg("%.9g is not %.9g within %g", value, expected, tolerance);
}

#define EXACT 1e-12 /* the same formula: rounding only */

/* n devices of 240 TFLOP/s and 1.44 TB/s effective, each with a link of 50 GB/s and half of 4 µs to one switch */
static struct graph_machine *make_machine(int devices)
{
	struct graph_machine *m = calloc(1, sizeof *m);
	assert_non_null(m);
	m->given = true;
	m->devices = devices;
	for (int i = 0; i < devices; i++) {
		m->device[i] = (struct graph_device){ .flops = 400e12, .flops_efficiency = 0.6, .bandwidth = 1.8e12,
			.bandwidth_efficiency = 0.8, .memory = 64e9, .launch_s = 5e-6 };
		m->link[m->links++] = (struct graph_link){ i, -1, 50e9, 2e-6 };
	}
	return m;
}

static struct routes *make_routes(const struct graph_machine *m)
{
	struct routes *routes;
	struct error error = { 0 };
	if (routes_make(m, &routes, &error))
		fail_msg("%s", error.text);
	return routes;
}

static void a_task_takes_as_long_as_its_slower_bound(void **state)
{
	struct graph_machine *m = make_machine(1);
	struct cost cost;
	(void) state;
	/* 240e9 FLOP: 1 ms; 1.44e6 bytes: 1 µs; and the other way round */
	near(cost_seconds(m, 0, 240e9, 1.44e6), 1e-3 + 5e-6, EXACT);
	near(cost_seconds(m, 0, 240e6, 1.44e9), 1e-3 + 5e-6, EXACT);
	cost_of(m, NULL, 0, 240e9, 1.44e6, NULL, 0, 0, &cost);
	near(cost.flops_s, 1e-3, EXACT);
	near(cost.bytes_s, 1e-6, EXACT);
	assert_true(cost_seconds(m, 0, 0, 0) > 0); /* SimGrid and dm refuse 0 */
	m->device[0].launch_s = 0;
	assert_true(cost_seconds(m, 0, 0, 0) > 0);
	free(m);
}

/* A ring of n over a switch: bytes on each port / 50 GB/s, and the latency of both links a step. */
static void rings_over_a_switch(void **state)
{
	(void) state;
	for (int n = 2; n <= 8; n++) {
		struct graph_machine *m = make_machine(n);
		struct routes *routes = make_routes(m);
		struct flow flow[8];
		double bytes = 1e6 * (n - 1) / n; /* reduce_scatter or all_gather of 1 MB */
		for (int i = 0; i < n; i++)
			flow[i] = (struct flow){ i, (i + 1) % n, bytes };
		near(cost_links_seconds(routes, flow, n, n - 1), (n - 1) * 4e-6 + bytes / 50e9, EXACT);
		for (int i = 0; i < n; i++)
			flow[i].bytes *= 2; /* all_reduce: both, one after the other */
		near(cost_links_seconds(routes, flow, n, 2 * (n - 1)), 2 * (n - 1) * 4e-6 + 2 * bytes / 50e9, EXACT);
		routes_destroy(routes);
		free(m);
	}
}

/* Everybody sends everybody 1 MB: (n − 1) MB through each port, all at once. Three send to one: its port has it all. */
static void all_to_all_is_bound_by_the_busiest_port(void **state)
{
	struct graph_machine *m = make_machine(4);
	struct routes *routes = make_routes(m);
	struct flow flow[16];
	int n = 0;
	(void) state;
	for (int a = 0; a < 4; a++)
		for (int b = 0; b < 4; b++)
			if (a != b)
				flow[n++] = (struct flow){ a, b, 1e6 };
	near(cost_links_seconds(routes, flow, n, 1), 4e-6 + 3e6 / 50e9, EXACT);
	n = 0;
	for (int a = 1; a < 4; a++)
		flow[n++] = (struct flow){ a, 0, 1e6 };
	near(cost_links_seconds(routes, flow, n, 1), 4e-6 + 3e6 / 50e9, EXACT);
	flow[0] = (struct flow){ 0, 1, 1e6 };
	flow[1] = (struct flow){ 1, 0, 1e6 }; /* full duplex: neither waits for the other */
	near(cost_links_seconds(routes, flow, 2, 1), 4e-6 + 1e6 / 50e9, EXACT);
	assert_true(cost_links_seconds(routes, flow, 0, 0) == 0);
	routes_destroy(routes);
	free(m);
}

/* Two nodes of two: 0, 1 at switch −1, 2, 3 at −2, 400 GB/s; one uplink of 40 GB/s from each switch to −3. */
static void two_nodes_share_their_uplinks(void **state)
{
	struct graph_machine *m = make_machine(4);
	(void) state;
	m->links = 0;
	for (int i = 0; i < 4; i++)
		m->link[m->links++] = (struct graph_link){ i, i < 2 ? -1 : -2, 400e9, 1e-6 };
	m->link[m->links++] = (struct graph_link){ -1, -3, 40e9, 5e-6 };
	m->link[m->links++] = (struct graph_link){ -3, -2, 40e9, 5e-6 };
	struct routes *routes = make_routes(m);
	assert_int_equal(routes_between(routes, 0, 1)->hops, 2);
	assert_int_equal(routes_between(routes, 0, 3)->hops, 4);
	near(routes_between(routes, 0, 1)->latency_s, 2e-6, EXACT);
	near(routes_between(routes, 0, 3)->latency_s, 12e-6, EXACT);
	near(routes_between(routes, 0, 3)->bandwidth, 40e9, EXACT);
	/* both devices of a node send 1 MB to the other node: 2 MB through one uplink */
	struct flow flow[2] = { { 0, 2, 1e6 }, { 1, 3, 1e6 } };
	near(cost_links_seconds(routes, flow, 2, 1), 12e-6 + 2e6 / 40e9, EXACT);
	struct flow inside[2] = { { 0, 1, 1e6 }, { 2, 3, 1e6 } };
	near(cost_links_seconds(routes, inside, 2, 1), 2e-6 + 1e6 / 400e9, EXACT);
	routes_destroy(routes);
	free(m);
}

/* Each device at a fast switch of its node and at the network: the fast way inside, the network between. */
static void the_quicker_of_two_ways_is_taken(void **state)
{
	struct graph_machine *m = make_machine(4);
	(void) state;
	m->links = 0;
	for (int i = 0; i < 4; i++) {
		m->link[m->links++] = (struct graph_link){ i, -3, 45e9, 5e-6 };
		m->link[m->links++] = (struct graph_link){ i, i < 2 ? -1 : -2, 360e9, 2.5e-6 };
	}
	struct routes *routes = make_routes(m);
	near(routes_between(routes, 0, 1)->bandwidth, 360e9, EXACT);
	near(routes_between(routes, 1, 2)->bandwidth, 45e9, EXACT);
	assert_int_equal(routes_between(routes, 1, 2)->hops, 2); /* not through device 0 */
	routes_destroy(routes);
	free(m);
}

static void links_that_do_not_connect_are_refused(void **state)
{
	struct graph_machine *m = make_machine(3);
	struct routes *routes;
	struct error error = { 0 };
	(void) state;
	m->links = 2; /* device 2 has none */
	assert_int_equal(routes_make(m, &routes, &error), ERROR_INPUT);
	assert_non_null(strstr(error.text, "do not connect device 0 with device 2"));
	assert_null(routes);
	m->links = 0; /* nothing is said of links: there are no routes, and no error */
	assert_int_equal(routes_make(m, &routes, &error), 0);
	assert_null(routes);
	m->devices = 1;
	for (int i = 0; i < 10; i++) /* a chain of 10 links */
		m->link[m->links++] = (struct graph_link){ i ? -i : 0, i == 9 ? 1 : -i - 1, 1e9, 0 };
	m->devices = 2;
	error = (struct error){ 0 };
	assert_int_equal(routes_make(m, &routes, &error), ERROR_INPUT);
	assert_non_null(strstr(error.text, "more than 8 links"));
	free(m);
}

/* ---- work, on the deployment plan's model: hidden 512, 16 heads of 32, 16 experts of 1,024, top-2, 16-bit weights */

static const struct attention_shape whole = { 512, 16, 16, 32, DTYPE_FP16, DTYPE_FP16, DTYPE_FP16 };

/* A prompt of n tokens attends to n (n + 1) / 2 keys. By token and layer: projections 4 · 512², router 512 · 16, two experts
 * of 3 · 512 · 1,024 multiply-adds: 4.2 M; and 2 · 512 for each key: 16 layers make 137 MFLOP at 128, 302 at 10,240. */
static void flops_of_a_prompt_token(void **state)
{
	static const struct {
		double tokens, mflop, tokens_per_ms;
	} known[] = { { 128, 137, 1757 }, { 10240, 302, 794 } };
	(void) state;
	for (int i = 0; i < 2; i++) {
		double n = known[i].tokens;
		double flops = work_attention(&whole, n, n * (n + 1) / 2, 0).flops
			+ 2 * n * 512.0 * 16 /* the router; route's own count has the norm in it, 0.03 % */
			+ work_experts(512, 1024, DTYPE_FP16, DTYPE_FP16, 2 * n, 16).flops;
		double token = 16 * flops / n;
		near(token, known[i].mflop * 1e6, 0.003);
		near(240e12 / token / 1e3, known[i].tokens_per_ms, 0.002);
		near(work_route(512, 16, DTYPE_FP16, DTYPE_FP16, n).flops, n * (2 * 512.0 * 16 + 4 * 512), EXACT);
	}
}

/* One step of 128 sequences reads all weights (26.2 M a layer in 16 bits) and 2 KiB of keys and values a token and layer:
 * in bytes a token 0.84 GB / 128 + 32 KiB · context, against 4 · 1.44 TB/s. */
static void bytes_of_a_decode_step(void **state)
{
	static const struct {
		double context, tokens_per_ms;
	} known[] = { { 128, 134 }, { 2048, 19.6 }, { 10240, 4.2 } };
	(void) state;
	for (int i = 0; i < 3; i++) {
		double rows = 128, context = known[i].context;
		struct work attention = work_attention(&whole, rows, rows * (context + 1), rows * context);
		struct work experts = work_experts(512, 1024, DTYPE_FP16, DTYPE_FP16, 2 * rows, 16);
		double activations = rows * 512 * 2 * 2 + rows * 2 * 512 * 2 * 2 + rows * 2048; /* x, rows, the new token's KV */
		double layer = attention.bytes + experts.bytes - activations;
		near(layer, (4 * 512.0 * 512 + 16 * 3 * 512.0 * 1024) * 2 + rows * context * 2048, EXACT);
		near(4 * 1.44e12 / (16 * layer / rows) / 4 / 1e3, known[i].tokens_per_ms, 0.01);
	}
}

static void halves_of_attention_make_the_whole(void **state)
{
	struct work a = work_qkv(&whole, 100), b = work_attend(&whole, 100, 5050, 700), c = work_attention(&whole, 100, 5050, 700);
	(void) state;
	near(a.flops + b.flops, c.flops, EXACT);
	near(a.bytes + b.bytes, c.bytes, EXACT);
	near(a.flops, 2.0 * 100 * 512 * 3 * 512, EXACT);
	near(b.flops, 2.0 * 100 * 512 * 512 + 4.0 * 5050 * 512, EXACT);
	/* weights, x in 16 bits, K and V of 100 rows; weights, K and V of 700 tokens, the addend */
	near(a.bytes, 512 * 1536 * 2 + 100 * 512 * 2 + 100 * 2 * 512 * 2, EXACT);
	near(b.bytes, 512 * 512 * 2 + 700.0 * 2 * 512 * 2 + 100 * 512 * 2, EXACT);
	struct attention_shape wide = whole;
	wide.residual = DTYPE_FP32;
	near(work_qkv(&wide, 100).bytes - a.bytes, 100 * 512 * 2, EXACT);
}

/* Experts of 3, 20 and 100 rows: of the first 4 rows 3 + 4 + 4, of the next 12 none, 12 and 12, of the next 32 none, 4 and 32;
 * the other 52 are in no band. */
static void rows_of_a_weight_lie_in_bands(void **state)
{
	const double weights = 3.0 * 64 * 32, band[] = { 11, 24, 36 };
	struct expert_rows rows = { 0 };
	(void) state;
	expert_rows_add(&rows, 1, 3);
	expert_rows_add(&rows, 1, 0);
	expert_rows_add(&rows, 1, 20);
	expert_rows_add(&rows, 1, 100);
	struct work work = work_expert_rows(64, 32, DTYPE_BF16, DTYPE_BF16, &rows);
	near(rows.groups, 3, EXACT);
	near(work.flops, 2 * 123 * weights, EXACT);
	near(work.weight_bytes, 3 * weights * 2, EXACT);
	for (int i = 0; i < CURVE_ROW_BANDS; i++)
		near(work.band_flops[i], 2 * band[i] * weights, EXACT);
	/* the same through one matrix; and rows of a micro-batch in a product with each of its weights */
	near(work_mlp(64, 32, DTYPE_BF16, DTYPE_BF16, 20).band_flops[2], 2 * 4 * weights, EXACT);
	near(work_head(64, 1000, DTYPE_BF16, 2).band_flops[0], 2 * 2 * 64000.0, EXACT);
	near(work_qkv(&whole, 100).band_flops[1], 2 * 12 * 512 * 1536.0, EXACT);
}

/* 20 MiB of rows: 1, 15 and 4 MiB. */
static void bytes_of_rows_lie_in_bands(void **state)
{
	double term[CURVE_TERMS] = { 0 };
	(void) state;
	curve_row_bytes(20 * 1048576.0, term);
	near(term[CURVE_ROW_BYTES_1], 1048576.0, EXACT);
	near(term[CURVE_ROW_BYTES_16], 15 * 1048576.0, EXACT);
	near(term[CURVE_ROW_BYTES], 4 * 1048576.0, EXACT);
}

/* ---- routing */

static struct model *make_model(int layers, int experts, int top_k)
{
	struct model *model = calloc(1, sizeof *model);
	assert_non_null(model);
	model->layers = layers;
	model->experts = experts;
	model->top_k = top_k;
	return model;
}

static struct routing *make_routing(const char *text, const struct model *model, uint64_t seed, double capacity)
{
	struct routing_options options = { .seed = seed, .capacity = capacity };
	struct routing *routing = NULL;
	struct error error = { 0 };
	if (routing_parse(text, &options, &error) || routing_create(&options, model, &routing, &error))
		fail_msg("%s", error.text);
	return routing;
}

static void counts_add_up_and_no_expert_has_more_than_all_rows(void **state)
{
	static const char *const kinds[] = { "balanced", "zipf:0.5", "zipf:1", "zipf:3", "power_law:0.3", "power_law:2" };
	struct model *model = make_model(4, 16, 2);
	uint64_t random = 7;
	(void) state;
	model->dense[2] = true;
	for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
		struct routing *routing = make_routing(kinds[k], model, 3, 0);
		for (int i = 0; i < 200; i++) {
			int32_t count[4][16];
			int rows = i < 20 ? i : (int) (workload_random(&random) % 5000);
			routing_count(routing, rows, PHASE_DECODE, &count[0][0]);
			for (int l = 0; l < 4; l++) {
				int64_t sum = 0;
				for (int e = 0; e < 16; e++) {
					assert_in_range(count[l][e], 0, rows);
					sum += count[l][e];
				}
				assert_int_equal(sum, l == 2 ? 0 : 2 * rows);
			}
		}
		routing_destroy(routing);
	}
	free(model);
}

/* Zipf 1 over 16 experts: the largest share is 1 / H(16) = 0.2958 of all choices, 4.73 times the mean; even: 1. */
static void loads_follow_their_law(void **state)
{
	struct model *model = make_model(8, 16, 2);
	int32_t count[8][16], again[8][16];
	(void) state;
	struct routing *zipf = make_routing("zipf:1", model, 1, 0), *even = make_routing("balanced", model, 1, 0);
	routing_count(zipf, 100000, PHASE_PREFILL, &count[0][0]);
	routing_count(even, 1600, PHASE_PREFILL, &again[0][0]);
	near(routing_imbalance(zipf), 16 * 0.29579, 1e-3);
	near(routing_imbalance(even), 1, EXACT);
	for (int e = 0; e < 16; e++)
		assert_int_equal(again[3][e], 200);
	int different = 0; /* which expert is the popular one differs by layer */
	for (int l = 1; l < 8; l++)
		different += memcmp(count[l], count[0], sizeof count[0]) != 0;
	assert_true(different >= 6);
	struct routing *same = make_routing("zipf:1", model, 1, 0), *other = make_routing("zipf:1", model, 2, 0);
	routing_count(same, 100000, PHASE_PREFILL, &again[0][0]);
	assert_memory_equal(again, count, sizeof count);
	routing_count(other, 100000, PHASE_PREFILL, &again[0][0]);
	assert_true(memcmp(again, count, sizeof count));
	routing_destroy(zipf);
	routing_destroy(even);
	routing_destroy(same);
	routing_destroy(other);
	free(model);
}

/* Zipf 1, factor 1: whoever is above the mean of 1/16 drops the rest: Σ max(0, 1/(i H) − 1/16) for i = 1, 2, … */
static void a_capacity_drops_what_is_beyond(void **state)
{
	struct model *model = make_model(1, 16, 2);
	int32_t count[16];
	double expected = 0, harmonic = 0;
	(void) state;
	for (int i = 1; i <= 16; i++)
		harmonic += 1.0 / i;
	for (int i = 1; i <= 16; i++)
		expected += fmax(0, 1 / (i * harmonic) - 1.0 / 16);
	struct routing *routing = make_routing("zipf:1", model, 1, 1.0);
	routing_count(routing, 80000, PHASE_PREFILL, count);
	for (int e = 0; e < 16; e++)
		assert_in_range(count[e], 0, 10000);
	near(routing_dropped(routing), expected, 1e-3);
	routing_destroy(routing);
	routing = make_routing("zipf:1", model, 1, 5.0); /* above 4.73: nothing is dropped */
	routing_count(routing, 80000, PHASE_PREFILL, count);
	assert_true(routing_dropped(routing) == 0);
	routing_destroy(routing);
	free(model);
}

static const char *write_recording(const char *text)
{
	static char path[600];
	snprintf(path, sizeof path, "%s/routing.jsonl", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	return path;
}

static void recordings_are_replayed(void **state)
{
	struct model *model = make_model(2, 4, 2);
	int32_t count[2][4];
	char text[700];
	(void) state;
	snprintf(text, sizeof text, "replay:%s", write_recording(
		"{\"micro_batch\": 0, \"phase\": \"prefill\", \"rows\": 10, \"counts\": [[10, 6, 4, 0], [5, 5, 5, 5]]}\n"
		"{\"micro_batch\": 1, \"phase\": \"decode\", \"rows\": 2, \"counts\": [[2, 2, 0, 0], [0, 0, 2, 2]]}\n"));
	struct routing *routing = make_routing(text, model, 1, 0);
	routing_count(routing, 10, PHASE_PREFILL, &count[0][0]);
	assert_memory_equal(count, ((int32_t[2][4]){ { 10, 6, 4, 0 }, { 5, 5, 5, 5 } }), sizeof count);
	routing_count(routing, 20, PHASE_PREFILL, &count[0][0]); /* begun anew, scaled */
	assert_memory_equal(count, ((int32_t[2][4]){ { 20, 12, 8, 0 }, { 10, 10, 10, 10 } }), sizeof count);
	routing_count(routing, 2, PHASE_DECODE, &count[0][0]);
	assert_memory_equal(count, ((int32_t[2][4]){ { 2, 2, 0, 0 }, { 0, 0, 2, 2 } }), sizeof count);
	routing_destroy(routing);
	remove(text + 7);
	free(model);
}

static void wrong_routings_are_refused(void **state)
{
	static const char *const wrong[] = { "", "zip", "zipf:", "zipf:-1", "zipf:nan", "zipf:1x", "power_law:0", "balanced:1",
		"replay", "replay:" };
	static const struct {
		const char *text, *says;
	} recordings[] = {
		{ "", "has no micro-batches" }, { "{\n", ":1" }, { "[]\n", "no phase or no counts" },
		{ "{\"phase\": \"prefill\", \"counts\": [[1, 2, 3, 4]]}\n", "not those of 2 layers of 4 experts" },
		{ "{\"phase\": \"prefill\", \"counts\": [[1, 2, 3, 4], [1, 2, 3]]}\n", "not those of 2 layers of 4 experts" },
		{ "{\"phase\": \"prefill\", \"counts\": [[1, 2, 3, -4], [1, 2, 3, 4]]}\n", "not those of" },
		{ "{\"phase\": \"prefill\", \"counts\": [[1, 2, 3, 99999999999], [1, 2, 3, 4]]}\n", "not those of" },
	};
	struct model *model = make_model(2, 4, 2), *dense = make_model(2, 0, 0);
	struct routing *routing = NULL;
	(void) state;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		struct routing_options options = { 0 };
		struct error error = { 0 };
		assert_int_equal(routing_parse(wrong[i], &options, &error), ERROR_INPUT);
		assert_non_null(strstr(error.text, "would be right"));
	}
	for (size_t i = 0; i < sizeof recordings / sizeof *recordings; i++) {
		struct routing_options options = { .kind = ROUTING_REPLAY, .path = write_recording(recordings[i].text) };
		struct error error = { 0 };
		char message[sizeof error.where + sizeof error.text + 4];
		assert_int_equal(routing_create(&options, model, &routing, &error), ERROR_INPUT);
		snprintf(message, sizeof message, "%s %s", error.where, error.text);
		if (!strstr(message, recordings[i].says))
			fail_msg("\"%s\" does not say \"%s\"", message, recordings[i].says);
		remove(options.path);
	}
	struct routing_options options = { .kind = ROUTING_REPLAY, .path = "/nowhere/routing.jsonl" };
	assert_int_equal(routing_create(&options, model, &routing, &(struct error){ 0 }), ERROR_INPUT);
	options.kind = ROUTING_BALANCED;
	assert_int_equal(routing_create(&options, dense, &routing, &(struct error){ 0 }), ERROR_INPUT);
	assert_null(routing);
	free(model);
	free(dense);
}

static void lengths_are_seeded_and_within(void **state)
{
	struct graph_workload w = { .sequences = 4000, .prompt_min = 128, .prompt_max = 10112, .seed = 1 };
	int *a = calloc(4000, sizeof *a), *b = calloc(4000, sizeof *b);
	double sum = 0;
	(void) state;
	workload_lengths(&w, a);
	workload_lengths(&w, b);
	assert_memory_equal(a, b, 4000 * sizeof *a);
	for (int i = 0; i < 4000; i++) {
		assert_in_range(a[i], 128, 10112);
		sum += a[i];
	}
	near(sum / 4000, (128 + 10112) / 2.0, 0.03); /* σ of the mean: 2,882 / √4,000 = 46 of 5,120; three of them */
	w.seed = 2;
	workload_lengths(&w, b);
	assert_true(memcmp(a, b, 4000 * sizeof *a));
	w.prompt_max = w.prompt_min;
	workload_lengths(&w, b);
	assert_int_equal(b[0], 128);
	free(a);
	free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_task_takes_as_long_as_its_slower_bound),
		cmocka_unit_test(rings_over_a_switch),
		cmocka_unit_test(all_to_all_is_bound_by_the_busiest_port),
		cmocka_unit_test(two_nodes_share_their_uplinks),
		cmocka_unit_test(the_quicker_of_two_ways_is_taken),
		cmocka_unit_test(links_that_do_not_connect_are_refused),
		cmocka_unit_test(flops_of_a_prompt_token),
		cmocka_unit_test(bytes_of_a_decode_step),
		cmocka_unit_test(halves_of_attention_make_the_whole),
		cmocka_unit_test(counts_add_up_and_no_expert_has_more_than_all_rows),
		cmocka_unit_test(loads_follow_their_law),
		cmocka_unit_test(rows_of_a_weight_lie_in_bands),
		cmocka_unit_test(bytes_of_rows_lie_in_bands),
		cmocka_unit_test(a_capacity_drops_what_is_beyond),
		cmocka_unit_test(recordings_are_replayed),
		cmocka_unit_test(wrong_routings_are_refused),
		cmocka_unit_test(lengths_are_seeded_and_within),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
