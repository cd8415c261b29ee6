/* SPDX-License-Identifier: Apache-2.0
 *
 * Two panels beside each other, each with a band between full and no overlap, and dashed lines for bounds:
 *
 *   tokens/ms a device: prefill, decode, FLOP/s bound, memory bound      seconds: TTFT, makespan
 *
 * Colours are told apart by people with any common colour vision (Okabe, Ito, 2008); lines are labelled where they end. */
#include "tools/plan_svg.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	WIDTH = 1180, HEIGHT = 520, TOP = 86, BOTTOM = 64, LEFT = 64, PANEL = 400, LABELS = 150,
	LINES = 4,
};

struct line {
	const char *label, *colour;
	double value[PLAN_OVER_POINTS]; /* NAN: none */
	double other[PLAN_OVER_POINTS]; /* the band's other edge */
	bool dashed, band;
};

struct panel {
	int x;
	const char *title;
	struct line line[LINES];
	int lines;
	double limit; /* NAN: none */
	const char *limit_label;
	double x_least, x_most, y_least, y_most; /* logarithms */
};

static double x_of(const struct panel *p, double value)
{
	double span = p->x_most - p->x_least;
	return p->x + (span > 0 ? (log10(value) - p->x_least) / span : 0.5) * PANEL;
}

static double y_of(const struct panel *p, double value)
{
	return HEIGHT - BOTTOM - (log10(value) - p->y_least) / (p->y_most - p->y_least) * (HEIGHT - TOP - BOTTOM);
}

static bool shown(double value)
{
	return isfinite(value) && value > 0;
}

static void widen(struct panel *p, double value)
{
	if (!shown(value))
		return;
	p->y_least = fmin(p->y_least, log10(value));
	p->y_most = fmax(p->y_most, log10(value));
}

static void fit(struct panel *p, const struct plan_point *point, int count)
{
	p->x_least = log10(point[0].value);
	p->x_most = log10(point[count - 1].value);
	p->y_least = INFINITY;
	p->y_most = -INFINITY;
	for (int l = 0; l < p->lines; l++)
		for (int i = 0; i < count; i++) {
			widen(p, p->line[l].value[i]);
			if (p->line[l].band)
				widen(p, p->line[l].other[i]);
		}
	widen(p, p->limit);
	if (!(p->y_least <= p->y_most))
		p->y_least = 0, p->y_most = 1;
	p->y_least = floor(p->y_least * 2 - 0.1) / 2; /* half decades */
	p->y_most = ceil(p->y_most * 2 + 0.1) / 2;
}

static void number(double value, char *text, size_t size)
{
	if (value >= 1000 && value == floor(value) && value < 1e7)
		snprintf(text, size, value < 10000 ? "%.0f" : "%.3gk", value < 10000 ? value : value / 1000);
	else
		snprintf(text, size, "%.3g", value);
}

static void draw_axes(FILE *f, const struct panel *p, const char *key, const struct plan_point *point, int count)
{
	static const double steps[] = { 1, 2, 5 };
	char text[32];
	fprintf(f, "<text x='%d' y='%d' class='head'>%s</text>\n", p->x, TOP - 16, p->title);
	for (int decade = (int) floor(p->y_least); decade <= (int) ceil(p->y_most); decade++)
		for (int s = 0; s < 3; s++) {
			double value = steps[s] * pow(10, decade), at = log10(value);
			if (at < p->y_least - 1e-9 || at > p->y_most + 1e-9 || (s && p->y_most - p->y_least > 3.2))
				continue;
			number(value, text, sizeof text);
			fprintf(f, "<line x1='%d' x2='%d' y1='%.1f' y2='%.1f' class='grid'/>"
				"<text x='%d' y='%.1f' class='tick' text-anchor='end'>%s</text>\n", p->x, p->x + PANEL, y_of(p, value),
				y_of(p, value), p->x - 8, y_of(p, value) + 4, text);
		}
	double last = -100;
	for (int i = 0; i < count; i++) {
		double x = x_of(p, point[i].value);
		if (x - last < 42)
			continue;
		last = x;
		snprintf(text, sizeof text, "%d", point[i].value);
		fprintf(f, "<line x1='%.1f' x2='%.1f' y1='%d' y2='%d' class='axis'/>"
			"<text x='%.1f' y='%d' class='tick' text-anchor='middle'>%s</text>\n", x, x, HEIGHT - BOTTOM, HEIGHT - BOTTOM + 5, x,
			HEIGHT - BOTTOM + 20, text);
	}
	fprintf(f, "<line x1='%d' x2='%d' y1='%d' y2='%d' class='axis'/>\n", p->x, p->x + PANEL, HEIGHT - BOTTOM, HEIGHT - BOTTOM);
	fprintf(f, "<text x='%d' y='%d' class='tick' text-anchor='middle'>", p->x + PANEL / 2, HEIGHT - BOTTOM + 42);
	for (const char *c = key; *c; c++)
		fputc(*c == '_' ? ' ' : strchr("<>&'\"", *c) ? '?' : *c, f);
	fputs("</text>\n", f);
}

