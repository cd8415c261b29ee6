/* SPDX-License-Identifier: Apache-2.0
 *
 * The pieces that the drawing is made of: boxes, texts, arrows, and their colours. Coordinates are pixels. */
#ifndef OCTANT_TOOLS_DRAW_SVG_H
#define OCTANT_TOOLS_DRAW_SVG_H

#include <stdbool.h>
#include <stdio.h>
#include "runtime/form.h"

void svg_begin(FILE *file, int width, int height, const char *title);
void svg_end(FILE *file);

/* `class`: one of the style sheet's, which svg_begin writes. */
void svg_text(FILE *file, int x, int y, const char *class, const char *text);
void svg_box(FILE *file, int x, int y, int width, int height, const char *class);

/* A task: its colour by kind, its name and a second line that may be NULL; the texts are in the middle. Inserted ones
 * have a dashed border. */
void svg_task(FILE *file, int x, int y, int width, int height, const char *kind, const char *detail, bool inserted);

/* A message between two steps, drawn in its form's line; text above it when `named`. */
void svg_arrow(FILE *file, int from, int to, int y, enum form form, bool named);

/* A message to the next stage, along a path of `count` points. */
void svg_path(FILE *file, const int (*point)[2], int count, enum form form);

/* What tells colours of kinds apart, and lines of forms: bits for svg_legend. */
unsigned svg_kind_bit(const char *kind);
unsigned svg_form_bit(enum form form);

/* Those colours and lines that occur, and what a dashed box is where there are any; returns the height used. */
int svg_legend(FILE *file, int x, int y, int width, unsigned kinds, unsigned forms, bool inserted);

#endif
