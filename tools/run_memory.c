/* SPDX-License-Identifier: Apache-2.0
 *
 * How large a run's KV pools and slots are, and whether they fit. */
#include "tools/run_memory.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include "tasks/run.h"

/* Of what the host says is available, the rest being page cache that the checkpoint is read through, stacks and
 * StarPU's own. */
#define USABLE 0.92

static int descending(const void *a, const void *b)
{
	int64_t x = *(const int64_t *) a, y = *(const int64_t *) b;
	return (x < y) - (x > y);
}

static int64_t pages_of(int64_t tokens, int page_tokens)
{
	return (tokens + page_tokens - 1) / page_tokens;
}

/* Pages that a group's pool needs so that its share of the seats can be taken by the longest sequences. */
static int wanted_pages(const struct graph *graph, const struct requests *requests, int64_t *pages, struct error *error)
{
	int seats = (graph->limits.sequences + graph->mesh.groups - 1) / graph->mesh.groups;
	int64_t most = pages_of(graph->limits.tokens_per_sequence, graph->kv.page_tokens);
	if (!requests) {
		*pages = most * seats;
		return 0;
	}
	int64_t *each = calloc((size_t) requests->count + 1, sizeof *each);
	if (!each)
		return error_memory(error, "sizing the KV pools");
	for (int i = 0; i < requests->count; i++) {
		const struct request *r = &requests->request[i];
		each[i] = pages_of((int64_t) r->prompt_tokens + r->max_new_tokens, graph->kv.page_tokens);
		if (each[i] > most)
			each[i] = 0; /* fails alone: longer than a sequence may be */
	}
	qsort(each, (size_t) requests->count, sizeof *each, descending);
	*pages = 0;
	for (int i = 0; i < requests->count && i < seats; i++)
		*pages += each[i];
	free(each);
	if (*pages < 1)
		*pages = 1;
	return 0;
}

static int measure(const struct graph *graph, int workers, struct run_memory *memory, struct error *error)
{
	int code = deployment_measure(graph, graph->compute, &memory->sizes, memory->account, error);
	double workspace = 0;
	memory->total = 0;
	for (int i = 0; !code && i < graph->mesh.devices; i++) {
		const struct deployment_account *a = &memory->account[i];
		memory->total += (double) a->total;
		workspace = (double) a->workspace > workspace ? (double) a->workspace : workspace;
	}
	memory->workspaces = workspace * workers;
	memory->total += memory->workspaces;
	return code;
}

static int refuse(const struct graph *graph, const struct run_memory *memory, double fixed, double page,
	struct error *error)
{
	return error_set(error, ERROR_INPUT, graph->path[0] ? graph->path : NULL, "weights and slots need %.2f GB and one KV "
		"page of every pool %.4f GB, but this host has %.2f GB to use; fewer schedule.slots, smaller "
		"schedule.prefill.tokens, or compute = \"bf16\" would need less", fixed * 1e-9, page * 1e-9,
		memory->available * 1e-9);
}

int run_memory_plan(const struct graph *graph, const struct requests *requests, const struct topology *topology,
	int workers, struct run_memory *memory, struct error *error)
{
	struct batcher_options options;
	*memory = (struct run_memory){ .available = topology->memory_available * USABLE };
	run_batcher_options(graph, 1, &options);
	memory->sizes = (struct deployment_sizes){ options.slots, batcher_max_rows(&options),
		batcher_max_samples(&options), options.seats, 0 };
	int code = wanted_pages(graph, requests, &memory->pages_wanted, error);
	if (!code)
		code = measure(graph, workers, memory, error);
	if (code)
		return code;
	double page = (double) deployment_page_bytes(graph) * graph->mesh.groups, fixed = memory->total;
	double fit = (memory->available - fixed) / page;
	if (graph->kv.pages > 0)
		memory->sizes.pages = graph->kv.pages;
	else
		memory->sizes.pages = (double) memory->pages_wanted < fit ? memory->pages_wanted : (int64_t) fit;
	if (memory->sizes.pages > INT32_MAX)
		memory->sizes.pages = INT32_MAX;
	memory->misfit = fit < 1 || memory->sizes.pages < 1 || (double) memory->sizes.pages > fit;
	if (memory->misfit) {
		memory->sizes.pages = graph->kv.pages > 0 ? graph->kv.pages : 1;
		code = measure(graph, workers, memory, error);
		if (code)
			return code;
		if (graph->kv.pages > 0 && fit >= 1)
			return error_set(error, ERROR_INPUT, graph->path[0] ? graph->path : NULL, "kv.pages = %ld need %.2f GB "
				"beside %.2f GB of weights and slots, but this host has %.2f GB to use; at most %.0f pages fit",
				graph->kv.pages, (double) graph->kv.pages * page * 1e-9, fixed * 1e-9,
				memory->available * 1e-9, fit);
		return refuse(graph, memory, fixed, page, error);
	}
	return measure(graph, workers, memory, error);
}

