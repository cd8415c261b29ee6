/* SPDX-License-Identifier: Apache-2.0
 *
 * Seconds by a measured curve. */
#include "runtime/curve.h"

double curve_seconds(const struct curve *curve, const double term[CURVE_TERMS], double company)
{
	double seconds = 0;
	for (int i = 0; i < CURVE_TERMS; i++)
		seconds += term[i] * (curve->alone[i] + company * (curve->busy[i] - curve->alone[i]));
	return seconds;
}
