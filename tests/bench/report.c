/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_report RESULTS [DIRECTORY]: the tables, the ratios that netring is to
 * reach, and, into the directory, the curves. All of it is data: what to show
 * of which records.
 *
 * A row is made of the rounds in which the CPUs were near each other, if there
 * are any, else of all.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "bench_results.h"

#define KEYS_MAX 6
#define COLUMNS_MAX 14

/* ------------------------------------------------------------------ tables */

enum show { MEDIAN, RANGE, TOTAL };

struct column {
	const char *head, *key;
	double scale;
	int precision;
	enum show show;
};

struct table {
	const char *title, *where;
	const char *keys[KEYS_MAX + 1];
	struct column columns[COLUMNS_MAX + 1];
};

static const struct table tables[] = {
	{ "Fan-out: k consumers that read every header; received by the "
	  "slowest of them, lost by place (in all rounds, of all consumers)",
	  "fanout",
	  { "mode", "k", "size", "rate" },
	  { { "frames M/s", "frame_pps", 1e-6, 3, MEDIAN },
	    { "sender ns", "frame_ns", 1, 0, MEDIAN },
	    { "received M/s", "min_pps", 1e-6, 3, RANGE },
	    { "veth", "veth_lost", 1, 0, TOTAL },
	    { "ring", "ring_lost", 1, 0, TOTAL },
	    { "notadmitted", "not_admitted", 1, 0, TOTAL },
	    { "unexplained", "unexplained", 1, 0, TOTAL },
	    { "broker CPUs", "broker_cpu", 1, 3, MEDIAN },
	    { "consumer CPUs", "consumer_cpu", 1, 3, MEDIAN },
	    { "lane ns", "lane_ns", 1, 1, MEDIAN },
	    { "FIFO", "lane_priority", 1, 0, MEDIAN } } },
	{ "The hop alone: received by the slowest of k consumers",
	  "hop",
	  { "mode", "k", "size" },
	  { { "received M/s", "min_pps", 1e-6, 3, RANGE },
	    { "lane ns", "lane_ns", 1, 1, MEDIAN },
	    { "consumer ns", "consumer_ns", 1, 1, MEDIAN },
	    { "bells/s", "bells_ps", 1, 0, MEDIAN } } },
	{ "CPU time for a packet: the lane's, and that of one consumer",
	  "lane",
	  { "mode", "size", "rate", "class", "consumer" },
	  { { "M/s", "lane_pps", 1e-6, 3, MEDIAN },
	    { "lane ns", "lane_ns", 1, 1, RANGE },
	    { "consumer ns", "consumer_ns", 1, 1, RANGE },
	    { "a burst", "burst", 1, 0, MEDIAN },
	    { "bells/s", "bells_ps", 1, 0, MEDIAN } } },
	{ "Latency, us from the send to the consumer's first look; its CPU may "
	  "sleep or is kept awake",
	  "latency",
	  { "mode", "cpu", "rate" },
	  { { "p50", "p50_ns", 1e-3, 1, RANGE },
	    { "p99", "p99_ns", 1e-3, 1, RANGE },
	    { "p99.9", "p999_ns", 1e-3, 1, RANGE } } },
	{ "Scale: k captures attached, no packets",
	  "scale",
	  { "k" },
	  { { "attach us: first", "attach_first_us", 1, 0, MEDIAN },
	    { "one more", "attach_p50_us", 1, 0, RANGE },
	    { "slowest", "attach_max_us", 1, 0, MEDIAN },
	    { "broker MiB", "memory_kib", 1.0 / 1024, 1, MEDIAN },
	    { "one more KiB", "capture_kib", 1, 1, MEDIAN },
	    { "idle s", "idle_seconds", 1, 0, MEDIAN },
	    { "CPU us", "idle_cpu_us", 1, 0, RANGE },
	    { "wake-ups", "idle_wakeups", 1, 0, RANGE } } },
	{ "Scale: k captures woken by a few packets",
	  "scale load",
	  { "k", "rate" },
	  { { "received/s", "min_pps", 1, 0, MEDIAN },
	    { "broker CPUs", "broker_cpu", 1, 4, RANGE },
	    { "consumer CPUs", "consumer_cpu", 1, 3, MEDIAN },
	    { "wake-ups/s", "bells_ps", 1, 0, MEDIAN },
	    { "notadmitted", "not_admitted", 1, 0, TOTAL } } },
	{ "Isolation: seven good consumers beside a bad one; the longest a "
	  "packet waited for one of the good",
	  "isolation",
	  { "beside", "rate" },
	  { { "received M/s", "min_pps", 1e-6, 3, RANGE },
	    { "longest us", "longest_us", 1, 0, RANGE },
	    { "lost by good", "good_lost", 1, 0, TOTAL },
	    { "ring", "ring_lost", 1, 0, TOTAL },
	    { "unexplained", "unexplained", 1, 0, TOTAL },
	    { "bad deeds", "bad_times", 1, 0, TOTAL },
	    { "lane ns", "lane_ns", 1, 1, MEDIAN } } },
	{ "Groups and filters: lane CPU for a packet captured",
	  "groups",
	  { "backend", "mode", "size", "rate" },
	  { { "M/s", "lane_pps", 1e-6, 3, MEDIAN },
	    { "lane ns", "lane_ns", 1, 1, RANGE },
	    { "received M/s", "min_pps", 1e-6, 3, MEDIAN },
	    { "notadmitted", "not_admitted", 1, 0, TOTAL } } },
};

