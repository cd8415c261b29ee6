/* SPDX-License-Identifier: Apache-2.0
 *
 * The plan against known answers: closed forms for one device, a pipeline, a chunk's communication, and the deployment
 * plan's arithmetic. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/graph_source.h"
#include "tasks/kinds.h"
#include "tasks/plan.h"

static void near(double value, double expected, double tolerance)
{
	if (!(fabs(value - expected) <= tolerance * fabs(expected)))
		fail_msg("%.9g is not %.9g within %g", value, expected, tolerance);
}

struct made {
	struct graph *graph;
	struct plan *plan;
};

static int try_plan(const char *name, const struct plan_options *options, const struct graph_override *overrides, int count,
	struct made *made, struct error *error)
{
	*made = (struct made){ NULL, NULL };
	int code = graph_read(name, &task_kinds, overrides, count, &made->graph, error);
	if (!code)
		code = graph_resolve(made->graph, NULL, &task_kinds, error);
	if (!code)
		code = plan_make(made->graph, options, &made->plan, error);
	if (code) {
		graph_destroy(made->graph);
		made->graph = NULL;
	}
	return code;
}

static void unmake(struct made *made)
{
	plan_destroy(made->plan);
	graph_destroy(made->graph);
}

#define COUNT(list) ((int) (sizeof(list) / sizeof *(list)))

static struct made make(const char *name, const struct graph_override *overrides, int count)
{
	struct made made;
	struct error error = { 0 };
	if (try_plan(name, NULL, overrides, count, &made, &error))
		fail_msg("%s: %s: %s", name, error.where, error.text);
	return made;
}

static const struct plan_claim *claim_of(const struct plan *plan, const char *name)
{
	static struct plan_claim claim[GRAPH_MAX_CLAIMS];
	int count = plan_claims_make(plan, claim);
	for (int i = 0; i < count; i++)
		if (!strcmp(claim[i].name, name))
			return &claim[i];
	fail_msg("there is no claim %s", name);
	return NULL;
}

/* 4 · 512² + 512 · 16 + 16 · 3 · 512 · 1,024 and two norms: 26.2 M a layer, 0.42 B in 16 (0.84 GB in 16 bits), with embedding
 * and head of 32,000 · 512 each 0.45 B. Keys and values: 16 layers · 2 · 512 · 2 bytes = 32 KiB a token. */
static void sizes_of_the_deployment_plan(void **state)
{
	struct made m = make("tp2_ep2_pp2", NULL, 0);
	double layer = 4 * 512.0 * 512 + 512 * 16 + 16 * 3 * 512.0 * 1024 + 2 * 512, ends = 2 * 32000.0 * 512 + 512;
	(void) state;
	near(layer, 26.2e6, 0.002);
	near(16 * layer, 0.42e9, 0.002);
	near(16 * layer * 2, 0.84e9, 0.002);
	near(m.plan->parameters.total, 16 * layer + ends, 1e-9);
	near(claim_of(m.plan, "parameters")->value, 16 * layer + ends, 1e-9);
	assert_false(claim_of(m.plan, "parameters")->holds); /* 10 B are declared */
	near(claim_of(m.plan, "kv_gb")->value, 128 * 10240.0 * 32768 * 1e-9, 1e-9); /* 40 GiB */
	assert_true(claim_of(m.plan, "kv_gb")->holds);
	double most_weights = 0; /* of the device with most, which is not the fullest: the first stage has the embedding */
	for (int d = 0; d < m.graph->mesh.devices; d++)
		most_weights = fmax(most_weights, m.plan->device[d].weights);
	near(claim_of(m.plan, "weights_gb_per_device")->value, most_weights * 1e-9, 1e-9);
	assert_true(m.plan->device[2].total > m.plan->device[0].total && m.plan->device[2].weights < most_weights);
	double kv = 0, weights = 0;
	for (int d = 0; d < 4; d++) {
		kv += m.plan->device[d].kv;
		weights += m.plan->device[d].weights;
		assert_true(m.plan->device[d].total < 15e9);
		near(m.plan->device[d].total, m.plan->device[d].weights + m.plan->device[d].kv + m.plan->device[d].activations +
			m.plan->device[d].workspace, 1e-9);
	}
	near(kv, 40.0 * (1 << 30), 1e-3);
	near(weights, 2 * (16 * layer + ends) + 2.0 * 32000 * 512, 0.02); /* the embedding lies on both ranks */
	unmake(&m);
}

