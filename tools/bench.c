/* SPDX-License-Identifier: Apache-2.0
 *
 * Sizes, their micro-batches, and what measured tasks are worth against the machine's limits. */
#include "tools/bench.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tasks/kinds.h"

const char *const bench_bound_names[BENCH_BOUNDS] = { "compute", "memory", "call" };

/* One "BATCHxCONTEXT" up to a comma or the end; *text moves behind it. */
static bool read_size(const char **text, struct bench_size *size)
{
	char *end;
	long batch = strtol(*text, &end, 10);
	if (end == *text || *end != 'x')
		return false;
	const char *second = end + 1;
	long context = strtol(second, &end, 10);
	if (end == second || (*end && *end != ',') || batch < 1 || context < 1 || batch > 1 << 20 || context > 1 << 24)
		return false;
	size->batch = (int) batch;
	size->context = (int) context;
	*text = *end ? end + 1 : end;
	return true;
}

int bench_parse(struct bench *bench, const char *option, const char *list, bool decode, struct error *error)
{
	const char *text = strcmp(list, "none") ? list : "";
	while (*text) {
		struct bench_size size = { .decode = decode };
		if (!read_size(&text, &size))
			return error_set(error, ERROR_INPUT, option, "\"%s\" is no list of sizes; BATCHxCONTEXT, separated by commas, or "
				"none would be right: 1x128,32x2048", list);
		if (bench->cases == BENCH_MAX_CASES)
			return error_set(error, ERROR_INPUT, option, "more than %d sizes", BENCH_MAX_CASES);
		bench->each[bench->cases++].size = size;
	}
	return 0;
}

static int least(int a, int b)
{
	return a < b ? a : b;
}

static struct calibrate_shape decode_shape(const struct graph *graph, const struct bench_size *size)
{
	const struct graph_schedule *s = &graph->schedule;
	int groups = s->decode_micro_batches ? s->decode_micro_batches : graph->mesh.stages;
	groups = least(least(groups, s->slots), size->batch);
	return (struct calibrate_shape){ (size->batch + groups - 1) / groups, 1, size->context - 1, groups };
}

static struct calibrate_shape prefill_shape(const struct graph *graph, const struct bench_size *size, int workers)
{
	const struct graph_schedule *s = &graph->schedule;
	int chunk = least(size->batch, s->prefill_tokens), wanted = workers > graph->mesh.stages ? workers : graph->mesh.stages;
	struct calibrate_shape shape = { 1, chunk, size->context - chunk, least(wanted, s->slots) };
	if (size->context < chunk) { /* several whole prompts */
		shape.segments = chunk / size->context;
		shape.rows = size->context;
		shape.position = 0;
	}
	return shape;
}

void bench_shape(struct bench *bench)
{
	for (int i = 0; i < bench->cases; i++) {
		struct bench_case *c = &bench->each[i];
		c->shape = c->size.decode ? decode_shape(bench->graph, &c->size)
					  : prefill_shape(bench->graph, &c->size, bench->workers);
	}
}

static double peak(const struct topology_speed *speed, enum dtype dtype)
{
	double own = dtype == DTYPE_BF16 ? speed->bf16_flops : dtype == DTYPE_INT8 ? speed->int8_flops : 0;
	return own > 0 ? own : speed->fp32_flops;
}

/* Routers, sampling and attention over keys calculate in FP32 whatever the graph's `compute` is. */
static double compute_seconds(const struct bench *bench, const struct bench_task *task)
{
	const struct topology_speed *speed = &bench->limits.speed;
	bool fp32 = task->kind == TASK_ROUTE || task->kind == TASK_SAMPLE;
	return (task->flops - task->key_flops) / peak(speed, fp32 ? DTYPE_FP32 : bench->graph->compute)
		+ task->key_flops / speed->fp32_flops;
}

static void judge(const struct bench *bench, struct bench_task *task)
{
	double compute = compute_seconds(bench, task), memory = task->bytes / bench->limits.speed.bandwidth;
	double limit = fmax(compute, memory);
	task->bound = limit < bench->limits.call_s ? BENCH_CALL : compute > memory ? BENCH_COMPUTE : BENCH_MEMORY;
	task->limit_share = limit / task->seconds;
}

static void add_sample(struct bench_case *c, const struct calibrate_sample *s)
{
	struct bench_task *task = c->task;
	while (task < c->task + c->tasks && task->kind != s->kind)
		task++;
	if (task == c->task + c->tasks) {
		c->tasks++;
		task->kind = s->kind;
	}
	task->calls += s->calls;
	task->seconds += s->calls * s->seconds;
	task->flops += s->calls * s->flops;
	task->key_flops += s->calls * s->key_flops;
	task->bytes += s->calls * s->bytes;
}

static int by_time(const void *a, const void *b)
{
	double x = ((const struct bench_task *) a)->time_share, y = ((const struct bench_task *) b)->time_share;
	return (x < y) - (x > y);
}

static void evaluate(const struct bench *bench, struct bench_case *c)
{
	double busy = 0, tokens = (double) c->shape.segments * c->shape.rows * c->shape.in_flight;
	for (int t = 0; t < c->tasks; t++) {
		struct bench_task *task = &c->task[t];
		task->time_share = task->seconds / (c->span_s * bench->workers);
		busy += task->time_share;
		task->seconds /= task->calls;
		task->flops /= task->calls;
		task->key_flops /= task->calls;
		task->bytes /= task->calls;
		judge(bench, task);
		c->limit_share += task->limit_share * task->time_share;
	}
	qsort(c->task, (size_t) c->tasks, sizeof *c->task, by_time);
	c->tokens_per_s = tokens / c->span_s;
	c->waiting_share = fmax(1 - busy, 0);
}

void bench_evaluate(struct bench *bench, const struct calibrate_samples *samples, const double *span_s)
{
	for (int i = 0; i < samples->count; i++)
		if (samples->sample[i].seconds > 0)
			add_sample(&bench->each[samples->sample[i].shape], &samples->sample[i]);
	for (int i = 0; i < bench->cases; i++) {
		bench->each[i].span_s = span_s[i];
		if (span_s[i] > 0)
			evaluate(bench, &bench->each[i]);
	}
}
