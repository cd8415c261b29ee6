/* SPDX-License-Identifier: Apache-2.0
 *
 * A 64-bit checksum at the speed of memory.
 *
 * Eight lanes take every eighth word: lane = fold((lane ^ word) · factor), where fold joins the two halves of the
 * product of 128 bits. The low half alone would do for all bits but the highest ones, which it hardly spreads: a flipped
 * highest bit would be undone by one flipped bit of the lane's next word. (The folded product is what wyhash rests on.)
 * Eight lanes, since a product takes some 4 cycles and a core starts one a cycle. */
#include "runtime/checksum.h"
#include <string.h>

enum { LANES = 8, WORD = 8 };

/* Odd, with about as many ones as zeros: the first from the golden ratio, the second from the square root of 3. */
#define FACTOR 0x9e3779b97f4a7c15u
#define FINAL  0xbb67ae8584caa73bu

static inline uint64_t step(uint64_t lane, uint64_t word)
{
	unsigned __int128 product = (unsigned __int128) (lane ^ word) * FACTOR;
	return (uint64_t) product ^ (uint64_t) (product >> 64);
}

/* A bijection in which every bit of the result depends on every bit of h. */
static inline uint64_t spread(uint64_t h)
{
	h = (h ^ h >> 32) * FINAL;
	h = (h ^ h >> 29) * FACTOR;
	return h ^ h >> 32;
}

static inline void take(uint64_t lane[LANES], const unsigned char *at)
{
	uint64_t word;
#pragma GCC unroll 8
	for (int i = 0; i < LANES; i++) {
		memcpy(&word, at + i * WORD, WORD);
		lane[i] = step(lane[i], word);
	}
}

uint64_t checksum_of(const void *data, size_t bytes, uint64_t seed)
{
	const unsigned char *at = data;
	unsigned char rest[LANES * WORD] = {0};
	uint64_t lane[LANES], h = spread(seed ^ bytes);
	size_t left = bytes;

	for (int i = 0; i < LANES; i++)
		lane[i] = h + (uint64_t) i * FINAL;
	for (; left >= sizeof rest; left -= sizeof rest, at += sizeof rest)
		take(lane, at);
	if (left) {
		memcpy(rest, at, left);
		take(lane, rest);
	}
	for (int i = 0; i < LANES; i++)
		h = spread(h ^ lane[i]);
	return h;
}
