/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing and reading the samples of passes. */
#include "tools/calibrate_record.h"
#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/json_file.h"
#include "runtime/output.h"
#include "tasks/call.h"
#include "tools/calibrate_card.h"

#define VERSION 1 /* of the file and of what the terms count */
#define LARGEST ((size_t) 1 << 28)
#define MOST_SAMPLES (1 << 20)
#define REMEDY "another --samples file, or none of that name, would be right"

/* ---- what passes have in common */

static const struct {
	const char *key;
	size_t at, of_model;
} sizes[] = {
#define SIZE(key) { #key, offsetof(struct calibrate_identity, key), offsetof(struct model, key) }
	SIZE(layers), SIZE(hidden), SIZE(heads), SIZE(kv_heads), SIZE(head_dim), SIZE(vocab), SIZE(experts), SIZE(top_k),
	SIZE(expert_hidden), SIZE(shared_hidden), SIZE(mlp_hidden),
};
enum { SIZES = sizeof sizes / sizeof *sizes };

static int *size_of(struct calibrate_identity *identity, int i)
{
	return (int *) ((char *) identity + sizes[i].at);
}

static int size_in(const struct calibrate_identity *identity, int i)
{
	return *(const int *) ((const char *) identity + sizes[i].at);
}

void calibrate_identity_of(const struct topology *topology, int workers, enum dtype compute, const struct model *model,
	struct calibrate_identity *identity)
{
	*identity = (struct calibrate_identity){ .cores = topology->cores, .workers = workers, .compute = compute };
	snprintf(identity->cpu, sizeof identity->cpu, "%s", topology->cpu);
	for (int i = 0; i < SIZES; i++)
		*size_of(identity, i) = *(const int *) ((const char *) model + sizes[i].of_model);
}

int calibrate_record_check(const struct calibrate_record *record, const struct calibrate_identity *now, const char *path,
	struct error *error)
{
	const struct calibrate_identity *was = &record->identity;
	if (strcmp(was->cpu, now->cpu))
		return error_set(error, ERROR_INPUT, path, "the samples are of another machine (%s; here %s); " REMEDY, was->cpu,
			now->cpu);
	if (was->cores != now->cores)
		return error_set(error, ERROR_INPUT, path, "the samples are of %d cores, here are %d; " REMEDY, was->cores,
			now->cores);
	if (was->workers != now->workers)
		return error_set(error, ERROR_INPUT, path, "the samples are of %d workers, not %d; --workers %d, or another --samples "
			"file, would be right", was->workers, now->workers, was->workers);
	if (was->compute != now->compute)
		return error_set(error, ERROR_INPUT, path, "the samples were measured with compute = \"%s\", not \"%s\"; --set "
			"compute=%s, or another --samples file, would be right", dtype_name(was->compute), dtype_name(now->compute),
			dtype_name(was->compute));
	for (int i = 0; i < SIZES; i++)
		if (size_in(was, i) != size_in(now, i))
			return error_set(error, ERROR_INPUT, path, "the samples are of a model with %s = %d, not %d; that --model, or "
				"another --samples file, would be right", sizes[i].key, size_in(was, i), size_in(now, i));
	return 0;
}

/* ---- writing */

static json_t *terms_of(const struct calibrate_sample *s)
{
	json_t *terms = json_object();
	for (int t = 0; t < CURVE_TERMS; t++)
		if (s->term[t] > 0)
			json_object_set_new(terms, curve_keys[t], json_real(s->term[t]));
	return terms;
}

static json_t *samples_of(const struct calibrate_samples *samples)
{
	json_t *list = json_array();
	for (int i = 0; i < samples->count; i++) {
		const struct calibrate_sample *s = &samples->sample[i];
		json_array_append_new(list, json_pack("{s:i, s:i, s:s, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:o}", "pass", s->pass, "source",
			s->source, "task", call_kind_names[s->kind], "segments", s->segments, "rows", s->rows, "position", s->position,
			"calls", s->calls, "seconds", s->seconds, "spread", s->spread, "company", s->company, "terms", terms_of(s)));
	}
	return list;
}

