/* SPDX-License-Identifier: BSD-2-Clause */
/* Draws a chart as an SVG file, so that no other program has to. */
#include "bench_results.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"

#define WIDTH 860.0
#define HEIGHT 460.0
#define LEFT 80.0
#define RIGHT 240.0 /* the legend */
#define TOP 40.0
#define BOTTOM 60.0
#define TICKS 6

static const char *const colours[] = { "#1b6ca8", "#d1495b", "#2a9d4b",
				       "#8a4fbf", "#e08a1e", "#4a4a4a",
				       "#00a6a6", "#b0578d", "#7a7a2a",
				       "#005f73", "#9b2226", "#6d597a" };

struct scale {
	double min, max, from, to;
	bool is_log;
};

static double place(const struct scale *scale, double value)
{
	double min = scale->min, max = scale->max;

	if (scale->is_log) {
		min = log2(min);
		max = log2(max);
		value = log2(value);
	}
	return scale->from +
	       (value - min) / (max - min) * (scale->to - scale->from);
}

static void widen(struct scale *scale, double value)
{
	if (scale->is_log && value <= 0)
		return;
	if (scale->max == 0 || value > scale->max)
		scale->max = value;
	if (scale->min == 0 || value < scale->min)
		scale->min = value;
}

static void fit(const struct chart *chart, struct scale *x, struct scale *y)
{
	for (unsigned s = 0; s < chart->count; s++)
		for (unsigned i = 0; i < chart->series[s].count; i++) {
			widen(x, chart->series[s].point[i].x);
			widen(y, chart->series[s].point[i].low);
			widen(y, chart->series[s].point[i].high);
		}
	if (!y->is_log)
		y->min = 0;
	if (x->max <= x->min)
		x->max = x->min + 1;
	if (y->max <= y->min)
		y->max = y->min + 1;
}

/* 1, 2 or 5 times a power of ten, not below @value. */
static double round_up(double value)
{
	double power = pow(10, floor(log10(value)));

	if (value <= power)
		return power;
	if (value <= 2 * power)
		return 2 * power;
	return value <= 5 * power ? 5 * power : 10 * power;
}

static void draw_x_tick(FILE *file, const struct scale *x, double value)
{
	fprintf(file,
		"<line x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f' "
		"stroke='#ddd'/><text x='%.1f' y='%.1f' "
		"text-anchor='middle'>%.6g</text>\n",
		place(x, value), place(x, value), TOP, HEIGHT - BOTTOM,
		place(x, value), HEIGHT - BOTTOM + 18, value);
}

static void draw_y_tick(FILE *file, const struct scale *y, double value)
{
	fprintf(file,
		"<line x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f' "
		"stroke='#ddd'/><text x='%.1f' y='%.1f' "
		"text-anchor='end'>%.6g</text>\n",
		LEFT, WIDTH - RIGHT, place(y, value), place(y, value), LEFT - 6,
		place(y, value) + 4, value);
}

/* At the values that were measured: k is 1, 2, 4, a rate 1000, 10000. */
static void draw_x_of_points(FILE *file, const struct chart *chart,
			     const struct scale *x)
{
	for (unsigned s = 0; s < chart->count; s++)
		for (unsigned i = 0; i < chart->series[s].count; i++)
			draw_x_tick(file, x, chart->series[s].point[i].x);
}

static void draw_axis(FILE *file, const struct scale *scale,
		      void (*draw)(FILE *, const struct scale *, double))
{
	double step, value;

	if (!scale->is_log) {
		step = round_up((scale->max - scale->min) / TICKS);
		for (value = ceil(scale->min / step) * step;
		     value <= scale->max * 1.0001; value += step)
			draw(file, scale, value);
		return;
	}
	/* Powers of two over a small range, of ten over a large one. */
	step = scale->max / scale->min > 1000 ? 10 : 2;
	for (value = pow(step, ceil(log(scale->min) / log(step) - 0.001));
	     value <= scale->max * 1.0001; value *= step)
		draw(file, scale, value);
}

static void draw_point(FILE *file, const struct scale *x, const struct scale *y,
		       const struct chart_point *p, const char *colour)
{
	double low = y->is_log && p->low < y->min ? y->min : p->low;

	fprintf(file,
		"<circle cx='%.1f' cy='%.1f' r='3' fill='%s'/>"
		"<line x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f' stroke='%s'/>\n",
		place(x, p->x), place(y, p->y), colour, place(x, p->x),
		place(x, p->x), place(y, low), place(y, p->high), colour);
}

static void draw_series(FILE *file, const struct scale *x,
			const struct scale *y, const struct chart_series *s,
			unsigned number)
{
	const char *colour = colours[number % CHART_SERIES_MAX];
	double at = TOP + 14 + 20 * number;

	fprintf(file,
		"<polyline fill='none' stroke='%s' stroke-width='2' "
		"points='",
		colour);
	for (unsigned i = 0; i < s->count; i++)
		fprintf(file, "%.1f,%.1f ", place(x, s->point[i].x),
			place(y, s->point[i].y));
	fprintf(file, "'/>\n");
	for (unsigned i = 0; i < s->count; i++)
		draw_point(file, x, y, &s->point[i], colour);
	fprintf(file, "<text x='%.1f' y='%.1f' fill='%s'>&#9679; %s</text>\n",
		WIDTH - RIGHT + 12, at, colour, s->name);
}

static void draw_labels(FILE *file, const struct chart *chart)
{
	fprintf(file,
		"<text x='%.1f' y='24' font-size='15'>%s</text>\n"
		"<text x='%.1f' y='%.1f' text-anchor='middle'>%s</text>\n"
		"<text transform='translate(18 %.1f) rotate(-90)' "
		"text-anchor='middle'>%s</text>\n"
		"<rect x='%.1f' y='%.1f' width='%.1f' height='%.1f' "
		"fill='none' stroke='#444'/>\n",
		LEFT, chart->title, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16,
		chart->x_label, (TOP + HEIGHT - BOTTOM) / 2, chart->y_label,
		LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
}

void chart_write(const struct chart *chart, const char *path)
{
	struct scale x = { .from = LEFT,
			   .to = WIDTH - RIGHT,
			   .is_log = chart->is_x_log };
	struct scale y = { .from = HEIGHT - BOTTOM,
			   .to = TOP,
			   .is_log = chart->is_y_log };
	FILE *file = fopen(path, "we");

	if (!file)
		bench_die("%s: %s", path, strerror(errno));
	fit(chart, &x, &y);
	fprintf(file,
		"<svg xmlns='http://www.w3.org/2000/svg' width='%.0f' "
		"height='%.0f' font-family='sans-serif' font-size='12'>\n"
		"<rect width='100%%' height='100%%' fill='white'/>\n",
		WIDTH, HEIGHT);
	if (x.is_log)
		draw_x_of_points(file, chart, &x);
	else
		draw_axis(file, &x, draw_x_tick);
	draw_axis(file, &y, draw_y_tick);
	for (unsigned s = 0; s < chart->count; s++)
		draw_series(file, &x, &y, &chart->series[s], s);
	draw_labels(file, chart);
	fprintf(file, "</svg>\n");
	if (fclose(file))
		bench_die("%s: %s", path, strerror(errno));
}
