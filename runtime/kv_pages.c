/* SPDX-License-Identifier: Apache-2.0
 *
 * Which pages of an attention group's KV pool are taken: a stack of free pages and a count a page. */
#include "runtime/kv_pages.h"
#include <stdlib.h>

struct kv_pages {
	int32_t pages, free, peak;
	int32_t *stack; /* [pages] the free ones are stack[0 … free − 1] */
	int32_t *count; /* [pages] references, 0: free */
};

int kv_pages_create(int64_t pages, struct kv_pages **out, struct error *error)
{
	struct kv_pages *pool;
	size_t room;

	if (pages < 0 || pages > INT32_MAX)
		return error_set(error, ERROR_INPUT, NULL, "a KV pool of %lld pages; 0 to %d are possible",
			(long long) pages, INT32_MAX);
	room = pages ? (size_t) pages : 1;
	pool = calloc(1, sizeof *pool);
	if (!pool)
		return error_memory(error, "making a KV pool's page list");
	pool->stack = calloc(room, sizeof *pool->stack);
	pool->count = calloc(room, sizeof *pool->count);
	if (!pool->stack || !pool->count) {
		kv_pages_destroy(pool);
		return error_memory(error, "making a KV pool's page list");
	}
	pool->pages = pool->free = (int32_t) pages;
	for (int32_t i = 0; i < pool->pages; i++)
		pool->stack[i] = pool->pages - 1 - i;
	*out = pool;
	return 0;
}

void kv_pages_destroy(struct kv_pages *pool)
{
	if (!pool)
		return;
	free(pool->stack);
	free(pool->count);
	free(pool);
}

int32_t kv_pages_take(struct kv_pages *pool)
{
	int32_t page;

	if (!pool->free)
		return -1;
	page = pool->stack[--pool->free];
	pool->count[page] = 1;
	if (pool->pages - pool->free > pool->peak)
		pool->peak = pool->pages - pool->free;
	return page;
}

static int is_taken(const struct kv_pages *pool, int32_t page)
{
	return page >= 0 && page < pool->pages && pool->count[page] > 0;
}

int kv_pages_retain(struct kv_pages *pool, int32_t page)
{
	if (!is_taken(pool, page) || pool->count[page] == INT32_MAX)
		return -1;
	return ++pool->count[page];
}

int kv_pages_release(struct kv_pages *pool, int32_t page)
{
	if (!is_taken(pool, page))
		return -1;
	if (--pool->count[page] == 0)
		pool->stack[pool->free++] = page;
	return pool->count[page];
}

int32_t kv_pages_total(const struct kv_pages *pool)
{
	return pool->pages;
}

int32_t kv_pages_free(const struct kv_pages *pool)
{
	return pool->free;
}

int32_t kv_pages_used(const struct kv_pages *pool)
{
	return pool->pages - pool->free;
}

int32_t kv_pages_peak(const struct kv_pages *pool)
{
	return pool->peak;
}
