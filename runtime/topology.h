/* SPDX-License-Identifier: Apache-2.0
 *
 * What this host has and how much of it this process may use: cores, caches, memory, GPUs (hwloc), and the limits
 * that a container sets (affinity, control groups).
 *
 *   machine ─ packages ─ NUMA nodes ─ L3 ─ cores ─ L2, L1 ─ hardware threads (PUs)
 *
 * Deliberately without CUDA: a GPU is listed when the system shows it on the PCI bus, usable or not. */
#ifndef OCTANT_TOPOLOGY_H
#define OCTANT_TOPOLOGY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "runtime/error.h"

#define TOPOLOGY_MAX_NODES 64
#define TOPOLOGY_MAX_GPUS  64

struct topology_node { /* NUMA node */
	int index;     /* the system's */
	int cores;     /* near it, that this process may use */
	double memory; /* bytes */
};

struct topology_gpu {
	char name[128];   /* "NVIDIA H100 80GB HBM3" by its driver, else "NVIDIA 10de:2330", the PCI numbers */
	char address[32]; /* PCI: "0000:17:00.0" */
	unsigned vendor, device;
	int node; /* NUMA node's index, −1: not known */
};

struct topology_cache {
	int count;   /* of the machine */
	double size; /* bytes, of each; 0: none */
};

struct topology {
	char cpu[128]; /* "AMD EPYC 9654 96-Core Processor" */
	int packages, cores_total, pus_total;
	int cores, pus; /* that this process may run on (affinity, cpusets) */
	double cpu_limit; /* CPUs' worth of time that control groups allow, 0: no limit */
	int workers;      /* threads that pay off: cores, or fewer by cpu_limit; at least 1 */

	struct topology_cache l1, l2, l3;

	double memory_total;     /* bytes */
	double memory_limit;     /* of control groups, 0: none */
	double memory_available; /* that a new allocation can take without swapping, below the limit too */

	int nodes;
	struct topology_node node[TOPOLOGY_MAX_NODES];
	int gpus;
	struct topology_gpu gpu[TOPOLOGY_MAX_GPUS];

	/* instruction sets that kernels choose by; false where the processor is no x86 */
	bool avx2, fma, f16c, avx512, avx512_bf16, avx512_vnni;
};

/* Errors: ERROR_RUN where hwloc cannot read the machine; ERROR_MEMORY. */
int topology_read(struct topology *topology, struct error *error);

/* What one worker reaches here when all `workers` work, in about half a second: FP32, BF16 and 8-bit integers' multiply-adds
 * from registers (FLOP/s, of integers too; 0: the processor has no dot product for it), and reads of memory beyond the caches
 * (bytes/s). Errors: ERROR_RUN, ERROR_MEMORY. */
struct topology_speed {
	double fp32_flops, bf16_flops, int8_flops, bandwidth;
};
int topology_measure(const struct topology *topology, struct topology_speed *speed, struct error *error);

#endif
