/* SPDX-License-Identifier: Apache-2.0
 *
 * metrics.json: the metrics as text. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/metrics.h"

/* A failed set is seen at the end; a NULL value makes it fail. */
struct builder {
	json_t *object;
	bool failed;
};

static void put(struct builder *b, const char *key, json_t *value)
{
	if (json_object_set_new(b->object, key, value))
		b->failed = true;
}

static json_t *done(struct builder *b)
{
	if (!b->failed)
		return b->object;
	json_decref(b->object);
	return NULL;
}

static json_t *real(double value)
{
	return isfinite(value) ? json_real(value) : json_null();
}

static json_t *whole(double value)
{
	return isfinite(value) ? json_integer((json_int_t) llround(value)) : json_null();
}

/* Names come from paths, which may be any bytes. */
static json_t *text(const char *value)
{
	json_t *string = json_string(value);
	char *copy;

	if (string)
		return string;
	copy = strdup(value);
	for (char *at = copy; at && *at; at++)
		if ((unsigned char) *at >= 0x80)
			*at = '?';
	string = copy ? json_string(copy) : NULL;
	free(copy);
	return string;
}

static json_t *range(struct range r)
{
	return json_pack("[i, i]", r.first, r.end);
}

static json_t *spread(struct metrics_spread s, bool with_max)
{
	struct builder b = {.object = json_object()};

	put(&b, "p50", real(s.p50));
	put(&b, "p99", real(s.p99));
	if (with_max)
		put(&b, "max", real(s.max));
	return done(&b);
}

static json_t *mesh(const struct mesh *mesh)
{
	return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i}", "tensor", mesh->tensor, "experts", mesh->experts, "stages",
		mesh->stages, "expert_tensor", mesh->expert_tensor, "groups", mesh->groups, "devices", mesh->devices);
}

static json_t *workload(const struct metrics *m)
{
	return json_pack("{s:i, s:I, s:[i, i], s:I}", "sequences", m->sequences, "prompt_tokens",
		(json_int_t) m->prompt_tokens, "prompt_range", m->prompt_min, m->prompt_max, "new_tokens",
		(json_int_t) m->new_tokens);
}

