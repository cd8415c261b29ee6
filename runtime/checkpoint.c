/* SPDX-License-Identifier: Apache-2.0
 *
 * A Hugging Face directory with weights: which tensor of which file plays which role in the model. */
#include "runtime/checkpoint.h"
#include "runtime/checkpoint_names.h"
#include "runtime/json_file.h"
#include "runtime/model_config.h"
#include "runtime/safetensors.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SINGLE      "model.safetensors"
#define INDEX       "model.safetensors.index.json"
#define INDEX_LIMIT (256u << 20)
#define PATH_ROOM   4096

struct entry { /* one line of the index */
	const char *name; /* belongs to the index's JSON */
	int shard;
};

struct checkpoint {
	char *directory;
	char *cache; /* NULL: nothing is kept */
	struct model model;
	int shards;
	struct safetensors **shard; /* [shards] */
	/* only where there is an index: */
	struct json_file index;
	int entries;
	struct entry *entry; /* [entries], by name */
	const char **shard_name; /* [shards], by name while the index is read */
};

static int join(char *path, const char *directory, const char *name, struct error *error)
{
	if (snprintf(path, PATH_ROOM, "%s/%s", directory, name) >= PATH_ROOM)
		return error_set(error, ERROR_INPUT, directory, "the path is too long");
	return 0;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *) a, *(const char *const *) b);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct entry *) a)->name, ((const struct entry *) b)->name);
}

/* The name of a file in the directory, and of nothing else: an index must not make us open files elsewhere. */
static bool plain_name(const char *name)
{
	return *name && strlen(name) < 256 && !strchr(name, '/') && strcmp(name, ".") && strcmp(name, "..");
}

static int open_single(struct checkpoint *checkpoint, const char *path, struct error *error)
{
	checkpoint->shard = calloc(1, sizeof *checkpoint->shard);
	if (!checkpoint->shard)
		return error_memory(error, "opening a checkpoint");
	checkpoint->shards = 1;
	return safetensors_open(path, &checkpoint->shard[0], error);
}

/* The index's shard names, each once and sorted, into shard_name. */
static int list_shards(struct checkpoint *checkpoint, json_t *map, struct error *error)
{
	const struct json_file *index = &checkpoint->index;
	size_t count = json_object_size(map), i = 0;
	const char *name;
	json_t *file;

	checkpoint->shard_name = calloc(count + 1, sizeof *checkpoint->shard_name);
	checkpoint->entry = calloc(count + 1, sizeof *checkpoint->entry);
	if (!checkpoint->shard_name || !checkpoint->entry)
		return error_memory(error, "reading a checkpoint's index");
	json_object_foreach(map, name, file) {
		const char *text = json_string_value(file);
		if (!text)
			return json_file_error(index, name, error, "weight_map: \"%.200s\" must name a file", name);
		if (!plain_name(text))
			return json_file_error(index, name, error,
				"weight_map: \"%.200s\" lies in \"%.200s\"; it must be the plain name of a file beside "
				"the index",
				name, text);
		checkpoint->shard_name[i++] = text;
	}
	qsort(checkpoint->shard_name, count, sizeof *checkpoint->shard_name, by_text);
	for (i = 0; i < count; i++)
		if (!i || strcmp(checkpoint->shard_name[i], checkpoint->shard_name[i - 1]))
			checkpoint->shard_name[checkpoint->shards++] = checkpoint->shard_name[i];
	json_object_foreach(map, name, file) {
		const char *text = json_string_value(file);
		const char **found = bsearch(&text, checkpoint->shard_name, (size_t) checkpoint->shards,
			sizeof *checkpoint->shard_name, by_text);
		checkpoint->entry[checkpoint->entries++] =
			(struct entry){ .name = name, .shard = (int) (found - checkpoint->shard_name) };
	}
	qsort(checkpoint->entry, (size_t) checkpoint->entries, sizeof *checkpoint->entry, by_name);
	return 0;
}

static int open_index(struct checkpoint *checkpoint, const char *path, struct error *error)
{
	char file[PATH_ROOM];
	json_t *map = NULL;
	int code = json_file_read(path, INDEX_LIMIT, &checkpoint->index, error);

	if (!code)
		code = json_file_object(&checkpoint->index, checkpoint->index.root, "weight_map", &map, error);
	if (code)
		return code;
	if (!json_object_size(map))
		return json_file_error(&checkpoint->index, NULL, error,
			"has no weight_map, which must say in which file each tensor is");
	code = list_shards(checkpoint, map, error);
	if (code) {
		checkpoint->shards = 0; /* none is open yet */
		return code;
	}
	checkpoint->shard = calloc((size_t) checkpoint->shards, sizeof *checkpoint->shard);
	if (!checkpoint->shard) {
		checkpoint->shards = 0;
		return error_memory(error, "opening a checkpoint");
	}
	for (int i = 0; i < checkpoint->shards && !code; i++) {
		code = join(file, checkpoint->directory, checkpoint->shard_name[i], error);
		if (!code)
			code = safetensors_open(file, &checkpoint->shard[i], error);
	}
	return code;
}

