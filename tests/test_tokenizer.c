/* SPDX-License-Identifier: Apache-2.0
 *
 * The tokenizer against what the `tokenizers` library made of the same texts and ids (golden/make_tokenizers.py), and
 * against files that are broken on purpose. */
#include "runtime/tokenizer.h"
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define FOLDER OCTANT_TEST_DATA "/golden/tokenizers/"

static const char *const names[] = {"llama2", "mixtral", "metaspace_always", "metaspace_never", "gpt2", "roberta",
	"llama3", "qwen2", "olmoe", "deepseek", "behaviors", "added_zoo", "wordlevel", "strip_nfkd"};
enum { NAMES = sizeof names / sizeof names[0] };

static json_t *read_golden(const char *name, const char *suffix)
{
	char path[1024];
	json_error_t error;
	snprintf(path, sizeof path, "%s%s%s", FOLDER, name, suffix);
	json_t *json = json_load_file(path, JSON_ALLOW_NUL, &error);
	if (!json)
		fail_msg("%s:%d: %s", path, error.line, error.text);
	return json;
}

static struct tokenizer *load_golden(const char *name)
{
	char path[1024];
	struct error error = {0};
	struct tokenizer *tokenizer = NULL;
	snprintf(path, sizeof path, "%s%s.json", FOLDER, name);
	if (tokenizer_load(path, &tokenizer, &error))
		fail_msg("%s: %s", error.where, error.text);
	return tokenizer;
}

static int32_t *read_ids(const json_t *json, size_t *count)
{
	*count = json_array_size(json);
	int32_t *ids = malloc((*count + 1) * sizeof *ids);
	assert_non_null(ids);
	for (size_t i = 0; i < *count; i++)
		ids[i] = (int32_t) json_integer_value(json_array_get(json, i));
	return ids;
}

/* ---- golden vectors ---- */

static void check_encode(
	const struct tokenizer *tokenizer, const char *name, const json_t *text, int special, const json_t *wanted)
{
	struct error error = {0};
	int32_t *ids = NULL;
	size_t count = 0, wanted_count;
	int32_t *want = read_ids(wanted, &wanted_count);
	if (tokenizer_encode(
		    tokenizer, json_string_value(text), json_string_length(text), special, &ids, &count, &error))
		fail_msg("%s: \"%s\": %s", name, json_string_value(text), error.text);
	if (count != wanted_count || (count && memcmp(ids, want, count * sizeof *ids)))
		fail_msg("%s: \"%s\" is encoded differently", name, json_string_value(text));
	free(ids);
	free(want);
}

static void golden_encodings(void **state)
{
	(void) state;
	json_t *texts = read_golden("texts", ".json");
	assert_true(json_array_size(texts) > 50);
	for (size_t n = 0; n < NAMES; n++) {
		struct tokenizer *tokenizer = load_golden(names[n]);
		json_t *expected = read_golden(names[n], ".expected.json");
		for (int special = 0; special < 2; special++) {
			const json_t *ids = json_object_get(expected, special ? "special" : "plain");
			assert_int_equal(json_array_size(ids), json_array_size(texts));
			for (size_t i = 0; i < json_array_size(texts); i++)
				check_encode(
					tokenizer, names[n], json_array_get(texts, i), special, json_array_get(ids, i));
		}
		json_decref(expected);
		tokenizer_destroy(tokenizer);
	}
	json_decref(texts);
}

