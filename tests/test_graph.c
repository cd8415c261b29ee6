/* SPDX-License-Identifier: Apache-2.0
 *
 * What right descriptions mean: the shipped graphs, values and defaults, overrides, placement, default chains,
 * inserted steps, and accounts. */
#include "runtime/accounts.h"
#include "runtime/graph.h"
#include "runtime/graph_schema.h"
#include "runtime/graph_source.h"
#include "runtime/model_config.h"
#include "tasks/kinds.h"
#include "tools/model_card.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static const char *const families[] = {"mixtral", "olmoe", "qwen2_moe", "qwen3_moe", "llama", "qwen2", "qwen3"};

#define SET(...)                                                                                                       \
	(const struct graph_override[]){__VA_ARGS__},                                                                  \
		(int) (sizeof((const struct graph_override[]){__VA_ARGS__}) / sizeof(struct graph_override))

static struct graph *read_graph(
	const char *name, const struct model *model, const struct graph_override *overrides, int count)
{
	struct graph *graph;
	struct error error = {0};
	if (graph_read(name, &task_kinds, overrides, count, &graph, &error))
		fail_msg("%s: %s", error.where, error.text);
	if (graph_resolve(graph, model, &task_kinds, &error))
		fail_msg("%s: %s", error.where, error.text);
	return graph;
}

static struct graph *read_text(const char *text, const struct model *model)
{
	char path[256];
	snprintf(path, sizeof path, "%s/graph.cfg", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	struct graph *graph = read_graph(path, model, NULL, 0);
	unlink(path);
	return graph;
}

static void read_model(const char *family, struct model *model)
{
	char path[512];
	struct error error = {0};
	snprintf(path, sizeof path, "%s/golden/models/%s", OCTANT_TEST_DATA, family);
	if (model_config_read(path, model, &error))
		fail_msg("%s: %s", error.where, error.text);
}

static const char *steps(const struct graph_chain *chain, char *text, size_t size)
{
	*text = '\0';
	for (int i = 0; i < chain->count; i++) {
		size_t used = strlen(text);
		snprintf(text + used, size - used, "%s%s", i ? " " : "", chain->step[i].kind->name);
	}
	return text;
}

static void compute_is_chosen_where_it_is_not_given(void **state)
{
	static const struct {
		enum dtype weights;
		bool has_bf16, given;
		enum dtype compute, kv;
	} cases[] = {
		{DTYPE_BF16, true, false, DTYPE_BF16, DTYPE_FP16},
		{DTYPE_FP16, true, false, DTYPE_BF16, DTYPE_FP16},
		{DTYPE_BF16, false, false, DTYPE_FP32, DTYPE_FP32},
		{DTYPE_FP32, true, false, DTYPE_FP32, DTYPE_FP32},
		{DTYPE_BF16, true, true, DTYPE_FP32, DTYPE_FP32},
		{DTYPE_BF16, true, true, DTYPE_INT8, DTYPE_FP16},
		{DTYPE_FP32, false, true, DTYPE_INT8, DTYPE_FP16},
	};
	(void) state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct model model;
		struct graph *graph;
		struct error error = {0};
		read_model("mixtral", &model);
		model.dtype = cases[i].weights;
		assert_int_equal(graph_open("default", &model, 2, &task_kinds, SET({"compute", dtype_name(cases[i].compute)}) - !cases[i].given, &graph,
					 &error),
			0);
		assert_int_equal(graph_resolve(graph, &model, &task_kinds, &error), 0);
		graph_set_default_compute(graph, cases[i].has_bf16);
		assert_int_equal(graph->compute, cases[i].compute);
		assert_int_equal(graph->kv.dtype, cases[i].kv);
		graph_destroy(graph);
	}
}

