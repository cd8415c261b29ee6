/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading a tokenizer.json: the file, its JSON, the values of its members, and its parts in the order in which they
 * need each other (the added tokens need the vocabulary and the normalizer). */
#include "runtime/tokenizer.h"
#include "runtime/tokenizer_internal.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int source_error(const struct tokenizer_source *source, const char *part, const char *format, ...)
{
	char text[1024];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	return error_set(source->error, ERROR_INPUT, source->path, "%s: %s", part, text);
}

const char *source_type(const struct tokenizer_source *source, const char *part, const json_t *json)
{
	const json_t *type = json_object_get(json, "type");
	if (json_is_string(type))
		return json_string_value(type);
	source_error(source, part, "must be an object with a \"type\"");
	return NULL;
}

int source_unsupported(const struct tokenizer_source *source, const char *part, const char *type, const char *supported)
{
	return error_set(source->error, ERROR_INPUT, source->path, "%s \"%.100s\" is not supported; supported: %s",
		part, type, supported);
}

int source_flag(const struct tokenizer_source *source, const char *part, const json_t *json, const char *key,
	int fallback, int *out)
{
	const json_t *value = json_object_get(json, key);
	if (fallback >= 0 && (!value || json_is_null(value))) {
		*out = fallback;
		return 0;
	}
	if (!json_is_boolean(value))
		return source_error(source, part, "\"%s\" must be true or false", key);
	*out = json_is_true(value);
	return 0;
}

int source_string(const struct tokenizer_source *source, const char *part, const json_t *json, const char *key,
	const char **text, size_t *bytes)
{
	const json_t *value = json_object_get(json, key);
	if (!json_is_string(value))
		return source_error(source, part, "\"%s\" must be a string", key);
	*text = json_string_value(value);
	*bytes = json_string_length(value);
	return 0;
}

int source_character(
	const struct tokenizer_source *source, const char *part, const json_t *json, const char *key, uint32_t *out)
{
	const char *text = "";
	size_t bytes = 0, length = 0;
	int rc = source_string(source, part, json, key, &text, &bytes);
	if (rc)
		return rc;
	if (bytes)
		*out = utf8_code(text, &length);
	if (!bytes || length != bytes)
		return source_error(source, part, "\"%s\" must be one character", key);
	return 0;
}

int source_count(const struct tokenizer_source *source, const char *part, const json_t *json, const char *key,
	size_t largest, size_t *out)
{
	const json_t *value = json_object_get(json, key);
	if (!json_is_integer(value) || json_integer_value(value) < 0 ||
		(unsigned long long) json_integer_value(value) > largest)
		return source_error(source, part, "\"%s\" must be a whole number from 0 to %zu", key, largest);
	*out = (size_t) json_integer_value(value);
	return 0;
}

int source_pattern(const struct tokenizer_source *source, const char *part, const json_t *json, struct regex **out,
	const char **literal, size_t *literal_bytes)
{
	const json_t *pattern = json_object_get(json, "pattern");
	const json_t *plain = json_object_get(pattern, "String"), *regex = json_object_get(pattern, "Regex");
	if (json_object_size(pattern) != 1 || !json_is_string(plain ? plain : regex))
		return source_error(source, part, "\"pattern\" must be {\"String\": …} or {\"Regex\": …}");
	if (plain && literal) {
		*literal = json_string_value(plain);
		*literal_bytes = json_string_length(plain);
	}
	*out = regex_create(source, part, json_string_value(plain ? plain : regex),
		json_string_length(plain ? plain : regex), plain != NULL);
	return *out ? 0 : source->error->code;
}

static int read_json(const struct tokenizer_source *source, json_t **out)
{
	struct stat status;
	json_error_t broken;
	json_t *json = NULL;
	FILE *file = fopen(source->path, "rb");
	int rc = 0;
	if (!file)
		return error_set(source->error, ERROR_INPUT, source->path, "cannot be opened: %s", strerror(errno));
	if (fstat(fileno(file), &status) || !S_ISREG(status.st_mode)) {
		rc = error_set(source->error, ERROR_INPUT, source->path, "is not a file");
		goto out;
	}
	json = json_loadf(file, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &broken);
	if (!json && json_error_code(&broken) == json_error_out_of_memory)
		rc = error_memory(source->error, "reading a tokenizer");
	else if (!json)
		rc = error_at(source->error, ERROR_INPUT, source->path, broken.line > 0 ? (unsigned) broken.line : 0,
			"broken JSON: %s", broken.text);
	else if (!json_is_object(json))
		rc = error_set(source->error, ERROR_INPUT, source->path, "is not a tokenizer: no JSON object");
out:
	fclose(file);
	if (rc)
		json_decref(json);
	else
		*out = json;
	return rc;
}

