/* SPDX-License-Identifier: Apache-2.0
 *
 * Least squares with coefficients that cannot be negative: what a cost is made of cannot give time back. */
#ifndef OCTANT_FIT_H
#define OCTANT_FIT_H

#include "runtime/error.h"

#define FIT_MAX_COLUMNS 32

/* Minimises |a·x − b|² over x ≥ 0. `a` [rows][columns] by rows, `b` [rows], `x` [columns]. A column of zeros gets 0.
 * Columns may differ by any order of magnitude. Errors: ERROR_INPUT where there are no rows, more than FIT_MAX_COLUMNS
 * columns, or numbers that are not finite. */
int fit_nonnegative(const double *a, const double *b, int rows, int columns, double *x, struct error *error);

#endif
