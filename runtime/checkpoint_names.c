/* SPDX-License-Identifier: Apache-2.0
 *
 * What each role's tensor is called on the hub, and the shape it must have: one table for all families. */
#include "runtime/checkpoint_names.h"
#include <stdio.h>
#include <string.h>

enum size { ONE, VOCAB, HIDDEN, QUERY, KEY, MLP, SHARED, EXPERT, EXPERTS };

enum scope { WHOLE, LAYER, EACH_EXPERT };

/* Names are written without "model.layers.L." (scope LAYER) and with '*' for the expert. */
static const struct {
	enum scope scope;
	const char *name;    /* all families … */
	const char *mixtral; /* … but this, where it is given */
	const char *fused;   /* all experts in one tensor, as transformers keeps them in memory and writes on request */
	enum size rows, columns; /* rows ONE: a vector, except for the router gate of the shared expert */
} roles[CHECKPOINT_ROLES] = {
	[CHECKPOINT_EMBEDDING] = { WHOLE, "model.embed_tokens.weight", NULL, NULL, VOCAB, HIDDEN },
	[CHECKPOINT_FINAL_NORM] = { WHOLE, "model.norm.weight", NULL, NULL, ONE, HIDDEN },
	[CHECKPOINT_HEAD] = { WHOLE, "lm_head.weight", NULL, NULL, VOCAB, HIDDEN },

	[CHECKPOINT_INPUT_NORM] = { LAYER, "input_layernorm.weight", NULL, NULL, ONE, HIDDEN },
	[CHECKPOINT_Q] = { LAYER, "self_attn.q_proj.weight", NULL, NULL, QUERY, HIDDEN },
	[CHECKPOINT_K] = { LAYER, "self_attn.k_proj.weight", NULL, NULL, KEY, HIDDEN },
	[CHECKPOINT_V] = { LAYER, "self_attn.v_proj.weight", NULL, NULL, KEY, HIDDEN },
	[CHECKPOINT_O] = { LAYER, "self_attn.o_proj.weight", NULL, NULL, HIDDEN, QUERY },
	[CHECKPOINT_Q_BIAS] = { LAYER, "self_attn.q_proj.bias", NULL, NULL, ONE, QUERY },
	[CHECKPOINT_K_BIAS] = { LAYER, "self_attn.k_proj.bias", NULL, NULL, ONE, KEY },
	[CHECKPOINT_V_BIAS] = { LAYER, "self_attn.v_proj.bias", NULL, NULL, ONE, KEY },
	[CHECKPOINT_O_BIAS] = { LAYER, "self_attn.o_proj.bias", NULL, NULL, ONE, HIDDEN },
	[CHECKPOINT_Q_NORM] = { LAYER, "self_attn.q_norm.weight", NULL, NULL, ONE, QUERY },
	[CHECKPOINT_K_NORM] = { LAYER, "self_attn.k_norm.weight", NULL, NULL, ONE, KEY },
	[CHECKPOINT_POST_NORM] = { LAYER, "post_attention_layernorm.weight", NULL, NULL, ONE, HIDDEN },

	[CHECKPOINT_MLP_GATE] = { LAYER, "mlp.gate_proj.weight", NULL, NULL, MLP, HIDDEN },
	[CHECKPOINT_MLP_UP] = { LAYER, "mlp.up_proj.weight", NULL, NULL, MLP, HIDDEN },
	[CHECKPOINT_MLP_DOWN] = { LAYER, "mlp.down_proj.weight", NULL, NULL, HIDDEN, MLP },
	[CHECKPOINT_MLP_GATE_BIAS] = { LAYER, "mlp.gate_proj.bias", NULL, NULL, ONE, MLP },
	[CHECKPOINT_MLP_UP_BIAS] = { LAYER, "mlp.up_proj.bias", NULL, NULL, ONE, MLP },
	[CHECKPOINT_MLP_DOWN_BIAS] = { LAYER, "mlp.down_proj.bias", NULL, NULL, ONE, HIDDEN },

	[CHECKPOINT_ROUTER] = { LAYER, "mlp.gate.weight", "block_sparse_moe.gate.weight", NULL, EXPERTS, HIDDEN },
	[CHECKPOINT_SHARED_GATE] = { LAYER, "mlp.shared_expert.gate_proj.weight", NULL, NULL, SHARED, HIDDEN },
	[CHECKPOINT_SHARED_UP] = { LAYER, "mlp.shared_expert.up_proj.weight", NULL, NULL, SHARED, HIDDEN },
	[CHECKPOINT_SHARED_DOWN] = { LAYER, "mlp.shared_expert.down_proj.weight", NULL, NULL, HIDDEN, SHARED },
	[CHECKPOINT_SHARED_ROUTER_GATE] = { LAYER, "mlp.shared_expert_gate.weight", NULL, NULL, ONE, HIDDEN },

	[CHECKPOINT_EXPERT_GATE] = { EACH_EXPERT, "mlp.experts.*.gate_proj.weight",
		"block_sparse_moe.experts.*.w1.weight", "mlp.experts.gate_up_proj", EXPERT, HIDDEN },
	[CHECKPOINT_EXPERT_UP] = { EACH_EXPERT, "mlp.experts.*.up_proj.weight",
		"block_sparse_moe.experts.*.w3.weight", "mlp.experts.gate_up_proj", EXPERT, HIDDEN },
	[CHECKPOINT_EXPERT_DOWN] = { EACH_EXPERT, "mlp.experts.*.down_proj.weight",
		"block_sparse_moe.experts.*.w2.weight", "mlp.experts.down_proj", HIDDEN, EXPERT },
};

