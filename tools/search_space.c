/* SPDX-License-Identifier: Apache-2.0
 *
 * The bases: all meshes that fold on the devices and fit the model, with the chains that compose on them. What does not
 * resolve (heads that a degree does not divide, a chain that ends in no all_gather) is no candidate. */
#include <stdlib.h>
#include <string.h>
#include "tools/search.h"

const char *const search_chain_names[SEARCH_CHAINS] = { "as given", "local", "local+rs", "all_to_all" };
const char *const search_key_paths[SEARCH_KEYS] = { "schedule.prefill.tokens", "schedule.slots", "schedule.ahead",
	"schedule.prefill.micro_batches", "schedule.decode.micro_batches", "schedule.interleave" };

static const char *const layers[SEARCH_CHAINS] = {
	[CHAIN_LOCAL] = "( { task = \"attention\"; over = \"tensor\"; }, { task = \"all_reduce\"; over = \"tensor\"; }, "
		"{ task = \"route\"; }, { task = \"dispatch\"; over = \"experts\"; how = \"local\"; }, "
		"{ task = \"experts\"; over = \"experts\"; }, { task = \"combine\"; over = \"experts\"; how = \"local\"; }, "
		"{ task = \"all_reduce\"; over = \"experts\"; } )",
	[CHAIN_LOCAL_SCATTER] = "( { task = \"attention\"; over = \"tensor\"; }, { task = \"all_reduce\"; over = \"tensor\"; }, "
		"{ task = \"route\"; }, { task = \"dispatch\"; over = \"experts\"; how = \"local\"; }, "
		"{ task = \"experts\"; over = \"experts\"; }, { task = \"combine\"; over = \"experts\"; how = \"local\"; }, "
		"{ task = \"reduce_scatter\"; over = \"experts\"; }, { task = \"all_gather\"; over = \"experts\"; } )",
	[CHAIN_ALL_TO_ALL] = "( { task = \"attention\"; over = \"tensor\"; }, { task = \"reduce_scatter\"; over = \"tensor\"; }, "
		"{ task = \"route\"; }, { task = \"dispatch\"; over = \"experts\"; how = \"all_to_all\"; }, "
		"{ task = \"experts\"; over = \"experts\"; }, { task = \"combine\"; over = \"experts\"; how = \"all_to_all\"; }, "
		"{ task = \"all_gather\"; over = \"tensor\"; } )",
};
static const char *const dense_layers[SEARCH_CHAINS] = {
	[CHAIN_LOCAL] = "( { task = \"attention\"; over = \"tensor\"; }, { task = \"all_reduce\"; over = \"tensor\"; }, "
		"{ task = \"mlp\"; }, { task = \"all_reduce\"; over = \"experts\"; } )",
	[CHAIN_LOCAL_SCATTER] = "( { task = \"attention\"; over = \"tensor\"; }, { task = \"all_reduce\"; over = \"tensor\"; }, "
		"{ task = \"mlp\"; }, { task = \"reduce_scatter\"; over = \"experts\"; }, "
		"{ task = \"all_gather\"; over = \"experts\"; } )",
};

bool search_is_pinned(const struct search *s, const char *path)
{
	size_t length = strlen(path);
	for (int i = 0; i < s->pins; i++) {
		const char *pin = s->pinned[i];
		size_t other = strlen(pin), shorter = length < other ? length : other;
		if (!strncmp(pin, path, shorter) && (other == length || (other < length ? path[other] : pin[length]) == '.'))
			return true;
		if (!strncmp(pin, path, length) && pin[length] == '[')
			return true;
	}
	return false;
}

const char *search_interleave_name(int interleave)
{
	static const char *const names[] = { [INTERLEAVE_CHUNKED] = "chunked", [INTERLEAVE_MIXED] = "mixed",
		[INTERLEAVE_PREFILL_FIRST] = "prefill_first" };
	return names[interleave];
}

/* A word of overrides, put into text. */
static void add(struct graph_override *overrides, int *count, char **text, const char *path, const char *value)
{
	strcpy(*text, value);
	overrides[(*count)++] = (struct graph_override){ path, *text };
	*text += strlen(value) + 1;
}

