/* SPDX-License-Identifier: Apache-2.0
 *
 * A thread that looks once a second whether anything has ended, and says so when nothing has for long. */
#ifndef OCTANT_WATCHDOG_H
#define OCTANT_WATCHDOG_H

#include <stdbool.h>
#include "runtime/error.h"

struct watchdog;

struct watchdog_subject {
	/* How much has ended so far; *idle: there is nothing that could end. Called from the watchdog's thread. */
	long (*ended)(void *context, bool *idle);
	/* Nothing has ended for `seconds`; called again each time as long passes. */
	void (*report)(void *context, double seconds);
	void *context;
};

/* `seconds` > 0: how long is long. Errors: ERROR_RUN where no thread can be had. */
int watchdog_start(double seconds, const struct watchdog_subject *subject, struct watchdog **watchdog,
	struct error *error);
void watchdog_stop(struct watchdog *watchdog); /* accepts NULL */

#endif
