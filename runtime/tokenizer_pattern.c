/* SPDX-License-Identifier: Apache-2.0
 *
 * Split patterns. The `tokenizers` library gives them to Oniguruma (Ruby syntax); here they are rewritten for
 * PCRE2, which reads most of that syntax alike:
 *
 *   \s \w \d \h \v \b        other sets of characters in Oniguruma: spelled out by Unicode properties
 *   {n,m}+  {n}?  {,n}       a repeated group, an optional one, from 0: not possessive, lazy, literal
 *   (?m)                     PCRE2's (?s)
 *   [a[b]]  [a&&b]  (?x) …   refused: better than splitting differently
 *
 * PCRE2's \s has U+180E, its \w lacks combining marks, and so on. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "runtime/tokenizer_internal.h"
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <utf8proc.h>

#define WORD_MEMBERS "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
/* Outside a class Oniguruma asks a table of Latin-1, which has superscript digits and fractions among the letters. */
#define WORD WORD_MEMBERS "\\xb2\\xb3\\xb9\\xbc-\\xbe"

/* A pattern on its way from `in` to `out`. */
struct rewrite {
	const struct tokenizer_source *source;
	const char *part;
	const char *in;
	size_t size, at;
	struct text_buffer out;
	size_t atom;       /* where the last complete atom begins in `out` */
	int has_atom;      /* there is one that a quantifier may follow */
	size_t groups[64]; /* where the open groups begin in `out` */
	int depth;
	int group_start; /* nothing yet in this group */
	int caseless, outer_caseless[64];
	char previous; /* the literal just before, in lower case, or 0 */
};

static int refuse(struct rewrite *r, const char *what)
{
	return source_error(
		r->source, r->part, "pattern \"%.200s\": %s at byte %zu is not supported", r->in, what, r->at);
}

static void put(struct rewrite *r, const char *text)
{
	text_append(&r->out, text, strlen(text));
}

static void begin_atom(struct rewrite *r)
{
	r->atom = r->out.size;
	r->has_atom = 1;
	r->group_start = 0;
}

/* Ignoring case, Oniguruma also takes one character for several (ß for ss), which PCRE2 does not. */
static int check_caseless(struct rewrite *r, uint32_t code)
{
	static const char *const folded[] = {"ss", "ff", "fi", "fl", "st"};
	char previous = r->previous, c = (char) (code < 0x80 ? code | 0x20 : 0);
	if (!r->caseless)
		return 0;
	if (code >= 0x80) {
		utf8proc_category_t category = utf8proc_category((utf8proc_int32_t) code);
		return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_ME
			       ? refuse(r, "a letter beyond ASCII with (?i)")
			       : 0;
	}
	for (size_t i = 0; i < sizeof folded / sizeof folded[0]; i++)
		if (previous == folded[i][0] && c == folded[i][1])
			return refuse(r, "ss, ff, fi, fl or st with (?i)");
	r->previous = c;
	return 0;
}

/* Whether a property is a script. For PCRE2 a script's bare name means its Script_Extensions, for Oniguruma not. */
static int is_script(const char *name)
{
	char pattern[96];
	int code;
	PCRE2_SIZE where;
	snprintf(pattern, sizeof pattern, "\\p{sc:%s}", name);
	pcre2_code *compiled =
		pcre2_compile((PCRE2_SPTR) pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &code, &where, NULL);
	pcre2_code_free(compiled);
	return compiled != NULL;
}

/* \p{…} and \P{…}: general categories (long names too, which PCRE2 lacks), scripts, binary properties. */
static int rewrite_property(struct rewrite *r)
{
	static const char *const longer[][2] = {{"Letter", "L"}, {"Mark", "M"}, {"Number", "N"}, {"Punctuation", "P"},
		{"Symbol", "S"}, {"Separator", "Z"}, {"Other", "C"}, {"Space", "White_Space"}};
	char name[64];
	size_t begin = r->at + 2, end = begin + 1;
	if (begin >= r->size || r->in[begin] != '{')
		return refuse(r, "\\p without {…}");
	while (end < r->size && r->in[end] != '}')
		end++;
	if (end >= r->size || end - begin - 1 >= sizeof name || end - begin < 2)
		return refuse(r, "this property");
	memcpy(name, r->in + begin + 1, end - begin - 1);
	name[end - begin - 1] = 0;
	/* Both libraries know these words, but for other sets. */
	if (!strcasecmp(name, "punct") || !strcasecmp(name, "word") || !strcasecmp(name, "print") ||
		!strcasecmp(name, "graph") || !strcasecmp(name, "alnum") || !strcasecmp(name, "xdigit") ||
		name[0] == 'X' || strchr(name, '='))
		return refuse(r, "this property");
	const char *plain = name;
	for (size_t i = 0; i < sizeof longer / sizeof longer[0]; i++)
		if (!strcasecmp(name, longer[i][0]))
			plain = longer[i][1];
	text_append(&r->out, r->in + r->at, 2);
	put(r, "{");
	if (*plain == '^') {
		put(r, "^");
		plain++;
	}
	put(r, is_script(plain) ? "sc:" : "");
	put(r, plain);
	put(r, "}");
	r->at = end + 1;
	return 0;
}

