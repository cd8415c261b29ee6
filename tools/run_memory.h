/* SPDX-License-Identifier: Apache-2.0
 *
 * How large a run's KV pools and slots are, and whether they fit: the accounts of device memory against what the
 * host really has, before anything is loaded. */
#ifndef OCTANT_TOOLS_RUN_MEMORY_H
#define OCTANT_TOOLS_RUN_MEMORY_H

#include <stdbool.h>
#include "runtime/batcher.h"
#include "runtime/graph.h"
#include "runtime/request.h"
#include "runtime/topology.h"
#include "tasks/deployment.h"

struct run_memory {
	struct deployment_sizes sizes;
	struct deployment_account account[MESH_MAX_DEVICES]; /* by stage · S + index */
	double workspaces; /* of all workers */
	double total;      /* of all devices and workers: what this host must hold */
	double available;  /* of this host */
	bool misfit;       /* it does not fit; the accounts are of kv.pages, or of one page where that is not given */
	int64_t pages_wanted; /* of a group's pool: what the sequences need when all that may run do */
};

/* KV pools are as large as the workload needs (the graph's limits where `requests` is NULL) and memory allows;
 * kv.pages decides where given. Errors: ERROR_INPUT where kv.pages, or not even one page, fit beside weights and slots;
 * the accounts are filled then too, for a dry run to print. */
int run_memory_plan(const struct graph *graph, const struct requests *requests, const struct topology *topology,
	int workers, struct run_memory *memory, struct error *error);

/* Whether a device of the machine that the graph names could not hold its part, and which: worth a warning on a run that
 * this host carries anyway. */
bool run_memory_exceeds(const struct graph *graph, const struct run_memory *memory, char *text, size_t size);

/* A table for people, or JSON. */
void run_memory_print(const struct graph *graph, const struct run_memory *memory, bool json);

#endif
