/* SPDX-License-Identifier: Apache-2.0
 *
 * octant search: which mesh, chain and schedule reach a goal best. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/checkpoint.h"
#include "tools/commands.h"
#include "tools/graph_load.h"
#include "tools/machine_file.h"
#include "tools/options.h"
#include "tools/search.h"
#include "tools/workload_options.h"

enum { DEFAULT_SIMULATED = 4 };

struct search_command {
	const char *graph[1];
	const char *model, *machine, *routing, *goal, *output, *write;
	double capacity, most_exposed, most_bubbles;
	int devices, tensor, experts, stages, simulate, near, top, threads;
	bool json, csv, exhaustive, anyway, help;
	struct option_overrides overrides;

	struct checkpoint *checkpoint;
	struct routing_options routing_options;
	struct plan_options plan;
	struct search search;
	const char *pinned[OPTIONS_MAX_OVERRIDES];
	char command[2048]; /* as typed */
};

#define AT(field) offsetof(struct search_command, field)

static const struct option_row rows[] = {
	{ "--goal", "GOAL", OPTION_TEXT, AT(goal), NULL, 0, 0,
		"makespan, ttft, prefill, decode or total (tokens/ms a device), memory, exposed (default: makespan)" },
	{ "--devices", "N", OPTION_INTEGER, AT(devices), NULL, 1, MESH_MAX_DEVICES,
		"of the machine's first kind (default: as many as it has)" },
	{ "--simulate", "K", OPTION_INTEGER, AT(simulate), NULL, 0, 1000,
		"simulate the best K and rank these anew (default: 4, where octant-sim is built)" },
	{ "--near", "N", OPTION_INTEGER, AT(near), NULL, 0, 1000,
		"then simulate up to N schedules that differ from the best simulated in one key (default: as many as --simulate)" },
	{ "--top", "N", OPTION_INTEGER, AT(top), NULL, 1, 1 << 20, "candidates that are shown (default: 16)" },
	{ "--max-exposed", "SHARE", OPTION_NUMBER, AT(most_exposed), NULL, 1e-6, 1,
		"required beside the graph's: communication that nothing hides, of the prefill window (default: 1)" },
	{ "--max-bubbles", "SHARE", OPTION_NUMBER, AT(most_bubbles), NULL, 1e-6, 1,
		"likewise: time in which a device has nothing to do (default: 1)" },
	{ "--anyway", NULL, OPTION_FLAG, AT(anyway), NULL, 0, 0, "rank those too whose requirements do not hold" },
	{ "--exhaustive", NULL, OPTION_FLAG, AT(exhaustive), NULL, 0, 0,
		"every combination of every key that is not --set, in place of coarse to fine" },
	{ "--threads", "N", OPTION_INTEGER, AT(threads), NULL, 1, 64, "that plan (default: one a core)" },
	{ "--json", NULL, OPTION_FLAG, AT(json), NULL, 0, 0, "the candidates as JSON, each with its --set options" },
	{ "--csv", NULL, OPTION_FLAG, AT(csv), NULL, 0, 0, "comma-separated values" },
	{ "--output", "FILE", OPTION_TEXT, AT(output), NULL, 0, 0, "an SVG picture: TTFT against tokens/ms a device" },
	{ "--write", "FILE", OPTION_TEXT, AT(write), NULL, 0, 0, "the best as a complete graph description" },
	{ "--model", "DIR", OPTION_TEXT, AT(model), NULL, 0, 0, "a checkpoint in place of the graph's model card" },
	MACHINE_OPTION_ROW(struct search_command),
	WORKLOAD_OPTION_ROWS,
	ROUTING_OPTION_ROWS(struct search_command),
	{ "--tp-size", "N", OPTION_INTEGER, AT(tensor), NULL, 1, 64, "tensor ranks: only these are tried" },
	{ "--ep-size", "N", OPTION_INTEGER, AT(experts), NULL, 1, 64, "expert groups, likewise" },
	{ "--pp-size", "N", OPTION_INTEGER, AT(stages), NULL, 1, 64, "pipeline stages, likewise" },
	{ "--set", "PATH=VALUE", OPTION_SET, 0, NULL, 0, 0, "any key of the graph, any number of times; it stays as set" },
	{ "--help", NULL, OPTION_FLAG, AT(help), NULL, 0, 0, "this text" },
};
static const struct option_alias aliases[] = { { "-o", "--output" } };
static const struct option_table table = { "octant search", rows, sizeof rows / sizeof *rows, aliases,
	sizeof aliases / sizeof *aliases, AT(overrides), AT(graph), 1 };

