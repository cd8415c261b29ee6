/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line of `octant simulate`, and its workload. */
#include "tools/simulate_options.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/json_file.h"
#include "runtime/workload.h"
#include "tools/machine_file.h"
#include "tools/workload_options.h"

#define AT(field) offsetof(struct simulate_options, field)

static const struct option_row rows[] = {
	{ "--model", "DIR", OPTION_TEXT, AT(model), NULL, 0, 0, "a checkpoint, whose sizes replace the graph's card" },
	{ "--against", "RUN_DIR", OPTION_TEXT, AT(against), NULL, 0, 0,
		"in place of GRAPH: simulate what that run did, on the machine card --machine, and compare" },
	{ "--output-dir", "DIR", OPTION_TEXT, AT(output), NULL, 0, 0, "where metrics.json and trace.json go" },
	{ "--json", NULL, OPTION_FLAG, AT(json), NULL, 0, 0, "print the metrics as JSON" },
	{ "--quiet", NULL, OPTION_FLAG, AT(quiet), NULL, 0, 0, "no progress and no summary" },
	{ "--no-trace", NULL, OPTION_FLAG, AT(no_trace), NULL, 0, 0, "write no trace.json" },
	{ "--dump-tasks", "FILE", OPTION_TEXT, AT(tasks), NULL, 0, 0, "write a line for each task submitted" },

	MACHINE_OPTION_ROW(struct simulate_options),
	WORKLOAD_OPTION_ROWS,
	{ "--input", "FILE", OPTION_TEXT, AT(input), NULL, 0, 0,
		"sequences one by one: JSON lines with prompt_tokens and completion_tokens, as outputs.jsonl has them" },
	ROUTING_OPTION_ROWS(struct simulate_options),
	{ "--channels", "N", OPTION_INTEGER, AT(channels), NULL, 1, 16,
		"collectives that one set of devices has under way at once (default: 1)" },
	{ "--workers", "N", OPTION_INTEGER, AT(workers), NULL, 1, 64, "of a host machine (default: one a core)" },
	{ "--submit-cost", "US", OPTION_NUMBER, AT(submit_us), NULL, 0, 1e6,
		"microseconds that submitting a task takes (default: machine.runtime.submit_s, else 0; StarPU on a CPU: about 3)" },
	{ "--task-cost", "US", OPTION_NUMBER, AT(task_us), NULL, 0, 1e6,
		"microseconds of a worker for a task besides its own time and the launch (default: machine.runtime.task_s, else 0)" },
	{ "--tp-size", "N", OPTION_OVERRIDE, 0, "mesh.tensor", 0, 0, "tensor ranks" },
	{ "--ep-size", "N", OPTION_OVERRIDE, 0, "mesh.experts", 0, 0, "expert groups" },
	{ "--pp-size", "N", OPTION_OVERRIDE, 0, "mesh.stages", 0, 0, "pipeline stages" },
	{ "--policy", "NAME", OPTION_OVERRIDE, 0, "schedule.policy", 0, 0,
		"scheduler: homes, eager, prio, ws, lws, dm, dmda, dmdas" },
	{ "--set", "PATH=VALUE", OPTION_SET, 0, NULL, 0, 0, "any key of the graph, any number of times" },
	{ "--help", NULL, OPTION_FLAG, AT(help), NULL, 0, 0, "this text" },
};

static const struct option_table table = {
	.command = "octant simulate",
	.rows = rows,
	.count = sizeof rows / sizeof *rows,
	.overrides_at = AT(overrides),
	.arguments_at = AT(graph),
	.argument_count = 1,
};

void simulate_options_usage(void)
{
	puts("usage: octant simulate [GRAPH] [OPTION]…\n\n"
	     "A workload through a graph on the machine that the graph names, which need not exist: the batcher, tasks and\n"
	     "scheduler of a run, with time from the cost model and from the links that collectives share. Without GRAPH: the\n"
	     "default graph that this machine gets for --model.\n");
	options_print(&table);
	puts("\noctant simulate --against RUN_DIR --machine CARD predicts what octant run did, by the card of octant calibrate.");
	puts("\nExit status: 0 done; 1 a sequence or a requirement failed; 2 bad usage or input.\n\n"
	     "example: octant simulate tp2_ep2_pp2 --policy homes --sequences 16 --output-dir simulated");
}

