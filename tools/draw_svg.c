/* SPDX-License-Identifier: Apache-2.0
 *
 * SVG pieces of the graph drawing: one style sheet, so that colours and lines are named in one place. */
#include "tools/draw_svg.h"
#include <string.h>

/* Hues that stay apart for colour-blind readers: blue computes attention, green experts, orange joins, purple moves
 * rows to experts. */
static const char style[] =
	"text{font-family:'DejaVu Sans','Segoe UI',Helvetica,Arial,sans-serif;font-size:12px;fill:#1f2933}"
	".title{font-size:20px;font-weight:bold}.subtitle{font-size:13px;fill:#52606d}"
	".stage{font-size:14px;font-weight:bold}.lane{font-size:12px;font-weight:bold}.small{font-size:11px;fill:#"
	"52606d}"
	".middle{text-anchor:middle}.kind{font-size:12px;font-weight:bold;text-anchor:middle}"
	".detail{font-size:11px;text-anchor:middle}.form{font-size:11px;text-anchor:middle;fill:#3e4c59}"
	".repeat{font-size:12px;font-weight:bold;fill:#7b8794}.note{font-size:12px}"
	".background{fill:#ffffff}.band{fill:#f5f7fa;stroke:#cbd2d9}.bracket{fill:#ffffff;stroke:#9aa5b1;stroke-"
	"dasharray:6 3}"
	".rule{fill:#e4e7eb}"
	".task{stroke:#323f4b;stroke-width:1}.inserted{stroke-dasharray:4 2}"
	".ends{fill:#d9e2ec}.attention{fill:#a6c8ff}.route{fill:#ffe08a}.experts{fill:#a8e6b0}.join{fill:#ffc09f}"
	".exchange{fill:#d9bbf9}.send{fill:#b8c4ce}"
	".line{fill:none;stroke:#323f4b;stroke-width:1.6}"
	".partial{stroke:#c2410c;stroke-dasharray:7 3}.sharded{stroke:#1d6fb8;stroke-width:2.4;stroke-dasharray:2 3}"
	".grouped{stroke:#6b21a8;stroke-dasharray:10 3 2 3}.replicated{stroke-width:2.4}.plain{stroke-width:1.2}";

static void escape(FILE *file, const char *text)
{
	for (; *text; text++)
		switch (*text) {
		case '<':
			fputs("&lt;", file);
			break;
		case '>':
			fputs("&gt;", file);
			break;
		case '&':
			fputs("&amp;", file);
			break;
		case '"':
			fputs("&quot;", file);
			break;
		default:
			/* control bytes are not allowed in XML, whatever a description's name holds */
			if ((unsigned char) *text >= 32)
				fputc(*text, file);
		}
}

void svg_begin(FILE *file, int width, int height, const char *title)
{
	/* a chain is one line, wider than most windows: a browser shrinks it to the window, and zooms in on request */
	fprintf(file,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
		"style=\"max-width:100%%;height:auto\">\n<title>",
		width, height, width, height);
	escape(file, title);
	fprintf(file,
		"</title>\n<style>%s</style>\n<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" "
		"markerWidth=\"8\" "
		"markerHeight=\"8\" markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path d=\"M0,0 L8,4 L0,8 z\" "
		"fill=\"#323f4b\"/>"
		"</marker></defs>\n",
		style);
	svg_box(file, 0, 0, width, height, "background");
}

void svg_end(FILE *file)
{
	fputs("</svg>\n", file);
}

void svg_text(FILE *file, int x, int y, const char *class, const char *text)
{
	fprintf(file, "<text x=\"%d\" y=\"%d\" class=\"%s\">", x, y, class);
	escape(file, text);
	fputs("</text>\n", file);
}

void svg_box(FILE *file, int x, int y, int width, int height, const char *class)
{
	fprintf(file, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"5\" class=\"%s\"/>\n", x, y, width,
		height, class);
}

/* Kinds by what they do; a kind that is not listed is drawn as an end of the chain. */
static const struct {
	const char *kind, *class;
} kinds[] = {
	{"attention", "attention"},
	{"qkv", "attention"},
	{"attend", "attention"},
	{"route", "route"},
	{"experts", "experts"},
	{"mlp", "experts"},
	{"shared_expert", "experts"},
	{"norm", "attention"},
	{"gather_rows", "join"},
	{"all_reduce", "join"},
	{"reduce_scatter", "join"},
	{"all_gather", "join"},
	{"dispatch", "exchange"},
	{"combine", "exchange"},
	{"send", "send"},
};

static const char *class_of(const char *kind)
{
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (!strcmp(kinds[i].kind, kind))
			return kinds[i].class;
	return "ends";
}

void svg_task(FILE *file, int x, int y, int width, int height, const char *kind, const char *detail, bool inserted)
{
	char class[64];
	int middle = y + height / 2;
	snprintf(class, sizeof class, "task %s%s", class_of(kind), inserted ? " inserted" : "");
	svg_box(file, x, y, width, height, class);
	svg_text(file, x + width / 2, detail ? middle - 3 : middle + 4, "kind", kind);
	if (detail)
		svg_text(file, x + width / 2, middle + 12, "detail", detail);
}

