/* SPDX-License-Identifier: Apache-2.0
 *
 * Micro-batches of chosen shapes through a deployment, and how long their tasks take. */
#include "tasks/calibrate.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tasks/grain.h"
#include "tasks/run.h"
#include "tasks/touch.h"

/* What tells the terms of a curve apart: rows by expert from none to 500 and activations beyond any cache (prompts, one long
 * or many short), tiles and blocks of keys against keys (chunks of 16 to 2,048 rows, early and late in a sequence), and, of
 * one row each, weights against KV (few and many sequences, short and long). */
static const struct calibrate_shape fit_shapes[] = {
	{ 1, 16, 0, 0 }, { 1, 64, 0, 0 }, { 1, 128, 0, 0 }, { 1, 256, 0, 0 }, { 1, 1024, 0, 0 }, { 2, 2048, 0, 0 },
	{ 1, 512, 3584, 0 }, { 1, 128, 8192, 0 }, { 8, 32, 0, 0 }, { 4, 256, 0, 0 }, { 16, 24, 0, 0 }, { 64, 16, 0, 0 },
	{ 3, 100, 0, 0 }, { 1, 1, 64, 0 }, { 2, 1, 256, 0 }, { 4, 1, 128, 0 }, { 8, 1, 1024, 0 }, { 16, 1, 96, 0 },
	{ 16, 1, 512, 0 }, { 32, 1, 32, 0 }, { 32, 1, 512, 0 }, { 64, 1, 64, 0 }, { 64, 1, 1024, 0 }, { 128, 1, 128, 0 },
	{ 128, 1, 512, 0 }, { 1, 1, 4096, 0 },
};

#define MANY_ROWS 1024 /* shapes beyond take most of the time, and are the least disturbed */
#define WARM_ROWS 64 /* a first round of shapes up to this makes kernels */

struct calibration {
	const struct calibrate_options *options;
	const struct graph *graph;
	struct engine *engine;
	struct deployment *deployment;
	const struct calibrate_shape *shape; /* [shapes] */
	int shapes;
	struct micro_batch *batch; /* [slots] */
	int slots;
	int32_t *pages;            /* [slots][seats][pages_each] */
	int pages_each;
	uint64_t numbered;
	uint64_t random;
	/* [shapes][slots][repetitions][CALL_KINDS], kind −1: none */
	struct calibrate_sample *each;
	double *span; /* [shapes][repetitions] */
};

static uint32_t draw(struct calibration *c)
{
	c->random = c->random * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t) (c->random >> 33);
}

/* ---- micro-batches */

/* So many that every worker has a device of its own to serve, whose weights nobody else reads: micro-batches that pass the same
 * weights side by side would find them in the cache, as two stages or two shards never do. */
static int in_flight(const struct calibration *c, const struct calibrate_shape *shape)
{
	int enough = c->options->workers / c->graph->mesh.per_stage;
	return shape->in_flight ? shape->in_flight : enough > 1 ? enough : 1;
}

static int allocate_batch(struct calibration *c, struct micro_batch *b, struct error *error)
{
	size_t rows = (size_t) c->deployment->sizes.max_rows, seats = (size_t) c->deployment->sizes.seats;
	size_t routed = (size_t) c->graph->model.layers * (size_t) c->graph->model.experts;
	b->segment = calloc(seats, sizeof *b->segment);
	b->token = calloc(rows, sizeof *b->token);
	b->position = calloc(rows, sizeof *b->position);
	b->seat = calloc(rows, sizeof *b->seat);
	b->sample = calloc(seats, sizeof *b->sample);
	b->sampled = calloc(seats, sizeof *b->sampled);
	b->logprob = calloc(seats, sizeof *b->logprob);
	b->routed = calloc(routed + 1, sizeof *b->routed);
	if (!b->segment || !b->token || !b->position || !b->seat || !b->sample || !b->sampled || !b->logprob || !b->routed)
		return error_memory(error, "calibrating");
	return 0;
}

static void free_batch(struct micro_batch *b)
{
	free(b->segment);
	free(b->token);
	free(b->position);
	free(b->seat);
	free(b->sample);
	free(b->sampled);
	free(b->logprob);
	free(b->routed);
}

