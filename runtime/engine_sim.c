/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine simulates: a simulated GPU for each device and, for each set of devices that collectives join, workers of
 * its own (communication engines); or the CPU workers of a host.
 *
 * The way in: libstarpu has a `main` that starts SimGrid, reads the platform that the environment names and calls
 * `starpu_main` as a simulated thread. The program's own main hides it, so that arguments and graphs are read, and found
 * wrong, before SimGrid exists; engine_simulate then calls it by its place behind the program's. */
#define _GNU_SOURCE /* RTLD_NEXT, nftw */
#include <dlfcn.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/engine_crew.h"
#include "runtime/flows.h"
#include "runtime/platform.h"

struct engine_crew {
	uint32_t all[ENGINE_MASK_WORDS];
	uint32_t device[ENGINE_SIMULATED_DEVICES][ENGINE_MASK_WORDS]; /* by CUDA number */
	uint32_t (*set)[ENGINE_MASK_WORDS]; /* [sets] */
	double ended[STARPU_NMAXWORKERS];   /* when a host's worker ended its last call */
};

/* One simulation a process, which starpu_main must find. */
static struct {
	const struct engine_simulation *asked;
	int (*body)(void *context);
	void *context;
	char directory[3072]; /* of the platform's files; "": none */
	int status;
	bool ran;
} present;

bool engine_simulates(void)
{
	return true;
}

const char *engine_simulator(void)
{
	static char text[64];
	snprintf(text, sizeof text, ", SimGrid %s", flows_version());
	return text;
}

/* ---- into the simulation */

/* Called by libstarpu's main, as a simulated thread. Its name is StarPU's. */
int starpu_main(int argc, char **argv);
int starpu_main(int argc, char **argv)
{
	(void) argc, (void) argv;
	present.ran = true;
	present.status = present.body(present.context);
	return 0;
}

static int remove_one(const char *path, const struct stat *status, int flag, struct FTW *place)
{
	(void) status, (void) flag, (void) place;
	return remove(path);
}