/* What a stream yields, id by id, put together; checks that every part is whole characters. */
static char *stream_all(
	const struct tokenizer *tokenizer, const int32_t *ids, size_t count, int skip_special, size_t *total)
{
	struct error error = {0};
	struct tokenizer_stream *stream = NULL;
	const char *text;
	char *all = malloc(1);
	size_t bytes;
	*total = 0;
	assert_int_equal(tokenizer_stream_create(tokenizer, skip_special, &stream, &error), 0);
	for (size_t i = 0; i <= count; i++) {
		int rc = i < count ? tokenizer_stream_feed(stream, ids[i], &text, &bytes, &error)
				   : tokenizer_stream_finish(stream, &text, &bytes, &error);
		assert_int_equal(rc, 0);
		assert_int_equal(text[bytes], 0);
		json_t *whole = json_stringn(text, bytes); /* NULL for what is not UTF-8 */
		assert_non_null(whole);
		json_decref(whole);
		all = realloc(all, *total + bytes + 1);
		assert_non_null(all);
		memcpy(all + *total, text, bytes);
		*total += bytes;
	}
	all[*total] = 0;
	tokenizer_stream_destroy(stream);
	return all;
}

static void check_decode(
	const struct tokenizer *tokenizer, const char *name, const json_t *list, int skip_special, const json_t *wanted)
{
	struct error error = {0};
	char *text = NULL;
	size_t count, bytes, streamed_bytes;
	int32_t *ids = read_ids(list, &count);
	if (tokenizer_decode(tokenizer, ids, count, skip_special, &text, &bytes, &error))
		fail_msg("%s: %s", name, error.text);
	if (bytes != json_string_length(wanted) || memcmp(text, json_string_value(wanted), bytes + 1))
		fail_msg("%s: decoded \"%s\" instead of \"%s\"", name, text, json_string_value(wanted));
	char *streamed = stream_all(tokenizer, ids, count, skip_special, &streamed_bytes);
	assert_int_equal(streamed_bytes, bytes);
	assert_memory_equal(streamed, text, bytes + 1);
	free(streamed);
	free(text);
	free(ids);
}

static void golden_decodings(void **state)
{
	(void) state;
	for (size_t n = 0; n < NAMES; n++) {
		struct tokenizer *tokenizer = load_golden(names[n]);
		json_t *expected = read_golden(names[n], ".expected.json");
		const json_t *rows = json_object_get(expected, "decode");
		assert_true(json_array_size(rows) > 50);
		for (size_t i = 0; i < json_array_size(rows); i++) {
			const json_t *row = json_array_get(rows, i);
			check_decode(tokenizer, names[n], json_array_get(row, 0), 1, json_array_get(row, 1));
			check_decode(tokenizer, names[n], json_array_get(row, 0), 0, json_array_get(row, 2));
		}
		json_decref(expected);
		tokenizer_destroy(tokenizer);
	}
}

/* ---- behaviour that golden vectors do not show ---- */

static void streams_yield_early(void **state)
{
	struct error error = {0};
	const char *text;
	size_t bytes;
	(void) state;
	struct tokenizer *tokenizer = load_golden("llama2");
	struct tokenizer_stream *stream = NULL;
	int32_t space = tokenizer_token_id(tokenizer, "\xe2\x96\x81"), letter = tokenizer_token_id(tokenizer, "a");
	/* 😀 is F0 9F 98 80: the bytes are one run, which ends with the letter */
	int32_t byte[] = {tokenizer_token_id(tokenizer, "<0xF0>"), tokenizer_token_id(tokenizer, "<0x9F>"),
		tokenizer_token_id(tokenizer, "<0x98>"), tokenizer_token_id(tokenizer, "<0x80>")};
	assert_true(space >= 0 && letter >= 0 && byte[0] >= 0 && byte[1] >= 0 && byte[2] >= 0 && byte[3] >= 0);
	assert_int_equal(tokenizer_stream_create(tokenizer, 1, &stream, &error), 0);
	for (int round = 0; round < 2; round++) { /* finish makes it new */
		assert_int_equal(tokenizer_stream_feed(stream, space, &text, &bytes, &error), 0);
		assert_string_equal(text, "");
		assert_int_equal(tokenizer_stream_feed(stream, letter, &text, &bytes, &error), 0);
		assert_string_equal(text, "a");
		assert_int_equal(tokenizer_stream_feed(stream, space, &text, &bytes, &error), 0);
		assert_string_equal(text, " ");
		for (int i = 0; i < 4; i++) {
			assert_int_equal(tokenizer_stream_feed(stream, byte[i], &text, &bytes, &error), 0);
			assert_int_equal(bytes, 0);
		}
		assert_int_equal(tokenizer_stream_feed(stream, letter, &text, &bytes, &error), 0);
		assert_string_equal(text, "\xf0\x9f\x98\x80"
					  "a");
		assert_int_equal(tokenizer_stream_feed(stream, byte[0], &text, &bytes, &error), 0);
		assert_int_equal(tokenizer_stream_finish(stream, &text, &bytes, &error), 0);
		assert_string_equal(text, "\xef\xbf\xbd");
	}
	tokenizer_stream_destroy(stream);
	tokenizer_destroy(tokenizer);
}