static void the_default_graph_has_a_name(void **state)
{
	struct model model;
	struct graph *named, *unnamed, *none;
	struct error error = {0};
	(void) state;
	read_model("mixtral", &model);
	assert_int_equal(graph_open("default", &model, 2, &task_kinds, NULL, 0, &named, &error), 0);
	assert_int_equal(graph_open(NULL, &model, 2, &task_kinds, NULL, 0, &unnamed, &error), 0);
	assert_memory_equal(named, unnamed, sizeof *named);
	assert_string_equal(named->name, "default");
	graph_destroy(named);
	graph_destroy(unnamed);
	assert_int_equal(graph_open("default", NULL, 2, &task_kinds, NULL, 0, &none, &error), ERROR_INPUT);
	assert_non_null(strstr(error.text, "--model DIR is needed"));
}

/* Each expert, head and layer is held; each device and part once. */
static void check_mesh(const struct graph *graph)
{
	const struct mesh *mesh = &graph->mesh;
	unsigned long long devices = 0;
	for (int i = 0; i < mesh->devices; i++) {
		const struct mesh_part *part = &mesh->part[i];
		assert_int_equal(part->stage * mesh->per_stage + part->index, i);
		assert_int_equal(part->index, part->group * mesh->tensor + part->tensor);
		assert_in_range(part->device, 0, graph->machine.devices - 1);
		assert_false(devices >> part->device & 1);
		devices |= 1ull << part->device;
		for (int j = 0; j < i; j++)
			assert_false(mesh->part[j].stage == part->stage && mesh->part[j].experts == part->experts &&
				     mesh->part[j].slice == part->slice);
	}
	assert_int_equal(mesh->first_layer[0], 0);
	assert_int_equal(mesh->first_layer[mesh->stages], graph->model.layers);
}

static void shipped_graphs_are_right(void **state)
{
	char **names;
	int count = 0;
	(void) state;
	assert_int_equal(graph_source_list(&names, NULL), 0);
	for (char **name = names; *name; name++, count++) {
		struct graph *graph = read_graph(*name, NULL, NULL, 0);
		assert_string_equal(graph->name, *name);
		check_mesh(graph);
		graph_destroy(graph);
	}
	assert_true(count >= 14);
	graph_source_list_free(names);
}

/* The golden models have few heads and layers; where a graph cannot have them, it must say so. */
static void shipped_graphs_take_other_models(void **state)
{
	char **names;
	int right = 0;
	(void) state;
	assert_int_equal(graph_source_list(&names, NULL), 0);
	for (char **name = names; *name; name++)
		for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
			struct graph *graph;
			struct model model;
			struct error error = {0};
			read_model(families[f], &model);
			assert_int_equal(graph_read(*name, &task_kinds, NULL, 0, &graph, &error), 0);
			if (!graph_resolve(graph, &model, &task_kinds, &error)) {
				check_mesh(graph);
				assert_int_equal(graph->model.family, f);
				right++;
			} else {
				assert_int_equal(error.code, ERROR_INPUT);
			}
			graph_destroy(graph);
		}
	assert_true(right > 50);
	graph_source_list_free(names);
}

