/* SPDX-License-Identifier: Apache-2.0
 *
 * Packed weights between runs: out of a cache they are, byte for byte, what packing the checkpoint gives; else they are
 * packed. Bytes that are equal give results that are equal, so that no sequence need be run here. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <cmocka.h>
#include "runtime/packed_cache.h"
#include "tasks/deployment.h"
#include "tasks/kinds.h"
#include "tests/scratch.h"

#define MOST_DEVICES 16

static struct engine *engine;
static char cache[SCRATCH_PATH], model[SCRATCH_PATH], inner[SCRATCH_PATH]; /* folders; inner: model/octant-weights */

struct mesh_case {
	const char *model, *compute;
	const char *tensor, *experts, *stages;
	const char *expert_tensor; /* NULL: the default */
	bool sends;                /* all_to_all */
};

/* Every family, every way of cutting: slices of heads, experts, columns inside experts, dense layers, shared experts,
 * biases; FP32, FP16 and BF16 checkpoints, one file and several. They share a folder, so that one that is taken for
 * another is found out. */
static const struct mesh_case cases[] = {
	{"mixtral", "fp32", "1", "1", "1", NULL, false},
	{"mixtral", "bf16", "1", "1", "1", NULL, false},
	{"mixtral", "bf16", "2", "2", "2", NULL, true},
	{"mixtral", "fp32", "2", "2", "2", NULL, false},
	{"mixtral", "fp32", "4", "1", "1", NULL, false},
	{"mixtral16", "fp32", "2", "2", "4", NULL, true},
	{"mixtral16", "bf16", "4", "2", "1", "2", true},
	{"mixtral_fp16", "bf16", "1", "2", "1", NULL, false},
	{"olmoe", "fp32", "2", "2", "1", NULL, true},
	{"olmoe_clip", "bf16", "4", "1", "1", NULL, false},
	{"qwen2_moe", "fp32", "2", "2", "2", NULL, true},
	{"qwen2_moe", "fp32", "2", "2", "2", NULL, false}, /* the shared expert is cut where no rows are sent */
	{"qwen3_moe_sparse", "bf16", "2", "2", "2", NULL, false},
	{"llama", "bf16", "2", "1", "2", NULL, false},
	{"llama_bias", "fp32", "2", "1", "2", NULL, false},
	{"qwen2", "bf16", "1", "1", "2", NULL, false},
	{"qwen3", "fp32", "2", "1", "1", NULL, false},
	{"mixtral", "int8", "1", "1", "1", NULL, false},
	{"mixtral_fp16", "int8", "2", "2", "2", NULL, true},
	{"qwen2_moe", "int8", "2", "2", "1", NULL, false},
	{"llama_bias", "int8", "2", "1", "2", NULL, false},
};

#define CHAIN(last, how, join)                                                                                         \
	"( { task = \"attention\"; over = \"tensor\"; }, { task = \"" last                                             \
	"\"; over = \"tensor\"; }, { task = \"route\"; }, "                                                            \
	"{ task = \"dispatch\"; over = \"experts\"; how = \"" how                                                      \
	"\"; }, { task = \"experts\"; over = \"experts\"; }, "                                                         \
	"{ task = \"combine\"; over = \"experts\"; how = \"" how "\"; }, " join " )"
#define SENDS CHAIN("reduce_scatter", "all_to_all", "{ task = \"all_gather\"; over = \"tensor\"; }")
#define LOCAL CHAIN("all_reduce", "local", "{ task = \"all_reduce\"; over = \"experts\"; }")

struct loaded { /* what a run leaves */
	int code;
	struct error error;
	struct deployment_loading how;
	int devices;
	size_t bytes[MOST_DEVICES];
	char *weights[MOST_DEVICES];
};

static void forget(struct loaded *l)
{
	for (int i = 0; i < l->devices; i++)
		free(l->weights[i]);
	*l = (struct loaded){0};
}

static void copy_weights(const struct deployment *d, struct loaded *l)
{
	l->how = d->loading;
	l->devices = d->mesh->devices;
	assert_true(l->devices <= MOST_DEVICES);
	for (int i = 0; i < l->devices; i++) {
		l->bytes[i] = d->device[i].weight_bytes;
		l->weights[i] = malloc(l->bytes[i]);
		memcpy(l->weights[i], d->device[i].base, l->bytes[i]);
	}
}