static int64_t size_of(const struct model *model, enum size size)
{
	switch (size) {
	case ONE:
		return 1;
	case VOCAB:
		return model->vocab;
	case HIDDEN:
		return model->hidden;
	case QUERY:
		return (int64_t) model->heads * model->head_dim;
	case KEY:
		return (int64_t) model->kv_heads * model->head_dim;
	case MLP:
		return model->mlp_hidden;
	case SHARED:
		return model->shared_hidden;
	case EXPERT:
		return model->expert_hidden;
	case EXPERTS:
		return model->experts;
	}
	return 0;
}

bool checkpoint_has(const struct model *model, enum checkpoint_role role, int layer)
{
	if (roles[role].scope != WHOLE && (layer < 0 || layer >= model->layers))
		return false;
	bool dense = roles[role].scope != WHOLE && (!model->experts || model->dense[layer]);

	switch (role) {
	case CHECKPOINT_Q_BIAS:
	case CHECKPOINT_K_BIAS:
	case CHECKPOINT_V_BIAS:
		return model->qkv_bias;
	case CHECKPOINT_O_BIAS:
		return model->output_bias;
	case CHECKPOINT_Q_NORM:
	case CHECKPOINT_K_NORM:
		return model->qk_norm != QK_NORM_NONE;
	case CHECKPOINT_MLP_GATE:
	case CHECKPOINT_MLP_UP:
	case CHECKPOINT_MLP_DOWN:
		return dense;
	case CHECKPOINT_MLP_GATE_BIAS:
	case CHECKPOINT_MLP_UP_BIAS:
	case CHECKPOINT_MLP_DOWN_BIAS:
		return dense && model->mlp_bias;
	case CHECKPOINT_ROUTER:
	case CHECKPOINT_EXPERT_GATE:
	case CHECKPOINT_EXPERT_UP:
	case CHECKPOINT_EXPERT_DOWN:
		return !dense;
	case CHECKPOINT_SHARED_GATE:
	case CHECKPOINT_SHARED_UP:
	case CHECKPOINT_SHARED_DOWN:
	case CHECKPOINT_SHARED_ROUTER_GATE:
		return !dense && model->shared_hidden;
	default:
		return true;
	}
}

/* "model.layers.L." before names within a layer, the expert's number for '*'. */
static void spell(const char *pattern, enum scope scope, int layer, int expert, char *name)
{
	const char *star = strchr(pattern, '*');
	int at = 0;

	if (scope != WHOLE)
		at = snprintf(name, CHECKPOINT_NAME, "model.layers.%d.", layer);
	if (star)
		snprintf(name + at, (size_t) (CHECKPOINT_NAME - at), "%.*s%d%s", (int) (star - pattern), pattern,
			expert, star + 1);
	else
		snprintf(name + at, (size_t) (CHECKPOINT_NAME - at), "%s", pattern);
}

int checkpoint_name_of(const struct model *model, enum checkpoint_role role, int layer, int expert, int i,
	struct checkpoint_name *name)
{
	const char *mixtral = model->family == MODEL_MIXTRAL ? roles[role].mixtral : NULL;
	const char *const patterns[] = { mixtral ? mixtral : roles[role].name, mixtral ? roles[role].name : NULL };
	int64_t rows = size_of(model, roles[role].rows), columns = size_of(model, roles[role].columns);
	int plain = 1 + (mixtral != NULL);

	if (model->qk_norm == QK_NORM_HEAD && (role == CHECKPOINT_Q_NORM || role == CHECKPOINT_K_NORM))
		columns = model->head_dim;
	*name = (struct checkpoint_name){ .rank = 2, .shape = { rows, columns }, .rows = rows, .columns = columns };
	if (i < plain) {
		spell(patterns[i], roles[role].scope, layer, expert, name->name);
		if (roles[role].rows == ONE && role != CHECKPOINT_SHARED_ROUTER_GATE) {
			name->rank = 1;
			name->shape[0] = columns;
		}
		return 1;
	}
	if (i > plain || !roles[role].fused)
		return 0;

	/* [experts, 2·expert_hidden, h], gate above up; or [experts, h, expert_hidden] */
	int64_t each = role == CHECKPOINT_EXPERT_DOWN ? rows : 2 * rows;
	spell(roles[role].fused, roles[role].scope, layer, expert, name->name);
	name->rank = 3;
	name->shape[0] = model->experts;
	name->shape[1] = each;
	name->shape[2] = columns;
	name->row = expert * each + (role == CHECKPOINT_EXPERT_UP ? rows : 0);
	return 1;
}
