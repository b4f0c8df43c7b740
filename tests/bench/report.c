/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_report RESULTS [DIRECTORY]: the tables, the ratios that netring is to
 * reach, and, into the directory, the curves. All of it is data below: what
 * to show of which records.
 *
 * A row is made of the rounds in which the CPUs were near each other, if there
 * are any, else of all; a ratio only of two that were alike, in one round.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "bench_results.h"

#define KEYS_MAX 6
#define COLUMNS_MAX 14

/* ------------------------------------------------------------------ tables */

enum show { MEDIAN, RANGE, TOTAL, WORST };

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

/* -------------------------------------------------------------------- bars */

/* One value of a round; of several that match, the largest. */
struct pick {
	const char *where, *key;
};

struct bar {
	const char *what;
	struct pick of;
	struct pick against[2]; /* their sum; none: the value itself counts */
	double limit;
	bool is_at_least, is_worst; /* the largest of all rounds counts */
};

#define RECEIVED(mode, k, size)                                                \
	{                                                                      \
		"fanout;mode=" mode ";k=" k ";size=" size ";rate=0", "min_pps" \
	}
#define LANE(mode, size, class, consumer, key)                                 \
	{                                                                      \
		"lane;mode=" mode ";size=" size                                \
		";rate=0;class=" class ";consumer=" consumer,                  \
			key                                                    \
	}
#define HOP(mode, k, size)                                                     \
	{                                                                      \
		"hop;mode=" mode ";k=" k ";size=" size, "min_pps"              \
	}
#define P50(mode, rate)                                                        \
	{                                                                      \
		"latency;mode=" mode ";cpu=sleeping;rate=" rate, "p50_ns"      \
	}
#define GROUPS(mode, backend)                                                  \
	{                                                                      \
		"groups;mode=" mode ";backend=" backend ";size=60;rate=0",     \
			"lane_ns"                                              \
	}

#define FANOUT_BAR(text, mode, k, size, plain, bar)                            \
	{                                                                      \
		text, RECEIVED(mode, k, size), { RECEIVED(plain, "1", size) }, \
			bar, true, false                                       \
	}
#define LOSS_BAR(text, k, size, key)                                           \
	{                                                                      \
		text,                                                          \
			{ "fanout;mode=netring af_packet;k=" k ";size=" size   \
			  ";rate=0",                                           \
			  key },                                               \
			{ { 0 } }, 0, false, true                              \
	}
#define LANE_BAR(text, mode, size, class, bar)                                 \
	{                                                                      \
		text, LANE(mode, size, class, "touches", "lane_ns"),           \
			{ { 0 } }, bar, false, false                           \
	}
#define COPY_BAR(text, class)                                                  \
	{                                                                      \
		text,                                                          \
			LANE("netring af_packet", "1500", class, "touches",    \
			     "lane_ns"),                                       \
			{ { "lane;mode=memcpy, cold;size=1500", "lane_ns" } }, \
			1.5, false, false                                      \
	}
#define CONSUMER_BAR(text, mode, consumer, bar)                                \
	{                                                                      \
		text, LANE(mode, "60", "SCHED_FIFO", consumer, "consumer_ns"), \
			{ { 0 } }, bar, false, false                           \
	}
#define HOP_BAR(text, mode, k, size, other, bar)                               \
	{                                                                      \
		text, HOP(mode, k, size), { HOP(other, "*", size) }, bar,      \
			true, false                                            \
	}
#define LATENCY_BAR(text, mode, plain, rate)                                   \
	{                                                                      \
		text, P50(mode, rate),                                         \
			{ P50(plain, rate), P50("one wake-up", rate) }, 1.1,   \
			false, false                                           \
	}
#define GROUP_BAR(text, backend)                                               \
	{                                                                      \
		text, GROUPS("group of eight", backend),                       \
			{ GROUPS("one capture", backend) }, 1.3, false, false  \
	}