static int pages_of(const struct calibration *c, const struct calibrate_shape *shape)
{
	return (shape->position + shape->rows + c->graph->kv.page_tokens - 1) / c->graph->kv.page_tokens;
}

/* Pages that the sequences of a shape have in a group's pool: one after the other, of all micro-batches in flight. Where the
 * pool is too small for all they begin again, far enough from each other that no cache holds a page until its next reader
 * comes. */
static int64_t pages_in_all(const struct calibration *c, const struct calibrate_shape *shape)
{
	int groups = c->graph->mesh.groups;
	int64_t sequences = (shape->segments + groups - 1) / groups;
	return in_flight(c, shape) * sequences * pages_of(c, shape);
}

static void add_segment(struct calibration *c, struct micro_batch *b, const struct calibrate_shape *shape, int slot, int index)
{
	int seat = b->segments, count = pages_of(c, shape);
	int64_t sequence = slot * (pages_in_all(c, shape) / count / in_flight(c, shape)) + index / c->graph->mesh.groups;
	int32_t *pages = c->pages + ((size_t) slot * (size_t) c->deployment->sizes.seats + (size_t) seat) * (size_t) c->pages_each;
	for (int i = 0; i < count; i++)
		pages[i] = (int32_t) ((sequence * count + i) % c->deployment->sizes.pages);
	b->segment[b->segments++] = (struct segment){ .row = b->rows, .rows = shape->rows, .position = shape->position,
		.seat = seat, .pages = pages };
	for (int i = 0; i < shape->rows; i++) {
		b->token[b->rows + i] = (int32_t) (draw(c) % (uint32_t) c->graph->model.vocab);
		b->position[b->rows + i] = shape->position + i;
		b->seat[b->rows + i] = seat;
	}
	b->rows += shape->rows;
	b->sample[b->samples++] = (struct sample){ .row = b->rows - 1, .seat = seat,
		.position = shape->position + shape->rows, .sampling = { .top_p = 1 } };
}

/* Segments go round the attention groups. */
static void compose(struct calibration *c, const struct calibrate_shape *shape, int slot)
{
	struct micro_batch *b = &c->batch[slot];
	int groups = c->graph->mesh.groups;
	size_t routed = (size_t) c->graph->model.layers * (size_t) c->graph->model.experts;
	b->rows = b->segments = b->samples = 0;
	b->groups = groups;
	b->phase = shape->rows == 1 ? PHASE_DECODE : PHASE_PREFILL;
	for (int g = 0; g < groups; g++) {
		b->group_row[g] = b->rows;
		b->group_segment[g] = b->segments;
		b->group_sample[g] = b->samples;
		for (int i = g; i < shape->segments; i += groups)
			add_segment(c, b, shape, slot, i);
	}
	b->group_row[groups] = b->rows;
	b->group_segment[groups] = b->segments;
	b->group_sample[groups] = b->samples;
	memset(b->routed, 0, routed * sizeof *b->routed);
}

static bool fits(const struct calibration *c, const struct calibrate_shape *shape)
{
	const struct deployment_sizes *s = &c->deployment->sizes;
	int rows = shape->segments * shape->rows;
	int most = c->options->most_rows && c->options->most_rows < s->max_rows ? c->options->most_rows : s->max_rows;
	return rows <= most && shape->segments <= s->max_samples && shape->segments <= s->seats
		&& shape->position + shape->rows <= c->graph->limits.tokens_per_sequence
		&& pages_of(c, shape) <= c->pages_each;
}

/* ---- what their tasks did */

static const struct call *call_of_record(const struct calibration *c, const struct task_record *r)
{
	const struct slot *slot = &c->deployment->slot[r->micro_batch % c->slots];
	for (int i = 0; slot->merged && i < slot->grain->shares; i++) {
		const struct engine_call *call = &slot->grain->share[i].base;
		if (call->type->kind == (int) r->kind && call->layer == r->layer && call->share == r->devices)
			return &slot->grain->share[i];
	}
	for (int i = 0; i < slot->calls; i++) {
		const struct engine_call *call = &slot->call[i].base;
		if (call->type->kind == (int) r->kind && call->layer == r->layer && call->devices == r->devices)
			return &slot->call[i];
	}
	return NULL;
}

