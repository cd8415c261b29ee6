/* SPDX-License-Identifier: Apache-2.0
 *
 * The output folder: lines as they are promised, going on after kills at any moment, full disks, folders of
 * other runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "runtime/output.h"

enum { ROWS = 40 };

static char base[2048], folder[2304];
static int folders;

static const struct output_identity identity = {
	.model = "m\xff", .model_fingerprint = 7, .settings_fingerprint = 8, .settings = "fp32, 1x1x1"};

static struct requests *make_requests(const char *format)
{
	struct request_options o;
	struct requests *all = NULL;
	struct error error = {0};
	char path[2304];
	FILE *file;

	request_options_default(&o);
	o.vocab = 100;
	snprintf(path, sizeof path, "%s/input.jsonl", base);
	unlink(path);
	file = fopen(path, "w");
	assert_non_null(file);
	for (int i = 0; i < ROWS; i++)
		fprintf(file, format, i);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(request_read(path, &o, &all, &error), 0);
	return all;
}

static struct requests *plain(void)
{
	return make_requests("{\"id\": \"r%d\", \"tokens\": [1, 2, 3]}\n");
}

static void new_folder(void)
{
	snprintf(folder, sizeof folder, "%s/out%d/deeper", base, folders++);
}

static char *read_file(const char *name, size_t *bytes)
{
	char path[2600], *text = malloc(1 << 20);
	FILE *file;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	file = fopen(path, "r");
	assert_non_null(file);
	*bytes = fread(text, 1, (1 << 20) - 1, file);
	text[*bytes] = 0;
	fclose(file);
	return text;
}

static void append(const char *name, const char *text, size_t bytes)
{
	char path[2600];
	FILE *file;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	file = fopen(path, "a");
	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, bytes, file), bytes);
	assert_int_equal(fclose(file), 0);
}

static struct output *open_output(enum output_mode mode, const struct requests *requests)
{
	struct error error = {0};
	struct output *output = NULL;

	if (output_open(folder, mode, &identity, requests, &output, &error) || output_begin(output, &error))
		fail_msg("%s: %s", error.where, error.text);
	return output;
}

static void expect_refusal(enum output_mode mode, const struct output_identity *id, const struct requests *requests,
	const char *where, const char *message)
{
	struct error error = {0};
	struct output *output = NULL;

	assert_int_equal(output_open(folder, mode, id, requests, &output, &error), ERROR_INPUT);
	assert_null(output);
	if (!strstr(error.where, where) || !strstr(error.text, message))
		fail_msg("%s: %s", error.where, error.text);
}

static int write_row(struct output *output, int i, struct error *error)
{
	const int32_t tokens[] = {5, 6, i};
	struct output_result result = {.sequence = i,
		.tokens = tokens,
		.count = 3,
		.text = "abc",
		.text_bytes = 3,
		.reason = FINISH_LENGTH,
		.ttft_s = 0.5,
		.latency_s = 1.5};

	return output_write(output, &result, error);
}

static void test_lines(void **state)
{
	struct requests *requests = plain();
	struct output *output;
	struct error error = {0};
	const int32_t tokens[] = {5, 99};
	const float logprobs[] = {-0.1f, -INFINITY};
	struct output_result result = {.sequence = 3,
		.tokens = tokens,
		.logprobs = logprobs,
		.count = 2,
		.text = "a\"\n\0\xc3\xa4",
		.text_bytes = 6,
		.reason = FINISH_STOP,
		.ttft_s = 0.25,
		.latency_s = -1};
	char *text;
	size_t bytes;

	(void) state;
	new_folder();
	output = open_output(OUTPUT_FRESH, requests);
	assert_int_equal(output_count(output), 0);
	assert_false(output_has(output, 3));
	assert_int_equal(output_write(output, &result, &error), 0);
	assert_true(output_has(output, 3));
	assert_int_equal(output_write(output, &result, &error), ERROR_RUN); /* a second result */
	memset(&error, 0, sizeof error);
	result = (struct output_result){
		.sequence = 0, .reason = FINISH_ERROR, .why = "too long", .ttft_s = -1, .latency_s = 2};
	assert_int_equal(output_write(output, &result, &error), 0);
	assert_int_equal(output_count(output), 2);
	assert_int_equal(output_failed(output), 1);
	result = (struct output_result){.sequence = 1, .text = "\xff", .text_bytes = 1, .reason = FINISH_STOP};
	assert_int_equal(output_write(output, &result, &error), ERROR_RUN);
	assert_non_null(strstr(error.text, "\"r1\" is not UTF-8"));
	memset(&error, 0, sizeof error);
	assert_int_equal(output_close(output, &error), 0);
	text = read_file("outputs.jsonl", &bytes);
	assert_string_equal(text,
		"{\"id\":\"r3\",\"text\":\"a\\\"\\n\\u0000\xc3\xa4\",\"tokens\":[5,99],\"finish_reason\":\"stop\","
		"\"prompt_tokens\":3,\"completion_tokens\":2,\"ttft_s\":0.25,\"latency_s\":null,"
		"\"logprobs\":[-0.100000001,null]}\n"
		"{\"id\":\"r0\",\"tokens\":[],\"finish_reason\":\"error\",\"prompt_tokens\":3,\"completion_tokens\":0,"
		"\"ttft_s\":null,\"latency_s\":2.0,\"error\":\"too long\"}\n");
	free(text);
	text = read_file("run.json", &bytes);
	assert_non_null(strstr(text, "\"name\": \"m?\""));
	free(text);
	request_destroy(requests);
	assert_int_equal(output_close(NULL, NULL), 0);
}

