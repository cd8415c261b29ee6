/* SPDX-License-Identifier: Apache-2.0
 *
 * sample: the next token of each sampled row of a group from the logits of its tensor ranks; written to the
 * micro-batch for the batcher and to the token table for the next step's embedding. One task a group. */
#include "tasks/call.h"
#include <stdio.h>

static int samples(const struct call *c)
{
	const struct micro_batch *b = call_batch(c);
	return b->group_sample[c->group + 1] - b->group_sample[c->group];
}

static bool sample_wanted(const struct call *c)
{
	return samples(c) > 0;
}

static struct work sample_cost(const struct call *c)
{
	struct work work = work_sample(c->deployment->model->vocab, samples(c));
	work.steps = c->members - 1;
	return work;
}

/* Ranks need not exchange logits: each tells the next its greatest, that one's token, the sum of exponents so far
 * and the count, 16 bytes a row. (Draws with top-p or top-k exchange a few candidates more.) */
static int sample_flows(const struct call *c, struct flow *flow)
{
	return call_ring(c, 16.0 * samples(c), flow);
}

static int sample_run(struct engine_call *call, void *workspace, struct error *error)
{
	const struct call *c = call_of(call);
	const struct micro_batch *b = call_batch(c);
	const float *logits[MESH_MAX_DEVICES];
	int first[MESH_MAX_DEVICES + 1], at = b->group_sample[c->group];
	for (int m = 0; m < c->members; m++) {
		logits[m] = call_message(c, m)->logits;
		first[m] = call_device(c, m)->vocab.first;
	}
	first[c->members] = c->deployment->model->vocab;
	int bad = sample_cpu(&(struct sample_args){
		.samples = samples(c),
		.parts = c->members,
		.vocab = c->deployment->model->vocab,
		.sample = b->sample + at,
		.logits = logits,
		.first = first,
		.token_table = c->deployment->token_table,
		.token = b->sampled + at,
		.logprob = b->logprob + at,
		.workspace = workspace,
	});
	if (bad)
		return error_set(error, ERROR_RUN, NULL, "a logit of the row at position %d is not a number; are the "
			"checkpoint's weights and dtype right?", b->sample[at + bad - 1].position - 1);
	return 0;
}

static const struct call_type sample_type = {
	.engine = { .name = "sample", .kind = TASK_SAMPLE, .run = sample_run, .cost = call_cost },
	.work = sample_cost,
	.flows = sample_flows,
	.wanted = sample_wanted,
};

void sample_insert(struct lowering *l, const struct graph_step *step, int stage, int layer)
{
	const struct mesh *mesh = l->deployment->mesh;
	for (int g = 0; g < mesh->groups; g++) {
		int first = stage * mesh->per_stage + g * mesh->tensor;
		int i = call_add(l, &sample_type, stage, layer, first, mesh->tensor, g, step->takes);
		if (i < 0)
			return;
		l->slot->call[i].base.ordered = true;
		l->sample[g] = i;
		for (int m = 0; m < mesh->tensor; m++)
			call_uses(l, l->slot->message[first + m].buffer[MESSAGE_LOGITS], ENGINE_READ);
	}
}
