/* SPDX-License-Identifier: Apache-2.0
 *
 * A graph description, read: the values of every key, with defaults filled in and every reference
 * resolved, and the place in the file that each came from. Nothing here depends on weights.
 *
 * Reading has two steps: graph_read parses the file and the overrides (keys, types, ranges);
 * graph_resolve then, once the model is known (the card, or a checkpoint's), places the parts on the
 * mesh and checks that the chains compose. */
#ifndef OCTANT_GRAPH_H
#define OCTANT_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "runtime/curve.h"
#include "runtime/error.h"
#include "runtime/form.h"
#include "runtime/mesh.h"
#include "runtime/model.h"

#define GRAPH_MAX_STEPS 32
#define GRAPH_MAX_LINKS 128
#define GRAPH_MAX_SWITCHES 64
#define GRAPH_MAX_CURVES 32
#define GRAPH_TEXT 128

struct graph_place {
	char file[256];
	unsigned line; /* 0: not from a file (a default, or the command line) */
};

struct graph_step { /* one task of a chain */
	const struct form_kind *kind;
	int kind_index; /* in the table of kinds that was handed in */
	enum chain_over over;
	enum chain_how how;
	enum form takes, leaves; /* set by graph_resolve */
	bool inserted;           /* by the lowering (attention as qkv, all_reduce, attend), not written */
	struct graph_place place;
};

struct graph_chain {
	int count;
	struct graph_step step[GRAPH_MAX_STEPS];
};

struct graph_device {
	char name[GRAPH_TEXT];
	double flops;        /* FLOP/s at the compute type, peak */
	double flops_efficiency; /* share of the peak that kernels reach */
	double bandwidth;    /* bytes/s of its memory, peak */
	double bandwidth_efficiency;
	double memory;       /* bytes; 0 on a host: not limited one by one, the host's memory is what there is */
	double launch_s;     /* fixed cost of one task */
};

struct graph_link { /* between two devices or switches (−1, −2, …); full duplex (runtime/routes.h) */
	int from, to;
	double bandwidth; /* bytes/s each way */
	double latency_s;
};

#define GRAPH_MAX_POLICIES 16

struct graph_runtime { /* what the runtime costs a host's workers (tasks/calibrate.h) */
	char policy[32];
	double submit_s, task_s, hop_s, wake_s, awake_s;
};

struct graph_machine {
	char name[GRAPH_TEXT];
	bool given;      /* false: no `machine`; this host's logical devices */
	bool host;       /* devices are logical ones on this host's CPUs, bound by its memory together */
	int devices;     /* once resolved never 0 */
	struct graph_device device[MESH_MAX_DEVICES];
	int links;
	struct graph_link link[GRAPH_MAX_LINKS];
	char interconnect[GRAPH_TEXT];

	/* of a calibrated host */
	char cpu[GRAPH_TEXT], measured[GRAPH_TEXT]; /* its processor's name, the day */
	int cores, workers;   /* that it has, and that were busy together */
	enum dtype compute;   /* that tasks calculated in */
	int runtimes;
	struct graph_runtime runtime[GRAPH_MAX_POLICIES]; /* each policy once */
	int curves;           /* 0: not calibrated */
	struct curve curve[GRAPH_MAX_CURVES]; /* each kind of task once */
};

enum interleave {
	INTERLEAVE_CHUNKED,       /* prefill chunks and decode steps in micro-batches of their own, by turns */
	INTERLEAVE_MIXED,         /* a prefill chunk rides with a decode group in one micro-batch */
	INTERLEAVE_PREFILL_FIRST, /* all waiting prompts before any decode step */
};

enum grain { /* what one StarPU task is */
	GRAIN_AUTO,   /* of few rows on a host as GRAIN_DEVICE, else as GRAIN_TASK */
	GRAIN_TASK,   /* one call of one behaviour */
	GRAIN_DEVICE, /* the calls that follow each other on a device */
};

struct graph_schedule {
	char policy[32]; /* homes (default), eager, prio, ws, lws, dm, dmda, dmdas */
	int slots;       /* micro-batches in flight */
	int ahead;       /* iterations submitted before the results of the first are seen */
	int prefill_tokens;        /* rows of a prefill chunk */
	int prefill_micro_batches; /* prefill chunks an iteration; 0: one a stage */
	int decode_micro_batches;  /* groups that decode in turn; 0: one a stage */
	enum interleave interleave;
	enum grain grain;
};

struct graph_limits {
	int sequences;           /* that run at the same time */
	int tokens_per_sequence; /* prompt and new tokens; graph_resolve lowers it to the model's max_positions */
	int tokens_described;    /* as described */
};

struct graph_kv {
	int page_tokens;
	enum dtype dtype;
	bool dtype_given;
	long pages; /* an attention group's pool; 0: as many as the limits need or memory allows */
};

#define GRAPH_MAX_REQUIREMENTS 8
struct graph_requirement {
	char name[48]; /* ttft_s, tokens_per_ms_per_device, memory_gb_per_device, comm_over_compute */
	double limit;
	struct graph_place place;
};

#define GRAPH_MAX_CLAIMS 16
struct graph_claim {
	char name[48]; /* the key in `claims` */
	double value;
	struct graph_place place;
};

struct graph_workload {
	bool given;
	int sequences;
	int prompt_min, prompt_max; /* uniform, seeded; shortened to limits that an override or the model lowers */
	int new_tokens;
	uint64_t seed;
};

struct graph {
	char name[GRAPH_TEXT];
	char path[1024]; /* "" for a built-in default */
	struct model model; /* the card, until graph_resolve puts a checkpoint's in its place */
	bool empty; /* it has no key at all */
	bool has_card;
	struct model card; /* as described, where there is one */
	struct graph_place model_place;

