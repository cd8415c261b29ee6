/* SPDX-License-Identifier: Apache-2.0
 *
 * The plan: what a deployment will do with a workload, in closed form, before anyone owns the machine.
 *
 *   workload → the real batcher, with results that are made up → micro-batches
 *   each micro-batch → the calls of a sketched deployment → FLOPs, bytes, flows → seconds by the cost model
 *   seconds by task → a recurrence over micro-batches, stages, slots and iterations → times of tokens
 *
 * Modelled: every task of every micro-batch with its real rows, positions and samples; the roofline of the device and
 * α-β of the links each collective takes; routing (even, or by a distribution); what the batcher waits for (slots,
 * `ahead`, the results of earlier iterations), a decoding sequence's wait for its own token, decode groups' turns, pages and
 * preemption.
 *
 * The recurrence. Micro-batches go through one program: embed, the steps of the chains, sends, head and sample. Task t of
 * micro-batch i takes d(i,t) seconds. It is served by its stage's devices, or, a collective or a send, by its stage's links;
 * either serves one task at a time and is not interrupted. Of an attention group's devices the slowest counts; groups go on by
 * themselves until the next collective:
 *
 *   ready(i,t) = end(i,t−1), of the first task when the batcher has formed i, its tokens are sampled and it is its turn
 *   end(i,t)   = max(ready(i,t), end of what its place served before) + w + d(i,t)
 *
 * w are the microseconds in which a worker looks for its next task (PLAN_LOOK_S). Of those that are ready a place serves the
 * one of highest priority as runs have it, decode first, then the deepest; of equals, or where the policy knows no priorities
 * (eager, dm, dmda), the one that was ready first. That is *full overlap*. Without overlap a stage has one micro-batch at a
 * time, from its first task there until it has been sent on. Exposed is when a stage communicates and does not compute, a bubble
 * when it does neither; a send is the receiver's communication too.
 *
 * The metrics are those of full overlap; those without overlap stand beside it. Neither is a bound: two micro-batches that
 * share a stage leave it later than the first of them alone would, and the next stage may wait for it. Against the simulation,
 * measured on the graphs that ship: where no send meets a collective on a link the same makespan within 0.5 %, exactly on
 * plan_best; else within 3 %, for the deployment plan's own workload 2.0 % less, and up to 8 % less where prompts alone go through
 * four stages over PCIe. Lower bound of the makespan, whatever the schedule of these micro-batches:
 *
 *   area   of each device: Σ compute, and Σ collectives, after the least time until anything can reach its stage and
 *          before the least from there to the end
 *   path   the longest chain of a micro-batch's own seconds and of those whose sampled tokens it needs
 *
 * Not modelled: contention. A send waits for its stage's collectives and they for it, where in truth both go on more slowly; and
 * it takes nothing from the collectives of the stage that receives it. Nor the cost of submitting a task, caches, clocks.
 * `octant simulate` has the first two. */
#ifndef OCTANT_TASKS_PLAN_H
#define OCTANT_TASKS_PLAN_H

#include "runtime/batcher.h"
#include "runtime/metrics.h"
#include "runtime/routing.h"
#include "tasks/call.h"

/* A worker looks at its queue when a task has ended, and again before it takes the next one; StarPU on SimGrid counts a
 * microsecond for each look. A collective's engine, which has nothing else to do, looks once. On a machine with a
 * driver between them a dependent task waits longer: machine.runtime.task_s adds to it. */
#define PLAN_LOOK_S 1e-6

enum plan_phase { PLAN_PREFILL, PLAN_DECODE, PLAN_PHASES }; /* a mixed micro-batch counts as prefill */
enum plan_bound { BOUND_FLOPS, BOUND_BYTES, BOUND_LINKS, BOUND_LAUNCH, PLAN_BOUNDS };
enum plan_axis { PLAN_TENSOR, PLAN_EXPERTS, PLAN_STAGES, PLAN_AXES };

struct plan_kind { /* over all devices */
	bool collective;
	int64_t calls;
	double flops, bytes, link_bytes, seconds;
	double bound_s[PLAN_BOUNDS]; /* seconds of calls in which this bound is the largest part */
};

struct plan_axis_sum { /* summed over devices */
	double bytes;   /* sent */
	double seconds; /* of the collectives that a device takes part in */
};

struct plan_device {
	int device, stage; /* its number */
	double weights, kv, kv_used, activations, workspace, total, limit; /* bytes; limit 0: none of its own */
	struct {
		double compute_s, comm_s, flops, bytes, sent;
		double received_s; /* of comm_s: sends from the stage before, which its own may overlap */
	} phase[PLAN_PHASES];
};

struct plan_times { /* one way to overlap */
	double prefill_rate, decode_rate; /* tokens/ms a device */
	double makespan_s, prefill_s, decode_s; /* windows as in runtime/metrics.h */
	double ttft_s;
	double exposed[PLAN_PHASES + 1], bubble[PLAN_PHASES + 1]; /* shares, mean over stages; last: of the whole */
};

struct plan {
	const struct graph *graph;
	struct metrics metrics; /* of full overlap, source "planned" */
	struct plan_times overlapped, serial;
	double area_s, path_s, lower_bound_s;
	struct plan_kind kind[CALL_KINDS][PLAN_PHASES];
	struct plan_axis_sum axis[PLAN_AXES][PLAN_PHASES];
	struct plan_device device[MESH_MAX_DEVICES]; /* by stage · S + index */
	struct model_parameters parameters;
	struct batcher_counters counters;
	int64_t pages, pages_wanted; /* of each attention group's pool; wanted: what the limits need */
	double page_waste; /* share of the sequences' pages that no token fills: the ends of their last ones */
	int64_t phase_micro_batches[PLAN_PHASES], phase_rows[PLAN_PHASES];
	double dropped;  /* share of routed rows beyond the capacity */
	int64_t *load;   /* [layers][experts], or NULL: even */
};

struct plan_options {
	const struct routing_options *routing; /* NULL: even */
};

/* What bounds a phase: tokens/ms a device if nothing else took time, of the rows that the phase computes. */
struct plan_rates {
	double planned, serial; /* tokens/ms a device, as the metrics define them: full overlap, and none */
	double by_flops, by_bytes; /* the devices' arithmetic alone, their memory alone */
	double by_tasks; /* all compute tasks at their roofline, with launches */
	double by_links; /* collectives alone */
	enum plan_bound binds; /* of compute tasks' seconds, the bound with most */
	double binds_share;
	bool links_bind; /* collectives take longer than compute */
};
void plan_rates_make(const struct plan *plan, enum plan_phase phase, struct plan_rates *rates);
extern const char *const plan_bound_names[PLAN_BOUNDS];
extern const char *const plan_axis_names[PLAN_AXES];

struct plan_claim { /* what somebody claims, beside what is */
	const char *name, *unit;
	char label[64];
	double claimed, value;
	char relation[4]; /* "=", "≥", "≤": what the claim means */
	bool holds;       /* "=" within a tenth */
	char why[256];
};
/* The graph's claims: returns how many, at most GRAPH_MAX_CLAIMS. */
int plan_claims_make(const struct plan *plan, struct plan_claim *claims);

/* For the workload of a resolved graph (graph->workload). `graph` must outlive the plan. Errors: ERROR_INPUT for a
 * machine that is no machine for a plan (links that do not connect) and for what does not fit a device's memory, by how
 * much, and what would; ERROR_MEMORY. */
int plan_make(const struct graph *graph, const struct plan_options *options, struct plan **plan, struct error *error);
void plan_destroy(struct plan *plan); /* accepts NULL */

#endif
