/* SPDX-License-Identifier: Apache-2.0
 *
 * Checkpoints: every golden model's tensors under their roles, experts apart or fused, tied heads, shards; and what is
 * missing, of the wrong shape or type, or points out of its folder. */
#include "runtime/checkpoint.h"
#include "tests/scratch.h"
#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static char folder[SCRATCH_PATH];

/* --- a checkpoint made here ------------------------------------------------------------------------------------- */

struct made { /* a tensor: shape ends with 0; `value` is its first element, the next ones count up */
	const char *name;
	int shape[4];
	float value;
	const char *type; /* NULL: "F32" */
};

static size_t elements_of(const struct made *tensor)
{
	size_t n = 1;
	for (int i = 0; tensor->shape[i]; i++)
		n *= (size_t) tensor->shape[i];
	return n;
}

static void write_tensors(const char *name, const struct made *tensor, int count)
{
	char *header = calloc(1, 65536), *bytes;
	size_t at = (size_t) sprintf(header, "{"), offset = 0;
	for (int i = 0; i < count; i++) {
		at += (size_t) sprintf(header + at, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i ? "," : "",
			tensor[i].name, tensor[i].type ? tensor[i].type : "F32");
		for (int d = 0; tensor[i].shape[d]; d++)
			at += (size_t) sprintf(header + at, "%s%d", d ? "," : "", tensor[i].shape[d]);
		at += (size_t) sprintf(header + at, "],\"data_offsets\":[%zu,%zu]}", offset,
			offset + 4 * elements_of(&tensor[i]));
		offset += 4 * elements_of(&tensor[i]);
	}
	at += (size_t) sprintf(header + at, "}");
	while (at % 8)
		header[at++] = ' ';
	bytes = malloc(8 + at + offset);
	uint64_t length = at;
	memcpy(bytes, &length, 8);
	memcpy(bytes + 8, header, at);
	for (int i = 0; i < count; i++)
		for (size_t e = 0; e < elements_of(&tensor[i]); e++, at += 4) {
			float value = tensor[i].value + (float) e;
			memcpy(bytes + 8 + at, &value, 4);
		}
	scratch_write(folder, name, bytes, 8 + at);
	free(bytes);
	free(header);
}

/* One layer: h = 4, two heads of 2, one KV head, vocab 3, two experts of 3. */
static const char *const mixtral_config =
	"{\"model_type\": \"mixtral\", \"hidden_size\": 4, \"num_hidden_layers\": 1, \"num_attention_heads\": 2,\n"
	"\"num_key_value_heads\": 1, \"intermediate_size\": 3, \"num_local_experts\": 2, \"vocab_size\": 3,\n"
	"\"torch_dtype\": \"bfloat16\"}";

#define COMMON \
	{ "model.embed_tokens.weight", { 3, 4 }, 10, NULL }, { "model.norm.weight", { 4 }, 20, NULL }, \
		{ "lm_head.weight", { 3, 4 }, 30, NULL }, { "model.layers.0.input_layernorm.weight", { 4 }, 40, NULL }, \
		{ "model.layers.0.self_attn.q_proj.weight", { 4, 4 }, 50, NULL }, \
		{ "model.layers.0.self_attn.k_proj.weight", { 2, 4 }, 70, NULL }, \
		{ "model.layers.0.self_attn.v_proj.weight", { 2, 4 }, 80, NULL }, \
		{ "model.layers.0.self_attn.o_proj.weight", { 4, 4 }, 90, NULL }, \
		{ "model.layers.0.post_attention_layernorm.weight", { 4 }, 110, NULL }

