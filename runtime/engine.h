/* SPDX-License-Identifier: Apache-2.0
 *
 * StarPU as Octant uses it: one call of an actor's behaviour is one task, buffers' handles are the mailbox,
 * a device is a mask of workers, and a failing behaviour ends the run with one error.
 *
 * A call is made once, when a deployment is built, and submitted again for every micro-batch that its slot
 * carries; nothing of Octant's is allocated on the way. StarPU orders calls by the buffers they read and
 * write, in the order of submission. What data cannot say (attention over the same sequence in two
 * micro-batches) is said by engine_submit's `after`. Calls that follow each other on a device may be one task (`next`):
 * each still runs, is recorded and fails as itself.
 *
 * Threads: engine_start, engine_stop, buffers and engine_submit belong to one thread (the submitter);
 * behaviours run on StarPU's workers. */
#ifndef OCTANT_ENGINE_H
#define OCTANT_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "runtime/arena.h"
#include "runtime/cost.h"
#include "runtime/error.h"
#include "runtime/graph.h"
#include "runtime/record.h"

struct engine;
struct engine_call;

#define ENGINE_MAX_TYPES 32
#define ENGINE_NAME 24

struct engine_type { /* a kind of behaviour */
	char name[ENGINE_NAME]; /* what traces and errors call it */
	int kind;         /* index in traces and metrics, < ENGINE_MAX_TYPES */
	bool collective;  /* moves data between devices */
	/* Computes on the CPU. `workspace` is the worker's scratch (engine_reserve). Errors: fills `error` with what
	 * is wrong and returns its code; the engine adds the actor and the micro-batch. */
	int (*run)(struct engine_call *call, void *workspace, struct error *error);
	/* Seconds it is expected to take, for schedulers that predict; > 0. */
	double (*cost)(const struct engine_call *call);
};

enum engine_mode { ENGINE_READ = 1, ENGINE_WRITE = 2, ENGINE_READ_WRITE = 3 };

struct engine_buffer; /* a block of a device's memory that StarPU knows by a handle */

struct engine_uses { /* what a task of several calls uses, each buffer once */
	int count;
	struct engine_buffer **buffer; /* [count] */
	uint8_t *mode;                 /* [count] engine_mode */
};

struct starpu_task;

struct engine_call {
	const struct engine_type *type;
	int buffers;
	struct engine_buffer **buffer; /* [buffers] */
	uint8_t *mode;                 /* [buffers] engine_mode */
	uint64_t devices;              /* bit mask: where it runs; a collective's members */
	uint64_t share;                /* the one of them that this call serves alone, where a collective is done by parts; else 0 */
	int layer;                     /* −1: none */
	int priority;
	bool ordered;                  /* may be named in another call's `after` */

	/* of the present submission */
	uint64_t micro_batch;
	int phase; /* enum phase */
	struct engine_call *next; /* runs after this one in the same task; NULL: none */
	const struct engine_uses *uses; /* of a task's first call: the task's buffers; NULL: its own */
	int *pending; /* of a task's first call: counted down when the task has ended; at 0 engine_wait wakes */
	struct starpu_task *task; /* the task in flight, where `ordered`; under the engine's mutex */
	struct engine *engine;
};

/* Whether it moves data between devices: a collective of one device passes over its own memory. */
static inline bool engine_call_moves(const struct engine_call *call)
{
	return call->type->collective && call->devices & (call->devices - 1);
}

struct engine_options {
	const char *policy; /* "homes", or one of StarPU's */
	int workers;        /* CPU workers; 0: one a core that this process may use */
	bool record;        /* keep a task_record of every call */
	FILE *tasks;        /* gets a line a call submitted; NULL: none */
	double watchdog_s;  /* report when nothing has ended for so long although calls are pending; 0: never */
};

/* Starts StarPU. One engine at a time. Errors: a policy that does not exist or is refused (heteroprio, with
 * the reason), no worker. */
int engine_start(const struct engine_options *options, struct engine **engine, struct error *error);
void engine_stop(struct engine *engine);

/* ---- simulation: a program that is linked with StarPU on SimGrid. Calls take time instead of computing, buffers need
 * no memory (any address but NULL), and engine_now is the simulated clock. */

