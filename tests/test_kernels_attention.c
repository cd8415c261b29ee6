/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention: against plain loops, and the same bits for a token whatever chunks its sequence is cut into, whatever
 * else travels with it, and wherever its pages lie. */
#include "tests/kernels.h"

enum { SEQUENCES = 5, LONGEST = 210, SEGMENTS = 300 };

struct setup {
	struct attention_weights w;
	struct kv_view kv;
	struct rope_table rope;
	int pages_each; /* of a sequence */
	int32_t *pages; /* [SEQUENCES][pages_each] */
	int length[SEQUENCES];
	float *x[SEQUENCES]; /* [length][hidden] */
	void *workspace;
};

struct shape {
	int hidden, heads, kv_heads, head_dim, page_tokens;
	enum dtype compute, kv;
	enum qk_norm qk_norm;
	bool bias;
	float clip;
};

static const struct shape shapes[] = {
	{64, 4, 4, 16, 16, DTYPE_FP32, DTYPE_FP32, QK_NORM_NONE, false, 0},
	{72, 4, 2, 18, 16, DTYPE_FP32, DTYPE_FP16, QK_NORM_HEAD, true, 0},
	{96, 6, 1, 32, 5, DTYPE_FP32, DTYPE_FP32, QK_NORM_ALL, false, 0.9f},
	{64, 2, 2, 32, 16, DTYPE_BF16, DTYPE_FP16, QK_NORM_NONE, true, 0},
	{130, 8, 4, 8, 24, DTYPE_BF16, DTYPE_BF16, QK_NORM_HEAD, false, 0},
	{40, 3, 1, 64, 64, DTYPE_FP32, DTYPE_BF16, QK_NORM_NONE, false, 2},
	{33, 1, 1, 128, 1, DTYPE_FP32, DTYPE_FP32, QK_NORM_ALL, true, 0},
	{48, 5, 5, 6, 100, DTYPE_FP32, DTYPE_FP16, QK_NORM_HEAD, true, 1},
	{64, 2, 2, 64, 32, DTYPE_BF16, DTYPE_BF16, QK_NORM_NONE, false, 0},
	{50, 2, 2, 48, 48, DTYPE_FP32, DTYPE_FP32, QK_NORM_ALL, true, 0},
	{64, 2, 2, 112, 128, DTYPE_FP32, DTYPE_FP16, QK_NORM_NONE, false, 0},
	{80, 5, 5, 32, 16, DTYPE_BF16, DTYPE_FP16, QK_NORM_NONE, false, 0}, /* heads that are no whole pairs */
	{40, 3, 3, 16, 64, DTYPE_FP32, DTYPE_BF16, QK_NORM_HEAD, true, 0},
	{64, 6, 3, 32, 16, DTYPE_FP32, DTYPE_FP16, QK_NORM_NONE, false, 0},
	{64, 2, 2, 32, 16, DTYPE_INT8, DTYPE_FP16, QK_NORM_NONE, true, 0},
	{130, 8, 4, 18, 24, DTYPE_INT8, DTYPE_FP32, QK_NORM_ALL, false, 0.9f},
};

static void shuffle_pages(struct setup *s)
{
	int n = SEQUENCES * s->pages_each;
	for (int i = 0; i < n; i++)
		s->pages[i] = i;
	for (int i = n - 1; i > 0; i--) {
		int j = test_between(0, i), p = s->pages[i];
		s->pages[i] = s->pages[j];
		s->pages[j] = p;
	}
}

/* What was in a page before must not matter: NaN everywhere. */
static void soil_pages(struct setup *s)
{
	memset(s->kv.pages, 0xff,
		(size_t) (SEQUENCES * s->pages_each) *
			kv_page_bytes(s->w.kv_heads, s->kv.page_tokens, s->w.head_dim, s->kv.dtype));
}

