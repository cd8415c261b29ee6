/* SPDX-License-Identifier: Apache-2.0
 *
 * From a description's file and overrides to struct graph: each key's value, or its default. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/graph_internal.h"

static void read_name(const struct graph_text *text, struct graph *graph)
{
	const char *word = graph_word(text, NULL, "graph"), *slash = strrchr(graph->path, '/');
	if (word) {
		snprintf(graph->name, sizeof graph->name, "%s", word);
		return;
	}
	snprintf(graph->name, sizeof graph->name, "%.*s", GRAPH_TEXT - 1,
		*graph->path ? slash ? slash + 1 : graph->path : "default");
	char *dot = strrchr(graph->name, '.');
	if (dot && dot != graph->name)
		*dot = '\0';
}

static int read_placement(const struct graph_text *text, struct graph *graph, struct error *error)
{
	const config_setting_t *list = config_lookup(&text->config, "mesh.place");
	int count = list ? config_setting_length(list) : 0, code = 0;
	if (count > MESH_MAX_DEVICES) {
		struct graph_place place = graph_place_of(text, list);
		code = graph_error(error, &place, "mesh.place has %d entries; at most %d devices are possible", count,
			MESH_MAX_DEVICES);
		return graph_place_failed(graph, code, error);
	}
	for (int i = 0; i < count; i++) {
		const config_setting_t *group = config_setting_get_elem(list, (unsigned) i);
		const struct {
			const char *key;
			int degree, *value;
		} axes[] = {
			{"stage", graph->stages, &graph->placement[i].stage},
			{"tensor", graph->tensor, &graph->placement[i].tensor},
			{"experts", graph->experts, &graph->placement[i].experts},
			{"group", 0, &graph->placement[i].group},
			{"expert_slice", 0, &graph->placement[i].slice},
		};
		graph->placement[i].place = graph_place_of(text, group);
		graph->placement[i].device = (int) graph_integer(text, group, "mesh.place[].device");
		for (size_t a = 0; a < sizeof axes / sizeof *axes; a++) {
			if (config_setting_get_member(group, axes[a].key))
				*axes[a].value =
					(int) config_setting_get_int64(config_setting_get_member(group, axes[a].key));
			else if (axes[a].degree > 1)
				code = graph_error(error, &graph->placement[i].place,
					"mesh.place[%d] has no `%s`; with mesh.%s = %d it must be given, from 0 to %d",
					i, axes[a].key, a ? axes[a].key : "stages", axes[a].degree, axes[a].degree - 1);
			else
				*axes[a].value = axes[a].degree ? 0 : -1;
			if ((code = graph_keep(text->faults, graph_place_failed(graph, code, error), error)))
				return code;
		}
	}
	graph->placements = count;
	return 0;
}

static int read_mesh(const struct graph_text *text, struct graph *graph, struct error *error)
{
	const config_setting_t *mesh = config_lookup(&text->config, "mesh");
	const config_setting_t *counts = config_lookup(&text->config, "mesh.layers");
	graph->mesh_place = graph_place_of(text, mesh ? mesh : config_root_setting(&text->config));
	graph->stages = (int) graph_integer(text, NULL, "mesh.stages");
	graph->tensor = (int) graph_integer(text, NULL, "mesh.tensor");
	graph->experts = (int) graph_integer(text, NULL, "mesh.experts");
	graph->expert_tensor = config_lookup(&text->config, "mesh.expert_tensor")
				       ? (int) graph_integer(text, NULL, "mesh.expert_tensor")
				       : 0;
	static const char *const degrees[] = {"mesh.stages", "mesh.tensor", "mesh.experts", "mesh.expert_tensor"};
	struct graph_place *const places[] = {
		&graph->stages_place, &graph->tensor_place, &graph->experts_place, &graph->expert_tensor_place};
	const config_setting_t *written = config_lookup(&text->config, "mesh.place");
	for (size_t i = 0; i < sizeof degrees / sizeof *degrees; i++) {
		const config_setting_t *degree = config_lookup(&text->config, degrees[i]);
		*places[i] = degree ? graph_place_of(text, degree) : graph->mesh_place;
		graph->place_is_older |= degree && config_setting_get_hook(degree) && written &&
			!config_setting_get_hook(written) && config_setting_length(written) > 0;
	}
	graph->tensor_given = config_lookup(&text->config, "mesh.tensor") != NULL;
	graph->experts_given = config_lookup(&text->config, "mesh.experts") != NULL;
	graph->layers_place = counts ? graph_place_of(text, counts) : graph->mesh_place;
	if (counts) {
		struct graph_place place = graph_is_override(&graph->stages_place) ? graph->stages_place : graph->layers_place;
		int count = config_setting_length(counts);
		int code = count == graph->stages ? 0
			: graph_error(error, &place, "mesh.layers has %d counts for %d stages; one a stage would be right",
				count, graph->stages);
		if ((code = graph_keep(text->faults, code, error)))
			return code;
		for (int i = 0; i < count && count == graph->stages; i++)
			graph->layer_counts[i] = (int) config_setting_get_int64_elem(counts, i);
		graph->layer_counts_count = count == graph->stages ? count : 0;
	}
	return read_placement(text, graph, error);
}

static void read_schedule(const struct graph_text *text, struct graph *graph)
{
	struct graph_schedule *schedule = &graph->schedule;
	const char *policy = graph_word(text, NULL, "schedule.policy");
	const char *interleave = graph_word(text, NULL, "schedule.interleave");
	const char *grain = graph_word(text, NULL, "schedule.grain");
	snprintf(schedule->policy, sizeof schedule->policy, "%s", policy ? policy : "homes");
	schedule->slots = (int) graph_integer(text, NULL, "schedule.slots");
	schedule->ahead = (int) graph_integer(text, NULL, "schedule.ahead");
	schedule->prefill_tokens = (int) graph_integer(text, NULL, "schedule.prefill.tokens");
	schedule->prefill_micro_batches = (int) graph_integer(text, NULL, "schedule.prefill.micro_batches");
	schedule->decode_micro_batches = (int) graph_integer(text, NULL, "schedule.decode.micro_batches");
	schedule->interleave = !interleave || *interleave == 'c' ? INTERLEAVE_CHUNKED
			       : *interleave == 'm'              ? INTERLEAVE_MIXED
								 : INTERLEAVE_PREFILL_FIRST;
	schedule->grain = !grain || *grain == 'a' ? GRAIN_AUTO : *grain == 't' ? GRAIN_TASK : GRAIN_DEVICE;
}

static struct graph_place place_of(const struct graph_text *text, const char *path)
{
	const config_setting_t *setting = config_lookup(&text->config, path);
	return graph_place_of(text, setting ? setting : config_root_setting(&text->config));
}

static enum dtype read_dtype(const struct graph_text *text, const char *path, enum dtype otherwise, bool *given)
{
	const char *word = graph_word(text, NULL, path);
	if (given)
		*given = word != NULL;
	return word ? (enum dtype) dtype_parse(word) : otherwise;
}

void graph_set_compute(struct graph *graph, enum dtype compute)
{
	graph->compute = compute;
	if (!graph->kv.dtype_given)
		graph->kv.dtype = compute == DTYPE_FP32 ? DTYPE_FP32 : DTYPE_FP16;
}

enum dtype graph_narrow_residual(const struct graph *graph)
{
	return graph->compute == DTYPE_INT8 ? DTYPE_BF16 : graph->compute;
}

void graph_set_default_compute(struct graph *graph, bool has_bf16)
{
	if (!graph->compute_given)
		graph_set_compute(graph, graph->model.dtype != DTYPE_FP32 && has_bf16 ? DTYPE_BF16 : DTYPE_FP32);
}

void graph_shorten_workload(struct graph *graph)
{
	struct graph_workload *workload = &graph->workload;
	int most = graph->limits.tokens_per_sequence - workload->new_tokens;
	if (most < 1) { /* at least one token of each */
		most = graph->limits.tokens_per_sequence > 1 ? graph->limits.tokens_per_sequence / 2 : 1;
		if (graph->limits.tokens_per_sequence > 1)
			workload->new_tokens = graph->limits.tokens_per_sequence - most;
	}
	if (workload->prompt_max > most)
		workload->prompt_max = most;
	if (workload->prompt_min > workload->prompt_max)
		workload->prompt_min = workload->prompt_max;
}

