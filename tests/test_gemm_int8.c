/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of 8-bit integers: every instruction set gives the reference's bits, whatever the shape, the number of rows
 * and the alignment; what a row's integers and scale are; and how far the product is from that of the numbers. */
#include "tests/kernels.h"

enum { MOST_K = DTYPE_INT8_TERMS };

static int8_t *rows_of(const float *x, int rows, int k, size_t stride)
{
	int8_t *q = test_buffer((size_t) rows * stride);
	memset(q, 0xff, (size_t) rows * stride);
	for (int row = 0; row < rows; row++)
		int8_row_store(x + (size_t) row * (size_t) k, k, q + (size_t) row * stride, stride);
	return q;
}

/* All sets, the best last; `int8` is the best afterwards. */
static void each_set(void (*test)(void))
{
	const struct int8_ops *const *all = int8_available();
	gemm_start();
	int count = 0;
	while (all[count])
		count++;
	while (count--) {
		int8 = all[count];
		test();
	}
}

static void same_bits(const void *a, const void *b, size_t bytes, const char *what)
{
	if (memcmp(a, b, bytes))
		fail_msg("%s (%s): bits differ", what, int8->name);
}

static void compare(int n, int k, int rows)
{
	struct gemm_weight w = test_weight(n, k, DTYPE_INT8);
	size_t stride = gemm_stride(k, DTYPE_INT8), size = (size_t) rows * (size_t) n;
	float *x = test_floats((size_t) rows * (size_t) k, 1), *y = test_buffer(size * sizeof *y);
	float *z = test_buffer(size * sizeof *z);
	int8_t *q = rows_of(x, rows, k, stride);
	gemm_run(&w, q, stride, rows, y, (size_t) n);
	gemm_reference(&w, q, stride, rows, z, (size_t) n);
	same_bits(y, z, size * sizeof *y, "product");
	for (int row = 0; row < rows; row++) { /* alone */
		gemm_run(&w, q + (size_t) row * stride, stride, 1, z, (size_t) n);
		same_bits(z, y + row * n, (size_t) n * sizeof *z, "a row alone");
	}
	test_weight_free(&w);
	free(x);
	free(y);
	free(z);
	free(q);
}

static void shapes_here(void)
{
	for (int n = 1; n <= 70; n++)
		compare(n, test_between(1, 40), test_between(0, 14));
	for (int k = 1; k <= 70; k++)
		compare(test_between(1, 200), k, test_between(0, 14));
	for (int rows = 1; rows <= 30; rows++)
		compare(test_between(60, 140), 67, rows);
	compare(257, 2051, 7);
	compare(64, 5000, 130); /* more of X than is kept in the cache */
}

static void every_shape_in_every_set(void **state)
{
	(void) state;
	each_set(shapes_here);
}

/* What gemm_run_blocks and other alignments give. */
static void parts_here(void)
{
	enum { N = 200, K = 75, ROWS = 23 };
	struct gemm_weight w = test_weight(N, K, DTYPE_INT8);
	size_t stride = gemm_stride(K, DTYPE_INT8);
	float *x = test_floats(ROWS * K, 3), *y = test_buffer(ROWS * N * sizeof *y), *z = test_buffer(ROWS * N * sizeof *z);
	int8_t *q = rows_of(x, ROWS, K, stride), *moved = test_buffer(ROWS * stride + 64);
	gemm_run(&w, q, stride, ROWS, y, N);
	for (size_t shift = 4; shift < 64; shift += 4) {
		memcpy(moved + shift, q, ROWS * stride);
		gemm_run(&w, moved + shift, stride, ROWS, z, N);
		same_bits(z, y, ROWS * N * sizeof *y, "alignment");
	}
	for (int block = 0; block < 4; block++) {
		int columns = block < 3 ? 64 : N - 3 * 64;
		gemm_run_blocks(&w, block, 1, q, stride, ROWS, z, (size_t) columns, block ? w.packed : NULL);
		for (int row = 0; row < ROWS; row++)
			same_bits(z + row * columns, y + row * N + block * 64, (size_t) columns * sizeof *y, "a block");
	}
	test_weight_free(&w);
	free(x);
	free(y);
	free(z);
	free(q);
	free(moved);
}

static void parts_and_alignments(void **state)
{
	(void) state;
	each_set(parts_here);
}

