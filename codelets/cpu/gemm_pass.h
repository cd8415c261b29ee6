/* SPDX-License-Identifier: Apache-2.0
 *
 * How our own kernels go over a packed block of weights: rows in passes, each with its sums in registers.
 *
 * Where more than one pass goes over a block, only the first waits for memory; so the passes ask for the next block
 * meanwhile, evenly among the first four of them. (A CPU drops what it is asked for faster than memory delivers: two lines
 * of the next block in one pass and one in each of two others reach less than one in each of four.) A step of k, a pair or
 * four of it, is four lines of a block. A single pass is a stream, which the CPU foresees by itself. */
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
#define GEMM_UNROLL _Pragma("GCC unroll 12")
#endif

struct gemm_passes { /* what is left */
	int count, rows, parts, lines; /* parts: passes over the same rows; lines: of the next block, for each step of k */
};

struct gemm_pass {
	int rows, part;
	int lines; /* to ask for in each step of k: 0 … 2 */
};

/* `rows` rows, at most `most` of them at a time, each time in `parts` passes (parts of the columns); `ahead`: there is a
 * next block. */
static inline struct gemm_passes gemm_passes(int rows, int most, int parts, bool ahead)
{
	int count = (rows + most - 1) / most * parts;
	return (struct gemm_passes){count, rows, parts, ahead && count > 1 ? 4 : 0};
}

static inline bool gemm_next_pass(struct gemm_passes *left, struct gemm_pass *pass)
{
	if (!left->count)
		return false;
	int groups = (left->count + left->parts - 1) / left->parts;
	pass->part = groups * left->parts - left->count;
	pass->rows = (left->rows + groups - 1) / groups;
	pass->lines = (left->lines + left->count - 1) / left->count;
	left->rows -= pass->part == left->parts - 1 ? pass->rows : 0;
	left->lines -= pass->lines;
	left->count--;
	return true;
}

#endif
