/* SPDX-License-Identifier: Apache-2.0
 *
 * Plans over a range as a picture: throughput and time to first token, on logarithmic axes. */
#ifndef OCTANT_TOOLS_PLAN_SVG_H
#define OCTANT_TOOLS_PLAN_SVG_H

#include "tools/plan_over.h"

/* Written whole or not at all. Errors: ERROR_RUN. */
int plan_svg_write(const char *path, const char *title, const char *key, const struct plan_point *point, int count,
	struct error *error);

#endif
