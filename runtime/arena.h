/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory of one device, taken once at the start and given out from front to back: weights, KV pools,
 * slots. On a logical device it is host memory, page-aligned, reserved but not touched, so that a KV pool
 * costs what is used of it: pages are taken from its start (kv_pages.h), so that huge pages (2 MB) add at most
 * one at either end of what is used.
 *
 *   base                                                  base + bytes
 *   | weights | KV pool | KV pool | … | slot 0 | slot 1 | … |
 *
 * A carve is the same in two passes: with `base` NULL it only measures, so that the accounts that a dry
 * run prints and what is allocated come from one piece of code.
 *
 * Not thread-safe; only the thread that builds a deployment uses it. */
#ifndef OCTANT_ARENA_H
#define OCTANT_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include "runtime/error.h"

#define ARENA_ALIGN 64

struct carve {
	char *base;  /* NULL: measuring */
	size_t used; /* bytes given out */
	size_t size; /* bytes there are; ignored when measuring */
	bool over;   /* a sum overflowed, or more was asked for than there is */
};

/* The next `count` × `size` bytes, aligned to ARENA_ALIGN. Measuring, or on overflow (sets `over`): NULL.
 * A zero count takes nothing and yields a pointer that must not be used. */
void *carve_take(struct carve *carve, size_t count, size_t size);

/* The same, aligned to a memory page, so that the block can be protected on its own. */
void carve_align_page(struct carve *carve);

struct arena {
	int device;
	char *base;
	size_t bytes;
};

/* Reserves memory, bound to one NUMA node where the host has several. Huge pages are asked for. Fails when the
 * address space cannot be had. */
int arena_create(struct arena *arena, int device, size_t bytes, struct error *error);
void arena_destroy(struct arena *arena);

/* Takes the memory from the system now, contents unchanged: each page is touched once. A page that is first touched on the
 * hot path costs the task that does it far more than the task itself: the system clears it, and on a virtual machine the host
 * must find it first (2 MB: some 0.2 ms, and more than 1 ms there). Any thread; nobody may write the range meanwhile. */
void arena_touch(void *memory, size_t bytes);

/* Makes the arena inaccessible, or accessible again: how a debugging run catches a task that touches the
 * memory of a device that is not its own. */
void arena_protect(const struct arena *arena, bool accessible);

#endif
