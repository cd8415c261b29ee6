/* SPDX-License-Identifier: Apache-2.0
 *
 * What control groups (both versions) and the kernel leave to this process. */
#ifndef OCTANT_TOPOLOGY_LIMITS_H
#define OCTANT_TOPOLOGY_LIMITS_H

struct topology_limits {
	double cpus;             /* quota in CPUs, 0: none */
	double memory;           /* bytes, 0: none */
	double memory_total;     /* bytes that the kernel has, 0: not known */
	double memory_available; /* bytes, 0: not known */
};

/* Reads ROOT/proc/{self/cgroup, self/mountinfo, meminfo} and the groups' files below ROOT; "" is the system's own.
 * What cannot be read sets no limit. */
void topology_limits_read(const char *root, struct topology_limits *limits);

#endif
