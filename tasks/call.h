/* SPDX-License-Identifier: Apache-2.0
 *
 * One call: a behaviour of an actor on the message in one slot, which is one StarPU task a micro-batch, or a part of
 * one (grain.h); and the means by which each kind of task adds its calls to a slot's program (lowering).
 *
 * Each file of a kind has, in this order: what it costs, what it runs, its type, and how it is inserted. */
#ifndef OCTANT_TASKS_CALL_H
#define OCTANT_TASKS_CALL_H

#include "runtime/cost.h"
#include "runtime/curve.h"
#include "tasks/deployment.h"
#include "tasks/kinds.h"
#include "tasks/work.h"

/* Kinds of behaviour that no chain names; they follow enum task_kind in traces and metrics. */
enum call_kind {
	CALL_NORM = TASK_KINDS, /* rows normalised before they are gathered */
	CALL_GATHER_ROWS,       /* all attention groups' rows on every device of a stage */
	CALL_SHARED_EXPERT,
	CALL_LOAD,
	CALL_KINDS
};

enum { CALL_MAX_FLOWS = MESH_MAX_DEVICES * MESH_MAX_DEVICES };

struct call_type {
	struct engine_type engine; /* must be first */
	struct work (*work)(const struct call *call);
	/* What it moves between devices, over all its steps: fills `flow` [CALL_MAX_FLOWS] and returns how many. NULL:
	 * nothing. */
	int (*flows)(const struct call *call, struct flow *flow);
	/* Whether there is anything to do for this micro-batch; calls without are not submitted. NULL: always. */
	bool (*wanted)(const struct call *call);
	/* The same for one member alone, on a host: a step of merged tasks (grain.h). NULL: only all at once. */
	const struct call_type *share;
	bool appends; /* to KV pages: runs after earlier chunks of the same sequences (deployment_submit) */
};

struct call {
	struct engine_call base; /* must be first */
	struct deployment *deployment;
	struct slot *slot;
	int stage;
	int device;    /* index of its device_part: stage · S + s; of a collective, the first member's */
	int members;   /* devices that take part, from `device` on */
	int group;     /* attention group, or −1: the whole stage */
	enum form takes;
	int other;     /* send: the receiving device_part */
	bool over_stage; /* its addends are those of all devices of the stage (FORM_PARTIAL_STAGE) */
	int own;       /* of an all_reduce's share: the member that it serves; else 0 */
	int after;     /* embed: index of the call that samples its group's tokens; else −1 */
	struct layer_part *layer;
};

/* Kind names for traces: [CALL_KINDS]. */
extern const char *const call_kind_names[CALL_KINDS];

/* Seconds by the roofline of the device that it runs on, or, of a collective, by its links: what predicting schedulers
 * are told. On a host, where one worker does it all in memory, a collective costs its bytes. */
double call_cost(const struct engine_call *call);
/* Seconds of a call beside which no worker is busy, where the machine is a calibrated host, else `seconds`. */
double call_alone(const struct call *call, double seconds);
/* The curve of its kind on a calibrated host; NULL: there is none, and the roofline of a common core stands in. */
const struct curve *call_curve(const struct call *call);
/* What a host's curve goes by. */
void call_terms(const struct work *work, double term[CURVE_TERMS]);
/* The same, with what it consists of. `flow` [CALL_MAX_FLOWS] is filled, *flows says how many. */
void call_estimate(const struct call *call, struct cost *cost, struct work *work, struct flow *flow, int *flows);

/* ---- what behaviours ask for */
static inline const struct call *call_of(const struct engine_call *call)
{
	return (const struct call *) call;
}
static inline const struct micro_batch *call_batch(const struct call *c)
{
	return c->slot->micro_batch;
}
static inline struct device_part *call_device(const struct call *c, int member)
{
	return &c->deployment->device[c->device + member];
}
static inline struct message *call_message(const struct call *c, int member)
{
	return &c->slot->message[c->device + member];
}
/* Addends of a member: elsewhere in merged tasks, see grain.h. */
static inline float *call_addends(const struct call *c, int member)
{
	const struct message *message = call_message(c, member);
	return c->slot->merged && c->over_stage ? message->partial_stage : message->partial;
}
/* First global row and number of rows of an attention group. */
static inline struct range call_group_rows(const struct call *c, int group)
{
	const struct micro_batch *b = call_batch(c);
	return (struct range){ b->group_row[group], b->group_row[group + 1] };
}
/* Global rows that device `member` holds of its group in form `takes`: all of them, or its shard. */
struct range call_own_rows(const struct call *c, int member);
static inline float *rows_at(float *rows, int row, int hidden)
{
	return rows + (size_t) row * (size_t) hidden;
}
bool call_wanted_rows(const struct call *c); /* its group has rows */

/* ---- what costs ask for */
static inline const struct layer_part *call_layer(const struct call *c, int member)
{
	const struct device_part *device = call_device(c, member);
	return &device->layer[c->base.layer - device->first_layer];
}
static inline enum dtype call_residual(const struct call *c)
{
	return c->deployment->graph->residual;
}
/* Bytes of a row of the residual stream. */
static inline double call_row_bytes(const struct call *c)
{
	return (double) c->deployment->model->hidden * (double) dtype_bytes(call_residual(c));
}
/* Rows that the experts of a member get, and how many of them get any: as counted where the micro-batch's routing is
 * known before it runs (deployment.routing_known), else even: rows · top_k · own / E, and own · (1 − (1 − top_k/E)^rows) of
 * them on average. */
struct expert_rows call_expert_rows(const struct call *c, int member);
/* Each member sends `bytes` to the next, the last one to the first. */
int call_ring(const struct call *c, double bytes, struct flow *flow);
/* Rows of `row_bytes` from each member's row shard to the experts that they chose (dispatch), or back (combine). */
int call_all_to_all(const struct call *c, double row_bytes, bool back, struct flow *flow);

/* ---- lowering */
struct lowering {
	struct deployment *deployment;
	struct slot *slot;
	int capacity; /* of slot->call */
	int *sample;  /* [groups] index of the sample call */
	struct error *error;
	int code; /* first failure; insert functions do nothing afterwards */
};

/* Appends a call on device_part `device` and, for collectives, the `members` devices from it on. Returns its
 * index, or −1 after a failure. */
int call_add(struct lowering *l, const struct call_type *type, int stage, int layer, int device, int members,
	int group, enum form takes);
/* Adds a buffer of the last added call. A NULL buffer is passed over (not used on that device). */
void call_uses(struct lowering *l, struct engine_buffer *buffer, enum engine_mode mode);

/* One call on each device of the stage, which reads buffer `from`, the layer's weights and, where it appends to it,
 * the layer's KV pool, and writes buffer `to`. */
void call_add_each(struct lowering *l, const struct call_type *type, int stage, int layer, enum form takes,
	enum message_buffer from, enum message_buffer to);

/* One insert function a kind: adds the calls of a chain's step on every device of the stage. `layer` −1
 * outside layers. */
typedef void call_insert(struct lowering *l, const struct graph_step *step, int stage, int layer);
call_insert embed_insert, attention_insert, qkv_insert, attend_insert, all_reduce_insert, reduce_scatter_insert,
	all_gather_insert, route_insert, dispatch_insert, experts_insert, combine_insert, mlp_insert, send_insert,
	head_insert, sample_insert;
void gather_rows_insert(struct lowering *l, int stage, int layer, enum form takes);

/* Lowers the graph into the slot's program. */
int lower_slot(struct deployment *deployment, struct slot *slot, struct error *error);

#endif
