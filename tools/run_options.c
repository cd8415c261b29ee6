/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line of `octant run`. One table holds every option, so that help, spelling and meaning stay
 * together; what changes the graph becomes an override of one of its keys. */
#include "tools/run_options.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum option_kind {
	TEXT,     /* const char * */
	FLAG,     /* bool; "true" or "false" may follow */
	NUMBER,   /* double, within [least, most] */
	INTEGER,  /* int, likewise */
	OVERRIDE, /* of a graph's key */
	SET,      /* PATH=VALUE */
	ROUTING,  /* a flag that may have a value */
};

struct option {
	const char *name, *value; /* "--model", "DIR" */
	enum option_kind kind;
	size_t at;       /* where in struct run_options */
	const char *key; /* OVERRIDE */
	double least, most;
	const char *help;
};

#define AT(field) offsetof(struct run_options, field)

static const struct option options_table[] = {
	{ "--model", "DIR", TEXT, AT(model), NULL, 0, 0, "the checkpoint, a Hugging Face directory" },
	{ "--input", "FILE", TEXT, AT(input), NULL, 0, 0, "prompts: a JSON array, JSON lines or an OpenAI batch file" },
	{ "--output-dir", "DIR", TEXT, AT(output), NULL, 0, 0, "where outputs.jsonl, metrics.json and trace.json go" },
	{ "--resume", NULL, FLAG, AT(resume), NULL, 0, 0, "go on where an earlier run in the same folder stopped" },
	{ "--force", NULL, FLAG, AT(force), NULL, 0, 0, "replace the results that the folder holds" },
	{ "--dry-run", NULL, FLAG, AT(dry_run), NULL, 0, 0, "print the memory of each device and load nothing" },
	{ "--measure-performance", NULL, FLAG, AT(measure), NULL, 0, 0,
		"print where the time went (metrics.json always has it)" },
	{ "--record-routing", "[FILE]", ROUTING, AT(routing), NULL, 0, 0,
		"count the rows sent to each expert (default file: routing.jsonl in the output folder)" },
	{ "--no-trace", NULL, FLAG, AT(no_trace), NULL, 0, 0, "write no trace.json" },
	{ "--json", NULL, FLAG, AT(json), NULL, 0, 0, "print the metrics, or with --dry-run the memory, as JSON" },
	{ "--quiet", NULL, FLAG, AT(quiet), NULL, 0, 0, "no progress and no summary" },

	{ "--parallel-config", "NAME", TEXT, AT(graph), NULL, 0, 0, "the graph, as GRAPH" },
	{ "--tp-size", "N", OVERRIDE, 0, "mesh.tensor", 0, 0, "tensor ranks" },
	{ "--ep-size", "N", OVERRIDE, 0, "mesh.experts", 0, 0, "expert groups" },
	{ "--pp-size", "N", OVERRIDE, 0, "mesh.stages", 0, 0, "pipeline stages" },
	{ "--batch-size", "N", OVERRIDE, 0, "limits.sequences", 0, 0, "sequences that run at the same time" },
	{ "--max-seq-len", "N", OVERRIDE, 0, "limits.tokens_per_sequence", 0, 0, "tokens of a sequence, prompt and new ones" },
	{ "--policy", "NAME", OVERRIDE, 0, "schedule.policy", 0, 0,
		"scheduler: homes, eager, prio, ws, lws, dm, dmda, dmdas" },
	{ "--compute", "TYPE", OVERRIDE, 0, "compute", 0, 0, "fp32 or bf16" },
	{ "--set", "PATH=VALUE", SET, 0, NULL, 0, 0, "any key of the graph, any number of times" },
	{ "--workers", "N", INTEGER, AT(workers), NULL, 1, 64, "CPU workers (default: one a core)" },
	{ "--watchdog", "SECONDS", NUMBER, AT(watchdog_s), NULL, 0, 1e6,
		"report when no task has ended for so long (default: 60; 0: never)" },

	{ "--max-new-tokens", "N", INTEGER, AT(request.max_new_tokens), NULL, 1, 1 << 24, "of rows that do not say (default: 128)" },
	{ "--temperature", "X", NUMBER, AT(request.sampling.temperature), NULL, 0, 1e6, "likewise (default: 0, greedy)" },
	{ "--top-p", "X", NUMBER, AT(request.sampling.top_p), NULL, 0, 1, "likewise (default: 1)" },
	{ "--top-k", "N", INTEGER, AT(request.sampling.top_k), NULL, 0, 1 << 24, "likewise (default: 0, off)" },
	{ "--min-p", "X", NUMBER, AT(request.sampling.min_p), NULL, 0, 1, "likewise (default: 0, off)" },
	{ "--ignore-eos", NULL, FLAG, AT(request.ignore_eos), NULL, 0, 0, "likewise: go on after an end token" },
	{ "--logprobs", NULL, FLAG, AT(request.logprobs), NULL, 0, 0, "likewise: log-probabilities of the chosen tokens" },
	{ "--help", NULL, FLAG, AT(help), NULL, 0, 0, "this text" },
};
enum { OPTIONS = sizeof options_table / sizeof *options_table };

