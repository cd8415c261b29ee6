/* SPDX-License-Identifier: Apache-2.0
 *
 * Metrics for people. */
#include "tools/metrics_print.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static void print_number(const char *name, double value, const char *unit)
{
	if (isfinite(value))
		printf("%s%.*f %s", name, value >= 100 ? 0 : value >= 1 ? 1 : 3, value, unit);
	else
		printf("%s- %s", name, unit);
}

void metrics_print_rates(const struct metrics *m)
{
	print_number("", m->makespan_s, "s: ");
	print_number("prefill ", m->prefill_tokens_per_s, "tokens/s, ");
	print_number("decode ", m->decode_tokens_per_s, "tokens/s, ");
	print_number("first token ", m->ttft_s.p50, "s (median)\n");
}

void metrics_print_requirements(const struct metrics *m)
{
	int judged = 0;
	for (int i = 0; i < m->requirements; i++) {
		const struct metrics_requirement *r = &m->requirement[i];
		if (r->holds >= 0)
			printf("requirement %s %s: %.4g of %s %.4g%s%s; %s\n", r->name, r->holds ? "holds" : "does not hold", r->value,
				strncmp(r->name, "tokens", 6) ? "at most" : "at least", r->limit, *r->unit ? " " : "", r->unit,
				r->why);
		judged += r->holds >= 0;
	}
	if (judged < m->requirements)
		printf("%d requirements are %s\n", m->requirements - judged, m->requirement[m->requirements - 1].why);
}

static void print_share(const char *name, double share, const char *after)
{
	if (isfinite(share))
		printf("%s %.1f%%%s", name, 100 * share, after);
	else
		printf("%s -%s", name, after);
}

void metrics_print_kinds(const struct metrics *m)
{
	double total = 0;
	for (int i = 0; i < m->kinds; i++)
		total += m->kind[i].seconds;
	printf("\n%-16s %9s %11s %8s\n", "task", "calls", "seconds", "share");
	for (int i = 0; i < m->kinds; i++)
		if (m->kind[i].calls)
			printf("%-16s %9lld %11.4f %7.1f%%\n", m->kind[i].name, (long long) m->kind[i].calls,
				m->kind[i].seconds, total > 0 ? 100 * m->kind[i].seconds / total : 0);
	printf("collectives / compute %.3f", m->comm_over_compute);
	print_share(", exposed", m->exposed_comm_share, "");
	print_share(", bubbles", m->bubble_share, "");
	if (isfinite(m->runtime_overhead_share))
		print_share(", runtime", m->runtime_overhead_share, " of the workers' time");
	putchar('\n');
}