static void make(struct setup *s, const struct shape *shape, int longest)
{
	int d = shape->head_dim, columns = (shape->heads + 2 * shape->kv_heads) * d;
	bool all = shape->qk_norm == QK_NORM_ALL;
	struct model model = {.head_dim = d, .rope = {.type = ROPE_DEFAULT, .theta = 10000}};
	memset(s, 0, sizeof *s);
	assert_int_equal(rope_table_make(&s->rope, &model, longest, NULL), 0);
	s->w = (struct attention_weights){
		.hidden = shape->hidden,
		.heads = shape->heads,
		.kv_heads = shape->kv_heads,
		.head_dim = d,
		.all_heads = shape->heads,
		.all_kv_heads = shape->kv_heads,
		.compute = shape->compute,
		.norm_epsilon = 1e-5f,
		.input_norm = test_floats((size_t) shape->hidden, 1),
		.qkv = test_weight(columns, shape->hidden, shape->compute),
		.qkv_bias = shape->bias ? test_floats((size_t) columns, 0.3f) : NULL,
		.clip_qkv = shape->clip,
		.qk_norm = shape->qk_norm,
		.q_norm = shape->qk_norm ? test_floats((size_t) (all ? shape->heads * d : d), 2) : NULL,
		.k_norm = shape->qk_norm ? test_floats((size_t) (all ? shape->kv_heads * d : d), 2) : NULL,
		.output = test_weight(shape->hidden, shape->heads * d, shape->compute),
		.output_bias = shape->bias ? test_floats((size_t) shape->hidden, 1) : NULL,
		.rope = &s->rope,
	};
	s->pages_each = (longest + shape->page_tokens - 1) / shape->page_tokens;
	s->pages = test_buffer((size_t) (SEQUENCES * s->pages_each) * sizeof *s->pages);
	shuffle_pages(s);
	size_t bytes = kv_page_bytes(shape->kv_heads, shape->page_tokens, d, shape->kv);
	s->kv = (struct kv_view){
		test_buffer((size_t) (SEQUENCES * s->pages_each) * bytes), shape->kv, shape->page_tokens};
	soil_pages(s);
	for (int i = 0; i < SEQUENCES; i++) {
		s->length[i] = i ? test_between(1, longest) : longest;
		s->x[i] = test_floats((size_t) s->length[i] * (size_t) shape->hidden, 1.5f);
	}
	s->workspace = test_buffer(attention_workspace(&s->w));
	memset(s->workspace, 0xff, attention_workspace(&s->w));
}

static void drop(struct setup *s)
{
	free((void *) s->w.input_norm);
	free((void *) s->w.qkv_bias);
	free((void *) s->w.q_norm);
	free((void *) s->w.k_norm);
	free((void *) s->w.output_bias);
	test_weight_free(&s->w.qkv);
	test_weight_free(&s->w.output);
	rope_table_free(&s->rope);
	free(s->pages);
	free(s->kv.pages);
	for (int i = 0; i < SEQUENCES; i++)
		free(s->x[i]);
	free(s->workspace);
}

static void both_halves(const struct attention_args *a)
{
	qkv_cpu(a);
	attend_cpu(a);
}

/* Runs the given segments as one message; results go to out[sequence] at their positions. */
static void run(struct setup *s, const struct segment *given, int segments, float *const *out,
	void (*kernel)(const struct attention_args *))
{
	size_t hidden = (size_t) s->w.hidden;
	struct segment segment[SEGMENTS];
	int rows = 0, base = test_between(0, 50);
	for (int i = 0; i < segments; i++) {
		segment[i] = given[i];
		segment[i].row = base + rows;
		segment[i].pages = s->pages + given[i].seat * s->pages_each;
		rows += given[i].rows;
	}
	float *x = test_buffer((size_t) rows * hidden * sizeof *x),
	      *partial = test_buffer((size_t) rows * hidden * sizeof *x);
	float *qkv = test_buffer((size_t) rows * (size_t) s->w.qkv.n * sizeof *qkv);
	float *squares = test_buffer((size_t) rows * 2 * sizeof *squares);
	int32_t *position = test_buffer((size_t) rows * sizeof *position);
	for (int i = 0; i < segments; i++)
		for (int j = 0; j < segment[i].rows; j++) {
			size_t row = (size_t) (segment[i].row - base + j);
			position[row] = segment[i].position + j;
			memcpy(x + row * hidden, s->x[segment[i].seat] + (size_t) position[row] * hidden,
				hidden * sizeof *x);
		}
	const struct attention_args args = {
		.weights = &s->w,
		.kv = s->kv,
		.rows = rows,
		.row_base = base,
		.segments = segments,
		.segment = segment,
		.position = position,
		.x = x,
		.partial = partial,
		.qkv = qkv,
		.squares = squares,
		.workspace = s->workspace,
	};
	kernel(&args);
	for (int i = 0; i < segments; i++)
		memcpy(out[segment[i].seat] + (size_t) segment[i].position * hidden,
			partial + (size_t) (segment[i].row - base) * hidden,
			(size_t) segment[i].rows * hidden * sizeof *x);
	free(x);
	free(partial);
	free(qkv);
	free(squares);
	free(position);
}

static void results(const struct setup *s, float **out)
{
	for (int i = 0; i < SEQUENCES; i++)
		out[i] = test_buffer((size_t) s->length[i] * (size_t) s->w.hidden * sizeof **out);
}

static void drop_results(float **out)
{
	for (int i = 0; i < SEQUENCES; i++)
		free(out[i]);
}

static void whole(struct setup *s, float *const *out, void (*kernel)(const struct attention_args *))
{
	for (int i = 0; i < SEQUENCES; i++)
		run(s, &(struct segment){.rows = s->length[i], .seat = i}, 1, out, kernel);
}