static const struct made mixtral[] = {
	COMMON,
	{ "model.layers.0.block_sparse_moe.gate.weight", { 2, 4 }, 120, NULL },
	{ "model.layers.0.block_sparse_moe.experts.0.w1.weight", { 3, 4 }, 1000, NULL },
	{ "model.layers.0.block_sparse_moe.experts.0.w3.weight", { 3, 4 }, 1012, NULL },
	{ "model.layers.0.block_sparse_moe.experts.1.w1.weight", { 3, 4 }, 1024, NULL },
	{ "model.layers.0.block_sparse_moe.experts.1.w3.weight", { 3, 4 }, 1036, NULL },
	{ "model.layers.0.block_sparse_moe.experts.0.w2.weight", { 4, 3 }, 2000, NULL },
	{ "model.layers.0.block_sparse_moe.experts.1.w2.weight", { 4, 3 }, 2012, NULL },
	{ "model.layers.0.self_attn.rotary_emb.inv_freq", { 1 }, 1, NULL }, /* not needed, in many old checkpoints */
	{ "model.extra", { 1, 2 }, 1, "I32" },
};

/* The same numbers, as transformers writes them with save_original_format = False. */
static const struct made fused[] = {
	COMMON,
	{ "model.layers.0.mlp.gate.weight", { 2, 4 }, 120, NULL },
	{ "model.layers.0.mlp.experts.gate_up_proj", { 2, 6, 4 }, 1000, NULL },
	{ "model.layers.0.mlp.experts.down_proj", { 2, 4, 3 }, 2000, NULL },
};

enum { MIXTRAL = sizeof mixtral / sizeof *mixtral, FUSED = sizeof fused / sizeof *fused };

static struct checkpoint *open_good(const char *directory)
{
	struct error error = {0};
	struct checkpoint *checkpoint = NULL;
	int code = checkpoint_open(directory, &checkpoint, &error);
	if (!code)
		code = checkpoint_check(checkpoint, &error);
	if (code)
		fail_msg("%s: %s: %s", directory, error.where, error.text);
	return checkpoint;
}

static void expect(const struct checkpoint *checkpoint, enum checkpoint_role role, int expert, int rows, int columns,
	float first)
{
	struct tensor_view view;
	struct error error = {0};
	if (checkpoint_find(checkpoint, role, 0, expert, &view, &error))
		fail_msg("role %d: %s: %s", (int) role, error.where, error.text);
	assert_int_equal(view.shape[0], rows);
	assert_int_equal(view.shape[1], columns);
	assert_int_equal(view.row_stride, columns);
	assert_int_equal(view.dtype, DTYPE_FP32);
	assert_float_equal(*(const float *) view.data, first, 0);
	assert_float_equal(((const float *) tensor_row(&view, rows - 1))[columns - 1], first + (float) (rows * columns - 1),
		0);
}

static void expect_mixtral(const struct checkpoint *checkpoint)
{
	expect(checkpoint, CHECKPOINT_EMBEDDING, 0, 3, 4, 10);
	expect(checkpoint, CHECKPOINT_FINAL_NORM, 0, 1, 4, 20);
	expect(checkpoint, CHECKPOINT_HEAD, 0, 3, 4, 30);
	expect(checkpoint, CHECKPOINT_INPUT_NORM, 0, 1, 4, 40);
	expect(checkpoint, CHECKPOINT_Q, 0, 4, 4, 50);
	expect(checkpoint, CHECKPOINT_K, 0, 2, 4, 70);
	expect(checkpoint, CHECKPOINT_V, 0, 2, 4, 80);
	expect(checkpoint, CHECKPOINT_O, 0, 4, 4, 90);
	expect(checkpoint, CHECKPOINT_POST_NORM, 0, 1, 4, 110);
	expect(checkpoint, CHECKPOINT_ROUTER, 0, 2, 4, 120);
	for (int e = 0; e < 2; e++) {
		expect(checkpoint, CHECKPOINT_EXPERT_GATE, e, 3, 4, 1000 + 24 * (float) e);
		expect(checkpoint, CHECKPOINT_EXPERT_UP, e, 3, 4, 1012 + 24 * (float) e);
		expect(checkpoint, CHECKPOINT_EXPERT_DOWN, e, 4, 3, 2000 + 12 * (float) e);
	}
}