#define PACKET "netring af_packet"
#define XDP "netring xdp"
#define ZERO_COPY "memif zero-copy*"

static const struct bar bars[] = {
	FANOUT_BAR("fan-out af_packet, 60 B, k = 8, against one TPACKET_V3",
		   PACKET, "8", "60", "TPACKET_V3", 0.97),
	FANOUT_BAR("fan-out af_packet, 1500 B, k = 8, against the same", PACKET,
		   "8", "1500", "TPACKET_V3", 0.97),
	FANOUT_BAR("fan-out af_packet, 60 B, k = 32, against the same", PACKET,
		   "32", "60", "TPACKET_V3", 0.9),
	LOSS_BAR("  lost in the broker, 60 B, k = 8, packets", "8", "60",
		 "not_admitted"),
	LOSS_BAR("  lost in the broker, 1500 B, k = 8, packets", "8", "1500",
		 "not_admitted"),
	LOSS_BAR("  that no counter explains, 60 B, k = 8", "8", "60",
		 "unexplained"),
	LOSS_BAR("  that no counter explains, 1500 B, k = 8", "8", "1500",
		 "unexplained"),
	FANOUT_BAR("fan-out xdp, 60 B, k = 1, against a plain AF_XDP socket",
		   XDP, "1", "60", "AF_XDP", 0.95),
	FANOUT_BAR("fan-out xdp, 60 B, k = 8, against the same", XDP, "8", "60",
		   "AF_XDP", 0.9),
	LANE_BAR("lane ns, af_packet, 60 B, real time", PACKET, "60",
		 "SCHED_FIFO", 50),
	LANE_BAR("lane ns, af_packet, 60 B, normal", PACKET, "60",
		 "SCHED_OTHER", 50),
	COPY_BAR("lane, af_packet, 1500 B, against cold memcpy, real time",
		 "SCHED_FIFO"),
	COPY_BAR("lane, af_packet, 1500 B, against the same, normal",
		 "SCHED_OTHER"),
	LANE_BAR("lane ns, xdp, 60 B, real time", XDP, "60", "SCHED_FIFO", 25),
	LANE_BAR("lane ns, xdp, 60 B, normal", XDP, "60", "SCHED_OTHER", 25),
	LANE_BAR("lane ns, xdp, 1500 B, real time", XDP, "1500", "SCHED_FIFO",
		 25),
	LANE_BAR("lane ns, xdp, 1500 B, normal", XDP, "1500", "SCHED_OTHER",
		 25),
	CONSUMER_BAR("consumer ns, walking records, af_packet", PACKET, "walks",
		     3),
	CONSUMER_BAR("consumer ns, touching each header, af_packet", PACKET,
		     "touches", 12),
	CONSUMER_BAR("consumer ns, walking records, xdp", XDP, "walks", 3),
	CONSUMER_BAR("consumer ns, touching each header, xdp", XDP, "touches",
		     12),
	HOP_BAR("hop, 64 B, one that touches, against memif zero-copy",
		"netring touching", "1", "64", ZERO_COPY, 1.5),
	HOP_BAR("hop, 64 B, each of eight that touch, against the same",
		"netring touching", "8", "64", ZERO_COPY, 0.5),
	HOP_BAR("hop, 64 B, one that walks, against the same",
		"netring walking", "1", "64", ZERO_COPY, 1.5),
	HOP_BAR("hop, 64 B, each of eight that walk, against the same",
		"netring walking", "8", "64", ZERO_COPY, 0.5),
	HOP_BAR("hop, 1500 B, one that touches, against memcpy",
		"netring touching", "1", "1500", "memcpy", 0.8),
	LATENCY_BAR("p50 af_packet, 1k/s, against TPACKET_V3 and a wake-up",
		    PACKET, "TPACKET_V3", "1000"),
	LATENCY_BAR("p50 af_packet, 10k/s, against the same", PACKET,
		    "TPACKET_V3", "10000"),
	LATENCY_BAR("p50 af_packet, 100k/s, against the same", PACKET,
		    "TPACKET_V3", "100000"),
	LATENCY_BAR("p50 xdp, 1k/s, against AF_XDP and a wake-up", XDP,
		    "AF_XDP", "1000"),
	LATENCY_BAR("p50 xdp, 10k/s, against the same", XDP, "AF_XDP", "10000"),
	LATENCY_BAR("p50 xdp, 100k/s, against the same", XDP, "AF_XDP",
		    "100000"),
	GROUP_BAR("group of 8 against one capture, lane CPU, af_packet",
		  "af_packet"),
	GROUP_BAR("group of 8 against one capture, lane CPU, xdp", "xdp"),
	{ "an idle capture, us of CPU a second and capture",
	  { "scale;k=256", "idle_each_us" },
	  { { 0 } },
	  1,
	  false,
	  false },
};

