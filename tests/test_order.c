/* SPDX-License-Identifier: Apache-2.0
 *
 * What data does not say, explicit dependencies must: attention over a chunk comes after attention over the sequence's
 * chunk before (both write pages of one pool, which StarPU takes for read-only), and a decoding step's embedding comes
 * after the sampling whose token it reads from the token table.
 *
 * Behaviours are wrapped, to note when they began and ended and to hold one back on purpose:
 *
 *   attention, chunk k    |---- held back ------------------|=====|
 *   attention, chunk k+1                                           |=====|     as it must be: it waits
 *   attention, chunk k+1       |=====|                                         with `after` emptied: it overtakes
 *
 * As it is, nothing overtakes and the bits stay the same. Without the dependencies it must overtake, the check of the
 * order must report it, and the answer must change: else this test would prove nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <time.h>
#include <unistd.h>
#include "tasks/call.h"
#include "tasks/run.h"
#include "tests/golden_cases.h"
#include "tests/model_run.h"

enum { MOST_EVENTS = 20000, MOST_PAIRS = 4000, MOST_TYPES = 8 };

enum role { ATTENTION, SAMPLE, EMBED };

struct event { /* one behaviour that ran */
	enum role role;
	int layer, device, group;
	uint64_t number;  /* of its micro-batch */
	int began, ended; /* stamps */
};

struct pair { /* micro-batch `second` must wait for `first`, in attention or (sampled) in embedding */
	uint64_t first, second;
	bool sampled;
};

static struct { /* of the present run */
	/* what is done to it */
	bool empty_after, empty_sampled; /* take the dependencies away */
	bool holds;
	enum role role;      /* of the calls held back: */
	int layer, device;   /* −1: any */
	bool once;           /* the first of them only */
	double patience_s;   /* for how long, unless it is overtaken before */
	/* what happened */
	int stamps, events, pairs, held, expired;
	struct event event[MOST_EVENTS];
	struct pair pair[MOST_PAIRS];
} run;

static struct {
	struct call_type type; /* with a wrapped behaviour */
	const struct call_type *original;
	enum role role;
} watched[MOST_TYPES];
static int watched_count;

static struct engine *engine;
static const char *grain; /* of the present case */

static int load(const int *value)
{
	return __atomic_load_n(value, __ATOMIC_SEQ_CST);
}

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + (double) now.tv_nsec * 1e-9;
}

/* ---- what must come after what */

/* Whether event b is what must wait for event a. */
static bool follows(const struct event *a, const struct event *b)
{
	if (a->role == ATTENTION ? b->role != ATTENTION || a->layer != b->layer || a->device != b->device
				 : a->role != SAMPLE || b->role != EMBED || a->group != b->group)
		return false;
	for (int i = 0, n = load(&run.pairs); i < n; i++)
		if (run.pair[i].first == a->number && run.pair[i].second == b->number && run.pair[i].sampled == (a->role == SAMPLE))
			return true;
	return false;
}

/* How many began before what they must wait for had ended; *checked gets how many there are. */
static int overtakings(int *checked)
{
	int n = 0;
	*checked = 0;
	for (int i = 0; i < run.events; i++)
		for (int j = 0; j < run.events; j++)
			if (run.event[i].role != EMBED && run.event[i].number < run.event[j].number
				&& follows(&run.event[i], &run.event[j])) {
				++*checked;
				n += run.event[i].ended > run.event[j].began;
			}
	return n;
}

static void add_pairs(uint64_t second, const uint64_t *first, int count, bool sampled)
{
	for (int i = 0; i < count; i++) {
		assert_true(run.pairs < MOST_PAIRS);
		run.pair[run.pairs] = (struct pair){ first[i], second, sampled };
		__atomic_add_fetch(&run.pairs, 1, __ATOMIC_SEQ_CST);
	}
}

/* Before a micro-batch is submitted: notes its dependencies, and takes them away where that is wanted. */
static void formed(void *context, struct micro_batch *b)
{
	(void) context;
	add_pairs(b->number, b->after, b->after_count, false);
	add_pairs(b->number, b->sampled_after, b->sampled_after_count, true);
	if (run.empty_after)
		b->after_count = 0;
	if (run.empty_sampled)
		b->sampled_after_count = 0;
}

/* ---- behaviours, watched and held back */

static bool is_held(const struct event *e)
{
	if (!run.holds || e->role != run.role || (run.layer >= 0 && e->layer != run.layer)
		|| (run.device >= 0 && e->device != run.device))
		return false;
	return __atomic_add_fetch(&run.held, 1, __ATOMIC_SEQ_CST) == 1 || !run.once;
}

