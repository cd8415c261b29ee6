/* SPDX-License-Identifier: Apache-2.0
 *
 * A machine that need not exist, as StarPU on SimGrid reads it. */
#include "runtime/platform.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "runtime/routes.h"

/* What StarPU is told of the way to the host, which no data takes in a simulation; a bus must have some. */
#define HOST_BANDWIDTH 25e9

int platform_index(uint64_t devices, int device)
{
	return __builtin_popcountll(devices & (((uint64_t) 1 << device) - 1));
}

static void print_route(FILE *f, const struct platform *p, const struct routes *routes, int from, int to)
{
	const struct route *route = routes_between(routes, from, to);
	fprintf(f, "  <route src=\"CUDA%d\" dst=\"CUDA%d\" symmetrical=\"NO\">", platform_index(p->devices, from),
		platform_index(p->devices, to));
	for (int i = 0; i < route->hops; i++)
		fprintf(f, "<link_ctn id=\"link%d\"/>", route->link[i]);
	fputs("</route>\n", f);
}

static void print_device(FILE *f, const struct platform *p, int device)
{
	const struct graph_device *d = &p->machine->device[device];
	int i = platform_index(p->devices, device);
	/* StarPU allocates nothing there: Octant keeps the accounts */
	fprintf(f, "  <host id=\"CUDA%d\" speed=\"1Gf\"><prop id=\"model\" value=\"GPU\"/><prop id=\"memsize\" "
		"value=\"%.0f\"/><prop id=\"memcpy_peer\" value=\"1\"/></host>\n", i, d->memory > 0 ? d->memory : 1e9);
	fprintf(f, "  <link id=\"RAM-CUDA%d\" bandwidth=\"%.0fBps\" latency=\"0s\"/>\n", i, HOST_BANDWIDTH);
	fprintf(f, "  <link id=\"CUDA%d-RAM\" bandwidth=\"%.0fBps\" latency=\"0s\"/>\n", i, HOST_BANDWIDTH);
}

static void print_platform(FILE *f, const struct platform *p, const struct routes *routes)
{
	int cpus = p->cpus + __builtin_popcountll(p->devices);
	fputs("<?xml version='1.0'?>\n"
	      "<!DOCTYPE platform SYSTEM \"https://simgrid.org/simgrid.dtd\">\n"
	      "<platform version=\"4.1\">\n"
	      " <zone id=\"machine\" routing=\"Full\">\n"
	      "  <host id=\"MAIN\" speed=\"1Gf\"/>\n"
	      "  <host id=\"RAM\" speed=\"1Gf\"/>\n",
		f);
	for (int i = 0; i < cpus; i++)
		fprintf(f, "  <host id=\"CPU%d\" speed=\"1Gf\"/>\n", i);
	for (int d = 0; d < MESH_MAX_DEVICES; d++)
		if (p->devices >> d & 1)
			print_device(f, p, d);
	for (int i = 0; routes && i < routes->links; i++)
		fprintf(f, "  <link id=\"link%d\" bandwidth=\"%.17gBps\" latency=\"0s\"/>\n", i, routes->bandwidth[i]);
	for (int d = 0; d < MESH_MAX_DEVICES; d++) {
		if (!(p->devices >> d & 1))
			continue;
		int i = platform_index(p->devices, d);
		fprintf(f, "  <route src=\"RAM\" dst=\"CUDA%d\" symmetrical=\"NO\"><link_ctn id=\"RAM-CUDA%d\"/></route>\n", i, i);
		fprintf(f, "  <route src=\"CUDA%d\" dst=\"RAM\" symmetrical=\"NO\"><link_ctn id=\"CUDA%d-RAM\"/></route>\n", i, i);
		for (int to = 0; to < MESH_MAX_DEVICES; to++)
			if (routes && to != d && p->devices >> to & 1)
				print_route(f, p, routes, d, to);
	}
	fputs(" </zone>\n</platform>\n", f);
}

/* A row and a column for the host's memory and each device. */
static void print_matrix(FILE *f, const struct platform *p, double value)
{
	int nodes = 1 + __builtin_popcountll(p->devices);
	for (int from = 0; from < nodes; from++)
		for (int to = 0; to < nodes; to++)
			fprintf(f, "%f%c", from == to ? 0 : value, to == nodes - 1 ? '\n' : '\t');
}

static void print_bandwidth(FILE *f, const struct platform *p, const struct routes *routes)
{
	(void) routes;
	print_matrix(f, p, HOST_BANDWIDTH * 1e-6); /* MB/s */
}

static void print_latency(FILE *f, const struct platform *p, const struct routes *routes)
{
	(void) routes;
	print_matrix(f, p, 1); /* µs */
}

static void print_config(FILE *f, const struct platform *p, const struct routes *routes)
{
	(void) routes;
	fprintf(f, "# %s\n", p->machine->name);
}

int platform_write(const struct platform *platform, const char *directory, struct error *error)
{
	static const struct {
		const char *suffix;
		void (*print)(FILE *f, const struct platform *platform, const struct routes *routes);
	} files[] = {
		{ "platform.v4.xml", print_platform },
		{ "bandwidth", print_bandwidth },
		{ "latency", print_latency },
		{ "config", print_config },
	};
	char path[4096];
	struct routes *routes;
	int code = routes_make(platform->machine, &routes, error);
	if (code)
		return code;
	snprintf(path, sizeof path, "%s/bus", directory);
	if (mkdir(path, 0700))
		code = error_set(error, ERROR_RUN, path, "cannot be made: %s", strerror(errno));
	for (size_t i = 0; !code && i < sizeof files / sizeof *files; i++) {
		snprintf(path, sizeof path, "%s/bus/" PLATFORM_NAME ".%s", directory, files[i].suffix);
		FILE *f = fopen(path, "w");
		if (f)
			files[i].print(f, platform, routes);
		bool bad = !f || ferror(f);
		if ((f && fclose(f)) || bad)
			code = error_set(error, ERROR_RUN, path, "cannot be written: %s", strerror(errno));
	}
	routes_destroy(routes);
	return code;
}
