/* SPDX-License-Identifier: Apache-2.0
 *
 * The model card: sizes of a model written in the description, as a struct model, and compared with a
 * checkpoint's. What a card leaves out is its family's. */
#include <stdio.h>
#include <string.h>
#include "runtime/graph_internal.h"

static void integer(const struct graph_text *text, const config_setting_t *card, const char *path, int *value)
{
	if (graph_find(text, card, path))
		*value = (int) graph_integer(text, card, path);
}

static void boolean(const struct graph_text *text, const config_setting_t *card, const char *path, bool *value)
{
	if (graph_find(text, card, path))
		*value = graph_boolean(text, card, path);
}

static int read_dense_layers(
	const struct graph_text *text, const config_setting_t *card, struct model *model, struct error *error)
{
	const config_setting_t *list = graph_find(text, card, "model.dense_layers");
	memset(model->dense, model->experts == 0, sizeof model->dense);
	for (int i = 0; list && i < config_setting_length(list); i++) {
		long long layer = config_setting_get_int64_elem(list, i);
		struct graph_place place = graph_place_of(text, list);
		if (layer >= model->layers)
			return graph_error(error, &place,
				"model.dense_layers names layer %lld of a model of %d; 0 to %d would be right", layer,
				model->layers, model->layers - 1);
		model->dense[layer] = true;
	}
	return 0;
}

static void read_sizes(const struct graph_text *text, const config_setting_t *card, struct model *model)
{
	model->top_k = model->expert_hidden = model->shared_hidden = model->mlp_hidden = 0;
	integer(text, card, "model.layers", &model->layers);
	integer(text, card, "model.hidden", &model->hidden);
	integer(text, card, "model.heads", &model->heads);
	model->kv_heads = model->heads;
	integer(text, card, "model.kv_heads", &model->kv_heads);
	model->head_dim = model->hidden / model->heads;
	integer(text, card, "model.head_dim", &model->head_dim);
	integer(text, card, "model.vocab", &model->vocab);
	integer(text, card, "model.top_k", &model->top_k);
	integer(text, card, "model.expert_hidden", &model->expert_hidden);
	integer(text, card, "model.shared_hidden", &model->shared_hidden);
	integer(text, card, "model.mlp_hidden", &model->mlp_hidden);
	model->max_positions = (int) graph_integer(text, card, "model.max_positions");
	model->declared_parameters = graph_number(text, card, "model.declared_parameters");
}

static void read_variants(const struct graph_text *text, const config_setting_t *card, struct model *model)
{
	const char *word = graph_word(text, card, "model.dtype");
	model->dtype = word ? (enum dtype) dtype_parse(word) : DTYPE_FP16;
	boolean(text, card, "model.normalize_top_k", &model->normalize_top_k);
	boolean(text, card, "model.qkv_bias", &model->qkv_bias);
	boolean(text, card, "model.output_bias", &model->output_bias);
	boolean(text, card, "model.mlp_bias", &model->mlp_bias);
	boolean(text, card, "model.tied_embeddings", &model->tied_embeddings);
	if ((word = graph_word(text, card, "model.qk_norm")))
		model->qk_norm = *word == 'n' ? QK_NORM_NONE : *word == 'h' ? QK_NORM_HEAD : QK_NORM_ALL;
	if (graph_find(text, card, "model.norm_epsilon"))
		model->norm_epsilon = (float) graph_number(text, card, "model.norm_epsilon");
	if (graph_find(text, card, "model.rope_theta"))
		model->rope.theta = graph_number(text, card, "model.rope_theta");
	model->clip_qkv = (float) graph_number(text, card, "model.clip_qkv");
}

/* What the language cannot say key by key: keys that need each other. */
static int check_card(const struct graph_text *text, const config_setting_t *card, const struct graph_place *place,
	const struct model *model, struct error *error)
{
	const struct {
		const char *key;
		int value;
	} needed[] = {{"top_k", model->top_k}, {"expert_hidden", model->expert_hidden}};
	for (int i = 0; i < 2 && model->experts; i++)
		if (!needed[i].value)
			return graph_error(error, place,
				"the model has %d experts and no `%s`; it must be given with experts", model->experts,
				needed[i].key);
	if (!graph_find(text, card, "model.head_dim") && model->hidden % model->heads)
		return graph_error(error, place, "hidden %d is no multiple of heads %d; head_dim must then be given",
			model->hidden, model->heads);
	return 0;
}

int graph_read_card(const struct graph_text *text, struct graph *graph, struct error *error)
{
	const config_setting_t *card = config_lookup(&text->config, "model");
	if (!card)
		return 0;
	struct model *model = &graph->model;
	struct graph_place place = graph_place_of(text, card);
	char where[sizeof error->where];
	int experts = (int) graph_integer(text, card, "model.experts"), code;
	const char *word = graph_word(text, card, "model.family");
	int family = word ? model_family_parse(word) : experts ? MODEL_MIXTRAL : MODEL_LLAMA;

	if (model_family_has_experts(family) != (experts > 0))
		return graph_error(error, &place, "the model's family is %s and it has %d experts; %s would be right",
			model_family_name(family), experts,
			experts ? "one of mixtral, olmoe, qwen2_moe, qwen3_moe" : "one of llama, qwen2, qwen3");
	model_defaults(family, model);
	model->experts = experts;
	model->bos = -1;
	model->eos_count = 0;
	word = graph_word(text, card, "model.name");
	snprintf(model->name, sizeof model->name, "%s", word ? word : graph->name);
	read_sizes(text, card, model);
	read_variants(text, card, model);

	if ((code = check_card(text, card, &place, model, error)) ||
		(code = read_dense_layers(text, card, model, error)))
		return code;
	if (place.line)
		snprintf(where, sizeof where, "%s:%u", place.file, place.line);
	else
		snprintf(where, sizeof where, "%s", place.file);
	if ((code = model_validate(model, where, error)))
		return code;
	graph->has_card = true;
	graph->card = *model;
	graph->model_place = place;
	return 0;
}

int graph_card_differs(const struct graph *graph, const struct model *model, int i, char *text, size_t size)
{
	const struct model *card = &graph->card;
	if (!graph->has_card)
		return 0;
	const struct {
		const char *key;
		double card, model;
	} numbers[] = {
		{"layers", card->layers, model->layers},
		{"hidden", card->hidden, model->hidden},
		{"heads", card->heads, model->heads},
		{"kv_heads", card->kv_heads, model->kv_heads},
		{"head_dim", card->head_dim, model->head_dim},
		{"vocab", card->vocab, model->vocab},
		{"experts", card->experts, model->experts},
		{"top_k", card->top_k, model->top_k},
		{"expert_hidden", card->expert_hidden, model->expert_hidden},
		{"shared_hidden", card->shared_hidden, model->shared_hidden},
		{"mlp_hidden", card->mlp_hidden, model->mlp_hidden},
	};
	if (card->family != model->family && i-- == 0) {
		snprintf(text, size, "family %s (card %s)", model_family_name(model->family), model_family_name(card->family));
		return 1;
	}
	if (card->dtype != model->dtype && i-- == 0) {
		snprintf(text, size, "dtype %s (card %s)", dtype_name(model->dtype), dtype_name(card->dtype));
		return 1;
	}
	for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++)
		if (numbers[n].card != numbers[n].model && i-- == 0) {
			snprintf(text, size, "%s %.0f (card %.0f)", numbers[n].key, numbers[n].model, numbers[n].card);
			return 1;
		}
	return 0;
}
