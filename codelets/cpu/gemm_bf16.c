/* SPDX-License-Identifier: Apache-2.0
 *
 * bf16 products of one packed block by the dot products of AVX-512.
 *
 * A pass keeps 24 sums in registers: up to six rows times 64 columns, or up to twelve times 32. For each pair of k
 * four vectors of weights and six broadcasts, or two and twelve, feed 24 dot products, which is what the two ports can start
 * in 12 cycles. More than six rows go in halves of a block: 12 rows read each line of it once, and 7 to 24 take two or four
 * equal passes, each of which asks for as much of the next block (gemm_pass.h). That is what a library's kernel, which sees
 * one block, cannot do: from memory, with 24 rows, 1.4 times the speed of libxsmm's. */
#include "codelets/cpu/gemm_bf16.h"
#include "codelets/cpu/gemm_pass.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
#define INLINE static inline __attribute__((always_inline)) TARGET

enum {
	COLUMNS = 4, /* vectors of 16 sums in a block */
	HALF = 2,    /* in half of it */
	ROWS = 6,    /* of a pass over all columns */
	HALF_ROWS = 12,
};

bool gemm_bf16_available(void)
{
	__builtin_cpu_init();
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bf16");
}

struct pass {
	const uint16_t *block, *x;
	const char *next; /* what to ask for: 64 bytes · lines for each pair of k */
	size_t step, ldx, ldy; /* step: elements of the block from a pair of k to the next */
	int pairs;
	float *y;
	__mmask16 mask[COLUMNS];
};

/* rows, columns, lines and masked are constants where this is called, so that the loops unroll and sums stay in registers. */
INLINE void run_pass(const struct pass *p, int rows, int columns, int lines, bool masked)
{
	__m512 sum[HALF_ROWS][COLUMNS];
	const uint16_t *block = p->block, *x = p->x;
	const char *next = p->next;
GEMM_UNROLL
	for (int r = 0; r < rows; r++)
GEMM_UNROLL
		for (int c = 0; c < columns; c++)
			sum[r][c] = _mm512_setzero_ps();
	for (int i = 0; i < p->pairs; i++, block += p->step, x += 2, next += 64 * lines) {
		__m512bh weight[COLUMNS];
GEMM_UNROLL
		for (int c = 0; c < columns; c++)
			weight[c] = (__m512bh) (masked ? _mm512_maskz_loadu_epi32(p->mask[c], block + 32 * c)
						       : _mm512_loadu_si512(block + 32 * c));
GEMM_UNROLL
		for (int line = 0; line < lines; line++)
			_mm_prefetch(next + 64 * line, _MM_HINT_T1);
GEMM_UNROLL
		for (int r = 0; r < rows; r++) {
			int pair;
			__builtin_memcpy(&pair, x + (size_t) r * p->ldx, sizeof pair);
			__m512bh both = (__m512bh) _mm512_set1_epi32(pair);
GEMM_UNROLL
			for (int c = 0; c < columns; c++)
				sum[r][c] = _mm512_dpbf16_ps(sum[r][c], weight[c], both);
		}
	}
GEMM_UNROLL
	for (int r = 0; r < rows; r++)
GEMM_UNROLL
		for (int c = 0; c < columns; c++)
			if (masked)
				_mm512_mask_storeu_ps(p->y + (size_t) r * p->ldy + 16 * c, p->mask[c], sum[r][c]);
			else
				_mm512_storeu_ps(p->y + (size_t) r * p->ldy + 16 * c, sum[r][c]);
}

/* All columns: a stream of weights, or a narrow block. */
#define PASSES(name, masked)                                               \
	static TARGET void name(const struct pass *p, int rows)            \
	{                                                                  \
		switch (rows) {                                            \
		case 1: run_pass(p, 1, COLUMNS, 0, masked); break;         \
		case 2: run_pass(p, 2, COLUMNS, 0, masked); break;         \
		case 3: run_pass(p, 3, COLUMNS, 0, masked); break;         \
		case 4: run_pass(p, 4, COLUMNS, 0, masked); break;         \
		case 5: run_pass(p, 5, COLUMNS, 0, masked); break;         \
		default: run_pass(p, 6, COLUMNS, 0, masked); break;        \
		}                                                          \
	}

