/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine: order by data and by `after`, failures, records, the watchdog, starting and stopping, and what it leaves
 * in the user's home, under every policy. Behaviours here count and wait; no model is involved. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "runtime/engine.h"
#include "tests/scratch.h"

static const char *const policies[] = { "homes", "eager", "prio", "ws", "lws", "dm", "dmda", "dmdas" };
enum { POLICIES = sizeof policies / sizeof *policies };

static struct engine *engine;
static int stamps; /* counts beginnings and ends of behaviours */

static int stamp(void)
{
	return __atomic_add_fetch(&stamps, 1, __ATOMIC_SEQ_CST);
}

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + (double) now.tv_nsec * 1e-9;
}

static void pass(double duration)
{
	for (double end = seconds() + duration; seconds() < end;)
		;
}

struct step { /* a call that notes when it ran */
	struct engine_call base; /* must be first */
	int began, ended; /* stamps; 0: not */
	double duration;
	struct step *meets; /* waits until that one has begun too */
	int code;           /* what the behaviour returns */
	const char *text;   /* of its error; NULL: it leaves that to the engine */
	int *counter;       /* must be at `expects`, and is counted up */
	int expects;
};

static int step_run(struct engine_call *call, void *workspace, struct error *error)
{
	struct step *s = (struct step *) call;
	(void) workspace;
	__atomic_store_n(&s->began, stamp(), __ATOMIC_SEQ_CST);
	for (double end = seconds() + 30; s->meets && !__atomic_load_n(&s->meets->began, __ATOMIC_SEQ_CST);)
		if (seconds() > end)
			return error_set(error, ERROR_RUN, NULL, "nobody came");
	pass(s->duration);
	if (s->counter && *s->counter != s->expects)
		return error_set(error, ERROR_RUN, NULL, "call %d finds %d", s->expects, *s->counter);
	if (s->counter)
		++*s->counter;
	s->ended = stamp();
	if (s->code && s->text)
		error_set(error, s->code, NULL, "%s", s->text);
	return s->code;
}

static double step_cost(const struct engine_call *call)
{
	return 1e-6 + ((const struct step *) call)->duration;
}

static const struct engine_type step_type = { .name = "step", .kind = 3, .run = step_run, .cost = step_cost };
static const struct engine_type joint_type = { .name = "joint", .kind = 5, .collective = true, .run = step_run,
	.cost = step_cost };

static void start(const struct engine_options *options)
{
	struct error error = { 0 };
	if (engine_start(options, &engine, &error)) {
		error_print(&error);
		fail_msg("%s does not start", options->policy);
	}
}

static void stop(void)
{
	engine_stop(engine);
	engine = NULL;
}

static void submit(struct step *s, struct engine_call *const *after, int count)
{
	struct error error = { 0 };
	if (engine_submit(engine, &s->base, after, count, &error)) {
		error_print(&error);
		fail();
	}
}

static void wait_well(int *pending)
{
	struct error error = { 0 };
	if (engine_wait(engine, pending, &error)) {
		error_print(&error);
		fail();
	}
	assert_false(engine_pending(engine, pending));
}

static struct step make_step(int *pending)
{
	return (struct step){ .base = { .type = &step_type, .layer = -1, .devices = 1, .pending = pending } };
}

/* ---- order */

enum { MEMORIES = 12, MOST_USED = 40 };

struct memories {
	char block[MOST_USED][64];
	struct engine_buffer *buffer[MOST_USED];
};

static void make_memories(struct memories *m, int count)
{
	struct error error = { 0 };
	for (int i = 0; i < count; i++) {
		char name[32];
		snprintf(name, sizeof name, "memory %d", i);
		assert_int_equal(engine_buffer_create(engine, m->block[i], 64, false, name, &m->buffer[i], &error), 0);
	}
}

static void free_memories(struct memories *m, int count)
{
	for (int i = 0; i < count; i++)
		engine_buffer_destroy(m->buffer[i]);
}

