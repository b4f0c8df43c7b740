/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Little traffic and none: a trickle wastes no blocks, the last packet does not
 * wait for another, and without packets nobody does anything.
 */
#include "support.h"
#include "trace.h"
#include "traffic.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define UID 12345

static struct network network;
static struct broker broker;
static struct broker_stat stat_now;
static struct traffic *traffic;
static uint64_t sent; /* frames, numbered from 0 */

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* All of the test in one namespace; source "veth" with @keys, @channels. */
static void set_up(const char *keys, const char *channels)
{
	need_root();
	network_make(&network);
	network_enter(&network);
	broker_start(&broker, NULL, "[source veth]\ninterface = %s\n%s%s",
		     network.inside, keys, channels);
	cr_assert_eq(traffic_open(&traffic, network.outside), 0);
}

static void tear_down(void)
{
	traffic_close(traffic);
	broker_stop(&broker);
	network_remove(&network);
}

static uint64_t captured_now(void)
{
	broker_read_stat(&stat_now, NULL);
	return stat_now.source[0].captured;
}

/* ---------------------------------------------------------------- a trickle */

#define TRICKLE 5000

static void send_small(uint64_t count, uint64_t rate)
{
	const struct traffic_frame frame = { .seq = sent };

	cr_assert_eq(traffic_send_like(traffic, &frame, count, rate), 0);
	sent += count;
}

static uint32_t held_now(void)
{
	broker_read_stat(&stat_now, "all");
	cr_assert_eq(stat_now.captures, 1);
	return stat_now.capture[0].held;
}

/* Reads frames numbered from @next on until there are none. */
static uint64_t read_numbers(struct nr_capture *capture, uint64_t next,
			     unsigned *blocks_over)
{
	struct nr_batch batch;
	uint64_t seq;

	*blocks_over = 0;
	while (nr_capture_next(capture, &batch) > 0) {
		cr_assert_eq(batch.gap, 0);
		for (uint32_t i = 0; i < batch.count; i++, next++) {
			const struct nr_record *r = nr_batch_record(&batch, i);

			cr_assert(traffic_seq(nr_batch_data(&batch, r),
					      r->caplen, &seq));
			cr_assert_eq(seq, next);
		}
		*blocks_over += !!(batch.flags & NR_BATCH_LAST_OF_BLOCK);
		nr_batch_release(&batch);
	}
	return next;
}

Test(quiet, a_trickle_fills_its_blocks, .timeout = 60)
{
	struct nr_capture *capture;
	unsigned blocks_over;
	uint32_t held;

	/* 32 bytes of record and 64 of packet: 1 MiB is 10922 of them */
	set_up("retire_timeout = 1\n",
	       "[channel all]\nsource = veth\nblock_size = 1M\n");
	cr_assert_eq(nr_capture_open("all", NULL, &capture), 0);
	/* never more on its way than the ring, with a block a ms, can take */
	for (int i = 0; i < TRICKLE; i += 20) {
		send_small(20, 1000);
		eventually(captured_now() == sent);
	}
	/* it was a trickle: several hundred separate publications at least */
	cr_assert_gt(stat_now.source[0].bursts, 500);
	cr_assert_eq(held_now(), 1);
	send_small(9 * TRICKLE, 100000);
	eventually(captured_now() == sent);
	held = held_now();
	cr_assert_eq(held, 5);
	cr_assert_eq(read_numbers(capture, 0, &blocks_over), sent);
	cr_assert_eq(blocks_over, held - 1);
	eventually(held_now() == 1);
	cr_assert_eq(stat_now.capture[0].delivered, sent);
	cr_assert_eq(stat_now.capture[0].lost[0], 0);
	nr_capture_close(capture);
	tear_down();
}

#define LONELY 50

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/*
 * A packet alone is handed over when the kernel's timer finds its block for
 * the second time, after 8 to 16 ms; then two wake-ups, of the lane and ours.
 * Half of the packets in 30 ms is that; all of them in a second is that none
 * waits for the next packet, also where other processes take the CPU.
 */
Test(quiet, the_last_packet_before_silence_is_seen_at_once, .timeout = 60)
{
	struct nr_capture *capture;
	uint64_t took_ns[LONELY];
	struct nr_batch batch;

	set_up("retire_timeout = 8\n", "[channel all]\nsource = veth\n");
	cr_assert_eq(nr_capture_open("all", NULL, &capture), 0);
	for (int i = 0; i < LONELY; i++) {
		uint64_t start = now_ns();

		send_small(1, 0);
		cr_assert_eq(nr_capture_recv(capture, &batch, 1000), 1);
		took_ns[i] = now_ns() - start;
		cr_assert_eq(batch.count, 1);
		nr_batch_release(&batch);
		sleep_ms(rand() % 16); /* at no fixed phase of the timer */
	}
	qsort(took_ns, LONELY, sizeof(took_ns[0]), compare);
	cr_assert_lt(took_ns[LONELY / 2], 30000000);
	nr_capture_close(capture);
	tear_down();
}

/* --------------------------------------------------------------------- idle */

#define IDLE_S 5
#define IDLE_CPU_MS 20

static int wait_for_ever(void *data)
{
	struct nr_capture *capture;
	struct nr_batch batch;

	if (nr_capture_open("all", NULL, &capture))
		return 1;
	__atomic_store_n((int *)data, 1, __ATOMIC_RELEASE);
	return nr_capture_recv(capture, &batch, -1) == -ESHUTDOWN ? 0 : 2;
}

Test(quiet, without_packets_nothing_uses_the_cpu, .timeout = 60)
{
	static const char *const names[] = { "warden", "engine", "consumer" };
	int *is_waiting = shared_memory(sizeof(int));
	unsigned long used_ms[3];
	struct trace trace;
	char text[512];
	pid_t pids[3];

	trace_init(&trace, 10, 1);
	cr_assert_eq(trace_write(&trace, test_path("trace.pcap")), 0);
	/* a replay that waits for its readers is idle too */
	snprintf(text, sizeof(text),
		 "[channel all]\nsource = veth\nallow = everyone\n"
		 "[source file]\nbackend = replay\nfile = %s\n"
		 "[channel file]\nsource = file\n",
		 test_path("trace.pcap"));
	set_up("", text);
	pids[0] = broker.pid;
	pids[1] = broker_engine(&broker);
	pids[2] = child_start(UID, wait_for_ever, is_waiting);
	eventually(__atomic_load_n(is_waiting, __ATOMIC_ACQUIRE));
	sleep_ms(200); /* what an attach costs is not measured */
	for (int i = 0; i < 3; i++)
		used_ms[i] = process_cpu_ms(pids[i]);
	sleep_ms(IDLE_S * 1000);
	for (int i = 0; i < 3; i++) {
		used_ms[i] = process_cpu_ms(pids[i]) - used_ms[i];
		cr_expect_lt(used_ms[i], IDLE_CPU_MS, "the %s used %lu ms",
			     names[i], used_ms[i]);
	}
	tear_down();
	cr_assert_eq(child_wait(pids[2]), 0);
}
