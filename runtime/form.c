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
