/* SPDX-License-Identifier: Apache-2.0
 *
 * The forms' names, as messages and drawings show them. */
#include "runtime/form.h"

static const char *const names[FORM_COUNT] = {
	[FORM_NONE] = "nothing",
	[FORM_TOKENS] = "token ids",
	[FORM_REPLICATED] = "replicated rows",
	[FORM_QKV] = "q, k and v with partial sums of squares",
	[FORM_QKV_SUMMED] = "q, k and v with sums of squares",
	[FORM_PARTIAL] = "partial sums over tensor ranks",
	[FORM_PARTIAL_STAGE] = "partial sums over the stage",
	[FORM_SHARDED] = "row-sharded rows",
	[FORM_REPLICATED_ROUTED] = "replicated rows with routing",
	[FORM_SHARDED_ROUTED] = "row-sharded rows with routing",
	[FORM_GROUPED] = "rows grouped by expert",
	[FORM_GROUPED_LOCAL] = "own rows grouped by expert",
	[FORM_GROUPED_DONE] = "rows after their experts",
	[FORM_GROUPED_LOCAL_DONE] = "own rows after their experts",
	[FORM_LOGITS] = "logits cut by vocabulary",
};

const char *form_name(enum form form)
{
	return (unsigned) form < FORM_COUNT ? names[form] : "an unknown form";
}

static const char *how_suffix(enum chain_how how)
{
	return how == HOW_LOCAL ? " (`local`)" : how == HOW_ALL_TO_ALL ? " (`all_to_all`)" : "";
}

void form_kinds_write(const struct form_kind *kind, int count, FILE *file)
{
	static const struct {
		unsigned bit;
		const char *name;
	} places[] = {{PLACE_BEFORE, "before"}, {PLACE_LAYER, "layer"}, {PLACE_DENSE_LAYER, "dense_layer"},
		{PLACE_BETWEEN_STAGES, "between_stages"}, {PLACE_AFTER, "after"}};
	static const char *const overs[] = {"", "tensor", "experts", "tensor, experts"};
	fprintf(file, "| task | in | over | takes → leaves | |\n|---|---|---|---|---|\n");
	for (int k = 0; k < count; k++) {
		const char *separator = "";
		fprintf(file, "| `%s` | ", kind[k].name);
		for (size_t p = 0; p < sizeof places / sizeof *places; p++)
			if (kind[k].places & places[p].bit) {
				fprintf(file, "%s%s", separator, places[p].name);
				separator = ", ";
			}
		fprintf(file, " | %s%s | ", overs[kind[k].over], kind[k].needs_over ? " (must be given)" : "");
		for (int i = 0; i < FORM_MAX_TRANSITIONS && kind[k].transitions[i].takes != FORM_NONE; i++)
			fprintf(file, "%s%s → %s%s", i ? "; " : "", form_name(kind[k].transitions[i].takes),
				form_name(kind[k].transitions[i].leaves), how_suffix(kind[k].transitions[i].how));
		fprintf(file, " | %s |\n", kind[k].help);
	}
}
