/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What consumers cannot do to each other, and how exactly the broker counts:
 * real traffic on a veth pair, consumers in processes without privilege.
 */
#include "support.h"
#include "traffic.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UID 12345
#define VICTIM_UID 12346

static struct network network;
static struct broker broker;
static struct broker_stat stat_now;
static struct traffic *traffic;
static uint64_t sent; /* frames, numbered from 0 */

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

static void send_frames(uint64_t count, uint64_t rate)
{
	const struct traffic_plan plan = { .describe = traffic_mix,
					   .first_seq = sent,
					   .count = count,
					   .rate = rate };
	uint64_t done;

	cr_assert_eq(traffic_send(traffic, &plan, &done), 0);
	cr_assert_eq(done, count);
	sent += count;
}

/* Sums over what the broker says now. */
static uint64_t captured_now(void)
{
	broker_read_stat(&stat_now, NULL);
	return stat_now.source[0].captured;
}

static uint64_t dropped_now(void)
{
	broker_read_stat(&stat_now, NULL);
	return stat_now.source[0].kernel_drops;
}

static unsigned captures_now(void)
{
	broker_read_stat(&stat_now, NULL);
	return stat_now.captures;
}

/* ---------------------------------------------------------------- consumers */

/* A consumer's process; the upper words are the test's, the others its own. */
struct consumer {
	const char *channel;
	unsigned guarantee;
	bool expects_all; /* every frame's number is next, but for gaps */
	int must_stop;	  /* when there is nothing to read */

	int is_attached;
	uint64_t next; /* the number behind that of the last frame read */
	uint64_t count;
	uint64_t gaps; /* their sum */
	struct nr_stats stats;
};

