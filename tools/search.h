/* SPDX-License-Identifier: Apache-2.0
 *
 * Which deployment of a graph's model on its machine reaches a goal best: candidates, planned by thousands in threads,
 * the best of them simulated.
 *
 *   base       a mesh, a chain and a residual stream: one resolved graph          search_space.c
 *   candidate  a base and a schedule: chunk, slots, ahead, groups, interleave
 *   coarse     every base with a grid of schedules                                search_plan.c
 *   fine       neighbours of the best by the goal and of the Pareto front, one key changed at a time, until none is
 *              better
 *   simulated  the best few by octant-sim, one process after the other, then     search_simulate.c
 *              neighbours of the best simulated, best planned first, from each that is better on, so many in all
 *
 * The same input gives the same output: threads fill places that are numbered before, and ties go to the lower number. */
#ifndef OCTANT_TOOLS_SEARCH_H
#define OCTANT_TOOLS_SEARCH_H

#include <stdio.h>
#include "tasks/plan.h"

enum search_goal {
	GOAL_MAKESPAN, GOAL_TTFT, GOAL_PREFILL, GOAL_DECODE, GOAL_TOTAL, GOAL_MEMORY, GOAL_EXPOSED, SEARCH_GOALS
};
extern const char *const search_goal_names[SEARCH_GOALS];

enum search_chain { /* how partial sums are joined and rows reach their experts */
	CHAIN_GIVEN,       /* as the graph has it */
	CHAIN_LOCAL,       /* all_reduce, local, all_reduce */
	CHAIN_LOCAL_SCATTER, /* all_reduce, local, reduce_scatter + all_gather */
	CHAIN_ALL_TO_ALL,  /* reduce_scatter, all_to_all, all_gather */
	SEARCH_CHAINS
};
extern const char *const search_chain_names[SEARCH_CHAINS];

struct search_base {
	int number;
	struct graph *graph; /* resolved */
	enum search_chain chain;
	bool given;  /* the graph's own mesh and chain */
	bool excluded; /* has other degrees than may be tried */
	bool shards; /* send stands before the all_gather */
	bool mesh_changed, chain_changed, residual_changed;
};

enum { KEY_TOKENS, KEY_SLOTS, KEY_AHEAD, KEY_CHUNKS, KEY_GROUPS, KEY_INTERLEAVE, SEARCH_KEYS };
extern const char *const search_key_paths[SEARCH_KEYS]; /* "schedule.prefill.tokens", … */

struct search_figures {
	double makespan, ttft, prefill, decode, total; /* seconds; tokens/ms a device: phases as metrics define them, all tokens */
	double exposed, exposed_prefill, bubble, bubble_prefill; /* shares */
};

struct search_candidate {
	int base;
	int key[SEARCH_KEYS];
	enum search_state { SEARCH_NEW, SEARCH_UNFIT, SEARCH_PLANNED } state;
	struct search_figures planned, simulated; /* simulated.makespan 0: not */
	double memory;       /* bytes of the fullest device */
	double bound, prefill_bound; /* lower bounds, s: of all, and of the workload's prefill alone (of the best only) */
	double miss;         /* 0: all requirements hold; else the largest factor by which one fails, less 1 */
	char missed[64];     /* which one */
	double missed_value, missed_limit;
	char missed_unit[16];
	bool simulated_holds;
	bool twin;           /* one that ranks before it has the same base and figures */
	bool front;          /* of the Pareto front: none has both a lower TTFT and more tokens/ms */
};

struct search {
	/* what the caller sets */
	const char *const *pinned; /* [pins] paths that the user's overrides set: they are kept */
	int pins;
	int (*read)(void *context, const struct graph_override *more, int count, struct graph **graph, struct error *error);
	void *context;
	const struct plan_options *plan;
	enum search_goal goal;
	int devices;  /* 0: the machine's */
	int tensor, experts, stages; /* the only degrees to try; 0: any */
	int threads;  /* 0: one a core */
	bool exhaustive; /* every schedule of the grid of every key */
	bool regardless; /* of requirements */
	double most_exposed, most_bubbles; /* shares of the prefill window that a candidate may have, beside what is required */

	struct search_base *base;
	int bases;
	struct search_candidate *candidate;
	int candidates, room;
	int planned, unfit, meshes;
	double seconds; /* that planning took */
	int *best;      /* [candidates] by the goal, those that hold first */
	int ranked;
};

/* search_space.c */
int search_space_make(struct search *search, struct error *error);
/* The overrides that make the candidate out of the graph: [SEARCH_OVERRIDES] texts, valid as long as `text`. */
enum { SEARCH_OVERRIDES = SEARCH_KEYS + 8, SEARCH_TEXT = 4096 };
int search_overrides(const struct search *search, const struct search_candidate *candidate, struct graph_override *overrides,
	char *text);
bool search_is_pinned(const struct search *search, const char *path);
const char *search_interleave_name(int interleave);

/* search_plan.c: fills candidates and best. Errors: ERROR_INPUT where no candidate can be planned, ERROR_MEMORY. */
int search_run(struct search *search, struct error *error);
/* Adds and plans the candidates that differ from `centre` in one key of the schedule, and ranks all anew. */
int search_neighbours(struct search *search, int centre, struct error *error);
double search_value(const struct search *search, const struct search_figures *figures, double memory); /* less is better */
/* By how much a limit beyond the graph's requirements is missed: which, value and limit; 0: it holds. */
double search_limits_missed(const struct search *search, const struct search_figures *figures, const char **name, double *value,
	double *limit);
int search_rank(struct search *search, struct error *error);
/* The lower bound of the prefill alone, for the candidate. */
int search_bound(const struct search *search, struct search_candidate *candidate, struct error *error);
void search_free(struct search *search);

/* search_simulate.c: the first `count` of best and up to `near` neighbours, then ranks these anew. `arguments`: options to pass on, NULL-terminated. */
int search_simulate(struct search *search, const char *graph, const char *const *arguments, int count, int near,
	struct error *error);

/* search_print.c */
void search_print(const struct search *search, int rows, FILE *file);
void search_csv(const struct search *search, int rows, FILE *file);
int search_json(const struct search *search, int rows, FILE *file, struct error *error);

/* search_svg.c, search_write.c: written whole or not at all. Errors: ERROR_RUN. */
int search_svg_write(const struct search *search, const char *path, struct error *error);
int search_write(const struct search *search, const struct search_candidate *candidate, const char *command, const char *path,
	struct error *error);

#endif
