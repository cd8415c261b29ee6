/* SPDX-License-Identifier: Apache-2.0
 *
 * Merging a slot's calls. The program is cut into runs; a run is all shares of a step that joins addends, and the calls
 * behind it up to the next collective. A run becomes one task a device. */
#include "tasks/grain.h"
#include <stdlib.h>

int grain_rows(const struct deployment *d)
{
	int most = d->sizes.max_rows;
	switch (d->graph->schedule.grain) {
	case GRAIN_TASK:
		return 0;
	case GRAIN_DEVICE:
		return most;
	default:
		return d->routes ? 0 : most < GRAIN_AUTO_ROWS ? most : GRAIN_AUTO_ROWS;
	}
}

struct run { /* calls [first, body) are done by shares, [body, end) as they are */
	int first, body, end;
};

static const struct call_type *type_of(const struct call *c)
{
	return (const struct call_type *) c->base.type;
}

static bool has_shares(const struct deployment *d, const struct call *c)
{
	return type_of(c)->share && !d->routes;
}

/* Where the addends of a call lie in merged tasks. */
static enum message_buffer addends_of(const struct call *c)
{
	return c->over_stage ? MESSAGE_PARTIAL_STAGE : MESSAGE_PARTIAL;
}

static bool writes_addends(const struct call *c)
{
	for (int i = 0; i < c->base.buffers; i++)
		if (c->base.mode[i] & ENGINE_WRITE && c->base.buffer[i] == c->slot->message[c->device].buffer[MESSAGE_PARTIAL])
			return true;
	return false;
}

/* Whether call `next` can be in the run: not where it writes what other devices' shares read, and not where the run
 * already has a call that waits for other micro-batches' on its device. */
static bool fits(const struct slot *slot, const struct run *run, const struct call *next)
{
	if (next->base.type->collective || next->members > 1)
		return false;
	if (run->first < run->body && writes_addends(next) && addends_of(next) == addends_of(&slot->call[run->first]))
		return false;
	for (int i = run->body; i < run->end && type_of(next)->appends; i++)
		if (slot->call[i].device == next->device && type_of(&slot->call[i])->appends)
			return false;
	return true;
}

static struct run next_run(const struct deployment *d, const struct slot *slot, int first)
{
	const struct call *call = slot->call;
	struct run run = { first, first, first };
	while (run.body < slot->calls && has_shares(d, &call[run.body]) && call[run.body].takes == call[first].takes
		&& call[run.body].base.layer == call[first].base.layer)
		run.body++;
	run.end = run.body;
	if (run.body == first) {
		run.end++;
		if (call[first].members > 1)
			return run;
	}
	while (run.end < slot->calls && fits(slot, &run, &call[run.end]))
		run.end++;
	return run;
}

/* ---- building */

/* `uses` has room for all that its parts use. */
static void use(struct engine_uses *uses, struct engine_buffer *buffer, uint8_t mode)
{
	int i = 0;
	if (!buffer)
		return;
	while (i < uses->count && uses->buffer[i] != buffer)
		i++;
	uses->buffer[i] = buffer;
	uses->mode[i] |= mode;
	uses->count += i == uses->count;
}

/* What the call's buffer is in merged tasks. */
static struct engine_buffer *merged_buffer(const struct call *c, struct engine_buffer *buffer)
{
	for (int m = 0; c->over_stage && m < c->members; m++) {
		struct engine_buffer *const *own = c->slot->message[c->device + m].buffer;
		if (buffer == own[MESSAGE_PARTIAL])
			return own[MESSAGE_PARTIAL_STAGE];
	}
	return buffer;
}

/* Adds what a part uses; a share what its member reads and writes. */
static void add_uses(struct engine_uses *uses, const struct call *c)
{
	struct engine_buffer *x = c->slot->message[c->device + c->own].buffer[MESSAGE_X];
	if (c->base.share) {
		use(uses, x, ENGINE_READ_WRITE);
		for (int m = 0; m < c->members; m++)
			use(uses, c->slot->message[c->device + m].buffer[addends_of(c)], ENGINE_READ);
	}
	for (int i = 0; i < c->base.buffers; i++)
		use(uses, merged_buffer(c, c->base.buffer[i]), c->base.mode[i]);
}

static int finish_task(struct grain_task *task, struct error *error)
{
	int room = 0;
	for (int i = 0; i < task->parts; i++)
		room += task->part[i]->base.buffers + task->part[i]->members + 1;
	task->uses.buffer = calloc((size_t) room, sizeof(struct engine_buffer *));
	task->uses.mode = calloc((size_t) room, sizeof *task->uses.mode);
	if (!task->uses.buffer || !task->uses.mode)
		return error_memory(error, "merging tasks");
	for (int i = 0; i < task->parts; i++)
		add_uses(&task->uses, task->part[i]);
	return 0;
}

static struct call *add_share(struct grain_program *g, const struct call *joint, int member)
{
	struct call *share = &g->share[g->shares++];
	*share = *joint;
	share->base.type = &type_of(joint)->share->engine;
	share->base.share = (uint64_t) 1 << joint->deployment->device[joint->device + member].part->device;
	share->base.buffers = 0;
	share->base.buffer = NULL;
	share->base.mode = NULL;
	share->own = member;
	return share;
}

/* The run's task on a device, if it has anything to do there. */
static int add_task(struct grain_program *g, struct slot *slot, const struct run *run, int device, struct call ***at,
	struct error *error)
{
	struct grain_task *task = &g->task[g->tasks];
	task->part = *at;
	for (int i = run->first; i < run->body; i++) {
		const struct call *c = &slot->call[i];
		if (device >= c->device && device < c->device + c->members)
			task->part[task->parts++] = add_share(g, c, device - c->device);
	}
	for (int i = run->body; i < run->end; i++)
		if (slot->call[i].device == device)
			task->part[task->parts++] = &slot->call[i];
	if (!task->parts)
		return 0;
	*at += task->parts;
	g->tasks++;
	return finish_task(task, error);
}

int grain_make(const struct deployment *d, struct slot *slot, struct error *error)
{
	size_t most = 0;
	struct grain_program *g = calloc(1, sizeof *g);
	if (!g)
		return error_memory(error, "merging tasks");
	slot->grain = g;
	for (int i = 0; i < slot->calls; i++)
		most += has_shares(d, &slot->call[i]) ? (size_t) slot->call[i].members : 1;
	g->task = calloc(most + 1, sizeof *g->task);
	g->share = calloc(most + 1, sizeof *g->share);
	g->part = calloc(most + 1, sizeof(struct call *));
	if (!g->task || !g->share || !g->part)
		return error_memory(error, "merging tasks");
	struct call **at = g->part;
	int code = 0;
	for (int i = 0; i < slot->calls && !code;) {
		struct run run = next_run(d, slot, i);
		for (int device = 0; device < d->mesh->devices && !code; device++)
			code = add_task(g, slot, &run, device, &at, error);
		i = run.end;
	}
	return code;
}

void grain_destroy(struct grain_program *g)
{
	if (!g)
		return;
	for (int i = 0; g->task && i < g->tasks; i++) {
		free(g->task[i].uses.buffer);
		free(g->task[i].uses.mode);
	}
	free(g->task);
	free(g->share);
	free(g->part);
	free(g);
}
