/* SPDX-License-Identifier: Apache-2.0
 *
 * How long tasks of one kind take on a host, as measured: seconds by what the task does.
 *
 *   seconds = call + a · GEMM FLOPs + b · attention FLOPs + c · weight bytes + d · KV bytes + e · other bytes
 *
 * Every coefficient is ≥ 0 and fitted to measured tasks (`octant calibrate`). A sum rather than a roofline's maximum: a
 * kernel reads its weights first and multiplies then, block by block, and a sum of both describes GEMMs of few and of
 * many rows better than the larger of them does.
 *
 * Cores share memory bandwidth and caches, so that a task takes longer beside others. There are two sets of coefficients,
 * of a task that is alone and of one beside which all other workers are busy; between them a curve is linear in `company`,
 * the busy share of the other workers. */
#ifndef OCTANT_CURVE_H
#define OCTANT_CURVE_H

enum curve_term {
	CURVE_CALL,      /* once a task */
	CURVE_FLOPS,     /* of GEMMs and all else but attention */
	CURVE_KEY_FLOPS, /* of attention over keys */
	CURVE_WEIGHT_BYTES,
	CURVE_KV_BYTES,
	CURVE_ROW_BYTES, /* activations, sums, copies */
	CURVE_TERMS
};

struct curve {
	char task[24];              /* kind of task, as traces name it */
	double alone[CURVE_TERMS];  /* seconds for each unit of a term */
	double busy[CURVE_TERMS];   /* the same beside others */
	double error;               /* of the fit: median of |fitted / measured − 1| */
};

/* Seconds; `company` in [0, 1]. */
double curve_seconds(const struct curve *curve, const double term[CURVE_TERMS], double company);

#endif
