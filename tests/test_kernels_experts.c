/* SPDX-License-Identifier: Apache-2.0
 *
 * Route, dispatch, experts, combine and the dense MLP: each against plain loops, and all of them together giving a row
 * the same bits whatever else is in the message and however it is cut over sources, experts' groups and slices. */
#include "tests/kernels.h"

struct layer {
	int hidden, width, experts, top_k;
	enum dtype compute;
	bool normalize, bias;
	struct expert_weights *weights;
	float *norm, *router;
};

static struct expert_weights make_expert(int hidden, int width, enum dtype compute, bool bias)
{
	float *gate = test_floats((size_t) width * (size_t) hidden, 2 / sqrtf((float) hidden));
	float *up = test_floats((size_t) width * (size_t) hidden, 2 / sqrtf((float) hidden));
	float *gate_bias = test_floats((size_t) width, 1), *up_bias = test_floats((size_t) width, 1);
	void *packed = test_buffer(gemm_packed_bytes(2 * width, hidden, compute));
	struct gemm_source g = {gate, DTYPE_FP32, (size_t) hidden}, u = {up, DTYPE_FP32, (size_t) hidden};
	struct expert_weights w = {.down = test_weight(hidden, width, compute)};
	expert_pack_gate_up(packed, width, hidden, compute, &g, &u);
	w.gate_up = (struct gemm_weight){packed, compute, 2 * width, hidden};
	if (bias) {
		float *both = test_buffer(2 * (size_t) width * sizeof *both);
		g.data = gate_bias;
		u.data = up_bias;
		expert_pack_bias(both, width, &g, &u);
		w.gate_up_bias = both;
		w.down_bias = test_floats((size_t) hidden, 1);
	}
	free(gate);
	free(up);
	free(gate_bias);
	free(up_bias);
	return w;
}

static void drop_expert(struct expert_weights *w)
{
	test_weight_free(&w->gate_up);
	test_weight_free(&w->down);
	free((void *) w->gate_up_bias);
	free((void *) w->down_bias);
}

static struct layer make(int hidden, int width, int experts, int top_k, enum dtype compute, bool option)
{
	struct layer l = {hidden, width, experts, top_k, compute, option, option, NULL, NULL, NULL};
	l.weights = test_buffer((size_t) experts * sizeof *l.weights);
	for (int e = 0; e < experts; e++)
		l.weights[e] = make_expert(hidden, width, compute, option);
	l.norm = test_floats((size_t) hidden, 1);
	l.router = test_floats((size_t) experts * (size_t) hidden, 2 / sqrtf((float) hidden));
	return l;
}

static void drop(struct layer *l)
{
	for (int e = 0; e < l->experts; e++)
		drop_expert(&l->weights[e]);
	free(l->weights);
	free(l->norm);
	free(l->router);
}

struct routed {
	int rows;
	size_t stride;
	char *h;
	int32_t *expert, *place, *counts;
	float *weight;
};

static struct routed route(const struct layer *l, const float *x, int rows)
{
	size_t n = (size_t) rows * (size_t) l->top_k;
	struct routed r = {.rows = rows, .stride = gemm_stride(l->hidden, l->compute)};
	void *workspace = test_buffer(route_workspace(l->hidden, l->experts));
	r.h = test_buffer((size_t) rows * r.stride * dtype_bytes(l->compute));
	r.expert = test_buffer(n * sizeof *r.expert);
	r.place = test_buffer(n * sizeof *r.place);
	r.weight = test_buffer(n * sizeof *r.weight);
	r.counts = test_buffer((size_t) l->experts * sizeof *r.counts);
	const struct route_args args = {
		.rows = rows,
		.hidden = l->hidden,
		.experts = l->experts,
		.top_k = l->top_k,
		.normalize = l->normalize,
		.x = x,
		.norm = l->norm,
		.norm_epsilon = 1e-6f,
		.router = l->router,
		.compute = l->compute,
		.h = r.h,
		.stride = r.stride,
		.expert = r.expert,
		.weight = r.weight,
		.counts = r.counts,
		.workspace = workspace,
	};
	route_cpu(&args);
	free(workspace);
	return r;
}

static void drop_routed(struct routed *r)
{
	free(r->h);
	free(r->expert);
	free(r->place);
	free(r->weight);
	free(r->counts);
}

