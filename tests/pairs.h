/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests: a short table of cases in which every two values of any two factors meet.
 *
 *   factor       values            rows of the table (each: one value a factor)
 *   policy       homes, eager, …   0 1 2 0
 *   workers      1, 2              1 0 0 1      every (policy, workers), (policy, slots), (workers, slots) … is in
 *   slots        1, 2, … 8         5 0 7 2      some row
 *
 * Greedy, as in AETG (Cohen, Dalal, Fredman, Patton 1997): the next row is the best of some random ones that begin
 * with a pair still missing. The same seed gives the same table. */
#ifndef OCTANT_TESTS_PAIRS_H
#define OCTANT_TESTS_PAIRS_H

#include <stdbool.h>
#include <stdint.h>

enum { PAIRS_FACTORS = 20, PAIRS_VALUES = 20 };

struct pairs {
	int factors;
	int values[PAIRS_FACTORS]; /* how many each factor has */
	/* Whether a row may be, of which values of −1 are not chosen yet: false only where no choice could mend it. */
	bool (*allowed)(const int *row);

	/* results */
	int rows;
	int (*row)[PAIRS_FACTORS];
	int refused; /* pairs that `allowed` excludes by themselves */
	int missing; /* pairs that are allowed, but are in no row: the others leave no choice */
};

void pairs_make(struct pairs *pairs, uint64_t seed);
void pairs_free(struct pairs *pairs);

#endif
