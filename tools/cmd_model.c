/* SPDX-License-Identifier: Apache-2.0
 *
 * octant model DIR: what a Hugging Face directory holds: family, sizes, parameters, memory, tokenizer, and its card for
 * a graph description. */
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/checkpoint.h"
#include "runtime/json_file.h"
#include "runtime/model_config.h"
#include "runtime/tokenizer.h"
#include "tools/commands.h"
#include "tools/options.h"
#include "tools/model_card.h"
#include "tools/tokenize.h"

#define TOKENIZER_LIMIT (256u << 20)

enum { CONTEXT = 2048 }; /* of the KV memory shown as an example */

struct options {
	const char *directory, *tokenize, *detokenize;
	bool json, card, check, help;
};

struct report {
	struct model model;
	struct model_parameters parameters;
	bool weights; /* there are some */
	struct checkpoint_summary files;
	bool tokenizer;      /* there is a tokenizer.json */
	char kind[64];       /* its model's type, "BPE" */
	size_t tokens;       /* 0: it cannot be used, because of: */
	struct error unusable;
};

#define AT(field) offsetof(struct options, field)

static const struct option_row rows[] = {
	{ "--json", NULL, OPTION_FLAG, AT(json), NULL, 0, 0, "for programs (default: for people)" },
	{ "--card", NULL, OPTION_FLAG, AT(card), NULL, 0, 0, "only the card" },
	{ "--check", NULL, OPTION_FLAG, AT(check), NULL, 0, 0, "also read every weight and refuse what is not finite" },
	{ "--tokenize", "FILE", OPTION_TEXT, AT(tokenize), NULL, 0, 0,
		"JSON lines {\"text\": \"…\"} to {\"ids\": […]}, special tokens added; - is standard input" },
	{ "--detokenize", "FILE", OPTION_TEXT, AT(detokenize), NULL, 0, 0,
		"JSON lines {\"ids\": […]} to {\"text\": \"…\"}, special tokens left out" },
	{ "--help", NULL, OPTION_FLAG, AT(help), NULL, 0, 0, "this text" },
};

static const struct option_table table = { .command = "octant model", .rows = rows, .count = sizeof rows / sizeof *rows,
	.arguments_at = AT(directory), .argument_count = 1 };

static void print_usage(void)
{
	puts("usage: octant model DIR [OPTION]…\n\n"
	     "Tells what a Hugging Face directory holds: family, sizes, parameters by kind, memory, files, tokenizer, and a\n"
	     "`model` card for a graph description. config.json alone is enough; with weights, every tensor's name and shape\n"
	     "is checked.\n");
	options_print(&table);
	puts("\nexample: echo '{\"text\": \"one two\"}' | octant model DIR --tokenize -");
}

static int parse(int argc, char **argv, struct options *options, struct error *error)
{
	int code = options_parse(&table, argc, argv, options, error);
	if (code || options->help)
		return code;
	if (!options->directory)
		return error_set(error, ERROR_INPUT, NULL, "no directory is named; octant model DIR would be right");
	if (options->tokenize && options->detokenize)
		return error_set(error, ERROR_INPUT, NULL, "--tokenize and --detokenize exclude each other");
	return 0;
}

static int join(char *path, size_t size, const char *directory, const char *name, struct error *error)
{
	if (snprintf(path, size, "%s/%s", directory, name) >= (int) size)
		return error_set(error, ERROR_INPUT, directory, "the path is too long");
	return 0;
}

static int convert(const struct options *options, struct error *error)
{
	char path[4096];
	struct tokenizer *tokenizer = NULL;
	int code = join(path, sizeof path, options->directory, "tokenizer.json", error);

	if (!code)
		code = tokenizer_load(path, &tokenizer, error);
	if (!code)
		code = options->tokenize ? tokenize_lines(tokenizer, options->tokenize, stdout, error) :
					   detokenize_lines(tokenizer, options->detokenize, stdout, error);
	tokenizer_destroy(tokenizer);
	return code;
}

static int check_weights(const struct checkpoint *checkpoint, struct error *error)
{
	const struct model *model = checkpoint_model(checkpoint);
	int code = 0;

	for (int role = 0; role < CHECKPOINT_ROLES; role++)
		for (int l = 0; l < (role < CHECKPOINT_INPUT_NORM ? 1 : model->layers); l++)
			for (int e = 0; e < (role < CHECKPOINT_EXPERT_GATE ? 1 : model->experts); e++) {
				struct tensor_view view;
				if (!checkpoint_has(model, (enum checkpoint_role) role, l))
					continue;
				code = checkpoint_find(checkpoint, (enum checkpoint_role) role, l, e, &view, error);
				if (!code)
					code = tensor_check_finite(&view, 0, view.shape[0], error);
				if (code)
					return code;
			}
	return 0;
}

