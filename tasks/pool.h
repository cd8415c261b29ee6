/* SPDX-License-Identifier: Apache-2.0
 *
 * How large a deployment's KV pools are on the machine that the graph names, and whether all fits: as many pages as the graph
 * says, else as the limits need or, where it is less, as memory leaves beside weights, slots and workspace. What a workload
 * uses of them is another figure. */
#ifndef OCTANT_TASKS_POOL_H
#define OCTANT_TASKS_POOL_H

#include "tasks/deployment.h"

struct pool {
	int64_t pages, wanted; /* of each attention group's pool; wanted: what the limits need */
	struct deployment_account account[MESH_MAX_DEVICES]; /* with that many pages */
};

/* Memory of a device of the mesh, by stage · S + index; 0: none of its own (a host's). */
double pool_memory(const struct graph *graph, int device);
/* All that a device needs of it. */
static inline double pool_need(const struct deployment_account *account)
{
	return (double) (account->total + account->workspace);
}

/* Sets sizes->pages too. `longest`: tokens of the longest sequence that is to run, which must fit. Errors: ERROR_INPUT where a
 * device cannot hold that, by how much, and what would; ERROR_MEMORY. */
int pool_size(const struct graph *graph, int64_t longest, struct deployment_sizes *sizes, struct pool *pool,
	struct error *error);

#endif
