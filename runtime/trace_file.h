/* SPDX-License-Identifier: Apache-2.0
 *
 * trace.json: the tasks of a run in Chrome's trace event format, which Perfetto (ui.perfetto.dev) and
 * chrome://tracing open.
 *
 *   one process a device          "device 0: stage 0, tensor 0, experts 0"
 *     thread "worker 3"           a slice a task that worker 3 ran for this device, named by its kind
 *     thread "collectives"        a slice a collective that this device takes part in; "collectives 2" where two run
 *                                 at the same time, as slices of one thread must not overlap
 *   a slice's args                layer, micro_batch, phase, worker
 *
 * Written as a stream: memory does not grow with the trace. Times are µs since the run's start. The format:
 * "Trace Event Format", Google, 2016. */
#ifndef OCTANT_TRACE_FILE_H
#define OCTANT_TRACE_FILE_H

#include <stdint.h>
#include "runtime/error.h"
#include "runtime/mesh.h"
#include "runtime/record.h"

struct trace_file;

struct trace_info {
	const char *graph, *policy, *source; /* for people; source: "measured" or "simulated" */
	const struct mesh *mesh;
	const char *const *kind_names; /* [kinds] by task_record.kind */
	int kinds;
	double start_s; /* the records' time that is 0 in the trace */
};

/* Writes DIRECTORY/NAME.tmp; `info`'s pointers must stay until the close. Errors: ERROR_RUN where it cannot be written,
 * ERROR_MEMORY. */
int trace_file_open(const char *directory, const char *name, const struct trace_info *info, struct trace_file **trace,
	struct error *error);

/* Records come ordered by start_s. Failures are kept and told by trace_file_close. */
void trace_file_add(struct trace_file *trace, const struct task_record *record);

/* Ends the file and puts it in place as NAME, or removes it where anything failed; frees in any case. Accepts NULL.
 * Errors: ERROR_RUN. */
int trace_file_close(struct trace_file *trace, struct error *error);

#endif
