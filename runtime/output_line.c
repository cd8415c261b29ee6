/* SPDX-License-Identifier: Apache-2.0
 *
 * One finished sequence as one line of JSON. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "runtime/output_internal.h"

/* jansson hands its own failures on: a NULL value makes the set fail, a failed set is seen at the end. */
struct builder {
	json_t *object;
	bool failed;
};

static void put(struct builder *b, const char *key, json_t *value)
{
	if (json_object_set_new(b->object, key, value))
		b->failed = true;
}

static json_t *real_or_null(double value)
{
	return isfinite(value) ? json_real(value) : json_null();
}

static json_t *seconds(double value)
{
	return value >= 0 ? real_or_null(value) : json_null();
}

static json_t *token_list(const struct output_result *result)
{
	json_t *list = json_array();

	for (int i = 0; list && i < result->count; i++)
		if (json_array_append_new(list, json_integer(result->tokens[i]))) {
			json_decref(list);
			return NULL;
		}
	return list;
}

static json_t *logprob_list(const struct output_result *result)
{
	json_t *list = json_array();

	for (int i = 0; list && i < result->count; i++)
		if (json_array_append_new(list, real_or_null(result->logprobs[i]))) {
			json_decref(list);
			return NULL;
		}
	return list;
}

static const char *reason_name(enum finish_reason reason)
{
	return reason == FINISH_STOP ? "stop" : reason == FINISH_LENGTH ? "length" : "error";
}

static json_t *why_text(const struct output_result *result)
{
	json_t *text = result->why ? json_string(result->why) : NULL; /* NULL where it is not UTF-8 */

	return text ? text : json_string("failed");
}

static json_t *plain_line(const struct request *r, const struct output_result *result)
{
	struct builder b = {.object = json_object()};

	put(&b, "id", json_string(r->id));
	if (result->text)
		put(&b, "text", json_stringn(result->text, result->text_bytes));
	put(&b, "tokens", token_list(result));
	put(&b, "finish_reason", json_string(reason_name(result->reason)));
	put(&b, "prompt_tokens", json_integer(r->prompt_tokens));
	put(&b, "completion_tokens", json_integer(result->count));
	put(&b, "ttft_s", seconds(result->ttft_s));
	put(&b, "latency_s", seconds(result->latency_s));
	if (result->logprobs)
		put(&b, "logprobs", logprob_list(result));
	if (result->reason == FINISH_ERROR)
		put(&b, "error", why_text(result));
	if (b.failed) {
		json_decref(b.object);
		return NULL;
	}
	return b.object;
}

/* The tokens' texts are not known here; ids in this form are what other servers give on request. */
static json_t *openai_logprobs(const struct output_result *result)
{
	struct builder b = {.object = json_object()};
	json_t *list = json_array();

	for (int i = 0; list && i < result->count; i++) {
		char name[32];
		snprintf(name, sizeof name, "token_id:%d", result->tokens[i]);
		if (json_array_append_new(list, json_string(name)))
			b.failed = true;
	}
	put(&b, "tokens", list);
	put(&b, "token_logprobs", logprob_list(result));
	if (b.failed) {
		json_decref(b.object);
		return NULL;
	}
	return b.object;
}

static json_t *openai_choice(const struct output_result *result)
{
	struct builder b = {.object = json_object()};

	put(&b, "index", json_integer(0));
	put(&b, "text", json_stringn(result->text ? result->text : "", result->text ? result->text_bytes : 0));
	put(&b, "finish_reason", json_string(reason_name(result->reason)));
	put(&b, "token_ids", token_list(result));
	put(&b, "logprobs", result->logprobs ? openai_logprobs(result) : json_null());
	if (b.failed) {
		json_decref(b.object);
		return NULL;
	}
	return b.object;
}

static json_t *openai_response(const struct output *output, const struct request *r, const struct output_result *result)
{
	json_t *choice = openai_choice(result);

	if (!choice)
		return NULL;
	/* "o" hands the choice over, also where packing fails */
	return json_pack("{s:i, s:o, s:{s:o, s:s, s:I, s:s, s:[o], s:{s:i, s:i, s:i}}}", "status_code", 200,
		"request_id", json_sprintf("req_%d", result->sequence + 1), "body", "id",
		json_sprintf("cmpl-%d", result->sequence + 1), "object", "text_completion", "created",
		(json_int_t) time(NULL), "model", r->model ? r->model : output->model, "choices", choice, "usage",
		"prompt_tokens", r->prompt_tokens, "completion_tokens", result->count, "total_tokens",
		r->prompt_tokens + result->count);
}

static json_t *openai_line(const struct output *output, const struct request *r, const struct output_result *result)
{
	struct builder b = {.object = json_object()};
	bool failed = result->reason == FINISH_ERROR;

	put(&b, "id", json_sprintf("batch_req_%d", result->sequence + 1));
	put(&b, "custom_id", json_string(r->id));
	put(&b, "response", failed ? json_null() : openai_response(output, r, result));
	put(&b, "error", failed ? json_pack("{s:s, s:o}", "code", "failed", "message", why_text(result)) : json_null());
	put(&b, "ttft_s", seconds(result->ttft_s));
	put(&b, "latency_s", seconds(result->latency_s));
	if (b.failed) {
		json_decref(b.object);
		return NULL;
	}
	return b.object;
}

static bool is_utf8(const char *text, size_t bytes)
{
	json_t *string = json_stringn(text, bytes);

	json_decref(string);
	return string != NULL;
}

int output_line(const struct output *output, const struct output_result *result, char **line, size_t *bytes,
	struct error *error)
{
	const struct request *r = &output->requests->request[result->sequence];
	json_t *value = r->openai ? openai_line(output, r, result) : plain_line(r, result);
	char *text, *grown;
	size_t length;

	if (!value) {
		if (result->text && !is_utf8(result->text, result->text_bytes))
			return error_set(error, ERROR_RUN, output->path, "the text of \"%.200s\" is not UTF-8", r->id);
		return error_memory(error, "writing a result");
	}
	text = json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(9));
	json_decref(value);
	if (!text)
		return error_memory(error, "writing a result");
	length = strlen(text);
	grown = realloc(text, length + 2);
	if (!grown) {
		free(text);
		return error_memory(error, "writing a result");
	}
	grown[length] = '\n';
	grown[length + 1] = 0;
	*line = grown;
	*bytes = length + 1;
	return 0;
}
