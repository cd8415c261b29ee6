/* SPDX-License-Identifier: Apache-2.0
 *
 * Lays out the drawing of a graph: a band for each stage, a lane for each device, a column for each step. */
#include "tools/draw.h"
#include <stdbool.h>
#include <string.h>
#include "tools/draw_svg.h"

enum {
	MARGIN = 24,
	TITLE = 84,  /* height of title and subtitles */
	LABEL = 176, /* width of a lane's name */
	BOX = 108,   /* a task's width */
	TALL = 40,   /* and height */
	GAP = 76,    /* between columns, where the form stands */
	EXTRA = 26,  /* more where a bracket begins or ends */
	LANE = 56,   /* height of a lane */
	HEAD = 56,   /* of a band above its lanes: the stage's name and the brackets' */
	FOOT = 34,   /* and below them: the bracket's way back */
	TURN = 8,    /* between the lines of a send */
	RUNS = 8,    /* of equal layers that are drawn in a stage; what follows is written */
	COLUMNS = RUNS * GRAPH_MAX_STEPS + 8 + GRAPH_MAX_STEPS,
};

struct column {
	const struct graph_step *step;
	int x;
	int bracket; /* which of the stage's brackets it is in, −1: none */
};

struct bracket { /* a run of layers of one kind */
	const struct graph_chain *chain;
	bool dense;
	int first_layer, last_layer;
	int more_to;         /* layers up to this one follow that are not drawn; −1: none */
	bool without_gather; /* the last layer's all_gather follows the send */
};

struct band { /* one stage */
	int stage, y;
	int columns, brackets;
	struct column column[COLUMNS];
	struct bracket bracket[RUNS];
};

struct drawing {
	const struct graph *graph;
	const struct lowered *lowered;
	FILE *file;
	unsigned kinds, forms; /* that occur: bits of svg_kind_bit and svg_form_bit */
	bool inserted;
	int chain_x; /* where every stage's layers begin */
	int right;   /* end of the longest band's columns */
};

static int gutter(const struct drawing *d)
{
	return 44 + d->graph->mesh.per_stage * TURN;
}

static int band_height(const struct drawing *d)
{
	return HEAD + d->graph->mesh.per_stage * LANE + FOOT;
}

static void add_column(struct band *band, const struct graph_step *step, int bracket)
{
	if (band->columns < COLUMNS)
		band->column[band->columns++] = (struct column){.step = step, .bracket = bracket};
}

/* The layers from `first` on that have the same chain; returns the layer behind them. */
static int add_bracket(struct band *band, const struct drawing *d, int first)
{
	const struct graph *graph = d->graph;
	const struct mesh *mesh = &graph->mesh;
	int end = mesh->first_layer[band->stage + 1], last = first;
	struct bracket *bracket = &band->bracket[band->brackets];
	while (last + 1 < end && graph_chain_of(graph, last + 1) == graph_chain_of(graph, first))
		last++;
	*bracket = (struct bracket){.chain = lowered_chain_of(d->lowered, graph, first), .first_layer = first,
		.dense = graph_chain_of(graph, first) == &graph->dense_layer, .last_layer = last, .more_to = -1};
	if (band->brackets == RUNS - 1 && last + 1 < end)
		bracket->more_to = end - 1;
	bracket->without_gather = graph->between_before_gather && band->stage + 1 < mesh->stages && last == end - 1;
	for (int i = 0; i < bracket->chain->count; i++)
		add_column(band, &bracket->chain->step[i], band->brackets);
	band->brackets++;
	return bracket->more_to < 0 ? last + 1 : end;
}

/* The step that a send leaves to the next stage, or NULL. */
static const struct graph_step *gather_after_send(const struct graph *graph, int stage)
{
	const struct graph_chain *chain = graph_chain_of(graph, graph->mesh.first_layer[stage] - 1);
	return graph->between_before_gather ? &chain->step[chain->count - 1] : NULL;
}

