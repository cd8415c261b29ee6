/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the time went, from the records of tasks: for each device the union of its tasks' intervals, with and without
 * collectives.
 *
 *   compute      ▇▇▇▇   ▇▇▇      ▇▇
 *   collectives    ▇▇▇▇▇       ▇▇▇
 *   busy         ▇▇▇▇▇▇▇▇▇▇    ▇▇▇▇     busy − compute = exposed: nothing but a collective runs
 *                first ───────── last   span − busy = bubble */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/batch.h"
#include "runtime/metrics.h"

#define OVERHEAD_GAP_S 50e-6

static int by_start(const void *a, const void *b)
{
	double x = (*(const struct task_record *const *) a)->start_s,
	       y = (*(const struct task_record *const *) b)->start_s;

	return (x > y) - (x < y);
}

struct window {
	double from, to;
};

struct sweep {                /* of one device in one window */
	double busy, compute; /* lengths of unions */
	double first, last;
	bool any;
};

/* Records come ordered by start; `busy_end` and `compute_end` are how far the unions reach. */
static struct sweep sweep_device(const struct task_record *const *records, size_t count, uint64_t bit, struct window w)
{
	struct sweep s = {.first = INFINITY, .last = -INFINITY};
	double busy_end = w.from, compute_end = w.from;

	for (size_t i = 0; i < count; i++) {
		const struct task_record *r = records[i];
		double from = fmax(r->start_s, w.from), to = fmin(r->end_s, w.to);

		if (!(r->devices & bit) || to <= from)
			continue;
		s.any = true;
		s.first = fmin(s.first, from);
		s.last = fmax(s.last, to);
		if (to > busy_end) {
			s.busy += to - fmax(from, busy_end);
			busy_end = to;
		}
		if (!r->collective && to > compute_end) {
			s.compute += to - fmax(from, compute_end);
			compute_end = to;
		}
	}
	return s;
}

static double phase_seconds(const struct task_record *const *records, size_t count, enum phase phase)
{
	double sum = 0, end = -INFINITY;

	for (size_t i = 0; i < count; i++) {
		const struct task_record *r = records[i];
		if ((r->phase != (uint8_t) phase && r->phase != PHASE_MIXED) || r->end_s <= end)
			continue;
		sum += r->end_s - fmax(r->start_s, end);
		end = r->end_s;
	}
	return sum;
}

/* Means over devices of the two shares in a window. */
static void window_shares(const struct metrics *m, const struct task_record *const *records, size_t count,
	struct window w, double *exposed_share, double *bubble_share, double *busy)
{
	double exposed = 0, bubble = 0;
	int devices = 0;

	*exposed_share = *bubble_share = NAN;
	for (int d = 0; d < m->devices; d++) {
		struct sweep s = {.any = false};

		if (w.to > w.from)
			s = sweep_device(records, count, (uint64_t) 1 << m->device[d].id, w);
		if (busy)
			busy[d] = w.to > w.from ? s.busy / (w.to - w.from) : NAN;
		if (!s.any)
			continue;
		devices++;
		exposed += (s.busy - s.compute) / (w.to - w.from);
		bubble += (s.last - s.first - s.busy) / (s.last - s.first);
	}
	if (!devices)
		return;
	/* a device that does nothing waits for no collective either: it counts in the first mean */
	*exposed_share = exposed / m->devices;
	*bubble_share = bubble / devices;
}

