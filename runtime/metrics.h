/* SPDX-License-Identifier: Apache-2.0
 *
 * How fast a run was, where its time went, and whether the graph's requirements hold: one form for what was
 * measured, simulated or planned (metrics.json).
 *
 *   start ──────────── prefill window ──────────── T ───── decode window ───── end
 *                                                  └ the last sequence's first token
 *
 * Definitions; seconds are since the run's start, a device's figures are averaged over devices:
 *   ttft_s                  first token − start, by sequence
 *   itl_s                   time between two tokens of a sequence, over all tokens but first ones
 *   prefill_tokens_per_s    prompt tokens / (T − start)
 *   decode_tokens_per_s     tokens after T / (end − T)
 *   …_per_busy_s            prompt tokens, or tokens but first ones, / time in which any task of that phase runs
 *                           (a mixed micro-batch is of both): what the phases do where they overlap
 *   total_tokens_per_s      prompt and new tokens / makespan
 *   tokens_per_ms_per_device  the two rates / 1,000 / devices
 *   comm_s, compute_s       sum of the tasks' seconds, hidden or not; comm_over_compute their ratio
 *   exposed_comm_share      time in which collectives run on a device and nothing else / makespan
 *   bubble_share            time with nothing on a device between its first and last task / that span
 *                           …_prefill, …_decode: both within the window, by the window's length and span
 *   busy_share              time in which anything runs on the device / makespan
 *   runtime_overhead_share  time of workers between two tasks that follow each other within 50 µs / (workers ·
 *                           makespan): longer gaps are waiting, which bubble_share tells
 *   p50, p99                nearest rank: the value that this share of all does not exceed
 * What cannot be told (no token came, no task was recorded) is NAN here and null in the file. */
#ifndef OCTANT_METRICS_H
#define OCTANT_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "runtime/error.h"
#include "runtime/graph.h"
#include "runtime/record.h"

enum metrics_source { METRICS_MEASURED, METRICS_SIMULATED, METRICS_PLANNED };

struct metrics_sequence {
	int prompt_tokens;
	int tokens;            /* new ones */
	const double *token_s; /* [tokens] when each came, since the run's start, ascending */
};

struct metrics_device { /* of one part of the mesh */
	int id, stage, tensor, group, experts, slice; /* as in struct mesh_part */
	struct range layers, expert_range;
	double weight_bytes, kv_bytes, kv_used_bytes, activation_bytes, peak_bytes;
	double busy_share; /* computed from records */
};

struct metrics_kind { /* tasks of one kind */
	const char *name;
	bool collective;
	int64_t calls;
	double seconds;
};

#define METRICS_MAX_KINDS 32

struct metrics_requirement {
	char name[64];
	double limit, value; /* value NAN: none */
	const char *unit;
	int holds;           /* 1, 0, −1: not judged */
	char why[256];
};

struct metrics_spread {
	double p50, p99, max;
};

struct metrics {
	enum metrics_source source;
	char graph[GRAPH_TEXT], model[128], machine[GRAPH_TEXT], policy[32];
	char measured_on[256]; /* where it ran; "" when it did not */
	int workers;
	struct mesh mesh;

	int sequences; /* of the workload */
	int prompt_min, prompt_max;
	int64_t prompt_tokens, new_tokens;
	int64_t decoded_tokens; /* new ones but each sequence's first */

	double makespan_s, prefill_window_s, decode_window_s;
	double prefill_tokens_per_s, decode_tokens_per_s, total_tokens_per_s;
	double prefill_tokens_per_busy_s, decode_tokens_per_busy_s;
	struct {
		double prefill, decode;
	} tokens_per_ms_per_device;
	struct metrics_spread ttft_s, itl_s;
	double comm_s, compute_s, comm_over_compute;
	double exposed_comm_share, exposed_comm_share_prefill, exposed_comm_share_decode;
	double bubble_share, bubble_share_prefill, bubble_share_decode;
	double runtime_overhead_share;

	int devices;
	struct metrics_device device[MESH_MAX_DEVICES]; /* by stage · S + index */
	int kinds;
	struct metrics_kind kind[METRICS_MAX_KINDS];
	int layers, experts;
	const int64_t *load; /* [layers][experts] rows sent to each expert, the caller's; NULL: not known */
	double imbalance;    /* mean over layers of largest / mean load; 1 is even */

	int requirements;
	struct metrics_requirement requirement[2 * GRAPH_MAX_REQUIREMENTS];
	int64_t finished, failed, preempted, resumed; /* sequences; resumed: finished by an earlier call */
	int64_t wasted_rows, recomputed_rows, micro_batches, tasks;
};

/* Everything NAN or zero, and what a resolved graph says: names, mesh, devices' places. */
void metrics_begin(struct metrics *metrics, enum metrics_source source, const struct graph *graph);

/* From the times of tokens: rates, ttft, itl, windows, workload. `start_s` and `end_s` are on the records' clock,
 * tokens' times since `start_s`. Errors: ERROR_MEMORY. */
int metrics_tokens(struct metrics *metrics, const struct metrics_sequence *sequences, int count, double start_s,
	double end_s, struct error *error);

/* From the records of tasks, after metrics_tokens. `kind_names`: [kinds] by task_record.kind. `workers` 0: as many as
 * the records name. Errors: ERROR_MEMORY. */
int metrics_records(struct metrics *metrics, const struct task_record *records, size_t count,
	const char *const *kind_names, int kinds, int workers, double start_s, double end_s, struct error *error);

/* The experts' load, [layers][experts]; it must outlive the metrics. */
void metrics_load(struct metrics *metrics, const int64_t *load, int layers, int experts);

/* Verdicts of the graph's requirements, after all else is filled in. Measured figures are judged only on the machine
 * that the graph names: `on_machine` says whether this is it. */
void metrics_judge(struct metrics *metrics, const struct graph *graph, bool on_machine);

/* Whether a requirement that was judged does not hold. */
bool metrics_fails(const struct metrics *metrics);

/* metrics.json's text with a newline at its end; the caller frees it. Errors: ERROR_MEMORY. */
int metrics_text(const struct metrics *metrics, char **text, struct error *error);

#endif
