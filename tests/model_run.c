/* SPDX-License-Identifier: Apache-2.0
 *
 * Running a golden model in a test. */
#include "tests/model_run.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/checkpoint.h"
#include "tasks/deployment.h"
#include "tasks/kinds.h"
#include "tasks/run.h"

#define MAX_OVERRIDES 32

static void *need(void *memory)
{
	if (!memory) {
		fprintf(stderr, "out of memory\n");
		abort();
	}
	return memory;
}

static int32_t *integers(const json_t *array, int *count)
{
	*count = (int) json_array_size(array);
	int32_t *values = need(calloc((size_t) *count + 1, sizeof *values));
	for (int i = 0; i < *count; i++)
		values[i] = (int32_t) json_integer_value(json_array_get(array, (size_t) i));
	return values;
}

static double *numbers(const json_t *array)
{
	if (!array)
		return NULL;
	double *values = need(calloc(json_array_size(array) + 1, sizeof *values));
	for (size_t i = 0; i < json_array_size(array); i++)
		values[i] = json_number_value(json_array_get(array, i));
	return values;
}

struct golden *golden_load(const char *name)
{
	struct golden *golden = need(calloc(1, sizeof *golden));
	char path[1200];
	json_error_t why;
	snprintf(golden->directory, sizeof golden->directory, "%s/golden/models/%s", OCTANT_TEST_DATA, name);
	snprintf(path, sizeof path, "%s/golden.json", golden->directory);
	json_t *root = json_load_file(path, 0, &why);
	if (!root) {
		fprintf(stderr, "%s: %s\n", path, why.text);
		abort();
	}
	const json_t *prompts = json_object_get(root, "prompts");
	golden->prompts = (int) json_array_size(prompts);
	golden->prompt = need(calloc((size_t) golden->prompts, sizeof *golden->prompt));
	for (int i = 0; i < golden->prompts; i++) {
		const json_t *row = json_array_get(prompts, (size_t) i), *eos = json_object_get(row, "eos_at");
		struct golden_prompt *p = &golden->prompt[i];
		p->tokens = integers(json_object_get(row, "tokens"), &p->prompt_tokens);
		p->greedy = integers(json_object_get(row, "greedy"), &p->new_tokens);
		p->logprobs = numbers(json_object_get(row, "logprobs"));
		p->margins = numbers(json_object_get(row, "margins"));
		p->router_gaps = numbers(json_object_get(row, "router_gaps"));
		p->eos_at = json_is_integer(eos) ? (int) json_integer_value(eos) : -1;
	}
	json_decref(root);
	return golden;
}

void golden_free(struct golden *golden)
{
	for (int i = 0; golden && i < golden->prompts; i++) {
		free(golden->prompt[i].tokens);
		free(golden->prompt[i].greedy);
		free(golden->prompt[i].logprobs);
		free(golden->prompt[i].margins);
		free(golden->prompt[i].router_gaps);
	}
	if (golden)
		free(golden->prompt);
	free(golden);
}

struct model_run_sequence *model_run_sequences(const struct golden *golden)
{
	struct model_run_sequence *sequences = need(calloc((size_t) golden->prompts, sizeof *sequences));
	for (int i = 0; i < golden->prompts; i++)
		sequences[i].sequence = (struct sequence){
			.prompt = golden->prompt[i].tokens,
			.prompt_tokens = golden->prompt[i].prompt_tokens,
			.max_new_tokens = golden->prompt[i].new_tokens,
			.ignore_eos = true,
			.sampling = { .top_p = 1 },
		};
	return sequences;
}

void model_run_free(struct model_run_sequence *sequences, int count)
{
	for (int i = 0; sequences && i < count; i++) {
		free(sequences[i].tokens);
		free(sequences[i].logprobs);
		sequences[i].tokens = NULL;
		sequences[i].logprobs = NULL;
		sequences[i].count = 0;
	}
}

static int keep_token(void *context, int index, int count, int32_t token, float logprob)
{
	struct model_run_sequence *s = &((struct model_run_sequence *) context)[index];
	s->tokens[count - 1] = token;
	s->logprobs[count - 1] = logprob;
	s->count = count;
	return 0;
}

static void keep_reason(void *context, int index, enum finish_reason reason)
{
	((struct model_run_sequence *) context)[index].reason = reason;
}

/* "path=value" → path, value */
static int split_overrides(const char *const *set, struct graph_override *overrides, char (*text)[1024])
{
	int n = 0;
	for (; set && set[n] && n < MAX_OVERRIDES; n++) {
		snprintf(text[n], sizeof text[n], "%s", set[n]);
		char *equals = strchr(text[n], '=');
		*equals = 0;
		overrides[n] = (struct graph_override){ text[n], equals + 1 };
	}
	return n;
}

static int64_t pages_for(const struct graph *graph, const struct model_run_sequence *sequences, int count)
{
	int64_t pages = 0;
	for (int i = 0; i < count; i++)
		pages += (sequences[i].sequence.prompt_tokens + sequences[i].sequence.max_new_tokens
				 + graph->kv.page_tokens - 1) / graph->kv.page_tokens;
	return pages;
}

