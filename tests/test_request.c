/* SPDX-License-Identifier: Apache-2.0
 *
 * The input's forms, defaults and refusals: every wrong row with its line and its reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "runtime/request.h"

static char path[4096];

/* Each byte is a token; '!' cannot be encoded, '~' has no tokens, '^' one outside the vocabulary. */
static int encode(void *context, const char *text, size_t bytes, int32_t **tokens, size_t *count, struct error *error)
{
	(void) context;
	if (memchr(text, '!', bytes))
		return error_set(error, ERROR_INPUT, NULL, "has an exclamation mark");
	*tokens = malloc((bytes + 1) * sizeof **tokens);
	*count = text[0] == '~' ? 0 : bytes;
	for (size_t i = 0; i < bytes; i++)
		(*tokens)[i] = text[i] == '^' ? 1000 : (unsigned char) text[i];
	return 0;
}

static struct request_options options(void)
{
	struct request_options o;

	request_options_default(&o);
	o.vocab = 256;
	o.encode = encode;
	return o;
}

static void write_input(const char *text, size_t bytes)
{
	FILE *file;

	unlink(path); /* some file systems write a truncated file out before they close it, slowly */
	file = fopen(path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, bytes, file), bytes);
	assert_int_equal(fclose(file), 0);
}

static struct requests *read_input(const char *text, const struct request_options *o)
{
	struct error error = {0};
	struct requests *all = NULL;

	write_input(text, strlen(text));
	if (request_read(path, o, &all, &error))
		fail_msg("%s: %s", error.where, error.text);
	return all;
}

static void test_plain_lines(void **state)
{
	struct request_options o = options();
	struct requests *all;
	const struct request *r;

	(void) state;
	all = read_input(
		"{\"prompt\": \"ab\"}\n"
		"\n"
		"  {\"id\": \"x\", \"tokens\": [1, 255], \"max_new_tokens\": 7, \"temperature\": 0.5, \"top_p\": 0.25,"
		" \"top_k\": 3, \"min_p\": 0.125, \"seed\": -1, \"stop\": [\"q\", \"rs\"], \"ignore_eos\": true,"
		" \"logprobs\": 1}\r\n"
		"{\"id\": 12, \"prompt\": \"\\u0000z\", \"stop\": \"end\", \"logprobs\": false, \"seed\": null}",
		&o);
	assert_int_equal(all->count, 3);
	r = &all->request[0];
	assert_string_equal(r->id, "1");
	assert_int_equal(r->line, 1);
	assert_int_equal(r->prompt_tokens, 2);
	assert_int_equal(r->tokens[1], 'b');
	assert_int_equal(r->max_new_tokens, 128);
	assert_true(r->sampling.temperature == 0 && r->sampling.top_p == 1 && r->sampling.min_p == 0);
	assert_int_equal(r->sampling.top_k, 0);
	assert_true(r->sampling.seed == 0xaf63ac4c86019afcull); /* FNV-1a of "1": stays what it is */
	assert_true(!r->ignore_eos && !r->logprobs && !r->openai && !r->stops);
	r = &all->request[1];
	assert_int_equal(r->line, 3);
	assert_int_equal(r->tokens[1], 255);
	assert_int_equal(r->max_new_tokens, 7);
	assert_true(r->sampling.temperature == 0.5f && r->sampling.top_p == 0.25f && r->sampling.min_p == 0.125f);
	assert_int_equal(r->sampling.top_k, 3);
	assert_true(r->sampling.seed == UINT64_MAX && r->ignore_eos && r->logprobs);
	assert_int_equal(r->stops, 2);
	assert_string_equal(r->stop[1], "rs");
	assert_int_equal(r->stop_bytes[1], 2);
	r = &all->request[2];
	assert_string_equal(r->id, "12");
	assert_int_equal(r->prompt_tokens, 2);
	assert_int_equal(r->tokens[0], 0);
	assert_int_equal(r->stops, 1);
	assert_true(r->sampling.seed == request_seed("12"));
	assert_int_equal(request_find(all, "x"), 1);
	assert_int_equal(request_find(all, "12"), 2);
	assert_int_equal(request_find(all, "2"), -1);
	request_destroy(all);
	request_destroy(NULL);
}

