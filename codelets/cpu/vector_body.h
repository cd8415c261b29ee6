/* SPDX-License-Identifier: Apache-2.0
 *
 * The shared inner loops, written once over the lanes (`vec`, v_*) that the including file defines for its
 * instruction set. The order of operations on an element is fixed by the row's length alone: products of any
 * number of rows run `acc = fma(a, b, acc)` over k for each element, whatever tile the element falls in. */

/* ---- 2^t and exp (vector.h states the error) */

INLINE vec v_polynomial(vec r)
{
	vec p = v_set(1.52527338e-5f); /* ln(2)^k / k! for k = 7 … 1 */
	p = v_fma(p, r, v_set(1.54035304e-4f));
	p = v_fma(p, r, v_set(1.33335581e-3f));
	p = v_fma(p, r, v_set(9.61812911e-3f));
	p = v_fma(p, r, v_set(5.55041087e-2f));
	p = v_fma(p, r, v_set(2.40226507e-1f));
	p = v_fma(p, r, v_set(6.93147181e-1f));
	return v_fma(p, r, v_set(1.0f));
}

/* 2^t for t ≤ 127 */
INLINE vec v_exp2(vec t)
{
	vec n = v_round(t);
	return v_scale2(v_polynomial(t - n), n, t);
}

/* ln(2) in two parts, the first of 9 bits: n times it is exact. */
INLINE vec v_exp(vec x)
{
	x = -v_max(v_set(-88.0f), -x);
	vec t = x * v_set(1.44269504f), n = v_round(t);
	vec r = v_fma(n, v_set(-0.693359375f), x);
	r = v_fma(n, v_set(2.12194440e-4f), r);
	return v_scale2(v_polynomial(r * v_set(1.44269504f)), n, t);
}

/* ---- conversion */

static TARGET void to_float(enum dtype dtype, const void *src, int n, float *dst)
{
	const dtype_loose16 *half = src;
	int i = 0;
	switch (dtype) {
	case DTYPE_FP32:
		memcpy(dst, src, (size_t) n * sizeof *dst);
		return;
	case DTYPE_FP16:
		for (; i + LANES <= n; i += LANES)
			v_store(dst + i, v_load_fp16(half + i));
		for (; i < n; i++)
			dst[i] = fp16_to_float(half[i]);
		return;
	case DTYPE_BF16:
		for (; i + LANES <= n; i += LANES)
			v_store(dst + i, v_load_bf16(half + i));
		for (; i < n; i++)
			dst[i] = bf16_to_float(half[i]);
		return;
	case DTYPE_INT8: /* has a scale a row: gemm_int8.h */
		return;
	}
}

static TARGET void from_float(enum dtype dtype, const float *src, int n, void *dst)
{
	uint16_t *half = dst;
	int i = 0;
	switch (dtype) {
	case DTYPE_FP32:
		memcpy(dst, src, (size_t) n * sizeof *src);
		return;
	case DTYPE_FP16:
		for (; i + LANES <= n; i += LANES)
			v_store_fp16(half + i, v_load(src + i));
		for (; i < n; i++)
			half[i] = fp16_from_float(src[i]);
		return;
	case DTYPE_BF16:
		for (; i + LANES <= n; i += LANES)
			v_store_bf16(half + i, v_load(src + i));
		for (; i < n; i++)
			half[i] = bf16_from_float(src[i]);
		return;
	case DTYPE_INT8:
		return;
	}
}

/* A loop over constants that leaves no loop: its arrays become registers. */
#if defined(__clang__)
#define EACH(i, n) _Pragma("clang loop unroll(full)") for (int i = 0; i < (n); i++)
#else
#define EACH(i, n) _Pragma("GCC unroll 16") for (int i = 0; i < (n); i++)
#endif

/* ---- rows */

enum { DOTS = LANES == 16 ? 4 : 2 }; /* at once, with four vectors of sums each */