static void test_openai(void **state)
{
	struct requests *requests = make_requests("{\"custom_id\": \"c%d\", \"url\": \"/v1/completions\", \"body\": "
						  "{\"model\": \"mine\", \"prompt\": [1]}}\n");
	struct output *output;
	struct error error = {0};
	const int32_t tokens[] = {5, 9};
	const float logprobs[] = {-0.5f, -1};
	struct output_result result = {.sequence = 1,
		.tokens = tokens,
		.logprobs = logprobs,
		.count = 2,
		.text = "xy",
		.text_bytes = 2,
		.reason = FINISH_LENGTH,
		.ttft_s = 1,
		.latency_s = 2};
	char *text, *second;
	size_t bytes;
	json_t *line, *body, *choice;

	(void) state;
	new_folder();
	output = open_output(OUTPUT_FRESH, requests);
	assert_int_equal(output_write(output, &result, &error), 0);
	result = (struct output_result){.sequence = 0, .reason = FINISH_ERROR, .why = "no room"};
	assert_int_equal(output_write(output, &result, &error), 0);
	assert_int_equal(output_close(output, &error), 0);
	text = read_file("outputs.jsonl", &bytes);
	second = strchr(text, '\n');
	*second++ = 0;
	line = json_loads(text, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(line, "custom_id")), "c1");
	assert_true(json_is_null(json_object_get(line, "error")));
	body = json_object_get(json_object_get(line, "response"), "body");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(line, "response"), "status_code")), 200);
	assert_string_equal(json_string_value(json_object_get(body, "model")), "mine");
	assert_string_equal(json_string_value(json_object_get(body, "object")), "text_completion");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(body, "usage"), "total_tokens")), 3);
	choice = json_array_get(json_object_get(body, "choices"), 0);
	assert_string_equal(json_string_value(json_object_get(choice, "text")), "xy");
	assert_string_equal(json_string_value(json_object_get(choice, "finish_reason")), "length");
	assert_int_equal(json_array_size(json_object_get(json_object_get(choice, "logprobs"), "token_logprobs")), 2);
	json_decref(line);
	assert_string_equal(second,
		"{\"id\":\"batch_req_1\",\"custom_id\":\"c0\",\"response\":null,\"error\":{\"code\":"
		"\"failed\",\"message\":\"no room\"},\"ttft_s\":0.0,\"latency_s\":0.0}\n");
	free(text);
	output = open_output(OUTPUT_RESUME, requests);
	assert_true(output_has(output, 0) && output_has(output, 1) && !output_has(output, 2));
	assert_int_equal(output_failed(output), 1);
	assert_int_equal(output_close(output, NULL), 0);
	request_destroy(requests);
}

