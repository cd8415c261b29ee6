/* SPDX-License-Identifier: Apache-2.0
 *
 * The keys of one row of the input: which there are, what they may hold, and what they mean. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/request_internal.h"

#define LARGEST_TEMPERATURE 100.0

static const char *const plain_keys[] = {"id", "prompt", "tokens", "max_new_tokens", "temperature", "top_p", "top_k",
	"min_p", "seed", "stop", "ignore_eos", "logprobs", NULL};
static const char *const batch_keys[] = {"custom_id", "method", "url", "body", NULL};
static const char *const body_keys[] = {"model", "prompt", "max_tokens", "temperature", "top_p", "top_k", "min_p",
	"seed", "stop", "ignore_eos", "logprobs", "n", "best_of", "stream", "stream_options", "echo", "suffix",
	"frequency_penalty", "presence_penalty", "logit_bias", "user", NULL};

__attribute__((format(printf, 3, 4))) static int refuse(
	const struct request_row *row, struct error *error, const char *format, ...)
{
	char text[sizeof error->text];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	return error_at(error, ERROR_INPUT, row->path, row->line, "%s", text);
}

static const char *kind_of(const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "a list";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
		return "an integer";
	case JSON_REAL:
		return "a number with a fraction";
	case JSON_NULL:
		return "null";
	default:
		return "true or false";
	}
}

/* The value of a key, NULL: absent or null. */
static const json_t *value_of(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	return json_is_null(value) ? NULL : value;
}

static int read_integer(const struct request_row *row, const json_t *object, const char *key, int64_t least,
	int64_t most, int64_t *out, struct error *error)
{
	const json_t *value = value_of(object, key);

	if (!value)
		return 0;
	if (!json_is_integer(value))
		return refuse(row, error, "\"%s\" is %s; it must be an integer", key, kind_of(value));
	if (json_integer_value(value) < least || json_integer_value(value) > most)
		return refuse(row, error, "\"%s\" is %" JSON_INTEGER_FORMAT "; it must be %" PRId64 " to %" PRId64, key,
			json_integer_value(value), least, most);
	*out = json_integer_value(value);
	return 0;
}

static int read_number(const struct request_row *row, const json_t *object, const char *key, double least, double most,
	float *out, struct error *error)
{
	const json_t *value = value_of(object, key);
	double number;

	if (!value)
		return 0;
	if (!json_is_number(value))
		return refuse(row, error, "\"%s\" is %s; it must be a number", key, kind_of(value));
	number = json_number_value(value);
	if (!(number >= least && number <= most))
		return refuse(row, error, "\"%s\" is %g; it must be %g to %g", key, number, least, most);
	*out = (float) number;
	return 0;
}

static int read_boolean(
	const struct request_row *row, const json_t *object, const char *key, bool *out, struct error *error)
{
	const json_t *value = value_of(object, key);

	if (!value)
		return 0;
	if (!json_is_boolean(value))
		return refuse(row, error, "\"%s\" is %s; it must be true or false", key, kind_of(value));
	*out = json_is_true(value);
	return 0;
}

/* What other programs call a key. */
static const char *meant(const char *key, const char *const *keys)
{
	static const char *const names[][2] = {{"max_tokens", "max_new_tokens"}, {"max_new_tokens", "max_tokens"},
		{"max_length", "max_new_tokens"}, {"input_ids", "tokens"}, {"prompt_token_ids", "tokens"},
		{"text", "prompt"}, {"input", "prompt"}, {"custom_id", "id"}};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		for (int k = 0; keys[k] && !strcmp(key, names[i][0]); k++)
			if (!strcmp(keys[k], names[i][1]))
				return keys[k];
	return error_nearest(key, keys);
}

static int known_keys(const struct request_row *row, const json_t *object, const char *const *keys, const char *what,
	struct error *error)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *) object, key, value)
	{
		char list[256] = "";
		int i = 0;
		while (keys[i] && strcmp(keys[i], key))
			i++;
		if (keys[i])
			continue;
		const char *near = meant(key, keys);
		if (near)
			return refuse(row, error, "unknown key \"%.100s\" in %s; did you mean \"%s\"?", key, what, near);
		if (!strcmp(key, "messages"))
			return refuse(row, error, "\"messages\" in %s is a chat, and chat templates are not supported; give "
				"the text as \"prompt\"", what);
		for (size_t n = i = 0; keys[i] && n < sizeof list; i++)
			n += (size_t) snprintf(list + n, sizeof list - n, "%s%s", i ? ", " : "", keys[i]);
		return refuse(row, error, "unknown key \"%.100s\" in %s; the keys are %s", key, what, list);
	}
	return 0;
}