/* Seconds that other workers were busy while this task ran. */
static double overlap(const struct task_record *records, size_t count, const struct task_record *own)
{
	double sum = 0;
	for (size_t i = 0; i < count; i++) {
		double begin = fmax(records[i].start_s, own->start_s), end = fmin(records[i].end_s, own->end_s);
		if (records[i].worker != own->worker && end > begin)
			sum += end - begin;
	}
	return sum;
}

#define SPREAD_CALLS 8 /* of fewer a spread says nothing */

/* Tasks of one kind in one micro-batch are alike, but that routing chooses how many weights experts read, or FLOPs they do: the
 * least spread of seconds by each is that of equal tasks. */
enum { PACES = 3 };

struct paces {
	double sum[PACES], squares[PACES];
};

static void add_pace(struct paces *p, const struct work *work, double seconds)
{
	const double amount[PACES] = { 1, work->weight_bytes, work->flops };
	for (int i = 0; i < PACES; i++) {
		double pace = amount[i] > 0 ? seconds / amount[i] : 0;
		p->sum[i] += pace;
		p->squares[i] += pace * pace;
	}
}

static double spread_of(const struct paces *p, int calls)
{
	double least = 1;
	for (int i = 0; i < PACES; i++)
		if (p->sum[i] > 0)
			least = fmin(least, sqrt(fmax(p->squares[i] * calls / (p->sum[i] * p->sum[i]) - 1, 0)));
	return calls < SPREAD_CALLS ? 0 : least;
}

static void gather(struct calibration *c, const struct task_record *records, size_t count, int index, uint64_t number,
	struct calibrate_sample *sample /* [CALL_KINDS] */)
{
	const struct calibrate_shape *shape = &c->shape[index];
	struct paces paces[CALL_KINDS] = { 0 };
	int calls[CALL_KINDS] = { 0 }, others = engine_workers(c->engine) - 1;
	double together[CALL_KINDS] = { 0 };
	for (int k = 0; k < CALL_KINDS; k++)
		sample[k] = (struct calibrate_sample){ .kind = -1, .shape = index, .segments = shape->segments,
			.rows = shape->rows, .position = shape->position };
	for (size_t i = 0; i < count; i++) {
		const struct task_record *r = &records[i];
		const struct call *call = (uint64_t) r->micro_batch == number ? call_of_record(c, r) : NULL;
		double term[CURVE_TERMS];
		if (!call)
			continue;
		struct work work = ((const struct call_type *) call->base.type)->work(call);
		call_terms(&work, term);
		sample[r->kind].kind = (int) r->kind;
		sample[r->kind].flops += work.flops;
		sample[r->kind].key_flops += work.key_flops;
		sample[r->kind].bytes += work.bytes;
		for (int t = 0; t < CURVE_TERMS; t++)
			sample[r->kind].term[t] += term[t];
		sample[r->kind].seconds += r->end_s - r->start_s;
		add_pace(&paces[r->kind], &work, r->end_s - r->start_s);
		together[r->kind] += overlap(records, count, r);
		calls[r->kind]++;
	}
	for (int k = 0; k < CALL_KINDS; k++) {
		if (!calls[k])
			continue;
		sample[k].calls = calls[k];
		sample[k].spread = spread_of(&paces[k], calls[k]);
		sample[k].company = others > 0 && sample[k].seconds > 0 ? fmin(together[k] / sample[k].seconds / others, 1) : 0;
		for (int t = 0; t < CURVE_TERMS; t++)
			sample[k].term[t] /= calls[k];
		sample[k].flops /= calls[k];
		sample[k].key_flops /= calls[k];
		sample[k].bytes /= calls[k];
		sample[k].seconds /= calls[k];
	}
}

static struct calibrate_sample *place_of(const struct calibration *c, int shape, int slot, int repetition)
{
	return c->each + (((size_t) shape * (size_t) c->slots + (size_t) slot) * (size_t) c->options->repetitions
				 + (size_t) repetition) * CALL_KINDS;
}

static double span_of(const struct task_record *records, size_t count)
{
	double begin = INFINITY, end = -INFINITY;
	for (size_t i = 0; i < count; i++) {
		begin = fmin(begin, records[i].start_s);
		end = fmax(end, records[i].end_s);
	}
	return count ? end - begin : 0;
}