static void test_array(void **state)
{
	struct request_options o = options();
	struct requests *all;

	(void) state;
	o.max_new_tokens = 5;
	o.sampling.temperature = 2;
	o.logprobs = true;
	all = read_input(
		"\xef\xbb\xbf\n[ {\"prompt\":\n \"a],[\\\"\" } ,\n\n {\"tokens\":\n[1,2\n]}\n,{\"prompt\":\"c\", "
		"\"temperature\":0,\"logprobs\":false}]\n",
		&o);
	assert_int_equal(all->count, 3);
	assert_int_equal(all->request[0].line, 2);
	assert_int_equal(all->request[1].line, 5);
	assert_int_equal(all->request[2].line, 8);
	assert_int_equal(all->request[1].max_new_tokens, 5);
	assert_true(all->request[1].sampling.temperature == 2 && all->request[1].logprobs);
	assert_true(all->request[2].sampling.temperature == 0 && !all->request[2].logprobs);
	request_destroy(all);
}

static void test_openai(void **state)
{
	struct request_options o = options();
	struct requests *all;

	(void) state;
	all = read_input(
		"{\"custom_id\": \"a\", \"method\": \"POST\", \"url\": \"/v1/completions\", \"body\": {\"model\": "
		"\"m\", "
		"\"prompt\": \"hi\", \"max_tokens\": 3, \"logprobs\": 0, \"n\": 1, \"stream\": false, \"echo\": false, "
		"\"frequency_penalty\": 0.0, \"logit_bias\": {}, \"suffix\": null, \"user\": \"u\", \"top_k\": 4}}\n"
		"{\"custom_id\": \"b\", \"url\": \"/v1/completions\", \"body\": {\"prompt\": [3, 4, 5]}}\n",
		&o);
	assert_int_equal(all->count, 2);
	assert_true(all->request[0].openai && all->request[0].logprobs);
	assert_string_equal(all->request[0].model, "m");
	assert_int_equal(all->request[0].max_new_tokens, 3);
	assert_int_equal(all->request[0].sampling.top_k, 4);
	assert_string_equal(all->request[1].id, "b");
	assert_null(all->request[1].model);
	assert_int_equal(all->request[1].max_new_tokens, 128);
	assert_int_equal(all->request[1].prompt_tokens, 3);
	request_destroy(all);
}

#define OK          "{\"prompt\": \"a\"}\n"
#define BATCH(rest) "{\"custom_id\": \"a\", \"url\": \"/v1/completions\", " rest "}"
#define BODY(rest)  BATCH("\"body\": {\"prompt\": \"a\", " rest "}")