static double overhead_seconds(
	const struct task_record *const *records, size_t count, int *workers, struct error *error)
{
	double *last, sum = 0;
	int most = -1;

	for (size_t i = 0; i < count; i++)
		most = records[i]->worker > most ? records[i]->worker : most;
	last = malloc(((size_t) most + 2) * sizeof *last);
	if (!last) {
		error_memory(error, "computing metrics");
		return -1;
	}
	for (int i = 0; i <= most; i++)
		last[i] = -INFINITY;
	for (size_t i = 0; i < count; i++) {
		const struct task_record *r = records[i];
		double gap;

		if (r->worker < 0)
			continue;
		gap = r->start_s - last[r->worker];
		if (gap > 0 && gap < OVERHEAD_GAP_S)
			sum += gap;
		last[r->worker] = fmax(last[r->worker], r->end_s);
	}
	if (!*workers)
		for (int i = 0; i <= most; i++)
			*workers += last[i] > -INFINITY;
	free(last);
	return sum;
}

static void count_kinds(
	struct metrics *m, const struct task_record *const *records, size_t count, const char *const *names, int kinds)
{
	m->kinds = kinds < METRICS_MAX_KINDS ? kinds : METRICS_MAX_KINDS;
	for (int k = 0; k < m->kinds; k++)
		m->kind[k] = (struct metrics_kind){.name = names[k]};
	m->comm_s = m->compute_s = 0;
	for (size_t i = 0; i < count; i++) {
		const struct task_record *r = records[i];
		double seconds = r->end_s - r->start_s;
		int members = __builtin_popcountll(r->devices);

		*(r->collective ? &m->comm_s : &m->compute_s) += seconds * members / m->devices;
		if (r->kind >= (uint32_t) m->kinds)
			continue;
		m->kind[r->kind].calls++;
		m->kind[r->kind].seconds += seconds;
		m->kind[r->kind].collective = r->collective;
	}
	m->tasks = (int64_t) count;
	m->comm_over_compute = m->compute_s > 0 ? m->comm_s / m->compute_s : NAN;
}

int metrics_records(struct metrics *m, const struct task_record *records, size_t count, const char *const *names,
	int kinds, int workers, double start_s, double end_s, struct error *error)
{
	const struct task_record **sorted;
	struct window whole = {start_s, end_s}, prefill, decode;
	double busy[MESH_MAX_DEVICES], seconds, overhead;
	bool ordered = true;

	if (!count)
		return 0;
	sorted = malloc(count * sizeof *sorted);
	if (!sorted)
		return error_memory(error, "computing metrics");
	for (size_t i = 0; i < count; i++) {
		sorted[i] = &records[i];
		ordered &= !i || records[i - 1].start_s <= records[i].start_s;
	}
	if (!ordered)
		qsort(sorted, count, sizeof *sorted, by_start);

	m->workers = workers;
	overhead = overhead_seconds(sorted, count, &m->workers, error);
	if (overhead < 0) {
		free(sorted);
		return ERROR_MEMORY;
	}
	if (m->workers && end_s > start_s)
		m->runtime_overhead_share = overhead / (m->workers * (end_s - start_s));
	count_kinds(m, sorted, count, names, kinds);

	window_shares(m, sorted, count, whole, &m->exposed_comm_share, &m->bubble_share, busy);
	for (int d = 0; d < m->devices; d++)
		m->device[d].busy_share = busy[d];
	/* where no first token came all is prefill */
	prefill = decode = whole;
	if (isfinite(m->prefill_window_s))
		prefill.to = decode.from = start_s + m->prefill_window_s;
	else
		decode.from = decode.to;
	window_shares(m, sorted, count, prefill, &m->exposed_comm_share_prefill, &m->bubble_share_prefill, NULL);
	window_shares(m, sorted, count, decode, &m->exposed_comm_share_decode, &m->bubble_share_decode, NULL);

	seconds = phase_seconds(sorted, count, PHASE_PREFILL);
	if (seconds > 0 && isfinite(m->prefill_tokens_per_s))
		m->prefill_tokens_per_busy_s = m->prefill_tokens_per_s * m->prefill_window_s / seconds;
	seconds = phase_seconds(sorted, count, PHASE_DECODE);
	if (seconds > 0)
		m->decode_tokens_per_busy_s = (double) m->decoded_tokens / seconds;
	free(sorted);
	return 0;
}
