/* SPDX-License-Identifier: Apache-2.0
 *
 * What no schedule of the plan's micro-batches can beat (plan.h): area and path. */
#include <math.h>
#include <stdlib.h>
#include "tasks/plan_internal.h"

static double longest_path(const struct plan_steps *steps, double *end)
{
	double longest = 0;
	for (int64_t i = 0; i < steps->count; i++) {
		const struct plan_step *step = &steps->step[i];
		double begin = 0;
		for (int64_t a = 0; a < step->after; a++)
			begin = fmax(begin, end[steps->after[step->first_after + a]]);
		for (int s = 0; s < steps->stages; s++) {
			const struct plan_stage *stage = &steps->stage[i * steps->stages + s];
			begin += stage->compute + stage->comm + stage->send;
		}
		end[i] = begin;
		longest = fmax(longest, begin);
	}
	return longest;
}

int plan_bound_make(const struct plan_steps *steps, struct plan *plan, struct error *error)
{
	/* least seconds until anything reaches a stage, and from there to the end: with its own send, and after it */
	double head[MESH_MAX_STAGES], tail[MESH_MAX_STAGES], after_send[MESH_MAX_STAGES];
	double *end = calloc((size_t) steps->count + 1, sizeof *end);
	if (!end)
		return error_memory(error, "planning");
	for (int s = 0; s < steps->stages; s++)
		head[s] = tail[s] = after_send[s] = INFINITY;
	for (int64_t i = 0; i < steps->count; i++) {
		double before_it = 0, after_it = 0;
		for (int s = 0, r = steps->stages - 1; s < steps->stages; s++, r--) {
			const struct plan_stage *stage = &steps->stage[i * steps->stages + s];
			head[s] = fmin(head[s], before_it);
			before_it += stage->compute + stage->comm + stage->send;
			after_send[r] = fmin(after_send[r], after_it);
			stage = &steps->stage[i * steps->stages + r];
			tail[r] = fmin(tail[r], after_it + stage->send);
			after_it += stage->send + stage->compute + stage->comm;
		}
	}
	plan->path_s = longest_path(steps, end);
	plan->area_s = 0;
	for (int d = 0; d < plan->graph->mesh.devices && steps->count; d++) {
		const struct plan_device *device = &plan->device[d];
		double compute = 0, comm = 0;
		for (int p = 0; p < PLAN_PHASES; p++) {
			compute += device->phase[p].compute_s;
			comm += device->phase[p].comm_s - device->phase[p].received_s;
		}
		compute += head[device->stage] + tail[device->stage];
		comm += head[device->stage] + after_send[device->stage]; /* its sends are among them */
		plan->area_s = fmax(plan->area_s, fmax(compute, comm));
	}
	plan->lower_bound_s = fmax(plan->area_s, plan->path_s);
	free(end);
	return 0;
}