static void make_band(const struct drawing *d, int stage, struct band *band)
{
	const struct graph *graph = d->graph;
	const struct lowered *lowered = d->lowered;
	memset(band, 0, sizeof *band);
	band->stage = stage;
	band->y = TITLE + stage * (band_height(d) + gutter(d));
	for (int i = 0; stage == 0 && i < lowered->before.count; i++)
		add_column(band, &lowered->before.step[i], -1);
	if (stage && gather_after_send(graph, stage))
		add_column(band, gather_after_send(graph, stage), -1);
	int entry = band->columns;
	for (int l = graph->mesh.first_layer[stage]; l < graph->mesh.first_layer[stage + 1];)
		l = add_bracket(band, d, l);
	for (int i = 0; stage + 1 < graph->mesh.stages && i < lowered->between_stages.count; i++)
		add_column(band, &lowered->between_stages.step[i], -1);
	for (int i = 0; stage + 1 == graph->mesh.stages && i < lowered->after.count; i++)
		add_column(band, &lowered->after.step[i], -1);

	int x = d->chain_x - entry * (BOX + GAP) - (entry ? EXTRA : 0), bracket = -1;
	for (int i = 0; i < band->columns; i++) {
		struct column *column = &band->column[i];
		if (i && column->bracket != bracket)
			x += column->bracket >= 0 && bracket >= 0 ? 2 * EXTRA : EXTRA;
		bracket = column->bracket;
		column->x = x;
		x += BOX + GAP;
	}
}

static int band_right(const struct band *band)
{
	return band->column[band->columns - 1].x + BOX;
}

static int lane_middle(const struct band *band, int index)
{
	return band->y + HEAD + index * LANE + LANE / 2;
}

static const char *range_text(const char *what, struct range range, char *text, size_t size)
{
	if (range.end - range.first > 1)
		snprintf(text, size, "%ss %d-%d", what, range.first, range.end - 1);
	else
		snprintf(text, size, "%s %d", what, range.first);
	return text;
}

/* What one device does in a step; NULL: nothing worth saying. */
static const char *detail_of(
	const struct graph *graph, const struct mesh_part *part, const struct graph_step *step, char *text, size_t size)
{
	const struct mesh *mesh = &graph->mesh;
	const struct model *model = &graph->model;
	const char *kind = step->kind->name;
	if (!strcmp(kind, "attention") || !strcmp(kind, "qkv") || !strcmp(kind, "attend"))
		return range_text("head", mesh_heads(mesh, model, part->tensor), text, size);
	if (!strcmp(kind, "experts")) {
		range_text("expert", mesh_expert_range(mesh, model, part->experts), text, size);
		size_t used = strlen(text);
		if (mesh->expert_tensor > 1)
			snprintf(text + used, size - used, ", %d/%d", part->slice + 1, mesh->expert_tensor);
		return text;
	}
	if (!strcmp(kind, "mlp")) {
		struct range columns = range_cut(model->mlp_hidden, mesh->per_stage, part->index);
		snprintf(text, size, "cols %d-%d", columns.first, columns.end - 1);
		return text;
	}
	if (!strcmp(kind, "shared_expert")) {
		struct range columns = range_cut(model->shared_hidden, mesh->per_stage, part->index);
		if (step->takes == FORM_SHARDED_ROUTED)
			return "own rows";
		snprintf(text, size, "cols %d-%d", columns.first, columns.end - 1);
		return text;
	}
	if (!strcmp(kind, "gather_rows"))
		return "all groups";
	if (!strcmp(kind, "head")) {
		struct range ids = range_cut(model->vocab, mesh->tensor, part->tensor);
		snprintf(text, size, "ids %d-%d", ids.first, ids.end - 1);
		return text;
	}
	if (!strcmp(kind, "route"))
		return step->takes == FORM_SHARDED ? "own rows" : "all rows";
	if (!strcmp(kind, "send")) {
		snprintf(text, size, "to device %d", mesh_at(mesh, part->stage + 1, part->index)->device);
		return text;
	}
	if (step->how == HOW_LOCAL)
		return "local";
	return NULL;
}

/* How many neighbouring lanes take part in one task of a step: 1, an attention group's, or the stage's. */
static int span_of(const struct mesh *mesh, const struct graph_step *step)
{
	if (!strcmp(step->kind->name, "sample"))
		return mesh->tensor;
	if (!strcmp(step->kind->name, "send"))
		return 1;
	if (step->how == HOW_LOCAL)
		return 1;
	if (step->kind->takes_how || !strcmp(step->kind->name, "gather_rows") || step->takes == FORM_PARTIAL_STAGE)
		return mesh->per_stage;
	return step->kind->collective ? mesh->tensor : 1;
}

