/* SPDX-License-Identifier: Apache-2.0
 *
 * The mesh's arithmetic: folds, default placement, and that every cut covers its whole exactly once. */
#include "runtime/mesh.h"
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void degrees_fold(void **state)
{
	static const struct {
		int tensor, experts, stages, given; /* expert_tensor */
		int per_stage, groups, expert_tensor;
	} folds[] = {
		{1, 1, 1, 0, 1, 1, 1},
		{2, 1, 1, 0, 2, 1, 2},
		{1, 2, 1, 0, 2, 2, 1},
		{1, 1, 2, 0, 1, 1, 1},
		{2, 2, 1, 0, 2, 1, 1},
		{2, 2, 2, 0, 2, 1, 1},
		{2, 2, 4, 0, 2, 1, 1},
		{4, 1, 1, 0, 4, 1, 4},
		{1, 4, 1, 0, 4, 4, 1},
		{2, 4, 1, 0, 4, 2, 1},
		{4, 2, 1, 0, 4, 1, 2},
		{4, 2, 1, 2, 4, 1, 2},
		{3, 2, 1, 0, 6, 2, 3},
		{2, 2, 1, 2, 4, 2, 2},
		{1, 1, 1, 4, 4, 4, 4},
		{2, 2, 2, 1, 2, 1, 1},
	};
	(void) state;
	for (size_t i = 0; i < sizeof folds / sizeof *folds; i++) {
		struct mesh mesh;
		struct error error = {0};
		assert_int_equal(mesh_make(&mesh, folds[i].tensor, folds[i].experts, folds[i].stages, folds[i].given,
					 16, &error),
			0);
		assert_int_equal(mesh.per_stage, folds[i].per_stage);
		assert_int_equal(mesh.groups, folds[i].groups);
		assert_int_equal(mesh.expert_tensor, folds[i].expert_tensor);
		assert_int_equal(mesh.devices, folds[i].per_stage * folds[i].stages);
		assert_int_equal(mesh.first_layer[folds[i].stages], 16);
	}
}

static void what_does_not_fold_is_refused(void **state)
{
	static const struct {
		int tensor, experts, stages, given, layers;
		const char *says;
	} refusals[] = {
		{4, 2, 1, 1, 16, "expert_tensor = 2 would fold"},
		{3, 2, 1, 1, 16, "expert_tensor = 3 would fold"},
		{0, 1, 1, 0, 16, "mesh.tensor is 0; 1 to 64"},
		{1, 65, 1, 0, 16, "mesh.experts is 65; 1 to 64"},
		{1, 1, -1, 0, 16, "mesh.stages is -1"},
		{INT_MAX, INT_MAX, INT_MAX, INT_MAX, 16, "mesh.tensor is 2147483647"},
		{64, 63, 1, 0, 16, "at most 64 are possible"},
		{2, 2, 33, 0, 64, "at most 64 are possible"},
		{1, 1, 17, 0, 16, "at most one stage a layer"},
	};
	(void) state;
	for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
		struct mesh mesh;
		struct error error = {0};
		memset(&mesh, 77, sizeof mesh);
		assert_int_equal(mesh_make(&mesh, refusals[i].tensor, refusals[i].experts, refusals[i].stages,
					 refusals[i].given, refusals[i].layers, &error),
			ERROR_INPUT);
		if (!strstr(error.text, refusals[i].says))
			fail_msg("\"%s\" does not say \"%s\"", error.text, refusals[i].says);
		for (size_t b = 0; b < sizeof mesh; b++) /* outputs are set on success only */
			assert_int_equal(((unsigned char *) &mesh)[b], 77);
	}
}

/* Every degree up to 8: each (stage, group, tensor) and each (stage, experts, slice) has one device, and each
 * part lies where mesh_at looks for it. */
static void default_placement_is_a_bijection(void **state)
{
	(void) state;
	for (int t = 1; t <= 8; t++)
		for (int e = 1; e <= 8; e++)
			for (int p = 1; p <= 4; p++)
				for (int given = 0; given <= 3; given++) {
					struct mesh mesh;
					int attention[MESH_MAX_DEVICES] = {0}, experts[MESH_MAX_DEVICES] = {0};
					if (mesh_make(&mesh, t, e, p, given, 7, NULL))
						continue;
					for (int i = 0; i < mesh.devices; i++) {
						const struct mesh_part *part = &mesh.part[i];
						assert_ptr_equal(mesh_at(&mesh, part->stage, part->index), part);
						assert_int_equal(part->device, i);
						assert_int_equal(part->index, part->group * mesh.tensor + part->tensor);
						assert_in_range(part->slice, 0, mesh.expert_tensor - 1);
						assert_in_range(part->tensor, 0, mesh.tensor - 1);
						attention[(part->stage * mesh.groups + part->group) * mesh.tensor +
							  part->tensor]++;
						experts[(part->stage * mesh.experts + part->experts) *
								mesh.expert_tensor +
							part->slice]++;
					}
					for (int i = 0; i < mesh.devices; i++) {
						assert_int_equal(attention[i], 1);
						assert_int_equal(experts[i], 1);
					}
				}
}

