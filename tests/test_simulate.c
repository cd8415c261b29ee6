/* SPDX-License-Identifier: Apache-2.0
 *
 * The simulation against closed forms: tasks, links, rings, contention, overlap and a pipeline; and one micro-batch of a
 * graph against the cost model. A process simulates once, so each case is a child of its own, which hands the times
 * of its tasks back through a pipe. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "runtime/engine.h"
#include "tasks/call.h"
#include "tasks/kinds.h"
#include "tasks/simulate.h"

#define LINK 50e9 /* bytes/s */
#define MS 1e-3
/* SimGrid ends events that lie within a nanosecond together. */
#define NEAR 3e-9
/* StarPU counts 1 µs whenever a worker looks at its queue; a task that waited for another, or for its worker, waits for up
 * to two such looks. */
#define LOOK 2.1e-6

enum { MOST = 4096 };

struct times {
	double start, end;
};

/* ---- a machine of four devices on one switch, or with links as given */

static struct graph_machine machine;

static void make_machine(void)
{
	machine = (struct graph_machine){ .name = "test", .given = true, .devices = 4, .links = 4 };
	for (int i = 0; i < 4; i++) {
		machine.device[i] = (struct graph_device){ .name = "GPU", .flops = 1e12, .flops_efficiency = 1,
			.bandwidth = 1e12, .bandwidth_efficiency = 1, .memory = 1e9, .launch_s = 1e-6 };
		machine.link[i] = (struct graph_link){ .from = i, .to = -1, .bandwidth = LINK };
	}
}

/* ---- calls of a test */

struct test_call {
	struct engine_call base; /* must be first */
	double before_s, least_s;
	int flows;
	struct flow flow[16];
	struct engine_buffer *buffer[4];
	uint8_t mode[4];
};

static void pass(const struct engine_call *call, struct engine_passage *passage)
{
	const struct test_call *c = (const struct test_call *) call;
	passage->before_s = c->before_s;
	passage->least_s = c->least_s;
	passage->flows = c->flows;
	memcpy(passage->flow, c->flow, (size_t) c->flows * sizeof *c->flow);
}

static double cost(const struct engine_call *call)
{
	return ((const struct test_call *) call)->least_s + 1e-6;
}

static const struct engine_type compute_type = { .name = "compute", .kind = 0, .cost = cost };
static const struct engine_type move_type = { .name = "move", .kind = 1, .collective = true, .cost = cost };

struct scene {
	struct engine_simulation simulation;
	int calls;
	struct test_call call[256];
	int buffers;
	int uses[256][4][2]; /* call: up to 4 × (buffer + 1, mode) */
	const char *policy;
	struct times times[256];
	int pipe;
};

static int play(void *context)
{
	struct scene *s = context;
	struct engine_options options = { .policy = s->policy ? s->policy : "homes", .record = true };
	struct engine *engine;
	struct error error = { 0 };
	struct engine_buffer *buffer[16];
	struct task_record *record;
	size_t records;
	int pending = 0, code = engine_start(&options, &engine, &error);
	if (code)
		return code;
	for (int b = 0; b < s->buffers && !code; b++)
		code = engine_buffer_create(engine, (void *) (uintptr_t) (4096 + 64 * b), 64, false, "buffer", &buffer[b], &error);
	for (int i = 0; i < s->calls && !code; i++) {
		struct test_call *c = &s->call[i];
		for (int u = 0; u < 4 && s->uses[i][u][0]; u++) {
			c->buffer[u] = buffer[s->uses[i][u][0] - 1];
			c->mode[u] = (uint8_t) s->uses[i][u][1];
			c->base.buffers = u + 1;
		}
		c->base.buffer = c->buffer;
		c->base.mode = c->mode;
		c->base.pending = &pending;
		c->base.micro_batch = (uint64_t) i;
		code = engine_submit(engine, &c->base, NULL, 0, &error);
	}
	if (!code)
		code = engine_wait(engine, &pending, &error);
	if (!code)
		code = engine_take_records(engine, &record, &records, &error);
	for (size_t i = 0; !code && i < records; i++)
		s->times[record[i].micro_batch] = (struct times){ record[i].start_s, record[i].end_s };
	if (!code)
		free(record);
	for (int b = 0; b < s->buffers; b++)
		engine_buffer_destroy(buffer[b]);
	engine_stop(engine);
	return code;
}

