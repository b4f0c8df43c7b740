/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Several lanes on one interface, and several interfaces: each packet once,
 * from the first one on.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "live.h"

#define LANES_MAX 4
#define FLOWS 64
#define TRIES 10

static struct live live;
static struct taker takers[LANES_MAX];

static void make_network(void)
{
	live_network(&live);
	stay_on_cpu(0);
}

TestSuite(packet_lanes, .init = make_network, .timeout = 120);

/* Both ways of some flows. */
static void describe(struct traffic_frame *frame, uint64_t seq,
		     const void *data)
{
	(void)data;
	*frame = (struct traffic_frame){
		.seq = seq,
		.flow = seq / 2 % FLOWS * 77,
		.is_reply = seq % 2,
		.protocol = IPPROTO_TCP,
		.port = 80,
	};
}

static unsigned flow_of(uint64_t seq)
{
	return seq / 2 % FLOWS;
}

static uint64_t seq_of(const struct taken *taken)
{
	uint64_t seq = 0;

	cr_assert(traffic_seq(taken->bytes, taken->record.caplen, &seq));
	return seq;
}

/* ---------------------------------------- while packets are on their way */

#define SEQS_MAX (1u << 20)
#define OTHER_FIRST (UINT64_C(1) << 32)

/* How often each number was taken, and on which lane. */
static uint8_t times_seen[SEQS_MAX];
static uint8_t lane_of[SEQS_MAX];
static size_t counted;

/* What was first on each lane: from the last of these on, none may miss. */
static uint64_t base_of(const struct taker *taker)
{
	uint64_t first[LANES_MAX], base = 0;

	memset(first, 0xff, sizeof(first));
	for (size_t i = 0; i < taker->count; i++) {
		unsigned lane = taker->packets[i].lane;
		uint64_t seq = seq_of(&taker->packets[i]);

		cr_assert_lt(lane, LANES_MAX);
		if (seq < first[lane])
			first[lane] = seq;
	}
	for (unsigned lane = 0; lane < LANES_MAX; lane++)
		if (first[lane] != UINT64_MAX && first[lane] > base)
			base = first[lane];
	return base;
}

/* Takes more, and counts it. */
static void count_taken(struct taker *taker)
{
	taker_take(taker);
	for (; counted < taker->count; counted++) {
		uint64_t seq = seq_of(&taker->packets[counted]);

		cr_assert_lt(seq, SEQS_MAX, "a frame of another interface");
		cr_assert_eq(times_seen[seq], 0, "frame %u twice",
			     (unsigned)seq);
		times_seen[seq] = 1;
		lane_of[seq] = (uint8_t)taker->packets[counted].lane;
	}
}

static uint64_t taken_from(uint64_t base, uint64_t end)
{
	uint64_t count = 0;

	for (uint64_t seq = base; seq < end; seq++)
		count += times_seen[seq];
	return count;
}

/* All frames of a flow, both ways, came through one lane. */
static void check_flows(uint64_t base, uint64_t end)
{
	for (uint64_t seq = base + 2 * FLOWS; seq < end; seq++)
		cr_assert_eq(lane_of[seq], lane_of[seq - 2 * FLOWS],
			     "a flow on two lanes");
	for (uint64_t seq = base + base % 2; seq + 1 < end; seq += 2) {
		cr_assert_eq(flow_of(seq), flow_of(seq + 1));
		cr_assert_eq(lane_of[seq], lane_of[seq + 1],
			     "two ways of a flow on two lanes");
	}
}

/* In turn: each lane has as many as the others, to one. */
static void check_turns(uint64_t base, uint64_t end, unsigned lanes)
{
	uint64_t counts[LANES_MAX] = { 0 };

	for (uint64_t seq = base; seq < end; seq++)
		counts[lane_of[seq]]++;
	for (unsigned lane = 0; lane < lanes; lane++) {
		uint64_t share = (end - base) / lanes;

		cr_assert(counts[lane] >= share && counts[lane] <= share + 1,
			  "lane %u: %u of %u", lane, (unsigned)counts[lane],
			  (unsigned)(end - base));
	}
}

static unsigned lanes_used(uint64_t base, uint64_t end)
{
	unsigned mask = 0;

	for (uint64_t seq = base; seq < end; seq++)
		mask |= 1u << lane_of[seq];
	return (unsigned)__builtin_popcount(mask);
}

/*
 * A broker starts while frames arrive, here and on another interface. Its
 * kernel blocks are handed over after a second only, so the capture is there
 * before the first packet is given; 0: on a slow machine it was not.
 */
