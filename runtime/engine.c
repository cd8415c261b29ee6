/* SPDX-License-Identifier: Apache-2.0
 *
 * StarPU as Octant uses it.
 *
 * Life of a call: engine_submit makes one StarPU task of it and of those linked behind it (handles, mask of workers,
 * priority) and, where one is ordered, declares what must have ended before. A worker runs run_task, which calls each
 * behaviour and keeps its record. forget_task makes the task unnameable; task_ended counts `pending` down.
 *
 * Locks: `mutex` guards the tasks in flight of ordered calls, the failure and the waiting submitter; it is
 * taken once a submission of an ordered call, once at the end of one, and at the end of a micro-batch. */
#include "runtime/engine.h"
#include "runtime/engine_homes.h"
#include "runtime/record_log.h"
#include "runtime/watchdog.h"
#include "runtime/engine_crew.h"
#include <errno.h>
#include <inttypes.h>
#include <starpu.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


struct worker { /* touched by its own thread, but for `now_running` */
	void *workspace;
	struct record_log records;
	struct engine_call *now_running;
} __attribute__((aligned(64)));

struct engine {
	char policy[32];
	bool record;
	FILE *tasks;
	double start; /* µs, StarPU's clock */
	int workers;
	struct worker worker[STARPU_NMAXWORKERS];
	size_t workspace_bytes;
	struct engine_crew *crew;

	struct starpu_codelet codelet[ENGINE_MAX_TYPES];
	struct starpu_perfmodel model[ENGINE_MAX_TYPES];
	const struct engine_type *type[ENGINE_MAX_TYPES];
	int types;

	starpu_pthread_mutex_t mutex;
	starpu_pthread_cond_t ended;
	int failed; /* read without the mutex */
	struct error failure;

	const struct arena *guarded; /* engine_guard */
	int guarded_count;

	long submitted, finished; /* tasks */
	struct watchdog *watchdog; /* NULL: none */
};

struct engine_buffer {
	starpu_data_handle_t handle;
	char name[48];
};

double engine_now(const struct engine *engine)
{
	return (starpu_timing_now() - engine->start) * 1e-6;
}

int engine_workers(const struct engine *engine)
{
	return engine->workers;
}

const char *engine_policy(const struct engine *engine)
{
	return engine->policy;
}

double engine_awake_s(const struct engine *engine)
{
	return strcmp(engine->policy, engine_homes_policy.policy_name) ? 0 : engine_homes_awake_s();
}

const char *engine_version(void)
{
	static char text[64];
	int major, minor, release;
	starpu_get_version(&major, &minor, &release);
	snprintf(text, sizeof text, "StarPU %d.%d.%d", major, minor, release);
	return text;
}

/* ---- running a call */

static void describe_call(const struct engine_call *call, char *text, size_t size)
{
	int n = snprintf(text, size, "%s", call->type->name);
	if (call->layer >= 0 && n > 0 && (size_t) n < size)
		n += snprintf(text + n, size - (size_t) n, ", layer %d", call->layer);
	if (n > 0 && (size_t) n < size)
		n += snprintf(text + n, size - (size_t) n, ", device%s",
			call->devices & (call->devices - 1) ? "s" : "");
	for (int d = 0; d < 64 && n > 0 && (size_t) n < size; d++)
		if (call->devices >> d & 1)
			n += snprintf(text + n, size - (size_t) n, " %d", d);
	if (n > 0 && (size_t) n < size)
		snprintf(text + n, size - (size_t) n, ", micro-batch %" PRIu64, call->micro_batch);
}

static void keep_record(struct worker *worker, int index, const struct engine_call *call, double begin, double end)
{
	record_log_add(&worker->records, &(struct task_record){
		.kind = (uint32_t) call->type->kind,
		.collective = engine_call_moves(call),
		.devices = call->share ? call->share : call->devices,
		.worker = (int16_t) index,
		.layer = (int16_t) call->layer,
		.micro_batch = (int64_t) call->micro_batch,
		.phase = (uint8_t) call->phase,
		.start_s = begin,
		.end_s = end,
	});
}

