/* SPDX-License-Identifier: Apache-2.0
 *
 * The plan: the workload through the batcher, its micro-batches through the cost model, and what comes of it in the
 * form of a run's metrics. */
#include "tasks/plan.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/workload.h"
#include "tasks/plan_internal.h"
#include "tasks/run.h"

enum { MOST_STEPS = 1 << 24, MOST_TOKENS = 1 << 26 };

struct planning {
	const struct graph *graph;
	struct plan *plan;
	struct deployment *deployment;
	struct batcher *batcher;
	struct routing *routing;
	struct plan_work work;
	struct plan_steps steps;
	int *lengths;    /* [sequences] */
	double first_prompts; /* tokens of prompts of sequences that have a first token */
	int32_t *prompt; /* [longest] any tokens: nothing computes with them */
	int64_t result;  /* whose result is being consumed */
	struct error *error;
	int code;
};

/* ---- the batcher, with results that are made up */

static int on_token(void *context, int sequence, int count, int32_t token, float logprob)
{
	struct planning *p = context;
	struct plan_steps *steps = &p->steps;
	(void) count, (void) token, (void) logprob;
	if (steps->tokens == steps->token_room) {
		int64_t room = steps->token_room ? 2 * steps->token_room : 4096;
		struct plan_token *larger = realloc(steps->token, (size_t) room * sizeof *larger);
		if (!larger) {
			p->code = error_memory(p->error, "planning");
			return 0;
		}
		steps->token = larger;
		steps->token_room = room;
	}
	steps->token[steps->tokens++] = (struct plan_token){ p->result, sequence };
	return 0;
}

static int reserve(struct plan_steps *steps, const struct micro_batch *b, struct error *error)
{
	if (steps->count == MOST_STEPS)
		return error_set(error, ERROR_INPUT, NULL, "the workload makes more than %d micro-batches; fewer sequences or "
			"larger schedule.prefill.tokens would be right", MOST_STEPS);
	if (steps->count == steps->room) {
		int64_t room = steps->room ? 2 * steps->room : 1024;
		struct plan_step *step = realloc(steps->step, (size_t) room * sizeof *step);
		if (step)
			steps->step = step;
		struct plan_stage *stage = realloc(steps->stage, (size_t) (room * steps->stages) * sizeof *stage);
		if (stage)
			steps->stage = stage;
		double *seconds = realloc(steps->seconds, (size_t) room * (size_t) (steps->tasks * steps->lanes) * sizeof *seconds);
		if (seconds)
			steps->seconds = seconds;
		if (!step || !stage || !seconds)
			return error_memory(error, "planning");
		steps->room = room;
	}
	if (steps->afters + b->sampled_after_count > steps->after_room) {
		int64_t room = 2 * steps->after_room + b->sampled_after_count + 1024;
		int64_t *after = realloc(steps->after, (size_t) room * sizeof *after);
		if (!after)
			return error_memory(error, "planning");
		steps->after = after;
		steps->after_room = room;
	}
	return 0;
}

static int add_step(struct planning *p, struct micro_batch *b, int64_t consumed, struct error *error)
{
	struct plan_steps *steps = &p->steps;
	int code = reserve(steps, b, error);
	if (code)
		return code;
	steps->step[steps->count] = (struct plan_step){
		.phase = b->phase == PHASE_DECODE ? PLAN_DECODE : PLAN_PREFILL,
		.consumed = consumed,
		.first_after = steps->afters,
		.after = b->sampled_after_count,
		.enters_after = b->in_turn ? (int64_t) b->enters_after : -1,
	};
	for (int i = 0; i < b->sampled_after_count; i++)
		steps->after[steps->afters++] = (int64_t) b->sampled_after[i];
	if (p->routing)
		routing_fill(p->routing, b);
	plan_work_add(&p->work, b, p->plan, &steps->stage[steps->count * steps->stages],
		&steps->seconds[steps->count * steps->tasks * steps->lanes]);
	steps->count++;
	for (int i = 0; i < b->samples; i++) {
		b->sampled[i] = 0;
		b->logprob[i] = 0;
	}
	return 0;
}

