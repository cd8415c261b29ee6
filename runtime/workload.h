/* SPDX-License-Identifier: Apache-2.0
 *
 * A workload that is described, not read: how many sequences of which lengths. Plan and simulation take it from
 * here, so that one description is the same sequences everywhere. */
#ifndef OCTANT_WORKLOAD_H
#define OCTANT_WORKLOAD_H

#include "runtime/graph.h"

/* Uniform numbers, the same everywhere: splitmix64 (Steele, Lea, Flood, OOPSLA 2014). */
uint64_t workload_random(uint64_t *state);
double workload_uniform(uint64_t *state); /* [0, 1) */

/* prompt_tokens: [workload->sequences], each in [prompt_min, prompt_max], by the workload's seed. */
void workload_lengths(const struct graph_workload *workload, int *prompt_tokens);

#endif
