/* SPDX-License-Identifier: Apache-2.0
 *
 * Command lines by a table: a command lists its options once, and parsing, --help and "did you mean" follow from that.
 *
 * Options are long ones, `--name value` or `--name=value`; `_` may stand for `-`; an alias may be a short one (`-o`); `-h` is `--help`. Words without dashes are arguments.
 * Values go into fields of the command's own struct by their offsets. */
#ifndef OCTANT_TOOLS_OPTIONS_H
#define OCTANT_TOOLS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include "runtime/error.h"
#include "runtime/graph.h"

enum { OPTIONS_MAX_OVERRIDES = 256 };

struct option_overrides { /* of a graph's keys, in the order given */
	struct graph_override item[OPTIONS_MAX_OVERRIDES];
	char *copy[OPTIONS_MAX_OVERRIDES]; /* of the arguments that items point into */
	const char *origin[OPTIONS_MAX_OVERRIDES]; /* the option that stands for the key: "--tp-size"; NULL: --set */
	int count;
};

enum option_kind {
	OPTION_TEXT,     /* const char *, not empty */
	OPTION_FLAG,     /* bool; "true" or "false" may follow */
	OPTION_NUMBER,   /* double, within [least, most] */
	OPTION_FLOAT,    /* float, likewise */
	OPTION_INTEGER,  /* int, likewise */
	OPTION_OPTIONAL, /* struct option_optional: a flag that may have a value, behind `=` */
	OPTION_OVERRIDE, /* of the graph key `key`, into the table's overrides */
	OPTION_SET,      /* PATH=VALUE, likewise */
};

struct option_optional {
	bool given;
	const char *value; /* NULL: none */
};

struct option_row {
	const char *name, *value; /* "--model", "DIR"; value NULL: takes none */
	enum option_kind kind;
	size_t at;       /* offset of the field */
	const char *key; /* OPTION_OVERRIDE */
	double least, most;
	const char *help; /* one line, with the default */
};

struct option_alias {
	const char *alias, *name;
};

struct option_table {
	const char *command; /* "octant run", for messages */
	const struct option_row *rows;
	int count;
	const struct option_alias *aliases; /* [alias_count], may be NULL */
	int alias_count;
	size_t overrides_at; /* offset of a struct option_overrides; 0: the command takes none */
	size_t arguments_at; /* offset of const char *[argument_count]: words without dashes */
	int argument_count;
};

/* Fields keep their values where an option is not given. Errors: ERROR_INPUT. Parsing stops after `--help` (whose field
 * is an OPTION_FLAG like others): what is missing then does not matter. */
int options_parse(const struct option_table *table, int argc, char **argv, void *into, struct error *error);

/* The rows of --help. */
void options_print(const struct option_table *table);

/* An error at "--set mesh.tensor" is put where the user wrote it: "--tp-size". */
void options_locate(const struct option_overrides *overrides, struct error *error);

/* Puts an override that `owned` (freed with the others) holds behind the first `from + at` ones. There must be room. */
void options_insert(struct option_overrides *overrides, int from, int at, const struct graph_override *item, char *owned);

void options_free(struct option_overrides *overrides);

#endif