static void guard(const struct engine *engine, const struct engine_call *call, bool only_own)
{
	for (int i = 0; i < engine->guarded_count; i++)
		if (!(call->devices >> engine->guarded[i].device & 1))
			arena_protect(&engine->guarded[i], !only_own);
}

static void run_call(struct engine *engine, struct engine_call *call, int index)
{
	struct worker *worker = &engine->worker[index];
	__atomic_store_n(&worker->now_running, call, __ATOMIC_RELAXED);
	if (engine->guarded_count)
		guard(engine, call, true);
	struct error error = { 0 };
	double begin = engine_now(engine);
	int code = engine_crew_call(engine->crew, call, worker->workspace, &error);
	double end = engine_now(engine);
	if (engine->guarded_count)
		guard(engine, call, false);
	if (engine->record)
		keep_record(worker, index, call, begin, end);
	__atomic_store_n(&worker->now_running, NULL, __ATOMIC_RELAXED);
	if (code) {
		if (!error.code)
			error_set(&error, code, NULL, "the task failed");
		if (!error.where[0])
			describe_call(call, error.where, sizeof error.where);
		engine_fail(engine, &error);
	}
}

static void run_task(void *buffers[], void *arg)
{
	struct engine_call *call = arg;
	struct engine *engine = call->engine;
	int index = starpu_worker_get_id();
	(void) buffers;
	if (!__atomic_load_n(&engine->failed, __ATOMIC_ACQUIRE))
		engine_crew_takes(engine->crew);
	for (; call && !__atomic_load_n(&engine->failed, __ATOMIC_ACQUIRE); call = call->next)
		run_call(engine, call, index);
}

static bool is_ordered(const struct engine_call *call)
{
	while (call && !call->ordered)
		call = call->next;
	return call != NULL;
}

/* StarPU's epilogue, when the behaviour has run and before dependents are told. From here on nobody can name the
 * task, and nobody needs to. Doing this in the callback instead would be too late: StarPU 1.4.10 tells a dependent
 * twice that is declared while it is telling the others (_starpu_notify_cg_list). */
static void forget_task(void *arg)
{
	struct engine *engine = ((struct engine_call *) arg)->engine;
	STARPU_PTHREAD_MUTEX_LOCK(&engine->mutex);
	for (struct engine_call *call = arg; call; call = call->next)
		call->task = NULL;
	STARPU_PTHREAD_MUTEX_UNLOCK(&engine->mutex);
}

/* StarPU's callback, when dependents have been told and before the task is freed. */
static void task_ended(void *arg)
{
	struct engine_call *call = arg;
	struct engine *engine = call->engine;
	int *pending = call->pending;
	if (is_ordered(call))
		starpu_task_destroy(starpu_task_get_current()); /* marks it: StarPU frees it afterwards */
	__atomic_add_fetch(&engine->finished, 1, __ATOMIC_RELAXED);
	/* after this line its calls may be submitted again */
	if (__atomic_sub_fetch(pending, 1, __ATOMIC_ACQ_REL) == 0) {
		STARPU_PTHREAD_MUTEX_LOCK(&engine->mutex);
		STARPU_PTHREAD_COND_BROADCAST(&engine->ended);
		STARPU_PTHREAD_MUTEX_UNLOCK(&engine->mutex);
	}
}

static double task_cost(struct starpu_task *task, struct starpu_perfmodel_arch *arch, unsigned nimpl)
{
	(void) arch, (void) nimpl;
	double microseconds = 0;
	for (const struct engine_call *call = task->cl_arg; call; call = call->next)
		microseconds += call->type->cost ? call->type->cost(call) * 1e6 : 1;
	/* zero or NaN would end the process in simulation and mislead schedulers here */
	return microseconds > 0.01 ? microseconds : 0.01;
}

/* ---- starting and stopping */

