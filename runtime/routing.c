/* SPDX-License-Identifier: Apache-2.0
 *
 * Expert loads from a distribution or a recording. */
#include "runtime/routing.h"
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/workload.h"

struct recorded {
	int32_t *count; /* [layers][experts] */
};

struct track { /* the recording's micro-batches of one phase */
	struct recorded *item;
	int count, room, next;
};

struct routing {
	struct routing_options options;
	int layers, experts, top_k;
	bool dense[MODEL_MAX_LAYERS];
	double *weight;  /* [layers][experts] popularities, sum 1 */
	struct track track[2]; /* prefill, decode */
	double *share;   /* [experts] of one layer, while counting */
	int *order;      /* [experts] */
	int64_t *load;   /* [layers][experts] */
	double routed, dropped;
};

int routing_parse(const char *text, struct routing_options *options, struct error *error)
{
	static const char *const names[] = { "balanced", "zipf", "power_law", "replay", NULL };
	size_t length = strcspn(text, ":");
	char *end = NULL;
	for (int k = 0; names[k]; k++) {
		if (strlen(names[k]) != length || strncmp(text, names[k], length))
			continue;
		const char *value = text[length] ? text + length + 1 : NULL;
		options->kind = (enum routing_kind) k;
		options->exponent = k == ROUTING_ZIPF ? 1 : 2;
		options->path = value;
		if (k == ROUTING_BALANCED && !value)
			return 0;
		if (k == ROUTING_REPLAY && value && *value)
			return 0;
		if ((k == ROUTING_ZIPF || k == ROUTING_POWER_LAW) && !value)
			return 0;
		if ((k == ROUTING_ZIPF || k == ROUTING_POWER_LAW) && *value) {
			options->exponent = strtod(value, &end);
			if (!*end && options->exponent >= (k == ROUTING_ZIPF ? 0 : 0.1) && options->exponent <= 20)
				return 0;
		}
		break;
	}
	return error_set(error, ERROR_INPUT, NULL, "the routing \"%.100s\" is unknown; balanced, zipf:EXPONENT (0 to 20), "
		"power_law:EXPONENT (0.1 to 20) or replay:FILE would be right", text);
}

/* ---- popularities */

static void normalise(double *weight, int count)
{
	double sum = 0;
	for (int i = 0; i < count; i++)
		sum += weight[i];
	for (int i = 0; i < count; i++)
		weight[i] /= sum;
}

static void draw(struct routing *r)
{
	uint64_t state = r->options.seed ^ 0x5ca1ab1e0ddba11ull;
	for (int l = 0; l < r->layers; l++) {
		double *weight = r->weight + (size_t) l * (size_t) r->experts;
		for (int e = 0; e < r->experts; e++) {
			if (r->options.kind == ROUTING_ZIPF)
				weight[e] = pow(e + 1, -r->options.exponent);
			else if (r->options.kind == ROUTING_POWER_LAW)
				weight[e] = pow(1 - workload_uniform(&state), -1 / r->options.exponent);
			else
				weight[e] = 1;
		}
		for (int e = r->experts - 1; e > 0 && r->options.kind == ROUTING_ZIPF; e--) { /* Fisher, Yates */
			int other = (int) (workload_uniform(&state) * (e + 1));
			double kept = weight[e];
			weight[e] = weight[other];
			weight[other] = kept;
		}
		normalise(weight, r->experts);
	}
}

/* ---- recordings */

static int refuse_line(const char *path, int line, const char *what, struct error *error)
{
	char where[600];
	snprintf(where, sizeof where, "%.500s:%d", path, line);
	return error_set(error, ERROR_INPUT, where, "%s; a line as octant run --record-routing writes it would be right: "
		"{\"micro_batch\", \"phase\", \"rows\", \"counts\": [[…experts], …layers]}", what);
}

static int read_counts(const struct routing *r, const json_t *counts, int32_t *to)
{
	if (!json_is_array(counts) || json_array_size(counts) != (size_t) r->layers)
		return -1;
	for (int l = 0; l < r->layers; l++) {
		const json_t *layer = json_array_get(counts, (size_t) l);
		size_t size = json_array_size(layer);
		if (!json_is_array(layer) || (size != (size_t) r->experts && !(r->dense[l] && size == 0)))
			return -1;
		for (size_t e = 0; e < size; e++) {
			const json_t *value = json_array_get(layer, e);
			json_int_t n = json_integer_value(value);
			if (!json_is_integer(value) || n < 0 || n > INT32_MAX)
				return -1;
			to[(size_t) l * (size_t) r->experts + e] = (int32_t) n;
		}
	}
	return 0;
}

