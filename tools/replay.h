/* SPDX-License-Identifier: Apache-2.0
 *
 * What a run must tell so that it can be simulated: OUTPUT_DIR/replay.json, written when the run has ended.
 *
 *   {"version": 1, "graph": "tp2_ep2_pp2" | null (the default graph), "overrides": [["schedule.slots", "2"], …],
 *    "model": "DIR", "compute": "bf16", "workers": 2, "pages": 1024,
 *    "sequences": [[prompt tokens, new tokens], …]}          in the order of the input, those that finished */
#ifndef OCTANT_TOOLS_REPLAY_H
#define OCTANT_TOOLS_REPLAY_H

#include "tasks/simulate.h"
#include "tools/options.h"
#include "tools/run_options.h"
#include "tools/run_report.h"

/* Errors: ERROR_RUN, ERROR_MEMORY. */
int replay_write(const struct run_options *options, const struct run_report_source *source, struct error *error);

struct replay {
	char *graph; /* NULL: the default graph */
	char *model;
	enum dtype compute;
	int workers, pages;
	struct option_overrides overrides;
	struct simulate_sequence *sequence; /* [sequences] */
	int sequences;
	char *routing; /* the recording's path; NULL: none */
};

/* Errors: ERROR_INPUT where the folder holds no finished run, or one of another version. */
int replay_read(const char *directory, struct replay *replay, struct error *error);
void replay_free(struct replay *replay); /* accepts zeros */

#endif
