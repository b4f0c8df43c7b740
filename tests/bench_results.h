/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads records back, and finds those that belong together. */
#ifndef BENCH_RESULTS_H
#define BENCH_RESULTS_H

#include <stdbool.h>
#include <stddef.h>

#define FIELDS_MAX 48
#define ROUNDS_MAX 256

struct field {
	const char *key, *text;
	double number;
	bool is_number;
};

struct result {
	struct field field[FIELDS_MAX];
	unsigned count;
	unsigned round;
	bool is_far;
};

struct results {
	struct result *all;
	size_t count;
};

void results_load(struct results *results, const char *path);

/* NULL: it has no such field. */
const struct field *result_field(const struct result *result, const char *key);
const char *result_text(const struct result *result, const char *key);

/*
 * @where: "bench;key=text;key=text"; a text that ends with * is a beginning;
 * an empty bench is any.
 */
bool result_is(const struct result *result, const char *where);

/*
 * Of all results where @where holds and that are like @model in @keys, those
 * measured with the CPUs near each other if there are any, else all. Returns
 * how many.
 */
unsigned results_select(const struct results *results, const char *where,
			const struct result *model, const char *const *keys,
			const struct result **selected, unsigned max);

bool result_is_like(const struct result *result, const struct result *model,
		    const char *const *keys);

/* The values of a field in them. Returns how many have it. */
unsigned results_values(const struct result **selected, unsigned count,
			const char *key, double *values);

/* A chart as an SVG file: lines through points, with their range. */
#define CHART_POINTS_MAX 64
#define CHART_SERIES_MAX 12

struct chart_point {
	double x, y, low, high;
};

struct chart_series {
	const char *name;
	struct chart_point point[CHART_POINTS_MAX];
	unsigned count;
};

struct chart {
	const char *title, *x_label, *y_label;
	bool is_x_log, is_y_log;
	struct chart_series series[CHART_SERIES_MAX];
	unsigned count;
};

void chart_write(const struct chart *chart, const char *path);

/* The ratios that netring is to reach, each met or missed. */
void bars_print(const struct results *results);

/* All curves there are results for, one file each. */
void curves_draw(const struct results *results, const char *directory);

#endif