/* Until something that should wait for it has ended, or patience has. */
static void hold_back(const struct event *e)
{
	for (double end = seconds() + run.patience_s; seconds() < end; usleep(100))
		for (int i = 0, n = load(&run.events); i < n && i < MOST_EVENTS; i++)
			if (load(&run.event[i].ended) && follows(e, &run.event[i]))
				return;
	__atomic_add_fetch(&run.expired, 1, __ATOMIC_SEQ_CST);
}

static int watched_run(struct engine_call *call, void *workspace, struct error *error)
{
	const struct call *c = call_of(call);
	int t = 0;
	while (&watched[t].type.engine != call->type)
		t++;
	int index = __atomic_fetch_add(&run.events, 1, __ATOMIC_SEQ_CST);
	if (index >= MOST_EVENTS)
		return error_set(error, ERROR_RUN, NULL, "too many events");
	struct event *e = &run.event[index];
	e->role = watched[t].role; /* `ended` is 0, and others look at it: they look at the rest when it is not */
	e->layer = call->layer;
	e->device = c->device;
	e->group = c->group;
	e->number = call->micro_batch;
	e->began = __atomic_add_fetch(&run.stamps, 1, __ATOMIC_SEQ_CST);
	if (is_held(e))
		hold_back(e);
	int code = watched[t].original->engine.run(call, workspace, error);
	__atomic_store_n(&e->ended, __atomic_add_fetch(&run.stamps, 1, __ATOMIC_SEQ_CST), __ATOMIC_SEQ_CST);
	return code;
}

static const struct engine_type *watch_type(const struct call_type *type, enum role role)
{
	int t = 0;
	while (t < watched_count && watched[t].original != type)
		t++;
	if (t == watched_count) {
		assert_true(watched_count < MOST_TYPES);
		watched[t].type = *type;
		watched[t].type.engine.run = watched_run;
		watched[t].original = type;
		watched[t].role = role;
		watched_count++;
	}
	return &watched[t].type.engine;
}

static void watch_calls(struct deployment *d)
{
	for (int s = 0; s < d->sizes.slots; s++)
		for (int i = 0; i < d->slot[s].calls; i++) {
			struct engine_call *call = &d->slot[s].call[i].base;
			const struct call_type *type = (const struct call_type *) call->type;
			if (type->appends)
				call->type = watch_type(type, ATTENTION);
			else if (call->type->kind == TASK_SAMPLE)
				call->type = watch_type(type, SAMPLE);
			else if (call->type->kind == TASK_EMBED)
				call->type = watch_type(type, EMBED);
		}
}

/* ---- the runs */

static struct order_case {
	const char *name, *policy, *model;
	const char *mesh[5];
	int layers, devices;
} cases[] = {
	{ "one device", "homes", "mixtral", { MESH(1, 1, 1) }, 4, 1 },
	{ "tensor and experts, rows sharded", "homes", "mixtral", { MESH(2, 2, 1), A2A }, 4, 2 },
	{ "attention groups", "homes", "mixtral", { MESH(1, 2, 1), A2A }, 4, 2 },
	{ "q and k norms over all heads", "homes", "olmoe", { MESH(2, 1, 1) }, 4, 2 },
	{ "stages, dense", "homes", "qwen3", { MESH(2, 1, 2) }, 5, 4 },
	{ "stages, eager", "eager", "mixtral", { MESH(2, 2, 2), LOCAL }, 4, 4 },
	{ "stages, lws", "lws", "mixtral", { MESH(2, 2, 2), A2A }, 4, 4 },
	{ "one device, prio", "prio", "qwen2_moe", { MESH(1, 1, 1) }, 4, 1 },
	{ "tensor, dmdas", "dmdas", "llama", { MESH(2, 1, 1) }, 4, 2 },
};
enum { CASES = sizeof cases / sizeof *cases };

/* Prompts of several chunks, longest first, so that the first micro-batch has a successor. */
enum { SEQUENCES = 4, NEW_TOKENS = 6 };

static void run_model(const struct order_case *c, const struct golden *golden, struct model_run_sequence *sequences)
{
	const char *set[24] = { FP32, "limits.sequences=4", "schedule.prefill.tokens=32", "schedule.prefill.micro_batches=3",
		"schedule.slots=6", "schedule.ahead=3", grain };
	int n = 9;
	for (int i = 0; c->mesh[i]; i++)
		set[n++] = c->mesh[i];
	static const struct run_hooks hooks = { .formed = formed };
	struct model_run model = { .directory = golden->directory, .set = set, .hooks = &hooks, .built = watch_calls };
	memset(sequences, 0, SEQUENCES * sizeof *sequences);
	for (int i = 0; i < SEQUENCES; i++) {
		const struct golden_prompt *p = &golden->prompt[golden->prompts - 1 - i];
		sequences[i].sequence = (struct sequence){ .prompt = p->tokens, .prompt_tokens = p->prompt_tokens,
			.max_new_tokens = NEW_TOKENS, .ignore_eos = true, .sampling = { .top_p = 1 } };
	}
	assert_int_equal(model_run(engine, &model, sequences, SEQUENCES), 0);
}

