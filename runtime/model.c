/* SPDX-License-Identifier: Apache-2.0
 *
 * What a model is: names of the families, their defaults, limits of sizes, and counted parameters. */
#include "runtime/model.h"
#include <math.h>
#include <stddef.h>
#include <string.h>

static const char *const names[MODEL_FAMILIES] = {
	[MODEL_MIXTRAL] = "mixtral",
	[MODEL_OLMOE] = "olmoe",
	[MODEL_QWEN2_MOE] = "qwen2_moe",
	[MODEL_QWEN3_MOE] = "qwen3_moe",
	[MODEL_LLAMA] = "llama",
	[MODEL_QWEN2] = "qwen2",
	[MODEL_QWEN3] = "qwen3",
};

const char *model_family_name(enum model_family family)
{
	return names[family];
}

int model_family_parse(const char *model_type)
{
	for (int i = 0; i < MODEL_FAMILIES; i++)
		if (!strcmp(model_type, names[i]))
			return i;
	return -1;
}

bool model_family_has_experts(enum model_family family)
{
	return family <= MODEL_QWEN3_MOE;
}

/* The configuration_*.py of transformers, where a key that config.json leaves out gets its value. */
static const struct {
	int layers, hidden, heads, kv_heads /* 0: as heads */, head_dim /* 0: hidden / heads */, vocab, max_positions;
	float norm_epsilon;
	int experts, top_k, expert_hidden, shared_hidden, mlp_hidden;
	double theta;
	int bos, eos;
} defaults[MODEL_FAMILIES] = {
	[MODEL_MIXTRAL] = { 32, 4096, 32, 8, 0, 32000, 131072, 1e-5f, 8, 2, 14336, 0, 0, 1e6, 1, 2 },
	[MODEL_OLMOE] = { 16, 2048, 16, 0, 0, 50304, 4096, 1e-5f, 64, 8, 2048, 0, 0, 1e4, -1, 50279 },
	[MODEL_QWEN2_MOE] = { 24, 2048, 16, 16, 0, 151936, 32768, 1e-6f, 60, 4, 1408, 5632, 5632, 1e4, -1, -1 },
	[MODEL_QWEN3_MOE] = { 24, 2048, 32, 4, 0, 151936, 32768, 1e-6f, 128, 8, 768, 0, 6144, 1e4, -1, -1 },
	[MODEL_LLAMA] = { 32, 4096, 32, 0, 0, 32000, 2048, 1e-6f, 0, 0, 0, 0, 11008, 1e4, 1, 2 },
	[MODEL_QWEN2] = { 32, 4096, 32, 32, 0, 151936, 32768, 1e-6f, 0, 0, 0, 0, 22016, 1e4, -1, -1 },
	[MODEL_QWEN3] = { 32, 4096, 32, 32, 128, 151936, 32768, 1e-6f, 0, 0, 0, 0, 22016, 1e4, -1, -1 },
};

void model_defaults(enum model_family family, struct model *model)
{
	*model = (struct model){
		.family = family,
		.dtype = DTYPE_FP32,
		.layers = defaults[family].layers,
		.hidden = defaults[family].hidden,
		.heads = defaults[family].heads,
		.kv_heads = defaults[family].kv_heads,
		.head_dim = defaults[family].head_dim,
		.vocab = defaults[family].vocab,
		.max_positions = defaults[family].max_positions,
		.norm_epsilon = defaults[family].norm_epsilon,
		.qkv_bias = family == MODEL_QWEN2 || family == MODEL_QWEN2_MOE,
		.qk_norm = family == MODEL_OLMOE ? QK_NORM_ALL :
			family == MODEL_QWEN3 || family == MODEL_QWEN3_MOE ? QK_NORM_HEAD : QK_NORM_NONE,
		.experts = defaults[family].experts,
		.top_k = defaults[family].top_k,
		.expert_hidden = defaults[family].expert_hidden,
		.normalize_top_k = family == MODEL_MIXTRAL,
		.shared_hidden = defaults[family].shared_hidden,
		.mlp_hidden = defaults[family].mlp_hidden,
		.rope.theta = defaults[family].theta,
		.bos = defaults[family].bos,
		.eos = { defaults[family].eos },
		.eos_count = defaults[family].eos >= 0,
	};
	if (!model_family_has_experts(family))
		memset(model->dense, true, sizeof model->dense);
}

