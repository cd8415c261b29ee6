/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine runs: CPU workers, each of which serves every logical device, compute. */
#include "runtime/engine_crew.h"
#include <stdlib.h>

struct engine_crew {
	uint32_t mask[ENGINE_MASK_WORDS]; /* all workers */
};

bool engine_simulates(void)
{
	return false;
}

int engine_simulate(const struct engine_simulation *simulation, int (*body)(void *context), void *context, int *status,
	struct error *error)
{
	(void) simulation, (void) body, (void) context, (void) status;
	return error_set(error, ERROR_RUN, NULL, "this program runs; octant-sim simulates");
}

int engine_crew_create(const struct engine_options *options, struct starpu_conf *conf, struct engine_crew **crew,
	struct error *error)
{
	conf->ncpus = options->workers > 0 ? options->workers : -1;
	conf->ncuda = 0;
	*crew = calloc(1, sizeof **crew);
	return *crew ? 0 : error_memory(error, "starting the engine");
}

void engine_crew_destroy(struct engine_crew *crew)
{
	free(crew);
}

void engine_crew_started(struct engine_crew *crew)
{
	for (unsigned w = 0; w < starpu_worker_get_count(); w++)
		if (starpu_worker_get_type((int) w) == STARPU_CPU_WORKER)
			crew->mask[w / 32] |= (uint32_t) 1 << w % 32;
}

uint32_t *engine_crew_mask(struct engine_crew *crew, const struct engine_call *call)
{
	(void) call;
	return crew->mask;
}

void engine_crew_codelet(struct starpu_codelet *codelet, starpu_cpu_func_t run)
{
	codelet->cpu_funcs[0] = run;
}

/* Both take the time that they take. */
void engine_crew_submits(const struct engine_crew *crew)
{
	(void) crew;
}

void engine_crew_takes(const struct engine_crew *crew)
{
	(void) crew;
}

int engine_crew_call(struct engine_crew *crew, struct engine_call *call, void *workspace, struct error *error)
{
	(void) crew;
	return call->type->run(call, workspace, error);
}
