/* SPDX-License-Identifier: Apache-2.0
 *
 * The weights of one device: where each lies in its arena, and how it gets there from a checkpoint. */
#ifndef OCTANT_TASKS_WEIGHTS_H
#define OCTANT_TASKS_WEIGHTS_H

#include "tasks/deployment.h"

/* Sets shapes and, unless the carve only measures, places of a layer's weights: heads, experts and columns that
 * the mesh gives to this device. `layer->expert` must have room for the device's experts. */
void weights_place_layer(const struct deployment *d, const struct device_part *device, struct layer_part *layer,
	struct carve *carve);
/* The same for embedding (first stage), final norm and head (last stage). */
void weights_place_ends(const struct deployment *d, struct device_part *device, struct carve *carve);

/* Reads, checks (NaN and infinity are refused) and packs, into memory that holds zeros. Different layers and devices may
 * load in parallel. */
int weights_load_layer(const struct deployment *d, const struct device_part *device, const struct layer_part *layer,
	const struct checkpoint *checkpoint, struct error *error);
int weights_load_ends(const struct deployment *d, const struct device_part *device,
	const struct checkpoint *checkpoint, struct error *error);

/* A checksum of how the device's weights come from the checkpoint: which rows and columns of which tensors go where in
 * the arena, in which shape and type. With the same recipe, the same content of the checkpoint and the same way of
 * packing, the arena's weights are the same bytes. */
int weights_describe(const struct deployment *d, const struct device_part *device, const struct checkpoint *checkpoint,
	uint64_t *recipe, struct error *error);

/* Scratch that a worker needs for this device's behaviours. */
size_t weights_workspace(const struct deployment *d, const struct device_part *device);

#endif