static int differing(const struct model_run_sequence *a, const struct model_run_sequence *b)
{
	int n = 0;
	for (int i = 0; i < SEQUENCES; i++)
		n += a[i].count != b[i].count || memcmp(a[i].tokens, b[i].tokens, (size_t) a[i].count * sizeof *a[i].tokens)
			|| memcmp(a[i].logprobs, b[i].logprobs, (size_t) a[i].count * sizeof *a[i].logprobs);
	return n;
}

static void clear_run(void)
{
	memset(&run, 0, sizeof run);
	run.layer = run.device = -1;
}

/* Held back here and there, with the dependencies: the same bits, and nothing overtakes. */
static void check_ordered(const struct order_case *c, const struct golden *golden,
	const struct model_run_sequence *reference, enum role role, int layer, int device)
{
	struct model_run_sequence got[SEQUENCES];
	int checked;
	clear_run();
	run.holds = true;
	run.role = role;
	run.layer = layer;
	run.device = device;
	run.patience_s = 2e-3;
	run_model(c, golden, got);
	assert_int_equal(overtakings(&checked), 0);
	assert_true(checked > 20);
	assert_true(run.held > 3);
	assert_int_equal(run.held, run.expired); /* nobody came by */
	assert_int_equal(differing(got, reference), 0);
	model_run_free(got, SEQUENCES);
}

/* The first one held back, without the dependencies: it is overtaken, and the answer is another one. */
static void check_overtaken(const struct order_case *c, const struct golden *golden,
	const struct model_run_sequence *reference, enum role role, int layer, int device)
{
	struct model_run_sequence got[SEQUENCES];
	int checked;
	clear_run();
	run.holds = run.once = true;
	run.empty_after = role == ATTENTION;
	run.empty_sampled = role == SAMPLE;
	run.role = role;
	run.layer = layer;
	run.device = device;
	run.patience_s = 20;
	run_model(c, golden, got);
	assert_true(overtakings(&checked) > 0);
	assert_int_equal(run.expired, 0);
	assert_true(differing(got, reference) > 0);
	model_run_free(got, SEQUENCES);
}

struct grained_case {
	const struct order_case *of;
	const char *grain;
};

static void check_case(void **state)
{
	const struct grained_case *grained = *state;
	const struct order_case *c = grained->of;
	struct golden *golden = golden_load(c->model);
	struct model_run_sequence reference[SEQUENCES], undisturbed[SEQUENCES];
	struct error error = { 0 };
	struct engine_options options = { .policy = "homes", .workers = 1 };
	grain = grained->grain;
	assert_int_equal(engine_start(&options, &engine, &error), 0);
	clear_run();
	run_model(c, golden, reference);
	engine_stop(engine);

	options = (struct engine_options){ .policy = c->policy, .workers = 2 };
	assert_int_equal(engine_start(&options, &engine, &error), 0);
	int checked, last_of_stage = c->devices - 1;
	clear_run();
	run_model(c, golden, undisturbed);
	assert_int_equal(overtakings(&checked), 0);
	assert_int_equal(differing(undisturbed, reference), 0);
	model_run_free(undisturbed, SEQUENCES);

	check_ordered(c, golden, reference, ATTENTION, 0, 0);
	check_ordered(c, golden, reference, ATTENTION, c->layers - 1, last_of_stage);
	check_ordered(c, golden, reference, ATTENTION, -1, last_of_stage);
	check_ordered(c, golden, reference, SAMPLE, -1, -1);
	/* A policy that queues tasks for a worker may leave the successor to the very worker that is held back. */
	if (!strcmp(c->policy, "homes")) {
		check_overtaken(c, golden, reference, ATTENTION, 0, 0);
		/* not in the last layer, whose rows but the sampled ones are no part of an answer */
		check_overtaken(c, golden, reference, ATTENTION, c->layers - 2, last_of_stage);
		check_overtaken(c, golden, reference, SAMPLE, -1, -1);
	}
	engine_stop(engine);
	model_run_free(reference, SEQUENCES);
	golden_free(golden);
}

int main(void)
{
	static const char *const grains[] = { "schedule.grain=task", "schedule.grain=device" };
	static struct grained_case all[2 * CASES];
	static char name[2 * CASES][80];
	struct CMUnitTest tests[2 * CASES];
	for (int i = 0; i < 2 * CASES; i++) {
		all[i] = (struct grained_case){ &cases[i / 2], grains[i % 2] };
		snprintf(name[i], sizeof name[i], "%s, %s", cases[i / 2].name, grains[i % 2]);
		tests[i] = (struct CMUnitTest){ name[i], check_case, NULL, NULL, &all[i] };
	}
	return _cmocka_run_group_tests("order", tests, 2 * CASES, NULL, NULL);
}
