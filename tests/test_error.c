/* SPDX-License-Identifier: Apache-2.0
 *
 * The error type: the first error is kept, places are worded, lengths are bounded, the nearest word is found. */
#include "runtime/error.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static void first_error_is_kept(void **state)
{
	struct error error = {0};
	(void) state;
	assert_int_equal(error_set(&error, ERROR_INPUT, "a.cfg:3", "%d heads over %d shards", 7, 2), ERROR_INPUT);
	assert_int_equal(error_set(&error, ERROR_RUN, "b.cfg", "something else"), ERROR_INPUT);
	assert_int_equal(error_memory(&error, "reading"), ERROR_INPUT);
	assert_int_equal(error.code, ERROR_INPUT);
	assert_string_equal(error.where, "a.cfg:3");
	assert_string_equal(error.text, "7 heads over 2 shards");
}

static void no_error_object_still_gives_the_code(void **state)
{
	(void) state;
	assert_int_equal(error_set(NULL, ERROR_RUN, "place", "text"), ERROR_RUN);
	assert_int_equal(error_at(NULL, ERROR_INPUT, "file", 1, "text"), ERROR_INPUT);
	assert_int_equal(error_memory(NULL, "text"), ERROR_MEMORY);
}

static void places_are_worded(void **state)
{
	struct error error = {0};
	(void) state;
	error_at(&error, ERROR_INPUT, "graph.cfg", 12, "unknown key");
	assert_string_equal(error.where, "graph.cfg:12");
	error = (struct error){0};
	error_at(&error, ERROR_INPUT, "graph.cfg", 0, "unreadable");
	assert_string_equal(error.where, "graph.cfg");
	error = (struct error){0};
	error_at(&error, ERROR_INPUT, NULL, 4, "unreadable");
	assert_string_equal(error.where, "(no file):4");
	error = (struct error){0};
	error_set(&error, ERROR_RUN, NULL, "no place");
	assert_string_equal(error.where, "");
	error = (struct error){0};
	assert_int_equal(error_memory(&error, "loading weights"), ERROR_MEMORY);
	assert_string_equal(error.text, "out of memory while loading weights");
}

/* Text comes from files: the longest must be cut, never overrun. */
static void long_texts_are_cut(void **state)
{
	static char longest[4096];
	struct {
		struct error error;
		unsigned char guard[16];
	} object;
	(void) state;
	memset(longest, 'x', sizeof longest - 1);
	memset(&object, 0, sizeof object);
	memset(object.guard, 0xa5, sizeof object.guard);
	error_set(&object.error, ERROR_INPUT, longest, "%s", longest);
	assert_int_equal(strlen(object.error.where), sizeof object.error.where - 1);
	assert_int_equal(strlen(object.error.text), sizeof object.error.text - 1);
	object.error = (struct error){0};
	error_at(&object.error, ERROR_INPUT, longest, 7, "%s", longest);
	assert_int_equal(strlen(object.error.where), sizeof object.error.where - 1);
	for (size_t i = 0; i < sizeof object.guard; i++)
		assert_int_equal(object.guard[i], 0xa5);
}

static void exit_status_tells_input_from_run(void **state)
{
	(void) state;
	assert_int_equal(error_exit_status(ERROR_NONE), 0);
	assert_int_equal(error_exit_status(ERROR_RUN), 1);
	assert_int_equal(error_exit_status(ERROR_INPUT), 2);
	assert_int_equal(error_exit_status(ERROR_MEMORY), 1);
}

/* What error_print writes on stderr, read back through a temporary file. */
static void assert_printed(const struct error *error, const char *expected)
{
	char text[256] = "";
	FILE *file = tmpfile();
	int saved = dup(STDERR_FILENO);
	assert_non_null(file);
	assert_true(saved >= 0);
	fflush(stderr);
	dup2(fileno(file), STDERR_FILENO);
	error_print(error);
	fflush(stderr);
	dup2(saved, STDERR_FILENO);
	close(saved);
	rewind(file);
	text[fread(text, 1, sizeof text - 1, file)] = 0;
	fclose(file);
	assert_string_equal(text, expected);
}

static void printed_on_one_line(void **state)
{
	struct error error = {0};
	(void) state;
	error_at(&error, ERROR_INPUT, "graph.cfg", 2, "unknown key `lyaer`; did you mean `layer`?");
	assert_printed(&error, "graph.cfg:2: unknown key `lyaer`; did you mean `layer`?\n");
	error = (struct error){0};
	error_set(&error, ERROR_RUN, NULL, "the disk is full");
	assert_printed(&error, "octant: the disk is full\n");
}

static void nearest_word(void **state)
{
	static const char *const words[] = {"attention", "all_reduce", "all_gather", "route", "mlp", NULL};
	static const char *const none[] = {NULL};
	static char longest[300];
	(void) state;
	assert_string_equal(error_nearest("atention", words), "attention");
	assert_string_equal(error_nearest("ATTENTION", words), "attention");
	assert_string_equal(error_nearest("all_gahter", words), "all_gather");
	assert_string_equal(error_nearest("all_redcue", words), "all_reduce");
	assert_string_equal(error_nearest("routes", words), "route");
	assert_string_equal(error_nearest("mpl", words), "mlp");
	assert_null(error_nearest("quantise", words));
	assert_null(error_nearest("", words));
	assert_null(error_nearest("attention", none));
	memset(longest, 'a', sizeof longest - 1);
	assert_null(error_nearest(longest, words));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_error_is_kept),
		cmocka_unit_test(no_error_object_still_gives_the_code),
		cmocka_unit_test(places_are_worded),
		cmocka_unit_test(long_texts_are_cut),
		cmocka_unit_test(exit_status_tells_input_from_run),
		cmocka_unit_test(printed_on_one_line),
		cmocka_unit_test(nearest_word),
	};
	return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
