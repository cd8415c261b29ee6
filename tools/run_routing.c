/* SPDX-License-Identifier: Apache-2.0
 *
 * How many rows went to each expert. */
#include "tools/run_routing.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const phases[] = { "prefill", "decode", "mixed" };

int run_routing_check(const struct model *model, const char *path, struct error *error)
{
	if (!model->experts)
		return error_set(error, ERROR_INPUT, "--record-routing", "the model has no experts; leave it out");
	if (!path || !access(path, W_OK))
		return 0;
	const char *slash = strrchr(path, '/');
	char folder[4096] = ".";
	if (slash)
		snprintf(folder, sizeof folder, "%.*s", slash > path ? (int) (slash - path) : 1, path);
	if (errno == ENOENT && !access(folder, W_OK | X_OK))
		return 0;
	return error_set(error, ERROR_INPUT, path, "cannot be written: %s", strerror(errno));
}

/* Cuts off what follows the last newline: a line that a kill has torn. */
static int cut_torn_line(FILE *file)
{
	long end = 0;
	int c;
	for (long at = 1; (c = fgetc(file)) != EOF; at++)
		if (c == '\n')
			end = at;
	if (ferror(file) || ftruncate(fileno(file), end))
		return -1;
	return fseek(file, end, SEEK_SET);
}

int run_routing_open(struct run_routing *routing, const struct model *model, const char *path, bool append,
	struct error *error)
{
	*routing = (struct run_routing){ .layers = model->layers, .experts = model->experts, .dense = model->dense };
	if (!model->experts)
		return 0;
	routing->load = calloc((size_t) model->layers * (size_t) model->experts, sizeof *routing->load);
	if (!routing->load)
		return error_memory(error, "counting routing");
	if (!path)
		return 0;
	snprintf(routing->path, sizeof routing->path, "%s", path);
	routing->file = append ? fopen(path, "r+") : NULL;
	if (routing->file ? cut_torn_line(routing->file) : !(routing->file = fopen(path, "w")))
		return error_set(error, ERROR_RUN, path, "cannot be written: %s", strerror(errno));
	return 0;
}

static int write_line(struct run_routing *routing, const struct micro_batch *b, struct error *error)
{
	FILE *f = routing->file;
	fprintf(f, "{\"micro_batch\": %" PRIu64 ", \"phase\": \"%s\", \"rows\": %d, \"counts\": [", b->number,
		phases[b->phase], b->rows);
	for (int l = 0; l < routing->layers; l++) {
		fputs(l ? ", [" : "[", f);
		for (int e = 0; e < routing->experts && !routing->dense[l]; e++)
			fprintf(f, "%s%d", e ? ", " : "", b->routed[l * routing->experts + e]);
		fputc(']', f);
	}
	if (fputs("]}\n", f) < 0 || ferror(f))
		return error_set(error, ERROR_RUN, routing->path, "cannot be written: %s", strerror(errno));
	return 0;
}

int run_routing_add(struct run_routing *routing, const struct micro_batch *b, struct error *error)
{
	if (!routing->load || !b->routed)
		return 0;
	for (int i = 0; i < routing->layers * routing->experts; i++)
		routing->load[i] += b->routed[i];
	return routing->file ? write_line(routing, b, error) : 0;
}

int run_routing_close(struct run_routing *routing, struct error *error)
{
	int code = 0;
	if (routing->file && fclose(routing->file))
		code = error_set(error, ERROR_RUN, routing->path, "cannot be written: %s", strerror(errno));
	free(routing->load);
	routing->file = NULL;
	routing->load = NULL;
	return code;
}
