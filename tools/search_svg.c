/* SPDX-License-Identifier: Apache-2.0
 *
 * The Pareto picture of a search: time to first token against tokens/ms a device, a dot a candidate, a colour a mesh.
 * The front is a staircase: up and left of it nothing was found. Simulated candidates are diamonds, joined to their plan.
 *
 * Colours are told apart by people with any common colour vision (Okabe, Ito, 2008); meshes beyond them are grey. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tools/search.h"

enum { WIDTH = 1120, HEIGHT = 640, LEFT = 76, TOP = 92, RIGHT = 270, BOTTOM = 64, COLOURS = 7 };

static const char *const palette[COLOURS + 1] = { "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31",
	"#aaaaaa" };

struct picture {
	const struct search *search;
	double x_least, x_most, y_most; /* x: logarithms */
	int colour_base[COLOURS]; /* a base of the mesh */
	int colours;
	unsigned char *taken; /* [WIDTH][HEIGHT] a dot lies there */
};

static bool same_mesh(const struct search *s, int a, int b)
{
	const struct mesh *x = &s->base[a].graph->mesh, *y = &s->base[b].graph->mesh;
	return x->tensor == y->tensor && x->experts == y->experts && x->stages == y->stages && x->expert_tensor == y->expert_tensor;
}

static int colour_of(const struct picture *p, int base)
{
	for (int i = 0; i < p->colours; i++)
		if (same_mesh(p->search, p->colour_base[i], base))
			return i;
	return COLOURS;
}

static double x_of(const struct picture *p, double value)
{
	return LEFT + (log10(value) - p->x_least) / (p->x_most - p->x_least) * (WIDTH - LEFT - RIGHT);
}

static double y_of(const struct picture *p, double value)
{
	return HEIGHT - BOTTOM - value / p->y_most * (HEIGHT - TOP - BOTTOM);
}

static bool shown(const struct search_figures *f)
{
	return isfinite(f->ttft) && f->ttft > 0 && isfinite(f->total) && f->total > 0;
}

static void widen(struct picture *p, const struct search_figures *f)
{
	if (!shown(f))
		return;
	p->x_least = fmin(p->x_least, log10(f->ttft));
	p->x_most = fmax(p->x_most, log10(f->ttft));
	p->y_most = fmax(p->y_most, f->total);
}

static void fit(struct picture *p)
{
	const struct search *s = p->search;
	p->x_least = INFINITY;
	p->x_most = -INFINITY;
	p->y_most = 0;
	for (int i = 0; i < s->ranked; i++) {
		const struct search_candidate *c = &s->candidate[s->best[i]];
		widen(p, &c->planned);
		if (c->simulated.makespan > 0)
			widen(p, &c->simulated);
		if (p->colours < COLOURS && colour_of(p, c->base) == COLOURS)
			p->colour_base[p->colours++] = c->base;
	}
	if (!(p->x_least <= p->x_most))
		p->x_least = 0, p->x_most = 1;
	p->x_least -= 0.05;
	p->x_most += 0.05;
	p->y_most = p->y_most > 0 ? 1.06 * p->y_most : 1;
}

static void draw_axes(FILE *f, const struct picture *p)
{
	static const double steps[] = { 1, 1.5, 2, 3, 4, 5, 7 };
	double step = pow(10, floor(log10(p->y_most / 4)));
	step *= p->y_most / step > 12 ? 5 : p->y_most / step > 6 ? 2 : 1;
	for (double y = 0; y <= p->y_most; y += step)
		fprintf(f, "<line x1='%d' x2='%d' y1='%.1f' y2='%.1f' class='grid'/><text x='%d' y='%.1f' class='tick' "
			"text-anchor='end'>%.4g</text>\n", LEFT, WIDTH - RIGHT, y_of(p, y), y_of(p, y), LEFT - 8, y_of(p, y) + 4, y);
	double last = -100;
	for (int decade = (int) floor(p->x_least); decade <= (int) p->x_most; decade++)
		for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
			double value = steps[i] * pow(10, decade), x = x_of(p, value);
			if (x < LEFT || x > WIDTH - RIGHT || x - last < 48)
				continue;
			last = x;
			fprintf(f, "<line x1='%.1f' x2='%.1f' y1='%d' y2='%d' class='grid'/><text x='%.1f' y='%d' class='tick' "
				"text-anchor='middle'>%.4g</text>\n", x, x, TOP, HEIGHT - BOTTOM, x, HEIGHT - BOTTOM + 20, value * 1e3);
		}
	fprintf(f, "<line x1='%d' x2='%d' y1='%d' y2='%d' class='axis'/><line x1='%d' x2='%d' y1='%d' y2='%d' class='axis'/>\n"
		"<text x='%d' y='%d' class='label' text-anchor='middle'>time to first token of the last sequence, ms</text>\n"
		"<text x='%d' y='%d' class='label'>tokens/ms a device, prompts and new ones</text>\n", LEFT, WIDTH - RIGHT,
		HEIGHT - BOTTOM, HEIGHT - BOTTOM, LEFT, LEFT, TOP, HEIGHT - BOTTOM, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM + 44, LEFT,
		TOP - 12);
}