static void roles_have_the_hubs_names(void **state)
{
	(void) state;
	struct checkpoint_summary summary;
	struct tensor_view view;
	struct error error = {0};
	scratch_text(folder, "config.json", mixtral_config);
	write_tensors("model.safetensors", mixtral, MIXTRAL);
	struct checkpoint *checkpoint = open_good(folder);
	expect_mixtral(checkpoint);
	assert_int_equal(checkpoint_model(checkpoint)->dtype, DTYPE_FP32); /* what is stored, not what config.json says */
	assert_string_equal(checkpoint_directory(checkpoint), folder);
	checkpoint_summarize(checkpoint, &summary);
	assert_int_equal(summary.shards, 1);
	assert_int_equal(summary.tensors, MIXTRAL);

	assert_false(checkpoint_has(checkpoint_model(checkpoint), CHECKPOINT_Q_BIAS, 0));
	assert_false(checkpoint_has(checkpoint_model(checkpoint), CHECKPOINT_MLP_UP, 0));
	assert_false(checkpoint_has(checkpoint_model(checkpoint), CHECKPOINT_Q, 1));
	assert_true(checkpoint_has(checkpoint_model(checkpoint), CHECKPOINT_HEAD, -1));
	assert_int_equal(checkpoint_find(checkpoint, CHECKPOINT_Q_BIAS, 0, 0, &view, &error), ERROR_INPUT);
	assert_int_equal(checkpoint_find(checkpoint, CHECKPOINT_Q, 1, 0, &view, NULL), ERROR_INPUT);
	assert_int_equal(checkpoint_find(checkpoint, CHECKPOINT_EXPERT_UP, 0, 2, &view, NULL), ERROR_INPUT);
	assert_int_equal(checkpoint_find(checkpoint, CHECKPOINT_EXPERT_UP, 0, -1, &view, NULL), ERROR_INPUT);
	assert_int_equal(checkpoint_find(checkpoint, CHECKPOINT_ROLES, 0, 0, &view, NULL), ERROR_INPUT);
	checkpoint_close(checkpoint);
	checkpoint_close(NULL);
}

static void experts_may_be_fused(void **state)
{
	(void) state;
	scratch_text(folder, "config.json", mixtral_config);
	write_tensors("model.safetensors", fused, FUSED);
	struct checkpoint *checkpoint = open_good(folder);
	expect_mixtral(checkpoint);
	/* an infinite weight is named by its place in the tensor that the file has */
	struct made bad[FUSED];
	memcpy(bad, fused, sizeof bad);
	bad[10].value = INFINITY; /* and so all of them; the first of expert 1's up projection is in row 9 */
	checkpoint_close(checkpoint);
	write_tensors("model.safetensors", bad, FUSED);
	checkpoint = open_good(folder);
	struct tensor_view view;
	struct error error = {0};
	assert_int_equal(checkpoint_find(checkpoint, CHECKPOINT_EXPERT_UP, 0, 1, &view, &error), 0);
	assert_int_equal(tensor_check_finite(&view, 0, 3, &error), ERROR_INPUT);
	assert_non_null(strstr(error.text, "\"model.layers.0.mlp.experts.gate_up_proj\": element [9, 0] is infinity"));
	checkpoint_close(checkpoint);
}

static void shards_are_found_by_the_index(void **state)
{
	(void) state;
	char index[8192];
	size_t at = (size_t) sprintf(index, "{\"metadata\": {}, \"weight_map\": {");
	scratch_text(folder, "config.json", mixtral_config);
	unlink(scratch_path(folder, "model.safetensors"));
	write_tensors("model-1.safetensors", mixtral, 7);
	write_tensors("model-2.safetensors", mixtral + 7, MIXTRAL - 7);
	for (int i = 0; i < MIXTRAL; i++)
		at += (size_t) sprintf(
			index + at, "%s\n\"%s\": \"model-%d.safetensors\"", i ? "," : "", mixtral[i].name, i < 7 ? 1 : 2);
	sprintf(index + at, "}}");
	scratch_text(folder, "model.safetensors.index.json", index);
	struct checkpoint *checkpoint = open_good(folder);
	struct checkpoint_summary summary;
	expect_mixtral(checkpoint);
	checkpoint_summarize(checkpoint, &summary);
	assert_int_equal(summary.shards, 2);
	assert_int_equal(summary.tensors, MIXTRAL);
	checkpoint_close(checkpoint);
}

