/* SPDX-License-Identifier: Apache-2.0
 *
 * What a resolved graph means, for a person and for programs: which device holds which parts, the chains with
 * their forms, memory and load by device, what the plan claims beside what is computed. */
#ifndef OCTANT_TOOLS_GRAPH_SHOW_H
#define OCTANT_TOOLS_GRAPH_SHOW_H

#include <stdio.h>
#include "runtime/accounts.h"
#include "runtime/graph.h"

/* One line: "mesh 2 stages × 2 devices (tensor 2, experts 2, expert_tensor 1), 8 parts on 4 devices". */
void graph_show_mesh(const struct graph *graph, FILE *file);

/* accounts: [graph->mesh.devices], as accounts_make gives them. */
void graph_show_text(const struct graph *graph, const struct account *accounts, FILE *file);
int graph_show_json(const struct graph *graph, const struct account *accounts, FILE *file, struct error *error);

#endif
