/* SPDX-License-Identifier: Apache-2.0
 *
 * A Hugging Face directory's config.json and generation_config.json, as a struct model. */
#include "runtime/model_config.h"
#include "runtime/json_file.h"
#include <float.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define CONFIG_LIMIT (16u << 20)

/* What config.json's `architectures` says of each family: the class with a language model head. */
static const char *const architectures[MODEL_FAMILIES] = {
	[MODEL_MIXTRAL] = "MixtralForCausalLM",
	[MODEL_OLMOE] = "OlmoeForCausalLM",
	[MODEL_QWEN2_MOE] = "Qwen2MoeForCausalLM",
	[MODEL_QWEN3_MOE] = "Qwen3MoeForCausalLM",
	[MODEL_LLAMA] = "LlamaForCausalLM",
	[MODEL_QWEN2] = "Qwen2ForCausalLM",
	[MODEL_QWEN3] = "Qwen3ForCausalLM",
};

static bool is_qwen(enum model_family family)
{
	return family == MODEL_QWEN2 || family == MODEL_QWEN2_MOE || family == MODEL_QWEN3 || family == MODEL_QWEN3_MOE;
}

static bool is_null(const struct json_file *file, const char *key)
{
	return json_is_null(json_object_get(file->root, key));
}

/* "mixtral, olmoe, …" and the nearest of them to `word`. */
static int unknown_family(const struct json_file *file, const char *key, const char *word,
	const char *(*name_of)(enum model_family), struct error *error)
{
	const char *known[MODEL_FAMILIES + 1] = {0}, *near;
	char list[256] = "";
	size_t at = 0;

	for (int i = 0; i < MODEL_FAMILIES; i++) {
		known[i] = name_of((enum model_family) i);
		at += (size_t) snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", known[i]);
	}
	near = error_nearest(word, known);
	return json_file_error(file, key, error, "%s \"%.100s\" is not supported%s%s%s; supported are %s", key, word,
		near ? " (nearest: " : "", near ? near : "", near ? ")" : "", list);
}

static const char *architecture_name(enum model_family family)
{
	return architectures[family];
}

/* By `model_type`, or, in a file without it, by `architectures`; where both are there they must agree, because a
 * model with another head (a classifier) has the same model_type. */
static int read_family(const struct json_file *file, enum model_family *family, struct error *error)
{
	const char *type = NULL, *first = NULL;
	json_t *list = NULL, *entry;
	size_t i;
	int by_type = -1, by_class = -1, code;

	code = json_file_string(file, file->root, "model_type", &type, error);
	if (!code)
		code = json_file_array(file, file->root, "architectures", &list, error);
	if (code)
		return code;
	if (type && *type) {
		by_type = model_family_parse(type);
		if (by_type < 0)
			return unknown_family(file, "model_type", type, model_family_name, error);
	}
	json_array_foreach(list, i, entry) {
		const char *word = json_string_value(entry);
		if (!word)
			return json_file_error(file, "architectures", error, "architectures must be a list of strings");
		if (!first)
			first = word;
		/* the first Llama checkpoints spell it LLaMAForCausalLM */
		for (int f = 0; f < MODEL_FAMILIES; f++)
			if (!strcasecmp(word, architectures[f]) && (by_type < 0 || f == by_type))
				by_class = f;
	}
	if (by_class >= 0)
		*family = (enum model_family) by_class;
	else if (first)
		return unknown_family(file, "architectures", first, architecture_name, error);
	else if (by_type >= 0)
		*family = (enum model_family) by_type;
	else
		return json_file_error(file, NULL, error,
			"has neither model_type nor architectures; model_type must say of which family the model is");
	return 0;
}

