/* SPDX-License-Identifier: Apache-2.0
 *
 * How the parts of a model lie on devices: stages × (tensor ranks × attention groups folded with expert
 * groups × expert-internal tensor ranks).
 *
 *   a stage's devices, s = 0 … S−1, S = experts · expert_tensor, a multiple of tensor:
 *
 *     s      = 0  1  2  3        tensor 2, experts 4: S = 4, two attention groups
 *     group  = 0  0  1  1        group  = s / tensor    (owns some of the sequences)
 *     tensor = 0  1  0  1        tensor rank = s % tensor
 *     experts= 0  1  2  3        expert group and expert_tensor rank: as placed,
 *     slice  = 0  0  0  0        by default s / expert_tensor and s % expert_tensor
 */
#ifndef OCTANT_MESH_H
#define OCTANT_MESH_H

#include "runtime/error.h"
#include "runtime/model.h"

#define MESH_MAX_DEVICES 64
#define MESH_MAX_STAGES 64

struct mesh_part { /* what one device holds */
	int device; /* its number in the description */
	int stage;
	int index;  /* s, its place in the stage: group · tensor + tensor rank */
	int group, tensor;  /* attention group, tensor rank */
	int experts, slice; /* expert group, expert_tensor rank */
};

struct mesh {
	int stages, tensor, experts, expert_tensor;
	int per_stage;   /* S */
	int groups;      /* attention groups a stage: S / tensor */
	int devices;     /* stages · S */
	struct mesh_part part[MESH_MAX_DEVICES]; /* [stage · S + index] */
	int first_layer[MESH_MAX_STAGES + 1]; /* stage p holds layers first_layer[p] … first_layer[p+1]−1 */
};

/* The degrees alone, default placement (device = stage · S + index), layers as even as they go with the
 * earlier stages larger. expert_tensor 0: S = lcm(tensor, experts). Fails where the degrees do not fold. */
int mesh_make(struct mesh *mesh, int tensor, int experts, int stages, int expert_tensor, int layers,
	struct error *error);

/* Heads, KV heads and experts against the degrees: what does not divide is refused by name. KV heads fewer
 * than `tensor` are replicated when kv_heads divides tensor, else refused. Widths (of experts, dense layers,
 * shared expert) and the vocabulary are cut unevenly where they do not divide (range_cut), as long as each
 * rank has a column. `where` is the description's file, `line` that of its mesh. */
int mesh_fits(const struct mesh *mesh, const struct model *model, const char *where, unsigned line,
	struct error *error);

static inline const struct mesh_part *mesh_at(const struct mesh *mesh, int stage, int index)
{
	return &mesh->part[stage * mesh->per_stage + index];
}

int mesh_stage_of_layer(const struct mesh *mesh, int layer);

/* A half-open range. */
struct range {
	int first, end;
};

/* Part `rank` of `count` things cut as evenly as they go into `ranks`, earlier parts larger: used for
 * experts over expert groups, dense columns, vocabulary. */
struct range range_cut(int count, int ranks, int rank);

/* Row shard of tensor rank `rank`: ceil(rows / ranks) rows each, the last ones fewer or none. */
struct range range_rows(int rows, int ranks, int rank);

/* Query heads and KV heads of tensor rank t. */
struct range mesh_heads(const struct mesh *mesh, const struct model *model, int tensor);
struct range mesh_kv_heads(const struct mesh *mesh, const struct model *model, int tensor);
struct range mesh_expert_range(const struct mesh *mesh, const struct model *model, int experts);

#endif