static TARGET float dot(const float *a, const float *b, int n)
{
	vec s0 = v_set(0), s1 = s0, s2 = s0, s3 = s0;
	int i = 0;
	for (; i + 4 * LANES <= n; i += 4 * LANES) {
		s0 = v_fma(v_load(a + i), v_load(b + i), s0);
		s1 = v_fma(v_load(a + i + LANES), v_load(b + i + LANES), s1);
		s2 = v_fma(v_load(a + i + 2 * LANES), v_load(b + i + 2 * LANES), s2);
		s3 = v_fma(v_load(a + i + 3 * LANES), v_load(b + i + 3 * LANES), s3);
	}
	for (; i + LANES <= n; i += LANES)
		s0 = v_fma(v_load(a + i), v_load(b + i), s0);
	float sum = v_reduce_add((s0 + s2) + (s1 + s3));
	for (; i < n; i++)
		sum = s_fma(a[i], b[i], sum);
	return sum;
}

/* `count` dots of the same x at once, y[r] = dot(x, rows + r · n, n) to the bit. */
INLINE void dots_tile(const float *x, const float *rows, int n, int count, float *y)
{
	vec sum[DOTS][4];
	int i = 0;
	EACH (r, count)
		EACH (part, 4)
			sum[r][part] = v_set(0);
	for (; i + 4 * LANES <= n; i += 4 * LANES) {
		vec own[4];
		EACH (part, 4)
			own[part] = v_load(x + i + part * LANES);
		EACH (r, count)
			EACH (part, 4)
				sum[r][part] = v_fma(own[part], v_load(rows + (size_t) r * (size_t) n + i + part * LANES),
					sum[r][part]);
	}
	for (; i + LANES <= n; i += LANES)
		EACH (r, count)
			sum[r][0] = v_fma(v_load(x + i), v_load(rows + (size_t) r * (size_t) n + i), sum[r][0]);
	EACH (r, count)
		y[r] = v_reduce_add((sum[r][0] + sum[r][2]) + (sum[r][1] + sum[r][3]));
	for (; i < n; i++)
		EACH (r, count)
			y[r] = s_fma(x[i], rows[(size_t) r * (size_t) n + i], y[r]);
}

static TARGET void dots(const float *x, const float *rows, int count, int n, float *y)
{
	int r = 0;
	for (; r + DOTS <= count; r += DOTS)
		dots_tile(x, rows + (size_t) r * (size_t) n, n, DOTS, y + r);
	for (; r < count; r++)
		y[r] = dot(x, rows + (size_t) r * (size_t) n, n);
}

static TARGET float sum_squares(const float *x, int n)
{
	return dot(x, x, n);
}

static TARGET void scale(const float *x, float by, const float *weight, int n, float *y)
{
	int i = 0;
	for (; i + LANES <= n; i += LANES)
		v_store(y + i, (v_load(x + i) * v_set(by)) * v_load(weight + i));
	for (; i < n; i++)
		y[i] = (x[i] * by) * weight[i];
}

static TARGET void add(float *x, const float *y, int n)
{
	int i = 0;
	for (; i + LANES <= n; i += LANES)
		v_store(x + i, v_load(x + i) + v_load(y + i));
	for (; i < n; i++)
		x[i] += y[i];
}

static TARGET void add_scaled(float *x, float by, const float *y, int n)
{
	int i = 0;
	for (; i + LANES <= n; i += LANES)
		v_store(x + i, v_fma(v_set(by), v_load(y + i), v_load(x + i)));
	for (; i < n; i++)
		x[i] = s_fma(by, y[i], x[i]);
}

INLINE vec v_swiglu(vec gate, vec up)
{
	return gate / (v_set(1.0f) + v_exp(-gate)) * up;
}

INLINE void v_store_as(enum dtype dtype, void *p, int at, vec v)
{
	if (dtype == DTYPE_FP32)
		v_store((float *) p + at, v);
	else if (dtype == DTYPE_FP16)
		v_store_fp16((uint16_t *) p + at, v);
	else
		v_store_bf16((uint16_t *) p + at, v);
}