static void test_resume(void **state)
{
	struct requests *requests = plain();
	struct output *output;
	struct error error = {0};
	char *text, *whole;
	size_t bytes;

	(void) state;
	new_folder();
	output = open_output(OUTPUT_RESUME, requests); /* a missing folder starts afresh */
	for (int i = 0; i < 3; i++)
		assert_int_equal(write_row(output, i, &error), 0);
	assert_int_equal(output_close(output, &error), 0);
	whole = read_file("outputs.jsonl", &bytes);
	/* ends that a kill or a crash may leave, each cut off again */
	for (int end = 0; end < 5; end++) {
		static const char *const ends[] = {
			"{\"id\":\"r7\",\"tok", "\0\0\0\0", "{\"id\":\"r7\"}\n{\"", "\n\n", "x\n"};
		static const size_t lengths[] = {15, 4, 14, 2, 2};

		append("outputs.jsonl", ends[end], lengths[end]);
		output = open_output(OUTPUT_RESUME, requests);
		assert_int_equal(output_count(output), 3);
		assert_true(output_has(output, 2) && !output_has(output, 7));
		assert_int_equal(output_close(output, &error), 0);
		text = read_file("outputs.jsonl", &bytes);
		assert_string_equal(text, whole);
		assert_int_equal(bytes, strlen(whole));
		free(text);
	}
	/* a whole line without its newline may be one that lacks more: it runs again */
	text = read_file("outputs.jsonl", &bytes);
	append("outputs.jsonl", "{\"id\":\"r7\",\"finish_reason\":\"stop\"}", 34);
	output = open_output(OUTPUT_RESUME, requests);
	assert_false(output_has(output, 7));
	assert_int_equal(write_row(output, 7, &error), 0);
	assert_int_equal(output_close(output, &error), 0);
	output = open_output(OUTPUT_RESUME, requests);
	assert_int_equal(output_count(output), 4);
	assert_int_equal(output_close(output, &error), 0);
	free(text);
	free(whole);
	/* what is no result of this run is refused with its line */
	append("outputs.jsonl", "broken\n{\"id\":\"r8\",\"finish_reason\":\"stop\"}\n", 42);
	expect_refusal(OUTPUT_RESUME, &identity, requests, "outputs.jsonl:5", "whole ones follow it");
	request_destroy(requests);
}

static void test_foreign_lines(void **state)
{
	struct requests *requests = plain();
	struct error error = {0};
	struct output *output;

	(void) state;
	for (int i = 0; i < 2; i++) {
		new_folder();
		output = open_output(OUTPUT_FRESH, requests);
		assert_int_equal(write_row(output, 0, &error), 0);
		assert_int_equal(output_close(output, &error), 0);
		append("outputs.jsonl",
			i ? "{\"id\":\"r0\",\"finish_reason\":\"stop\"}\n"
			  : "{\"id\":\"zz\",\"finish_reason\":\"stop\"}\n",
			35);
		expect_refusal(OUTPUT_RESUME, &identity, requests, "outputs.jsonl:2",
			i ? "\"r0\" is there twice" : "\"zz\" is not in the input");
	}
	request_destroy(requests);
}

static void test_other_runs(void **state)
{
	struct requests *requests = plain(), *others = make_requests("{\"id\": \"r%d\", \"tokens\": [1, 2, 4]}\n");
	struct output_identity other = identity;
	struct error error = {0};
	struct output *output, *second = NULL;
	char path[2600];
	size_t bytes;
	char *text;

	(void) state;
	new_folder();
	output = open_output(OUTPUT_FRESH, requests);
	/* one run at a time */
	assert_int_equal(output_open(folder, OUTPUT_RESUME, &identity, requests, &second, &error), ERROR_INPUT);
	assert_non_null(strstr(error.text, "another run is writing"));
	memset(&error, 0, sizeof error);
	assert_int_equal(output_close(output, &error), 0);

	output = open_output(OUTPUT_FRESH, others); /* a run that left no results is no hindrance */
	assert_int_equal(output_close(output, &error), 0);
	output = open_output(OUTPUT_RESUME, requests);
	assert_int_equal(write_row(output, 0, &error), 0);
	assert_int_equal(output_close(output, &error), 0);

	expect_refusal(OUTPUT_FRESH, &identity, requests, folder, "holds the results of another run; --resume goes on");
	expect_refusal(OUTPUT_RESUME, &identity, others, "run.json", "are of another input");
	other.model_fingerprint = 1;
	other.model = "elsewhere";
	expect_refusal(OUTPUT_RESUME, &other, requests, "run.json", "another model (m?, here elsewhere)");
	other = identity;
	other.settings_fingerprint = 1;
	other.settings = "bf16";
	expect_refusal(OUTPUT_RESUME, &other, requests, "run.json", "computed with \"fp32, 1x1x1\", here \"bf16\"");
	text = read_file("outputs.jsonl", &bytes); /* refusing changed nothing */
	assert_non_null(strstr(text, "\"r0\""));
	free(text);

	append("metrics.json", "{}", 2);
	append("mine.txt", "x", 1);
	output = open_output(OUTPUT_FORCE, others);
	assert_int_equal(output_count(output), 0);
	assert_int_equal(output_close(output, &error), 0);
	text = read_file("outputs.jsonl", &bytes);
	assert_int_equal(bytes, 0);
	free(text);
	snprintf(path, sizeof path, "%s/metrics.json", folder);
	assert_int_not_equal(access(path, F_OK), 0);
	snprintf(path, sizeof path, "%s/mine.txt", folder);
	assert_int_equal(access(path, F_OK), 0);

	output = open_output(OUTPUT_RESUME, others);
	assert_int_equal(write_row(output, 1, &error), 0);
	assert_int_equal(output_close(output, &error), 0);
	snprintf(path, sizeof path, "%s/run.json", folder);
	assert_int_equal(unlink(path), 0);
	expect_refusal(OUTPUT_RESUME, &identity, others, folder, "no run.json");
	append("run.json", "{\"version\": 99}", 15);
	expect_refusal(OUTPUT_RESUME, &identity, others, "run.json", "version 99");
	request_destroy(requests);
	request_destroy(others);
}

