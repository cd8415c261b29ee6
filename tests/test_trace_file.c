/* SPDX-License-Identifier: Apache-2.0
 *
 * trace.json: valid JSON, a process a device, a slice a task on every device that takes part, no two slices of a
 * thread at the same time, a full disk told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>
#include "runtime/batch.h"
#include "runtime/trace_file.h"

static char folder[2048];

static const char *const kinds[] = {"attention", "all \"reduce\""};

static void make_info(struct trace_info *info, struct mesh *mesh)
{
	struct error error = {0};

	assert_int_equal(mesh_make(mesh, 2, 2, 2, 0, 4, &error), 0);
	*info = (struct trace_info){.graph = "g\xff",
		.policy = "homes",
		.source = "measured",
		.mesh = mesh,
		.kind_names = kinds,
		.kinds = 2,
		.start_s = 10};
}

static char *path_of(const char *name)
{
	static char path[2200];

	snprintf(path, sizeof path, "%s/%s", folder, name);
	return path;
}

static void test_events(void **state)
{
	/* two collectives at the same time on device 1; a task of zero length; a kind that is not known */
	const struct task_record records[] = {
		{.start_s = 10,
			.end_s = 10.5,
			.devices = 1,
			.kind = 0,
			.layer = 3,
			.micro_batch = 7,
			.worker = 2,
			.phase = PHASE_DECODE},
		{.start_s = 10.25,
			.end_s = 11,
			.devices = 3,
			.kind = 1,
			.layer = -1,
			.micro_batch = 8,
			.worker = 0,
			.phase = PHASE_PREFILL,
			.collective = true},
		{.start_s = 10.5,
			.end_s = 10.75,
			.devices = 6,
			.kind = 1,
			.worker = 1,
			.phase = PHASE_MIXED,
			.collective = true},
		{.start_s = 11, .end_s = 11, .devices = 8, .kind = 99, .worker = -1},
		{.start_s = 11, .end_s = 12, .devices = 2, .kind = 1, .collective = true},
		{.start_s = 12, .end_s = 12.000001, .devices = (uint64_t) 1 << 63, .kind = 0}, /* no such device */
	};
	struct mesh mesh;
	struct trace_info info;
	struct trace_file *trace = NULL;
	struct error error = {0};
	json_t *root, *event;
	size_t i;
	int processes = 0, slices = 0, lanes = 0, seen = 0;

	(void) state;
	make_info(&info, &mesh);
	assert_int_equal(trace_file_open(folder, "trace.json", &info, &trace, &error), 0);
	for (i = 0; i < sizeof records / sizeof *records; i++)
		trace_file_add(trace, &records[i]);
	assert_int_not_equal(access(path_of("trace.json"), F_OK), 0); /* not before it is whole */
	assert_int_equal(trace_file_close(trace, &error), 0);
	assert_int_not_equal(access(path_of("trace.json.tmp"), F_OK), 0);
	root = json_load_file(path_of("trace.json"), JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(root);
	json_array_foreach(json_object_get(root, "traceEvents"), i, event)
	{
		const char *phase = json_string_value(json_object_get(event, "ph"));
		const char *name = json_string_value(json_object_get(event, "name"));
		const char *what = json_string_value(json_object_get(json_object_get(event, "args"), "name"));
		int pid = (int) json_integer_value(json_object_get(event, "pid"));

		processes += !strcmp(name, "process_name");
		if (!strcmp(phase, "M") && what && !strcmp(what, "collectives 2") && pid == 2)
			lanes++;
		if (!strcmp(phase, "M") && what && !strcmp(what, "device 2: stage 1, tensor 0, experts 0"))
			seen++;
		if (!strcmp(phase, "X")) {
			slices++;
			if (!strcmp(name, "attention")) {
				const json_t *args = json_object_get(event, "args");
				assert_int_equal(pid, 1);
				assert_true(json_number_value(json_object_get(event, "ts")) == 0);
				assert_true(json_number_value(json_object_get(event, "dur")) == 500000);
				assert_int_equal(json_integer_value(json_object_get(args, "layer")), 3);
				assert_int_equal(json_integer_value(json_object_get(args, "micro_batch")), 7);
				assert_string_equal(json_string_value(json_object_get(args, "phase")), "decode");
				assert_string_equal(json_string_value(json_object_get(event, "cat")), "compute");
			}
		}
	}
	assert_int_equal(processes, 4);
	assert_int_equal(slices, 1 + 2 + 2 + 1 + 1);
	assert_int_equal(lanes, 1);
	assert_int_equal(seen, 1);
	json_decref(root);
}

