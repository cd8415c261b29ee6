/* SPDX-License-Identifier: Apache-2.0
 *
 * Samples in a list, and those of one task as their mean. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tasks/calibrate.h"

int calibrate_samples_add(struct calibrate_samples *samples, const struct calibrate_sample *sample, struct error *error)
{
	if (samples->count == samples->size) {
		int size = samples->size ? 2 * samples->size : 256;
		struct calibrate_sample *larger = realloc(samples->sample, (size_t) size * sizeof *larger);
		if (!larger)
			return error_memory(error, "keeping samples");
		samples->sample = larger;
		samples->size = size;
	}
	samples->sample[samples->count++] = *sample;
	return 0;
}

int calibrate_samples_source(struct calibrate_samples *samples, const char *name, int *index, struct error *error)
{
	int at = 0;
	while (at < samples->sources && strncmp(samples->source[at], name, CALIBRATE_SOURCE - 1))
		at++;
	if (at == CALIBRATE_MAX_SOURCES)
		return error_set(error, ERROR_INPUT, NULL, "samples are of more than %d graphs and numbers of workers",
			CALIBRATE_MAX_SOURCES);
	if (at == samples->sources)
		snprintf(samples->source[samples->sources++], CALIBRATE_SOURCE, "%s", name);
	*index = at;
	return 0;
}

void calibrate_samples_free(struct calibrate_samples *samples)
{
	free(samples->sample);
	*samples = (struct calibrate_samples){ 0 };
}

static int order(double x, double y)
{
	return (x > y) - (x < y);
}

static int by_task(const struct calibrate_sample *x, const struct calibrate_sample *y)
{
	int differ = order(x->kind, y->kind);
	if (!differ)
		differ = order(x->source, y->source);
	for (int t = 0; t < CURVE_TERMS && !differ; t++)
		differ = order(x->term[t], y->term[t]);
	return differ;
}

static int by_task_and_seconds(const void *a, const void *b)
{
	const struct calibrate_sample *x = a, *y = b;
	int differ = by_task(x, y);
	return differ ? differ : order(x->seconds, y->seconds);
}

/* Of one task's, in order of their seconds. */
static struct calibrate_sample mean_of(const struct calibrate_sample *sample, size_t count)
{
	struct calibrate_sample mean = *sample;
	double most = 2 * sample[(count - 1) / 2].seconds, seconds = 0, together = 0, spread = 0;
	size_t n = 0;
	for (; n < count && sample[n].seconds <= most; n++) {
		seconds += sample[n].seconds;
		spread += sample[n].spread;
		together += sample[n].company * sample[n].seconds; /* it is a share of the task's time */
	}
	mean.seconds = seconds / (double) n;
	mean.spread = spread / (double) n;
	mean.company = seconds > 0 ? together / seconds : 0;
	return mean;
}

int calibrate_samples_mean(const struct calibrate_samples *samples, struct calibrate_samples *means, struct error *error)
{
	size_t count = (size_t) samples->count, kept = 0;
	struct calibrate_sample *sorted = malloc((count + 1) * sizeof *sorted);
	if (!sorted)
		return error_memory(error, "keeping samples");
	if (count)
		memcpy(sorted, samples->sample, count * sizeof *sorted);
	qsort(sorted, count, sizeof *sorted, by_task_and_seconds);
	for (size_t first = 0, end; first < count; first = end) {
		for (end = first + 1; end < count && !by_task(&sorted[first], &sorted[end]);)
			end++;
		sorted[kept++] = mean_of(&sorted[first], end - first);
	}
	*means = *samples;
	means->sample = sorted;
	means->count = (int) kept;
	means->size = (int) count + 1;
	return 0;
}
