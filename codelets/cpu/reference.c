/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention and experts as plain loops in double: what the fast kernels are compared with. */
#include "codelets/cpu/attention.h"
#include "codelets/cpu/rows.h"

/* Element i of a row in one of the number formats. */
static double element(const void *row, enum dtype dtype, size_t i)
{
	switch (dtype) {
	case DTYPE_FP32:
		return (double) ((const float *) row)[i];
	case DTYPE_FP16:
		return (double) fp16_to_float(((const uint16_t *) row)[i]);
	case DTYPE_BF16:
		return (double) bf16_to_float(((const uint16_t *) row)[i]);
	case DTYPE_INT8: /* no element by itself has a value */
		break;
	}
	return 0;
}

/* A row of GEMM input. */
static void set_row(void *row, enum dtype compute, size_t stride, const float *x, int n)
{
	memset(row, 0, stride * dtype_bytes(compute));
	for (int i = 0; i < n && compute == DTYPE_FP32; i++)
		((float *) row)[i] = x[i];
	for (int i = 0; i < n && compute == DTYPE_BF16; i++)
		((uint16_t *) row)[i] = bf16_from_float(x[i]);
	if (compute == DTYPE_INT8)
		int8_row_store(x, n, row, stride);
}

/* x[i] · weight[i] / sqrt(squares / count + epsilon) */
static void reference_norm(float *x, int n, double squares, double count, const float *weight, float epsilon)
{
	double factor = 1 / sqrt(squares / count + (double) epsilon);
	for (int i = 0; i < n; i++)
		x[i] = (float) ((double) x[i] * factor * (double) weight[i]);
}

static double reference_squares(const float *x, int n)
{
	double sum = 0;
	for (int i = 0; i < n; i++)
		sum += (double) x[i] * (double) x[i];
	return sum;
}

static void reference_norms(const struct attention_weights *w, float *qkv)
{
	int d = w->head_dim, q = w->heads * d, k = w->kv_heads * d;
	if (w->qk_norm == QK_NORM_HEAD)
		for (int head = 0; head < w->heads + w->kv_heads; head++)
			reference_norm(qkv + head * d, d, reference_squares(qkv + head * d, d), d,
				head < w->heads ? w->q_norm : w->k_norm, w->norm_epsilon);
	if (w->qk_norm == QK_NORM_ALL) { /* own heads are all heads */
		reference_norm(qkv, q, reference_squares(qkv, q), q, w->q_norm, w->norm_epsilon);
		reference_norm(qkv + q, k, reference_squares(qkv + q, k), k, w->k_norm, w->norm_epsilon);
	}
	for (int i = 0; w->clip_qkv > 0 && i < attention_columns(w); i++)
		qkv[i] = fminf(fmaxf(qkv[i], -w->clip_qkv), w->clip_qkv);
}

static void reference_rope(const struct attention_weights *w, float *qkv, int position)
{
	int half = w->head_dim / 2;
	const float *c = w->rope->cosine + (size_t) position * (size_t) half;
	const float *s = w->rope->sine + (size_t) position * (size_t) half;
	for (int head = 0; head < w->heads + w->kv_heads; head++)
		for (int i = 0; i < half; i++) {
			float *low = qkv + head * w->head_dim + i, *high = low + half;
			double a = (double) *low, b = (double) *high;
			*low = (float) (a * (double) c[i] - b * (double) s[i]);
			*high = (float) (b * (double) c[i] + a * (double) s[i]);
		}
}

static double key_or_value(const struct attention_weights *w, const struct kv_view *kv, const struct segment *segment,
	int head, int position, int i, bool value)
{
	size_t at = (size_t) (position % kv->page_tokens);
	int page = segment->pages[position / kv->page_tokens];
	if (value)
		return element(kv_values(kv, w, page, head), kv->dtype, at * (size_t) w->head_dim + (size_t) i);
	return element(kv_keys(kv, w, page, head), kv->dtype, (size_t) i * (size_t) kv->page_tokens + at);
}

static double reference_score(const struct attention_weights *w, const struct kv_view *kv,
	const struct segment *segment, const float *q, int head, int position)
{
	double score = 0;
	for (int i = 0; i < w->head_dim; i++)
		score += (double) q[i] * key_or_value(w, kv, segment, head, position, i, false);
	return score / sqrt((double) w->head_dim);
}

