/* SPDX-License-Identifier: Apache-2.0
 *
 * A plan as text for people, and as JSON for programs. */
#ifndef OCTANT_TOOLS_PLAN_PRINT_H
#define OCTANT_TOOLS_PLAN_PRINT_H

#include <stdio.h>
#include "tasks/plan.h"
#include "tools/plan_change.h"

/* `changes` [changes_count]: what would make requirements hold. */
void plan_print(const struct plan *plan, const struct plan_change *changes, int count, FILE *file);

/* metrics.json's text with one key more, "plan": what the metrics have no place for. The caller frees it. Errors:
 * ERROR_MEMORY. */
int plan_text(const struct plan *plan, const struct plan_change *changes, int count, char **text, struct error *error);

#endif
