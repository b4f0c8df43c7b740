/* SPDX-License-Identifier: BSD-2-Clause */
/* Which curves there are, and the points of each: medians, with their range. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "bench_results.h"

struct curve {
	const char *file, *title, *where, *series;
	const char *x, *x_label, *y, *y_label;
	double scale;
	bool is_x_log, is_y_log;
};

#define K "consumers"

static const struct curve curves[] = {
	{ "fanout-60", "Received by the slowest of k consumers, 60 B",
	  "fanout;size=60;rate=0", "mode", "k", K, "min_pps", "M packets/s",
	  1e-6, true, false },
	{ "fanout-1500", "Received by the slowest of k consumers, 1500 B",
	  "fanout;size=1500;rate=0", "mode", "k", K, "min_pps", "M packets/s",
	  1e-6, true, false },
	{ "fanout-sender", "Sender CPU for a frame of 60 B, taps and all",
	  "fanout;size=60;rate=0", "mode", "k", K, "frame_ns", "ns", 1, true,
	  false },
	{ "hop-64", "The hop alone, 64 B", "hop;size=64", "mode", "k", K,
	  "min_pps", "M packets/s", 1e-6, true, false },
	{ "hop-1500", "The hop alone, 1500 B", "hop;size=1500", "mode", "k", K,
	  "min_pps", "M packets/s", 1e-6, true, false },
	{ "latency-sleeping", "Median latency, the CPU may sleep",
	  "latency;cpu=sleeping", "mode", "rate", "packets/s", "p50_ns", "us",
	  1e-3, true, true },
	{ "latency-awake", "Median latency, the CPU is kept awake",
	  "latency;cpu=awake", "mode", "rate", "packets/s", "p50_ns", "us",
	  1e-3, true, true },
	{ "latency-p999", "99.9 % latency, the CPU is kept awake",
	  "latency;cpu=awake", "mode", "rate", "packets/s", "p999_ns", "us",
	  1e-3, true, true },
	{ "scale-attach", "Time to attach one more capture", "scale", "bench",
	  "k", "captures", "attach_p50_us", "us", 1, true, false },
	{ "scale-load", "Broker CPU at 10k packets/s", "scale load", "bench",
	  "k", "captures", "broker_cpu", "% of a CPU", 100, true, false },
	{ "isolation", "Seven good consumers beside a bad one, 200k packets/s",
	  "isolation curve;rate=200000", "beside", "at_ms", "ms", "min_pps",
	  "k packets/s", 1e-3, false, false },
	{ "isolation-max", "Seven good consumers beside a bad one",
	  "isolation curve;rate=0", "beside", "at_ms", "ms", "min_pps",
	  "k packets/s", 1e-3, false, false },
};

static struct chart_series *series_of(struct chart *chart, const char *name)
{
	for (unsigned i = 0; i < chart->count; i++)
		if (strcmp(chart->series[i].name, name) == 0)
			return &chart->series[i];
	if (chart->count == CHART_SERIES_MAX)
		return NULL;
	chart->series[chart->count].name = name;
	return &chart->series[chart->count++];
}

static bool has_point(const struct chart_series *series, double x)
{
	for (unsigned i = 0; i < series->count; i++)
		if (series->point[i].x == x)
			return true;
	return false;
}

/* The point of all results that have this one's series and x. */
static void add_point(struct chart *chart, const struct results *results,
		      const struct curve *curve, const struct result *model)
{
	const char *const keys[] = { curve->series, curve->x, NULL };
	const struct field *x = result_field(model, curve->x);
	const struct result *row[ROUNDS_MAX];
	double values[ROUNDS_MAX], middle;
	struct chart_series *series;
	unsigned n;

	if (!x || (curve->is_x_log && x->number <= 0))
		return;
	series = series_of(chart, result_text(model, curve->series));
	if (!series || has_point(series, x->number) ||
	    series->count == CHART_POINTS_MAX)
		return;
	n = results_select(results, curve->where, model, keys, row, ROUNDS_MAX);
	n = results_values(row, n, curve->y, values);
	if (n == 0)
		return;
	middle = bench_median(values, n);
	series->point[series->count++] =
		(struct chart_point){ x->number, middle * curve->scale,
				      values[0] * curve->scale,
				      values[n - 1] * curve->scale };
}

static void draw(const struct results *results, const struct curve *curve,
		 const char *directory)
{
	static struct chart chart;
	char path[PATH_MAX];

	chart = (struct chart){ .title = curve->title,
				.x_label = curve->x_label,
				.y_label = curve->y_label,
				.is_x_log = curve->is_x_log,
				.is_y_log = curve->is_y_log };
	for (size_t i = 0; i < results->count; i++)
		if (result_is(&results->all[i], curve->where) &&
		    result_field(&results->all[i], curve->y))
			add_point(&chart, results, curve, &results->all[i]);
	if (chart.count == 0)
		return;
	if (snprintf(path, sizeof(path), "%s/%s.svg", directory, curve->file) >=
	    (int)sizeof(path))
		bench_die("%s: too long", directory);
	chart_write(&chart, path);
	printf("%s\n", path);
}

void curves_draw(const struct results *results, const char *directory)
{
	printf("\nCurves:\n");
	for (size_t i = 0; i < sizeof(curves) / sizeof(*curves); i++)
		draw(results, &curves[i], directory);
}