/* The largest sums that there can be, of both signs, at the largest k. */
static void extremes_here(void)
{
	enum { N = 17 };
	struct gemm_weight w = {.dtype = DTYPE_INT8, .n = N, .k = MOST_K};
	size_t stride = gemm_stride(MOST_K, DTYPE_INT8);
	float *x = test_buffer(MOST_K * sizeof *x), *y = test_buffer(2 * N * sizeof *y);
	char *packed = test_buffer(gemm_packed_bytes(N, MOST_K, DTYPE_INT8));
	struct gemm_source source = {x, DTYPE_FP32, MOST_K};
	for (int i = 0; i < MOST_K; i++)
		x[i] = 127; /* scale 1 */
	for (int row = 0; row < N; row++)
		gemm_pack(packed, N, MOST_K, DTYPE_INT8, row, 1, &source);
	w.packed = packed;
	int8_t *q = test_buffer(2 * stride);
	int8_row_store(x, MOST_K, q, stride);
	for (int i = 0; i < MOST_K; i++)
		x[i] = -127;
	int8_row_store(x, MOST_K, q + stride, stride);
	gemm_run(&w, q, stride, 2, y, N);
	for (int j = 0; j < N; j++) {
		assert_true(y[j] == (float) (127ll * 127 * MOST_K));
		assert_true(y[N + j] == (float) (-127ll * 127 * MOST_K));
	}
	free(x);
	free(y);
	free(packed);
	free(q);
}

static void sums_are_exact_at_the_largest_k(void **state)
{
	(void) state;
	each_set(extremes_here);
}

/* ---- rows */

static void rows_here(void)
{
	for (int round = 0; round < 80; round++) {
		int k = test_between(1, 300);
		size_t stride = gemm_stride(k, DTYPE_INT8), tail = 4 * int8_groups(k);
		float *x = test_floats((size_t) k, round % 3 ? 1 : 1e-20f), *back = test_buffer((size_t) k * sizeof *back);
		int8_t *q = rows_of(x, 1, k, stride), *plain = test_buffer(stride);
		float most = 0, scale = int8_row_scale(q + tail);
		int32_t sum = 0;
		for (int i = 0; i < k; i++) {
			most = fmaxf(most, fabsf(x[i]));
			sum += q[i];
		}
		assert_true(scale == most / 127);
		assert_int_equal(int8_word(q + tail + 4), 128 * sum);
		for (size_t i = (size_t) k; i < stride; i++)
			assert_true((i >= tail && i < tail + INT8_ROW_TAIL) || !q[i]);
		int8_row_load(q, k, back);
		for (int i = 0; i < k; i++) { /* half a step, and the rounding of 127 / most */
			assert_true(fabs((double) back[i] - (double) x[i]) <= (double) scale * 0.50002);
			assert_true(fabsf(x[i]) < most || q[i] == (x[i] > 0 ? 127 : -127));
		}
		const struct int8_ops *here = int8;
		int8 = &int8_plain;
		int8_row_store(x, k, plain, stride);
		int8 = here;
		same_bits(q, plain, stride, "row");
		norm_cpu(x, 1, k, back, 1e-5f, DTYPE_INT8, q, stride); /* in pieces: the same as the whole row */
		float *h = test_buffer((size_t) k * sizeof *h);
		norm_cpu(x, 1, k, back, 1e-5f, DTYPE_FP32, h, (size_t) k);
		int8_row_store(h, k, plain, stride);
		same_bits(q, plain, stride, "normalised row");
		free(x);
		free(back);
		free(q);
		free(plain);
		free(h);
	}
}

static void rows_have_scales_of_their_own(void **state)
{
	(void) state;
	each_set(rows_here);
}

/* Zeros and what is too small stay zeros; what is no number makes every result no number. */
static void odd_rows_here(void)
{
	enum { N = 70, K = 37 };
	static const float odd[] = {0, -0.0f, 1e-37f, 1e-45f, NAN, -NAN, INFINITY, -INFINITY, 3e38f};
	struct gemm_weight w = test_weight(N, K, DTYPE_INT8);
	size_t stride = gemm_stride(K, DTYPE_INT8);
	float x[K], y[2 * N], alone[N];
	int8_t *q = test_buffer(2 * stride);
	for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
		for (int at = 0; at < K; at += 12) {
			for (int j = 0; j < K; j++)
				x[j] = test_normal();
			int8_row_store(x, K, q + stride, stride);
			gemm_run(&w, q + stride, stride, 1, alone, N);
			for (int j = 0; j < K && i < 4; j++)
				x[j] = 0;
			x[at] = odd[i];
			int8_row_store(x, K, q, stride);
			gemm_run(&w, q, stride, 2, y, N);
			for (int j = 0; j < N; j++)
				assert_true(i < 4 ? y[j] == 0 : i < 8 ? isnan(y[j]) : isfinite(y[j]));
			same_bits(y + N, alone, sizeof alone, "the next row");
		}
	test_weight_free(&w);
	free(q);
}

static void rows_of_nothing_and_of_no_number(void **state)
{
	(void) state;
	each_set(odd_rows_here);
}

