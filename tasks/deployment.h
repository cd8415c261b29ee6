/* SPDX-License-Identifier: Apache-2.0
 *
 * A deployment: a graph's parts on devices, with weights, KV pools and slots in place, and for each slot the
 * program of calls that one micro-batch makes.
 *
 *   device_part (one a device)                      slot (one a micro-batch in flight)
 *     layer_part (one a layer: the actors' state)     message (one a device: the buffers that travel)
 *       attention shard + KV pool                      x | partial | h + routing | grouped | done | …
 *       router, expert group or MLP slice             program: calls in submission order
 *
 * Everything is allocated by deployment_create; deployment_submit allocates nothing of Octant's.
 * One thread (the submitter) calls these functions; behaviours run on the engine's workers. */
#ifndef OCTANT_TASKS_DEPLOYMENT_H
#define OCTANT_TASKS_DEPLOYMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "codelets/codelets.h"
#include "runtime/arena.h"
#include "runtime/batch.h"
#include "runtime/checkpoint.h"
#include "runtime/engine.h"
#include "runtime/graph.h"
#include "runtime/routes.h"

/* What one device holds of one layer. Pointers lie in the device's arena. */
struct layer_part {
	int layer;
	bool dense;

	struct attention_weights attention;
	void *kv_pool; /* [pages] of kv_page_bytes */

	float *moe_norm; /* [hidden], before the router or the MLP */
	float *router;   /* [experts][hidden] */
	int first_expert, experts, width; /* own experts; their columns on this slice */
	struct expert_weights *expert;    /* [experts] */
	int mlp_width; /* own columns of a dense layer's MLP */
	struct expert_weights mlp;
	int shared_width; /* of the shared expert: all where rows are sharded (all_to_all), else own columns */
	struct expert_weights shared;
	float *shared_gate; /* [hidden] */

	struct engine_buffer *weights_buffer, *kv_buffer;
	char *weights_begin, *weights_end;
};

struct device_part {
	const struct mesh_part *part;
	struct arena arena;
	char *base; /* where its memory begins; nothing lies there in a simulation */
	size_t weight_bytes; /* from there on: all that is read from a checkpoint */
	int first_layer, layers;
	struct layer_part *layer; /* [layers] */
	/* first stage */
	void *embedding; /* [vocab][hidden] in embedding_dtype */
	enum dtype embedding_dtype;
	/* last stage */
	float *final_norm;
	struct gemm_weight head;
	struct range vocab; /* own token ids */
	struct engine_buffer *ends_buffer; /* of embedding and head */
};

/* The buffers of one slot on one device. Rows are a group's own (first row: 0) in x and in partial sums over
 * the tensor ranks; they are the micro-batch's (global) in everything else. */
enum message_buffer {
	MESSAGE_X,       /* the residual stream */
	MESSAGE_PARTIAL, /* addends */
	MESSAGE_PARTIAL_STAGE, /* addends of FORM_PARTIAL_STAGE in merged tasks (grain.h) */
	MESSAGE_ROUTED,  /* normalised rows, experts, weights, places */
	MESSAGE_GROUPED, /* rows by expert, offsets */
	MESSAGE_DONE,    /* the experts' results */
	MESSAGE_SHARED,  /* the shared expert's results */
	MESSAGE_QKV,
	MESSAGE_LOGITS,
	MESSAGE_BUFFERS
};

struct message {
	float *x;        /* [max_rows][hidden] */
	float *partial;  /* [max_rows][hidden] */
	float *partial_stage; /* [grain_rows][hidden] */
	char *h;         /* [max_rows][stride] compute type */
	int32_t *expert, *place; /* [max_rows][top_k] */
	float *weight;   /* [max_rows][top_k] */
	char *grouped;   /* [capacity][stride] */
	int32_t *offset; /* [own experts + 1] */
	float *done;     /* [capacity][hidden] */
	float *shared;   /* [max_rows][hidden] */
	float *qkv, *squares; /* [max_rows][…], [max_rows][2] */
	float *logits;   /* [max_samples][own vocabulary] */
	int capacity;
	struct engine_buffer *buffer[MESSAGE_BUFFERS]; /* NULL: not used on this device */
};

