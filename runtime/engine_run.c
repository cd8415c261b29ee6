/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine runs: CPU workers, each of which serves every logical device, compute. */
#define _GNU_SOURCE
#include "runtime/engine_crew.h"
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct engine_crew {
	uint32_t mask[ENGINE_MASK_WORDS]; /* all workers */
	char folder[PATH_MAX]; /* of StarPU's measurements while it starts; "": none */
	bool hidden;           /* STARPU_PERF_MODEL_DIR is this crew's */
};

/* At its start StarPU measures the buses between memories and leaves files about them in the user's home. Where there
 * is one memory they say nothing: a folder of its own takes them and is gone as soon as StarPU has started. A user who
 * names a place keeps it. Where no folder can be made, StarPU goes its own way. */
static void hide_files(struct engine_crew *crew)
{
	const char *base = getenv("TMPDIR");
	if (getenv("STARPU_HOME") || getenv("STARPU_PERF_MODEL_DIR"))
		return;
	int n = snprintf(crew->folder, sizeof crew->folder, "%s/octant-starpu-XXXXXX", base && *base ? base : "/tmp");
	if (n < 0 || (size_t) n >= sizeof crew->folder || !mkdtemp(crew->folder)) {
		crew->folder[0] = 0;
		return;
	}
	crew->hidden = !setenv("STARPU_PERF_MODEL_DIR", crew->folder, 1);
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *where)
{
	(void) status, (void) type, (void) where;
	remove(path);
	return 0;
}

static void remove_files(struct engine_crew *crew)
{
	if (crew->folder[0])
		nftw(crew->folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	crew->folder[0] = 0;
}

const char *engine_simulator(void)
{
	return "";
}

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
	if (!*crew)
		return error_memory(error, "starting the engine");
	hide_files(*crew);
	return 0;
}

void engine_crew_destroy(struct engine_crew *crew)
{
	if (!crew)
		return;
	remove_files(crew);
	if (crew->hidden)
		unsetenv("STARPU_PERF_MODEL_DIR"); /* here, and not sooner: no worker reads the environment any more */
	free(crew);
}

void engine_crew_started(struct engine_crew *crew)
{
	remove_files(crew);
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