static const struct {
	const char *text;
	unsigned line; /* 0: none */
	const char *message;
} refusals[] = {
	{"", 0, "has no requests"},
	{" \n\n", 0, "has no requests"},
	{"[]", 0, "has no requests"},
	{OK "{\"prompt\": \"a\"", 2, "is not valid JSON"},
	{"{\n\"prompt\": \"a\"\n}\n", 1, "each line must be one whole object"},
	{"[" OK "\n,\n" OK "\n,]", 6, "is not valid JSON"},
	{"[" OK "] x", 2, "is not valid JSON"},
	{OK "{\"prompt\": \"a\", \"prompt\": \"b\"}", 2, "duplicate object key"},
	{OK "7\n", 2, "row 2 is an integer; it must be an object"},
	{"[{\"prompt\": \"a\"},\n[1]]", 2, "row 2 is a list"},
	{OK "{\"promt\": \"a\"}", 2, "unknown key \"promt\" in a row; did you mean \"prompt\"?"},
	{OK "{\"tokens\": [1], \"max_tokens\": 3}", 2, "unknown key \"max_tokens\" in a row; did you mean \"max_new_tokens\"?"},
	{OK "{\"input_ids\": [1]}", 2, "did you mean \"tokens\"?"},
	{OK "{\"messages\": []}", 2, "chat templates are not supported; give the text as \"prompt\""},
	{OK "{\"tokens\": [1], \"zzzzzz\": 3}", 2, "the keys are id, prompt, tokens, max_new_tokens,"},
	{OK "{\"zzzzzzzzzzzz\": 1}", 2, "unknown key \"zzzzzzzzzzzz\" in a row"},
	{OK "{}", 2, "neither \"prompt\" nor \"tokens\""},
	{"{\"prompt\": null}", 1, "neither \"prompt\" nor \"tokens\""},
	{"{\"prompt\": \"a\", \"tokens\": [1]}", 1, "both \"prompt\" and \"tokens\""},
	{"{\"prompt\": \"\"}", 1, "\"prompt\" is empty"},
	{"{\"prompt\": \"~\"}", 1, "\"prompt\" has no tokens"},
	{"{\"prompt\": \"a!\"}", 1, "\"prompt\" cannot be encoded: has an exclamation mark"},
	{"{\"prompt\": \"a^\"}", 1, "token 1 of \"prompt\" is 1000; the vocabulary has 0 to 255"},
	{"{\"prompt\": 3}", 1, "\"prompt\" is an integer; it must be a string"},
	{"{\"prompt\": \"\xff\"}", 1, "is not valid JSON"},
	{"{\"tokens\": []}", 1, "\"tokens\" is empty"},
	{"{\"tokens\": \"a\"}", 1, "\"tokens\" is a string; it must be a list"},
	{"{\"tokens\": [1, 256]}", 1, "token 1 of \"tokens\" is 256; the vocabulary has 0 to 255"},
	{"{\"tokens\": [-1]}", 1, "token 0 of \"tokens\" is -1"},
	{"{\"tokens\": [1.5]}", 1, "token 0 of \"tokens\" is a number with a fraction"},
	{"{\"tokens\": [4294967297]}", 1, "token 0 of \"tokens\" is 4294967297"},
	{"{\"tokens\": [99999999999999999999]}", 1, "too big integer"},
	{OK "{\"prompt\": \"a\", \"max_new_tokens\": -5}", 2, "\"max_new_tokens\" is -5; it must be 1 to 2147483647"},
	{"{\"prompt\": \"a\", \"max_new_tokens\": 0}", 1, "\"max_new_tokens\" is 0"},
	{"{\"prompt\": \"a\", \"max_new_tokens\": 1e3}", 1, "\"max_new_tokens\" is a number with a fraction"},
	{"{\"prompt\": \"a\", \"max_new_tokens\": 4294967296}", 1, "\"max_new_tokens\" is 4294967296"},
	{"{\"prompt\": \"a\", \"temperature\": -0.1}", 1, "\"temperature\" is -0.1; it must be 0 to 100"},
	{"{\"prompt\": \"a\", \"temperature\": 1e300}", 1, "\"temperature\" is 1e+300"},
	{"{\"prompt\": \"a\", \"temperature\": \"1\"}", 1, "\"temperature\" is a string; it must be a number"},
	{"{\"prompt\": \"a\", \"top_p\": 0}", 1, "\"top_p\" is 0; it must be above 0"},
	{"{\"prompt\": \"a\", \"top_p\": 1.01}", 1, "\"top_p\" is 1.01"},
	{"{\"prompt\": \"a\", \"min_p\": -1}", 1, "\"min_p\" is -1"},
	{"{\"prompt\": \"a\", \"top_k\": -1}", 1, "\"top_k\" is -1"},
	{"{\"prompt\": \"a\", \"seed\": 0.5}", 1, "\"seed\" is a number with a fraction"},
	{"{\"prompt\": \"a\", \"ignore_eos\": 1}", 1, "\"ignore_eos\" is an integer; it must be true or false"},
	{"{\"prompt\": \"a\", \"logprobs\": 0}", 1, "\"logprobs\" must be true, false or an integer from 1 on"},
	{"{\"prompt\": \"a\", \"logprobs\": -1}", 1, "\"logprobs\" must be"},
	{"{\"prompt\": \"a\", \"stop\": \"\"}", 1, "string 0 of \"stop\" is empty"},
	{"{\"prompt\": \"a\", \"stop\": [\"x\", 1]}", 1, "string 1 of \"stop\" is an integer"},
	{"{\"prompt\": \"a\", \"stop\": {}}", 1, "\"stop\" is an object"},
	{"{\"prompt\": \"a\", \"stop\": "
	 "[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"0\",\"a\",\"b\",\"c\",\"d\","
	 "\"e\",\"f\",\"g\"]}",
		1, "\"stop\" has 17 strings; at most 16"},
	{"{\"prompt\": \"a\", \"id\": \"\"}", 1, "\"id\" is empty"},
	{"{\"prompt\": \"a\", \"id\": \"a\\u0000b\"}", 1, "\"id\" is empty or has a zero byte"},
	{"{\"prompt\": \"a\", \"id\": true}", 1, "\"id\" is true or false; it must be a string"},
	{"{\"prompt\": \"a\", \"id\": \"x\"}\n" OK "{\"prompt\": \"a\", \"id\": \"x\"}", 3,
		"the id \"x\" is that of line 1 too"},
	{OK "{\"prompt\": \"a\", \"id\": 1}", 2, "the id \"1\" is that of line 1 too"}, /* row 1 had no id */
	{"[" OK ",\n\n{\"prompt\": \"a\", \"id\": \"1\"}]", 4, "the id \"1\" is that of line 1 too"},

	{OK BODY("\"n\": 1"), 2, "an OpenAI batch row, while the first row is a plain one"},
	{BODY("\"n\": 1") "\n" OK, 2, "a plain row, while the first row is an OpenAI batch row"},
	{"{\"custom_id\": \"a\", \"url\": \"/v1/chat/completions\", \"body\": {}}", 1,
		"\"/v1/chat/completions\" is not supported"},
	{"{\"custom_id\": \"a\", \"url\": \"/v1/embeddings\", \"body\": {}}", 1,
		"only \"/v1/completions\" is supported"},
	{"{\"custom_id\": \"a\", \"body\": {}}", 1, "needs a \"url\""},
	{"{\"url\": \"/v1/completions\", \"body\": {}}", 1, "needs a \"custom_id\""},
	{BATCH("\"method\": \"GET\""), 1, "\"method\" must be \"POST\""},
	{BATCH("\"method\": \"POST\""), 1, "needs a \"body\""},
	{BATCH("\"bodi\": {}"), 1, "unknown key \"bodi\" in a batch row; did you mean \"body\"?"},
	{BATCH("\"body\": {}"), 1, "\"body\" has no \"prompt\""},
	{BATCH("\"body\": {\"prompt\": [\"a\", \"b\"]}"), 1, "is a list of prompts"},
	{BATCH("\"body\": {\"prompt\": [[1], [2]]}"), 1, "is a list of prompts"},
	{BATCH("\"body\": {\"prompt\": []}"), 1, "\"prompt\" is empty"},
	{BATCH("\"body\": {\"prompt\": true}"), 1, "must be a string or a list of tokens"},
	{BODY("\"max_new_tokens\": 3"), 1, "unknown key \"max_new_tokens\" in \"body\""},
	{BODY("\"max_tokens\": 0"), 1, "\"max_tokens\" is 0"},
	{BODY("\"n\": 2"), 1, "\"n\" is not supported; only 1 is possible"},
	{BODY("\"best_of\": 3"), 1, "\"best_of\" is not supported"},
	{BODY("\"stream\": true"), 1, "\"stream\" is not supported; only false"},
	{BODY("\"echo\": true"), 1, "\"echo\" is not supported"},
	{BODY("\"suffix\": \"x\""), 1, "\"suffix\" is not supported"},
	{BODY("\"presence_penalty\": 0.5"), 1, "\"presence_penalty\" is not supported; only 0"},
	{BODY("\"logit_bias\": {\"1\": 2}"), 1, "\"logit_bias\" is not supported"},
	{BODY("\"model\": 3"), 1, "\"model\" must be a string"},
};