static void refuse(const char *where, const char *words, const char *more)
{
	struct error error = {0};
	struct checkpoint *checkpoint = NULL;
	int code = checkpoint_open(folder, &checkpoint, &error);
	if (!code)
		code = checkpoint_check(checkpoint, &error);
	if (code != ERROR_INPUT || !strstr(error.where, where) || !strstr(error.text, words) || !strstr(error.text, more))
		fail_msg("\"%s\" expected: code %d, %s: %s", words, code, error.where, error.text);
	checkpoint_close(checkpoint);
}

static void lying_indices_are_refused(void **state)
{
	(void) state;
	const char *name = "model.safetensors.index.json";
	scratch_text(folder, name, "{\"weight_map\": {\"a\": \"../model-1.safetensors\"}}");
	refuse(name, "../model-1.safetensors", "plain name");
	scratch_text(folder, name, "{\"weight_map\": {\"a\": \"/etc/passwd\"}}");
	refuse(name, "/etc/passwd", "plain name");
	scratch_text(folder, name, "{\"weight_map\": {\"a\": \"..\"}}");
	refuse(name, "\"..\"", "plain name");
	scratch_text(folder, name, "{\"weight_map\": {\"a\": \"\"}}");
	refuse(name, "\"\"", "plain name");
	scratch_text(folder, name, "{\n\"weight_map\": {\n\"a\": 3}}");
	refuse("index.json:3", "\"a\"", "must name a file");
	scratch_text(folder, name, "{\"weight_map\": {}}");
	refuse(name, "no weight_map", "which file");
	scratch_text(folder, name, "{\"weight_map\": []}");
	refuse(name, "weight_map is a list", "an object");
	scratch_text(folder, name, "{}");
	refuse(name, "no weight_map", "");
	scratch_text(folder, name, "{\n\"weight_map\": {\"a\"");
	refuse("index.json:2", "not valid JSON", "");
	scratch_text(folder, name, "{\"weight_map\": {\"a\": \"model-9.safetensors\"}}");
	refuse("model-9.safetensors", "cannot be opened", "No such file");
	scratch_text(folder, name, "{\"weight_map\": {\"model.embed_tokens.weight\": \"model-2.safetensors\"}}");
	refuse("model-2.safetensors", "no tensor \"model.embed_tokens.weight\"", "says is here");
	scratch_text(folder, name, "{\"weight_map\": {\"model.norm.weight\": \"model-1.safetensors\"}}");
	refuse(folder, "no tensor \"model.embed_tokens.weight\"", "mixtral model of 1 layers needs");
	unlink(scratch_path(folder, name));
	refuse(folder, "neither model.safetensors nor", "index.json");
	scratch_text(folder, "pytorch_model.bin", "x");
	refuse(folder, "has pytorch_model.bin", "save_pretrained");
	unlink(scratch_path(folder, "pytorch_model.bin"));
}

static void missing_and_misshapen_tensors_are_named(void **state)
{
	(void) state;
	struct made change[MIXTRAL];
	scratch_text(folder, "config.json", mixtral_config);
	for (int i = 0; i < MIXTRAL - 2; i++) { /* the last two are not needed */
		char quoted[128], needed[64];
		int d = mixtral[i].shape[1] ? 1 : 0;
		memcpy(change, mixtral, sizeof change);
		snprintf(quoted, sizeof quoted, "\"%s\"", mixtral[i].name);
		change[i].name = "another";
		write_tensors("model.safetensors", change, MIXTRAL);
		refuse(folder, quoted, "has no tensor");
		change[i] = mixtral[i];
		change[i].shape[d]++;
		if (d)
			snprintf(needed, sizeof needed, "has shape [%d, %d]; by config.json it must be [%d, %d]",
				change[i].shape[0], change[i].shape[1], mixtral[i].shape[0], mixtral[i].shape[1]);
		else
			snprintf(needed, sizeof needed, "has shape [%d]; by config.json it must be [%d]", change[i].shape[0],
				mixtral[i].shape[0]);
		write_tensors("model.safetensors", change, MIXTRAL);
		refuse("model.safetensors", quoted, needed);
		change[i] = mixtral[i];
		change[i].type = "I32";
		write_tensors("model.safetensors", change, MIXTRAL);
		refuse("model.safetensors", quoted, "type I32; weights must be F32, F16 or BF16");
	}
	memcpy(change, mixtral, sizeof change);
	change[1].shape[1] = 1; /* [4, 1] is not [4] */
	write_tensors("model.safetensors", change, MIXTRAL);
	refuse("model.safetensors", "has shape [4, 1]", "must be [4]");
	change[1].shape[0] = 2;
	change[1].shape[1] = 2;
	write_tensors("model.safetensors", change, MIXTRAL);
	refuse("model.safetensors", "has shape [2, 2]", "must be [4]");
	struct made whole[FUSED];
	memcpy(whole, fused, sizeof whole);
	whole[10].shape[0] = 1;
	write_tensors("model.safetensors", whole, FUSED);
	refuse("model.safetensors", "gate_up_proj\" has shape [1, 6, 4]", "[2, 6, 4]");
}