/* A byte a weight, a scale of FP32 for each of their rows, router in FP32 and the embedding as it is; and what a step reads and
 * sends goes with it. */
static void int8_halves_what_weights_and_dispatch_take(void **state)
{
	struct graph_override o[] = { { "compute", "int8" } };
	struct made m = make("tp2_ep2_pp2", o, COUNT(o)), half = make("tp2_ep2_pp2", NULL, 0);
	double matrices = 4 * 512.0 * 512 + 16 * 3 * 512.0 * 1024, rows = 3 * 512 + 2 * 512 + 16 * (2 * 1024 + 512);
	double others = 2 * (512.0 * 16 + 2 * 512) * 4, ends = 2 * (32000.0 * 512 * 2) + 32000.0 * (512 + 4) + 2 * 512 * 4;
	double weights = 0;
	(void) state;
	for (int d = 0; d < 4; d++) {
		weights += m.plan->device[d].weights;
		near(m.plan->device[d].kv, half.plan->device[d].kv, 1e-6);
	}
	near(weights, 16 * (matrices + 4 * rows + others) + ends, 1e-3);
	for (int p = 0; p < PLAN_PHASES; p++) {
		const struct plan_kind *here = m.plan->kind[TASK_EXPERTS], *there = half.plan->kind[TASK_EXPERTS];
		near(here[p].flops, there[p].flops, 1e-12);
		assert_true(here[p].bytes < 0.7 * there[p].bytes); /* rows in, half; results, the same */
		here = m.plan->kind[TASK_DISPATCH], there = half.plan->kind[TASK_DISPATCH];
		near(here[p].link_bytes, there[p].link_bytes * 576 / 1024, 1e-12); /* whole lines: 512 values and what follows */
	}
	unmake(&m);
	unmake(&half);
}

/* Prefill 137 and 302 MFLOP a token (tests/test_cost.c derives them), here of the whole plan with embedding, norms and head:
 * at most 1,757 and 794 tokens/ms a device. */
static void prefill_of_the_deployment_plan(void **state)
{
	static const struct {
		const char *tokens;
		double mflop, rate;
	} known[] = { { "128", 137, 1757 }, { "10240", 302, 794 } };
	(void) state;
	for (int i = 0; i < COUNT(known); i++) {
		struct graph_override o[] = { { "limits.tokens_per_sequence", "10368" },
			{ "require.workload.prompt_tokens", known[i].tokens } };
		struct made m = make("tp2_ep2_pp2", o, COUNT(o));
		struct plan_rates rates;
		double flops = 0;
		plan_rates_make(m.plan, PLAN_PREFILL, &rates);
		for (int d = 0; d < 4; d++)
			flops += m.plan->device[d].phase[PLAN_PREFILL].flops;
		near(flops / (double) m.plan->phase_rows[PLAN_PREFILL], known[i].mflop * 1e6, 0.003);
		near(rates.by_flops, known[i].rate, 0.005);
		assert_true(rates.planned < rates.by_flops && rates.planned < rates.by_links);
		unmake(&m);
	}
}

/* One decode step of 128 sequences after prompts of that many tokens: attention and experts read what test_cost.c derives, so
 * that at most 134, 20 and 4.2 tokens/ms a device are possible; the head's weights and activations lower it by some percent. */
