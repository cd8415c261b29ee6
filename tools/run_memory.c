/* SPDX-License-Identifier: Apache-2.0
 *
 * How large a run's KV pools and slots are, and whether they fit. */
#include "tools/run_memory.h"
#include <jansson.h>
#include <math.h>
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

/* A device's own memory, 0 where there is none. Logical devices are bound by it where the graph's machine is this host; a
 * foreign machine's limit is told, not enforced: a run is bound by the host that it has. */
static double limit_of(const struct graph *graph, const struct mesh_part *part)
{
	const struct graph_machine *machine = &graph->machine;
	if (!machine->given || part->device >= machine->devices)
		return 0;
	return machine->device[part->device].memory;
}

/* How many pages of a group's pool fit, and into what: the host, or the device that binds. */
struct bound {
	double pages, fixed, available; /* bytes */
	double page;                    /* bytes of a page there */
	int device;                     /* its number; −1: the host */
};

#define PROBE 64 /* pages: enough that a pool's alignment does not matter */

static int find_bound(const struct graph *graph, int workers, struct run_memory *memory, struct bound *bound,
	struct error *error)
{
	struct deployment_account empty[MESH_MAX_DEVICES];
	int code = measure(graph, workers, memory, error);
	if (code)
		return code;
	for (int i = 0; i < graph->mesh.devices; i++)
		empty[i] = memory->account[i];
	*bound = (struct bound){ .fixed = memory->total, .available = memory->available, .device = -1,
		.page = (double) deployment_page_bytes(graph) * graph->mesh.groups };
	bound->pages = (bound->available - bound->fixed) / bound->page;
	memory->sizes.pages = PROBE;
	code = measure(graph, workers, memory, error);
	memory->sizes.pages = 0;
	for (int i = 0; !code && i < graph->mesh.devices && graph->machine.host; i++) {
		double limit = limit_of(graph, &graph->mesh.part[i]), fixed = (double) empty[i].total;
		double page = ((double) memory->account[i].kv - (double) empty[i].kv) / PROBE;
		if (limit > 0 && (limit - fixed) / page < bound->pages)
			*bound = (struct bound){ (limit - fixed) / page, fixed, limit, page, graph->mesh.part[i].device };
	}
	return code;
}

static int refuse(const struct graph *graph, const struct bound *bound, struct error *error)
{
	const char *where = graph->path[0] ? graph->path : NULL;
	char what[48] = "this host has";
	if (bound->device >= 0)
		snprintf(what, sizeof what, "device %d has", bound->device);
	if (graph->kv.pages > 0 && bound->pages >= 1)
		return error_set(error, ERROR_INPUT, where, "kv.pages = %ld need %.3f GB beside %.3f GB of weights and slots, but "
			"%s %.3f GB to use; at most %.0f pages fit", graph->kv.pages,
			(double) graph->kv.pages * bound->page * 1e-9, bound->fixed * 1e-9, what, bound->available * 1e-9,
			bound->pages);
	return error_set(error, ERROR_INPUT, where, "weights and slots need %.3f GB and one KV page of every pool %.6f GB, but "
		"%s %.3f GB to use; fewer schedule.slots, smaller schedule.prefill.tokens, compute = \"bf16\" or "
		"\"int8\"%s would need less", bound->fixed * 1e-9, bound->page * 1e-9, what, bound->available * 1e-9,
		bound->device >= 0 ? " or more devices" : "");
}

int run_memory_plan(const struct graph *graph, const struct requests *requests, const struct topology *topology,
	int workers, struct run_memory *memory, struct error *error)
{
	struct batcher_options options;
	struct bound bound;
	*memory = (struct run_memory){ .available = topology->memory_available * USABLE };
	run_batcher_options(graph, 1, &options);
	memory->sizes = (struct deployment_sizes){ options.slots, batcher_max_rows(&options),
		batcher_max_samples(&options), options.seats, 0 };
	int code = wanted_pages(graph, requests, &memory->pages_wanted, error);
	if (!code)
		code = find_bound(graph, workers, memory, &bound, error);
	if (code)
		return code;
	double pages = graph->kv.pages > 0 ? (double) graph->kv.pages : (double) memory->pages_wanted;
	if (graph->kv.pages == 0 && pages > bound.pages && bound.pages >= 1)
		pages = floor(bound.pages);
	memory->misfit = pages > bound.pages;
	memory->sizes.pages = memory->misfit && graph->kv.pages == 0 ? 1 : pages < INT32_MAX ? (int64_t) pages : INT32_MAX;
	code = measure(graph, workers, memory, error);
	return !code && memory->misfit ? refuse(graph, &bound, error) : code;
}

bool run_memory_exceeds(const struct graph *graph, const struct run_memory *memory, char *text, size_t size)
{
	for (int i = 0; i < graph->mesh.devices; i++) {
		double limit = limit_of(graph, &graph->mesh.part[i]), total = (double) memory->account[i].total;
		if (limit > 0 && total > limit) {
			snprintf(text, size, "device %d of %s would need %.3f GB and has %.3f; this host runs it all the same",
				graph->mesh.part[i].device, graph->machine.name, total * 1e-9, limit * 1e-9);
			return true;
		}
	}
	return false;
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
		"workspace_bytes", memory->workspaces, "total_bytes", memory->total, "available_bytes",
		memory->available, "kv_pages", (json_int_t) memory->sizes.pages, "kv_pages_wanted", (json_int_t) memory->pages_wanted);
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
