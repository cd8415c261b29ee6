/* SPDX-License-Identifier: Apache-2.0
 *
 * Rooflines as tables and as JSON. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include "tools/bench.h"

static void print_head(const struct bench *b)
{
	const struct topology_speed *speed = &b->limits.speed;
	printf("%s, %d cores, %d worker%s; graph %s, %s in %s\n", b->topology->cpu, b->topology->cores, b->workers,
		b->workers > 1 ? "s" : "", b->graph->name, b->graph->model.name[0] ? b->graph->model.name : "its card",
		dtype_name(b->graph->compute));
	printf("limits of a worker while all work: ");
	if (speed->bf16_flops > 0)
		printf("%.0f GFLOP/s in BF16, ", speed->bf16_flops / 1e9);
	if (speed->int8_flops > 0)
		printf("%.0f in int8, ", speed->int8_flops / 1e9);
	printf("%.0f in FP32, reads of %.1f GB/s; %.1f us to take a task\n", speed->fp32_flops / 1e9, speed->bandwidth / 1e9,
		b->limits.call_s * 1e6);
}

static void print_title(const struct bench_case *c)
{
	const struct calibrate_shape *s = &c->shape;
	if (c->size.decode)
		printf("\ndecode, %d sequence%s, context %d", s->segments * s->in_flight, s->segments * s->in_flight > 1 ? "s" : "",
			c->size.context);
	else
		printf("\nprefill, %d rows, context %d", s->segments * s->rows, s->position + s->rows);
	if (!c->size.decode && s->segments > 1)
		printf(", %d prompts", s->segments);
	if (s->in_flight > 1)
		printf(", %d micro-batches in flight", s->in_flight);
}

static void print_case(const struct bench_case *c)
{
	print_title(c);
	if (c->span_s <= 0) {
		puts(": does not fit the graph's limits, or a prefill chunk");
		return;
	}
	printf(": %.3g ms, %.0f tokens/s\n", c->span_s * 1e3, c->tokens_per_s);
	puts("task            calls     us each      MFLOP         MB   GFLOP/s     GB/s  binds    of limit  of time");
	for (int i = 0; i < c->tasks; i++) {
		const struct bench_task *t = &c->task[i];
		printf("%-14s %6.0f %11.1f %10.3g %10.3g %9.1f %8.1f  %-7s  %7.2f  %5.1f %%\n", call_kind_names[t->kind], t->calls,
			t->seconds * 1e6, t->flops / 1e6, t->bytes / 1e6, t->flops / t->seconds / 1e9, t->bytes / t->seconds / 1e9,
			bench_bound_names[t->bound], t->limit_share, 100 * t->time_share);
	}
	printf("%-77s  %7s  %5.1f %%\n", "waiting", "", 100 * c->waiting_share);
	printf("%-77s  %7.2f  %5.1f %%\n", "all", c->limit_share, 100.0);
}

static const struct bench_task *task_of(const struct bench_case *c, int kind)
{
	for (int i = 0; i < c->tasks; i++)
		if (c->task[i].kind == kind)
			return &c->task[i];
	return NULL;
}

static int column(int kind)
{
	int width = (int) strlen(call_kind_names[kind]);
	return width > 6 ? width : 6;
}

/* A row a case, a column a kind, with the initial of what binds: who looks for the largest gap begins here. */
static void print_shares(const struct bench *b)
{
	bool used[CALL_KINDS] = { false };
	for (int i = 0; i < b->cases; i++)
		for (int t = 0; t < b->each[i].tasks; t++)
			used[b->each[i].task[t].kind] = true;
	puts("\nshare of the limit, and what binds: c compute, m memory, o the call itself\n");
	printf("%-22s", "batch x context");
	for (int kind = 0; kind < CALL_KINDS; kind++)
		if (used[kind])
			printf(" %*s", column(kind), call_kind_names[kind]);
	puts("     all  waiting");
	for (int i = 0; i < b->cases; i++) {
		const struct bench_case *c = &b->each[i];
		if (c->span_s <= 0)
			continue;
		printf("%-7s %5d x %-6d", c->size.decode ? "decode" : "prefill", c->size.batch, c->size.context);
		for (int kind = 0; kind < CALL_KINDS; kind++) {
			const struct bench_task *t = task_of(c, kind);
			if (t)
				printf(" %*.2f %c", column(kind) - 2, t->limit_share, "cmo"[t->bound]);
			else if (used[kind])
				printf(" %*s", column(kind), "-");
		}
		printf("  %6.2f  %5.1f %%\n", c->limit_share, 100 * c->waiting_share);
	}
}

void bench_print(const struct bench *b)
{
	print_head(b);
	for (int i = 0; i < b->cases; i++)
		print_case(&b->each[i]);
	print_shares(b);
}

static json_t *task_json(const struct bench_task *t)
{
	return json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:s, s:f, s:f}", "task", call_kind_names[t->kind], "calls", t->calls,
		"seconds", t->seconds, "flops", t->flops, "key_flops", t->key_flops, "bytes", t->bytes, "flops_per_s", t->flops / t->seconds, "bytes_per_s",
		t->bytes / t->seconds, "binds", bench_bound_names[t->bound], "limit_share", t->limit_share, "time_share",
		t->time_share);
}

static json_t *case_json(const struct bench_case *c)
{
	const struct calibrate_shape *s = &c->shape;
	json_t *tasks = json_array();
	for (int i = 0; i < c->tasks && c->span_s > 0; i++)
		json_array_append_new(tasks, task_json(&c->task[i]));
	return json_pack("{s:s, s:i, s:i, s:{s:i, s:i, s:i, s:i}, s:b, s:f, s:f, s:f, s:f, s:o}", "phase",
		c->size.decode ? "decode" : "prefill", "batch", c->size.batch, "context", c->size.context, "micro_batches",
		"in_flight", s->in_flight, "sequences", s->segments, "rows", s->rows, "position", s->position, "fits",
		c->span_s > 0, "seconds", c->span_s, "tokens_per_s", c->tokens_per_s, "limit_share",
		c->limit_share, "waiting_share", c->waiting_share, "tasks", tasks);
}

int bench_print_json(const struct bench *b, struct error *error)
{
	const struct topology_speed *speed = &b->limits.speed;
	json_t *cases = json_array();
	for (int i = 0; i < b->cases; i++)
		json_array_append_new(cases, case_json(&b->each[i]));
	json_t *root = json_pack("{s:s, s:i, s:i, s:s, s:s, s:s, s:{s:f, s:f, s:f, s:f, s:f}, s:o}", "processor", b->topology->cpu,
		"cores", b->topology->cores, "workers", b->workers, "graph", b->graph->name, "model", b->graph->model.name,
		"compute", dtype_name(b->graph->compute), "limits_a_worker", "fp32_flops", speed->fp32_flops, "bf16_flops",
		speed->bf16_flops, "int8_flops", speed->int8_flops, "bandwidth", speed->bandwidth, "call_s", b->limits.call_s, "cases", cases);
	if (!root)
		return error_memory(error, "writing JSON");
	int failed = json_dumpf(root, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) || putchar('\n') == EOF;
	json_decref(root);
	return failed ? error_set(error, ERROR_RUN, NULL, "cannot write to standard output") : 0;
}
