/* SPDX-License-Identifier: Apache-2.0
 *
 * `octant graph show` as text: the plan's allocation table and module division, computed. */
#include "tools/graph_show.h"
#include <stdlib.h>
#include <string.h>
#include "tasks/run.h"

/* Distinct parts of the model: each stage's tensor shards and expert parts. The plan's 2 × 2 × 2 are 8. Where a stage has
 * several attention groups, each has all tensor shards: copies of the same parts. */
static int parts_of(const struct mesh *mesh)
{
	return mesh->stages * (mesh->tensor + mesh->experts * mesh->expert_tensor);
}

void graph_show_mesh(const struct graph *graph, FILE *file)
{
	const struct mesh *mesh = &graph->mesh;
	char groups[48] = "";
	char copies[64] = "";
	if (mesh->groups > 1) {
		snprintf(groups, sizeof groups, ", %d attention groups", mesh->groups);
		snprintf(copies, sizeof copies, " (%d placed: each group has its tensor shards)", 2 * mesh->devices);
	}
	fprintf(file,
		"mesh: %d stage%s of %d device%s (tensor %d, experts %d, expert_tensor %d%s), %d %sparts%s on %d "
		"device%s\n",
		mesh->stages, mesh->stages > 1 ? "s" : "", mesh->per_stage, mesh->per_stage > 1 ? "s" : "",
		mesh->tensor, mesh->experts, mesh->expert_tensor, groups, parts_of(mesh), *copies ? "distinct " : "", copies,
		mesh->devices, mesh->devices > 1 ? "s" : "");
}

static const char *billions(double parameters, char *text, size_t size)
{
	snprintf(text, size,
		parameters >= 999.5e6   ? "%.2f B"
		: parameters >= 999.5e3 ? "%.2f M"
					: "%.2f k",
		parameters / (parameters >= 999.5e6          ? 1e9
				     : parameters >= 999.5e3 ? 1e6
							     : 1e3));
	return text;
}

static const char *bytes(double count, char *text, size_t size)
{
	snprintf(text, size,
		count >= 999.5e6   ? "%.3f GB"
		: count >= 999.5e3 ? "%.2f MB"
				   : "%.2f kB",
		count / (count >= 999.5e6          ? 1e9
				: count >= 999.5e3 ? 1e6
						   : 1e3));
	return text;
}

static void show_model(const struct graph *graph, FILE *file)
{
	const struct model *model = &graph->model;
	struct model_parameters count;
	char a[32], b[32], c[32], d[32];
	double declared = graph->has_card ? graph->card.declared_parameters : 0;
	int dense = model_dense_layers(model);
	model_count_parameters(model, &count);
	fprintf(file, "model: %s (%s, %s): %d layers, hidden %d, %d heads of %d, %d KV heads, vocabulary %d\n",
		model->name, model_family_name(model->family), dtype_name(model->dtype), model->layers, model->hidden,
		model->heads, model->head_dim, model->kv_heads, model->vocab);
	if (model->experts)
		fprintf(file, "  %d experts of width %d, top %d, in %d of %d layers%s\n", model->experts,
			model->expert_hidden, model->top_k, model->layers - dense, model->layers,
			model->shared_hidden ? ", and a shared expert" : "");
	if (dense)
		fprintf(file, "  an MLP of width %d in %d of %d layers\n", model->mlp_hidden, dense, model->layers);
	fprintf(file, "  parameters: %s computed, %s of them active for a token; weights %s in %s\n",
		billions(count.total, a, sizeof a), billions(count.active, b, sizeof b),
		bytes(count.total * (double) dtype_bytes(model->dtype), c, sizeof c), dtype_name(model->dtype));
	fprintf(file, "    layers %s, embedding %s, head %s\n",
		billions(count.total - count.embedding - count.head, a, sizeof a),
		billions(count.embedding, b, sizeof b),
		model->tied_embeddings ? "tied to it" : billions(count.head, d, sizeof d));
	if (declared > 0) {
		model_count_parameters(&graph->card, &count);
		double ratio = declared / count.total;
		fprintf(file, "  the card declares %s parameters; its dimensions give %s%s\n",
			billions(declared, a, sizeof a), billions(count.total, b, sizeof b),
			ratio > 1.05 || ratio < 0.95 ? ": the claim does not hold, the computed figures are used" : "");
	}
	char difference[256];
	for (int i = 0; graph_card_differs(graph, model, i, difference, sizeof difference); i++)
		fprintf(file, "  differs from the card in %s\n", difference);
}

