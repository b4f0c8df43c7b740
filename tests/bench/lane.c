/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_lane: CPU time for each packet, of the lane and of one consumer, while
 * the generator and the kernel's receive path are on the other CPU. With the
 * lane at real-time and at normal priority, and with a consumer that only
 * walks the records or also touches each header. As measures, copies of such
 * packets out of memory that no cache holds, and an AF_XDP socket that does
 * nothing.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define COLD_BYTES ((size_t)512 << 20)
#define WARM_BYTES ((size_t)1 << 20)
#define FRAME_ROOM 96 /* of the ring, in front of each packet */

struct run {
	const struct bench_options *options;
	const char *backend, *size, *rate;
	enum reader_look look;
	bool is_normal;
};

static void name(const struct run *run, const char *mode)
{
	record_begin("lane", run->options->round);
	record_text("mode", "%s", mode);
	record_text("size", "%s", run->size);
	record_text("rate", "%s", run->rate);
}

static void measure(const struct run *run)
{
	static struct trial trial;
	const struct reader_options reader = { .kind = READER_NETRING,
					       .look = run->look,
					       .cpu = BENCH_RECEIVE_CPU };
	const struct broker_setup setup = { .backend = run->backend,
					    .is_normal = run->is_normal,
					    .cpu = BENCH_RECEIVE_CPU };
	char mode[64];

	snprintf(mode, sizeof(mode), "netring %s", run->backend);
	if (!bench_list_has(&run->options->modes, mode))
		return;
	trial_start(&trial, run->options, &setup, &reader, 1);
	trial_send(&trial, run->size, run->rate);
	trial_watch(&trial);
	name(run, mode);
	record_text("class", "%s",
		    bench_priority(trial.broker) ? "SCHED_FIFO" :
						   "SCHED_OTHER");
	record_text("consumer", "%s",
		    run->look == LOOK_WALK ? "walks" : "touches");
	trial_record(&trial);
	trial_stop(&trial);
	trial_end(&trial);
}

/* ------------------------------------------------------------------- memcpy */

/* One after the other, as the kernel lays them out, into memory that is warm.
 */
static double copy_ns(const void *packet)
{
	size_t size = *(const unsigned *)packet, to_at = 0, n = 0;
	size_t stride = (size + FRAME_ROOM + 15) / 16 * 16;
	uint8_t *from = bench_pages(COLD_BYTES), *to = bench_pages(WARM_BYTES);
	uint64_t start = bench_cpu_ns(getpid());

	for (size_t at = 0; at + stride <= COLD_BYTES; at += stride, n++) {
		if (to_at + size > WARM_BYTES)
			to_at = 0;
		__builtin_prefetch(from + at + stride);
		memcpy(to + to_at, from + at, size);
		__asm__ volatile("" ::: "memory");
		to_at += size;
	}
	return (double)(bench_cpu_ns(getpid()) - start) / (double)n;
}

static void measure_copy(const struct run *run)
{
	unsigned size = bench_number(run->size, 14, 9000);
	struct noise noise;
	double ns;

	noise_open(&noise);
	ns = bench_elsewhere(BENCH_RECEIVE_CPU, copy_ns, &size);
	name(run, "memcpy, cold");
	record_text("class", "-");
	record_text("consumer", "-");
	record_number("lane_ns", ns);
	noise_record(&noise);
	record_end();
}

/*
 * A plain AF_XDP socket that does the least there is to do: what a packet costs
 * whoever takes it out of such a ring.
 */
static void measure_bare(const struct run *run)
{
	static struct trial trial;
	const struct reader_options reader = { .kind = READER_XSK,
					       .look = LOOK_TOUCH,
					       .cpu = BENCH_RECEIVE_CPU };

	if (!bench_list_has(&run->options->modes, "AF_XDP bare"))
		return;
	trial_start(&trial, run->options, NULL, &reader, 1);
	trial_send(&trial, run->size, run->rate);
	trial_watch(&trial);
	name(run, "AF_XDP bare");
	record_text("class", "SCHED_OTHER");
	record_text("consumer", "touches");
	trial_record(&trial);
	trial_stop(&trial);
	trial_end(&trial);
}

static void measure_all(const struct bench_options *options, const char *size,
			const char *rate)
{
	static const char *const backends[] = { "af_packet", "xdp" };
	struct run run = { .options = options, .size = size, .rate = rate };

	measure_copy(&run);
	measure_bare(&run);
	for (int i = 0; i < 8; i++) {
		run.backend = backends[i / 4];
		run.is_normal = i / 2 % 2;
		run.look = i % 2 ? LOOK_TOUCH : LOOK_WALK;
		measure(&run);
	}
}

int main(int argc, char **argv)
{
	struct bench_options options = { 0 };

	bench_list_parse(&options.sizes, "60,1500");
	bench_list_parse(&options.rates, "0");
	bench_options_parse(&options, argc, argv);
	stage_enter();
	bench_each(&options, measure_all);
	return 0;
}
