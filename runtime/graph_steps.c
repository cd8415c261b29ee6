/* SPDX-License-Identifier: Apache-2.0
 *
 * The chains as written: each step's kind, axis and way, checked against the table of kinds. Whether the
 * steps compose is checked once the mesh is known (graph_chain.c). */
#include <stdio.h>
#include <string.h>
#include "runtime/graph_internal.h"

int graph_kind_find(const struct graph_kinds *kinds, const char *name)
{
	for (int i = 0; i < kinds->count; i++)
		if (!strcmp(kinds->kind[i].name, name))
			return i;
	return -1;
}

static int find_kind(const struct graph_kinds *kinds, enum chain_place in, const char *chain, const char *name,
	const struct graph_place *place, int *index, struct error *error)
{
	const char *names[128];
	char here[1024] = "";
	size_t used = 0;
	int count = 0;
	for (int i = 0; i < kinds->count && count < 127; i++) {
		if (!(kinds->kind[i].places & in))
			continue;
		names[count++] = kinds->kind[i].name;
		if (used < sizeof here)
			used += (size_t) snprintf(
				here + used, sizeof here - used, "%s%s", count > 1 ? ", " : "", kinds->kind[i].name);
	}
	names[count] = NULL;
	*index = graph_kind_find(kinds, name);
	if (*index >= 0) {
		if (kinds->kind[*index].places & in)
			return 0;
		return graph_error(error, place, "\"%s\" cannot stand in `%s`; %s%s would be right", name, chain,
			count > 1 ? "one of " : "", here);
	}
	const char *nearest = error_nearest(name, names);
	if (nearest)
		return graph_error(error, place, "\"%.100s\" is no kind of task; did you mean \"%s\"?", name, nearest);
	return graph_error(
		error, place, "\"%.100s\" is no kind of task; one of %s would be right in `%s`", name, here, chain);
}

static bool is_word_of(const char *key, const char *word)
{
	return graph_key_allows(graph_key_find(key), word);
}

static int read_step(const struct graph_text *text, const struct graph_kinds *kinds, const config_setting_t *group,
	enum chain_place in, const char *chain, struct graph_step *step, struct error *error)
{
	const char *over = NULL, *how = NULL, *task = graph_word(text, group, "task");
	int code;
	memset(step, 0, sizeof *step);
	step->place = graph_place_of(text, group);
	if (!task)
		return 0; /* the check has told */
	if ((code = find_kind(kinds, in, chain, task, &step->place, &step->kind_index, error)))
		return code;
	const struct form_kind *kind = step->kind = &kinds->kind[step->kind_index];
	if (in != PLACE_BETWEEN_STAGES) {
		over = graph_word(text, group, "over");
		how = graph_word(text, group, "how");
	}
	if ((over && !is_word_of("layer[].over", over)) || (how && !is_word_of("layer[].how", how)))
		return 0; /* the check has told */
	if (over) {
		step->over = *over == 't' ? OVER_TENSOR : OVER_EXPERTS;
		if (!kind->over)
			return graph_error(error, &step->place, "%s takes no `over`; leave it out", kind->name);
		if (!(kind->over & step->over))
			return graph_error(error, &step->place,
				"%s cannot be over \"%s\"; over = \"%s\" would be right", kind->name, over,
				kind->over == OVER_TENSOR ? "tensor" : "experts");
	} else if (kind->needs_over) {
		return graph_error(error, &step->place,
			"%s has no `over`; over = \"tensor\" joins tensor ranks, over = \"experts\" the whole stage",
			kind->name);
	} else if (kind->over == OVER_TENSOR || kind->over == OVER_EXPERTS) {
		step->over = (enum chain_over) kind->over;
	}
	if (how) {
		if (!kind->takes_how)
			return graph_error(error, &step->place, "%s takes no `how`; leave it out", kind->name);
		step->how = *how == 'l' ? HOW_LOCAL : HOW_ALL_TO_ALL;
	} else if (kind->takes_how) {
		return graph_error(error, &step->place,
			"%s has no `how`; how = \"local\" or how = \"all_to_all\" must be given", kind->name);
	}
	return 0;
}

static int read_chain(const struct graph_text *text, const struct graph_kinds *kinds, enum chain_place in,
	const char *name, struct graph_chain *chain, struct error *error)
{
	const config_setting_t *list = config_lookup(&text->config, name);
	int count = list ? config_setting_length(list) : 0, code;
	if (list && config_setting_type(list) != CONFIG_TYPE_LIST && count)
		return 0; /* the check has told */
	if (list && (!count || count > GRAPH_MAX_STEPS - 2)) { /* two more may be inserted */
		struct graph_place place = graph_place_of(text, list);
		return graph_error(error, &place,
			"`%s` has %d steps; 1 to %d would be right, or leave it out for the default", name, count,
			GRAPH_MAX_STEPS - 2);
	}
	for (int i = 0; i < count; i++)
		if ((code = graph_keep(text->faults,
			     read_step(text, kinds, config_setting_get_elem(list, (unsigned) i), in, name,
				     &chain->step[i], error),
			     error)))
			return code;
	chain->count = count;
	return 0;
}

int graph_read_chains(
	const struct graph_text *text, const struct graph_kinds *kinds, struct graph *graph, struct error *error)
{
	const config_setting_t *between = config_lookup(&text->config, "between_stages");
	int code;
	const struct {
		enum chain_place in;
		const char *name;
		struct graph_chain *chain;
	} chains[] = {
		{PLACE_BEFORE, "before", &graph->before},
		{PLACE_LAYER, "layer", &graph->layer},
		{PLACE_DENSE_LAYER, "dense_layer", &graph->dense_layer},
		{PLACE_AFTER, "after", &graph->after},
	};
	for (size_t i = 0; i < sizeof chains / sizeof *chains; i++)
		if ((code = graph_keep(text->faults,
			     read_chain(text, kinds, chains[i].in, chains[i].name, chains[i].chain, error), error)))
			return code;
	if (!between)
		return 0;
	/* only one word is allowed there, so that its presence says all */
	graph->between_before_gather = config_setting_get_member(between, "before") != NULL;
	struct graph_step *step = &graph->between_stages.step[0];
	memset(step, 0, sizeof *step);
	step->place = graph_place_of(text, between);
	const char *task = graph_word(text, between, "task");
	code = find_kind(kinds, PLACE_BETWEEN_STAGES, "between_stages", task ? task : "send", &step->place,
		&step->kind_index, error);
	if (code)
		return code;
	step->kind = &kinds->kind[step->kind_index];
	graph->between_stages.count = 1;
	return 0;
}
