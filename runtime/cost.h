/* SPDX-License-Identifier: Apache-2.0
 *
 * Seconds from FLOPs, bytes and a machine: the roofline of a device, and the α-β cost of what moves over links. The
 * plan, the predictions of StarPU's schedulers and the simulation's compute all go by these functions; what tasks
 * do (FLOPs, bytes, flows) is said in tasks/work.h and by each kind's file.
 *
 *   compute [s] = max(FLOPs / (peak [FLOP/s] · efficiency), bytes / (bandwidth [B/s] · efficiency)) + launch [s]
 *
 * The roofline model: Williams, Waterman, Patterson, CACM 52(4), 2009: a kernel that overlaps arithmetic and memory
 * traffic takes as long as the slower of the two. `launch` is what a task costs before its first FLOP.
 *
 *   collective [s] = max(links, bytes / (bandwidth · efficiency)) + launch
 *   links [s]      = steps · α + max over directed links (bytes on the link [B] / β [B/s])
 *
 * α is the largest latency of the routes that the flows take, β a link's bandwidth each way (Hockney, Parallel
 * Computing 20, 1994). Bytes on a link follow from the flows and their routes, so that a switch (each member's own port),
 * rings over direct links and the few network ports between two nodes are one formula: what is most loaded sets the time.
 * For a message of B bytes on each of n members over one switch of port bandwidth β:
 *
 *   all_reduce      a ring: reduce_scatter, then all_gather. Each port carries 2 (n−1)/n · B; 2 (n−1) steps:
 *                   2 (n−1) α + 2 (n−1)/n · B/β           (Patarasuk, Yuan, JPDC 69, 2009: no ring needs less)
 *   reduce_scatter  (n−1) α + (n−1)/n · B/β
 *   all_gather      (n−1) α + (n−1)/n · B/β               (B: all members' parts together)
 *   all_to_all      α + max over ports(bytes sent, bytes received)/β; even: (n−1)/n · B/β, B what a member has for all
 *   send            α + B/β
 *
 * Contention between two collectives, or with copies, is not in these formulas: the simulation has it. */
#ifndef OCTANT_COST_H
#define OCTANT_COST_H

#include "runtime/graph.h"
#include "runtime/routes.h"

struct flow { /* what a collective moves from one device to another, over all its steps */
	int from, to; /* device numbers */
	double bytes;
};

/* What a task's time consists of. */
struct cost {
	double flops_s, bytes_s, links_s, launch_s; /* seconds by each bound alone */
	double seconds; /* max(flops_s, bytes_s, links_s) + launch_s, > 0 */
};

/* A task on device number `device`: flops and bytes of its own; flows and steps where it moves data over links.
 * `routes` NULL, or no flows: no links. */
void cost_of(const struct graph_machine *machine, const struct routes *routes, int device, double flops, double bytes,
	const struct flow *flow, int flows, int steps, struct cost *cost);

/* The roofline alone. > 0. */
double cost_seconds(const struct graph_machine *machine, int device, double flops, double bytes);

/* The links alone. */
double cost_links_seconds(const struct routes *routes, const struct flow *flow, int flows, int steps);

/* Peak · efficiency of a device: FLOP/s, bytes/s. */
double cost_flops(const struct graph_machine *machine, int device);
double cost_bandwidth(const struct graph_machine *machine, int device);

#endif
