/* SPDX-License-Identifier: Apache-2.0
 *
 * What a wrong description gets: each file of tests/graphs names in its first line where the error is and what it
 * must say. And no text at all may do worse than an error: a fuzzer mutates the descriptions that ship. */
#include "runtime/graph.h"
#include "tasks/kinds.h"
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static int try_graph(const char *path, const struct graph_override *overrides, int count, struct error *error)
{
	struct graph *graph;
	int code = graph_read(path, &task_kinds, overrides, count, &graph, error);
	if (code)
		return code;
	code = graph_resolve(graph, NULL, &task_kinds, error);
	graph_destroy(graph);
	return code;
}

struct told {
	int count;
	char text[32][2200];
};

static void tell(void *context, const struct error *error)
{
	struct told *told = context;
	assert_int_equal(error->code, ERROR_INPUT);
	assert_true(error->text[0]);
	if (told->count < 32)
		snprintf(told->text[told->count], sizeof told->text[0], "%s: %s", error->where, error->text);
	told->count++;
}

/* Every error; `error` is what is told otherwise. */
static int check_all(const char *path, const struct graph_override *overrides, int count, struct told *told, struct error *error)
{
	struct graph_faults faults = {.found = tell, .context = told};
	struct graph *graph;
	told->count = 0;
	int code = graph_check_all(path, NULL, 2, &task_kinds, overrides, count, &faults, &graph, error);
	assert_int_equal(told->count, faults.count);
	assert_true(!faults.count || (code == ERROR_INPUT && !error->code));
	if (!code)
		graph_destroy(graph);
	return code;
}

/* The check of all finds what reading finds first. */
static void check_told(const char *name, const char *path, const char *first)
{
	static struct told told;
	struct error all = {0};
	assert_int_equal(check_all(path, NULL, 0, &told, &all), ERROR_INPUT);
	if (all.code)
		snprintf(told.text[told.count++], sizeof told.text[0], "%s: %s", all.where, all.text);
	for (int i = 0; i < told.count && i < 32; i++)
		if (!strcmp(told.text[i], first))
			return;
	fail_msg("%s: the check of all does not tell \"%s\"", name, first);
}

static void check_file(const char *name)
{
	char path[512], first[1024], place[300];
	struct error error = {0};
	int line;
	char *says;
	snprintf(path, sizeof path, "%s/graphs/%s", OCTANT_TEST_DATA, name);
	FILE *file = fopen(path, "r");
	assert_non_null(file);
	assert_non_null(fgets(first, sizeof first, file));
	fclose(file);
	first[strcspn(first, "\n")] = '\0';
	assert_int_equal(sscanf(first, "# error at %d:", &line), 1);
	says = strchr(first, ':') + 2;

	if (try_graph(path, NULL, 0, &error) != ERROR_INPUT)
		fail_msg("%s is not refused", name);
	char whole[sizeof error.where + sizeof error.text + 4];
	snprintf(whole, sizeof whole, "%s: %s", error.where, error.text);
	check_told(name, path, whole);
	snprintf(place, sizeof place, "/%s:%d", name, line);
	size_t length = strlen(place), where = strlen(error.where);
	if (line && (where < length || strcmp(error.where + where - length, place)))
		fail_msg("%s: the error is at %s, and should be at %s", name, error.where, place);
	if (!strstr(whole, says))
		fail_msg("%s: \"%s\" does not say \"%s\"", name, whole, says);
	if (!strstr(error.text, "; ") && !strchr(error.text, '?') && !strstr(error.text, "not closed") &&
		!strstr(error.text, "deep"))
		fail_msg("%s: \"%s\" does not say what would be right", name, error.text);
}

static void wrong_descriptions_are_refused_with_place_and_remedy(void **state)
{
	DIR *folder = opendir(OCTANT_TEST_DATA "/graphs");
	struct dirent *entry;
	int files = 0;
	(void) state;
	assert_non_null(folder);
	while ((entry = readdir(folder))) {
		size_t length = strlen(entry->d_name);
		if (length < 5 || strcmp(entry->d_name + length - 4, ".cfg"))
			continue;
		check_file(entry->d_name);
		files++;
	}
	closedir(folder);
	assert_true(files >= 80);
}