static void route_here(void)
{
	for (int round = 0; round < 24; round++) {
		int experts = test_between(1, 70), top_k = test_between(1, experts < 8 ? experts : 8),
		    hidden = test_between(1, 300);
		struct layer l = make(hidden, 1, experts, top_k, round % 2 ? DTYPE_BF16 : DTYPE_FP32, round % 3 == 0);
		int rows = test_between(0, 20), total = 0;
		float *x = test_floats((size_t) rows * (size_t) hidden, 3);
		double *h = test_buffer((size_t) hidden * sizeof *h), *p = test_buffer((size_t) experts * sizeof *p);
		if (experts > 3) /* a tie: the lower index first */
			memcpy(l.router + 3 * hidden, l.router + hidden, (size_t) hidden * sizeof *l.router);
		struct routed r = route(&l, x, rows);
		for (int row = 0; row < rows; row++) {
			double squares = 0, sum = 0, most = -INFINITY, chosen = 0;
			for (int i = 0; i < hidden; i++)
				squares += (double) x[row * hidden + i] * (double) x[row * hidden + i];
			for (int i = 0; i < hidden; i++)
				h[i] = (double) x[row * hidden + i] / sqrt(squares / hidden + 1e-6) *
				       (double) l.norm[i];
			for (int i = 0; i < (int) r.stride; i++) {
				float stored = 0;
				vector->to_float(l.compute,
					r.h + ((size_t) row * r.stride + (size_t) i) * dtype_bytes(l.compute), 1,
					&stored);
				double exact = i < hidden ? h[i] : 0;
				assert_true(fabs((double) stored - exact) <=
					    fabs(exact) * (l.compute == DTYPE_BF16 ? 0.00394 : 1e-6));
			}
			for (int e = 0; e < experts; e++) {
				p[e] = 0;
				for (int i = 0; i < hidden; i++)
					p[e] += h[i] * (double) l.router[e * hidden + i];
				most = fmax(most, p[e]);
			}
			for (int e = 0; e < experts; e++)
				sum += p[e] = exp(p[e] - most);
			const int32_t *expert = r.expert + row * top_k;
			for (int k = 0; k < top_k; k++)
				chosen += p[expert[k]] / sum;
			for (int k = 0; k < top_k; k++) {
				double weight = p[expert[k]] / sum / (l.normalize ? chosen : 1);
				assert_true(fabs((double) r.weight[row * top_k + k] - weight) < 3e-6);
				assert_true(expert[k] >= 0 && expert[k] < experts);
				r.counts[expert[k]]--;
				total++;
				for (int e = 0; e < experts; e++) { /* none that is left out is clearly better */
					bool taken = false;
					for (int j = 0; j <= k; j++)
						taken |= expert[j] == e;
					assert_true(taken || p[e] / sum <= p[expert[k]] / sum + 3e-6);
				}
				for (int j = 0; j < k; j++) {
					assert_int_not_equal(expert[j], expert[k]);
					if (expert[j] == 3)
						assert_int_not_equal(expert[k], 1);
				}
			}
		}
		assert_int_equal(total, rows * top_k);
		for (int e = 0; e < experts; e++)
			assert_int_equal(r.counts[e], 0);
		drop_routed(&r);
		drop(&l);
		free(x);
		free(h);
		free(p);
	}
}

static double tolerance_of(enum dtype compute)
{
	return compute == DTYPE_FP32 ? 5e-5 : 4e-2; /* else silu · up rounds to the other side now and then */
}

static const enum dtype computes[] = {DTYPE_FP32, DTYPE_BF16, DTYPE_INT8, DTYPE_INT8};

