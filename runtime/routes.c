/* SPDX-License-Identifier: Apache-2.0
 *
 * Routes by Dijkstra's algorithm from each device. */
#include "runtime/routes.h"
#include <math.h>
#include <stdlib.h>

enum {
	NODES = MESH_MAX_DEVICES + GRAPH_MAX_SWITCHES,
	NONE = -1,
};

#define MESSAGE_BYTES 1048576.0
#define FORWARDING_S  1e3 /* added where a device would forward: more than any link takes */

/* Devices first, then switch −1, −2, … */
static int node_of(int end)
{
	return end >= 0 ? end : MESH_MAX_DEVICES - 1 - end;
}

struct search {
	double seconds[NODES];
	int link[NODES]; /* directed, that the way to this node ends with */
	bool known[NODES];
};

static int end_of(const struct graph_machine *machine, int directed, bool head)
{
	const struct graph_link *link = &machine->link[directed / 2];
	return node_of((directed % 2 == 0) == head ? link->to : link->from);
}

static void search_from(const struct graph_machine *machine, int from, struct search *s)
{
	for (int i = 0; i < NODES; i++) {
		s->seconds[i] = INFINITY;
		s->link[i] = NONE;
		s->known[i] = false;
	}
	s->seconds[from] = 0;
	for (;;) {
		int nearest = NONE;
		for (int i = 0; i < NODES; i++)
			if (!s->known[i] && isfinite(s->seconds[i]) && (nearest == NONE || s->seconds[i] < s->seconds[nearest]))
				nearest = i;
		if (nearest == NONE)
			return;
		s->known[nearest] = true;
		double forwarding = nearest != from && nearest < MESH_MAX_DEVICES ? FORWARDING_S : 0;
		for (int l = 0; l < 2 * machine->links; l++) {
			const struct graph_link *link = &machine->link[l / 2];
			int to = end_of(machine, l, true);
			double seconds = s->seconds[nearest] + forwarding + link->latency_s + MESSAGE_BYTES / link->bandwidth;
			if (end_of(machine, l, false) == nearest && seconds < s->seconds[to]) {
				s->seconds[to] = seconds;
				s->link[to] = l;
			}
		}
	}
}

static int follow(const struct graph_machine *machine, const struct search *s, int from, int to, struct route *route,
	struct error *error)
{
	uint16_t back[ROUTE_MAX_HOPS];
	int hops = 0;
	for (int node = to; node != from; node = end_of(machine, s->link[node], false)) {
		if (s->link[node] == NONE)
			return error_set(error, ERROR_INPUT, NULL, "the links of the machine \"%s\" do not connect device %d with "
				"device %d; a link from each to the same switch (-1), or one between them, would be right",
				machine->name, from, to);
		if (hops == ROUTE_MAX_HOPS)
			return error_set(error, ERROR_INPUT, NULL, "from device %d to device %d of the machine \"%s\" data takes "
				"more than %d links; a shorter way would be right", from, to, machine->name, ROUTE_MAX_HOPS);
		back[hops++] = (uint16_t) s->link[node];
	}
	*route = (struct route){ .hops = hops, .bandwidth = INFINITY };
	for (int i = 0; i < hops; i++) {
		const struct graph_link *link = &machine->link[back[hops - 1 - i] / 2];
		route->link[i] = back[hops - 1 - i];
		route->latency_s += link->latency_s;
		route->bandwidth = fmin(route->bandwidth, link->bandwidth);
	}
	return 0;
}

int routes_make(const struct graph_machine *machine, struct routes **out, struct error *error)
{
	struct search s;
	int code = 0, n = machine->devices;
	*out = NULL;
	if (!machine->given || machine->host || !machine->links)
		return 0;
	struct routes *routes = calloc(1, sizeof *routes);
	if (routes) {
		routes->devices = n;
		routes->links = 2 * machine->links;
		routes->bandwidth = calloc((size_t) routes->links, sizeof *routes->bandwidth);
		routes->route = calloc((size_t) n * (size_t) n, sizeof *routes->route);
	}
	if (!routes || !routes->bandwidth || !routes->route) {
		routes_destroy(routes);
		return error_memory(error, "finding the routes between devices");
	}
	for (int l = 0; l < routes->links; l++)
		routes->bandwidth[l] = machine->link[l / 2].bandwidth;
	for (int from = 0; !code && from < n; from++) {
		search_from(machine, from, &s);
		for (int to = 0; !code && to < n; to++)
			if (to != from)
				code = follow(machine, &s, from, to, &routes->route[from * n + to], error);
	}
	if (code) {
		routes_destroy(routes);
		return code;
	}
	*out = routes;
	return 0;
}

void routes_destroy(struct routes *routes)
{
	if (!routes)
		return;
	free(routes->bandwidth);
	free(routes->route);
	free(routes);
}