static void wrong_overrides_are_refused(void **state)
{
	static const struct {
		const char *path, *value, *says;
	} wrong[] = {
		{"mesh.tensr", "2", "mesh.tensr is no key; did you mean mesh.tensor?"},
		{"tensor", "2", "did you mean mesh.tensor?"},
		{"experts", "2", "did you mean model.experts or mesh.experts?"},
		{"", "2", "is no key"},
		{".", "2", "is no key"},
		{"mesh.", "2", "is no key"},
		{"mesh..tensor", "2", "is no key"},
		{"mesh.stages", "1", "mesh.place was written for other degrees: --set 'mesh.place=()' gives the default"},
		{"mesh.stages", "4", "needs 8 devices (4 stages × 2) and the machine \"plan-4x64g\" has 4"},
		{"mesh.tensor.x", "2", "mesh.tensor has no parts"},
		{"mesh[0].tensor", "2", "mesh is a group"},
		{"layer.task", "route", "layer is a list"},
		{"layer[0]", "route", "an element is named by its number and a key"},
		{"layer[x].task", "route", "an element is named by its number and a key"},
		{"layer[-1].task", "route", "an element is named by its number and a key"},
		{"layer[99999999999999999999].task", "route", "layer has 7 elements; an index from 0 to 7"},
		{"layer[0].tusk", "route", "did you mean layer[].task?"},
		{"layer[2].task", "rout", "\"rout\" is no kind of task; did you mean \"route\"?"},
		{"mesh.tensor", "", "nothing is no value"},
		{"mesh.tensor", "2; x = 3", "is no value"},
		{"mesh.tensor", "\"2", "not closed"},
		{"mesh.tensor", "[ 1, 2 ]", "mesh.tensor is an array; it must be an integer"},
		{"mesh.tensor", "two", "mesh.tensor is a string; it must be an integer"},
		{"mesh.tensor", "99999999999999999999", "does not fit 64 bits"},
		{"compute", "fp17", "did you mean \"fp16\"?"},
		{"@include", "x", "is no key"},
		{"schedule", "{ slots = 2; slts = 1; }", "schedule.slts is no key; did you mean schedule.slots?"},
		{"schedule", "{ slots = 2; slots = 1; }", "is no value"},
	};
	(void) state;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		struct graph_override override = {wrong[i].path, wrong[i].value};
		struct error error = {0};
		assert_int_equal(try_graph("tp2_ep2_pp2", &override, 1, &error), ERROR_INPUT);
		if (!strstr(error.text, wrong[i].says))
			fail_msg("%s=%s: \"%s\" does not say \"%s\"", wrong[i].path, wrong[i].value, error.text,
				wrong[i].says);
	}
	char path[1000];
	struct graph_override longest = {path, "2"};
	memset(path, 'a', sizeof path - 1);
	path[sizeof path - 1] = '\0';
	assert_int_equal(try_graph("tp2_ep2_pp2", &longest, 1, &(struct error){0}), ERROR_INPUT);
	for (size_t i = 1; i < sizeof path - 1; i += 2)
		path[i] = '.';
	assert_int_equal(try_graph("tp2_ep2_pp2", &longest, 1, &(struct error){0}), ERROR_INPUT);
}

/* What comes from the command line is not laid to the file. */
static void errors_of_overrides_are_at_the_override(void **state)
{
	static const struct {
		const char *graph;
		struct graph_override override[2];
		const char *where;
	} wrong[] = {
		{"tp2_ep2_pp2", {{"mesh.tensor", "4"}}, "--set mesh.tensor"},
		{"tp2_ep2_pp2", {{"mesh.tensor", "3"}, {"schedule.slots", "2"}}, "--set mesh.tensor"},
		{"tp2_ep2_pp2", {{"mesh.stages", "4"}}, "--set mesh.stages"},
		{"tp2_ep2_pp2", {{"mesh.stages", "1"}}, "--set mesh.stages"}, /* of the placement */
		{"tp2_ep2_pp2", {{"mesh.expert_tensor", "3"}}, "--set mesh.expert_tensor"},
		{"one_device", {{"mesh.experts", "3"}}, "--set mesh.experts"},
		{"one_device", {{"mesh.tensor", "2"}, {"mesh.experts", "3"}}, "--set mesh.experts"},
		{"one_device", {{"mesh.tensor", "3"}, {"mesh.experts", "2"}}, "--set mesh.tensor"},
		{"one_device", {{"machine", "{ host = true; }"}, {"compute", "fp16"}}, "--set compute"},
		{"one_device", {{"machine", "{ host = true; }"}, {"residual", "bf16"}}, "--set residual"},
		{"uneven_layers", {{"mesh.stages", "3"}}, "--set mesh.stages"},
		{"uneven_layers", {{"mesh.layers", "[ 9, 9 ]"}}, "--set mesh.layers"},
	};
	static struct told told;
	(void) state;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		int count = wrong[i].override[1].path ? 2 : 1;
		struct error error = {0};
		assert_int_equal(try_graph(wrong[i].graph, wrong[i].override, count, &error), ERROR_INPUT);
		if (strcmp(error.where, wrong[i].where))
			fail_msg("case %zu: \"%s\" is at %s, not at %s", i, error.text, error.where, wrong[i].where);
		assert_int_equal(check_all(wrong[i].graph, wrong[i].override, count, &told, &(struct error){0}), ERROR_INPUT);
		assert_int_equal(strncmp(told.text[0], wrong[i].where, strlen(wrong[i].where)), 0);
	}
}

