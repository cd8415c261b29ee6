/* SPDX-License-Identifier: Apache-2.0
 *
 * A model as the `model` card of a graph description. */
#ifndef OCTANT_TOOLS_MODEL_CARD_H
#define OCTANT_TOOLS_MODEL_CARD_H

#include <stdio.h>
#include "runtime/model.h"

/* "model = { … };": what it does not say is what the card's defaults say. */
void model_card_write(const struct model *model, FILE *file);

#endif
