/* SPDX-License-Identifier: Apache-2.0
 *
 * Which pages of an attention group's KV pool are taken: page ids 0 … pages − 1, the same index in every
 * layer's and every shard's pool, with a count of the sequences that refer to each.
 *
 *   free:  [ 7 | 6 | 5 | 2 ]     a stack: the page given back last is taken next (its lines may still be in a
 *                     └ top      cache), and a fresh pool gives 0, 1, 2 …: the order depends on the calls alone
 *   count: [ 1 | 2 | 0 | 1 | 1 | 0 | 0 | 0 ]
 *
 * Nothing is allocated after kv_pages_create; every call is O(1). One thread at a time. */
#ifndef OCTANT_KV_PAGES_H
#define OCTANT_KV_PAGES_H

#include <stdint.h>
#include "runtime/error.h"

struct kv_pages;

/* `pages` ≥ 0, at most INT32_MAX. Errors: ERROR_INPUT for another count, ERROR_MEMORY. */
int kv_pages_create(int64_t pages, struct kv_pages **pool, struct error *error);
void kv_pages_destroy(struct kv_pages *pool); /* accepts NULL */

/* A page with a count of 1, or −1 when none is free. */
int32_t kv_pages_take(struct kv_pages *pool);

/* One more, one fewer reference to a taken page; it is free again when none is left. Releasing a page that
 * nobody holds returns −1 and changes nothing, else the references that are left. */
int kv_pages_retain(struct kv_pages *pool, int32_t page);
int kv_pages_release(struct kv_pages *pool, int32_t page);

int32_t kv_pages_total(const struct kv_pages *pool);
int32_t kv_pages_free(const struct kv_pages *pool);
int32_t kv_pages_used(const struct kv_pages *pool);
int32_t kv_pages_peak(const struct kv_pages *pool); /* the most that were in use at a time */

#endif
