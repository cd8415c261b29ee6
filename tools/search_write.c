/* SPDX-License-Identifier: Apache-2.0
 *
 * A candidate as a complete graph description, with what it reaches in its comments. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "tools/model_card.h"
#include "tools/search.h"

static void write_string(FILE *f, const char *text)
{
	putc('"', f);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putc('\\', f);
		if ((unsigned char) *text < 0x20)
			fprintf(f, "\\x%02x", (unsigned) (unsigned char) *text);
		else
			putc(*text, f);
	}
	putc('"', f);
}

/* The shortest text that reads back as the same, with a point or an exponent. */
static const char *real(double value, char text[32])
{
	for (int digits = 1; digits <= 17; digits++) {
		snprintf(text, 32, "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	if (!strpbrk(text, ".e"))
		strcat(text, ".0");
	return text;
}
#define R(value) real(value, (char[32]){ 0 })

static bool same_device(const struct graph_device *a, const struct graph_device *b)
{
	return !strcmp(a->name, b->name) && a->flops == b->flops && a->flops_efficiency == b->flops_efficiency
		&& a->bandwidth == b->bandwidth && a->bandwidth_efficiency == b->bandwidth_efficiency && a->memory == b->memory
		&& a->launch_s == b->launch_s;
}

/* How many of the first links are one switch with an equal link to each device, as `interconnect` makes it; 0: none. */
static int switch_links(const struct graph_machine *m)
{
	if (!m->interconnect[0] || m->links < m->devices)
		return 0;
	for (int i = 0; i < m->devices; i++)
		if (m->link[i].from != i || m->link[i].to != -1 || m->link[i].bandwidth != m->link[0].bandwidth
			|| m->link[i].latency_s != m->link[0].latency_s)
			return 0;
	return m->devices;
}

static void write_machine(FILE *f, const struct graph_machine *m)
{
	fputs("machine =\n{\n\tname = ", f);
	write_string(f, m->name);
	fputs(";\n", f);
	if (m->host)
		fputs("\thost = true;\n", f);
	for (int i = 0; i < m->devices;) {
		const struct graph_device *d = &m->device[i];
		int first = i;
		while (i < m->devices && same_device(d, &m->device[i]))
			i++;
		fprintf(f, "%s\t\t{\n\t\t\tcount = %d;\n\t\t\tname = ", first ? ",\n" : "\tdevices = (\n", i - first);
		write_string(f, d->name);
		fprintf(f, ";\n\t\t\tflops = %s;\n\t\t\tflops_efficiency = %s;\n\t\t\tbandwidth = %s;\n\t\t\tbandwidth_efficiency = %s;\n"
			"\t\t\tmemory = %s;\n\t\t\tlaunch_s = %s;\n\t\t}", R(d->flops), R(d->flops_efficiency), R(d->bandwidth),
			R(d->bandwidth_efficiency), R(d->memory), R(d->launch_s));
	}
	fputs(m->devices ? "\n\t);\n" : "", f);
	int first_link = switch_links(m);
	if (first_link) {
		fputs("\tinterconnect = {\n\t\tname = ", f);
		write_string(f, m->interconnect);
		fprintf(f, ";\n\t\tbandwidth = %s;\n\t\tlatency_s = %s;\n\t};\n", R(m->link[0].bandwidth), R(2 * m->link[0].latency_s));
	}
	if (first_link < m->links) {
		fputs("\tlinks = (\n", f);
		for (int i = first_link; i < m->links; i++)
			fprintf(f, "\t\t{ from = %d; to = %d; bandwidth = %s; latency_s = %s; }%s\n", m->link[i].from, m->link[i].to,
				R(m->link[i].bandwidth), R(m->link[i].latency_s), i < m->links - 1 ? "," : "");
		fputs("\t);\n", f);
	}
	fputs("};\n", f);
}

static void write_steps(FILE *f, const char *key, const struct graph_chain *chain)
{
	static const char *const over[] = { [OVER_TENSOR] = "tensor", [OVER_EXPERTS] = "experts", [3] = NULL };
	static const char *const how[] = { [HOW_LOCAL] = "local", [HOW_ALL_TO_ALL] = "all_to_all" };
	fprintf(f, "\n%s = (", key);
	for (int i = 0; i < chain->count; i++) {
		const struct graph_step *s = &chain->step[i];
		fprintf(f, "%s\n\t{ task = \"%s\";", i ? "," : "", s->kind->name);
		if (over[s->over])
			fprintf(f, " over = \"%s\";", over[s->over]);
		if (how[s->how])
			fprintf(f, " how = \"%s\";", how[s->how]);
		fputs(" }", f);
	}
	fputs("\n);\n", f);
}

static void write_mesh(FILE *f, const struct graph *g)
{
	const struct mesh *m = &g->mesh;
	fprintf(f, "\nmesh = {\n\ttensor = %d;          # parts of the heads\n\texperts = %d;         # groups of experts\n\tstages = %d;          "
		"# blocks of layers\n\texpert_tensor = %d;   # cut inside each expert\n", m->tensor, m->experts, m->stages, m->expert_tensor);
	fputs("\tlayers = [", f);
	for (int s = 0; s < m->stages; s++)
		fprintf(f, "%s%d", s ? ", " : "", m->first_layer[s + 1] - m->first_layer[s]);
	fputs("];\n\tplace = (", f);
	for (int i = 0; i < m->devices; i++) {
		const struct mesh_part *p = &m->part[i];
		fprintf(f, "%s\n\t\t{ device = %d; stage = %d; tensor = %d; group = %d; experts = %d; expert_slice = %d; }", i ? "," : "",
			p->device, p->stage, p->tensor, p->group, p->experts, p->slice);
	}
	fputs("\n\t);\n};\n", f);
}

static void write_schedule(FILE *f, const struct graph *g, const struct search_candidate *c)
{
	fprintf(f, "\nschedule = {\n\tpolicy = \"%s\";\n\tslots = %d;              # micro-batches in flight\n\tahead = %d;              # "
		"iterations submitted before the results of the first are seen\n\tprefill = {\n\t\ttokens = %d;      # of a chunk\n"
		"\t\tmicro_batches = %d;  # chunks an iteration\n\t};\n\tdecode = { micro_batches = %d; };  # groups that decode by turns\n"
		"\tinterleave = \"%s\";\n};\n", g->schedule.policy, c->key[KEY_SLOTS], c->key[KEY_AHEAD], c->key[KEY_TOKENS],
		c->key[KEY_CHUNKS], c->key[KEY_GROUPS], search_interleave_name(c->key[KEY_INTERLEAVE]));
}

static void write_require(FILE *f, const struct graph *g)
{
	const struct graph_workload *w = &g->workload;
	fputs("\nrequire = {\n", f);
	for (int i = 0; i < g->requirements; i++)
		fprintf(f, "\t%s = %s;\n", g->requirement[i].name, R(g->requirement[i].limit));
	fprintf(f, "\tworkload = { sequences = %d; prompt_tokens = ", w->sequences);
	if (w->prompt_min < w->prompt_max)
		fprintf(f, "[%d, %d]", w->prompt_min, w->prompt_max);
	else
		fprintf(f, "%d", w->prompt_max);
	fprintf(f, "; new_tokens = %d; seed = %llu; };\n};\n", w->new_tokens, (unsigned long long) w->seed);
}

static void write_figures(FILE *f, const char *how, const struct search_figures *v)
{
	fprintf(f, "# %-10s makespan %.1f ms, TTFT %.1f ms; tokens/ms a device: prefill %.1f, decode %.2f;\n"
		"#            in prefill exposed communication %.1f %%, bubbles %.1f %%\n", how, v->makespan * 1e3, v->ttft * 1e3, v->prefill,
		v->decode, 100 * v->exposed_prefill, 100 * v->bubble_prefill);
}

static void write_file(FILE *f, const struct search *s, const struct search_candidate *c, const char *command, const char *name)
{
	const struct search_base *b = &s->base[c->base];
	const struct graph *g = b->graph;
	fprintf(f, "# %s on %s, found by\n#\n#     %s\n#\n# as the best of %d candidates planned, by %s:\n#\n", g->model.name, g->machine.name,
		command, s->planned, search_goal_names[s->goal]);
	write_figures(f, "planned", &c->planned);
	if (c->simulated.makespan > 0)
		write_figures(f, "simulated", &c->simulated);
	const struct search_figures *v = c->simulated.makespan > 0 ? &c->simulated : &c->planned;
	fprintf(f, "# lower bound of the makespan %.1f ms: it takes %.2f times that; of the prefill alone %.1f ms: %.2f times\n"
		"# memory     %.2f GB on the fullest device\n\ngraph = ", c->bound * 1e3, v->makespan / c->bound, c->prefill_bound * 1e3,
		v->ttft / c->prefill_bound, c->memory * 1e-9);
	write_string(f, name);
	fputs(";\n\n", f);
	model_card_write(&g->model, f);
	putc('\n', f);
	write_machine(f, &g->machine);
	write_mesh(f, g);
	write_steps(f, "before", &g->before);
	if (g->model.experts && model_dense_layers(&g->model) < g->model.layers)
		write_steps(f, "layer", &g->layer);
	if (model_dense_layers(&g->model) || !g->model.experts)
		write_steps(f, "dense_layer", &g->dense_layer);
	fprintf(f, "\nbetween_stages = { task = \"send\";%s };\n", g->between_before_gather ? " before = \"all_gather\";" : "");
	write_steps(f, "after", &g->after);
	fprintf(f, "\ncompute = \"%s\";\nresidual = \"%s\";  # the residual stream, and what collectives carry\n", dtype_name(g->compute),
		dtype_name(g->residual));
	write_schedule(f, g, c);
	fprintf(f, "\nlimits = { sequences = %d; tokens_per_sequence = %d; };\n\nkv = { page_tokens = %d; dtype = \"%s\"; pages = %ld; };\n",
		g->limits.sequences, g->limits.tokens_per_sequence, g->kv.page_tokens, dtype_name(g->kv.dtype), g->kv.pages);
	write_require(f, g);
}

int search_write(const struct search *s, const struct search_candidate *c, const char *command, const char *path,
	struct error *error)
{
	size_t length = strlen(path);
	const char *slash = strrchr(path, '/'), *stem = slash ? slash + 1 : path;
	char *temporary = malloc(length + 8), name[GRAPH_TEXT];
	int code = 0;
	if (!temporary)
		return error_memory(error, "writing the graph");
	snprintf(name, sizeof name, "%.*s", (int) strcspn(stem, "."), stem);
	snprintf(temporary, length + 8, "%s.part", path);
	FILE *f = fopen(temporary, "w");
	if (!f) {
		code = error_set(error, ERROR_RUN, path, "cannot be written: %s", strerror(errno));
		free(temporary);
		return code;
	}
	write_file(f, s, c, command, *name ? name : "best");
	bool bad = ferror(f);
	if (fclose(f) || bad || rename(temporary, path)) {
		code = error_set(error, ERROR_RUN, path, "cannot be written: %s", strerror(errno));
		remove(temporary);
	}
	free(temporary);
	return code;
}
