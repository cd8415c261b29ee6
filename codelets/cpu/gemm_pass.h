/* SPDX-License-Identifier: Apache-2.0
 *
 * How our own kernels go over a packed block of weights: rows in passes, each with its sums in registers.
 *
 * Where more than one pass goes over a block, only the first waits for memory; so the passes ask for the next block
 * meanwhile, evenly among the first four of them. A step of k, a pair or four of it, is four lines of a block. A single pass
 * is a stream, which the CPU foresees by itself. */
#ifndef OCTANT_CODELETS_CPU_GEMM_PASS_H
#define OCTANT_CODELETS_CPU_GEMM_PASS_H

#include <stdbool.h>

enum {
	GEMM_BLOCK = 64,           /* columns of Y in a packed block */
	GEMM_SPAN_BYTES = 1 << 18, /* of X that stay in the cache while all blocks of W pass by */
};

/* In front of a loop of a constant count: its body is repeated, so that arrays of sums become registers. */
#ifdef __clang__
#define GEMM_UNROLL _Pragma("clang loop unroll(full)")
#else
#define GEMM_UNROLL _Pragma("GCC unroll 6")
#endif

struct gemm_passes { /* what is left */
	int count, rows, lines; /* lines: of the next block, for each step of k */
};

struct gemm_pass {
	int rows;
	int lines; /* to ask for in each step of k: 0 … 2 */
};

/* `rows` rows in passes of at most `most`; `ahead`: there is a next block. */
static inline struct gemm_passes gemm_passes(int rows, int most, bool ahead)
{
	int count = (rows + most - 1) / most;
	return (struct gemm_passes){count, rows, ahead && count > 1 ? 4 : 0};
}

static inline bool gemm_next_pass(struct gemm_passes *left, struct gemm_pass *pass)
{
	if (!left->count)
		return false;
	pass->rows = (left->rows + left->count - 1) / left->count;
	pass->lines = (left->lines + left->count - 1) / left->count;
	left->rows -= pass->rows;
	left->lines -= pass->lines;
	left->count--;
	return true;
}

#endif
