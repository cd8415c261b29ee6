/* SPDX-License-Identifier: Apache-2.0
 *
 * Regular expressions by PCRE2: compiling a rewritten pattern, and all its matches in a piece of text. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "runtime/tokenizer_internal.h"
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

struct regex {
	pcre2_code *code;
};

struct regex_work {
	pcre2_match_data *data;
	pcre2_match_context *context;
	pcre2_jit_stack *stack;
};

static int compile(const struct tokenizer_source *source, const char *part, const char *pattern, size_t size,
	uint32_t options, const char *shown, struct regex **out)
{
	int code, rc = 0;
	PCRE2_SIZE where;
	struct regex *regex = calloc(1, sizeof *regex);
	pcre2_compile_context *context = pcre2_compile_context_create(NULL);
	if (!regex || !context) {
		rc = error_memory(source->error, "reading a tokenizer");
		goto out;
	}
	pcre2_set_newline(context, PCRE2_NEWLINE_LF); /* `.` and `$` know no other line ends in Oniguruma */
	regex->code =
		pcre2_compile((PCRE2_SPTR) (pattern ? pattern : ""), size, options | PCRE2_UTF, &code, &where, context);
	if (!regex->code) {
		PCRE2_UCHAR8 message[200] = "";
		pcre2_get_error_message(code, message, sizeof message);
		rc = source_error(source, part, "pattern \"%.200s\": %s", shown, (const char *) message);
		goto out;
	}
	pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE); /* without it the interpreter runs */
	*out = regex;
	regex = NULL;
out:
	pcre2_compile_context_free(context);
	regex_destroy(regex);
	return rc;
}

struct regex *regex_create(
	const struct tokenizer_source *source, const char *part, const char *pattern, size_t size, int literal)
{
	struct regex *regex = NULL;
	if (literal) {
		compile(source, part, pattern, size, PCRE2_LITERAL, pattern, &regex);
		return regex;
	}
	struct text_buffer rewritten = {0};
	if (!pattern_rewrite(source, part, pattern, size, &rewritten))
		compile(source, part, rewritten.data, rewritten.size, PCRE2_MULTILINE | PCRE2_UCP, pattern, &regex);
	text_free(&rewritten);
	return regex;
}

void regex_destroy(struct regex *regex)
{
	if (!regex)
		return;
	pcre2_code_free(regex->code);
	free(regex);
}

static struct regex_work *work_create(void)
{
	struct regex_work *work = calloc(1, sizeof *work);
	if (!work)
		return NULL;
	work->data = pcre2_match_data_create(1, NULL);
	work->context = pcre2_match_context_create(NULL);
	work->stack = pcre2_jit_stack_create(32 * 1024, 16 * 1024 * 1024, NULL);
	if (!work->data || !work->context) {
		regex_work_free(work);
		return NULL;
	}
	if (work->stack)
		pcre2_jit_stack_assign(work->context, NULL, work->stack);
	return work;
}

void regex_work_free(struct regex_work *work)
{
	if (!work)
		return;
	pcre2_match_data_free(work->data);
	pcre2_match_context_free(work->context);
	pcre2_jit_stack_free(work->stack);
	free(work);
}

int regex_find(const struct regex *regex, const char *text, size_t size, struct match_list *matches,
	struct regex_work **work, struct error *error)
{
	size_t previous = 0, from = 0, last_end = SIZE_MAX;
	matches->count = 0;
	if (!size) {
		match_add(matches, 0, 0, 0);
		goto done;
	}
	if (!*work && !(*work = work_create()))
		return error_memory(error, "splitting a text");
	while (from <= size) {
		int rc = pcre2_match(regex->code, (PCRE2_SPTR) text, size, from, PCRE2_NO_UTF_CHECK, (*work)->data,
			(*work)->context);
		if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
			rc = pcre2_match(regex->code, (PCRE2_SPTR) text, size, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
				(*work)->data, (*work)->context);
		if (rc == PCRE2_ERROR_NOMATCH)
			break;
		if (rc == PCRE2_ERROR_NOMEMORY)
			return error_memory(error, "splitting a text");
		if (rc < 0) {
			PCRE2_UCHAR8 message[200] = "";
			pcre2_get_error_message(rc, message, sizeof message);
			return error_set(error, ERROR_INPUT, NULL,
				"the tokenizer's split pattern cannot be applied to this text: %s",
				(const char *) message);
		}
		const PCRE2_SIZE *found = pcre2_get_ovector_pointer((*work)->data);
		size_t start = found[0], end = found[1];
		if (end < start || end > size || start < previous)
			return error_set(error, ERROR_INPUT, NULL, "the tokenizer's split pattern matches backwards");
		/* An empty match right after the last match is passed over, as Oniguruma's iterator does. */
		if (start == end && end == last_end) {
			size_t length = 1;
			if (from < size)
				utf8_code(text + from, &length);
			from += length;
			continue;
		}
		from = last_end = end;
		if (previous != start)
			match_add(matches, previous, start, 0);
		match_add(matches, start, end, 1);
		previous = end;
	}
	if (previous != size)
		match_add(matches, previous, size, 0);
done:
	return matches->failed ? error_memory(error, "splitting a text") : 0;
}