#define POLICIES "choose homes, eager, prio, ws, lws, dm, dmda or dmdas"
#define HETEROPRIO "heteroprio cannot be used: it looks only at the head of a bucket, so that tasks bound to the workers of " \
	"a device wait for ever; " POLICIES

static int choose_policy(const char *name, struct starpu_conf *conf, struct error *error)
{
	if (!strcmp(name, "homes")) {
		conf->sched_policy = &engine_homes_policy;
		return 0;
	}
	if (!strcmp(name, "heteroprio"))
		return error_set(error, ERROR_INPUT, "schedule.policy", HETEROPRIO);
	for (struct starpu_sched_policy **p = starpu_sched_get_predefined_policies(); *p; p++)
		if (!strcmp((*p)->policy_name, name)) {
			conf->sched_policy_name = (*p)->policy_name;
			return 0;
		}
	return error_set(error, ERROR_INPUT, "schedule.policy", "StarPU has no policy \"%s\"; " POLICIES, name);
}

/* STARPU_SCHED, STARPU_NCPU and their like may have had the last word: what is in effect counts. */
static int check_started(struct engine *engine, struct error *error)
{
	const struct starpu_sched_policy *policy = starpu_sched_get_sched_policy();
	snprintf(engine->policy, sizeof engine->policy, "%s", policy && policy->policy_name ? policy->policy_name : "?");
	if (!strcmp(engine->policy, "heteroprio"))
		return error_set(error, ERROR_INPUT, "STARPU_SCHED", HETEROPRIO);
	if (engine->workers < 1)
		return error_set(error, ERROR_RUN, NULL, "StarPU has no CPU worker; is STARPU_NCPU set to 0?");
	return 0;
}

static long calls_ended(void *context, bool *idle)
{
	struct engine *engine = context;
	long finished = __atomic_load_n(&engine->finished, __ATOMIC_RELAXED);
	*idle = finished == __atomic_load_n(&engine->submitted, __ATOMIC_RELAXED);
	return finished;
}

static void report_standstill(void *context, double seconds)
{
	struct engine *engine = context;
	fprintf(stderr, "octant: no task has ended for %.0f s: %ld submitted, %ld ended, %d ready\n", seconds,
		__atomic_load_n(&engine->submitted, __ATOMIC_RELAXED),
		__atomic_load_n(&engine->finished, __ATOMIC_RELAXED), starpu_task_nready());
	for (int w = 0; w < engine->workers; w++) {
		struct engine_call *call = __atomic_load_n(&engine->worker[w].now_running, __ATOMIC_RELAXED);
		char text[512] = "nothing";
		if (call)
			describe_call(call, text, sizeof text);
		fprintf(stderr, "octant: worker %d runs %s\n", w, text);
	}
}

int engine_start(const struct engine_options *options, struct engine **out, struct error *error)
{
	struct engine *engine = NULL;
	if (posix_memalign((void **) &engine, 64, sizeof *engine))
		return error_memory(error, "starting the engine");
	memset(engine, 0, sizeof *engine);
	engine->record = options->record;
	engine->tasks = options->tasks;
	STARPU_PTHREAD_MUTEX_INIT(&engine->mutex, NULL);
	STARPU_PTHREAD_COND_INIT(&engine->ended, NULL);

	/* A user's own STARPU_* settings win. Without them: no trace files in /tmp and no chatter. */
	setenv("STARPU_FXT_TRACE", "0", 0);
	setenv("STARPU_SILENT", "1", 0);

	struct starpu_conf conf;
	starpu_conf_init(&conf);
	conf.nopencl = 0;
	conf.catch_signals = 0; /* Ctrl-C is the program's: it drains */
	conf.calibrate = 0;
	conf.bus_calibrate = 0;
	const char *policy = options->policy ? options->policy : "homes";
	int code = choose_policy(policy, &conf, error);
	if (!code)
		code = engine_crew_create(options, &conf, &engine->crew, error);
	if (code)
		goto fail;
	code = starpu_init(&conf);
	if (code) {
		code = error_set(error, ERROR_RUN, NULL, "StarPU did not start: %s", strerror(-code));
		goto fail;
	}
	engine->start = starpu_timing_now();
	engine->workers = (int) starpu_worker_get_count();
	code = check_started(engine, error);
	if (code) {
		starpu_shutdown();
		goto fail;
	}
	engine_crew_started(engine->crew);
	if (options->watchdog_s > 0 && !engine_simulates()) { /* virtual time has no use for it */
		struct watchdog_subject subject = { calls_ended, report_standstill, engine };
		code = watchdog_start(options->watchdog_s, &subject, &engine->watchdog, error);
		if (code) {
			starpu_shutdown();
			goto fail;
		}
	}
	*out = engine;
	return 0;
fail:
	engine_crew_destroy(engine->crew);
	free(engine);
	return code;
}

