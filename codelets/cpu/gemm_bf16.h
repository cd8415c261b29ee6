/* SPDX-License-Identifier: Apache-2.0
 *
 * bf16 products of one packed block by the dot products of AVX-512 (VDPBF16PS). */
#ifndef OCTANT_CODELETS_CPU_GEMM_BF16_H
#define OCTANT_CODELETS_CPU_GEMM_BF16_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "codelets/gemm.h"

/* Whether this CPU has the instruction. */
bool gemm_bf16_available(void);

/* y[rows][width ≤ 64] = x[rows][k] · block of packed weights (gemm.h), k even, rows ≥ 0; strides in elements. A column's
 * sum runs over pairs of k in order, whatever the rows. `next`: weights that will be read
 * after this block, as many, or NULL. `soon`: what else to ask for, or NULL. Thread-safe. */
void gemm_bf16_block(const uint16_t *block, const uint16_t *next, int width, int k, const uint16_t *x, size_t ldx,
	int rows, float *y, size_t ldy, struct gemm_soon *soon);

#endif
