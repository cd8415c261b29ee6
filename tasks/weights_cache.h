/* SPDX-License-Identifier: Apache-2.0
 *
 * Packed weights between two runs: one file a device (runtime/packed_cache.h), named by all that decides its bytes.
 *
 *   checkpoint's files ── stamps ──▶ content-STAMPS.octant: the checksum of their bytes, where it is known
 *          │ summed, where it is not
 *          ▼
 *       content ─┐
 *        recipe ─┼─▶ key ──▶ weights-KEY.octant: what the device's arena holds of weights
 *       packing ─┘
 *
 *   stamps   device, inode, size, time of writing and of change of each safetensors file
 *   content  of all bytes of the safetensors files, headers included
 *   recipe   which rows and columns go where, in which shape and type (weights_describe): model, mesh, compute
 *   packing  of a probe that is packed here and now: kernels of other processors or versions may pack otherwise
 *
 * What holds: weights out of a cache are, but for a chance of 64 bits, the bytes that packing this checkpoint now would
 * give. A checkpoint that is moved or copied is summed again and finds its cache; one that is changed, by whatever
 * means but a clock that is set back or a mapping that its writer had open before, does not. A file that is not what its
 * name says, or not whole, is packed anew and replaced, with a message. Nothing is kept of a checkpoint that changed in
 * the last two seconds, since its stamps would not tell the next change, nor of one that changed while it was read.
 *
 * The submitter's thread owns it; weights_cache_sum and weights_cache_read may run on any. */
#ifndef OCTANT_TASKS_WEIGHTS_CACHE_H
#define OCTANT_TASKS_WEIGHTS_CACHE_H

#include "tasks/deployment.h"

struct weights_cache;

/* *cache is NULL where the checkpoint's packed weights are not kept (checkpoint_cache). The deployment's parts must be
 * placed in their arenas; it and the checkpoint must outlive the cache. Errors: ERROR_MEMORY. */
int weights_cache_create(const struct deployment *d, const struct checkpoint *checkpoint, struct weights_cache **cache,
	struct error *error);
void weights_cache_destroy(struct weights_cache *cache); /* accepts NULL */

/* In how many pieces the checkpoint must be summed before weights_cache_open; 0: its content is known. */
int weights_cache_pieces(const struct weights_cache *cache);
void weights_cache_sum(struct weights_cache *cache, int piece);

/* Opens what there is for each device. What cannot be used is told on stderr. Errors: as checkpoint_find. */
int weights_cache_open(struct weights_cache *cache, struct error *error);

/* The file of a device ([devices] of the mesh) in blocks to be read; 0: there is none, or it has proved bad. */
int weights_cache_blocks(const struct weights_cache *cache, int device);
/* Reads one into the arena. A block that is damaged is noted for weights_cache_settle. */
void weights_cache_read(struct weights_cache *cache, int device, int block);
/* Whether all blocks of the device were good. If not, says so on stderr, gives the file up and clears its arena. */
bool weights_cache_settle(struct weights_cache *cache, int device);

/* Keeps the device's weights as they are now in its arena. Returns whether they are; tells why not on stderr. */
bool weights_cache_keep(struct weights_cache *cache, int device);

#endif
