/* SPDX-License-Identifier: Apache-2.0
 *
 * The weights of one device: placed by shape, then read, checked and packed straight from the mapped checkpoint,
 * whose pages are let go as soon as they are packed, so that memory holds the weights about once.
 *
 *   attention   q, k, v rows of own heads; columns of the output projection; its bias on tensor rank 0 alone
 *   experts     own experts; with expert_tensor > 1 own rows of gate and up, own columns of down
 *   mlp         rows and columns cut over all devices of the stage; down's bias on the first alone
 *   ends        the whole embedding on every device of the first stage; own vocabulary of the head in the last */
#include "tasks/weights.h"
#include <string.h>
#include "runtime/checksum.h"

/* ---- placing */

static float *take_floats(struct carve *carve, int count)
{
	return carve_take(carve, (size_t) count, sizeof(float));
}

static struct gemm_weight take_gemm(struct carve *carve, int n, int k, enum dtype dtype)
{
	return (struct gemm_weight){ carve_take(carve, 1, gemm_packed_bytes(n, k, dtype)), dtype, n, k };
}

static void place_attention(const struct deployment *d, const struct device_part *device, struct layer_part *layer,
	struct carve *carve)
{
	const struct model *m = d->model;
	struct attention_weights *w = &layer->attention;
	struct range heads = mesh_heads(d->mesh, m, device->part->tensor);
	struct range kv_heads = mesh_kv_heads(d->mesh, m, device->part->tensor);
	*w = (struct attention_weights){
		.hidden = m->hidden,
		.heads = heads.end - heads.first,
		.kv_heads = kv_heads.end - kv_heads.first,
		.head_dim = m->head_dim,
		.all_heads = m->heads,
		.all_kv_heads = m->kv_heads,
		.compute = d->compute,
		.norm_epsilon = m->norm_epsilon,
		.clip_qkv = m->clip_qkv,
		.qk_norm = m->qk_norm,
		.rope = &d->rope,
	};
	int q = w->heads * w->head_dim, kv = w->kv_heads * w->head_dim;
	w->input_norm = take_floats(carve, m->hidden);
	w->qkv = take_gemm(carve, q + 2 * kv, m->hidden, d->compute);
	w->output = take_gemm(carve, m->hidden, q, d->compute);
	if (m->qkv_bias)
		w->qkv_bias = take_floats(carve, q + 2 * kv);
	if (m->output_bias && device->part->tensor == 0)
		w->output_bias = take_floats(carve, m->hidden);
	if (m->qk_norm != QK_NORM_NONE) {
		w->q_norm = take_floats(carve, m->qk_norm == QK_NORM_HEAD ? m->head_dim : q);
		w->k_norm = take_floats(carve, m->qk_norm == QK_NORM_HEAD ? m->head_dim : kv);
	}
}

static struct expert_weights take_expert(const struct deployment *d, int width, bool biased, bool first,
	struct carve *carve)
{
	struct expert_weights w = {
		.gate_up = take_gemm(carve, 2 * width, d->model->hidden, d->compute),
		.down = take_gemm(carve, d->model->hidden, width, d->compute),
	};
	if (biased)
		w.gate_up_bias = take_floats(carve, 2 * width);
	if (biased && first)
		w.down_bias = take_floats(carve, d->model->hidden);
	return w;
}

static int columns(int width, int ranks, int rank)
{
	struct range own = range_cut(width, ranks, rank);
	return own.end - own.first;
}

