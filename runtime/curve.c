/* SPDX-License-Identifier: Apache-2.0
 *
 * Seconds by a measured curve. */
#include "runtime/curve.h"
#include <math.h>

#define MIB 1048576.0

const double curve_band_rows[CURVE_ROW_BANDS] = { 4, 16, 48 };

const char *const curve_keys[CURVE_TERMS] = { "call_s", "flop_4_s", "flop_16_s", "flop_48_s", "flop_s", "key_flop_s",
	"key_tile_s", "key_block_s", "weight_byte_s", "kv_byte_s", "row_byte_1_s", "row_byte_16_s", "row_byte_s" };

void curve_row_bytes(double bytes, double term[CURVE_TERMS])
{
	term[CURVE_ROW_BYTES_1] = fmin(bytes, MIB);
	term[CURVE_ROW_BYTES_16] = fmin(fmax(bytes - MIB, 0), 15 * MIB);
	term[CURVE_ROW_BYTES] = fmax(bytes - 16 * MIB, 0);
}

double curve_seconds(const struct curve *curve, const double term[CURVE_TERMS], double company)
{
	double seconds = 0;
	for (int i = 0; i < CURVE_TERMS; i++)
		seconds += term[i] * (curve->alone[i] + company * (curve->busy[i] - curve->alone[i]));
	return seconds;
}

/* Evenly in (0, 1): splitmix64 (Steele, Lea, Flood, Fast Splittable Pseudorandom Number Generators, 2014). */
static double even(uint64_t *seed)
{
	uint64_t z = *seed += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return ((double) ((z ^ z >> 31) >> 11) + 0.5) / 9007199254740992.0;
}

double curve_variation(const struct curve *curve, uint64_t seed)
{
	double variance = log1p(curve->spread * curve->spread);
	double length = sqrt(-2 * log(even(&seed))), angle = 6.283185307179586 * even(&seed); /* Box, Muller */
	return exp(sqrt(variance) * length * cos(angle) - variance / 2);
}