/* Two calls that use one buffer keep their order unless both only read. */
static void order_by_data(const char *policy)
{
	enum { CALLS = 400 };
	struct memories m;
	struct step *steps = calloc(CALLS, sizeof *steps);
	struct engine_buffer *used[CALLS][4];
	uint8_t mode[CALLS][4];
	int pending = 0;
	unsigned long long random = 77;
	assert_non_null(steps);
	make_memories(&m, MEMORIES);
	for (int i = 0; i < CALLS; i++) {
		steps[i] = make_step(&pending);
		steps[i].duration = (double) (scratch_random(&random) >> 60) * 1e-6;
		steps[i].base.priority = (int) (scratch_random(&random) >> 62);
		steps[i].base.buffers = 1 + (int) (scratch_random(&random) >> 62);
		steps[i].base.buffer = used[i];
		steps[i].base.mode = mode[i];
		int first = (int) (scratch_random(&random) >> 33) % MEMORIES;
		for (int k = 0; k < steps[i].base.buffers; k++) {
			used[i][k] = m.buffer[(first + 5 * k) % MEMORIES]; /* different ones */
			mode[i][k] = (uint8_t) (scratch_random(&random) >> 63 ? ENGINE_READ : 1 + (scratch_random(&random) >> 33) % 3);
		}
	}
	stamps = 0;
	for (int i = 0; i < CALLS; i++)
		submit(&steps[i], NULL, 0);
	wait_well(&pending);
	int kinds[4][4] = { { 0 } };
	for (int i = 0; i < CALLS; i++)
		for (int j = i + 1; j < CALLS; j++)
			for (int a = 0; a < steps[i].base.buffers; a++)
				for (int b = 0; b < steps[j].base.buffers; b++) {
					if (used[i][a] != used[j][b] || (mode[i][a] | mode[j][b]) == ENGINE_READ)
						continue;
					kinds[mode[i][a]][mode[j][b]]++;
					if (steps[i].ended > steps[j].began)
						fail_msg("%s: call %d (mode %d) began before call %d (mode %d) of the same buffer had ended",
							policy, j, mode[j][b], i, mode[i][a]);
				}
	assert_true(kinds[ENGINE_WRITE][ENGINE_READ] && kinds[ENGINE_READ][ENGINE_WRITE] && kinds[ENGINE_WRITE][ENGINE_WRITE]);
	free_memories(&m, MEMORIES);
	free(steps);
}

/* Two readers of one buffer are under way at the same time: neither does their data order them, nor does a second worker
 * sleep while a call is ready. StarPU's own policies leave the latter to chance: they wake a worker that has been woken
 * for another call already, or queue both calls for one worker. */
static void readers_meet(const char *policy)
{
	struct memories m;
	uint8_t mode[2] = { ENGINE_READ, ENGINE_READ };
	int pending = 0;
	if (strcmp(policy, "homes"))
		return;
	make_memories(&m, 2);
	for (int turn = 0; turn < 300; turn++) {
		struct step a = make_step(&pending), b = make_step(&pending);
		a.base.buffer = b.base.buffer = m.buffer;
		a.base.mode = b.base.mode = mode;
		a.base.buffers = b.base.buffers = 2;
		a.meets = &b;
		b.meets = &a;
		submit(&a, NULL, 0);
		submit(&b, NULL, 0);
		wait_well(&pending);
	}
	free_memories(&m, 2);
}