/* As many micro-batches at once as the shape says. `repetition` −1: to warm up, not kept. */
static int run_shape(struct calibration *c, int index, int repetition, struct error *error)
{
	struct task_record *records = NULL;
	size_t count = 0;
	uint64_t first = c->numbered;
	int code = 0, together = in_flight(c, &c->shape[index]);
	c->random = (uint64_t) index + 1; /* the same tokens, and so the same routing, in every repetition */
	for (int s = 0; s < together; s++)
		compose(c, &c->shape[index], s);
	for (int s = 0; !code && s < together; s++) {
		c->batch[s].number = c->numbered++;
		code = deployment_submit(c->deployment, &c->batch[s], error);
	}
	for (int s = 0; !code && s < together; s++)
		code = deployment_wait(c->deployment, first + (uint64_t) s, error);
	int waited = engine_wait_all(c->engine, error);
	code = code ? code : waited;
	if (!code)
		code = engine_take_records(c->engine, &records, &count, error);
	for (int s = 0; !code && repetition >= 0 && s < together; s++)
		gather(c, records, count, index, first + (uint64_t) s, place_of(c, index, s, repetition));
	if (!code && repetition >= 0)
		c->span[index * c->options->repetitions + repetition] = span_of(records, count);
	free(records);
	return code;
}

/* ---- samples */

static int by_seconds(const void *a, const void *b)
{
	double x = ((const struct calibrate_sample *) a)->seconds, y = ((const struct calibrate_sample *) b)->seconds;
	return (x > y) - (x < y);
}

static int repetitions_of(const struct calibration *c, int shape)
{
	int n = c->options->repetitions;
	return c->shape[shape].segments * c->shape[shape].rows > MANY_ROWS ? (n + 1) / 2 : n;
}

static int counting(const struct calibration *c, int count)
{
	int at = (int) (c->options->quantile * count);
	return at < count ? at : count - 1;
}

/* Those of the shape's repetitions that count. */
static int keep_counting(struct calibration *c, int shape, int source, struct calibrate_samples *samples, struct error *error)
{
	int n = repetitions_of(c, shape), code = 0;
	struct calibrate_sample sorted[n];
	for (int slot = 0; slot < in_flight(c, &c->shape[shape]); slot++)
		for (int k = 0; !code && k < CALL_KINDS; k++) {
			for (int r = 0; r < n; r++)
				sorted[r] = place_of(c, shape, slot, r)[k];
			qsort(sorted, (size_t) n, sizeof *sorted, by_seconds);
			int first = c->options->every ? 0 : counting(c, n), end = c->options->every ? n : first + 1;
			for (int r = first; !code && r < end; r++) {
				sorted[r].source = source;
				code = sorted[r].kind >= 0 ? calibrate_samples_add(samples, &sorted[r], error) : 0;
			}
		}
	return code;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *) a, y = *(const double *) b;
	return (x > y) - (x < y);
}

static double counting_value(const struct calibration *c, double *value, int count)
{
	qsort(value, (size_t) count, sizeof *value, by_value);
	return value[counting(c, count)];
}

/* ---- around them */

static int choose_sizes(struct calibration *c, struct deployment_sizes *sizes)
{
	struct batcher_options options;
	int longest = c->graph->limits.tokens_per_sequence, page = c->graph->kv.page_tokens;
	double page_bytes = (double) deployment_page_bytes(c->graph) * c->graph->mesh.groups;
	run_batcher_options(c->graph, 1, &options);
	c->slots = 1;
	for (int i = 0; i < c->shapes; i++)
		if (in_flight(c, &c->shape[i]) > c->slots)
			c->slots = in_flight(c, &c->shape[i]);
	c->pages_each = (longest + page - 1) / page;
	*sizes = (struct deployment_sizes){ c->slots, batcher_max_rows(&options), batcher_max_samples(&options), options.seats,
		(int64_t) (c->options->memory / page_bytes) };
	if (sizes->pages < c->pages_each)
		sizes->pages = c->pages_each;
	return 0;
}

static int allocate_pages(struct calibration *c, struct error *error)
{
	c->pages = calloc((size_t) c->slots * (size_t) c->deployment->sizes.seats * (size_t) c->pages_each, sizeof *c->pages);
	return c->pages ? 0 : error_memory(error, "calibrating");
}