static json_t *devices(const struct metrics *m)
{
	json_t *list = json_array();

	for (int d = 0; list && d < m->devices; d++) {
		const struct metrics_device *device = &m->device[d];
		struct builder b = {.object = json_object()};

		put(&b, "id", json_integer(device->id));
		put(&b, "stage", json_integer(device->stage));
		put(&b, "tensor", json_integer(device->tensor));
		put(&b, "group", json_integer(device->group));
		put(&b, "experts", json_integer(device->experts));
		put(&b, "expert_slice", json_integer(device->slice));
		put(&b, "layers", range(device->layers));
		put(&b, "expert_range", device->expert_range.end ? range(device->expert_range) : json_null());
		put(&b, "weight_bytes", whole(device->weight_bytes));
		put(&b, "kv_bytes", whole(device->kv_bytes));
		put(&b, "kv_used_bytes", whole(device->kv_used_bytes));
		put(&b, "activation_bytes", whole(device->activation_bytes));
		put(&b, "peak_bytes", whole(device->peak_bytes));
		put(&b, "busy_share", real(device->busy_share));
		if (json_array_append_new(list, done(&b))) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *kinds(const struct metrics *m)
{
	json_t *list = json_array();

	for (int k = 0; list && k < m->kinds; k++) {
		const struct metrics_kind *kind = &m->kind[k];
		if (!kind->calls)
			continue;
		if (json_array_append_new(
			    list, json_pack("{s:s, s:b, s:I, s:f}", "kind", kind->name, "collective", kind->collective,
					  "calls", (json_int_t) kind->calls, "seconds", kind->seconds))) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *experts(const struct metrics *m)
{
	json_t *load = json_array();

	for (int l = 0; load && l < m->layers; l++) {
		json_t *layer = json_array();

		for (int e = 0; layer && e < m->experts; e++)
			if (json_array_append_new(layer,
				    json_integer(
					    (json_int_t) m->load[(size_t) l * (size_t) m->experts + (size_t) e]))) {
				json_decref(layer);
				layer = NULL;
			}
		if (json_array_append_new(load, layer)) {
			json_decref(load);
			return NULL;
		}
	}
	return json_pack("{s:o, s:o}", "load", load, "imbalance", real(m->imbalance));
}

static json_t *requirements(const struct metrics *m)
{
	json_t *list = json_array();

	for (int i = 0; list && i < m->requirements; i++) {
		const struct metrics_requirement *r = &m->requirement[i];
		struct builder b = {.object = json_object()};

		put(&b, "name", text(r->name));
		put(&b, "limit", real(r->limit));
		put(&b, "value", real(r->value));
		put(&b, "unit", text(r->unit));
		put(&b, "holds", r->holds < 0 ? json_null() : json_boolean(r->holds));
		put(&b, "why", text(r->why));
		if (json_array_append_new(list, done(&b))) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static void put_names(struct builder *b, const struct metrics *m)
{
	static const char *const sources[] = {"measured", "simulated", "planned"};

	put(b, "source", json_string(sources[m->source]));
	put(b, "graph", text(m->graph));
	put(b, "model", text(m->model));
	put(b, "machine", text(m->machine));
	put(b, "measured_on", m->measured_on[0] ? text(m->measured_on) : json_null());
	put(b, "mesh", mesh(&m->mesh));
	put(b, "policy", text(m->policy));
	put(b, "workers", m->workers ? json_integer(m->workers) : json_null());
	put(b, "workload", workload(m));
}

static void put_times(struct builder *b, const struct metrics *m)
{
	put(b, "prefill_tokens_per_s", real(m->prefill_tokens_per_s));
	put(b, "decode_tokens_per_s", real(m->decode_tokens_per_s));
	put(b, "total_tokens_per_s", real(m->total_tokens_per_s));
	put(b, "prefill_tokens_per_busy_s", real(m->prefill_tokens_per_busy_s));
	put(b, "decode_tokens_per_busy_s", real(m->decode_tokens_per_busy_s));
	put(b, "tokens_per_ms_per_device",
		json_pack("{s:o, s:o}", "prefill", real(m->tokens_per_ms_per_device.prefill), "decode",
			real(m->tokens_per_ms_per_device.decode)));
	put(b, "ttft_s", spread(m->ttft_s, true));
	put(b, "itl_s", spread(m->itl_s, false));
	put(b, "makespan_s", real(m->makespan_s));
	put(b, "prefill_window_s", real(m->prefill_window_s));
	put(b, "decode_window_s", real(m->decode_window_s));
	put(b, "comm_s", real(m->comm_s));
	put(b, "compute_s", real(m->compute_s));
	put(b, "comm_over_compute", real(m->comm_over_compute));
	put(b, "exposed_comm_share", real(m->exposed_comm_share));
	put(b, "exposed_comm_share_prefill", real(m->exposed_comm_share_prefill));
	put(b, "exposed_comm_share_decode", real(m->exposed_comm_share_decode));
	put(b, "bubble_share", real(m->bubble_share));
	put(b, "bubble_share_prefill", real(m->bubble_share_prefill));
	put(b, "bubble_share_decode", real(m->bubble_share_decode));
	put(b, "runtime_overhead_share", real(m->runtime_overhead_share));
}

int metrics_text(const struct metrics *m, char **out, struct error *error)
{
	struct builder b = {.object = json_object()};
	json_t *root;
	char *line = NULL, *grown;
	size_t length;

	put_names(&b, m);
	put_times(&b, m);
	put(&b, "devices", devices(m));
	put(&b, "tasks", kinds(m));
	put(&b, "experts", m->load ? experts(m) : json_null());
	put(&b, "requirements", requirements(m));
	put(&b, "sequences",
		json_pack("{s:I, s:I, s:I, s:I}", "finished", (json_int_t) m->finished, "failed",
			(json_int_t) m->failed, "preempted", (json_int_t) m->preempted, "resumed",
			(json_int_t) m->resumed));
	put(&b, "wasted_rows", json_integer((json_int_t) m->wasted_rows));
	put(&b, "recomputed_rows", json_integer((json_int_t) m->recomputed_rows));
	put(&b, "micro_batches", json_integer((json_int_t) m->micro_batches));
	root = done(&b);
	if (root)
		line = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
	json_decref(root);
	length = line ? strlen(line) : 0;
	grown = line ? realloc(line, length + 2) : NULL;
	if (!grown) {
		free(line);
		return error_memory(error, "writing metrics");
	}
	grown[length] = '\n';
	grown[length + 1] = 0;
	*out = grown;
	return 0;
}