/* Best last, so that it lies on top; of dots at one place one is drawn. */
static void draw_dots(FILE *f, struct picture *p)
{
	const struct search *s = p->search;
	for (int i = s->ranked - 1; i >= 0; i--) {
		const struct search_candidate *c = &s->candidate[s->best[i]];
		if (!shown(&c->planned))
			continue;
		double x = x_of(p, c->planned.ttft), y = y_of(p, c->planned.total);
		int colour = colour_of(p, c->base);
		unsigned char *taken = &p->taken[(int) x * HEIGHT + (int) y];
		if (*taken == colour + 1)
			continue;
		*taken = (unsigned char) (colour + 1);
		fprintf(f, "<circle cx='%.1f' cy='%.1f' r='2.6' fill='%s' fill-opacity='%s'/>\n", x, y, palette[colour],
			c->miss > 0 ? "0.15" : "0.55");
	}
}

static int by_ttft(const void *a, const void *b)
{
	const struct search_candidate *const *x = a, *const *y = b;
	return ((*x)->planned.ttft > (*y)->planned.ttft) - ((*x)->planned.ttft < (*y)->planned.ttft);
}

static int draw_front(FILE *f, const struct picture *p)
{
	const struct search *s = p->search;
	const struct search_candidate **front = calloc((size_t) s->ranked + 1, sizeof *front);
	int count = 0;
	if (!front)
		return -1;
	for (int i = 0; i < s->ranked; i++)
		if (s->candidate[s->best[i]].front && shown(&s->candidate[s->best[i]].planned))
			front[count++] = &s->candidate[s->best[i]];
	qsort(front, (size_t) count, sizeof *front, by_ttft);
	fputs("<polyline fill='none' stroke='#222' stroke-width='1.4' points='", f);
	for (int i = 0; i < count; i++) {
		if (i)
			fprintf(f, "%.1f,%.1f ", x_of(p, front[i]->planned.ttft), y_of(p, front[i - 1]->planned.total));
		fprintf(f, "%.1f,%.1f ", x_of(p, front[i]->planned.ttft), y_of(p, front[i]->planned.total));
	}
	fputs("'/>\n", f);
	for (int i = 0; i < count; i++)
		fprintf(f, "<circle cx='%.1f' cy='%.1f' r='4' fill='%s' stroke='#222'><title>chunk %d, slots %d, %s: %.4g ms, %.4g "
			"tokens/ms</title></circle>\n", x_of(p, front[i]->planned.ttft), y_of(p, front[i]->planned.total),
			palette[colour_of(p, front[i]->base)], front[i]->key[KEY_TOKENS], front[i]->key[KEY_SLOTS],
			search_interleave_name(front[i]->key[KEY_INTERLEAVE]), front[i]->planned.ttft * 1e3, front[i]->planned.total);
	free(front);
	return 0;
}

static void draw_simulated(FILE *f, const struct picture *p)
{
	const struct search *s = p->search;
	for (int i = 0; i < s->ranked; i++) {
		const struct search_candidate *c = &s->candidate[s->best[i]];
		if (!(c->simulated.makespan > 0) || !shown(&c->simulated))
			continue;
		double x = x_of(p, c->simulated.ttft), y = y_of(p, c->simulated.total);
		fprintf(f, "<line x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f' stroke='#555' stroke-dasharray='3 2'/>"
			"<path d='M%.1f %.1f l6 6 l-6 6 l-6 -6 z' fill='%s' stroke='#222'/>\n", x_of(p, c->planned.ttft),
			y_of(p, c->planned.total), x, y, x, y - 6, palette[colour_of(p, c->base)]);
		if (!i)
			fprintf(f, "<text x='%.1f' y='%.1f' class='label'>best</text>\n", x + 10, y + 4);
	}
}

