/* SPDX-License-Identifier: Apache-2.0
 *
 * The first half of attention: norm, projection to q, k and v, their norms, and rotary positions. */
#include "codelets/cpu/attention.h"
#include "codelets/cpu/rows.h"

void attention_project(const struct attention_weights *w, const struct attention_space *space, const float *x, int rows,
	float *qkv, float *squares, struct gemm_soon *soon)
{
	size_t columns = (size_t) attention_columns(w), stride = gemm_stride(w->hidden, w->compute);
	int q = w->heads * w->head_dim, k = w->kv_heads * w->head_dim;
	norm_cpu(x, rows, w->hidden, w->input_norm, w->norm_epsilon, w->compute, space->h, stride);
	gemm_run_soon(&w->qkv, space->h, stride, rows, qkv, columns, soon);
	for (int row = 0; row < rows; row++, qkv += columns) {
		if (w->qkv_bias)
			vector->add(qkv, w->qkv_bias, (int) columns);
		if (w->qk_norm == QK_NORM_ALL) {
			squares[2 * row] = vector->sum_squares(qkv, q);
			squares[2 * row + 1] = vector->sum_squares(qkv + q, k);
		}
	}
}

static void norm_heads(const struct attention_weights *w, float *head, int heads, const float *weight)
{
	for (int i = 0; i < heads; i++, head += w->head_dim)
		vector->scale(head, norm_factor(head, w->head_dim, w->norm_epsilon), weight, w->head_dim, head);
}

static void norm_all(
	const struct attention_weights *w, float *head, int heads, int all_heads, float squares, const float *weight)
{
	float mean = squares / (float) (all_heads * w->head_dim);
	vector->scale(head, 1.0f / sqrtf(mean + w->norm_epsilon), weight, heads * w->head_dim, head);
}

void attention_turn(const struct attention_weights *w, float *qkv, const float *squares, int position)
{
	int half = w->head_dim / 2, turned = w->heads + w->kv_heads;
	float *k = qkv + (size_t) w->heads * (size_t) w->head_dim;
	size_t at = (size_t) position * (size_t) half;
	if (w->qk_norm == QK_NORM_HEAD) {
		norm_heads(w, qkv, w->heads, w->q_norm);
		norm_heads(w, k, w->kv_heads, w->k_norm);
	} else if (w->qk_norm == QK_NORM_ALL) {
		norm_all(w, qkv, w->heads, w->all_heads, squares[0], w->q_norm);
		norm_all(w, k, w->kv_heads, w->all_kv_heads, squares[1], w->k_norm);
	}
	if (w->clip_qkv > 0)
		for (int i = 0; i < attention_columns(w); i++)
			qkv[i] = qkv[i] > w->clip_qkv ? w->clip_qkv : qkv[i] < -w->clip_qkv ? -w->clip_qkv : qkv[i];
	for (int i = 0; i < turned; i++)
		vector->rope(qkv + (size_t) i * (size_t) w->head_dim, w->rope->cosine + at, w->rope->sine + at, half);
}

void qkv_cpu(const struct attention_args *a)
{
	const struct attention_weights *w = a->weights;
	struct attention_space space;
	attention_lay_out(w, a->workspace, &space);
	for (size_t row = 0; row < (size_t) a->rows; row += ATTENTION_ROWS) {
		int rows = (size_t) a->rows - row < ATTENTION_ROWS ? (int) ((size_t) a->rows - row) : ATTENTION_ROWS;
		attention_project(w, &space, a->x + row * (size_t) w->hidden, rows,
			a->qkv + row * (size_t) attention_columns(w), a->squares ? a->squares + 2 * row : NULL, NULL);
	}
}