static json_t *passes_of(const struct calibrate_record *record)
{
	json_t *list = json_array();
	for (int p = 0; p < record->passes; p++) {
		json_t *runtime = json_array();
		for (int i = 0; i < record->pass[p].runtimes; i++) {
			const struct graph_runtime *r = &record->pass[p].runtime[i];
			json_array_append_new(runtime, json_pack("{s:s, s:f, s:f, s:f, s:f, s:f}", "policy", r->policy, "submit_s",
				r->submit_s, "task_s", r->task_s, "hop_s", r->hop_s, "wake_s", r->wake_s, "awake_s", r->awake_s));
		}
		json_array_append_new(list, json_pack("{s:s, s:o}", "measured", record->pass[p].measured, "runtime", runtime));
	}
	return list;
}

static json_t *strings_of(const char *const *text, const struct calibrate_samples *samples, int count)
{
	json_t *list = json_array();
	for (int i = 0; i < count; i++)
		json_array_append_new(list, json_string(text ? text[i] : samples->source[i]));
	return list;
}

int calibrate_record_write(const struct calibrate_record *record, const char *path, struct error *error)
{
	const struct calibrate_identity *own = &record->identity;
	json_t *model = json_object();
	for (int i = 0; i < SIZES; i++)
		json_object_set_new(model, sizes[i].key, json_integer(size_in(own, i)));
	json_t *root = json_pack("{s:i, s:o, s:s, s:i, s:i, s:s, s:o, s:o, s:o, s:o}", "version", VERSION, "terms",
		strings_of(curve_keys, NULL, CURVE_TERMS), "cpu", own->cpu, "cores", own->cores, "workers", own->workers, "compute",
		dtype_name(own->compute), "model", model, "sources", strings_of(NULL, &record->samples, record->samples.sources),
		"passes", passes_of(record), "samples", samples_of(&record->samples));
	char *text = root ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
	json_decref(root);
	if (!text)
		return error_memory(error, "writing samples");
	int code = calibrate_write(path, text, error);
	free(text);
	return code;
}

/* ---- reading */

static int lacks(const struct json_file *file, const char *key, struct error *error)
{
	return json_file_error(file, key, error, "%s is missing or wrong; a file that octant calibrate --samples writes would be right",
		key);
}

static int read_terms(const struct json_file *file, struct error *error)
{
	json_t *list = NULL;
	int code = json_file_array(file, file->root, "terms", &list, error);
	bool same = json_array_size(list) == CURVE_TERMS;
	for (int t = 0; t < CURVE_TERMS && same; t++) {
		const char *key = json_string_value(json_array_get(list, (size_t) t));
		same = key && !strcmp(key, curve_keys[t]);
	}
	return code || same ? code : json_file_error(file, "terms", error, "the samples are of another version of octant, which "
		"measures by other terms; " REMEDY);
}

static int read_identity(const struct json_file *file, struct calibrate_identity *own, struct error *error)
{
	const char *cpu = NULL, *compute = NULL;
	json_t *model = NULL;
	int version = 0, code = json_file_integer(file, file->root, "version", 0, 1 << 30, &version, error);
	if (!code && version != VERSION)
		return json_file_error(file, "version", error, "the samples are of version %d, not %d: another version of octant wrote "
			"them; " REMEDY, version, VERSION);
	if (!code)
		code = read_terms(file, error);
	if (!code)
		code = json_file_string(file, file->root, "cpu", &cpu, error);
	if (!code)
		code = json_file_integer(file, file->root, "cores", 1, 1 << 16, &own->cores, error);
	if (!code)
		code = json_file_integer(file, file->root, "workers", 1, 64, &own->workers, error);
	if (!code)
		code = json_file_string(file, file->root, "compute", &compute, error);
	if (!code)
		code = json_file_object(file, file->root, "model", &model, error);
	for (int i = 0; !code && i < SIZES; i++)
		code = json_file_integer(file, model, sizes[i].key, 0, INT32_MAX, size_of(own, i), error);
	if (code)
		return code;
	if (!cpu || strlen(cpu) >= sizeof own->cpu)
		return lacks(file, "cpu", error);
	if (!compute || dtype_parse(compute) < 0)
		return lacks(file, "compute", error);
	if (!own->cores || !own->workers || !own->layers)
		return lacks(file, !own->cores ? "cores" : !own->workers ? "workers" : "model", error);
	own->compute = (enum dtype) dtype_parse(compute);
	snprintf(own->cpu, sizeof own->cpu, "%s", cpu);
	return 0;
}

