/* SPDX-License-Identifier: Apache-2.0
 *
 * What a run tells about itself. */
#include "tools/run_report.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct run_report {
	const struct run_options *options;
	int sequences;
	bool terminal;
	double printed_s;
	int64_t prefill_rows, decode_rows;
	bool failed;
};

int run_report_create(const struct run_options *options, int sequences, struct run_report **out, struct error *error)
{
	struct run_report *report = calloc(1, sizeof *report);
	if (!report)
		return error_memory(error, "starting the report");
	report->options = options;
	report->sequences = sequences;
	report->terminal = isatty(STDERR_FILENO) && !options->quiet;
	report->printed_s = -1;
	*out = report;
	return 0;
}

void run_report_destroy(struct run_report *report)
{
	free(report);
}

void run_report_progress(struct run_report *report, const struct micro_batch *b, const struct run_results *results,
	double now_s)
{
	for (int i = 0; i < b->segments; i++)
		if (b->token[b->segment[i].row] < 0)
			report->decode_rows += b->segment[i].rows;
		else
			report->prefill_rows += b->segment[i].rows;
	if (!report->terminal || now_s - report->printed_s < 0.25)
		return;
	report->printed_s = now_s;
	fprintf(stderr, "\r%d of %d sequences, %lld prompt rows, %lld new tokens, %.0f rows/s, %.0f s ",
		results->finished + results->failed, report->sequences, (long long) report->prefill_rows,
		(long long) results->tokens, (double) (report->prefill_rows + report->decode_rows) / (now_s > 0 ? now_s : 1),
		now_s);
	fflush(stderr);
}

int run_report_finish(struct run_report *report, const struct run_report_source *source, struct error *error)
{
	(void) source, (void) error;
	if (report->terminal && report->printed_s >= 0)
		fputc('\n', stderr);
	return 0;
}

bool run_report_failed(const struct run_report *report)
{
	return report->failed;
}