/* The plan's other names of the same things. */
static const struct {
	const char *alias, *name;
} aliases[] = {
	{ "--model-path", "--model" },
	{ "--input-batch", "--input" },
};

void run_options_usage(void)
{
	puts("usage: octant run [GRAPH] --model DIR --input FILE --output-dir DIR [OPTION]…\n\n"
	     "Batch inference of a checkpoint through a graph. GRAPH is a path, or the name of a graph that ships; without\n"
	     "it, the default graph of this machine: tensor and expert parallel over its cores.\n");
	for (int i = 0; i < OPTIONS; i++) {
		const struct option *o = &options_table[i];
		char left[64];
		snprintf(left, sizeof left, "%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
		printf("  %-26s %s\n", left, o->help);
	}
	puts("\nOptions may be written with _ for -. Exit status: 0 done; 1 a sequence, a requirement or the run failed;\n"
	     "2 bad usage or input; 130 interrupted.\n\n"
	     "example: octant run tp2_ep2_pp2 --model graphs/quickstart/model --input graphs/quickstart/prompts.jsonl \\\n"
	     "             --output-dir results");
}

static const struct option *find_option(const char *word, size_t length)
{
	char name[64];
	if (length >= sizeof name)
		return NULL;
	for (size_t i = 0; i < length; i++)
		name[i] = word[i] == '_' ? '-' : word[i];
	name[length] = 0;
	for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
		if (!strcmp(name, aliases[i].alias))
			snprintf(name, sizeof name, "%s", aliases[i].name);
	for (int i = 0; i < OPTIONS; i++)
		if (!strcmp(name, options_table[i].name))
			return &options_table[i];
	return NULL;
}

static int refuse(const char *word, size_t length, struct error *error)
{
	const char *names[OPTIONS + 1] = { NULL };
	char name[64];
	snprintf(name, sizeof name, "%.*s", (int) (length < 60 ? length : 60), word);
	for (int i = 0; i < OPTIONS; i++)
		names[i] = options_table[i].name;
	const char *nearest = error_nearest(name, names);
	return error_set(error, ERROR_INPUT, NULL, "there is no option %s; %s%s", name,
		nearest ? "did you mean " : "octant run --help lists them", nearest ? nearest : "");
}

static int add_override(struct run_options *options, const char *path, const char *value, const char *origin,
	struct error *error)
{
	if (options->overrides == RUN_MAX_OVERRIDES)
		return error_set(error, ERROR_INPUT, NULL, "more than %d overrides of the graph", RUN_MAX_OVERRIDES);
	size_t length = strlen(path) + 1, size = length + strlen(value) + 1;
	char *copy = malloc(size);
	if (!copy)
		return error_memory(error, "reading the command line");
	memcpy(copy, path, length);
	memcpy(copy + length, value, size - length);
	options->copy[options->overrides] = copy;
	options->origin[options->overrides] = origin;
	options->override[options->overrides++] = (struct graph_override){ copy, copy + length };
	return 0;
}

static int set_override(struct run_options *options, const char *argument, struct error *error)
{
	const char *equals = strchr(argument, '=');
	char path[256];
	if (!equals || equals == argument || equals - argument >= (long) sizeof path)
		return error_set(error, ERROR_INPUT, NULL, "--set %s; --set PATH=VALUE would be right", argument);
	snprintf(path, sizeof path, "%.*s", (int) (equals - argument), argument);
	return add_override(options, path, equals + 1, NULL, error);
}

static int set_number(const struct option *o, const char *value, struct run_options *options, struct error *error)
{
	char *end;
	errno = 0;
	double number = strtod(value, &end);
	bool whole = o->kind == INTEGER;
	if (!*value || *end || errno || !isfinite(number) || number < o->least || number > o->most
		|| (whole && number != floor(number)))
		return error_set(error, ERROR_INPUT, NULL, "%s %s; %s from %.10g to %.10g would be right", o->name, value,
			whole ? "an integer" : "a number", o->least, o->most);
	char *field = (char *) options + o->at;
	if (whole)
		*(int *) field = (int) number;
	else if (o->at == AT(watchdog_s))
		*(double *) field = number;
	else
		*(float *) field = (float) number;
	return 0;
}

static int apply(const struct option *o, const char *value, struct run_options *options, struct error *error)
{
	char *field = (char *) options + o->at;
	switch (o->kind) {
	case TEXT:
		if (!*value)
			return error_set(error, ERROR_INPUT, NULL, "%s has an empty value; %s %s would be right", o->name, o->name,
				o->value);
		*(const char **) field = value;
		return 0;
	case FLAG:
		*(bool *) field = !value || !strcmp(value, "true") || !strcmp(value, "1");
		return 0;
	case ROUTING:
		options->record_routing = true;
		options->routing = value;
		return 0;
	case OVERRIDE:
		return add_override(options, o->key, value, o->name, error);
	case SET:
		return set_override(options, value, error);
	case NUMBER:
	case INTEGER:
		return set_number(o, value, options, error);
	}
	return 0;
}

static bool is_truth(const char *word)
{
	return word && (!strcmp(word, "true") || !strcmp(word, "false") || !strcmp(word, "1") || !strcmp(word, "0"));
}

/* The option's value: behind `=`, or the next argument where the option takes one. */
static int take_value(const struct option *o, const char *inline_value, int argc, char **argv, int *i,
	const char **value, struct error *error)
{
	const char *next = *i + 1 < argc ? argv[*i + 1] : NULL;
	*value = inline_value;
	if (o->kind == FLAG) {
		if (inline_value && !is_truth(inline_value))
			return error_set(error, ERROR_INPUT, NULL, "%s=%s; true or false would be right", o->name, inline_value);
		if (!inline_value && is_truth(next))
			*value = argv[++*i];
		return 0;
	}
	if (inline_value || o->kind == ROUTING)
		return 0;
	if (!next || (next[0] == '-' && next[1] == '-'))
		return error_set(error, ERROR_INPUT, NULL, "%s lacks its value; %s %s would be right", o->name, o->name, o->value);
	*value = argv[++*i];
	return 0;
}

static int check_complete(const struct run_options *options, struct error *error)
{
	if (!options->model && !(options->dry_run && options->graph))
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
	for (int i = 1; i < argc; i++) {
		const char *word = argv[i], *value;
		if (word[0] != '-' || word[1] != '-') {
			if (word[0] == '-')
				return refuse(word, strlen(word), error);
			if (options->graph)
				return error_set(error, ERROR_INPUT, NULL, "%s is one argument too many; the graph is %s already", word,
					options->graph);
			options->graph = word;
			continue;
		}
		size_t length = strcspn(word, "=");
		const struct option *o = find_option(word, length);
		if (!o)
			return refuse(word, length, error);
		int code = take_value(o, word[length] ? word + length + 1 : NULL, argc, argv, &i, &value, error);
		if (!code)
			code = apply(o, value, options, error);
		if (code)
			return code;
		if (options->help)
			return 0;
	}
	return check_complete(options, error);
}

void run_options_locate(const struct run_options *options, struct error *error)
{
	if (strncmp(error->where, "--set ", 6))
		return;
	for (int i = options->overrides - 1; i >= 0; i--)
		if (!strcmp(error->where + 6, options->override[i].path)) {
			if (options->origin[i])
				snprintf(error->where, sizeof error->where, "%s", options->origin[i]);
			return;
		}
}

void run_options_free(struct run_options *options)
{
	for (int i = 0; i < options->overrides; i++)
		free(options->copy[i]);
	options->overrides = 0;
}