void weights_place_layer(const struct deployment *d, const struct device_part *device, struct layer_part *layer,
	struct carve *carve)
{
	const struct model *m = d->model;
	const struct mesh_part *part = device->part;
	size_t begin = carve->used;
	place_attention(d, device, layer, carve);
	layer->moe_norm = take_floats(carve, m->hidden);
	if (layer->dense) {
		layer->mlp_width = columns(m->mlp_hidden, d->mesh->per_stage, part->index);
		layer->mlp = take_expert(d, layer->mlp_width, m->mlp_bias, part->index == 0, carve);
	} else {
		struct range experts = mesh_expert_range(d->mesh, m, part->experts);
		layer->first_expert = experts.first;
		layer->experts = experts.end - experts.first;
		layer->width = columns(m->expert_hidden, d->mesh->expert_tensor, part->slice);
		layer->router = carve_take(carve, (size_t) m->experts, (size_t) m->hidden * sizeof(float));
		for (int e = 0; e < layer->experts; e++) {
			struct expert_weights w = take_expert(d, layer->width, false, false, carve);
			if (layer->expert)
				layer->expert[e] = w;
		}
		if (m->shared_hidden) {
			layer->shared_width = d->all_to_all ? m->shared_hidden
				: columns(m->shared_hidden, d->mesh->per_stage, part->index);
			layer->shared = take_expert(d, layer->shared_width, false, false, carve);
			layer->shared_gate = take_floats(carve, m->hidden);
		}
	}
	if (carve->base) {
		layer->weights_begin = carve->base + begin;
		layer->weights_end = carve->base + carve->used;
	}
}

void weights_place_ends(const struct deployment *d, struct device_part *device, struct carve *carve)
{
	const struct model *m = d->model;
	if (device->part->stage == 0) {
		device->embedding_dtype = m->dtype;
		device->embedding = carve_take(carve, (size_t) m->vocab, (size_t) m->hidden * dtype_bytes(m->dtype));
	}
	if (device->part->stage == d->mesh->stages - 1) {
		device->vocab = range_cut(m->vocab, d->mesh->tensor, device->part->tensor);
		device->final_norm = take_floats(carve, m->hidden);
		device->head = take_gemm(carve, device->vocab.end - device->vocab.first, m->hidden, d->compute);
	}
}

/* ---- loading */

/* The same walk over what a device holds serves two ends: to load it, and to describe how it is loaded. */
struct loader {
	const struct checkpoint *checkpoint;
	const struct device_part *device;
	int layer, expert;
	uint64_t *recipe; /* NULL: load. Else a checksum of all readings, of which none is made */
	struct error *error;
	int code; /* first failure: what follows does nothing */
};

static bool find(struct loader *l, enum checkpoint_role role, struct tensor_view *view)
{
	if (!l->code)
		l->code = checkpoint_find(l->checkpoint, role, l->layer, l->expert, view, l->error);
	return !l->code;
}

/* Where a loader only describes: notes what is read (rows [first, first + rows) from column `column` on) and where it
 * goes (row `at` of a matrix of n × k at `to`). */
static bool described(struct loader *l, const struct tensor_view *view, int first, int rows, int column, const void *to,
	const struct gemm_weight *shape, int at)
{
	if (!l->recipe)
		return false;
	int64_t note[] = { view->dtype, view->shape[0], view->shape[1], view->row_stride, view->name_row, first, rows, column,
		(const char *) to - l->device->base, shape->dtype, shape->n, shape->k, at };
	*l->recipe = checksum_of(view->name, strlen(view->name), *l->recipe);
	*l->recipe = checksum_of(note, sizeof note, *l->recipe);
	return true;
}

/* What has been copied need not stay mapped. */
static void release(struct loader *l, const struct tensor_view *view, int first, int rows)
{
	checkpoint_release(l->checkpoint, view, first, rows);
}

/* Rows [first, first + rows) of a matrix, from column `column` on, checked. */
static struct gemm_source rows_of(struct loader *l, const struct tensor_view *view, int first, int rows, int column)
{
	if (!l->code)
		l->code = tensor_check_finite(view, first, rows, l->error);
	return (struct gemm_source){
		.data = (const char *) tensor_row(view, first) + (size_t) column * dtype_bytes(view->dtype),
		.dtype = view->dtype,
		.stride = (size_t) view->row_stride,
	};
}