static void the_plan_is_what_it_says(void **state)
{
	struct graph *graph = read_graph("tp2_ep2_pp2", NULL, NULL, 0);
	char text[512];
	(void) state;
	static const struct {
		int stage, tensor, experts, first_layer, end_layer, first_expert, end_expert;
	} table[] = {{0, 0, 0, 0, 8, 0, 8}, {0, 1, 1, 0, 8, 8, 16}, {1, 0, 0, 8, 16, 0, 8}, {1, 1, 1, 8, 16, 8, 16}};
	for (int d = 0; d < 4; d++) {
		const struct mesh_part *part = &graph->mesh.part[d];
		assert_int_equal(part->device, d);
		assert_int_equal(part->stage, table[d].stage);
		assert_int_equal(part->tensor, table[d].tensor);
		assert_int_equal(part->experts, table[d].experts);
		assert_int_equal(graph->mesh.first_layer[part->stage], table[d].first_layer);
		assert_int_equal(graph->mesh.first_layer[part->stage + 1], table[d].end_layer);
		assert_int_equal(
			mesh_expert_range(&graph->mesh, &graph->model, part->experts).first, table[d].first_expert);
		assert_int_equal(
			mesh_expert_range(&graph->mesh, &graph->model, part->experts).end, table[d].end_expert);
	}
	assert_string_equal(graph->machine.name, "plan-4x64g");
	assert_int_equal(graph->machine.devices, 4);
	assert_true(graph->machine.device[3].flops == 400e12 && graph->machine.device[3].memory == 64e9);
	assert_int_equal(graph->machine.links, 4);
	assert_int_equal(graph->machine.link[2].from, 2);
	assert_int_equal(graph->machine.link[2].to, -1);
	assert_string_equal(steps(&graph->layer, text, sizeof text),
		"attention reduce_scatter route dispatch experts combine all_gather");
	assert_int_equal(graph->layer.step[2].takes, FORM_SHARDED);
	assert_int_equal(graph->layer.step[2].leaves, FORM_SHARDED_ROUTED);
	assert_int_equal(graph->layer.step[2].place.line, 50);
	assert_string_equal(graph->schedule.policy, "dmdas");
	assert_int_equal(graph->schedule.decode_micro_batches, 2);
	assert_int_equal(graph->schedule.prefill_micro_batches, 0);
	assert_int_equal(graph->compute, DTYPE_BF16);
	assert_int_equal(graph->kv.dtype, DTYPE_FP16);
	assert_int_equal(graph->residual, DTYPE_FP32);
	assert_int_equal(graph->requirements, 4);
	assert_int_equal(graph->workload.prompt_min, 128);
	assert_int_equal(graph->workload.prompt_max, 10112);
	assert_true(graph->card.declared_parameters == 10e9);
	graph_destroy(graph);
}

static void what_is_left_out_has_the_schemas_default(void **state)
{
	struct graph *graph = read_text("@include \"plan/model.cfg\"\n", NULL);
	char text[512];
	(void) state;
	assert_string_equal(graph->name, "graph");
	assert_false(graph->machine.given);
	assert_true(graph->machine.host);
	assert_int_equal(graph->machine.devices, 1);
	assert_true(graph->machine.device[0].flops > 0 && graph->machine.device[0].memory == 0);
	assert_string_equal(graph->schedule.policy, "homes");
	assert_int_equal(graph->schedule.slots, 4);
	assert_int_equal(graph->schedule.ahead, 2);
	assert_int_equal(graph->schedule.prefill_tokens, 4096);
	assert_int_equal(graph->limits.sequences, 128);
	assert_int_equal(graph->limits.tokens_per_sequence, 10240);
	assert_int_equal(graph->kv.page_tokens, 16);
	assert_int_equal(graph->kv.pages, 0);
	assert_false(graph->compute_given);
	assert_int_equal(graph->kv.dtype, DTYPE_FP32); /* with fp32 compute */
	graph_set_compute(graph, DTYPE_BF16);
	assert_int_equal(graph->kv.dtype, DTYPE_FP16);
	assert_int_equal(graph->requirements, 0);
	assert_false(graph->workload.given);
	assert_int_equal(graph->model.kv_heads, 16);
	assert_int_equal(graph->model.norm_epsilon > 0, 1);
	assert_string_equal(steps(&graph->before, text, sizeof text), "embed");
	assert_string_equal(steps(&graph->layer, text, sizeof text),
		"attention all_reduce route dispatch experts combine all_reduce");
	assert_string_equal(steps(&graph->dense_layer, text, sizeof text), "attention all_reduce mlp all_reduce");
	assert_string_equal(steps(&graph->between_stages, text, sizeof text), "send");
	assert_string_equal(steps(&graph->after, text, sizeof text), "head sample");
	graph_destroy(graph);
}