static void ids_and_tokens(void **state)
{
	size_t bytes = 0;
	(void) state;
	struct tokenizer *tokenizer = load_golden("qwen2");
	size_t size = tokenizer_vocab_size(tokenizer);
	assert_int_equal(tokenizer_token_id(tokenizer, "<tool_call>"), size - 1);
	assert_int_equal(tokenizer_token_id(tokenizer, "no such token"), -1);
	assert_string_equal(tokenizer_token_text(tokenizer, (int32_t) size - 1, &bytes), "<tool_call>");
	assert_int_equal(bytes, strlen("<tool_call>"));
	assert_null(tokenizer_token_text(tokenizer, (int32_t) size, &bytes));
	assert_null(tokenizer_token_text(tokenizer, -1, &bytes));
	tokenizer_destroy(tokenizer);
}

static void text_must_be_utf8(void **state)
{
	static const struct {
		const char *text, *message;
	} rows[] = {{"ab\xff", "byte offset 2"}, {"\xc3", "byte offset 0"}, {"x\xe2\x82", "byte offset 1"},
		{"\xed\xa0\x80", "byte offset 0"}, {"\xc0\x80", "byte offset 0"},
		{"\xf4\x90\x80\x80", "byte offset 0"}};
	(void) state;
	struct tokenizer *tokenizer = load_golden("gpt2");
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct error error = {0};
		int32_t *ids = NULL;
		size_t count = 7;
		assert_int_equal(
			tokenizer_encode(tokenizer, rows[i].text, strlen(rows[i].text), 1, &ids, &count, &error),
			ERROR_INPUT);
		assert_non_null(strstr(error.text, rows[i].message));
		assert_null(ids);
		assert_int_equal(count, 7);
	}
	tokenizer_destroy(tokenizer);
}

static void negative_ids_are_refused(void **state)
{
	const int32_t ids[] = {5, -1};
	struct error error = {0};
	char *text = NULL;
	size_t bytes = 0;
	(void) state;
	struct tokenizer *tokenizer = load_golden("gpt2");
	assert_int_equal(tokenizer_decode(tokenizer, ids, 2, 1, &text, &bytes, &error), ERROR_INPUT);
	assert_null(text);
	tokenizer_destroy(tokenizer);
}

/* One word of half a million letters: quadratic merging would take minutes. */
static void long_words(void **state)
{
	enum { BYTES = 500000 };
	static const char *const kinds[] = {"mixtral", "gpt2"};
	char *text = malloc(BYTES);
	(void) state;
	assert_non_null(text);
	for (size_t n = 0; n < 2; n++) {
		struct tokenizer *tokenizer = load_golden(kinds[n]);
		for (int period = 1; period < 4; period++) {
			struct error error = {0};
			int32_t *ids = NULL;
			char *back = NULL;
			size_t count = 0, bytes = 0;
			for (size_t i = 0; i < BYTES; i++)
				text[i] = "est"[i % (size_t) period];
			clock_t begin = clock();
			assert_int_equal(tokenizer_encode(tokenizer, text, BYTES, 0, &ids, &count, &error), 0);
			assert_true((double) (clock() - begin) / CLOCKS_PER_SEC < 20);
			assert_int_equal(tokenizer_decode(tokenizer, ids, count, 1, &back, &bytes, &error), 0);
			assert_int_equal(bytes, BYTES);
			assert_memory_equal(back, text, BYTES);
			free(ids);
			free(back);
		}
		tokenizer_destroy(tokenizer);
	}
	free(text);
}

