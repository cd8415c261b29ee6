/* SPDX-License-Identifier: Apache-2.0
 *
 * What StarPU costs here, by calls that do nothing.
 *
 *   a gate      holds what is submitted behind it, so that submitting and running do not disturb each other
 *   submit_s    many calls behind the gate: the submitter's seconds for each
 *   task_s      the gate opens: workers · seconds for each, all being ready
 *   hop_s       a call that does nothing ends and as many become ready as there are workers, all but one of which have just
 *               run out of calls: seconds until the last of them has begun
 *   wake_s      the same after a call of a millisecond: they sleep by then, whatever the policy
 *   awake_s     what the policy says of itself: for so long they look on before they sleep */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "tasks/calibrate.h"

enum { CALLS = 4000, FORKS = 60, BUFFERS = 4, ROUNDS = 5 };

#define LEAF_S 1e-3 /* longer than it takes to wake a worker, and than one looks on before it sleeps */

struct gate {
	struct engine_call base; /* must be first */
	bool open;
};

static int gate_run(struct engine_call *call, void *workspace, struct error *error)
{
	struct gate *gate = (struct gate *) call;
	(void) workspace, (void) error;
	while (!__atomic_load_n(&gate->open, __ATOMIC_ACQUIRE))
		nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
	return 0;
}

static int nothing_run(struct engine_call *call, void *workspace, struct error *error)
{
	(void) call, (void) workspace, (void) error;
	return 0;
}

static double nothing_cost(const struct engine_call *call)
{
	(void) call;
	return 1e-6;
}

static const struct engine_type gate_type = { .name = "gate", .kind = 0, .run = gate_run, .cost = nothing_cost };
static const struct engine_type nothing_type = { .name = "nothing", .kind = 1, .run = nothing_run, .cost = nothing_cost };

struct bench {
	struct engine *engine;
	struct engine_buffer *gate, *result, *weights[BUFFERS - 1];
	struct engine_buffer **part; /* [workers] */
	struct engine_call *call;    /* [CALLS] */
	char memory[64];
	int pending;
};

/* Submits calls behind a closed gate, opens it and waits. */
static int measure(struct bench *b, double *submit_s, double *run_s, struct error *error)
{
	uint8_t mode[BUFFERS] = { ENGINE_READ, ENGINE_READ, ENGINE_READ, ENGINE_READ };
	struct engine_buffer *buffer[BUFFERS] = { b->gate, b->weights[0], b->weights[1], b->weights[2] };
	struct engine_buffer *held[1] = { b->gate };
	uint8_t write[1] = { ENGINE_WRITE };
	struct gate gate = { .base = { .type = &gate_type, .buffers = 1, .buffer = held, .mode = write, .layer = -1,
		.devices = 1, .pending = &b->pending } };
	int code = engine_submit(b->engine, &gate.base, NULL, 0, error);
	double begin = engine_now(b->engine);
	for (int i = 0; !code && i < CALLS; i++) {
		b->call[i] = (struct engine_call){ .type = &nothing_type, .buffers = BUFFERS, .buffer = buffer, .mode = mode,
			.layer = -1, .devices = 1, .pending = &b->pending };
		code = engine_submit(b->engine, &b->call[i], NULL, 0, error);
	}
	double middle = engine_now(b->engine);
	__atomic_store_n(&gate.open, true, __ATOMIC_RELEASE);
	int waited = engine_wait_all(b->engine, error);
	*submit_s = (middle - begin) / CALLS;
	*run_s = (engine_now(b->engine) - middle) / CALLS;
	return code ? code : waited;
}

/* ---- forks */

struct leaf {
	struct engine_call base; /* must be first */
	struct engine_buffer *buffer[2];
	uint8_t mode[2];
};

static int leaf_run(struct engine_call *call, void *workspace, struct error *error)
{
	double end = engine_now(call->engine) + LEAF_S;
	(void) workspace, (void) error;
	while (engine_now(call->engine) < end)
		;
	return 0;
}

static const struct engine_type join_type = { .name = "join", .kind = 2, .run = nothing_run, .cost = nothing_cost };
static const struct engine_type long_join_type = { .name = "join", .kind = 2, .run = leaf_run, .cost = nothing_cost };
static const struct engine_type leaf_type = { .name = "leaf", .kind = 3, .run = leaf_run, .cost = nothing_cost };

static int by_value(const void *a, const void *b)
{
	double x = *(const double *) a, y = *(const double *) b;
	return (x > y) - (x < y);
}

static double median(double *value, int count)
{
	qsort(value, (size_t) count, sizeof *value, by_value);
	return value[count / 2];
}

