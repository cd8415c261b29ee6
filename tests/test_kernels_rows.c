/* SPDX-License-Identifier: Apache-2.0
 *
 * Kernels of single rows and the loops below them, on every instruction set: number formats to the bit, exp within its
 * stated error, norm, rope, embedding, joining and the head. */
#include "tests/kernels.h"

static void formats_here(void)
{
	enum { N = 65536, TAIL = 37 };
	uint16_t *half = test_buffer(N * sizeof *half), *back = test_buffer(N * sizeof *back);
	float *wide = test_buffer(N * sizeof *wide);
	for (int dtype = DTYPE_FP16; dtype <= DTYPE_BF16; dtype++) {
		for (int i = 0; i < N; i++)
			half[i] = (uint16_t) i;
		vector->to_float((enum dtype) dtype, half, N, wide);
		for (int i = 0; i < N; i++) {
			float exact = dtype == DTYPE_FP16 ? fp16_to_float(half[i]) : bf16_to_float(half[i]);
			if (isnan(exact))
				assert_true(isnan(wide[i]));
			else
				assert_memory_equal(&exact, &wide[i], sizeof exact);
		}
		for (int round = 0; round < 20; round++) {
			for (int i = 0; i < N; i++) {
				uint32_t u = test_random();
				memcpy(&wide[i], &u, sizeof u);
				if (round % 2) /* around what FP16 can hold */
					wide[i] = ldexpf(test_normal(), test_between(-30, 18));
			}
			vector->from_float((enum dtype) dtype, wide, N - TAIL, back);
			for (int i = 0; i < N - TAIL; i++) {
				uint16_t exact =
					dtype == DTYPE_FP16 ? fp16_from_float(wide[i]) : bf16_from_float(wide[i]);
				if (isnan(wide[i]))
					assert_true(isnan(
						dtype == DTYPE_FP16 ? fp16_to_float(back[i]) : bf16_to_float(back[i])));
				else
					assert_int_equal(back[i], exact);
			}
		}
	}
	free(half);
	free(back);
	free(wide);
}

static double exp_of(float x)
{
	double sums[VECTOR_LANES] = {0};
	vector->sum_exp(&x, 1, 0, sums);
	return sums[0];
}

static void exp_here(void)
{
	double worst = 0;
	for (int i = 0; i < 200000; i++) {
		float x = (float) test_random() * 0x1p-32f * 175.0f - 87.2f;
		double error = fabs(exp_of(x) / exp((double) x) - 1);
		worst = error > worst ? error : worst;
	}
	assert_true(worst < 2e-7);
	assert_true(exp_of(0) == 1);
	assert_true(exp_of(-INFINITY) == 0);
	assert_true(exp_of(-1e30f) == 0);
	assert_true(exp_of(-88) == 0);
	assert_true(exp_of(1e30f) == exp_of(88));
	assert_true(isnan(exp_of(NAN)));
}

/* A lane's bits do not depend on its place in a vector, nor on the length of the row. */
static void swiglu_here(void)
{
	for (int round = 0; round < 30; round++) {
		int n = round ? test_between(1, 140) : 83;
		float *gate = test_floats((size_t) n, 8), *up = test_floats((size_t) n, 1),
		      *y = test_buffer((size_t) n * sizeof *y);
		float *product = test_buffer(2 * (size_t) n * sizeof *product), pair[2], one;
		uint16_t *half = test_buffer((size_t) n * sizeof *half);
		gate[0] = (float) (round % 3) * 300 - 300;
		for (int i = 0; i < n; i++) {
			int run = i / 32 * 32, length = n - run < 32 ? n - run : 32;
			product[2 * run + i - run] = gate[i];
			product[2 * run + length + i - run] = up[i];
		}
		vector->swiglu(product, n, DTYPE_FP32, y);
		vector->swiglu(product, n, DTYPE_BF16, half);
		for (int i = 0; i < n; i++) {
			double exact = (double) gate[i] / (1 + exp(-(double) gate[i])) * (double) up[i];
			assert_true(fabs((double) y[i] - exact) <= fabs(exact) * 5e-7 + 1e-30);
			assert_int_equal(half[i], bf16_from_float(y[i]));
			pair[0] = gate[i];
			pair[1] = up[i];
			vector->swiglu(pair, 1, DTYPE_FP32, &one);
			assert_same_bits(&one, y + i, sizeof one, "a lane alone");
		}
		free(gate);
		free(up);
		free(y);
		free(product);
		free(half);
	}
}

