/* SPDX-License-Identifier: Apache-2.0
 *
 * Which form each kind of task takes and leaves, and where it may stand: the types of the chain
 * language. A new kind starts with its row here. */
#include "tasks/kinds.h"

#define IN_LAYERS (PLACE_LAYER | PLACE_DENSE_LAYER)
#define OVER_EITHER (OVER_TENSOR | OVER_EXPERTS)

static const struct form_kind kinds[TASK_KINDS] = {
	[TASK_EMBED] = {
		.name = "embed",
		.places = PLACE_BEFORE,
		.transitions = { { FORM_TOKENS, HOW_ANY, FORM_REPLICATED } },
		.help = "the embedding's rows of token ids",
	},
	[TASK_ATTENTION] = {
		.name = "attention",
		.places = IN_LAYERS,
		.over = OVER_TENSOR,
		.transitions = { { FORM_REPLICATED, HOW_ANY, FORM_PARTIAL } },
		.help = "norm, QKV, rope, KV append, attention and output projection of a rank's heads",
	},
	[TASK_QKV] = {
		.name = "qkv",
		.places = IN_LAYERS,
		.over = OVER_TENSOR,
		.transitions = { { FORM_REPLICATED, HOW_ANY, FORM_QKV } },
		.help = "first half of attention where q and k norms span all heads: norm, QKV, own sums of squares",
	},
	[TASK_ATTEND] = {
		.name = "attend",
		.places = IN_LAYERS,
		.over = OVER_TENSOR,
		.transitions = { { FORM_QKV_SUMMED, HOW_ANY, FORM_PARTIAL } },
		.help = "second half: q and k norms, rope, KV append, attention and output projection",
	},
	[TASK_ALL_REDUCE] = {
		.name = "all_reduce",
		.places = IN_LAYERS,
		.over = OVER_EITHER,
		.needs_over = true,
		.collective = true,
		.transitions = { { FORM_PARTIAL, HOW_ANY, FORM_REPLICATED },
			{ FORM_PARTIAL_STAGE, HOW_ANY, FORM_REPLICATED },
			{ FORM_QKV, HOW_ANY, FORM_QKV_SUMMED } },
		.help = "residual + partial sums, in rank order, on every rank",
	},
	[TASK_REDUCE_SCATTER] = {
		.name = "reduce_scatter",
		.places = IN_LAYERS,
		.over = OVER_EITHER,
		.needs_over = true,
		.collective = true,
		.transitions = { { FORM_PARTIAL, HOW_ANY, FORM_SHARDED },
			{ FORM_PARTIAL_STAGE, HOW_ANY, FORM_SHARDED } },
		.help = "residual + partial sums, in rank order, each rank its own rows",
	},
	[TASK_ALL_GATHER] = {
		.name = "all_gather",
		.places = IN_LAYERS,
		.over = OVER_EITHER,
		.needs_over = true,
		.collective = true,
		.transitions = { { FORM_SHARDED, HOW_ANY, FORM_REPLICATED } },
		.help = "every rank gets all ranks' rows",
	},
	[TASK_ROUTE] = {
		.name = "route",
		.places = PLACE_LAYER,
		.needs_experts = true,
		.transitions = { { FORM_REPLICATED, HOW_ANY, FORM_REPLICATED_ROUTED },
			{ FORM_SHARDED, HOW_ANY, FORM_SHARDED_ROUTED } },
		.help = "norm, router and top-k: each row's experts and their weights",
	},
	[TASK_DISPATCH] = {
		.name = "dispatch",
		.places = PLACE_LAYER,
		.over = OVER_EXPERTS,
		.takes_how = true,
		.collective = true,
		.needs_experts = true,
		.transitions = { { FORM_SHARDED_ROUTED, HOW_ALL_TO_ALL, FORM_GROUPED },
			{ FORM_REPLICATED_ROUTED, HOW_LOCAL, FORM_GROUPED_LOCAL } },
		.help = "rows to their experts' devices (all_to_all), or own experts' rows out of replicated ones (local)",
	},
	[TASK_EXPERTS] = {
		.name = "experts",
		.places = PLACE_LAYER,
		.over = OVER_EXPERTS,
		.needs_experts = true,
		.transitions = { { FORM_GROUPED, HOW_ANY, FORM_GROUPED_DONE },
			{ FORM_GROUPED_LOCAL, HOW_ANY, FORM_GROUPED_LOCAL_DONE } },
		.help = "grouped SwiGLU of a device's experts",
	},
	[TASK_COMBINE] = {
		.name = "combine",
		.places = PLACE_LAYER,
		.over = OVER_EXPERTS,
		.takes_how = true,
		.collective = true,
		.needs_experts = true,
		.transitions = { { FORM_GROUPED_DONE, HOW_ALL_TO_ALL, FORM_SHARDED },
			{ FORM_GROUPED_LOCAL_DONE, HOW_LOCAL, FORM_PARTIAL_STAGE } },
		.help = "weighted sum of the experts' rows, back on the rows' own devices (all_to_all) or as addends (local)",
	},
	[TASK_MLP] = {
		.name = "mlp",
		.places = PLACE_DENSE_LAYER,
		.over = OVER_EITHER,
		.transitions = { { FORM_REPLICATED, HOW_ANY, FORM_PARTIAL_STAGE } },
		.help = "norm and SwiGLU of a dense layer, its columns cut over all devices of the stage",
	},
	[TASK_SEND] = {
		.name = "send",
		.places = PLACE_BETWEEN_STAGES,
		.collective = true,
		.transitions = { { FORM_REPLICATED, HOW_ANY, FORM_REPLICATED }, { FORM_SHARDED, HOW_ANY, FORM_SHARDED } },
		.help = "the message to the next stage, in the form it has",
	},
	[TASK_HEAD] = {
		.name = "head",
		.places = PLACE_AFTER,
		.over = OVER_TENSOR,
		.transitions = { { FORM_REPLICATED, HOW_ANY, FORM_LOGITS } },
		.help = "final norm and a rank's part of the vocabulary's logits",
	},
	[TASK_SAMPLE] = {
		.name = "sample",
		.places = PLACE_AFTER,
		.transitions = { { FORM_LOGITS, HOW_ANY, FORM_TOKENS } },
		.help = "the next token of each sequence, and its log-probability",
	},
};

const struct graph_kinds task_kinds = { kinds, TASK_KINDS };
