/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_hop: the hop from broker to consumers alone, without a kernel in it. A
 * lane replays a file that it holds in memory, over and over, as fast as its
 * consumers on the other CPU take it. As a limit, what it costs the lane's
 * CPU only to copy the same packets, with room for a record each.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <netring/layout.h>

#include "bench.h"
#include "traffic.h"

#define TRACE "/run/hop.pcap"
/* What a sender has in its cache: the others send one buffer again and again.
 */
#define TRACE_BYTES (1u << 20)
#define COPY_BLOCK (256u << 10)
#define COPY_BLOCKS 4

static void describe(struct traffic_frame *frame, uint64_t seq,
		     const void *size)
{
	*frame = (struct traffic_frame){ .size = *(const unsigned *)size,
					 .flow = (uint32_t)seq };
}

static void write_trace(unsigned size)
{
	const struct traffic_plan plan = { .describe = describe,
					   .data = &size,
					   .count = TRACE_BYTES / size };
	FILE *file = fopen(TRACE, "we");
	int err = file ? traffic_write_trace(file, &plan) : -errno;

	if (file && fclose(file))
		err = -errno;
	if (err)
		bench_die("%s: %s", TRACE, strerror(-err));
}

static void name(const struct bench_options *options, const char *mode,
		 const char *size, unsigned k)
{
	record_begin("hop", options->round);
	record_text("mode", "%s", mode);
	record_text("size", "%s", size);
	record_number("k", k);
}

/* ----------------------------------------------------------------- netring */

static void measure(const struct bench_options *options, enum reader_look look,
		    const char *size, unsigned k)
{
	static struct trial trial;
	const struct reader_options reader = {
		.kind = READER_NETRING,
		.look = look,
		.leases = options->leases,
		.guarantee = options->guarantee,
		.cpu = BENCH_RECEIVE_CPU,
	};
	struct broker_setup setup = { .backend = "replay",
				      .cpu = BENCH_SEND_CPU };
	char source[128];

	snprintf(source, sizeof(source),
		 "file = " TRACE "\nrate = max\npreload = yes\nloop = yes\n"
		 "wait = %u\n",
		 k);
	setup.source = source;
	trial_start(&trial, options, &setup, &reader, k);
	trial_watch(&trial);
	name(options,
	     look == LOOK_WALK ? "netring walking" : "netring touching", size,
	     k);
	trial_record(&trial);
	trial_stop(&trial);
	trial_end(&trial);
}

/* ------------------------------------------------------------------- memcpy */

/* Copies all packets once; returns where the next goes. */
static size_t copy(uint8_t *to, size_t at, const uint8_t *from, size_t stride,
		   size_t size)
{
	for (size_t i = 0; i + stride <= TRACE_BYTES; i += stride) {
		if (at + size > (size_t)COPY_BLOCK * COPY_BLOCKS)
			at = 0;
		memcpy(to + at, from + i, size);
		__asm__ volatile("" ::: "memory");
		at += size;
	}
	return at;
}

struct copying {
	unsigned window_ms, size;
};

static double copies_per_second(const void *arg)
{
	const struct copying *copying = arg;
	/* As they lie in the file, and a record's bytes more to write. */
	size_t size = copying->size + sizeof(struct nr_record), at = 0;
	uint8_t *from = bench_pages((size_t)TRACE_BYTES + size);
	uint8_t *to = bench_pages((size_t)COPY_BLOCK * COPY_BLOCKS);
	uint64_t start, now, end, packets = 0;

	start = bench_now_ns();
	end = start + copying->window_ms * UINT64_C(1000000);
	do {
		at = copy(to, at, from, size, size);
		packets += TRACE_BYTES / size;
		now = bench_now_ns();
	} while (now < end);
	return (double)packets * 1e9 / (double)(now - start);
}

static void measure_copy(const struct bench_options *options, const char *size)
{
	const struct copying copying = { options->window_ms,
					 bench_number(size, 14, 9000) };
	struct noise noise;
	double pps;

	noise_open(&noise);
	pps = bench_elsewhere(BENCH_SEND_CPU, copies_per_second, &copying);
	name(options, "memcpy", size, 0);
	record_number("min_pps", pps);
	noise_record(&noise);
	record_end();
}

int main(int argc, char **argv)
{
	struct bench_options options = { 0 };

	bench_list_parse(&options.sizes, "64,1500");
	bench_list_parse(&options.consumers, "1,8");
	bench_options_parse(&options, argc, argv);
	stage_enter();
	for (unsigned s = 0; s < options.sizes.count; s++) {
		const char *size = options.sizes.item[s];

		write_trace(bench_number(size, 60, 9000));
		measure_copy(&options, size);
		for (unsigned i = 0; i < options.consumers.count; i++) {
			unsigned k = bench_number(options.consumers.item[i], 1,
						  TRIAL_READERS_MAX);

			measure(&options, LOOK_WALK, size, k);
			measure(&options, LOOK_TOUCH, size, k);
		}
	}
	return 0;
}
