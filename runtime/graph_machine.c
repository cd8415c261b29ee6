/* SPDX-License-Identifier: Apache-2.0
 *
 * The machine: its devices one by one, and the links between them. */
#include <stdio.h>
#include <string.h>
#include "runtime/graph_internal.h"

/* A logical device of this host. The figures are nominal, of one core of a present server processor: good
 * enough to order tasks by. `octant topology` writes a file with measured ones. */
static const struct graph_device host_device = {
	.name = "logical device",
	.flops = 100e9,
	.flops_efficiency = 1,
	.bandwidth = 15e9,
	.bandwidth_efficiency = 1,
	.memory = 0,
	.launch_s = 5e-6,
};

static int read_device(const struct graph_text *text, const config_setting_t *group, bool host,
	struct graph_device *device, struct error *error)
{
	static const char *const needed[] = {"flops", "bandwidth", "memory"};
	struct graph_place place = graph_place_of(text, group);
	const char *name = graph_word(text, group, "machine.devices[].name");
	*device = host_device;
	if (!host)
		strcpy(device->name, "device");
	if (name)
		snprintf(device->name, sizeof device->name, "%s", name);
	for (int i = 0; i < 3 && !host; i++)
		if (!config_setting_get_member(group, needed[i]))
			return graph_error(error, &place,
				"the machine's device has no `%s`; it must be given unless host = true", needed[i]);
	if (graph_find(text, group, "machine.devices[].flops"))
		device->flops = graph_number(text, group, "machine.devices[].flops");
	if (graph_find(text, group, "machine.devices[].bandwidth"))
		device->bandwidth = graph_number(text, group, "machine.devices[].bandwidth");
	device->flops_efficiency = graph_number(text, group, "machine.devices[].flops_efficiency");
	device->bandwidth_efficiency = graph_number(text, group, "machine.devices[].bandwidth_efficiency");
	device->memory = graph_number(text, group, "machine.devices[].memory");
	device->launch_s = graph_number(text, group, "machine.devices[].launch_s");
	if (!host && device->memory < 1e6)
		return graph_error(error, &place,
			"the machine's device has a memory of %.15g bytes; 64e9, for example, would be right", device->memory);
	return 0;
}

static int read_devices(
	const struct graph_text *text, const config_setting_t *list, struct graph_machine *machine, struct error *error)
{
	for (int i = 0; i < config_setting_length(list); i++) {
		const config_setting_t *group = config_setting_get_elem(list, (unsigned) i);
		struct graph_place place = graph_place_of(text, group);
		struct graph_device device;
		int count = (int) graph_integer(text, group, "machine.devices[].count");
		int code = read_device(text, group, machine->host, &device, error);
		if (code)
			return code;
		if (count > MESH_MAX_DEVICES - machine->devices)
			return graph_error(error, &place,
				"the machine has more than %d devices; at most that many are possible",
				MESH_MAX_DEVICES);
		while (count--)
			machine->device[machine->devices++] = device;
	}
	return 0;
}

static int read_links(
	const struct graph_text *text, const config_setting_t *list, struct graph_machine *machine, struct error *error)
{
	for (int i = 0; list && i < config_setting_length(list); i++) {
		const config_setting_t *group = config_setting_get_elem(list, (unsigned) i);
		struct graph_place place = graph_place_of(text, group);
		struct graph_link link = {
			.from = (int) graph_integer(text, group, "machine.links[].from"),
			.to = (int) graph_integer(text, group, "machine.links[].to"),
			.bandwidth = graph_number(text, group, "machine.links[].bandwidth"),
			.latency_s = graph_number(text, group, "machine.links[].latency_s"),
		};
		if (link.from == link.to || link.from >= machine->devices || link.to >= machine->devices)
			return graph_error(error, &place,
				"a link from %d to %d on a machine of %d devices; two of -1 (a switch; -2: another) to %d",
				link.from, link.to, machine->devices, machine->devices - 1);
		if (machine->links == GRAPH_MAX_LINKS)
			return graph_error(error, &place,
				"the machine has more than %d links; at most that many are possible", GRAPH_MAX_LINKS);
		machine->link[machine->links++] = link;
	}
	return 0;
}