static int read_sizes(const struct json_file *file, struct model *model, struct error *error)
{
	const struct {
		const char *key;
		int most, *value;
	} sizes[] = { /* model_validate has the narrower limits; that of layers guards `dense` */
		{ "num_hidden_layers", MODEL_MAX_LAYERS, &model->layers },
		{ "hidden_size", INT_MAX, &model->hidden },
		{ "num_attention_heads", INT_MAX, &model->heads },
		{ "num_key_value_heads", INT_MAX, &model->kv_heads },
		{ "head_dim", INT_MAX, &model->head_dim },
		{ "vocab_size", INT_MAX, &model->vocab },
		{ "max_position_embeddings", INT_MAX, &model->max_positions },
	};

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		int code = json_file_integer(file, file->root, sizes[i].key, 1, sizes[i].most, sizes[i].value, error);
		if (code)
			return code;
	}
	if (is_null(file, "num_key_value_heads") || !model->kv_heads)
		model->kv_heads = model->heads;
	if (is_null(file, "head_dim") || !model->head_dim) {
		if (model->hidden % model->heads)
			return json_file_error(file, "hidden_size", error,
				"hidden_size %d is not a multiple of num_attention_heads %d; head_dim must be given",
				model->hidden, model->heads);
		model->head_dim = model->hidden / model->heads;
	}
	return 0;
}

/* Whether layer l has experts: not listed in mlp_only_layers, and the decoder_sparse_step-th of its group. */
static int read_dense_layers(const struct json_file *file, struct model *model, struct error *error)
{
	json_t *list = NULL, *entry;
	size_t i;
	int step = 1;
	int code = json_file_integer(file, file->root, "decoder_sparse_step", 1, INT_MAX, &step, error);

	if (!code)
		code = json_file_array(file, file->root, "mlp_only_layers", &list, error);
	if (code)
		return code;
	for (int l = 0; l < model->layers; l++)
		model->dense[l] = (l + 1) % step != 0;
	json_array_foreach(list, i, entry) {
		json_int_t l = json_integer_value(entry);
		if (!json_is_integer(entry) || l < 0)
			return json_file_error(file, "mlp_only_layers", error,
				"mlp_only_layers must be a list of layer numbers from 0");
		if (l < MODEL_MAX_LAYERS)
			model->dense[l] = true;
	}
	return 0;
}

static int read_experts(const struct json_file *file, struct model *model, struct error *error)
{
	bool qwen = is_qwen(model->family);
	const char *width = qwen ? "moe_intermediate_size" : "intermediate_size";
	int local = -1, experts = -1, code;

	code = json_file_integer(file, file->root, "num_local_experts", 0, INT_MAX, &local, error);
	if (!code)
		code = json_file_integer(file, file->root, "num_experts", 0, INT_MAX, &experts, error);
	if (code)
		return code;
	if (local >= 0 && experts >= 0 && local != experts)
		return json_file_error(file, "num_experts", error,
			"num_experts is %d and num_local_experts %d; they must be the same", experts, local);
	if (local >= 0 || experts >= 0)
		model->experts = local > experts ? local : experts;

	code = json_file_integer(file, file->root, "num_experts_per_tok", 1, INT_MAX, &model->top_k, error);
	if (!code)
		code = json_file_integer(file, file->root, width, 1, INT_MAX, &model->expert_hidden, error);
	if (!code && model->family == MODEL_QWEN2_MOE)
		code = json_file_integer(file, file->root, "shared_expert_intermediate_size", 0, INT_MAX,
			&model->shared_hidden, error);
	if (!code && model->family != MODEL_MIXTRAL)
		code = json_file_boolean(file, file->root, "norm_topk_prob", &model->normalize_top_k, error);
	if (!code && qwen)
		code = json_file_integer(file, file->root, "intermediate_size", 1, INT_MAX, &model->mlp_hidden, error);
	if (!code && qwen)
		code = read_dense_layers(file, model, error);
	if (code)
		return code;
	if (!qwen && !model->experts)
		return json_file_error(file, "num_local_experts", error,
			"the number of experts is 0; a %s model needs at least 1", model_family_name(model->family));

	/* a model whose every layer is dense has no experts, and one without dense layers no MLP */
	int dense = model_dense_layers(model);
	if (dense == model->layers) {
		model->experts = model->top_k = model->expert_hidden = model->shared_hidden = 0;
		model->normalize_top_k = false;
		memset(model->dense, true, sizeof model->dense);
	} else if (!dense) {
		model->mlp_hidden = 0;
	}
	return 0;
}