static void expect_refusal(const char *text, const struct request_options *o, unsigned line, const char *message)
{
	struct error error = {0};
	struct requests *all = NULL;
	char where[sizeof error.where];

	write_input(text, strlen(text));
	if (line)
		snprintf(where, sizeof where, "%.500s:%u", path, line);
	else
		snprintf(where, sizeof where, "%.500s", path);
	if (request_read(path, o, &all, &error) != ERROR_INPUT)
		fail_msg("not refused: %s", text);
	assert_null(all);
	if (strcmp(error.where, where) || !strstr(error.text, message))
		fail_msg("%s\n   gives %s: %s\n   not %s: %s", text, error.where, error.text, where, message);
}

static void test_refusals(void **state)
{
	struct request_options o = options();
	struct error error = {0};
	struct requests *all = NULL;

	(void) state;
	for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
		expect_refusal(refusals[i].text, &o, refusals[i].line, refusals[i].message);
	o.encode = NULL;
	expect_refusal("{\"prompt\": \"a\"}", &o, 1, "the model has no tokenizer; give \"tokens\"");
	expect_refusal("{\"tokens\": [1], \"stop\": \"x\"}", &o, 1, "\"stop\" is text and the model has no tokenizer");
	assert_int_equal(request_read("/nonexistent/input", &o, &all, &error), ERROR_INPUT);
	assert_string_equal(error.where, "/nonexistent/input");
}