static void decode_of_the_deployment_plan(void **state)
{
	static const struct {
		const char *tokens;
		double rate;
	} known[] = { { "128", 134 }, { "2048", 19.6 }, { "10238", 4.2 } };
	(void) state;
	for (int i = 0; i < COUNT(known); i++) {
		struct graph_override o[] = { { "require.workload.prompt_tokens", known[i].tokens },
			{ "require.workload.new_tokens", "2" }, { "schedule.decode.micro_batches", "1" },
			{ "schedule.interleave", "prefill_first" } };
		struct made m = make("tp2_ep2_pp2", o, COUNT(o));
		struct plan_rates rates;
		plan_rates_make(m.plan, PLAN_DECODE, &rates);
		double bytes = m.plan->kind[TASK_ATTENTION][PLAN_DECODE].bytes + m.plan->kind[TASK_EXPERTS][PLAN_DECODE].bytes;
		assert_int_equal(m.plan->phase_rows[PLAN_DECODE], 128);
		double rate = 128 / (bytes / (4 * 1.44e12)) / 4 / 1e3;
		near(rate, known[i].rate, 0.03);
		assert_true(rates.by_bytes < rate && rates.by_bytes > 0.9 * rate);
		unmake(&m);
	}
}

/* A chunk of 4,096 rows of 1 KiB (16 bits), two ranks: reduce_scatter and all_gather 1/2 each: 2 + 2 MiB; dispatch and combine: of
 * a device's 2,048 rows · 2 choices, half go to the other: 2 + 2 MiB. So 8 MiB a device and layer; on PCIe 5 at 56 GB/s
 * 150 µs, with four latencies and launches of 5 µs each 190. With a residual stream of 32 bits all but dispatch double. */
static void a_chunk_moves_eight_mebibytes(void **state)
{
	(void) state;
	for (int wide = 0; wide < 2; wide++) {
		struct graph_override o[] = { { "residual", wide ? "fp32" : "bf16" }, { "require.workload.sequences", "1" },
			{ "require.workload.prompt_tokens", "4096" }, { "require.workload.new_tokens", "1" } };
		struct made m = make("tp2_ep2_pp2", o, COUNT(o));
		double mib = 1 << 20, bytes = wide ? 14 * mib : 8 * mib;
		assert_int_equal(m.plan->counters.micro_batches, 1);
		for (int d = 2; d < 4; d++) { /* the last stage sends nothing on; 16 bytes belong to the sample task */
			near(m.plan->device[d].phase[PLAN_PREFILL].sent - 16, 8 * bytes, 1e-9);
			double received = m.plan->device[d].phase[PLAN_PREFILL].received_s;
			near(m.plan->device[d].phase[PLAN_PREFILL].comm_s - received, 8 * (bytes / 56e9 + 4 * 10e-6), 1e-9);
		}
		near(m.plan->axis[PLAN_STAGES][PLAN_PREFILL].bytes, 2 * 4096 * 512 * (wide ? 4.0 : 2.0), 1e-9);
		unmake(&m);
	}
}

/* One sequence on one device: nothing overlaps and nothing waits, so that all ways agree: the sum of all tasks. */
static void one_sequence_on_one_device_is_the_sum_of_its_tasks(void **state)
{
	struct graph_override o[] = { { "require.workload.sequences", "1" }, { "require.workload.prompt_tokens", "1000" },
		{ "require.workload.new_tokens", "20" }, { "schedule.prefill.tokens", "300" }, { "schedule.slots", "1" } };
	struct made m = make("one_device", o, COUNT(o));
	double sum = 0, looks = 0; /* each task waits for the one before */
	(void) state;
	for (int k = 0; k < CALL_KINDS; k++) {
		sum += m.plan->kind[k][0].seconds + m.plan->kind[k][1].seconds;
		looks += 2 * PLAN_LOOK_S * (double) (m.plan->kind[k][0].calls + m.plan->kind[k][1].calls);
	}
	assert_int_equal(m.plan->counters.micro_batches, 4 + 19);
	near(m.plan->overlapped.makespan_s, sum + looks, 1e-9);
	near(m.plan->serial.makespan_s, sum + looks, 1e-9);
	near(m.plan->lower_bound_s, sum, 1e-9);
	near(m.plan->metrics.compute_s, sum, 1e-9);
	looks -= 2 * PLAN_LOOK_S; /* the first task's are before it is busy at all */
	near(m.plan->overlapped.bubble[PLAN_PHASES], looks / (sum + looks), 1e-9);
	assert_true(m.plan->metrics.comm_s == 0 && m.plan->overlapped.exposed[PLAN_PHASES] == 0);
	unmake(&m);
}

