/* SPDX-License-Identifier: Apache-2.0
 *
 * One error, worded by the first function that detects it.
 *
 * Functions that can fail return 0 or an error code, take a `struct error *` as their last argument
 * and set their outputs only on success. Callers pass the error on unchanged; a second error_set on
 * an error that is already set keeps the first. */
#ifndef OCTANT_ERROR_H
#define OCTANT_ERROR_H

enum error_code {
	ERROR_NONE = 0,
	ERROR_RUN = 1,    /* the work itself failed (a full disk, a sequence, a lost device): exit status 1 */
	ERROR_INPUT = 2,  /* bad usage or input: exit status 2 */
	ERROR_MEMORY = 3, /* no memory to be had: exit status 1 */
};

struct error {
	int code;        /* enum error_code */
	char where[512]; /* file, file:line, tensor, actor: where it is wrong; "" when there is no place */
	char text[1536]; /* what is wrong; what would be right */
};

/* Fills `error` unless it is already set and returns its code, so that `return error_set(…)` reads well.
 * `where` may be NULL. `error` may be NULL: then only the code is returned. */
int error_set(struct error *error, int code, const char *where, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* The same with `where` made of a file and a line (no line when 0). */
int error_at(struct error *error, int code, const char *file, unsigned line, const char *format, ...)
	__attribute__((format(printf, 5, 6)));

/* "out of memory while WHAT", ERROR_MEMORY. */
int error_memory(struct error *error, const char *what);

/* Prints "where: text" as one line on stderr. */
void error_print(const struct error *error);

/* The process's exit status for a code. */
int error_exit_status(int code);

/* The word of `words` (NULL at the end) that is nearest to `word` by edit distance, or NULL when none is
 * near enough to be meant: what "did you mean" says. */
const char *error_nearest(const char *word, const char *const *words);

#endif
