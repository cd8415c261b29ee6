/* SPDX-License-Identifier: Apache-2.0
 *
 * What happens with each token and each finished sequence of a run. */
#define _GNU_SOURCE /* memmem */
#include "tools/run_results.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REASONS_TOLD = 3 }; /* on stderr; every one is in its line of outputs.jsonl */

int run_results_create(const struct requests *requests, const struct tokenizer *tokenizer, struct output *output,
	struct run_results *results, struct error *error)
{
	*results = (struct run_results){ .requests = requests, .tokenizer = tokenizer, .output = output };
	results->result = calloc((size_t) requests->count + 1, sizeof *results->result);
	if (!results->result)
		return error_memory(error, "keeping results");
	for (int i = 0; i < requests->count; i++)
		if (!output_has(output, i))
			results->result[results->sequences++] = (struct run_result){ .request = i };
	return 0;
}

static void free_text(struct run_result *r)
{
	tokenizer_stream_destroy(r->stream);
	r->stream = NULL;
	free(r->text);
	r->text = NULL;
	free(r->logprobs);
	r->logprobs = NULL;
}

void run_results_destroy(struct run_results *results)
{
	for (int i = 0; results->result && i < results->sequences; i++) {
		free_text(&results->result[i]);
		free(results->result[i].token_s);
	}
	free(results->result);
	results->result = NULL;
}

static const struct request *request_of(const struct run_results *results, int sequence)
{
	return &results->requests->request[results->result[sequence].request];
}

int run_results_add_all(struct run_results *results, struct batcher *batcher, struct error *error)
{
	results->batcher = batcher;
	for (int i = 0; i < results->sequences; i++) {
		const struct request *r = request_of(results, i);
		int index;
		int code = batcher_add(batcher,
			&(struct sequence){ .prompt = r->tokens, .prompt_tokens = r->prompt_tokens,
				.max_new_tokens = r->max_new_tokens, .ignore_eos = r->ignore_eos,
				.sampling = r->sampling },
			&index, error);
		if (code)
			return code;
	}
	if (results->code && error)
		*error = results->error;
	return results->code;
}

static int fail(struct run_results *results, int code)
{
	if (!results->code)
		results->code = code;
	return code;
}

/* Memory for the largest count at once, when the first token comes: nothing is allocated for waiting sequences. */
static int prepare(struct run_results *results, struct run_result *r, const struct request *request)
{
	size_t most = (size_t) request->max_new_tokens;
	if (r->token_s)
		return 0;
	r->token_s = malloc(most * sizeof *r->token_s);
	if (request->logprobs)
		r->logprobs = malloc(most * sizeof *r->logprobs);
	if (!r->token_s || (request->logprobs && !r->logprobs))
		return fail(results, error_memory(&results->error, "keeping results"));
	if (request->stops && results->tokenizer)
		return fail(results, tokenizer_stream_create(results->tokenizer, 1, &r->stream, &results->error));
	return 0;
}

static int append_text(struct run_results *results, struct run_result *r, const char *text, size_t bytes)
{
	if (r->text_bytes + bytes + 1 > r->text_room) {
		size_t room = 2 * r->text_room + bytes + 256;
		char *larger = realloc(r->text, room);
		if (!larger)
			return fail(results, error_memory(&results->error, "keeping a sequence's text"));
		r->text = larger;
		r->text_room = room;
	}
	memcpy(r->text + r->text_bytes, text, bytes);
	r->text_bytes += bytes;
	return 0;
}

/* Whether a stop string is complete now; it may have begun in earlier text, `fresh` bytes being new. */
static bool find_stop(struct run_result *r, const struct request *request, size_t fresh)
{
	size_t best = r->text_bytes + 1;
	for (int s = 0; s < request->stops; s++) {
		size_t length = request->stop_bytes[s], back = fresh + length;
		size_t from = back > r->text_bytes ? 0 : r->text_bytes - back;
		const char *at = memmem(r->text + from, r->text_bytes - from, request->stop[s], length);
		if (at && (size_t) (at - r->text) < best)
			best = (size_t) (at - r->text);
	}
	if (best > r->text_bytes)
		return false;
	r->text_bytes = best;
	r->stopped = true;
	return true;
}

int run_results_on_token(void *context, int sequence, int count, int32_t token, float logprob)
{
	struct run_results *results = context;
	struct run_result *r = &results->result[sequence];
	const struct request *request = request_of(results, sequence);
	if (results->code || prepare(results, r, request))
		return 1; /* the run ends with the error */
	r->token_s[count - 1] = results->now_s;
	if (r->logprobs)
		r->logprobs[count - 1] = logprob;
	r->count = count;
	results->tokens++;
	if (!r->stream)
		return 0;
	const char *text;
	size_t bytes;
	if (fail(results, tokenizer_stream_feed(r->stream, token, &text, &bytes, &results->error))
		|| append_text(results, r, text, bytes))
		return 1;
	return bytes && find_stop(r, request, bytes);
}

/* The text of a finished sequence; *owned is to be freed. */
static int final_text(struct run_results *results, struct run_result *r, const int32_t *tokens, int count, char **text,
	size_t *bytes)
{
	if (!results->tokenizer)
		return 0;
	int code = tokenizer_decode(results->tokenizer, tokens, (size_t) count, 1, text, bytes, &results->error);
	if (!code && r->stopped)
		*bytes = r->text_bytes;
	return code;
}

void run_results_on_finish(void *context, int sequence, enum finish_reason reason)
{
	struct run_results *results = context;
	struct run_result *r = &results->result[sequence];
	const struct request *request = request_of(results, sequence);
	int count;
	const int32_t *tokens = batcher_generated(results->batcher, sequence, &count);
	char *text = NULL;
	size_t bytes = 0;
	r->reason = reason;
	r->finished_s = results->now_s;
	if (reason == FINISH_ERROR && results->failed++ < REASONS_TOLD)
		fprintf(stderr, "octant: sequence %s failed: %s\n", request->id, batcher_reason(results->batcher, sequence));
	if (reason != FINISH_ERROR)
		results->finished++;
	if (results->code)
		return; /* the run is ending: this sequence runs again with --resume */
	int code = final_text(results, r, tokens, count, &text, &bytes);
	if (!code)
		code = output_write(results->output,
			&(struct output_result){
				.sequence = r->request,
				.tokens = tokens,
				.logprobs = request->logprobs ? r->logprobs : NULL,
				.count = count,
				.text = text,
				.text_bytes = bytes,
				.reason = reason,
				.why = reason == FINISH_ERROR ? batcher_reason(results->batcher, sequence) : NULL,
				.ttft_s = count ? r->token_s[0] : -1,
				.latency_s = results->now_s,
			},
			&results->error);
	fail(results, code);
	free(text);
	free_text(r);
}