int model_dense_layers(const struct model *model)
{
	int dense = 0;
	if (!model->experts)
		return model->layers;
	for (int l = 0; l < model->layers; l++)
		dense += model->dense[l];
	return dense;
}

void model_count_parameters(const struct model *model, struct model_parameters *parameters)
{
	double layers = model->layers, dense = model_dense_layers(model), sparse = layers - dense;
	double h = model->hidden, q = (double) model->heads * model->head_dim,
	       kv = (double) model->kv_heads * model->head_dim;
	double expert = 3 * h * model->expert_hidden;
	struct model_parameters p = {0};

	p.embedding = (double) model->vocab * h;
	p.head = model->tied_embeddings ? 0 : p.embedding;
	p.attention = layers *
		(h * q + 2 * h * kv + q * h + (model->qkv_bias ? q + 2 * kv : 0) + (model->output_bias ? h : 0));
	p.norms = layers * 2 * h + h;
	if (model->qk_norm == QK_NORM_HEAD)
		p.norms += layers * 2 * model->head_dim;
	else if (model->qk_norm == QK_NORM_ALL)
		p.norms += layers * (q + kv);
	p.mlp = dense * (3 * h * model->mlp_hidden + (model->mlp_bias ? 2.0 * model->mlp_hidden + h : 0));
	if (model->experts) {
		p.router = sparse * model->experts * h;
		p.experts = sparse * model->experts * expert;
		if (model->shared_hidden)
			p.shared = sparse * (3 * h * model->shared_hidden + h);
	}
	p.total = p.embedding + p.attention + p.norms + p.router + p.experts + p.shared + p.mlp + p.head;
	p.active = p.attention + p.norms + p.router + p.shared + p.mlp + p.embedding /* the head, tied or not */;
	if (model->experts)
		p.active += sparse * model->top_k * expert;
	*parameters = p;
}

struct range {
	const char *name;
	int value, least, most;
};

static int check_ranges(const struct range *range, int count, const char *where, struct error *error)
{
	for (int i = 0; i < count; i++)
		if (range[i].value < range[i].least || range[i].value > range[i].most)
			return error_set(error, ERROR_INPUT, where, "%s is %d; it must be from %d to %d", range[i].name,
				range[i].value, range[i].least, range[i].most);
	return 0;
}

/* The limits keep every product of two sizes far inside 64 bits and each size, and all heads together, inside 32. */
enum { MOST_HIDDEN = 1 << 20, MOST_HEADS = 1 << 14, MOST_VOCAB = 1 << 24, MOST_POSITIONS = 1 << 30 };

static int check_heads(const struct model *model, const char *where, struct error *error)
{
	if (model->heads % model->kv_heads)
		return error_set(error, ERROR_INPUT, where,
			"%d heads do not divide among %d KV heads; each KV head serves the same number of heads",
			model->heads, model->kv_heads);
	if (model->head_dim % 2)
		return error_set(error, ERROR_INPUT, where,
			"head_dim is %d; rotary embedding turns pairs and needs an even number", model->head_dim);
	if ((int64_t) model->heads * model->head_dim > MOST_HIDDEN)
		return error_set(error, ERROR_INPUT, where, "%d heads of %d are wider than %d", model->heads,
			model->head_dim, MOST_HIDDEN);
	return 0;
}

