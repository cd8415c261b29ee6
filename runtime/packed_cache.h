/* SPDX-License-Identifier: Apache-2.0
 *
 * A block of memory kept in a file between runs, believed only when it proves to be what was written.
 *
 *   FOLDER/NAME-KEY.octant
 *   0                  header: magic, version, key, bytes, block, checksum of the table, checksum of the header
 *   64                 table: the checksum of each block of data, 8 bytes each
 *   next multiple of   data: exactly `bytes`, then the file ends
 *   4096
 *
 * KEY is the caller's: a checksum of all that decides the content, so that another content has another file and
 * nothing is ever out of date. What a reader relies on:
 *
 *   - Opening checks header, table and length; reading checks each block. A file that is truncated, damaged, of another
 *     version or of another key is an error with a reason, never data. (64-bit checksums: chance damage passes once in
 *     1.8e19 times. They are no protection from a person: who may write into the folder decides what is read, as with
 *     a checkpoint.)
 *   - Files are written under a temporary name, brought to the disk and renamed: a reader sees all of a file or none,
 *     any number of writers may write the same one, and the last rename counts. A file that is being read stays what
 *     it is although its name leads to another by now.
 *   - It is read by read(2) and never mapped: somebody who shortens it causes an error and no SIGBUS.
 *   - What a killed writer leaves is removed by a later one: a living writer holds a lock on its temporary file.
 *
 * An open cache does not change: any number of threads may read blocks of it. */
#ifndef OCTANT_PACKED_CACHE_H
#define OCTANT_PACKED_CACHE_H

#include <stddef.h>
#include <stdint.h>
#include "runtime/error.h"

struct packed_cache;

#define PACKED_CACHE_BLOCK (8u << 20) /* bytes of a block of data; the last one has what remains */

/* Opens the file of a name and key whose data must have `bytes`. *cache is NULL where there is no such file. Errors:
 * ERROR_INPUT, it is there and cannot be used; ERROR_MEMORY. */
int packed_cache_open(const char *folder, const char *name, uint64_t key, size_t bytes, struct packed_cache **cache,
	struct error *error);
void packed_cache_close(struct packed_cache *cache); /* accepts NULL */

const char *packed_cache_path(const struct packed_cache *cache);
int packed_cache_blocks(const struct packed_cache *cache);

/* Reads block `block` to its place in `data` [bytes] and checks it. On error (ERROR_INPUT) the block's place holds
 * anything. */
int packed_cache_read(const struct packed_cache *cache, int block, void *data, struct error *error);

/* Writes, or replaces, the file; makes the folder (not its parents). Errors (ERROR_RUN: no room, no right) leave no
 * file of ours behind, and one that was there before as it was. */
int packed_cache_write(
	const char *folder, const char *name, uint64_t key, const void *data, size_t bytes, struct error *error);

#endif
