/* SPDX-License-Identifier: Apache-2.0
 *
 * Random weights in place of a checkpoint's, for measuring: tasks take as long with them, and every page of memory is
 * one of its own. */
#ifndef OCTANT_TASKS_WEIGHTS_RANDOM_H
#define OCTANT_TASKS_WEIGHTS_RANDOM_H

#include "tasks/deployment.h"

/* Fills the placed weights of every device. */
void weights_randomise(const struct deployment *deployment);

#endif