static void draw_column(const struct drawing *d, const struct band *band, const struct column *column)
{
	const struct mesh *mesh = &d->graph->mesh;
	const struct graph_step *step = column->step;
	int span = span_of(mesh, step);
	for (int s = 0; s < mesh->per_stage; s += span) {
		char text[64];
		const char *detail = detail_of(d->graph, mesh_at(mesh, band->stage, s), step, text, sizeof text);
		if (step->kind->needs_over || step->how == HOW_ALL_TO_ALL) {
			snprintf(text, sizeof text, "%s",
				step->how == HOW_ALL_TO_ALL ? "all_to_all"
				: step->over == OVER_TENSOR ? "over tensor"
							    : "over experts");
			detail = span == 1 ? "one rank" : text;
		}
		svg_task(d->file, column->x, lane_middle(band, s) - TALL / 2, BOX, (span - 1) * LANE + TALL,
			step->kind->name, detail, step->inserted);
	}
}

static void draw_arrows(const struct drawing *d, const struct band *band)
{
	int per_stage = d->graph->mesh.per_stage;
	for (int i = 0; i < band->columns; i++) {
		const struct column *column = &band->column[i];
		if (i == 0 && band->stage > 0)
			continue; /* the send's path ends there */
		int from = i ? band->column[i - 1].x + BOX : column->x - GAP;
		for (int s = 0; s < per_stage; s++)
			svg_arrow(d->file, from, column->x, lane_middle(band, s), column->step->takes, true);
		const struct column *before = i ? &band->column[i - 1] : column;
		if (before->bracket < 0 || column->bracket >= 0 || !band->bracket[before->bracket].without_gather)
			continue;
		char text[64]; /* the picture shows the repeated layers, whose all_gather comes in between */
		snprintf(text, sizeof text, "of %s", i > 1 ? band->column[i - 2].step->kind->name : "");
		for (int s = 0; s < per_stage; s++)
			svg_text(d->file, (from + column->x) / 2, lane_middle(band, s) + 13, "form", text);
	}
	if (band->stage + 1 == d->graph->mesh.stages)
		for (int s = 0; s < per_stage; s += d->graph->mesh.tensor)
			svg_arrow(d->file, band_right(band), band_right(band) + GAP,
				lane_middle(band, s) + (d->graph->mesh.tensor - 1) * LANE / 2, FORM_TOKENS, true);
}

static void draw_brackets(const struct drawing *d, const struct band *band)
{
	for (int b = 0; b < band->brackets; b++) {
		const struct bracket *bracket = &band->bracket[b];
		int first = -1, last = -1;
		for (int i = 0; i < band->columns; i++)
			if (band->column[i].bracket == b) {
				first = first < 0 ? i : first;
				last = i;
			}
		int left = band->column[first].x - 12, right = band->column[last].x + BOX + 12;
		int top = band->y + HEAD - 10, bottom = band->y + band_height(d) - 14;
		char text[160];
		svg_box(d->file, left, top, right - left, bottom - top, "bracket");
		const char *kind = bracket->dense ? "dense layer" : "layer";
		int layers = bracket->last_layer - bracket->first_layer + 1;
		if (layers == 1)
			snprintf(text, sizeof text, "%s %d", kind, bracket->first_layer);
		else
			snprintf(text, sizeof text, "%ss %d-%d: × %d", kind, bracket->first_layer, bracket->last_layer, layers);
		if (bracket->more_to >= 0) {
			size_t used = strlen(text);
			snprintf(text + used, sizeof text - used, "; layers %d-%d, of both kinds, follow likewise",
				bracket->last_layer + 1, bracket->more_to);
		}
		if (bracket->without_gather) {
			size_t used = strlen(text);
			snprintf(text + used, sizeof text - used, "; layer %d sends before its all_gather",
				bracket->last_layer);
		}
		svg_text(d->file, left + 2, top - 6, "note", text);
		if (layers > 1) { /* the way back to the next layer */
			int y = bottom - 12;
			const int back[4][2] = {{right - 8, y - 12}, {right - 8, y}, {left + 8, y}, {left + 8, y - 12}};
			svg_path(d->file, back, 4, FORM_TOKENS);
		}
	}
}

static void draw_lanes(const struct drawing *d, const struct band *band)
{
	const struct mesh *mesh = &d->graph->mesh;
	char text[160], layers[64];
	svg_box(d->file, MARGIN, band->y, d->right + GAP, band_height(d), "band");
	range_text("layer", (struct range){mesh->first_layer[band->stage], mesh->first_layer[band->stage + 1]}, layers,
		sizeof layers);
	snprintf(text, sizeof text, "stage %d: %s", band->stage, layers);
	svg_text(d->file, MARGIN + 12, band->y + 24, "stage", text);
	for (int s = 0; s < mesh->per_stage; s++) {
		const struct mesh_part *part = mesh_at(mesh, band->stage, s);
		int y = lane_middle(band, s);
		if (mesh->groups > 1 && s && s % mesh->tensor == 0)
			svg_box(d->file, MARGIN + 8, y - LANE / 2, d->right + GAP - 16, 2, "rule");
		snprintf(text, sizeof text, "device %d", part->device);
		svg_text(d->file, MARGIN + 12, y - 2, "lane", text);
		if (mesh->groups > 1)
			snprintf(text, sizeof text, "group %d, tensor %d, experts %d", part->group, part->tensor,
				part->experts);
		else
			snprintf(text, sizeof text, "tensor %d, experts %d", part->tensor, part->experts);
		svg_text(d->file, MARGIN + 12, y + 13, "small", text);
	}
}

