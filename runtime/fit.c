/* SPDX-License-Identifier: Apache-2.0
 *
 * Non-negative least squares by an active set (Lawson, Hanson, Solving Least Squares Problems, 1974, chapter 23) on the
 * normal equations, columns scaled to length 1: some ten columns, where the equations are small and well enough
 * conditioned. */
#include "runtime/fit.h"
#include <math.h>
#include <stdbool.h>
#include <string.h>

struct normal {
	int n;
	double g[FIT_MAX_COLUMNS][FIT_MAX_COLUMNS]; /* aᵀa */
	double c[FIT_MAX_COLUMNS];                  /* aᵀb */
	double scale[FIT_MAX_COLUMNS];              /* lengths of columns */
};

static void scale_columns(struct normal *e)
{
	for (int i = 0; i < e->n; i++)
		e->scale[i] = e->g[i][i] > 0 ? sqrt(e->g[i][i]) : 0;
	for (int i = 0; i < e->n; i++) {
		for (int j = 0; j < e->n; j++)
			e->g[i][j] = e->scale[i] > 0 && e->scale[j] > 0 ? e->g[i][j] / e->scale[i] / e->scale[j] : i == j;
		e->c[i] = e->scale[i] > 0 ? e->c[i] / e->scale[i] : 0;
	}
}

/* The free variables' least squares, the others 0: Cholesky. False where the free columns are not independent. */
static bool solve(const struct normal *e, const bool *free_, double *x)
{
	double l[FIT_MAX_COLUMNS][FIT_MAX_COLUMNS], y[FIT_MAX_COLUMNS];
	int at[FIT_MAX_COLUMNS], n = 0;
	memset(x, 0, sizeof *x * FIT_MAX_COLUMNS);
	for (int i = 0; i < e->n; i++)
		if (free_[i])
			at[n++] = i;
	for (int i = 0; i < n; i++) {
		for (int j = 0; j <= i; j++) {
			double sum = e->g[at[i]][at[j]];
			for (int k = 0; k < j; k++)
				sum -= l[i][k] * l[j][k];
			if (i == j && sum < 1e-10)
				return false;
			l[i][j] = i == j ? sqrt(sum) : sum / l[j][j];
		}
		y[i] = e->c[at[i]];
		for (int k = 0; k < i; k++)
			y[i] -= l[i][k] * y[k];
		y[i] /= l[i][i];
	}
	for (int i = n - 1; i >= 0; i--) {
		for (int k = i + 1; k < n; k++)
			y[i] -= l[k][i] * x[at[k]];
		x[at[i]] = y[i] / l[i][i];
	}
	return true;
}

/* Goes from x towards `to` until a free variable would be negative, and binds it. False when none would. */
static bool step(int n, bool *free_, double *x, const double *to)
{
	double share = 1;
	int bound = -1;
	for (int i = 0; i < n; i++)
		if (free_[i] && to[i] <= 0 && x[i] / (x[i] - to[i]) <= share) {
			share = x[i] > 0 ? x[i] / (x[i] - to[i]) : 0;
			bound = i;
		}
	for (int i = 0; i < n; i++)
		x[i] = free_[i] ? x[i] + share * (to[i] - x[i]) : 0;
	if (bound < 0)
		return false;
	free_[bound] = false;
	x[bound] = 0;
	return true;
}

static int steepest(const struct normal *e, const bool *free_, const bool *refused, const double *x)
{
	int best = -1;
	double most = 1e-12;
	for (int i = 0; i < e->n; i++) {
		double slope = e->c[i];
		for (int j = 0; j < e->n; j++)
			slope -= e->g[i][j] * x[j];
		if (!free_[i] && !refused[i] && slope > most * fabs(e->c[i])) {
			most = slope / fabs(e->c[i]);
			best = i;
		}
	}
	return best;
}

static void minimise(const struct normal *e, double *x)
{
	bool free_[FIT_MAX_COLUMNS] = { false }, refused[FIT_MAX_COLUMNS] = { false };
	double to[FIT_MAX_COLUMNS];
	memset(x, 0, sizeof *x * FIT_MAX_COLUMNS);
	for (int rounds = 0, i; rounds < 8 * FIT_MAX_COLUMNS && (i = steepest(e, free_, refused, x)) >= 0; rounds++) {
		free_[i] = true;
		if (!solve(e, free_, to) || to[i] <= 0) {
			free_[i] = false; /* says nothing that the others do not */
			refused[i] = true;
			continue;
		}
		memset(refused, 0, sizeof refused);
		while (step(e->n, free_, x, to) && solve(e, free_, to))
			;
	}
}

int fit_nonnegative(const double *a, const double *b, int rows, int columns, double *x, struct error *error)
{
	struct normal e = { .n = columns };
	double scaled[FIT_MAX_COLUMNS];
	if (rows < 1 || columns < 1 || columns > FIT_MAX_COLUMNS)
		return error_set(error, ERROR_INPUT, NULL, "a fit of %d rows and %d columns; at least 1 row, and 1 to %d columns, "
			"would be right", rows, columns, FIT_MAX_COLUMNS);
	for (int r = 0; r < rows; r++) {
		const double *row = a + (size_t) r * (size_t) columns;
		for (int i = 0; i < columns; i++) {
			if (!isfinite(row[i]) || !isfinite(b[r]))
				return error_set(error, ERROR_INPUT, NULL, "a measurement to be fitted is not a finite number");
			for (int j = 0; j < columns; j++)
				e.g[i][j] += row[i] * row[j];
			e.c[i] += row[i] * b[r];
		}
	}
	scale_columns(&e);
	minimise(&e, scaled);
	for (int i = 0; i < columns; i++)
		x[i] = e.scale[i] > 0 ? scaled[i] / e.scale[i] : 0;
	return 0;
}
