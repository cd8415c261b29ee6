/* SPDX-License-Identifier: Apache-2.0
 *
 * Metrics for people, measured or simulated, on standard output. */
#ifndef OCTANT_TOOLS_METRICS_PRINT_H
#define OCTANT_TOOLS_METRICS_PRINT_H

#include "runtime/metrics.h"

/* "12.3 s: prefill 100 tokens/s, …": the end of a line that says what was done. */
void metrics_print_rates(const struct metrics *metrics);

/* A line for each requirement that was judged, one for those that were not. */
void metrics_print_requirements(const struct metrics *metrics);

/* Where the time went: a table of task kinds, and the shares. */
void metrics_print_kinds(const struct metrics *metrics);

#endif
