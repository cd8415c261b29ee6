/* SPDX-License-Identifier: Apache-2.0
 *
 * attention: one tensor shard's heads over a group's rows, in one task, or as its halves qkv and attend where
 * q and k norms span all heads. Writes the rows' keys and values into pages of their own sequences; the pool is
 * read-only to StarPU, and two chunks of one sequence are ordered by an explicit dependency (deployment.c). */
#include "codelets/cpu/attention.h"
#include "tasks/call.h"

static struct attention_shape shape_of(const struct call *c)
{
	const struct attention_weights *w = &c->layer->attention;
	return (struct attention_shape){ w->hidden, w->heads, w->kv_heads, w->head_dim, w->compute,
		c->deployment->graph->kv.dtype, call_residual(c) };
}

/* Row r of a segment that starts at position p attends to p + r + 1 keys: n · p + n (n + 1) / 2 for n rows; the p
 * earlier tokens' keys and values are read once for all of them. */
static void count_keys(const struct call *c, double *keys, double *tokens)
{
	const struct micro_batch *b = call_batch(c);
	*keys = *tokens = 0;
	for (int i = b->group_segment[c->group]; i < b->group_segment[c->group + 1]; i++) {
		const struct segment *s = &b->segment[i];
		*keys += (double) s->rows * s->position + 0.5 * s->rows * (s->rows + 1.0);
		*tokens += s->position;
	}
}

/* Tiles that the kernel makes of rows, and blocks of keys that it goes through for each, for every own KV head. */
static void count_tiles(const struct call *c, struct work *work)
{
	const struct micro_batch *b = call_batch(c);
	int base = b->group_row[c->group], heads = c->layer->attention.kv_heads;
	for (int i = b->group_segment[c->group]; i < b->group_segment[c->group + 1]; i++) {
		const struct segment *s = &b->segment[i];
		for (int row = 0; row < s->rows;) {
			int at = s->row - base + row, rows = s->rows - row;
			rows = rows < ATTENTION_ROWS - at % ATTENTION_ROWS ? rows : ATTENTION_ROWS - at % ATTENTION_ROWS;
			row += rows;
			work->key_tiles += heads;
			work->key_blocks += heads * ((s->position + row - 1) / ATTEND_KEYS + 1.0);
		}
	}
}

static double rows_of(const struct call *c)
{
	struct range rows = call_group_rows(c, c->group);
	return rows.end - rows.first;
}

static struct work attention_work(const struct call *c)
{
	struct attention_shape shape = shape_of(c);
	double keys, tokens;
	count_keys(c, &keys, &tokens);
	struct work work = work_attention(&shape, rows_of(c), keys, tokens);
	count_tiles(c, &work);
	return work;
}

static struct work qkv_work(const struct call *c)
{
	struct attention_shape shape = shape_of(c);
	return work_qkv(&shape, rows_of(c));
}

static struct work attend_work(const struct call *c)
{
	struct attention_shape shape = shape_of(c);
	double keys, tokens;
	count_keys(c, &keys, &tokens);
	struct work work = work_attend(&shape, rows_of(c), keys, tokens);
	count_tiles(c, &work);
	return work;
}

static struct attention_args arguments(const struct call *c, void *workspace)
{
	const struct micro_batch *b = call_batch(c);
	const struct message *message = call_message(c, 0);
	struct range rows = call_own_rows(c, 0);
	int first = b->group_segment[c->group];
	return (struct attention_args){
		.weights = &c->layer->attention,
		.kv = { c->layer->kv_pool, c->deployment->graph->kv.dtype, c->deployment->graph->kv.page_tokens },
		.rows = rows.end - rows.first,
		.row_base = rows.first,
		.segments = b->group_segment[c->group + 1] - first,
		.segment = b->segment + first,
		.position = b->position + rows.first,
		.x = message->x,
		.partial = message->partial,
		.qkv = message->qkv,
		.squares = message->squares,
		.workspace = workspace,
	};
}

static int attention_run(struct engine_call *call, void *workspace, struct error *error)
{
	(void) error;
	struct attention_args a = arguments(call_of(call), workspace);
	attention_cpu(&a);
	return 0;
}

static int qkv_run(struct engine_call *call, void *workspace, struct error *error)
{
	(void) error;
	struct attention_args a = arguments(call_of(call), workspace);
	qkv_cpu(&a);
	/* A KV head that several ranks hold counts once in the sum over ranks. */
	const struct call *c = call_of(call);
	int copies = c->deployment->mesh->tensor / c->deployment->model->kv_heads;
	if (a.squares && copies > 1 && call_device(c, 0)->part->tensor % copies)
		for (int i = 0; i < a.rows; i++)
			a.squares[2 * i + 1] = 0;
	return 0;
}

static int attend_run(struct engine_call *call, void *workspace, struct error *error)
{
	(void) error;
	struct attention_args a = arguments(call_of(call), workspace);
	attend_cpu(&a);
	return 0;
}

static const struct call_type attention_type = {
	.engine = { .name = "attention", .kind = TASK_ATTENTION, .run = attention_run, .cost = call_cost },
	.work = attention_work,
	.wanted = call_wanted_rows,
	.appends = true,
};

static const struct call_type qkv_type = {
	.engine = { .name = "qkv", .kind = TASK_QKV, .run = qkv_run, .cost = call_cost },
	.work = qkv_work,
	.wanted = call_wanted_rows,
};

static const struct call_type attend_type = {
	.engine = { .name = "attend", .kind = TASK_ATTEND, .run = attend_run, .cost = call_cost },
	.work = attend_work,
	.wanted = call_wanted_rows,
	.appends = true,
};

void attention_insert(struct lowering *l, const struct graph_step *step, int stage, int layer)
{
	call_add_each(l, &attention_type, stage, layer, step->takes, MESSAGE_X, MESSAGE_PARTIAL);
}

void qkv_insert(struct lowering *l, const struct graph_step *step, int stage, int layer)
{
	call_add_each(l, &qkv_type, stage, layer, step->takes, MESSAGE_X, MESSAGE_QKV);
}

void attend_insert(struct lowering *l, const struct graph_step *step, int stage, int layer)
{
	call_add_each(l, &attend_type, stage, layer, step->takes, MESSAGE_QKV, MESSAGE_PARTIAL);
}