static void show_machine(const struct graph *graph, FILE *file)
{
	const struct graph_machine *machine = &graph->machine;
	if (machine->host) {
		fprintf(file, "machine: %s, %d logical device%s%s\n", machine->name, machine->devices,
			machine->devices > 1 ? "s" : "", machine->given ? "" : " (the description names no machine)");
	} else {
		fprintf(file, "machine: %s:", machine->name);
		for (int i = 0, j; i < machine->devices; i = j) {
			const struct graph_device *d = &machine->device[i];
			for (j = i + 1; j < machine->devices && !memcmp(d, &machine->device[j], sizeof *d); j++)
				;
			fprintf(file, "%s %d %s of %.4g TFLOP/s at %.0f %%, %.4g TB/s at %.0f %%, %.4g GB",
				i ? ";" : "", j - i, d->name, d->flops / 1e12, d->flops_efficiency * 100,
				d->bandwidth / 1e12, d->bandwidth_efficiency * 100, d->memory / 1e9);
		}
		fprintf(file, "%s%s\n", *machine->interconnect ? "; " : "", machine->interconnect);
	}
	if (machine->devices > graph->mesh.devices)
		fprintf(file, "  %d of its %d devices are not used\n", machine->devices - graph->mesh.devices,
			machine->devices);
}

static const char *range_text(struct range range, char *text, size_t size)
{
	if (range.end - range.first == 1)
		snprintf(text, size, "%d", range.first);
	else if (range.end > range.first)
		snprintf(text, size, "%d-%d", range.first, range.end - 1);
	else
		snprintf(text, size, "-");
	return text;
}

static void show_allocation(const struct graph_shown *shown, FILE *file)
{
	const struct graph *graph = shown->graph;
	const struct mesh *mesh = &graph->mesh;
	const struct model *model = &graph->model;
	char layers[32], heads[32], kv_heads[32], experts[64], parameters[32], column[4][32];
	fprintf(file, "\nallocation:\n  %-6s %-5s %-8s %-6s %-7s %-8s %-5s %-12s %10s %11s %11s %11s %11s  %s\n",
		"device", "stage", "layers", "shard", "heads", "KV heads", "group", "experts", "parameters", "weights",
		"KV", "buffers", "total", "of memory");
	for (int i = 0; i < mesh->devices; i++) {
		const struct mesh_part *part = &mesh->part[i];
		const struct account *account = &shown->account[i];
		const struct deployment_account *memory = &shown->memory[i];
		struct range range = {mesh->first_layer[part->stage], mesh->first_layer[part->stage + 1]};
		range_text(range, layers, sizeof layers);
		range_text(mesh_heads(mesh, model, part->tensor), heads, sizeof heads);
		range_text(mesh_kv_heads(mesh, model, part->tensor), kv_heads, sizeof kv_heads);
		range_text(model->experts ? mesh_expert_range(mesh, model, part->experts) : (struct range){0, 0},
			experts, sizeof experts);
		if (mesh->expert_tensor > 1) {
			size_t used = strlen(experts);
			snprintf(experts + used, sizeof experts - used, " %d/%d", part->slice + 1, mesh->expert_tensor);
		}
		fprintf(file, "  %-6d %-5d %-8s %-6d %-7s %-8s %-5d %-12s %10s %11s %11s %11s %11s", part->device,
			part->stage, layers, part->tensor, heads, kv_heads, part->group, experts,
			billions(account->parameters, parameters, sizeof parameters),
			bytes((double) memory->weights, column[0], sizeof column[0]),
			bytes((double) memory->kv, column[1], sizeof column[1]),
			bytes(shown->total[i] - (double) memory->weights - (double) memory->kv, column[2], sizeof column[2]),
			bytes(shown->total[i], column[3], sizeof column[3]));
		if (account->limit > 0)
			fprintf(file, "  %.1f %%%s\n", 100 * shown->total[i] / account->limit,
				shown->total[i] > account->limit ? ": too much" : "");
		else
			fprintf(file, "  the host's\n");
	}
	fprintf(file, "  weights: packed, in %s\n", dtype_name(graph->compute));
	fprintf(file, "  KV: %s, %lld pages of %d tokens a pool, for %d sequences of %d tokens%s\n",
		dtype_name(graph->kv.dtype), (long long) shown->sizes.pages, graph->kv.page_tokens, graph->limits.sequences,
		graph->limits.tokens_per_sequence,
		graph->limits.tokens_described > graph->limits.tokens_per_sequence ? " (the model's own limit)" : "");
	fprintf(file, "  buffers: %d slots of %d rows%s\n", shown->sizes.slots, shown->sizes.max_rows,
		graph->machine.host ? "" : ", and workspace");
	if (graph->machine.host)
		fprintf(file, "  each worker has a workspace of %s besides; a run has fewer pages where the host's memory or the "
			"input's length asks for fewer\n", bytes((double) shown->workspace, column[0], sizeof column[0]));
}