/* Calls that share no data, in the order that `after` says. */
static void order_by_after(const char *policy)
{
	enum { CALLS = 300 };
	struct step *steps = calloc(CALLS, sizeof *steps), idle;
	int before[CALLS][3], pending = 0, nothing = 0;
	unsigned long long random = 5;
	assert_non_null(steps);
	idle = make_step(&nothing); /* never submitted: passed over */
	idle.base.ordered = true;
	stamps = 0;
	for (int i = 0; i < CALLS; i++) {
		struct engine_call *after[4] = { &idle.base };
		steps[i] = make_step(&pending);
		steps[i].base.ordered = true;
		steps[i].duration = (double) (scratch_random(&random) >> 60) * 2e-6;
		int count = i ? (int) (scratch_random(&random) >> 62) : 0;
		for (int k = 0; k < count; k++) {
			before[i][k] = (int) (scratch_random(&random) >> 33) % i;
			after[k] = &steps[before[i][k]].base;
		}
		for (int k = count; k < 3; k++)
			before[i][k] = -1;
		submit(&steps[i], after, count ? count : 1);
	}
	wait_well(&pending);
	for (int i = 0; i < CALLS; i++)
		for (int k = 0; k < 3; k++)
			if (before[i][k] >= 0 && steps[before[i][k]].ended > steps[i].began)
				fail_msg("%s: call %d began before call %d had ended", policy, i, before[i][k]);
	free(steps);
}

/* A ring of calls, as slots have them: each is submitted again once it has ended, and named by the next meanwhile. What
 * is named may just be ending, which is when dependencies are easily lost or counted twice. */
static void ring(const char *policy, int turns)
{
	enum { SLOTS = 5 };
	struct step slot[SLOTS];
	int pending[SLOTS] = { 0 }, counter = 0;
	(void) policy;
	for (int i = 0; i < SLOTS; i++) {
		slot[i] = make_step(&pending[i]);
		slot[i].base.ordered = true;
		slot[i].counter = &counter;
	}
	for (int n = 0; n < turns; n++) {
		struct step *s = &slot[n % SLOTS];
		struct engine_call *after[2] = { &slot[(n + SLOTS - 1) % SLOTS].base, &slot[(n + SLOTS - 2) % SLOTS].base };
		wait_well(&pending[n % SLOTS]);
		s->expects = n;
		s->base.micro_batch = (uint64_t) n;
		submit(s, after, n % 3 ? 1 : 2);
	}
	for (int i = 0; i < SLOTS; i++)
		wait_well(&pending[i]);
	assert_int_equal(counter, turns);
}

/* More buffers than a StarPU task has room for. */
static void many_buffers(void)
{
	struct memories m;
	uint8_t mode[MOST_USED], one[1] = { ENGINE_WRITE };
	int pending = 0, counter = 0;
	struct step writers[2 * MOST_USED], joint[3];
	make_memories(&m, MOST_USED);
	memset(mode, ENGINE_READ_WRITE, sizeof mode);
	for (int turn = 0, n = 0; turn < 2; turn++) {
		joint[turn] = make_step(&pending);
		joint[turn].base = (struct engine_call){ .type = &joint_type, .layer = -1, .devices = ~(uint64_t) 0, .pending = &pending,
			.buffers = MOST_USED, .buffer = m.buffer, .mode = mode };
		joint[turn].counter = &counter;
		joint[turn].expects = turn;
		for (int i = 0; i < MOST_USED; i++, n++) {
			writers[n] = make_step(&pending);
			writers[n].base.buffer = &m.buffer[i];
			writers[n].base.mode = one;
			writers[n].base.buffers = 1;
			submit(&writers[n], NULL, 0);
		}
		submit(&joint[turn], NULL, 0);
	}
	wait_well(&pending);
	for (int i = 0; i < MOST_USED; i++) {
		assert_true(writers[i].ended < joint[0].began);
		assert_true(joint[0].ended < writers[MOST_USED + i].began);
		assert_true(writers[MOST_USED + i].ended < joint[1].began);
	}
	free_memories(&m, MOST_USED);
}

/* ---- failure */