/* N equal chunks through two stages of d₀ and d₁ seconds with x to send between them, and w₀ and w₁ in which workers look
 * at their queues. One slot: one after the other, N (d₀ + w₀ + x + d₁ + w₁); stage 0 is busy for N (d₀ + x) of its span, which
 * ends with its last send, and stage 1 for N (x + d₁). Enough slots: d₀ + w₀ + x + d₁ + w₁ + (N − 1) · the slower stage. */
static void a_pipeline_of_two_stages(void **state)
{
	(void) state;
	for (int slots = 1; slots <= 4; slots += 3) {
		char text[8];
		snprintf(text, sizeof text, "%d", slots);
		struct graph_override o[] = { { "require.workload.sequences", "8" }, { "require.workload.prompt_tokens", "4096" },
			{ "require.workload.new_tokens", "1" }, { "schedule.slots", text }, { "schedule.prefill.tokens", "4096" } };
		struct made m = make("stages_only", o, COUNT(o));
		const struct plan_device *d = m.plan->device;
		double n = 8, d0 = d[0].phase[0].compute_s / n, d1 = d[1].phase[0].compute_s / n, x = d[0].phase[0].comm_s / n;
		assert_int_equal(m.plan->counters.micro_batches, 8);
		assert_true(d0 > 0 && d1 > 0 && x > 0);
		near(d[1].phase[0].received_s / n, x, 1e-9);
		/* embed, 8 layers of 7 tasks, and send, for which nobody computes; 8 layers, head and sample */
		double w0 = (2 * 57 + 1) * PLAN_LOOK_S, w1 = 2 * 58 * PLAN_LOOK_S, s0 = d0 + w0, s1 = d1 + w1;
		double slower = fmax(s0 + x, s1);
		near(m.plan->serial.makespan_s, slots == 1 ? n * (s0 + x + s1) : s0 + x + s1 + (n - 1) * slower, 1e-9);
		if (slots == 1) {
			double b0 = 1 - n * (d0 + x) / (n * (s0 + x) + (n - 1) * s1 - 2 * PLAN_LOOK_S);
			double b1 = 1 - n * (x + d1) / (n * (x + s1) + (n - 1) * s0);
			near(m.plan->serial.bubble[PLAN_PHASES], (b0 + b1) / 2, 1e-9);
			near(m.plan->overlapped.makespan_s, n * (s0 + x + s1), 1e-9);
		} else { /* sends are hidden: the stage with more compute sets the time */
			near(m.plan->overlapped.makespan_s, s0 + x + s1 + (n - 1) * fmax(s0 - PLAN_LOOK_S, s1), 1e-9);
			near(m.plan->lower_bound_s, d0 + x + d1 + (n - 1) * fmax(d0, d1), 1e-9);
		}
		unmake(&m);
	}
}

