/* SPDX-License-Identifier: Apache-2.0
 *
 * The buffers of one slot on one device: sized for the largest micro-batch, placed once, known to StarPU by a
 * handle each. */
#ifndef OCTANT_TASKS_MESSAGE_H
#define OCTANT_TASKS_MESSAGE_H

#include "tasks/deployment.h"

/* Places the buffers that this device's tasks need. */
void message_place(const struct deployment *d, const struct device_part *device, struct message *message,
	struct carve *carve);

/* Registers them with the engine. */
int message_register(struct deployment *d, const struct device_part *device, int slot, struct message *message,
	struct error *error);
void message_unregister(struct message *message);

#endif
