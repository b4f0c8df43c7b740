/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Engines that die under traffic: who comes back misses no packet, whatever
 * the dead one was doing, and whatever it has left in its rings.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "live.h"

#define SEQS_MAX (1u << 20)
#define RATE 5000
/* 512 blocks of 20 ms: ten seconds, for machines that are slow to restart. */
#define BIG_RING "ring_block = 128K\nretire_timeout = 20\n"
#define BURST 256 /* what may come twice, of each lane */
#define VISITORS_MAX 2

static struct live live;
static struct stream_of_frames frames;
static unsigned engines; /* that have served */

/* A capture that comes back, and what it was given. */
static struct visitor {
	struct nr_capture *capture;
	bool stays_away;
	uint32_t returns;
	uint64_t unique, twice, gaps;
	uint8_t times[SEQS_MAX];
	uint32_t epoch[SEQS_MAX]; /* it was given it in, first */
} visitors[VISITORS_MAX];
static unsigned visitor_count;

static void make_network(void)
{
	live_network(&live);
	stay_on_cpu(0);
}

TestSuite(restart, .init = make_network, .timeout = 280);

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Of every kind, with and without a tag, in many flows. */
static void describe(struct traffic_frame *frame, uint64_t seq,
		     const void *data)
{
	traffic_mix(frame, seq, data);
	if (seq % 3 == 0) {
		frame->vlan_count = 1;
		frame->vlan[0].tci = (uint16_t)(seq % 4095);
	}
}

/* ---------------------------------------------------------------- visitors */

static void visitor_enter(struct visitor *v)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	int err;

	options.wait_ms = 10000;
	do
		err = nr_capture_open("lan", &options, &v->capture);
	while (err == -EPIPE); /* that engine has died, too */
	cr_assert(err == 0, "%s", nr_strerror(err));
}

static void note(struct visitor *v, uint64_t seq, uint32_t epoch)
{
	cr_assert_lt(seq, SEQS_MAX);
	if (v->times[seq]++ == 0) {
		v->epoch[seq] = epoch;
		v->unique++;
		return;
	}
	/* Only across a death, and the epoch says so. */
	cr_assert_gt(epoch / NR_EPOCH_ENGINE, v->epoch[seq] / NR_EPOCH_ENGINE,
		     "%llu", (unsigned long long)seq);
	v->twice++;
}

/* As it was sent: also a packet that two engines had in their hands. */
static void check_packet(struct visitor *v, const struct nr_batch *batch,
			 uint32_t index)
{
	static uint8_t expected[TRAFFIC_FRAME_MAX];
	const struct nr_record *record = nr_batch_record(batch, index);
	const uint8_t *bytes = nr_batch_data(batch, record);
	struct traffic_frame frame = { 0 };
	uint64_t seq = 0;

	cr_assert(traffic_seq(bytes, record->caplen, &seq));
	describe(&frame, seq, NULL);
	frame.seq = seq;
	cr_assert_eq(record->caplen, traffic_build(&frame, expected));
	cr_assert(memcmp(bytes, expected, record->caplen) == 0, "packet %llu",
		  (unsigned long long)seq);
	note(v, seq, batch->epoch);
}

/* Reads what there is; goes and comes back when the engine has died. */
static void visitor_look(struct visitor *v)
{
	struct nr_batch batch;
	int err;

	while (v->capture &&
	       (err = nr_capture_recv(v->capture, &batch, 0)) != 0) {
		if (err > 0) {
			v->gaps += batch.gap;
			for (uint32_t i = 0; i < batch.count; i++)
				check_packet(v, &batch, i);
			nr_batch_release(&batch);
			continue;
		}
		cr_assert_eq(err, -EPIPE, "%s", nr_strerror(err));
		nr_capture_close(v->capture);
		v->capture = NULL;
		v->returns++;
		if (!v->stays_away)
			visitor_enter(v);
	}
}

static void look(void)
{
	for (unsigned i = 0; i < visitor_count; i++)
		visitor_look(&visitors[i]);
}