static int walk(struct planning *p, struct error *error)
{
	struct micro_batch *b;
	uint64_t number;
	int64_t consumed = 0;
	int code = 0;
	for (;;) {
		while (!code && batcher_needs(p->batcher, &number)) {
			p->result = (int64_t) number;
			consumed = p->result + 1;
			code = batcher_result(p->batcher, number, error);
			code = code ? code : p->code;
		}
		enum batcher_step step = code ? BATCHER_DONE : batcher_next(p->batcher, &b, error);
		if (step == BATCHER_DONE)
			return code;
		if (step == BATCHER_STUCK)
			return error->code ? error->code : ERROR_RUN;
		if (step == BATCHER_SUBMIT)
			code = add_step(p, b, consumed, error);
	}
}

static int add_sequences(struct planning *p, struct error *error)
{
	const struct graph_workload *workload = &p->graph->workload;
	int code = 0;
	if ((int64_t) workload->sequences * workload->new_tokens > MOST_TOKENS)
		return error_set(error, ERROR_INPUT, NULL, "the workload generates %d × %d tokens; up to %d can be planned, and fewer "
			"sequences tell as much", workload->sequences, workload->new_tokens, MOST_TOKENS);
	p->lengths = calloc((size_t) workload->sequences, sizeof *p->lengths);
	p->prompt = calloc((size_t) workload->prompt_max, sizeof *p->prompt);
	if (!p->lengths || !p->prompt)
		return error_memory(error, "planning");
	workload_lengths(workload, p->lengths);
	double tokens = 0, room = 0, page = p->graph->kv.page_tokens;
	for (int i = 0; i < workload->sequences; i++) { /* the last new token's keys and values are never stored */
		tokens += p->lengths[i] + workload->new_tokens - 1;
		room += ceil((p->lengths[i] + workload->new_tokens - 1) / page) * page;
	}
	p->plan->page_waste = 1 - tokens / room;
	for (int i = 0; !code && i < workload->sequences; i++) {
		struct sequence sequence = { .prompt = p->prompt, .prompt_tokens = p->lengths[i],
			.max_new_tokens = workload->new_tokens, .ignore_eos = true };
		int index;
		code = batcher_add(p->batcher, &sequence, &index, error);
	}
	return code;
}

/* ---- the metrics */

/* When each kept token came: that of its micro-batch. Sequences' times are ascending, for results come in order. */
static int fill_tokens(struct planning *p, const struct plan_timing *timing, double end_s, struct metrics *metrics,
	struct error *error)
{
	int sequences = p->graph->workload.sequences;
	struct metrics_sequence *sequence = calloc((size_t) sequences, sizeof *sequence);
	double *times = calloc((size_t) p->steps.tokens + 1, sizeof *times);
	int64_t *at = calloc((size_t) sequences + 1, sizeof *at);
	int code = sequence && times && at ? 0 : error_memory(error, "planning");
	for (int64_t i = 0; !code && i < p->steps.tokens; i++)
		at[p->steps.token[i].sequence + 1]++;
	for (int i = 0; !code && i < sequences; i++) {
		at[i + 1] += at[i];
		sequence[i] = (struct metrics_sequence){ .prompt_tokens = p->lengths[i], .token_s = times + at[i] };
	}
	for (int64_t i = 0; !code && i < p->steps.tokens; i++) {
		struct metrics_sequence *s = &sequence[p->steps.token[i].sequence];
		times[at[p->steps.token[i].sequence] + s->tokens++] = timing->end[p->steps.token[i].micro_batch];
	}
	if (!code)
		code = metrics_tokens(metrics, sequence, sequences, 0, end_s, error);
	free(sequence);
	free(times);
	free(at);
	return code;
}

/* Which micro-batches have a sequence's first token. */
static int mark_first_tokens(struct planning *p, struct error *error)
{
	bool *seen = calloc((size_t) p->graph->workload.sequences, sizeof *seen);
	if (!seen)
		return error_memory(error, "planning");
	for (int64_t i = 0; i < p->steps.tokens; i++) {
		const struct plan_token *token = &p->steps.token[i];
		if (seen[token->sequence])
			continue;
		seen[token->sequence] = true;
		p->steps.step[token->micro_batch].first_tokens = true;
		p->first_prompts += p->lengths[token->sequence];
	}
	free(seen);
	return 0;
}