/* \xHH, \x{H…}, \uHHHH: one code point. */
static int rewrite_code(struct rewrite *r)
{
	char digits[9], written[16];
	int braces = r->at + 2 < r->size && r->in[r->at + 2] == '{' && r->in[r->at + 1] == 'x';
	size_t begin = r->at + 2 + (size_t) braces, n = 0, most = braces ? 8 : r->in[r->at + 1] == 'u' ? 4 : 2;
	while (n < most && begin + n < r->size && strchr("0123456789abcdefABCDEF", r->in[begin + n]) &&
		r->in[begin + n]) {
		digits[n] = r->in[begin + n];
		n++;
	}
	digits[n] = 0;
	if (!n || (braces && (begin + n >= r->size || r->in[begin + n] != '}')) || (!braces && n != most))
		return refuse(r, "this code point");
	unsigned long code = strtoul(digits, NULL, 16);
	if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff) || (most == 2 && code >= 0x80))
		return refuse(r, "this code point");
	snprintf(written, sizeof written, "\\x{%lx}", code);
	put(r, written);
	r->at = begin + n + (size_t) braces;
	return 0;
}

/* What follows a backslash; in a class, only what can be a member. */
static int rewrite_escape(struct rewrite *r, int in_class)
{
	static const struct {
		char escape;
		const char *outside, *inside;
	} table[] = {
		{'s', "\\p{White_Space}", "\\p{White_Space}"},
		{'S', "\\P{White_Space}", "\\P{White_Space}"},
		{'d', "\\p{Nd}", "\\p{Nd}"},
		{'D', "\\P{Nd}", "\\P{Nd}"},
		{'w', "[" WORD "]", WORD_MEMBERS},
		{'W', "[^" WORD "]", NULL},
		{'h', "[0-9a-fA-F]", "0-9a-fA-F"},
		{'H', "[^0-9a-fA-F]", NULL},
		{'n', "\\n", "\\n"},
		{'r', "\\r", "\\r"},
		{'t', "\\t", "\\t"},
		{'f', "\\f", "\\f"},
		{'a', "\\a", "\\a"},
		{'e', "\\e", "\\e"},
		{'v', "\\x0b", "\\x0b"},
		{'R', "(?>\\r\\n|[\\n-\\r\\x{85}\\x{2028}\\x{2029}])", NULL},
		{'A', "\\A", NULL},
		{'z', "\\z", NULL},
		{'Z', "\\Z", NULL},
		{'G', "\\G", NULL},
		{'b', "(?:(?<=[" WORD "])(?![" WORD "])|(?<![" WORD "])(?=[" WORD "]))", "\\x08"},
		{'B', "(?:(?<=[" WORD "])(?=[" WORD "])|(?<![" WORD "])(?![" WORD "]))", NULL},
	};
	if (r->at + 1 >= r->size)
		return refuse(r, "a backslash at the end");
	char c = r->in[r->at + 1];
	if (c == 'p' || c == 'P')
		return rewrite_property(r);
	if (c == 'x' || c == 'u')
		return rewrite_code(r);
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
		if (table[i].escape == c) {
			const char *text = in_class ? table[i].inside : table[i].outside;
			if (!text)
				return refuse(r, "this escape in a class");
			put(r, text);
			r->at += 2;
			return 0;
		}
	if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || !c)
		return refuse(r, "this escape");
	if ((unsigned char) c < 0x80) {
		text_append(&r->out, r->in + r->at, 2);
		r->at += 2;
	} else {
		r->at++; /* an escaped character beyond ASCII is that character */
		size_t length;
		utf8_code(r->in + r->at, &length);
		text_append(&r->out, r->in + r->at, length);
		r->at += length;
	}
	return 0;
}

