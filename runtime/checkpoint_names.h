/* SPDX-License-Identifier: Apache-2.0
 *
 * What each role's tensor is called on the hub, and the shape it must have. */
#ifndef OCTANT_CHECKPOINT_NAMES_H
#define OCTANT_CHECKPOINT_NAMES_H

#include <stdint.h>
#include "runtime/checkpoint.h"

#define CHECKPOINT_NAME 192 /* room for any name that checkpoint_name_of makes */

/* One way of storing a role: a tensor of its own, or a slice of one that holds all experts (rank 3) or both gate and
 * up projection. */
struct checkpoint_name {
	char name[CHECKPOINT_NAME];
	int rank;         /* 1, 2; 3 for all experts in one */
	int64_t shape[3]; /* [rank] that the tensor must have */
	int64_t row;      /* first row of the role in the tensor, rows counted through all experts */
	int64_t rows, columns;
};

/* The i-th name a role may have, hub's own first; 0 when there are no more. The model must have the role. */
int checkpoint_name_of(const struct model *model, enum checkpoint_role role, int layer, int expert, int i,
	struct checkpoint_name *name);

#endif
