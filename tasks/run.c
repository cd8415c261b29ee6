/* SPDX-License-Identifier: Apache-2.0
 *
 * The loop of a run. */
#include "tasks/run.h"

void run_batcher_options(const struct graph *graph, int64_t pages, struct batcher_options *options)
{
	const struct model *model = &graph->model;
	const struct graph_schedule *schedule = &graph->schedule;
	*options = (struct batcher_options){
		.groups = graph->mesh.groups,
		.seats = graph->limits.sequences,
		.tokens_per_sequence = graph->limits.tokens_per_sequence,
		.page_tokens = graph->kv.page_tokens,
		.pages = pages,
		.prefill_tokens = schedule->prefill_tokens,
		.prefill_micro_batches = schedule->prefill_micro_batches ? schedule->prefill_micro_batches
									  : graph->mesh.stages,
		.decode_micro_batches = schedule->decode_micro_batches ? schedule->decode_micro_batches
									: graph->mesh.stages,
		.stages = graph->mesh.stages,
		.ahead = schedule->ahead,
		.slots = schedule->slots,
		.interleave = schedule->interleave,
		.vocab = model->vocab,
		.max_positions = model->max_positions,
		.eos_count = model->eos_count,
		.layers = model->layers,
		.experts = model->experts,
	};
	for (int i = 0; i < model->eos_count; i++)
		options->eos[i] = model->eos[i];
}

static int consume(struct deployment *d, struct batcher *batcher, const struct run_hooks *hooks, uint64_t number,
	struct error *error)
{
	int code = deployment_wait(d, number, error);
	if (code)
		return code;
	if (hooks->ended)
		hooks->ended(hooks->context, batcher_micro_batch(batcher, (int) (number % (uint64_t) d->sizes.slots)));
	code = batcher_result(batcher, number, error);
	if (!code && hooks->check)
		code = hooks->check(hooks->context, error);
	return code;
}

int run_batcher(struct deployment *d, struct batcher *batcher, const struct run_hooks *hooks, struct error *error)
{
	static const struct run_hooks none;
	struct micro_batch *b;
	uint64_t number;
	int code = 0;
	if (!hooks)
		hooks = &none;
	while (!code) {
		while (!code && batcher_needs(batcher, &number))
			code = consume(d, batcher, hooks, number, error);
		if (code)
			break;
		if (hooks->interrupted && hooks->interrupted(hooks->context))
			batcher_drain(batcher);
		enum batcher_step step = batcher_next(batcher, &b, error);
		if (step == BATCHER_DONE)
			break;
		if (step == BATCHER_STUCK) {
			code = error->code ? error->code : ERROR_RUN;
			break;
		}
		if (step == BATCHER_WAIT)
			continue;
		if (hooks->formed)
			hooks->formed(hooks->context, b);
		code = deployment_submit(d, b, error);
		if (!code && hooks->submitted)
			hooks->submitted(hooks->context, b);
	}
	/* after a failure calls end without computing, so that this is soon */
	int failed = engine_wait_all(d->engine, error);
	return code ? code : failed;
}
