/* SPDX-License-Identifier: Apache-2.0
 *
 * The output folder's parts: its state, its lines, and what an earlier run left in it. */
#ifndef OCTANT_OUTPUT_INTERNAL_H
#define OCTANT_OUTPUT_INTERNAL_H

#include <jansson.h>
#include "runtime/output.h"

#define OUTPUT_LINES "outputs.jsonl"
#define OUTPUT_RUN "run.json"

struct output {
	char *directory, *path; /* the folder; outputs.jsonl */
	char *model;
	char *run_text; /* of run.json, to be written by output_begin; NULL: the folder has it */
	bool remove; /* output_begin removes the results that are there */
	size_t made; /* where in `directory` the name of the first folder that was missing ends; 0: none was */
	int lock; /* the folder, open and locked; −1: not yet */
	int file; /* outputs.jsonl, −1: not yet */
	int64_t end; /* bytes of whole lines */
	const struct requests *requests;
	bool *has; /* [requests] */
	int count, failed;
	bool dirty;       /* written since it was synchronised */
	double synced_s;  /* when it was */
};

/* output_line.c: a result as one line with its newline; the caller frees *line. */
int output_line(const struct output *output, const struct output_result *result, char **line, size_t *bytes,
	struct error *error);

/* output_resume.c: run.json's text (the caller frees it), and a comparison of the folder's with this run's. */
int output_run_text(const struct output_identity *identity, const struct requests *requests, char **text,
	struct error *error);
int output_run_check(const struct output *output, const struct output_identity *identity, struct error *error);
/* Reads outputs.jsonl: sets `has`, `count`, `failed` and `end`. */
int output_scan(struct output *output, struct error *error);

#endif
