/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests: every family of golden model through many meshes and chains, and the words that such a case is
 * made of. */
#ifndef OCTANT_TESTS_GOLDEN_CASES_H
#define OCTANT_TESTS_GOLDEN_CASES_H

struct golden_case {
	const char *model;
	const char *set[16];
};

#define FP32 "compute=\"fp32\"", "kv.dtype=\"fp32\"", "limits.tokens_per_sequence=256"
#define MESH(t, e, p) "mesh.tensor=" #t, "mesh.experts=" #e, "mesh.stages=" #p

#define CHUNK(n) "schedule.prefill.tokens=" #n
#define SEATS(n) "limits.sequences=" #n
#define A2A "layer=( { task = \"attention\"; over = \"tensor\"; }, { task = \"reduce_scatter\"; over = \"tensor\"; }, " \
	"{ task = \"route\"; }, { task = \"dispatch\"; over = \"experts\"; how = \"all_to_all\"; }, " \
	"{ task = \"experts\"; over = \"experts\"; }, { task = \"combine\"; over = \"experts\"; how = \"all_to_all\"; }, " \
	"{ task = \"all_gather\"; over = \"tensor\"; } )"
#define LOCAL "layer=( { task = \"attention\"; over = \"tensor\"; }, { task = \"all_reduce\"; over = \"tensor\"; }, " \
	"{ task = \"route\"; }, { task = \"dispatch\"; over = \"experts\"; how = \"local\"; }, " \
	"{ task = \"experts\"; over = \"experts\"; }, { task = \"combine\"; over = \"experts\"; how = \"local\"; }, " \
	"{ task = \"all_reduce\"; over = \"experts\"; } )"
#define LOCAL_SCATTER "layer=( { task = \"attention\"; over = \"tensor\"; }, { task = \"all_reduce\"; over = \"tensor\"; }, " \
	"{ task = \"route\"; }, { task = \"dispatch\"; over = \"experts\"; how = \"local\"; }, " \
	"{ task = \"experts\"; over = \"experts\"; }, { task = \"combine\"; over = \"experts\"; how = \"local\"; }, " \
	"{ task = \"reduce_scatter\"; over = \"experts\"; }, { task = \"all_gather\"; over = \"tensor\"; } )"
#define SEND_SHARDS "between_stages={ task = \"send\"; before = \"all_gather\"; }"