/* Loads a checkpoint as the case says. `where` as in --weights-cache. */
static struct loaded load_from(const char *directory, const struct mesh_case *c, const char *where)
{
	struct loaded l = {0};
	struct checkpoint *checkpoint = NULL;
	struct graph *graph = NULL;
	struct deployment *d = NULL;
	struct deployment_sizes sizes = {1, 16, 4, 4, 8};
	struct graph_override set[] = {{"compute", c->compute}, {"mesh.tensor", c->tensor},
		{"mesh.experts", c->experts}, {"mesh.stages", c->stages}, {"limits.tokens_per_sequence", "64"},
		{"layer", c->sends ? SENDS : LOCAL}, {"mesh.expert_tensor", c->expert_tensor}};
	bool dense = !strcmp(c->model, "llama") || !strcmp(c->model, "llama_bias") || !strcmp(c->model, "qwen2") ||
		     !strcmp(c->model, "qwen3");
	int overrides = dense ? 5 : c->expert_tensor ? 7 : 6;
	l.code = checkpoint_open(directory, &checkpoint, &l.error);
	if (!l.code)
		l.code = checkpoint_keep(checkpoint, where, &l.error);
	if (!l.code)
		l.code = graph_default(checkpoint_model(checkpoint), 1, &task_kinds, set, overrides, &graph, &l.error);
	if (!l.code)
		l.code = graph_resolve(graph, checkpoint_model(checkpoint), &task_kinds, &l.error);
	if (!l.code)
		l.code = deployment_create(graph, checkpoint, graph->compute, &sizes, engine, &d, &l.error);
	if (d)
		copy_weights(d, &l);
	deployment_destroy(d);
	engine_reset(engine);
	graph_destroy(graph);
	checkpoint_close(checkpoint);
	return l;
}

static struct loaded load(const char *directory, const struct mesh_case *c, const char *where)
{
	struct loaded l = load_from(directory, c, where);
	if (l.code)
		fail_msg("%s: %s", l.error.where, l.error.text);
	return l;
}

static bool same(const struct loaded *a, const struct loaded *b)
{
	assert_int_equal(a->devices, b->devices);
	for (int i = 0; i < a->devices; i++) {
		assert_int_equal(a->bytes[i], b->bytes[i]);
		if (memcmp(a->weights[i], b->weights[i], a->bytes[i]))
			return false;
	}
	return true;
}

/* Loads through the cache and compares with packing; `cached` devices must come out of it, the others be packed, and
 * `kept` of those be kept. */
static void expect(const char *directory, const struct mesh_case *c, const char *where, int cached, int kept)
{
	struct loaded plain = load(directory, c, NULL), l = load(directory, c, where);
	if (!same(&plain, &l))
		fail_msg("%s %s: weights through the cache differ", c->model, c->compute);
	assert_int_equal(l.how.cached, cached);
	assert_int_equal(l.how.packed, l.devices - cached);
	assert_int_equal(l.how.kept, kept);
	assert_int_equal(plain.how.packed, plain.devices);
	forget(&plain);
	forget(&l);
}

/* ---- a checkpoint of one's own */

static const struct mesh_case two = {"mixtral", "bf16", "2", "2", "1", NULL, false};
enum { DEVICES = 2 };

static void golden_path(char *path, const char *name)
{
	snprintf(path, SCRATCH_PATH, "%s/golden/models/%s", OCTANT_TEST_DATA, name);
}

static void copy_file(const char *from, const char *to)
{
	char bytes[65536];
	size_t n;
	FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
	assert_non_null(in);
	assert_non_null(out);
	while ((n = fread(bytes, 1, sizeof bytes, in)))
		assert_int_equal(fwrite(bytes, 1, n, out), n);
	fclose(in);
	assert_int_equal(fclose(out), 0);
}

static void copy_model(const char *to)
{
	char from[SCRATCH_PATH];
	golden_path(from, two.model);
	copy_file(scratch_path(from, "config.json"), scratch_path(to, "config.json"));
	copy_file(scratch_path(from, "model.safetensors"), scratch_path(to, "model.safetensors"));
}

/* Until the stamps of its files tell every change. */
static void settle(const char *directory)
{
	struct timespec nap = {.tv_nsec = 100000000};
	for (bool settled = false; !settled; nanosleep(&nap, NULL)) {
		struct checkpoint *checkpoint;
		struct error error = {0};
		assert_int_equal(checkpoint_open(directory, &checkpoint, &error), 0);
		settled = true;
		for (int i = 0; i < checkpoint_shards(checkpoint); i++)
			settled = settled && checkpoint_shard(checkpoint, i).settled;
		checkpoint_close(checkpoint);
		if (settled)
			return;
	}
}

static int make_folders(void **state)
{
	(void) state;
	scratch_make(cache);
	scratch_make(model);
	snprintf(inner, sizeof inner, "%.4000s/octant-weights", model);
	copy_model(model);
	return 0;
}

static int remove_folders(void **state)
{
	(void) state;
	scratch_remove(cache);
	scratch_remove(inner);
	scratch_remove(model);
	return 0;
}

