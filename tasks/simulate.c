/* SPDX-License-Identifier: Apache-2.0
 *
 * A workload on a simulated machine. */
#include "tasks/simulate.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tasks/call.h"

/* ---- sizes, and whether they fit */

/* Tokens of the longest sequence; one beyond the limit fails alone. */
static int64_t longest_of(const struct simulation *s)
{
	int64_t longest = 1;
	for (int i = 0; i < s->sequences; i++) {
		int64_t tokens = (int64_t) s->sequence[i].prompt_tokens + s->sequence[i].new_tokens;
		if (tokens <= s->graph->limits.tokens_per_sequence && tokens > longest)
			longest = tokens;
	}
	return longest;
}

int simulate_prepare(struct simulation *s, struct error *error)
{
	const struct graph *graph = s->graph;
	struct batcher_options options;
	run_batcher_options(graph, 1, &options);
	s->sizes = (struct deployment_sizes){ options.slots, batcher_max_rows(&options), batcher_max_samples(&options),
		options.seats, 0 };
	if (!graph->machine.host && graph->mesh.devices > 1 && !graph->machine.links)
		return error_set(error, ERROR_INPUT, graph->path, "the machine \"%s\" has no links between its devices; "
			"interconnect = { bandwidth = 56e9; }, or links = ( … ), would be right", graph->machine.name);
	return pool_size(graph, longest_of(s), &s->sizes, &s->pool, error);
}

/* ---- within the simulation */

struct simulated {
	struct simulation *asked;
	struct engine *engine;
	struct deployment *deployment;
	struct batcher *batcher;
	double now_s;
	int32_t *prompt; /* [longest], zeros */
	struct error *error;
};

/* On a calibrated host. The same in every simulation of the workload, whichever worker takes the task when. */
static double variation(const struct call *c)
{
	const struct curve *curve = call_curve(c);
	uint64_t seed = c->base.micro_batch * 0x100000001b3u;
	seed = (seed ^ (c->base.share ? c->base.share : c->base.devices)) * 0x100000001b3u;
	seed = (seed ^ (uint64_t) (c->base.layer + 1)) * 0x100000001b3u;
	return curve ? curve_variation(curve, seed ^ (uint64_t) c->base.type->kind) : 1;
}

static void pass(const struct engine_call *call, struct engine_passage *passage)
{
	const struct call *c = call_of(call);
	struct cost cost;
	struct work work;
	call_estimate(c, &cost, &work, passage->flow, &passage->flows);
	const struct routes *routes = c->deployment->routes;
	double all = cost_links_seconds(routes, passage->flow, passage->flows, work.steps);
	double loads = cost_links_seconds(routes, passage->flow, passage->flows, 0);
	passage->before_s = passage->flows ? cost.launch_s + all - loads : 0;
	passage->least_s = cost.launch_s + (passage->flows ? fmax(cost.flops_s, cost.bytes_s) : cost.seconds - cost.launch_s);
	double varies = variation(c);
	passage->busy_s = passage->least_s * varies;
	passage->least_s = call_alone(c, passage->least_s) * varies;
}

static void on_formed(void *context, struct micro_batch *b)
{
	struct simulated *run = context;
	for (int i = 0; i < b->samples; i++) {
		b->sampled[i] = 0;
		b->logprob[i] = 0;
	}
	if (run->asked->routing && b->routed)
		routing_fill(run->asked->routing, b);
}

static void on_ended(void *context, const struct micro_batch *b)
{
	struct simulated *run = context;
	run->now_s = engine_now(run->engine) - run->asked->start_s;
	if (run->asked->progress)
		run->asked->progress(run->asked->context, b, run->now_s);
}

static int on_token(void *context, int sequence, int count, int32_t token, float logprob)
{
	struct simulated *run = context;
	struct metrics_sequence *result = &run->asked->result[sequence];
	(void) token, (void) logprob;
	((double *) result->token_s)[count - 1] = run->now_s;
	result->tokens = count;
	return 0;
}

static void on_finish(void *context, int sequence, enum finish_reason reason)
{
	struct simulated *run = context;
	(void) sequence;
	if (reason == FINISH_ERROR)
		run->asked->failed++;
	else
		run->asked->finished++;
}