static TARGET void swiglu(const float *product, int width, enum dtype dtype, void *y)
{
	enum { RUN = 32 };
	for (int i = 0; i < width; i += RUN, product += 2 * RUN) {
		int n = width - i < RUN ? width - i : RUN, j = 0;
		for (; j + LANES <= n; j += LANES)
			v_store_as(dtype, y, i + j, v_swiglu(v_load(product + j), v_load(product + n + j)));
		if (j < n) { /* the rest as lanes too: one exp only */
			float gate[LANES] = {0}, up[LANES] = {0}, out[LANES];
			memcpy(gate, product + j, (size_t) (n - j) * sizeof *gate);
			memcpy(up, product + n + j, (size_t) (n - j) * sizeof *up);
			v_store(out, v_swiglu(v_load(gate), v_load(up)));
			from_float(dtype, out, n - j, (char *) y + (size_t) (i + j) * dtype_bytes(dtype));
		}
	}
}

static TARGET void multiply(const float *x, float by, int n, float *y)
{
	int i = 0;
	for (; i + LANES <= n; i += LANES)
		v_store(y + i, v_load(x + i) * v_set(by));
	for (; i < n; i++)
		y[i] = x[i] * by;
}

/* The two halves of a head turn against each other: pairs (i, i + half). */
static TARGET void rope(float *head, const float *cosine, const float *sine, int half)
{
	float *low = head, *high = head + half;
	int i = 0;
	for (; i + LANES <= half; i += LANES) {
		vec a = v_load(low + i), b = v_load(high + i), c = v_load(cosine + i), s = v_load(sine + i);
		v_store(low + i, v_fma(a, c, -(b * s)));
		v_store(high + i, v_fma(b, c, a * s));
	}
	for (; i < half; i++) {
		float a = low[i], b = high[i];
		low[i] = s_fma(a, cosine[i], -(b * sine[i]));
		high[i] = s_fma(b, cosine[i], a * sine[i]);
	}
}

/* ---- products: c[row][n] (+)= a[row][k] · b[k][n], n a multiple of LANES */

INLINE void product_4_by_2(
	const float *a, size_t lda, int k, const float *b, size_t ldb, float *c, size_t ldc, bool accumulate)
{
	const float *a0 = a, *a1 = a + lda, *a2 = a + 2 * lda, *a3 = a + 3 * lda;
	float *c0 = c, *c1 = c + ldc, *c2 = c + 2 * ldc, *c3 = c + 3 * ldc;
	vec s00 = v_set(0), s01 = s00, s10 = s00, s11 = s00, s20 = s00, s21 = s00, s30 = s00, s31 = s00;
	if (accumulate) {
		s00 = v_load(c0), s01 = v_load(c0 + LANES), s10 = v_load(c1), s11 = v_load(c1 + LANES);
		s20 = v_load(c2), s21 = v_load(c2 + LANES), s30 = v_load(c3), s31 = v_load(c3 + LANES);
	}
	for (int i = 0; i < k; i++, b += ldb) {
		vec b0 = v_load(b), b1 = v_load(b + LANES), v;
		v = v_set(a0[i]), s00 = v_fma(v, b0, s00), s01 = v_fma(v, b1, s01);
		v = v_set(a1[i]), s10 = v_fma(v, b0, s10), s11 = v_fma(v, b1, s11);
		v = v_set(a2[i]), s20 = v_fma(v, b0, s20), s21 = v_fma(v, b1, s21);
		v = v_set(a3[i]), s30 = v_fma(v, b0, s30), s31 = v_fma(v, b1, s31);
	}
	v_store(c0, s00), v_store(c0 + LANES, s01), v_store(c1, s10), v_store(c1 + LANES, s11);
	v_store(c2, s20), v_store(c2 + LANES, s21), v_store(c3, s30), v_store(c3 + LANES, s31);
}

INLINE void product_1_by_4(const float *a, int k, const float *b, size_t ldb, float *c, bool accumulate)
{
	vec s0 = v_set(0), s1 = s0, s2 = s0, s3 = s0;
	if (accumulate)
		s0 = v_load(c), s1 = v_load(c + LANES), s2 = v_load(c + 2 * LANES), s3 = v_load(c + 3 * LANES);
	for (int i = 0; i < k; i++, b += ldb) {
		vec v = v_set(a[i]);
		s0 = v_fma(v, v_load(b), s0), s1 = v_fma(v, v_load(b + LANES), s1);
		s2 = v_fma(v, v_load(b + 2 * LANES), s2), s3 = v_fma(v, v_load(b + 3 * LANES), s3);
	}
	v_store(c, s0), v_store(c + LANES, s1), v_store(c + 2 * LANES, s2), v_store(c + 3 * LANES, s3);
}

