/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of the embedding table, as FP32. */
#include "codelets/codelets.h"
#include "codelets/cpu/vector.h"

void embed_cpu(const struct embed_args *a)
{
	size_t row_bytes = (size_t) a->hidden * dtype_bytes(a->table_dtype);
	for (int row = 0; row < a->rows; row++) {
		int32_t token = a->token[row] < 0 ? a->token_table[a->seat[row]] : a->token[row];
		float *x = a->x + (size_t) row * (size_t) a->hidden;
		if (token < 0 ||
			token >= a->vocab) /* the batcher lets none in; no read outside the table all the same */
			memset(x, 0, (size_t) a->hidden * sizeof *x);
		else
			vector->to_float(
				a->table_dtype, (const char *) a->table + (size_t) token * row_bytes, a->hidden, x);
	}
}