static double limit_of(const struct graph *graph, const struct mesh_part *part)
{
	const struct graph_machine *machine = &graph->machine;
	if (!machine->given || machine->host || part->device >= machine->devices)
		return 0;
	return machine->device[part->device].memory;
}

static void print_json(const struct graph *graph, const struct run_memory *memory)
{
	json_t *devices = json_array();
	for (int i = 0; i < graph->mesh.devices; i++) {
		const struct deployment_account *a = &memory->account[i];
		const struct mesh_part *part = &graph->mesh.part[i];
		double limit = limit_of(graph, part);
		json_array_append_new(devices, json_pack("{s:i, s:i, s:i, s:i, s:I, s:I, s:I, s:I, s:o}", "id", part->device,
			"stage", part->stage, "tensor", part->tensor, "experts", part->experts, "weight_bytes",
			(json_int_t) a->weights, "kv_bytes", (json_int_t) a->kv, "activation_bytes",
			(json_int_t) a->activations, "total_bytes", (json_int_t) a->total, "limit_bytes",
			limit > 0 ? json_integer((json_int_t) limit) : json_null()));
	}
	json_t *root = json_pack("{s:s, s:o, s:f, s:f, s:f, s:I, s:I}", "graph", graph->name, "devices", devices,
		"workspace_bytes", memory->workspaces, "total_bytes", memory->total, "available_bytes", memory->available, "kv_pages", (json_int_t) memory->sizes.pages,
		"kv_pages_wanted", (json_int_t) memory->pages_wanted);
	json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
	putchar('\n');
	json_decref(root);
}

void run_memory_print(const struct graph *graph, const struct run_memory *memory, bool json)
{
	if (json) {
		print_json(graph, memory);
		return;
	}
	printf("%-7s %5s %10s %10s %12s %10s %10s\n", "device", "stage", "weights", "KV pool", "activations", "total", "limit");
	for (int i = 0; i < graph->mesh.devices; i++) {
		const struct deployment_account *a = &memory->account[i];
		const struct mesh_part *part = &graph->mesh.part[i];
		double limit = limit_of(graph, part);
		char text[32] = "host's";
		if (limit > 0)
			snprintf(text, sizeof text, "%.3f GB%s", limit * 1e-9, (double) a->total > limit ? " !" : "");
		printf("%-7d %5d %7.3f GB %7.3f GB %9.3f GB %7.3f GB %10s\n", part->device, part->stage,
			(double) a->weights * 1e-9, (double) a->kv * 1e-9, (double) a->activations * 1e-9,
			(double) a->total * 1e-9, text);
	}
	printf("workers' workspaces: %.3f GB; all together: %.3f GB; this host has %.3f GB to use\n", memory->workspaces * 1e-9,
		memory->total * 1e-9, memory->available * 1e-9);
	printf("KV pool: %lld pages of %d tokens an attention group%s\n", (long long) memory->sizes.pages,
		graph->kv.page_tokens,
		memory->sizes.pages < memory->pages_wanted && !memory->misfit
			? "; fewer than all sequences need at once: some wait or are preempted and recomputed"
			: "");
}