static int add_sequences(struct simulated *run, struct error *error)
{
	struct simulation *s = run->asked;
	int longest = 1, code = 0;
	size_t tokens = 0;
	for (int i = 0; i < s->sequences; i++) {
		longest = s->sequence[i].prompt_tokens > longest ? s->sequence[i].prompt_tokens : longest;
		tokens += (size_t) s->sequence[i].new_tokens;
	}
	run->prompt = calloc((size_t) longest, sizeof *run->prompt);
	s->result = calloc((size_t) s->sequences + 1, sizeof *s->result);
	s->token_s = calloc(tokens + 1, sizeof *s->token_s);
	if (!run->prompt || !s->result || !s->token_s)
		return error_memory(error, "keeping the sequences");
	for (int i = 0, at = 0; !code && i < s->sequences; i++) {
		const struct simulate_sequence *q = &s->sequence[i];
		int index;
		s->result[i] = (struct metrics_sequence){ .prompt_tokens = q->prompt_tokens, .token_s = s->token_s + at };
		at += q->new_tokens;
		code = batcher_add(run->batcher, &(struct sequence){ .prompt = run->prompt, .prompt_tokens = q->prompt_tokens,
			.max_new_tokens = q->new_tokens, .ignore_eos = true }, &index, error);
	}
	return code;
}

static int start(struct simulated *run, struct error *error)
{
	struct simulation *s = run->asked;
	struct engine_options engine = { .policy = s->graph->schedule.policy, .record = true, .tasks = s->tasks };
	struct batcher_options options;
	int code = engine_start(&engine, &run->engine, error);
	if (code)
		return code;
	run_batcher_options(s->graph, s->sizes.pages, &options);
	options.record_routing = s->routing != NULL;
	options.on_token = on_token;
	options.on_finish = on_finish;
	options.context = run;
	code = batcher_create(&options, &run->batcher, error);
	if (!code)
		code = deployment_simulate(s->graph, s->graph->compute, &s->sizes, run->engine, &run->deployment, error);
	if (!code)
		run->deployment->routing_known = s->routing != NULL;
	return code;
}

static int simulate(void *context)
{
	struct simulated *run = context;
	struct simulation *s = run->asked;
	struct run_hooks hooks = { .formed = on_formed, .ended = on_ended, .context = run };
	int code = start(run, run->error);
	if (!code)
		code = add_sequences(run, run->error);
	if (!code) {
		s->start_s = engine_now(run->engine);
		code = run_batcher(run->deployment, run->batcher, &hooks, run->error);
		s->end_s = s->start_s + run->now_s;
		batcher_count(run->batcher, &s->counters);
	}
	if (!code)
		code = engine_take_records(run->engine, &s->record, &s->records, run->error);
	deployment_destroy(run->deployment);
	batcher_destroy(run->batcher);
	engine_stop(run->engine);
	free(run->prompt);
	return code;
}

/* ---- around it */

/* The sets of devices that collectives of a slot's program join, each once. */
static int find_sets(const struct deployment *d, uint64_t *set, int most)
{
	int n = 0;
	for (int i = 0; i < d->slot[0].calls; i++) {
		const struct engine_call *call = &d->slot[0].call[i].base;
		int at = 0;
		if (!engine_call_moves(call))
			continue;
		while (at < n && set[at] != call->devices)
			at++;
		if (at == n && n < most)
			set[n++] = call->devices;
	}
	return n;
}

static void find_unknown(struct simulation *s, const struct deployment *d)
{
	bool told[CALL_KINDS] = { false };
	size_t used = 0;
	for (int i = 0; i < d->slot[0].calls && s->graph->machine.curves; i++) {
		const struct call *call = &d->slot[0].call[i];
		int kind = call->base.type->kind;
		if (told[kind] || call_curve(call))
			continue;
		told[kind] = true;
		int n = snprintf(s->without_curve + used, sizeof s->without_curve - used, "%s%s", used ? ", " : "",
			call_kind_names[kind]);
		used += n > 0 && used + (size_t) n < sizeof s->without_curve ? (size_t) n : 0;
	}
}