/* A chain of which one call fails: those after it do not compute, all are accounted for, one error names the place. */
static void failing(void)
{
	enum { CALLS = 60, BAD = 20 };
	struct memories m;
	uint8_t mode[1] = { ENGINE_READ_WRITE };
	struct error error = { 0 };
	struct step steps[CALLS];
	int pending = 0;
	make_memories(&m, 1);
	for (int turn = 0; turn < 3; turn++) {
		for (int i = 0; i < CALLS; i++) {
			steps[i] = make_step(&pending);
			steps[i].base.buffer = m.buffer;
			steps[i].base.mode = mode;
			steps[i].base.buffers = 1;
			steps[i].base.layer = 4;
			steps[i].base.devices = turn ? 0x21 : 0x4;
			steps[i].base.micro_batch = (uint64_t) i;
			steps[i].base.ordered = i % 2;
			steps[i].code = i == BAD ? ERROR_INPUT : i > BAD ? ERROR_MEMORY : 0;
			steps[i].text = turn < 2 ? "the weights are wrong" : NULL;
			struct engine_call *after[1] = { i && turn ? &steps[i - 1].base : NULL };
			submit(&steps[i], after, i && turn ? 1 : 0);
		}
		error = (struct error){ 0 };
		assert_int_equal(engine_wait(engine, &pending, &error), ERROR_INPUT);
		assert_int_equal(error.code, ERROR_INPUT);
		assert_string_equal(error.where, turn ? "step, layer 4, devices 0 5, micro-batch 20"
						      : "step, layer 4, device 2, micro-batch 20");
		assert_string_equal(error.text, turn < 2 ? "the weights are wrong" : "the task failed");
		assert_int_equal(pending, 0);
		assert_true(steps[BAD].ended);
		assert_false(steps[BAD + 1].began);
		assert_false(steps[CALLS - 1].began);
		/* until it is reset nothing computes */
		struct step late = make_step(&pending);
		submit(&late, NULL, 0);
		error = (struct error){ 0 };
		assert_int_equal(engine_wait_all(engine, &error), ERROR_INPUT);
		assert_int_equal(engine_wait(engine, &pending, NULL), ERROR_INPUT);
		assert_false(late.began);
		engine_reset(engine);
		submit(&late, NULL, 0);
		wait_well(&pending);
		assert_true(late.ended);
	}
	/* a caller's own failure ends the run too, and the first one counts */
	struct error disk = { .code = ERROR_RUN, .text = "the disk is full" }, second = { .code = ERROR_INPUT };
	struct step late = make_step(&pending);
	engine_fail(engine, &disk);
	engine_fail(engine, &second);
	submit(&late, NULL, 0);
	error = (struct error){ 0 };
	assert_int_equal(engine_wait(engine, &pending, &error), ERROR_RUN);
	assert_string_equal(error.text, "the disk is full");
	engine_reset(engine);
	assert_int_equal(engine_wait_all(engine, NULL), 0);
	free_memories(&m, 1);
}

/* ---- records */

static void records(void)
{
	enum { CALLS = 40000, AT_ONCE = 64 }; /* more than a block of them */
	struct error error = { 0 };
	struct step step[AT_ONCE];
	struct task_record *taken;
	int pending = 0;
	size_t count;
	char seen[CALLS] = { 0 };
	for (int i = 0; i < AT_ONCE; i++) {
		step[i] = make_step(&pending);
		step[i].base.layer = 7;
		if (i % 2) {
			step[i].base.type = &joint_type;
			step[i].base.layer = -1;
			step[i].base.devices = 6;
			step[i].base.phase = 1;
		}
	}
	for (int i = 0; i < CALLS; i++) {
		struct step *s = &step[i % AT_ONCE];
		if (i % AT_ONCE == 0)
			wait_well(&pending);
		s->base.micro_batch = (uint64_t) i;
		submit(s, NULL, 0);
	}
	wait_well(&pending);
	assert_int_equal(engine_take_records(engine, &taken, &count, &error), 0);
	assert_int_equal(count, CALLS);
	for (size_t i = 0; i < count; i++) {
		const struct task_record *r = &taken[i];
		bool joint = r->micro_batch % 2;
		assert_true(r->micro_batch >= 0 && r->micro_batch < CALLS && !seen[r->micro_batch]);
		seen[r->micro_batch] = 1;
		assert_true(r->end_s >= r->start_s && r->start_s >= 0 && r->end_s <= engine_now(engine));
		assert_true(!i || r->start_s >= taken[i - 1].start_s);
		assert_true(r->worker >= 0 && r->worker < engine_workers(engine));
		assert_int_equal(r->kind, joint ? joint_type.kind : step_type.kind);
		assert_int_equal(r->collective, joint);
		assert_int_equal(r->devices, joint ? 6 : 1);
		assert_int_equal(r->layer, joint ? -1 : 7);
		assert_int_equal(r->phase, joint ? 1 : 0);
	}
	free(taken);
	assert_int_equal(engine_take_records(engine, &taken, &count, &error), 0);
	assert_int_equal(count, 0);
	free(taken);
}