static int read_requirements(const struct graph_text *text, struct graph *graph, struct error *error)
{
	static const char *const names[] = {
		"ttft_s", "tokens_per_ms_per_device", "memory_gb_per_device", "comm_over_compute"};
	const config_setting_t *require = config_lookup(&text->config, "require"), *workload, *span;
	for (size_t i = 0; require && i < sizeof names / sizeof *names; i++) {
		const config_setting_t *setting = config_setting_get_member(require, names[i]);
		if (!setting)
			continue;
		struct graph_requirement *requirement = &graph->requirement[graph->requirements++];
		snprintf(requirement->name, sizeof requirement->name, "%s", names[i]);
		requirement->limit = graph_number(text, require, names[i]);
		requirement->place = graph_place_of(text, setting);
	}
	workload = config_lookup(&text->config, "require.workload");
	graph->workload.given = workload != NULL;
	graph->workload.sequences = graph_find(text, NULL, "require.workload.sequences")
					    ? (int) graph_integer(text, NULL, "require.workload.sequences")
					    : graph->limits.sequences;
	graph->workload.new_tokens = (int) graph_integer(text, NULL, "require.workload.new_tokens");
	graph->workload.seed = (uint64_t) graph_integer(text, NULL, "require.workload.seed");
	span = config_lookup(&text->config, "require.workload.prompt_tokens");
	if (span && config_setting_is_aggregate(span)) {
		graph->workload.prompt_min = (int) config_setting_get_int64_elem(span, 0);
		graph->workload.prompt_max = (int) config_setting_get_int64_elem(span, 1);
	} else {
		graph->workload.prompt_min = graph->workload.prompt_max =
			(int) graph_integer(text, NULL, "require.workload.prompt_tokens");
	}
	/* limits lowered on the command line, or by a model, shorten the prompts; a file must agree with itself */
	const config_setting_t *limit = config_lookup(&text->config, "limits.tokens_per_sequence");
	if (limit && config_setting_get_hook(limit))
		graph_shorten_workload(graph);
	if (workload && graph->workload.prompt_max > graph->limits.tokens_per_sequence - graph->workload.new_tokens) {
		struct graph_place place = graph_place_of(text, span ? span : workload);
		return graph_error(error, &place,
			"prompts of up to %d and %d new tokens exceed limits.tokens_per_sequence = %d; prompt + new "
			"tokens up to "
			"the limit would be right",
			graph->workload.prompt_max, graph->workload.new_tokens, graph->limits.tokens_per_sequence);
	}
	return 0;
}

