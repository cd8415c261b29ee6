/* SPDX-License-Identifier: Apache-2.0
 *
 * octant topology: what this host has, how much of it may be used, and a machine file for graph descriptions. */
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "runtime/topology.h"
#include "tools/commands.h"
#include "tools/options.h"

struct options {
	bool json, measure, machine, help;
};

#define AT(field) offsetof(struct options, field)

static const struct option_row rows[] = {
	{ "--json", NULL, OPTION_FLAG, AT(json), NULL, 0, 0, "for programs (default: for people)" },
	{ "--measure", NULL, OPTION_FLAG, AT(measure), NULL, 0, 0,
		"also what a core calculates and reads when all of them do, in about a second" },
	{ "--machine", NULL, OPTION_FLAG, AT(machine), NULL, 0, 0,
		"a machine file with measured figures, to include in `machine : { … }`" },
	{ "--help", NULL, OPTION_FLAG, AT(help), NULL, 0, 0, "this text" },
};

static const struct option_table table = { .command = "octant topology", .rows = rows,
	.count = sizeof rows / sizeof *rows };

static void print_usage(void)
{
	puts("usage: octant topology [OPTION]…\n\n"
	     "Tells what this host has (cores, caches, memory, GPUs) and how much of it this process may use.\n");
	options_print(&table);
	puts("\nexample: octant topology --machine > here.cfg");
}

static int parse(int argc, char **argv, struct options *options, struct error *error)
{
	int code = options_parse(&table, argc, argv, options, error);
	if (!code && options->json && options->machine && !options->help)
		return error_set(error, ERROR_INPUT, NULL, "--json and --machine exclude each other");
	return code;
}

static const char *short_bytes(double bytes, char *text, size_t size)
{
	if (bytes >= 0x1p30)
		snprintf(text, size, "%.1f GiB", bytes / 0x1p30);
	else if (bytes >= 0x1p20)
		snprintf(text, size, "%.0f MiB", bytes / 0x1p20);
	else
		snprintf(text, size, "%.0f KiB", bytes / 0x1p10);
	return text;
}

static void print_cache(const char *name, const struct topology_cache *cache)
{
	char size[32];
	if (cache->count && cache->size > 0)
		printf("  %s %d × %s", name, cache->count, short_bytes(cache->size, size, sizeof size));
}

static void print_text(const struct topology *t, const struct topology_speed *speed)
{
	char a[32], b[32];

	printf("processor  %s: %d package%s, %d cores, %d hardware threads\n", t->cpu, t->packages,
		t->packages == 1 ? "" : "s", t->cores_total, t->pus_total);
	printf("usable     %d cores, %d hardware threads", t->cores, t->pus);
	if (t->cpu_limit > 0)
		printf(", %.3g CPUs of time by control groups", t->cpu_limit);
	printf(": %d worker%s\n", t->workers, t->workers == 1 ? "" : "s");
	printf("caches   ");
	print_cache("L1", &t->l1);
	print_cache("L2", &t->l2);
	print_cache("L3", &t->l3);
	printf("\nkernels    %s\n",
		t->avx512_bf16 ? "AVX-512 with BF16 dot products" :
		t->avx512 ? "AVX-512" : t->avx2 && t->fma ? "AVX2" : "no vector instructions that are used");
	printf("memory     %s, %s available", short_bytes(t->memory_total, a, sizeof a),
		short_bytes(t->memory_available, b, sizeof b));
	if (t->memory_limit > 0)
		printf(", at most %s by control groups", short_bytes(t->memory_limit, a, sizeof a));
	putchar('\n');
	for (int i = 0; i < t->nodes && t->nodes > 1; i++)
		printf("node %-3d   %d cores, %s\n", t->node[i].index, t->node[i].cores,
			short_bytes(t->node[i].memory, a, sizeof a));
	for (int i = 0; i < t->gpus; i++) {
		printf("GPU        %s at %s", t->gpu[i].name, t->gpu[i].address);
		if (t->gpu[i].node >= 0)
			printf(", NUMA node %d", t->gpu[i].node);
		putchar('\n');
	}
	if (!t->gpus)
		puts("GPU        none");
	if (!speed)
		return;
	printf("a core     %.0f GFLOP/s in FP32", speed->fp32_flops / 1e9);
	if (speed->bf16_flops > 0)
		printf(", %.0f in BF16", speed->bf16_flops / 1e9);
	if (speed->int8_flops > 0)
		printf(", %.0f in int8", speed->int8_flops / 1e9);
	printf(", reads %.1f GB/s, while all %d work\n", speed->bandwidth / 1e9, t->workers);
}