static void print_usage(void)
{
	puts("usage: octant search GRAPH [OPTION]…\n\n"
	     "Which deployment of the graph's model on its machine is best: every mesh that folds on the devices, the chains that\n"
	     "compose on it, where send stands, the residual stream's type where the graph does not say it, prefill chunks, slots,\n"
	     "ahead, groups and interleave. Planned by thousands, the best are simulated. What --set fixes stays fixed.\n");
	options_print(&table);
	puts("\nExit status: 0 done; 1 no candidate meets the requirements: the nearest is named; 2 bad usage or input.\n\n"
	     "example: octant search tp2_ep2_pp2 --goal makespan --prompt-tokens 2048 --anyway -o pareto.svg --write best.cfg");
}

static int read_graph(void *context, const struct graph_override *more, int count, struct graph **graph,
	struct error *error)
{
	struct search_command *c = context;
	struct graph_override all[OPTIONS_MAX_OVERRIDES + SEARCH_OVERRIDES];
	memcpy(all, c->overrides.item, (size_t) c->overrides.count * sizeof *all);
	for (int i = 0; i < count; i++)
		all[c->overrides.count + i] = more[i];
	struct graph_load load = { .name = c->graph[0], .overrides = all, .override_count = c->overrides.count + count,
		.model = c->checkpoint ? checkpoint_model(c->checkpoint) : NULL };
	int code = graph_load(&load, graph, error);
	if (code)
		options_locate(&c->overrides, error);
	return code;
}

/* For what no mesh matters to, where the graph's own needs more devices than there are. */
static int read_any_mesh(void *context, const struct graph_override *more, int count, struct graph **graph,
	struct error *error)
{
	struct graph_override all[SEARCH_OVERRIDES];
	struct error unused = { 0 };
	int code = read_graph(context, more, count, graph, error);
	if (code != ERROR_INPUT || count >= SEARCH_OVERRIDES)
		return code;
	memcpy(all, more, (size_t) count * sizeof *all);
	all[count] = (struct graph_override){ "mesh", "{ tensor = 1; experts = 1; stages = 1; expert_tensor = 1; }" };
	if (read_graph(context, all, count + 1, graph, &unused))
		return code;
	*error = (struct error){ 0 };
	return 0;
}

static int read_goal(struct search_command *c, struct error *error)
{
	const char *words[SEARCH_GOALS + 1] = { NULL };
	for (int i = 0; i < SEARCH_GOALS; i++) {
		words[i] = search_goal_names[i];
		if (!c->goal || !strcmp(c->goal, words[i])) {
			c->search.goal = (enum search_goal) i;
			return 0;
		}
	}
	const char *nearest = error_nearest(c->goal, words);
	return error_set(error, ERROR_INPUT, NULL, "--goal %.64s; %s%s%smakespan, ttft, prefill, decode, total, memory or exposed would "
		"be right", c->goal, nearest ? "did you mean " : "", nearest ? nearest : "", nearest ? "? " : "");
}

static void keep_command(struct search_command *c, int argc, char **argv)
{
	size_t used = (size_t) snprintf(c->command, sizeof c->command, "octant search");
	for (int i = 1; i < argc && used < sizeof c->command; i++) {
		bool plain = !argv[i][strcspn(argv[i], " \t\n\r\"{}();*[]$&|<>'\\")];
		used += (size_t) snprintf(c->command + used, sizeof c->command - used, plain ? " %s" : " '%s'", argv[i]);
	}
	for (char *k = c->command; *k; k++)
		if ((unsigned char) *k < 0x20)
			*k = ' ';
}

static int prepare(struct search_command *c, int argc, char **argv, struct error *error)
{
	c->simulate = c->near = -1;
	c->top = 16;
	c->most_exposed = c->most_bubbles = 1;
	int code = options_parse(&table, argc, argv, c, error);
	if (code || c->help)
		return code;
	if (!c->graph[0])
		return error_set(error, ERROR_INPUT, NULL, "no graph is named; octant search GRAPH, such as octant search tp2_ep2_pp2, "
			"would be right");
	if (c->json && c->csv)
		return error_set(error, ERROR_INPUT, NULL, "--json and --csv do not go together; one of them would be right");
	if (c->capacity > 0 && !c->routing)
		return error_set(error, ERROR_INPUT, NULL, "--capacity needs --routing; --routing balanced, for example, would be right");
	code = read_goal(c, error);
	if (!code && c->routing)
		code = routing_parse(c->routing, &c->routing_options, error);
	for (int i = 0; i < c->overrides.count; i++)
		c->pinned[i] = c->overrides.item[i].path;
	c->search.pins = c->overrides.count;
	if (!code && c->machine)
		code = machine_file_override(c->machine, &c->overrides, error);
	if (!code && c->model)
		code = checkpoint_open(c->model, &c->checkpoint, error);
	if (c->routing) {
		c->routing_options.capacity = c->capacity;
		c->plan.routing = &c->routing_options;
	}
	keep_command(c, argc, argv);
	c->search.pinned = c->pinned;
	c->search.read = read_graph;
	c->search.context = c;
	c->search.plan = &c->plan;
	c->search.devices = c->devices;
	c->search.tensor = c->tensor;
	c->search.experts = c->experts;
	c->search.stages = c->stages;
	c->search.threads = c->threads;
	c->search.most_exposed = c->most_exposed;
	c->search.most_bubbles = c->most_bubbles;
	c->search.exhaustive = c->exhaustive;
	c->search.regardless = c->anyway;
	return code ? code : workload_raise_limit(&c->overrides, NULL, read_any_mesh, c, false, error);
}

