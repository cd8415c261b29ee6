/* SPDX-License-Identifier: Apache-2.0
 *
 * `--machine FILE`: a machine file in place of the graph's machine. */
#ifndef OCTANT_TOOLS_MACHINE_FILE_H
#define OCTANT_TOOLS_MACHINE_FILE_H

#include "tools/options.h"

/* Puts the file's keys before the other overrides, so that `--set machine.…` still changes them. `name` is a path, or the
 * name of a machine that ships (with or without machines/ and .cfg). Errors: ERROR_INPUT at the file's line for what is
 * no libconfig; keys and values are checked, as "--machine", when the graph is read. */
int machine_file_override(const char *name, struct option_overrides *overrides, struct error *error);

#endif
