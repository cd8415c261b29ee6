/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory of one device, taken once at the start and given out from front to back. */
#include "runtime/arena.h"
#include <errno.h>
#include <hwloc.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void *take_aligned(struct carve *carve, size_t bytes, size_t align)
{
	size_t start;
	if (carve->over || __builtin_add_overflow(carve->used, align - 1, &start)) {
		carve->over = true;
		return NULL;
	}
	start -= start % align;
	size_t end;
	if (__builtin_add_overflow(start, bytes, &end) || (carve->base && end > carve->size)) {
		carve->over = true;
		return NULL;
	}
	carve->used = end;
	return carve->base ? carve->base + start : NULL;
}

void *carve_take(struct carve *carve, size_t count, size_t size)
{
	size_t bytes;
	if (__builtin_mul_overflow(count, size, &bytes)) {
		carve->over = true;
		return NULL;
	}
	return take_aligned(carve, bytes, ARENA_ALIGN);
}

void carve_align_page(struct carve *carve)
{
	take_aligned(carve, 0, (size_t) sysconf(_SC_PAGESIZE));
}

/* Devices go round the NUMA nodes, so that their memories use all controllers. Binding is a matter of speed: where
 * it fails, the memory is used as it is. */
static void bind_to_node(void *memory, size_t bytes, int device)
{
	hwloc_topology_t topology;
	if (hwloc_topology_init(&topology))
		return;
	int nodes = hwloc_topology_load(topology) ? 0 : hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_NUMANODE);
	if (nodes > 1) {
		hwloc_obj_t node = hwloc_get_obj_by_type(topology, HWLOC_OBJ_NUMANODE, (unsigned) (device % nodes));
		if (node)
			hwloc_set_area_membind(topology, memory, bytes, node->nodeset, HWLOC_MEMBIND_BIND,
				HWLOC_MEMBIND_BYNODESET);
	}
	hwloc_topology_destroy(topology);
}

int arena_create(struct arena *arena, int device, size_t bytes, struct error *error)
{
	size_t page = (size_t) sysconf(_SC_PAGESIZE), rounded;
	if (__builtin_add_overflow(bytes ? bytes : 1, page - 1, &rounded))
		return error_memory(error, "reserving a device's memory");
	rounded -= rounded % page;
	void *base = mmap(NULL, rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return error_set(error, ERROR_MEMORY, NULL, "device %d: cannot reserve %.3f GB (%s)", device,
			(double) rounded * 1e-9, strerror(errno));
#ifdef MADV_HUGEPAGE
	madvise(base, rounded, MADV_HUGEPAGE);
#endif
	bind_to_node(base, rounded, device);
	*arena = (struct arena){ device, base, rounded };
	return 0;
}

void arena_touch(void *memory, size_t bytes)
{
	size_t page = (size_t) sysconf(_SC_PAGESIZE);
	volatile char *at = memory;
	for (size_t i = 0; i < bytes; i += page)
		at[i] = at[i];
	if (bytes)
		at[bytes - 1] = at[bytes - 1];
}

void arena_destroy(struct arena *arena)
{
	if (arena->base)
		munmap(arena->base, arena->bytes);
	*arena = (struct arena){ 0 };
}

void arena_protect(const struct arena *arena, bool accessible)
{
	if (arena->base)
		mprotect(arena->base, arena->bytes, accessible ? PROT_READ | PROT_WRITE : PROT_NONE);
}
