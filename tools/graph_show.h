/* SPDX-License-Identifier: Apache-2.0
 *
 * What a resolved graph means, for a person and for programs: which device holds which parts, the lowered chains with
 * their forms, memory and load by device, what the plan claims beside what is computed. */
#ifndef OCTANT_TOOLS_GRAPH_SHOW_H
#define OCTANT_TOOLS_GRAPH_SHOW_H

#include <stdio.h>
#include "runtime/accounts.h"
#include "runtime/graph.h"
#include "tasks/deployment.h"
#include "tools/lowered.h"

struct graph_shown { /* by stage · S + index */
	const struct graph *graph;
	struct lowered lowered;
	struct deployment_sizes sizes; /* with the KV pages that the limits need */
	struct account account[MESH_MAX_DEVICES];
	struct deployment_account memory[MESH_MAX_DEVICES]; /* what a run allocates */
	double total[MESH_MAX_DEVICES]; /* of its memory: with the workspace, but on a host, where workers have theirs */
	double memory_imbalance, load_imbalance;
	size_t workspace; /* of the neediest device */
};

/* One line: "mesh: 2 stages of 2 devices (tensor 2, experts 2, expert_tensor 1), 8 parts on 4 devices". */
void graph_show_mesh(const struct graph *graph, FILE *file);

/* The structure is large: not for the stack. */
int graph_show_make(const struct graph *graph, struct graph_shown *shown, struct error *error);

void graph_show_text(const struct graph_shown *shown, FILE *file);
int graph_show_json(const struct graph_shown *shown, FILE *file, struct error *error);

#endif