static const char *verdict(double imbalance)
{
	return imbalance < 1.02 ? "balanced" : imbalance < 1.15 ? "nearly balanced" : "not balanced";
}

static void show_division(const struct graph_shown *shown, FILE *file)
{
	const struct graph *graph = shown->graph;
	const struct mesh *mesh = &graph->mesh;
	double memory = shown->memory_imbalance, load = shown->load_imbalance;
	int expert_parts = mesh->experts * mesh->expert_tensor;
	fprintf(file, "\nmodule division: %d parts = %d stage%s × (%d tensor shard%s + %d %s)\n", parts_of(mesh),
		mesh->stages, mesh->stages > 1 ? "s" : "", mesh->tensor, mesh->tensor > 1 ? "s" : "", expert_parts,
		!graph->model.experts     ? expert_parts > 1 ? "cuts of the MLP" : "MLP"
		: mesh->expert_tensor > 1 ? "cuts of expert groups"
		: expert_parts > 1        ? "expert groups"
					  : "expert group");
	fprintf(file, "  %d device%s, each with a tensor shard and %s\n", mesh->devices, mesh->devices > 1 ? "s" : "",
		graph->model.experts ? "an expert part" : "its columns of the MLP");
	if (mesh->groups > 1)
		fprintf(file, "  %d attention groups a stage: each holds every tensor shard, for its own sequences\n",
			mesh->groups);
	fprintf(file, "  memory: largest / mean = %.3f, %s\n", memory, verdict(memory));
	fprintf(file, "  load: largest / mean = %.3f, %s (FLOPs of a decoded token at context %.0f, routing even)\n",
		load, verdict(load), shown->account[0].context);
}

static void show_step(const struct graph_step *step, FILE *file)
{
	char text[96];
	snprintf(text, sizeof text, "%s%s%s%s%s", step->inserted ? "+ " : "", step->kind->name,
		step->over == OVER_TENSOR    ? " over tensor"
		: step->over == OVER_EXPERTS ? " over experts"
					     : "",
		step->how == HOW_LOCAL        ? ", local"
		: step->how == HOW_ALL_TO_ALL ? ", all_to_all"
					      : "",
		step->kind->collective && step->how != HOW_LOCAL ? " (collective)" : "");
	fprintf(file, "    %-48s %s -> %s\n", text, form_name(step->takes), form_name(step->leaves));
}

static void show_chain(const struct graph_chain *chain, const char *name, const char *note, FILE *file)
{
	const char *told = NULL;
	fprintf(file, "  %s%s:\n", name, note);
	for (int i = 0; i < chain->count; i++)
		show_step(&chain->step[i], file);
	for (int i = 0; i < chain->count; i++) {
		const struct graph_step *step = &chain->step[i];
		if (!step->inserted || lowered_why(step) == told)
			continue;
		told = lowered_why(step);
		bool split = !strncmp(told, "in place of", 11); /* three steps, one reason */
		fprintf(file, "    + %s inserted %s%s\n", split ? "qkv, all_reduce and attend are" : step->kind->name,
			split ? "" : "by the lowering: ", told);
	}
}