/* A run that fails before its first sequence. */
static void test_no_begin(void **state)
{
	struct requests *requests = plain();
	struct output *output = NULL;
	struct error error = {0};
	char deep[2600], kept[2600], *text;
	size_t bytes;

	(void) state;
	new_folder();
	snprintf(deep, sizeof deep, "%s/a/b//c/", folder);
	assert_int_equal(output_open(deep, OUTPUT_FRESH, &identity, requests, &output, &error), 0);
	assert_int_equal(access(deep, F_OK), 0);
	assert_int_equal(output_close(output, &error), 0);
	assert_int_equal(access(folder, F_OK), -1); /* made for this, and not needed */

	output = open_output(OUTPUT_FRESH, requests);
	assert_int_equal(write_row(output, 0, &error), 0);
	assert_int_equal(output_close(output, &error), 0);
	append("outputs.jsonl", "torn", 4);
	for (int i = 0; i < 2; i++) {
		enum output_mode mode = i ? OUTPUT_FORCE : OUTPUT_RESUME;
		assert_int_equal(output_open(folder, mode, &identity, requests, &output, &error), 0);
		assert_int_equal(output_count(output), i ? 0 : 1);
		assert_int_equal(output_close(output, &error), 0);
		text = read_file("outputs.jsonl", &bytes);
		assert_true(bytes > 4 && !strcmp(text + bytes - 4, "torn"));
		free(text);
		snprintf(kept, sizeof kept, "%s/run.json", folder);
		assert_int_equal(access(kept, F_OK), 0);
	}
	request_destroy(requests);
}

static void test_bad_folders(void **state)
{
	struct requests *requests = plain();

	(void) state;
	new_folder();
	snprintf(folder, sizeof folder, "%s/input.jsonl/x", base);
	expect_refusal(OUTPUT_FRESH, &identity, requests, "input.jsonl", "Not a directory");
	snprintf(folder, sizeof folder, "%s/input.jsonl", base);
	expect_refusal(OUTPUT_FRESH, &identity, requests, "input.jsonl", "cannot be opened as a folder");
	folder[0] = 0;
	expect_refusal(OUTPUT_FRESH, &identity, requests, "", "has no name");
	request_destroy(requests);
}

/* In a child: file sizes are limited, as a full disk limits them. */
static void fill_up(const struct requests *requests)
{
	struct rlimit limit = {400, 400};
	struct error error = {0};
	struct output *output = NULL;
	int written = 0, code;

	signal(SIGXFSZ, SIG_IGN);
	if (output_open(folder, OUTPUT_FRESH, &identity, requests, &output, &error) || output_begin(output, &error) ||
		setrlimit(RLIMIT_FSIZE, &limit))
		_exit(100);
	while (!(code = write_row(output, written, &error)))
		written++;
	if (code != ERROR_RUN || !strstr(error.text, "File too large") ||
		!strstr(error.text, "results before are whole"))
		_exit(101);
	if (output_count(output) != written || output_has(output, written))
		_exit(102);
	memset(&error, 0, sizeof error);
	if (output_write_file(folder, "big", "0123456789", 10, &error)) /* small ones still fit */
		_exit(103);
	{
		static char big[1000];
		if (output_write_file(folder, "big", big, sizeof big, &error) != ERROR_RUN)
			_exit(104);
	}
	if (output_close(output, NULL))
		_exit(105);
	request_destroy((struct requests *) requests);
	_exit(written);
}

