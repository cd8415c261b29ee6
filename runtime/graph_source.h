/* SPDX-License-Identifier: Apache-2.0
 *
 * The text of a description with its @include lines expanded, and for each of its lines the file and line
 * that it came from.
 *
 * libconfig 1.5 knows one include folder only and lets integers wrap silently; so the text is expanded and
 * its integers are checked here, before libconfig sees it. */
#ifndef OCTANT_GRAPH_SOURCE_H
#define OCTANT_GRAPH_SOURCE_H

#include <stddef.h>
#include "runtime/error.h"

struct graph_source_line {
	unsigned short file; /* index into `file` */
	unsigned line;       /* from 1 */
};

struct graph_source {
	char *text; /* zero-terminated */
	size_t length, capacity;
	struct graph_source_line *line; /* [lines]: of text line i + 1 */
	size_t lines, line_capacity;
	char **file; /* [files], path as named by the user or found */
	int files;
};

/* Reads the file at `path`. */
int graph_source_read(struct graph_source *source, const char *path, struct error *error);

/* Takes a text of its own (an override's value): no includes; `name` stands for the file in errors. */
int graph_source_literal(struct graph_source *source, const char *name, const char *text, struct error *error);

/* The place of a line of the expanded text; line 0 and lines beyond the end give the last one known. */
void graph_source_place(const struct graph_source *source, unsigned text_line, const char **file, unsigned *line);

void graph_source_free(struct graph_source *source);

/* Writes the path of a graph into `found`: `name` itself where it is a file or looks like a path, else the
 * shipped graph of that name. */
int graph_source_find(const char *name, char *found, size_t size, struct error *error);

/* Shipped graphs' names, sorted, NULL at the end; the caller frees with graph_source_list_free. */
int graph_source_list(char ***names, struct error *error);
void graph_source_list_free(char **names);

#endif
