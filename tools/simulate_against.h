/* SPDX-License-Identifier: Apache-2.0
 *
 * `octant simulate --against RUN_DIR`: what was predicted beside what was measured. */
#ifndef OCTANT_TOOLS_SIMULATE_AGAINST_H
#define OCTANT_TOOLS_SIMULATE_AGAINST_H

#include <stdbool.h>
#include "runtime/metrics.h"

/* Compares with RUN_DIR/metrics.json: makespan, first tokens, rates, and seconds by kind of task; a table, or JSON.
 * error = predicted / measured − 1. Errors: ERROR_INPUT where there are no measured figures; ERROR_MEMORY. */
int simulate_against(const struct metrics *predicted, const char *directory, bool json, struct error *error);

#endif