static void default_chains_follow_the_fold(void **state)
{
	static const struct {
		const char *tensor, *experts, *layer;
	} folds[] = {
		{"2", "2", "attention all_reduce route dispatch experts combine all_reduce"},
		{"4", "2", "attention all_reduce route dispatch experts combine all_reduce"},
		{"1", "2", "attention reduce_scatter route dispatch experts combine all_gather"},
		{"2", "4", "attention reduce_scatter route dispatch experts combine all_gather"},
	};
	char path[256], text[512];
	(void) state;
	snprintf(path, sizeof path, "%s/plan/model.cfg", OCTANT_SOURCE_GRAPHS_DIR);
	for (size_t i = 0; i < sizeof folds / sizeof *folds; i++) {
		struct graph *graph = read_graph(
			path, NULL, SET({"mesh.tensor", folds[i].tensor}, {"mesh.experts", folds[i].experts}));
		assert_string_equal(steps(&graph->layer, text, sizeof text), folds[i].layer);
		assert_int_equal(graph->layer.step[3].how, graph->mesh.groups == 1 ? HOW_LOCAL : HOW_ALL_TO_ALL);
		graph_destroy(graph);
	}
}

static void overrides_reach_every_kind_of_key(void **state)
{
	struct graph *graph = read_graph("tp2_ep2_pp2", NULL,
		SET({"schedule.slots", "7"}, {"compute", "fp32"}, {"kv.pages", "0x20"}, {"mesh.place", "()"},
			{"mesh.layers", "[ 12, 4 ]"}, {"machine.devices[0].memory", "80000000000"},
			{"layer[0].over", "\"tensor\""}, {"schedule.prefill", "{ tokens = 64; micro_batches = 3; }"},
			{"require.ttft_s", "2"}, {"residual", "bf16"}, {"schedule.slots", "9"},
			{"graph", "renamed-1.x"}, {"limits.sequences", "5"}));
	(void) state;
	assert_int_equal(graph->schedule.slots, 9); /* the last one counts */
	assert_int_equal(graph->compute, DTYPE_FP32);
	assert_int_equal(graph->kv.dtype, DTYPE_FP16); /* given in the file */
	assert_int_equal(graph->kv.pages, 32);
	assert_int_equal(graph->placements, 0);
	assert_int_equal(graph->mesh.first_layer[1], 12);
	assert_true(graph->machine.device[3].memory == 80e9);
	assert_int_equal(graph->schedule.prefill_tokens, 64);
	assert_int_equal(graph->schedule.prefill_micro_batches, 3);
	assert_true(graph->requirement[0].limit == 2);
	assert_string_equal(graph->requirement[0].place.file, "--set require.ttft_s");
	assert_int_equal(graph->residual, DTYPE_BF16);
	assert_string_equal(graph->name, "renamed-1.x");
	assert_int_equal(graph->limits.sequences, 5);
	graph_destroy(graph);
	/* groups and elements that the file lacks are made */
	graph = read_graph("one_device", NULL,
		SET({"schedule.decode.micro_batches", "3"}, {"mesh.place[0].device", "2"}, {"kv.dtype", "bf16"}));
	assert_int_equal(graph->schedule.decode_micro_batches, 3);
	assert_int_equal(graph->mesh.part[0].device, 2);
	assert_int_equal(graph->kv.dtype, DTYPE_BF16);
	graph_destroy(graph);
}

static void large_integers_are_whole(void **state)
{
	struct graph *graph =
		read_text("@include \"plan/model.cfg\"\nmachine = { devices = ( { flops = 400000000000000; bandwidth = "
			  "1800000000000L; "
			  "memory = 0xEE6B28000; } ); };\nrequire = { workload = { seed = 9000000000000000000; }; };\n",
			NULL);
	(void) state;
	assert_true(graph->machine.device[0].flops == 4e14);
	assert_true(graph->machine.device[0].bandwidth == 1.8e12);
	assert_true(graph->machine.device[0].memory == 64e9);
	assert_true(graph->workload.seed == 9000000000000000000u);
	graph_destroy(graph);
}

