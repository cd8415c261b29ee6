/* SPDX-License-Identifier: Apache-2.0
 *
 * Loading the weights of a deployment, as tasks: out of the checkpoint, or packed as an earlier run left them. */
#ifndef OCTANT_TASKS_LOAD_H
#define OCTANT_TASKS_LOAD_H

#include "tasks/deployment.h"

/* Fills the placed, zeroed weights of every device and sets d->loading. The checkpoint's pages are let go on the way, so
 * that this process holds little more than the packed weights. Errors: as weights_load_layer. */
int load_weights(struct deployment *d, const struct checkpoint *checkpoint, struct error *error);

#endif