/* tensor × experts × stages. The mesh tells how often a thing is cut; the models, what is cut. */
static const struct golden_case golden_cases[] = {
	{ "mixtral", { FP32, MESH(1, 1, 1) } },
	{ "llama", { FP32, MESH(1, 1, 1) } },
	{ "mixtral16", { FP32, MESH(1, 1, 1) } },
	{ "mixtral_fp16", { FP32, MESH(1, 1, 1) } },
	{ "olmoe", { FP32, MESH(1, 1, 1) } },
	{ "olmoe_clip", { FP32, MESH(1, 1, 1) } },
	{ "qwen2_moe", { FP32, MESH(1, 1, 1) } },
	{ "qwen2_moe_norm", { FP32, MESH(1, 1, 1) } },
	{ "qwen3_moe", { FP32, MESH(1, 1, 1) } },
	{ "qwen3_moe_sparse", { FP32, MESH(1, 1, 1) } },
	{ "llama_bias", { FP32, MESH(1, 1, 1) } },
	{ "qwen2", { FP32, MESH(1, 1, 1) } },
	{ "qwen3", { FP32, MESH(1, 1, 1) } },

	/* every family through 2×2×2, sharded rows and chunks shorter than the prompts */
	{ "mixtral", { FP32, MESH(2, 2, 2), A2A, CHUNK(48), SEATS(5) } },
	{ "mixtral16", { FP32, MESH(2, 2, 2), A2A, CHUNK(32), SEATS(128), SEND_SHARDS } },
	{ "mixtral_fp16", { FP32, MESH(2, 2, 2), LOCAL, CHUNK(64), SEATS(3) } },
	{ "olmoe", { FP32, MESH(2, 2, 2), A2A, CHUNK(40), SEATS(4) } },
	{ "olmoe_clip", { FP32, MESH(2, 2, 2), LOCAL, CHUNK(200), SEATS(12) } },
	{ "qwen2_moe", { FP32, MESH(2, 2, 2), A2A, CHUNK(17), SEATS(7) } },
	{ "qwen2_moe_norm", { FP32, MESH(2, 2, 2), LOCAL, CHUNK(100), SEATS(2) } },
	{ "qwen3_moe", { FP32, MESH(2, 2, 2), A2A, CHUNK(33), SEATS(6) } },
	{ "qwen3_moe_sparse", { FP32, MESH(2, 2, 2), LOCAL_SCATTER, CHUNK(64), SEATS(6) } },
	{ "llama", { FP32, MESH(2, 1, 2), CHUNK(50), SEATS(5) } },
	{ "llama_bias", { FP32, MESH(2, 1, 2), CHUNK(64), SEATS(4) } },
	{ "qwen2", { FP32, MESH(2, 1, 2), CHUNK(16), SEATS(3) } },
	{ "qwen3", { FP32, MESH(2, 1, 2), CHUNK(128), SEATS(9) } },

	/* other meshes */
	{ "mixtral", { FP32, MESH(2, 1, 1), CHUNK(64) } },
	{ "mixtral", { FP32, MESH(1, 2, 1), A2A, CHUNK(64), SEATS(5) } },
	{ "mixtral", { FP32, MESH(1, 2, 1), LOCAL, CHUNK(64), SEATS(5) } },
	{ "mixtral", { FP32, MESH(1, 1, 2), CHUNK(64) } },
	{ "mixtral", { FP32, MESH(4, 1, 1), CHUNK(64) } },
	{ "mixtral16", { FP32, MESH(2, 2, 1), LOCAL, CHUNK(64) } },
	{ "mixtral16", { FP32, MESH(2, 2, 4), A2A, CHUNK(32) } },
	{ "mixtral16", { FP32, MESH(2, 4, 1), A2A, CHUNK(48), SEATS(6) } },
	{ "mixtral16", { FP32, MESH(2, 4, 1), LOCAL, CHUNK(48), SEATS(6) } },
	{ "mixtral16", { FP32, MESH(4, 2, 1), "mesh.expert_tensor=2", A2A, CHUNK(64) } },
	{ "mixtral16", { FP32, MESH(1, 1, 2), "mesh.layers=[4,1]", CHUNK(64) } },
	{ "mixtral_fp16", { FP32, MESH(3, 2, 1), A2A, CHUNK(64) } },
	{ "olmoe", { FP32, MESH(4, 4, 1), A2A, CHUNK(64) } },
	{ "olmoe_clip", { FP32, MESH(4, 1, 1), CHUNK(64) } },
	{ "qwen2_moe", { FP32, MESH(1, 4, 1), A2A, CHUNK(64), SEATS(5) } },
	{ "qwen2_moe", { FP32, MESH(1, 2, 2), LOCAL, CHUNK(64), SEATS(5) } },
	{ "qwen2_moe_norm", { FP32, MESH(4, 2, 1), CHUNK(64) } },
	{ "qwen3_moe", { FP32, MESH(2, 4, 2), A2A, CHUNK(64) } },
	{ "qwen3_moe_sparse", { FP32, MESH(4, 4, 2), A2A, CHUNK(64) } },
	{ "mixtral16", { FP32, MESH(2, 2, 2), A2A, CHUNK(48), "mesh.place=( { device = 2; stage = 0; tensor = 0; experts = 1; }, "
		"{ device = 0; stage = 0; tensor = 1; experts = 0; }, { device = 3; stage = 1; tensor = 0; experts = 0; }, "
		"{ device = 1; stage = 1; tensor = 1; experts = 1; } )" } }, /* devices and expert groups in another order */
	{ "llama", { FP32, MESH(4, 1, 1), CHUNK(64) } },
	{ "llama_bias", { FP32, MESH(4, 1, 1), CHUNK(64) } },
	{ "qwen2", { FP32, MESH(4, 1, 2), CHUNK(64) } },
	{ "qwen3", { FP32, MESH(1, 1, 4), CHUNK(64) } },
};

enum { GOLDEN_CASES = sizeof golden_cases / sizeof *golden_cases };

#endif
