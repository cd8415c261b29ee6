/* SPDX-License-Identifier: Apache-2.0
 *
 * The drawing of every shipped graph is well-formed XML, has a box for each task, and keeps inside its frame and off
 * other boxes. That a person can read it, only a person can test. */
#include "runtime/graph.h"
#include "runtime/graph_source.h"
#include "runtime/model_config.h"
#include "tasks/kinds.h"
#include "tools/draw.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct box {
	int x, y, width, height;
};

enum { BOXES = 2048 };

static char *draw_model(const char *name, const struct model *model, const struct graph_override *overrides, int count)
{
	struct graph *graph;
	struct error error = {0};
	char *text;
	size_t size;
	if (graph_open(name, model, 4, &task_kinds, overrides, count, &graph, &error) ||
		graph_resolve(graph, model, &task_kinds, &error))
		fail_msg("%s: %s", name, error.text);
	FILE *file = open_memstream(&text, &size);
	assert_non_null(file);
	struct lowered *lowered = malloc(sizeof *lowered);
	assert_non_null(lowered);
	if (lowered_make(graph, lowered, &error))
		fail_msg("%s: %s", name, error.text);
	draw_graph(graph, lowered, file);
	free(lowered);
	fclose(file);
	graph_destroy(graph);
	return text;
}

static char *draw(const char *name, const struct graph_override *overrides, int count)
{
	return draw_model(name, NULL, overrides, count);
}

/* Tags nest, attributes are quoted, and text has neither < nor a bare &. */
static void check_xml(const char *name, const char *text)
{
	char open[16][16];
	int depth = 0;
	for (const char *p = text; *p;) {
		if (*p == '&') {
			if (strncmp(p, "&lt;", 4) && strncmp(p, "&gt;", 4) && strncmp(p, "&amp;", 5) &&
				strncmp(p, "&quot;", 6))
				fail_msg("%s: a bare & in the text", name);
			p++;
			continue;
		}
		assert_true((unsigned char) *p >= 32 || *p == '\n');
		if (*p != '<') {
			p++;
			continue;
		}
		const char *end = strchr(p, '>');
		assert_non_null(end);
		int quotes = 0;
		for (const char *q = p; q < end; q++)
			quotes += *q == '"';
		assert_int_equal(quotes % 2, 0);
		if (p[1] == '/') {
			assert_true(depth > 0);
			depth--;
			assert_int_equal(strncmp(p + 2, open[depth], strlen(open[depth])), 0);
		} else if (end[-1] != '/') {
			assert_true(depth < 16);
			size_t length = strcspn(p + 1, " >");
			assert_true(length < 16);
			snprintf(open[depth++], 16, "%.*s", (int) length, p + 1);
		}
		p = end + 1;
	}
	assert_int_equal(depth, 0);
}

static int find_tasks(const char *text, struct box *box)
{
	int count = 0;
	for (const char *p = text; (p = strstr(p, "<rect ")); p++) {
		struct box b;
		char class[32];
		if (sscanf(p, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"5\" class=\"%31[^\"]", &b.x,
			    &b.y, &b.width, &b.height, class) != 5)
			continue;
		if (strncmp(class, "task ", 5) || b.width < 50) /* the legend's are small */
			continue;
		assert_true(count < BOXES);
		box[count++] = b;
	}
	return count;
}

static void check_boxes(const char *name, const char *text)
{
	static struct box box[BOXES];
	int width, height, count = find_tasks(text, box);
	assert_int_equal(sscanf(strstr(text, "width="), "width=\"%d\" height=\"%d\"", &width, &height), 2);
	assert_true(count > 0);
	for (int i = 0; i < count; i++) {
		if (box[i].x < 0 || box[i].y < 0 || box[i].x + box[i].width > width ||
			box[i].y + box[i].height > height)
			fail_msg("%s: a box is outside the picture", name);
		for (int j = 0; j < i; j++)
			if (box[i].x < box[j].x + box[j].width && box[j].x < box[i].x + box[i].width &&
				box[i].y < box[j].y + box[j].height && box[j].y < box[i].y + box[i].height)
				fail_msg("%s: boxes overlap at %d, %d", name, box[i].x, box[i].y);
	}
}

static void shipped_graphs_are_drawn(void **state)
{
	char **names;
	(void) state;
	assert_int_equal(graph_source_list(&names, NULL), 0);
	for (char **name = names; *name; name++) {
		char *text = draw(*name, NULL, 0);
		check_xml(*name, text);
		check_boxes(*name, text);
		free(text);
	}
	graph_source_list_free(names);
}

static void every_task_has_its_box(void **state)
{
	static const struct {
		const char *name;
		int boxes;
	} counts[] = {
		{"one_device", 10},             /* embed, 7 steps, head, sample */
		{"tp2_ep2_reduce_scatter", 15}, /* 2 embed; 2 attention, route, experts; 4 spanning; 2 head; 1 sample */
		{"tp2_ep2_pp2", 27},            /* the same once more, less embed, head and sample, and 2 send */
		{"send_shards", 28},            /* and the all_gather that moved */
		{"experts_only", 18},           /* two groups of one: joins are one box each */
		{"expert_tensor", 25},
	};
	static struct box box[BOXES];
	(void) state;
	for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
		char *text = draw(counts[i].name, NULL, 0);
		int count = find_tasks(text, box);
		if (count != counts[i].boxes)
			fail_msg("%s has %d boxes, and should have %d", counts[i].name, count, counts[i].boxes);
		free(text);
	}
}