static int read_options(const struct json_file *file, struct model *model, struct error *error)
{
	double epsilon = (double) model->norm_epsilon, clip = 0;
	bool bias = false;
	int code = json_file_number(file, file->root, "rms_norm_eps", 0, 1, &epsilon, error);

	if (!code)
		code = json_file_boolean(file, file->root, "tie_word_embeddings", &model->tied_embeddings, error);
	if (!code && model->family == MODEL_LLAMA)
		code = json_file_boolean(file, file->root, "mlp_bias", &model->mlp_bias, error);
	if (!code && model->family == MODEL_QWEN2_MOE)
		code = json_file_boolean(file, file->root, "qkv_bias", &model->qkv_bias, error);
	if (!code && model->family == MODEL_OLMOE)
		code = json_file_number(file, file->root, "clip_qkv", FLT_MIN, FLT_MAX, &clip, error);
	if (!code && (model->family == MODEL_LLAMA || model->family == MODEL_OLMOE || model->family == MODEL_QWEN3 ||
			     model->family == MODEL_QWEN3_MOE)) {
		code = json_file_boolean(file, file->root, "attention_bias", &bias, error);
		model->qkv_bias = model->output_bias = bias;
	}
	if (code)
		return code;
	model->norm_epsilon = (float) epsilon;
	model->clip_qkv = (float) clip;
	if (model->family == MODEL_OLMOE && (int64_t) model->heads * model->head_dim != model->hidden)
		return json_file_error(file, "head_dim", error,
			"%d heads of %d are not as wide as hidden_size %d; OLMoE's query norm needs that",
			model->heads, model->head_dim, model->hidden);
	return 0;
}

static int read_llama3(const struct json_file *file, const json_t *rope, struct model *model, struct error *error)
{
	const struct {
		const char *key;
		double *value;
	} numbers[] = {
		{ "factor", &model->rope.factor },
		{ "low_freq_factor", &model->rope.low_frequency_factor },
		{ "high_freq_factor", &model->rope.high_frequency_factor },
		{ "original_max_position_embeddings", &model->rope.original_positions },
	};
	int code = 0;

	model->rope.original_positions = model->max_positions;
	for (int i = 0; i < 4 && !code; i++) {
		code = json_file_number(file, rope, numbers[i].key, FLT_MIN, 1e12, numbers[i].value, error);
		if (!code && *numbers[i].value <= 0)
			code = json_file_error(file, numbers[i].key, error,
				"rope of type llama3 needs %s, a number above 0", numbers[i].key);
	}
	if (!code) /* beside the rope object it counts more than inside */
		code = json_file_number(file, file->root, "original_max_position_embeddings", 1, 1e12,
			&model->rope.original_positions, error);
	if (!code && !(model->rope.high_frequency_factor > model->rope.low_frequency_factor))
		code = json_file_error(file, "high_freq_factor", error,
			"high_freq_factor %g must be above low_freq_factor %g", model->rope.high_frequency_factor,
			model->rope.low_frequency_factor);
	return code;
}

/* Two ways of writing it: rope_theta beside rope_scaling {type or rope_type, …}, or both in rope_parameters. */
static int read_rope(const struct json_file *file, struct model *model, struct error *error)
{
	const char *key = "rope_scaling", *type = NULL;
	json_t *rope = NULL;
	double partial = 1, factor = 0;
	int code = json_file_object(file, file->root, "rope_scaling", &rope, error);

	if (!code && !json_object_size(rope)) {
		key = "rope_parameters";
		rope = NULL;
		code = json_file_object(file, file->root, "rope_parameters", &rope, error);
	}
	if (!code)
		code = json_file_number(file, file->root, "rope_theta", FLT_MIN, FLT_MAX, &model->rope.theta, error);
	if (!code)
		code = json_file_number(file, file->root, "partial_rotary_factor", 0, 1, &partial, error);
	if (!code && rope) {
		code = json_file_number(file, rope, "rope_theta", FLT_MIN, FLT_MAX, &model->rope.theta, error);
		if (!code)
			code = json_file_number(file, rope, "partial_rotary_factor", 0, 1, &partial, error);
		if (!code)
			code = json_file_string(file, rope, "type", &type, error);
		if (!code)
			code = json_file_string(file, rope, "rope_type", &type, error);
	}
	if (code)
		return code;
	if (partial < 1)
		return json_file_error(file, "partial_rotary_factor", error,
			"partial_rotary_factor %g is not supported; the whole head must be turned (1)", partial);
	if (json_is_object(json_object_get(rope, "full_attention")) ||
		json_is_object(json_object_get(rope, "sliding_attention")))
		return json_file_error(
			file, key, error, "%s has parameters by layer type; one rope for all layers is supported", key);
	if (type && !strcmp(type, "llama3")) {
		model->rope.type = ROPE_LLAMA3;
		return read_llama3(file, rope, model, error);
	}
	if (type && !strcmp(type, "linear")) {
		code = json_file_number(file, rope, "factor", 0, FLT_MAX, &factor, error);
		if (code || factor == 1) /* positions divided by 1 */
			return code;
	}
	if (type && strcmp(type, "default"))
		return json_file_error(file, key, error,
			"rope of type \"%.100s\" is not supported; supported are \"default\" and \"llama3\"", type);
	if (!type && json_object_get(rope, "factor"))
		return json_file_error(file, key, error, "%s has a factor but no rope_type", key);
	return 0;
}

