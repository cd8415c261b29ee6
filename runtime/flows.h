/* SPDX-License-Identifier: Apache-2.0
 *
 * Flows between simulated hosts, for the simulated worker that calls: SimGrid shares each link's bandwidth equally
 * among the flows that cross it at a time (max-min fairness). */
#ifndef OCTANT_FLOWS_H
#define OCTANT_FLOWS_H

#ifdef __cplusplus
extern "C" {
#endif

struct gpu_flow {
	int from, to; /* hosts CUDA… of the platform */
	double bytes;
};

/* Starts all and returns when the last has ended. Returns −1 where a host or a route is missing. */
int flows_run(const struct gpu_flow *flows, int count);

/* Lets simulated time pass. */
void flows_sleep(double seconds);

/* Once in a simulation, before its workers start. */
void flows_start(void);

/* Lets the time of computing pass on one of `workers` that share a host's memory: alone_s while no other computes, busy_s
 * while all do, in between in between; what others begin or end meanwhile changes the pace of what is left. */
void flows_compute(double alone_s, double busy_s, int workers);

double flows_now(void);

/* Of the SimGrid that is linked: "3.32.0". */
const char *flows_version(void);

#ifdef __cplusplus
}
#endif

#endif