static int print_json(const struct topology *t, const struct topology_speed *speed, struct error *error)
{
	json_t *nodes = json_array(), *gpus = json_array(), *caches = json_object();
	const struct {
		const char *name;
		const struct topology_cache *cache;
	} levels[] = { { "l1", &t->l1 }, { "l2", &t->l2 }, { "l3", &t->l3 } };

	for (int i = 0; i < t->nodes; i++)
		json_array_append_new(nodes, json_pack("{s:i, s:i, s:I}", "index", t->node[i].index, "cores",
			t->node[i].cores, "memory_bytes", (json_int_t) t->node[i].memory));
	for (int i = 0; i < t->gpus; i++)
		json_array_append_new(gpus, json_pack("{s:s, s:s, s:i, s:i, s:o?}", "name", t->gpu[i].name, "address",
			t->gpu[i].address, "vendor", (int) t->gpu[i].vendor, "device", (int) t->gpu[i].device, "node",
			t->gpu[i].node < 0 ? NULL : json_integer(t->gpu[i].node)));
	for (int i = 0; i < 3; i++)
		json_object_set_new(caches, levels[i].name, json_pack("{s:i, s:I}", "count", levels[i].cache->count,
			"bytes", (json_int_t) levels[i].cache->size));
	json_t *root = json_pack("{s:s, s:i, s:{s:i, s:i}, s:{s:i, s:i}, s:o?, s:i, s:o, s:{s:I, s:I, s:o?}, s:o, s:o, "
		"s:{s:b, s:b, s:b, s:b, s:b, s:b}, s:o?}",
		"processor", t->cpu, "packages", t->packages, "cores", "total", t->cores_total, "usable", t->cores,
		"hardware_threads", "total", t->pus_total, "usable", t->pus, "cpu_limit",
		t->cpu_limit > 0 ? json_real(t->cpu_limit) : NULL, "workers", t->workers, "caches", caches, "memory_bytes",
		"total", (json_int_t) t->memory_total, "available", (json_int_t) t->memory_available, "limit",
		t->memory_limit > 0 ? json_integer((json_int_t) t->memory_limit) : NULL, "nodes", nodes, "gpus", gpus,
		"instructions", "avx2", t->avx2, "fma", t->fma, "f16c", t->f16c, "avx512", t->avx512, "avx512_bf16",
		t->avx512_bf16, "avx512_vnni", t->avx512_vnni, "measured_a_core",
		!speed ? NULL : json_pack("{s:f, s:f, s:f, s:f}", "fp32_flops", speed->fp32_flops, "bf16_flops",
			speed->bf16_flops, "int8_flops", speed->int8_flops, "bandwidth", speed->bandwidth));
	if (!root)
		return error_memory(error, "writing JSON");
	int failed = json_dumpf(root, stdout, JSON_INDENT(2)) || putchar('\n') == EOF;
	json_decref(root);
	return failed ? error_set(error, ERROR_RUN, NULL, "cannot write to standard output") : 0;
}

/* Three significant digits, with the exponent that libconfig needs to see a float. */
static void print_float(const char *key, double value, const char *comment)
{
	char number[32];
	snprintf(number, sizeof number, "%.2e", value);
	printf("\t\t%s = %s; # %s\n", key, number, comment);
}

static void print_machine(const struct topology *t, const struct topology_speed *speed)
{
	bool bf16 = speed->bf16_flops > 0;
	char total[32], available[32];

	printf("# This host, written by octant topology --machine: %s,\n", t->cpu);
	printf("# %d of %d cores usable, %s of memory of which %s were available.\n", t->cores, t->cores_total,
		short_bytes(t->memory_total, total, sizeof total),
		short_bytes(t->memory_available, available, sizeof available));
	for (int i = 0; i < t->gpus; i++)
		printf("# Its GPU at %s, %s, is none of these devices.\n", t->gpu[i].address, t->gpu[i].name);
	puts("#\n# A file to include in `machine : { … }`: it holds that group's keys.\n");
	puts("name = \"this host\";\nhost = true;\ndevices = (\n\t{");
	printf("\t\tcount = %d; # a logical device a worker\n\t\tname = \"core\";\n", t->workers);
	print_float("flops", bf16 ? speed->bf16_flops : speed->fp32_flops,
		bf16 ? "BF16, of a core while all work" : "FP32, of a core while all work");
	if (bf16)
		printf("\t\t# flops = %.2e; # FP32, for compute = \"fp32\"\n", speed->fp32_flops);
	if (speed->int8_flops > 0)
		printf("\t\t# flops = %.2e; # integers, for compute = \"int8\"\n", speed->int8_flops);
	print_float("bandwidth", speed->bandwidth, "reads of a core while all work");
	puts("\t\tmemory = 0.0; # bound by the host's memory together\n\t}\n);");
}

int cmd_topology(int argc, char **argv)
{
	struct options options = {0};
	struct error error = {0};
	struct topology topology;
	struct topology_speed speed;
	bool measure;
	int code = parse(argc, argv, &options, &error);

	if (!code && options.help) {
		print_usage();
		return 0;
	}
	measure = options.measure || options.machine;
	if (!code)
		code = topology_read(&topology, &error);
	if (!code && measure)
		code = topology_measure(&topology, &speed, &error);
	if (code)
		goto out;
	if (options.machine)
		print_machine(&topology, &speed);
	else if (options.json)
		code = print_json(&topology, measure ? &speed : NULL, &error);
	else
		print_text(&topology, measure ? &speed : NULL);
	if (!code && (fflush(stdout) || ferror(stdout)))
		code = error_set(&error, ERROR_RUN, NULL, "cannot write to standard output");
out:
	if (code)
		error_print(&error);
	return error_exit_status(code);
}
