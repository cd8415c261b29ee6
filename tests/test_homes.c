/* SPDX-License-Identifier: Apache-2.0
 *
 * The policy `homes` loses no call between workers that spin, sleep and are woken: thousands of forks and joins of
 * calls that last next to nothing, with pauses around the time after which a worker stops spinning, for 1 to 4 workers,
 * and once more where all of them share one CPU.
 *
 *   join    leaf leaf leaf    join    leaf leaf leaf    …
 *
 * A call that nobody takes would let the program hang: an alarm ends it. */
#define _GNU_SOURCE /* sched_setaffinity */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>
#include "runtime/engine.h"
#include "tests/scratch.h"

enum { LEAVES = 5, ROUNDS = 3000, ALARM_S = 240 };

static struct {
	int round;         /* joins so far */
	int ran[LEAVES];   /* times that each leaf ran */
	int wrong;
} seen;

struct part { /* a join, or leaf number `leaf` */
	struct engine_call base; /* must be first */
	struct engine_buffer *buffer[LEAVES + 1];
	uint8_t mode[LEAVES + 1];
	int leaf, duration_us;
};

static double microseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec * 1e6 + (double) now.tv_nsec * 1e-3;
}

static int join_run(struct engine_call *call, void *workspace, struct error *error)
{
	(void) call, (void) workspace, (void) error;
	for (int i = 0; i < LEAVES; i++)
		seen.wrong += seen.ran[i] != seen.round;
	seen.round++;
	return 0;
}

static int leaf_run(struct engine_call *call, void *workspace, struct error *error)
{
	struct part *leaf = (struct part *) call;
	(void) workspace, (void) error;
	for (double end = microseconds() + leaf->duration_us; microseconds() < end;)
		;
	seen.ran[leaf->leaf]++; /* its next turn comes after the next join */
	return 0;
}

static double cost(const struct engine_call *call)
{
	(void) call;
	return 1e-6;
}

static const struct engine_type join_type = { .name = "join", .kind = 0, .run = join_run, .cost = cost };
static const struct engine_type leaf_type = { .name = "leaf", .kind = 1, .run = leaf_run, .cost = cost };

static void check(int code, const struct error *error)
{
	if (code)
		error_print(error);
	assert_int_equal(code, 0);
}

static void make_parts(struct part *join, struct part *leaf, struct engine_buffer **buffer, int *pending)
{
	*join = (struct part){ .base = { .type = &join_type, .layer = -1, .devices = 1, .pending = pending,
		.buffers = LEAVES + 1 } };
	for (int i = 0; i <= LEAVES; i++) {
		join->buffer[i] = buffer[i];
		join->mode[i] = i ? ENGINE_READ : ENGINE_WRITE;
	}
	for (int i = 0; i < LEAVES; i++)
		leaf[i] = (struct part){ .base = { .type = &leaf_type, .layer = -1, .devices = 1, .pending = pending, .buffers = 2 },
			.buffer = { buffer[0], buffer[i + 1] }, .mode = { ENGINE_READ, ENGINE_WRITE }, .leaf = i };
	for (int i = -1; i < LEAVES; i++) {
		struct part *part = i < 0 ? join : &leaf[i];
		part->base.buffer = part->buffer;
		part->base.mode = part->mode;
	}
}

/* Mostly next to nothing; sometimes longer than a waiting worker spins. */
static int some_duration(unsigned long long *random)
{
	unsigned long long chance = scratch_random(random) >> 56;
	return chance == 0 ? 450 : chance < 8 ? (int) (chance * 50) : 0;
}

static void storm(int workers)
{
	char memory[LEAVES + 1];
	struct engine *engine;
	struct engine_buffer *buffer[LEAVES + 1];
	struct part join, leaf[LEAVES];
	struct error error = { 0 };
	unsigned long long random = (unsigned long long) workers;
	int pending = 0;
	check(engine_start(&(struct engine_options){ .policy = "homes", .workers = workers }, &engine, &error), &error);
	for (int i = 0; i <= LEAVES; i++)
		check(engine_buffer_create(engine, &memory[i], 1, false, "part", &buffer[i], &error), &error);
	make_parts(&join, leaf, buffer, &pending);
	memset(&seen, 0, sizeof seen);
	for (int r = 0; r < ROUNDS; r++) {
		check(engine_submit(engine, &join.base, NULL, 0, &error), &error);
		for (int i = 0; i < LEAVES; i++) {
			leaf[i].duration_us = some_duration(&random);
			check(engine_submit(engine, &leaf[i].base, NULL, 0, &error), &error);
		}
		if (r % 8)
			continue; /* several rounds are submitted ahead: durations are those of the last one, which is as good */
		check(engine_wait(engine, &pending, &error), &error);
		usleep((useconds_t) (scratch_random(&random) >> 55)); /* 0 to 511 µs */
	}
	check(engine_wait(engine, &pending, &error), &error);
	assert_int_equal(seen.round, ROUNDS);
	assert_int_equal(seen.wrong, 0);
	for (int i = 0; i < LEAVES; i++) {
		assert_int_equal(seen.ran[i], ROUNDS);
		engine_buffer_destroy(buffer[i]);
	}
	engine_buffer_destroy(buffer[LEAVES]);
	print_message("%d workers\n", engine_workers(engine));
	engine_stop(engine);
}

static void storms(void **state)
{
	(void) state;
	for (int workers = 1; workers <= 4; workers++)
		storm(workers);
}

static void storms_on_one_cpu(void **state)
{
	(void) state;
	cpu_set_t all, one;
	CPU_ZERO(&one);
	assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
	for (int cpu = 0; cpu < CPU_SETSIZE && !CPU_COUNT(&one); cpu++)
		if (CPU_ISSET(cpu, &all))
			CPU_SET(cpu, &one);
	assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
	for (int workers = 1; workers <= 4; workers += 3)
		storm(workers);
	sched_setaffinity(0, sizeof all, &all);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(storms), cmocka_unit_test(storms_on_one_cpu) };
	alarm(ALARM_S);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
