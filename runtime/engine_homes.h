/* SPDX-License-Identifier: Apache-2.0
 *
 * The default scheduling policy, `homes`: a heap of ready tasks for each set of workers (the home that a
 * task's workerids mask names). A worker takes the task of highest priority among the homes it belongs to,
 * the oldest first. No prediction and no prefetch: it is for tasks whose place is decided by the graph. */
#ifndef OCTANT_ENGINE_HOMES_H
#define OCTANT_ENGINE_HOMES_H

#include <starpu.h>

extern struct starpu_sched_policy engine_homes_policy;

/* For so long a worker that has nothing to do looks on before it sleeps, seconds; while StarPU runs. */
double engine_homes_awake_s(void);

#endif
