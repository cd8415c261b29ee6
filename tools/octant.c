/* SPDX-License-Identifier: Apache-2.0
 *
 * octant: chooses the subcommand. */
#include <jansson.h>
#include <libconfig.h>
#include <hwloc.h>
#include <libxsmm_version.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>
#include "config.h"
#include "runtime/engine.h"
#include "runtime/error.h"
#include "tools/commands.h"

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
} commands[] = {
	{ "bench", cmd_bench, "how near each kind of task comes to the machine's limits" },
	{ "calibrate", cmd_calibrate, "measures this machine, for predictions of runs on it" },
	{ "plan", cmd_plan, "what a deployment will do with a workload, in closed form" },
	{ "run", cmd_run, "batch inference: prompts in, outputs, metrics and a trace out" },
	{ "simulate", cmd_simulate, "what a graph would do on the machine that it names" },
	{ "search", cmd_search, "which mesh, chain and schedule reach a goal best" },
	{ "graph", cmd_graph, "check, show or draw a graph description" },
	{ "model", cmd_model, "what a checkpoint holds; tokenize and detokenize" },
	{ "topology", cmd_topology, "what this machine has, as a machine file" },
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void print_usage(FILE *file)
{
	fputs("usage: octant COMMAND [ARGUMENT]…\n\n", file);
	for (int i = 0; i < COMMANDS; i++)
		fprintf(file, "  %-10s %s\n", commands[i].name, commands[i].help);
	fputs("\n  --help     this text; octant COMMAND --help tells a command's\n"
	      "  --version  this program's and its libraries' versions\n\n"
	      "example: octant run tp2_ep2_pp2 --model MODEL --input prompts.jsonl --output-dir results\n",
		file);
}

static void print_version(void)
{
	char regex[64] = "";
	unsigned hwloc = hwloc_get_api_version();
	pcre2_config(PCRE2_CONFIG_VERSION, regex);
	printf("octant %s (%s%s, hwloc API %u.%u, libconfig %d.%d.%d, jansson %s, PCRE2 %s, utf8proc %s, "
	       "libxsmm %s)\n", PACKAGE_VERSION,
		engine_version(), engine_simulator(), hwloc >> 16, hwloc >> 8 & 0xff, LIBCONFIG_VER_MAJOR, LIBCONFIG_VER_MINOR,
		LIBCONFIG_VER_REVISION, JANSSON_VERSION, regex, utf8proc_version(), LIBXSMM_CONFIG_VERSION);
}

static int refuse(const char *word)
{
	const char *words[COMMANDS + 1] = { NULL };
	for (int i = 0; i < COMMANDS; i++)
		words[i] = commands[i].name;
	const char *nearest = error_nearest(word, words);
	fprintf(stderr, "octant: there is no command \"%s\"; ", word);
	if (nearest)
		fprintf(stderr, "did you mean \"%s\"?\n", nearest);
	else
		fputs("octant --help lists them\n", stderr);
	return 2;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		print_usage(stderr);
		return 2;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		print_usage(stdout);
		return 0;
	}
	if (!strcmp(argv[1], "--version")) {
		print_version();
		return 0;
	}
	for (int i = 0; i < COMMANDS; i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	return refuse(argv[1]);
}