static int base_overrides(const struct search *s, const struct search_base *b, const struct mesh *mesh, enum dtype residual,
	struct graph_override *overrides, char **text)
{
	char word[160];
	int count = 0;
	if (s->devices) {
		snprintf(word, sizeof word, "%d", s->devices);
		add(overrides, &count, text, "machine.devices[0].count", word);
	}
	if (b->mesh_changed) {
		snprintf(word, sizeof word, "{ tensor = %d; experts = %d; stages = %d; expert_tensor = %d; }", mesh->tensor,
			mesh->experts, mesh->stages, mesh->expert_tensor);
		add(overrides, &count, text, "mesh", word);
	}
	if (b->chain_changed) {
		add(overrides, &count, text, "layer", layers[b->chain]);
		if (dense_layers[b->chain])
			add(overrides, &count, text, "dense_layer", dense_layers[b->chain]);
		add(overrides, &count, text, "between_stages",
			b->shards ? "{ task = \"send\"; before = \"all_gather\"; }" : "{ task = \"send\"; }");
	}
	if (b->residual_changed) {
		snprintf(word, sizeof word, "\"%s\"", dtype_name(residual));
		add(overrides, &count, text, "residual", word);
	}
	return count;
}

int search_overrides(const struct search *s, const struct search_candidate *c, struct graph_override *overrides, char *text)
{
	const struct search_base *b = &s->base[c->base];
	int count = base_overrides(s, b, &b->graph->mesh, b->graph->residual, overrides, &text);
	for (int k = 0; k < SEARCH_KEYS; k++) {
		char word[32];
		if (search_is_pinned(s, search_key_paths[k]))
			continue;
		if (k == KEY_INTERLEAVE)
			snprintf(word, sizeof word, "\"%s\"", search_interleave_name(c->key[k]));
		else
			snprintf(word, sizeof word, "%d", c->key[k]);
		add(overrides, &count, &text, search_key_paths[k], word);
	}
	return count;
}

static bool same_steps(const struct graph_chain *a, const struct graph_chain *b)
{
	if (a->count != b->count)
		return false;
	for (int i = 0; i < a->count; i++)
		if (a->step[i].kind_index != b->step[i].kind_index || a->step[i].how != b->step[i].how
			|| a->step[i].takes != b->step[i].takes || a->step[i].leaves != b->step[i].leaves)
			return false;
	return true;
}

/* Whether two bases are one deployment. */
static bool same_base(const struct graph *a, const struct graph *b)
{
	if (a->mesh.devices != b->mesh.devices || a->residual != b->residual
		|| a->between_before_gather != b->between_before_gather)
		return false;
	for (int i = 0; i < a->mesh.devices; i++)
		if (memcmp(&a->mesh.part[i], &b->mesh.part[i], sizeof a->mesh.part[i]))
			return false;
	return (!a->model.experts || same_steps(&a->layer, &b->layer))
		&& (!model_dense_layers(&a->model) || same_steps(&a->dense_layer, &b->dense_layer));
}

/* What the graph's own layers are called. */
static enum search_chain name_chain(const struct graph *g)
{
	const struct graph_chain *chain = g->model.experts ? &g->layer : &g->dense_layer;
	bool scattered = false;
	for (int i = 0; i < chain->count; i++) {
		const struct graph_step *step = &chain->step[i];
		if (step->how == HOW_ALL_TO_ALL)
			return CHAIN_ALL_TO_ALL;
		scattered |= step->takes == FORM_PARTIAL_STAGE && step->leaves == FORM_SHARDED;
	}
	return scattered ? CHAIN_LOCAL_SCATTER : CHAIN_LOCAL;
}

static int add_base(struct search *s, struct search_base *b, const struct mesh *mesh, enum dtype residual,
	struct error *error)
{
	struct graph_override overrides[SEARCH_OVERRIDES];
	struct error unused = { 0 };
	char texts[SEARCH_TEXT], *text = texts;
	int count = base_overrides(s, b, mesh, residual, overrides, &text);
	int code = s->read(s->context, overrides, count, &b->graph, b->given ? error : &unused);
	if (code == ERROR_MEMORY || (code && b->given)) {
		if (!b->given)
			*error = unused;
		return code;
	}
	if (code)
		return 0;
	if (b->chain == CHAIN_GIVEN)
		b->chain = name_chain(b->graph);
	b->shards = b->graph->between_before_gather;
	for (int i = 0; i < s->bases; i++)
		if (!s->base[i].excluded && same_base(s->base[i].graph, b->graph)) {
			graph_destroy(b->graph);
			return 0;
		}
	struct search_base *larger = realloc(s->base, (size_t) (s->bases + 1) * sizeof *larger);
	if (!larger) {
		graph_destroy(b->graph);
		return error_memory(error, "searching");
	}
	s->base = larger;
	b->number = s->bases;
	s->base[s->bases++] = *b;
	return 0;
}

