/* SPDX-License-Identifier: Apache-2.0
 *
 * The page list: order, counts, references, and what a random history of calls leaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "runtime/kv_pages.h"

static void test_order(void **state)
{
	struct error error = {0};
	struct kv_pages *pool;

	(void) state;
	assert_int_equal(kv_pages_create(4, &pool, &error), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(kv_pages_take(pool), i);
	assert_int_equal(kv_pages_take(pool), -1);
	assert_int_equal(kv_pages_release(pool, 1), 0);
	assert_int_equal(kv_pages_release(pool, 3), 0);
	assert_int_equal(kv_pages_used(pool), 2);
	assert_int_equal(kv_pages_peak(pool), 4);
	assert_int_equal(kv_pages_take(pool), 3); /* given back last, taken first */
	assert_int_equal(kv_pages_take(pool), 1);
	kv_pages_destroy(pool);
}

static void test_references(void **state)
{
	struct error error = {0};
	struct kv_pages *pool;

	(void) state;
	assert_int_equal(kv_pages_create(2, &pool, &error), 0);
	assert_int_equal(kv_pages_take(pool), 0);
	assert_int_equal(kv_pages_retain(pool, 0), 2);
	assert_int_equal(kv_pages_release(pool, 0), 1);
	assert_int_equal(kv_pages_free(pool), 1);
	assert_int_equal(kv_pages_release(pool, 0), 0);
	assert_int_equal(kv_pages_free(pool), 2);
	assert_int_equal(kv_pages_release(pool, 0), -1); /* nobody holds it */
	assert_int_equal(kv_pages_release(pool, -1), -1);
	assert_int_equal(kv_pages_release(pool, 2), -1);
	assert_int_equal(kv_pages_retain(pool, 1), -1);
	assert_int_equal(kv_pages_free(pool), 2);
	kv_pages_destroy(pool);
}

static void test_bounds(void **state)
{
	struct error error = {0};
	struct kv_pages *pool = NULL;

	(void) state;
	assert_int_equal(kv_pages_create(0, &pool, &error), 0);
	assert_int_equal(kv_pages_take(pool), -1);
	assert_int_equal(kv_pages_total(pool), 0);
	kv_pages_destroy(pool);
	kv_pages_destroy(NULL);
	pool = NULL;
	assert_int_equal(kv_pages_create(-1, &pool, &error), ERROR_INPUT);
	memset(&error, 0, sizeof error);
	assert_int_equal(kv_pages_create((int64_t) INT32_MAX + 1, &pool, &error), ERROR_INPUT);
	assert_null(pool);
}

static void test_random(void **state)
{
	enum { PAGES = 61 };
	struct error error = {0};
	struct kv_pages *pool;
	int count[PAGES] = {0}, used = 0, peak = 0;
	unsigned random = 1;

	(void) state;
	assert_int_equal(kv_pages_create(PAGES, &pool, &error), 0);
	for (int i = 0; i < 20000; i++) {
		int page;

		random = random * 1664525u + 1013904223u;
		page = (int) (random >> 8) % PAGES;
		switch (random >> 29) {
		case 0:
		case 1:
		case 2:
			page = kv_pages_take(pool);
			if (used == PAGES) {
				assert_int_equal(page, -1);
				break;
			}
			assert_in_range(page, 0, PAGES - 1);
			assert_int_equal(count[page], 0); /* never a page that somebody has */
			count[page] = 1;
			used++;
			break;
		case 3:
			assert_int_equal(kv_pages_retain(pool, page), count[page] ? ++count[page] : -1);
			break;
		default:
			if (!count[page]) {
				assert_int_equal(kv_pages_release(pool, page), -1);
				break;
			}
			assert_int_equal(kv_pages_release(pool, page), --count[page]);
			used -= !count[page];
		}
		peak = used > peak ? used : peak;
		assert_int_equal(kv_pages_used(pool), used);
		assert_int_equal(kv_pages_free(pool), PAGES - used);
		assert_int_equal(kv_pages_peak(pool), peak);
	}
	kv_pages_destroy(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_references),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
