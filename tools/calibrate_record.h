/* SPDX-License-Identifier: Apache-2.0
 *
 * What `octant calibrate --samples FILE` keeps: every sample of every pass, so that short passes, minutes or days apart, make
 * one machine card together. A shared machine has fast and slow minutes; a card of one pass is as fast or slow as its own.
 *
 *   {"version": 1, "terms": ["call_s", …],              what the numbers of a sample mean: the curve's terms
 *    "cpu": "…", "cores": 2, "workers": 2, "compute": "bf16", "model": {"layers": 16, …},
 *    "sources": ["tp2_ep2_pp2, 2 workers", …],
 *    "passes": [{"measured": "2000-01-31T12:00:00Z", "runtime": [{"policy": "homes", "submit_s": 1e-6, …}]}],
 *    "samples": [{"pass": 0, "source": 0, "task": "experts", "segments": 1, "rows": 16, "position": 0, "calls": 16,
 *                 "seconds": 1e-3, "spread": 0.05, "company": 0.5, "terms": {"call_s": 1, …}}, …]} */
#ifndef OCTANT_TOOLS_CALIBRATE_RECORD_H
#define OCTANT_TOOLS_CALIBRATE_RECORD_H

#include "runtime/topology.h"
#include "tasks/calibrate.h"

enum { CALIBRATE_MAX_PASSES = 1024 };

struct calibrate_pass {
	char measured[24]; /* 2000-01-31T12:00:00Z, when it ended */
	int runtimes;
	struct graph_runtime runtime[GRAPH_MAX_POLICIES];
};

/* What passes must have in common. */
struct calibrate_identity {
	char cpu[128];
	int cores, workers;
	enum dtype compute;
	int layers, hidden, heads, kv_heads, head_dim, vocab, experts, top_k, expert_hidden, shared_hidden, mlp_hidden;
};

struct calibrate_record { /* begin with zeros */
	struct calibrate_identity identity;
	struct calibrate_pass *pass; /* [passes] */
	int passes;
	struct calibrate_samples samples;
};

void calibrate_identity_of(const struct topology *topology, int workers, enum dtype compute, const struct model *model,
	struct calibrate_identity *identity);

/* Errors: ERROR_INPUT, with `path`, where the file is damaged or of another version; ERROR_RUN; ERROR_MEMORY. On an error
 * nothing is left to free. */
int calibrate_record_read(const char *path, struct calibrate_record *record, struct error *error);

/* Errors: ERROR_INPUT, which says what differs from what would be measured now. */
int calibrate_record_check(const struct calibrate_record *record, const struct calibrate_identity *now, const char *path,
	struct error *error);

/* Appends a pass. Errors: ERROR_MEMORY; ERROR_INPUT where there are too many. */
int calibrate_record_add(struct calibrate_record *record, const struct calibrate_pass *pass, struct error *error);

/* What the runtime costs: of each policy the median over the passes that measured it (a pass of a few forks that another
 * program kept from a core says nothing of the runtime). `runtime` [GRAPH_MAX_POLICIES]. */
void calibrate_record_runtime(const struct calibrate_record *record, struct graph_runtime *runtime, int *count);

/* A reader sees the old file or the whole new one. Errors: ERROR_RUN, ERROR_MEMORY. */
int calibrate_record_write(const struct calibrate_record *record, const char *path, struct error *error);

void calibrate_record_free(struct calibrate_record *record); /* leaves zeros */

#endif