bool checkpoint_has_weights(const char *directory)
{
	char path[PATH_ROOM];
	return (!join(path, directory, SINGLE, NULL) && !access(path, F_OK)) ||
		(!join(path, directory, INDEX, NULL) && !access(path, F_OK));
}

static int open_files(struct checkpoint *checkpoint, struct error *error)
{
	static const char *const others[] = { "pytorch_model.bin", "pytorch_model.bin.index.json",
		"consolidated.safetensors", "consolidated.00.pth", "model.gguf" };
	char path[PATH_ROOM];
	int code = join(path, checkpoint->directory, SINGLE, error);

	if (code)
		return code;
	if (!access(path, F_OK))
		return open_single(checkpoint, path, error);
	code = join(path, checkpoint->directory, INDEX, error);
	if (code)
		return code;
	if (!access(path, F_OK))
		return open_index(checkpoint, path, error);
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		if (!join(path, checkpoint->directory, others[i], error) && !access(path, F_OK))
			return error_set(error, ERROR_INPUT, checkpoint->directory,
				"has %s but no %s; save the model again with transformers' save_pretrained", others[i],
				SINGLE);
	return error_set(error, ERROR_INPUT, checkpoint->directory, "has neither %s nor %s", SINGLE, INDEX);
}

/* NULL: there is none of that name. *file: the shard, also where the index names one that lacks the tensor. */
static const struct safetensors_tensor *find_name(
	const struct checkpoint *checkpoint, const char *name, const struct safetensors **file)
{
	*file = NULL;
	if (!checkpoint->entry) {
		const struct safetensors_tensor *found = safetensors_find(checkpoint->shard[0], name);
		*file = found ? checkpoint->shard[0] : NULL;
		return found;
	}
	struct entry key = { .name = name };
	const struct entry *entry =
		bsearch(&key, checkpoint->entry, (size_t) checkpoint->entries, sizeof key, by_name);
	if (!entry)
		return NULL;
	*file = checkpoint->shard[entry->shard];
	return safetensors_find(*file, name);
}

static void shape_text(const int64_t *shape, int rank, char *text, size_t size)
{
	size_t at = (size_t) snprintf(text, size, "[");
	for (int i = 0; i < rank && i < SAFETENSORS_MAX_RANK && at < size; i++)
		at += (size_t) snprintf(text + at, size - at, "%s%lld", i ? ", " : "", (long long) shape[i]);
	if (at < size)
		snprintf(text + at, size - at, "%s]", rank > SAFETENSORS_MAX_RANK ? ", …" : "");
}

static int view_tensor(const struct safetensors *file, const struct safetensors_tensor *tensor,
	const struct checkpoint_name *name, struct tensor_view *view, struct error *error)
{
	bool same = tensor->rank == name->rank;

	for (int i = 0; i < name->rank && same; i++)
		same = tensor->shape[i] == name->shape[i];
	if (!same) {
		char found[256], needed[128];
		shape_text(tensor->shape, tensor->rank, found, sizeof found);
		shape_text(name->shape, name->rank, needed, sizeof needed);
		return error_set(error, ERROR_INPUT, file->path,
			"tensor \"%.200s\" has shape %s; by config.json it must be %s", tensor->name, found, needed);
	}
	if (tensor->dtype < 0)
		return error_set(error, ERROR_INPUT, file->path,
			"tensor \"%.200s\" is of type %s; weights must be F32, F16 or BF16", tensor->name, tensor->type);
	*view = (struct tensor_view){
		.dtype = (enum dtype) tensor->dtype,
		.shape = { name->rows, name->columns },
		.row_stride = name->columns,
		.name = tensor->name,
		.file = file->path,
		.name_row = name->row,
		.data = (const char *) tensor->data +
			(size_t) (name->row * name->columns) * dtype_bytes((enum dtype) tensor->dtype),
	};
	return 0;
}

static int find_role(const struct checkpoint *checkpoint, enum checkpoint_role role, int layer, int expert,
	struct tensor_view *view, struct error *error)
{
	const struct model *model = &checkpoint->model;
	const struct safetensors *file, *named = NULL;
	struct checkpoint_name name, first = {0};