static uint64_t try_under_traffic(unsigned lanes, const char *fanout,
				  uint64_t *base)
{
	struct stream_of_frames frames = {
		.interface = "outside",
		.describe = describe,
		.rate = 5000,
		.cpu = 0,
	};
	struct stream_of_frames others = {
		.interface = "outside2",
		.describe = describe,
		.first_seq = OTHER_FIRST,
		.rate = 5000,
		.cpu = 0,
	};
	uint64_t sent;
	bool was_first;

	memset(times_seen, 0, sizeof(times_seen));
	counted = 0;
	frames_start(&frames);
	frames_start(&others);
	live_broker(&live,
		    "[source s]\ninterface = inside\nlanes = %u\n"
		    "fanout = %s\nring_size = 16M\nring_block = 4M\n"
		    "retire_timeout = 1000\n[channel all]\nsource = s\n",
		    lanes, fanout);
	taker_open(&takers[0], "all", 0);
	cr_assert_eq(nr_capture_lanes(takers[0].capture), lanes);
	taker_wait(&takers[0], 8000);
	sent = frames_stop(&frames);
	frames_stop(&others);
	cr_assert_lt(sent, SEQS_MAX);
	*base = base_of(&takers[0]);
	cr_assert_gt(*base, 0, "the traffic came after the broker");
	cr_assert_lt(*base, sent - 4000);
	eventually((count_taken(&takers[0]),
		    taken_from(*base, sent) == sent - *base));
	cr_assert_eq(takers[0].gaps, 0);
	cr_assert_eq(live_count().drops, 0);
	was_first = live_count().captured == takers[0].count;
	taker_close(&takers[0]);
	broker_stop(&live.broker);
	return was_first ? sent : 0;
}

static uint64_t start_under_traffic(unsigned lanes, const char *fanout,
				    uint64_t *base)
{
	uint64_t sent = 0;

	network_run(&live.network,
		    "ip link add outside2 type veth peer name inside2\n"
		    "ip link set outside2 up\nip link set inside2 up");
	for (int i = 0; i < TRIES && !sent; i++)
		sent = try_under_traffic(lanes, fanout, base);
	cr_assert_gt(sent, 0, "no capture was there for the first packet");
	live_stop(&live);
	return sent;
}

Test(packet_lanes, two_by_flow_give_each_packet_once_while_they_start)
{
	uint64_t base, end = start_under_traffic(2, "hash", &base);

	check_flows(base, end);
	cr_assert_eq(lanes_used(base, end), 2);
}

Test(packet_lanes, four_by_flow_give_each_packet_once_while_they_start)
{
	uint64_t base, end = start_under_traffic(4, "hash", &base);

	check_flows(base, end);
	cr_assert_eq(lanes_used(base, end), 4);
}

Test(packet_lanes, two_in_turn_give_each_packet_once_while_they_start)
{
	uint64_t base, end = start_under_traffic(2, "lb", &base);

	check_turns(base, end, 2);
}

Test(packet_lanes, four_in_turn_give_each_packet_once_while_they_start)
{
	uint64_t base, end = start_under_traffic(4, "lb", &base);

	check_turns(base, end, 4);
}

Test(packet_lanes, of_one_cpu_get_all_that_comes_on_it)
{
	uint64_t base, end = start_under_traffic(4, "cpu", &base);

	cr_assert_eq(lanes_used(base, end), 1);
}

Test(packet_lanes, at_random_give_each_packet_once_while_they_start)
{
	uint64_t base, end = start_under_traffic(4, "random", &base);

	cr_assert_eq(lanes_used(base, end), 4);
}

Test(packet_lanes, with_rollover_give_each_packet_once_while_they_start)
{
	uint64_t base, end = start_under_traffic(2, "rollover", &base);

	/* the second's turn comes when the first is full */
	cr_assert_eq(lanes_used(base, end), 1);
}

Test(packet_lanes, by_queue_give_each_packet_once_while_they_start)
{
	uint64_t base;

	start_under_traffic(2, "qm", &base);
}

/* ------------------------------------------------------------------ exact */

static void send_exactly(uint64_t first_seq, uint64_t count)
{
	struct traffic_plan plan = { .describe = describe,
				     .first_seq = first_seq,
				     .count = count };
	uint64_t sent;

	cr_assert_eq(traffic_send(live.traffic, &plan, &sent), 0);
	cr_assert_eq(sent, count);
}

/* Each number below @end once, over @count takers. */
static void check_each_once(unsigned count, uint64_t end)
{
	uint64_t taken = 0;

	memset(times_seen, 0, sizeof(times_seen));
	for (unsigned t = 0; t < count; t++)
		for (size_t i = 0; i < takers[t].count; i++) {
			uint64_t seq = seq_of(&takers[t].packets[i]);

			cr_assert_lt(seq, end);
			cr_assert_eq(times_seen[seq], 0);
			times_seen[seq] = 1;
			taken++;
		}
	cr_assert_eq(taken, end);
}

