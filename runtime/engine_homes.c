/* SPDX-License-Identifier: Apache-2.0
 *
 * A scheduling policy with a heap for each set of workers.
 *
 * One mutex guards all heaps: a push or a pop holds it for some tens of nanoseconds, while a task lasts
 * microseconds. `ready` lets a worker that has nothing to do see so without taking it.
 *
 * A worker that finds nothing looks on for a while before it sleeps: between two steps of a micro-batch all but one
 * worker wait for as long as one task lasts, and waking costs the one that goes on a call of the kernel's and the
 * others more than ten microseconds.
 *
 *             nothing there           SPIN_S later
 *   AT_WORK ---------------> SPINS ------------------> SLEEPS
 *      ^                       |                          |
 *      +-- a push calls it, or it sees a task  <----------+  a push calls it: StarPU wakes it
 *
 * A push calls one worker, one that spins before one that sleeps, by taking its state back to AT_WORK; so two pushes
 * call two. (StarPU's own word that a worker sleeps is still true when it has been called and does not run yet.) */
#define _GNU_SOURCE /* sched_getaffinity */
#include "runtime/engine_homes.h"
#include "runtime/topology_limits.h"
#include <limits.h>
#include <sched.h>
#include <starpu_scheduler.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Longer than a decoding task of one sequence lasts, and than the submitter needs for the next step; short beside
 * what a person or another program would notice: a worker burns so much each time it runs out of tasks. */
#define SPIN_US 200.0

#define WORDS ((STARPU_NMAXWORKERS + 63) / 64)

struct worker_set {
	uint64_t bits[WORDS];
};

struct entry {
	struct starpu_task *task;
	unsigned long number; /* order of arrival */
};

struct home {
	struct worker_set workers;
	struct entry *heap; /* heap[0] goes next */
	unsigned used, size;
};

struct homes {
	starpu_pthread_mutex_t mutex;
	unsigned long pushed;
	struct home *home;
	unsigned count;
	double spin_us;
	int ready[STARPU_NMAXWORKERS]; /* tasks that the worker could take; read without the mutex */
	int state[STARPU_NMAXWORKERS]; /* enum state */
};

/* AT_WORK: it runs a task, or will look for one before it does anything else. */
enum state { AT_WORK, SPINS, SLEEPS };

static bool set_has(const struct worker_set *set, unsigned worker)
{
	return set->bits[worker / 64] >> worker % 64 & 1;
}

static bool goes_before(const struct entry *a, const struct entry *b)
{
	if (a->task->priority != b->task->priority)
		return a->task->priority > b->task->priority;
	return a->number < b->number;
}

static void count_ready(struct homes *homes, const struct home *home, int change)
{
	for (unsigned w = 0; w < starpu_worker_get_count(); w++)
		if (set_has(&home->workers, w))
			__atomic_add_fetch(&homes->ready[w], change, __ATOMIC_SEQ_CST);
}

/* A policy has no way to report an error to the submitter, hence STARPU_ASSERT on memory. */
static void heap_insert(struct home *home, struct entry entry)
{
	if (home->used == home->size) {
		home->size = home->size ? 2 * home->size : 64;
		home->heap = realloc(home->heap, home->size * sizeof *home->heap);
		STARPU_ASSERT(home->heap);
	}
	unsigned i = home->used++;
	for (; i && goes_before(&entry, &home->heap[(i - 1) / 2]); i = (i - 1) / 2)
		home->heap[i] = home->heap[(i - 1) / 2];
	home->heap[i] = entry;
}

static struct starpu_task *heap_take(struct home *home)
{
	struct starpu_task *task = home->heap[0].task;
	struct entry last = home->heap[--home->used];
	unsigned i = 0, child;
	while ((child = 2 * i + 1) < home->used) {
		if (child + 1 < home->used && goes_before(&home->heap[child + 1], &home->heap[child]))
			child++;
		if (!goes_before(&home->heap[child], &last))
			break;
		home->heap[i] = home->heap[child];
		i = child;
	}
	home->heap[i] = last;
	return task;
}

static struct home *home_of(struct homes *homes, const struct worker_set *workers)
{
	for (unsigned i = 0; i < homes->count; i++)
		if (!memcmp(&homes->home[i].workers, workers, sizeof *workers))
			return &homes->home[i];
	homes->home = realloc(homes->home, (homes->count + 1) * sizeof *homes->home);
	STARPU_ASSERT(homes->home);
	struct home *home = &homes->home[homes->count++];
	*home = (struct home){ .workers = *workers };
	return home;
}

/* Some worker of the set whose state is `state` is at work from now on. Returns its number, −1 where there is none. */
static int call_one(struct homes *homes, const struct worker_set *workers, int state)
{
	for (unsigned w = 0; w < starpu_worker_get_count(); w++) {
		int is = state;
		if (set_has(workers, w) && __atomic_compare_exchange_n(&homes->state[w], &is, AT_WORK, false, __ATOMIC_SEQ_CST,
			__ATOMIC_SEQ_CST))
			return (int) w;
	}
	return -1;
}

static void wake(unsigned worker)
{
#if !defined(STARPU_NON_BLOCKING_DRIVERS) || defined(STARPU_SIMGRID)
	starpu_wake_worker_relax_light((int) worker);
#else
	(void) worker; /* it polls */
#endif
}