static int run_graph(struct engine *engine, struct model_run *run, const struct graph *graph,
	const struct checkpoint *checkpoint, struct model_run_sequence *sequences, int count, struct error *error)
{
	struct batcher_options options;
	struct batcher *batcher = NULL;
	struct deployment *deployment = NULL;
	int64_t pages = run->pages ? run->pages : pages_for(graph, sequences, count);
	run_batcher_options(graph, pages, &options);
	options.on_token = keep_token;
	options.on_finish = keep_reason;
	options.context = sequences;
	int code = batcher_create(&options, &batcher, error);
	if (code)
		return code;
	struct deployment_sizes sizes = { options.slots, batcher_max_rows(&options), batcher_max_samples(&options),
		options.seats, pages };
	code = deployment_create(graph, checkpoint, graph->compute, &sizes, engine, &deployment, error);
	for (int i = 0; i < count && !code; i++) {
		int index;
		sequences[i].tokens = need(calloc((size_t) sequences[i].sequence.max_new_tokens, sizeof(int32_t)));
		sequences[i].logprobs = need(calloc((size_t) sequences[i].sequence.max_new_tokens, sizeof(float)));
		code = batcher_add(batcher, &sequences[i].sequence, &index, error);
	}
	if (!code && run->built)
		run->built(deployment);
	if (!code && run->guard)
		code = engine_guard(engine, deployment->arenas, graph->mesh.devices, error);
	if (!code)
		code = run_batcher(deployment, batcher, run->hooks, error);
	engine_guard(engine, NULL, 0, NULL);
	batcher_count(batcher, &run->counters);
	deployment_destroy(deployment);
	batcher_destroy(batcher);
	return code;
}

static int open_graph(const struct model_run *run, struct checkpoint **checkpoint, struct graph **graph,
	struct error *error)
{
	struct graph_override overrides[MAX_OVERRIDES];
	char text[MAX_OVERRIDES][1024];
	int n = split_overrides(run->set, overrides, text);
	int code = checkpoint_open(run->directory, checkpoint, error);
	if (!code && run->graph)
		code = graph_read(run->graph, &task_kinds, overrides, n, graph, error);
	else if (!code)
		code = graph_default(checkpoint_model(*checkpoint), 1, &task_kinds, overrides, n, graph, error);
	if (!code)
		code = graph_resolve(*graph, checkpoint_model(*checkpoint), &task_kinds, error);
	return code;
}

bool model_run_possible(const struct model_run *run)
{
	struct error error = { 0 };
	struct checkpoint *checkpoint = NULL;
	struct graph *graph = NULL;
	int code = open_graph(run, &checkpoint, &graph, &error);
	graph_destroy(graph);
	checkpoint_close(checkpoint);
	return !code;
}

int model_run(struct engine *engine, struct model_run *run, struct model_run_sequence *sequences, int count)
{
	struct error error = { 0 };
	struct checkpoint *checkpoint = NULL;
	struct graph *graph = NULL;
	int code = open_graph(run, &checkpoint, &graph, &error);
	if (!code)
		code = run_graph(engine, run, graph, checkpoint, sequences, count, &error);
	graph_destroy(graph);
	checkpoint_close(checkpoint);
	if (code)
		error_print(&error);
	return code;
}

/* What the sample tasks of a micro-batch would leave. */
static void answer(const struct batcher *batcher, struct micro_batch *b, const struct model_run_sequence *sequences)
{
	for (int i = 0; i < b->samples; i++) {
		int sequence = batcher_seat_sequence(batcher, b->sample[i].seat);
		const struct model_run_sequence *s = sequence < 0 ? NULL : &sequences[sequence];
		int t = s ? b->sample[i].position - s->sequence.prompt_tokens : 0;
		b->sampled[i] = s && t < s->count ? s->tokens[t] : 0; /* beyond the end: discarded */
	}
}

static int rehearse(struct model_run *run, const struct graph *graph, const struct model_run_sequence *sequences, int count,
	struct error *error)
{
	struct batcher_options options;
	struct batcher *batcher = NULL;
	struct micro_batch *b;
	uint64_t number;
	run_batcher_options(graph, run->pages ? run->pages : pages_for(graph, sequences, count), &options);
	int code = batcher_create(&options, &batcher, error), index;
	for (int i = 0; i < count && !code; i++)
		code = batcher_add(batcher, &sequences[i].sequence, &index, error);
	for (enum batcher_step step = BATCHER_WAIT; !code && step != BATCHER_DONE;) {
		while (!code && batcher_needs(batcher, &number)) {
			answer(batcher, batcher_micro_batch(batcher, (int) (number % (uint64_t) options.slots)), sequences);
			code = batcher_result(batcher, number, error);
		}
		step = code ? BATCHER_STUCK : batcher_next(batcher, &b, error);
		if (step == BATCHER_STUCK)
			code = error->code;
	}
	if (!code)
		batcher_count(batcher, &run->counters);
	batcher_destroy(batcher);
	return code;
}

int model_run_rehearse(struct model_run *run, const struct model_run_sequence *sequences, int count)
{
	struct error error = { 0 };
	struct checkpoint *checkpoint = NULL;
	struct graph *graph = NULL;
	int code = open_graph(run, &checkpoint, &graph, &error);
	if (!code)
		code = rehearse(run, graph, sequences, count, &error);
	graph_destroy(graph);
	checkpoint_close(checkpoint);
	if (code)
		error_print(&error);
	return code;
}