/* A window that no sequence outgrows has no effect, and Qwen's files name one that `use_sliding_window` turns off. */
static int refuse_window(const struct json_file *file, const struct model *model, struct error *error)
{
	int window = is_qwen(model->family) ? 4096 : INT_MAX, first = 28, code;
	bool use = !is_qwen(model->family), reached = true;
	json_t *types = NULL, *entry;
	size_t i;

	if (is_null(file, "sliding_window"))
		window = INT_MAX;
	code = json_file_integer(file, file->root, "sliding_window", 0, INT_MAX, &window, error);
	if (!code)
		code = json_file_boolean(file, file->root, "use_sliding_window", &use, error);
	if (!code)
		code = json_file_integer(file, file->root, "max_window_layers", 0, INT_MAX, &first, error);
	if (!code)
		code = json_file_array(file, file->root, "layer_types", &types, error);
	if (code)
		return code;
	json_array_foreach(types, i, entry) {
		const char *type = json_string_value(entry);
		if (!type)
			return json_file_error(file, "layer_types", error, "layer_types must be a list of strings");
		if (strcmp(type, "full_attention"))
			return json_file_error(file, "layer_types", error,
				"layer_types has \"%.100s\"; only \"full_attention\" is supported", type);
	}
	if (model->family == MODEL_QWEN2 || model->family == MODEL_QWEN3)
		reached = first < model->layers; /* layers from max_window_layers on have the window */
	else if (model->family == MODEL_QWEN2_MOE)
		reached = first > 0; /* every other layer below it */
	if (types)
		reached = false; /* it says of every layer which it is */
	if (model->family == MODEL_LLAMA)
		use = false; /* transformers reads none */
	if (use && reached && window < model->max_positions && window > 0)
		return json_file_error(file, "sliding_window", error,
			"a sliding window of %d tokens is not supported; it would have to be at least "
			"max_position_embeddings (%d), or null",
			window, model->max_positions);
	return 0;
}

static int refuse_unsupported(const struct json_file *file, const struct model *model, struct error *error)
{
	static const char *const quantisations[] = { "quantization_config", "compression_config" };
	const char *activation = "silu";

	for (int i = 0; i < 2; i++) {
		const json_t *found = json_object_get(file->root, quantisations[i]);
		const char *method = json_string_value(json_object_get(found, "quant_method"));
		if (found && !json_is_null(found))
			return json_file_error(file, quantisations[i], error,
				"%s%s%.100s%s: quantised checkpoints are not supported; save it in fp32, fp16 or bf16",
				quantisations[i], method ? " (" : "", method ? method : "", method ? ")" : "");
	}
	int code = json_file_string(file, file->root, "hidden_act", &activation, error);
	if (code)
		return code;
	if (strcmp(activation, "silu") && strcmp(activation, "swish"))
		return json_file_error(file, "hidden_act", error,
			"activation \"%.100s\" is not supported; supported is \"silu\"", activation);
	return refuse_window(file, model, error);
}