/* Runs `body` in a child that writes `size` bytes of `result`; whether all came. */
static bool in_child(int (*body)(void *context), void *context, void *result, size_t size)
{
	int ends[2], status = 1;
	size_t got = 0;
	ssize_t n;
	fflush(NULL);
	assert_int_equal(pipe(ends), 0);
	pid_t child = fork();
	if (!child) {
		close(ends[0]);
		int code = body(context);
		for (size_t put = 0; !code && put < size; put += (size_t) n)
			if ((n = write(ends[1], (char *) result + put, size - put)) <= 0)
				_exit(2);
		_exit(code);
	}
	close(ends[1]);
	while (got < size && (n = read(ends[0], (char *) result + got, size - got)) > 0)
		got += (size_t) n;
	close(ends[0]);
	waitpid(child, &status, 0);
	return status == 0 && got == size;
}

static int simulate_scene(void *context)
{
	struct scene *s = context;
	struct error error = { 0 };
	int status = 1;
	s->simulation.machine = &machine;
	s->simulation.devices = 15;
	s->simulation.pass = pass;
	if (!s->simulation.channels)
		s->simulation.channels = 1;
	int code = engine_simulate(&s->simulation, play, s, &status, &error);
	if (code)
		error_print(&error);
	return code ? code : status;
}

static void run_scene(struct scene *s)
{
	assert_true(in_child(simulate_scene, s, s->times, sizeof s->times));
	double first = s->times[0].start; /* of the engine's clock */
	for (int i = 1; i < s->calls; i++)
		first = fmin(first, s->times[i].start);
	for (int i = 0; i < s->calls; i++) {
		s->times[i].start -= first;
		s->times[i].end -= first;
	}
}

static int compute(struct scene *s, int device, double seconds)
{
	s->call[s->calls] = (struct test_call){
		.base = { .type = &compute_type, .devices = (uint64_t) 1 << device, .layer = -1 }, .least_s = seconds };
	return s->calls++;
}

/* A collective of `devices` with 50 MB (1 ms of a link) from each named device to the next one. */
static int move(struct scene *s, uint64_t devices, int flows, const int (*pairs)[2])
{
	struct test_call *c = &s->call[s->calls];
	*c = (struct test_call){ .base = { .type = &move_type, .devices = devices, .layer = -1 }, .flows = flows };
	for (int i = 0; i < flows; i++)
		c->flow[i] = (struct flow){ pairs[i][0], pairs[i][1], LINK * MS };
	return s->calls++;
}

static void use(struct scene *s, int call, int buffer, int mode)
{
	int u = 0;
	while (s->uses[call][u][0])
		u++;
	s->uses[call][u][0] = buffer + 1;
	s->uses[call][u][1] = mode;
}

#define assert_time(value, expected) assert_float_equal(1e3 * (value), 1e3 * (expected), 1e3 * NEAR)
/* after `hops` tasks that waited for another or for their worker */
#define assert_late(value, expected, hops) assert_within(1e6 * ((value) - (expected)), 1e6 * LOOK * (hops), __LINE__)

static void assert_within(double late_us, double most_us, int line)
{
	if (late_us < -1e6 * NEAR || late_us > most_us)
		fail_msg("line %d: %.3f us late, at most %.3f would be right", line, late_us, most_us);
}

/* ---- closed forms */

static void a_task_lasts_its_cost(void **state)
{
	(void) state;
	struct scene s = { .calls = 0 };
	int c = compute(&s, 2, 1.5 * MS);
	run_scene(&s);
	assert_time(s.times[c].end, 1.5 * MS);
}

static void a_link_takes_latency_and_bytes(void **state)
{
	(void) state;
	const uint64_t set[] = { 3 };
	struct scene s = { .simulation = { .set = set, .sets = 1 } };
	int c = move(&s, 3, 1, (const int[][2]){ { 0, 1 } });
	s.call[c].before_s = 0.005 * MS;
	run_scene(&s);
	assert_time(s.times[c].end, 1.005 * MS);
}

