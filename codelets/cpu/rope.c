/* SPDX-License-Identifier: Apache-2.0
 *
 * Cosines and sines of rotary position embedding, as transformers makes them: inverse frequencies, angles and their
 * cosines in FP32. (RoFormer, arXiv:2104.09864; the llama3 stretching of long wavelengths as in transformers'
 * modeling_rope_utils.) */
#include "codelets/codelets.h"
#include <math.h>
#include <stdlib.h>

static float inverse_frequency(const struct model *model, int i)
{
	float f = 1.0f / powf((float) model->rope.theta, (float) (2 * i) / (float) model->head_dim);
	if (model->rope.type == ROPE_DEFAULT)
		return f;
	double factor = model->rope.factor, low = model->rope.low_frequency_factor;
	double high = model->rope.high_frequency_factor, old = model->rope.original_positions;
	float wavelength = 2 * (float) M_PI / f;
	if (wavelength > (float) (old / low))
		return f / (float) factor;
	if (wavelength < (float) (old / high))
		return f;
	float smooth = ((float) old / wavelength - (float) low) / (float) (high - low);
	return (1 - smooth) * f / (float) factor + smooth * f;
}

int rope_table_make(struct rope_table *table, const struct model *model, int positions, struct error *error)
{
	int half = model->head_dim / 2;
	if (positions < 1 || half < 1)
		return error_set(error, ERROR_INPUT, NULL,
			"a rope table of %d positions and %d pairs; both must be above 0", positions, half);
	float *cosine = calloc((size_t) positions * (size_t) half, sizeof *cosine);
	float *sine = calloc((size_t) positions * (size_t) half, sizeof *sine);
	if (!cosine || !sine) {
		free(cosine);
		free(sine);
		return error_memory(error, "making the rope table");
	}
	for (int i = 0; i < half; i++) {
		float f = inverse_frequency(model, i);
		for (size_t p = 0; p < (size_t) positions; p++) {
			float angle = (float) p * f;
			cosine[p * (size_t) half + (size_t) i] = cosf(angle);
			sine[p * (size_t) half + (size_t) i] = sinf(angle);
		}
	}
	*table = (struct rope_table){.positions = positions, .half = half, .cosine = cosine, .sine = sine};
	return 0;
}

void rope_table_free(struct rope_table *table)
{
	if (!table)
		return;
	free(table->cosine);
	free(table->sine);
	*table = (struct rope_table){0};
}