static void experts_here(void)
{
	static const int sizes[][2] = {{64, 64}, {72, 44}, {16, 7}, {33, 129}, {128, 96}};
	for (int round = 0; round < 20; round++) {
		enum { EXPERTS = 5 };
		int hidden = sizes[round % 5][0], width = sizes[round % 5][1];
		enum dtype compute = computes[round % 4];
		struct layer l = make(hidden, width, EXPERTS, 1, compute, round % 3 == 0);
		int32_t offset[EXPERTS + 1] = {0};
		for (int e = 0; e < EXPERTS; e++)
			offset[e + 1] = offset[e] + (test_between(0, 2) ? test_between(1, round ? 60 : 400) : 0);
		size_t rows = (size_t) offset[EXPERTS], stride = gemm_stride(hidden, compute),
		       size = dtype_bytes(compute);
		char *in = test_buffer(rows * stride * size);
		float *x = test_floats((size_t) hidden, 1), *out = test_buffer(rows * (size_t) hidden * sizeof *out);
		float *expected = test_buffer(rows * (size_t) hidden * sizeof *out);
		void *workspace = test_buffer(experts_workspace(hidden, width, compute));
		memset(workspace, 0xff, experts_workspace(hidden, width, compute));
		for (size_t row = 0; row < rows; row++) {
			for (int i = 0; i < hidden; i++)
				x[i] = test_normal();
			row_store(compute, x, hidden, in + row * stride * size, stride);
		}
		struct experts_args args = {.experts = EXPERTS,
			.hidden = hidden,
			.width = width,
			.compute = compute,
			.weights = l.weights,
			.offset = offset,
			.in = in,
			.out = expected,
			.workspace = workspace};
		experts_reference(&args);
		memset(workspace, 0xff, experts_workspace(hidden, width, compute));
		args.out = out;
		experts_cpu(&args);
		assert_near(out, expected, rows * (size_t) hidden, tolerance_of(compute), "experts");
		/* each row alone */
		for (size_t row = 0; row < rows; row += rows < 300 ? 1 : 37) {
			int32_t one[EXPERTS + 1];
			for (int e = 0; e <= EXPERTS; e++)
				one[e] = e > 0 && offset[e] > (int) row;
			args.offset = one;
			args.in = in + row * stride * size;
			args.out = expected;
			experts_cpu(&args);
			assert_same_bits(expected, out + row * (size_t) hidden, (size_t) hidden * sizeof *out,
				"one row of an expert");
		}
		free(in);
		free(x);
		free(out);
		free(expected);
		free(workspace);
		drop(&l);
	}
}

/* A whole MoE layer over `sources` row shards, `groups` expert groups of equal size, each of `slices` devices that share
 * the sum: slice 0 has the result, the others zeros, so that any number of slices must give the same bits.
 * local: every group picks from one source that has all rows and stores a partial sum; they are joined in order. */
static void run_layer(
	const struct layer *l, const struct routed *r, float *x, int sources, int groups, int slices, bool local)
{
	size_t hidden = (size_t) l->hidden, row_bytes = r->stride * dtype_bytes(l->compute);
	int each = l->experts / groups, shard = (r->rows + sources - 1) / sources;
	int capacity = r->rows * (l->top_k < each ? l->top_k : each);
	struct dispatch_source source[4];
	struct dispatch_destination destination[16];
	struct combine_group group[8];
	const float *out[8][2];
	float *partial[8] = {NULL};
	void *workspace = test_buffer(experts_workspace(l->hidden, l->width, l->compute));
	void *counts = test_buffer(dispatch_workspace(l->experts));
	for (int s = 0; s < sources; s++) /* in any order */
		source[sources - 1 - s] = (struct dispatch_source){.first = s * shard < r->rows ? s * shard : r->rows,
			.rows = r->rows - s * shard < shard ? (r->rows > s * shard ? r->rows - s * shard : 0) : shard,
			.h = r->h,
			.expert = r->expert,
			.place = r->place};
	for (int d = 0; d < groups * slices; d++)
		destination[d] = (struct dispatch_destination){.first_expert = d / slices * each,
			.experts = each,
			.capacity = capacity,
			.rows = test_buffer((size_t) capacity * row_bytes),
			.offset = test_buffer(((size_t) each + 1) * sizeof(int32_t))};
	if (!local)
		dispatch_cpu(&(struct dispatch_args){
			l->top_k, row_bytes, sources, groups * slices, source, destination, counts});
	for (int g = 0; g < groups; g++) {
		struct dispatch_destination *d = &destination[g * slices];
		if (local)
			dispatch_cpu(&(struct dispatch_args){l->top_k, row_bytes, sources, slices, source, d, counts});
		assert_in_range(d->offset[each], 0, capacity);
		float *result = test_buffer((size_t) capacity * hidden * sizeof *result);
		experts_cpu(&(struct experts_args){each, l->hidden, l->width, l->compute, l->weights + g * each,
			d->offset, d->rows, result, workspace});
		out[g][0] = result;
		out[g][1] = test_buffer((size_t) capacity * hidden * sizeof *result);
		for (int s = 1; s < slices; s++) {
			assert_same_bits(
				d[s].offset, d->offset, ((size_t) each + 1) * sizeof(int32_t), "offsets of a slice");
			assert_same_bits(d[s].rows, d->rows, (size_t) d->offset[each] * row_bytes, "rows of a slice");
		}
		group[g] = (struct combine_group){g * each, each, slices, out[g]};
		if (local) {
			partial[g] = test_buffer((size_t) r->rows * hidden * sizeof *partial[g]);
			memset(partial[g], 0xff, (size_t) r->rows * hidden * sizeof *partial[g]);
			combine_cpu(&(struct combine_args){0, r->rows, l->hidden, l->top_k, r->expert, r->place,
				r->weight, 1, &group[g], NULL, false, partial[g]});
		}
	}
	if (local)
		join_rows_cpu(&x, 1, (const float *const *) partial, groups, r->rows, l->hidden);
	for (int s = 0; !local && s < sources; s++)
		combine_cpu(&(struct combine_args){source[s].first, source[s].rows, l->hidden, l->top_k, r->expert,
			r->place, r->weight, groups, group, NULL, true, x + (size_t) source[s].first * hidden});
	for (int d = 0; d < groups * slices; d++) {
		free(destination[d].rows);
		free(destination[d].offset);
	}
	for (int g = 0; g < groups; g++) {
		free((void *) out[g][0]);
		free((void *) out[g][1]);
		free(partial[g]);
	}
	free(workspace);
	free(counts);
}

