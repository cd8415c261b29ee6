/* SPDX-License-Identifier: Apache-2.0
 *
 * Fingerprints of what decides a run's tokens. */
#include "tools/run_identity.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD_BYTES 65536
#define SAMPLES 64 /* places behind the head, evenly spread: a checkpoint trained on has another value in some of them */
#define SAMPLE_BYTES 4096

static int wanted(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');
	return (dot && !strcmp(dot, ".safetensors")) || !strcmp(entry->d_name, "config.json")
		|| !strcmp(entry->d_name, "generation_config.json") || !strcmp(entry->d_name, "tokenizer.json");
}

static int hash_file(const char *directory, const char *name, uint64_t *hash, struct error *error)
{
	char path[4096], *head = malloc(HEAD_BYTES);
	struct stat info;
	if (!head)
		return error_memory(error, "reading the checkpoint");
	snprintf(path, sizeof path, "%s/%s", directory, name);
	FILE *file = fopen(path, "rb");
	if (!file || fstat(fileno(file), &info)) {
		int code = error_set(error, ERROR_INPUT, path, "cannot be read: %s", strerror(errno));
		if (file)
			fclose(file);
		free(head);
		return code;
	}
	size_t bytes = fread(head, 1, HEAD_BYTES, file);
	int64_t size = info.st_size;
	*hash = output_hash(*hash, name, strlen(name) + 1);
	*hash = output_hash(*hash, &size, sizeof size);
	*hash = output_hash(*hash, head, bytes);
	for (int i = 1; i <= SAMPLES && size > HEAD_BYTES; i++) {
		ssize_t got = pread(fileno(file), head, SAMPLE_BYTES,
			(off_t) (HEAD_BYTES + (size - HEAD_BYTES) / SAMPLES * i - SAMPLE_BYTES));
		*hash = output_hash(*hash, head, got > 0 ? (size_t) got : 0);
	}
	fclose(file);
	free(head);
	return 0;
}

static uint64_t hash_chain(uint64_t hash, const struct graph_chain *chain)
{
	for (int i = 0; i < chain->count; i++) {
		int step[3] = { chain->step[i].kind_index, (int) chain->step[i].over, (int) chain->step[i].how };
		hash = output_hash(hash, step, sizeof step);
	}
	return hash;
}

int run_identity(const char *model_directory, const struct graph *graph, struct output_identity *identity, char *text,
	size_t size, struct error *error)
{
	struct dirent **entries;
	int count = scandir(model_directory, &entries, wanted, alphasort), code = 0;
	uint64_t model = OUTPUT_HASH, settings = OUTPUT_HASH;
	if (count < 0)
		return error_set(error, ERROR_INPUT, model_directory, "cannot be read: %s", strerror(errno));
	for (int i = 0; i < count; i++) {
		if (!code)
			code = hash_file(model_directory, entries[i]->d_name, &model, error);
		free(entries[i]);
	}
	free(entries);
	if (code)
		return code;
	const struct mesh *mesh = &graph->mesh;
	snprintf(text, size, "%dx%dx%d, expert_tensor %d, %s, kv %s", mesh->tensor, mesh->experts, mesh->stages,
		mesh->expert_tensor, dtype_name(graph->compute), dtype_name(graph->kv.dtype));
	settings = output_hash(settings, text, strlen(text));
	settings = hash_chain(settings, &graph->layer);
	settings = hash_chain(settings, &graph->dense_layer);
	*identity = (struct output_identity){ .model = model_directory, .model_fingerprint = model,
		.settings_fingerprint = settings, .settings = text };
	return 0;
}