/* The i-th file of the cache whose name begins so, or NULL. */
static const char *cache_file(const char *begin, int i)
{
	struct dirent **entries;
	const char *found = NULL;
	int count = scandir(cache, &entries, NULL, alphasort);
	for (int n = 0; n < count; n++) {
		if (!strncmp(entries[n]->d_name, begin, strlen(begin)) && i-- == 0)
			found = scratch_path(cache, entries[n]->d_name);
		free(entries[n]);
	}
	free(entries);
	return found;
}

static int cache_files(const char *begin)
{
	int count = 0;
	while (cache_file(begin, count))
		count++;
	return count;
}

static void flip(const char *path, off_t at)
{
	char byte;
	int file = open(path, O_RDWR);
	assert_true(file >= 0);
	assert_int_equal(pread(file, &byte, 1, at), 1);
	byte ^= 1;
	assert_int_equal(pwrite(file, &byte, 1, at), 1);
	close(file);
}

/* ---- tests */

static void every_cut(void **state)
{
	(void) state;
	char directory[SCRATCH_PATH];
	enum { CASES = sizeof cases / sizeof *cases };
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < CASES; i++) {
			golden_path(directory, cases[i].model);
			settle(directory);
			struct loaded plain = load(directory, &cases[i], "off");
			int devices = plain.devices;
			forget(&plain);
			expect(directory, &cases[i], cache, round ? devices : 0, round ? 0 : devices);
		}
}

static void beside(void **state)
{
	(void) state;
	settle(model);
	expect(model, &two, "beside", 0, DEVICES);
	expect(model, &two, "beside", DEVICES, 0);
	expect(model, &two, inner, DEVICES, 0);
	expect(model, &two, "off", 0, 0);
	assert_int_equal(load_from(model, &two, "").code, ERROR_INPUT);
}

/* Other words in the same place, with the time of writing put back: the weights are the new ones. */
static void changed_in_place(void **state)
{
	(void) state;
	struct stat status;
	settle(model);
	expect(model, &two, cache, 0, DEVICES);
	struct loaded before = load(model, &two, cache);
	const char *path = scratch_path(model, "model.safetensors");
	assert_int_equal(stat(path, &status), 0);
	const off_t middle = status.st_size / 8 * 4 + 2; /* where a flipped bit of FP32 is one of BF16 too */
	flip(path, middle);
	const struct timespec times[2] = {status.st_atim, status.st_mtim};
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
	settle(model);
	struct loaded after = load(model, &two, cache);
	assert_false(same(&before, &after));
	forget(&before);
	forget(&after);
	/* a part that the change did not touch has another name too: its content was never compared */
	expect(model, &two, cache, DEVICES, 0);
	flip(path, middle); /* and back: the first cache holds again */
	expect(model, &two, cache, DEVICES, 0);
}

/* Copies, moves and touches change the stamps and not the content. */
static void moved(void **state)
{
	(void) state;
	settle(model);
	expect(model, &two, cache, 0, DEVICES);
	assert_int_equal(cache_files("content-"), 1);
	copy_file(scratch_path(model, "model.safetensors"), scratch_path(model, "copy"));
	assert_int_equal(rename(scratch_path(model, "copy"), scratch_path(model, "model.safetensors")), 0);
	expect(model, &two, cache, DEVICES, 0); /* summed, and too young to be known again */
	assert_int_equal(cache_files("content-"), 1);
	settle(model);
	expect(model, &two, cache, DEVICES, 0);
	assert_int_equal(cache_files("content-"), 2);
	assert_int_equal(cache_files("weights-"), DEVICES);
}

/* Its stamps would not tell the next change: used, but nothing is kept of it. */
static void young(void **state)
{
	(void) state;
	flip(scratch_path(model, "model.safetensors"), 100000);
	flip(scratch_path(model, "model.safetensors"), 100000);
	expect(model, &two, cache, 0, 0);
	assert_int_equal(cache_files(""), 2); /* . and .. */
	settle(model);
	expect(model, &two, cache, 0, DEVICES);
	flip(scratch_path(model, "model.safetensors"), 100000);
	flip(scratch_path(model, "model.safetensors"), 100000);
	expect(model, &two, cache, DEVICES, 0);
}