/* All sequences together in messages of random chunks, some of one row, some with nothing of a sequence. */
static void chunked(struct setup *s, float *const *out, int longest, void (*kernel)(const struct attention_args *))
{
	int done[SEQUENCES] = {0};
	for (;;) {
		struct segment segment[SEQUENCES];
		int n = 0, left = 0;
		for (int i = 0; i < SEQUENCES; i++) {
			int rows = test_between(0, 3) ? test_between(1, longest) : 1;
			if (rows > s->length[i] - done[i])
				rows = s->length[i] - done[i];
			left += s->length[i] - done[i];
			if (!rows || (n && !test_between(0, 4)))
				continue;
			segment[n++] = (struct segment){.rows = rows, .position = done[i], .seat = i};
			done[i] += rows;
		}
		if (!left)
			return;
		run(s, segment, n, out, kernel);
	}
}

/* All rows as segments of their own, the sequences by turns, as many in one message as it takes. */
static void singly(struct setup *s, float *const *out, void (*kernel)(const struct attention_args *))
{
	struct segment segment[SEGMENTS];
	int n = 0, left = 1;
	for (int position = 0; left; position++) {
		left = 0;
		for (int i = 0; i < SEQUENCES; i++) {
			if (position < s->length[i])
				segment[n++] = (struct segment){.rows = 1, .position = position, .seat = i};
			left += position + 1 < s->length[i];
			if (n == SEGMENTS) {
				run(s, segment, n, out, kernel);
				n = 0;
			}
		}
	}
	run(s, segment, n, out, kernel);
}

static void same_bits(const struct setup *s, float *const *a, float *const *b, const char *what)
{
	for (int i = 0; i < SEQUENCES; i++)
		assert_same_bits(a[i], b[i], (size_t) s->length[i] * (size_t) s->w.hidden * sizeof **a, what);
}

static void chunks_never_matter_here(void)
{
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		struct setup s;
		float *first[SEQUENCES], *second[SEQUENCES];
		make(&s, &shapes[i], LONGEST);
		results(&s, first);
		results(&s, second);
		whole(&s, first, attention_cpu);
		for (int round = 0; round < 6; round++) {
			static const int longest[] = {1, 2, 7, 40, 110, 200};
			shuffle_pages(&s);
			soil_pages(&s);
			chunked(&s, second, longest[round], round % 2 ? attention_cpu : both_halves);
			same_bits(&s, second, first, "chunks");
		}
		soil_pages(&s);
		singly(&s, second, attention_cpu);
		same_bits(&s, second, first, "single rows");
		drop_results(first);
		drop_results(second);
		drop(&s);
	}
}

/* FP32: sums in another order. 16 bits: K, V and the rows between two products are rounded after FP32 sums that differ
 * in their last bit, so a rounding may fall to the other side: one unit in 2^11 or 2^8 of values of a few, with int8 of
 * the largest. */
static double tolerance_of(const struct shape *shape)
{
	if (shape->compute == DTYPE_BF16 || shape->kv == DTYPE_BF16 || shape->compute == DTYPE_INT8)
		return 3e-2;
	return shape->kv == DTYPE_FP16 ? 4e-3 : 3e-5;
}

static void same_as_plain_loops_here(void)
{
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		struct setup s;
		float *first[SEQUENCES], *second[SEQUENCES];
		make(&s, &shapes[i], 140);
		results(&s, first);
		results(&s, second);
		whole(&s, first, attention_cpu);
		soil_pages(&s);
		whole(&s, second, attention_reference);
		for (int j = 0; j < SEQUENCES; j++)
			assert_near(first[j], second[j], (size_t) s.length[j] * (size_t) s.w.hidden,
				tolerance_of(&shapes[i]), "attention");
		drop_results(first);
		drop_results(second);
		drop(&s);
	}
}

