/* SPDX-License-Identifier: Apache-2.0
 *
 * A model as the `model` card of a graph description. */
#include "tools/model_card.h"
#include <stdbool.h>
#include <string.h>

/* A string of libconfig. */
static void write_word(const char *key, const char *word, FILE *file)
{
	fprintf(file, "\t%s = \"", key);
	for (; *word; word++) {
		if (*word == '"' || *word == '\\')
			putc('\\', file);
		if ((unsigned char) *word < 0x20)
			fprintf(file, "\\x%02x", (unsigned) (unsigned char) *word);
		else
			putc(*word, file);
	}
	fputs("\";\n", file);
}

/* A float of libconfig, which needs a point or an exponent; the shortest text that reads back as the same. */
static void write_number(const char *key, double number, bool single, FILE *file)
{
	char text[64];
	for (int digits = 1; digits <= 17; digits++) {
		double back;
		snprintf(text, sizeof text, "%.*g", digits, number);
		if (sscanf(text, "%lf", &back) == 1 && (single ? (float) back == (float) number : back == number))
			break;
	}
	fprintf(file, "\t%s = %s%s;\n", key, text, strpbrk(text, ".e") ? "" : ".0");
}

void model_card_write(const struct model *model, FILE *file)
{
	struct model family;
	const struct {
		const char *key;
		int value;
	} sizes[] = {
		{ "layers", model->layers }, { "hidden", model->hidden }, { "heads", model->heads },
		{ "kv_heads", model->kv_heads }, { "head_dim", model->head_dim }, { "vocab", model->vocab },
		{ "experts", model->experts }, { "top_k", model->top_k }, { "expert_hidden", model->expert_hidden },
		{ "shared_hidden", model->shared_hidden }, { "mlp_hidden", model->mlp_hidden },
		{ "max_positions", model->max_positions },
	};
	static const char *const norms[] = { [QK_NORM_NONE] = "none", [QK_NORM_HEAD] = "head", [QK_NORM_ALL] = "all" };

	model_defaults(model->family, &family);
	fputs("model =\n{\n", file);
	write_word("name", model->name, file);
	/* a card without experts is of a dense family; a MoE model whose layers are all dense has no card of its own */
	if (model->experts || !model_family_has_experts(model->family))
		write_word("family", model_family_name(model->family), file);
	write_word("dtype", dtype_name(model->dtype), file);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		if (sizes[i].value)
			fprintf(file, "\t%s = %d;\n", sizes[i].key, sizes[i].value);
	if (model->experts && model_dense_layers(model)) {
		const char *comma = "";
		fputs("\tdense_layers = [", file);
		for (int l = 0; l < model->layers; l++)
			if (model->dense[l]) {
				fprintf(file, "%s%d", comma, l);
				comma = ", ";
			}
		fputs("];\n", file);
	}
	if (model->experts && model->normalize_top_k != family.normalize_top_k)
		fprintf(file, "\tnormalize_top_k = %s;\n", model->normalize_top_k ? "true" : "false");
	if (model->qk_norm != family.qk_norm || (!model->experts && model_family_has_experts(model->family)))
		write_word("qk_norm", norms[model->qk_norm], file);
	if (model->qkv_bias != family.qkv_bias || (!model->experts && model_family_has_experts(model->family)))
		fprintf(file, "\tqkv_bias = %s;\n", model->qkv_bias ? "true" : "false");
	if (model->output_bias)
		fputs("\toutput_bias = true;\n", file);
	if (model->mlp_bias)
		fputs("\tmlp_bias = true;\n", file);
	if (model->tied_embeddings)
		fputs("\ttied_embeddings = true;\n", file);
	if (model->clip_qkv > 0)
		write_number("clip_qkv", (double) model->clip_qkv, true, file);
	write_number("norm_epsilon", (double) model->norm_epsilon, true, file);
	write_number("rope_theta", model->rope.theta, false, file);
	if (model->rope.type == ROPE_LLAMA3)
		fputs("\t# its llama3 rope scaling has no key: it changes positions, not sizes\n", file);
	fputs("};\n", file);
}