void engine_stop(struct engine *engine)
{
	if (!engine)
		return;
	starpu_task_wait_for_all();
	watchdog_stop(engine->watchdog);
	starpu_shutdown();
	for (int w = 0; w < engine->workers; w++) {
		record_log_move(&engine->worker[w].records, NULL);
		free(engine->worker[w].workspace);
	}
	STARPU_PTHREAD_MUTEX_DESTROY(&engine->mutex);
	STARPU_PTHREAD_COND_DESTROY(&engine->ended);
	engine_crew_destroy(engine->crew);
	free(engine);
}

int engine_reserve(struct engine *engine, size_t bytes, struct error *error)
{
	if (bytes <= engine->workspace_bytes)
		return 0;
	for (int w = 0; w < engine->workers; w++) {
		void *workspace = NULL;
		if (posix_memalign(&workspace, 4096, bytes))
			return error_memory(error, "reserving the workers' workspaces");
		arena_touch(workspace, bytes);
		free(engine->worker[w].workspace);
		engine->worker[w].workspace = workspace;
	}
	engine->workspace_bytes = bytes;
	return 0;
}

int engine_guard(struct engine *engine, const struct arena *arenas, int count, struct error *error)
{
	if (arenas && engine->workers != 1)
		return error_set(error, ERROR_INPUT, NULL, "guarding devices' memory needs one worker, here are %d; add "
			"--workers 1", engine->workers);
	engine->guarded = arenas;
	engine->guarded_count = arenas ? count : 0;
	return 0;
}

/* ---- buffers */

int engine_buffer_create(struct engine *engine, void *memory, size_t bytes, bool constant, const char *name,
	struct engine_buffer **out, struct error *error)
{
	(void) engine;
	struct engine_buffer *buffer = calloc(1, sizeof *buffer);
	if (!buffer)
		return error_memory(error, "registering a buffer");
	starpu_variable_data_register(&buffer->handle, STARPU_MAIN_RAM, (uintptr_t) memory, bytes ? bytes : 1);
	if (!buffer->handle) {
		free(buffer);
		return error_set(error, ERROR_RUN, name, "StarPU did not register the buffer");
	}
	/* Readers that no writer ever follows would be kept for ever otherwise, 32 bytes each. */
	if (constant)
		starpu_data_set_sequential_consistency_flag(buffer->handle, 0);
	snprintf(buffer->name, sizeof buffer->name, "%s", name);
	starpu_data_set_name(buffer->handle, buffer->name);
	*out = buffer;
	return 0;
}

void engine_buffer_destroy(struct engine_buffer *buffer)
{
	if (!buffer)
		return;
	starpu_data_unregister(buffer->handle);
	free(buffer);
}

/* ---- submitting and waiting */

static const struct engine_type several_type = { .name = "several" }; /* of a task of several calls, for StarPU */

/* Several types may have one kind (a dispatch that sends and one that does not), so a type is found by its
 * address, among some fifteen. */
