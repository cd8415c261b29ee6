/* SPDX-License-Identifier: Apache-2.0
 *
 * The grain: a slot's program as fewer tasks, each of which runs the calls that follow each other on one device.
 *
 *   calls   all_reduce | route route | dispatch dispatch | experts experts | combine combine | all_reduce | attention …
 *   tasks   device 0:  all_reduce's share + route + dispatch + experts + combine              | share + attention …
 *           device 1:  all_reduce's share + route + dispatch + experts + combine              | share + attention …
 *
 * A step of few rows is a chain of calls of a few microseconds, and what a task costs besides (hop_s) is of that size:
 * a layer of two devices is 12 calls, 7 of them after each other, and 4 tasks, 2 after each other. Many rows are better
 * served by the calls alone, which workers share out more evenly.
 *
 * What moves data between devices ends a task; but where devices are logical ones of a host an all_reduce is done by
 * shares: each device adds all members' addends to its own copy of the rows, to the same bits. A share reads other
 * devices' addends while those go on, so that the next addends lie elsewhere (MESSAGE_PARTIAL_STAGE). */
#ifndef OCTANT_TASKS_GRAIN_H
#define OCTANT_TASKS_GRAIN_H

#include "tasks/call.h"

/* Micro-batches of so few rows are merged where schedule.grain = "auto", on a host. */
#define GRAIN_AUTO_ROWS 128

struct grain_task {
	struct call **part; /* [parts] in order */
	int parts;
	struct engine_uses uses;
};

struct grain_program {
	int tasks;
	struct grain_task *task; /* [tasks] in submission order */
	int shares;
	struct call *share; /* [shares] */
	struct call **part; /* where the tasks' lie */
};

/* Up to how many rows a micro-batch is merged; 0: none is. */
int grain_rows(const struct deployment *deployment);

/* Makes the slot's tasks out of its calls. */
int grain_make(const struct deployment *deployment, struct slot *slot, struct error *error);
void grain_destroy(struct grain_program *grain); /* accepts NULL */

#endif
