/* SPDX-License-Identifier: Apache-2.0
 *
 * octant graph check|show|draw|list|keys|kinds: what a graph description says, without running it. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/accounts.h"
#include "runtime/graph.h"
#include "runtime/graph_schema.h"
#include "runtime/graph_source.h"
#include "runtime/model_config.h"
#include "runtime/topology.h"
#include "tasks/kinds.h"
#include "tools/commands.h"
#include "tools/draw.h"
#include "tools/graph_show.h"
#include "tools/options.h"

struct options {
	const char *verb, *graph; /* the arguments, in this order */
	const char *model, *output;
	bool json, help;
	int cores; /* 0: this machine's */
	struct option_overrides overrides;
};

#define AT(field) offsetof(struct options, field)

static const struct option_row rows[] = {
	{ "--model", "DIR", OPTION_TEXT, AT(model), NULL, 0, 0,
		"a checkpoint's model in place of the card (default: the card); differences are listed" },
	{ "--set", "PATH=VALUE", OPTION_SET, 0, NULL, 0, 0,
		"put a value in place of the description's, any number of times" },
	{ "--tp-size", "N", OPTION_OVERRIDE, 0, "mesh.tensor", 0, 0, "tensor ranks" },
	{ "--ep-size", "N", OPTION_OVERRIDE, 0, "mesh.experts", 0, 0, "expert groups" },
	{ "--pp-size", "N", OPTION_OVERRIDE, 0, "mesh.stages", 0, 0, "pipeline stages" },
	{ "--cores", "N", OPTION_INTEGER, AT(cores), NULL, 1, 1 << 16, "cores for the default graph (default: this machine's)" },
	{ "--json", NULL, OPTION_FLAG, AT(json), NULL, 0, 0, "show: for programs (default: for people)" },
	{ "--output", "FILE", OPTION_TEXT, AT(output), NULL, 0, 0, "show, draw: write there; also -o (default: standard output)" },
	{ "--help", NULL, OPTION_FLAG, AT(help), NULL, 0, 0, "this text" },
};

static const struct option_alias aliases[] = { { "-o", "--output" } };

static const struct option_table table = { .command = "octant graph", .rows = rows, .count = sizeof rows / sizeof *rows,
	.aliases = aliases, .alias_count = sizeof aliases / sizeof *aliases, .overrides_at = AT(overrides),
	.arguments_at = AT(verb), .argument_count = 2 };

static void print_usage(void)
{
	puts("usage: octant graph check GRAPH [OPTION]…   whether it is right; exit status 2 when not\n"
	     "       octant graph show GRAPH [OPTION]…    parts, devices, memory, load and chains\n"
	     "       octant graph draw GRAPH -o FILE.svg  the chain of one micro-batch across the devices\n"
	     "       octant graph list                    the graphs that ship\n"
	     "       octant graph keys                    every key of the language, as a table in Markdown\n"
	     "       octant graph kinds                   every kind of task, likewise\n\n"
	     "GRAPH is a path, or the name of a graph that ships. Without it, and with --model, it is the graph that this\n"
	     "machine gets by default.\n");
	options_print(&table);
	puts("\nexample: octant graph show tp2_ep2_pp2 --set mesh.layers=[9,7]");
}

static int count_cores(int *cores, struct error *error)
{
	struct topology *topology = malloc(sizeof *topology);
	if (!topology)
		return error_memory(error, "counting cores");
	int code = topology_read(topology, error);
	if (!code)
		*cores = topology->workers;
	free(topology);
	return code;
}