/* ---- the tests: all of that under each policy */

static void test_policy(void **state)
{
	const char *policy = *state;
	start(&(struct engine_options){ .policy = policy, .workers = 2, .record = true });
	struct error error = { 0 };
	struct task_record *taken;
	size_t count;
	assert_int_equal(engine_workers(engine), 2);
	assert_string_equal(engine_policy(engine), policy);
	order_by_data(policy);
	readers_meet(policy);
	order_by_after(policy);
	ring(policy, 1500);
	many_buffers();
	failing();
	assert_int_equal(engine_take_records(engine, &taken, &count, &error), 0);
	free(taken);
	stop();
}

static void test_records(void **state)
{
	(void) state;
	start(&(struct engine_options){ .policy = "homes", .workers = 1, .record = true });
	records();
	stop();
}

static void test_refused(void **state)
{
	(void) state;
	struct error error = { 0 };
	struct engine *none = (void *) 1;
	assert_int_equal(engine_start(&(struct engine_options){ .policy = "fastest", .workers = 1 }, &none, &error), ERROR_INPUT);
	assert_non_null(strstr(error.text, "fastest"));
	assert_non_null(strstr(error.text, "dmdas"));
	error = (struct error){ 0 };
	assert_int_equal(engine_start(&(struct engine_options){ .policy = "heteroprio", .workers = 1 }, &none, &error),
		ERROR_INPUT);
	assert_non_null(strstr(error.text, "heteroprio"));
	assert_ptr_equal(none, (void *) 1); /* outputs are set on success only */
}

/* Guarding needs one worker: with two, one would find the other's memory closed. */
static void test_guard_refused(void **state)
{
	(void) state;
	struct error error = { 0 };
	struct arena arena = { 0 };
	start(&(struct engine_options){ .policy = "homes", .workers = 2 });
	assert_int_equal(engine_guard(engine, &arena, 1, &error), ERROR_INPUT);
	assert_int_equal(engine_guard(engine, NULL, 0, &error), 0);
	stop();
}

/* ---- the watchdog's words */