/* Every device must be reachable from device 0, where there are links at all. */
static int check_connected(const struct graph_text *text, const config_setting_t *group,
	const struct graph_machine *machine, struct error *error)
{
	bool reached[GRAPH_MAX_SWITCHES + MESH_MAX_DEVICES] = {false}, more = machine->links > 0;
	struct graph_place place = graph_place_of(text, group);
	reached[GRAPH_MAX_SWITCHES] = true;
	while (more) {
		more = false;
		for (int i = 0; i < machine->links; i++) {
			bool *from = &reached[GRAPH_MAX_SWITCHES + machine->link[i].from];
			bool *to = &reached[GRAPH_MAX_SWITCHES + machine->link[i].to];
			more |= *from != *to;
			*from = *to = *from || *to;
		}
	}
	for (int i = 0; i < machine->devices && machine->links; i++)
		if (!reached[GRAPH_MAX_SWITCHES + i])
			return graph_error(error, &place,
				"no link connects device %d of the machine with device 0; a link from %d to -1 (a switch that "
				"device 0 is linked to), for example, would be right", i, i);
	return 0;
}

/* ---- what octant calibrate measured */

static void read_terms(const struct graph_text *text, const config_setting_t *group, double *term)
{
	for (int t = 0; t < CURVE_TERMS; t++) {
		char path[64];
		snprintf(path, sizeof path, "machine.kinds[].alone.%s", curve_keys[t]);
		term[t] = graph_number(text, group, path);
	}
}

static int read_curve(const struct graph_text *text, const config_setting_t *group, struct graph_machine *machine,
	struct error *error)
{
	const config_setting_t *alone = config_setting_get_member(group, "alone");
	const config_setting_t *busy = config_setting_get_member(group, "busy");
	const char *task = graph_word(text, group, "machine.kinds[].task");
	struct graph_place place = graph_place_of(text, group);
	struct curve *curve = &machine->curve[machine->curves];
	if (machine->curves == GRAPH_MAX_CURVES)
		return graph_error(error, &place, "the machine has more than %d kinds; at most that many are possible",
			GRAPH_MAX_CURVES);
	*curve = (struct curve){ .error = graph_number(text, group, "machine.kinds[].error"),
		.spread = graph_number(text, group, "machine.kinds[].spread") };
	if (strlen(task) >= sizeof curve->task)
		return graph_error(error, &place, "machine.kinds: \"%s\" is no kind of task", task);
	strcpy(curve->task, task);
	for (int i = 0; i < machine->curves; i++)
		if (!strcmp(machine->curve[i].task, task))
			return graph_error(error, &place, "the machine has two curves of %s; one would be right", task);
	if (!alone)
		return graph_error(error, &place, "the machine's curve of %s has no `alone`; alone = { call_s = 1e-6; flop_s = "
			"1e-11; }, for example, would be right", task);
	read_terms(text, alone, curve->alone);
	read_terms(text, busy ? busy : alone, curve->busy);
	double most = 0;
	for (int t = 0; t < CURVE_TERMS; t++)
		most = curve->alone[t] > most ? curve->alone[t] : most;
	if (most <= 0)
		return graph_error(error, &place, "by the machine's curve %s takes no time; a number above 0 would be right", task);
	machine->curves++;
	return 0;
}

static int read_runtime(const struct graph_text *text, const config_setting_t *group, struct graph_machine *machine,
	struct error *error)
{
	const char *policy = graph_word(text, group, "machine.runtime[].policy");
	struct graph_place place = graph_place_of(text, group);
	struct graph_runtime *r = &machine->runtime[machine->runtimes];
	if (machine->runtimes == GRAPH_MAX_POLICIES)
		return graph_error(error, &place, "the machine has the costs of more than %d policies; at most that many are possible",
			GRAPH_MAX_POLICIES);
	if (strlen(policy) >= sizeof r->policy)
		return graph_error(error, &place, "machine.runtime: \"%s\" is no policy", policy);
	for (int i = 0; i < machine->runtimes; i++)
		if (!strcmp(machine->runtime[i].policy, policy))
			return graph_error(error, &place, "the machine has the costs of %s twice; once would be right", policy);
	*r = (struct graph_runtime){
		.submit_s = graph_number(text, group, "machine.runtime[].submit_s"),
		.task_s = graph_number(text, group, "machine.runtime[].task_s"),
		.awake_s = graph_number(text, group, "machine.runtime[].awake_s"),
	};
	strcpy(r->policy, policy);
	r->hop_s = config_setting_get_member(group, "hop_s") ? graph_number(text, group, "machine.runtime[].hop_s") : r->task_s;
	r->wake_s = config_setting_get_member(group, "wake_s") ? graph_number(text, group, "machine.runtime[].wake_s") : r->hop_s;
	machine->runtimes++;
	return 0;
}