static void every_error_is_told(void **state)
{
	static const char text[] =
		"mesh = {\n\ttensr = 2;\n\texperts = \"two\";\n};\ncompute = \"fp7\";\n"
		"layer = ( { task = \"atention\"; },\n\t{ task = \"experts\"; hw = 3; },\n\t{ task = 3; },\n\t{ over = \"x\"; } );\n"
		"schedule = { slots = 0; };\nrequire = { workload = { prompt_tokens = [ 0, 0 ]; }; };\n";
	static const char *const says[] = {"--set kv.dtpe: kv.dtpe is no key", ":2: mesh.tensr is no key",
		":3: mesh.experts is a string", ":5: compute = \"fp7\"", ":6: \"atention\" is no kind", ":7: layer[1].hw is no key",
		":8: layer[2].task is an integer", ":9: layer[3].over = \"x\"", ":9: layer[3] has no `task`",
		":10: schedule.slots is 0", ":11: require.workload.prompt_tokens is 0", ":11: require.workload.prompt_tokens is 0"};
	static const char *const chains[] = {"device 7 is not one of the machine", "stage = 5 with mesh.stages = 2",
		"attention (`layer`, --set) leaves partial sums", "and sample (`after`, --set) takes logits"};
	const struct graph_override both[] = {{"layer", "({task=\"attention\";},{task=\"route\";})"},
		{"after", "({task=\"sample\";})"},
		{"mesh.place", "({device=7;stage=0;tensor=0;experts=0;},{device=1;stage=5;tensor=0;experts=0;})"}};
	static struct told told;
	char path[256];
	(void) state;
	snprintf(path, sizeof path, "%s/all.cfg", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	const struct graph_override wrong = {"kv.dtpe", "fp16"};
	assert_int_equal(check_all(path, &wrong, 1, &told, &(struct error){0}), ERROR_INPUT);
	unlink(path);
	assert_int_equal(told.count, sizeof says / sizeof *says);
	for (size_t i = 0; i < sizeof says / sizeof *says; i++) {
		int found = 0;
		for (int j = 0; j < told.count; j++)
			found += strstr(told.text[j], says[i]) != NULL;
		if (!found)
			fail_msg("\"%s\" is not told", says[i]);
	}
	/* one that is well-formed and does not fit together */
	assert_int_equal(check_all("tp2_ep2_pp2", both, 3, &told, &(struct error){0}), ERROR_INPUT);
	assert_int_equal(told.count, 4);
	for (int i = 0; i < 4; i++)
		if (!strstr(told.text[i], chains[i]))
			fail_msg("\"%s\" is not \"%s\"", told.text[i], chains[i]);
}

static void files_that_are_none_are_refused(void **state)
{
	struct error error = {0};
	char path[256];
	(void) state;
	assert_int_equal(try_graph("tp2_ep2_pp3", NULL, 0, &error), ERROR_INPUT);
	assert_non_null(strstr(error.text, "did you mean tp2_ep2_pp"));
	error = (struct error){0};
	assert_int_equal(try_graph("no-such-graph-anywhere", NULL, 0, &error), ERROR_INPUT);
	assert_non_null(strstr(error.text, "one of: "));
	assert_non_null(strstr(error.text, "one_device"));
	error = (struct error){0};
	assert_int_equal(try_graph("./nowhere.cfg", NULL, 0, &error), ERROR_INPUT);
	assert_non_null(strstr(error.text, "No such file"));
	error = (struct error){0};
	assert_int_equal(try_graph("/", NULL, 0, &error), ERROR_INPUT);
	assert_non_null(strstr(error.text, "is a folder"));

	snprintf(path, sizeof path, "%s/zero.cfg", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fwrite("graph = \"a\0b\";\n", 1, 15, file);
	fclose(file);
	error = (struct error){0};
	assert_int_equal(try_graph(path, NULL, 0, &error), ERROR_INPUT);
	assert_non_null(strstr(error.text, "has a zero byte in it"));

	file = fopen(path, "w");
	assert_non_null(file);
	for (int i = 0; i < 120000; i++)
		fputs("# filling\n", file);
	fclose(file);
	error = (struct error){0};
	assert_int_equal(try_graph(path, NULL, 0, &error), ERROR_INPUT);
	assert_non_null(strstr(error.text, "is larger than"));

	file = fopen(path, "w"); /* deeper than any parser's stack need be */
	assert_non_null(file);
	fputs("mesh = ", file);
	for (int i = 0; i < 200000; i++)
		fputc('(', file);
	fclose(file);
	assert_int_equal(try_graph(path, NULL, 0, &(struct error){0}), ERROR_INPUT);
	unlink(path);
}

static char *read_shipped(const char *name, size_t *length)
{
	char path[512], *text = malloc(1 << 16);
	snprintf(path, sizeof path, "%s/%s.cfg", OCTANT_SOURCE_GRAPHS_DIR, name);
	FILE *file = fopen(path, "r");
	assert_non_null(file);
	assert_non_null(text);
	*length = fread(text, 1, 1 << 16, file);
	fclose(file);
	return text;
}

static void mutated_descriptions_are_read_or_refused(void **state)
{
	static const char *const words[] = {"{", "}", "(", ")", "[", "]", ";", "=", ",", "\"", "#", "/*", "0", "-1",
		"65", "2147483648", "1e309", "true", "task = \"all_reduce\"", "over = \"experts\"",
		"@include \"plan/model.cfg\"\n", "\n"};
	static const char *const names[] = {"tp2_ep2_pp2", "dense", "send_shards", "tp2_ep2_pp4"};
	char path[256];
	uint64_t random = 20240607;
	int refused = 0, read = 0;
	(void) state;
	snprintf(path, sizeof path, "%s/mutated.cfg", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	for (int round = 0; round < 1500; round++) {
		size_t length;
		char *text = read_shipped(names[round % 4], &length);
		FILE *file = fopen(path, "w");
		size_t at = 0;
		assert_non_null(file);
		for (int cuts = 0; cuts < 1 + round % 4; cuts++) {
			random = random * 6364136223846793005u + 1442695040888963407u;
			size_t next = at + (size_t) (random >> 33) % (length - at + 1);
			fwrite(text + at, 1, next - at, file);
			fputs(words[(random >> 20) % (sizeof words / sizeof *words)], file);
			at = next + (size_t) (random >> 50) % 12;
			if (at > length)
				at = length;
		}
		fwrite(text + at, 1, length - at, file);
		fclose(file);
		free(text);
		struct error error = {0};
		int code = try_graph(path, NULL, 0, &error);
		static struct told told;
		assert_int_equal(check_all(path, NULL, 0, &told, &(struct error){0}), code);
		assert_true(code == 0 || code == ERROR_INPUT);
		assert_true(code == error.code && (code == 0) == (error.text[0] == '\0'));
		refused += code != 0;
		read += code == 0;
	}
	unlink(path);
	assert_true(refused > 500 && read > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_descriptions_are_refused_with_place_and_remedy),
		cmocka_unit_test(wrong_overrides_are_refused),
		cmocka_unit_test(errors_of_overrides_are_at_the_override),
		cmocka_unit_test(every_error_is_told),
		cmocka_unit_test(files_that_are_none_are_refused),
		cmocka_unit_test(mutated_descriptions_are_read_or_refused),
	};
	return cmocka_run_group_tests_name("graph_errors", tests, NULL, NULL);
}