static bool pick_value(const struct results *results, const struct pick *pick,
		       unsigned round, bool is_far, double *value)
{
	bool has_any = false;

	for (size_t i = 0; i < results->count; i++) {
		const struct result *result = &results->all[i];
		const struct field *field = result_field(result, pick->key);

		if (!field || result->round != round ||
		    result->is_far != is_far || !result_is(result, pick->where))
			continue;
		if (!has_any || field->number > *value)
			*value = field->number;
		has_any = true;
	}
	return has_any;
}

static bool bar_value(const struct results *results, const struct bar *bar,
		      unsigned round, bool is_far, double *value)
{
	double base = 0, part = 0;

	if (!pick_value(results, &bar->of, round, is_far, value))
		return false;
	for (int i = 0; i < 2 && bar->against[i].where; i++) {
		if (!pick_value(results, &bar->against[i], round, is_far,
				&part))
			return false;
		base += part;
	}
	if (bar->against[0].where)
		*value = base > 0 ? *value / base : 0;
	return true;
}

static void print_bar(const struct results *results, const struct bar *bar)
{
	double values[ROUNDS_MAX], counted;
	unsigned n = 0;
	bool is_far, is_met;

	for (is_far = false;; is_far = true) {
		for (unsigned round = 0; round < ROUNDS_MAX; round++)
			n += bar_value(results, bar, round, is_far, &values[n]);
		if (n || is_far)
			break;
	}
	printf("%-60s %s %5.4g", bar->what,
	       bar->is_at_least ? ">=" : "<=", bar->limit);
	if (n == 0) {
		printf("  not measured\n");
		return;
	}
	counted = bench_median(values, n);
	printf(" %9.3f %9.3f %9.3f  %4s*%-2u", values[0], counted,
	       values[n - 1], is_far ? "far" : "near", n);
	if (bar->is_worst)
		counted = values[n - 1];
	is_met = bar->is_at_least ? counted >= bar->limit :
				    counted <= bar->limit;
	printf("  %s\n", is_met ? "met" : "MISSED");
}

/* ------------------------------------------------------------------- curves */

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

int main(int argc, char **argv)
{
	struct results results;

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: bench_report RESULTS [DIRECTORY]\n");
		return 2;
	}
	results_load(&results, argv[1]);
	print_machine(&results);
	for (size_t i = 0; i < sizeof(tables) / sizeof(*tables); i++)
		print_table(&results, &tables[i]);
	print_all_noise(&results);
	printf("\nBars: %-54s %8s %9s %9s %9s\n\n", "what", "bar", "min",
	       "median", "max");
	for (size_t i = 0; i < sizeof(bars) / sizeof(*bars); i++)
		print_bar(&results, &bars[i]);
	if (argc < 3)
		return 0;
	printf("\nCurves:\n");
	for (size_t i = 0; i < sizeof(curves) / sizeof(*curves); i++)
		draw(&results, &curves[i], argv[2]);
	return 0;
}
