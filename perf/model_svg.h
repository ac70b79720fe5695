/*
 * Curves as SVG: both axes logarithmic, one line per series, a legend at the right.
 */
#ifndef PERF_MODEL_SVG_H
#define PERF_MODEL_SVG_H

#include "perf/model_rows.h"

enum model_axis { MODEL_BYTES, MODEL_RANKS, MODEL_DEGREE };

/* Best cases as lines, worst cases of the same series dashed where they differ. */
void model_svg(FILE *to, const struct model_query *query, const struct model_rows *rows,
               enum model_axis x);

#endif