static void placement_names_groups_and_slices_or_finds_them(void **state)
{
	/* devices in another order than the parts; groups by order of appearance, except where named */
	struct graph *graph = read_text(
		"@include \"plan/model.cfg\"\nmesh = { tensor = 2; experts = 4; place = (\n"
		"{ device = 5; tensor = 1; experts = 0; group = 1; },\n{ device = 9; tensor = 0; experts = 3; },\n"
		"{ device = 2; tensor = 1; experts = 1; },\n{ device = 0; tensor = 0; experts = 2; } ); };\n",
		NULL);
	static const int device[] = {9, 2, 0, 5}, experts[] = {3, 1, 2, 0};
	(void) state;
	check_mesh(graph);
	assert_int_equal(graph->machine.devices, 10); /* a host has as many as are named */
	for (int i = 0; i < 4; i++) {
		assert_int_equal(graph->mesh.part[i].device, device[i]);
		assert_int_equal(graph->mesh.part[i].experts, experts[i]);
	}
	graph_destroy(graph);

	graph = read_text("@include \"plan/model.cfg\"\nmesh = { tensor = 4; experts = 2; place = (\n"
			  "{ device = 0; tensor = 0; experts = 1; expert_slice = 1; },\n{ device = 1; tensor = 1; "
			  "experts = 0; },\n"
			  "{ device = 2; tensor = 2; experts = 1; },\n{ device = 3; tensor = 3; experts = 0; } ); };\n",
		NULL);
	check_mesh(graph);
	assert_int_equal(graph->mesh.part[0].slice, 1);
	assert_int_equal(graph->mesh.part[2].slice, 0);
	assert_int_equal(graph->mesh.part[1].slice, 0);
	assert_int_equal(graph->mesh.part[3].slice, 1);
	graph_destroy(graph);
}

static void olmoe_gets_its_halves_of_attention(void **state)
{
	struct model model;
	char text[512];
	(void) state;
	read_model("olmoe", &model);
	struct graph *graph = read_graph("tp2_ep2_pp2", &model, NULL, 0);
	assert_string_equal(steps(&graph->layer, text, sizeof text),
		"qkv all_reduce attend reduce_scatter route dispatch experts combine all_gather");
	assert_true(graph->layer.step[0].inserted && graph->layer.step[1].inserted && graph->layer.step[2].inserted);
	assert_false(graph->layer.step[3].inserted);
	assert_int_equal(graph->layer.step[1].takes, FORM_QKV);
	assert_int_equal(graph->layer.step[1].over, OVER_TENSOR);
	assert_int_equal(graph->layer.step[2].leaves, FORM_PARTIAL);
	graph_destroy(graph);
	graph = read_graph("stages_only", &model, NULL, 0); /* one rank has all heads */
	assert_string_equal(steps(&graph->layer, text, sizeof text),
		"attention all_reduce route dispatch experts combine all_reduce");
	graph_destroy(graph);
	graph = read_graph("tensor_only", &model,
		SET({"layer", "({task=\"qkv\";},{task=\"all_reduce\";over=\"tensor\";},{task=\"attend\";},{task=\"all_"
			      "reduce\";over=\"tensor\";},"
			      "{task=\"route\";},{task=\"dispatch\";how=\"local\";},{task=\"experts\";},{task="
			      "\"combine\";how=\"local\";},"
			      "{task=\"all_reduce\";over=\"experts\";})"}));
	assert_int_equal(graph->layer.count, 9);
	assert_false(graph->layer.step[0].inserted);
	graph_destroy(graph);
}