/* Rows of a role's matrix, from `first` on, into rows `at` … of a packed one. */
static void load_rows(struct loader *l, enum checkpoint_role role, int first, int rows, int column,
	const struct gemm_weight *to, int at)
{
	struct tensor_view view;
	if (!rows || !find(l, role, &view) || described(l, &view, first, rows, column, to->packed, to, at))
		return;
	struct gemm_source source = rows_of(l, &view, first, rows, column);
	if (!l->code)
		gemm_pack((void *) to->packed, to->n, to->k, to->dtype, at, rows, &source);
	release(l, &view, first, rows);
}

static struct gemm_weight vector_shape(int count)
{
	return (struct gemm_weight){ .dtype = DTYPE_FP32, .n = 1, .k = count };
}

/* `count` values of a vector, from `first` on. */
static void load_vector(struct loader *l, enum checkpoint_role role, int first, int count, float *to)
{
	struct tensor_view view;
	struct gemm_weight shape = vector_shape(count);
	if (!count || !find(l, role, &view) || described(l, &view, 0, 1, first, to, &shape, 0))
		return;
	l->code = tensor_check_finite(&view, 0, 1, l->error);
	if (l->code)
		return;
	struct tensor_view slice = view;
	slice.data = (const char *) view.data + (size_t) first * dtype_bytes(view.dtype);
	slice.shape[1] = count;
	tensor_row_to_float(&slice, 0, to);
}

static void load_attention(struct loader *l, const struct deployment *d, const struct device_part *device,
	const struct layer_part *layer)
{
	const struct attention_weights *w = &layer->attention;
	int dim = w->head_dim, q = w->heads * dim, kv = w->kv_heads * dim;
	int first_q = mesh_heads(d->mesh, d->model, device->part->tensor).first * dim;
	int first_kv = mesh_kv_heads(d->mesh, d->model, device->part->tensor).first * dim;
	load_vector(l, CHECKPOINT_INPUT_NORM, 0, w->hidden, (float *) w->input_norm);
	load_rows(l, CHECKPOINT_Q, first_q, q, 0, &w->qkv, 0);
	load_rows(l, CHECKPOINT_K, first_kv, kv, 0, &w->qkv, q);
	load_rows(l, CHECKPOINT_V, first_kv, kv, 0, &w->qkv, q + kv);
	load_rows(l, CHECKPOINT_O, 0, w->hidden, first_q, &w->output, 0);
	if (w->qkv_bias) {
		load_vector(l, CHECKPOINT_Q_BIAS, first_q, q, (float *) w->qkv_bias);
		load_vector(l, CHECKPOINT_K_BIAS, first_kv, kv, (float *) w->qkv_bias + q);
		load_vector(l, CHECKPOINT_V_BIAS, first_kv, kv, (float *) w->qkv_bias + q + kv);
	}
	if (w->output_bias)
		load_vector(l, CHECKPOINT_O_BIAS, 0, w->hidden, (float *) w->output_bias);
	if (w->qk_norm != QK_NORM_NONE) {
		bool head = w->qk_norm == QK_NORM_HEAD;
		load_vector(l, CHECKPOINT_Q_NORM, head ? 0 : first_q, head ? dim : q, (float *) w->q_norm);
		load_vector(l, CHECKPOINT_K_NORM, head ? 0 : first_kv, head ? dim : kv, (float *) w->k_norm);
	}
}

/* The roles of a SwiGLU: gate, up, down, and where its biases are. */
struct swiglu_roles {
	enum checkpoint_role gate, up, down, gate_bias, up_bias, down_bias;
};

static void load_gate_up(struct loader *l, const struct swiglu_roles *roles, const struct expert_weights *w, int hidden,
	int first, int width)
{
	const struct gemm_weight *to = &w->gate_up;
	struct tensor_view gate, up;
	if (!find(l, roles->gate, &gate) || !find(l, roles->up, &up))
		return;
	if (described(l, &gate, first, width, 0, to->packed, to, 0)) {
		described(l, &up, first, width, 0, to->packed, to, 1);
		return;
	}
	struct gemm_source gate_rows = rows_of(l, &gate, first, width, 0), up_rows = rows_of(l, &up, first, width, 0);
	if (!l->code)
		expert_pack_gate_up((void *) to->packed, width, hidden, to->dtype, &gate_rows, &up_rows);
	release(l, &gate, first, width);
	release(l, &up, first, width);
}

