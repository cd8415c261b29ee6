/* SPDX-License-Identifier: Apache-2.0
 *
 * Fingerprints of what decides a run's tokens, so that --resume goes on only with the same model and settings. */
#ifndef OCTANT_TOOLS_RUN_IDENTITY_H
#define OCTANT_TOOLS_RUN_IDENTITY_H

#include "runtime/error.h"
#include "runtime/graph.h"
#include "runtime/output.h"

/* Of config.json, generation_config.json and of the name, size and first 64 KiB (the header) of each safetensors
 * file. `text` gets the settings in words. Errors: ERROR_INPUT where the directory cannot be read. */
int run_identity(const char *model_directory, const struct graph *graph, struct output_identity *identity, char *text,
	size_t size, struct error *error);

#endif
