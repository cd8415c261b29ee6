/* SPDX-License-Identifier: Apache-2.0
 *
 * What a search found, as a table, as comma-separated values and as JSON. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tools/search.h"

static const struct search_candidate *at(const struct search *s, int rank)
{
	return &s->candidate[s->best[rank]];
}

static void mesh_text(const struct mesh *m, char *text, size_t size)
{
	if (m->expert_tensor > 1)
		snprintf(text, size, "%d x (%d x %d) x %d", m->tensor, m->experts, m->expert_tensor, m->stages);
	else
		snprintf(text, size, "%d x %d x %d", m->tensor, m->experts, m->stages);
}

static void chain_text(const struct search_base *b, char *text, size_t size)
{
	snprintf(text, size, "%s%s", search_chain_names[b->chain], b->shards ? ", shards" : "");
}

static void print_row(const struct search *s, const struct search_candidate *c, int rank, const struct search_figures *f,
	bool simulated, FILE *file)
{
	const struct search_base *b = &s->base[c->base];
	char mesh[48], chain[48];
	mesh_text(&b->graph->mesh, mesh, sizeof mesh);
	chain_text(b, chain, sizeof chain);
	if (simulated)
		fprintf(file, "%4s %-62s simulated", "", "");
	else
		fprintf(file, "%4d %-14s %-19s %5s %6d %3d/%-2d %3d+%-2d %s planned  ", rank, mesh, chain, dtype_name(b->graph->residual),
			c->key[KEY_TOKENS], c->key[KEY_SLOTS], c->key[KEY_AHEAD], c->key[KEY_CHUNKS], c->key[KEY_GROUPS],
			c->key[KEY_INTERLEAVE] == INTERLEAVE_CHUNKED ? "C" : c->key[KEY_INTERLEAVE] == INTERLEAVE_MIXED ? "M" : "P");
	fprintf(file, " %8.1f %8.1f %8.1f %7.2f %7.1f %6.2f %5.1f %5.1f %5.1f %5.1f%s\n", f->makespan * 1e3, f->ttft * 1e3, f->prefill,
		f->decode, f->total, c->memory * 1e-9, f->exposed_prefill * 100, f->exposed * 100, f->bubble_prefill * 100,
		f->bubble * 100, simulated ? c->simulated_holds ? "" : "  a requirement fails" : c->miss > 0 ? "  a requirement fails" : "");
}

/* One row a base, and what was simulated. */
static bool is_shown(const struct search *s, int rank)
{
	const struct search_candidate *c = at(s, rank);
	if (c->simulated.makespan > 0)
		return true;
	for (int i = 0; i < rank; i++)
		if (at(s, i)->base == c->base)
			return false;
	return true;
}

void search_print(const struct search *s, int rows, FILE *file)
{
	const struct graph *g = s->base[0].graph;
	fprintf(file, "%s: %s on %s; %d sequence%s, prompts of ", g->name, g->model.name, g->machine.name, g->workload.sequences,
		g->workload.sequences == 1 ? "" : "s");
	if (g->workload.prompt_min < g->workload.prompt_max)
		fprintf(file, "%d to ", g->workload.prompt_min);
	fprintf(file, "%d tokens, %d new tokens each\n%d candidates planned, %d more do not fit; %d meshes, %d with their chains and "
		"residual streams; goal: %s\n\n", g->workload.prompt_max, g->workload.new_tokens, s->planned, s->unfit, s->meshes,
		s->bases, search_goal_names[s->goal]);
	fprintf(file, "%4s %-14s %-19s %5s %6s %6s %6s   %9s %8s %8s %8s %7s %7s %6s %11s %11s\n", "", "mesh", "experts by, send", "resid",
		"chunk", "slots", "groups", "", "makespan", "TTFT", "prefill", "decode", "total", "GB", "exposed %", "bubbles %");
	for (int i = 0; i < s->ranked && rows > 0; i++) {
		if (!is_shown(s, i))
			continue;
		rows--;
		print_row(s, at(s, i), i + 1, &at(s, i)->planned, false, file);
		if (at(s, i)->simulated.makespan > 0)
			print_row(s, at(s, i), i + 1, &at(s, i)->simulated, true, file);
	}
	fputs("\nthe best of each mesh, chain and residual stream, and what was simulated; the first column: rank of all\n"
	      "mesh: tensor x experts x stages, (experts x expert_tensor) where experts are cut inside; shards: send before the\n"
	      "all_gather; slots/ahead; groups: prefill chunks + decode groups an iteration; C chunked, M mixed, P prefill_first;\n"
	      "makespan, TTFT: ms; prefill, decode, total: tokens/ms a device; exposed, bubbles: of the prefill window, of all\n", file);
	const struct search_candidate *best = at(s, 0);
	const struct search_figures *f = best->simulated.makespan > 0 ? &best->simulated : &best->planned;
	fprintf(file, "\nthe best, %s: makespan %.2f x its lower bound %.1f ms; prefill %.2f x its lower bound %.1f ms\n",
		best->simulated.makespan > 0 ? "simulated" : "planned", f->makespan / best->bound, best->bound * 1e3,
		f->ttft / best->prefill_bound, best->prefill_bound * 1e3);
}

static const char *const columns[] = { "makespan_s", "ttft_s", "prefill_tokens_per_ms_per_device",
	"decode_tokens_per_ms_per_device", "tokens_per_ms_per_device", "exposed_comm_share", "exposed_comm_share_prefill",
	"bubble_share", "bubble_share_prefill" };