int simulate_options_parse(int argc, char **argv, struct simulate_options *options, struct error *error)
{
	*options = (struct simulate_options){ .channels = 1 };
	int code = options_parse(&table, argc, argv, options, error);
	if (code || options->help)
		return code;
	if (options->against && (options->graph || options->input || options->model))
		return error_set(error, ERROR_INPUT, NULL, "--against takes graph, model and sequences from the run; leave %s out",
			options->graph ? options->graph : options->input ? "--input" : "--model");
	if (options->against && !options->machine)
		return error_set(error, ERROR_INPUT, NULL, "--against needs the card of this machine; octant calibrate -o here.cfg, and "
			"then --machine here.cfg, would be right");
	if (options->against)
		return machine_file_override(options->machine, &options->overrides, error);
	if (!options->graph && !options->model) /* with a model: the default graph, as octant run has it */
		return error_set(error, ERROR_INPUT, NULL, "no graph is named; octant simulate GRAPH, such as octant simulate "
			"tp2_ep2_pp2, or --model DIR for this machine's default graph would be right");
	if (options->capacity > 0 && !options->routing)
		return error_set(error, ERROR_INPUT, NULL, "--capacity needs --routing; --routing balanced, for example, would be "
			"right");
	return options->machine ? machine_file_override(options->machine, &options->overrides, error) : 0;
}

/* ---- the workload */

static int described(const struct graph *graph, struct simulate_sequence **sequences, int *count, struct error *error)
{
	const struct graph_workload *w = &graph->workload;
	if (!w->given)
		return error_set(error, ERROR_INPUT, graph->path, "the graph has no require.workload; --sequences 128 "
			"--prompt-tokens [128,2048] --new-tokens 128, for example, describe one");
	int *prompt = calloc((size_t) w->sequences, sizeof *prompt);
	*sequences = calloc((size_t) w->sequences, sizeof **sequences);
	if (!prompt || !*sequences) {
		free(prompt);
		return error_memory(error, "describing the workload");
	}
	workload_lengths(w, prompt);
	for (int i = 0; i < w->sequences; i++)
		(*sequences)[i] = (struct simulate_sequence){ prompt[i], w->new_tokens };
	*count = w->sequences;
	free(prompt);
	return 0;
}

static int read_line(const char *path, unsigned number, char *text, size_t bytes, struct simulate_sequence *sequence,
	struct error *error)
{
	struct json_file file = { .path = (char *) path };
	json_t *root;
	int code = json_file_parse(path, number, text, bytes, 0, &root, error);
	if (code)
		return code;
	*sequence = (struct simulate_sequence){ 0, 0 };
	code = json_file_integer(&file, root, "prompt_tokens", 1, 1 << 24, &sequence->prompt_tokens, error);
	if (!code)
		code = json_file_integer(&file, root, "completion_tokens", 1, 1 << 24, &sequence->new_tokens, error);
	if (!code && (!sequence->prompt_tokens || !sequence->new_tokens))
		code = error_set(error, ERROR_INPUT, NULL, "a line lacks %s; {\"prompt_tokens\": 128, \"completion_tokens\": 16} "
			"would be right", sequence->prompt_tokens ? "completion_tokens" : "prompt_tokens");
	if (code)
		snprintf(error->where, sizeof error->where, "%s:%u", path, number);
	json_decref(root);
	return code;
}

static int from_file(const char *path, struct simulate_sequence **sequences, int *count,
	struct error *error)
{
	char *text, *next;
	size_t size;
	int code = json_file_bytes(path, (size_t) 1 << 30, &text, &size, error), lines = 1;
	if (code)
		return code;
	for (size_t i = 0; i < size; i++)
		lines += text[i] == '\n';
	*sequences = calloc((size_t) lines, sizeof **sequences);
	if (!*sequences)
		code = error_memory(error, "reading the workload");
	unsigned number = 1;
	for (char *line = text; !code && line < text + size; line = next, number++) {
		char *end = memchr(line, '\n', size - (size_t) (line - text));
		size_t bytes = end ? (size_t) (end - line) : size - (size_t) (line - text);
		next = line + bytes + 1;
		if (strspn(line, " \t\r") >= bytes)
			continue;
		code = read_line(path, number, line, bytes, &(*sequences)[*count], error);
		*count += !code;
	}
	free(text);
	if (!code && !*count)
		code = error_set(error, ERROR_INPUT, path, "has no sequence; {\"prompt_tokens\": 128, \"completion_tokens\": "
			"16} on a line would be right");
	return code;
}

int simulate_workload(const struct simulate_options *options, const struct graph *graph,
	struct simulate_sequence **sequences, int *count, struct error *error)
{
	*sequences = NULL;
	*count = 0;
	if (options->input)
		return from_file(options->input, sequences, count, error);
	return described(graph, sequences, count, error);
}