static void layer_here(void)
{
	for (int round = 0; round < 10; round++) {
		struct layer l = make(round % 2 ? 72 : 64, round % 3 ? 44 : 64, 8, 1 + round % 4,
			round % 4 < 2 ? DTYPE_FP32 : DTYPE_BF16, round % 2);
		int rows = round == 3 ? 0 : round == 5 ? 1 : test_between(2, 150);
		size_t hidden = (size_t) l.hidden, bytes = (size_t) rows * hidden * sizeof(float);
		float *x = test_floats((size_t) rows * hidden, 2), *y = test_buffer(bytes), *z = test_buffer(bytes);
		struct routed r = route(&l, x, rows);
		memcpy(y, x, bytes);
		run_layer(&l, &r, y, 1, 1, 1, false);
		static const int cuts[][3] = {{2, 2, 1}, {4, 1, 2}, {3, 4, 2}, {4, 8, 1}};
		for (int i = 0; i < 4; i++) {
			memcpy(z, x, bytes);
			run_layer(&l, &r, z, cuts[i][0], cuts[i][1], cuts[i][2], false);
			assert_same_bits(z, y, bytes, "all_to_all");
			memcpy(z, x, bytes);
			run_layer(&l, &r, z, cuts[i][0], cuts[i][1], 1, true);
			assert_near(
				z, y, (size_t) rows * hidden, 2e-5, "local"); /* added to x one group after the other */
		}
		for (int row = 0; row < rows; row += 5) { /* a row alone */
			struct routed alone = route(&l, x + (size_t) row * hidden, 1);
			memcpy(z, x + (size_t) row * hidden, hidden * sizeof *z);
			run_layer(&l, &alone, z, 1, 2, 1, false);
			assert_same_bits(z, y + (size_t) row * hidden, hidden * sizeof *z, "a row alone");
			drop_routed(&alone);
		}
		drop_routed(&r);
		free(x);
		free(y);
		free(z);
		drop(&l);
	}
}

static void combine_here(void)
{
	enum { HIDDEN = 700, ROWS = 9, K = 3, EXPERTS = 4, PLACES = 20 };
	int32_t expert[ROWS * K], place[ROWS * K];
	float weight[ROWS * K], *out[4], *shared = test_floats(ROWS * HIDDEN, 1), *x = test_floats(ROWS * HIDDEN, 1);
	float *expected = test_buffer(ROWS * HIDDEN * sizeof *expected);
	for (int i = 0; i < 4; i++)
		out[i] = test_floats(PLACES * HIDDEN, 1);
	for (int i = 0; i < ROWS * K; i++) {
		expert[i] = test_between(0, EXPERTS - 1);
		place[i] = test_between(-1, PLACES - 1);
		weight[i] = test_normal();
	}
	const struct combine_group group[2] = {
		{0, 2, 2, (const float *const *) out}, {2, 2, 2, (const float *const *) out + 2}};
	for (int row = 2; row < ROWS; row++)
		for (int i = 0; i < HIDDEN; i++) {
			double sum = (double) shared[row * HIDDEN + i];
			for (int k = row * K; k < row * K + K; k++)
				if (place[k] >= 0)
					for (int s = 0; s < 2; s++)
						sum += (double) weight[k] *
						       (double) out[expert[k] / 2 * 2 + s][place[k] * HIDDEN + i];
			expected[(row - 2) * HIDDEN + i] = (float) ((double) x[(row - 2) * HIDDEN + i] + sum);
		}
	combine_cpu(&(struct combine_args){2, ROWS - 2, HIDDEN, K, expert, place, weight, 2, group, shared, true, x});
	assert_near(x, expected, (ROWS - 2) * HIDDEN, 1e-5, "combine");
	for (int i = 0; i < 4; i++)
		free(out[i]);
	free(shared);
	free(x);
	free(expected);
}