static char *copy_text(const char *text, size_t bytes)
{
	char *copy = malloc(bytes + 1);

	if (copy) {
		memcpy(copy, text, bytes);
		copy[bytes] = 0;
	}
	return copy;
}

static int read_id(const struct request_row *row, const json_t *object, const char *key, struct error *error)
{
	const json_t *value = value_of(object, key);
	char digits[32];

	if (!value || json_is_integer(value)) {
		if (value)
			snprintf(digits, sizeof digits, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
		else
			snprintf(digits, sizeof digits, "%d", row->number);
		row->request->id = copy_text(digits, strlen(digits));
	} else {
		if (!json_is_string(value))
			return refuse(row, error, "\"%s\" is %s; it must be a string", key, kind_of(value));
		if (!json_string_length(value) || strlen(json_string_value(value)) != json_string_length(value))
			return refuse(row, error, "\"%s\" is empty or has a zero byte", key);
		row->request->id = copy_text(json_string_value(value), json_string_length(value));
	}
	return row->request->id ? 0 : error_memory(error, "reading requests");
}

static int check_token(const struct request_row *row, const char *key, size_t i, int64_t token, struct error *error)
{
	if (token >= 0 && token < row->options->vocab)
		return 0;
	return refuse(row, error, "token %zu of \"%s\" is %" PRId64 "; the vocabulary has 0 to %d", i, key, token,
		row->options->vocab - 1);
}

static int read_tokens(const struct request_row *row, const char *key, const json_t *list, struct error *error)
{
	struct request *r = row->request;
	size_t count = json_array_size(list);

	if (!count)
		return refuse(row, error, "\"%s\" is empty", key);
	if (count > INT32_MAX)
		return refuse(row, error, "\"%s\" has %zu tokens", key, count);
	r->tokens = malloc(count * sizeof *r->tokens);
	if (!r->tokens)
		return error_memory(error, "reading requests");
	for (size_t i = 0; i < count; i++) {
		const json_t *value = json_array_get(list, i);
		int code;

		if (!json_is_integer(value))
			return refuse(
				row, error, "token %zu of \"%s\" is %s; it must be an integer", i, key, kind_of(value));
		code = check_token(row, key, i, json_integer_value(value), error);
		if (code)
			return code;
		r->tokens[i] = (int32_t) json_integer_value(value);
	}
	r->prompt_tokens = (int) count;
	return 0;
}

static int encode_prompt(const struct request_row *row, const json_t *value, struct error *error)
{
	struct request *r = row->request;
	struct error inner = {0};
	int32_t *tokens = NULL;
	size_t count = 0;
	int code;

	if (!json_string_length(value))
		return refuse(row, error, "\"prompt\" is empty");
	if (!row->options->encode)
		return refuse(row, error, "\"prompt\" is text and the model has no tokenizer; give %s",
			r->openai ? "a list of tokens" : "\"tokens\"");
	code = row->options->encode(
		row->options->context, json_string_value(value), json_string_length(value), &tokens, &count, &inner);
	if (code)
		return error_at(error, code, row->path, row->line, "\"prompt\" cannot be encoded: %s%s%s", inner.where,
			inner.where[0] ? ": " : "", inner.text);
	r->tokens = tokens;
	if (!count)
		return refuse(row, error, "\"prompt\" has no tokens");
	if (count > INT32_MAX)
		return refuse(row, error, "\"prompt\" has %zu tokens", count);
	r->prompt_tokens = (int) count;
	for (size_t i = 0; i < count; i++) {
		code = check_token(row, "prompt", i, tokens[i], error);
		if (code)
			return code;
	}
	return 0;
}

static int read_prompt(const struct request_row *row, const json_t *object, struct error *error)
{
	const json_t *prompt = value_of(object, "prompt"), *tokens = value_of(object, "tokens");

	if (row->request->openai) {
		if (!prompt)
			return refuse(row, error, "\"body\" has no \"prompt\"");
		if (json_is_array(prompt))
			return json_is_string(json_array_get(prompt, 0)) || json_is_array(json_array_get(prompt, 0))
				       ? refuse(row, error,
						 "\"prompt\" is a list of prompts; give each a row of its own")
				       : read_tokens(row, "prompt", prompt, error);
		if (!json_is_string(prompt))
			return refuse(row, error, "\"prompt\" is %s; it must be a string or a list of tokens",
				kind_of(prompt));
		return encode_prompt(row, prompt, error);
	}
	if (prompt && tokens)
		return refuse(row, error, "both \"prompt\" and \"tokens\" are given; one is needed");
	if (!prompt && !tokens)
		return refuse(row, error, "neither \"prompt\" nor \"tokens\" is given; one is needed");
	if (tokens) {
		if (!json_is_array(tokens))
			return refuse(row, error, "\"tokens\" is %s; it must be a list of integers", kind_of(tokens));
		return read_tokens(row, "tokens", tokens, error);
	}
	if (!json_is_string(prompt))
		return refuse(row, error, "\"prompt\" is %s; it must be a string", kind_of(prompt));
	return encode_prompt(row, prompt, error);
}

static int read_stop(const struct request_row *row, const json_t *object, struct error *error)
{
	const json_t *value = value_of(object, "stop");
	struct request *r = row->request;
	size_t count;

	if (!value)
		return 0;
	if (!json_is_string(value) && !json_is_array(value))
		return refuse(row, error, "\"stop\" is %s; it must be a string or a list of strings", kind_of(value));
	count = json_is_array(value) ? json_array_size(value) : 1;
	if (count > REQUEST_MAX_STOPS)
		return refuse(
			row, error, "\"stop\" has %zu strings; at most %d are possible", count, REQUEST_MAX_STOPS);
	if (count && !row->options->encode)
		return refuse(row, error, "\"stop\" is text and the model has no tokenizer; leave it out");
	for (size_t i = 0; i < count; i++) {
		const json_t *one = json_is_array(value) ? json_array_get(value, i) : value;

		if (!json_is_string(one))
			return refuse(row, error, "string %zu of \"stop\" is %s", i, kind_of(one));
		if (!json_string_length(one))
			return refuse(row, error, "string %zu of \"stop\" is empty", i);
		r->stop[i] = copy_text(json_string_value(one), json_string_length(one));
		if (!r->stop[i])
			return error_memory(error, "reading requests");
		r->stop_bytes[i] = json_string_length(one);
		r->stops = (int) i + 1;
	}
	return 0;
}

static int read_logprobs(const struct request_row *row, const json_t *object, struct error *error)
{
	const json_t *value = value_of(object, "logprobs");
	int least = row->request->openai ? 0 : 1;

	if (!value)
		return 0;
	if (json_is_boolean(value)) {
		row->request->logprobs = json_is_true(value);
		return 0;
	}
	if (!json_is_integer(value) || json_integer_value(value) < least)
		return refuse(row, error, "\"logprobs\" must be true, false or an integer from %d on", least);
	row->request->logprobs = true;
	return 0;
}

/* What rows and OpenAI bodies have in common. */
static int read_settings(const struct request_row *row, const json_t *object, struct error *error)
{
	struct request *r = row->request;
	int64_t length = row->options->max_new_tokens, top_k = row->options->sampling.top_k, seed = 0;
	float temperature = row->options->sampling.temperature, top_p = row->options->sampling.top_p,
	      min_p = row->options->sampling.min_p;
	int code = read_prompt(row, object, error);

	if (!code)
		code = read_integer(
			row, object, r->openai ? "max_tokens" : "max_new_tokens", 1, INT32_MAX, &length, error);
	if (!code)
		code = read_number(row, object, "temperature", 0, LARGEST_TEMPERATURE, &temperature, error);
	if (!code)
		code = read_number(row, object, "top_p", 0, 1, &top_p, error);
	if (!code && !(top_p > 0))
		code = refuse(row, error, "\"top_p\" is 0; it must be above 0 (1 turns it off)");
	if (!code)
		code = read_integer(row, object, "top_k", 0, INT32_MAX, &top_k, error);
	if (!code)
		code = read_number(row, object, "min_p", 0, 1, &min_p, error);
	if (!code)
		code = read_integer(row, object, "seed", INT64_MIN, INT64_MAX, &seed, error);
	if (!code)
		code = read_boolean(row, object, "ignore_eos", &r->ignore_eos, error);
	if (!code)
		code = read_logprobs(row, object, error);
	if (!code)
		code = read_stop(row, object, error);
	if (code)
		return code;
	r->max_new_tokens = length ? (int) length : REQUEST_MAX_NEW_TOKENS;
	r->sampling = (struct sampling){.temperature = temperature,
		.top_p = top_p,
		.min_p = min_p,
		.top_k = (int) top_k,
		.seed = value_of(object, "seed") ? (uint64_t) seed : request_seed(r->id)};
	return 0;
}

/* Keys of the OpenAI API that are accepted only where they ask for nothing. */
static int refuse_unsupported(const struct request_row *row, const json_t *body, struct error *error)
{
	static const struct {
		const char *key;
		double only;
	} fixed[] = {{"n", 1}, {"best_of", 1}, {"frequency_penalty", 0}, {"presence_penalty", 0}};
	static const char *const off[] = {"stream", "echo"}, *const absent[] = {"suffix", "stream_options"};
	const json_t *value;

	for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
		value = value_of(body, fixed[i].key);
		if (value && (!json_is_number(value) || json_number_value(value) != fixed[i].only))
			return refuse(row, error, "\"%s\" is not supported; only %g is possible", fixed[i].key,
				fixed[i].only);
	}
	for (size_t i = 0; i < sizeof off / sizeof *off; i++) {
		value = value_of(body, off[i]);
		if (value && !json_is_false(value))
			return refuse(row, error, "\"%s\" is not supported; only false is possible", off[i]);
	}
	for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
		value = value_of(body, absent[i]);
		if (value)
			return refuse(row, error, "\"%s\" is not supported", absent[i]);
	}
	value = value_of(body, "logit_bias");
	if (value && (!json_is_object(value) || json_object_size(value)))
		return refuse(row, error, "\"logit_bias\" is not supported");
	return 0;
}