/* ---- broken files ---- */

static void temporary_path(char *path, size_t size)
{
	const char *folder = getenv("TMPDIR");
	snprintf(path, size, "%s/octant-tokenizer-%ld.json", folder ? folder : "/tmp", (long) getpid());
}

static void write_file(const char *path, const char *data, size_t size)
{
	FILE *file = fopen(path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, size, file), size);
	assert_int_equal(fclose(file), 0);
}

static int load_text(const char *path, const char *text, struct error *error)
{
	struct tokenizer *tokenizer = NULL;
	write_file(path, text, strlen(text));
	int rc = tokenizer_load(path, &tokenizer, error);
	if (rc)
		assert_null(tokenizer);
	tokenizer_destroy(tokenizer);
	return rc;
}

#define BPE "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}"
#define TOKEN(content, id)                                                                                             \
	"{\"id\":" id ",\"content\":\"" content "\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"          \
	"\"normalized\":false,\"special\":true}"

static void bad_files(void **state)
{
	static const struct {
		const char *json, *message; /* NULL: it is good */
	} rows[] = {
		{"{" BPE "}", NULL},
		{"", "broken JSON"},
		{"{\n\"model\":\n{,", ":3"},
		{"[]", "no JSON object"},
		{"{\"model\":{},\"model\":{}}", "duplicate"},
		{"{}", "model: there is none"},
		{"{\"version\":\"2.0\"," BPE "}", "version"},
		{"{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}",
			"model type \"Unigram\" is not supported; supported: BPE"},
		{"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{}}}", "\"WordPiece\" is not supported"},
		{"{\"model\":{\"type\":7}}", "\"type\""},
		{"{\"model\":{\"type\":\"BPE\",\"merges\":[]}}", "\"vocab\""},
		{"{\"model\":{\"type\":\"BPE\",\"vocab\":{}}}", "\"merges\""},
		{"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", "the same id 0"},
		{"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}", "not from 0"},
		{"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":4000000000},\"merges\":[]}}", "not from 0"},
		{"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1.5},\"merges\":[]}}", "not a whole number"},
		{"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}", "its part \"b\" is not in"},
		{"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[[\"a\",\"b\"]]}}",
			"its result \"ab\" is not in"},
		{"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a a a\"]}}", "merge 0 is neither"},
		{"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}}", "merge 0 is neither"},
		{"{\"model\":{\"type\":\"BPE\",\"dropout\":0.1,\"vocab\":{},\"merges\":[]}}", "dropout"},
		{"{\"model\":{\"type\":\"BPE\",\"end_of_word_suffix\":\"</w>\",\"vocab\":{},\"merges\":[]}}",
			"end_of_word"},
		{"{\"truncation\":{\"max_length\":512}," BPE "}", "truncation"},
		{"{\"padding\":{\"strategy\":{\"Fixed\":8}}," BPE "}", "padding"},
		{"{\"padding\":{\"strategy\":\"BatchLongest\",\"pad_to_multiple_of\":null}," BPE "}", NULL},
		{"{\"normalizer\":{\"type\":\"Precompiled\"}," BPE "}", "normalizer \"Precompiled\" is not supported"},
		{"{\"normalizer\":{\"type\":\"Sequence\"}," BPE "}", "\"normalizers\""},
		{"{\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}," BPE "}", "pre_tokenizer \"UnicodeScripts\""},
		{"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a&&b]\"},\"behavior\":\"Isolated\","
		 "\"invert\":false}," BPE "}",
			"&&"},
		{"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?i:\xc3\x9f)\"},"
		 "\"behavior\":\"Isolated\",\"invert\":false}," BPE "}",
			"a letter beyond ASCII with (?i)"},
		{"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?i:fast)\"},"
		 "\"behavior\":\"Isolated\",\"invert\":false}," BPE "}",
			"st with (?i)"},
		{"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?i:'s|'t)|(?:st)\"},"
		 "\"behavior\":\"Isolated\",\"invert\":false}," BPE "}",
			NULL},
		{"{\"normalizer\":{\"type\":\"Prepend\",\"prepend\":\"\"}," BPE "}", "Prepend with an empty string"},
		{"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a\"},\"behavior\":\"Isolated\","
		 "\"invert\":false}," BPE "}",
			"( without )"},
		{"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Odd\","
		 "\"invert\":false}," BPE "}",
			"behavior \"Odd\""},
		{"{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"ab\"}," BPE "}", "one character"},
		{"{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"last\"}," BPE
		 "}",
			"\"last\" is unknown"},
		{"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}}]"
		 ","
		 "\"special_tokens\":{}}," BPE "}",
			"no ids for \"<s>\""},
		{"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}}]"
		 ","
		 "\"special_tokens\":{\"<s>\":{\"ids\":[9]}}}," BPE "}",
			"no token has the id 9"},
		{"{\"post_processor\":{\"type\":\"Odd\"}," BPE "}", "post_processor \"Odd\" is not supported"},
		{"{\"decoder\":{\"type\":\"CTC\"}," BPE "}", "decoder \"CTC\" is not supported"},
		{"{\"decoder\":{\"type\":\"Strip\",\"content\":\" \",\"start\":-1,\"stop\":0}," BPE "}", "\"start\""},
		{"{\"added_tokens\":[" TOKEN("<s>", "3") "]," BPE "}", NULL},
		{"{\"added_tokens\":[" TOKEN("<s>", "7") "]," BPE "}", "declared with id 7"},
		{"{\"added_tokens\":[" TOKEN("a", "1") "]," BPE "}", "the vocabulary gives it id 0"},
		{"{\"added_tokens\":[" TOKEN("<s>", "3") "," TOKEN("<s>", "3") "]," BPE "}", "listed twice"},
		{"{\"added_tokens\":[{\"id\":3,\"content\":\"x\"}]," BPE "}", "\"single_word\""},
		{"{\"added_tokens\":{}," BPE "}", "must be an array"},
	};
	char path[512];
	(void) state;
	temporary_path(path, sizeof path);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct error error = {0};
		char shown[2200];
		int rc = load_text(path, rows[i].json, &error);
		snprintf(shown, sizeof shown, "%s: %s", error.where, error.text);
		if (!rows[i].message) {
			if (rc)
				fail_msg("%s\n%s", rows[i].json, shown);
			continue;
		}
		assert_int_equal(rc, ERROR_INPUT);
		assert_ptr_equal(strstr(shown, path), shown);
		if (!strstr(shown, rows[i].message))
			fail_msg("%s\n%s\nlacks \"%s\"", rows[i].json, shown, rows[i].message);
	}
	unlink(path);
}

