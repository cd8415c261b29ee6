/* SPDX-License-Identifier: Apache-2.0
 *
 * What each device of a resolved graph holds and does, in closed form from the model and the mesh: bytes of
 * its memory, and its share of the work. Nothing is loaded for it.
 *
 * Bytes, of a device with tensor rank t of T, expert group e, slice l, in a stage of S devices:
 *
 *   weights     = dtype · (layers of its stage · (norms + q,k,v,o of its heads + router
 *                 + its experts · 3 · hidden · its columns + its columns of the dense MLP or of the shared expert,
 *                 of which a device has all where rows are sharded)
 *                 + first stage: the whole embedding table + last stage: final norm, its vocabulary's part of the
 *                 head, no table twice where they are tied)
 *   kv          = layers of its stage · 2 · its KV heads · head_dim · kv dtype · page_tokens · pages;
 *                 pages, unless given, = ceil(sequences / groups) · ceil(tokens a sequence / page_tokens)
 *   activations = slots · R · (hidden · (2 · residual) + min(top_k, its experts) · hidden · (compute + residual))
 *                 with R the rows of the largest micro-batch: residual stream, addend, grouped rows in and out
 *   workspace   = the larger of attention's R · (its q, k, v) and the experts' grouped rows · 2 · its columns, both
 *                 in FP32, and for the last stage logits of all sequences
 */
#ifndef OCTANT_ACCOUNTS_H
#define OCTANT_ACCOUNTS_H

#include "runtime/graph.h"

struct account {
	int device; /* its number in the description */
	double parameters;
	double weights, kv, activations, workspace, total; /* bytes */
	double limit;    /* bytes of the device's memory; 0: not limited one by one (logical devices) */
	double flops;    /* FLOPs a token of the whole batch, at `context`, head included, routing even */
	double context;  /* tokens before it: the workload's mean, else half the limit */
};

/* accounts: [graph->mesh.devices], in the order of mesh.part. */
void accounts_make(const struct graph *graph, struct account *accounts);

/* Pages of an attention group's pool: as given, or what the limits need. */
double accounts_pages(const struct graph *graph);

/* Rows of the largest micro-batch that the schedule makes. */
int accounts_rows(const struct graph *graph);

/* Largest over mean of one figure over all devices; 1 is balanced. */
double accounts_imbalance(const struct account *accounts, int count, size_t offset);

#endif
