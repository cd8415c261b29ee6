/* SPDX-License-Identifier: Apache-2.0
 *
 * The arithmetic of the mesh: how degrees fold onto a stage's devices, and which ranges of a model's
 * parts each rank gets. */
#include "runtime/mesh.h"
#include <string.h>

static int common_divisor(int a, int b)
{
	while (b) {
		int rest = a % b;
		a = b;
		b = rest;
	}
	return a;
}

static int check_degree(const char *name, int degree, int least, struct error *error)
{
	if (degree < least || degree > MESH_MAX_DEVICES)
		return error_set(error, ERROR_INPUT, NULL, "mesh.%s is %d; %d to %d would be right", name, degree,
			least, MESH_MAX_DEVICES);
	return 0;
}

int mesh_make(
	struct mesh *mesh, int tensor, int experts, int stages, int expert_tensor, int layers, struct error *error)
{
	int code, per_stage;
	if ((code = check_degree("tensor", tensor, 1, error)) || (code = check_degree("experts", experts, 1, error)) ||
		(code = check_degree("stages", stages, 1, error)) ||
		(code = check_degree("expert_tensor", expert_tensor, 0, error)))
		return code;
	/* the degrees are at most 64 each: no product of two overflows */
	if (expert_tensor) {
		per_stage = experts * expert_tensor;
		if (per_stage % tensor)
			return error_set(error, ERROR_INPUT, NULL,
				"the mesh does not fold: experts %d × expert_tensor %d puts %d devices in a stage, "
				"which "
				"tensor %d does not divide; expert_tensor = %d would fold",
				experts, expert_tensor, per_stage, tensor, tensor / common_divisor(tensor, experts));
	} else {
		per_stage = tensor / common_divisor(tensor, experts) * experts;
		expert_tensor = per_stage / experts;
	}
	if (per_stage * stages > MESH_MAX_DEVICES)
		return error_set(error, ERROR_INPUT, NULL,
			"the mesh needs %d stages × %d devices = %d devices; at most %d are possible", stages,
			per_stage, stages * per_stage, MESH_MAX_DEVICES);
	if (layers < stages)
		return error_set(error, ERROR_INPUT, NULL,
			"mesh.stages is %d for a model of %d layers; at most one stage a layer is possible", stages,
			layers);

	memset(mesh, 0, sizeof *mesh);
	mesh->stages = stages;
	mesh->tensor = tensor;
	mesh->experts = experts;
	mesh->expert_tensor = expert_tensor;
	mesh->per_stage = per_stage;
	mesh->groups = per_stage / tensor;
	mesh->devices = stages * per_stage;
	for (int i = 0; i < mesh->devices; i++) {
		int s = i % per_stage;
		mesh->part[i] = (struct mesh_part){
			.device = i,
			.stage = i / per_stage,
			.index = s,
			.group = s / tensor,
			.tensor = s % tensor,
			.experts = s / expert_tensor,
			.slice = s % expert_tensor,
		};
	}
	for (int p = 0; p < stages; p++)
		mesh->first_layer[p] = range_cut(layers, stages, p).first;
	mesh->first_layer[stages] = layers;
	return 0;
}

int mesh_fits(const struct mesh *mesh, const struct model *model, const char *where, unsigned line, struct error *error)
{
	int tensor = mesh->tensor;
	if (model->heads % tensor)
		return error_at(error, ERROR_INPUT, where, line,
			"%d attention heads do not divide by mesh.tensor = %d; a tensor degree that divides %d would "
			"be "
			"right",
			model->heads, tensor, model->heads);
	if (model->kv_heads % tensor && tensor % model->kv_heads)
		return error_at(error, ERROR_INPUT, where, line,
			"%d KV heads can be neither divided nor replicated over mesh.tensor = %d; a tensor degree that "
			"divides %d, or is a multiple of it, would be right",
			model->kv_heads, tensor, model->kv_heads);
	if (model->vocab < tensor)
		return error_at(error, ERROR_INPUT, where, line,
			"a vocabulary of %d is less than mesh.tensor = %d; each rank needs a part of it", model->vocab,
			tensor);
	if (!model->experts && mesh->experts != 1)
		return error_at(error, ERROR_INPUT, where, line,
			"mesh.experts is %d for a model without experts; experts = 1 would be right", mesh->experts);
	if (model->experts && model->experts % mesh->experts)
		return error_at(error, ERROR_INPUT, where, line,
			"%d experts do not divide by mesh.experts = %d; a degree that divides %d would be right",
			model->experts, mesh->experts, model->experts);
	if (model->experts && model->expert_hidden < mesh->expert_tensor)
		return error_at(error, ERROR_INPUT, where, line,
			"experts of width %d cannot be cut into expert_tensor = %d parts; at most one part a column",
			model->expert_hidden, mesh->expert_tensor);
	if (model->mlp_hidden && model->mlp_hidden < mesh->per_stage)
		return error_at(error, ERROR_INPUT, where, line,
			"dense layers of width %d cannot be cut over the %d devices of a stage; at most one device a "
			"column",
			model->mlp_hidden, mesh->per_stage);
	if (model->shared_hidden && model->shared_hidden < mesh->per_stage)
		return error_at(error, ERROR_INPUT, where, line,
			"a shared expert of width %d cannot be cut over the %d devices of a stage; at most one device "
			"a "
			"column",
			model->shared_hidden, mesh->per_stage);
	if (mesh->first_layer[mesh->stages] != model->layers)
		return error_at(error, ERROR_INPUT, where, line,
			"the mesh places %d layers and the model has %d; the counts of mesh.layers must add up to it",
			mesh->first_layer[mesh->stages], model->layers);
	return 0;
}

int mesh_stage_of_layer(const struct mesh *mesh, int layer)
{
	int stage = 0;
	while (stage + 1 < mesh->stages && layer >= mesh->first_layer[stage + 1])
		stage++;
	return stage;
}

struct range range_cut(int count, int ranks, int rank)
{
	int share = count / ranks, larger = count % ranks;
	int first = rank * share + (rank < larger ? rank : larger);
	return (struct range){first, first + share + (rank < larger)};
}

struct range range_rows(int rows, int ranks, int rank)
{
	int share = rows / ranks + (rows % ranks != 0);
	/* 64-bit: share · rank may exceed rows by far when rows is near the largest int */
	long long first = (long long) share * rank, end = first + share;
	return (struct range){(int) (first < rows ? first : rows), (int) (end < rows ? end : rows)};
}

struct range mesh_heads(const struct mesh *mesh, const struct model *model, int tensor)
{
	return range_cut(model->heads, mesh->tensor, tensor);
}

struct range mesh_kv_heads(const struct mesh *mesh, const struct model *model, int tensor)
{
	if (model->kv_heads >= mesh->tensor)
		return range_cut(model->kv_heads, mesh->tensor, tensor);
	/* replicated: tensor / kv_heads ranks hold the same KV head, the one that their query heads read */
	int head = tensor / (mesh->tensor / model->kv_heads);
	return (struct range){head, head + 1};
}

struct range mesh_expert_range(const struct mesh *mesh, const struct model *model, int experts)
{
	return range_cut(model->experts, mesh->experts, experts);
}