/* ---- weights */

/* Parts from several sources and number formats, in any order, are the whole; padding is zero. */
static void packed_in_parts(void **state)
{
	(void) state;
	gemm_start();
	for (int round = 0; round < 60; round++) {
		enum dtype from = (enum dtype)(round % 3);
		int n = test_between(1, 200), k = test_between(1, 700), cut = test_between(0, n);
		size_t stride = (size_t) k + (size_t) test_between(0, 9), bytes = gemm_packed_bytes(n, k, DTYPE_INT8);
		float *values = test_floats((size_t) n * stride, 1), *row = test_buffer((size_t) k * sizeof *row);
		char *stored = test_buffer((size_t) n * stride * dtype_bytes(from));
		vector->from_float(from, values, n * (int) stride, stored);
		struct gemm_source whole = {stored, from, stride};
		struct gemm_source tail = {stored + (size_t) cut * stride * dtype_bytes(from), from, stride};
		char *a = test_buffer(bytes), *b = test_buffer(bytes);
		gemm_pack(a, n, k, DTYPE_INT8, 0, n, &whole);
		gemm_pack(b, n, k, DTYPE_INT8, cut, n - cut, &tail);
		gemm_pack(b, n, k, DTYPE_INT8, 0, cut, &whole);
		same_bits(a, b, bytes, "packed");
		/* row r as the documented form has it */
		int r = test_between(0, n - 1), width = n - r / 64 * 64 < 64 ? n - r / 64 * 64 : 64;
		size_t padded = ((size_t) width + 15) / 16 * 16, groups = int8_groups(k), column = (size_t) r % 64;
		const char *block = a + (size_t) (r / 64) * 64 * (4 + 4 * groups);
		float scale, most = 0;
		memcpy(&scale, block + 4 * column, sizeof scale);
		vector->to_float(from, stored + (size_t) r * stride * dtype_bytes(from), k, row);
		for (int i = 0; i < k; i++)
			most = fmaxf(most, fabsf(row[i]));
		assert_true(scale == most / 127);
		for (int i = 0; i < k; i++) {
			size_t at = 4 * padded + ((size_t) i / 4 * padded + column) * 4 + (size_t) i % 4;
			int q = (uint8_t) block[at] - 128;
			assert_true(fabs((double) q * (double) scale - (double) row[i]) <= (double) scale * 0.50002);
		}
		free(values);
		free(row);
		free(stored);
		free(a);
		free(b);
	}
}

/* |y − exact| ≤ Σ |x| · sw / 2 + Σ |w| · sx / 2 + k · sw · sx / 4, by the half steps of both. */
static void near_the_product_of_the_numbers(void **state)
{
	(void) state;
	gemm_start();
	for (int round = 0; round < 30; round++) {
		enum { N = 33 };
		int k = test_between(1, 1000);
		size_t stride = gemm_stride(k, DTYPE_INT8);
		float *x = test_floats((size_t) k, 2), *w = test_floats((size_t) N * (size_t) k, 0.3f), y[N];
		void *packed = test_buffer(gemm_packed_bytes(N, k, DTYPE_INT8));
		int8_t *q = rows_of(x, 1, k, stride);
		gemm_pack(packed, N, k, DTYPE_INT8, 0, N, &(struct gemm_source){w, DTYPE_FP32, (size_t) k});
		gemm_run(&(struct gemm_weight){packed, DTYPE_INT8, N, k}, q, stride, 1, y, N);
		for (int j = 0; j < N; j++) {
			double exact = 0, sum_x = 0, sum_w = 0, most_x = 0, most_w = 0;
			for (int i = 0; i < k; i++) {
				double a = (double) x[i], b = (double) w[j * k + i];
				exact += a * b;
				sum_x += fabs(a), sum_w += fabs(b);
				most_x = fmax(most_x, fabs(a)), most_w = fmax(most_w, fabs(b));
			}
			double sx = most_x / 127, sw = most_w / 127;
			double bound = sum_x * sw / 2 + sum_w * sx / 2 + k * sw * sx / 4;
			assert_true(fabs((double) y[j] - exact) <= bound * 1.0001);
		}
		free(x);
		free(w);
		free(packed);
		free(q);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_shape_in_every_set),
		cmocka_unit_test(parts_and_alignments),
		cmocka_unit_test(sums_are_exact_at_the_largest_k),
		cmocka_unit_test(rows_have_scales_of_their_own),
		cmocka_unit_test(rows_of_nothing_and_of_no_number),
		cmocka_unit_test(packed_in_parts),
		cmocka_unit_test(near_the_product_of_the_numbers),
	};
	return cmocka_run_group_tests_name("gemm_int8", tests, NULL, NULL);
}
