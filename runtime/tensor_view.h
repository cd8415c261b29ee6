/* SPDX-License-Identifier: Apache-2.0
 *
 * A matrix of a checkpoint as it lies in memory, somebody else's.
 *
 *   row r, column c is element r · row_stride + c of data
 *
 * A vector of n (a norm, a bias) is a matrix of one row: shape [1, n]. Weights are [outputs, inputs]. */
#ifndef OCTANT_TENSOR_VIEW_H
#define OCTANT_TENSOR_VIEW_H

#include <stddef.h>
#include <stdint.h>
#include "runtime/dtype.h"
#include "runtime/error.h"

struct tensor_view {
	const void *data; /* at any address, aligned or not; belongs to the checkpoint and lasts as long as it is open */
	enum dtype dtype;
	int64_t shape[2];
	int64_t row_stride; /* in elements, at least shape[1] */
	const char *name;   /* in the file, which belong to the checkpoint too */
	const char *file;
	int64_t name_row; /* the row of the named tensor that is row 0 here (views into fused tensors) */
};

static inline const void *tensor_row(const struct tensor_view *view, int64_t row)
{
	return (const char *) view->data + (size_t) (row * view->row_stride) * dtype_bytes(view->dtype);
}

/* The whole row as floats, exactly. */
void tensor_row_to_float(const struct tensor_view *view, int64_t row, float *to /* [shape[1]] */);

/* Refuses NaN and infinity in rows [row, row + rows), ERROR_INPUT with the tensor's name and the index of the first.
 * Whoever loads a slice checks that slice: it then reads from the page cache only once. */
int tensor_check_finite(const struct tensor_view *view, int64_t row, int64_t rows, struct error *error);

#endif
