/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether the chains compose: the form of one micro-batch is walked through the whole model, before →
 * every layer, with the send between stages → after, and each step must take the form that the one before
 * it leaves. */
#include <stdio.h>
#include <string.h>
#include "runtime/graph_internal.h"

struct walk {
	struct graph *graph;
	const struct graph_kinds *kinds;
	enum form form;                /* the message's form now */
	const struct graph_step *last; /* that left it; NULL at the start */
	enum chain_place last_in;
	int layer, last_layer; /* of the step that is next, and of `last`; −1: none */
	struct graph_faults *faults;
	unsigned broken; /* chains (enum chain_place) whose error has been told: taken for right from then on */
};

static const char *place_name(enum chain_place in)
{
	switch (in) {
	case PLACE_BEFORE:
		return "before";
	case PLACE_LAYER:
		return "layer";
	case PLACE_DENSE_LAYER:
		return "dense_layer";
	case PLACE_BETWEEN_STAGES:
		return "between_stages";
	default:
		return "after";
	}
}

/* The transition of a kind from a form, for a step written with `how`. */
static const struct form_transition *transition_of(const struct form_kind *kind, enum form form, enum chain_how how)
{
	for (int i = 0; i < FORM_MAX_TRANSITIONS && kind->transitions[i].takes != FORM_NONE; i++)
		if (kind->transitions[i].takes == form &&
			(kind->transitions[i].how == HOW_ANY || kind->transitions[i].how == how))
			return &kind->transitions[i];
	return NULL;
}

/* Appends the step to "all_reduce or reduce_scatter", "route then dispatch (how = "local")". */
static void append(char *text, size_t size, const char *separator, const char *name, enum chain_how how)
{
	size_t used = strlen(text);
	snprintf(text + used, size - used, "%s%s%s", separator, name,
		how == HOW_LOCAL        ? " (how = \"local\")"
		: how == HOW_ALL_TO_ALL ? " (how = \"all_to_all\")"
					: "");
}

/* Whether a kind may be proposed: what a layer computes it computes once, so only what moves rows, and what the
 * chain does not have yet. */
static bool is_candidate(const struct walk *walk, const struct form_kind *kind, unsigned in)
{
	const struct graph *graph = walk->graph;
	const struct graph_chain *chain = in & PLACE_DENSE_LAYER ? &graph->dense_layer : &graph->layer;
	if (!(kind->places & in) || (kind->needs_experts && !graph->model.experts))
		return false;
	for (int i = 0; i < chain->count && !kind->needs_over; i++)
		if (chain->step[i].kind == kind)
			return false;
	return graph->model.qk_norm == QK_NORM_ALL || (strcmp(kind->name, "qkv") && strcmp(kind->name, "attend"));
}

/* All sequences of `length` kinds, of those that may stand `in` one of these places, that lead from a form to
 * one that `next` takes. Returns how many; text gets them, separated by "or". */
static int find_joins(const struct walk *walk, enum form from, const struct graph_step *next, unsigned in, int length,
	const char *so_far, char *text, size_t size)
{
	int found = 0;
	if (length == 0) {
		if (!transition_of(next->kind, from, next->how))
			return 0;
		append(text, size, *text ? ", or " : "", so_far, HOW_ANY);
		return 1;
	}
	for (int k = 0; k < walk->kinds->count; k++) {
		const struct form_kind *kind = &walk->kinds->kind[k];
		if (!is_candidate(walk, kind, in))
			continue;
		for (int i = 0; i < FORM_MAX_TRANSITIONS && kind->transitions[i].takes != FORM_NONE; i++) {
			char longer[256];
			if (kind->transitions[i].takes != from || kind->transitions[i].leaves == from)
				continue;
			snprintf(longer, sizeof longer, "%s", so_far);
			append(longer, sizeof longer, *longer ? " then " : "", kind->name, kind->transitions[i].how);
			found +=
				find_joins(walk, kind->transitions[i].leaves, next, in, length - 1, longer, text, size);
		}
	}
	return found;
}

