/* SPDX-License-Identifier: Apache-2.0
 *
 * Seconds from FLOPs, bytes and a machine: the roofline of a device and the α-β cost of a link.
 *
 *   compute:  max(FLOPs / (peak · efficiency), bytes / (bandwidth · efficiency)) + launch
 *   link:     steps · α + bytes / β      (α latency, β bandwidth of the slowest link; no contention)
 *
 * The roofline model: Williams, Waterman, Patterson, CACM 52(4), 2009. */
#ifndef OCTANT_COST_H
#define OCTANT_COST_H

#include "runtime/graph.h"

/* On device number `device` of the machine. > 0. */
double cost_seconds(const struct graph_machine *machine, int device, double flops, double bytes);

/* 0 where neither bytes nor steps are asked for. On a host machine a link is a copy in memory. */
double cost_link_seconds(const struct graph_machine *machine, double bytes, int steps);

#endif