static void draw_line(FILE *f, const struct panel *p, const struct line *line, const struct plan_point *point, int count)
{
	if (line->band) {
		fprintf(f, "<polygon fill='%s' fill-opacity='0.16' points='", line->colour);
		for (int i = 0; i < count; i++)
			if (shown(line->value[i]) && shown(line->other[i]))
				fprintf(f, "%.1f,%.1f ", x_of(p, point[i].value), y_of(p, line->value[i]));
		for (int i = count - 1; i >= 0; i--)
			if (shown(line->value[i]) && shown(line->other[i]))
				fprintf(f, "%.1f,%.1f ", x_of(p, point[i].value), y_of(p, line->other[i]));
		fputs("'/>\n", f);
	}
	fprintf(f, "<polyline fill='none' stroke='%s' stroke-width='%s'%s points='", line->colour, line->dashed ? "1.3" : "2.2",
		line->dashed ? " stroke-dasharray='6 4'" : "");
	for (int i = 0; i < count; i++)
		if (shown(line->value[i]))
			fprintf(f, "%.1f,%.1f ", x_of(p, point[i].value), y_of(p, line->value[i]));
	fputs("'/>\n", f);
	for (int i = 0; i < count && !line->dashed; i++)
		if (shown(line->value[i]))
			fprintf(f, "<circle cx='%.1f' cy='%.1f' r='3' fill='%s'><title>%d: %.4g, without overlap %.4g</title></circle>\n",
				x_of(p, point[i].value), y_of(p, line->value[i]), line->colour, point[i].value, line->value[i],
				line->other[i]);
}

/* Labels at the lines' right ends, moved apart where they would touch. */
static void draw_labels(FILE *f, const struct panel *p, int count)
{
	double at[LINES + 1];
	int order[LINES + 1], n = 0;
	for (int l = 0; l <= p->lines; l++) {
		double value = l < p->lines ? p->line[l].value[count - 1] : p->limit;
		if (!shown(value))
			continue;
		int i = n++;
		for (; i > 0 && at[i - 1] > y_of(p, value); i--)
			at[i] = at[i - 1], order[i] = order[i - 1];
		at[i] = y_of(p, value);
		order[i] = l;
	}
	for (int pass = 0; pass < 40; pass++)
		for (int i = 1; i < n; i++)
			if (at[i] - at[i - 1] < 15) {
				double push = (15 - at[i] + at[i - 1]) / 2;
				at[i] += push;
				at[i - 1] -= push;
			}
	for (int i = 0; i < n; i++)
		fprintf(f, "<text x='%d' y='%.1f' class='label' style='fill:%s'>%s</text>\n", p->x + PANEL + 8, at[i] + 4,
			order[i] < p->lines ? p->line[order[i]].colour : "#555", order[i] < p->lines ? p->line[order[i]].label : p->limit_label);
}

static void draw_panel(FILE *f, struct panel *p, const char *key, const struct plan_point *point, int count)
{
	fit(p, point, count);
	draw_axes(f, p, key, point, count);
	if (shown(p->limit))
		fprintf(f, "<line x1='%d' x2='%d' y1='%.1f' y2='%.1f' class='limit'/>\n", p->x, p->x + PANEL, y_of(p, p->limit),
			y_of(p, p->limit));
	for (int l = 0; l < p->lines; l++)
		draw_line(f, p, &p->line[l], point, count);
	draw_labels(f, p, count);
}

static double limit_of(const struct plan_point *point, const char *name)
{
	for (int i = 0; i < point->requirements; i++)
		if (!strcmp(point->requirement[i].name, name))
			return point->requirement[i].limit;
	return NAN;
}

