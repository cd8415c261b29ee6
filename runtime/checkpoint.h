/* SPDX-License-Identifier: Apache-2.0
 *
 * A Hugging Face directory with weights: which tensor of which file plays which role in the model.
 *
 *   config.json                     the model (model_config.h)
 *   model.safetensors               all tensors, or
 *   model.safetensors.index.json    {"weight_map": {"TENSOR": "FILE", …}} and the files it names, beside it
 *
 * Opening maps the files and reads their headers; weights are read by whoever looks at a view. Nothing is copied,
 * and a page is read from the disk when it is first touched.
 *
 * An open checkpoint does not change: any number of threads may use it. */
#ifndef OCTANT_CHECKPOINT_H
#define OCTANT_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include "runtime/error.h"
#include "runtime/model.h"
#include "runtime/safetensors.h"
#include "runtime/tensor_view.h"

struct checkpoint;

/* h = hidden, q = heads·head_dim, k = kv_heads·head_dim; vectors are views of one row */
enum checkpoint_role {
	CHECKPOINT_EMBEDDING,  /* [vocab, h] */
	CHECKPOINT_FINAL_NORM, /* [1, h] */
	CHECKPOINT_HEAD,       /* [vocab, h]; the embedding where the two are tied */

	CHECKPOINT_INPUT_NORM, /* [1, h], before attention; from here on, one a layer */
	CHECKPOINT_Q,          /* [q, h] */
	CHECKPOINT_K,          /* [k, h] */
	CHECKPOINT_V,          /* [k, h] */
	CHECKPOINT_O,          /* [h, q] */
	CHECKPOINT_Q_BIAS,     /* [1, q] */
	CHECKPOINT_K_BIAS,     /* [1, k] */
	CHECKPOINT_V_BIAS,     /* [1, k] */
	CHECKPOINT_O_BIAS,     /* [1, h] */
	CHECKPOINT_Q_NORM,     /* [1, head_dim], or [1, q] for QK_NORM_ALL */
	CHECKPOINT_K_NORM,     /* [1, head_dim], or [1, k] for QK_NORM_ALL */
	CHECKPOINT_POST_NORM,  /* [1, h], before experts or MLP */

	CHECKPOINT_MLP_GATE, /* [mlp_hidden, h]; dense layers */
	CHECKPOINT_MLP_UP,   /* [mlp_hidden, h] */
	CHECKPOINT_MLP_DOWN, /* [h, mlp_hidden] */
	CHECKPOINT_MLP_GATE_BIAS,
	CHECKPOINT_MLP_UP_BIAS,
	CHECKPOINT_MLP_DOWN_BIAS,

	CHECKPOINT_ROUTER,             /* [experts, h]; layers with experts */
	CHECKPOINT_SHARED_GATE,        /* [shared_hidden, h] */
	CHECKPOINT_SHARED_UP,          /* [shared_hidden, h] */
	CHECKPOINT_SHARED_DOWN,        /* [h, shared_hidden] */
	CHECKPOINT_SHARED_ROUTER_GATE, /* [1, h]; its sigmoid weighs the shared expert */

	CHECKPOINT_EXPERT_GATE, /* [expert_hidden, h]; one an expert */
	CHECKPOINT_EXPERT_UP,   /* [expert_hidden, h] */
	CHECKPOINT_EXPERT_DOWN, /* [h, expert_hidden] */
	CHECKPOINT_ROLES
};

/* Whether the directory has weights at all: a config.json alone is enough to plan with. */
bool checkpoint_has_weights(const char *directory);

/* Reads config and headers, not weights. Sets *checkpoint only on success. Errors: ERROR_INPUT with the file;
 * ERROR_MEMORY. That the tensors are there and of the right shape is for checkpoint_check. */
int checkpoint_open(const char *directory, struct checkpoint **checkpoint, struct error *error);

/* Where what is made of the checkpoint may be kept between runs (tasks/weights_cache.h): "beside" is the folder
 * octant-weights in its own, "off" or NULL none, as after opening. Errors: ERROR_INPUT. */
int checkpoint_keep(struct checkpoint *checkpoint, const char *where, struct error *error);
/* NULL: nowhere. */
const char *checkpoint_cache(const struct checkpoint *checkpoint);

/* Accepts NULL. Views into it end here. */
void checkpoint_close(struct checkpoint *checkpoint);

/* dtype is that of the tensors, by the largest share of bytes. tied_embeddings is false where the checkpoint has a
 * head that differs from the embedding, whatever config.json says (as transformers does). */
const struct model *checkpoint_model(const struct checkpoint *checkpoint);
const char *checkpoint_directory(const struct checkpoint *checkpoint);

/* Whether the model has this role (in this layer; `layer` is ignored for roles outside layers): no biases, norms or
 * shared experts where the family has none. */
bool checkpoint_has(const struct model *model, enum checkpoint_role role, int layer);

/* The tensor of a role, its shape checked. `layer` and `expert` are ignored where the role has none. Tensors that
 * hold all experts of a layer (experts.gate_up_proj, experts.down_proj) give views into them. Errors: ERROR_INPUT
 * with file, tensor, and the shape that was needed; also for a role that the model does not have. */
int checkpoint_find(const struct checkpoint *checkpoint, enum checkpoint_role role, int layer, int expert,
	struct tensor_view *view, struct error *error);

/* checkpoint_find for everything the model needs, without touching weights. */
int checkpoint_check(const struct checkpoint *checkpoint, struct error *error);

struct checkpoint_summary {
	int shards;   /* safetensors files */
	int tensors;  /* in them */
	double bytes; /* of tensor data */
};
void checkpoint_summarize(const struct checkpoint *checkpoint, struct checkpoint_summary *summary);

/* Tells the system that the view will be read soon, so that the disk works ahead. */
void checkpoint_will_need(const struct tensor_view *view);

/* Tells the system that this process has read these rows and needs them no more: they stay in the page cache but do
 * not count as this process's memory. Only advice: views that share the pages, and the same view later, stay right,
 * since a page that is touched again is mapped again. */
void checkpoint_release(const struct checkpoint *checkpoint, const struct tensor_view *view, int64_t row, int64_t rows);

/* One safetensors file as it lies in memory, for whoever wants to know whether it is the one he knows. */
struct checkpoint_shard {
	const char *name; /* in the directory */
	const void *data; /* the whole file */
	size_t bytes;
	struct safetensors_stamp stamp; /* when it was opened */
	bool settled;                   /* by then: the stamp then tells every later change */
};
int checkpoint_shards(const struct checkpoint *checkpoint);
struct checkpoint_shard checkpoint_shard(const struct checkpoint *checkpoint, int i);

/* As checkpoint_release, of bytes of a shard. */
void checkpoint_release_bytes(const struct checkpoint *checkpoint, const void *begin, size_t bytes);

/* Whether the directory's files are those that were opened, unchanged since. */
bool checkpoint_unchanged(const struct checkpoint *checkpoint);

#endif