static void bounds_are_in_order_on_every_graph(void **state)
{
	static const struct graph_override few[2][3] = {
		{ { "require.workload.sequences", "24" }, { "require.workload.prompt_tokens", "[ 128, 3000 ]" },
			{ "require.workload.new_tokens", "16" } },
		{ { "require.workload.sequences", "24" }, { "require.workload.prompt_tokens", "4096" },
			{ "require.workload.new_tokens", "1" } },
	};
	char **names;
	int graphs = 0;
	(void) state;
	assert_int_equal(graph_source_list(&names, NULL), 0);
	for (char **name = names; *name; name += graphs++ % 2) {
		struct made m = make(*name, few[graphs % 2], 3);
		const struct plan *p = m.plan;
		if (!(p->lower_bound_s <= p->overlapped.makespan_s * (1 + 1e-9)))
			fail_msg("%s: the lower bound %g exceeds %g", *name, p->lower_bound_s, p->overlapped.makespan_s);
		/* micro-batches that share a stage leave it later than one after the other would, which later stages may wait for */
		if (!(p->overlapped.makespan_s <= p->serial.makespan_s * 1.1))
			fail_msg("%s: %g is more than %g without overlap", *name, p->overlapped.makespan_s, p->serial.makespan_s);
		assert_int_equal(p->counters.finished, 24);
		assert_int_equal(p->metrics.new_tokens, 24 * (graphs % 2 ? 1 : 16));
		for (int i = 0; i <= PLAN_PHASES; i++) {
			assert_true(p->overlapped.exposed[i] >= 0 && p->overlapped.exposed[i] <= 1);
			assert_true(p->serial.bubble[i] >= 0 && p->serial.bubble[i] <= 1);
		}
		double by_kind = 0, by_device = 0;
		for (int k = 0; k < CALL_KINDS; k++)
			by_kind += p->kind[k][0].flops + p->kind[k][1].flops;
		for (int d = 0; d < p->graph->mesh.devices; d++)
			by_device += p->device[d].phase[0].flops + p->device[d].phase[1].flops;
		near(by_device, by_kind, 1e-9);
		unmake(&m);
	}
	graph_source_list_free(names);
	assert_true(graphs >= 2 * 14);
}

/* The same FLOPs whatever the mesh and the chain, but for replicated routers, norms and the sums of addends. */
static void meshes_do_the_same_work(void **state)
{
	static const char *const names[] = { "tp2_ep2_pp2", "tp2_ep2_local", "send_shards", "stages_only", "tensor_only",
		"experts_only", "tp4", "expert_tensor" };
	struct graph_override o[] = { { "require.workload.sequences", "16" }, { "require.workload.prompt_tokens", "512" },
		{ "require.workload.new_tokens", "4" }, { "compute", "bf16" } };
	struct made base = make("one_device", o, COUNT(o));
	(void) state;
	for (int i = 0; i < COUNT(names); i++) {
		struct made m = make(names[i], o, COUNT(o));
		for (int p = 0; p < PLAN_PHASES; p++) {
			near(m.plan->kind[TASK_ATTENTION][p].flops, base.plan->kind[TASK_ATTENTION][p].flops, 1e-9);
			near(m.plan->kind[TASK_EXPERTS][p].flops, base.plan->kind[TASK_EXPERTS][p].flops, 1e-9);
			near(m.plan->kind[TASK_HEAD][p].flops, base.plan->kind[TASK_HEAD][p].flops, 1e-9);
		}
		unmake(&m);
	}
	unmake(&base);
}

