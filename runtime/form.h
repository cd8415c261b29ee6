/* SPDX-License-Identifier: Apache-2.0
 *
 * The forms a message takes between two tasks of a chain, and the table of task kinds that says which
 * form each takes and leaves. The table itself lives in tasks/ (kinds.c) and is handed in, so that the
 * chain checker knows no model.
 *
 * A message is the rows of one micro-batch: a residual stream x and, where partial, deltas that are
 * still to be summed over the ranks that hold them. */
#ifndef OCTANT_FORM_H
#define OCTANT_FORM_H

#include <stdbool.h>
#include <stdio.h>

enum form {
	FORM_NONE,
	FORM_TOKENS,            /* token ids */
	FORM_REPLICATED,        /* every tensor rank of the attention group holds all of its group's rows */
	FORM_QKV,               /* projected q, k, v of own heads; sums of squares are still partial */
	FORM_QKV_SUMMED,        /* the same with the sums of squares of all heads */
	FORM_PARTIAL,           /* replicated x; each tensor rank holds an addend for all of its group's rows */
	FORM_PARTIAL_STAGE,     /* replicated x; each device of the stage holds an addend for all groups' rows */
	FORM_SHARDED,           /* tensor rank t holds rows [t·c, (t+1)·c) of its group, c = ceil(rows / ranks) */
	FORM_REPLICATED_ROUTED, /* replicated, with each row's experts and weights */
	FORM_SHARDED_ROUTED,    /* row-sharded, with each row's experts and weights */
	FORM_GROUPED,           /* rows sent by all_to_all, grouped by expert, on the experts' devices */
	FORM_GROUPED_LOCAL,     /* own experts' rows picked out of replicated ones */
	FORM_GROUPED_DONE,      /* the same two after the experts */
	FORM_GROUPED_LOCAL_DONE,
	FORM_LOGITS,            /* rows that are sampled; vocabulary cut over the tensor ranks */
	FORM_COUNT
};

enum chain_place { /* the part of a graph description that a step stands in */
	PLACE_BEFORE = 1,
	PLACE_LAYER = 2,
	PLACE_DENSE_LAYER = 4,
	PLACE_BETWEEN_STAGES = 8,
	PLACE_AFTER = 16,
};

enum chain_over { OVER_NONE, OVER_TENSOR = 1, OVER_EXPERTS = 2 }; /* bits */
enum chain_how { HOW_ANY, HOW_LOCAL, HOW_ALL_TO_ALL };

struct form_transition {
	enum form takes;
	enum chain_how how; /* HOW_ANY: the step's `how` plays no part */
	enum form leaves;
};

#define FORM_MAX_TRANSITIONS 6

struct form_kind {
	const char *name;         /* the word in the description: "attention" */
	unsigned places;          /* chain_place bits where it may stand */
	unsigned over;            /* chain_over bits that may be given; OVER_NONE: `over` is refused */
	bool needs_over;          /* whether `over` must be given */
	bool takes_how;           /* whether `how` must be given */
	bool collective;          /* moves data between devices */
	bool needs_experts;       /* refused where the model has none */
	struct form_transition transitions[FORM_MAX_TRANSITIONS]; /* ends with FORM_NONE */
	const char *help;         /* one line for the language reference and for errors */
};

const char *form_name(enum form form); /* "row-sharded rows with routing", for messages */

/* The table of kinds in Markdown, as the language reference has it (a test compares them). */
void form_kinds_write(const struct form_kind *kind, int count, FILE *file);

#endif
