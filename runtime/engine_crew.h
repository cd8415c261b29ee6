/* SPDX-License-Identifier: Apache-2.0
 *
 * What differs between running and simulating, behind the engine: which workers there are, which of them may serve a
 * call, and what a worker does with one. engine_run.c and engine_sim.c are the two; a program links one of them,
 * compiled for the StarPU that it links.
 *
 *               workers                                     a call
 *   engine_run  CPU workers, all serve every device         its behaviour computes
 *   engine_sim  a simulated GPU a device; engines that      time passes: what the cost model says, and as long as
 *               serve the collectives of a set of devices   flows need on the links that others use too */
#ifndef OCTANT_ENGINE_CREW_H
#define OCTANT_ENGINE_CREW_H

#include <starpu.h>
#include "runtime/engine.h"

#define ENGINE_MASK_WORDS ((STARPU_NMAXWORKERS + 31) / 32)

struct engine_crew;

/* Before starpu_init: how many workers of which kind. Errors: ERROR_MEMORY; ERROR_RUN where this program only
 * simulates and no simulation goes on. */
int engine_crew_create(const struct engine_options *options, struct starpu_conf *conf, struct engine_crew **crew,
	struct error *error);
void engine_crew_destroy(struct engine_crew *crew); /* accepts NULL */

/* After starpu_init. */
void engine_crew_started(struct engine_crew *crew);

/* The workers that may serve the call: [ENGINE_MASK_WORDS], which stays as long as the crew. */
uint32_t *engine_crew_mask(struct engine_crew *crew, const struct engine_call *call);

/* Lets workers run `run` for tasks of this codelet. */
void engine_crew_codelet(struct starpu_codelet *codelet, starpu_cpu_func_t run);

/* What a submission costs the submitter, and what taking a call costs the worker, where that must be said. */
void engine_crew_submits(const struct engine_crew *crew);
void engine_crew_takes(const struct engine_crew *crew);

/* What the worker does. Returns the behaviour's code. */
int engine_crew_call(struct engine_crew *crew, struct engine_call *call, void *workspace, struct error *error);

#endif