	struct graph_machine machine;
	bool here; /* it runs on this host, whatever machine it names: without links, and in tasks as a host has them */
	int tensor, experts, stages, expert_tensor; /* as given, else 1; expert_tensor 0: not given */
	bool tensor_given, experts_given;
	int layer_counts[MESH_MAX_STAGES], layer_counts_count; /* mesh.layers */
	int placements;
	struct graph_placement {
		int device, stage, tensor, experts; /* −1: not given */
		int group, slice;                   /* `group`, `expert_slice`; −1: not given */
		struct graph_place place;
	} placement[MESH_MAX_DEVICES];
	bool place_is_older; /* an override changed the degrees that the placement was written for */
	struct graph_place mesh_place, tensor_place, experts_place, stages_place, expert_tensor_place, layers_place;
	struct mesh mesh; /* set by graph_resolve */

	struct graph_chain before, layer, dense_layer, between_stages, after;
	bool between_before_gather; /* between_stages.before = "all_gather" */

	enum dtype compute; /* where not given: fp32, or bf16 for 16-bit weights on a machine of GPUs */
	bool compute_given;
	enum dtype residual; /* of collectives and the residual stream: `residual`, fp32 by default */
	struct graph_place compute_place, residual_place;
	struct graph_schedule schedule;
	struct graph_limits limits;
	struct graph_kv kv;
	int requirements;
	struct graph_requirement requirement[GRAPH_MAX_REQUIREMENTS];
	int claims;
	struct graph_claim claim[GRAPH_MAX_CLAIMS];
	struct graph_workload workload;
};

struct graph_faults { /* who wants every error, and not only the first */
	void (*found)(void *context, const struct error *error);
	void *context;
	int count; /* errors told so far */
};

struct graph_kinds { /* the table of task kinds, handed in by tools (tasks/kinds.h has it) */
	const struct form_kind *kind;
	int count;
};

struct graph_override { /* --set path=value; --tp-size 2 is {"mesh.tensor", "2"} */
	const char *path, *value;
};

/* Finds a shipped graph by name or a file by path and reads it. `name` NULL: the default graph of a machine
 * without GPUs is built by graph_default instead. On error nothing is left allocated. The graph is large:
 * it is allocated and freed with graph_destroy. */
int graph_read(const char *name, const struct graph_kinds *kinds, const struct graph_override *overrides,
	int override_count, struct graph **graph, struct error *error);

/* The default graph for a model on `cores` CPU cores: tensor = the largest degree that divides heads and
 * KV heads and is at most the cores; experts cut (degree 1) while that leaves a device wide matrices, else
 * spread too; one stage; `local` where tensor = S, else all_to_all. Overrides are applied before the defaults are chosen (so that --tp-size counts). */
int graph_default(const struct model *model, int cores, const struct graph_kinds *kinds,
	const struct graph_override *overrides, int override_count, struct graph **graph, struct error *error);

/* Whether `name` stands for the default graph: "default", or NULL. */
bool graph_is_default(const char *name);

/* graph_default where graph_is_default(name), which needs a model then, else graph_read. */
int graph_open(const char *name, const struct model *model, int cores, const struct graph_kinds *kinds,
	const struct graph_override *overrides, int override_count, struct graph **graph, struct error *error);

/* graph_open and graph_resolve, telling `faults` of every error of the description that does not follow from another
 * one. Where there are any it returns ERROR_INPUT with `error` empty; any other failure is in `error`. */
int graph_check_all(const char *name, const struct model *model, int cores, const struct graph_kinds *kinds,
	const struct graph_override *overrides, int override_count, struct graph_faults *faults, struct graph **graph,
	struct error *error);

/* Once for a graph: places parts and checks chains, for the card or for `model` (a checkpoint's, then copied
 * into the graph; NULL: the card; it is an error when there is neither). After an error the graph is good for
 * graph_destroy only. Differences between card and checkpoint are printed by the caller through
 * graph_card_differs. */
int graph_resolve(struct graph *graph, const struct model *model, const struct graph_kinds *kinds,
	struct error *error);

/* The i-th difference of card and checkpoint, "layers 12 (card 16)"; 0 when there are no more. */
int graph_card_differs(const struct graph *graph, const struct model *model, int i, char *text, size_t size);

/* Sets what kernels calculate in, and with it the KV's dtype where the description does not give one. */
void graph_set_compute(struct graph *graph, enum dtype compute);

/* The type that the residual stream might have in place of fp32: that of `compute`, or bf16 where it is int8, in which
 * nothing can be added up. */
enum dtype graph_narrow_residual(const struct graph *graph);

/* Chooses `compute` where the description gives none: bf16 for 16-bit weights where what they run on multiplies it,
 * else fp32. Of a resolved graph. */
void graph_set_default_compute(struct graph *graph, bool has_bf16);

/* Refuses what CPUs cannot calculate in: graph_resolve does for a host, a run for any machine. `compute` may be another
 * one than the graph's. */
int graph_check_cpu(const struct graph *graph, enum dtype compute, struct error *error);

/* What the runtime costs with the graph's policy, as measured; with another policy where it was not; zeros where nothing was. */
struct graph_runtime graph_runtime_of(const struct graph *graph);

void graph_destroy(struct graph *graph);

/* The chain of layer `l`. */
static inline const struct graph_chain *graph_chain_of(const struct graph *graph, int layer)
{
	return graph->model.experts == 0 || graph->model.dense[layer] ? &graph->dense_layer : &graph->layer;
}

#endif