static int push(struct starpu_task *task)
{
	struct homes *homes = starpu_sched_ctx_get_policy_data(task->sched_ctx);
	struct worker_set workers = { { 0 } };
	for (unsigned w = 0; w < starpu_worker_get_count(); w++)
		if (starpu_worker_can_execute_task_first_impl(w, task, NULL))
			workers.bits[w / 64] |= (uint64_t) 1 << w % 64;

	starpu_worker_relax_on();
	STARPU_PTHREAD_MUTEX_LOCK(&homes->mutex);
	starpu_worker_relax_off();
	struct home *home = home_of(homes, &workers);
	heap_insert(home, (struct entry){ task, homes->pushed++ });
	count_ready(homes, home, 1);
	starpu_push_task_end(task);
	STARPU_PTHREAD_MUTEX_UNLOCK(&homes->mutex);

	/* One worker is enough for one task; those that are busy look again by themselves. */
	if (call_one(homes, &workers, SPINS) < 0) {
		int sleeper = call_one(homes, &workers, SLEEPS);
		if (sleeper >= 0)
			wake((unsigned) sleeper);
	}
	return 0;
}

static void pause_a_little(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ __volatile__("yield");
#endif
}

static bool sees_work(const struct homes *homes, unsigned worker)
{
	return __atomic_load_n(&homes->ready[worker], __ATOMIC_SEQ_CST) > 0;
}

/* True: there may be something to take. False: time is up, and no push relies on this worker. Relaxed, so that nobody
 * who needs StarPU's lock on this worker waits for it. */
static bool spin(struct homes *homes, unsigned worker)
{
	double end = starpu_timing_now() + homes->spin_us;
	bool called = false, sees = false;
	__atomic_store_n(&homes->state[worker], SPINS, __ATOMIC_SEQ_CST);
	starpu_worker_relax_on();
	do {
		for (int i = 0; i < 16 && !called && !sees; i++) {
			pause_a_little();
			called = __atomic_load_n(&homes->state[worker], __ATOMIC_RELAXED) == AT_WORK;
			sees = sees_work(homes, worker);
		}
	} while (!called && !sees && starpu_timing_now() < end);
	starpu_worker_relax_off();
	return __atomic_exchange_n(&homes->state[worker], AT_WORK, __ATOMIC_SEQ_CST) == AT_WORK || sees;
}

/* False: there is nothing to take, and whoever pushes will wake this worker. It says that it sleeps and then looks, a
 * push counts and then looks who sleeps, so that one of them sees the other (hence sequential consistency). While it
 * is about to take something it is at work: a push that called it then would have called nobody. */
static bool work_waits(struct homes *homes, unsigned worker)
{
	while (!sees_work(homes, worker)) {
		if (homes->spin_us > 0 && spin(homes, worker))
			continue;
		__atomic_store_n(&homes->state[worker], SLEEPS, __ATOMIC_SEQ_CST);
		if (!sees_work(homes, worker))
			return false;
		__atomic_store_n(&homes->state[worker], AT_WORK, __ATOMIC_SEQ_CST);
	}
	return true;
}

static struct starpu_task *take(struct homes *homes, unsigned worker)
{
	struct starpu_task *task = NULL;
	struct home *best = NULL;
	starpu_worker_relax_on();
	STARPU_PTHREAD_MUTEX_LOCK(&homes->mutex);
	starpu_worker_relax_off();
	for (unsigned i = 0; i < homes->count; i++) {
		struct home *home = &homes->home[i];
		if (home->used && set_has(&home->workers, worker)
			&& (!best || goes_before(&home->heap[0], &best->heap[0])))
			best = home;
	}
	if (best) {
		task = heap_take(best);
		count_ready(homes, best, -1);
	}
	STARPU_PTHREAD_MUTEX_UNLOCK(&homes->mutex);
	return task;
}

static struct starpu_task *pop(unsigned context)
{
	struct homes *homes = starpu_sched_ctx_get_policy_data(context);
	unsigned worker = (unsigned) starpu_worker_get_id_check(), implementation;
	struct starpu_task *task = NULL;
	while (!task && work_waits(homes, worker))
		task = take(homes, worker);
	if (task && starpu_worker_can_execute_task_first_impl(worker, task, &implementation))
		starpu_task_set_implementation(task, implementation);
	return task;
}

/* Only where each worker has a CPU to itself: else one that spins takes it from one that works. */
static double spin_time(void)
{
#ifdef STARPU_SIMGRID
	return 0; /* virtual time would not pass meanwhile */
#else
	struct topology_limits limits;
	cpu_set_t allowed;
	double workers = starpu_worker_get_count();
	topology_limits_read("", &limits);
	if (sched_getaffinity(0, sizeof allowed, &allowed) || CPU_COUNT(&allowed) < workers
		|| (limits.cpus > 0 && limits.cpus < workers))
		return 0;
	return SPIN_US;
#endif
}

double engine_homes_awake_s(void)
{
	return spin_time() * 1e-6;
}

static void init(unsigned context)
{
	struct homes *homes = calloc(1, sizeof *homes);
	STARPU_ASSERT(homes);
	homes->spin_us = spin_time();
	STARPU_PTHREAD_MUTEX_INIT(&homes->mutex, NULL);
	starpu_sched_ctx_set_policy_data(context, homes);
	starpu_sched_ctx_set_min_priority(context, INT_MIN);
	starpu_sched_ctx_set_max_priority(context, INT_MAX);
}

static void deinit(unsigned context)
{
	struct homes *homes = starpu_sched_ctx_get_policy_data(context);
	for (unsigned i = 0; i < homes->count; i++)
		free(homes->home[i].heap);
	free(homes->home);
	STARPU_PTHREAD_MUTEX_DESTROY(&homes->mutex);
	free(homes);
}

struct starpu_sched_policy engine_homes_policy = {
	.init_sched = init,
	.deinit_sched = deinit,
	.push_task = push,
	.pop_task = pop,
	.policy_name = "homes",
	.policy_description = "a heap for each set of workers",
	.worker_type = STARPU_WORKER_LIST,
};