INLINE void product_1_by_2(const float *a, int k, const float *b, size_t ldb, float *c, bool accumulate)
{
	vec s0 = v_set(0), s1 = s0;
	if (accumulate)
		s0 = v_load(c), s1 = v_load(c + LANES);
	for (int i = 0; i < k; i++, b += ldb) {
		vec v = v_set(a[i]);
		s0 = v_fma(v, v_load(b), s0), s1 = v_fma(v, v_load(b + LANES), s1);
	}
	v_store(c, s0), v_store(c + LANES, s1);
}

INLINE void product_1_by_1(const float *a, int k, const float *b, size_t ldb, float *c, bool accumulate)
{
	vec s = accumulate ? v_load(c) : v_set(0);
	for (int i = 0; i < k; i++, b += ldb)
		s = v_fma(v_set(a[i]), v_load(b), s);
	v_store(c, s);
}

static TARGET void product_1(const float *a, int k, const float *b, size_t ldb, int n, float *c, bool accumulate)
{
	int j = 0;
	for (; j + 4 * LANES <= n; j += 4 * LANES)
		product_1_by_4(a, k, b + j, ldb, c + j, accumulate);
	for (; j + 2 * LANES <= n; j += 2 * LANES)
		product_1_by_2(a, k, b + j, ldb, c + j, accumulate);
	for (; j < n; j += LANES)
		product_1_by_1(a, k, b + j, ldb, c + j, accumulate);
}

static TARGET void product_4(
	const float *a, size_t lda, int k, const float *b, size_t ldb, int n, float *c, size_t ldc, bool accumulate)
{
	int j = 0;
	for (; j + 2 * LANES <= n; j += 2 * LANES)
		product_4_by_2(a, lda, k, b + j, ldb, c + j, ldc, accumulate);
	for (; j < n; j += LANES)
		for (size_t row = 0; row < 4; row++)
			product_1_by_1(a + row * lda, k, b + j, ldb, c + row * ldc + j, accumulate);
}

/* ---- packed weights where libxsmm has no kernel */

static TARGET void gemm_fp32(
	const float *block, int width, int k, const float *x, size_t ldx, int rows, float *y, size_t ldy)
{
	int full = width / LANES * LANES, row = 0;
	for (; row + 4 <= rows; row += 4)
		product_4(x + (size_t) row * ldx, ldx, k, block, (size_t) width, full, y + (size_t) row * ldy, ldy,
			false);
	for (; row < rows; row++)
		product_1(x + (size_t) row * ldx, k, block, (size_t) width, full, y + (size_t) row * ldy, false);
	for (row = 0; row < rows; row++)
		for (int j = full; j < width; j++) {
			float sum = 0;
			for (int i = 0; i < k; i++)
				sum = s_fma(x[(size_t) row * ldx + i], block[(size_t) i * width + j], sum);
			y[(size_t) row * ldy + j] = sum;
		}
}

INLINE void bf16_4_by_1(const uint16_t *block, int width, int k, const uint16_t *x, size_t ldx, float *y, size_t ldy)
{
	const uint16_t *x0 = x, *x1 = x + ldx, *x2 = x + 2 * ldx, *x3 = x + 3 * ldx;
	vec s0 = v_set(0), s1 = s0, s2 = s0, s3 = s0;
	for (int i = 0; i < k; i += 2, block += 2 * width) {
		vec even = v_pair_even(block), odd = v_pair_odd(block);
		s0 = v_fma(v_set(bf16_to_float(x0[i])), even, s0), s1 = v_fma(v_set(bf16_to_float(x1[i])), even, s1);
		s2 = v_fma(v_set(bf16_to_float(x2[i])), even, s2), s3 = v_fma(v_set(bf16_to_float(x3[i])), even, s3);
		s0 = v_fma(v_set(bf16_to_float(x0[i + 1])), odd, s0),
		s1 = v_fma(v_set(bf16_to_float(x1[i + 1])), odd, s1);
		s2 = v_fma(v_set(bf16_to_float(x2[i + 1])), odd, s2),
		s3 = v_fma(v_set(bf16_to_float(x3[i + 1])), odd, s3);
	}
	v_store(y, s0), v_store(y + ldy, s1), v_store(y + 2 * ldy, s2), v_store(y + 3 * ldy, s3);
}

