/* SPDX-License-Identifier: Apache-2.0
 *
 * GEMM against plain loops, and the gate that all else stands on: a row's bits do not depend on how many rows are in
 * the call, where among them it is, or how its memory is aligned. */
#include "codelets/cpu/gemm_bf16.h"
#include "tests/kernels.h"

struct problem {
	int n, k, rows;
	enum dtype dtype;
	struct gemm_weight weight;
	size_t stride;
	char *x;
};

static struct problem make(int n, int k, int rows, enum dtype dtype)
{
	struct problem p = {n, k, rows, dtype, test_weight(n, k, dtype), gemm_stride(k, dtype), NULL};
	float *row = test_floats((size_t) k, 1);
	p.x = test_buffer((size_t) rows * p.stride * dtype_bytes(dtype));
	for (int r = 0; r < rows; r++) {
		for (int i = 0; i < k; i++)
			row[i] = test_normal();
		vector->from_float(dtype, row, k, p.x + (size_t) r * p.stride * dtype_bytes(dtype));
	}
	free(row);
	return p;
}

static void drop(struct problem *p)
{
	test_weight_free(&p->weight);
	free(p->x);
}

static const char *row_of(const struct problem *p, int row)
{
	return p->x + (size_t) row * p->stride * dtype_bytes(p->dtype);
}

/* The inputs are rounded before both, so what is left are FP32 sums of k products of size 1 / sqrt(k). */
static const double tolerance = 2e-5;

static void compare(int n, int k, int rows, enum dtype dtype)
{
	struct problem p = make(n, k, rows, dtype);
	size_t size = (size_t) rows * (size_t) n;
	float *y = test_buffer(size * sizeof *y), *z = test_buffer(size * sizeof *z);
	gemm_run(&p.weight, p.x, p.stride, rows, y, (size_t) n);
	gemm_reference(&p.weight, p.x, p.stride, rows, z, (size_t) n);
	assert_near(y, z, size, tolerance, "gemm");
	free(y);
	free(z);
	drop(&p);
}

static void invariance(int n, int k, enum dtype dtype)
{
	enum { ROWS = 200 };
	struct problem p = make(n, k, ROWS, dtype);
	size_t width = (size_t) n, row_bytes = p.stride * dtype_bytes(dtype);
	float *one = test_buffer(ROWS * width * sizeof *one), *y = test_buffer(ROWS * width * sizeof *y);
	char *moved = test_buffer((ROWS + 1) * row_bytes);
	for (int row = 0; row < ROWS; row++)
		gemm_run(&p.weight, row_of(&p, row), p.stride, 1, one + (size_t) row * width, width);
	for (int rows = 1; rows <= ROWS; rows += rows < 100 ? 1 : 7) {
		int first = test_between(0, ROWS - rows);
		gemm_run(&p.weight, row_of(&p, first), p.stride, rows, y, width);
		assert_same_bits(y, one + (size_t) first * width, (size_t) rows * width * sizeof *y, "rows");
	}
	memcpy(moved + row_bytes / 2 / 4 * 4, p.x, ROWS * row_bytes); /* at another alignment */
	gemm_run(&p.weight, moved + row_bytes / 2 / 4 * 4, p.stride, ROWS, y, width);
	assert_same_bits(y, one, ROWS * width * sizeof *y, "alignment");
	int blocks = (n + 63) / 64;
	for (int block = 0; block < blocks; block++) { /* one block of columns into a narrow buffer */
		int columns = n - block * 64 < 64 ? n - block * 64 : 64;
		gemm_run_blocks(&p.weight, block, 1, p.x, p.stride, ROWS, y, 64, block ? p.weight.packed : NULL);
		for (size_t row = 0; row < ROWS; row++)
			assert_same_bits(y + row * 64, one + row * width + (size_t) block * 64,
				(size_t) columns * sizeof *y, "one block");
		if (n < 64)
			break;
	}
	free(one);
	free(y);
	free(moved);
	drop(&p);
}

static void invariance_of_shapes(void)
{
	static const int shapes[][2] = {{64, 64}, {257, 72}, {96, 7}, {81, 44}, {130, 1}, {192, 100}, {113, 333}};
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		invariance(shapes[i][0] < 64 ? 64 : shapes[i][0], shapes[i][1], DTYPE_FP32);
		invariance(shapes[i][0] < 64 ? 64 : shapes[i][0], shapes[i][1], DTYPE_BF16);
	}
}

static void rows_never_matter(void **state)
{
	(void) state;
	gemm_start();
	invariance_of_shapes();
	invariance(1088, 512, DTYPE_FP32);
	invariance(1088, 512, DTYPE_BF16);
	invariance(512, 1024, DTYPE_FP32);
	invariance(512, 1024, DTYPE_BF16);
}

/* Every width of the last block, since libxsmm makes other code for each number of vectors. */
static void rows_never_matter_at_any_width(void **state)
{
	(void) state;
	gemm_start();
	for (int width = 1; width <= 64; width++) {
		enum { K = 66, ROWS = 60 };
		for (int d = 0; d < 2; d++) {
			struct problem p = make(width, K, ROWS, d ? DTYPE_BF16 : DTYPE_FP32);
			size_t n = (size_t) width;
			float *one = test_buffer(ROWS * n * sizeof *one), *y = test_buffer(ROWS * n * sizeof *y);
			float *z = test_buffer(ROWS * n * sizeof *z);
			gemm_reference(&p.weight, p.x, p.stride, ROWS, z, n);
			for (int row = 0; row < ROWS; row++)
				gemm_run(&p.weight, row_of(&p, row), p.stride, 1, one + (size_t) row * n, n);
			assert_near(one, z, ROWS * n, tolerance, "one row");
			for (int rows = 2; rows <= ROWS; rows++) {
				gemm_run(&p.weight, p.x, p.stride, rows, y, n);
				assert_same_bits(y, one, (size_t) rows * n * sizeof *y, "rows");
			}
			free(one);
			free(y);
			free(z);
			drop(&p);
		}
	}
}

