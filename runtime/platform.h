/* SPDX-License-Identifier: Apache-2.0
 *
 * A machine that need not exist, as StarPU on SimGrid reads it: a platform of hosts and links, and the bus files that
 * StarPU would have measured.
 *
 *   DIR/bus/octant.platform.v4.xml   hosts MAIN, RAM, CPU0 … (communication engines, and one that StarPU keeps for
 *                                    each GPU), CUDA0 … (a device each); links; the route between each two devices
 *   DIR/bus/octant.bandwidth, .latency, .config
 *
 * Devices: CUDA number i is the i-th device of those used, in the order of their numbers.
 *
 * Links are those of runtime/routes.h, one for each direction, and routes are its too, so that plan and simulation send
 * the same way: what leaves a device for a switch shares that one link, what comes to it another.
 *
 * SimGrid's links have no latency, since SimGrid would let flows share a link by their latencies; a collective pays its
 * latencies before its flows start. */
#ifndef OCTANT_PLATFORM_H
#define OCTANT_PLATFORM_H

#include "runtime/error.h"
#include "runtime/graph.h"

#define PLATFORM_NAME "octant" /* STARPU_HOSTNAME */

struct platform {
	const struct graph_machine *machine;
	uint64_t devices; /* bit mask of device numbers: the GPUs; 0: none */
	int cpus;         /* hosts CPU0 …, without those that GPUs take */
};

/* Writes the files into `directory`/bus, which it makes. Errors: ERROR_RUN where they cannot be written. */
int platform_write(const struct platform *platform, const char *directory, struct error *error);

/* CUDA number of a device. */
int platform_index(uint64_t devices, int device);

#endif
