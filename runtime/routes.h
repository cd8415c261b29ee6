/* SPDX-License-Identifier: Apache-2.0
 *
 * Which links data takes from one device of a machine to another.
 *
 * A machine's links join devices (0, 1, …) and switches (−1, −2, …); each is full duplex, so that it is two directed
 * links: 2 · index from its `from` to its `to`, 2 · index + 1 the other way. The route from a to b is the one that
 * takes 1 MiB least time one link after the other: the sum of latency + 1 MiB / bandwidth. Inside a node that is the
 * fast switch, between nodes the network, whatever the number of links. Devices forward nothing for others unless no
 * switch does: a way through a device counts only where there is no other.
 *
 *      0     1          2     3        links 0…3: device to −1 or −2, 4…7: device to −3
 *      └─ −1 ┘          └─ −2 ┘        0 → 1: up link 0, down link 1; 0 → 2: up link 4, down link 6
 *      └──────── −3 ──────────┘ */
#ifndef OCTANT_ROUTES_H
#define OCTANT_ROUTES_H

#include "runtime/graph.h"

enum { ROUTE_MAX_HOPS = 8 };

struct route {
	int hops; /* 0: from a device to itself, or not connected */
	uint16_t link[ROUTE_MAX_HOPS]; /* directed */
	double latency_s; /* sum over the links */
	double bandwidth; /* bytes/s, of the narrowest link */
};

struct routes {
	int devices, links;     /* links: directed */
	double *bandwidth;      /* [links] bytes/s */
	struct route *route;    /* [devices][devices] */
};

/* For all devices of a resolved graph's machine. Errors: ERROR_INPUT where two devices are not connected, or only over
 * more than ROUTE_MAX_HOPS links; ERROR_MEMORY. A machine without links, or a host, has none: *routes is NULL. */
int routes_make(const struct graph_machine *machine, struct routes **routes, struct error *error);
void routes_destroy(struct routes *routes); /* accepts NULL */

static inline const struct route *routes_between(const struct routes *routes, int from, int to)
{
	return &routes->route[from * routes->devices + to];
}

#endif