/* As a run has its slots and pages (tasks/touch.h): pages that nobody wrote would all be read from one of zeros. */
static int touch(struct calibration *c, struct error *error)
{
	int rows[c->slots], samples[c->slots];
	int most = 0, segments = 0;
	int64_t pages = 0;
	for (int i = 0; i < c->shapes; i++) {
		const struct calibrate_shape *shape = &c->shape[i];
		if (!fits(c, shape))
			continue;
		most = shape->segments * shape->rows > most ? shape->segments * shape->rows : most;
		segments = shape->segments > segments ? shape->segments : segments;
		pages = pages_in_all(c, shape) > pages ? pages_in_all(c, shape) : pages;
	}
	for (int s = 0; s < c->slots; s++) {
		rows[s] = most;
		samples[s] = segments;
	}
	struct touch_need need = { rows, samples, c->slots, pages, 0 };
	return touch_deployment(c->deployment, &need, error);
}

static int start(struct calibration *c, struct error *error)
{
	struct engine_options engine = { .policy = c->graph->schedule.policy, .workers = c->options->workers, .record = true };
	struct deployment_sizes sizes;
	struct task_record *records = NULL;
	size_t count;
	choose_sizes(c, &sizes);
	int code = engine_start(&engine, &c->engine, error);
	if (!code)
		code = deployment_create(c->graph, NULL, c->graph->compute, &sizes, c->engine, &c->deployment, error);
	if (!code)
		code = allocate_pages(c, error);
	if (!code)
		code = touch(c, error);
	c->batch = calloc((size_t) c->slots, sizeof *c->batch);
	c->each = calloc((size_t) c->shapes * (size_t) c->slots * (size_t) c->options->repetitions * CALL_KINDS, sizeof *c->each);
	c->span = calloc((size_t) c->shapes * (size_t) c->options->repetitions, sizeof *c->span);
	if (!code && (!c->batch || !c->each || !c->span))
		code = error_memory(error, "calibrating");
	for (int s = 0; !code && s < c->slots; s++)
		code = allocate_batch(c, &c->batch[s], error);
	if (!code) {
		c->deployment->routing_known = c->graph->model.experts > 0; /* counted by then: terms are of what was done */
		code = engine_take_records(c->engine, &records, &count, error);
	}
	free(records);
	return code;
}

static void stop(struct calibration *c)
{
	deployment_destroy(c->deployment);
	engine_stop(c->engine);
	for (int s = 0; c->batch && s < c->slots; s++)
		free_batch(&c->batch[s]);
	free(c->batch);
	free(c->each);
	free(c->span);
	free(c->pages);
}

double calibrate_memory(double available)
{
	return fmin(2e9, 0.1 * available);
}

int calibrate_measure(const struct calibrate_options *options, struct calibrate_samples *samples, struct error *error)
{
	struct calibration c = { .options = options, .graph = options->graph,
		.shape = options->shape ? options->shape : fit_shapes,
		.shapes = options->shape ? options->shapes : (int) (sizeof fit_shapes / sizeof *fit_shapes) };
	int rounds = options->repetitions + 1, source = 0;
	char name[CALIBRATE_SOURCE];
	snprintf(name, sizeof name, "%s, %d worker%s", options->graph->name, options->workers, options->workers > 1 ? "s" : "");
	int code = calibrate_samples_source(samples, name, &source, error);
	if (!code)
		code = start(&c, error);
	/* round by round, so that a disturbance of some seconds spoils one repetition of many shapes, not all of one */
	for (int r = 0; !code && r < rounds; r++)
		for (int i = 0; !code && i < c.shapes; i++) {
			if (fits(&c, &c.shape[i]) && (r ? r <= repetitions_of(&c, i) : c.shape[i].rows <= WARM_ROWS))
				code = run_shape(&c, i, r - 1, error);
			if (options->progress)
				options->progress(options->context, r * c.shapes + i + 1, rounds * c.shapes);
		}
	for (int i = 0; !code && i < c.shapes; i++)
		if (fits(&c, &c.shape[i]))
			code = keep_counting(&c, i, source, samples, error);
	for (int i = 0; !code && options->span_s && i < c.shapes; i++)
		options->span_s[i] = counting_value(&c, c.span + i * options->repetitions, repetitions_of(&c, i));
	stop(&c);
	return code;
}
