/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line of `octant run`: what changes the graph becomes an override of one of its keys. */
#include "tools/run_options.h"
#include <stdio.h>

#define AT(field) offsetof(struct run_options, field)

static const struct option_row rows[] = {
	{ "--model", "DIR", OPTION_TEXT, AT(model), NULL, 0, 0, "the checkpoint, a Hugging Face directory" },
	{ "--input", "FILE", OPTION_TEXT, AT(input), NULL, 0, 0, "prompts: a JSON array, JSON lines or an OpenAI batch file" },
	{ "--output-dir", "DIR", OPTION_TEXT, AT(output), NULL, 0, 0, "where outputs.jsonl, metrics.json and trace.json go" },
	{ "--resume", NULL, OPTION_FLAG, AT(resume), NULL, 0, 0, "go on where an earlier run in the same folder stopped" },
	{ "--force", NULL, OPTION_FLAG, AT(force), NULL, 0, 0, "replace the results that the folder holds" },
	{ "--dry-run", NULL, OPTION_FLAG, AT(dry_run), NULL, 0, 0, "print the memory of each device and load nothing" },
	{ "--measure-performance", NULL, OPTION_FLAG, AT(measure), NULL, 0, 0,
		"print where the time went (metrics.json always has it)" },
	{ "--record-routing", "[FILE]", OPTION_OPTIONAL, AT(routing), NULL, 0, 0,
		"count the rows sent to each expert (default file: routing.jsonl in the output folder)" },
	{ "--dump-tasks", "FILE", OPTION_TEXT, AT(tasks), NULL, 0, 0,
		"write a line for each task submitted, with its buffers and what it waits for" },
	{ "--no-trace", NULL, OPTION_FLAG, AT(no_trace), NULL, 0, 0, "write no trace.json" },
	{ "--json", NULL, OPTION_FLAG, AT(json), NULL, 0, 0, "print the metrics, or with --dry-run the memory, as JSON" },
	{ "--quiet", NULL, OPTION_FLAG, AT(quiet), NULL, 0, 0, "no progress and no summary" },

	{ "--parallel-config", "NAME", OPTION_TEXT, AT(graph), NULL, 0, 0, "the graph, as GRAPH" },
	{ "--tp-size", "N", OPTION_OVERRIDE, 0, "mesh.tensor", 0, 0, "tensor ranks" },
	{ "--ep-size", "N", OPTION_OVERRIDE, 0, "mesh.experts", 0, 0, "expert groups" },
	{ "--pp-size", "N", OPTION_OVERRIDE, 0, "mesh.stages", 0, 0, "pipeline stages" },
	{ "--batch-size", "N", OPTION_OVERRIDE, 0, "limits.sequences", 0, 0, "sequences that run at the same time" },
	{ "--max-seq-len", "N", OPTION_OVERRIDE, 0, "limits.tokens_per_sequence", 0, 0, "tokens of a sequence, prompt and new ones" },
	{ "--policy", "NAME", OPTION_OVERRIDE, 0, "schedule.policy", 0, 0,
		"scheduler: homes, eager, prio, ws, lws, dm, dmda, dmdas" },
	{ "--compute", "TYPE", OPTION_OVERRIDE, 0, "compute", 0, 0, "fp32, bf16 or int8" },
	{ "--set", "PATH=VALUE", OPTION_SET, 0, NULL, 0, 0, "any key of the graph, any number of times" },
	{ "--workers", "N", OPTION_INTEGER, AT(workers), NULL, 1, 64, "CPU workers (default: one a core)" },
	{ "--weights-cache", "WHERE", OPTION_TEXT, AT(weights_cache), NULL, 0, 0,
		"keep packed weights between runs: off (default), beside the checkpoint, or the name of a folder" },
	{ "--watchdog", "SECONDS", OPTION_NUMBER, AT(watchdog_s), NULL, 0, 1e6,
		"report when no task has ended for so long (default: 60; 0: never)" },

	{ "--max-new-tokens", "N", OPTION_INTEGER, AT(request.max_new_tokens), NULL, 1, 1 << 24, "of rows that do not say (default: 128)" },
	{ "--temperature", "X", OPTION_FLOAT, AT(request.sampling.temperature), NULL, 0, 100, "likewise (default: 0, greedy)" },
	{ "--top-p", "X", OPTION_FLOAT, AT(request.sampling.top_p), NULL, 1e-6, 1, "likewise (default: 1)" },
	{ "--top-k", "N", OPTION_INTEGER, AT(request.sampling.top_k), NULL, 0, 1 << 24, "likewise (default: 0, off)" },
	{ "--min-p", "X", OPTION_FLOAT, AT(request.sampling.min_p), NULL, 0, 1, "likewise (default: 0, off)" },
	{ "--ignore-eos", NULL, OPTION_FLAG, AT(request.ignore_eos), NULL, 0, 0, "likewise: go on after an end token" },
	{ "--logprobs", NULL, OPTION_FLAG, AT(request.logprobs), NULL, 0, 0, "likewise: log-probabilities of the chosen tokens" },
	{ "--help", NULL, OPTION_FLAG, AT(help), NULL, 0, 0, "this text" },
};

/* The plan's other names of the same things. */
static const struct option_alias aliases[] = {
	{ "--model-path", "--model" },
	{ "--input-batch", "--input" },
};

static const struct option_table table = {
	.command = "octant run",
	.rows = rows,
	.count = sizeof rows / sizeof *rows,
	.aliases = aliases,
	.alias_count = sizeof aliases / sizeof *aliases,
	.overrides_at = AT(overrides),
	.arguments_at = AT(graph),
	.argument_count = 1,
};

void run_options_usage(void)
{
	puts("usage: octant run [GRAPH] --model DIR --input FILE --output-dir DIR [OPTION]…\n\n"
	     "Batch inference of a checkpoint through a graph. GRAPH is a path, or the name of a graph that ships; without\n"
	     "it (or with `default`), the default graph of this machine: heads and experts cut over its cores.\n");
	options_print(&table);
	puts("\nOptions may be written with _ for -. Exit status: 0 done; 1 a sequence, a requirement or the run failed;\n"
	     "2 bad usage or input; 130 interrupted.\n\n"
	     "example: octant run tp2_ep2_pp2 --model graphs/quickstart/model --input graphs/quickstart/prompts.jsonl \\\n"
	     "             --output-dir results");
}

static int check_complete(const struct run_options *options, struct error *error)
{
	if (!options->model && !(options->dry_run && !graph_is_default(options->graph)))
		return error_set(error, ERROR_INPUT, NULL, "--model is missing; --model DIR names the checkpoint's directory");
	if (options->dry_run)
		return 0;
	if (!options->input)
		return error_set(error, ERROR_INPUT, NULL, "--input is missing; --input FILE names the prompts");
	if (!options->output)
		return error_set(error, ERROR_INPUT, NULL, "--output-dir is missing; --output-dir DIR says where results go");
	if (options->resume && options->force)
		return error_set(error, ERROR_INPUT, NULL, "--resume keeps results and --force removes them; choose one");
	return 0;
}

int run_options_parse(int argc, char **argv, struct run_options *options, struct error *error)
{
	*options = (struct run_options){ .watchdog_s = 60 };
	request_options_default(&options->request);
	int code = options_parse(&table, argc, argv, options, error);
	return code || options->help ? code : check_complete(options, error);
}