static double smallest(const double *values, unsigned count)
{
	double least = values[0];

	for (unsigned i = 1; i < count; i++)
		if (values[i] < least)
			least = values[i];
	return least;
}

static double largest(const double *values, unsigned count)
{
	double most = values[0];

	for (unsigned i = 1; i < count; i++)
		if (values[i] > most)
			most = values[i];
	return most;
}

static double total(const double *values, unsigned count)
{
	double sum = 0;

	for (unsigned i = 0; i < count; i++)
		sum += values[i];
	return sum;
}

static int column_width(const struct column *column)
{
	int head = (int)strlen(column->head), width;

	width = column->show == RANGE ? 26 : 9;
	return head > width ? head : width;
}

static void print_cell(const struct column *column, const struct result **row,
		       unsigned n)
{
	double values[ROUNDS_MAX], scale = column->scale;
	unsigned count = results_values(row, n, column->key, values);
	int width = column_width(column), digits = column->precision;
	char text[64] = "-";

	if (count && column->show == TOTAL)
		snprintf(text, sizeof(text), "%.*f", digits,
			 total(values, count) * scale);
	else if (count && column->show == MEDIAN)
		snprintf(text, sizeof(text), "%.*f", digits,
			 bench_median(values, count) * scale);
	else if (count && column->show == RANGE)
		snprintf(text, sizeof(text), "%.*f %8.*f %8.*f", digits,
			 smallest(values, count) * scale, digits,
			 bench_median(values, count) * scale, digits,
			 largest(values, count) * scale);
	printf("  %*s", width, text);
}

static bool is_first_of_row(const struct results *results,
			    const struct table *table, size_t at)
{
	for (size_t i = 0; i < at; i++)
		if (result_is(&results->all[i], table->where) &&
		    result_is_like(&results->all[i], &results->all[at],
				   table->keys))
			return false;
	return true;
}

static int key_width(const struct results *results, const struct table *table,
		     const char *key)
{
	size_t width = strlen(key), length;

	for (size_t i = 0; i < results->count; i++)
		if (result_is(&results->all[i], table->where)) {
			length = strlen(result_text(&results->all[i], key));
			if (length > width)
				width = length;
		}
	return (int)width;
}

static void print_head(const struct results *results, const struct table *table)
{
	printf("\n%s\n\n", table->title);
	for (int i = 0; table->keys[i]; i++)
		printf("%-*s  ", key_width(results, table, table->keys[i]),
		       table->keys[i]);
	printf("CPUs*runs");
	for (int i = 0; table->columns[i].head; i++)
		printf("  %*s", column_width(&table->columns[i]),
		       table->columns[i].head);
	printf("\n");
}

static void print_row(const struct results *results, const struct table *table,
		      const struct result *model)
{
	const struct result *row[ROUNDS_MAX];
	unsigned n = results_select(results, table->where, model, table->keys,
				    row, ROUNDS_MAX);
	const char *error = result_text(row[0], "error");

	for (int i = 0; table->keys[i]; i++)
		printf("%-*s  ", key_width(results, table, table->keys[i]),
		       result_text(model, table->keys[i]));
	printf("%6s*%-2u", row[0]->is_far ? "far" : "near", n);
	if (*error)
		printf("  not measured: %s", error);
	for (int i = 0; !*error && table->columns[i].head; i++)
		print_cell(&table->columns[i], row, n);
	printf("\n");
}

static void print_table(const struct results *results,
			const struct table *table)
{
	bool has_head = false;

	for (size_t i = 0; i < results->count; i++) {
		const struct result *result = &results->all[i];

		if (!result_is(result, table->where) ||
		    !is_first_of_row(results, table, i))
			continue;
		if (!has_head)
			print_head(results, table);
		has_head = true;
		print_row(results, table, result);
	}
}

/* -------------------------------------------------------- machine and noise */

static void print_machine(const struct results *results)
{
	for (size_t i = 0; i < results->count; i++) {
		const struct result *result = &results->all[i];

		if (!result_is(result, "machine"))
			continue;
		for (unsigned f = 0; f < result->count; f++)
			if (!result->field[f].is_number && f > 1)
				printf("%-12s %s\n", result->field[f].key,
				       result->field[f].text);
		return;
	}
}

static void print_noise(const struct results *results, const char *what,
			const char *key)
{
	const struct field *field;
	unsigned n = 0;
	double *values = calloc(results->count + 1, sizeof(*values));

	if (!values)
		bench_die("no memory");
	for (size_t i = 0; i < results->count; i++) {
		field = result_field(&results->all[i], key);
		if (field)
			values[n++] = field->number;
	}
	if (n) {
		double middle = bench_median(values, n);

		printf("%-44s %8.2f %8.2f %8.2f  (%u runs)\n", what, values[0],
		       middle, values[n - 1], n);
	}
	free(values);
}

static void print_all_noise(const struct results *results)
{
	printf("\nNoise: min, median, max\n\n");
	print_noise(results, "a cache-line hop between the CPUs, ns", "hop_ns");
	print_noise(results, "CPUs that other processes used", "others_cpu");
	print_noise(results, "CPUs that the host took", "stolen_cpu");
}

int main(int argc, char **argv)
{
	static struct results results; /* for ever: nothing is freed */

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: bench_report RESULTS [DIRECTORY]\n");
		return 2;
	}
	results_load(&results, argv[1]);
	print_machine(&results);
	for (size_t i = 0; i < sizeof(tables) / sizeof(*tables); i++)
		print_table(&results, &tables[i]);
	print_all_noise(&results);
	bars_print(&results);
	if (argc == 3)
		curves_draw(&results, argv[2]);
	return 0;
}
