/* SPDX-License-Identifier: Apache-2.0
 *
 * What would make a requirement hold that does not: one change at a time, from small to large. */
#ifndef OCTANT_TOOLS_PLAN_CHANGE_H
#define OCTANT_TOOLS_PLAN_CHANGE_H

#include "tasks/plan.h"

enum { PLAN_MAX_CHANGES = 64 };

struct plan_change {
	char requirement[64];
	char text[256];
};

/* `read` makes a resolved graph of the user's overrides and these. For each requirement of the plan that does not
 * hold, tries schedule and residual stream, the other meshes of the devices, fewer tokens, and more devices, and says the
 * first of each that holds, or how near any came. Errors: ERROR_MEMORY; what cannot be planned is passed over. */
typedef int plan_read(void *context, const struct graph_override *overrides, int count, struct graph **graph,
	struct error *error);
int plan_changes_make(const struct plan *plan, const struct plan_options *options, plan_read *read, void *context,
	struct plan_change *changes, int *count, struct error *error);

#endif