static void layers_are_split_evenly_earlier_larger(void **state)
{
	struct mesh mesh;
	(void) state;
	for (int layers = 1; layers <= 40; layers++)
		for (int stages = 1; stages <= layers && stages <= 64; stages++) {
			assert_int_equal(mesh_make(&mesh, 1, 1, stages, 0, layers, NULL), 0);
			assert_int_equal(mesh.first_layer[0], 0);
			assert_int_equal(mesh.first_layer[stages], layers);
			for (int p = 0; p < stages; p++) {
				int count = mesh.first_layer[p + 1] - mesh.first_layer[p];
				assert_in_range(count, layers / stages, (layers + stages - 1) / stages);
				if (p)
					assert_true(count <= mesh.first_layer[p] - mesh.first_layer[p - 1]);
				for (int l = mesh.first_layer[p]; l < mesh.first_layer[p + 1]; l++)
					assert_int_equal(mesh_stage_of_layer(&mesh, l), p);
			}
		}
}

static void cuts_cover_once(void **state)
{
	(void) state;
	for (int count = 0; count <= 50; count++)
		for (int ranks = 1; ranks <= 9; ranks++) {
			int even = 0, rows = 0, share = (count + ranks - 1) / ranks;
			for (int r = 0; r < ranks; r++) {
				struct range cut = range_cut(count, ranks, r), shard = range_rows(count, ranks, r);
				assert_int_equal(cut.first, even);
				assert_in_range(cut.end - cut.first, count / ranks, share);
				even = cut.end;
				assert_int_equal(shard.first, rows);
				/* ceil(rows / ranks) each until they run out */
				assert_int_equal(shard.end - shard.first, count - rows < share ? count - rows : share);
				rows = shard.end;
			}
			assert_int_equal(even, count);
			assert_int_equal(rows, count);
		}
	assert_int_equal(range_rows(INT_MAX, 64, 63).end, INT_MAX);
	assert_int_equal(range_rows(1, 64, 63).first, 1);
	assert_int_equal(range_cut(INT_MAX, 64, 63).end, INT_MAX);
}

static void heads_go_with_their_kv_heads(void **state)
{
	static const struct {
		int heads, kv_heads, tensor;
	} cases[] = {{16, 16, 4}, {16, 4, 4}, {16, 2, 4}, {16, 1, 8}, {12, 6, 3}, {8, 8, 1}, {32, 4, 16}};
	(void) state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct mesh mesh;
		struct model model = {.heads = cases[i].heads,
			.kv_heads = cases[i].kv_heads,
			.layers = 1,
			.vocab = 100,
			.mlp_hidden = 64};
		int heads = 0;
		assert_int_equal(mesh_make(&mesh, cases[i].tensor, 1, 1, 0, 1, NULL), 0);
		assert_int_equal(mesh_fits(&mesh, &model, "", 0, NULL), 0);
		for (int t = 0; t < cases[i].tensor; t++) {
			struct range query = mesh_heads(&mesh, &model, t), key = mesh_kv_heads(&mesh, &model, t);
			assert_int_equal(query.first, heads);
			heads = query.end;
			assert_true(key.first < key.end && key.end <= cases[i].kv_heads);
			for (int h = query.first; h < query.end;
				h++) /* the KV head that this query head reads is here */
				assert_in_range(h / (cases[i].heads / cases[i].kv_heads), key.first, key.end - 1);
		}
		assert_int_equal(heads, cases[i].heads);
	}
}

static void experts_lie_in_equal_groups(void **state)
{
	struct mesh mesh;
	struct model model = {.heads = 4, .kv_heads = 4, .layers = 1, .vocab = 100, .experts = 12, .expert_hidden = 7};
	struct error error = {0};
	(void) state;
	assert_int_equal(mesh_make(&mesh, 1, 4, 1, 0, 1, NULL), 0);
	assert_int_equal(mesh_fits(&mesh, &model, "", 0, NULL), 0);
	for (int e = 0; e < 4; e++) {
		assert_int_equal(mesh_expert_range(&mesh, &model, e).first, 3 * e);
		assert_int_equal(mesh_expert_range(&mesh, &model, e).end, 3 * e + 3);
	}
	assert_int_equal(mesh_make(&mesh, 1, 5, 1, 0, 1, NULL), 0);
	assert_int_equal(mesh_fits(&mesh, &model, "a.cfg", 9, &error), ERROR_INPUT);
	assert_string_equal(error.where, "a.cfg:9");
	/* widths need not divide, but nobody gets an empty one */
	assert_int_equal(mesh_make(&mesh, 1, 2, 1, 5, 1, NULL), 0);
	assert_int_equal(mesh_fits(&mesh, &model, "", 0, NULL), 0);
	assert_int_equal(mesh_make(&mesh, 1, 2, 1, 8, 1, NULL), 0);
	assert_int_equal(mesh_fits(&mesh, &model, "", 0, NULL), ERROR_INPUT);
	model.shared_hidden = 3;
	assert_int_equal(mesh_make(&mesh, 1, 4, 1, 0, 1, NULL), 0);
	assert_int_equal(mesh_fits(&mesh, &model, "", 0, NULL), ERROR_INPUT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(degrees_fold),
		cmocka_unit_test(what_does_not_fold_is_refused),
		cmocka_unit_test(default_placement_is_a_bijection),
		cmocka_unit_test(layers_are_split_evenly_earlier_larger),
		cmocka_unit_test(cuts_cover_once),
		cmocka_unit_test(heads_go_with_their_kv_heads),
		cmocka_unit_test(experts_lie_in_equal_groups),
	};
	return cmocka_run_group_tests_name("mesh", tests, NULL, NULL);
}
