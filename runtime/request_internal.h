/* SPDX-License-Identifier: Apache-2.0
 *
 * One row of the input, between the file's reader and the reader of its keys. */
#ifndef OCTANT_REQUEST_INTERNAL_H
#define OCTANT_REQUEST_INTERNAL_H

#include <jansson.h>
#include "runtime/request.h"

struct request_row {
	const char *path;
	unsigned line;
	int number; /* 1 for the first */
	const struct request_options *options;
	struct request *request; /* zeroed; request_clear frees what it has got, also after an error */
};

int request_row_read(const struct request_row *row, const json_t *value, struct error *error);
void request_clear(struct request *request);

#endif
