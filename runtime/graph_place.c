/* SPDX-License-Identifier: Apache-2.0
 *
 * Which device holds which parts: the placement as written, completed (attention groups and expert slices
 * that it does not name, by order of appearance) and checked: each part once, each device once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/graph_internal.h"

/* One of the two cuts of a stage: the parts (stage, part, copy) where `copy` tells apart the devices that
 * hold the same part of the same stage. For attention part = tensor rank and copy = attention group; for
 * experts part = expert group and copy = expert_tensor rank. */
struct cut {
	const char *part_name, *copy_name, *copy_key;
	int parts, copies;
	int owner[MESH_MAX_DEVICES]; /* [stage][part][copy]: index of the placement, −1: none */
};

static int *owner_of(struct cut *cut, int stage, int part, int copy)
{
	return &cut->owner[(stage * cut->parts + part) * cut->copies + copy];
}

static int placed_twice(
	const struct graph *graph, const struct cut *cut, int first, int second, int part, struct error *error)
{
	const struct graph_placement *a = &graph->placement[first], *b = &graph->placement[second];
	return graph_error(error, &b->place,
		"%s %d of stage %d is placed twice, on devices %d and %d; %s would be right", cut->part_name, part,
		b->stage, a->device, b->device, cut->copies > 1 ? "one device for each of its copies" : "one device");
}

/* Gives each placement its copy: those that name one first, the others the lowest free one. */
static int assign(const struct graph *graph, struct cut *cut, const int *part, int *copy, struct error *error)
{
	int stages = graph->stages;
	for (int i = 0; i < MESH_MAX_DEVICES; i++)
		cut->owner[i] = -1;
	for (int pass = 0; pass < 2; pass++)
		for (int i = 0; i < graph->placements; i++) {
			const struct graph_placement *placement = &graph->placement[i];
			bool named = copy[i] >= 0;
			if (pass == 0 && !named)
				continue;
			if (pass == 1 && named)
				continue;
			if (named && copy[i] >= cut->copies)
				return graph_error(error, &placement->place,
					"%s = %d, but the mesh has only %d; 0 to %d would be right", cut->copy_key,
					copy[i], cut->copies, cut->copies - 1);
			int at = named ? copy[i] : 0;
			while (!named && at < cut->copies && *owner_of(cut, placement->stage, part[i], at) >= 0)
				at++;
			if (at == cut->copies)
				return placed_twice(graph, cut, *owner_of(cut, placement->stage, part[i], at - 1), i,
					part[i], error);
			if (*owner_of(cut, placement->stage, part[i], at) >= 0)
				return placed_twice(
					graph, cut, *owner_of(cut, placement->stage, part[i], at), i, part[i], error);
			*owner_of(cut, placement->stage, part[i], at) = i;
		}
	for (int stage = 0; stage < stages; stage++)
		for (int p = 0; p < cut->parts; p++)
			for (int c = 0; c < cut->copies; c++) {
				int i = *owner_of(cut, stage, p, c);
				if (i < 0) {
					char which[64] = "";
					if (cut->copies > 1)
						snprintf(which, sizeof which, " (%s %d)", cut->copy_name, c);
					return graph_error(error, &graph->placement[0].place,
						"%s %d of stage %d%s is placed nowhere; mesh.place must name a device "
						"for it",
						cut->part_name, p, stage, which);
				}
				copy[i] = c;
			}
	return 0;
}

static int check_entry(const struct graph *graph, int i, int *user, struct error *error)
{
	const struct graph_placement *placement = &graph->placement[i];
	const struct {
		const char *name, *key;
		int value, degree;
	} axes[] = {
		{"stage", "stages", placement->stage, graph->stages},
		{"tensor", "tensor", placement->tensor, graph->tensor},
		{"experts", "experts", placement->experts, graph->experts},
	};
	for (int a = 0; a < 3; a++)
		if (axes[a].value >= axes[a].degree)
			return graph_error(error, &placement->place, "%s = %d with mesh.%s = %d; 0 to %d would be right",
				axes[a].name, axes[a].value, axes[a].key, axes[a].degree, axes[a].degree - 1);
	if (!graph->machine.host && placement->device >= graph->machine.devices)
		return graph_error(error, &placement->place,
			"device %d is not one of the machine \"%s\"; 0 to %d would be right", placement->device,
			graph->machine.name, graph->machine.devices - 1);
	if (user[placement->device] >= 0)
		return graph_error(error, &placement->place,
			"device %d is used twice, here and in entry %d; one entry a device would be right",
			placement->device, user[placement->device]);
	user[placement->device] = i;
	return 0;
}

static int check_entries(const struct graph *graph, struct graph_faults *faults, struct error *error)
{
	int user[MESH_MAX_DEVICES], before = faults ? faults->count : 0;
	for (int i = 0; i < MESH_MAX_DEVICES; i++)
		user[i] = -1;
	for (int i = 0; i < graph->placements; i++) {
		int code = graph_place_failed(graph, check_entry(graph, i, user, error), error);
		if ((code = graph_keep(faults, code, error)))
			return code;
	}
	return faults && faults->count > before ? ERROR_INPUT : 0;
}