enum { COLUMNS = sizeof columns / sizeof *columns };

static void fill(const struct search_figures *f, double *value)
{
	const double all[COLUMNS] = { f->makespan, f->ttft, f->prefill, f->decode, f->total, f->exposed, f->exposed_prefill,
		f->bubble, f->bubble_prefill };
	memcpy(value, all, sizeof all);
}

void search_csv(const struct search *s, int rows, FILE *file)
{
	fputs("rank,tensor,experts,expert_tensor,stages,chain,send,residual,prefill_tokens,slots,ahead,prefill_micro_batches,"
	      "decode_micro_batches,interleave,memory_bytes,lower_bound_s,holds,pareto", file);
	for (int i = 0; i < COLUMNS; i++)
		fprintf(file, ",planned_%s", columns[i]);
	for (int i = 0; i < COLUMNS; i++)
		fprintf(file, ",simulated_%s", columns[i]);
	putc('\n', file);
	for (int i = 0; i < s->ranked && i < rows; i++) {
		const struct search_candidate *c = at(s, i);
		const struct search_base *b = &s->base[c->base];
		const struct mesh *m = &b->graph->mesh;
		double value[2][COLUMNS];
		fill(&c->planned, value[0]);
		fill(&c->simulated, value[1]);
		fprintf(file, "%d,%d,%d,%d,%d,%s,%s,%s,%d,%d,%d,%d,%d,%s,%.0f,%.9g,%d,%d", i + 1, m->tensor, m->experts, m->expert_tensor,
			m->stages, search_chain_names[b->chain], b->shards ? "shards" : "rows", dtype_name(b->graph->residual),
			c->key[KEY_TOKENS], c->key[KEY_SLOTS], c->key[KEY_AHEAD], c->key[KEY_CHUNKS], c->key[KEY_GROUPS],
			search_interleave_name(c->key[KEY_INTERLEAVE]), c->memory, c->bound, c->miss <= 0, c->front);
		for (int k = 0; k < 2; k++)
			for (int j = 0; j < COLUMNS; j++)
				if (isfinite(value[k][j]) && !(k && !(c->simulated.makespan > 0)))
					fprintf(file, ",%.9g", value[k][j]);
				else
					putc(',', file);
		putc('\n', file);
	}
}

static json_t *figures(const struct search_figures *f)
{
	json_t *object = json_object();
	double value[COLUMNS];
	fill(f, value);
	for (int i = 0; i < COLUMNS; i++)
		json_object_set_new(object, columns[i], isfinite(value[i]) ? json_real(value[i]) : json_null());
	return object;
}

static json_t *candidate(const struct search *s, const struct search_candidate *c)
{
	struct graph_override overrides[SEARCH_OVERRIDES];
	char text[SEARCH_TEXT];
	const struct search_base *b = &s->base[c->base];
	const struct mesh *m = &b->graph->mesh;
	int count = search_overrides(s, c, overrides, text);
	json_t *sets = json_array();
	for (int i = 0; i < count; i++) {
		char set[2048];
		snprintf(set, sizeof set, "%s=%s", overrides[i].path, overrides[i].value);
		json_array_append_new(sets, json_string(set));
	}
	json_t *o = json_pack("{s:{s:i, s:i, s:i, s:i}, s:s, s:s, s:s, s:{s:i, s:i, s:i, s:i, s:i, s:s}}", "mesh", "tensor", m->tensor,
		"experts", m->experts, "stages", m->stages, "expert_tensor", m->expert_tensor, "chain", search_chain_names[b->chain],
		"send", b->shards ? "shards" : "rows", "residual", dtype_name(b->graph->residual), "schedule", "prefill_tokens",
		c->key[KEY_TOKENS], "slots", c->key[KEY_SLOTS], "ahead", c->key[KEY_AHEAD], "prefill_micro_batches", c->key[KEY_CHUNKS],
		"decode_micro_batches", c->key[KEY_GROUPS], "interleave", search_interleave_name(c->key[KEY_INTERLEAVE]));
	json_object_set_new(o, "memory_bytes", json_real(c->memory));
	json_object_set_new(o, "lower_bound_s", json_real(c->bound));
	json_object_set_new(o, "prefill_lower_bound_s", c->prefill_bound > 0 ? json_real(c->prefill_bound) : json_null());
	json_object_set_new(o, "holds", json_boolean(c->miss <= 0));
	json_object_set_new(o, "pareto", json_boolean(c->front));
	json_object_set_new(o, "planned", figures(&c->planned));
	json_object_set_new(o, "simulated", c->simulated.makespan > 0 ? figures(&c->simulated) : json_null());
	json_object_set_new(o, "set", sets);
	return o;
}

int search_json(const struct search *s, int rows, FILE *file, struct error *error)
{
	const struct graph *g = s->base[0].graph;
	json_t *list = json_array();
	for (int i = 0; i < s->ranked && i < rows; i++)
		json_array_append_new(list, candidate(s, at(s, i)));
	json_t *root = json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:o}", "graph", g->name, "model", g->model.name, "machine",
		g->machine.name, "goal", search_goal_names[s->goal], "planned_candidates", s->planned, "unfit_candidates", s->unfit,
		"meshes", s->meshes, "bases", s->bases, "candidates", list);
	char *text = root ? json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(12)) : NULL;
	json_decref(root);
	if (!text)
		return error_memory(error, "writing JSON");
	fputs(text, file);
	putc('\n', file);
	free(text);
	return 0;
}
