/* SPDX-License-Identifier: Apache-2.0
 *
 * What this host has and how much of it this process may use. */
#include "runtime/topology.h"
#include "runtime/topology_limits.h"
#include <hwloc.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#if defined __x86_64__
#include <cpuid.h>
#endif

#define PCI_CLASS_DISPLAY 0x03 /* the class code's upper byte: VGA, XGA, 3D and other display controllers */

static void read_cache(hwloc_topology_t machine, hwloc_obj_type_t type, struct topology_cache *cache)
{
	hwloc_obj_t first = hwloc_get_obj_by_type(machine, type, 0);

	cache->count = first ? hwloc_get_nbobjs_by_type(machine, type) : 0;
	cache->size = first && first->attr ? (double) first->attr->cache.size : 0;
}

static int cores_within(hwloc_topology_t machine, hwloc_const_cpuset_t set)
{
	int cores = 0;
	hwloc_obj_t core = NULL;

	while ((core = hwloc_get_next_obj_by_type(machine, HWLOC_OBJ_CORE, core)))
		cores += hwloc_bitmap_intersects(core->cpuset, set);
	return cores;
}

static void read_processors(hwloc_topology_t machine, hwloc_const_cpuset_t set, struct topology *topology)
{
	hwloc_obj_t package = hwloc_get_obj_by_type(machine, HWLOC_OBJ_PACKAGE, 0);
	const char *name = package ? hwloc_obj_get_info_by_name(package, "CPUModel") : NULL;

	if (!name)
		name = hwloc_obj_get_info_by_name(hwloc_get_root_obj(machine), "CPUModel");
	snprintf(topology->cpu, sizeof topology->cpu, "%s", name ? name : "unknown processor");
	for (size_t n = strlen(topology->cpu); n && topology->cpu[n - 1] == ' ';)
		topology->cpu[--n] = 0;
	topology->packages = hwloc_get_nbobjs_by_type(machine, HWLOC_OBJ_PACKAGE);
	topology->cores_total = hwloc_get_nbobjs_by_type(machine, HWLOC_OBJ_CORE);
	topology->pus_total = hwloc_get_nbobjs_by_type(machine, HWLOC_OBJ_PU);
	topology->pus = hwloc_bitmap_weight(set);
	topology->cores = cores_within(machine, set);
	/* some virtual machines show hardware threads and no cores */
	if (topology->cores_total <= 0) {
		topology->cores_total = topology->pus_total;
		topology->cores = topology->pus;
	}
	if (topology->packages <= 0)
		topology->packages = 1;
	read_cache(machine, HWLOC_OBJ_L1CACHE, &topology->l1);
	read_cache(machine, HWLOC_OBJ_L2CACHE, &topology->l2);
	read_cache(machine, HWLOC_OBJ_L3CACHE, &topology->l3);
}

static void read_nodes(hwloc_topology_t machine, hwloc_const_cpuset_t set, struct topology *topology)
{
	hwloc_obj_t node = NULL;
	hwloc_bitmap_t near = hwloc_bitmap_alloc();

	topology->memory_total = (double) hwloc_get_root_obj(machine)->total_memory;
	while ((node = hwloc_get_next_obj_by_type(machine, HWLOC_OBJ_NUMANODE, node)) &&
		topology->nodes < TOPOLOGY_MAX_NODES) {
		struct topology_node *to = &topology->node[topology->nodes++];
		to->index = (int) node->os_index;
		to->memory = (double) node->attr->numanode.local_memory;
		if (near && !hwloc_bitmap_and(near, node->cpuset, set))
			to->cores = cores_within(machine, near);
	}
	hwloc_bitmap_free(near);
}

static int node_of(hwloc_topology_t machine, hwloc_obj_t device)
{
	hwloc_obj_t parent = hwloc_get_non_io_ancestor_obj(machine, device);
	if (!parent || !parent->nodeset || hwloc_bitmap_weight(parent->nodeset) != 1)
		return -1;
	return hwloc_bitmap_first(parent->nodeset);
}

