/* SPDX-License-Identifier: Apache-2.0
 *
 * Opens a graph for a model and this machine. The machine is looked at only where something depends on it. */
#include "tools/graph_load.h"
#include <stdlib.h>
#include "runtime/topology.h"
#include "tasks/kinds.h"

static int look(int *cores, bool *has_bf16, struct error *error)
{
	struct topology *topology = malloc(sizeof *topology);
	if (!topology)
		return error_memory(error, "looking at this machine");
	int code = topology_read(topology, error);
	if (!code) {
		*cores = topology->workers;
		*has_bf16 = topology->avx512_bf16;
	}
	free(topology);
	return code;
}

static int open_graph(const struct graph_load *load, int cores, struct graph **graph, struct error *error)
{
	if (load->faults)
		return graph_check_all(load->name, load->model, cores, &task_kinds, load->overrides, load->override_count,
			load->faults, graph, error);
	int code = graph_open(load->name, load->model, cores, &task_kinds, load->overrides, load->override_count, graph, error);
	if (!code && (code = graph_resolve(*graph, load->model, &task_kinds, error)))
		graph_destroy(*graph);
	return code;
}

int graph_load(const struct graph_load *load, struct graph **graph, struct error *error)
{
	struct graph *made;
	int cores = load->cores, here, code = 0;
	bool looked = graph_is_default(load->name) && load->model && !cores, has_bf16 = false;
	if (looked)
		code = look(&cores, &has_bf16, error);
	if (!code)
		code = open_graph(load, cores, &made, error);
	if (code)
		return code;
	if (made->machine.host && !made->compute_given) {
		if (!looked && (code = look(&here, &has_bf16, error))) {
			graph_destroy(made);
			return code;
		}
		graph_set_default_compute(made, has_bf16);
	}
	*graph = made;
	return 0;
}
