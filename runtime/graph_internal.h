/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of graph*.c share: a description between libconfig's tree and struct graph. */
#ifndef OCTANT_GRAPH_INTERNAL_H
#define OCTANT_GRAPH_INTERNAL_H

#include <libconfig.h>
#include "runtime/graph.h"
#include "runtime/graph_schema.h"
#include "runtime/graph_source.h"

struct graph_text { /* a description that is being read */
	struct graph_source source;
	config_t config;
	bool parsed; /* config is to be destroyed */
	struct graph_faults *faults; /* NULL: the first error ends it */
};

/* Tells `faults`, unless it is NULL, of an error in the description and clears it, so that the caller goes on: 0 then,
 * else `code`. */
int graph_keep(struct graph_faults *faults, int code, struct error *error);

#define GRAPH_PATH 192 /* bytes of a key's path; longer ones are unknown keys */

/* Where a setting, or the nearest group around it, stands. */
struct graph_place graph_place_of(const struct graph_text *text, const config_setting_t *setting);

/* Whether it is the command line's. */
bool graph_is_override(const struct graph_place *place);

/* error_at for a place. */
int graph_error(struct error *error, const struct graph_place *place, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Parses a file; path NULL: an empty description. */
int graph_text_open(struct graph_text *text, const char *path, struct error *error);
void graph_text_close(struct graph_text *text);

/* graph_override.c: puts the overrides into the tree. They must outlive it: their paths are places. */
int graph_text_override(struct graph_text *text, const struct graph_override *overrides, int count, struct error *error);

/* graph_check.c: unknown keys, types, ranges, over the whole tree. After it, and no fault, reading cannot meet a wrong
 * type. */
int graph_text_check(const struct graph_text *text, struct error *error);

/* Values at a path below the root ("schedule.prefill.tokens"), or below `group` when it is not NULL (then the
 * path is the key's full one, with [] for the group's own place, and only its last name is looked up). The
 * default of the schema where the description says nothing. */
const config_setting_t *graph_find(const struct graph_text *text, const config_setting_t *group, const char *path);
long long graph_integer(const struct graph_text *text, const config_setting_t *group, const char *path);
double graph_number(const struct graph_text *text, const config_setting_t *group, const char *path);
bool graph_boolean(const struct graph_text *text, const config_setting_t *group, const char *path);
const char *graph_word(const struct graph_text *text, const config_setting_t *group, const char *path);

/* graph_read.c: from a checked tree to the struct. */
int graph_from_text(const struct graph_text *text, const struct graph_kinds *kinds, struct graph *graph,
	struct error *error);

/* Prompts and new tokens of the workload that exceed the limit are shortened to it. */
void graph_shorten_workload(struct graph *graph);

/* graph_card.c */
int graph_read_card(const struct graph_text *text, struct graph *graph, struct error *error);

/* graph_machine.c */
int graph_read_machine(const struct graph_text *text, struct graph *graph, struct error *error);

/* graph_read.c: from a file (path NULL: an empty description) and overrides to a graph that is not resolved yet. */
int graph_make(const char *path, const struct graph_kinds *kinds, const struct graph_override *overrides, int override_count,
	struct graph_faults *faults, struct graph **graph, struct error *error);

/* graph_default.c: degrees that nobody gave. */
void graph_default_degrees(struct graph *graph, const struct model *model, int cores);

/* graph_resolve.c: graph_resolve for who may want all errors. */
int graph_resolve_all(struct graph *graph, const struct model *model, const struct graph_kinds *kinds,
	struct graph_faults *faults, struct error *error);

/* graph_steps.c; after faults it passes over what the check has told. */
int graph_read_chains(const struct graph_text *text, const struct graph_kinds *kinds, struct graph *graph,
	struct error *error);

/* graph_place.c: passes an error about the placement on; where an override made it wrong, at that override and with a
 * hint. */
int graph_place_failed(const struct graph *graph, int code, struct error *error);

/* graph_place.c: the mesh with its placement, for a model of so many layers. graph->mesh is set, if nothing else is wrong with
 * it, where a placement is wrong too: by default. */
int graph_place_parts(struct graph *graph, const struct model *model, struct graph_faults *faults, struct error *error);

/* graph_default.c: chains that the description leaves out. */
int graph_default_chains(struct graph *graph, const struct graph_kinds *kinds, struct error *error);

/* graph_chain.c: inserts what a model needs and walks the forms through all layers. */
int graph_compose(struct graph *graph, const struct graph_kinds *kinds, struct graph_faults *faults, struct error *error);

/* The index of a kind by name, −1 when there is none. */
int graph_kind_find(const struct graph_kinds *kinds, const char *name);

#endif
