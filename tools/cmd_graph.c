/* SPDX-License-Identifier: Apache-2.0
 *
 * octant graph check|show|draw|list|keys|kinds: what a graph description says, without running it. */
#include <errno.h>
#include <getopt.h>
#include <hwloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/accounts.h"
#include "runtime/graph.h"
#include "runtime/graph_schema.h"
#include "runtime/graph_source.h"
#include "runtime/model_config.h"
#include "tasks/kinds.h"
#include "tools/commands.h"
#include "tools/draw.h"
#include "tools/graph_show.h"

static const char usage[] =
	"usage: octant graph check GRAPH [OPTION]…   whether it is right; exit status 2 when not\n"
	"       octant graph show GRAPH [OPTION]…    parts, devices, memory, load and chains\n"
	"       octant graph draw GRAPH -o FILE.svg  the chain of one micro-batch across the devices\n"
	"       octant graph list                    the graphs that ship\n"
	"       octant graph keys                    every key of the language, as a table in Markdown\n"
	"       octant graph kinds                   every kind of task, with the forms it takes and leaves\n"
	"\n"
	"GRAPH is a path, or the name of a graph that ships. Without it, and with --model, it is the graph that this\n"
	"machine gets by default.\n"
	"\n"
	"  --model DIR        a checkpoint's model in place of the card (default: the card); differences are listed\n"
	"  --set PATH=VALUE   put a value in place of the description's, any number of times\n"
	"  --cores N          cores for the default graph (default: this machine's)\n"
	"  --json             show: for programs (default: for people)\n"
	"  -o, --output FILE  show, draw: write there (default: standard output)\n"
	"  --help             this text\n"
	"\n"
	"example: octant graph show tp2_ep2_pp2 --set mesh.layers=[9,7]\n";

enum { MOST_OVERRIDES = 256 };

struct options {
	const char *verb, *graph, *model, *output;
	bool json;
	int cores; /* 0: this machine's */
	struct graph_override override[MOST_OVERRIDES];
	char *copy[MOST_OVERRIDES]; /* of --set's arguments: path and value are pointers into it */
	int overrides;
};

static int add_override(struct options *options, const char *argument, struct error *error)
{
	const char *equals = strchr(argument, '=');
	if (!equals || equals == argument)
		return error_set(
			error, ERROR_INPUT, NULL, "--set %s has no value; --set PATH=VALUE would be right", argument);
	if (options->overrides == MOST_OVERRIDES)
		return error_set(error, ERROR_INPUT, NULL, "--set is given more than %d times", MOST_OVERRIDES);
	char *copy = strdup(argument);
	if (!copy)
		return error_memory(error, "reading options");
	copy[equals - argument] = '\0';
	options->copy[options->overrides] = copy;
	options->override[options->overrides++] = (struct graph_override){copy, copy + (equals - argument) + 1};
	return 0;
}

/* 1: --help was asked for. */
static int parse(int argc, char **argv, struct options *options, bool *help, struct error *error)
{
	static const struct option longs[] = {
		{"model", required_argument, NULL, 'm'},
		{"set", required_argument, NULL, 's'},
		{"cores", required_argument, NULL, 'c'},
		{"json", no_argument, NULL, 'j'},
		{"output", required_argument, NULL, 'o'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int option, code;
	char *end;
	optind = 1;
	opterr = 0;
	while ((option = getopt_long(argc, argv, "o:h", longs, NULL)) != -1)
		switch (option) {
		case 'm':
			options->model = optarg;
			break;
		case 's':
			if ((code = add_override(options, optarg, error)))
				return code;
			break;
		case 'c':
			options->cores = (int) strtol(optarg, &end, 10);
			if (*end || options->cores < 1 || options->cores > 1 << 16)
				return error_set(
					error, ERROR_INPUT, NULL, "--cores %s; a number from 1 would be right", optarg);
			break;
		case 'j':
			options->json = true;
			break;
		case 'o':
			options->output = optarg;
			break;
		case 'h':
			*help = true;
			return 0;
		default:
			return error_set(error, ERROR_INPUT, NULL,
				"option %s is unknown or lacks its value; octant graph --help lists them",
				argv[optind - 1]);
		}
	if (optind < argc)
		options->verb = argv[optind++];
	if (optind < argc)
		options->graph = argv[optind++];
	if (optind < argc)
		return error_set(error, ERROR_INPUT, NULL,
			"%s is one argument too many; octant graph --help tells the usage", argv[optind]);
	return 0;
}

static int count_cores(void)
{
	hwloc_topology_t topology;
	int cores = 0;
	if (hwloc_topology_init(&topology))
		return 1;
	if (!hwloc_topology_load(topology))
		cores = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE);
	hwloc_topology_destroy(topology);
	return cores > 0 ? cores : 1;
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
	if (options->graph)
		code = graph_read(options->graph, &task_kinds, options->override, options->overrides, graph, error);
	else if (model)
		code = graph_default(model, options->cores ? options->cores : count_cores(), &task_kinds,
			options->override, options->overrides, graph, error);
	else
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
	bool help = false;
	int code = parse(argc, argv, &options, &help, &error);
	if (!code && help)
		fputs(usage, stdout);
	else if (!code)
		code = dispatch(&options, &error);
	for (int i = 0; i < options.overrides; i++)
		free(options.copy[i]);
	if (code)
		error_print(&error);
	return error_exit_status(code);
}