static int read_calibration(const struct graph_text *text, const config_setting_t *group,
	struct graph_machine *machine, struct error *error)
{
	const config_setting_t *kinds = graph_find(text, group, "machine.kinds");
	const config_setting_t *runtimes = graph_find(text, group, "machine.runtime");
	struct graph_place place = graph_place_of(text, kinds ? kinds : group);
	const char *cpu = graph_word(text, group, "machine.cpu"), *day = graph_word(text, group, "machine.measured");
	const char *compute = graph_word(text, group, "machine.compute");
	if (kinds && !machine->host)
		return graph_error(error, &place, "machine.kinds are of a calibrated host; host = true beside them would be right");
	snprintf(machine->cpu, sizeof machine->cpu, "%s", cpu ? cpu : "");
	snprintf(machine->measured, sizeof machine->measured, "%s", day ? day : "");
	machine->compute = compute ? (enum dtype) dtype_parse(compute) : DTYPE_FP32;
	machine->cores = (int) graph_integer(text, group, "machine.cores");
	machine->workers = (int) graph_integer(text, group, "machine.workers");
	for (int i = 0; runtimes && i < config_setting_length(runtimes); i++) {
		int code = read_runtime(text, config_setting_get_elem(runtimes, (unsigned) i), machine, error);
		if (code)
			return code;
	}
	for (int i = 0; kinds && i < config_setting_length(kinds); i++) {
		int code = read_curve(text, config_setting_get_elem(kinds, (unsigned) i), machine, error);
		if (code)
			return code;
	}
	return 0;
}

struct graph_runtime graph_runtime_of(const struct graph *graph)
{
	const struct graph_machine *machine = &graph->machine;
	for (int i = 0; i < machine->runtimes; i++)
		if (!strcmp(machine->runtime[i].policy, graph->schedule.policy))
			return machine->runtime[i];
	return machine->runtime[0];
}

int graph_read_machine(const struct graph_text *text, struct graph *graph, struct error *error)
{
	struct graph_machine *machine = &graph->machine;
	const config_setting_t *group = config_lookup(&text->config, "machine"), *list, *interconnect;
	machine->host = !group || graph_boolean(text, group, "machine.host");
	machine->given = group != NULL;
	snprintf(machine->name, sizeof machine->name, "%s", machine->host ? "host" : "unnamed");
	if (machine->host) /* numbers beyond the file's list, or without one, are devices like these */
		for (int i = 0; i < MESH_MAX_DEVICES; i++)
			machine->device[i] = host_device;
	if (!group)
		return 0;
	if (graph_word(text, group, "machine.name"))
		snprintf(machine->name, sizeof machine->name, "%s", graph_word(text, group, "machine.name"));
	list = graph_find(text, group, "machine.devices");
	int code = list ? read_devices(text, list, machine, error) : 0;
	if (code)
		return code;
	if (!machine->devices && !machine->host) {
		struct graph_place place = graph_place_of(text, list ? list : group);
		return graph_error(error, &place,
			"the machine has no devices; devices = ( { count = 4; … } ), or host = true, would be right");
	}
	interconnect = graph_find(text, group, "machine.interconnect");
	if (interconnect) {
		const char *name = graph_word(text, interconnect, "machine.interconnect.name");
		snprintf(machine->interconnect, sizeof machine->interconnect, "%s", name ? name : "switch");
		for (int i = 0; i < machine->devices; i++) /* from device to device: two links, half the latency each */
			machine->link[machine->links++] = (struct graph_link){
				.from = i,
				.to = -1,
				.bandwidth = graph_number(text, interconnect, "machine.interconnect.bandwidth"),
				.latency_s = graph_number(text, interconnect, "machine.interconnect.latency_s") / 2,
			};
	}
	code = read_links(text, graph_find(text, group, "machine.links"), machine, error);
	if (!code)
		code = check_connected(text, group, machine, error);
	return code ? code : read_calibration(text, group, machine, error);
}