static uint64_t fingerprint_of(const char *text)
{
	struct request_options o = options();
	struct requests *all = read_input(text, &o);
	uint64_t fingerprint = all->fingerprint;

	request_destroy(all);
	return fingerprint;
}

static void test_fingerprint(void **state)
{
	static const char *const others[] = {"{\"id\": \"b\", \"prompt\": \"ab\"}",
		"{\"id\": \"a\", \"prompt\": \"ac\"}", "{\"id\": \"a\", \"prompt\": \"ab\", \"max_new_tokens\": 3}",
		"{\"id\": \"a\", \"prompt\": \"ab\", \"temperature\": 1}",
		"{\"id\": \"a\", \"prompt\": \"ab\", \"seed\": 1}",
		"{\"id\": \"a\", \"prompt\": \"ab\", \"stop\": \"x\"}",
		"{\"id\": \"a\", \"prompt\": \"ab\", \"ignore_eos\": true}",
		"{\"id\": \"a\", \"prompt\": \"ab\", \"top_k\": 1}",
		"{\"id\": \"a\", \"prompt\": \"ab\"}\n{\"prompt\": \"a\"}\n"};
	uint64_t first = fingerprint_of("{\"id\": \"a\", \"prompt\": \"ab\"}");

	(void) state;
	/* how it is written does not matter, what it says does */
	assert_true(first == fingerprint_of("[{\"tokens\":[97,98],\"id\":\"a\"}]"));
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		assert_true(first != fingerprint_of(others[i]));
}

/* Whatever bytes come: an error or requests, never a crash (the sanitizers watch). */
static void test_mangled(void **state)
{
	static const char *const seeds[] = {
		"[{\"id\": \"a\", \"prompt\": \"x\\\"y\", \"stop\": [\"q\"]}, {\"tokens\": [1, 2, 3], \"top_p\": 0.5}]",
		"{\"id\": \"a\", \"prompt\": \"xy\"}\n{\"tokens\": [1, 2], \"logprobs\": true}\n",
		BODY("\"max_tokens\": 4, \"model\": \"m\"") "\n"};
	static const char bytes[] = "{}[]\",:\\ \n0-.eatu\xff";
	struct request_options o = options();
	uint64_t random = 1;
	int good = 0;

	(void) state;
	for (int i = 0; i < 3000; i++) {
		const char *seed = seeds[i % 3];
		char text[256];
		size_t length = strlen(seed);
		struct error error = {0};
		struct requests *all = NULL;

		memcpy(text, seed, length);
		for (int k = 0; k <= i % 2; k++) {
			random = random * 6364136223846793005u + 1442695040888963407u;
			if ((random >> 60) < 3)
				length = (size_t) (random >> 33) % (length + 1);
			else if (length)
				text[(random >> 33) % length] = bytes[(random >> 20) % (sizeof bytes - 1)];
		}
		write_input(text, length);
		if (request_read(path, &o, &all, &error)) {
			assert_null(all);
			assert_int_equal(error.code, ERROR_INPUT);
		} else {
			good++;
		}
		request_destroy(all);
	}
	assert_true(good > 50);
}

int main(void)
{
	const char *folder = getenv("TMPDIR");
	int failed;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain_lines),
		cmocka_unit_test(test_array),
		cmocka_unit_test(test_openai),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_fingerprint),
		cmocka_unit_test(test_mangled),
	};

	snprintf(path, sizeof path, "%s/test_request.%d", folder ? folder : "/tmp", (int) getpid());
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	return failed;
}
