/* SPDX-License-Identifier: Apache-2.0
 *
 * A workload of the command line may be longer than a graph's limit: what is asked is what would happen then. */
#include "tools/workload_options.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT "limits.tokens_per_sequence"
#define PROMPT "require.workload.prompt_tokens"
#define NEW "require.workload.new_tokens"

static bool has(const struct option_overrides *o, const char *path)
{
	for (int i = 0; i < o->count; i++)
		if (!strcmp(o->item[i].path, path))
			return true;
	return false;
}

static bool is_length(const char *path)
{
	return !strcmp(path, PROMPT) || !strcmp(path, NEW);
}

int workload_raise_limit(struct option_overrides *o, const struct graph_override *over, workload_read *read, void *context,
	bool quiet, struct error *error)
{
	const struct graph_override unlimited[] = { { LIMIT, "16777216" }, over ? *over : (struct graph_override){ NULL, NULL } };
	const struct graph_override shortest[] = { { PROMPT, "1" }, { NEW, "1" } };
	struct graph *graph;
	if (has(o, LIMIT) || o->count == OPTIONS_MAX_OVERRIDES
		|| !(has(o, PROMPT) || has(o, NEW) || (over && is_length(over->path))))
		return 0;
	int code = read(context, unlimited, 1 + (over != NULL), &graph, error);
	if (code)
		return code;
	int need = graph->workload.prompt_max + graph->workload.new_tokens;
	graph_destroy(graph);
	code = read(context, shortest, 2, &graph, error);
	if (code)
		return code;
	int limit = graph->limits.tokens_per_sequence;
	graph_destroy(graph);
	if (need <= limit)
		return 0;
	char *text = malloc(16);
	if (!text)
		return error_memory(error, "raising the limit");
	snprintf(text, 16, "%d", need);
	if (!quiet)
		fprintf(stderr, "octant: " LIMIT " = %d for this workload; the graph says %d\n", need, limit);
	options_insert(o, o->count, 0, &(struct graph_override){ LIMIT, text }, text);
	return 0;
}