static void layers_of_two_kinds_have_two_chains(void **state)
{
	struct model model;
	(void) state;
	read_model("qwen2_moe", &model);
	struct graph *graph = read_graph("tp2_ep2_pp2", &model, NULL, 0);
	int dense = 0;
	for (int l = 0; l < model.layers; l++)
		dense += graph_chain_of(graph, l) == &graph->dense_layer;
	assert_int_equal(dense, model_dense_layers(&model));
	assert_true(dense > 0 && dense < model.layers);
	assert_int_equal(graph->dense_layer.step[3].takes, FORM_PARTIAL_STAGE);
	graph_destroy(graph);
}

static void send_before_gather_sends_shards(void **state)
{
	struct graph *graph = read_graph("send_shards", NULL, NULL, 0);
	(void) state;
	assert_true(graph->between_before_gather);
	assert_int_equal(graph->between_stages.step[0].takes, FORM_SHARDED);
	assert_int_equal(graph->layer.step[6].takes, FORM_SHARDED);
	graph_destroy(graph);
	graph = read_graph("tp2_ep2_pp2", NULL, NULL, 0);
	assert_int_equal(graph->between_stages.step[0].takes, FORM_REPLICATED);
	graph_destroy(graph);
}

static void the_default_graph_fits_the_cores(void **state)
{
	static const struct {
		int cores, tensor, experts;
	} plan[] = {{1, 1, 1}, {2, 2, 1}, {3, 2, 1}, {4, 4, 2}, {6, 4, 2}, {8, 8, 4}, {64, 16, 8}, {1000, 16, 8}};
	struct graph *card = read_graph("tp2_ep2_pp2", NULL, NULL, 0), *graph;
	struct error error = {0};
	(void) state;
	for (size_t i = 0; i < sizeof plan / sizeof *plan; i++) {
		assert_int_equal(graph_default(&card->model, plan[i].cores, &task_kinds, NULL, 0, &graph, &error), 0);
		assert_int_equal(graph_resolve(graph, &card->model, &task_kinds, &error), 0);
		assert_int_equal(graph->mesh.tensor, plan[i].tensor);
		assert_int_equal(graph->mesh.experts, plan[i].experts);
		assert_string_equal(graph->path, "");
		graph_destroy(graph);
	}
	/* what is given stays, what is not is chosen around it */
	assert_int_equal(graph_default(&card->model, 8, &task_kinds, SET({"mesh.stages", "2"}, {"mesh.tensor", "2"}),
				 &graph, &error),
		0);
	assert_int_equal(graph_resolve(graph, &card->model, &task_kinds, &error), 0);
	assert_int_equal(graph->mesh.tensor, 2);
	assert_int_equal(graph->mesh.experts, 4);
	assert_int_equal(graph->mesh.devices, 8);
	graph_destroy(graph);
	static const struct {
		const char *path, *value;
		int cores, tensor, experts, per_stage;
	} given[] = {
		{"mesh.experts", "8", 4, 8, 8, 8}, /* more devices than cores, because they are asked for */
		{"mesh.experts", "2", 6, 4, 2, 4},
		{"mesh.tensor", "8", 2, 8, 4, 8},
		{"mesh.expert_tensor", "3", 6, 2, 2, 6},
		{"mesh.expert_tensor", "2", 4, 4, 2, 4},
	};
	for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
		struct graph_override override = {given[i].path, given[i].value};
		assert_int_equal(
			graph_default(&card->model, given[i].cores, &task_kinds, &override, 1, &graph, &error), 0);
		assert_int_equal(graph_resolve(graph, &card->model, &task_kinds, &error), 0);
		assert_int_equal(graph->mesh.tensor, given[i].tensor);
		assert_int_equal(graph->mesh.experts, given[i].experts);
		assert_int_equal(graph->mesh.per_stage, given[i].per_stage);
		graph_destroy(graph);
	}
	assert_int_equal(
		graph_default(&card->model, 2, &task_kinds, SET({"mesh.tensr", "2"}), &graph, &error), ERROR_INPUT);
	for (size_t f = 0; f < sizeof families / sizeof *families; f++)
		for (int cores = 1; cores <= 9; cores++) {
			struct model model;
			read_model(families[f], &model);
			error = (struct error){0};
			assert_int_equal(graph_default(&model, cores, &task_kinds, NULL, 0, &graph, &error), 0);
			if (graph_resolve(graph, &model, &task_kinds, &error))
				fail_msg("%s on %d cores: %s", families[f], cores, error.text);
			assert_true(graph->mesh.devices <= cores);
			graph_destroy(graph);
		}
	graph_destroy(card);
}

