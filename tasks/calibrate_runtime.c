/* SPDX-License-Identifier: Apache-2.0
 *
 * What StarPU costs here, by calls that do nothing.
 *
 *   a gate      holds what is submitted behind it, so that submitting and running do not disturb each other
 *   submit_s    many calls behind the gate: the submitter's seconds for each
 *   task_s      the gate opens: workers · seconds for each, all being ready
 *   hop_s       calls that wait for each other in a chain: seconds for each */
#include <stdlib.h>
#include <time.h>
#include "tasks/calibrate.h"

enum { CALLS = 4000, CHAIN = 2000, BUFFERS = 4, ROUNDS = 7 };

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
	struct engine_call *call; /* [CALLS] */
	char memory[64];
	int pending;
};

/* Submits `count` calls behind a closed gate, opens it and waits. `chain`: each writes what the next one reads. */
static int measure(struct bench *b, int count, bool chain, double *submit_s, double *run_s, struct error *error)
{
	uint8_t mode[BUFFERS] = { ENGINE_READ, ENGINE_READ, ENGINE_READ, ENGINE_READ };
	struct engine_buffer *buffer[BUFFERS] = { b->gate, b->weights[0], b->weights[1], b->weights[2] };
	struct engine_buffer *held[1] = { b->gate };
	uint8_t write[1] = { ENGINE_WRITE };
	struct gate gate = { .base = { .type = &gate_type, .buffers = 1, .buffer = held, .mode = write, .layer = -1,
		.devices = 1, .pending = &b->pending } };
	if (chain) {
		buffer[1] = b->result;
		mode[1] = ENGINE_READ_WRITE;
	}
	int code = engine_submit(b->engine, &gate.base, NULL, 0, error);
	double begin = engine_now(b->engine);
	for (int i = 0; !code && i < count; i++) {
		b->call[i] = (struct engine_call){ .type = &nothing_type, .buffers = BUFFERS, .buffer = buffer, .mode = mode,
			.layer = -1, .devices = 1, .pending = &b->pending };
		code = engine_submit(b->engine, &b->call[i], NULL, 0, error);
	}
	double middle = engine_now(b->engine);
	__atomic_store_n(&gate.open, true, __ATOMIC_RELEASE);
	int waited = engine_wait_all(b->engine, error);
	*submit_s = (middle - begin) / count;
	*run_s = (engine_now(b->engine) - middle) / count;
	return code ? code : waited;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *) a, y = *(const double *) b;
	return (x > y) - (x < y);
}

static double median(double *value)
{
	qsort(value, ROUNDS, sizeof *value, by_value);
	return value[ROUNDS / 2];
}

static int measure_all(struct bench *b, struct calibrate_runtime *runtime, struct error *error)
{
	double submit[ROUNDS], task[ROUNDS], hop[ROUNDS], unused;
	int code = 0;
	for (int r = -1; !code && r < ROUNDS; r++) { /* the first one warms up */
		int at = r < 0 ? 0 : r;
		code = measure(b, CALLS, false, &submit[at], &task[at], error);
		if (!code)
			code = measure(b, CHAIN, true, &unused, &hop[at], error);
		task[at] *= engine_workers(b->engine);
	}
	if (!code)
		*runtime = (struct calibrate_runtime){ median(submit), median(task), median(hop) };
	return code;
}

static int make_buffers(struct bench *b, struct error *error)
{
	int code = engine_buffer_create(b->engine, b->memory, 1, false, "gate", &b->gate, error);
	if (!code)
		code = engine_buffer_create(b->engine, b->memory + 1, 1, false, "result", &b->result, error);
	for (int i = 0; !code && i < BUFFERS - 1; i++)
		code = engine_buffer_create(b->engine, b->memory + 2 + i, 1, true, "weights", &b->weights[i], error);
	return code;
}

int calibrate_runtime(int workers, const char *policy, struct calibrate_runtime *runtime, struct error *error)
{
	struct engine_options options = { .policy = policy, .workers = workers };
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
	engine_stop(b.engine);
	free(b.call);
	return code;
}
