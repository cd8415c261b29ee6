/* SPDX-License-Identifier: Apache-2.0
 *
 * Every key of the description language: its type, unit, range, default and one line of help. Reading,
 * checking, overriding and the language reference (`octant graph keys`) all go by this one table. */
#ifndef OCTANT_GRAPH_SCHEMA_H
#define OCTANT_GRAPH_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum key_type {
	KEY_GROUP,    /* { key = value; … } */
	KEY_LIST,     /* ( { … }, { … } ), of groups */
	KEY_INTEGER,
	KEY_NUMBER,   /* an integer or a float */
	KEY_BOOLEAN,
	KEY_WORD,     /* a string, one of `words` where there are any */
	KEY_INTEGERS, /* [1, 2, 3] */
	KEY_SPAN,     /* an integer, or [least, greatest] */
};

struct graph_key {
	const char *path; /* "schedule.prefill.tokens"; "[]" stands for any element of a list. The steps of all
	                   * chains have the keys of "layer[]" */
	enum key_type type;
	const char *unit;     /* NULL: none */
	const char *fallback; /* its default, as a literal of the language or in words; NULL: must be given */
	const char *words;    /* "fp32|fp16|bf16"; NULL: any */
	double least, greatest; /* of integers (each, in arrays and spans) and numbers */
	const char *help;
};

extern const struct graph_key graph_keys[]; /* ends with a NULL path */

/* The key at a path, or NULL. Indices "[3]" and "[]" are the same, and before, dense_layer and after have the
 * steps of layer. */
const struct graph_key *graph_key_find(const char *path);

/* The known key of group `parent` ("" the whole description, "mesh", "mesh.place[]") that is nearest to the
 * unknown `name`: its last component, or NULL. `known`, when not NULL, is filled with all keys of the group,
 * separated by commas. */
const char *graph_key_nearest(const char *parent, const char *name, char *known, size_t size);

/* The known paths that end with `name`, for a key that stands in the wrong group: "model.experts or mesh.experts".
 * False when there is none. Keys of lists' elements are left out. */
bool graph_key_elsewhere(const char *name, char *text, size_t size);

/* Whether a word is among `words`, where there are any. */
bool graph_key_allows(const struct graph_key *key, const char *word);

/* Why a word that users may well try is not among `words`, or NULL. */
const char *graph_key_refused(const struct graph_key *key, const char *word);

/* "an integer from 1 to 64", "a string, one of fp32, fp16, bf16": what a value must be. */
void graph_key_expects(const struct graph_key *key, char *text, size_t size);

/* The whole table in Markdown, as graphs/README.md has it (a test compares them). */
void graph_keys_write(FILE *file);

#endif
