/* SPDX-License-Identifier: Apache-2.0
 *
 * The size of KV pools, and what would fit where a deployment does not. */
#include "tasks/pool.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "runtime/accounts.h"

double pool_memory(const struct graph *graph, int device)
{
	const struct graph_machine *machine = &graph->machine;
	return machine->given && !machine->host ? machine->device[graph->mesh.part[device].device].memory : 0;
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
		most = fmax(most, pool_need(&account[i]));
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

static int refuse(const struct graph *graph, int i, const struct deployment_account *a, const struct deployment_sizes *sizes,
	double page, int64_t least, struct error *error)
{
	double need = pool_need(a) + page * (double) least, limit = pool_memory(graph, i);
	struct deployment_sizes fewest = *sizes;
	char remedy[200];
	fewest.pages = least;
	int stages = stages_that_fit(graph, &fewest, limit);
	if (stages)
		snprintf(remedy, sizeof remedy, "mesh.stages = %d on %d such devices, or devices of %.1f GB, would fit", stages,
			stages * graph->mesh.per_stage, ceil(need * 1e-8) / 10);
	else
		snprintf(remedy, sizeof remedy, "devices of %.1f GB, or smaller schedule.slots and schedule.prefill.tokens, "
			"would fit", ceil(need * 1e-8) / 10);
	return error_set(error, ERROR_INPUT, graph->path[0] ? graph->path : NULL, "device %d needs %.2f GB (weights %.2f, "
		"slots %.2f, workspace %.2f, KV of the longest sequence %.2f) and has %.2f: %.2f GB too much; %s",
		graph->mesh.part[i].device, need * 1e-9, (double) a->weights * 1e-9, (double) a->activations * 1e-9,
		(double) a->workspace * 1e-9, page * (double) least * 1e-9, limit * 1e-9, (need - limit) * 1e-9, remedy);
}

static int refuse_pages(const struct graph *graph, int i, double fit, struct error *error)
{
	return error_set(error, ERROR_INPUT, graph->path[0] ? graph->path : NULL, "kv.pages = %ld do not fit into the %.2f GB of "
		"device %d of the machine \"%s\" beside weights, slots and workspace; at most %.0f do", graph->kv.pages,
		pool_memory(graph, i) * 1e-9, graph->mesh.part[i].device, graph->machine.name, fit);
}

/* The pages that fit into each device; `page`: bytes of one. */
static int find_pages(const struct graph *graph, const struct deployment_sizes *sizes, const double *page, int64_t longest,
	struct pool *pool, struct error *error)
{
	int64_t least = (longest + graph->kv.page_tokens - 1) / graph->kv.page_tokens;
	if (pool->wanted < least) /* then it fails alone, or the batcher says so */
		least = pool->wanted;
	pool->pages = pool->wanted;
	for (int i = 0; i < graph->mesh.devices; i++) {
		double limit = pool_memory(graph, i);
		if (limit <= 0)
			continue;
		double fit = floor((limit - pool_need(&pool->account[i])) / page[i]);
		if (fit < (double) least && (fit < 1 || graph->kv.pages <= 0))
			return refuse(graph, i, &pool->account[i], sizes, page[i], least, error);
		if (fit < (double) graph->kv.pages)
			return refuse_pages(graph, i, fit, error);
		if (fit < (double) pool->pages)
			pool->pages = (int64_t) fit;
	}
	return 0;
}

int pool_size(const struct graph *graph, int64_t longest, struct deployment_sizes *sizes, struct pool *pool,
	struct error *error)
{
	enum { PROBE = 64 }; /* pages: enough that a pool's alignment does not matter */
	double page[MESH_MAX_DEVICES];
	sizes->pages = PROBE;
	int code = deployment_measure(graph, graph->compute, sizes, pool->account, error);
	for (int i = 0; !code && i < graph->mesh.devices; i++)
		page[i] = (double) pool->account[i].kv / PROBE;
	sizes->pages = 0;
	if (!code)
		code = deployment_measure(graph, graph->compute, sizes, pool->account, error);
	pool->wanted = (int64_t) fmin(accounts_pages(graph), INT32_MAX);
	if (!code)
		code = find_pages(graph, sizes, page, longest, pool, error);
	sizes->pages = pool->pages;
	return code ? code : deployment_measure(graph, graph->compute, sizes, pool->account, error);
}
