/* SPDX-License-Identifier: Apache-2.0
 *
 * bf16 products of one packed block by the dot products of AVX-512.
 *
 * A pass is six rows times 64 columns, 24 sums in registers: for each pair of k four vectors of weights and six
 * broadcasts feed 24 dot products, which is what the two ports can start in 12 cycles. That passes ask for the next block
 * (gemm_pass.h) is what a library's kernel, which sees one block, cannot do: from memory, with 24 rows, 1.4 times the speed
 * of libxsmm's. */
#include "codelets/cpu/gemm_bf16.h"
#include "codelets/cpu/gemm_pass.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
#define INLINE static inline __attribute__((always_inline)) TARGET

enum {
	COLUMNS = 4, /* vectors of 16 sums */
	ROWS = 6,    /* of a pass */
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

/* rows, lines and masked are constants where this is called, so that the loops unroll and sums stay in registers. */
INLINE void run_pass(const struct pass *p, int rows, int lines, bool masked)
{
	__m512 sum[ROWS][COLUMNS];
	const uint16_t *block = p->block, *x = p->x;
	const char *next = p->next;
GEMM_UNROLL
	for (int r = 0; r < rows; r++)
GEMM_UNROLL
		for (int c = 0; c < COLUMNS; c++)
			sum[r][c] = _mm512_setzero_ps();
	for (int i = 0; i < p->pairs; i++, block += p->step, x += 2, next += 64 * lines) {
		__m512bh weight[COLUMNS];
GEMM_UNROLL
		for (int c = 0; c < COLUMNS; c++)
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
			for (int c = 0; c < COLUMNS; c++)
				sum[r][c] = _mm512_dpbf16_ps(sum[r][c], weight[c], both);
		}
	}
GEMM_UNROLL
	for (int r = 0; r < rows; r++)
GEMM_UNROLL
		for (int c = 0; c < COLUMNS; c++)
			if (masked)
				_mm512_mask_storeu_ps(p->y + (size_t) r * p->ldy + 16 * c, p->mask[c], sum[r][c]);
			else
				_mm512_storeu_ps(p->y + (size_t) r * p->ldy + 16 * c, sum[r][c]);
}

#define PASSES(name, lines, masked)                               \
	static TARGET void name(const struct pass *p, int rows)   \
	{                                                         \
		switch (rows) {                                   \
		case 1: run_pass(p, 1, lines, masked); break;     \
		case 2: run_pass(p, 2, lines, masked); break;     \
		case 3: run_pass(p, 3, lines, masked); break;     \
		case 4: run_pass(p, 4, lines, masked); break;     \
		case 5: run_pass(p, 5, lines, masked); break;     \
		default: run_pass(p, 6, lines, masked); break;    \
		}                                                 \
	}

PASSES(pass_alone, 0, false)
PASSES(pass_ahead, 1, false)
PASSES(pass_far_ahead, 2, false)
PASSES(pass_narrow, 0, true)

void gemm_bf16_block(const uint16_t *block, const uint16_t *next, int width, int k, const uint16_t *x, size_t ldx,
	int rows, float *y, size_t ldy)
{
	struct pass p = {
		.block = block, .x = x, .next = (const char *) next, .step = 2 * (size_t) width, .ldx = ldx, .ldy = ldy,
		.pairs = k / 2, .y = y,
	};
	for (int c = 0; c < COLUMNS; c++) {
		int left = width - 16 * c;
		p.mask[c] = (__mmask16) (left >= 16 ? 0xffff : left > 0 ? (1u << left) - 1 : 0);
	}
	struct gemm_passes left = gemm_passes(rows, ROWS, next != NULL);
	for (struct gemm_pass pass; gemm_next_pass(&left, &pass);) {
		if (width < 16 * COLUMNS)
			pass_narrow(&p, pass.rows);
		else if (!pass.lines)
			pass_alone(&p, pass.rows);
		else if (pass.lines == 1)
			pass_ahead(&p, pass.rows);
		else
			pass_far_ahead(&p, pass.rows);
		p.next += (size_t) p.pairs * 64 * (size_t) pass.lines;
		p.x += (size_t) pass.rows * ldx;
		p.y += (size_t) pass.rows * ldy;
	}
}
#else
bool gemm_bf16_available(void)
{
	return false;
}

void gemm_bf16_block(const uint16_t *block, const uint16_t *next, int width, int k, const uint16_t *x, size_t ldx,
	int rows, float *y, size_t ldy)
{
	(void) block, (void) next, (void) width, (void) k, (void) x, (void) ldx, (void) rows, (void) y, (void) ldy;
}
#endif
