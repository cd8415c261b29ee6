/* SPDX-License-Identifier: Apache-2.0
 *
 * How many rows went to each expert: summed over a run for the metrics, and, when asked for, one line a micro-batch
 * in a file that a simulation replays:
 *
 *   {"micro_batch": 12, "phase": "decode", "rows": 64, "counts": [[…experts], …layers]} */
#ifndef OCTANT_TOOLS_RUN_ROUTING_H
#define OCTANT_TOOLS_RUN_ROUTING_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "runtime/batch.h"
#include "runtime/error.h"
#include "runtime/model.h"

struct run_routing {
	int layers, experts;
	const bool *dense; /* [layers] */
	int64_t *load;     /* [layers][experts] */
	FILE *file;        /* NULL: not recorded */
	char path[1024];
};

/* Whether rows of this model can be recorded, in the file `path` (NULL: one in the output folder). Writes nothing.
 * Errors: ERROR_INPUT. */
int run_routing_check(const struct model *model, const char *path, struct error *error);

/* `path` NULL: only summed. `append` goes on with an earlier run's file, of which a torn last line is cut off. */
int run_routing_open(struct run_routing *routing, const struct model *model, const char *path, bool append,
	struct error *error);
int run_routing_add(struct run_routing *routing, const struct micro_batch *micro_batch, struct error *error);
int run_routing_close(struct run_routing *routing, struct error *error);

#endif