/* Both directions of a link and all ports are used at once: as long as one hop. */
static void a_ring_takes_as_long_as_one_hop(void **state)
{
	(void) state;
	const uint64_t set[] = { 15 };
	struct scene s = { .simulation = { .set = set, .sets = 1 } };
	int c = move(&s, 15, 4, (const int[][2]){ { 0, 1 }, { 1, 2 }, { 2, 3 }, { 3, 0 } });
	run_scene(&s);
	assert_time(s.times[c].end, 1 * MS);
}

/* Each port carries three flows. */
static void an_all_to_all_of_four_takes_three(void **state)
{
	(void) state;
	const uint64_t set[] = { 15 };
	int pairs[12][2], n = 0;
	struct scene s = { .simulation = { .set = set, .sets = 1 } };
	for (int from = 0; from < 4; from++)
		for (int to = 0; to < 4; to++)
			if (from != to) {
				pairs[n][0] = from;
				pairs[n++][1] = to;
			}
	int c = move(&s, 15, 12, (const int(*)[2]) pairs);
	run_scene(&s);
	assert_time(s.times[c].end, 3 * MS);
}

/* Two collectives that send to device 1 share its port; the second comes half a length later. */
static void two_collectives_share_a_link(void **state)
{
	(void) state;
	const uint64_t set[] = { 3, 6 };
	struct scene s = { .simulation = { .set = set, .sets = 2 }, .buffers = 1 };
	int a = move(&s, 3, 1, (const int[][2]){ { 0, 1 } });
	int wait = compute(&s, 2, 0.5 * MS);
	int b = move(&s, 6, 1, (const int[][2]){ { 2, 1 } });
	use(&s, wait, 0, ENGINE_WRITE);
	use(&s, b, 0, ENGINE_READ);
	run_scene(&s);
	assert_late(s.times[a].end, 1.5 * MS - LOOK, 2); /* alone for 0.5, then 0.5 of work at half the rate */
	assert_late(s.times[b].start, 0.5 * MS, 1);
	assert_time(s.times[b].end, 2 * MS); /* 0.5 done when the other ends, the rest alone */
}

static void opposite_directions_do_not_share(void **state)
{
	(void) state;
	const uint64_t set[] = { 3, 6 };
	struct scene s = { .simulation = { .set = set, .sets = 2 } };
	int a = move(&s, 3, 1, (const int[][2]){ { 0, 1 } });
	int b = move(&s, 6, 1, (const int[][2]){ { 1, 2 } });
	run_scene(&s);
	assert_time(s.times[a].end, 1 * MS);
	assert_time(s.times[b].end, 1 * MS);
}

static void a_set_has_its_channels(void **state)
{
	(void) state;
	const uint64_t set[] = { 3 };
	for (int channels = 1; channels <= 2; channels++) {
		struct scene s = { .simulation = { .set = set, .sets = 1, .channels = channels } };
		int a = move(&s, 3, 1, (const int[][2]){ { 0, 1 } }), b = move(&s, 3, 1, (const int[][2]){ { 0, 1 } });
		run_scene(&s);
		assert_time(s.times[a].end, channels == 1 ? 1 * MS : 2 * MS);
		assert_late(s.times[b].start, channels == 1 ? 1 * MS : 0, 1);
		assert_late(s.times[b].end, 2 * MS, 1);
	}
}

/* A collective takes no time from its devices, and they none from it; own passes over memory only bound it. */
static void computing_goes_on_beside_a_collective(void **state)
{
	(void) state;
	const uint64_t set[] = { 3 };
	struct scene s = { .simulation = { .set = set, .sets = 1 } };
	int a = move(&s, 3, 2, (const int[][2]){ { 0, 1 }, { 1, 0 } }), b = a;
	for (int i = 0; i < 20; i++)
		b = compute(&s, i % 2, 0.4 * MS);
	int c = move(&s, 3, 1, (const int[][2]){ { 0, 1 } });
	s.call[c].least_s = 2.5 * MS;
	run_scene(&s);
	assert_time(s.times[a].end, 1 * MS);
	assert_late(s.times[b].end, 4 * MS, 10);
	assert_time(s.times[c].end - s.times[c].start, 2.5 * MS);
}

