/* SPDX-License-Identifier: Apache-2.0
 *
 * A graph by its name, where "default" is the one that a machine gets when none is named; and the check that tells all
 * that is wrong with it. */
#include <limits.h>
#include <string.h>
#include "runtime/graph_internal.h"

bool graph_is_default(const char *name)
{
	return !name || !strcmp(name, "default");
}

static int need_model(const char *name, const struct model *model, struct error *error)
{
	if (model)
		return 0;
	return error_set(error, ERROR_INPUT, name,
		"%s depends on the model; --model DIR is needed, or GRAPH: a file, or the name of a graph that ships",
		name ? "the default graph" : "no graph is named, and the default one");
}

int graph_open(const char *name, const struct model *model, int cores, const struct graph_kinds *kinds,
	const struct graph_override *overrides, int override_count, struct graph **graph, struct error *error)
{
	if (!graph_is_default(name))
		return graph_read(name, kinds, overrides, override_count, graph, error);
	int code = need_model(name, model, error);
	return code ? code : graph_default(model, cores, kinds, overrides, override_count, graph, error);
}

int graph_check_all(const char *name, const struct model *model, int cores, const struct graph_kinds *kinds,
	const struct graph_override *overrides, int override_count, struct graph_faults *faults, struct graph **graph,
	struct error *error)
{
	char path[PATH_MAX];
	struct graph *made;
	bool by_default = graph_is_default(name);
	int code = by_default ? need_model(name, model, error) : graph_source_find(name, path, sizeof path, error);
	if (!code)
		code = graph_make(by_default ? NULL : path, kinds, overrides, override_count, faults, &made, error);
	if (code)
		return code;
	if (by_default)
		graph_default_degrees(made, model, cores);
	code = graph_resolve_all(made, model, kinds, faults, error);
	if (code)
		graph_destroy(made);
	else
		*graph = made;
	return code;
}
