/* SPDX-License-Identifier: Apache-2.0
 *
 * A thread that looks once a second whether anything has ended. */
#include "runtime/watchdog.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct watchdog {
	struct watchdog_subject subject;
	double seconds;
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t wake; /* to stop */
	bool closing;
};

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + (double) t.tv_nsec * 1e-9;
}

static void *watch(void *arg)
{
	struct watchdog *w = arg;
	long before = -1;
	double since = now();
	pthread_mutex_lock(&w->mutex);
	while (!w->closing) {
		struct timespec until;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += 1;
		pthread_cond_timedwait(&w->wake, &w->mutex, &until);
		bool idle = false;
		long ended = w->subject.ended(w->subject.context, &idle);
		double time = now();
		if (ended != before || idle) {
			before = ended;
			since = time;
		} else if (time - since > w->seconds) {
			w->subject.report(w->subject.context, time - since);
			since = time;
		}
	}
	pthread_mutex_unlock(&w->mutex);
	return NULL;
}

int watchdog_start(double seconds, const struct watchdog_subject *subject, struct watchdog **out, struct error *error)
{
	struct watchdog *w = calloc(1, sizeof *w);
	if (!w)
		return error_memory(error, "starting the watchdog");
	w->subject = *subject;
	w->seconds = seconds;
	pthread_mutex_init(&w->mutex, NULL);
	pthread_cond_init(&w->wake, NULL);
	int code = pthread_create(&w->thread, NULL, watch, w);
	if (code) {
		pthread_mutex_destroy(&w->mutex);
		pthread_cond_destroy(&w->wake);
		free(w);
		return error_set(error, ERROR_RUN, NULL, "no thread for the watchdog: %s", strerror(code));
	}
	*out = w;
	return 0;
}

void watchdog_stop(struct watchdog *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->mutex);
	w->closing = true;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->mutex);
	pthread_join(w->thread, NULL);
	pthread_mutex_destroy(&w->mutex);
	pthread_cond_destroy(&w->wake);
	free(w);
}