static void mlp_here(void)
{
	for (int round = 0; round < 12; round++) {
		int hidden = round % 2 ? 72 : 64, width = round % 3 ? 129 : 44,
		    rows = round % 6 ? test_between(1, 60) : 230;
		enum dtype compute = computes[round % 4];
		struct expert_weights w = make_expert(hidden, width, compute, round % 3 == 0);
		size_t stride = gemm_stride(hidden, compute), size = dtype_bytes(compute),
		       n = (size_t) rows * (size_t) hidden;
		float *x = test_floats(n, 2), *norm = test_floats((size_t) hidden, 1),
		      *gate = test_floats((size_t) hidden, 0.2f);
		float *a = test_buffer(n * sizeof *a), *b = test_buffer(n * sizeof *b),
		      *row_of_h = test_buffer((size_t) hidden * 4);
		char *h = test_buffer((size_t) rows * stride * size);
		void *workspace = test_buffer(mlp_workspace(hidden, width, compute));
		struct mlp_args args = {.rows = rows,
			.hidden = hidden,
			.width = width,
			.compute = compute,
			.x = x,
			.norm = norm,
			.norm_epsilon = 1e-5f,
			.weights = w,
			.gate = gate,
			.out = a,
			.workspace = workspace};
		mlp_cpu(&args);
		norm_cpu(x, rows, hidden, norm, 1e-5f, compute, h, stride);
		args.x = NULL;
		args.h = h;
		args.out = b;
		mlp_cpu(&args);
		assert_same_bits(a, b, n * sizeof *a, "normalised rows given");
		for (int row = 0; row < rows; row += 3) {
			args.rows = 1;
			args.h = h + (size_t) row * stride * size;
			mlp_cpu(&args);
			assert_same_bits(b, a + row * hidden, (size_t) hidden * sizeof *a, "a row alone");
		}
		int32_t offset[2] = {0, rows};
		experts_reference(&(struct experts_args){1, hidden, width, compute, &w, offset, h, b, workspace});
		for (int row = 0; row < rows; row++) {
			double logit = 0;
			row_load(compute, h + (size_t) row * stride * size, hidden, row_of_h);
			for (int i = 0; i < hidden; i++)
				logit += (double) row_of_h[i] * (double) gate[i];
			for (int i = 0; i < hidden; i++)
				b[row * hidden + i] = (float) ((double) b[row * hidden + i] / (1 + exp(-logit)));
		}
		assert_near(a, b, n, tolerance_of(compute), "mlp");
		free(x);
		free(norm);
		free(gate);
		free(a);
		free(b);
		free(h);
		free(row_of_h);
		free(workspace);
		drop_expert(&w);
	}
}

static void route_as_plain_loops(void **state)
{
	(void) state;
	test_each_set(route_here);
}

static void experts_as_plain_loops(void **state)
{
	(void) state;
	test_each_set(experts_here);
}

static void cuts_of_a_layer_never_matter(void **state)
{
	(void) state;
	test_each_set(layer_here);
}

static void combine_as_plain_loops(void **state)
{
	(void) state;
	test_each_set(combine_here);
}

static void mlp_as_plain_loops(void **state)
{
	(void) state;
	test_each_set(mlp_here);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(route_as_plain_loops),
		cmocka_unit_test(experts_as_plain_loops),
		cmocka_unit_test(combine_as_plain_loops),
		cmocka_unit_test(cuts_of_a_layer_never_matter),
		cmocka_unit_test(mlp_as_plain_loops),
	};
	return cmocka_run_group_tests_name("experts", tests, NULL, NULL);
}