static int add_chains(struct search *s, const struct mesh *mesh, bool mesh_changed, struct error *error)
{
	const struct graph *given = s->base[0].graph;
	bool chains = !search_is_pinned(s, "layer") && !search_is_pinned(s, "dense_layer") && !search_is_pinned(s, "between_stages");
	bool residuals = !given->residual_place.line && !search_is_pinned(s, "residual") && !given->machine.host
		&& given->residual == DTYPE_FP32 && given->compute != DTYPE_FP32;
	int before = s->bases, code = 0;
	for (int narrow = 0; narrow <= residuals; narrow++)
		for (int chain = chains ? CHAIN_LOCAL : CHAIN_GIVEN; !code && chain < (chains ? SEARCH_CHAINS : CHAIN_LOCAL); chain++)
			for (int shards = 0; !code && shards <= (chains && mesh->stages > 1 && (chain == CHAIN_LOCAL_SCATTER
				|| (chain == CHAIN_ALL_TO_ALL && mesh->tensor > 1))); shards++) {
				struct search_base b = { .chain = (enum search_chain) chain, .shards = shards, .mesh_changed = mesh_changed,
					.chain_changed = chains, .residual_changed = narrow };
				if (!given->model.experts && chain == CHAIN_ALL_TO_ALL)
					continue;
				if (mesh->per_stage == 1 && chain > CHAIN_LOCAL)
					continue; /* nothing to join: one chain is as good as another */
				code = add_base(s, &b, mesh, narrow ? graph_narrow_residual(given) : given->residual, error);
			}
	s->meshes += s->bases > before;
	return code;
}

/* `only` 0: any degree, but for one that the user set in the graph. */
static bool allowed(const struct search *s, const char *path, int value, int given, int only)
{
	return only ? value == only : value == given || !search_is_pinned(s, path);
}

int search_space_make(struct search *s, struct error *error)
{
	struct search_base as_given = { .given = true, .chain = CHAIN_GIVEN };
	int code = add_base(s, &as_given, NULL, DTYPE_FP32, error);
	bool too_large = code == ERROR_INPUT && !search_is_pinned(s, "mesh");
	if (too_large) { /* the graph's own mesh may need more devices than there are: others are searched then */
		struct search_base least = { .chain = CHAIN_GIVEN, .mesh_changed = true };
		const struct mesh one = { .tensor = 1, .experts = 1, .stages = 1, .expert_tensor = 1, .per_stage = 1 };
		struct error unused = { 0 };
		code = add_base(s, &least, &one, DTYPE_FP32, &unused);
		code = code || !s->bases ? error->code : 0;
		if (!code)
			*error = (struct error){ 0 };
	}
	if (code)
		return code;
	const struct graph *g = s->base[0].graph;
	int devices = s->devices ? s->devices : g->machine.host ? g->mesh.devices : g->machine.devices;
	const struct mesh given = g->mesh;
	s->base[0].excluded = too_large || !allowed(s, "mesh.stages", given.stages, given.stages, s->stages)
		|| !allowed(s, "mesh.tensor", given.tensor, given.tensor, s->tensor)
		|| !allowed(s, "mesh.experts", given.experts, given.experts, s->experts) || (s->devices && s->devices != given.devices);
	if (search_is_pinned(s, "mesh.place") || search_is_pinned(s, "mesh.layers")) {
		code = add_chains(s, &given, false, error);
		return code;
	}
	for (int stages = 1; stages <= devices && stages <= g->model.layers; stages++)
		for (int tensor = 1; tensor <= devices / stages; tensor++)
			for (int experts = 1; experts <= devices / stages; experts++) {
				int per_stage = devices / stages;
				if (devices % stages || per_stage % tensor || per_stage % experts || (experts > 1 && !s->base[0].graph->model.experts))
					continue;
				if (!allowed(s, "mesh.stages", stages, given.stages, s->stages) || !allowed(s, "mesh.tensor", tensor, given.tensor, s->tensor)
					|| !allowed(s, "mesh.experts", experts, given.experts, s->experts)
					|| !allowed(s, "mesh.expert_tensor", per_stage / experts, given.expert_tensor, 0))
					continue;
				struct mesh mesh = { .tensor = tensor, .experts = experts, .stages = stages,
					.expert_tensor = per_stage / experts, .per_stage = per_stage };
				code = add_chains(s, &mesh, true, error);
				if (code)
					return code;
			}
	return 0;
}
