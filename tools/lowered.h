/* SPDX-License-Identifier: Apache-2.0
 *
 * The chains of a resolved graph with what the lowering adds to them (gather_rows, norm, shared_expert), as a slot's
 * program has it: for people, who see then every task that runs. */
#ifndef OCTANT_TOOLS_LOWERED_H
#define OCTANT_TOOLS_LOWERED_H

#include "runtime/graph.h"

/* Steps as in the graph, those that it does not have marked `inserted`. An inserted step stands where its message has the
 * form that it takes. A chain that no layer has is as written. */
struct lowered {
	struct graph_chain before, layer, dense_layer, between_stages, after;
};

/* The lowered chains are only good as long as the graph is. */
int lowered_make(const struct graph *graph, struct lowered *lowered, struct error *error);

/* Why a step was inserted, as half a sentence. */
const char *lowered_why(const struct graph_step *step);

static inline const struct graph_chain *lowered_chain_of(
	const struct lowered *lowered, const struct graph *graph, int layer)
{
	return graph_chain_of(graph, layer) == &graph->layer ? &lowered->layer : &lowered->dense_layer;
}

#endif