static void test_watchdog(void **state)
{
	(void) state;
	char folder[SCRATCH_PATH], text[4096] = "";
	scratch_make(folder);
	int pending = 0, kept = dup(2), file = open(scratch_path(folder, "stderr"), O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_true(kept >= 0 && file >= 0);
	start(&(struct engine_options){ .policy = "homes", .workers = 2, .watchdog_s = 0.5 });
	struct step quick = make_step(&pending), slow = make_step(&pending);
	submit(&quick, NULL, 0);
	wait_well(&pending);
	pass(1.5); /* nothing is pending: nothing is said */
	slow.base.layer = 3;
	slow.base.devices = 1 << 2;
	slow.base.micro_batch = 9;
	slow.duration = 4;
	fflush(stderr);
	dup2(file, 2);
	submit(&slow, NULL, 0);
	wait_well(&pending);
	stop();
	fflush(stderr);
	dup2(kept, 2);
	close(kept);
	assert_true(pread(file, text, sizeof text - 1, 0) > 0);
	close(file);
	scratch_remove(folder);
	assert_non_null(strstr(text, "no task has ended for"));
	assert_non_null(strstr(text, "2 submitted, 1 ended"));
	assert_non_null(strstr(text, "runs step, layer 3, device 2, micro-batch 9"));
	assert_non_null(strstr(text, "runs nothing"));
}

/* ---- starting and stopping */

static int threads(void)
{
	DIR *listing = opendir("/proc/self/task");
	int count = 0;
	assert_non_null(listing);
	while (readdir(listing))
		count++;
	closedir(listing);
	return count;
}

static void test_cycles(void **state)
{
	(void) state;
	int before = threads();
	for (int i = 0; i < 24; i++) {
		start(&(struct engine_options){ .policy = policies[i % POLICIES], .workers = 1 + i % 3 % 2, .watchdog_s = i % 2 });
		assert_int_equal(engine_reserve(engine, 10000, &(struct error){ 0 }), 0);
		if (i % 4)
			ring(policies[i % POLICIES], 40);
		stop();
	}
	assert_int_equal(threads(), before);
	engine_stop(NULL);
}

/* ---- the home: a program of its own, whose HOME and TMPDIR are empty folders */

static int run_at_home(void)
{
	for (int i = 0; i < POLICIES; i++) {
		start(&(struct engine_options){ .policy = policies[i], .workers = 2, .record = true });
		ring(policies[i], 50);
		stop();
		if (getenv("STARPU_PERF_MODEL_DIR"))
			return 1;
	}
	return 0;
}

static bool is_empty(const char *folder)
{
	DIR *listing = opendir(folder);
	struct dirent *entry;
	bool empty = true;
	assert_non_null(listing);
	while ((entry = readdir(listing)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) {
			print_error("%s/%s is left\n", folder, entry->d_name);
			empty = false;
		}
	closedir(listing);
	return empty;
}

static void test_home(void **state)
{
	(void) state;
	char home[SCRATCH_PATH], temporary[SCRATCH_PATH], set_home[SCRATCH_PATH + 8], set_temporary[SCRATCH_PATH + 8], path[4096];
	scratch_make(home);
	scratch_make(temporary);
	snprintf(set_home, sizeof set_home, "HOME=%s", home);
	snprintf(set_temporary, sizeof set_temporary, "TMPDIR=%s", temporary);
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
	assert_true(n > 0);
	path[n] = 0;
	char *arguments[] = { path, (char[]){ "at-home" }, NULL }, *environment[512] = { set_home, set_temporary };
	for (int i = 0, kept = 2; environ[i] && kept < 511; i++)
		if (strncmp(environ[i], "HOME=", 5) && strncmp(environ[i], "TMPDIR=", 7) && strncmp(environ[i], "STARPU_", 7)
			&& strncmp(environ[i], "XDG_", 4))
			environment[kept++] = environ[i];
	pid_t child;
	int status;
	assert_int_equal(posix_spawn(&child, path, NULL, NULL, arguments, environment), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_true(is_empty(home));
	assert_true(is_empty(temporary));
	scratch_remove(home);
	scratch_remove(temporary);
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "at-home"))
		return run_at_home();
	const struct CMUnitTest fixed[] = { cmocka_unit_test(test_refused), cmocka_unit_test(test_home),
		cmocka_unit_test(test_records), cmocka_unit_test(test_guard_refused), cmocka_unit_test(test_watchdog),
		cmocka_unit_test(test_cycles) };
	enum { FIXED = sizeof fixed / sizeof *fixed };
	struct CMUnitTest tests[FIXED + POLICIES];
	memcpy(tests, fixed, sizeof fixed);
	for (int i = 0; i < POLICIES; i++)
		tests[FIXED + i] = (struct CMUnitTest){ policies[i], test_policy, NULL, NULL, (void *) (uintptr_t) policies[i] };
	return _cmocka_run_group_tests("engine", tests, FIXED + POLICIES, NULL, NULL);
}