/* Two stages of 1 ms, n micro-batches: n + 1 ms with enough slots, so that each stage idles for 1 ms of them; with one
 * slot the stages take turns. */
static void a_pipeline_has_its_bubble(void **state)
{
	(void) state;
	enum { N = 6 };
	static const char *const policies[] = { "homes", "dmdas", "eager", "prio", "lws" };
	for (size_t p = 0; p < sizeof policies / sizeof *policies; p++)
		for (int slots = 1; slots <= 4; slots += 3) {
			struct scene s = { .buffers = slots, .policy = policies[p] };
			int last = 0;
			for (int i = 0; i < N; i++) {
				use(&s, compute(&s, 0, 1 * MS), i % slots, ENGINE_WRITE);
				use(&s, last = compute(&s, 1, 1 * MS), i % slots, ENGINE_READ);
			}
			run_scene(&s);
			assert_late(s.times[last].end, slots == 1 ? 2 * N * MS : (N + 1) * MS, 2 * N);
		}
}

static void submitting_and_taking_cost_what_is_said(void **state)
{
	(void) state;
	struct scene s = { .simulation = { .submit_s = 0.2 * MS, .task_s = 0.3 * MS } };
	for (int i = 0; i < 4; i++)
		compute(&s, i, 1 * MS);
	compute(&s, 0, 1 * MS);
	run_scene(&s);
	assert_time(s.times[3].start, 0.6 * MS);
	assert_late(s.times[4].start, s.times[0].end + 0.3 * MS, 1);
}

static void the_same_twice_to_the_bit(void **state)
{
	(void) state;
	const uint64_t set[] = { 3, 6, 12, 9 };
	struct times first[256];
	for (int turn = 0; turn < 2; turn++) {
		struct scene s = { .simulation = { .set = set, .sets = 4 }, .buffers = 8, .policy = "dmdas" };
		for (int i = 0; i < 200; i++) {
			int a = i % 4, b = (a + 1) % 4, c;
			if (i % 3)
				c = compute(&s, a, (1 + i * 7 % 11) * 0.013 * MS);
			else
				c = move(&s, (uint64_t) 1 << a | (uint64_t) 1 << b, 1, (const int[][2]){ { a, b } });
			use(&s, c, i * 5 % 8, i % 2 ? ENGINE_READ : ENGINE_WRITE);
		}
		run_scene(&s);
		if (turn)
			assert_memory_equal(first, s.times, sizeof first);
		memcpy(first, s.times, sizeof first);
	}
}

static void what_cannot_be_simulated_is_refused(void **state)
{
	(void) state;
	struct error error = { 0 }, second = { 0 };
	int status;
	struct engine_simulation many = { .machine = &machine, .devices = 0x1ffff, .channels = 1, .pass = pass };
	assert_int_equal(engine_simulate(&many, play, NULL, &status, &error), ERROR_INPUT);
	assert_non_null(strstr(error.text, "at most 16"));
	struct engine_options options = { .policy = "homes" };
	struct engine *engine;
	assert_int_equal(engine_start(&options, &engine, &second), ERROR_RUN);
}

/* ---- one micro-batch of a graph */

struct one {
	struct graph *graph;
	struct simulation simulation;
	int records;
	struct task_record record[MOST];
	double makespan_s;
};

static int simulate_one(void *context)
{
	struct one *one = context;
	struct error error = { 0 };
	int code = simulate_prepare(&one->simulation, &error);
	if (!code)
		code = simulate_run(&one->simulation, &error);
	if (code)
		error_print(&error);
	else if (one->simulation.records > MOST)
		code = ERROR_RUN;
	else {
		one->records = (int) one->simulation.records;
		memcpy(one->record, one->simulation.record, one->simulation.records * sizeof *one->record);
		one->makespan_s = one->simulation.end_s - one->simulation.start_s;
	}
	return code;
}

