/* SPDX-License-Identifier: Apache-2.0
 *
 * Predicted against measured. */
#include "tools/simulate_against.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "runtime/json_file.h"

#define LARGEST ((size_t) 1 << 26)
enum { MOST = 8 + METRICS_MAX_KINDS };

struct figure {
	const char *name, *unit;
	bool kind; /* seconds of a kind of task */
	double predicted, measured;
};

static double error_of(const struct figure *f)
{
	return f->predicted / f->measured - 1;
}

static double at(const json_t *root, const char *group, const char *key)
{
	const json_t *value = json_object_get(group ? json_object_get(root, group) : root, key);
	return json_is_number(value) ? json_number_value(value) : NAN;
}

static double seconds_of(const json_t *root, const char *kind)
{
	size_t i;
	json_t *item;
	json_array_foreach(json_object_get(root, "tasks"), i, item) {
		const char *name = json_string_value(json_object_get(item, "kind"));
		if (name && !strcmp(name, kind))
			return at(item, NULL, "seconds");
	}
	return NAN;
}

static void add(struct figure *figure, int *count, struct figure next)
{
	if (isfinite(next.predicted) && isfinite(next.measured) && next.measured > 0)
		figure[(*count)++] = next;
}

static int collect(const struct metrics *m, const json_t *root, struct figure *figure)
{
	int n = 0;
	add(figure, &n, (struct figure){ "makespan_s", "s", false, m->makespan_s, at(root, NULL, "makespan_s") });
	add(figure, &n, (struct figure){ "ttft_s.p50", "s", false, m->ttft_s.p50, at(root, "ttft_s", "p50") });
	add(figure, &n, (struct figure){ "ttft_s.max", "s", false, m->ttft_s.max, at(root, "ttft_s", "max") });
	add(figure, &n, (struct figure){ "prefill_tokens_per_s", "tokens/s", false, m->prefill_tokens_per_s,
		at(root, NULL, "prefill_tokens_per_s") });
	add(figure, &n, (struct figure){ "decode_tokens_per_s", "tokens/s", false, m->decode_tokens_per_s,
		at(root, NULL, "decode_tokens_per_s") });
	for (int k = 0; k < m->kinds; k++)
		if (m->kind[k].calls)
			add(figure, &n, (struct figure){ m->kind[k].name, "s", true, m->kind[k].seconds,
				seconds_of(root, m->kind[k].name) });
	return n;
}

static void print_table(const struct figure *figure, int count)
{
	printf("%-22s %12s %12s %8s\n", "", "predicted", "measured", "error");
	for (int i = 0; i < count; i++) {
		if (figure[i].kind && (!i || !figure[i - 1].kind))
			puts("seconds of tasks");
		printf("%s%-*s %12.4g %12.4g %+7.1f%%\n", figure[i].kind ? "  " : "", figure[i].kind ? 20 : 22, figure[i].name,
			figure[i].predicted, figure[i].measured, 100 * error_of(&figure[i]));
	}
}

static int print_json(const struct figure *figure, int count, struct error *error)
{
	json_t *list[2] = { json_array(), json_array() };
	for (int i = 0; i < count; i++)
		json_array_append_new(list[figure[i].kind], json_pack("{s:s, s:s, s:f, s:f, s:f}", "name", figure[i].name, "unit",
			figure[i].unit, "predicted", figure[i].predicted, "measured", figure[i].measured, "error",
			error_of(&figure[i])));
	json_t *root = json_pack("{s:o, s:o}", "figures", list[0], "tasks", list[1]);
	int bad = !root || json_dumpf(root, stdout, JSON_INDENT(2)) || putchar('\n') == EOF;
	json_decref(root);
	return bad ? error_set(error, ERROR_RUN, "standard output", "cannot be written") : 0;
}

int simulate_against(const struct metrics *predicted, const char *directory, bool json, struct error *error)
{
	struct json_file file = { 0 };
	struct figure figure[MOST];
	char path[4096];
	snprintf(path, sizeof path, "%s/metrics.json", directory);
	int code = json_file_read(path, LARGEST, &file, error);
	if (code)
		return code;
	int count = collect(predicted, file.root, figure);
	json_file_close(&file);
	if (!count)
		return error_set(error, ERROR_INPUT, path, "has no figures of a run; the --output-dir of a finished octant run would be "
			"right");
	if (!json)
		print_table(figure, count);
	return json ? print_json(figure, count, error) : 0;
}
