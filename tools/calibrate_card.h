/* SPDX-License-Identifier: Apache-2.0
 *
 * The machine card that `octant calibrate` writes: a machine file of a host, with its processor's name and curves. */
#ifndef OCTANT_TOOLS_CALIBRATE_CARD_H
#define OCTANT_TOOLS_CALIBRATE_CARD_H

#include "runtime/topology.h"
#include "tasks/calibrate.h"

struct calibrate_card {
	char cpu[128];
	int cores, workers;
	enum dtype compute;
	char date[16]; /* of measuring, 2000-01-31; of several passes the last one's */
	int passes;
	char model[128];
	int runtimes;
	struct graph_runtime runtime[GRAPH_MAX_POLICIES];
	int curves;
	struct curve curve[GRAPH_MAX_CURVES];
};

/* The file's text; the caller frees it. Errors: ERROR_MEMORY. */
int calibrate_card_text(const struct calibrate_card *card, char **text, struct error *error);

/* Writes a text file so that a reader sees the old one or the whole new one. Errors: ERROR_RUN. */
int calibrate_write(const char *path, const char *text, struct error *error);

/* Whether a graph's machine, where it is a calibrated host, is this one. Errors: ERROR_INPUT, which says what differs. */
int calibrate_card_check(const struct graph_machine *machine, const struct topology *topology, int workers,
	enum dtype compute, struct error *error);

#endif