/* Kinds that take the form as it is and leave what `step` would have left: right in its place. */
static void find_replacements(
	const struct walk *walk, const struct graph_step *step, unsigned in, char *text, size_t size)
{
	for (int k = 0; k < walk->kinds->count; k++) {
		const struct form_kind *kind = &walk->kinds->kind[k];
		bool same = false;
		for (int i = 0; i < FORM_MAX_TRANSITIONS && kind->transitions[i].takes != FORM_NONE; i++)
			for (int j = 0; j < FORM_MAX_TRANSITIONS && step->kind->transitions[j].takes != FORM_NONE; j++)
				same |= kind->transitions[i].takes == walk->form &&
					kind->transitions[i].leaves == step->kind->transitions[j].leaves;
		if (same && kind != step->kind && is_candidate(walk, kind, in))
			append(text, size, *text ? " or " : "", kind->name, HOW_ANY);
	}
}

static void name_step(const struct graph_step *step, enum chain_place in, char *text, size_t size)
{
	char how[32] = "", line[32];
	snprintf(line, sizeof line, " %s", strncmp(step->place.file, "--set", 5) ? "by default" : "--set");
	if (step->how != HOW_ANY)
		snprintf(how, sizeof how, " how = \"%s\"", step->how == HOW_LOCAL ? "local" : "all_to_all");
	if (step->place.line)
		snprintf(line, sizeof line, " line %u", step->place.line);
	else if (step->inserted)
		snprintf(line, sizeof line, " inserted");
	snprintf(text, size, "%s%s (`%s`,%s)", step->kind->name, how, place_name(in), line);
}

/* The forms a step takes, as it is written; with any `how` when it takes none as written. */
static void name_takes(const struct graph_step *step, char *text, size_t size)
{
	*text = '\0';
	for (int i = 0; i < FORM_MAX_TRANSITIONS && step->kind->transitions[i].takes != FORM_NONE; i++) {
		const struct form_transition *transition = &step->kind->transitions[i];
		if (transition->how == HOW_ANY || transition->how == step->how)
			append(text, size, *text ? " or " : "", form_name(transition->takes), HOW_ANY);
	}
}

static int does_not_compose(
	const struct walk *walk, const struct graph_step *step, enum chain_place in, struct error *error)
{
	char first[128] = "the start", second[128], takes[256], joins[640] = "", remedy[768];
	enum { LONGEST = 3 };
	unsigned places = (unsigned) in | (walk->last ? (unsigned) walk->last_in : 0);
	if (walk->last)
		name_step(walk->last, walk->last_in, first, sizeof first);
	name_step(step, in, second, sizeof second);
	name_takes(step, takes, sizeof takes);
	for (int length = 1; length <= LONGEST && !*joins; length++)
		find_joins(walk, walk->form, step, places, length, "", joins, sizeof joins);
	if (*joins)
		snprintf(remedy, sizeof remedy, "%s between them would join them", joins);
	else if (step->how != HOW_ANY &&
		 transition_of(step->kind, walk->form, step->how == HOW_LOCAL ? HOW_ALL_TO_ALL : HOW_LOCAL))
		snprintf(remedy, sizeof remedy, "how = \"%s\" would be right there",
			step->how == HOW_LOCAL ? "all_to_all" : "local");
	else if (find_replacements(walk, step, (unsigned) in, joins, sizeof joins), *joins)
		snprintf(remedy, sizeof remedy, "%s in place of %s would be right", joins, step->kind->name);
	else
		snprintf(remedy, sizeof remedy, "no kinds between them would join them");
	if (walk->last && walk->layer >= 0 && walk->last_layer >= 0 && walk->layer != walk->last_layer)
		return graph_error(error, &step->place,
			"the chain does not compose from layer %d to layer %d: %s leaves %s, and %s takes %s; %s",
			walk->last_layer, walk->layer, first, form_name(walk->form), second, takes, remedy);
	return graph_error(error, &step->place, "the chain does not compose: %s leaves %s, and %s takes %s; %s", first,
		form_name(walk->form), second, takes, remedy);
}

/* The axis over which a form is cut or still to be summed. */
static enum chain_over axis_of(enum form form)
{
	switch (form) {
	case FORM_PARTIAL:
	case FORM_QKV:
	case FORM_SHARDED:
		return OVER_TENSOR;
	case FORM_PARTIAL_STAGE:
		return OVER_EXPERTS;
	default:
		return OVER_NONE;
	}
}