static struct one *one_prompt(const char *name, const struct graph_override *overrides, int count, int tokens)
{
	static struct simulate_sequence sequence;
	struct one *one = calloc(1, sizeof *one);
	struct error error = { 0 };
	assert_non_null(one);
	if (graph_read(name, &task_kinds, overrides, count, &one->graph, &error)
		|| graph_resolve(one->graph, NULL, &task_kinds, &error)) {
		error_print(&error);
		fail();
	}
	sequence = (struct simulate_sequence){ tokens, 1 };
	one->simulation = (struct simulation){ .graph = one->graph, .sequence = &sequence, .sequences = 1, .channels = 1 };
	assert_true(in_child(simulate_one, one, one, sizeof *one));
	return one;
}

/* Nothing runs beside a lone micro-batch but its like on the other ranks: each step takes what the cost model says, the
 * slowest rank's, and the steps add up. */
static void a_lone_micro_batch_takes_the_sum_of_its_steps(void **state)
{
	(void) state;
	static const char *const graphs[] = { "one_device", "tensor_only", "tp2_ep2_reduce_scatter", "tp2_ep2_all_reduce",
		"tp2_ep2_pp2", "stages_only" };
	for (size_t g = 0; g < sizeof graphs / sizeof *graphs; g++) {
		struct one *one = one_prompt(graphs[g], NULL, 0, 1000);
		struct deployment *d;
		struct error error = { 0 };
		struct batcher_options options;
		run_batcher_options(one->graph, 1, &options);
		struct deployment_sizes sizes = { 1, batcher_max_rows(&options), batcher_max_samples(&options), 1, 1 };
		assert_int_equal(deployment_sketch(one->graph, one->graph->compute, &sizes, &d, &error), 0);
		struct segment segment = { .rows = 1000 };
		struct sample sample = { .row = 999 };
		struct micro_batch b = { .rows = 1000, .groups = 1, .group_row = { 0, 1000 }, .segments = 1,
			.group_segment = { 0, 1 }, .segment = &segment, .samples = 1, .group_sample = { 0, 1 },
			.sample = &sample };
		assert_int_equal(one->graph->mesh.groups, 1);
		d->slot[0].micro_batch = &b;
		double sum = 0, step = 0;
		int records = 0, steps = 0;
		for (int i = 0; i < d->slot[0].calls; i++) {
			const struct call *c = &d->slot[0].call[i], *before = i ? c - 1 : c;
			const struct call_type *type = (const struct call_type *) c->base.type;
			double seconds = call_cost(&c->base);
			assert_true(!type->wanted || type->wanted(c));
			for (int r = 0; r < one->records; r++) {
				const struct task_record *record = &one->record[r];
				if ((int) record->kind != type->engine.kind || record->layer != c->base.layer
					|| record->devices != c->base.devices)
					continue;
				if (type->engine.kind != TASK_ALL_REDUCE) /* twice a layer */
					assert_float_equal(1e6 * (record->end_s - record->start_s), 1e6 * seconds, 1e6 * NEAR);
				records++;
				break;
			}
			if (before->base.type != c->base.type || before->base.layer != c->base.layer
				|| (before->base.devices & c->base.devices)) {
				sum += step;
				step = 0;
				steps++;
			}
			step = fmax(step, seconds);
		}
		sum += step;
		assert_int_equal(records, d->slot[0].calls);
		assert_int_equal(one->records, d->slot[0].calls);
		assert_late(one->makespan_s, sum, steps + 2);
		deployment_destroy(d);
		graph_destroy(one->graph);
		free(one);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_task_lasts_its_cost),
		cmocka_unit_test(a_link_takes_latency_and_bytes),
		cmocka_unit_test(a_ring_takes_as_long_as_one_hop),
		cmocka_unit_test(an_all_to_all_of_four_takes_three),
		cmocka_unit_test(two_collectives_share_a_link),
		cmocka_unit_test(opposite_directions_do_not_share),
		cmocka_unit_test(a_set_has_its_channels),
		cmocka_unit_test(computing_goes_on_beside_a_collective),
		cmocka_unit_test(a_pipeline_has_its_bubble),
		cmocka_unit_test(submitting_and_taking_cost_what_is_said),
		cmocka_unit_test(the_same_twice_to_the_bit),
		cmocka_unit_test(what_cannot_be_simulated_is_refused),
		cmocka_unit_test(a_lone_micro_batch_takes_the_sum_of_its_steps),
	};
	make_machine();
	return cmocka_run_group_tests_name("simulation", tests, NULL, NULL);
}