static void own_loops(void)
{
	gemm_use_library(false);
	invariance_of_shapes();
	for (int i = 0; i < 40; i++)
		compare(test_between(1, 150), test_between(1, 200), test_between(0, 20),
			i % 2 ? DTYPE_BF16 : DTYPE_FP32);
	gemm_use_library(true);
}

static void own_loops_serve_where_the_library_has_none(void **state)
{
	(void) state;
	test_each_set(own_loops);
}

static void same_as_plain_loops(void **state)
{
	(void) state;
	gemm_start();
	for (int i = 0; i < 150; i++)
		compare(test_between(1, 300), test_between(1, 400), test_between(0, 120),
			i % 2 ? DTYPE_BF16 : DTYPE_FP32);
	compare(257, 72, 3, DTYPE_FP32);
	compare(512, 1024, 50, DTYPE_BF16);
	compare(72, 2051, 50, DTYPE_BF16);
}

/* Parts from several sources, in any order, are the whole. */
/* Asking for other memory meanwhile changes no bit, and asks piece by piece for what is there: pieces that a pass asks for at
 * once, that take several passes, and that are smaller than what one asks for. */
static void what_is_read_soon_changes_nothing(void **state)
{
	enum { N = 192, K = 128, ROWS = 130, PIECES = 5 };
	static const size_t bytes[] = {64 * K / 2, 64 * K, 100, 1 << 20};
	struct problem p = make(N, K, ROWS, DTYPE_BF16);
	float *y = test_buffer(ROWS * N * sizeof *y), *z = test_buffer(ROWS * N * sizeof *z);
	(void) state;
	gemm_run(&p.weight, p.x, p.stride, ROWS, z, N);
	for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) {
		char *memory = test_buffer(PIECES * bytes[i]);
		const void *piece[PIECES];
		for (size_t j = 0; j < PIECES; j++)
			piece[j] = memory + (PIECES - 1 - j) * bytes[i];
		struct gemm_soon soon = {.piece = piece, .pieces = PIECES, .bytes = bytes[i]};
		gemm_run_soon(&p.weight, p.x, p.stride, ROWS, y, N, &soon);
		assert_same_bits(y, z, ROWS * N * sizeof *y, "soon");
		assert_true(soon.at <= PIECES && soon.done < bytes[i]);
		if (gemm_bf16_available())
			assert_int_equal(soon.at, bytes[i] < 1 << 20 ? PIECES : 0);
		free(memory);
	}
	free(y);
	free(z);
	drop(&p);
}

static void packed_in_parts(void **state)
{
	(void) state;
	gemm_start();
	for (int round = 0; round < 60; round++) {
		enum dtype to = round % 2 ? DTYPE_BF16 : DTYPE_FP32, from = (enum dtype)(round % 3);
		int n = test_between(1, 200), k = test_between(1, 90), cut = test_between(0, n),
		    skip = test_between(0, 5);
		size_t stride = (size_t) k + (size_t) test_between(0, 9), bytes = gemm_packed_bytes(n, k, to);
		float *values = test_floats((size_t) n * stride + (size_t) skip, 1);
		char *stored = test_buffer(((size_t) n * stride + (size_t) skip) * dtype_bytes(from));
		vector->from_float(from, values, n * (int) stride + skip, stored);
		const char *start = stored + (size_t) skip * dtype_bytes(from);
		struct gemm_source whole = {start, from, stride};
		struct gemm_source tail = {start + (size_t) cut * stride * dtype_bytes(from), from, stride};
		char *a = test_buffer(bytes), *b = test_buffer(bytes);
		gemm_pack(a, n, k, to, 0, n, &whole);
		gemm_pack(b, n, k, to, cut, n - cut, &tail);
		gemm_pack(b, n, k, to, 0, cut, &whole);
		assert_same_bits(a, b, bytes, "packed");
		/* element (r, i) of the documented form */
		int r = test_between(0, n - 1), i = test_between(0, k - 1), block = r / 64, column = r % 64;
		int width = n - block * 64 < 64 ? n - block * 64 : 64;
		float *plain = test_buffer(sizeof *plain);
		vector->to_float(from, start + ((size_t) r * stride + (size_t) i) * dtype_bytes(from), 1, plain);
		if (to == DTYPE_FP32)
			assert_true(((float *) a)[block * 64 * k + i * width + column] == *plain);
		else
			assert_int_equal(((uint16_t *) a)[block * 64 * ((k + 1) / 2 * 2) + i / 2 * 2 * width +
							  2 * column + i % 2],
				bf16_from_float(*plain));
		free(plain);
		free(a);
		free(b);
		free(values);
		free(stored);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_as_plain_loops),
		cmocka_unit_test(rows_never_matter),
		cmocka_unit_test(rows_never_matter_at_any_width),
		cmocka_unit_test(own_loops_serve_where_the_library_has_none),
		cmocka_unit_test(what_is_read_soon_changes_nothing),
		cmocka_unit_test(packed_in_parts),
	};
	return cmocka_run_group_tests_name("gemm", tests, NULL, NULL);
}
