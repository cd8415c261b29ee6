/* SPDX-License-Identifier: Apache-2.0
 *
 * A Hugging Face directory's config.json and generation_config.json, as a struct model.
 *
 * Absent keys mean what they mean to transformers. What a file asks for and this program does not compute
 * (another rope scaling, a sliding window shorter than the longest sequence, another activation, a
 * quantisation, a model type that is not one of the seven) is refused by name, never computed wrongly. */
#ifndef OCTANT_MODEL_CONFIG_H
#define OCTANT_MODEL_CONFIG_H

#include "runtime/error.h"
#include "runtime/model.h"

/* Sets *model only on success; then model_validate holds. model->name is the directory's last part; model->dtype is
 * what the file says, fp32 where it says nothing (checkpoint_open sets it by the tensors). End-of-sequence tokens are
 * generation_config.json's where that file exists and names them.
 * Errors: ERROR_INPUT with file, line and key; ERROR_MEMORY. */
int model_config_read(const char *directory, struct model *model, struct error *error);

#endif
