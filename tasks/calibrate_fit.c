/* SPDX-License-Identifier: Apache-2.0
 *
 * Samples → curves: for each kind of task, coefficients ≥ 0 with the least sum of relative errors, so that small tasks count
 * as much as large ones, and one that was disturbed no more than another.
 *
 * Beside w - 1 others a task gets at least its fair share of what they share, a w-th: it takes at most w times as long. Hence
 * each term is two columns, what others do not slow, and what they slow w times where all are busy, seconds · (1 +
 * company · (w - 1)): alone ≤ busy ≤ w · alone by itself, and a few disturbed samples cannot bend `busy` beyond.
 *
 * The least sum of |errors| is found by least squares, again and again, each sample weighted by 1 / |its error before|
 * (iteratively reweighted least squares: Holland, Welsch, Communications in Statistics A6, 1977). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/fit.h"
#include "tasks/calibrate.h"

static int by_value(const void *a, const void *b)
{
	double x = *(const double *) a, y = *(const double *) b;
	return (x > y) - (x < y);
}

static double median(double *value, int count)
{
	qsort(value, (size_t) count, sizeof *value, by_value);
	return count % 2 ? value[count / 2] : (value[count / 2 - 1] + value[count / 2]) / 2;
}

enum { ROUNDS = 8 };

#define LEAST_ERROR 0.01 /* below, samples count the same */

/* `a` [n][2 · CURVE_TERMS] by rows and `b` [n]: of relative times. */
static int fit_rows(double *a, double *b, int n, double *x, struct error *error)
{
	enum { COLUMNS = 2 * CURVE_TERMS };
	int code = fit_nonnegative(a, b, n, COLUMNS, x, error);
	for (int round = 1; !code && round < ROUNDS; round++) {
		for (int i = 0; i < n; i++) {
			double *row = a + i * COLUMNS, weight = b[i], sum = 0; /* b is 1 times the weight so far */
			for (int t = 0; t < COLUMNS; t++)
				sum += row[t] / weight * x[t];
			double next = 1 / sqrt(fmax(fabs(sum - 1), LEAST_ERROR));
			for (int t = 0; t < COLUMNS; t++)
				row[t] *= next / weight;
			b[i] = next;
		}
		code = fit_nonnegative(a, b, n, COLUMNS, x, error);
	}
	return code;
}

/* Median over shapes; `value` has room for all samples. */
static double spread_of(const struct calibrate_samples *samples, int kind, double *value)
{
	int n = 0;
	for (int i = 0; i < samples->count; i++)
		if (samples->sample[i].kind == kind && samples->sample[i].spread > 0)
			value[n++] = samples->sample[i].spread;
	return n ? median(value, n) : 0;
}

static int fit_kind(const struct calibrate_samples *samples, int kind, int workers, struct curve *curve, double *a, double *b,
	struct error *error)
{
	double x[2 * CURVE_TERMS];
	int n = 0;
	for (int i = 0; i < samples->count; i++) {
		const struct calibrate_sample *s = &samples->sample[i];
		if (s->kind != kind || s->seconds <= 0)
			continue;
		double *row = a + n * 2 * CURVE_TERMS;
		for (int t = 0; t < CURVE_TERMS; t++) {
			row[t] = s->term[t] / s->seconds;
			/* others slow what passes through memory and caches, not the call */
			row[CURVE_TERMS + t] = t == CURVE_CALL ? 0 : row[t] * (1 + s->company * (workers - 1));
		}
		b[n++] = 1;
	}
	int code = fit_rows(a, b, n, x, error);
	if (code)
		return code;
	*curve = (struct curve){ 0 };
	snprintf(curve->task, sizeof curve->task, "%s", call_kind_names[kind]);
	for (int t = 0; t < CURVE_TERMS; t++) {
		curve->alone[t] = x[t] + x[CURVE_TERMS + t];
		curve->busy[t] = x[t] + x[CURVE_TERMS + t] * workers;
	}
	for (int i = 0, at = 0; i < samples->count; i++) {
		const struct calibrate_sample *s = &samples->sample[i];
		if (s->kind == kind && s->seconds > 0)
			b[at++] = fabs(curve_seconds(curve, s->term, s->company) / s->seconds - 1);
	}
	curve->error = median(b, n);
	curve->spread = spread_of(samples, kind, b);
	return 0;
}

int calibrate_fit(const struct calibrate_samples *all, int workers, struct curve *curve, int *count, struct error *error)
{
	struct calibrate_samples means, *samples = &means;
	*count = 0;
	if (calibrate_samples_mean(all, &means, error))
		return error->code;
	double *a = calloc((size_t) samples->count + 1, 2 * CURVE_TERMS * sizeof *a);
	double *b = calloc((size_t) samples->count + 1, sizeof *b);
	int code = a && b ? 0 : error_memory(error, "fitting curves"), found = 0;
	for (int kind = 0; !code && kind < CALL_KINDS; kind++) {
		bool any = false;
		for (int i = 0; i < samples->count; i++)
			any |= samples->sample[i].kind == kind && samples->sample[i].seconds > 0;
		if (any)
			code = fit_kind(samples, kind, workers, &curve[found++], a, b, error);
	}
	free(a);
	free(b);
	calibrate_samples_free(&means);
	*count = code ? 0 : found;
	return code;
}