static void norm_here(void)
{
	for (int round = 0; round < 60; round++) {
		int hidden = test_between(1, 700), rows = test_between(0, 5);
		enum dtype compute = round % 2 ? DTYPE_BF16 : DTYPE_FP32;
		size_t stride = gemm_stride(hidden, compute);
		float *x = test_floats((size_t) rows * (size_t) hidden, 3), *weight = test_floats((size_t) hidden, 1);
		float *stored = test_buffer(stride * sizeof *stored);
		char *h = test_buffer((size_t) rows * stride * dtype_bytes(compute));
		memset(h, 0xff, (size_t) rows * stride * dtype_bytes(compute));
		norm_cpu(x, rows, hidden, weight, 1e-5f, compute, h, stride);
		for (int row = 0; row < rows; row++) {
			double squares = 0;
			for (int i = 0; i < hidden; i++)
				squares += (double) x[row * hidden + i] * (double) x[row * hidden + i];
			vector->to_float(
				compute, h + (size_t) row * stride * dtype_bytes(compute), (int) stride, stored);
			for (int i = 0; i < (int) stride; i++) {
				double exact = i < hidden ? (double) x[row * hidden + i] /
								    sqrt(squares / hidden + 1e-5) * (double) weight[i]
							  : 0;
				assert_true(fabs((double) stored[i] - exact) <=
					    fabs(exact) * (compute == DTYPE_BF16 ? 0.00394 : 1e-6));
			}
		}
		free(x);
		free(weight);
		free(stored);
		free(h);
	}
}

static void rope_here(void)
{
	for (int half = 1; half < 70; half++) {
		float *head = test_floats(2 * (size_t) half, 1), *c = test_floats((size_t) half, 1),
		      *s = test_floats((size_t) half, 1);
		float *exact = test_buffer(2 * (size_t) half * sizeof *exact);
		for (int i = 0; i < half; i++) {
			exact[i] = (float) ((double) head[i] * (double) c[i] - (double) head[i + half] * (double) s[i]);
			exact[i + half] =
				(float) ((double) head[i + half] * (double) c[i] + (double) head[i] * (double) s[i]);
		}
		vector->rope(head, c, s, half);
		assert_near(head, exact, 2 * (size_t) half, 2e-6, "rope");
		free(head);
		free(c);
		free(s);
		free(exact);
	}
}

static void embed_here(void)
{
	enum { VOCAB = 11, HIDDEN = 37, ROWS = 6 };
	const int32_t token[ROWS] = {3, -1, 10, VOCAB, 0, -1}, seat[ROWS] = {0, 2, 1, 0, 0, 1},
		      table_of[3] = {5, 99, 7};
	float *values = test_floats(VOCAB * HIDDEN, 1), *x = test_buffer(ROWS * HIDDEN * sizeof *x), exact[HIDDEN];
	char *table = test_buffer(VOCAB * HIDDEN * 4);
	for (int dtype = DTYPE_FP32; dtype <= DTYPE_BF16; dtype++) {
		vector->from_float((enum dtype) dtype, values, VOCAB * HIDDEN, table);
		embed_cpu(
			&(struct embed_args){ROWS, HIDDEN, VOCAB, token, seat, table_of, table, (enum dtype) dtype, x});
		for (int row = 0; row < ROWS; row++) {
			static const int expected[ROWS] = {3, 7, 10, -1, 0, -1}; /* −1: outside the table */
			memset(exact, 0, sizeof exact);
			if (expected[row] >= 0)
				vector->to_float((enum dtype) dtype,
					table + (size_t) expected[row] * HIDDEN * dtype_bytes((enum dtype) dtype),
					HIDDEN, exact);
			assert_same_bits(x + row * HIDDEN, exact, sizeof exact, "embedding");
		}
	}
	free(values);
	free(x);
	free(table);
}

static void join_here(void)
{
	for (int round = 0; round < 20; round++) {
		int rows = test_between(0, 40), hidden = test_between(1, 300), members = test_between(1, 4),
		    parts = test_between(0, 5);
		size_t n = (size_t) rows * (size_t) hidden;
		float *x[4], *part[5], *exact;
		for (int m = 0; m < 4; m++)
			x[m] = test_floats(n, 1);
		for (int p = 0; p < 5; p++)
			part[p] = test_floats(n, 1);
		exact = test_buffer(n * sizeof *exact);
		for (size_t i = 0; i < n; i++) {
			exact[i] = x[0][i];
			for (int p = 0; p < parts; p++)
				exact[i] += part[p][i];
		}
		join_rows_cpu(x, members, (const float *const *) part, parts, rows, hidden);
		for (int m = 0; m < members; m++)
			assert_same_bits(x[m], exact, n * sizeof *exact, "joined rows");
		for (int m = 0; m < 4; m++)
			free(x[m]);
		for (int p = 0; p < 5; p++)
			free(part[p]);
		free(exact);
	}
}

