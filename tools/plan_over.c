/* SPDX-License-Identifier: Apache-2.0
 *
 * Plans over a range of values. */
#include "tools/plan_over.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tools/plan_svg.h"

static const struct {
	const char *name, *path;
} short_names[] = {
	{ "prompt_tokens", "require.workload.prompt_tokens" },
	{ "new_tokens", "require.workload.new_tokens" },
	{ "sequences", "require.workload.sequences" },
};

struct over {
	char name[128], path[160];
	int count;
	int value[PLAN_OVER_POINTS];
};

static int parse(const char *text, struct over *over, struct error *error)
{
	const char *equals = strchr(text, '='), *number;
	char *end;
	long a = 0, b = 0, n = 8;
	if (!equals || equals == text || equals - text >= (long) sizeof over->name)
		goto wrong;
	snprintf(over->name, sizeof over->name, "%.*s", (int) (equals - text), text);
	snprintf(over->path, sizeof over->path, "%s", over->name);
	for (size_t i = 0; i < sizeof short_names / sizeof *short_names; i++)
		if (!strcmp(over->name, short_names[i].name))
			snprintf(over->path, sizeof over->path, "%s", short_names[i].path);
	errno = 0;
	a = strtol(equals + 1, &end, 10);
	if (end == equals + 1 || *end != ':')
		goto wrong;
	number = end + 1;
	b = strtol(number, &end, 10);
	if (end == number)
		goto wrong;
	if (*end == ':') {
		number = end + 1;
		n = strtol(number, &end, 10);
		if (end == number)
			goto wrong;
	}
	if (*end || errno || a < 1 || b < a || b > 1 << 24 || n < 1 || n > PLAN_OVER_POINTS)
		goto wrong;
	over->count = 0;
	for (long i = 0; i < n; i++) {
		int value = (int) lround((double) a * pow((double) b / (double) a, n > 1 ? (double) i / (double) (n - 1) : 0));
		if (!over->count || value > over->value[over->count - 1])
			over->value[over->count++] = value;
	}
	return 0;
wrong:
	return error_set(error, ERROR_INPUT, NULL, "--over %.200s; --over KEY=FROM:TO or KEY=FROM:TO:POINTS with 1 ≤ FROM ≤ TO ≤ "
		"16777216 and at most %d points would be right, such as prompt_tokens=128:10240", text, PLAN_OVER_POINTS);
}

int plan_over_end(const char *text, struct plan_over_end *end, struct error *error)
{
	struct over over;
	int code = parse(text, &over, error);
	if (code)
		return code;
	snprintf(end->path, sizeof end->path, "%s", over.path);
	snprintf(end->value, sizeof end->value, "%d", over.value[over.count - 1]);
	return 0;
}

static void keep(const struct plan *plan, int value, struct plan_point *p)
{
	double flops = 0;
	*p = (struct plan_point){ .value = value, .overlapped = plan->overlapped, .serial = plan->serial,
		.lower_bound_s = plan->lower_bound_s, .comm_over_compute = plan->metrics.comm_over_compute,
		.requirements = plan->metrics.requirements };
	memcpy(p->requirement, plan->metrics.requirement, sizeof p->requirement);
	for (int i = 0; i < PLAN_PHASES; i++)
		plan_rates_make(plan, (enum plan_phase) i, &p->rates[i]);
	for (int d = 0; d < plan->graph->mesh.devices; d++) {
		p->memory = fmax(p->memory, plan->device[d].total);
		flops += plan->device[d].phase[PLAN_PREFILL].flops;
	}
	p->flops_a_token = flops / fmax(1, (double) plan->phase_rows[PLAN_PREFILL]);
}

static int make_point(const struct over *over, int value, const struct plan_options *options, plan_read *read,
	void *context, struct plan_point *point, char *title, size_t title_size, struct error *error)
{
	struct graph *graph = NULL;
	struct plan *plan = NULL;
	char text[32];
	snprintf(text, sizeof text, "%d", value);
	struct graph_override override = { over->path, text };
	int code = read(context, &override, 1, &graph, error);
	if (code && !strncmp(error->where, "--set ", 6) && !strcmp(error->where + 6, over->path))
		snprintf(error->where, sizeof error->where, "--over");
	if (!code)
		code = plan_make(graph, options, &plan, error);
	if (!code) {
		keep(plan, value, point);
		snprintf(title, title_size, "%s on %s: tensor %d × experts %d × stages %d on %d devices, %d sequences", graph->name,
			graph->machine.name, graph->mesh.tensor, graph->mesh.experts, graph->mesh.stages, graph->mesh.devices,
			graph->workload.sequences);
	}
	plan_destroy(plan);
	graph_destroy(graph);
	return code;
}

