/* SPDX-License-Identifier: Apache-2.0
 *
 * A table of cases in which every two values of any two factors meet. */
#include "tests/pairs.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/scratch.h"

enum { CANDIDATES = 24 };

enum state { OPEN, COVERED, REFUSED, MISSING };

struct table {
	struct pairs *pairs;
	unsigned long long random;
	/* of factors f < g and their values a, b */
	unsigned char state[PAIRS_FACTORS][PAIRS_FACTORS][PAIRS_VALUES][PAIRS_VALUES];
};

static unsigned char *state_of(struct table *t, int f, int a, int g, int b)
{
	return f < g ? &t->state[f][g][a][b] : &t->state[g][f][b][a];
}

static int below(struct table *t, int n)
{
	return (int) (scratch_random(&t->random) >> 33) % n;
}

/* Open pairs that value `a` of factor `f` makes with what the row has. */
static int gain(struct table *t, const int *row, int f, int a)
{
	int n = 0;
	for (int g = 0; g < t->pairs->factors; g++)
		if (g != f && row[g] >= 0)
			n += *state_of(t, f, a, g, row[g]) == OPEN;
	return n;
}

/* Chooses the values that are −1, factors in a random order. Returns the open pairs gained, −1: no row may be. */
static int complete(struct table *t, int *row)
{
	int order[PAIRS_FACTORS], factors = t->pairs->factors, total = 0;
	for (int i = 0; i < factors; i++) {
		int at = below(t, i + 1);
		order[i] = order[at];
		order[at] = i;
	}
	for (int i = 0; i < factors; i++) {
		int f = order[i], best = -1, most = -1, values = t->pairs->values[f], from = below(t, values);
		for (int k = 0; k < values && row[f] < 0; k++) {
			int a = (from + k) % values, n = gain(t, row, f, a);
			if (n <= most)
				continue;
			row[f] = a;
			if (t->pairs->allowed(row)) {
				best = a;
				most = n;
			}
			row[f] = -1;
		}
		if (row[f] >= 0)
			continue;
		if (best < 0)
			return -1;
		row[f] = best;
		total += most;
	}
	return total;
}

static void add_row(struct table *t, const int *row)
{
	struct pairs *pairs = t->pairs;
	pairs->row = realloc(pairs->row, (size_t) (pairs->rows + 1) * sizeof *pairs->row);
	if (!pairs->row) {
		perror("pairs");
		abort();
	}
	memcpy(pairs->row[pairs->rows++], row, sizeof *pairs->row);
	for (int f = 0; f < pairs->factors; f++)
		for (int g = f + 1; g < pairs->factors; g++)
			*state_of(t, f, row[f], g, row[g]) = COVERED;
}

static void cover(struct table *t, int f, int a, int g, int b)
{
	int best[PAIRS_FACTORS], most = -1;
	for (int k = 0; k < CANDIDATES; k++) {
		int row[PAIRS_FACTORS];
		memset(row, -1, sizeof row);
		row[f] = a;
		row[g] = b;
		if (!t->pairs->allowed(row)) {
			*state_of(t, f, a, g, b) = REFUSED;
			t->pairs->refused++;
			return;
		}
		int n = complete(t, row);
		if (n > most) {
			most = n;
			memcpy(best, row, sizeof best);
		}
	}
	if (most < 0) {
		*state_of(t, f, a, g, b) = MISSING;
		t->pairs->missing++;
		return;
	}
	add_row(t, best);
}

void pairs_make(struct pairs *pairs, uint64_t seed)
{
	struct table *t = calloc(1, sizeof *t);
	if (!t) {
		perror("pairs");
		abort();
	}
	t->pairs = pairs;
	t->random = seed | 1;
	pairs->rows = pairs->refused = pairs->missing = 0;
	pairs->row = NULL;
	for (int f = 0; f < pairs->factors; f++)
		for (int g = f + 1; g < pairs->factors; g++)
			for (int a = 0; a < pairs->values[f]; a++)
				for (int b = 0; b < pairs->values[g]; b++)
					if (*state_of(t, f, a, g, b) == OPEN)
						cover(t, f, a, g, b);
	free(t);
}

void pairs_free(struct pairs *pairs)
{
	free(pairs->row);
	pairs->row = NULL;
	pairs->rows = 0;
}