static int add_recorded(struct routing *r, struct track *track, const json_t *counts, const char *path, int line,
	struct error *error)
{
	if (track->count == track->room) {
		int room = track->room ? 2 * track->room : 64;
		struct recorded *larger = realloc(track->item, (size_t) room * sizeof *larger);
		if (!larger)
			return error_memory(error, "reading a recording");
		track->item = larger;
		track->room = room;
	}
	int32_t *to = calloc((size_t) r->layers * (size_t) r->experts, sizeof *to);
	if (!to)
		return error_memory(error, "reading a recording");
	track->item[track->count++].count = to;
	if (read_counts(r, counts, to)) {
		char what[160];
		snprintf(what, sizeof what, "counts are not those of %d layers of %d experts", r->layers, r->experts);
		return refuse_line(path, line, what, error);
	}
	return 0;
}

static int read_line(struct routing *r, const char *text, const char *path, int line, struct error *error)
{
	json_error_t wrong;
	json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, &wrong);
	const char *phase = json_string_value(json_object_get(object, "phase"));
	int code;
	if (!object)
		code = refuse_line(path, line, wrong.text, error);
	else if (!phase || !json_is_array(json_object_get(object, "counts")))
		code = refuse_line(path, line, "there is no phase or no counts", error);
	else
		code = add_recorded(r, &r->track[!strcmp(phase, "decode")], json_object_get(object, "counts"), path, line,
			error);
	json_decref(object);
	return code;
}

static int read_recording(struct routing *r, struct error *error)
{
	FILE *file = fopen(r->options.path, "r");
	char *text = NULL;
	size_t room = 0;
	int code = 0, line = 0;
	if (!file)
		return error_set(error, ERROR_INPUT, r->options.path, "cannot be read: %s", strerror(errno));
	while (!code && getline(&text, &room, file) > 0)
		code = read_line(r, text, r->options.path, ++line, error);
	if (!code && ferror(file))
		code = error_set(error, ERROR_INPUT, r->options.path, "cannot be read: %s", strerror(errno));
	if (!code && !r->track[0].count && !r->track[1].count)
		code = error_set(error, ERROR_INPUT, r->options.path, "has no micro-batches; a recording of octant run "
			"--record-routing would be right");
	free(text);
	fclose(file);
	return code;
}

/* ---- the whole */

int routing_create(const struct routing_options *options, const struct model *model, struct routing **out,
	struct error *error)
{
	if (!model->experts)
		return error_set(error, ERROR_INPUT, NULL, "the model has no experts; routing is for models with experts");
	struct routing *r = calloc(1, sizeof *r);
	if (!r)
		return error_memory(error, "choosing the routing");
	r->options = *options;
	r->layers = model->layers;
	r->experts = model->experts;
	r->top_k = model->top_k;
	memcpy(r->dense, model->dense, sizeof r->dense);
	size_t all = (size_t) r->layers * (size_t) r->experts;
	r->weight = calloc(all, sizeof *r->weight);
	r->share = calloc((size_t) r->experts, sizeof *r->share);
	r->order = calloc((size_t) r->experts, sizeof *r->order);
	r->load = calloc(all, sizeof *r->load);
	int code = r->weight && r->share && r->order && r->load ? 0 : error_memory(error, "choosing the routing");
	if (!code)
		draw(r);
	if (!code && options->kind == ROUTING_REPLAY)
		code = read_recording(r, error);
	if (code)
		routing_destroy(r);
	else
		*out = r;
	return code;
}

void routing_destroy(struct routing *r)
{
	if (!r)
		return;
	for (int t = 0; t < 2; t++) {
		for (int i = 0; i < r->track[t].count; i++)
			free(r->track[t].item[i].count);
		free(r->track[t].item);
	}
	free(r->weight);
	free(r->share);
	free(r->order);
	free(r->load);
	free(r);
}

