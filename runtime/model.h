/* SPDX-License-Identifier: Apache-2.0
 *
 * What a model is: its family, sizes and options, without its weights. It comes from a checkpoint's
 * config.json (model_config.h) or from the `model` card of a graph description.
 *
 * One layer, as every family here has it (h = hidden, d = head_dim):
 *
 *   x ── rmsnorm ── q,k,v ── (q,k norm) ── rope ── attention over KV ── output projection ──(+ x)── x
 *   x ── rmsnorm ── router ── top-k experts: down(silu(gate) · up), weighted ──(+ shared)──(+ x)── x
 *   or, in a dense layer: rmsnorm ── down(silu(gate) · up) ──(+ x)── x
 */
#ifndef OCTANT_MODEL_H
#define OCTANT_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include "runtime/dtype.h"
#include "runtime/error.h"

enum model_family {
	MODEL_MIXTRAL,
	MODEL_OLMOE,
	MODEL_QWEN2_MOE,
	MODEL_QWEN3_MOE,
	MODEL_LLAMA,
	MODEL_QWEN2,
	MODEL_QWEN3,
	MODEL_FAMILIES
};

enum qk_norm {
	QK_NORM_NONE,
	QK_NORM_HEAD, /* RMS over each head's d values (Qwen3): weight [head_dim] */
	QK_NORM_ALL,  /* RMS over all heads' values (OLMoE): weights [heads·d], [kv_heads·d] */
};

enum rope_type { ROPE_DEFAULT, ROPE_LLAMA3 };

#define MODEL_MAX_LAYERS 1024
#define MODEL_MAX_EXPERTS 1024
#define MODEL_MAX_TOP_K 32
#define MODEL_MAX_EOS 16

struct model {
	char name[128]; /* the checkpoint's directory, or the card's */
	enum model_family family;
	enum dtype dtype; /* of the weights as stored */
	int layers, hidden, heads, kv_heads, head_dim, vocab;
	int max_positions;    /* longest sequence the model is made for (max_position_embeddings) */
	float norm_epsilon;   /* rms_norm_eps */
	bool qkv_bias, output_bias, mlp_bias, tied_embeddings;
	enum qk_norm qk_norm;
	float clip_qkv; /* 0: none */

	/* experts == 0: every layer is dense */
	int experts, top_k, expert_hidden;
	bool normalize_top_k; /* divide the chosen weights by their sum */
	int shared_hidden;    /* width of the gated shared expert, 0: none */
	int mlp_hidden;       /* width of a dense layer's MLP, 0 where no layer is dense */
	bool dense[MODEL_MAX_LAYERS]; /* [layer]: has an MLP in place of experts */

	struct {
		enum rope_type type;
		double theta;
		/* llama3 only */
		double factor, low_frequency_factor, high_frequency_factor, original_positions;
	} rope;

	int bos; /* -1: none */
	int eos[MODEL_MAX_EOS];
	int eos_count;
	double declared_parameters; /* a card's claim, 0: none */
};

const char *model_family_name(enum model_family family); /* "mixtral", … as config.json's model_type */
int model_family_parse(const char *model_type);          /* -1: not one of them */
bool model_family_has_experts(enum model_family family);

/* What a config.json of the family means that says nothing but its model_type (transformers' defaults): sizes,
 * options, norm_epsilon, rope. kv_heads and head_dim are 0 where they follow from heads and hidden. */
void model_defaults(enum model_family family, struct model *model);

int model_dense_layers(const struct model *model); /* how many layers have an MLP in place of experts */

/* Parameters by kind, over the whole model. */
struct model_parameters {
	double embedding, attention, norms, router, experts, shared, mlp, head, total;
	double active; /* that one token multiplies with: top_k experts, no embedding table */
};
void model_count_parameters(const struct model *model, struct model_parameters *parameters);

/* Refuses sizes that no model can have (zero, negative, above the limits, heads that kv_heads does not
 * divide, top_k above experts, odd head_dim): `where` names the file in the error. */
int model_validate(const struct model *model, const char *where, struct error *error);

#endif