static void unreadable_files(void **state)
{
	struct error error = {0};
	struct tokenizer *tokenizer = NULL;
	(void) state;
	assert_int_equal(tokenizer_load("/no/such/tokenizer.json", &tokenizer, &error), ERROR_INPUT);
	assert_string_equal(error.where, "/no/such/tokenizer.json");
	error = (struct error){0};
	assert_int_equal(tokenizer_load("/", &tokenizer, &error), ERROR_INPUT);
	assert_int_equal(tokenizer_load("/no/such/tokenizer.json", &tokenizer, NULL), ERROR_INPUT);
	assert_null(tokenizer);
	tokenizer_destroy(NULL);
	tokenizer_stream_destroy(NULL);
}

/* Whatever loads must also work. */
static void exercise(const struct tokenizer *tokenizer)
{
	static const char text[] =
		"  Hello <s>wörld</s>\n\t12,345 e\xcc\x81 \xf0\x9f\x98\x80 [MASK]  <left> word's\0 end";
	int32_t *ids = NULL, mixed[64];
	size_t count = 0, bytes = 0;
	char *back = NULL;
	if (!tokenizer_encode(tokenizer, text, sizeof text - 1, 1, &ids, &count, NULL)) {
		if (!tokenizer_decode(tokenizer, ids, count, 1, &back, &bytes, NULL))
			free(back);
		free(ids);
	}
	for (int i = 0; i < 64; i++)
		mixed[i] = i * 13 % 700;
	back = NULL;
	if (!tokenizer_decode(tokenizer, mixed, 64, 0, &back, &bytes, NULL))
		free(back);
}