static int check_over(const struct walk *walk, const struct graph_step *step, struct error *error)
{
	const struct mesh *mesh = &walk->graph->mesh;
	enum chain_over axis = axis_of(walk->form);
	if (!step->kind->needs_over || axis == OVER_NONE || axis == step->over || mesh->groups == 1)
		return 0;
	return graph_error(error, &step->place,
		"%s over \"%s\" meets %s, which lie over %s; over = \"%s\" would be right (both words mean the same "
		"only where "
		"tensor = the %d devices of a stage)",
		step->kind->name, step->over == OVER_TENSOR ? "tensor" : "experts", form_name(walk->form),
		axis == OVER_TENSOR ? "the tensor ranks of a group" : "all devices of the stage",
		axis == OVER_TENSOR ? "tensor" : "experts", mesh->per_stage);
}

static int walk_step(struct walk *walk, struct graph_step *step, enum chain_place in, int layer, struct error *error)
{
	int code;
	walk->layer = layer;
	const struct form_transition *transition = transition_of(step->kind, walk->form, step->how);
	if (!transition)
		return does_not_compose(walk, step, in, error);
	if ((code = check_over(walk, step, error)))
		return code;
	if (step->takes != FORM_NONE && step->takes != walk->form)
		return graph_error(error, &step->place,
			"%s takes %s in one layer and %s in layer %d; a chain that ends in the form in which it starts "
			"would be right",
			step->kind->name, form_name(step->takes), form_name(walk->form), layer);
	step->takes = walk->form;
	step->leaves = transition->leaves;
	walk->form = transition->leaves;
	walk->last = step;
	walk->last_in = in;
	walk->last_layer = layer;
	return 0;
}

static int walk_chain(struct walk *walk, struct graph_chain *chain, int first, int end, enum chain_place in, int layer,
	struct error *error)
{
	for (int i = first; i < end && !(walk->broken & in); i++) {
		int code = walk_step(walk, &chain->step[i], in, layer, error);
		if (!code)
			continue;
		if ((code = graph_keep(walk->faults, code, error)))
			return code;
		walk->broken |= in;
	}
	if (walk->broken & in)
		walk->form = in == PLACE_AFTER ? FORM_TOKENS : FORM_REPLICATED;
	return 0;
}

static int walk_layers(struct walk *walk, struct error *error)
{
	struct graph *graph = walk->graph;
	int code, stage = 0;
	for (int l = 0; l < graph->model.layers; l++) {
		struct graph_chain *chain = (struct graph_chain *) graph_chain_of(graph, l);
		enum chain_place in = chain == &graph->layer ? PLACE_LAYER : PLACE_DENSE_LAYER;
		bool last_of_stage = l + 1 == graph->mesh.first_layer[stage + 1] && stage + 1 < graph->mesh.stages;
		int end = chain->count;
		if (last_of_stage && graph->between_before_gather) {
			if (!end || strcmp(chain->step[end - 1].kind->name, "all_gather")) {
				code = graph_error(error, &graph->between_stages.step[0].place,
					"before = \"all_gather\" sends before a layer's last step, but `%s` ends with "
					"%s; a chain that ends with all_gather, or no `before`, would be right",
					place_name(in), end ? chain->step[end - 1].kind->name : "nothing");
				return graph_keep(walk->faults, code, error);
			}
			end--;
		}
		if ((code = walk_chain(walk, chain, 0, end, in, l, error)))
			return code;
		if (!last_of_stage)
			continue;
		stage++;
		if ((code = walk_chain(walk, &graph->between_stages, 0, graph->between_stages.count,
			     PLACE_BETWEEN_STAGES, -1, error)) ||
			(code = walk_chain(walk, chain, end, chain->count, in, l, error)))
			return code;
	}
	return 0;
}

/* Forms alone would allow a layer with two attentions, or with none: what a layer computes is fixed. */
static int check_work(const struct graph_chain *chain, const char *name, const char *block, struct error *error)
{
	static const char *const moves[] = {"all_reduce", "reduce_scatter", "all_gather"};
	char work[512] = "", wanted[2][128];
	for (int i = 0; i < chain->count; i++) {
		bool moving = false;
		for (int m = 0; m < 3; m++)
			moving |= !strcmp(chain->step[i].kind->name, moves[m]);
		if (!moving)
			append(work, sizeof work, *work ? ", " : "", chain->step[i].kind->name, HOW_ANY);
	}
	snprintf(wanted[0], sizeof wanted[0], "attention, %s", block);
	snprintf(wanted[1], sizeof wanted[1], "qkv, attend, %s", block);
	if (!strcmp(work, wanted[0]) || !strcmp(work, wanted[1]))
		return 0;
	return graph_error(error, &chain->step[0].place,
		"`%s` computes %s; %s, once each and in this order, would be right", name, *work ? work : "nothing",
		wanted[0]);
}

