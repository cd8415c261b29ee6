/* SPDX-License-Identifier: Apache-2.0
 *
 * A SwiGLU network over rows that share its weights: what experts and dense MLPs have in common.
 *
 * gate and up lie in one packed matrix so that each block of 64 columns has 32 of gate and the same 32 of up: the
 * block's product is turned into 32 columns of silu(gate) · up while it is in the cache. */
#ifndef OCTANT_CODELETS_CPU_SWIGLU_H
#define OCTANT_CODELETS_CPU_SWIGLU_H

#include "codelets/codelets.h"

enum {
	SWIGLU_ROWS = 192, /* rows that pass through both products together: 4 of libxsmm's tiles */
	SWIGLU_HALF = 32,  /* columns of gate, and of up, in a block */
};

/* out[rows][hidden] = down(silu(gate(in)) · up(in)); in[rows][ldx], any rows. `after`: weights that
 * are read next, or NULL */
void swiglu_run(const struct expert_weights *weights, int hidden, int width, enum dtype compute, const void *in,
	size_t ldx, int rows, float *out, const void *after, void *workspace);
size_t swiglu_workspace(int width, enum dtype compute);

#endif
