/* SPDX-License-Identifier: Apache-2.0
 *
 * octant graph check|show|draw|list|keys|kinds: what a graph description says, without running it. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/graph.h"
#include "runtime/graph_schema.h"
#include "runtime/graph_source.h"
#include "runtime/model_config.h"
#include "tasks/kinds.h"
#include "tools/commands.h"
#include "tools/draw.h"
#include "tools/graph_load.h"
#include "tools/graph_show.h"
#include "tools/lowered.h"
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
	     "       octant graph list                    the names of graphs: those that ship, and default\n"
	     "       octant graph keys                    every key of the language, as a table in Markdown\n"
	     "       octant graph kinds                   every kind of task, likewise\n\n"
	     "GRAPH is a path, the name of a graph that ships, or default (as without GRAPH): with --model, the graph that this\n"
	     "machine gets when none is named.\n");
	options_print(&table);
	puts("\nexample: octant graph show tp2_ep2_pp2 --set mesh.layers=[9,7]");
}

/* Of `check`: each error on its line, where the user wrote what is wrong. */
static void print_fault(void *context, const struct error *error)
{
	struct error located = *error;
	options_locate(context, &located);
	error_print(&located);
}

static int load(const struct options *options, struct graph **graph, struct error *error)
{
	struct graph_faults faults = {.found = print_fault, .context = (void *) &options->overrides};
	struct graph_load load = {.name = options->graph, .cores = options->cores, .overrides = options->overrides.item,
		.override_count = options->overrides.count};
	struct model *model = NULL;
	int code = 0;
	if (!strcmp(options->verb, "check"))
		load.faults = &faults;
	if (options->model) {
		if (!(model = malloc(sizeof *model)))
			return error_memory(error, "reading a model");
		code = model_config_read(options->model, model, error);
	}
	load.model = model;
	if (!code)
		code = graph_load(&load, graph, error);
	free(model);
	return code;
}

static int show(const struct graph *graph, const struct options *options, FILE *file, struct error *error)
{
	struct graph_shown *shown = malloc(sizeof *shown);
	int code;
	if (!shown)
		return error_memory(error, "showing a graph");
	code = graph_show_make(graph, shown, error);
	if (!code && options->json)
		code = graph_show_json(shown, file, error);
	else if (!code)
		graph_show_text(shown, file);
	free(shown);
	return code;
}

static int draw(const struct graph *graph, FILE *file, struct error *error)
{
	struct lowered *lowered = malloc(sizeof *lowered);
	int code;
	if (!lowered)
		return error_memory(error, "drawing a graph");
	code = lowered_make(graph, lowered, error);
	if (!code)
		draw_graph(graph, lowered, file);
	free(lowered);
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
		code = draw(graph, file, error);
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
	puts("default"); /* no file: made for a model and a machine */
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
	if (code && error.code) /* check has told of the others */
		error_print(&error);
	return error_exit_status(code);
}