static void reference_head(const struct attention_weights *w, const struct kv_view *kv, const struct segment *segment,
	const float *q, int head, int position, float *out)
{
	double most = -INFINITY, total = 0;
	for (int p = 0; p <= position; p++)
		most = fmax(most, reference_score(w, kv, segment, q, head, p));
	for (int p = 0; p <= position; p++)
		total += exp(reference_score(w, kv, segment, q, head, p) - most);
	for (int i = 0; i < w->head_dim; i++)
		out[i] = 0;
	for (int p = 0; p <= position; p++) {
		double weight = exp(reference_score(w, kv, segment, q, head, p) - most) / total;
		for (int i = 0; i < w->head_dim; i++)
			out[i] += (float) (weight * key_or_value(w, kv, segment, head, p, i, true));
	}
}

static void reference_row(const struct attention_args *a, const struct segment *segment, int row, int position)
{
	const struct attention_weights *w = a->weights;
	struct attention_space space;
	int q = w->heads * w->head_dim;
	attention_lay_out(w, a->workspace, &space);
	const float *x = a->x + (size_t) row * (size_t) w->hidden;
	float *qkv = space.qkv, *scratch = space.row;
	memcpy(scratch, x, (size_t) w->hidden * sizeof *x);
	reference_norm(scratch, w->hidden, reference_squares(x, w->hidden), w->hidden, w->input_norm, w->norm_epsilon);
	set_row(space.h, w->compute, gemm_stride(w->hidden, w->compute), scratch, w->hidden);
	gemm_reference(&w->qkv, space.h, 0, 1, qkv, 0);
	for (int i = 0; w->qkv_bias && i < attention_columns(w); i++)
		qkv[i] += w->qkv_bias[i];
	reference_norms(w, qkv);
	reference_rope(w, qkv, position);
	attention_append(w, &a->kv, qkv, segment, position, scratch);
	for (int head = 0; head < w->heads; head++)
		reference_head(w, &a->kv, segment, qkv + head * w->head_dim, head / (w->heads / w->kv_heads), position,
			scratch + head * w->head_dim);
	set_row(space.context, w->compute, gemm_stride(q, w->compute), scratch, q);
	float *out = a->partial + (size_t) row * (size_t) w->hidden;
	gemm_reference(&w->output, space.context, 0, 1, out, 0);
	for (int i = 0; w->output_bias && i < w->hidden; i++)
		out[i] += w->output_bias[i];
}

void attention_reference(const struct attention_args *a)
{
	for (const struct segment *s = a->segment; s < a->segment + a->segments; s++)
		for (int i = 0; i < s->rows; i++)
			reference_row(a, s, s->row - a->row_base + i, s->position + i);
}

/* The packed order is 32 of gate, the same 32 of up, and so on (codelets.h). */
static void reference_expert(const struct experts_args *a, const struct expert_weights *w, const char *in, float *out)
{
	size_t used = 0, stride = gemm_stride(a->width, a->compute), size = dtype_bytes(a->compute);
	float *product = workspace_take(a->workspace, &used, 2 * (size_t) a->width * sizeof *product);
	float *value = workspace_take(a->workspace, &used, (size_t) a->width * sizeof *value);
	void *active = workspace_take(a->workspace, &used, stride * size);
	gemm_reference(&w->gate_up, in, 0, 1, product, 0);
	for (int i = 0; i < a->width; i++) {
		int run = i / 32 * 32, n = a->width - run < 32 ? a->width - run : 32, gate = 2 * run + i - run,
		    up = gate + n;
		double g = (double) product[gate], u = (double) product[up];
		if (w->gate_up_bias) {
			g += (double) w->gate_up_bias[gate];
			u += (double) w->gate_up_bias[up];
		}
		value[i] = (float) (g / (1 + exp(-g)) * u);
	}
	set_row(active, a->compute, stride, value, a->width);
	gemm_reference(&w->down, active, 0, 1, out, 0);
	for (int i = 0; w->down_bias && i < a->hidden; i++)
		out[i] += w->down_bias[i];
}

void experts_reference(const struct experts_args *a)
{
	size_t row_bytes = gemm_stride(a->hidden, a->compute) * dtype_bytes(a->compute);
	for (int e = 0; e < a->experts; e++)
		for (size_t row = (size_t) a->offset[e]; row < (size_t) a->offset[e + 1]; row++)
			reference_expert(a, &a->weights[e], (const char *) a->in + row * row_bytes,
				a->out + row * (size_t) a->hidden);
}