static int rewrite_posix(struct rewrite *r)
{
	static const char *const names[][2] = {{"[:space:]", "\\p{White_Space}"}, {"[:alpha:]", "\\p{Alphabetic}"},
		{"[:digit:]", "\\p{Nd}"}, {"[:lower:]", "\\p{Lowercase}"}, {"[:upper:]", "\\p{Uppercase}"},
		{"[:alnum:]", "\\p{Alphabetic}\\p{Nd}"}, {"[:word:]", WORD_MEMBERS}, {"[:^space:]", "\\P{White_Space}"},
		{"[:^digit:]", "\\P{Nd}"}, {"[:^alpha:]", "\\P{Alphabetic}"}};
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		size_t length = strlen(names[i][0]);
		if (r->size - r->at >= length && !memcmp(r->in + r->at, names[i][0], length)) {
			put(r, names[i][1]);
			r->at += length;
			return 0;
		}
	}
	return refuse(r, "a class in a class");
}

static int rewrite_class(struct rewrite *r)
{
	begin_atom(r);
	put(r, "[");
	r->at++;
	if (r->at < r->size && r->in[r->at] == '^') {
		put(r, "^");
		r->at++;
	}
	if (r->at < r->size && r->in[r->at] == ']')
		return refuse(r, "an empty class");
	while (r->at < r->size && r->in[r->at] != ']') {
		int rc = 0;
		if (r->in[r->at] == '\\') {
			rc = rewrite_escape(r, 1);
		} else if (r->in[r->at] == '[') {
			rc = rewrite_posix(r);
		} else if (r->in[r->at] == '&' && r->at + 1 < r->size && r->in[r->at + 1] == '&') {
			rc = refuse(r, "&& in a class");
		} else {
			size_t length;
			r->previous = 0;
			rc = check_caseless(r, utf8_code(r->in + r->at, &length));
			text_append(&r->out, r->in + r->at, length);
			r->at += length;
		}
		if (rc)
			return rc;
	}
	if (r->at >= r->size)
		return refuse(r, "a class without ]");
	put(r, "]");
	r->at++;
	return 0;
}

static void open_group(struct rewrite *r)
{
	begin_atom(r);
	r->outer_caseless[r->depth] = r->caseless;
	r->groups[r->depth++] = r->atom;
}

static int rewrite_group(struct rewrite *r)
{
	const char *p = r->in + r->at;
	size_t left = r->size - r->at, length = 1;
	if (r->depth == (int) (sizeof r->groups / sizeof r->groups[0]))
		return refuse(r, "so deep a group");
	if (left >= 2 && p[1] == '?') {
		size_t i = 2;
		int isolated = 0;
		if (left >= 3 && strchr(":=!>", p[2]) && p[2]) {
			length = 3;
		} else if (left >= 4 && p[2] == '<' && (p[3] == '=' || p[3] == '!')) {
			length = 4;
		} else {
			while (i < left && (p[i] == 'i' || p[i] == 'm' || p[i] == '-'))
				i++;
			isolated = i < left && p[i] == ')';
			if (i == 2 || i == left || (p[i] != ':' && p[i] != ')'))
				return refuse(r, "this kind of group");
			/* "a(?i)b|c" is "a(?i:b|c)" for Oniguruma: alike only where a group begins */
			if (isolated && !r->group_start)
				return refuse(r, "an option in the middle of a group");
			length = i + 1;
		}
		if (!isolated)
			open_group(r);
		for (int on = 1, k = 2; k < (int) length && length > 3; k++) {
			if (p[k] == '-')
				on = 0;
			else if (p[k] == 'i')
				r->caseless = on;
		}
		for (i = 0; i < length; i++)
			text_append(&r->out, p[i] == 'm' ? "s" : p + i, 1);
		r->at += length;
		r->has_atom = 0;
		r->group_start = 1;
		return 0;
	}
	open_group(r);
	put(r, "(");
	r->at++;
	r->has_atom = 0;
	r->group_start = 1;
	return 0;
}