static int count_of(int given)
{
	return given < 0 ? DEFAULT_SIMULATED : given;
}

/* The user's own options, for octant-sim. */
static int simulate(struct search_command *c, struct error *error)
{
	const char **argument = calloc((size_t) c->overrides.count * 2 + 12, sizeof *argument);
	char **set = calloc((size_t) c->overrides.count + 1, sizeof *set), capacity[32];
	int count = 0, sets = 0, code = argument && set ? 0 : error_memory(error, "searching");
	if (!code && c->model) {
		argument[count++] = "--model";
		argument[count++] = c->model;
	}
	if (!code && c->routing) {
		snprintf(capacity, sizeof capacity, "%.17g", c->capacity);
		argument[count++] = "--routing";
		argument[count++] = c->routing;
		argument[count++] = "--capacity";
		argument[count++] = capacity;
	}
	for (int i = 0; !code && i < c->overrides.count; i++) { /* a machine file is among them */
		const struct graph_override *o = &c->overrides.item[i];
		size_t length = strlen(o->path) + strlen(o->value) + 2;
		set[i] = malloc(length);
		if (!set[i]) {
			code = error_memory(error, "searching");
			break;
		}
		sets++;
		snprintf(set[i], length, "%s=%s", o->path, o->value);
		argument[count++] = "--set";
		argument[count++] = set[i];
	}
	if (!code)
		code = search_simulate(&c->search, c->graph[0], argument, count_of(c->simulate), count_of(c->near < 0 ? c->simulate : c->near),
			error);
	while (sets)
		free(set[--sets]);
	free(set);
	free(argument);
	if (code == ERROR_RUN && c->simulate < 0 && strstr(error->text, "is not built")) {
		fprintf(stderr, "octant: %s is not built: nothing is simulated (tools/build --sim builds it)\n", error->where);
		*error = (struct error){ 0 };
		code = 0;
	}
	return code;
}

/* None that holds: which is nearest, and by how much it fails. */
static int refuse(const struct search_command *c, struct error *error)
{
	const struct search_candidate *n = &c->search.candidate[c->search.best[0]];
	const struct search_base *b = &c->search.base[n->base];
	const struct mesh *m = &b->graph->mesh;
	return error_set(error, ERROR_RUN, b->graph->path[0] ? b->graph->path : NULL, "none of %d candidates meets the requirements; "
		"nearest: tensor %d × experts %d × stages %d, %s, chunks of %d tokens, %d slots, where %s is %.4g%s%s and %.4g is required; "
		"--anyway ranks them all the same", c->search.planned, m->tensor, m->experts, m->stages, search_chain_names[b->chain],
		n->key[KEY_TOKENS], n->key[KEY_SLOTS], n->missed, n->missed_value, n->missed_unit[0] ? " " : "", n->missed_unit,
		n->missed_limit);
}

static int perform(struct search_command *c, struct error *error)
{
	struct search *s = &c->search;
	int code = search_space_make(s, error);
	if (code)
		return code;
	c->routing_options.seed = s->base[0].graph->workload.seed;
	code = search_run(s, error);
	if (!code && !c->anyway && s->candidate[s->best[0]].miss > 0)
		return refuse(c, error);
	if (!code && c->simulate)
		code = simulate(c, error);
	if (!code)
		code = search_bound(s, &s->candidate[s->best[0]], error);
	if (code)
		return code;
	if (c->json)
		code = search_json(s, c->top, stdout, error);
	else if (c->csv)
		search_csv(s, c->top, stdout);
	else
		search_print(s, c->top, stdout);
	if (!code && !c->json && !c->csv)
		fprintf(stderr, "octant: %d candidates planned in %.1f s\n", s->planned + s->unfit, s->seconds);
	if (!code && c->output)
		code = search_svg_write(s, c->output, error);
	if (!code && c->write)
		code = search_write(s, &s->candidate[s->best[0]], c->command, c->write, error);
	return code;
}

int cmd_search(int argc, char **argv)
{
	struct search_command *c = calloc(1, sizeof *c);
	struct error error = { 0 };
	if (!c)
		return 1;
	int code = prepare(c, argc, argv, &error);
	if (!code && c->help)
		print_usage();
	else if (!code)
		code = perform(c, &error);
	if (!code && fflush(stdout))
		code = error_set(&error, ERROR_RUN, "standard output", "cannot be written");
	if (code)
		error_print(&error);
	int status = error_exit_status(code);
	search_free(&c->search);
	checkpoint_close(c->checkpoint);
	options_free(&c->overrides);
	free(c);
	return status;
}