/* Half of them. More than six rows in passes of at most twelve leave six or more for each. */
#define HALVES(name, lines)                                                \
	static TARGET void name(const struct pass *p, int rows)            \
	{                                                                  \
		switch (rows) {                                            \
		case 6: run_pass(p, 6, HALF, lines, false); break;         \
		case 7: run_pass(p, 7, HALF, lines, false); break;         \
		case 8: run_pass(p, 8, HALF, lines, false); break;         \
		case 9: run_pass(p, 9, HALF, lines, false); break;         \
		case 10: run_pass(p, 10, HALF, lines, false); break;       \
		case 11: run_pass(p, 11, HALF, lines, false); break;       \
		default: run_pass(p, 12, HALF, lines, false); break;       \
		}                                                          \
	}

PASSES(pass_alone, false)
PASSES(pass_narrow, true)
HALVES(half_alone, 0)
HALVES(half_ahead, 1)
HALVES(half_far_ahead, 2)

/* Up to six rows, or a block of fewer than 64 columns. */
static void run_whole(struct pass *p, int width, int rows)
{
	struct gemm_passes left = gemm_passes(rows, ROWS, 1, false);
	for (struct gemm_pass pass; gemm_next_pass(&left, &pass);) {
		if (width < 16 * COLUMNS)
			pass_narrow(p, pass.rows);
		else
			pass_alone(p, pass.rows);
		p->x += (size_t) pass.rows * p->ldx;
		p->y += (size_t) pass.rows * p->ldy;
	}
}

/* Where the next pass is to ask for `bytes` bytes of what is read soon; NULL: nothing is left. */
static const char *take_soon(struct gemm_soon *soon, size_t bytes)
{
	if (!soon || soon->at == soon->pieces)
		return NULL;
	const char *at = (const char *) soon->piece[soon->at] + soon->done;
	soon->done += bytes;
	if (soon->done >= soon->bytes) {
		soon->done = 0;
		soon->at++;
	}
	return at;
}

static void run_halves(struct pass *p, int rows, struct gemm_soon *soon)
{
	const uint16_t *block = p->block;
	const char *next = p->next;
	float *y = p->y;
	struct gemm_passes left = gemm_passes(rows, HALF_ROWS, COLUMNS / HALF, p->next != NULL);
	for (struct gemm_pass pass; gemm_next_pass(&left, &pass);) {
		p->block = block + pass.part * 2 * 16 * HALF;
		p->y = y + pass.part * 16 * HALF;
		p->next = pass.lines ? next : take_soon(soon, (size_t) p->pairs * 64);
		next += (size_t) p->pairs * 64 * (size_t) pass.lines;
		if (!p->next)
			half_alone(p, pass.rows);
		else if (pass.lines < 2)
			half_ahead(p, pass.rows);
		else
			half_far_ahead(p, pass.rows);
		if (pass.part == COLUMNS / HALF - 1) {
			p->x += (size_t) pass.rows * p->ldx;
			y += (size_t) pass.rows * p->ldy;
		}
	}
}

void gemm_bf16_block(const uint16_t *block, const uint16_t *next, int width, int k, const uint16_t *x, size_t ldx,
	int rows, float *y, size_t ldy, struct gemm_soon *soon)
{
	struct pass p = {
		.block = block, .x = x, .next = (const char *) next, .step = 2 * (size_t) width, .ldx = ldx, .ldy = ldy,
		.pairs = k / 2, .y = y,
	};
	for (int c = 0; c < COLUMNS; c++) {
		int left = width - 16 * c;
		p.mask[c] = (__mmask16) (left >= 16 ? 0xffff : left > 0 ? (1u << left) - 1 : 0);
	}
	if (width < 16 * COLUMNS || rows <= ROWS)
		run_whole(&p, width, rows);
	else
		run_halves(&p, rows, soon);
}
#else
bool gemm_bf16_available(void)
{
	return false;
}

void gemm_bf16_block(const uint16_t *block, const uint16_t *next, int width, int k, const uint16_t *x, size_t ldx,
	int rows, float *y, size_t ldy, struct gemm_soon *soon)
{
	(void) block, (void) next, (void) width, (void) k, (void) x, (void) ldx, (void) rows, (void) y, (void) ldy, (void) soon;
}
#endif
