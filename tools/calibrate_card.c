/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing a machine card, and telling whether one is of this machine. */
#include "tools/calibrate_card.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/output.h"

/* As a libconfig string: processors' names have neither quotes nor line ends, but who knows. */
static void print_text(FILE *f, const char *key, const char *text)
{
	fprintf(f, "%s = \"", key);
	for (; *text; text++)
		if ((unsigned char) *text >= ' ')
			fprintf(f, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
	fputs("\";\n", f);
}

static void print_terms(FILE *f, const char *name, const double *value)
{
	fprintf(f, "\t  %s = {", name);
	for (int t = 0; t < CURVE_TERMS; t++)
		if (value[t] > 0)
			fprintf(f, " %s = %.9e;", curve_keys[t], value[t]);
	fputs(" };\n", f);
}

static void print_card(FILE *f, const struct calibrate_card *card)
{
	fprintf(f, "# This host, written by octant calibrate after %d pass%s, with the shapes of %s in %s.\n"
		   "# A file to include in `machine : { … }`, or for --machine. Seconds of a task are the sum of what it does times\n"
		   "# the keys below: alone, and beside which all other workers are busy. `error`: median of |fitted / measured - 1|;\n"
		   "# `spread`: standard deviation of equal tasks.\n\n",
		card->passes, card->passes == 1 ? "" : "es", card->model, dtype_name(card->compute));
	fputs("name = \"this host\";\nhost = true;\n", f);
	print_text(f, "cpu", card->cpu);
	print_text(f, "measured", card->date);
	fprintf(f, "compute = \"%s\";\ncores = %d;\nworkers = %d;\n", dtype_name(card->compute), card->cores, card->workers);
	fputs("runtime = (\n", f);
	for (int i = 0; i < card->runtimes; i++) {
		const struct graph_runtime *r = &card->runtime[i];
		fprintf(f, "\t{ policy = \"%s\"; submit_s = %.9e; task_s = %.9e; hop_s = %.9e; wake_s = %.9e; awake_s = %.9e; }%s\n",
			r->policy, r->submit_s, r->task_s, r->hop_s, r->wake_s, r->awake_s, i + 1 < card->runtimes ? "," : "");
	}
	fputs(");\n", f);
	fputs("kinds = (\n", f);
	for (int i = 0; i < card->curves; i++) {
		const struct curve *c = &card->curve[i];
		fprintf(f, "\t{ task = \"%s\"; error = %.4f; spread = %.4f;\n", c->task, c->error, c->spread);
		print_terms(f, "alone", c->alone);
		print_terms(f, "busy", c->busy);
		fprintf(f, "\t}%s\n", i + 1 < card->curves ? "," : "");
	}
	fputs(");\n", f);
}

int calibrate_card_text(const struct calibrate_card *card, char **text, struct error *error)
{
	size_t size;
	FILE *f = open_memstream(text, &size);
	if (!f)
		return error_memory(error, "writing the machine card");
	print_card(f, card);
	bool bad = ferror(f);
	if (fclose(f) || bad) {
		free(*text);
		return error_memory(error, "writing the machine card");
	}
	return 0;
}

int calibrate_write(const char *path, const char *text, struct error *error)
{
	const char *slash = strrchr(path, '/');
	char directory[4096] = ".";
	if (slash && (size_t) (slash - path) >= sizeof directory)
		return error_set(error, ERROR_RUN, path, "the name is too long");
	if (slash)
		snprintf(directory, sizeof directory, "%.*s", slash == path ? 1 : (int) (slash - path), path);
	return output_write_file(directory, slash ? slash + 1 : path, text, strlen(text), error);
}

int calibrate_card_check(const struct graph_machine *machine, const struct topology *topology, int workers,
	enum dtype compute, struct error *error)
{
	if (!machine->curves)
		return error_set(error, ERROR_INPUT, machine->name, "the machine has no curves of a calibrated host; the file that "
			"octant calibrate -o here.cfg writes, as --machine here.cfg, would be right");
	if (strcmp(machine->cpu, topology->cpu))
		return error_set(error, ERROR_INPUT, machine->name, "the machine card is of another machine (%s; here %s); one that "
			"octant calibrate writes here would be right", machine->cpu, topology->cpu);
	if (machine->cores != topology->cores)
		return error_set(error, ERROR_INPUT, machine->name, "the machine card is of %d cores, here are %d; one that octant "
			"calibrate writes here would be right", machine->cores, topology->cores);
	if (workers > machine->cores)
		return error_set(error, ERROR_INPUT, machine->name, "the machine card is of %d cores, and %d workers share them; at "
			"most one a core can be predicted", machine->cores, workers);
	if (machine->compute != compute)
		return error_set(error, ERROR_INPUT, machine->name, "the machine card was measured with compute = \"%s\", not \"%s\"; "
			"octant calibrate --set compute=%s would be right", dtype_name(machine->compute), dtype_name(compute),
			dtype_name(compute));
	return 0;
}