static void one_capture_each(unsigned lanes)
{
	struct broker_stat stat;

	live_broker(&live,
		    "[source s]\ninterface = inside\nlanes = %u\n"
		    "[channel all]\nsource = s\n",
		    lanes);
	for (unsigned i = 0; i < lanes; i++) {
		taker_open(&takers[i], "all", i + 1);
		cr_assert_eq(nr_capture_lanes(takers[i].capture), 1);
	}
	send_exactly(0, 20000);
	live_settle(takers, lanes, 20000);
	check_each_once(lanes, 20000);
	for (unsigned t = 0; t < lanes; t++) {
		cr_assert_gt(takers[t].count, 0);
		for (size_t i = 0; i < takers[t].count; i++)
			cr_assert_eq(takers[t].packets[i].lane, t);
	}
	broker_read_stat(&stat, "all");
	cr_assert_eq(stat.sources, lanes);
	for (unsigned i = 0; i < lanes; i++) {
		cr_assert_eq(stat.source[i].lane, i);
		cr_assert_eq(stat.source[i].captured, takers[i].count);
		taker_close(&takers[i]);
	}
	live_stop(&live);
}

Test(packet_lanes, two_can_be_read_by_a_capture_each)
{
	one_capture_each(2);
}

Test(packet_lanes, four_can_be_read_by_a_capture_each)
{
	one_capture_each(4);
}

Test(packet_lanes, can_all_be_read_by_one_capture_as_by_another)
{
	live_broker(&live, "[source s]\ninterface = inside\nlanes = 4\n"
			   "fanout = lb\n[channel all]\nsource = s\n");
	taker_open(&takers[0], "all", 0);
	taker_open(&takers[1], "all", 0);
	send_exactly(0, 20000);
	live_settle(takers, 2, 20000);
	check_each_once(1, 20000);
	cr_assert_eq(takers[0].count, takers[1].count);
	taker_close(&takers[0]);
	check_each_once(2, 20000);
	taker_close(&takers[1]);
	live_stop(&live);
}

Test(packet_lanes, that_are_not_there_cannot_be_read)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *capture;

	live_broker(&live, "[source s]\ninterface = inside\nlanes = 2\n"
			   "[channel all]\nsource = s\n");
	options.lane_plus_one = 3;
	cr_assert_eq(nr_capture_open("all", &options, &capture), -ENOENT);
	live_stop(&live);
}

/* ------------------------------------------------------------- interfaces */

Test(packet_lanes, of_two_interfaces_say_which_it_was)
{
	struct traffic *second;
	struct traffic_frame frame = { .seq = 5000 };

	network_run(&live.network,
		    "ip link add outside2 type veth peer name inside2\n"
		    "ip link set outside2 up\nip link set inside2 up");
	cr_assert_eq(traffic_open(&second, "outside2"), 0);
	live_broker(&live, "[source s]\ninterface = inside, inside2\n"
			   "lanes = 2\n[channel all]\nsource = s\n");
	taker_open(&takers[0], "all", 0);
	cr_assert_eq(nr_capture_lanes(takers[0].capture), 4);
	send_exactly(0, 5000);
	cr_assert_eq(traffic_send_like(second, &frame, 1000, 0), 0);
	live_settle(takers, 1, 6000);
	check_each_once(1, 6000);
	for (size_t i = 0; i < takers[0].count; i++) {
		const struct taken *t = &takers[0].packets[i];
		unsigned interface = seq_of(t) >= 5000;

		cr_assert_eq(t->record.interface, interface);
		cr_assert_eq(t->lane / 2, interface);
	}
	traffic_close(second);
	taker_close(&takers[0]);
	live_stop(&live);
}

/* -------------------------------------------------------------------- CPUs */

Test(packet_lanes, by_cpu_follow_the_cpu_of_the_sender)
{
	cpu_set_t cpus;
	unsigned lane[2];

	sched_getaffinity(1, sizeof(cpus), &cpus);
	if (CPU_COUNT(&cpus) < 2)
		cr_skip_test("needs two CPUs");
	sched_setaffinity(0, sizeof(cpus), &cpus);
	live_broker(&live, "[source s]\ninterface = inside\nlanes = 2\n"
			   "fanout = cpu\n[channel all]\nsource = s\n");
	taker_open(&takers[0], "all", 0);
	stay_on_cpu(0);
	send_exactly(0, 1000);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	stay_on_cpu(1);
	send_exactly(1000, 1000);
	live_settle(takers, 1, 2000);
	check_each_once(1, 2000);
	for (size_t i = 0; i < 2000; i++)
		lane[seq_of(&takers[0].packets[i]) / 1000] =
			takers[0].packets[i].lane;
	cr_assert_neq(lane[0], lane[1]);
	for (size_t i = 0; i < 2000; i++)
		cr_assert_eq(takers[0].packets[i].lane,
			     lane[seq_of(&takers[0].packets[i]) / 1000]);
	taker_close(&takers[0]);
	live_stop(&live);
}