/* Horizontal place of the n-th text that is exactly this, −1: there is none. */
static int place_of(const char *text, const char *words, int n)
{
	char wanted[128];
	snprintf(wanted, sizeof wanted, ">%s</text>", words);
	for (const char *p = text; (p = strstr(p, wanted)); p++) {
		if (n--)
			continue;
		while (*p != '<' || p[1] != 't')
			p--;
		return (int) strtol(strstr(p, "x=\"") + 3, NULL, 10);
	}
	return -1;
}

/* Qwen2-MoE: layer 1 of 4 is dense. Each run of equal layers has its bracket, from left to right; what the lowering
 * inserts is there; the legend says no more than is drawn. */
static void layers_are_drawn_in_their_order(void **state)
{
	static const struct graph_override wide[] = {{"mesh.tensor", "2"}, {"mesh.experts", "4"}};
	static const char *const order[] = {"layer 0", "dense layer 1", "layers 2-3: × 2", "head"};
	struct model model;
	struct error error = {0};
	static struct box box[BOXES];
	(void) state;
	if (model_config_read(OCTANT_TEST_DATA "/golden/models/qwen2_moe", &model, &error))
		fail_msg("%s: %s", error.where, error.text);
	char *text = draw_model("default", &model, wide, 2);
	check_xml("qwen2_moe", text);
	check_boxes("qwen2_moe", text);
	/* 4 embed; twice 4 attention, route, shared_expert, experts, 2 reduce_scatter and all_gather, dispatch, combine;
	 * 4 attention, norm, mlp, 2 all_reduce, gather_rows, all_reduce; 4 head, 2 sample */
	assert_int_equal(find_tasks(text, box), 4 + 2 * 22 + 16 + 4 + 2);
	for (int i = 0; i < 4; i++) {
		if (place_of(text, order[i], 0) < 0)
			fail_msg("\"%s\" is not drawn", order[i]);
		assert_true(!i || place_of(text, order[i], 0) > place_of(text, order[i - 1], 0));
	}
	assert_true(place_of(text, "shared_expert", 0) < place_of(text, "dense layer 1", 0));
	assert_true(place_of(text, "shared_expert", 7) > place_of(text, "layers 2-3: × 2", 0));
	int dense = place_of(text, "dense layer 1", 0), next = place_of(text, "layers 2-3: × 2", 0);
	assert_in_range(place_of(text, "norm", 3), dense, next);
	assert_in_range(place_of(text, "gather_rows", 0), place_of(text, "norm", 0), next);
	assert_int_equal(place_of(text, "gather_rows", 1), -1);
	assert_non_null(strstr(text, "not in the description: inserted"));
	assert_null(strstr(text, ">to the next stage<"));
	assert_non_null(strstr(text, ">rows to experts and back<"));
	free(text);
	text = draw("dense", NULL, 0);
	assert_null(strstr(text, ">rows to experts and back<"));
	assert_null(strstr(text, ">rows grouped by expert<"));
	assert_null(strstr(text, "not in the description"));
	assert_non_null(strstr(text, ">to the next stage<"));
	free(text);
}

static void layers_of_many_runs_are_cut_short(void **state)
{
	struct model model = {0};
	struct error error = {0};
	(void) state;
	if (model_config_read(OCTANT_TEST_DATA "/golden/models/qwen2_moe", &model, &error))
		fail_msg("%s: %s", error.where, error.text);
	model.layers = 40;
	for (int l = 0; l < model.layers; l++)
		model.dense[l] = l % 2;
	char *text = draw_model("default", &model, NULL, 0);
	check_xml("many runs", text);
	check_boxes("many runs", text);
	assert_true(place_of(text, "dense layer 7; layers 8-39, of both kinds, follow likewise", 0) > place_of(text, "layer 6", 0));
	assert_int_equal(place_of(text, "layer 8", 0), -1);
	free(text);
}

static void names_cannot_break_the_picture(void **state)
{
	struct graph_override names[] = {{"graph", "\"<b>&\\\"'\\x07</svg>\""}, {"model.name", "\"]]> & <\""}};
	char *text = draw("one_device", names, 2);
	(void) state;
	check_xml("hostile names", text);
	assert_non_null(strstr(text, "&lt;b&gt;&amp;"));
	free(text);
}

static void the_largest_mesh_is_drawn(void **state)
{
	struct graph_override wide[] = {{"mesh.tensor", "8"}, {"mesh.experts", "16"}, {"mesh.stages", "4"},
		{"machine", "{ host = true; }"},
		{"layer", "({task=\"attention\";},{task=\"reduce_scatter\";over=\"tensor\";},{task=\"route\";},{task="
			  "\"dispatch\";how="
			  "\"all_to_all\";},{task=\"experts\";},{task=\"combine\";how=\"all_to_all\";},{task=\"all_"
			  "gather\";over=\"tensor\";})"}};
	char *text = draw("one_device", wide, 5);
	(void) state;
	check_xml("64 devices", text);
	check_boxes("64 devices", text);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shipped_graphs_are_drawn),
		cmocka_unit_test(every_task_has_its_box),
		cmocka_unit_test(layers_are_drawn_in_their_order),
		cmocka_unit_test(layers_of_many_runs_are_cut_short),
		cmocka_unit_test(names_cannot_break_the_picture),
		cmocka_unit_test(the_largest_mesh_is_drawn),
	};
	return cmocka_run_group_tests_name("draw", tests, NULL, NULL);
}