/* Truncation and padding are left to whoever makes batches. What is in the file is passed over only where the
 * library would give the same ids for a single text. */
static int check_batching(const struct tokenizer_source *source, const json_t *json)
{
	const json_t *truncation = json_object_get(json, "truncation"), *padding = json_object_get(json, "padding");
	if (truncation && !json_is_null(truncation))
		return source_error(source, "truncation", "is not supported; set it to null");
	if (!padding || json_is_null(padding))
		return 0;
	const json_t *strategy = json_object_get(padding, "strategy"),
		     *multiple = json_object_get(padding, "pad_to_multiple_of");
	if (!json_is_string(strategy) || strcmp(json_string_value(strategy), "BatchLongest") ||
		(multiple && !json_is_null(multiple)))
		return source_error(source, "padding",
			"only the strategy \"BatchLongest\" without pad_to_multiple_of is supported: no single text is "
			"padded; "
			"set it to null");
	return 0;
}

static int load_parts(const struct tokenizer_source *source, const json_t *json, struct tokenizer *tokenizer)
{
	static const char *const keys[] = {"normalizer", "pre_tokenizer", "decoder"};
	const json_t *part[3], *version = json_object_get(json, "version");
	int rc;
	for (size_t i = 0; i < 3; i++) {
		part[i] = json_object_get(json, keys[i]);
		if (json_is_null(part[i]))
			part[i] = NULL;
	}
	if (version && !(json_is_string(version) && !strcmp(json_string_value(version), "1.0")))
		return source_error(source, "version", "only \"1.0\" is supported");
	if ((rc = check_batching(source, json)))
		return rc;
	if ((rc = model_load(source, json_object_get(json, "model"), &tokenizer->vocab, &tokenizer->model)))
		return rc;
	if (part[0] && (rc = normalizer_load(source, part[0], &tokenizer->normalizer)))
		return rc;
	if (part[1] && (rc = splitter_load(source, part[1], &tokenizer->splitter)))
		return rc;
	if ((rc = added_load(source, json_object_get(json, "added_tokens"), &tokenizer->vocab, tokenizer->normalizer,
		     &tokenizer->added)))
		return rc;
	if ((rc = finisher_load(
		     source, json_object_get(json, "post_processor"), &tokenizer->vocab, &tokenizer->finisher)))
		return rc;
	return decoder_load(source, part[2], &tokenizer->decoder);
}

int tokenizer_load(const char *path, struct tokenizer **out, struct error *error)
{
	struct error own = {0};
	struct tokenizer_source source = {path, error ? error : &own};
	struct tokenizer *tokenizer = NULL;
	json_t *json = NULL;
	int rc = read_json(&source, &json);
	if (rc)
		return rc;
	tokenizer = calloc(1, sizeof *tokenizer);
	rc = tokenizer ? load_parts(&source, json, tokenizer) : error_memory(error, "reading a tokenizer");
	json_decref(json);
	if (rc)
		tokenizer_destroy(tokenizer);
	else
		*out = tokenizer;
	return rc;
}

void tokenizer_destroy(struct tokenizer *tokenizer)
{
	if (!tokenizer)
		return;
	vocab_free(&tokenizer->vocab);
	model_destroy(tokenizer->model);
	normalizer_destroy(tokenizer->normalizer);
	splitter_destroy(tokenizer->splitter);
	added_destroy(tokenizer->added);
	free(tokenizer->finisher.ids.items);
	decoder_destroy(tokenizer->decoder);
	free(tokenizer);
}

size_t tokenizer_vocab_size(const struct tokenizer *tokenizer)
{
	return tokenizer->vocab.id_count;
}

int32_t tokenizer_token_id(const struct tokenizer *tokenizer, const char *token)
{
	const struct vocab_token *found = vocab_find(&tokenizer->vocab, token, strlen(token));
	return found ? found->id : -1;
}

const char *tokenizer_token_text(const struct tokenizer *tokenizer, int32_t id, size_t *bytes)
{
	const struct vocab_token *found = vocab_by_id(&tokenizer->vocab, id);
	if (!found)
		return NULL;
	*bytes = found->bytes;
	return vocab_text(&tokenizer->vocab, found);
}