static uint64_t draw(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static char *read_file(const char *path, size_t *size)
{
	FILE *file = fopen(path, "rb");
	assert_non_null(file);
	assert_int_equal(fseek(file, 0, SEEK_END), 0);
	*size = (size_t) ftell(file);
	rewind(file);
	char *data = malloc(*size + 1);
	assert_non_null(data);
	assert_int_equal(fread(data, 1, *size, file), *size);
	data[*size] = 0;
	fclose(file);
	return data;
}

/* Flips, cuts and swaps of bytes, outside the vocabulary as often as in it: no crash, and an error that says where. */
static void damaged_files(void **state)
{
	char path[512], source[1024];
	uint64_t seed = 20240607;
	size_t loaded = 0, refused = 0;
	(void) state;
	temporary_path(path, sizeof path);
	for (size_t n = 0; n < NAMES; n++) {
		size_t size;
		snprintf(source, sizeof source, "%s%s.json", FOLDER, names[n]);
		char *original = read_file(source, &size), *data = malloc(size);
		const char *vocab = strstr(original, "\"vocab\"");
		assert_non_null(data);
		assert_non_null(vocab);
		for (int round = 0; round < 60; round++) {
			struct tokenizer *tokenizer = NULL;
			struct error error = {0};
			size_t length = size, range = round % 2 ? size : (size_t) (vocab - original);
			memcpy(data, original, size);
			if (round % 10 == 9)
				length = draw(&seed) % size;
			for (uint64_t changes = 1 + draw(&seed) % 3; changes; changes--) {
				size_t at = draw(&seed) % range;
				switch (draw(&seed) % 4) {
				case 0:
					data[at] = (char) draw(&seed);
					break;
				case 1:
					data[at] = "0123456789{}[]\",:-tfn\\"[draw(&seed) % 22];
					break;
				case 2:
					data[at] = data[draw(&seed) % range];
					break;
				default:
					data[at] = (char) (data[at] ^ 1 << draw(&seed) % 8);
					break;
				}
			}
			write_file(path, data, length);
			if (tokenizer_load(path, &tokenizer, &error)) {
				assert_int_equal(error.code, ERROR_INPUT);
				assert_ptr_equal(strstr(error.where, path), error.where);
				assert_true(error.text[0]);
				refused++;
			} else {
				exercise(tokenizer);
				loaded++;
			}
			tokenizer_destroy(tokenizer);
		}
		free(data);
		free(original);
	}
	unlink(path);
	assert_true(refused > 100 && loaded > 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_encodings),
		cmocka_unit_test(golden_decodings),
		cmocka_unit_test(streams_yield_early),
		cmocka_unit_test(ids_and_tokens),
		cmocka_unit_test(text_must_be_utf8),
		cmocka_unit_test(negative_ids_are_refused),
		cmocka_unit_test(long_words),
		cmocka_unit_test(bad_files),
		cmocka_unit_test(unreadable_files),
		cmocka_unit_test(damaged_files),
	};
	return cmocka_run_group_tests_name("tokenizer", tests, NULL, NULL);
}
