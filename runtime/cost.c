/* SPDX-License-Identifier: Apache-2.0
 *
 * Seconds from FLOPs, bytes and a machine. */
#include "runtime/cost.h"

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

double cost_seconds(const struct graph_machine *machine, int device, double flops, double bytes)
{
	const struct graph_device *d = device_of(machine, device);
	double compute = flops / (d->flops * d->flops_efficiency);
	double memory = bytes / (d->bandwidth * d->bandwidth_efficiency);
	return (compute > memory ? compute : memory) + (d->launch_s > 0 ? d->launch_s : 1e-7);
}

double cost_link_seconds(const struct graph_machine *machine, double bytes, int steps)
{
	double bandwidth = host_core.bandwidth * host_core.bandwidth_efficiency, latency = 0;
	if (bytes <= 0 && steps <= 0)
		return 0;
	if (machine->given && machine->links) {
		bandwidth = machine->link[0].bandwidth;
		for (int i = 0; i < machine->links; i++) {
			if (machine->link[i].bandwidth < bandwidth)
				bandwidth = machine->link[i].bandwidth;
			if (machine->link[i].latency_s > latency)
				latency = machine->link[i].latency_s;
		}
	}
	return steps * latency + bytes / bandwidth;
}
