/* SPDX-License-Identifier: Apache-2.0
 *
 * The kinds of task that a chain is made of, in the order of the table that graph_read gets. */
#ifndef OCTANT_TASKS_KINDS_H
#define OCTANT_TASKS_KINDS_H

#include "runtime/graph.h"

enum task_kind {
	TASK_EMBED,
	TASK_ATTENTION,
	TASK_QKV,
	TASK_ATTEND,
	TASK_ALL_REDUCE,
	TASK_REDUCE_SCATTER,
	TASK_ALL_GATHER,
	TASK_ROUTE,
	TASK_DISPATCH,
	TASK_EXPERTS,
	TASK_COMBINE,
	TASK_MLP,
	TASK_SEND,
	TASK_HEAD,
	TASK_SAMPLE,
	TASK_KINDS
};

extern const struct graph_kinds task_kinds;

#endif