static int check_numbers(const struct model *model, const char *where, struct error *error)
{
	if (!(model->norm_epsilon >= 0 && model->norm_epsilon < 1))
		return error_set(error, ERROR_INPUT, where, "rms_norm_eps is %g; it must be from 0 to below 1",
			(double) model->norm_epsilon);
	if (!(model->clip_qkv >= 0) || isinf(model->clip_qkv))
		return error_set(error, ERROR_INPUT, where, "clip_qkv is %g; it must be above 0, or absent for none",
			(double) model->clip_qkv);
	if (!(model->rope.theta > 0) || isinf(model->rope.theta))
		return error_set(error, ERROR_INPUT, where, "rope_theta is %g; it must be above 0", model->rope.theta);
	if (model->rope.type == ROPE_LLAMA3 &&
		!(model->rope.factor > 0 && model->rope.low_frequency_factor > 0 &&
			model->rope.high_frequency_factor > model->rope.low_frequency_factor &&
			model->rope.original_positions > 0))
		return error_set(error, ERROR_INPUT, where,
			"rope of type llama3 has factor %g, low_freq_factor %g, high_freq_factor %g and "
			"original_max_position_embeddings %g; all must be above 0 and high_freq_factor above "
			"low_freq_factor",
			model->rope.factor, model->rope.low_frequency_factor, model->rope.high_frequency_factor,
			model->rope.original_positions);
	for (int i = 0; i < model->eos_count; i++)
		/* one beyond the vocabulary is in many small checkpoints: it is never sampled */
		if (model->eos[i] < 0)
			return error_set(error, ERROR_INPUT, where, "the end-of-sequence token %d is negative",
				model->eos[i]);
	return 0;
}

static int check_widths(const struct model *model, const char *where, struct error *error)
{
	int code = 0, dense = model_dense_layers(model);
	if (model->experts) {
		const struct range widths[] = {
			{ "the number of experts a token goes to", model->top_k, 1,
				model->experts < MODEL_MAX_TOP_K ? model->experts : MODEL_MAX_TOP_K },
			{ "the experts' hidden size", model->expert_hidden, 1, MOST_HIDDEN },
			{ "the shared expert's hidden size", model->shared_hidden, 0, MOST_HIDDEN },
		};
		code = check_ranges(widths, (int) (sizeof widths / sizeof *widths), where, error);
		if (!code && dense == model->layers)
			code = error_set(error, ERROR_INPUT, where,
				"the model has %d experts but every layer is dense", model->experts);
	}
	if (!code && dense) {
		const struct range width = { "the dense layers' hidden size", model->mlp_hidden, 1, MOST_HIDDEN };
		code = check_ranges(&width, 1, where, error);
	}
	return code;
}

int model_validate(const struct model *model, const char *where, struct error *error)
{
	const struct range sizes[] = {
		{ "the number of layers", model->layers, 1, MODEL_MAX_LAYERS },
		{ "the hidden size", model->hidden, 1, MOST_HIDDEN },
		{ "the number of heads", model->heads, 1, MOST_HEADS },
		{ "the number of KV heads", model->kv_heads, 1, MOST_HEADS },
		{ "head_dim", model->head_dim, 2, 1 << 12 },
		{ "the vocabulary's size", model->vocab, 1, MOST_VOCAB },
		{ "the longest sequence", model->max_positions, 1, MOST_POSITIONS },
		{ "the number of experts", model->experts, 0, MODEL_MAX_EXPERTS },
		{ "the number of end-of-sequence tokens", model->eos_count, 0, MODEL_MAX_EOS },
		{ "the beginning-of-sequence token", model->bos, -1, MOST_VOCAB },
	};
	int code;
	if ((code = check_ranges(sizes, (int) (sizeof sizes / sizeof *sizes), where, error)))
		return code;
	if ((int) model->family < 0 || model->family >= MODEL_FAMILIES)
		return error_set(error, ERROR_INPUT, where, "the model is of no known family");
	if ((code = check_heads(model, where, error)) || (code = check_numbers(model, where, error)))
		return code;
	return check_widths(model, where, error);
}