static void heads_may_be_tied(void **state)
{
	(void) state;
	char config[512];
	struct made change[MIXTRAL];
	snprintf(config, sizeof config, "{\"tie_word_embeddings\": true, %s", mixtral_config + 1);
	scratch_text(folder, "config.json", config);
	memcpy(change, mixtral, sizeof change);
	change[2].name = "not.the.head";
	write_tensors("model.safetensors", change, MIXTRAL);
	struct checkpoint *checkpoint = open_good(folder);
	assert_true(checkpoint_model(checkpoint)->tied_embeddings);
	expect(checkpoint, CHECKPOINT_HEAD, 0, 3, 4, 10);
	checkpoint_close(checkpoint);
	memcpy(change, mixtral, sizeof change);
	change[0].name = "not.the.embedding"; /* one of the two names is enough */
	write_tensors("model.safetensors", change, MIXTRAL);
	checkpoint = open_good(folder);
	expect(checkpoint, CHECKPOINT_HEAD, 0, 3, 4, 30);
	expect(checkpoint, CHECKPOINT_EMBEDDING, 0, 3, 4, 30);
	checkpoint_close(checkpoint);
	memcpy(change, mixtral, sizeof change);
	change[2].value = change[0].value; /* both, and the same */
	write_tensors("model.safetensors", change, MIXTRAL);
	checkpoint = open_good(folder);
	assert_true(checkpoint_model(checkpoint)->tied_embeddings);
	checkpoint_close(checkpoint);
	write_tensors("model.safetensors", mixtral, MIXTRAL); /* both, and they differ: transformers does not tie them */
	checkpoint = open_good(folder);
	assert_false(checkpoint_model(checkpoint)->tied_embeddings);
	expect(checkpoint, CHECKPOINT_HEAD, 0, 3, 4, 30);
	expect(checkpoint, CHECKPOINT_EMBEDDING, 0, 3, 4, 10);
	checkpoint_close(checkpoint);
	memcpy(change, mixtral, sizeof change);
	change[0].name = "not.the.embedding";
	change[2].name = "not.the.head";
	write_tensors("model.safetensors", change, MIXTRAL);
	refuse(folder, "no tensor \"model.embed_tokens.weight\"", "needs");
	scratch_text(folder, "config.json", mixtral_config);
	change[0].name = mixtral[0].name;
	write_tensors("model.safetensors", change, MIXTRAL);
	refuse(folder, "no tensor \"lm_head.weight\"", "tie_word_embeddings is false");
}

/* --- what transformers wrote -------------------------------------------------------------------------------------- */

/* Every tensor of a golden model is needed and is found: as many views as tensors, no two on the same bytes, together
 * as many numbers as parameters are counted. */
