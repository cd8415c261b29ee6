/* SPDX-License-Identifier: Apache-2.0
 *
 * What each device of a resolved graph does, in closed form from the model and the mesh: parameters that it holds, and its
 * share of the work. Nothing is loaded for it. (How many bytes that takes, packed and with all buffers, tasks/deployment.h
 * measures.)
 *
 * Parameters, of a device with tensor rank t of T, expert group e, slice l, in a stage of S devices:
 *
 *   layers of its stage · (norms + q,k,v,o of its heads + router + its experts · 3 · hidden · its columns + its columns of
 *   the dense MLP or of the shared expert, of which a device has all where rows are sharded)
 *   + first stage: the whole embedding table
 *   + last stage: final norm, its vocabulary's part of the head, no table twice where they are tied
 *
 * KV pages of a group's pool, unless given: ceil(sequences / groups) · ceil(tokens a sequence / page_tokens). */
#ifndef OCTANT_ACCOUNTS_H
#define OCTANT_ACCOUNTS_H

#include "runtime/graph.h"

struct account {
	int device; /* its number in the description */
	double parameters;
	double limit;    /* bytes of the device's memory; 0: not limited one by one (logical devices) */
	double flops;    /* FLOPs a token of the whole batch, at `context`, head included, routing even */
	double context;  /* tokens before it: the workload's mean, else half the limit */
};

/* accounts: [graph->mesh.devices], in the order of mesh.part. */
void accounts_make(const struct graph *graph, struct account *accounts);

/* Pages of an attention group's pool: as given, or what the limits need. */
double accounts_pages(const struct graph *graph);

/* Largest over mean of some figures; 1 is balanced. */
double accounts_imbalance(const double *values, int count);

#endif