/* Reads until @condition. */
#define look_until(condition)                                                  \
	do {                                                                   \
		int64_t end_ = now_ms() + 20000;                               \
		while (look(), !(condition)) {                                 \
			cr_assert(now_ms() < end_, "never came true: %s",      \
				  #condition);                                 \
			sleep_ms(1);                                           \
		}                                                              \
	} while (0)

static void look_for(int ms)
{
	int64_t end = now_ms() + ms;

	while (look(), now_ms() < end)
		sleep_ms(1);
}

static bool is_served(void)
{
	return broker_said_times(&live.broker, "serving") >= engines;
}

static void kill_engine(void)
{
	kill(broker_engine(&live.broker), SIGKILL);
	engines++;
}

static void start(unsigned lanes, unsigned count)
{
	live_broker(&live,
		    "[source lan]\ninterface = inside\nlanes = %u\n"
		    "small_pages = yes\n" BIG_RING
		    "[channel lan]\nsource = lan\nallow = everyone\n",
		    lanes);
	engines = 1;
	visitor_count = count;
	for (unsigned i = 0; i < count; i++)
		visitor_enter(&visitors[i]);
}

static void start_traffic(void)
{
	frames = (struct stream_of_frames){ .describe = describe,
					    .rate = RATE,
					    .cpu = 1 };
	strcpy(frames.interface, "outside");
	frames_start(&frames);
}

/* "17 are missing, first 12345, last 12361" */
static const char *missing(const struct visitor *v, uint64_t sent)
{
	static char text[128];
	uint64_t first = sent, last = 0, count = 0;

	for (uint64_t i = 0; i < sent; i++)
		if (v->times[i] == 0) {
			first = count++ ? first : i;
			last = i;
		}
	snprintf(text, sizeof(text),
		 "%llu are missing, first %llu, last %llu (%llu in gaps)",
		 (unsigned long long)count, (unsigned long long)first,
		 (unsigned long long)last, (unsigned long long)v->gaps);
	return text;
}

/* What the kernel dropped, under all engines. */
static uint64_t drops_ever(void)
{
	static struct broker_stat stat;
	uint64_t drops = 0;

	broker_read_stat(&stat, NULL);
	for (unsigned i = 0; i < stat.sources; i++)
		drops += stat.source[i].kernel_drops +
			 stat.source[i].drops_before;
	return drops;
}

/* All who come back have had all that was sent. */
static void finish(unsigned kills, unsigned lanes)
{
	uint64_t sent = frames_stop(&frames);

	cr_assert_gt(sent, 0);
	cr_assert_eq(drops_ever(), 0);
	for (unsigned i = 0; i < visitor_count; i++) {
		struct visitor *v = &visitors[i];

		if (v->stays_away)
			continue;
		for (int64_t end = now_ms() + 10000;
		     v->unique < sent && now_ms() < end; sleep_ms(1))
			look();
		cr_assert_eq(v->unique, sent, "of %llu packets %s",
			     (unsigned long long)sent, missing(v, sent));
		cr_assert_eq(v->gaps, 0);
		cr_assert_leq(v->returns, kills);
		cr_assert_leq(v->twice, kills * lanes * BURST, "%llu",
			      (unsigned long long)v->twice);
	}
	for (unsigned i = 0; i < visitor_count; i++)
		nr_capture_close(visitors[i].capture);
	live_stop(&live);
}

/* ------------------------------------------------------------- under traffic
 */

static void kill_some(unsigned kills, unsigned lanes, unsigned count)
{
	start(lanes, count);
	start_traffic();
	for (unsigned i = 0; i < kills; i++) {
		/* It has served for so long that the next comes at once. */
		look_for(1050);
		kill_engine();
		look_until(is_served());
	}
	look_for(600);
	finish(kills, lanes);
}

Test(restart, who_comes_back_misses_no_packet)
{
	kill_some(3, 1, 1);
}

Test(restart, who_comes_back_misses_no_packet_of_two_lanes)
{
	kill_some(3, 2, 2);
}

Test(restart, twenty_engines_die_and_no_packet_is_missed)
{
	kill_some(20, 1, 2);
}

Test(restart, an_engine_that_dies_while_it_catches_up_loses_nothing)
{
	start(1, 1);
	start_traffic();
	look_for(1050);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t before = visitors[0].unique;

		/* Before anybody is back; and when somebody has just some. */
		kill_engine();
		eventually(is_served());
		kill_engine();
		look_until(is_served());
		look_until(visitors[0].unique > before);
		kill_engine();
		look_until(is_served());
		look_for(1050);
	}
	finish(9, 1);
}

Test(restart, one_that_does_not_come_back_is_waited_for_half_a_second)
{
	int64_t served;
	uint64_t before;

	start(1, 2);
	start_traffic();
	look_for(1050);
	visitors[1].stays_away = true;
	kill_engine();
	look_until(is_served());
	served = now_ms();
	look_until(visitors[0].returns == 1 && visitors[1].returns == 1);
	/* The other is back, and given nothing yet. */
	before = visitors[0].unique;
	while (now_ms() < served + 400) {
		look();
		cr_assert_eq(visitors[0].unique, before);
	}
	look_until(visitors[0].unique > before);
	cr_assert_leq(now_ms() - served, 1000);
	finish(1, 1);
}

/* A capture's time is half a second, and then nobody else waits. */
Test(restart, one_that_never_comes_back_is_not_waited_for_again)
{
	int64_t served;
	uint64_t before;

	start(1, 2);
	start_traffic();
	visitors[1].stays_away = true;
	look_for(1050);
	kill_engine();
	look_until(is_served());
	look_for(1600);
	kill_engine();
	look_until(is_served() && visitors[0].returns == 2);
	served = now_ms();
	before = visitors[0].unique;
	look_until(visitors[0].unique > before);
	cr_assert_leq(now_ms() - served, 300);
	finish(2, 1);
}
