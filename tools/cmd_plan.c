/* SPDX-License-Identifier: Apache-2.0
 *
 * octant plan: what a deployment will do with a workload, in closed form. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/checkpoint.h"
#include "tasks/plan.h"
#include "tools/commands.h"
#include "tools/graph_load.h"
#include "tools/machine_file.h"
#include "tools/options.h"
#include "tools/plan_change.h"
#include "tools/plan_over.h"
#include "tools/plan_print.h"
#include "tools/workload_options.h"

struct plan_command {
	const char *graph[1];
	const char *model, *machine, *routing, *over, *output;
	bool json, csv, quick, help;
	double capacity;
	struct option_overrides overrides;

	struct checkpoint *checkpoint;
	struct routing_options routing_options;
	struct plan_options plan;
};

#define AT(field) offsetof(struct plan_command, field)

static const struct option_row rows[] = {
	{ "--model", "DIR", OPTION_TEXT, AT(model), NULL, 0, 0, "a checkpoint in place of the graph's model card" },
	MACHINE_OPTION_ROW(struct plan_command),
	WORKLOAD_OPTION_ROWS,
	ROUTING_OPTION_ROWS(struct plan_command),
	{ "--over", "KEY=A:B[:N]", OPTION_TEXT, AT(over), NULL, 0, 0,
		"a table of N plans (default: 8) with KEY from A to B: prompt_tokens, sequences, or a graph's key" },
	{ "--csv", NULL, OPTION_FLAG, AT(csv), NULL, 0, 0, "with --over: comma-separated values" },
	{ "--output", "FILE", OPTION_TEXT, AT(output), NULL, 0, 0, "with --over: an SVG picture" },
	{ "--json", NULL, OPTION_FLAG, AT(json), NULL, 0, 0, "the metrics as a run's metrics.json has them, source \"planned\"" },
	{ "--quick", NULL, OPTION_FLAG, AT(quick), NULL, 0, 0, "do not look for changes that would make requirements hold" },
	{ "--tp-size", "N", OPTION_OVERRIDE, 0, "mesh.tensor", 0, 0, "tensor ranks" },
	{ "--ep-size", "N", OPTION_OVERRIDE, 0, "mesh.experts", 0, 0, "expert groups" },
	{ "--pp-size", "N", OPTION_OVERRIDE, 0, "mesh.stages", 0, 0, "pipeline stages" },
	{ "--set", "PATH=VALUE", OPTION_SET, 0, NULL, 0, 0, "any key of the graph, any number of times" },
	{ "--help", NULL, OPTION_FLAG, AT(help), NULL, 0, 0, "this text" },
};
static const struct option_alias aliases[] = { { "-o", "--output" } };
static const struct option_table table = { "octant plan", rows, sizeof rows / sizeof *rows, aliases,
	sizeof aliases / sizeof *aliases, AT(overrides), AT(graph), 1 };

static void print_usage(void)
{
	puts("usage: octant plan [GRAPH] [OPTION]…\n\n"
	     "What a deployment will do with a workload, in closed form: memory, FLOPs, bytes, communication, bubbles, times, and\n"
	     "whether the requirements hold, why, and what would make them hold. GRAPH is a path, the name of a graph that\n"
	     "ships, or default: the graph that this machine gets for --model, as it is without GRAPH.\n");
	options_print(&table);
	puts("\nExit status: 0 done; 1 a requirement does not hold; 2 bad usage or input.\n\n"
	     "example: octant plan tp2_ep2_pp2 --machine plan-4x64g-nvlink --over prompt_tokens=128:10240 -o plan.svg");
}

/* Reads the graph with the user's overrides and `more`. */
static int read_graph(void *context, const struct graph_override *more, int count, struct graph **graph,
	struct error *error)
{
	struct plan_command *c = context;
	struct graph_override all[OPTIONS_MAX_OVERRIDES + 16];
	memcpy(all, c->overrides.item, (size_t) c->overrides.count * sizeof *all);
	for (int i = 0; i < count; i++)
		all[c->overrides.count + i] = more[i];
	struct graph_load load = {.name = c->graph[0], .overrides = all, .override_count = c->overrides.count + count,
		.model = c->checkpoint ? checkpoint_model(c->checkpoint) : NULL};
	int code = graph_load(&load, graph, error);
	if (code)
		options_locate(&c->overrides, error);
	return code;
}