	for (int i = 0; checkpoint_name_of(model, role, layer, expert, i, &name); i++) {
		const struct safetensors_tensor *tensor = find_name(checkpoint, name.name, &file);
		if (tensor)
			return view_tensor(file, tensor, &name, view, error);
		if (file)
			named = file;
		if (!i)
			first = name;
	}
	if (named)
		return error_set(error, ERROR_INPUT, named->path,
			"has no tensor \"%s\", which " INDEX " says is here", first.name);
	return error_set(error, ERROR_INPUT, checkpoint->directory, "has no tensor \"%s\", which a %s model of %d layers%s",
		first.name, model_family_name(model->family), model->layers,
		role == CHECKPOINT_HEAD ? " needs where tie_word_embeddings is false" : " needs");
}

int checkpoint_find(const struct checkpoint *checkpoint, enum checkpoint_role role, int layer, int expert,
	struct tensor_view *view, struct error *error)
{
	const struct model *model = &checkpoint->model;
	bool experts = role >= CHECKPOINT_EXPERT_GATE;

	if ((int) role < 0 || role >= CHECKPOINT_ROLES || !checkpoint_has(model, role, layer) ||
		(experts && (expert < 0 || expert >= model->experts)))
		return error_set(error, ERROR_INPUT, checkpoint->directory,
			"the model has no tensor of role %d in layer %d, expert %d", (int) role, layer, expert);
	/* tied: one tensor, under either name */
	if (model->tied_embeddings && (role == CHECKPOINT_HEAD || role == CHECKPOINT_EMBEDDING)) {
		struct checkpoint_name name;
		const struct safetensors *file;
		checkpoint_name_of(model, CHECKPOINT_EMBEDDING, 0, 0, 0, &name);
		role = CHECKPOINT_EMBEDDING;
		if (!find_name(checkpoint, name.name, &file)) {
			checkpoint_name_of(model, CHECKPOINT_HEAD, 0, 0, 0, &name);
			if (find_name(checkpoint, name.name, &file))
				role = CHECKPOINT_HEAD;
		}
	}
	return find_role(checkpoint, role, layer, expert, view, error);
}

int checkpoint_check(const struct checkpoint *checkpoint, struct error *error)
{
	const struct model *model = &checkpoint->model;
	struct tensor_view view;

	for (int role = 0; role < CHECKPOINT_ROLES; role++) {
		int layers = role < CHECKPOINT_INPUT_NORM ? 1 : model->layers;
		int experts = role < CHECKPOINT_EXPERT_GATE ? 1 : model->experts;
		for (int layer = 0; layer < layers; layer++) {
			if (!checkpoint_has(model, (enum checkpoint_role) role, layer))
				continue;
			for (int expert = 0; expert < experts; expert++) {
				int code = checkpoint_find(
					checkpoint, (enum checkpoint_role) role, layer, expert, &view, error);
				if (code)
					return code;
			}
		}
	}
	return 0;
}

/* transformers ties the two unless the checkpoint has both and they differ. */
static void settle_tied(struct checkpoint *checkpoint)
{
	struct tensor_view embedding, head;

	if (!checkpoint->model.tied_embeddings || find_role(checkpoint, CHECKPOINT_HEAD, 0, 0, &head, NULL) ||
		find_role(checkpoint, CHECKPOINT_EMBEDDING, 0, 0, &embedding, NULL))
		return;
	if (head.dtype != embedding.dtype ||
		memcmp(head.data, embedding.data,
			(size_t) (head.shape[0] * head.shape[1]) * dtype_bytes(head.dtype)) != 0)
		checkpoint->model.tied_embeddings = false;
}

static void settle_dtype(struct checkpoint *checkpoint)
{
	double bytes[3] = {0};
	enum dtype most = checkpoint->model.dtype;

	for (int s = 0; s < checkpoint->shards; s++)
		for (int i = 0; i < checkpoint->shard[s]->count; i++) {
			const struct safetensors_tensor *tensor = &checkpoint->shard[s]->tensor[i];
			if (tensor->dtype >= 0)
				bytes[tensor->dtype] += (double) (tensor->end - tensor->begin);
		}
	for (int d = 0; d < 3; d++)
		if (bytes[d] > bytes[most])
			most = (enum dtype) d;
	checkpoint->model.dtype = most;
}

int checkpoint_open(const char *directory, struct checkpoint **checkpoint, struct error *error)
{
	struct checkpoint *made = calloc(1, sizeof *made);
	int code;

	if (!made)
		return error_memory(error, "opening a checkpoint");
	made->directory = strdup(directory);
	if (!made->directory) {
		code = error_memory(error, "opening a checkpoint");
		goto fail;
	}
	code = model_config_read(directory, &made->model, error);
	if (!code)
		code = open_files(made, error);
	if (code)
		goto fail;
	settle_tied(made);
	settle_dtype(made);
	*checkpoint = made;
	return 0;
fail:
	checkpoint_close(made);
	return code;
}

