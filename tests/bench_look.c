/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A measurement is the difference between two looks, in the middle of a run
 * that is longer; where each frame went is asked about the whole run.
 */
#include <string.h>

#include "bench.h"

void look_at(struct look *look, const struct readers *readers, pid_t broker)
{
	memset(look, 0, sizeof(*look));
	look->time_ns = bench_now_ns();
	look->frames = stage_received();
	for (unsigned i = 0; readers && i < readers->count; i++)
		look->packets[i] = __atomic_load_n(&readers->reader[i].packets,
						   __ATOMIC_RELAXED);
	for (unsigned i = 0; readers && i < readers->count; i++)
		look->readers_ns += bench_cpu_ns(readers->reader[i].pid);
	if (broker) {
		look->broker_ns = bench_cpu_ns(broker);
		broker_ask(&look->lane);
	}
}

static double difference(uint64_t from, uint64_t to)
{
	return to > from ? (double)(to - from) : 0;
}

static void record_readers(const struct look *a, const struct look *b,
			   const struct readers *readers, double seconds)
{
	double pps[LOOK_READERS_MAX], cpu_ns, packets = 0;

	for (unsigned i = 0; i < readers->count; i++) {
		pps[i] = difference(a->packets[i], b->packets[i]) / seconds;
		packets += pps[i] * seconds;
	}
	record_number("median_pps", bench_median(pps, readers->count));
	record_number("min_pps", pps[0]);
	record_number("max_pps", pps[readers->count - 1]);
	cpu_ns = difference(a->readers_ns, b->readers_ns);
	record_number("consumer_cpu", cpu_ns / 1e9 / seconds);
	if (packets > 0)
		record_number("consumer_ns", cpu_ns / packets);
}

static void record_broker(const struct look *a, const struct look *b,
			  double seconds)
{
	double captured = difference(a->lane.captured, b->lane.captured);
	double bursts = difference(a->lane.bursts, b->lane.bursts);

	record_number("broker_cpu",
		      difference(a->broker_ns, b->broker_ns) / 1e9 / seconds);
	record_number("lane_pps", captured / seconds);
	record_number("bells_ps",
		      difference(a->lane.bells, b->lane.bells) / seconds);
	if (captured > 0)
		record_number("lane_ns",
			      difference(a->lane.cpu_ns, b->lane.cpu_ns) /
				      captured);
	if (bursts > 0)
		record_number("burst", captured / bursts);
}

void look_record(const struct look *a, const struct look *b,
		 const struct readers *readers, pid_t broker)
{
	double seconds = difference(a->time_ns, b->time_ns) / 1e9;
	double frames = difference(a->frames, b->frames);

	if (frames > 0) {
		record_number("frame_pps", frames / seconds);
		record_number("frame_ns", seconds * 1e9 / frames);
	}
	if (readers)
		record_readers(a, b, readers, seconds);
	if (broker) {
		record_broker(a, b, seconds);
		record_number("lane_priority", bench_priority(broker));
	}
}

void account_record(const struct generator *generator,
		    const struct readers *readers,
		    const struct broker_counts *lane)
{
	uint64_t passed = generator->passed, ring = lane ? lane->drops : 0;
	uint64_t not_admitted = 0, missing = 0, unexplained = 0;

	for (unsigned i = 0; readers && i < readers->count; i++) {
		const struct reader *r = &readers->reader[i];
		uint64_t drops = lane ? lane->drops : r->kernel_drops;
		uint64_t known = r->packets + r->foreign + drops + r->lost;

		if (!lane)
			ring += drops;
		not_admitted += r->lost;
		missing += r->missing;
		unexplained += r->misordered;
		unexplained += passed > known ? passed - known : known - passed;
	}
	record_number("sent", (double)generator->sent);
	record_number("veth_lost", (double)(generator->sent - passed));
	record_number("ring_lost", (double)ring);
	record_number("not_admitted", (double)not_admitted);
	record_number("missing", (double)missing);
	record_number("unexplained", (double)unexplained);
}