static int read_dtype(const struct json_file *file, struct model *model, struct error *error)
{
	static const char *const keys[] = { "dtype", "torch_dtype" };

	for (int i = 0; i < 2; i++) {
		const char *word = NULL;
		int code = json_file_string(file, file->root, keys[i], &word, error);
		if (code)
			return code;
		if (!word || !strcmp(word, "auto"))
			continue;
		if (!strncmp(word, "torch.", 6))
			word += 6;
		int dtype = dtype_parse(word);
		if (dtype < 0 || dtype == DTYPE_INT8)
			return json_file_error(file, keys[i], error,
				"%s \"%.100s\" is not supported; supported are float32, float16 and bfloat16", keys[i],
				word);
		model->dtype = (enum dtype) dtype;
		return 0;
	}
	return 0;
}

/* eos_token_id: an integer, a list of them, or null for none. */
static int read_eos(const struct json_file *file, struct model *model, struct error *error)
{
	const json_t *found = json_object_get(file->root, "eos_token_id");
	size_t count = json_is_array(found) ? json_array_size(found) : json_is_null(found) ? 0 : 1;

	if (!found)
		return 0;
	if (count > MODEL_MAX_EOS)
		return json_file_error(file, "eos_token_id", error, "eos_token_id lists %zu tokens; at most %d can be used",
			count, MODEL_MAX_EOS);
	for (size_t i = 0; i < count; i++) {
		const json_t *id = json_is_array(found) ? json_array_get(found, i) : found;
		if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT_MAX)
			return json_file_error(file, "eos_token_id", error,
				"eos_token_id must be a token id from 0, or a list of them");
		model->eos[i] = (int) json_integer_value(id);
	}
	model->eos_count = (int) count;
	return 0;
}

static int read_tokens(const struct json_file *file, struct model *model, struct error *error)
{
	if (is_null(file, "bos_token_id"))
		model->bos = -1;
	int code = json_file_integer(file, file->root, "bos_token_id", -1, INT_MAX, &model->bos, error);
	if (model->bos >= model->vocab)
		model->bos = -1; /* defaults that small checkpoints keep */
	return code ? code : read_eos(file, model, error);
}

/* The file is not part of every checkpoint; one that leaves eos_token_id out leaves config.json's. */
static int read_generation(const char *directory, struct model *model, struct error *error)
{
	char path[4096];
	struct json_file file = {0};
	int code;

	if (snprintf(path, sizeof path, "%s/generation_config.json", directory) >= (int) sizeof path)
		return error_set(error, ERROR_INPUT, directory, "the path is too long");
	if (access(path, F_OK))
		return 0;
	code = json_file_read(path, CONFIG_LIMIT, &file, error);
	if (code)
		return code;
	if (!is_null(&file, "eos_token_id"))
		code = read_eos(&file, model, error);
	json_file_close(&file);
	return code;
}

static void set_name(const char *directory, struct model *model)
{
	char *real = realpath(directory, NULL);
	const char *whole = real ? real : directory, *slash = strrchr(whole, '/');

	snprintf(model->name, sizeof model->name, "%s", slash && slash[1] ? slash + 1 : whole);
	free(real);
}

int model_config_read(const char *directory, struct model *model, struct error *error)
{
	char path[4096];
	struct json_file file = {0};
	struct model read;
	enum model_family family = MODEL_MIXTRAL;
	int code;

	if (snprintf(path, sizeof path, "%s/config.json", directory) >= (int) sizeof path)
		return error_set(error, ERROR_INPUT, directory, "the path is too long");
	code = json_file_read(path, CONFIG_LIMIT, &file, error);
	if (code)
		return code;
	code = read_family(&file, &family, error);
	if (code)
		goto out;
	model_defaults(family, &read);
	code = read_sizes(&file, &read, error);
	if (!code && model_family_has_experts(family))
		code = read_experts(&file, &read, error);
	else if (!code)
		code = json_file_integer(&file, file.root, "intermediate_size", 1, INT_MAX, &read.mlp_hidden, error);
	if (!code)
		code = read_options(&file, &read, error);
	if (!code)
		code = read_rope(&file, &read, error);
	if (!code)
		code = refuse_unsupported(&file, &read, error);
	if (!code)
		code = read_dtype(&file, &read, error);
	if (!code)
		code = read_tokens(&file, &read, error);
	if (!code)
		code = read_generation(directory, &read, error);
	if (!code)
		code = model_validate(&read, path, error);
	if (code)
		goto out;
	set_name(directory, &read);
	*model = read;
out:
	json_file_close(&file);
	return code;
}