static void show_chains(const struct graph_shown *shown, FILE *file)
{
	const struct graph *graph = shown->graph;
	int dense = model_dense_layers(&graph->model);
	char note[64];
	fprintf(file, "\nchains, as lowered (+: inserted):\n");
	show_chain(&shown->lowered.before, "before", "", file);
	if (dense < graph->model.layers) {
		snprintf(note, sizeof note, " (%d layer%s)", graph->model.layers - dense,
			graph->model.layers - dense > 1 ? "s" : "");
		show_chain(&shown->lowered.layer, "layer", note, file);
	}
	if (dense) {
		snprintf(note, sizeof note, " (%d layer%s)", dense, dense > 1 ? "s" : "");
		show_chain(&shown->lowered.dense_layer, "dense_layer", note, file);
	}
	if (graph->mesh.stages > 1)
		show_chain(&shown->lowered.between_stages, "between_stages",
			graph->between_before_gather ? " (before the last layer's all_gather)" : "", file);
	show_chain(&shown->lowered.after, "after", "", file);
}

static void show_schedule(const struct graph *graph, FILE *file)
{
	static const char *const interleaves[] = {"chunked", "mixed", "prefill_first"};
	const struct graph_schedule *schedule = &graph->schedule;
	int prefill = schedule->prefill_micro_batches ? schedule->prefill_micro_batches : graph->mesh.stages;
	int decode = schedule->decode_micro_batches ? schedule->decode_micro_batches : graph->mesh.stages;
	fprintf(file,
		"\nschedule: policy %s, %d slots, %d iterations ahead, %d prefill chunk%s of %d tokens, %d decode "
		"group%s, %s\n",
		schedule->policy, schedule->slots, schedule->ahead, prefill, prefill > 1 ? "s" : "",
		schedule->prefill_tokens, decode, decode > 1 ? "s" : "", interleaves[schedule->interleave]);
	fprintf(file, "compute: %s%s, residual and collectives %s\n", dtype_name(graph->compute),
		graph->compute_given ? "" : " (chosen: the description gives none)", dtype_name(graph->residual));
	for (int i = 0; i < graph->requirements; i++) {
		bool least = !strcmp(graph->requirement[i].name, "tokens_per_ms_per_device");
		fprintf(file, "%s%s %s %.6g", i ? ", " : "requires: ", graph->requirement[i].name,
			least ? ">=" : "<=", graph->requirement[i].limit);
	}
	if (graph->requirements)
		fprintf(file, "\n");
	if (graph->workload.given)
		fprintf(file, "workload: %d sequences, prompts of %d to %d tokens, %d new tokens, seed %llu\n",
			graph->workload.sequences, graph->workload.prompt_min, graph->workload.prompt_max,
			graph->workload.new_tokens, (unsigned long long) graph->workload.seed);
}

int graph_show_make(const struct graph *graph, struct graph_shown *shown, struct error *error)
{
	struct batcher_options options;
	double load[MESH_MAX_DEVICES], pages = accounts_pages(graph);
	run_batcher_options(graph, 1, &options);
	*shown = (struct graph_shown){.graph = graph};
	shown->sizes = (struct deployment_sizes){options.slots, batcher_max_rows(&options), batcher_max_samples(&options),
		options.seats, pages < INT32_MAX ? (int64_t) pages : INT32_MAX};
	int code = deployment_measure(graph, graph->compute, &shown->sizes, shown->memory, error);
	if (!code)
		code = lowered_make(graph, &shown->lowered, error);
	if (code)
		return code;
	accounts_make(graph, shown->account);
	for (int i = 0; i < graph->mesh.devices; i++) {
		const struct deployment_account *memory = &shown->memory[i];
		shown->total[i] = (double) memory->total + (graph->machine.host ? 0 : (double) memory->workspace);
		load[i] = shown->account[i].flops;
		if (memory->workspace > shown->workspace)
			shown->workspace = memory->workspace;
	}
	shown->memory_imbalance = accounts_imbalance(shown->total, graph->mesh.devices);
	shown->load_imbalance = accounts_imbalance(load, graph->mesh.devices);
	return 0;
}

void graph_show_text(const struct graph_shown *shown, FILE *file)
{
	const struct graph *graph = shown->graph;
	fprintf(file, "graph: %s%s%s%s\n", graph->name, *graph->path ? " (" : " (this machine's default)", graph->path,
		*graph->path ? ")" : "");
	show_model(graph, file);
	show_machine(graph, file);
	graph_show_mesh(graph, file);
	show_allocation(shown, file);
	show_division(shown, file);
	show_chains(shown, file);
	show_schedule(graph, file);
}
