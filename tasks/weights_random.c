/* SPDX-License-Identifier: Apache-2.0
 *
 * Weights that are only there to be read: for measuring how long tasks take. */
#include "tasks/weights_random.h"

/* A value whose upper half is a BF16 between 2^−7 and 2^−6 of random sign and fraction, and so is the lower half: packed
 * weights of either type are such values, none of which is a NaN, an infinity or too small to be normal. */
static void fill(char *begin, const char *end, uint64_t seed)
{
	for (char *at = begin; at + sizeof(uint32_t) <= end; at += sizeof(uint32_t)) {
		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		uint32_t value = ((uint32_t) (seed >> 32) & 0x807f807fu) | 0x3c003c00u;
		*(uint32_t *) (void *) at = value;
	}
}

static void fill_ends(const struct deployment *d, const struct device_part *device)
{
	char *embedding = device->embedding, *norm = (char *) device->final_norm, *head = (char *) device->head.packed;
	size_t row = (size_t) d->model->hidden * dtype_bytes(device->embedding_dtype);
	if (embedding)
		fill(embedding, embedding + (size_t) d->model->vocab * row, 1);
	if (norm) {
		fill(norm, norm + (size_t) d->model->hidden * sizeof(float), 2);
		fill(head, head + gemm_packed_bytes(device->head.n, device->head.k, device->head.dtype), 3);
	}
}

void weights_randomise(const struct deployment *d)
{
	for (int i = 0; i < d->mesh->devices; i++) {
		const struct device_part *device = &d->device[i];
		for (int l = 0; l < device->layers; l++)
			fill(device->layer[l].weights_begin, device->layer[l].weights_end, (uint64_t) device->layer[l].layer + 1);
		fill_ends(d, device);
	}
}