/* For what --prompt-tokens, --new-tokens and --over ask for. */
static int raise_limit(struct plan_command *c, struct error *error)
{
	struct plan_over_end end;
	int code = c->over ? plan_over_end(c->over, &end, error) : 0;
	struct graph_override last = { end.path, end.value };
	return code ? code : workload_raise_limit(&c->overrides, c->over ? &last : NULL, read_graph, c, false, error);
}

static int prepare(struct plan_command *c, int argc, char **argv, struct error *error)
{
	int code = options_parse(&table, argc, argv, c, error);
	if (code || c->help)
		return code;
	if (!c->graph[0] && !c->model) /* with a model: the default graph, as octant run has it */
		return error_set(error, ERROR_INPUT, NULL, "no graph is named; octant plan GRAPH, such as octant plan tp2_ep2_pp2, or "
			"--model DIR for this machine's default graph would be right");
	if (!c->over && (c->csv || c->output))
		return error_set(error, ERROR_INPUT, NULL, "%s belongs to --over; --over prompt_tokens=128:10240, for example, would be "
			"right", c->csv ? "--csv" : "--output");
	if (c->json && c->over)
		return error_set(error, ERROR_INPUT, NULL, "--json and --over do not go together; --csv is for programs");
	if (c->capacity > 0 && !c->routing)
		return error_set(error, ERROR_INPUT, NULL, "--capacity needs --routing; --routing balanced, for example, would be right");
	if (c->routing)
		code = routing_parse(c->routing, &c->routing_options, error);
	if (!code && c->machine)
		code = machine_file_override(c->machine, &c->overrides, error);
	if (!code && c->model)
		code = checkpoint_open(c->model, &c->checkpoint, error);
	if (c->routing) {
		c->routing_options.capacity = c->capacity;
		c->plan.routing = &c->routing_options;
	}
	return code ? code : raise_limit(c, error);
}

static int one_plan(struct plan_command *c, int *status, struct error *error)
{
	struct plan_change changes[PLAN_MAX_CHANGES];
	struct graph *graph = NULL;
	struct plan *plan = NULL;
	char *text = NULL;
	int count = 0, code = read_graph(c, NULL, 0, &graph, error);
	char line[512];
	for (int i = 0; !code && c->checkpoint && graph_card_differs(graph, checkpoint_model(c->checkpoint), i, line, sizeof line); i++)
		fprintf(stderr, "octant: the checkpoint replaces the card: %s\n", line);
	if (!code) {
		c->routing_options.seed = graph->workload.seed;
		code = plan_make(graph, &c->plan, &plan, error);
	}
	if (!code && !c->quick)
		code = plan_changes_make(plan, &c->plan, read_graph, c, changes, &count, error);
	if (!code && c->json)
		code = plan_text(plan, changes, count, &text, error);
	else if (!code)
		plan_print(plan, changes, count, stdout);
	if (text)
		fputs(text, stdout);
	if (!code && metrics_fails(&plan->metrics))
		*status = 1;
	free(text);
	plan_destroy(plan);
	graph_destroy(graph);
	return code;
}

int cmd_plan(int argc, char **argv)
{
	struct plan_command *c = calloc(1, sizeof *c);
	struct error error = { 0 };
	int status = 0;
	if (!c)
		return 1;
	int code = prepare(c, argc, argv, &error);
	if (!code && c->help)
		print_usage();
	else if (!code && c->over)
		code = plan_over(c->over, c->csv, c->output, &c->plan, read_graph, c, &error);
	else if (!code)
		code = one_plan(c, &status, &error);
	if (!code && fflush(stdout))
		code = error_set(&error, ERROR_RUN, "standard output", "cannot be written");
	if (code) {
		error_print(&error);
		status = error_exit_status(code);
	}
	checkpoint_close(c->checkpoint);
	options_free(&c->overrides);
	free(c);
	return status;
}