/* Puts the last atom into a group of its own. */
static void wrap_atom(struct rewrite *r)
{
	if (!text_reserve(&r->out, 4))
		return;
	memmove(r->out.data + r->atom + 3, r->out.data + r->atom, r->out.size - r->atom);
	memcpy(r->out.data + r->atom, "(?:", 3);
	r->out.size += 3;
	put(r, ")");
}

/* {n}, {n,}, {,m}, {n,m}; anything else is a literal brace. */
static int rewrite_interval(struct rewrite *r)
{
	unsigned long bound[2] = {0, 0};
	int given[2] = {0, 0}, comma = 0;
	char written[64];
	size_t i = r->at + 1;
	for (; i < r->size && r->in[i] != '}'; i++) {
		if (r->in[i] == ',' && !comma) {
			comma = 1;
		} else if (r->in[i] >= '0' && r->in[i] <= '9' && bound[comma] < 65536) {
			bound[comma] = bound[comma] * 10 + (unsigned long) (r->in[i] - '0');
			given[comma] = 1;
		} else {
			break;
		}
	}
	if (i >= r->size || r->in[i] != '}' || !(given[0] || given[1])) {
		begin_atom(r);
		put(r, "\\{");
		r->at++;
		return 0;
	}
	if (!r->has_atom)
		return refuse(r, "a repetition of nothing");
	if (!comma)
		snprintf(written, sizeof written, "{%lu}", bound[0]);
	else if (given[1])
		snprintf(written, sizeof written, "{%lu,%lu}", bound[0], bound[1]);
	else
		snprintf(written, sizeof written, "{%lu,}", bound[0]);
	put(r, written);
	r->at = i + 1;
	if (r->at < r->size && r->in[r->at] == '?' && comma) {
		put(r, "?");
		r->at++;
	} else if (r->at < r->size && strchr("?+*", r->in[r->at]) && r->in[r->at]) {
		wrap_atom(r);
		text_append(&r->out, r->in + r->at, 1);
		r->at++;
	}
	r->has_atom = 0;
	return 0;
}

/* One element of the pattern. */
static int rewrite_element(struct rewrite *r)
{
	char c = r->in[r->at], previous = r->previous;
	r->previous = 0;
	switch (c) {
	case '\\':
		begin_atom(r);
		return rewrite_escape(r, 0);
	case '[':
		return rewrite_class(r);
	case '(':
		return rewrite_group(r);
	case ')':
		if (!r->depth)
			return refuse(r, "a ) without (");
		r->atom = r->groups[--r->depth];
		r->caseless = r->outer_caseless[r->depth];
		r->has_atom = 1;
		r->group_start = 0;
		put(r, ")");
		r->at++;
		return 0;
	case '{':
		return rewrite_interval(r);
	case '*':
	case '+':
	case '?':
		if (!r->has_atom)
			return refuse(r, "a repetition of nothing");
		text_append(&r->out, &c, 1);
		r->at++;
		if (r->at < r->size && (r->in[r->at] == '?' || r->in[r->at] == '+')) {
			text_append(&r->out, r->in + r->at, 1);
			r->at++;
		}
		r->has_atom = 0; /* a** and the like are refused */
		return 0;
	case '|':
		put(r, "|");
		r->at++;
		r->has_atom = 0;
		r->group_start = 0;
		return 0;
	default:
		begin_atom(r);
		size_t length;
		r->previous = previous;
		int rc = check_caseless(r, utf8_code(r->in + r->at, &length));
		text_append(&r->out, r->in + r->at, length);
		r->at += length;
		return rc;
	}
}

static int rewrite(struct rewrite *r)
{
	r->group_start = 1;
	while (r->at < r->size) {
		int rc = rewrite_element(r);
		if (rc)
			return rc;
	}
	if (r->depth)
		return refuse(r, "a ( without )");
	return 0;
}

int pattern_rewrite(const struct tokenizer_source *source, const char *part, const char *pattern, size_t size,
	struct text_buffer *out)
{
	struct rewrite r = {.source = source, .part = part, .in = pattern, .size = size};
	int rc = strlen(pattern) == size ? rewrite(&r)
					 : source_error(source, part, "a pattern with a zero byte is not supported");
	if (!rc && r.out.failed)
		rc = error_memory(source->error, "reading a tokenizer");
	if (rc)
		text_free(&r.out);
	else
		*out = r.out;
	return rc;
}