static void uneven_routing_costs_and_capacity_drops(void **state)
{
	struct graph_override o[] = { { "require.workload.sequences", "32" }, { "require.workload.prompt_tokens", "1024" },
		{ "require.workload.new_tokens", "8" } };
	struct routing_options routing = { .kind = ROUTING_BALANCED, .seed = 1 };
	struct plan_options options = { .routing = &routing };
	struct error error = { 0 };
	struct made even = make("tp2_ep2_pp2", o, COUNT(o)), balanced, zipf, capped;
	(void) state;
	assert_int_equal(try_plan("tp2_ep2_pp2", &options, o, COUNT(o), &balanced, &error), 0);
	/* even on average leaves some experts without rows in small decode steps, whose weights are not read */
	near(balanced.plan->overlapped.makespan_s, even.plan->overlapped.makespan_s, 0.02);
	near(balanced.plan->metrics.imbalance, 1, 0.01);
	routing = (struct routing_options){ .kind = ROUTING_ZIPF, .exponent = 1.5, .seed = 1 };
	assert_int_equal(try_plan("tp2_ep2_pp2", &options, o, COUNT(o), &zipf, &error), 0);
	assert_true(zipf.plan->serial.makespan_s > 1.05 * balanced.plan->serial.makespan_s);
	assert_true(zipf.plan->metrics.imbalance > 4 && zipf.plan->dropped == 0);
	near(zipf.plan->kind[TASK_EXPERTS][0].flops, even.plan->kind[TASK_EXPERTS][0].flops, 1e-9); /* all rows are computed */
	routing.capacity = 1.25;
	assert_int_equal(try_plan("tp2_ep2_pp2", &options, o, COUNT(o), &capped, &error), 0);
	assert_true(capped.plan->dropped > 0.2 && capped.plan->serial.makespan_s < zipf.plan->serial.makespan_s);
	near(capped.plan->kind[TASK_EXPERTS][0].flops + capped.plan->kind[TASK_EXPERTS][1].flops,
		(1 - capped.plan->dropped) * (even.plan->kind[TASK_EXPERTS][0].flops + even.plan->kind[TASK_EXPERTS][1].flops), 1e-6);
	unmake(&even);
	unmake(&balanced);
	unmake(&zipf);
	unmake(&capped);
}

static void plans_repeat(void **state)
{
	struct made a = make("tp2_ep2_pp4", NULL, 0), b = make("tp2_ep2_pp4", NULL, 0);
	char *first, *second;
	(void) state;
	assert_int_equal(metrics_text(&a.plan->metrics, &first, NULL), 0);
	assert_int_equal(metrics_text(&b.plan->metrics, &second, NULL), 0);
	assert_string_equal(first, second);
	assert_non_null(strstr(first, "\"source\": \"planned\""));
	free(first);
	free(second);
	unmake(&a);
	unmake(&b);
}

static void what_does_not_fit_is_refused_or_waits(void **state)
{
	static const struct {
		struct graph_override set[2];
		int sets;
		const char *says;
	} wrong[] = {
		{ { { "machine.devices[0].memory", "0.3e9" } }, 1, "GB too much; mesh.stages = 9 on 18 such devices, or devices of 0.6 GB" },
		{ { { "machine.devices[0].memory", "0.02e9" } }, 1, "would fit" },
		{ { { "machine.devices[0].memory", "64" } }, 1, "memory of 64 bytes; 64e9" },
		{ { { "machine.devices[0].flops", "400" } }, 1, "from 1000000 to 1e+18" },
		{ { { "machine.devices[0].flops_efficiency", "60" } }, 1, "from 0.001 to 1" },
		{ { { "machine.interconnect.bandwidth", "-1.0" } }, 1, "would be right" },
		{ { { "machine", "{ devices = ( { count = 4; flops = 1e14; bandwidth = 1e12; memory = 64e9; } ); links = ( { from = 0; "
			"to = 1; bandwidth = 1e10; } ); }" } }, 1, "no link connects device 2" },
		{ { { "machine", "{ devices = ( { count = 4; flops = 1e14; bandwidth = 1e12; memory = 64e9; } ); }" } }, 1,
			"has no links, and the mesh needs 4 devices" },
		{ { { "require.ttf_s", "1" } }, 1, "did you mean require.ttft_s?" },
		{ { { "claims.parametres", "1" } }, 1, "did you mean claims.parameters?" },
	};
	(void) state;
	for (int i = 0; i < COUNT(wrong); i++) {
		struct made m;
		struct error error = { 0 };
		assert_int_equal(try_plan("tp2_ep2_pp2", NULL, wrong[i].set, wrong[i].sets, &m, &error), ERROR_INPUT);
		if (!strstr(error.text, wrong[i].says))
			fail_msg("\"%s\" does not say \"%s\"", error.text, wrong[i].says);
	}
	/* the remedy is one */
	struct graph_override remedy[] = { { "machine.devices[0].memory", "0.3e9" }, { "machine.devices[0].count", "18" },
		{ "mesh", "{ tensor = 2; experts = 2; stages = 9; }" } };
	struct made fits = make("tp2_ep2_pp2", remedy, COUNT(remedy));
	unmake(&fits);
	/* room for some sequences only: the others wait or are computed again, and all finish */
	struct graph_override o[] = { { "machine.devices[0].memory", "2e9" }, { "require.workload.new_tokens", "8" } };
	struct made m = make("tp2_ep2_pp2", o, COUNT(o)), roomy = make("tp2_ep2_pp2", o + 1, 1);
	assert_true(m.plan->pages < m.plan->pages_wanted);
	assert_int_equal(m.plan->counters.finished, 128);
	assert_true(m.plan->overlapped.makespan_s >= roomy.plan->overlapped.makespan_s);
	for (int d = 0; d < 4; d++)
		assert_true(m.plan->device[d].total <= 2e9 && m.plan->device[d].kv_used <= m.plan->device[d].kv);
	unmake(&m);
	unmake(&roomy);
}