static int read_weights(const struct options *options, struct report *report, struct error *error)
{
	struct checkpoint *checkpoint = NULL;
	int code = checkpoint_open(options->directory, &checkpoint, error);

	if (!code)
		code = checkpoint_check(checkpoint, error);
	if (!code && options->check)
		code = check_weights(checkpoint, error);
	if (!code) {
		report->model = *checkpoint_model(checkpoint);
		checkpoint_summarize(checkpoint, &report->files);
		report->weights = true;
	}
	checkpoint_close(checkpoint);
	return code;
}

/* A tokenizer that cannot be used is told of, but is no error: models run on tokens too. */
static int read_tokenizer(const struct options *options, struct report *report, struct error *error)
{
	char path[4096];
	struct json_file file = {0};
	struct tokenizer *tokenizer = NULL;
	int code = join(path, sizeof path, options->directory, "tokenizer.json", error);

	if (code || access(path, F_OK))
		return code;
	report->tokenizer = true;
	code = json_file_read(path, TOKENIZER_LIMIT, &file, &report->unusable);
	if (code)
		return 0;
	const char *kind = json_string_value(json_object_get(json_object_get(file.root, "model"), "type"));
	snprintf(report->kind, sizeof report->kind, "%s", kind ? kind : "unnamed");
	json_file_close(&file);
	if (!tokenizer_load(path, &tokenizer, &report->unusable))
		report->tokens = tokenizer_vocab_size(tokenizer);
	tokenizer_destroy(tokenizer);
	return 0;
}

static double kv_bytes(const struct model *model, enum dtype dtype)
{
	return 2.0 * model->layers * model->kv_heads * model->head_dim * (double) dtype_bytes(dtype);
}

static double weight_bytes(const struct report *report)
{
	return report->weights ? report->files.bytes :
				 report->parameters.total * (double) dtype_bytes(report->model.dtype);
}

/* --- for people --------------------------------------------------------------------------------------------------- */

static const char *short_count(double count, char *text, size_t size)
{
	if (count >= 1e9)
		snprintf(text, size, "%.2f B", count / 1e9);
	else if (count >= 1e6)
		snprintf(text, size, "%.2f M", count / 1e6);
	else if (count >= 1e4)
		snprintf(text, size, "%.1f k", count / 1e3);
	else
		snprintf(text, size, "%.0f", count);
	return text;
}

static const char *short_bytes(double bytes, char *text, size_t size)
{
	if (bytes >= 0x1p30)
		snprintf(text, size, "%.2f GiB", bytes / 0x1p30);
	else if (bytes >= 0x1p20)
		snprintf(text, size, "%.1f MiB", bytes / 0x1p20);
	else if (bytes >= 0x1p10)
		snprintf(text, size, "%.1f KiB", bytes / 0x1p10);
	else
		snprintf(text, size, "%.0f bytes", bytes);
	return text;
}

static void print_sizes(const struct model *model)
{
	static const char *const norms[] = { "", ", q and k norms over each head", ", q and k norms over all heads" };
	int dense = model_dense_layers(model);

	printf("sizes       %d layers, hidden %d, %d heads of %d, %d KV heads, vocabulary %d, up to %d tokens\n",
		model->layers, model->hidden, model->heads, model->head_dim, model->kv_heads, model->vocab,
		model->max_positions);
	printf("attention   biases: %s%s%s", model->qkv_bias ? "q k v" : model->output_bias ? "" : "none",
		model->output_bias ? model->qkv_bias ? " o" : "o" : "", norms[model->qk_norm]);
	if (model->clip_qkv > 0)
		printf(", q k v clipped to %g", (double) model->clip_qkv);
	printf("\nrope        %s, theta %g", model->rope.type == ROPE_LLAMA3 ? "llama3" : "default", model->rope.theta);
	if (model->rope.type == ROPE_LLAMA3)
		printf(", factor %g beyond %g tokens (low %g, high %g)", model->rope.factor,
			model->rope.original_positions, model->rope.low_frequency_factor,
			model->rope.high_frequency_factor);
	putchar('\n');
	if (model->experts) {
		printf("experts     %d a layer of hidden %d, top %d, weights %s", model->experts, model->expert_hidden,
			model->top_k, model->normalize_top_k ? "divided by their sum" : "as the router gives them");
		if (model->shared_hidden)
			printf(", a gated shared expert of hidden %d", model->shared_hidden);
		putchar('\n');
	}
	if (dense) {
		printf("dense MLP   %d layers of hidden %d", dense, model->mlp_hidden);
		if (model->experts) {
			printf(":");
			for (int l = 0; l < model->layers; l++)
				if (model->dense[l])
					printf(" %d", l);
		}
		puts(model->mlp_bias ? ", with biases" : "");
	}
	printf("ends        ");
	for (int i = 0; i < model->eos_count; i++)
		printf("%s%d", i ? ", " : "token ", model->eos[i]);
	puts(model->eos_count ? "" : "none: sequences end by length");
}

