/* SPDX-License-Identifier: Apache-2.0
 *
 * The lowered chain of one micro-batch across the devices, as a picture (SVG).
 *
 *   stage 0   device 0  [embed]→ ┌[attention]→┌──────┐→[route]→┌──────┐→[experts]→ … ┐ ×8 ─┐
 *             device 1  [embed]→ └[attention]→└──────┘→[route]→└──────┘→[experts]→ … ┘     │ send
 *   ┌──────────────────────────────────────────────────────────────────────────────────────┘
 *   stage 1 └→ …
 *
 * Lanes are devices, grouped by stage; columns are tasks, inserted ones dashed; a layer's chain is drawn once for each
 * run of layers that repeat it, in their order; collectives span their members' lanes; arrows between steps carry the message's form. */
#ifndef OCTANT_TOOLS_DRAW_H
#define OCTANT_TOOLS_DRAW_H

#include <stdio.h>
#include "runtime/graph.h"
#include "tools/lowered.h"

void draw_graph(const struct graph *graph, const struct lowered *lowered, FILE *file);

#endif
