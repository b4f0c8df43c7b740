/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_lane: CPU time for each packet, of the lane and of one consumer, while
 * the generator and the kernel's receive path are on the other CPU. With the
 * lane at real-time and at normal priority, and with a consumer that only
 * walks the records or also touches each header. As a measure, copies of such
 * packets out of memory that no cache holds.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define WARM_UP_MS 300
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
	static struct look before, after;
	const struct reader_options reader = { .kind = READER_NETRING,
					       .look = run->look,
					       .cpu = BENCH_RECEIVE_CPU };
	const struct broker_setup setup = { .backend = run->backend,
					    .is_normal = run->is_normal,
					    .cpu = BENCH_RECEIVE_CPU };
	struct generator generator;
	struct readers *readers;
	struct noise noise;
	char mode[64];
	pid_t broker;

	snprintf(mode, sizeof(mode), "netring %s", run->backend);
	if (!bench_list_has(&run->options->modes, mode))
		return;
	noise_open(&noise);
	broker = broker_start(run->options, &setup);
	readers = readers_start(&reader, 1);
	generator_start(&generator, run->options->generator, run->size,
			run->rate);
	usleep(WARM_UP_MS * 1000);
	look_at(&before, readers, broker);
	usleep(run->options->window_ms * 1000);
	look_at(&after, readers, broker);
	name(run, mode);
	record_text("class", "%s",
		    bench_priority(broker) ? "SCHED_FIFO" : "SCHED_OTHER");
	record_text("consumer", "%s",
		    run->look == LOOK_WALK ? "walks" : "touches");
	look_record(&before, &after, readers, broker);
	generator_stop(&generator);
	readers_drain(readers);
	readers_stop(readers);
	broker_stop(broker);
	readers_free(readers);
	noise_record(&noise);
	record_end();
}

/* ------------------------------------------------------------------- memcpy */

static uint8_t *memory(size_t size)
{
	void *map = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		bench_die("mmap: %s", strerror(errno));
	madvise(map, size, MADV_HUGEPAGE);
	memset(map, 1, size);
	return map;
}

/* One after the other, as the kernel lays them out, into memory that is warm.
 */
static double copy_ns(size_t size)
{
	size_t stride = (size + FRAME_ROOM + 15) / 16 * 16, to_at = 0, n = 0;
	uint8_t *from = memory(COLD_BYTES), *to = memory(WARM_BYTES);
	uint64_t start = bench_cpu_ns(getpid()), time_ns;

	for (size_t at = 0; at + stride <= COLD_BYTES; at += stride, n++) {
		if (to_at + size > WARM_BYTES)
			to_at = 0;
		__builtin_prefetch(from + at + stride);
		memcpy(to + to_at, from + at, size);
		__asm__ volatile("" ::: "memory");
		to_at += size;
	}
	time_ns = bench_cpu_ns(getpid()) - start;
	munmap(from, COLD_BYTES);
	munmap(to, WARM_BYTES);
	return (double)time_ns / (double)n;
}

static void measure_copy(const struct run *run)
{
	double *ns = mmap(NULL, sizeof(*ns), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct noise noise;
	pid_t pid;

	if (ns == MAP_FAILED)
		bench_die("mmap: %s", strerror(errno));
	noise_open(&noise);
	pid = stage_fork(BENCH_RECEIVE_CPU);
	if (pid == 0) {
		*ns = copy_ns(bench_number(run->size, 14, 9000));
		_exit(0);
	}
	stage_reap(pid);
	name(run, "memcpy, cold");
	record_text("class", "-");
	record_text("consumer", "-");
	record_number("lane_ns", *ns);
	noise_record(&noise);
	record_end();
	munmap(ns, sizeof(*ns));
}

static void measure_all(const struct bench_options *options, const char *size,
			const char *rate)
{
	static const char *const backends[] = { "af_packet", "xdp" };
	struct run run = { .options = options, .size = size, .rate = rate };

	measure_copy(&run);
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
	for (unsigned s = 0; s < options.sizes.count; s++)
		for (unsigned r = 0; r < options.rates.count; r++)
			measure_all(&options, options.sizes.item[s],
				    options.rates.item[r]);
	return 0;
}