static void check_golden(const char *directory)
{
	struct checkpoint *checkpoint = open_good(directory);
	const struct model *model = checkpoint_model(checkpoint);
	struct checkpoint_summary summary;
	struct model_parameters parameters;
	double numbers = 0, bytes = 0;
	int views = 0;

	for (int role = 0; role < CHECKPOINT_ROLES; role++)
		for (int l = 0; l < (role < CHECKPOINT_INPUT_NORM ? 1 : model->layers); l++)
			for (int e = 0; e < (role < CHECKPOINT_EXPERT_GATE ? 1 : model->experts); e++) {
				struct tensor_view view;
				struct error error = {0};
				if (!checkpoint_has(model, (enum checkpoint_role) role, l) ||
					(role == CHECKPOINT_HEAD && model->tied_embeddings))
					continue;
				assert_int_equal(checkpoint_find(checkpoint, (enum checkpoint_role) role, l, e, &view, &error), 0);
				checkpoint_will_need(&view);
				if (tensor_check_finite(&view, 0, view.shape[0], &error))
					fail_msg("%s: %s", error.where, error.text);
				numbers += (double) (view.shape[0] * view.shape[1]);
				bytes += (double) (view.shape[0] * view.shape[1]) * (double) dtype_bytes(view.dtype);
				views++;
			}
	checkpoint_summarize(checkpoint, &summary);
	model_count_parameters(model, &parameters);
	assert_float_equal(numbers, parameters.total, 0);
	assert_float_equal(bytes, summary.bytes, 0);
	assert_int_equal(views, summary.tensors);
	checkpoint_close(checkpoint);
}

static void golden_models_are_whole(void **state)
{
	(void) state;
	const char *models = OCTANT_TEST_DATA "/golden/models";
	bool family[MODEL_FAMILIES] = {0};
	DIR *listing = opendir(models);
	struct dirent *entry;
	assert_non_null(listing);
	while ((entry = readdir(listing))) {
		char directory[SCRATCH_PATH];
		if (entry->d_name[0] == '.')
			continue;
		snprintf(directory, sizeof directory, "%s/%s", models, entry->d_name);
		if (access(scratch_path(directory, "config.json"), F_OK))
			continue;
		struct checkpoint *checkpoint = open_good(directory);
		family[checkpoint_model(checkpoint)->family] = true;
		assert_string_equal(checkpoint_model(checkpoint)->name, entry->d_name);
		checkpoint_close(checkpoint);
		check_golden(directory);
	}
	closedir(listing);
	for (int f = 0; f < MODEL_FAMILIES; f++)
		if (!family[f])
			fail_msg("no golden model is of family %s", model_family_name((enum model_family) f));
}

static void *read_everything(void *argument)
{
	const struct checkpoint *checkpoint = argument;
	struct tensor_view view;
	intptr_t failures = 0;
	for (int round = 0; round < 200; round++)
		for (int e = 0; e < 2; e++)
			failures += checkpoint_find(checkpoint, CHECKPOINT_EXPERT_DOWN, 0, e, &view, NULL) ||
				*(const float *) view.data != 2000 + 12 * (float) e || checkpoint_check(checkpoint, NULL);
	return (void *) failures;
}

static void threads_may_share_it(void **state)
{
	(void) state;
	pthread_t thread[4];
	scratch_text(folder, "config.json", mixtral_config);
	write_tensors("model.safetensors", mixtral, MIXTRAL);
	struct checkpoint *checkpoint = open_good(folder);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, read_everything, checkpoint), 0);
	for (int i = 0; i < 4; i++) {
		void *failures;
		pthread_join(thread[i], &failures);
		assert_null(failures);
	}
	checkpoint_close(checkpoint);
}

static int make(void **state)
{
	(void) state;
	scratch_make(folder);
	return 0;
}

static int clear(void **state)
{
	(void) state;
	scratch_remove(folder);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(roles_have_the_hubs_names),
		cmocka_unit_test(experts_may_be_fused),
		cmocka_unit_test(shards_are_found_by_the_index),
		cmocka_unit_test(lying_indices_are_refused),
		cmocka_unit_test(missing_and_misshapen_tensors_are_named),
		cmocka_unit_test(heads_may_be_tied),
		cmocka_unit_test(golden_models_are_whole),
		cmocka_unit_test(threads_may_share_it),
	};
	return cmocka_run_group_tests_name("checkpoint", tests, make, clear);
}