#define ENGINE_SIMULATED_DEVICES 16
#define ENGINE_MAX_FLOWS (MESH_MAX_DEVICES * MESH_MAX_DEVICES)

struct engine_passage { /* how a simulated call passes its time */
	double before_s; /* launch, latencies */
	int flows;       /* then what it puts on links, all at once */
	struct flow flow[ENGINE_MAX_FLOWS];
	double least_s;  /* it lasts at least so long: its own computing and passes over memory meanwhile */
	double busy_s;   /* on a host: the same while all other workers are busy */
};

struct engine_simulation {
	const struct graph_machine *machine;
	uint64_t devices; /* those of the machine that calls run on; at most ENGINE_SIMULATED_DEVICES */
	/* Sets of devices that collectives join, as in engine_call.devices: each set has `channels` of its own (as an
	 * NCCL communicator has a stream): so many of its collectives are under way at once, the others wait. */
	const uint64_t *set;
	int sets, channels;
	int workers; /* of a host's logical devices: CPU workers that serve all calls */
	double submit_s; /* what a submission takes the submitter */
	double task_s;   /* what a worker needs for a call besides the call itself */
	double hop_s;    /* the same for a call that the worker had to wait for; on a host */
	double wake_s;   /* and where it had waited for longer than awake_s, so that it slept */
	double awake_s;
	/* Fills what a call does; on a host `flows` counts for nothing. */
	void (*pass)(const struct engine_call *call, struct engine_passage *passage);
};

bool engine_simulates(void);

/* Runs `body` within a simulation, once in a process; the engine is started and stopped there. *status gets what it
 * returns. Errors: ERROR_INPUT where the machine cannot be simulated (too many devices), ERROR_RUN. */
int engine_simulate(const struct engine_simulation *simulation, int (*body)(void *context), void *context, int *status,
	struct error *error);

int engine_workers(const struct engine *engine);
const char *engine_policy(const struct engine *engine);
/* For so long a worker that has nothing to do looks on before it sleeps, seconds. */
double engine_awake_s(const struct engine *engine);
/* "StarPU 1.4.10, …": for --version. */
const char *engine_version(void);
/* ", SimGrid 3.32.0" where it simulates, else "". */
const char *engine_simulator(void);

/* The workers' scratch becomes at least `bytes` each. Only while no call is in flight. */
int engine_reserve(struct engine *engine, size_t bytes, struct error *error);

/* Debugging: while a call runs, only the arenas of its own devices can be touched. Needs one worker; refused
 * otherwise. NULL ends it. */
int engine_guard(struct engine *engine, const struct arena *arenas, int count, struct error *error);

/* `constant`: written by no submitted call (weights), or ordered by other means (KV pools): no implicit
 * dependencies. `name` must be unique enough for a reader of traces. */
int engine_buffer_create(struct engine *engine, void *memory, size_t bytes, bool constant, const char *name,
	struct engine_buffer **buffer, struct error *error);
/* Waits for the calls that use it. NULL is accepted. */
void engine_buffer_destroy(struct engine_buffer *buffer);

/* Submits the call and those that follow it by `next`, as one task of the first one's priority: it starts when the calls submitted before that wrote its buffers have ended, and those in
 * `after` (ordered ones; those that are not in flight are passed over). After a failure nothing runs any more:
 * calls end at once and the run drains. */
int engine_submit(struct engine *engine, struct engine_call *call, struct engine_call *const *after, int after_count,
	struct error *error);

/* Waits until *pending is 0. Returns the first failed behaviour's error, if any. */
int engine_wait(struct engine *engine, int *pending, struct error *error);
bool engine_pending(struct engine *engine, int *pending);
int engine_wait_all(struct engine *engine, struct error *error);

/* Marks the run as failed (the first one counts), as a behaviour's error does. Any thread. */
void engine_fail(struct engine *engine, const struct error *error);
/* Forgets a failure, once everything has drained. */
void engine_reset(struct engine *engine);

/* Seconds since the engine started, the clock of records. */
double engine_now(const struct engine *engine);

/* All records so far, ordered by start; freed by the caller. Only while nothing is in flight. Clears them. */
int engine_take_records(struct engine *engine, struct task_record **records, size_t *count, struct error *error);

#endif