static int place_as_written(struct graph *graph, struct mesh *mesh, struct graph_faults *faults, struct error *error)
{
	struct cut attention = {.part_name = "tensor shard",
		.copy_name = "attention group",
		.copy_key = "group",
		.parts = mesh->tensor,
		.copies = mesh->groups};
	struct cut experts = {.part_name = "expert group",
		.copy_name = "expert_tensor rank",
		.copy_key = "expert_slice",
		.parts = mesh->experts,
		.copies = mesh->expert_tensor};
	int tensor[MESH_MAX_DEVICES], group[MESH_MAX_DEVICES], expert[MESH_MAX_DEVICES], slice[MESH_MAX_DEVICES], code;
	for (int i = 0; i < graph->placements; i++) {
		tensor[i] = graph->placement[i].tensor;
		group[i] = graph->placement[i].group;
		expert[i] = graph->placement[i].experts;
		slice[i] = graph->placement[i].slice;
	}
	if ((code = check_entries(graph, faults, error)))
		return code;
	if ((code = assign(graph, &attention, tensor, group, error)) ||
		(code = assign(graph, &experts, expert, slice, error)))
		return graph_place_failed(graph, code, error);
	for (int i = 0; i < graph->placements; i++) {
		const struct graph_placement *placement = &graph->placement[i];
		int index = group[i] * mesh->tensor + tensor[i];
		mesh->part[placement->stage * mesh->per_stage + index] = (struct mesh_part){
			.device = placement->device,
			.stage = placement->stage,
			.index = index,
			.group = group[i],
			.tensor = tensor[i],
			.experts = expert[i],
			.slice = slice[i],
		};
	}
	return 0;
}

static int set_layers(const struct graph *graph, const struct model *model, struct mesh *mesh, struct error *error)
{
	int sum = 0;
	for (int p = 0; p < graph->layer_counts_count; p++) {
		mesh->first_layer[p] = sum;
		sum += graph->layer_counts[p];
	}
	mesh->first_layer[mesh->stages] = sum;
	if (sum != model->layers)
		return graph_error(error, &graph->layers_place,
			"mesh.layers adds up to %d and the model has %d layers; counts that add up to %d would be "
			"right, or leave "
			"it out for an even split",
			sum, model->layers, model->layers);
	return 0;
}

/* The degree that an override gave and that makes the mesh fail: with the least one in its place it would not. Where
 * none alone does, the first that an override gave; the mesh's own place where none did. */
static const struct graph_place *blame(const struct graph *graph, const struct model *model)
{
	const struct graph_place *places[] = {
		&graph->tensor_place, &graph->experts_place, &graph->stages_place, &graph->expert_tensor_place};
	const struct graph_place *first = &graph->mesh_place;
	for (int i = 3; i >= 0; i--)
		if (graph_is_override(places[i]))
			first = places[i];
	for (int i = 0; i < 4; i++) {
		int degree[] = {graph->tensor, graph->experts, graph->stages, graph->expert_tensor};
		struct mesh mesh;
		degree[i] = i < 3;
		if (graph_is_override(places[i]) &&
			!mesh_make(&mesh, degree[0], degree[1], degree[2], degree[3], model->layers, NULL) &&
			!mesh_fits(&mesh, model, NULL, 0, NULL) &&
			(graph->machine.host || mesh.devices <= graph->machine.devices))
			return places[i];
	}
	return first;
}

int graph_place_failed(const struct graph *graph, int code, struct error *error)
{
	const struct graph_place *places[] = {
		&graph->tensor_place, &graph->experts_place, &graph->stages_place, &graph->expert_tensor_place};
	if (!code || !error || !graph->place_is_older)
		return code;
	for (int i = 3; i >= 0; i--)
		if (graph_is_override(places[i]))
			snprintf(error->where, sizeof error->where, "%s", places[i]->file);
	size_t used = strlen(error->text);
	snprintf(error->text + used, sizeof error->text - used,
		" (mesh.place was written for other degrees: --set 'mesh.place=()' gives the default placement)");
	return code;
}

static int make_mesh(const struct graph *graph, const struct model *model, struct mesh *mesh, struct error *error)
{
	struct error problem = {0};
	const struct graph_machine *machine = &graph->machine;
	const struct graph_place *place;
	int code = mesh_make(
		mesh, graph->tensor, graph->experts, graph->stages, graph->expert_tensor, model->layers, &problem);
	if (code)
		return graph_error(error, blame(graph, model), "%s", problem.text);
	if (graph->layer_counts_count && (code = set_layers(graph, model, mesh, error)))
		return code;
	if (mesh_fits(mesh, model, NULL, 0, NULL)) {
		place = blame(graph, model);
		return mesh_fits(mesh, model, place->file, place->line, error);
	}
	if (!machine->host && mesh->devices > machine->devices)
		return graph_error(error, blame(graph, model),
			"the mesh needs %d devices (%d stages × %d) and the machine \"%s\" has %d; smaller degrees or "
			"a larger machine would be right",
			mesh->devices, mesh->stages, mesh->per_stage, machine->name, machine->devices);
	return 0;
}

int graph_place_parts(struct graph *graph, const struct model *model, struct graph_faults *faults, struct error *error)
{
	struct mesh mesh;
	struct graph_machine *machine = &graph->machine;
	int code = make_mesh(graph, model, &mesh, error);
	if (code)
		return code;
	graph->mesh = mesh;
	if (graph->placements > mesh.devices) {
		code = graph_error(error, &graph->placement[mesh.devices].place,
			"mesh.place has %d entries and the mesh %d devices (%d stages × %d); one entry a device would "
			"be right, or an empty list for the default placement",
			graph->placements, mesh.devices, mesh.stages, mesh.per_stage);
		return graph_place_failed(graph, code, error);
	}
	if (graph->placements && (code = place_as_written(graph, &mesh, faults, error)))
		return code;
	if (machine->host)
		for (int i = 0; i < mesh.devices; i++)
			if (mesh.part[i].device >= machine->devices)
				machine->devices = mesh.part[i].device + 1;
	graph->mesh = mesh;
	return 0;
}
