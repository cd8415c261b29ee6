/* SPDX-License-Identifier: Apache-2.0
 *
 * How long tasks of one kind take on a host, as measured: seconds by what the task does.
 *
 *   seconds = Σ term · coefficient, the terms being
 *
 *     call                        1: what a task costs before its first FLOP [s]
 *     GEMM FLOPs, by rows         of the first 4 rows that meet a weight, the 5th to 16th, the 17th to 48th, those beyond, and
 *                                 all that is neither GEMM nor attention over keys [s/FLOP]. While weights stream from
 *                                 memory a few rows cost next to nothing, from some number on each row costs its FLOPs,
 *                                 and kernels for few rows are slower than those for 48: a line with four slopes, of which
 *                                 each is measured (an expert of 3 and one of 60 rows are two points on it)
 *     attention: key FLOPs        q·k and p·v of the keys that each row sees [s/FLOP]
 *     attention: tiles            of rows that pass over keys together, of each own KV head: begun and finished [s]
 *     attention: blocks           of keys read for a tile: made ready whole, however few of its keys are seen [s]
 *     weight bytes, KV bytes      read from memory, since no cache holds all layers' [s/byte]
 *     row bytes, by how many      activations, sums, copies: of a task's bytes the first MiB (what an L2 holds), up to
 *                                 16 MiB (a last-level cache), and beyond (memory) [s/byte]. Not of a task with a GEMM,
 *                                 where they are in proportion to the rows
 *
 * Every coefficient is ≥ 0 and fitted to measured tasks (`octant calibrate`). A sum rather than a roofline's maximum: a
 * kernel reads its weights first and multiplies then, block by block, and where reading hides behind arithmetic the slopes
 * of the first rows say so.
 *
 * Cores share memory bandwidth and caches, so that a task takes longer beside others. There are two sets of coefficients,
 * of a task that is alone and of one beside which all other workers are busy (what a call costs before its first FLOP is the
 * same); between them a curve is linear in `company`,
 * the busy share of the other workers. */
#ifndef OCTANT_CURVE_H
#define OCTANT_CURVE_H

#include <stdint.h>

enum curve_term {
	CURVE_CALL,
	CURVE_FLOPS_4, CURVE_FLOPS_16, CURVE_FLOPS_48, CURVE_FLOPS,
	CURVE_KEY_FLOPS, CURVE_KEY_TILES, CURVE_KEY_BLOCKS,
	CURVE_WEIGHT_BYTES, CURVE_KV_BYTES,
	CURVE_ROW_BYTES_1, CURVE_ROW_BYTES_16, CURVE_ROW_BYTES,
	CURVE_TERMS
};

#define CURVE_ROW_BANDS 3 /* FLOPS_4, _16, _48; FLOPS has the rest */

/* Rows up to which each band goes. */
extern const double curve_band_rows[CURVE_ROW_BANDS];

/* Of `bytes` those in CURVE_ROW_BYTES_1, _16 and CURVE_ROW_BYTES. */
void curve_row_bytes(double bytes, double term[CURVE_TERMS]);

/* Keys of a machine card: "call_s", … */
extern const char *const curve_keys[CURVE_TERMS];

struct curve {
	char task[24];              /* kind of task, as traces name it */
	double alone[CURVE_TERMS];  /* seconds for each unit of a term */
	double busy[CURVE_TERMS];   /* the same beside others */
	double error;               /* of the fit: median of |fitted / measured − 1| */
	double spread;              /* of equal tasks: standard deviation / mean */
};

/* What one task takes more or less than its like: a factor whose mean is 1 and whose standard deviation is the spread,
 * logarithmically normal, the same for the same `seed`. Devices that wait for each other wait for the slowest. */
double curve_variation(const struct curve *curve, uint64_t seed);

/* Seconds; `company` in [0, 1]. */
double curve_seconds(const struct curve *curve, const double term[CURVE_TERMS], double company);

#endif