struct call;

struct slot {
	int index;
	struct micro_batch *micro_batch; /* the one it carries; stays as it is until pending is 0 */
	bool used;
	struct message *message; /* [devices] by stage · S + index */
	int calls;
	struct call *call; /* [calls] in submission order */
	struct grain_program *grain; /* the calls as fewer tasks; NULL: never */
	bool merged;         /* the micro-batch is run so */
	int pending;       /* tasks in flight */
};

/* What deployment memory a device needs, by kind; bytes. */
struct deployment_account {
	size_t weights, kv, activations, total;
	size_t workspace; /* that a worker needs to serve this device; not part of total */
};

struct deployment_sizes {
	int slots, max_rows, max_samples, seats;
	int64_t pages; /* of each attention group's pool */
};

/* How the weights came. */
struct deployment_loading {
	int packed, cached; /* devices whose weights were packed from the checkpoint, and out of an earlier run's file */
	int kept;           /* of those packed: whose weights are in a file now */
	double bytes;       /* of packed weights */
	double ready_s, keep_s;
};

struct deployment {
	const struct graph *graph;
	const struct model *model;
	const struct mesh *mesh;
	struct engine *engine;
	struct deployment_sizes sizes;
	struct deployment_loading loading;
	enum dtype compute;
	bool all_to_all;    /* the layer chain's dispatch sends rows */
	bool routing_known; /* micro_batch.routed is filled before a micro-batch is submitted: costs go by it */
	struct routes *routes; /* between the machine's devices; NULL: a host */
	size_t stride;      /* of h, in elements */
	size_t row_bytes;   /* of h */
	struct rope_table rope;
	struct device_part *device; /* [devices] by stage · S + index */
	struct arena *arenas;       /* [devices] copies for engine_guard */
	struct slot *slot;          /* [sizes.slots] */
	int32_t *token_table;       /* [seats] last sampled tokens, in host memory */
	size_t workspace;           /* bytes a worker needs */
	int grain_rows;             /* up to which a micro-batch's calls are merged; 0: never */
};

/* The memory of each device ([devices] entries), without allocating any: what a dry run prints. */
int deployment_measure(const struct graph *graph, enum dtype compute, const struct deployment_sizes *sizes,
	struct deployment_account *accounts, struct error *error);

/* Bytes of one page over the whole deployment's pools of one attention group: to size pools by. */
size_t deployment_page_bytes(const struct graph *graph);

/* Builds everything and loads the weights, in parallel on the engine's workers. `graph`, `checkpoint` (only
 * during the call; NULL: random weights, to measure with) and `engine` are the caller's. Errors: ERROR_INPUT for weights that are wrong (NaN, …),
 * ERROR_MEMORY. */
int deployment_create(const struct graph *graph, const struct checkpoint *checkpoint, enum dtype compute,
	const struct deployment_sizes *sizes, struct engine *engine, struct deployment **deployment,
	struct error *error);
void deployment_destroy(struct deployment *deployment); /* accepts NULL and half-built ones */

/* The same without memory, weights and engine: parts have shapes and slots have programs, whose calls know their
 * FLOPs and bytes for any micro-batch but cannot run. For the plan and the simulation. */
int deployment_sketch(const struct graph *graph, enum dtype compute, const struct deployment_sizes *sizes,
	struct deployment **deployment, struct error *error);

/* The same as deployment_create for an engine that simulates: buffers are known to it by addresses where nothing lies. */
int deployment_simulate(const struct graph *graph, enum dtype compute, const struct deployment_sizes *sizes,
	struct engine *engine, struct deployment **deployment, struct error *error);

/* Submits all calls of the micro-batch in slot `micro_batch->number` % slots, which must be free. */
int deployment_submit(struct deployment *deployment, struct micro_batch *micro_batch, struct error *error);
/* Waits until the micro-batch has ended. Returns a failed behaviour's error. */
int deployment_wait(struct deployment *deployment, uint64_t number, struct error *error);

#endif