void checkpoint_close(struct checkpoint *checkpoint)
{
	if (!checkpoint)
		return;
	for (int i = 0; i < checkpoint->shards; i++)
		safetensors_close(checkpoint->shard[i]);
	free(checkpoint->shard);
	free(checkpoint->shard_name);
	free(checkpoint->entry);
	json_file_close(&checkpoint->index);
	free(checkpoint->cache);
	free(checkpoint->directory);
	free(checkpoint);
}

const struct model *checkpoint_model(const struct checkpoint *checkpoint)
{
	return &checkpoint->model;
}

int checkpoint_keep(struct checkpoint *checkpoint, const char *where, struct error *error)
{
	char path[PATH_ROOM];
	char *kept = NULL;

	if (where && !*where)
		return error_set(error, ERROR_INPUT, NULL,
			"no place is named to keep packed weights in; off, beside or a folder would be right");
	if (where && strcmp(where, "off")) {
		int code = strcmp(where, "beside") ? 0 : join(path, checkpoint->directory, "octant-weights", error);
		if (code)
			return code;
		kept = strdup(strcmp(where, "beside") ? where : path);
		if (!kept)
			return error_memory(error, "opening a checkpoint");
	}
	free(checkpoint->cache);
	checkpoint->cache = kept;
	return 0;
}

const char *checkpoint_cache(const struct checkpoint *checkpoint)
{
	return checkpoint->cache;
}

const char *checkpoint_directory(const struct checkpoint *checkpoint)
{
	return checkpoint->directory;
}

void checkpoint_summarize(const struct checkpoint *checkpoint, struct checkpoint_summary *summary)
{
	*summary = (struct checkpoint_summary){ .shards = checkpoint->shards };
	for (int s = 0; s < checkpoint->shards; s++) {
		summary->tensors += checkpoint->shard[s]->count;
		for (int i = 0; i < checkpoint->shard[s]->count; i++)
			summary->bytes += (double) (checkpoint->shard[s]->tensor[i].end -
				checkpoint->shard[s]->tensor[i].begin);
	}
}

void checkpoint_will_need(const struct tensor_view *view)
{
	uintptr_t page = (uintptr_t) sysconf(_SC_PAGESIZE), begin = (uintptr_t) view->data;
	uintptr_t end = begin + (size_t) (view->shape[0] * view->row_stride) * dtype_bytes(view->dtype);

	begin -= begin % page;
	/* advice may be ignored, and so may its failure */
	(void) madvise((void *) begin, end - begin, MADV_WILLNEED);
}

/* Dropping reaches this far beyond the bytes meant, since the system maps so many around each page that is touched. */
enum { MAPPED_AROUND = 65536 };

void checkpoint_release_bytes(const struct checkpoint *checkpoint, const void *from, size_t bytes)
{
	uintptr_t begin = (uintptr_t) from, end = begin + bytes;

	for (int s = 0; s < checkpoint->shards && bytes; s++) {
		const struct safetensors *shard = checkpoint->shard[s];
		uintptr_t first = (uintptr_t) shard->map, last = first + shard->size;
		/* Only of a mapping of a file: what other memory holds would be lost. */
		if (begin < first || end > last)
			continue;
		begin = begin - first < MAPPED_AROUND ? first : begin - begin % MAPPED_AROUND;
		begin = begin < first ? first : begin;
		end = last - end < MAPPED_AROUND ? last : (end + MAPPED_AROUND - 1) / MAPPED_AROUND * MAPPED_AROUND;
		end = end > last ? last : end;
		(void) madvise((void *) begin, end - begin, MADV_DONTNEED);
		return;
	}
}

void checkpoint_release(const struct checkpoint *checkpoint, const struct tensor_view *view, int64_t row, int64_t rows)
{
	if (rows > 0 && view->shape[1] > 0)
		checkpoint_release_bytes(checkpoint, tensor_row(view, row),
			(size_t) ((rows - 1) * view->row_stride + view->shape[1]) * dtype_bytes(view->dtype));
}

int checkpoint_shards(const struct checkpoint *checkpoint)
{
	return checkpoint->shards;
}

struct checkpoint_shard checkpoint_shard(const struct checkpoint *checkpoint, int i)
{
	const struct safetensors *shard = checkpoint->shard[i];
	const char *slash = strrchr(shard->path, '/');
	return (struct checkpoint_shard){ slash ? slash + 1 : shard->path, shard->map, shard->size, shard->stamp,
		shard->settled };
}

bool checkpoint_unchanged(const struct checkpoint *checkpoint)
{
	for (int s = 0; s < checkpoint->shards; s++)
		if (!safetensors_unchanged(checkpoint->shard[s]))
			return false;
	return true;
}
