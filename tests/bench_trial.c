/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A measurement is the difference between two looks, in the middle of a run
 * that is longer; where each frame went is asked about the whole run.
 */
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define WARM_UP_MS 300

struct loss {
	uint64_t ring, not_admitted, missing, unexplained;
};

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
	double pps[TRIAL_READERS_MAX], cpu_ns, packets = 0;

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

void trial_record(const struct trial *trial)
{
	const struct look *a = &trial->before, *b = &trial->after;
	double seconds = difference(a->time_ns, b->time_ns) / 1e9;
	double frames = difference(a->frames, b->frames);

	if (trial->is_sending && frames > 0) {
		record_number("frame_pps", frames / seconds);
		record_number("frame_ns", seconds * 1e9 / frames);
	}
	if (trial->readers)
		record_readers(a, b, trial->readers, seconds);
	if (trial->broker) {
		record_broker(a, b, seconds);
		record_number("lane_priority", bench_priority(trial->broker));
	}
}

/* What a reader, or a group of them, knows of the frames that came. */
static uint64_t add_reader(const struct trial *trial, const struct reader *r,
			   struct loss *loss)
{
	loss->ring += r->kernel_drops;
	loss->not_admitted += r->lost;
	loss->unexplained += r->misordered;
	if (!trial->is_shared)
		loss->missing += r->missing;
	return r->packets + r->foreign + r->kernel_drops + r->lost;
}

static void compare(const struct trial *trial, uint64_t known,
		    struct loss *loss)
{
	uint64_t passed = trial->generator.passed;

	loss->unexplained += passed > known ? passed - known : known - passed;
}

static void account(const struct trial *trial, const struct broker_counts *lane)
{
	const struct generator *generator = &trial->generator;
	const struct readers *readers = trial->readers;
	struct loss loss = { .ring = lane->drops };
	uint64_t known = lane->drops;

	for (unsigned i = 0; readers && i < readers->count; i++) {
		known += add_reader(trial, &readers->reader[i], &loss);
		if (trial->is_shared && i + 1 < readers->count)
			continue;
		compare(trial, known, &loss);
		known = lane->drops;
	}
	record_number("sent", (double)generator->sent);
	record_number("veth_lost",
		      (double)(generator->sent - generator->passed));
	record_number("ring_lost", (double)loss.ring);
	record_number("not_admitted", (double)loss.not_admitted);
	record_number("missing", (double)loss.missing);
	record_number("unexplained", (double)loss.unexplained);
}

void trial_start(struct trial *trial, const struct bench_options *options,
		 const struct broker_setup *setup,
		 const struct reader_options *reader, unsigned count)
{
	memset(trial, 0, sizeof(*trial));
	trial->options = options;
	noise_open(&trial->noise);
	if (setup)
		trial->broker = broker_start(options, setup);
	if (reader) {
		trial->readers = readers_start(reader, count);
		trial->is_shared = reader->group != NULL;
	}
}

void trial_send(struct trial *trial, const char *size, const char *rate)
{
	generator_start(&trial->generator, trial->options->generator, size,
			rate);
	trial->is_sending = true;
}

void trial_watch(struct trial *trial)
{
	usleep(WARM_UP_MS * 1000);
	if (trial->readers)
		readers_open(trial->readers, true);
	look_at(&trial->before, trial->readers, trial->broker);
	usleep(trial->options->window_ms * 1000);
	look_at(&trial->after, trial->readers, trial->broker);
	if (trial->readers)
		readers_open(trial->readers, false);
}

void trial_stop(struct trial *trial)
{
	struct broker_counts lane = { 0 };

	if (trial->is_sending)
		generator_stop(&trial->generator);
	if (trial->is_sending && trial->readers)
		readers_drain(trial->readers);
	if (trial->broker)
		broker_ask(&lane);
	if (trial->readers)
		readers_stop(trial->readers);
	if (trial->broker)
		broker_stop(trial->broker);
	if (trial->is_sending)
		account(trial, &lane);
}

void trial_end(struct trial *trial)
{
	readers_free(trial->readers);
	noise_record(&trial->noise);
	record_end();
}