/* In the order of the key table. */
static void read_claims(const struct graph_text *text, struct graph *graph)
{
	const config_setting_t *claims = config_lookup(&text->config, "claims");
	static const char prefix[] = "claims.";
	for (const struct graph_key *key = graph_keys; claims && key->path; key++) {
		const char *name = key->path + sizeof prefix - 1;
		if (strncmp(key->path, prefix, sizeof prefix - 1) || graph->claims == GRAPH_MAX_CLAIMS)
			continue;
		const config_setting_t *setting = config_setting_get_member(claims, name);
		if (!setting)
			continue;
		struct graph_claim *claim = &graph->claim[graph->claims++];
		snprintf(claim->name, sizeof claim->name, "%s", name);
		claim->value = graph_number(text, claims, key->path);
		claim->place = graph_place_of(text, setting);
	}
}

int graph_from_text(
	const struct graph_text *text, const struct graph_kinds *kinds, struct graph *graph, struct error *error)
{
	int code;
	graph->empty = !config_setting_length(config_root_setting(&text->config));
	read_name(text, graph);
	graph->limits.sequences = (int) graph_integer(text, NULL, "limits.sequences");
	graph->limits.tokens_per_sequence = (int) graph_integer(text, NULL, "limits.tokens_per_sequence");
	graph->limits.tokens_described = graph->limits.tokens_per_sequence;
	read_schedule(text, graph);
	graph->kv.page_tokens = (int) graph_integer(text, NULL, "kv.page_tokens");
	graph->kv.pages = (long) graph_integer(text, NULL, "kv.pages");
	graph->kv.dtype = read_dtype(text, "kv.dtype", DTYPE_FP32, &graph->kv.dtype_given);
	graph->residual = read_dtype(text, "residual", DTYPE_FP32, NULL);
	graph_set_compute(graph, read_dtype(text, "compute", DTYPE_FP32, &graph->compute_given));
	graph->compute_place = place_of(text, "compute");
	graph->residual_place = place_of(text, "residual");
	struct graph_faults *faults = text->faults;
	if ((code = graph_keep(faults, graph_read_card(text, graph, error), error)) ||
		(code = graph_keep(faults, graph_read_machine(text, graph, error), error)) ||
		(code = graph_keep(faults, read_mesh(text, graph, error), error)) ||
		(code = graph_read_chains(text, kinds, graph, error)))
		return code;
	read_claims(text, graph);
	return read_requirements(text, graph, error);
}

int graph_make(const char *path, const struct graph_kinds *kinds, const struct graph_override *overrides, int override_count,
	struct graph_faults *faults, struct graph **graph, struct error *error)
{
	struct graph_text text = {.faults = faults};
	struct graph *made = calloc(1, sizeof *made);
	int code;
	if (!made)
		return error_memory(error, "reading a graph description");
	if (path && strlen(path) >= sizeof made->path)
		code = error_set(error, ERROR_INPUT, NULL, "the path of the graph description is too long");
	else
		code = graph_text_open(&text, path, error);
	if (code) {
		graph_destroy(made);
		return code;
	}
	strcpy(made->path, path ? path : "");
	if (!(code = graph_text_override(&text, overrides, override_count, error)))
		code = graph_text_check(&text, error);
	/* with wrong values there is no more to read than the chains' tasks */
	if (!code && faults && faults->count)
		code = graph_read_chains(&text, kinds, made, error);
	else if (!code)
		code = graph_keep(faults, graph_from_text(&text, kinds, made, error), error);
	if (!code && faults && faults->count)
		code = ERROR_INPUT;
	graph_text_close(&text);
	if (code)
		graph_destroy(made);
	else
		*graph = made;
	return code;
}

int graph_read(const char *name, const struct graph_kinds *kinds, const struct graph_override *overrides,
	int override_count, struct graph **graph, struct error *error)
{
	char path[PATH_MAX];
	int code = graph_source_find(name, path, sizeof path, error);
	return code ? code : graph_make(path, kinds, overrides, override_count, NULL, graph, error);
}

void graph_destroy(struct graph *graph)
{
	free(graph);
}