static struct starpu_codelet *codelet_of(struct engine *engine, const struct engine_type *type)
{
	int i = 0;
	while (i < engine->types && engine->type[i] != type)
		i++;
	if (i < engine->types)
		return &engine->codelet[i];
	if (i == ENGINE_MAX_TYPES)
		return NULL;
	starpu_codelet_init(&engine->codelet[i]);
	engine_crew_codelet(&engine->codelet[i], run_task);
	engine->codelet[i].nbuffers = STARPU_VARIABLE_NBUFFERS;
	engine->codelet[i].name = type->name;
	engine->codelet[i].model = &engine->model[i];
	engine->model[i] = (struct starpu_perfmodel){
		.type = STARPU_PER_ARCH, .symbol = type->name, .arch_cost_function = task_cost };
	engine->type[i] = type;
	engine->types++;
	return &engine->codelet[i];
}

static enum starpu_data_access_mode mode_of(uint8_t mode)
{
	return mode == ENGINE_READ ? STARPU_R : mode == ENGINE_WRITE ? STARPU_W : STARPU_RW;
}

static struct engine_uses uses_of(const struct engine_call *call)
{
	return call->uses ? *call->uses : (struct engine_uses){ call->buffers, call->buffer, call->mode };
}

static int set_buffers(struct starpu_task *task, const struct engine_uses *uses, struct error *error)
{
	task->nbuffers = uses->count;
	if (uses->count > STARPU_NMAXBUFS) { /* StarPU frees both with the task */
		task->dyn_handles = calloc((size_t) uses->count, sizeof *task->dyn_handles);
		task->dyn_modes = calloc((size_t) uses->count, sizeof *task->dyn_modes);
		if (!task->dyn_handles || !task->dyn_modes)
			return error_memory(error, "submitting a task");
	}
	for (int i = 0; i < uses->count; i++) {
		STARPU_TASK_SET_HANDLE(task, uses->buffer[i]->handle, i);
		STARPU_TASK_SET_MODE(task, mode_of(uses->mode[i]), i);
	}
	return 0;
}

/* Under the mutex, so that what is named is in flight and not freed meanwhile. Calls of one task name it once. */
static void declare_after(struct starpu_task *task, struct engine_call *const *after, int count)
{
	for (int i = 0; i < count; i++) {
		int same = 0;
		while (same < i && after[same]->task != after[i]->task)
			same++;
		if (after[i]->task && same == i)
			starpu_task_declare_deps_array(task, 1, &after[i]->task);
	}
}

/* attention, layer 3, device 0, micro-batch 7: decode, priority 21; x, slot 3, device 0: r; …; after micro-batch 5
 * Of several calls: route, layer 3, …, micro-batch 7 + dispatch, layer 3, …: decode, … */
static void print_task(FILE *f, const struct engine_call *call, struct engine_call *const *after, int after_count)
{
	static const char *const phases[] = { "prefill", "decode", "mixed" }, *const modes[] = { "", "r", "w", "rw" };
	const struct engine_uses uses = uses_of(call);
	for (const struct engine_call *c = call; c; c = c->next) {
		char text[512];
		describe_call(c, text, sizeof text);
		fprintf(f, "%s%s", c == call ? "" : " + ", text);
	}
	fprintf(f, ": %s, priority %d", phases[call->phase], call->priority);
	for (int i = 0; i < uses.count; i++)
		fprintf(f, "; %s: %s", uses.buffer[i]->name, modes[uses.mode[i]]);
	for (int i = 0; i < after_count; i++)
		fprintf(f, "; after micro-batch %" PRIu64, after[i]->micro_batch);
	fputc('\n', f);
}