static void test_full_disk(void **state)
{
	struct requests *requests = plain();
	struct output *output;
	struct error error = {0};
	int status, written;
	pid_t child;
	size_t bytes;
	char *text, path[2600];

	(void) state;
	new_folder();
	child = fork();
	if (!child)
		fill_up(requests);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	written = WEXITSTATUS(status);
	assert_in_range(written, 2, 10);
	text = read_file("outputs.jsonl", &bytes);
	assert_true(bytes < 400 && text[bytes - 1] == '\n'); /* no torn line is left */
	free(text);
	text = read_file("big", &bytes); /* the old file, not half of another */
	assert_string_equal(text, "0123456789");
	free(text);
	snprintf(path, sizeof path, "%s/big.tmp", folder);
	assert_int_not_equal(access(path, F_OK), 0);
	output = open_output(OUTPUT_RESUME, requests);
	assert_int_equal(output_count(output), written);
	for (int i = 0; i < ROWS; i++)
		if (!output_has(output, i))
			assert_int_equal(write_row(output, i, &error), 0);
	assert_int_equal(output_count(output), ROWS);
	assert_int_equal(output_close(output, &error), 0);
	request_destroy(requests);
}

/* Killed at any moment, again and again: at the end each row once. */
static void test_kill(void **state)
{
	struct requests *requests = plain();
	struct output *output;
	struct error error = {0};
	uint64_t random = 1;
	int kills = 0, lines = 0;
	size_t bytes;
	char *text;

	(void) state;
	new_folder();
	for (int round = 0; round < 60; round++) {
		pid_t child = fork();
		int status;

		if (!child) {
			if (output_open(folder, OUTPUT_RESUME, &identity, requests, &output, &error) ||
				output_begin(output, &error))
				_exit(1);
			for (int i = 0; i < ROWS; i++) {
				if (!output_has(output, i) && write_row(output, i, &error))
					_exit(2);
				usleep(200);
			}
			_exit(0); /* without closing */
		}
		random = random * 6364136223846793005u + 1442695040888963407u;
		usleep((useconds_t) (random >> 33) % 6000);
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, &status, 0), child);
		if (WIFEXITED(status)) {
			assert_int_equal(WEXITSTATUS(status), 0);
			break;
		}
		kills++;
		if (round % 3 == 1 && kills) { /* and as if a line had been torn by it */
			struct stat seen;
			char path[2600];
			snprintf(path, sizeof path, "%s/outputs.jsonl", folder);
			if (!stat(path, &seen) && seen.st_size > 5)
				assert_int_equal(truncate(path, seen.st_size - 5), 0);
		}
	}
	assert_true(kills > 0);
	output = open_output(OUTPUT_RESUME, requests);
	for (int i = 0; i < ROWS; i++)
		if (!output_has(output, i))
			assert_int_equal(write_row(output, i, &error), 0);
	assert_int_equal(output_close(output, &error), 0);
	text = read_file("outputs.jsonl", &bytes);
	for (size_t i = 0; i < bytes; i++)
		lines += text[i] == '\n';
	assert_int_equal(lines, ROWS);
	for (int i = 0; i < ROWS; i++) {
		char key[32];
		snprintf(key, sizeof key, "{\"id\":\"r%d\",", i);
		assert_non_null(strstr(text, key));
		assert_null(strstr(strstr(text, key) + 1, key));
	}
	free(text);
	request_destroy(requests);
}

static int remove_tree(const char *path)
{
	char command[2600];

	snprintf(command, sizeof command, "rm -rf '%s'", path);
	return system(command);
}

int main(void)
{
	const char *temporary = getenv("TMPDIR");
	int failed;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_openai),
		cmocka_unit_test(test_resume),
		cmocka_unit_test(test_foreign_lines),
		cmocka_unit_test(test_other_runs),
		cmocka_unit_test(test_no_begin),
		cmocka_unit_test(test_bad_folders),
		cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_kill),
	};

	snprintf(base, sizeof base, "%s/test_output.XXXXXX", temporary ? temporary : "/tmp");
	if (!mkdtemp(base))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	return remove_tree(base) || failed;
}