static void differences_of_card_and_checkpoint_are_listed(void **state)
{
	struct model model;
	struct graph *graph = read_graph("tp2_ep2_pp2", NULL, NULL, 0);
	char text[256];
	int i = 0;
	(void) state;
	assert_int_equal(graph_card_differs(graph, &graph->card, 0, text, sizeof text), 0);
	model = graph->card;
	model.layers = 12;
	model.dtype = DTYPE_BF16;
	assert_int_equal(graph_card_differs(graph, &model, 0, text, sizeof text), 1);
	assert_string_equal(text, "dtype bf16 (card fp16)");
	assert_int_equal(graph_card_differs(graph, &model, 1, text, sizeof text), 1);
	assert_string_equal(text, "layers 12 (card 16)");
	assert_int_equal(graph_card_differs(graph, &model, 2, text, sizeof text), 0);
	read_model("llama", &model);
	while (graph_card_differs(graph, &model, i, text, sizeof text))
		i++;
	assert_true(i > 6);
	graph_destroy(graph);
}

static void a_card_written_is_read_again(void **state)
{
	(void) state;
	for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
		struct model model;
		char *text, difference[256];
		size_t size;
		read_model(families[f], &model);
		strcpy(model.name, "a \"quoted\\ name\"");
		FILE *file = open_memstream(&text, &size);
		assert_non_null(file);
		model_card_write(&model, file);
		fclose(file);
		struct graph *graph = read_text(text, NULL);
		assert_string_equal(graph->model.name, model.name);
		assert_int_equal(graph_card_differs(graph, &model, 0, difference, sizeof difference), 0);
		assert_true(
			graph->model.rope.theta == model.rope.theta && graph->model.norm_epsilon == model.norm_epsilon);
		assert_int_equal(graph->model.qk_norm, model.qk_norm);
		assert_int_equal(graph->model.qkv_bias, model.qkv_bias);
		assert_int_equal(graph->model.tied_embeddings, model.tied_embeddings);
		assert_int_equal(graph->model.normalize_top_k, model.normalize_top_k);
		assert_memory_equal(graph->model.dense, model.dense, (size_t) model.layers * sizeof *model.dense);
		graph_destroy(graph);
		free(text);
	}
}

static void limits_are_the_models_too(void **state)
{
	struct model model;
	(void) state;
	read_model("mixtral", &model);
	struct graph *graph = read_graph("tp2_ep2_pp2", &model, NULL, 0);
	assert_int_equal(graph->limits.tokens_per_sequence, model.max_positions);
	assert_int_equal(graph->limits.tokens_described, 10240);
	assert_int_equal(graph->workload.prompt_max, model.max_positions - 128);
	graph_destroy(graph);
	/* --max-seq-len shortens the workload, which the file's own limits must agree with */
	graph = read_graph("tp2_ep2_pp2", NULL, SET({"limits.tokens_per_sequence", "256"}));
	assert_int_equal(graph->workload.prompt_min, 128);
	assert_int_equal(graph->workload.prompt_max, 128);
	graph_destroy(graph);
	graph = read_graph("tp2_ep2_pp2", NULL, SET({"limits.tokens_per_sequence", "9"}));
	assert_int_equal(graph->workload.prompt_max + graph->workload.new_tokens, 9);
	graph_destroy(graph);
}

