/* SPDX-License-Identifier: Apache-2.0
 *
 * Samples → curves: for each kind of task, non-negative least squares of relative errors, so that small tasks count as
 * much as large ones. The columns are the terms, and the terms times `company`: what a task takes longer beside others. */
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

static int fit_kind(const struct calibrate_samples *samples, int kind, struct curve *curve, double *a, double *b,
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
			row[CURVE_TERMS + t] = s->term[t] * s->company / s->seconds;
		}
		b[n++] = 1;
	}
	int code = fit_nonnegative(a, b, n, 2 * CURVE_TERMS, x, error);
	if (code)
		return code;
	*curve = (struct curve){ 0 };
	snprintf(curve->task, sizeof curve->task, "%s", call_kind_names[kind]);
	for (int t = 0; t < CURVE_TERMS; t++) {
		curve->alone[t] = x[t];
		curve->busy[t] = x[t] + x[CURVE_TERMS + t];
	}
	for (int i = 0, at = 0; i < samples->count; i++) {
		const struct calibrate_sample *s = &samples->sample[i];
		if (s->kind == kind && s->seconds > 0)
			b[at++] = fabs(curve_seconds(curve, s->term, s->company) / s->seconds - 1);
	}
	curve->error = median(b, n);
	return 0;
}

int calibrate_fit(const struct calibrate_samples *samples, struct curve *curve, int *count, struct error *error)
{
	double *a = calloc((size_t) samples->count + 1, 2 * CURVE_TERMS * sizeof *a);
	double *b = calloc((size_t) samples->count + 1, sizeof *b);
	int code = a && b ? 0 : error_memory(error, "fitting curves"), found = 0;
	for (int kind = 0; !code && kind < CALL_KINDS; kind++) {
		bool any = false;
		for (int i = 0; i < samples->count; i++)
			any |= samples->sample[i].kind == kind && samples->sample[i].seconds > 0;
		if (any)
			code = fit_kind(samples, kind, &curve[found++], a, b, error);
	}
	free(a);
	free(b);
	*count = code ? 0 : found;
	return code;
}
