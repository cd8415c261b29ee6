/* SPDX-License-Identifier: Apache-2.0
 *
 * What the plan puts on each device: weights, slots and workspace as they are, and the KV pools (tasks/pool.h). */
#include "tasks/plan_internal.h"
#include "tasks/pool.h"

int plan_memory_make(const struct graph *graph, const struct batcher_options *options, struct deployment_sizes *sizes,
	struct plan *plan, struct error *error)
{
	struct pool pool;
	*sizes = (struct deployment_sizes){ options->slots, batcher_max_rows(options), batcher_max_samples(options),
		options->seats, 0 };
	int code = pool_size(graph, (int64_t) graph->workload.prompt_max + graph->workload.new_tokens, sizes, &pool, error);
	for (int i = 0; !code && i < graph->mesh.devices; i++) {
		struct plan_device *device = &plan->device[i];
		const struct deployment_account *account = &pool.account[i];
		device->device = graph->mesh.part[i].device;
		device->stage = graph->mesh.part[i].stage;
		device->weights = (double) account->weights;
		device->kv = (double) account->kv;
		device->activations = (double) account->activations;
		device->workspace = (double) account->workspace;
		device->total = pool_need(account);
		device->limit = pool_memory(graph, i);
	}
	plan->pages_wanted = pool.wanted;
	plan->pages = pool.pages;
	return code;
}
