/*
 * Writing the SVG. Series are what rows have in common but for the axis; colours go round.
 */
#include "perf/model_svg.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { WIDTH = 900, HEIGHT = 480, LEFT = 70, RIGHT = 250, TOP = 40, BOTTOM = 50, COLOURS = 10 };

static const char *const colour[COLOURS] = {"#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e",
                                            "#8c564b", "#17becf", "#7f7f7f", "#e377c2", "#bcbd22"};

struct frame {
    double x0, x1, y0, y1; /* logarithms */
};

static double x_of(const struct model_row *row, enum model_axis x)
{
    const double value = MODEL_BYTES == x   ? (double) row->bytes
                         : MODEL_RANKS == x ? (double) row->ranks
                                            : (double) row->degree;

    return log2(value < 1 ? 1 : value);
}

static bool same_series(const struct model_row *a, const struct model_row *b, enum model_axis x,
                        bool any_degree)
{
    return a->alg == b->alg && a->send_receive == b->send_receive && a->per_node == b->per_node
           && (MODEL_BYTES == x || a->bytes == b->bytes)
           && (MODEL_RANKS == x || a->ranks == b->ranks)
           && (MODEL_DEGREE == x || any_degree || a->degree == b->degree);
}

static double place_x(const struct frame *f, double v)
{
    return LEFT + (v - f->x0) / (f->x1 - f->x0) * (WIDTH - LEFT - RIGHT);
}

static double place_y(const struct frame *f, double us)
{
    return HEIGHT - BOTTOM - (log10(us) - f->y0) / (f->y1 - f->y0) * (HEIGHT - TOP - BOTTOM);
}

static struct frame frame_of(const struct model_rows *rows, enum model_axis x)
{
    struct frame f = {DBL_MAX, -DBL_MAX, DBL_MAX, -DBL_MAX};

    for (int i = 0; i < rows->n; ++i) {
        const struct model_row *row = &rows->row[i];

        f.x0 = fmin(f.x0, x_of(row, x));
        f.x1 = fmax(f.x1, x_of(row, x));
        f.y0 = fmin(f.y0, log10(row->best_us));
        f.y1 = fmax(f.y1, log10(row->worst_us));
    }
    f.x1 = f.x1 > f.x0 ? f.x1 : f.x0 + 1;
    f.y0 = floor(f.y0 * 2) / 2;
    f.y1 = ceil(f.y1 * 2) / 2 > f.y0 ? ceil(f.y1 * 2) / 2 : f.y0 + 1;
    return f;
}

static void axes(FILE *to, const struct frame *f, enum model_axis x)
{
    static const char *const names[] = {"bytes", "ranks", "degree K"};

    fprintf(to, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"none\" "
            "stroke=\"#444\"/>\n", LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    for (double v = ceil(f->x0); v <= f->x1; v += f->x1 - f->x0 > 12 ? 2 : 1) {
        const double value = exp2(v);

        fprintf(to, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.0f%s</text>\n",
                place_x(f, v), HEIGHT - BOTTOM + 18,
                value >= 1048576 ? value / 1048576 : value >= 1024 ? value / 1024 : value,
                value >= 1048576 ? "M" : value >= 1024 ? "K" : "");
    }
    for (int i = (int) floor(f->y0) * 3; i <= 3 * f->y1 + 3; ++i) { /* 1, 2, 5 of every decade */
        static const double step[] = {1, 2, 5};
        const double us = pow(10, floor(i / 3.0)) * step[(i % 3 + 3) % 3], y = place_y(f, us);

        if (log10(us) < f->y0 || log10(us) > f->y1) {
            continue;
        }
        fprintf(to, "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" stroke=\"#ddd\"/>\n", LEFT,
                y, WIDTH - RIGHT, y);
        fprintf(to, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n", LEFT - 6, y + 4, us);
    }
    fprintf(to, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
            (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, names[x]);
    fprintf(to, "<text x=\"16\" y=\"%d\" transform=\"rotate(-90 16 %d)\" "
            "text-anchor=\"middle\">us</text>\n", HEIGHT / 2, HEIGHT / 2);
}

static void curve(FILE *to, const struct frame *f, const struct model_rows *rows, int first,
                  enum model_axis x, bool any_degree, bool worst, const char *stroke)
{
    fprintf(to, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"%s\"%s points=\"", stroke,
            worst ? "1" : "2", worst ? " stroke-dasharray=\"5 3\"" : "");
    for (int i = first; i < rows->n; ++i) {
        const struct model_row *row = &rows->row[i];

        if (same_series(&rows->row[first], row, x, any_degree)) {
            fprintf(to, "%.1f,%.1f ", place_x(f, x_of(row, x)),
                    place_y(f, worst ? row->worst_us : row->best_us));
        }
    }
    fprintf(to, "\"/>\n");
}

static void legend(FILE *to, const struct model_row *row, int n, enum model_axis x, bool any_degree)
{
    char name[40];

    fprintf(to, "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\" stroke=\"%s\" "
            "stroke-width=\"2\"/>\n<text x=\"%d\" y=\"%d\">", WIDTH - RIGHT + 10, TOP + 10 + 18 * n,
            WIDTH - RIGHT + 34, TOP + 10 + 18 * n, colour[n % COLOURS], WIDTH - RIGHT + 40,
            TOP + 14 + 18 * n);
    fprintf(to, "%s", model_row_name(row, name, sizeof(name)));
    if (!any_degree && MODEL_DEGREE != x) {
        fprintf(to, " K=%d", row->degree);
    }
    if (MODEL_RANKS != x) {
        fprintf(to, ", %d ranks", row->ranks);
    }
    if (MODEL_BYTES != x) {
        fprintf(to, ", %zu B", row->bytes);
    }
    fprintf(to, "</text>\n");
}

void model_svg(FILE *to, const struct model_query *query, const struct model_rows *rows,
               enum model_axis x)
{
    const struct frame f = frame_of(rows, x);
    const bool any_degree = 0 == query->degrees.n && !query->every_degree;
    int series = 0;

    fprintf(to, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"%d\" height=\"%d\" "
            "fill=\"white\"/>\n", WIDTH, HEIGHT, WIDTH, HEIGHT);
    fprintf(to, "<text x=\"%d\" y=\"22\" font-size=\"15\">%s, machine %s (dashed: worst case)"
            "</text>\n", LEFT, crdma_coll_name(query->coll), query->machine.name);
    axes(to, &f, x);
    for (int i = 0; i < rows->n; ++i) {
        bool seen = false;

        for (int j = 0; j < i; ++j) {
            seen = seen || same_series(&rows->row[i], &rows->row[j], x, any_degree);
        }
        if (seen) {
            continue;
        }
        curve(to, &f, rows, i, x, any_degree, false, colour[series % COLOURS]);
        if (!rows->row[i].send_receive) {
            curve(to, &f, rows, i, x, any_degree, true, colour[series % COLOURS]);
        }
        legend(to, &rows->row[i], series++, x, any_degree);
    }
    fprintf(to, "</svg>\n");
}