static void damaged(void **state)
{
	(void) state;
	struct stat status;
	settle(model);
	expect(model, &two, cache, 0, DEVICES);
	for (int i = 0; i < DEVICES; i++) {
		assert_int_equal(stat(cache_file("weights-", i), &status), 0);
		flip(cache_file("weights-", i), status.st_size - 1000); /* in the data */
		expect(model, &two, cache, DEVICES - 1, 1);             /* packed, and mended */
		expect(model, &two, cache, DEVICES, 0);
		flip(cache_file("weights-", i), 30); /* in the header */
		expect(model, &two, cache, DEVICES - 1, 1);
		assert_int_equal(truncate(cache_file("weights-", i), status.st_size / 2), 0);
		expect(model, &two, cache, DEVICES - 1, 1);
		assert_int_equal(truncate(cache_file("weights-", i), 0), 0);
		expect(model, &two, cache, DEVICES - 1, 1);
	}
	for (int i = 0; i < DEVICES; i++) {
		assert_int_equal(stat(cache_file("weights-", i), &status), 0);
		flip(cache_file("weights-", i), status.st_size - 1);
	}
	expect(model, &two, cache, 0, DEVICES);
	expect(model, &two, cache, DEVICES, 0);
	/* one under the other's name */
	copy_file(cache_file("weights-", 0), cache_file("weights-", 1));
	expect(model, &two, cache, DEVICES - 1, 1);
	flip(cache_file("content-", 0), 4096);
	expect(model, &two, cache, DEVICES, 0);
	expect(model, &two, cache, DEVICES, 0);
}

static void nowhere(void **state)
{
	(void) state;
	settle(model);
	expect(model, &two, "/nonexistent/folder", 0, 0);
	expect(model, &two, scratch_path(model, "config.json"), 0, 0);
	assert_int_equal(access(inner, F_OK), -1);
	expect(model, &two, inner, 0, DEVICES); /* a folder that is not there yet */
}

/* A checkpoint that is refused leaves nothing that a later run could take. */
static void refused(void **state)
{
	(void) state;
	const char *path = scratch_path(model, "model.safetensors");
	uint16_t half = 0x7fff; /* the upper half of a NaN, in FP32 and BF16 */
	struct stat status;
	assert_int_equal(stat(path, &status), 0);
	int file = open(path, O_RDWR);
	assert_int_equal(pwrite(file, &half, 2, status.st_size - 2), 2);
	close(file);
	settle(model);
	struct loaded l = load_from(model, &two, cache);
	assert_int_equal(l.code, ERROR_INPUT);
	assert_non_null(strstr(l.error.text, "not a number"));
	assert_int_equal(cache_files("weights-"), 0);
}

/* What has been packed counts no more as this process's memory, and is right when it is looked at again. */
static void released(void **state)
{
	(void) state;
	struct checkpoint *checkpoint;
	struct error error = {0};
	struct tensor_view view;
	assert_int_equal(checkpoint_open(model, &checkpoint, &error), 0);
	struct checkpoint_shard shard = checkpoint_shard(checkpoint, 0);
	char *before = malloc(shard.bytes), pages[4096];
	memcpy(before, shard.data, shard.bytes);
	assert_int_equal(checkpoint_find(checkpoint, CHECKPOINT_EMBEDDING, 0, 0, &view, &error), 0);
	checkpoint_release(checkpoint, &view, 0, view.shape[0]);
	checkpoint_release(checkpoint, &view, view.shape[0] - 1, 1);
	checkpoint_release(checkpoint, &view, 0, 0);
	checkpoint_release_bytes(checkpoint, shard.data, shard.bytes);
	checkpoint_release_bytes(checkpoint, before, shard.bytes); /* no part of it: stays */
	checkpoint_release_bytes(checkpoint, pages, sizeof pages);
	assert_memory_equal(shard.data, before, shard.bytes);
	assert_true(checkpoint_unchanged(checkpoint));
	flip(scratch_path(model, "model.safetensors"), 100000);
	assert_false(checkpoint_unchanged(checkpoint));
	checkpoint_close(checkpoint);
	free(before);
}

int main(void)
{
	struct error error = {0};
	struct engine_options options = {.policy = "homes", .workers = 2};
	if (engine_start(&options, &engine, &error)) {
		error_print(&error);
		return 1;
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_cut, make_folders, remove_folders),
		cmocka_unit_test_setup_teardown(beside, make_folders, remove_folders),
		cmocka_unit_test_setup_teardown(changed_in_place, make_folders, remove_folders),
		cmocka_unit_test_setup_teardown(moved, make_folders, remove_folders),
		cmocka_unit_test_setup_teardown(young, make_folders, remove_folders),
		cmocka_unit_test_setup_teardown(damaged, make_folders, remove_folders),
		cmocka_unit_test_setup_teardown(nowhere, make_folders, remove_folders),
		cmocka_unit_test_setup_teardown(refused, make_folders, remove_folders),
		cmocka_unit_test_setup_teardown(released, make_folders, remove_folders),
	};
	int failed = cmocka_run_group_tests_name("weights_cache", tests, NULL, NULL);
	engine_stop(engine);
	return failed;
}