static int load(const struct options *options, struct graph **graph, struct error *error)
{
	struct model *model = NULL;
	int code = 0;
	if (options->model) {
		if (!(model = malloc(sizeof *model)))
			return error_memory(error, "reading a model");
		if ((code = model_config_read(options->model, model, error)))
			goto done;
	}
	int cores = options->cores;
	if (options->graph)
		code = graph_read(
			options->graph, &task_kinds, options->overrides.item, options->overrides.count, graph, error);
	else if (model && (cores || !(code = count_cores(&cores, error))))
		code = graph_default(model, cores, &task_kinds, options->overrides.item, options->overrides.count, graph,
			error);
	else if (!code)
		code = error_set(error, ERROR_INPUT, NULL,
			"no graph is named; GRAPH, or --model DIR for the default graph, is needed");
	if (code)
		goto done;
	if ((code = graph_resolve(*graph, model, &task_kinds, error)))
		graph_destroy(*graph);
done:
	free(model);
	return code;
}

static int show(const struct graph *graph, const struct options *options, FILE *file, struct error *error)
{
	struct account *accounts = malloc((size_t) graph->mesh.devices * sizeof *accounts);
	int code = 0;
	if (!accounts)
		return error_memory(error, "showing a graph");
	accounts_make(graph, accounts);
	if (options->json)
		code = graph_show_json(graph, accounts, file, error);
	else
		graph_show_text(graph, accounts, file);
	free(accounts);
	return code;
}

static void check(const struct graph *graph, FILE *file)
{
	char difference[256];
	fprintf(file, "%s: ok\n", graph->name);
	graph_show_mesh(graph, file);
	for (int i = 0; graph_card_differs(graph, &graph->model, i, difference, sizeof difference); i++)
		fprintf(file, "differs from the card in %s\n", difference);
}

static int with_graph(const struct options *options, struct error *error)
{
	struct graph *graph;
	FILE *file = stdout;
	int code = load(options, &graph, error);
	if (code)
		return code;
	if (options->output && !(file = fopen(options->output, "w"))) {
		code = error_set(error, ERROR_INPUT, options->output, "cannot be written: %s", strerror(errno));
		graph_destroy(graph);
		return code;
	}
	if (!strcmp(options->verb, "check"))
		check(graph, file);
	else if (!strcmp(options->verb, "show"))
		code = show(graph, options, file, error);
	else
		draw_graph(graph, file);
	if ((file == stdout ? fflush(file) : fclose(file)) && !code)
		code = error_set(
			error, ERROR_RUN, options->output, "the output cannot be written: %s", strerror(errno));
	graph_destroy(graph);
	return code;
}

static int list(struct error *error)
{
	char **names;
	int code = graph_source_list(&names, error);
	if (code)
		return code;
	for (char **name = names; *name; name++)
		puts(*name);
	graph_source_list_free(names);
	return 0;
}

static int dispatch(const struct options *options, struct error *error)
{
	static const char *const verbs[] = {"check", "show", "draw", "list", "keys", "kinds", NULL};
	const char *verb = options->verb, *nearest;
	if (!verb)
		return error_set(error, ERROR_INPUT, NULL,
			"octant graph what? check, show, draw, list, keys or kinds; --help tells the usage");
	if (!strcmp(verb, "list"))
		return list(error);
	if (!strcmp(verb, "keys")) {
		graph_keys_write(stdout);
		return 0;
	}
	if (!strcmp(verb, "kinds")) {
		form_kinds_write(task_kinds.kind, task_kinds.count, stdout);
		return 0;
	}
	if (!strcmp(verb, "check") || !strcmp(verb, "show") || !strcmp(verb, "draw"))
		return with_graph(options, error);
	nearest = error_nearest(verb, verbs);
	return error_set(error, ERROR_INPUT, NULL, "octant graph %s is unknown; %s%s", verb,
		nearest ? "did you mean " : "check, show, draw, list, keys or kinds", nearest ? nearest : "");
}

int cmd_graph(int argc, char **argv)
{
	struct options options = {0};
	struct error error = {0};
	int code = options_parse(&table, argc, argv, &options, &error);
	if (!code && options.help)
		print_usage();
	else if (!code)
		code = dispatch(&options, &error);
	options_locate(&options.overrides, &error);
	options_free(&options.overrides);
	if (code)
		error_print(&error);
	return error_exit_status(code);
}