/* Whole numbers that add up to `total`, none above `most`, as near to `share` (whose sum is total) as they go. */
static void round_shares(struct routing *r, double total, int most, int32_t *count)
{
	int64_t left = llround(total);
	for (int e = 0; e < r->experts; e++) {
		count[e] = (int32_t) floor(r->share[e]);
		left -= count[e];
		r->share[e] -= count[e];
		r->order[e] = e;
	}
	for (int i = 1; i < r->experts; i++) /* insertion: remainders descending, ties by number */
		for (int k = i; k > 0 && r->share[r->order[k]] > r->share[r->order[k - 1]]; k--) {
			int other = r->order[k];
			r->order[k] = r->order[k - 1];
			r->order[k - 1] = other;
		}
	for (int i = 0; left > 0; i = (i + 1) % r->experts)
		if (count[r->order[i]] < most) {
			count[r->order[i]]++;
			left--;
		}
}

/* share[e] = total · weight[e], but at most `rows`: what is beyond goes to the others by their weights. */
static void share_out(struct routing *r, const double *weight, double total, double rows)
{
	double fixed = 0, open = 1;
	bool full[MODEL_MAX_EXPERTS] = { false }, again = true;
	while (again) {
		again = false;
		double each = open > 0 ? (total - fixed) / open : 0;
		for (int e = 0; e < r->experts; e++) {
			if (full[e])
				continue;
			r->share[e] = weight[e] * each;
			if (r->share[e] > rows) {
				r->share[e] = rows;
				full[e] = again = true;
				fixed += rows;
				open -= weight[e];
				break;
			}
		}
	}
}

static const double *weights_of(struct routing *r, int layer, const int32_t *recorded, double *scratch)
{
	const double *weight = r->weight + (size_t) layer * (size_t) r->experts;
	double sum = 0;
	for (int e = 0; recorded && e < r->experts; e++)
		sum += recorded[(size_t) layer * (size_t) r->experts + (size_t) e];
	if (sum <= 0)
		return weight;
	for (int e = 0; e < r->experts; e++) /* never quite 0: rows that others have no room for must go somewhere */
		scratch[e] = (recorded[(size_t) layer * (size_t) r->experts + (size_t) e] + 1e-9) / (sum + 1e-9 * r->experts);
	return scratch;
}

void routing_count(struct routing *r, int rows, enum phase phase, int32_t *count)
{
	const int32_t *recorded = NULL;
	double scratch[MODEL_MAX_EXPERTS];
	if (r->options.kind == ROUTING_REPLAY) {
		struct track *track = &r->track[phase == PHASE_DECODE];
		if (!track->count)
			track = &r->track[phase != PHASE_DECODE];
		recorded = track->item[track->next++ % track->count].count;
	}
	double total = (double) rows * r->top_k;
	double most = r->options.capacity > 0 ? ceil(r->options.capacity * total / r->experts) : rows;
	for (int l = 0; l < r->layers; l++) {
		int32_t *to = count + (size_t) l * (size_t) r->experts;
		memset(to, 0, (size_t) r->experts * sizeof *to);
		if (r->dense[l] || !rows)
			continue;
		share_out(r, weights_of(r, l, recorded, scratch), total, rows);
		round_shares(r, total, rows, to);
		r->routed += total;
		for (int e = 0; e < r->experts; e++) {
			if (to[e] > most) {
				r->dropped += to[e] - most;
				to[e] = (int32_t) most;
			}
			r->load[(size_t) l * (size_t) r->experts + (size_t) e] += to[e];
		}
	}
}

void routing_fill(struct routing *r, struct micro_batch *b)
{
	routing_count(r, b->rows, b->phase, b->routed);
}

double routing_dropped(const struct routing *r)
{
	return r->routed > 0 ? r->dropped / r->routed : 0;
}

double routing_imbalance(const struct routing *r)
{
	double sum = 0;
	int layers = 0;
	for (int l = 0; l < r->layers; l++) {
		int64_t most = 0, total = 0;
		for (int e = 0; e < r->experts; e++) {
			int64_t n = r->load[(size_t) l * (size_t) r->experts + (size_t) e];
			total += n;
			most = n > most ? n : most;
		}
		if (total) {
			sum += (double) most * r->experts / (double) total;
			layers++;
		}
	}
	return layers ? sum / layers : 1;
}

const int64_t *routing_load(const struct routing *r)
{
	return r->load;
}