/* Nested lines, so that none crosses another: the top lane turns outermost. */
static void draw_send(const struct drawing *d, const struct band *from, const struct band *to)
{
	int n = d->graph->mesh.per_stage, right = d->right + GAP, under = from->y + band_height(d);
	enum form form = to->column[0].step->takes;
	for (int s = 0; s < n; s++) {
		int x = right - 24 - s * TURN, y = under + 22 + (n - 1 - s) * TURN;
		int left = to->column[0].x - 34 - s * TURN;
		const int path[6][2] = {{band_right(from), lane_middle(from, s)}, {x, lane_middle(from, s)}, {x, y},
			{left, y}, {left, lane_middle(to, s)}, {to->column[0].x, lane_middle(to, s)}};
		svg_path(d->file, path, 6, form);
	}
	char text[160];
	snprintf(text, sizeof text, "send: %s, each device to its counterpart",
		form == FORM_SHARDED ? "row shards" : "replicated rows");
	svg_text(d->file, (d->chain_x + d->right) / 2, under + 16, "note middle", text);
}

static void draw_title(const struct drawing *d)
{
	const struct graph *graph = d->graph;
	const struct mesh *mesh = &graph->mesh;
	char text[512];
	svg_text(d->file, MARGIN, 34, "title", graph->name);
	snprintf(text, sizeof text,
		"one micro-batch of %s through %d stage%s of %d device%s: tensor %d, experts %d, expert_tensor %d",
		graph->model.name, mesh->stages, mesh->stages > 1 ? "s" : "", mesh->per_stage,
		mesh->per_stage > 1 ? "s" : "", mesh->tensor, mesh->experts, mesh->expert_tensor);
	svg_text(d->file, MARGIN, 58, "subtitle", text);
}

/* What occurs, for the legend. */
static void note_what_occurs(struct drawing *d, const struct band *band)
{
	d->forms |= svg_form_bit(FORM_TOKENS);
	for (int i = 0; i < band->columns; i++) {
		d->inserted |= band->column[i].step->inserted;
		d->kinds |= svg_kind_bit(band->column[i].step->kind->name);
		d->forms |= svg_form_bit(band->column[i].step->takes);
	}
}

void draw_graph(const struct graph *graph, const struct lowered *lowered, FILE *file)
{
	struct drawing d = {.graph = graph, .lowered = lowered, .file = file};
	struct band band, next;
	int entry =
		lowered->before.count > graph->between_before_gather ? lowered->before.count : graph->between_before_gather;
	int stages = graph->mesh.stages;
	d.chain_x = MARGIN + LABEL + GAP + entry * (BOX + GAP) + EXTRA;
	for (int stage = 0; stage < stages; stage++) {
		make_band(&d, stage, &band);
		note_what_occurs(&d, &band);
		if (band_right(&band) > d.right)
			d.right = band_right(&band);
	}
	if (stages > 1)
		d.right += graph->mesh.per_stage * TURN;
	int bottom = TITLE + stages * band_height(&d) + (stages - 1) * gutter(&d);
	int width = d.right + GAP + 2 * MARGIN;
	svg_begin(file, width, bottom + 100, graph->name);
	draw_title(&d);
	for (int stage = 0; stage < stages; stage++) {
		make_band(&d, stage, &band);
		draw_lanes(&d, &band);
		draw_brackets(&d, &band);
		draw_arrows(&d, &band);
		for (int i = 0; i < band.columns; i++)
			draw_column(&d, &band, &band.column[i]);
	}
	for (int stage = 0; stage + 1 < stages; stage++) {
		make_band(&d, stage, &band);
		make_band(&d, stage + 1, &next);
		draw_send(&d, &band, &next);
	}
	svg_legend(file, MARGIN, bottom + 24, width - MARGIN, d.kinds, d.forms, d.inserted);
	svg_end(file);
}