static int read_sources(const struct json_file *file, struct calibrate_samples *samples, struct error *error)
{
	json_t *list = NULL;
	int code = json_file_array(file, file->root, "sources", &list, error);
	for (size_t i = 0; !code && i < json_array_size(list); i++) {
		const char *name = json_string_value(json_array_get(list, i));
		int index = 0;
		if (!name || strlen(name) >= CALIBRATE_SOURCE)
			return lacks(file, "sources", error);
		code = calibrate_samples_source(samples, name, &index, error);
		if (!code && index != (int) i)
			return json_file_error(file, "sources", error, "\"%s\" is there twice", name);
	}
	return code;
}

static int read_runtime(const struct json_file *file, const json_t *item, struct graph_runtime *r, struct error *error)
{
	const char *policy = NULL;
	int code = json_file_string(file, item, "policy", &policy, error);
	if (!code && (!policy || !*policy || strlen(policy) >= sizeof r->policy))
		return lacks(file, "policy", error);
	if (!code)
		snprintf(r->policy, sizeof r->policy, "%s", policy);
	if (!code)
		code = json_file_number(file, item, "submit_s", 0, 1, &r->submit_s, error);
	if (!code)
		code = json_file_number(file, item, "task_s", 0, 1, &r->task_s, error);
	if (!code)
		code = json_file_number(file, item, "hop_s", 0, 1, &r->hop_s, error);
	if (!code)
		code = json_file_number(file, item, "wake_s", 0, 1, &r->wake_s, error);
	return code ? code : json_file_number(file, item, "awake_s", 0, 1000, &r->awake_s, error);
}

static int read_pass(const struct json_file *file, const json_t *item, struct calibrate_pass *pass, struct error *error)
{
	const char *measured = NULL;
	json_t *list = NULL;
	int code = json_file_string(file, item, "measured", &measured, error);
	if (!code)
		code = json_file_array(file, item, "runtime", &list, error);
	if (code)
		return code;
	if (!measured || strlen(measured) >= sizeof pass->measured)
		return lacks(file, "measured", error);
	if (json_array_size(list) > GRAPH_MAX_POLICIES)
		return lacks(file, "runtime", error);
	snprintf(pass->measured, sizeof pass->measured, "%s", measured);
	for (size_t i = 0; !code && i < json_array_size(list); i++)
		code = read_runtime(file, json_array_get(list, i), &pass->runtime[pass->runtimes++], error);
	return code;
}

static int read_passes(const struct json_file *file, struct calibrate_record *record, struct error *error)
{
	json_t *list = NULL;
	int code = json_file_array(file, file->root, "passes", &list, error);
	if (!code && !json_array_size(list))
		return lacks(file, "passes", error);
	for (size_t i = 0; !code && i < json_array_size(list); i++) {
		struct calibrate_pass pass = { 0 };
		code = read_pass(file, json_array_get(list, i), &pass, error);
		if (!code)
			code = calibrate_record_add(record, &pass, error);
	}
	return code;
}

static int kind_of(const char *task)
{
	for (int k = 0; task && k < CALL_KINDS; k++)
		if (call_kind_names[k] && !strcmp(call_kind_names[k], task))
			return k;
	return -1;
}

static int read_sample(const struct json_file *file, const json_t *item, const struct calibrate_record *record,
	struct calibrate_sample *s, struct error *error)
{
	const char *task = NULL;
	json_t *terms = NULL;
	int known = 0, code = json_file_string(file, item, "task", &task, error);
	*s = (struct calibrate_sample){ .kind = kind_of(task), .source = -1, .pass = -1, .seconds = -1 };
	if (!code)
		code = json_file_integer(file, item, "pass", 0, record->passes - 1, &s->pass, error);
	if (!code)
		code = json_file_integer(file, item, "source", 0, record->samples.sources - 1, &s->source, error);
	if (!code)
		code = json_file_integer(file, item, "segments", 1, 1 << 24, &s->segments, error);
	if (!code)
		code = json_file_integer(file, item, "rows", 1, 1 << 24, &s->rows, error);
	if (!code)
		code = json_file_integer(file, item, "position", 0, 1 << 24, &s->position, error);
	if (!code)
		code = json_file_integer(file, item, "calls", 1, INT32_MAX, &s->calls, error);
	if (!code)
		code = json_file_number(file, item, "seconds", 0, 1e6, &s->seconds, error);
	if (!code)
		code = json_file_number(file, item, "spread", 0, 1, &s->spread, error);
	if (!code)
		code = json_file_number(file, item, "company", 0, 1, &s->company, error);
	if (!code)
		code = json_file_object(file, item, "terms", &terms, error);
	for (int t = 0; !code && t < CURVE_TERMS; t++) {
		known += json_object_get(terms, curve_keys[t]) != NULL;
		code = json_file_number(file, terms, curve_keys[t], 0, 1e21, &s->term[t], error);
	}
	if (code)
		return code;
	if (task && s->kind < 0)
		return json_file_error(file, NULL, error, "a sample is of the task \"%.40s\", which this version of octant does not have; "
			REMEDY, task);
	if (!task || s->pass < 0 || s->source < 0 || s->seconds < 0 || !s->segments || !s->rows || !s->calls
		|| known != (int) json_object_size(terms))
		return json_file_error(file, NULL, error, "a sample lacks task, pass, source, sizes or seconds, or has unknown terms; "
			"a file that octant calibrate --samples writes would be right");
	return 0;
}

