/* SPDX-License-Identifier: Apache-2.0
 *
 * Seconds from FLOPs, bytes, flows and a machine. */
#include "runtime/cost.h"
#include <math.h>
#include <string.h>

#define LEAST_S 1e-7 /* of any task: schedulers and SimGrid refuse costs of zero */

/* One core of a present x86 server, for logical devices that no machine file describes: order of magnitude is
 * what a predicting scheduler needs of it. */
static const struct graph_device host_core = {
	.flops = 100e9, .flops_efficiency = 0.8, .bandwidth = 15e9, .bandwidth_efficiency = 0.8, .launch_s = 1e-6
};

static const struct graph_device *device_of(const struct graph_machine *machine, int device)
{
	if (machine->given && device < machine->devices && machine->device[device].flops > 0)
		return &machine->device[device];
	return &host_core;
}

double cost_flops(const struct graph_machine *machine, int device)
{
	const struct graph_device *d = device_of(machine, device);
	return d->flops * d->flops_efficiency;
}

double cost_bandwidth(const struct graph_machine *machine, int device)
{
	const struct graph_device *d = device_of(machine, device);
	return d->bandwidth * d->bandwidth_efficiency;
}

double cost_links_seconds(const struct routes *routes, const struct flow *flow, int flows, int steps)
{
	double load[2 * GRAPH_MAX_LINKS], latency = 0, most = 0;
	if (!routes || !flows)
		return 0;
	memset(load, 0, (size_t) routes->links * sizeof *load);
	for (int i = 0; i < flows; i++) {
		const struct route *route = routes_between(routes, flow[i].from, flow[i].to);
		latency = fmax(latency, route->latency_s);
		for (int h = 0; h < route->hops; h++)
			load[route->link[h]] += flow[i].bytes;
	}
	for (int l = 0; l < routes->links; l++)
		most = fmax(most, load[l] / routes->bandwidth[l]);
	return steps * latency + most;
}

void cost_of(const struct graph_machine *machine, const struct routes *routes, int device, double flops, double bytes,
	const struct flow *flow, int flows, int steps, struct cost *cost)
{
	const struct graph_device *d = device_of(machine, device);
	*cost = (struct cost){
		.flops_s = flops / (d->flops * d->flops_efficiency),
		.bytes_s = bytes / (d->bandwidth * d->bandwidth_efficiency),
		.links_s = cost_links_seconds(routes, flow, flows, steps),
		.launch_s = fmax(d->launch_s, LEAST_S),
	};
	cost->seconds = fmax(cost->flops_s, fmax(cost->bytes_s, cost->links_s)) + cost->launch_s;
}

double cost_seconds(const struct graph_machine *machine, int device, double flops, double bytes)
{
	struct cost cost;
	cost_of(machine, NULL, device, flops, bytes, NULL, 0, 0, &cost);
	return cost.seconds;
}