/* The rates and the largest time to first token as metrics_tokens defines them, without the rest of it. */
static void fill_rates(const struct planning *p, const struct plan_timing *timing, struct plan_times *times)
{
	double after = 0, last = times->prefill_s, devices = 1e3 * p->graph->mesh.devices;
	for (int64_t i = 0; i < p->steps.tokens; i++)
		after += timing->end[p->steps.token[i].micro_batch] > last;
	times->ttft_s = last;
	times->prefill_rate = last > 0 ? p->first_prompts / last / devices : NAN;
	times->decode_rate = after > 0 ? after / (times->makespan_s - last) / devices : NAN;
}

static void fill_kinds(struct plan *plan)
{
	struct metrics *m = &plan->metrics;
	for (int k = 0; k < CALL_KINDS; k++) {
		const struct plan_kind *prefill = &plan->kind[k][PLAN_PREFILL], *decode = &plan->kind[k][PLAN_DECODE];
		if (prefill->calls + decode->calls && m->kinds < METRICS_MAX_KINDS)
			m->kind[m->kinds++] = (struct metrics_kind){ call_kind_names[k], prefill->collective || decode->collective,
				prefill->calls + decode->calls, prefill->seconds + decode->seconds };
	}
}

static void fill_devices(struct plan *plan)
{
	struct metrics *m = &plan->metrics;
	double pages = (double) plan->pages * plan->graph->mesh.groups;
	m->comm_s = m->compute_s = 0;
	for (int i = 0; i < m->devices; i++) {
		struct plan_device *device = &plan->device[i];
		double compute = device->phase[0].compute_s + device->phase[1].compute_s;
		double comm = device->phase[0].comm_s + device->phase[1].comm_s;
		device->kv_used = pages > 0 ? device->kv * (double) plan->counters.pages_peak / pages : 0;
		m->device[i].weight_bytes = device->weights;
		m->device[i].kv_bytes = device->kv;
		m->device[i].kv_used_bytes = device->kv_used;
		m->device[i].activation_bytes = device->activations + device->workspace;
		m->device[i].peak_bytes = device->total;
		m->device[i].busy_share = m->makespan_s > 0 ? fmin(1, fmax(compute, comm) / m->makespan_s) : 0;
		m->comm_s += comm / m->devices;
		m->compute_s += compute / m->devices;
	}
	m->comm_over_compute = m->compute_s > 0 ? m->comm_s / m->compute_s : NAN;
}

static int fill_metrics(struct planning *p, const struct plan_timing *overlapped, const struct plan_timing *serial,
	struct error *error)
{
	struct plan *plan = p->plan;
	struct metrics *m = &plan->metrics;
	const struct plan_times *t = &plan->overlapped;
	fill_rates(p, overlapped, &plan->overlapped);
	fill_rates(p, serial, &plan->serial);
	metrics_begin(m, METRICS_PLANNED, p->graph);
	int code = fill_tokens(p, overlapped, t->makespan_s, m, error);
	if (code)
		return code;
	m->exposed_comm_share = t->exposed[PLAN_PHASES];
	m->exposed_comm_share_prefill = t->exposed[PLAN_PREFILL];
	m->exposed_comm_share_decode = t->exposed[PLAN_DECODE];
	m->bubble_share = t->bubble[PLAN_PHASES];
	m->bubble_share_prefill = t->bubble[PLAN_PREFILL];
	m->bubble_share_decode = t->bubble[PLAN_DECODE];
	m->finished = plan->counters.finished;
	m->failed = plan->counters.failed;
	m->preempted = plan->counters.preemptions;
	m->wasted_rows = plan->counters.wasted_rows;
	m->recomputed_rows = plan->counters.recomputed_rows;
	m->micro_batches = plan->counters.micro_batches;
	fill_devices(plan);
	fill_kinds(plan);
	if (plan->load)
		metrics_load(m, plan->load, p->graph->model.layers, p->graph->model.experts);
	metrics_judge(m, p->graph, true);
	plan_explain(plan);
	return 0;
}

/* ---- all of it */

/* Parts on several devices need links, or communication would be free. A host's move data in its memory. */
static int check_links(const struct graph *graph, struct error *error)
{
	const struct graph_machine *machine = &graph->machine;
	if (!machine->given || machine->host || machine->links || graph->mesh.devices == 1)
		return 0;
	return error_set(error, ERROR_INPUT, graph->path[0] ? graph->path : NULL, "the machine \"%s\" has no links, and the mesh needs "
		"%d devices; interconnect = { bandwidth = …; latency_s = …; }, or links = ( … ), would be right", machine->name,
		graph->mesh.devices);
}

