/* SPDX-License-Identifier: Apache-2.0
 *
 * all_reduce: residual + partial sums, in rank order, on every rank. Over tensor: the addends of a group's
 * ranks; over the stage: those of all its devices, for every group's rows; between qkv and attend: the sums of
 * squares that q and k norms over all heads need. One task for all members, or (grain.h) a share of each. */
#include "tasks/call.h"

static double bytes_of(const struct call *c)
{
	const struct micro_batch *b = call_batch(c);
	double rows = c->group < 0 ? b->rows : b->group_row[c->group + 1] - b->group_row[c->group];
	return rows * (c->takes == FORM_QKV ? 2 * sizeof(float) : call_row_bytes(c));
}

/* Devices that get a row's sum: all members, or, of a stage with several attention groups, those of its group. */
static int receivers(const struct call *c)
{
	return c->group < 0 ? c->deployment->mesh->tensor : c->members;
}

/* n addends and the residual are read once for each row; its receivers write the sum. */
static struct work all_reduce_work(const struct call *c)
{
	struct work work = work_rows(c->members + 1 + receivers(c), bytes_of(c));
	work.steps = c->members - 1 + receivers(c) - 1;
	return work;
}

/* A reduce_scatter over all members, (n−1)/n of the message, then an all_gather among those that get the rows, (t−1)/t of
 * their group's part of it: with one group 2 (n−1)/n. */
static int all_reduce_flows(const struct call *c, struct flow *flow)
{
	int n = c->members, t = receivers(c), groups = n / t;
	int flows = call_ring(c, bytes_of(c) * (n - 1) / n, flow);
	for (int m = 0; m < n && t > 1; m++) {
		int next = m / t * t + (m + 1) % t;
		flow[flows++] = (struct flow){ call_device(c, m)->part->device, call_device(c, next)->part->device,
			bytes_of(c) / groups * (t - 1) / t };
	}
	return flows;
}

static void sum_squares(const struct call *c)
{
	struct range rows = call_group_rows(c, c->group);
	for (int i = 0; i < 2 * (rows.end - rows.first); i++) {
		float sum = 0;
		for (int m = 0; m < c->members; m++)
			sum += call_message(c, m)->squares[i];
		for (int m = 0; m < c->members; m++)
			call_message(c, m)->squares[i] = sum;
	}
}

/* Where the addends of `members` devices to rows of one group lie. */
static void find_addends(const struct call *c, struct range rows, const float **part)
{
	for (int m = 0; m < c->members; m++)
		part[m] = rows_at(call_addends(c, m), c->over_stage ? rows.first : 0, c->deployment->model->hidden);
}

/* The rows of one group: its tensor ranks' x get them; `parts` devices hold the addends. */
static void join_group(const struct call *c, int group)
{
	const struct deployment *d = c->deployment;
	int hidden = d->model->hidden, tensor = d->mesh->tensor;
	struct range rows = call_group_rows(c, group);
	float *x[MESH_MAX_DEVICES];
	const float *part[MESH_MAX_DEVICES];
	int first = c->group < 0 ? group * tensor : 0; /* the group's ranks among the members */
	for (int t = 0; t < tensor; t++)
		x[t] = call_message(c, first + t)->x;
	find_addends(c, rows, part);
	join_rows_cpu(x, tensor, part, c->members, rows.end - rows.first, hidden);
}

static int squares_run(struct engine_call *call, void *workspace, struct error *error)
{
	(void) workspace, (void) error;
	sum_squares(call_of(call));
	return 0;
}

static int all_reduce_run(struct engine_call *call, void *workspace, struct error *error)
{
	(void) workspace, (void) error;
	const struct call *c = call_of(call);
	if (c->group >= 0)
		join_group(c, c->group);
	else
		for (int g = 0; g < c->deployment->mesh->groups; g++)
			join_group(c, g);
	return 0;
}

static const struct call_type squares_type = {
	.engine = { .name = "all_reduce", .kind = TASK_ALL_REDUCE, .collective = true, .run = squares_run, .cost = call_cost },
	.work = all_reduce_work,
	.flows = all_reduce_flows,
};

/* ---- the share of one member */

static struct range share_rows(const struct call *c)
{
	return call_group_rows(c, call_device(c, c->own)->part->group);
}

static struct work share_work(const struct call *c)
{
	struct range rows = share_rows(c);
	return work_rows(c->members + 2, (rows.end - rows.first) * call_row_bytes(c));
}

static int share_run(struct engine_call *call, void *workspace, struct error *error)
{
	(void) workspace, (void) error;
	const struct call *c = call_of(call);
	struct range rows = share_rows(c);
	float *x = call_message(c, c->own)->x;
	const float *part[MESH_MAX_DEVICES];
	find_addends(c, rows, part);
	join_rows_cpu(&x, 1, part, c->members, rows.end - rows.first, c->deployment->model->hidden);
	return 0;
}

static const struct call_type share_type = {
	.engine = { .name = "all_reduce", .kind = TASK_ALL_REDUCE, .collective = true, .run = share_run, .cost = call_cost },
	.work = share_work,
};

static const struct call_type all_reduce_type = {
	.engine = { .name = "all_reduce", .kind = TASK_ALL_REDUCE, .collective = true, .run = all_reduce_run,
		.cost = call_cost },
	.work = all_reduce_work,
	.flows = all_reduce_flows,
	.share = &share_type,
};

void all_reduce_insert(struct lowering *l, const struct graph_step *step, int stage, int layer)
{
	const struct mesh *mesh = l->deployment->mesh;
	bool whole = step->takes == FORM_PARTIAL_STAGE;
	int members = whole ? mesh->per_stage : mesh->tensor;
	for (int g = 0; g < (whole ? 1 : mesh->groups); g++) {
		int first = stage * mesh->per_stage + g * mesh->tensor;
		int i = call_add(l, step->takes == FORM_QKV ? &squares_type : &all_reduce_type, stage, layer, first, members,
			whole ? -1 : g, step->takes);
		if (i < 0)
			return;
		l->slot->call[i].over_stage = whole;
		for (int m = 0; m < members; m++) {
			struct engine_buffer **buffer = l->slot->message[first + m].buffer;
			if (step->takes == FORM_QKV) {
				call_uses(l, buffer[MESSAGE_QKV], ENGINE_READ_WRITE);
			} else {
				call_uses(l, buffer[MESSAGE_X], ENGINE_READ_WRITE);
				call_uses(l, buffer[MESSAGE_PARTIAL], ENGINE_READ);
			}
		}
	}
}