static void load_gate_up_bias(struct loader *l, const struct swiglu_roles *roles, const struct expert_weights *w, int first,
	int width)
{
	struct gemm_weight shape = vector_shape(2 * width);
	struct tensor_view gate, up;
	if (!find(l, roles->gate_bias, &gate) || !find(l, roles->up_bias, &up))
		return;
	if (described(l, &gate, 0, 1, first, w->gate_up_bias, &shape, 0)) {
		described(l, &up, 0, 1, first, w->gate_up_bias, &shape, 1);
		return;
	}
	struct gemm_source gate_rows = rows_of(l, &gate, 0, 1, first), up_rows = rows_of(l, &up, 0, 1, first);
	if (!l->code)
		expert_pack_bias((float *) w->gate_up_bias, width, &gate_rows, &up_rows);
}

static void load_swiglu(struct loader *l, const struct swiglu_roles *roles, const struct expert_weights *w, int hidden,
	int first, int width)
{
	if (!width)
		return;
	load_gate_up(l, roles, w, hidden, first, width);
	load_rows(l, roles->down, 0, hidden, first, &w->down, 0);
	if (w->gate_up_bias)
		load_gate_up_bias(l, roles, w, first, width);
	if (w->down_bias)
		load_vector(l, roles->down_bias, 0, hidden, (float *) w->down_bias);
}

static void load_router(struct loader *l, const struct model *m, float *router)
{
	struct tensor_view view;
	struct gemm_weight shape = { .dtype = DTYPE_FP32, .n = m->experts, .k = m->hidden };
	if (!find(l, CHECKPOINT_ROUTER, &view) || described(l, &view, 0, m->experts, 0, router, &shape, 0))
		return;
	l->code = tensor_check_finite(&view, 0, m->experts, l->error);
	for (int e = 0; e < m->experts && !l->code; e++)
		tensor_row_to_float(&view, e, router + (size_t) e * (size_t) m->hidden);
	release(l, &view, 0, m->experts);
}

static void load_embedding(struct loader *l, const struct model *m, const struct device_part *device)
{
	struct tensor_view view;
	struct gemm_weight shape = { .dtype = device->embedding_dtype, .n = m->vocab, .k = m->hidden };
	if (!find(l, CHECKPOINT_EMBEDDING, &view) || described(l, &view, 0, m->vocab, 0, device->embedding, &shape, 0))
		return;
	size_t row = (size_t) m->hidden * dtype_bytes(view.dtype);
	if (view.dtype != device->embedding_dtype) {
		l->code = error_set(l->error, ERROR_INPUT, view.file, "tensor %s is %s but the checkpoint is %s; convert it",
			view.name, dtype_name(view.dtype), dtype_name(device->embedding_dtype));
		return;
	}
	l->code = tensor_check_finite(&view, 0, m->vocab, l->error);
	for (int i = 0; i < m->vocab && !l->code; i++)
		memcpy((char *) device->embedding + (size_t) i * row, tensor_row(&view, i), row);
	release(l, &view, 0, m->vocab);
}

static const struct swiglu_roles expert_roles = { CHECKPOINT_EXPERT_GATE, CHECKPOINT_EXPERT_UP, CHECKPOINT_EXPERT_DOWN,
	CHECKPOINT_ROLES, CHECKPOINT_ROLES, CHECKPOINT_ROLES };
static const struct swiglu_roles shared_roles = { CHECKPOINT_SHARED_GATE, CHECKPOINT_SHARED_UP, CHECKPOINT_SHARED_DOWN,
	CHECKPOINT_ROLES, CHECKPOINT_ROLES, CHECKPOINT_ROLES };
static const struct swiglu_roles mlp_roles = { CHECKPOINT_MLP_GATE, CHECKPOINT_MLP_UP, CHECKPOINT_MLP_DOWN,
	CHECKPOINT_MLP_GATE_BIAS, CHECKPOINT_MLP_UP_BIAS, CHECKPOINT_MLP_DOWN_BIAS };