/* Where q and k norms span all heads and the heads are cut, attention needs the others' sums of squares in its
 * middle: it becomes qkv, all_reduce, attend. */
static int split_attention(
	const struct graph *graph, const struct graph_kinds *kinds, struct graph_chain *chain, struct error *error)
{
	static const char *const names[] = {"qkv", "all_reduce", "attend"};
	bool spans = graph->model.qk_norm == QK_NORM_ALL;
	for (int i = 0; i < chain->count; i++) {
		struct graph_step *step = &chain->step[i];
		bool half = !strcmp(step->kind->name, "qkv") || !strcmp(step->kind->name, "attend");
		if (half && !step->inserted && !spans)
			return graph_error(error, &step->place,
				"%s is for models whose q and k norms span all heads (OLMoE); \"attention\" would be "
				"right for this %s model",
				step->kind->name, model_family_name(graph->model.family));
		if (!spans || graph->mesh.tensor == 1 || strcmp(step->kind->name, "attention"))
			continue;
		if (chain->count + 2 > GRAPH_MAX_STEPS)
			return graph_error(error, &step->place, "the chain is too long; at most %d steps are possible",
				GRAPH_MAX_STEPS);
		struct graph_place place = step->place;
		memmove(step + 3, step + 1, (size_t) (chain->count - i - 1) * sizeof *step);
		chain->count += 2;
		for (int n = 0; n < 3; n++) {
			int index = graph_kind_find(kinds, names[n]);
			if (index < 0)
				return error_set(error, ERROR_RUN, NULL,
					"the table of kinds lacks \"%s\", which the model needs", names[n]);
			step[n] = (struct graph_step){.kind = &kinds->kind[index],
				.kind_index = index,
				.over = OVER_TENSOR,
				.inserted = true,
				.place = place};
		}
		i += 2;
	}
	return 0;
}

static int check_end(const struct walk *walk, struct error *error)
{
	if (walk->form == FORM_TOKENS)
		return 0;
	return graph_error(error, &walk->last->place,
		"the chain ends with %s, which leaves %s; it must end with token ids (sample)", walk->last->kind->name,
		form_name(walk->form));
}

int graph_compose(struct graph *graph, const struct graph_kinds *kinds, struct graph_faults *faults, struct error *error)
{
	struct walk walk = {.graph = graph, .kinds = kinds, .form = FORM_TOKENS, .layer = -1, .last_layer = -1, .faults = faults};
	int dense = model_dense_layers(&graph->model), code, before = faults ? faults->count : 0;
	bool sparse = dense < graph->model.layers;
	if ((code = graph_keep(faults, split_attention(graph, kinds, &graph->layer, error), error)) ||
		(code = graph_keep(faults, split_attention(graph, kinds, &graph->dense_layer, error), error)))
		return code;
	if (faults && faults->count > before)
		return 0; /* steps that are not for this model: how they compose says no more */
	if ((code = walk_chain(&walk, &graph->before, 0, graph->before.count, PLACE_BEFORE, -1, error)) ||
		(code = walk_layers(&walk, error)) ||
		(code = walk_chain(&walk, &graph->after, 0, graph->after.count, PLACE_AFTER, -1, error)))
		return code;
	if ((!faults || faults->count == before) && (code = graph_keep(faults, check_end(&walk, error), error)))
		return code;
	if (sparse && !(walk.broken & PLACE_LAYER) &&
		(code = graph_keep(faults, check_work(&graph->layer, "layer", "route, dispatch, experts, combine", error), error)))
		return code;
	if (dense && !(walk.broken & PLACE_DENSE_LAYER))
		return graph_keep(faults, check_work(&graph->dense_layer, "dense_layer", "mlp", error), error);
	return 0;
}