static void accounts_are_the_plans_closed_forms(void **state)
{
	struct graph *graph = read_graph("tp2_ep2_pp2", NULL, NULL, 0);
	struct account accounts[MESH_MAX_DEVICES];
	double parameters = 0;
	(void) state;
	accounts_make(graph, accounts);
	for (int i = 0; i < 4; i++) {
		parameters += accounts[i].parameters;
		assert_true(accounts[i].limit == 64e9);
	}
	/* all parameters once; twice what both shards of a stage hold: norms, routers, the embedding table */
	struct model_parameters count;
	model_count_parameters(&graph->model, &count);
	assert_true(parameters == count.total + count.embedding + count.router + count.norms);
	graph_destroy(graph);

	/* the parts of every mesh add up to one model, once what is replicated is taken off: on one device */
	for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
		struct model model;
		read_model(families[f], &model);
		graph = read_graph("one_device", &model, NULL, 0);
		model_count_parameters(&model, &count);
		accounts_make(graph, accounts);
		if (fabs(accounts[0].parameters - count.total) > 0.5)
			fail_msg("%s: %.0f parameters on one device, the model has %.0f", families[f],
				accounts[0].parameters, count.total);
		graph_destroy(graph);
	}
	graph = read_graph("experts_only", NULL, SET({"limits.sequences", "3"}, {"kv.dtype", "fp16"}));
	assert_true(accounts_pages(graph) == 2 * 640); /* a group of two has one or two of three sequences */
	graph_destroy(graph);
}

static void the_language_reference_has_every_key_and_kind(void **state)
{
	char *table, *document = malloc(1 << 17), path[512];
	size_t size, length;
	(void) state;
	FILE *file = open_memstream(&table, &size);
	assert_non_null(file);
	graph_keys_write(file);
	form_kinds_write(task_kinds.kind, task_kinds.count, file);
	fclose(file);
	snprintf(path, sizeof path, "%s/README.md", OCTANT_SOURCE_GRAPHS_DIR);
	file = fopen(path, "r");
	assert_non_null(file);
	length = fread(document, 1, (1 << 17) - 1, file);
	document[length] = '\0';
	fclose(file);
	for (char *save, *row = strtok_r(table, "\n", &save); row; row = strtok_r(NULL, "\n", &save))
		if (!strstr(document, row))
			fail_msg("graphs/README.md lacks the row %s (`octant graph keys` and `octant graph kinds` "
				 "write them)",
				row);
	free(table);
	free(document);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shipped_graphs_are_right),
		cmocka_unit_test(shipped_graphs_take_other_models),
		cmocka_unit_test(the_plan_is_what_it_says),
		cmocka_unit_test(what_is_left_out_has_the_schemas_default),
		cmocka_unit_test(default_chains_follow_the_fold),
		cmocka_unit_test(overrides_reach_every_kind_of_key),
		cmocka_unit_test(large_integers_are_whole),
		cmocka_unit_test(placement_names_groups_and_slices_or_finds_them),
		cmocka_unit_test(olmoe_gets_its_halves_of_attention),
		cmocka_unit_test(layers_of_two_kinds_have_two_chains),
		cmocka_unit_test(send_before_gather_sends_shards),
		cmocka_unit_test(the_default_graph_fits_the_cores),
		cmocka_unit_test(the_default_graph_has_a_name),
		cmocka_unit_test(compute_is_chosen_where_it_is_not_given),
		cmocka_unit_test(differences_of_card_and_checkpoint_are_listed),
		cmocka_unit_test(a_card_written_is_read_again),
		cmocka_unit_test(limits_are_the_models_too),
		cmocka_unit_test(accounts_are_the_plans_closed_forms),
		cmocka_unit_test(the_language_reference_has_every_key_and_kind),
	};
	return cmocka_run_group_tests_name("graph", tests, NULL, NULL);
}
