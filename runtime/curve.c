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