static void draw_legend(FILE *f, const struct picture *p)
{
	int x = WIDTH - RIGHT + 24, y = TOP + 4;
	fprintf(f, "<text x='%d' y='%d' class='head'>tensor × experts × stages</text>\n", x, y);
	for (int i = 0; i < p->colours; i++) {
		const struct mesh *m = &p->search->base[p->colour_base[i]].graph->mesh;
		y += 22;
		fprintf(f, "<circle cx='%d' cy='%d' r='5' fill='%s'/><text x='%d' y='%d' class='label'>%d × %d × %d", x + 5, y - 4, palette[i],
			x + 18, y, m->tensor, m->experts, m->stages);
		if (m->expert_tensor > 1)
			fprintf(f, ", experts cut in %d", m->expert_tensor);
		fputs("</text>\n", f);
	}
	y += 22;
	if (p->colours == COLOURS)
		fprintf(f, "<circle cx='%d' cy='%d' r='5' fill='%s'/><text x='%d' y='%d' class='label'>others</text>\n", x + 5, y - 4,
			palette[COLOURS], x + 18, y);
	fprintf(f, "<path d='M%d %d h16' stroke='#222' stroke-width='1.4'/><text x='%d' y='%d' class='label'>Pareto front, planned</text>\n"
		"<path d='M%d %d l6 6 l-6 6 l-6 -6 z' fill='#fff' stroke='#222'/><text x='%d' y='%d' class='label'>simulated</text>\n"
		"<text x='%d' y='%d' class='tick'>pale: a requirement fails</text>\n", x - 3, y + 22, x + 18, y + 26, x + 5, y + 38, x + 18,
		y + 48, x, y + 76);
}

static void put_text(FILE *f, const char *text)
{
	for (; *text; text++)
		fputs(*text == '<' ? "&lt;" : *text == '>' ? "&gt;" : *text == '&' ? "&amp;" : (char[]){ *text, 0 }, f);
}

static int draw(FILE *f, struct picture *p)
{
	const struct search *s = p->search;
	const struct graph *g = s->base[0].graph;
	fit(p);
	fprintf(f, "<?xml version='1.0' encoding='UTF-8'?>\n<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d' "
		"viewBox='0 0 %d %d'>\n<style>text{font-family:sans-serif;fill:#222} .name{font-size:16px;font-weight:600} "
		".note,.tick{font-size:11.5px;fill:#555} .head{font-size:13px;font-weight:600} .label{font-size:12px} "
		".grid{stroke:#e4e4e4} .axis{stroke:#666}</style>\n<rect width='100%%' height='100%%' fill='#fff'/>\n"
		"<text x='24' y='30' class='name'>", WIDTH, HEIGHT, WIDTH, HEIGHT);
	put_text(f, g->model.name);
	fputs(" on ", f);
	put_text(f, g->machine.name);
	fprintf(f, "</text>\n<text x='24' y='50' class='note'>%d sequences, prompts of %d%s%.0d tokens, %d new tokens each; %d candidates "
		"planned. Better is up and to the left.</text>\n", g->workload.sequences, g->workload.prompt_min,
		g->workload.prompt_min < g->workload.prompt_max ? " to " : "",
		g->workload.prompt_min < g->workload.prompt_max ? g->workload.prompt_max : 0, g->workload.new_tokens, s->planned);
	draw_axes(f, p);
	draw_dots(f, p);
	int code = draw_front(f, p);
	draw_simulated(f, p);
	draw_legend(f, p);
	fputs("</svg>\n", f);
	return code;
}

int search_svg_write(const struct search *s, const char *path, struct error *error)
{
	struct picture p = { .search = s, .taken = calloc((size_t) WIDTH * HEIGHT, 1) };
	size_t length = strlen(path);
	char *temporary = malloc(length + 8);
	int code = p.taken && temporary ? 0 : error_memory(error, "drawing the search");
	FILE *f = NULL;
	if (code)
		goto free_all;
	snprintf(temporary, length + 8, "%s.part", path);
	f = fopen(temporary, "w");
	if (!f) {
		code = error_set(error, ERROR_RUN, path, "cannot be written: %s", strerror(errno));
		goto free_all;
	}
	if (draw(f, &p))
		code = error_memory(error, "drawing the search");
	bool bad = ferror(f);
	if ((fclose(f) || bad || (!code && rename(temporary, path))) && !code)
		code = error_set(error, ERROR_RUN, path, "cannot be written: %s", strerror(errno));
	if (code)
		remove(temporary);
free_all:
	free(p.taken);
	free(temporary);
	return code;
}