static void print_parameters(const struct model_parameters *parameters)
{
	const struct {
		const char *name;
		double count;
	} kinds[] = {
		{ "embedding", parameters->embedding }, { "attention", parameters->attention },
		{ "norms", parameters->norms }, { "router", parameters->router }, { "experts", parameters->experts },
		{ "shared", parameters->shared }, { "mlp", parameters->mlp }, { "head", parameters->head },
	};
	char text[32];

	printf("parameters  %-10s %10s", "total", short_count(parameters->total, text, sizeof text));
	printf("\n            %-10s %10s  (that a token multiplies with)\n", "active",
		short_count(parameters->active, text, sizeof text));
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (kinds[i].count > 0)
			printf("            %-10s %10s  %5.1f %%\n", kinds[i].name,
				short_count(kinds[i].count, text, sizeof text),
				100 * kinds[i].count / parameters->total);
}

static void print_text(const struct options *options, const struct report *report)
{
	const struct model *model = &report->model;
	double half = kv_bytes(model, DTYPE_FP16), full = kv_bytes(model, DTYPE_FP32);
	char a[32], b[32];

	printf("model       %s: %s, %s weights\n", model->name, model_family_name(model->family), dtype_name(model->dtype));
	print_sizes(model);
	if (model->tied_embeddings)
		puts("head        tied to the embedding");
	print_parameters(&report->parameters);
	printf("memory      weights %s as stored\n", short_bytes(weight_bytes(report), a, sizeof a));
	printf("            KV a token: %s in 16 bits, %s in 32\n", short_bytes(half, a, sizeof a),
		short_bytes(full, b, sizeof b));
	printf("            KV of %d tokens: %s in 16 bits, %s in 32\n", CONTEXT,
		short_bytes(half * CONTEXT, a, sizeof a), short_bytes(full * CONTEXT, b, sizeof b));
	if (report->weights)
		printf("files       %d tensors in %d safetensors file%s, %s: names and shapes are right%s\n",
			report->files.tensors, report->files.shards, report->files.shards == 1 ? "" : "s",
			short_bytes(report->files.bytes, a, sizeof a), options->check ? ", all weights are finite" : "");
	else
		puts("files       config.json only: no weights");
	if (!report->tokenizer)
		puts("tokenizer   none: inputs must be tokens");
	else if (report->tokens)
		printf("tokenizer   %s, %zu tokens\n", report->kind, report->tokens);
	else
		printf("tokenizer   cannot be used: %s: %s\n", report->unusable.where, report->unusable.text);
	puts("\n# its card, for a graph description");
	model_card_write(model, stdout);
}

/* --- for programs ------------------------------------------------------------------------------------------------- */