/* NVIDIA's driver says the model in a file that does not need CUDA; else the PCI numbers must do. */
static void name_gpu(struct topology_gpu *gpu)
{
	const char *maker = gpu->vendor == 0x10de ? "NVIDIA" :
		gpu->vendor == 0x1002 ? "AMD" : gpu->vendor == 0x8086 ? "Intel" : "PCI";
	char path[128], line[256];

	snprintf(gpu->name, sizeof gpu->name, "%s %04x:%04x", maker, gpu->vendor, gpu->device);
	snprintf(path, sizeof path, "/proc/driver/nvidia/gpus/%s/information", gpu->address);
	FILE *file = fopen(path, "r");
	while (file && fgets(line, sizeof line, file)) {
		if (strncmp(line, "Model:", 6))
			continue;
		const char *model = line + 6 + strspn(line + 6, " \t");
		snprintf(gpu->name, sizeof gpu->name, "%.*s", (int) strcspn(model, "\n"), model);
		break;
	}
	if (file)
		fclose(file);
}

static void read_gpus(hwloc_topology_t machine, struct topology *topology)
{
	hwloc_obj_t device = NULL;

	while ((device = hwloc_get_next_pcidev(machine, device)) && topology->gpus < TOPOLOGY_MAX_GPUS) {
		const struct hwloc_pcidev_attr_s *pci = &device->attr->pcidev;
		if (pci->class_id >> 8 != PCI_CLASS_DISPLAY)
			continue;
		struct topology_gpu *gpu = &topology->gpu[topology->gpus++];
		gpu->vendor = pci->vendor_id;
		gpu->device = pci->device_id;
		gpu->node = node_of(machine, device);
		snprintf(gpu->address, sizeof gpu->address, "%04x:%02x:%02x.%x", pci->domain, pci->bus, pci->dev,
			pci->func);
		name_gpu(gpu);
	}
}

static void read_instructions(struct topology *topology)
{
#if defined __x86_64__
	topology->avx2 = __builtin_cpu_supports("avx2");
	topology->fma = __builtin_cpu_supports("fma");
	unsigned a, b, c, d;
	topology->f16c = __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C; /* not every compiler has a word for it */
	topology->avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
		__builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
	topology->avx512_bf16 = topology->avx512 && __builtin_cpu_supports("avx512bf16");
	topology->avx512_vnni = topology->avx512 && __builtin_cpu_supports("avx512vnni");
#else
	(void) topology;
#endif
}

static void apply_limits(struct topology *topology)
{
	struct topology_limits limits;

	topology_limits_read("", &limits);
	/* virtual machines that got memory while they ran have more than their NUMA nodes say */
	if (limits.memory_total > topology->memory_total)
		topology->memory_total = limits.memory_total;
	topology->cpu_limit = limits.cpus;
	topology->memory_limit = limits.memory;
	topology->memory_available = limits.memory_available > 0 ? limits.memory_available : topology->memory_total;
	topology->workers = topology->cores;
	if (limits.cpus > 0 && limits.cpus < topology->workers)
		topology->workers = (int) ceil(limits.cpus);
	if (topology->workers < 1)
		topology->workers = 1;
}

int topology_read(struct topology *topology, struct error *error)
{
	static const char *const drivers[] = { "opencl", "cuda", "nvml", "rsmi", "levelzero", "gl", "pci" };
	struct topology read = {0};
	hwloc_topology_t machine;
	hwloc_bitmap_t set;
	int code = 0;

	if (hwloc_topology_init(&machine))
		return error_memory(error, "reading this host's topology");
	set = hwloc_bitmap_alloc();
	if (!set) {
		code = error_memory(error, "reading this host's topology");
		goto out;
	}
	/* plug-ins that ask drivers, or libpciaccess: slow, leaking, and the kernel shows what is on the PCI bus */
	for (size_t i = 0; i < sizeof drivers / sizeof *drivers; i++)
		(void) hwloc_topology_set_components(machine, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, drivers[i]);
	if (hwloc_topology_set_io_types_filter(machine, HWLOC_TYPE_FILTER_KEEP_ALL) || hwloc_topology_load(machine)) {
		code = error_set(error, ERROR_RUN, NULL, "hwloc cannot read this host's topology");
		goto out;
	}
	/* without an answer the whole machine is meant */
	if (hwloc_get_cpubind(machine, set, HWLOC_CPUBIND_PROCESS))
		hwloc_bitmap_copy(set, hwloc_topology_get_topology_cpuset(machine));
	hwloc_bitmap_and(set, set, hwloc_topology_get_topology_cpuset(machine));
	read_processors(machine, set, &read);
	read_nodes(machine, set, &read);
	read_gpus(machine, &read);
	read_instructions(&read);
	apply_limits(&read);
	*topology = read;
out:
	hwloc_bitmap_free(set);
	hwloc_topology_destroy(machine);
	return code;
}