/* From a join's end to the beginning of the last of its leaves. */
static double hop_of(const struct task_record *records, size_t count)
{
	double hop[FORKS + 1], ended = -1, last = 0;
	int n = 0;
	for (size_t i = 0; i < count; i++)
		if (records[i].kind == 2) {
			if (ended >= 0 && n < FORKS)
				hop[n++] = last - ended;
			ended = last = records[i].end_s;
		} else if (records[i].kind == 3) {
			last = records[i].start_s;
		}
	return n ? median(hop, n) : 0;
}

/* FORKS times: a join of all leaves, then a leaf for each worker. */
static int measure_forks(struct bench *b, const struct engine_type *type, double *hop_s, struct error *error)
{
	int workers = engine_workers(b->engine), code = 0;
	struct leaf leaf[workers];
	struct engine_buffer *joined[workers + 1];
	uint8_t mode[workers + 1];
	struct engine_call join = { .type = type, .buffers = workers + 1, .buffer = joined, .mode = mode, .layer = -1,
		.devices = 1, .pending = &b->pending };
	struct task_record *records = NULL;
	size_t count = 0;
	joined[workers] = b->result;
	mode[workers] = ENGINE_READ_WRITE;
	for (int w = 0; w < workers; w++) {
		leaf[w] = (struct leaf){ .base = { .type = &leaf_type, .buffers = 2, .layer = -1, .devices = 1,
			.pending = &b->pending }, .buffer = { b->result, b->part[w] }, .mode = { ENGINE_READ, ENGINE_READ_WRITE } };
		leaf[w].base.buffer = leaf[w].buffer;
		leaf[w].base.mode = leaf[w].mode;
		joined[w] = b->part[w];
		mode[w] = ENGINE_READ;
	}
	for (int i = 0; !code && i < FORKS; i++) {
		code = engine_submit(b->engine, &join, NULL, 0, error);
		for (int w = 0; !code && w < workers; w++)
			code = engine_submit(b->engine, &leaf[w].base, NULL, 0, error);
	}
	int waited = engine_wait_all(b->engine, error);
	code = code ? code : waited;
	if (!code)
		code = engine_take_records(b->engine, &records, &count, error);
	*hop_s = code ? 0 : hop_of(records, count);
	free(records);
	return code;
}

static int measure_all(struct bench *b, struct graph_runtime *runtime, struct error *error)
{
	double submit[ROUNDS], task[ROUNDS], hop[ROUNDS], wake[ROUNDS];
	int code = 0;
	for (int r = -1; !code && r < ROUNDS; r++) { /* the first one warms up */
		int at = r < 0 ? 0 : r;
		code = measure(b, &submit[at], &task[at], error);
		if (!code)
			code = measure_forks(b, &join_type, &hop[at], error);
		if (!code)
			code = measure_forks(b, &long_join_type, &wake[at], error);
		task[at] *= engine_workers(b->engine);
	}
	if (!code)
		*runtime = (struct graph_runtime){ .submit_s = median(submit, ROUNDS), .task_s = median(task, ROUNDS),
			.hop_s = median(hop, ROUNDS), .wake_s = median(wake, ROUNDS), .awake_s = engine_awake_s(b->engine) };
	if (!code)
		snprintf(runtime->policy, sizeof runtime->policy, "%s", engine_policy(b->engine));
	return code;
}

static int make_buffers(struct bench *b, struct error *error)
{
	int code = engine_buffer_create(b->engine, b->memory, 1, false, "gate", &b->gate, error);
	if (!code)
		code = engine_buffer_create(b->engine, b->memory + 1, 1, false, "result", &b->result, error);
	for (int i = 0; !code && i < BUFFERS - 1; i++)
		code = engine_buffer_create(b->engine, b->memory + 2 + i, 1, true, "weights", &b->weights[i], error);
	b->part = calloc((size_t) engine_workers(b->engine), sizeof *b->part);
	if (!code && !b->part)
		code = error_memory(error, "calibrating");
	for (int i = 0; !code && i < engine_workers(b->engine); i++)
		code = engine_buffer_create(b->engine, b->memory + 8, 1, false, "part", &b->part[i], error);
	return code;
}

int calibrate_runtime(int workers, const char *policy, struct graph_runtime *runtime, struct error *error)
{
	struct engine_options options = { .policy = policy, .workers = workers, .record = true };
	struct bench b = { 0 };
	b.call = calloc(CALLS, sizeof *b.call);
	if (!b.call)
		return error_memory(error, "calibrating");
	int code = engine_start(&options, &b.engine, error);
	if (!code)
		code = make_buffers(&b, error);
	if (!code)
		code = measure_all(&b, runtime, error);
	engine_buffer_destroy(b.gate);
	engine_buffer_destroy(b.result);
	for (int i = 0; i < BUFFERS - 1; i++)
		engine_buffer_destroy(b.weights[i]);
	for (int i = 0; b.part && i < engine_workers(b.engine); i++)
		engine_buffer_destroy(b.part[i]);
	engine_stop(b.engine);
	free(b.part);
	free(b.call);
	return code;
}