static void head_here(void)
{
	static const enum dtype computes[] = {DTYPE_FP32, DTYPE_BF16, DTYPE_INT8};
	for (int round = 0; round < 9; round++) {
		int hidden = round % 2 ? 72 : 64, n = round / 3 ? 257 : 129,
		    samples = round % 4 ? test_between(0, 40) : 250, rows = samples + 9;
		enum dtype compute = computes[round % 3];
		size_t stride = gemm_stride(hidden, compute), size = (size_t) samples * (size_t) n;
		struct gemm_weight w = test_weight(n, hidden, compute);
		float *x = test_floats((size_t) rows * (size_t) hidden, 1), *norm = test_floats((size_t) hidden, 1);
		float *logits = test_buffer(size * sizeof *logits), *one = test_buffer((size_t) n * sizeof *one);
		char *h = test_buffer(stride * dtype_bytes(compute));
		void *workspace = test_buffer(head_workspace(hidden, compute));
		struct sample *sample = test_buffer((size_t) samples * sizeof *sample);
		for (int i = 0; i < samples; i++)
			sample[i].row = 100 + test_between(0, rows - 1);
		head_cpu(&(struct head_args){
			samples, hidden, sample, 100, x, norm, 1e-5f, compute, w, logits, workspace});
		for (int i = 0; i < samples; i++) {
			norm_cpu(x + (sample[i].row - 100) * hidden, 1, hidden, norm, 1e-5f, compute, h, stride);
			gemm_run(&w, h, stride, 1, one, (size_t) n);
			assert_same_bits(one, logits + i * n, (size_t) n * sizeof *one, "a sample alone");
			gemm_reference(&w, h, stride, 1, one, (size_t) n);
			assert_near(logits + i * n, one, (size_t) n, 2e-5, "logits");
		}
		test_weight_free(&w);
		free(x);
		free(norm);
		free(logits);
		free(one);
		free(h);
		free(workspace);
		free(sample);
	}
}

/* Angles as transformers has them, from FP32 inverse frequencies; llama3's three bands. */
static void rope_tables(void **state)
{
	struct model model = {.head_dim = 64,
		.rope = {.type = ROPE_LLAMA3,
			.theta = 500000,
			.factor = 8,
			.low_frequency_factor = 1,
			.high_frequency_factor = 4,
			.original_positions = 8192}};
	struct rope_table table;
	struct error error = {0};
	(void) state;
	assert_int_equal(rope_table_make(&table, &model, 0, &error), ERROR_INPUT);
	for (int type = 0; type < 2; type++) {
		model.rope.type = type ? ROPE_LLAMA3 : ROPE_DEFAULT;
		assert_int_equal(rope_table_make(&table, &model, 300, NULL), 0);
		assert_int_equal(table.half, 32);
		for (int i = 0; i < 32; i++) {
			double f = pow(500000, -2.0 * i / 64), wavelength = 2 * M_PI / f,
			       smooth = (8192 / wavelength - 1) / 3;
			if (type && wavelength > 8192)
				f /= 8;
			else if (type && wavelength >= 2048)
				f = (1 - smooth) * f / 8 + smooth * f;
			for (int p = 0; p < 300; p++) {
				assert_true(fabs((double) table.cosine[p * 32 + i] - cos(p * f)) < 1e-4);
				assert_true(fabs((double) table.sine[p * 32 + i] - sin(p * f)) < 1e-4);
			}
		}
		rope_table_free(&table);
		assert_null(table.cosine);
	}
	rope_table_free(&table);
	rope_table_free(NULL);
}

/* Several dots at once are each what it is alone. */
static void dots_here(void)
{
	for (int round = 0; round < 60; round++) {
		int n = test_between(1, 200), count = test_between(1, 21);
		float *x = test_floats((size_t) n, 1), *rows = test_floats((size_t) (n * count), 1);
		float *y = test_floats((size_t) count, 1);
		vector->dots(x, rows, count, n, y);
		for (int r = 0; r < count; r++) {
			double exact = 0;
			for (int i = 0; i < n; i++)
				exact += (double) x[i] * (double) rows[r * n + i];
			float one = vector->dot(x, rows + r * n, n);
			assert_same_bits(&y[r], &one, sizeof one, "a dot alone");
			assert_near(&one, &(float){(float) exact}, 1, 1e-4, "dot");
		}
		free(x);
		free(rows);
		free(y);
	}
}

static void formats(void **state)
{
	(void) state;
	test_each_set(formats_here);
}

static void exp_within_its_error(void **state)
{
	(void) state;
	test_each_set(exp_here);
}

static void dots(void **state)
{
	(void) state;
	test_each_set(dots_here);
}

static void swiglu(void **state)
{
	(void) state;
	test_each_set(swiglu_here);
}

static void norm(void **state)
{
	(void) state;
	test_each_set(norm_here);
}

static void rope(void **state)
{
	(void) state;
	test_each_set(rope_here);
}

static void embed(void **state)
{
	(void) state;
	test_each_set(embed_here);
}

static void join(void **state)
{
	(void) state;
	test_each_set(join_here);
}

static void head(void **state)
{
	(void) state;
	test_each_set(head_here);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(formats),
		cmocka_unit_test(exp_within_its_error),
		cmocka_unit_test(dots),
		cmocka_unit_test(swiglu),
		cmocka_unit_test(norm),
		cmocka_unit_test(rope),
		cmocka_unit_test(rope_tables),
		cmocka_unit_test(embed),
		cmocka_unit_test(join),
		cmocka_unit_test(head),
	};
	return cmocka_run_group_tests_name("rows", tests, NULL, NULL);
}
