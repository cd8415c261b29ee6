/* SPDX-License-Identifier: Apache-2.0
 *
 * Topology: this host's own makes sense, and limits of control groups are found in each way that systems mount them
 * (in a made-up /proc and /sys). */
#include "runtime/topology.h"
#include "runtime/topology_limits.h"
#include "tests/scratch.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static char root[SCRATCH_PATH];

/* Writes a file below the root, with the folders on its way. */
static void put(const char *path, const char *text)
{
	char whole[SCRATCH_PATH + 512];
	int length = snprintf(whole, sizeof whole, "%s%s", root, path);
	assert_true(length > 0 && (size_t) length < sizeof whole);
	for (char *slash = whole + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = 0;
		mkdir(whole, 0700);
		*slash = '/';
	}
	FILE *file = fopen(whole, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static int fresh(void **state)
{
	(void) state;
	scratch_make(root);
	put("/proc/meminfo", "MemTotal:       24000000 kB\nMemFree:         1000000 kB\nMemAvailable:   20000000 kB\n");
	return 0;
}

static int gone(void **state)
{
	char command[SCRATCH_PATH + 16];
	(void) state;
	snprintf(command, sizeof command, "rm -rf '%s'", root);
	return system(command);
}

static struct topology_limits limits(void)
{
	struct topology_limits read;
	topology_limits_read(root, &read);
	return read;
}

#define KB 1024.0

static void without_groups_there_are_no_limits(void **state)
{
	(void) state;
	struct topology_limits l = limits();
	assert_float_equal(l.cpus, 0, 0);
	assert_float_equal(l.memory, 0, 0);
	assert_float_equal(l.memory_total, 24000000 * KB, 0);
	assert_float_equal(l.memory_available, 20000000 * KB, 0);
}

static void version_2_limits_hold_at_every_level(void **state)
{
	(void) state;
	put("/proc/self/cgroup", "0::/box/job\n");
	put("/proc/self/mountinfo", "20 1 0:1 / /proc rw - proc proc rw\n"
		"41 31 0:38 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n");
	put("/sys/fs/cgroup/box/job/cpu.max", "max 100000\n");
	put("/sys/fs/cgroup/box/job/memory.max", "max\n");
	struct topology_limits l = limits();
	assert_float_equal(l.cpus, 0, 0);
	assert_float_equal(l.memory, 0, 0);
	put("/sys/fs/cgroup/box/cpu.max", "250000 100000\n");
	put("/sys/fs/cgroup/box/memory.max", "8000000000\n");
	put("/sys/fs/cgroup/box/memory.current", "3000000000\n");
	put("/sys/fs/cgroup/box/memory.stat", "anon 5\nfile 9\ninactive_file 1000000000\nactive_file 2\n");
	l = limits();
	assert_float_equal(l.cpus, 2.5, 0);
	assert_float_equal(l.memory, 8e9, 0);
	assert_float_equal(l.memory_available, 6e9, 0);
	put("/sys/fs/cgroup/box/job/memory.max", "4000000000\n"); /* the least of both */
	put("/sys/fs/cgroup/box/job/memory.current", "5000000000\n");
	put("/sys/fs/cgroup/box/job/cpu.max", "50000 100000\n");
	l = limits();
	assert_float_equal(l.cpus, 0.5, 0);
	assert_float_equal(l.memory, 4e9, 0);
	assert_true(l.memory_available > 0 && l.memory_available < 2);
}

static void a_container_sees_its_group_as_the_root(void **state)
{
	(void) state;
	put("/proc/self/cgroup", "0::/\n"); /* a namespace of its own */
	put("/proc/self/mountinfo", "41 31 0:38 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
	put("/sys/fs/cgroup/memory.max", "1000000000\n");
	struct topology_limits l = limits();
	assert_float_equal(l.memory, 1e9, 0);
	/* none of its own: the group's path, mounted from there */
	put("/proc/self/cgroup", "0::/docker/abc\n");
	put("/proc/self/mountinfo", "41 31 0:38 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
	l = limits();
	assert_float_equal(l.memory, 1e9, 0);
	/* moved elsewhere since */
	put("/proc/self/cgroup", "0::/elsewhere\n");
	l = limits();
	assert_float_equal(l.memory, 1e9, 0);
}

static void version_1_limits_are_found_by_controller(void **state)
{
	(void) state;
	put("/proc/self/cgroup", "9:name=systemd:/\n4:memory:/jobs/one\n2:cpu,cpuacct:/jobs\n0::/\n");
	put("/proc/self/mountinfo", "32 31 0:29 / /cg/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
		"34 31 0:31 / /cg/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"
		"35 31 0:32 / /cg/memory rw,relatime - cgroup cgroup rw,memory\n"
		"41 31 0:38 / /cg/unified rw,relatime - cgroup2 cgroup2 rw\n");
	put("/cg/memory/memory.limit_in_bytes", "9223372036854771712\n");
	put("/cg/memory/jobs/memory.limit_in_bytes", "2000000000\n");
	put("/cg/memory/jobs/memory.usage_in_bytes", "700000000\n");
	put("/cg/memory/jobs/memory.stat", "cache 1\ninactive_file 5\ntotal_inactive_file 200000000\n");
	put("/cg/memory/jobs/one/memory.limit_in_bytes", "9223372036854771712\n");
	put("/cg/cpu/jobs/cpu.cfs_quota_us", "150000\n");
	put("/cg/cpu/jobs/cpu.cfs_period_us", "100000\n");
	put("/cg/cpu/cpu.cfs_quota_us", "-1\n");
	put("/cg/cpu/cpu.cfs_period_us", "100000\n");
	struct topology_limits l = limits();
	assert_float_equal(l.memory, 2e9, 0);
	assert_float_equal(l.memory_available, 1.5e9, 0);
	assert_float_equal(l.cpus, 1.5, 0);
}

static void strange_files_set_no_limits(void **state)
{
	(void) state;
	char line[9000];
	memset(line, 'x', sizeof line - 1);
	line[sizeof line - 1] = 0;
	memcpy(line, "0::/", 4);
	put("/proc/self/cgroup", line);
	put("/proc/self/mountinfo", "\n - \nx - cgroup2 \n41 31 0:38 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
	put("/sys/fs/cgroup/memory.max", "-5\n");
	put("/sys/fs/cgroup/cpu.max", "100000 0\n");
	struct topology_limits l = limits();
	assert_float_equal(l.cpus, 0, 0);
	assert_float_equal(l.memory, 0, 0);
	put("/proc/self/cgroup", "nothing\n0:\n::\n");
	put("/proc/meminfo", "MemAvailable: much\n");
	l = limits();
	assert_float_equal(l.memory_available, 0, 0);
}

static void this_host_makes_sense(void **state)
{
	(void) state;
	struct topology t;
	struct error error = {0};
	double nodes = 0;
	int cores = 0;
	assert_int_equal(topology_read(&t, &error), 0);
	assert_true(t.cpu[0] && t.packages >= 1);
	assert_true(t.cores >= 1 && t.cores <= t.cores_total && t.cores <= t.pus);
	assert_true(t.pus >= 1 && t.pus <= t.pus_total);
	assert_true(t.workers >= 1 && t.workers <= t.cores);
	assert_true(t.memory_total > 64e6 && t.memory_available > 0 && t.memory_available <= t.memory_total);
	for (int i = 0; i < t.nodes; i++) {
		nodes += t.node[i].memory;
		cores += t.node[i].cores;
	}
	assert_true(t.nodes >= 1 && nodes <= t.memory_total);
	assert_int_equal(cores, t.cores);
	assert_true((!t.avx512_bf16 && !t.avx512_vnni) || t.avx512);
}

static void speeds_are_within_reason(void **state)
{
	(void) state;
	struct topology t;
	struct topology_speed speed;
	struct error error = {0};
	assert_int_equal(topology_read(&t, &error), 0);
	assert_int_equal(topology_measure(&t, &speed, &error), 0);
	assert_true(speed.fp32_flops > 1e8 && speed.fp32_flops < 1e13);
	assert_true(speed.bandwidth > 1e7 && speed.bandwidth < 1e13);
	assert_true((speed.bf16_flops > 0) == t.avx512_bf16);
	assert_true((speed.int8_flops > 0) == t.avx512_vnni);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(without_groups_there_are_no_limits, fresh, gone),
		cmocka_unit_test_setup_teardown(version_2_limits_hold_at_every_level, fresh, gone),
		cmocka_unit_test_setup_teardown(a_container_sees_its_group_as_the_root, fresh, gone),
		cmocka_unit_test_setup_teardown(version_1_limits_are_found_by_controller, fresh, gone),
		cmocka_unit_test_setup_teardown(strange_files_set_no_limits, fresh, gone),
		cmocka_unit_test(this_host_makes_sense),
		cmocka_unit_test(speeds_are_within_reason),
	};
	return cmocka_run_group_tests_name("topology", tests, NULL, NULL);
}