static uint64_t load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static bool is_set(const int *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void set(int *word)
{
	__atomic_store_n(word, 1, __ATOMIC_RELEASE);
}

static void store(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/*
 * Every byte against a frame built anew. With all frames expected, a gap says
 * how many numbers are missing. Returns false for anything else.
 */
static bool read_batch(struct consumer *consumer, const struct nr_batch *batch)
{
	static uint8_t must[TRAFFIC_FRAME_MAX];
	uint64_t next = consumer->next + batch->gap;

	if (batch->seq != consumer->count + consumer->gaps + batch->gap)
		return false;
	for (uint32_t i = 0; i < batch->count; i++) {
		const struct nr_record *r = nr_batch_record(batch, i);
		const uint8_t *data = nr_batch_data(batch, r);
		struct traffic_frame frame;
		uint64_t seq;

		if (!data || !traffic_seq(data, r->caplen, &seq) ||
		    (consumer->expects_all ? seq != next : seq < next))
			return false;
		traffic_mix(&frame, seq, NULL);
		if (traffic_build(&frame, must) != r->wirelen ||
		    memcmp(data, must, r->caplen) != 0)
			return false;
		next = seq + 1;
	}
	consumer->count += batch->count;
	consumer->gaps += batch->gap;
	store(&consumer->next, next);
	return true;
}

static int consume(void *data)
{
	struct consumer *consumer = data;
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *capture;
	struct nr_batch batch;
	int r;

	options.guarantee = consumer->guarantee;
	if (nr_capture_open(consumer->channel, &options, &capture))
		return 1;
	set(&consumer->is_attached);
	while ((r = nr_capture_recv(capture, &batch, 20)) >= 0) {
		if (r == 0 && is_set(&consumer->must_stop))
			break;
		if (r == 0)
			continue;
		if (!read_batch(consumer, &batch)) {
			fprintf(stderr, "wrong packets from number %llu on\n",
				(unsigned long long)consumer->next);
			return 2;
		}
		nr_batch_release(&batch);
	}
	consumer->stats.size = sizeof(consumer->stats);
	if (r < 0 || nr_capture_stats(capture, &consumer->stats))
		return 3;
	nr_capture_close(capture);
	return 0;
}

static struct consumer *consumers_new(unsigned count)
{
	struct consumer *consumers = shared_memory(count * sizeof(*consumers));

	for (unsigned i = 0; i < count; i++) {
		consumers[i].channel = "all";
		consumers[i].expects_all = true;
	}
	return consumers;
}

static void start_consumers(struct consumer *consumers, pid_t *pids,
			    unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		pids[i] = child_start(UID, consume, &consumers[i]);
	for (unsigned i = 0; i < count; i++)
		eventually(is_set(&consumers[i].is_attached));
}

static void stop_consumers(struct consumer *consumers, const pid_t *pids,
			   unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		set(&consumers[i].must_stop);
	for (unsigned i = 0; i < count; i++)
		cr_assert_eq(child_wait(pids[i]), 0, "consumer %u", i);
}

/* Promise 4, and what the consumer itself has counted. */
static void check_identity(const struct consumer *consumer)
{
	const struct nr_stats *stats = &consumer->stats;

	cr_assert_eq(stats->counts_shown, 1);
	cr_assert_eq(stats->seen, stats->delivered + stats->filtered +
					  stats->to_others +
					  nr_stats_lost(stats));
	cr_assert_eq(stats->delivered, consumer->count);
	cr_assert_eq(stats->to_others, 0);
}

/* ------------------------------------------------------------- exact counts */

#define EIGHT 8

Test(isolation, eight_consumers_account_for_every_packet, .timeout = 60)
{
	struct consumer *consumers = consumers_new(EIGHT);
	pid_t pids[EIGHT];
	uint64_t captured;

	set_up("", "[channel all]\nsource = veth\nallow = everyone\n"
		   "[channel dns]\nsource = veth\nallow = everyone\n"
		   "filter = port 53\ncounts = yes\n");
	for (unsigned i = 0; i < EIGHT; i += 2) {
		consumers[i].channel = "dns";
		consumers[i].expects_all = false;
	}
	start_consumers(consumers, pids, EIGHT);
	send_frames(40000, 20000);
	eventually(captured_now() + dropped_now() == sent);
	captured = captured_now();
	/* the broker's words for each, while they are attached */
	cr_assert_eq(stat_now.captures, EIGHT);
	for (unsigned i = 0; i < EIGHT; i++) {
		const struct nr_msg_capture *c = &stat_now.capture[i];

		cr_assert_eq(c->seen, captured);
		cr_assert_eq(c->seen, c->delivered + c->filtered +
					      c->to_others + c->lost[0] +
					      c->lost[1]);
	}
	stop_consumers(consumers, pids, EIGHT);
	for (unsigned i = 0; i < EIGHT; i++) {
		check_identity(&consumers[i]);
		cr_assert_eq(consumers[i].stats.seen, captured);
		cr_assert_gt(consumers[i].count, 0);
	}
	tear_down();
}

static bool is_dns(uint64_t seq)
{
	struct traffic_frame frame;

	traffic_mix(&frame, seq, NULL);
	return frame.port == 53;
}

#define SNAPLEN 61

/* The frames with the numbers that @wants, each, in order, cut at @snaplen. */
static void check_channel(struct nr_capture *capture, bool (*wants)(uint64_t),
			  uint32_t snaplen)
{
	static uint8_t must[TRAFFIC_FRAME_MAX];
	struct nr_batch batch;
	uint64_t seq = 0;

	while (nr_capture_recv(capture, &batch, 200) > 0) {
		for (uint32_t i = 0; i < batch.count; i++, seq++) {
			const struct nr_record *r = nr_batch_record(&batch, i);
			struct traffic_frame frame;
			uint32_t size, caplen;

			while (wants && !wants(seq))
				seq++;
			traffic_mix(&frame, seq, NULL);
			size = (uint32_t)traffic_build(&frame, must);
			caplen = size < snaplen ? size : snaplen;
			cr_assert_eq(r->wirelen, size);
			cr_assert_eq(r->caplen, caplen);
			cr_assert_eq(!!(r->flags & NR_TRUNCATED),
				     caplen < size);
			cr_assert_eq(memcmp(nr_batch_data(&batch, r), must,
					    caplen),
				     0);
		}
		nr_batch_release(&batch);
	}
	while (wants && seq < sent && !wants(seq))
		seq++;
	cr_assert_eq(seq, sent);
}

Test(isolation, each_channel_has_its_own_contents, .timeout = 60)
{
	struct nr_capture *all, *dns;
	struct nr_stats stats = NR_STATS_INIT;
	uint64_t passed = 0;

	set_up("", "[channel all]\nsource = veth\n"
		   "[channel dns]\nsource = veth\n"
		   "filter = port 53\nsnaplen = 61\ncounts = yes\n");
	cr_assert_eq(nr_capture_open("all", NULL, &all), 0);
	cr_assert_eq(nr_capture_open("dns", NULL, &dns), 0);
	send_frames(10000, 20000);
	eventually(captured_now() == sent);
	check_channel(all, NULL, UINT32_MAX);
	check_channel(dns, is_dns, SNAPLEN);
	for (uint64_t seq = 0; seq < sent; seq++)
		passed += is_dns(seq);
	cr_assert_eq(nr_capture_stats(dns, &stats), 0);
	cr_assert_eq(stats.delivered, passed);
	cr_assert_eq(stats.filtered, sent - passed);
	cr_assert_eq(nr_stats_lost(&stats), 0);
	nr_capture_close(all);
	nr_capture_close(dns);
	tear_down();
}

/* ----------------------------------------------------------- a stopped reader
 */

/*
 * What is on its way never exceeds a chunk, 1000 frames of at most 1500 bytes:
 * less than the 16 blocks of 128 KiB that each of the three is guaranteed. So
 * however slow this machine is, they must not lose any.
 */
#define CHUNK 1000
#define GUARANTEE 16
#define FOUR 4

static void send_chunk(struct consumer *consumers, unsigned count)
{
	send_frames(CHUNK, 0);
	for (unsigned i = 0; i < count; i++)
		eventually(load(&consumers[i].next) == sent);
}

/* The last of the four, which reads again, may be let in some chunks later. */
static void send_until_it_follows(struct consumer *consumers)
{
	int chunks = 0;

	do {
		send_chunk(consumers, FOUR - 1);
		sleep_ms(10);
		cr_assert_lt(++chunks, 500, "it is not let in again");
	} while (load(&consumers[FOUR - 1].next) != sent);
}

static uint64_t lost_by(pid_t pid)
{
	broker_read_stat(&stat_now, "all");
	for (unsigned i = 0; i < stat_now.captures; i++)
		if (stat_now.capture[i].pid == (uint32_t)pid)
			return stat_now.capture[i].lost[0];
	cr_assert_fail("the broker has no capture of %d", pid);
	return 0;
}

Test(isolation, a_stopped_consumer_costs_only_itself, .timeout = 120)
{
	struct consumer *consumers = consumers_new(FOUR);
	const struct consumer *last = &consumers[FOUR - 1];
	pid_t pids[FOUR];
	uint64_t lost = 0;

	set_up("", "[channel all]\nsource = veth\nallow = everyone\n"
		   "arena = 16M\nblock_size = 128K\n");
	for (unsigned i = 0; i < FOUR - 1; i++)
		consumers[i].guarantee = GUARANTEE;
	start_consumers(consumers, pids, FOUR);
	for (int round = 0; round < 3; round++) {
		send_chunk(consumers, FOUR);
		kill(pids[FOUR - 1], SIGSTOP);
		do
			send_chunk(consumers, FOUR - 1);
		while (lost_by(pids[FOUR - 1]) < lost + 10 * CHUNK);
		kill(pids[FOUR - 1], SIGCONT);
		send_until_it_follows(consumers);
		lost = lost_by(pids[FOUR - 1]);
	}
	stop_consumers(consumers, pids, FOUR);
	for (unsigned i = 0; i < FOUR - 1; i++) {
		check_identity(&consumers[i]);
		cr_assert_eq(consumers[i].count, sent);
		cr_assert_eq(nr_stats_lost(&consumers[i].stats), 0);
		cr_assert_eq(consumers[i].stats.refusals, 0);
	}
	check_identity(last);
	cr_assert_geq(last->gaps, 30 * CHUNK);
	cr_assert_eq(last->gaps, nr_stats_lost(&last->stats));
	cr_assert_eq(last->gaps, lost);
	cr_assert_eq(last->count + last->gaps, sent);
	cr_assert_geq(last->stats.refusals, 3);
	tear_down();
}

/* ----------------------------------------------------------- killed consumers
 */

#define ROUNDS 100
#define VICTIMS 3
#define STEADY 2

/* Attaches, holds what it gets, waits for its death. */
static int hold_all(void *data)
{
	struct nr_capture *capture;
	struct nr_batch batch;

	if (nr_capture_open("all", NULL, &capture))
		return 1;
	if (nr_capture_recv(capture, &batch, -1) != 1)
		return 2;
	set(data);
	while (nr_capture_recv(capture, &batch, -1) == 1)
		;
	return 3;
}

struct sender {
	volatile sig_atomic_t stop;
	uint64_t sent;
};

static int send_on(void *data)
{
	struct sender *sender = data;
	const struct traffic_plan plan = { .describe = traffic_mix,
					   .rate = 5000,
					   .stop = &sender->stop };

	return traffic_send(traffic, &plan, &sender->sent) ? 1 : 0;
}

/* Kills all: after they hold something, or the last one at any moment. */
static void kill_round(int *holds, bool all_hold, int us)
{
	pid_t pids[VICTIMS];

	for (int i = 0; i < VICTIMS; i++) {
		holds[i] = 0;
		pids[i] = child_start(VICTIM_UID, hold_all, &holds[i]);
	}
	for (int i = 0; i < (all_hold ? VICTIMS : VICTIMS - 1); i++)
		eventually(is_set(&holds[i]));
	if (!all_hold)
		usleep((useconds_t)us);
	for (int i = 0; i < VICTIMS; i++)
		kill(pids[i], SIGKILL);
	for (int i = 0; i < VICTIMS; i++)
		cr_assert_eq(child_wait(pids[i]), 256 + SIGKILL);
	eventually(captures_now() == STEADY);
}

struct footprint {
	unsigned fds[2];
	unsigned long rss_kb[2];
};

static struct footprint footprint_now(void)
{
	const pid_t pids[] = { broker.pid, broker_engine(&broker) };
	struct footprint f;

	/* the connection of our last question is being closed */
	sleep_ms(50);
	for (int i = 0; i < 2; i++) {
		f.fds[i] = process_fds(pids[i]);
		f.rss_kb[i] = process_rss_kb(pids[i]);
	}
	return f;
}

/*
 * An allocator may keep some of what was freed, and the engine first touches
 * pages of its stacks and tables late. AddressSanitizer keeps all that was
 * freed, for a while, and that is more than what we look for.
 */
#ifdef __has_feature /* clang */
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define RSS_SLACK_KB 32768
#else
#define RSS_SLACK_KB 256
#endif

static void check_footprint(const struct footprint *first)
{
	struct footprint now = footprint_now();

	for (int i = 0; i < 2; i++) {
		cr_assert_eq(now.fds[i], first->fds[i]);
		cr_assert_leq(now.rss_kb[i], first->rss_kb[i] + RSS_SLACK_KB);
	}
}

/* Nothing on its way: what is leased are the blocks that the readers wait in.
 */
static struct nr_msg_channel_lane quiet_lane(void)
{
	broker_read_stat(&stat_now, "all");
	return stat_now.channel_lane[0];
}

static bool blocks_are_back(const struct nr_msg_channel_lane *before)
{
	struct nr_msg_channel_lane now = quiet_lane();

	return now.blocks_free == before->blocks_free &&
	       now.promised == before->promised &&
	       now.pool_used == before->pool_used &&
	       now.captures == before->captures;
}

Test(isolation, the_killed_leave_nothing_behind, .timeout = 120)
{
	struct consumer *consumers = consumers_new(STEADY);
	struct sender *sender = shared_memory(sizeof(*sender));
	int *holds = shared_memory(VICTIMS * sizeof(int));
	struct nr_msg_channel_lane before;
	struct footprint first;
	pid_t pids[STEADY], sender_pid;

	set_up("", "[channel all]\nsource = veth\nallow = everyone\n");
	start_consumers(consumers, pids, STEADY);
	before = quiet_lane();
	cr_assert_eq(before.pool_used, 0);
	cr_assert_eq(before.blocks_free, before.blocks - 1);
	sender_pid = child_start(0, send_on, sender);
	kill_round(holds, true, 0);
	first = footprint_now();
	srand(1);
	for (int round = 1; round < ROUNDS; round++) {
		kill_round(holds, false, rand() % 5000);
		cr_assert_eq(stat_now.channel_lane[0].promised,
			     before.promised);
	}
	sender->stop = 1;
	cr_assert_eq(child_wait(sender_pid), 0);
	for (int i = 0; i < STEADY; i++)
		eventually(load(&consumers[i].next) == sender->sent);
	eventually(blocks_are_back(&before));
	check_footprint(&first);
	stop_consumers(consumers, pids, STEADY);
	for (int i = 0; i < STEADY; i++) {
		check_identity(&consumers[i]);
		cr_assert_eq(consumers[i].count, sender->sent);
		cr_assert_eq(nr_stats_lost(&consumers[i].stats), 0);
	}
	tear_down();
}
