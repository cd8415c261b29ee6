/* SPDX-License-Identifier: Apache-2.0
 *
 * A scheduling policy with a heap for each set of workers.
 *
 * One mutex guards all heaps: a push or a pop holds it for some tens of nanoseconds, while a task lasts
 * microseconds. `ready` lets a worker that has nothing to do see so without taking it. */
#include "runtime/engine_homes.h"
#include <limits.h>
#include <starpu_scheduler.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

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
	int ready[STARPU_NMAXWORKERS]; /* tasks that the worker could take; read without the mutex */
	/* The worker has found nothing, and no push has called it since. A push calls one such worker, so that two pushes
	 * call two: StarPU's word that a worker sleeps is still true when it has been called and does not run yet. */
	int idle[STARPU_NMAXWORKERS];
};

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

#if !defined(STARPU_NON_BLOCKING_DRIVERS) || defined(STARPU_SIMGRID)
	for (unsigned w = 0; w < starpu_worker_get_count(); w++)
		if (set_has(&workers, w) && __atomic_exchange_n(&homes->idle[w], 0, __ATOMIC_SEQ_CST)) {
			starpu_wake_worker_relax_light(w);
			break; /* one worker is enough for one task; those that are busy look again by themselves */
		}
#endif
	return 0;
}

/* False: there is nothing to take, and whoever pushes will call this worker. It says that it is idle and then looks, a
 * push counts and then looks who is idle, so that one of them sees the other (hence sequential consistency). While it
 * is about to take something it is not idle: a push that called it then would have called nobody. */
static bool work_waits(struct homes *homes, unsigned worker)
{
	while (__atomic_load_n(&homes->ready[worker], __ATOMIC_SEQ_CST) <= 0) {
		__atomic_store_n(&homes->idle[worker], 1, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&homes->ready[worker], __ATOMIC_SEQ_CST) <= 0)
			return false;
		__atomic_store_n(&homes->idle[worker], 0, __ATOMIC_SEQ_CST);
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

static void init(unsigned context)
{
	struct homes *homes = calloc(1, sizeof *homes);
	STARPU_ASSERT(homes);
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