/* A figure of `width` letters, or "-". */
static void print_figure(int width, double value)
{
	if (isfinite(value))
		printf(" %*.4g", width, value);
	else
		printf(" %*s", width, "-");
}

static void print_table(const struct over *over, const struct plan_point *point, int count)
{
	printf("%15s %8s | %8s %8s %8s %8s | %8s %8s %8s | %9s %9s | %7s %8s %8s | %7s\n", over->name, "MFLOP", "prefill", "serial",
		"FLOP/s", "links", "decode", "serial", "memory", "TTFT s", "serial", "comm", "exposed", "bubbles", "GB");
	for (int i = 0; i < count; i++) {
		const struct plan_point *p = &point[i];
		const struct plan_rates *prefill = &p->rates[PLAN_PREFILL], *decode = &p->rates[PLAN_DECODE];
		const double rates[] = { prefill->planned, prefill->serial, prefill->by_flops, prefill->by_links, decode->planned,
			decode->serial, decode->by_bytes };
		printf("%15d %8.1f", p->value, p->flops_a_token * 1e-6);
		for (int k = 0; k < 7; k++) {
			fputs(k == 0 || k == 4 ? " |" : "", stdout);
			print_figure(8, rates[k]);
		}
		fputs(" |", stdout);
		print_figure(9, p->overlapped.ttft_s);
		print_figure(9, p->serial.ttft_s);
		fputs(" |", stdout);
		print_figure(7, p->comm_over_compute);
		printf(" %7.1f%% %7.1f%% | %7.2f\n", 100 * p->overlapped.exposed[PLAN_PHASES],
			100 * p->overlapped.bubble[PLAN_PHASES], p->memory * 1e-9);
	}
	puts("\nMFLOP a token in prefill; tokens/ms a device: planned with full overlap, serial without any, FLOP/s, links and memory\n"
	     "what they alone allow; comm: collectives / compute; exposed, bubbles: shares of time with full overlap");
}

static void print_csv(const struct over *over, const struct plan_point *point, int count)
{
	printf("%s,mflop_per_token,prefill_tokens_per_ms_per_device,prefill_serial,prefill_by_flops,prefill_by_links,"
	       "decode_tokens_per_ms_per_device,decode_serial,decode_by_memory,ttft_s,ttft_serial_s,makespan_s,makespan_serial_s,"
	       "lower_bound_s,comm_over_compute,exposed_share,bubble_share,memory_bytes\n", over->name);
	for (int i = 0; i < count; i++) {
		const struct plan_point *p = &point[i];
		const double column[] = { p->flops_a_token * 1e-6, p->rates[0].planned, p->rates[0].serial, p->rates[0].by_flops,
			p->rates[0].by_links, p->rates[1].planned, p->rates[1].serial, p->rates[1].by_bytes, p->overlapped.ttft_s,
			p->serial.ttft_s, p->overlapped.makespan_s, p->serial.makespan_s, p->lower_bound_s, p->comm_over_compute,
			p->overlapped.exposed[PLAN_PHASES], p->overlapped.bubble[PLAN_PHASES], p->memory };
		printf("%d", p->value);
		for (size_t k = 0; k < sizeof column / sizeof *column; k++)
			if (isfinite(column[k]))
				printf(",%.9g", column[k]);
			else
				putchar(',');
		putchar('\n');
	}
}

int plan_over(const char *text, bool csv, const char *picture, const struct plan_options *options, plan_read *read,
	void *context, struct error *error)
{
	struct over over;
	struct plan_point *point;
	char title[512];
	int code = parse(text, &over, error);
	if (code)
		return code;
	point = calloc((size_t) over.count, sizeof *point);
	if (!point)
		return error_memory(error, "planning");
	for (int i = 0; !code && i < over.count; i++)
		code = make_point(&over, over.value[i], options, read, context, &point[i], title, sizeof title, error);
	if (!code && csv)
		print_csv(&over, point, over.count);
	else if (!code)
		print_table(&over, point, over.count);
	if (!code && picture)
		code = plan_svg_write(picture, title, over.name, point, over.count, error);
	free(point);
	return code;
}