static void test_no_overlap(void **state)
{
	enum { RECORDS = 400 };
	struct mesh mesh;
	struct trace_info info;
	struct trace_file *trace = NULL;
	struct error error = {0};
	double end[8][64] = {{0}}, now = 10;
	uint64_t random = 1;
	json_t *root, *event;
	size_t i;

	(void) state;
	make_info(&info, &mesh);
	assert_int_equal(trace_file_open(folder, "trace.json", &info, &trace, &error), 0);
	for (int k = 0; k < RECORDS; k++) {
		struct task_record r = {.kind = 1, .collective = true, .worker = (int16_t) (k % 4), .start_s = now};
		random = random * 6364136223846793005u + 1442695040888963407u;
		r.end_s = now + (double) (random >> 40) * 1e-9;
		r.devices = random >> 20 & 15;
		now += (double) (random >> 30 & 255) * 1e-5;
		trace_file_add(trace, &r);
	}
	assert_int_equal(trace_file_close(trace, &error), 0);
	root = json_load_file(path_of("trace.json"), 0, NULL);
	assert_non_null(root);
	json_array_foreach(json_object_get(root, "traceEvents"), i, event)
	{
		double from = json_number_value(json_object_get(event, "ts")), *last;

		if (strcmp(json_string_value(json_object_get(event, "ph")), "X"))
			continue;
		last = &end[json_integer_value(json_object_get(event, "pid"))]
			   [json_integer_value(json_object_get(event, "tid"))];
		assert_true(from >= *last - 1e-6);
		*last = from + json_number_value(json_object_get(event, "dur"));
	}
	json_decref(root);
}

static void test_failures(void **state)
{
	struct rlimit old, limit;
	struct mesh mesh;
	struct trace_info info;
	struct trace_file *trace = NULL;
	struct error error = {0};
	const struct task_record record = {.start_s = 10, .end_s = 11, .devices = 15};

	(void) state;
	make_info(&info, &mesh);
	assert_int_equal(trace_file_open("/nonexistent", "trace.json", &info, &trace, &error), ERROR_RUN);
	assert_null(trace);
	assert_int_equal(trace_file_close(NULL, NULL), 0);

	unlink(path_of("trace.json"));
	memset(&error, 0, sizeof error);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(trace_file_open(folder, "trace.json", &info, &trace, &error), 0);
	limit = (struct rlimit){10000, old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	for (int i = 0; i < 1000; i++)
		trace_file_add(trace, &record);
	assert_int_equal(trace_file_close(trace, &error), ERROR_RUN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_non_null(strstr(error.text, "File too large"));
	assert_int_not_equal(access(path_of("trace.json"), F_OK), 0); /* nothing half-written is left */
	assert_int_not_equal(access(path_of("trace.json.tmp"), F_OK), 0);
}

int main(void)
{
	const char *temporary = getenv("TMPDIR");
	int failed;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_no_overlap),
		cmocka_unit_test(test_failures),
	};

	snprintf(folder, sizeof folder, "%s/test_trace.XXXXXX", temporary ? temporary : "/tmp");
	if (!mkdtemp(folder))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path_of("trace.json"));
	return rmdir(folder) || failed;
}