static void load_layer(struct loader *l, const struct deployment *d, const struct layer_part *layer)
{
	const struct model *m = d->model;
	const struct mesh_part *part = l->device->part;
	l->layer = layer->layer;
	load_attention(l, d, l->device, layer);
	load_vector(l, CHECKPOINT_POST_NORM, 0, m->hidden, layer->moe_norm);
	if (layer->dense) {
		int first = range_cut(m->mlp_hidden, d->mesh->per_stage, part->index).first;
		load_swiglu(l, &mlp_roles, &layer->mlp, m->hidden, first, layer->mlp_width);
		return;
	}
	load_router(l, m, layer->router);
	int first = range_cut(m->expert_hidden, d->mesh->expert_tensor, part->slice).first;
	for (int e = 0; e < layer->experts; e++) {
		l->expert = layer->first_expert + e;
		load_swiglu(l, &expert_roles, &layer->expert[e], m->hidden, first, layer->width);
	}
	if (m->shared_hidden) {
		first = d->all_to_all ? 0 : range_cut(m->shared_hidden, d->mesh->per_stage, part->index).first;
		load_swiglu(l, &shared_roles, &layer->shared, m->hidden, first, layer->shared_width);
		load_vector(l, CHECKPOINT_SHARED_ROUTER_GATE, 0, m->hidden, layer->shared_gate);
	}
}

static void load_ends(struct loader *l, const struct deployment *d)
{
	const struct device_part *device = l->device;
	if (device->embedding)
		load_embedding(l, d->model, device);
	if (device->final_norm) {
		load_vector(l, CHECKPOINT_FINAL_NORM, 0, d->model->hidden, device->final_norm);
		load_rows(l, CHECKPOINT_HEAD, device->vocab.first, device->vocab.end - device->vocab.first, 0, &device->head,
			0);
	}
}

int weights_load_layer(const struct deployment *d, const struct device_part *device, const struct layer_part *layer,
	const struct checkpoint *checkpoint, struct error *error)
{
	struct loader l = { .checkpoint = checkpoint, .device = device, .error = error };
	load_layer(&l, d, layer);
	return l.code;
}

int weights_load_ends(const struct deployment *d, const struct device_part *device,
	const struct checkpoint *checkpoint, struct error *error)
{
	struct loader l = { .checkpoint = checkpoint, .device = device, .error = error };
	load_ends(&l, d);
	return l.code;
}

int weights_describe(const struct deployment *d, const struct device_part *device, const struct checkpoint *checkpoint,
	uint64_t *recipe, struct error *error)
{
	uint64_t sum = 0;
	struct loader l = { .checkpoint = checkpoint, .device = device, .recipe = &sum, .error = error };
	for (int i = 0; i < device->layers; i++)
		load_layer(&l, d, &device->layer[i]);
	load_ends(&l, d);
	if (!l.code)
		*recipe = sum;
	return l.code;
}

/* ---- workspaces */

static size_t larger(size_t a, size_t b)
{
	return a > b ? a : b;
}

size_t weights_workspace(const struct deployment *d, const struct device_part *device)
{
	const struct model *m = d->model;
	size_t bytes = larger(head_workspace(m->hidden, d->compute), sample_workspace(m->vocab));
	for (int i = 0; i < device->layers; i++) {
		const struct layer_part *layer = &device->layer[i];
		bytes = larger(bytes, attention_workspace(&layer->attention));
		if (layer->dense) {
			bytes = larger(bytes, mlp_workspace(m->hidden, layer->mlp_width, d->compute));
			continue;
		}
		bytes = larger(bytes, route_workspace(m->hidden, m->experts));
		bytes = larger(bytes, dispatch_workspace(m->experts));
		bytes = larger(bytes, experts_workspace(m->hidden, layer->width, d->compute));
		if (m->shared_hidden)
			bytes = larger(bytes, mlp_workspace(m->hidden, layer->shared_width, d->compute));
	}
	return bytes;
}