static void fill_panels(struct panel *rate, struct panel *time, const struct plan_point *point, int count)
{
	static const struct line lines[2 * LINES] = {
		{ .label = "prefill", .colour = "#0072b2", .band = true }, { .label = "prefill, FLOP/s allow", .colour = "#0072b2", .dashed = true },
		{ .label = "decode", .colour = "#d55e00", .band = true }, { .label = "decode, memory allows", .colour = "#d55e00", .dashed = true },
		{ .label = "time to first token", .colour = "#0072b2", .band = true }, { .label = "makespan", .colour = "#009e73", .band = true },
		{ .label = "its lower bound", .colour = "#009e73", .dashed = true },
	};
	*rate = (struct panel){ .x = LEFT, .title = "tokens/ms a device", .lines = 4, .limit_label = "required",
		.limit = limit_of(point, "tokens_per_ms_per_device.prefill") };
	*time = (struct panel){ .x = LEFT + PANEL + LABELS + 40, .title = "seconds", .lines = 3, .limit_label = "TTFT allowed",
		.limit = limit_of(point, "ttft_s") };
	memcpy(rate->line, lines, sizeof rate->line);
	memcpy(time->line, lines + LINES, sizeof time->line);
	for (int i = 0; i < count; i++) {
		const struct plan_point *p = &point[i];
		for (int phase = 0; phase < PLAN_PHASES; phase++) {
			rate->line[2 * phase].value[i] = p->rates[phase].planned;
			rate->line[2 * phase].other[i] = p->rates[phase].serial;
		}
		rate->line[1].value[i] = p->rates[PLAN_PREFILL].by_flops;
		rate->line[3].value[i] = p->rates[PLAN_DECODE].by_bytes;
		time->line[0].value[i] = p->overlapped.ttft_s;
		time->line[0].other[i] = p->serial.ttft_s;
		time->line[1].value[i] = p->overlapped.makespan_s;
		time->line[1].other[i] = p->serial.makespan_s;
		time->line[2].value[i] = p->lower_bound_s;
	}
}

static void draw(FILE *f, const char *title, const char *key, const struct plan_point *point, int count,
	struct panel panel[2])
{
	fprintf(f, "<?xml version='1.0' encoding='UTF-8'?>\n<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d' "
		"viewBox='0 0 %d %d'>\n<style>text{font-family:sans-serif;fill:#222} .name{font-size:16px;font-weight:600} "
		".note,.tick{font-size:11.5px;fill:#555} .head{font-size:13px;font-weight:600} .label{font-size:12px} "
		".grid{stroke:#e4e4e4} .axis{stroke:#666} .limit{stroke:#555;stroke-width:1.2;stroke-dasharray:2 3}</style>\n"
		"<rect width='100%%' height='100%%' fill='#fff'/>\n", WIDTH, HEIGHT, WIDTH, HEIGHT);
	fputs("<text x='24' y='30' class='name'>", f);
	for (const char *c = title; *c; c++)
		fputs(*c == '<' ? "&lt;" : *c == '>' ? "&gt;" : *c == '&' ? "&amp;" : (char[]){ *c, 0 }, f);
	fputs("</text>\n<text x='24' y='50' class='note'>Planned. Lines: full overlap of communication and compute; bands reach to "
	      "none. Both axes are logarithmic.</text>\n", f);
	draw_panel(f, &panel[0], key, point, count);
	draw_panel(f, &panel[1], key, point, count);
	fputs("</svg>\n", f);
}

int plan_svg_write(const char *path, const char *title, const char *key, const struct plan_point *point, int count,
	struct error *error)
{
	size_t length = strlen(path);
	struct panel *panel = malloc(2 * sizeof *panel);
	char *temporary = malloc(length + 8);
	int code = 0;
	if (!panel || !temporary) {
		code = error_memory(error, "drawing the plan");
		goto free_all;
	}
	snprintf(temporary, length + 8, "%s.part", path);
	FILE *f = fopen(temporary, "w");
	if (!f) {
		code = error_set(error, ERROR_RUN, path, "cannot be written: %s", strerror(errno));
		goto free_all;
	}
	fill_panels(&panel[0], &panel[1], point, count);
	draw(f, title, key, point, count, panel);
	if (ferror(f) | fclose(f) || rename(temporary, path)) {
		code = error_set(error, ERROR_RUN, path, "cannot be written: %s", strerror(errno));
		remove(temporary);
	}
free_all:
	free(panel);
	free(temporary);
	return code;
}
