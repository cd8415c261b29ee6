/* SPDX-License-Identifier: Apache-2.0
 *
 * One safetensors file, mapped into memory and checked before any of it is believed.
 *
 *   8 bytes            n bytes                          the rest of the file
 *   [ n, little-endian | header: JSON, padded by blanks | tensors, one after the other ]
 *
 *   header: {"NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, "__metadata__": {…}}
 *   offsets count from the header's end.
 *
 * What is refused is what the reference library refuses: a header above 100 MB or longer than the file, tensors that
 * overlap, leave a hole or do not end where the file ends, a size that is not shape × type; and a name twice.
 * Types other than F32, F16 and BF16 may be in the file: only whoever asks for such a tensor gets an error.
 * (https://github.com/huggingface/safetensors, "Format")
 *
 * The file is read only by looking at the mapping: if somebody shortens it while it is mapped, the system ends this
 * process with SIGBUS. Checkpoints are replaced by renaming a new file over them, never rewritten in place.
 *
 * An open file does not change: any number of threads may read it. */
#ifndef OCTANT_SAFETENSORS_H
#define OCTANT_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "runtime/error.h"

#define SAFETENSORS_MAX_RANK 8

struct safetensors_tensor {
	const char *name;
	char type[16];  /* as the file says: "BF16" */
	int dtype;      /* enum dtype, or −1: one that is not computed with */
	int rank;
	int64_t shape[SAFETENSORS_MAX_RANK]; /* [min(rank, SAFETENSORS_MAX_RANK)] */
	uint64_t begin, end;                 /* in the data part */
	const void *data;                    /* at any address: the format does not ask for alignment */
};

/* What the system notes of a file: another content under the same path has another one, whoever wrote it and by
 * whatever means, as long as the clock is not set back. */
struct safetensors_stamp {
	uint64_t device, inode;
	int64_t size;       /* bytes */
	int64_t written_ns; /* since 1970: the content (mtime), which programs may set */
	int64_t changed_ns; /* anything about it (ctime), which they may not */
};

/* A file that has been left alone for so long is known by its stamp: whoever changes it from now on changes the stamp
 * too. (Clocks of file systems step by up to 2 s.) */
#define SAFETENSORS_SETTLED_NS 2000000000

struct safetensors {
	char *path;
	const unsigned char *map;
	size_t size;
	struct safetensors_stamp stamp; /* when it was mapped */
	bool settled;                   /* for long enough, by then */
	int count;
	struct safetensors_tensor *tensor; /* [count], by name */
	char *names;
};

/* On error nothing is left allocated. Errors: ERROR_INPUT, ERROR_MEMORY. */
int safetensors_open(const char *path, struct safetensors **file, struct error *error);

/* Whether the path still leads to the file that was mapped, and nobody has changed it since. */
bool safetensors_unchanged(const struct safetensors *file);

/* NULL: there is none of that name. */
const struct safetensors_tensor *safetensors_find(const struct safetensors *file, const char *name);

/* Accepts NULL. */
void safetensors_close(struct safetensors *file);

#endif
