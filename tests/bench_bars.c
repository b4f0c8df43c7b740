/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ratios that netring is to reach: each of two numbers that were measured
 * in the same round, with the CPUs equally near.
 */
#include <stdio.h>

#include "bench.h"
#include "bench_results.h"

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

void bars_print(const struct results *results)
{
	printf("\nBars: %-54s %8s %9s %9s %9s\n\n", "what", "bar", "min",
	       "median", "max");
	for (size_t i = 0; i < sizeof(bars) / sizeof(*bars); i++)
		print_bar(results, &bars[i]);
}