/* A form's line, and its name on an arrow in one or two lines. */
static const struct {
	const char *class, *first, *second;
} forms[FORM_COUNT] = {
	[FORM_TOKENS] = {"plain", "token ids", NULL},
	[FORM_REPLICATED] = {"replicated", "replicated", NULL},
	[FORM_QKV] = {"partial", "q, k, v", "own squares"},
	[FORM_QKV_SUMMED] = {"plain", "q, k, v", "all squares"},
	[FORM_PARTIAL] = {"partial", "partial sums", NULL},
	[FORM_PARTIAL_STAGE] = {"partial", "partial sums", "of the stage"},
	[FORM_SHARDED] = {"sharded", "row shards", NULL},
	[FORM_REPLICATED_ROUTED] = {"replicated", "replicated", "+ routing"},
	[FORM_SHARDED_ROUTED] = {"sharded", "row shards", "+ routing"},
	[FORM_GROUPED] = {"grouped", "grouped", "by expert"},
	[FORM_GROUPED_LOCAL] = {"grouped", "grouped", "by expert"},
	[FORM_GROUPED_DONE] = {"grouped", "expert", "outputs"},
	[FORM_GROUPED_LOCAL_DONE] = {"grouped", "expert", "outputs"},
	[FORM_LOGITS] = {"plain", "own logits", NULL},
};

void svg_arrow(FILE *file, int from, int to, int y, enum form form, bool named)
{
	const int line[2][2] = {{from, y}, {to, y}};
	svg_path(file, line, 2, form);
	if (!named || !forms[form].first)
		return;
	svg_text(file, (from + to) / 2, y - 5, "form", forms[form].first);
	if (forms[form].second)
		svg_text(file, (from + to) / 2, y + 13, "form", forms[form].second);
}

void svg_path(FILE *file, const int (*point)[2], int count, enum form form)
{
	fprintf(file, "<path class=\"line %s\" marker-end=\"url(#tip)\" d=\"",
		forms[form].class ? forms[form].class : "plain");
	for (int i = 0; i < count; i++)
		fprintf(file, "%c%d,%d ", i ? 'L' : 'M', point[i][0], point[i][1]);
	fputs("\"/>\n", file);
}

static const struct {
	const char *kind, *text;
} boxes[] = {
	{"embed", "embedding, head, sampling"},
	{"attention", "attention, norm"},
	{"route", "router"},
	{"experts", "experts, MLP"},
	{"all_reduce", "joins partial sums or rows"},
	{"dispatch", "rows to experts and back"},
	{"send", "to the next stage"},
};
static const struct {
	enum form form;
	const char *text;
} lines[] = {
	{FORM_REPLICATED, "replicated: all rows of the group on each of its devices"},
	{FORM_SHARDED, "row shards: each device its own rows"},
	{FORM_PARTIAL, "partial sums: addends, still to be joined"},
	{FORM_GROUPED, "rows grouped by expert"},
	{FORM_TOKENS, "token ids, logits, q k v"},
};

unsigned svg_kind_bit(const char *kind)
{
	for (size_t i = 0; i < sizeof boxes / sizeof *boxes; i++)
		if (!strcmp(class_of(boxes[i].kind), class_of(kind)))
			return 1u << i;
	return 0;
}

unsigned svg_form_bit(enum form form)
{
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
		if (forms[form].class && !strcmp(forms[lines[i].form].class, forms[form].class))
			return 1u << i;
	return 0;
}

int svg_legend(FILE *file, int x, int y, int width, unsigned kinds_used, unsigned forms_used, bool inserted)
{
	int at = x, top = y;
	for (size_t i = 0; i < sizeof boxes / sizeof *boxes; i++) {
		char class[64];
		int wide = 46 + (int) strlen(boxes[i].text) * 7;
		if (!(kinds_used >> i & 1))
			continue;
		if (at + wide > width) {
			at = x;
			y += 26;
		}
		snprintf(class, sizeof class, "task %s", class_of(boxes[i].kind));
		svg_box(file, at, y, 22, 14, class);
		svg_text(file, at + 28, y + 11, "note", boxes[i].text);
		at += wide;
	}
	if (inserted) {
		svg_box(file, at, y, 22, 14, "background task inserted");
		svg_text(file, at + 28, y + 11, "note", "not in the description: inserted");
	}
	at = x;
	y += 28;
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
		int wide = 70 + (int) strlen(lines[i].text) * 7;
		if (!(forms_used >> i & 1))
			continue;
		if (at + wide > width) {
			at = x;
			y += 26;
		}
		svg_arrow(file, at, at + 40, y + 7, lines[i].form, false);
		svg_text(file, at + 48, y + 11, "note", lines[i].text);
		at += wide;
	}
	return y + 26 - top;
}