static int read_batch_row(const struct request_row *row, const json_t *object, struct error *error)
{
	const json_t *method = value_of(object, "method"), *url = value_of(object, "url"),
		     *body = value_of(object, "body"), *model;
	int code = known_keys(row, object, batch_keys, "a batch row", error);

	if (code)
		return code;
	if (!value_of(object, "custom_id"))
		return refuse(row, error, "a batch row needs a \"custom_id\"");
	code = read_id(row, object, "custom_id", error);
	if (code)
		return code;
	if (method && (!json_is_string(method) || strcmp(json_string_value(method), "POST")))
		return refuse(row, error, "\"method\" must be \"POST\"");
	if (!json_is_string(url))
		return refuse(row, error, "a batch row needs a \"url\": \"/v1/completions\"");
	if (!strcmp(json_string_value(url), "/v1/chat/completions"))
		return refuse(row, error,
			"\"/v1/chat/completions\" is not supported: chat templates are not; "
			"give the whole prompt to \"/v1/completions\"");
	if (strcmp(json_string_value(url), "/v1/completions"))
		return refuse(row, error, "\"url\" is \"%.200s\"; only \"/v1/completions\" is supported",
			json_string_value(url));
	if (!json_is_object(body))
		return refuse(row, error, "a batch row needs a \"body\" that is an object");
	code = known_keys(row, body, body_keys, "\"body\"", error);
	if (!code)
		code = refuse_unsupported(row, body, error);
	if (code)
		return code;
	model = value_of(body, "model");
	if (model) {
		if (!json_is_string(model) || strlen(json_string_value(model)) != json_string_length(model))
			return refuse(row, error, "\"model\" must be a string");
		row->request->model = copy_text(json_string_value(model), json_string_length(model));
		if (!row->request->model)
			return error_memory(error, "reading requests");
	}
	return read_settings(row, body, error);
}

int request_row_read(const struct request_row *row, const json_t *value, struct error *error)
{
	struct request *r = row->request;
	int code;

	r->line = row->line;
	r->ignore_eos = row->options->ignore_eos;
	r->logprobs = row->options->logprobs;
	if (!json_is_object(value))
		return refuse(
			row, error, "row %d is %s; it must be an object {\"prompt\": …}", row->number, kind_of(value));
	r->openai =
		json_object_get(value, "custom_id") || json_object_get(value, "url") || json_object_get(value, "body");
	if (r->openai)
		return read_batch_row(row, value, error);
	code = known_keys(row, value, plain_keys, "a row", error);
	if (!code)
		code = read_id(row, value, "id", error);
	return code ? code : read_settings(row, value, error);
}

void request_clear(struct request *r)
{
	free(r->id);
	free(r->tokens);
	free(r->model);
	for (int i = 0; i < r->stops; i++)
		free(r->stop[i]);
	*r = (struct request){0};
}