static json_t *json_of_model(const struct model *model)
{
	static const char *const norms[] = { "none", "head", "all" };
	json_t *dense = json_array(), *ends = json_array(), *rope;

	for (int l = 0; l < model->layers; l++)
		if (!model->experts || model->dense[l])
			json_array_append_new(dense, json_integer(l));
	for (int i = 0; i < model->eos_count; i++)
		json_array_append_new(ends, json_integer(model->eos[i]));
	rope = json_pack("{s:s, s:f}", "type", model->rope.type == ROPE_LLAMA3 ? "llama3" : "default", "theta",
		model->rope.theta);
	if (model->rope.type == ROPE_LLAMA3)
		json_object_update_new(rope,
			json_pack("{s:f, s:f, s:f, s:f}", "factor", model->rope.factor, "low_frequency_factor",
				model->rope.low_frequency_factor, "high_frequency_factor",
				model->rope.high_frequency_factor, "original_positions", model->rope.original_positions));
	json_t *sizes = json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "name", model->name, "family",
		model_family_name(model->family), "dtype", dtype_name(model->dtype), "layers", model->layers, "hidden",
		model->hidden, "heads", model->heads, "kv_heads", model->kv_heads, "head_dim", model->head_dim, "vocab",
		model->vocab, "max_positions", model->max_positions);
	json_t *widths = json_pack("{s:i, s:i, s:i, s:b, s:i, s:i, s:o}", "experts", model->experts, "top_k", model->top_k,
		"expert_hidden", model->expert_hidden, "normalize_top_k", model->normalize_top_k, "shared_hidden",
		model->shared_hidden, "mlp_hidden", model->mlp_hidden, "dense_layers", dense);
	json_t *rest = json_pack("{s:b, s:b, s:b, s:b, s:s, s:f, s:f, s:o, s:o?, s:o}", "qkv_bias", model->qkv_bias,
		"output_bias", model->output_bias, "mlp_bias", model->mlp_bias, "tied_embeddings",
		model->tied_embeddings, "qk_norm", norms[model->qk_norm], "norm_epsilon", (double) model->norm_epsilon,
		"clip_qkv", (double) model->clip_qkv, "rope", rope, "bos",
		model->bos < 0 ? NULL : json_integer(model->bos), "eos", ends);
	json_object_update_new(sizes, widths);
	json_object_update_new(sizes, rest);
	return sizes;
}

static json_t *json_of_parameters(const struct model_parameters *p)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "total", (json_int_t) p->total, "active",
		(json_int_t) p->active, "embedding", (json_int_t) p->embedding, "attention", (json_int_t) p->attention,
		"norms", (json_int_t) p->norms, "router", (json_int_t) p->router, "experts", (json_int_t) p->experts,
		"shared", (json_int_t) p->shared, "mlp", (json_int_t) p->mlp, "head", (json_int_t) p->head);
}

static int print_json(const struct report *report, struct error *error)
{
	char *card = NULL;
	size_t size;
	FILE *memory = open_memstream(&card, &size);

	if (!memory)
		return error_memory(error, "writing a card");
	model_card_write(&report->model, memory);
	fclose(memory);
	json_t *files = !report->weights ? json_null() :
		json_pack("{s:i, s:i, s:I}", "shards", report->files.shards, "tensors", report->files.tensors, "bytes",
			(json_int_t) report->files.bytes);
	json_t *tokenizer = !report->tokenizer ? json_null() :
		json_pack("{s:s, s:b, s:I}", "kind", report->kind, "usable", report->tokens != 0, "tokens",
			(json_int_t) report->tokens);
	json_t *root = json_pack("{s:o, s:o, s:{s:I, s:I, s:I}, s:o, s:o, s:s}", "model", json_of_model(&report->model),
		"parameters", json_of_parameters(&report->parameters), "memory", "weight_bytes",
		(json_int_t) weight_bytes(report), "kv_bytes_per_token_16_bits",
		(json_int_t) kv_bytes(&report->model, DTYPE_FP16), "kv_bytes_per_token_32_bits",
		(json_int_t) kv_bytes(&report->model, DTYPE_FP32), "files", files, "tokenizer", tokenizer, "card",
		card ? card : "");
	free(card);
	if (!root)
		return error_memory(error, "writing JSON");
	int failed = json_dumpf(root, stdout, JSON_INDENT(2)) || putchar('\n') == EOF;
	json_decref(root);
	return failed ? error_set(error, ERROR_RUN, NULL, "cannot write to standard output") : 0;
}

int cmd_model(int argc, char **argv)
{
	struct options options = {0};
	struct error error = {0};
	struct report report = {0};
	int code = parse(argc, argv, &options, &error);

	if (!code && options.help) {
		print_usage();
		return 0;
	}
	if (!code && (options.tokenize || options.detokenize)) {
		code = convert(&options, &error);
		goto out;
	}
	if (!code)
		code = model_config_read(options.directory, &report.model, &error);
	if (!code && (options.check || checkpoint_has_weights(options.directory)))
		code = read_weights(&options, &report, &error);
	if (!code)
		code = read_tokenizer(&options, &report, &error);
	if (code)
		goto out;
	model_count_parameters(&report.model, &report.parameters);
	if (options.card)
		model_card_write(&report.model, stdout);
	else if (options.json)
		code = print_json(&report, &error);
	else
		print_text(&options, &report);
	if (!code && (fflush(stdout) || ferror(stdout)))
		code = error_set(&error, ERROR_RUN, NULL, "cannot write to standard output");
out:
	if (code)
		error_print(&error);
	return error_exit_status(code);
}
