/* SPDX-License-Identifier: Apache-2.0
 *
 * The drawing of every shipped graph is well-formed XML, has a box for each task, and keeps inside its frame and off
 * other boxes. That a person can read it, only a person can test. */
#include "runtime/graph.h"
#include "runtime/graph_source.h"
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

static char *draw(const char *name, const struct graph_override *overrides, int count)
{
	struct graph *graph;
	struct error error = {0};
	char *text;
	size_t size;
	if (graph_read(name, &task_kinds, overrides, count, &graph, &error) ||
		graph_resolve(graph, NULL, &task_kinds, &error))
		fail_msg("%s: %s", name, error.text);
	FILE *file = open_memstream(&text, &size);
	assert_non_null(file);
	draw_graph(graph, file);
	fclose(file);
	graph_destroy(graph);
	return text;
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
		cmocka_unit_test(names_cannot_break_the_picture),
		cmocka_unit_test(the_largest_mesh_is_drawn),
	};
	return cmocka_run_group_tests_name("draw", tests, NULL, NULL);
}