/* As soon as StarPU has read them, so that a simulation that is interrupted leaves nothing behind. */
static void remove_files(void)
{
	if (*present.directory)
		nftw(present.directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	*present.directory = 0;
}

/* Communication engines, or the workers of a host. */
static int cpu_workers(const struct engine_simulation *s)
{
	return s->machine->host ? s->workers : s->sets * s->channels;
}

static int check(const struct engine_simulation *s, struct error *error)
{
	int devices = __builtin_popcountll(s->devices);
	if (present.ran)
		return error_set(error, ERROR_RUN, NULL, "a process simulates once");
	if (s->machine->host)
		return 0;
	if (devices > ENGINE_SIMULATED_DEVICES)
		return error_set(error, ERROR_INPUT, "machine.devices", "the mesh uses %d devices; at most %d can be simulated",
			devices, ENGINE_SIMULATED_DEVICES);
	if (cpu_workers(s) + devices > STARPU_MAXCPUS)
		return error_set(error, ERROR_INPUT, "machine.devices", "%d sets of devices communicate over %d channels each; "
			"at most %d channels and devices together can be simulated", s->sets, s->channels, STARPU_MAXCPUS);
	return 0;
}

/* The user's settings of what the machine is do not count, as the graph says it; of what StarPU itself costs (10 µs
 * for queueing a task, and so on) they do, and by default it costs nothing: the cost model charges a launch. */
static int set_environment(const char *directory, struct error *error)
{
	static const char *const costs[] = { "STARPU_SIMGRID_CUDA_MALLOC_COST", "STARPU_SIMGRID_CUDA_QUEUE_COST",
		"STARPU_SIMGRID_TASK_SUBMIT_COST", "STARPU_SIMGRID_TASK_PUSH_COST", "STARPU_SIMGRID_FETCHING_INPUT_COST",
		"STARPU_SIMGRID_SCHED_COST" };
	static const char *const machine[] = { "STARPU_NCPU", "STARPU_NCPUS", "STARPU_NCUDA", "STARPU_NOPENCL",
		"STARPU_WORKERS_CPUID", "STARPU_WORKERS_CUDAID", "STARPU_RESERVE_NCPU", "STARPU_LIMIT_BANDWIDTH" };
	int bad = setenv("STARPU_PERF_MODEL_DIR", directory, 1) | setenv("STARPU_HOME", directory, 1)
		| setenv("STARPU_HOSTNAME", PLATFORM_NAME, 1)
		| setenv("STARPU_CUDA_PIPELINE", "0", 1) /* a task runs when it is taken */
		| setenv("STARPU_SILENT", "1", 0);
	for (size_t i = 0; i < sizeof costs / sizeof *costs; i++)
		bad |= setenv(costs[i], "0", 0);
	for (size_t i = 0; i < sizeof machine / sizeof *machine; i++)
		unsetenv(machine[i]);
	return bad ? error_memory(error, "starting the simulation") : 0;
}

static int enter(struct error *error)
{
	/* equal shares of a link, no model of TCP, and silence */
	char *arguments[] = { "octant-sim", "--log=root.thresh:critical", "--cfg=network/crosstraffic:0",
		"--cfg=network/bandwidth-factor:1", "--cfg=network/latency-factor:1", "--cfg=network/weight-S:0",
		"--cfg=network/TCP-gamma:0", NULL };
	int count = (int) (sizeof arguments / sizeof *arguments) - 1;
	int (*start)(int argc, char **argv);
	*(void **) &start = dlsym(RTLD_NEXT, "main");
	if (!start)
		return error_set(error, ERROR_RUN, NULL, "this StarPU has no simulation to start");
	start(count, arguments);
	if (!present.ran)
		return error_set(error, ERROR_RUN, NULL, "SimGrid did not start the simulation");
	return 0;
}

int engine_simulate(const struct engine_simulation *simulation, int (*body)(void *context), void *context, int *status,
	struct error *error)
{
	const char *temporary = getenv("TMPDIR");
	char *directory = present.directory;
	int code = check(simulation, error);
	if (code)
		return code;
	snprintf(directory, sizeof present.directory, "%s/octant-sim-XXXXXX", temporary && *temporary ? temporary : "/tmp");
	if (!mkdtemp(directory)) {
		code = error_set(error, ERROR_RUN, directory, "cannot be made: %s", strerror(errno));
		*directory = 0;
		return code;
	}
	struct platform platform = { simulation->machine, simulation->machine->host ? 0 : simulation->devices,
		cpu_workers(simulation) };
	code = platform_write(&platform, directory, error);
	if (!code)
		code = set_environment(directory, error);
	if (!code) {
		present.asked = simulation;
		present.body = body;
		present.context = context;
		code = enter(error);
		*status = present.status;
	}
	remove_files();
	return code;
}

/* ---- workers */

int engine_crew_create(const struct engine_options *options, struct starpu_conf *conf, struct engine_crew **out,
	struct error *error)
{
	const struct engine_simulation *s = present.asked;
	(void) options;
	if (!s)
		return error_set(error, ERROR_RUN, NULL, "this program only simulates (octant simulate); octant runs");
	struct engine_crew *crew = calloc(1, sizeof *crew);
	if (crew)
		crew->set = calloc((size_t) s->sets + 1, sizeof *crew->set);
	if (!crew || !crew->set) {
		free(crew);
		return error_memory(error, "starting the engine");
	}
	flows_start();
	conf->precedence_over_environment_variables = 1;
	conf->ncpus = cpu_workers(s);
	conf->ncuda = s->machine->host ? 0 : __builtin_popcountll(s->devices);
	*out = crew;
	return 0;
}

void engine_crew_destroy(struct engine_crew *crew)
{
	if (crew)
		free(crew->set);
	free(crew);
}

static void add(uint32_t *mask, int worker)
{
	mask[worker / 32] |= (uint32_t) 1 << worker % 32;
}

void engine_crew_started(struct engine_crew *crew)
{
	const struct engine_simulation *s = present.asked;
	int cpus = 0;
	remove_files();
	for (int w = 0; w < (int) starpu_worker_get_count(); w++) {
		add(crew->all, w);
		if (starpu_worker_get_type(w) == STARPU_CUDA_WORKER)
			add(crew->device[starpu_worker_get_devid(w)], w);
		else if (!s->machine->host)
			add(crew->set[cpus++ / s->channels], w);
	}
}

uint32_t *engine_crew_mask(struct engine_crew *crew, const struct engine_call *call)
{
	const struct engine_simulation *s = present.asked;
	if (s->machine->host)
		return crew->all;
	for (int i = 0; engine_call_moves(call) && i < s->sets; i++)
		if (s->set[i] == call->devices)
			return crew->set[i];
	/* computes, on the first of its devices */
	return crew->device[platform_index(s->devices, __builtin_ctzll(call->devices))];
}

/* No buffer is ever fetched: each stays where its device is, and what moves between devices is a collective's to say. */
void engine_crew_codelet(struct starpu_codelet *codelet, starpu_cpu_func_t run)
{
	static int nowhere[MESH_MAX_DEVICES * 8];
	for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++)
		nowhere[i] = STARPU_SPECIFIC_NODE_NONE;
	codelet->cpu_funcs[0] = run;
	codelet->cuda_funcs[0] = run;
	codelet->flags = STARPU_CODELET_SIMGRID_EXECUTE; /* `run` is called, and what passes meanwhile is its duration */
	codelet->specific_nodes = 1;
	codelet->dyn_nodes = nowhere;
}

/* ---- a call */

void engine_crew_submits(const struct engine_crew *crew)
{
	(void) crew;
	flows_sleep(present.asked->submit_s);
}

void engine_crew_takes(const struct engine_crew *crew)
{
	const struct engine_simulation *s = present.asked;
	double waited = flows_now() - crew->ended[starpu_worker_get_id()];
	flows_sleep(!s->machine->host || waited <= 0 ? s->task_s : waited <= s->awake_s ? s->hop_s : s->wake_s);
}

int engine_crew_call(struct engine_crew *crew, struct engine_call *call, void *workspace, struct error *error)
{
	const struct engine_simulation *s = present.asked;
	struct engine_passage passage;
	struct gpu_flow flow[ENGINE_MAX_FLOWS];
	double start = starpu_timing_now();
	int n = 0;
	(void) workspace;
	s->pass(call, &passage);
	if (s->machine->host) {
		flows_compute(passage.least_s, passage.busy_s, s->workers);
		crew->ended[starpu_worker_get_id()] = flows_now();
		return 0;
	}
	flows_sleep(passage.before_s);
	for (int i = 0; i < passage.flows; i++)
		if (passage.flow[i].bytes > 0)
			flow[n++] = (struct gpu_flow){ platform_index(s->devices, passage.flow[i].from),
				platform_index(s->devices, passage.flow[i].to), passage.flow[i].bytes };
	if (n && flows_run(flow, n))
		return error_set(error, ERROR_INPUT, "machine.links", "devices of a collective are not connected");
	flows_sleep(passage.least_s - (starpu_timing_now() - start) * 1e-6);
	return 0;
}