static int read_samples(const struct json_file *file, struct calibrate_record *record, struct error *error)
{
	json_t *list = NULL;
	int code = json_file_array(file, file->root, "samples", &list, error);
	if (!code && (!json_array_size(list) || json_array_size(list) > MOST_SAMPLES))
		return json_file_error(file, "samples", error, "there are %zu samples; 1 to %d would be right", json_array_size(list),
			MOST_SAMPLES);
	for (size_t i = 0; !code && i < json_array_size(list); i++) {
		struct calibrate_sample sample;
		code = read_sample(file, json_array_get(list, i), record, &sample, error);
		if (!code)
			code = calibrate_samples_add(&record->samples, &sample, error);
	}
	return code;
}

int calibrate_record_read(const char *path, struct calibrate_record *record, struct error *error)
{
	struct json_file file = { 0 };
	*record = (struct calibrate_record){ 0 };
	int code = json_file_read(path, LARGEST, &file, error);
	if (!code)
		code = read_identity(&file, &record->identity, error);
	if (!code)
		code = read_sources(&file, &record->samples, error);
	if (!code)
		code = read_passes(&file, record, error);
	if (!code)
		code = read_samples(&file, record, error);
	json_file_close(&file);
	if (code)
		calibrate_record_free(record);
	return code;
}

/* ---- the record */

int calibrate_record_add(struct calibrate_record *record, const struct calibrate_pass *pass, struct error *error)
{
	if (record->passes == CALIBRATE_MAX_PASSES)
		return error_set(error, ERROR_INPUT, NULL, "samples of more than %d passes; " REMEDY, CALIBRATE_MAX_PASSES);
	struct calibrate_pass *larger = realloc(record->pass, (size_t) (record->passes + 1) * sizeof *larger);
	if (!larger)
		return error_memory(error, "keeping samples");
	record->pass = larger;
	record->pass[record->passes++] = *pass;
	return 0;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *) a, y = *(const double *) b;
	return (x > y) - (x < y);
}

/* Of the policy, the lower median over the passes of the field at offset `at`. */
static double median_cost(const struct calibrate_record *record, const char *policy, size_t at, double *value)
{
	int n = 0;
	for (int p = 0; p < record->passes; p++)
		for (int i = 0; i < record->pass[p].runtimes; i++)
			if (!strcmp(record->pass[p].runtime[i].policy, policy))
				value[n++] = *(const double *) ((const char *) &record->pass[p].runtime[i] + at);
	qsort(value, (size_t) n, sizeof *value, by_value);
	return n ? value[(n - 1) / 2] : 0;
}

void calibrate_record_runtime(const struct calibrate_record *record, struct graph_runtime *runtime, int *count)
{
	double value[CALIBRATE_MAX_PASSES * GRAPH_MAX_POLICIES];
#define COST(field) median_cost(record, policy, offsetof(struct graph_runtime, field), value)
	*count = 0;
	for (int p = 0; p < record->passes; p++)
		for (int i = 0; i < record->pass[p].runtimes; i++) {
			const char *policy = record->pass[p].runtime[i].policy;
			int at = 0;
			while (at < *count && strcmp(runtime[at].policy, policy))
				at++;
			if (at < *count || at == GRAPH_MAX_POLICIES)
				continue;
			runtime[(*count)++] = (struct graph_runtime){ .submit_s = COST(submit_s), .task_s = COST(task_s),
				.hop_s = COST(hop_s), .wake_s = COST(wake_s), .awake_s = COST(awake_s) };
			snprintf(runtime[at].policy, sizeof runtime[at].policy, "%s", policy);
		}
#undef COST
}

void calibrate_record_free(struct calibrate_record *record)
{
	free(record->pass);
	calibrate_samples_free(&record->samples);
	*record = (struct calibrate_record){ 0 };
}