int simulate_run(struct simulation *s, struct error *error)
{
	struct deployment *sketch;
	uint64_t set[4 * MESH_MAX_DEVICES];
	struct simulated run = { .asked = s, .error = error };
	struct engine_simulation engine = { .machine = &s->graph->machine, .set = set, .channels = s->channels,
		.workers = s->workers, .submit_s = s->submit_s, .task_s = s->task_s,
		.hop_s = s->hop_s, .wake_s = s->wake_s, .awake_s = s->awake_s, .pass = pass };
	int status = 0;
	int code = deployment_sketch(s->graph, s->graph->compute, &s->sizes, &sketch, error);
	if (code)
		return code;
	engine.sets = find_sets(sketch, set, 4 * MESH_MAX_DEVICES);
	find_unknown(s, sketch);
	deployment_destroy(sketch);
	for (int i = 0; i < s->graph->mesh.devices; i++)
		engine.devices |= (uint64_t) 1 << s->graph->mesh.part[i].device;
	code = engine_simulate(&engine, simulate, &run, &status, error);
	return code ? code : status;
}

/* Of the memory's verdict: what the fullest device holds, in the words of the plan. */
static void explain_memory(const struct simulation *s, struct metrics *m)
{
	int fullest = 0;
	for (int i = 1; i < m->devices; i++)
		if (m->device[i].peak_bytes > m->device[fullest].peak_bytes)
			fullest = i;
	const struct deployment_account *a = &s->pool.account[fullest];
	for (int i = 0; i < m->requirements; i++) {
		struct metrics_requirement *r = &m->requirement[i];
		if (r->holds >= 0 && !strcmp(r->name, "memory_gb_per_device"))
			snprintf(r->why, sizeof r->why, "device %d: weights %.2f, KV pool %.2f (used %.2f), slots %.2f, workspace %.2f GB",
				m->device[fullest].id, (double) a->weights * 1e-9, (double) a->kv * 1e-9,
				m->device[fullest].kv_used_bytes * 1e-9, (double) a->activations * 1e-9, (double) a->workspace * 1e-9);
	}
}

int simulate_metrics(const struct simulation *s, struct metrics *m, struct error *error)
{
	double pages = (double) s->sizes.pages * s->graph->mesh.groups;
	metrics_begin(m, METRICS_SIMULATED, s->graph);
	snprintf(m->policy, sizeof m->policy, "%s", s->graph->schedule.policy);
	m->finished = s->finished;
	m->failed = s->failed;
	m->preempted = s->counters.preemptions;
	m->wasted_rows = s->counters.wasted_rows;
	m->recomputed_rows = s->counters.recomputed_rows;
	m->micro_batches = s->counters.micro_batches;
	for (int i = 0; i < m->devices; i++) {
		const struct deployment_account *a = &s->pool.account[i];
		struct metrics_device *device = &m->device[i];
		device->weight_bytes = (double) a->weights;
		device->kv_bytes = (double) a->kv;
		device->kv_used_bytes = pages > 0 ? (double) a->kv * (double) s->counters.pages_peak / pages : 0;
		device->activation_bytes = (double) (a->activations + a->workspace);
		device->peak_bytes = pool_need(a); /* pools are taken at the start */
	}
	int code = metrics_tokens(m, s->result, s->sequences, s->start_s, s->end_s, error);
	if (!code)
		code = metrics_records(m, s->record, s->records, call_kind_names, CALL_KINDS, 0, s->start_s, s->end_s, error);
	m->runtime_overhead_share = NAN; /* short gaps are waiting here, since nothing but waiting lies between tasks */
	if (s->routing)
		metrics_load(m, routing_load(s->routing), s->graph->model.layers, s->graph->model.experts);
	metrics_judge(m, s->graph, true);
	explain_memory(s, m);
	return code;
}

void simulate_free(struct simulation *s)
{
	free(s->record);
	free(s->result);
	free(s->token_s);
	s->record = NULL;
	s->result = NULL;
	s->token_s = NULL;
}
