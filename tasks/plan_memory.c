/* SPDX-License-Identifier: Apache-2.0
 *
 * What the plan puts on each device, and whether it fits: weights, slots and workspace as they are, and of the KV pool
 * what the limits need or what the memory leaves. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "runtime/accounts.h"
#include "tasks/plan_internal.h"

static int measure(const struct graph *graph, const struct deployment_sizes *sizes, struct plan *plan,
	struct error *error)
{
	struct deployment_account account[MESH_MAX_DEVICES];
	int code = deployment_measure(graph, graph->compute, sizes, account, error);
	for (int i = 0; !code && i < graph->mesh.devices; i++) {
		struct plan_device *device = &plan->device[i];
		const struct mesh_part *part = &graph->mesh.part[i];
		device->device = part->device;
		device->stage = part->stage;
		device->weights = (double) account[i].weights;
		device->kv = (double) account[i].kv;
		device->activations = (double) account[i].activations;
		device->workspace = (double) account[i].workspace;
		device->total = (double) account[i].total + device->workspace;
		device->limit = graph->machine.host ? 0 : graph->machine.device[part->device].memory;
	}
	return code;
}

/* Pages that the longest sequence of the workload needs. */
static int64_t least_pages(const struct graph *graph)
{
	int64_t tokens = (int64_t) graph->workload.prompt_max + graph->workload.new_tokens;
	return (tokens + graph->kv.page_tokens - 1) / graph->kv.page_tokens;
}

/* The largest need of a device with that many stages and `sizes`; negative: that mesh cannot be. */
static double need_with(struct graph *graph, const struct mesh *base, int stages, const struct deployment_sizes *sizes)
{
	struct deployment_account account[MESH_MAX_DEVICES];
	double most = 0;
	if (mesh_make(&graph->mesh, base->tensor, base->experts, stages, base->expert_tensor, graph->model.layers, NULL)
		|| deployment_measure(graph, graph->compute, sizes, account, NULL))
		return -1;
	for (int i = 0; i < graph->mesh.devices; i++)
		most = fmax(most, (double) account[i].total + (double) account[i].workspace);
	return most;
}

/* The least number of stages with which each device needs at most `limit` bytes; 0: none. */
static int stages_that_fit(const struct graph *graph, const struct deployment_sizes *sizes, double limit)
{
	struct graph *copy = malloc(sizeof *copy);
	int found = 0;
	if (copy)
		*copy = *graph;
	for (int stages = graph->mesh.stages + 1; copy && !found && stages <= graph->model.layers
		&& stages * graph->mesh.per_stage <= MESH_MAX_DEVICES; stages++) {
		double need = need_with(copy, &graph->mesh, stages, sizes);
		if (need >= 0 && need <= limit)
			found = stages;
	}
	free(copy);
	return found;
}

static int refuse(const struct graph *graph, const struct plan_device *device, const struct deployment_sizes *sizes,
	double page, int64_t least, struct error *error)
{
	double need = device->total + page * (double) least;
	struct deployment_sizes fewest = *sizes;
	char remedy[200];
	fewest.pages = least;
	int stages = stages_that_fit(graph, &fewest, device->limit);
	if (stages)
		snprintf(remedy, sizeof remedy, "mesh.stages = %d on %d such devices, or devices of %.1f GB, would fit", stages,
			stages * graph->mesh.per_stage, ceil(need * 1e-8) / 10);
	else
		snprintf(remedy, sizeof remedy, "devices of %.1f GB, or smaller schedule.slots and schedule.prefill.tokens, "
			"would fit", ceil(need * 1e-8) / 10);
	return error_set(error, ERROR_INPUT, graph->path[0] ? graph->path : NULL, "device %d needs %.2f GB (weights %.2f, "
		"slots %.2f, workspace %.2f, KV of the longest sequence %.2f) and has %.2f: %.2f GB too much; %s",
		device->device, need * 1e-9, device->weights * 1e-9, device->activations * 1e-9, device->workspace * 1e-9,
		page * (double) least * 1e-9, device->limit * 1e-9, (need - device->limit) * 1e-9, remedy);
}

int plan_memory_make(const struct graph *graph, const struct batcher_options *options, struct deployment_sizes *sizes,
	struct plan *plan, struct error *error)
{
	*sizes = (struct deployment_sizes){ options->slots, batcher_max_rows(options), batcher_max_samples(options),
		options->seats, 1 };
	double page[MESH_MAX_DEVICES], wanted = accounts_pages(graph);
	int code = measure(graph, sizes, plan, error);
	for (int i = 0; i < graph->mesh.devices; i++)
		page[i] = plan->device[i].kv;
	sizes->pages = 0;
	if (!code)
		code = measure(graph, sizes, plan, error);
	if (code)
		return code;
	if (wanted > INT32_MAX)
		wanted = INT32_MAX;
	double pages = wanted;
	int64_t least = least_pages(graph);
	for (int i = 0; i < graph->mesh.devices; i++) {
		const struct plan_device *device = &plan->device[i];
		if (device->limit <= 0)
			continue;
		double fit = floor((device->limit - device->total) / page[i]);
		if (fit < (double) (wanted < (double) least ? (int64_t) wanted : least))
			return refuse(graph, device, sizes, page[i], least, error);
		pages = fmin(pages, fit);
	}
	plan->pages_wanted = (int64_t) wanted;
	plan->pages = sizes->pages = (int64_t) pages;
	return measure(graph, sizes, plan, error);
}