/* Policies without priorities; ws and lws serve what a worker's own tasks made ready first, which here comes to the same as
 * priorities (graphs/README.md, "Why policies tie"). */
static bool serves_in_order(const char *policy)
{
	return !strcmp(policy, "eager") || !strcmp(policy, "dm") || !strcmp(policy, "dmda");
}

static int prepare(struct planning *p, const struct plan_options *options, struct error *error)
{
	struct batcher_options batcher;
	struct deployment_sizes sizes;
	run_batcher_options(p->graph, 1, &batcher);
	batcher.on_token = on_token;
	batcher.context = p;
	batcher.record_routing = options && options->routing;
	int code = check_links(p->graph, error);
	if (!code && batcher.record_routing)
		code = routing_create(options->routing, &p->graph->model, &p->routing, error);
	if (!code)
		code = plan_memory_make(p->graph, &batcher, &sizes, p->plan, error);
	batcher.pages = sizes.pages;
	sizes.slots = 1; /* one program is what all slots have */
	if (!code)
		code = batcher_create(&batcher, &p->batcher, error);
	if (!code)
		code = deployment_sketch(p->graph, p->graph->compute, &sizes, &p->deployment, error);
	if (code)
		return code;
	p->deployment->routing_known = p->routing != NULL;
	code = plan_work_create(p->deployment, &p->work, error);
	p->steps.stages = p->graph->mesh.stages;
	p->steps.task = p->work.task;
	p->steps.tasks = p->work.tasks;
	p->steps.lanes = p->graph->mesh.groups;
	p->steps.run = p->work.run;
	p->steps.runs = p->work.runs;
	p->steps.deepest = p->graph->model.layers + 1;
	p->steps.in_order = serves_in_order(p->graph->schedule.policy);
	return code;
}

static int keep_load(struct planning *p, struct error *error)
{
	size_t bytes = (size_t) p->graph->model.layers * (size_t) p->graph->model.experts * sizeof *p->plan->load;
	if (!p->routing)
		return 0;
	p->plan->dropped = routing_dropped(p->routing);
	p->plan->load = malloc(bytes);
	if (!p->plan->load)
		return error_memory(error, "planning");
	memcpy(p->plan->load, routing_load(p->routing), bytes);
	return 0;
}

static int perform(struct planning *p, const struct plan_options *options, struct error *error)
{
	struct plan_timing overlapped = { NULL }, serial = { NULL };
	int code = prepare(p, options, error);
	if (!code)
		code = add_sequences(p, error);
	if (!code)
		code = walk(p, error);
	if (code)
		return code;
	batcher_count(p->batcher, &p->plan->counters);
	model_count_parameters(&p->graph->model, &p->plan->parameters);
	code = keep_load(p, error);
	if (!code)
		code = mark_first_tokens(p, error);
	if (!code)
		code = plan_time(&p->steps, p->graph->schedule.slots, true, &overlapped, &p->plan->overlapped, error);
	if (!code)
		code = plan_time(&p->steps, p->graph->schedule.slots, false, &serial, &p->plan->serial, error);
	if (!code)
		code = plan_bound_make(&p->steps, p->plan, error);
	if (!code)
		code = fill_metrics(p, &overlapped, &serial, error);
	plan_timing_free(&overlapped);
	plan_timing_free(&serial);
	return code;
}

int plan_make(const struct graph *graph, const struct plan_options *options, struct plan **out, struct error *error)
{
	struct error unused = { 0 };
	struct planning p = { .graph = graph, .plan = calloc(1, sizeof *p.plan), .error = error ? error : &unused };
	if (!p.plan)
		return error_memory(error, "planning");
	p.plan->graph = graph;
	int code = perform(&p, options, p.error);
	plan_work_destroy(&p.work);
	deployment_destroy(p.deployment);
	batcher_destroy(p.batcher);
	routing_destroy(p.routing);
	free(p.steps.step);
	free(p.steps.stage);
	free(p.steps.seconds);
	free(p.steps.after);
	free(p.steps.token);
	free(p.lengths);
	free(p.prompt);
	if (code)
		plan_destroy(p.plan);
	else
		*out = p.plan;
	return code;
}

void plan_destroy(struct plan *plan)
{
	if (!plan)
		return;
	free(plan->load);
	free(plan);
}