int engine_submit(struct engine *engine, struct engine_call *call, struct engine_call *const *after, int after_count,
	struct error *error)
{
	struct starpu_task *task = starpu_task_create();
	if (!task)
		return error_memory(error, "submitting a task");
	const struct engine_uses uses = uses_of(call);
	bool ordered = is_ordered(call);
	for (struct engine_call *c = call; c; c = c->next)
		c->engine = engine;
	if (engine->tasks)
		print_task(engine->tasks, call, after, after_count);
	/* before the modes, whose place depends on it */
	task->cl = codelet_of(engine, call->next ? &several_type : call->type);
	int code = task->cl ? set_buffers(task, &uses, error)
			    : error_set(error, ERROR_RUN, call->type->name, "more than %d types of task",
				      ENGINE_MAX_TYPES);
	if (code) {
		starpu_task_destroy(task);
		return code;
	}
	task->cl_arg = call;
	task->priority = call->priority;
	task->workerids = engine_crew_mask(engine->crew, call);
	task->workerids_len = ENGINE_MASK_WORDS;
	task->callback_func = task_ended;
	task->callback_arg = call;
	if (ordered) {
		task->destroy = 0; /* else it could not be named once submitted; task_ended frees it */
		task->epilogue_callback_func = forget_task;
		task->epilogue_callback_arg = call;
	}
	if (ordered || after_count) {
		STARPU_PTHREAD_MUTEX_LOCK(&engine->mutex);
		declare_after(task, after, after_count);
		for (struct engine_call *c = call; ordered && c; c = c->next)
			c->task = c->ordered ? task : NULL;
		STARPU_PTHREAD_MUTEX_UNLOCK(&engine->mutex);
	}
	__atomic_add_fetch(call->pending, 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&engine->submitted, 1, __ATOMIC_RELAXED);
	engine_crew_submits(engine->crew);
	code = starpu_task_submit(task);
	if (!code)
		return 0;
	/* It will never end. The task stays allocated: what it was to follow may still tell it. */
	if (ordered)
		forget_task(call);
	__atomic_sub_fetch(call->pending, 1, __ATOMIC_RELAXED);
	__atomic_sub_fetch(&engine->submitted, 1, __ATOMIC_RELAXED);
	return error_set(error, ERROR_RUN, call->type->name, "StarPU refused the task: %s", strerror(-code));
}

bool engine_pending(struct engine *engine, int *pending)
{
	(void) engine;
	return __atomic_load_n(pending, __ATOMIC_ACQUIRE) != 0;
}

static int failure(struct engine *engine, struct error *error)
{
	if (!__atomic_load_n(&engine->failed, __ATOMIC_ACQUIRE))
		return 0;
	if (error && !error->code)
		*error = engine->failure;
	return engine->failure.code;
}

int engine_wait(struct engine *engine, int *pending, struct error *error)
{
	STARPU_PTHREAD_MUTEX_LOCK(&engine->mutex);
	while (engine_pending(engine, pending))
		STARPU_PTHREAD_COND_WAIT(&engine->ended, &engine->mutex);
	STARPU_PTHREAD_MUTEX_UNLOCK(&engine->mutex);
	return failure(engine, error);
}

int engine_wait_all(struct engine *engine, struct error *error)
{
	starpu_task_wait_for_all();
	return failure(engine, error);
}

void engine_fail(struct engine *engine, const struct error *error)
{
	STARPU_PTHREAD_MUTEX_LOCK(&engine->mutex);
	if (!engine->failed) {
		engine->failure = *error;
		__atomic_store_n(&engine->failed, 1, __ATOMIC_RELEASE);
	}
	STARPU_PTHREAD_MUTEX_UNLOCK(&engine->mutex);
}

void engine_reset(struct engine *engine)
{
	STARPU_PTHREAD_MUTEX_LOCK(&engine->mutex);
	engine->failed = 0;
	engine->failure = (struct error){ 0 };
	STARPU_PTHREAD_MUTEX_UNLOCK(&engine->mutex);
}

/* ---- records */

int engine_take_records(struct engine *engine, struct task_record **records, size_t *count, struct error *error)
{
	size_t n = 0, at = 0;
	for (int w = 0; w < engine->workers; w++)
		n += record_log_count(&engine->worker[w].records);
	struct task_record *all = malloc((n ? n : 1) * sizeof *all);
	if (!all)
		return error_memory(error, "collecting the task records");
	for (int w = 0; w < engine->workers; w++)
		at += record_log_move(&engine->worker[w].records, all + at);
	record_sort(all, n);
	*records = all;
	*count = n;
	return 0;
}