/* OLMoE's norms over the heads of two ranks: the squares are summed between the halves. */
static void two_ranks_here(void)
{
	enum { ROWS = 100, HIDDEN = 64, HEADS = 4, D = 16, COLUMNS = 3 * HEADS * D };
	const struct shape shape = {HIDDEN, HEADS, HEADS, D, 16, DTYPE_FP32, DTYPE_FP32, QK_NORM_ALL, false, 0.8f};
	struct setup s;
	float *out[SEQUENCES];
	make(&s, &shape, ROWS);
	results(&s, out);
	whole(&s, out, attention_cpu);
	float *joined = test_buffer(ROWS * HIDDEN * sizeof *joined), *partial[2], *qkv[2], *squares[2];
	void *pages[2];
	struct attention_weights w[2];
	struct attention_args args[2];
	const struct segment segment = {.rows = ROWS, .pages = s.pages};
	size_t page_bytes = kv_page_bytes(HEADS / 2, 16, D, DTYPE_FP32);
	for (int rank = 0; rank < 2; rank++) {
		enum { OWN = HEADS / 2 * D };
		const float *full = s.w.qkv.packed;
		float *rows = test_buffer(COLUMNS / 2 * HIDDEN * sizeof *rows),
		      *columns = test_buffer(HIDDEN * OWN * sizeof *columns);
		void *packed = test_buffer(gemm_packed_bytes(COLUMNS / 2, HIDDEN, DTYPE_FP32));
		void *output = test_buffer(gemm_packed_bytes(HIDDEN, OWN, DTYPE_FP32));
		for (int part = 0; part < 3; part++)
			for (int j = 0; j < OWN; j++)
				for (int i = 0; i < HIDDEN; i++) {
					int n = part * HEADS * D + rank * OWN + j;
					rows[(part * OWN + j) * HIDDEN + i] =
						full[n / 64 * 64 * HIDDEN + i * 64 + n % 64];
				}
		for (int n = 0; n < HIDDEN; n++)
			for (int i = 0; i < OWN; i++)
				columns[n * OWN + i] = ((const float *) s.w.output.packed)[(rank * OWN + i) * 64 + n];
		gemm_pack(packed, COLUMNS / 2, HIDDEN, DTYPE_FP32, 0, COLUMNS / 2,
			&(struct gemm_source){rows, DTYPE_FP32, HIDDEN});
		gemm_pack(output, HIDDEN, OWN, DTYPE_FP32, 0, HIDDEN, &(struct gemm_source){columns, DTYPE_FP32, OWN});
		free(rows);
		free(columns);
		w[rank] = s.w;
		w[rank].heads = w[rank].kv_heads = HEADS / 2;
		w[rank].qkv = (struct gemm_weight){packed, DTYPE_FP32, COLUMNS / 2, HIDDEN};
		w[rank].output = (struct gemm_weight){output, DTYPE_FP32, HIDDEN, OWN};
		w[rank].q_norm += rank * OWN;
		w[rank].k_norm += rank * OWN;
		pages[rank] = test_buffer((size_t) (SEQUENCES * s.pages_each) * page_bytes);
		partial[rank] = test_buffer(ROWS * HIDDEN * sizeof(float));
		qkv[rank] = test_buffer(ROWS * COLUMNS / 2 * sizeof(float));
		squares[rank] = test_buffer(ROWS * 2 * sizeof(float));
		args[rank] = (struct attention_args){
			.weights = &w[rank],
			.kv = {pages[rank], DTYPE_FP32, 16},
			.rows = ROWS,
			.segments = 1,
			.segment = &segment,
			.x = s.x[0],
			.partial = partial[rank],
			.qkv = qkv[rank],
			.squares = squares[rank],
			.workspace = s.workspace,
		};
		qkv_cpu(&args[rank]);
	}
	for (int i = 0; i < 2 * ROWS; i++)
		squares[0][i] = squares[1][i] = squares[0][i] + squares[1][i];
	for (int rank = 0; rank < 2; rank++)
		attend_cpu(&args[rank]);
	join_rows_cpu(&joined, 1, (const float *const *) partial, 2, ROWS, HIDDEN);
	assert_near(joined, out[0], ROWS * HIDDEN, 3e-5, "two ranks");
	for (int rank = 0; rank < 2; rank++) {
		free((void *) w[rank].qkv.packed);
		free((void *) w[rank].output.packed);
		free(pages[rank]);
		free(partial[rank]);
		free(qkv[rank]);
		free(squares[rank]);
	}
	free(joined);
	drop_results(out);
	drop(&s);
}

static void chunks_never_matter(void **state)
{
	(void) state;
	test_each_set(chunks_never_matter_here);
}

static void same_as_plain_loops(void **state)
{
	(void) state;
	test_each_set(same_as_plain_loops_here);
}

static void norms_over_the_heads_of_two_ranks(void **state)
{
	(void) state;
	test_each_set(two_ranks_here);
}

static void no_rows(void **state)
{
	struct setup s;
	(void) state;
	gemm_start();
	make(&s, &shapes[0], 20);
	const struct attention_args args = {.weights = &s.w, .kv = s.kv, .workspace = s.workspace};
	attention_cpu(&args);
	both_halves(&args);
	const struct segment empty[2] = {{.row = 7, .pages = s.pages}, {.row = 7, .pages = s.pages}};
	const struct attention_args segments = {
		.weights = &s.w, .kv = s.kv, .workspace = s.workspace, .row_base = 7, .segments = 2, .segment = empty};
	attention_cpu(&segments);
	drop(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_as_plain_loops),
		cmocka_unit_test(chunks_never_matter),
		cmocka_unit_test(norms_over_the_heads_of_two_ranks),
		cmocka_unit_test(no_rows),
	};
	return cmocka_run_group_tests_name("attention", tests, NULL, NULL);
}