INLINE void bf16_1_by_1(const uint16_t *block, int width, int k, const uint16_t *x, float *y)
{
	vec s = v_set(0);
	for (int i = 0; i < k; i += 2, block += 2 * width) {
		s = v_fma(v_set(bf16_to_float(x[i])), v_pair_even(block), s);
		s = v_fma(v_set(bf16_to_float(x[i + 1])), v_pair_odd(block), s);
	}
	v_store(y, s);
}

/* k is even here: the packed form and the rows of x are padded with zeros. */
static TARGET void gemm_bf16(
	const uint16_t *block, int width, int k, const uint16_t *x, size_t ldx, int rows, float *y, size_t ldy)
{
	int j = 0;
	for (; j + LANES <= width; j += LANES) {
		int row = 0;
		for (; row + 4 <= rows; row += 4)
			bf16_4_by_1(
				block + 2 * j, width, k, x + (size_t) row * ldx, ldx, y + (size_t) row * ldy + j, ldy);
		for (; row < rows; row++)
			bf16_1_by_1(block + 2 * j, width, k, x + (size_t) row * ldx, y + (size_t) row * ldy + j);
	}
	for (; j < width; j++)
		for (int row = 0; row < rows; row++) {
			float sum = 0;
			for (int i = 0; i < k; i++)
				sum = s_fma(bf16_to_float(x[(size_t) row * ldx + i]),
					bf16_to_float(block[(size_t) (i / 2) * 2 * width + 2 * j + i % 2]), sum);
			y[(size_t) row * ldy + j] = sum;
		}
}

static TARGET void gemm(enum dtype dtype, const void *block, int width, int k, const void *x, size_t ldx, int rows,
	float *y, size_t ldy)
{
	if (dtype == DTYPE_FP32)
		gemm_fp32(block, width, k, x, ldx, rows, y, ldy);
	else
		gemm_bf16(block, width, (k + 1) / 2 * 2, x, ldx, rows, y, ldy);
}

#include "codelets/cpu/vector_attend.h"

/* ---- vocabulary */

static TARGET float largest(const float *x, int n, float than, bool *finite)
{
	const float limit = __builtin_inff();
	vec top = v_set(than);
	int i = 0;
	bool good = true;
	for (; i + LANES <= n; i += LANES) {
		vec v = v_load(x + i);
		top = v_max(top, v);
		good &= v_all_below(v_abs(v), limit);
	}
	float most = v_reduce_max(top);
	for (; i < n; i++) {
		if (!(__builtin_fabsf(x[i]) < limit))
			good = false;
		else if (x[i] > most)
			most = x[i];
	}
	if (!good)
		*finite = false;
	return most;
}

static TARGET void sum_exp(const float *x, int n, float shift, double *sums)
{
	int i = 0;
	for (; i + LANES <= n; i += LANES)
		v_add_double(sums + i % VECTOR_LANES, v_exp(v_load(x + i) - v_set(shift)));
	if (i < n) {
		float rest[LANES];
		for (int j = 0; j < LANES; j++)
			rest[j] = i + j < n ? x[i + j] : -__builtin_inff();
		v_add_double(sums + i % VECTOR_LANES, v_exp(v_load(rest) - v_set(shift)));
	}
}

const struct vector_ops OPS = {
	.name = OPS_NAME,
	.to_float = to_float,
	.from_float = from_float,
	.sum_squares = sum_squares,
	.dot = dot,
	.dots = dots,
	.scale = scale,
	.add = add,
	.add_scaled = add_scaled,
	.multiply = multiply,
	.swiglu = swiglu,
	.rope = rope,
	.gemm = gemm,
	.attend = attend,
	.attend_heads = attend_heads,
	.attend_finish = attend_finish,
	.copy_rows = copy_rows,
	.largest = largest,
	.sum_exp = sum_exp,
};
