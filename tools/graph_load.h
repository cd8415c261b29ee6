/* SPDX-License-Identifier: Apache-2.0
 *
 * A graph as commands take it: by name, for a model and this machine. */
#ifndef OCTANT_TOOLS_GRAPH_LOAD_H
#define OCTANT_TOOLS_GRAPH_LOAD_H

#include "runtime/graph.h"

struct graph_load {
	const char *name;          /* a path, a graph that ships, "default" or NULL: the default one */
	const struct model *model; /* a checkpoint's in place of the card; NULL: the card */
	int cores;                 /* for the default graph; 0: this machine's */
	const struct graph_override *overrides;
	int override_count;
	struct graph_faults *faults; /* who wants every error (graph_check_all); NULL: the first one ends it */
};

/* Opens and resolves it. On a host, kernels calculate by default in what this processor multiplies, as a run's do. */
int graph_load(const struct graph_load *load, struct graph **graph, struct error *error);

#endif
