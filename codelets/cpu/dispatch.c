/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows grouped by expert: count, prefix sums, copy. */
#include "codelets/codelets.h"
#include "codelets/cpu/rows.h"

size_t dispatch_workspace(int experts)
{
	size_t used = 0;
	workspace_take(NULL, &used, (size_t) experts * sizeof(int32_t));
	return used;
}

/* The source that follows `before` in global row order (NULL: the first). */
static const struct dispatch_source *next_source(const struct dispatch_args *a, const struct dispatch_source *before)
{
	const struct dispatch_source *best = NULL;
	for (const struct dispatch_source *s = a->source; s < a->source + a->sources; s++)
		if (s->rows > 0 && (!before || s->first > before->first) && (!best || s->first < best->first))
			best = s;
	return best;
}

/* The first destination with the same experts: this one, or the slice whose places count for all. */
static const struct dispatch_destination *group_of(const struct dispatch_args *a, const struct dispatch_destination *d)
{
	const struct dispatch_destination *first = a->destination;
	while (first->first_expert != d->first_expert)
		first++;
	return first;
}

static void place_rows(const struct dispatch_args *a, const struct dispatch_destination *d, int32_t *next)
{
	int k = a->top_k;
	memset(next, 0, (size_t) d->experts * sizeof *next);
	for (const struct dispatch_source *s = next_source(a, NULL); s; s = next_source(a, s))
		for (size_t i = (size_t) s->first * (size_t) k; i < ((size_t) s->first + (size_t) s->rows) * (size_t) k;
			i++)
			if (s->expert[i] >= d->first_expert && s->expert[i] < d->first_expert + d->experts)
				next[s->expert[i] - d->first_expert]++;
	d->offset[0] = 0;
	for (int e = 0; e < d->experts; e++) {
		d->offset[e + 1] = d->offset[e] + next[e];
		next[e] = d->offset[e];
	}
	for (const struct dispatch_source *s = next_source(a, NULL); s; s = next_source(a, s))
		for (size_t i = (size_t) s->first * (size_t) k; i < ((size_t) s->first + (size_t) s->rows) * (size_t) k;
			i++)
			if (s->expert[i] >= d->first_expert && s->expert[i] < d->first_expert + d->experts)
				s->place[i] = next[s->expert[i] - d->first_expert]++;
}

static void copy_rows(const struct dispatch_args *a, const struct dispatch_destination *d)
{
	size_t k = (size_t) a->top_k;
	for (const struct dispatch_source *s = a->source; s < a->source + a->sources; s++)
		for (size_t row = (size_t) s->first; row < (size_t) s->first + (size_t) s->rows; row++)
			for (size_t i = row * k; i < (row + 1) * k; i++)
				if (s->expert[i] >= d->first_expert && s->expert[i] < d->first_expert + d->experts)
					memcpy((char *) d->rows + (size_t) s->place[i] * a->row_bytes,
						(const char *) s->h + row * a->row_bytes, a->row_bytes);
}

void dispatch_cpu(const struct dispatch_args *a)
{
	for (const struct dispatch_source *s = a->source; s < a->source + a->sources; s++)
		for (size_t i = 0; i < (size_t) s->rows * (size_t) a->top_k; i++)
			s->place[(size_t) s->first * (size_t) a->top_k + i] = -1;
	for (const struct dispatch_destination *d = a->destination; d < a->destination + a->destinations; d++) {
		const struct dispatch_destination *first = group_of(a, d);
		if (first == d)
			place_rows(a, d, a->workspace);
		else
			memcpy(d->offset, first->offset, ((size_t) d->experts + 1) * sizeof *d->offset);
		copy_rows(a, d);
	}
}