static void verdicts_say_why(void **state)
{
	struct made m = make("tp2_ep2_pp2", NULL, 0);
	const struct metrics *metrics = &m.plan->metrics;
	static const struct {
		const char *name, *why;
		int holds;
	} known[] = {
		{ "ttft_s", "without overlap", 1 }, { "tokens_per_ms_per_device.prefill", "collectives bind", 1 },
		{ "tokens_per_ms_per_device.decode", "memory binds", 0 }, { "memory_gb_per_device", "KV pool 10.74", 1 },
		{ "comm_over_compute", "tensor", 0 },
	};
	(void) state;
	assert_int_equal(metrics->requirements, COUNT(known));
	for (int i = 0; i < COUNT(known); i++) {
		assert_string_equal(metrics->requirement[i].name, known[i].name);
		assert_int_equal(metrics->requirement[i].holds, known[i].holds);
		if (!strstr(metrics->requirement[i].why, known[i].why))
			fail_msg("\"%s\" does not say \"%s\"", metrics->requirement[i].why, known[i].why);
	}
	static const struct {
		const char *name;
		bool holds;
	} claims[] = {
		{ "parameters", false }, { "weights_gb", false }, { "kv_gb", true }, { "kv_gb_per_device", true },
		{ "memory_gb_per_device", false }, { "tokens_per_ms_per_device", false }, { "ttft_s", true },
		{ "comm_over_compute", false }, { "bandwidth_share", false },
	};
	for (int i = 0; i < COUNT(claims); i++)
		assert_int_equal(claim_of(m.plan, claims[i].name)->holds, claims[i].holds);
	unmake(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_of_the_deployment_plan),
		cmocka_unit_test(int8_halves_what_weights_and_dispatch_take),
		cmocka_unit_test(prefill_of_the_deployment_plan),
		cmocka_unit_test(decode_of_the_deployment_plan),
		cmocka_unit_test(a_chunk_moves_eight_mebibytes),
		cmocka_unit_test(one_sequence_on_one_device_is_the_sum_of_its_tasks),
		cmocka_unit_test(a_pipeline_of_two_stages),
		cmocka_unit_test(bounds_are_in_order_on_every_graph),
		cmocka_unit_test(meshes_do_the_same_work),
		cmocka_unit_test(uneven_routing_costs_and_capacity_drops),
		cmocka_unit_test(plans_repeat),
		cmocka_unit_test(what_does_not_fit_is_refused_or_waits),
		cmocka_unit_test(verdicts_say_why),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
