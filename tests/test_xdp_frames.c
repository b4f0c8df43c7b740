/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frames that consumers hold, stop with, or die with: others lose nothing by
 * it, and afterwards every frame is back.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live.h"

#define HOGS 4

static struct live live;
static struct taker taker;
static struct broker_stat stat;
static uint64_t sent;

#define SOURCE                                                                 \
	"[source s]\nbackend = xdp\ninterface = inside\nframe_count = 8192\n"  \
	"fill_ring = 2048\nrx_ring = 1024\nsmall_pages = yes\n"
#define MODE "mode = %s\n"

/* A test for both modes. */
#define BOTH(name)                                                             \
	static void name(const char *mode);                                    \
	Test(xdp_frames, name##_in_driver_mode)                                \
	{                                                                      \
		name("driver");                                                \
	}                                                                      \
	Test(xdp_frames, name##_in_generic_mode)                               \
	{                                                                      \
		name("generic");                                               \
	}                                                                      \
	static void name(const char *mode)
#define CHANNEL "[channel all]\nsource = s\n"

static void make_network(void)
{
	live_network(&live);
	stay_on_cpu(0);
	sent = 0;
}

TestSuite(xdp_frames, .init = make_network, .timeout = 120);

static void send(uint64_t count)
{
	struct traffic_frame frame = { .seq = sent };

	cr_assert_eq(traffic_send_like(live.traffic, &frame, count, 0), 0);
	sent += count;
}

/*
 * In pieces that reach into one more block at most: what the taker is promised
 * holds them, though it reads only when all of a piece is sent.
 */
static void send_and_take(uint64_t count)
{
	while (count > 0) {
		uint64_t piece = count < 150 ? count : 150;

		send(piece);
		taker_wait(&taker, taker.count + piece);
		count -= piece;
	}
}

static bool frames_are_whole(void)
{
	struct nr_msg_source *s = &stat.source[0];

	broker_read_stat(&stat, NULL);
	return stat.captures == 0 && s->frames > 0 &&
	       s->frames_free + s->frames_kept == s->frames;
}

/* ------------------------------------------------------------------- hogs */

struct hog {
	volatile uint32_t held; /* batches; UINT32_MAX: it could not attach */
	volatile uint32_t is_full;
	uint32_t guarantee;
	const char *channel;
};

/* Holds on to all that it can get, and then some. */
static int hog(void *data)
{
	static struct nr_batch batches[65536];
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *capture;
	struct hog *me = data;
	uint32_t n = 0;

	options.leases = 256;
	options.guarantee = me->guarantee;
	if (nr_capture_open(me->channel, &options, &capture)) {
		me->held = UINT32_MAX;
		return 1;
	}
	me->is_full = 1;
	while (n < 65536)
		if (nr_capture_recv(capture, &batches[n], 1000) == 1)
			me->held = ++n;
	return 0;
}

static struct hog *hogs;
static pid_t hog_pids[HOGS];

static void start_hogs(const char *channel)
{
	hogs = shared_memory(HOGS * sizeof(*hogs));
	for (int i = 0; i < HOGS; i++) {
		hogs[i].channel = channel;
		hogs[i].guarantee = 2;
		hog_pids[i] = child_start(0, hog, &hogs[i]);
		eventually(hogs[i].is_full);
	}
}

static void kill_hogs(void)
{
	for (int i = 0; i < HOGS; i++) {
		kill(hog_pids[i], SIGKILL);
		cr_assert_eq(child_wait(hog_pids[i]), 256 + SIGKILL);
	}
}

/* The pool is used up, and so is what each hog was promised. */
static bool all_is_taken(void)
{
	broker_read_stat(&stat, NULL);
	for (unsigned i = 0; i < stat.captures; i++)
		if (stat.capture[i].lost[NR_LOST_NOT_ADMITTED] == 0)
			return false;
	return stat.captures == HOGS &&
	       stat.channel_lane[0].pool_used == stat.channel_lane[0].pool;
}

static void fill_hogs(void)
{
	for (int i = 0; i < 1000 && !all_is_taken(); i++)
		send(500);
	cr_assert(all_is_taken());
}

static void expect_all_of(const struct taker *t, uint64_t first)
{
	for (size_t i = 0; i < t->count; i++) {
		uint64_t seq;

		cr_assert(traffic_seq(t->packets[i].bytes,
				      t->packets[i].record.caplen, &seq));
		cr_assert_eq(seq, first + i);
	}
	cr_assert_eq(t->gaps, 0);
}

BOTH(traffic_flows_though_others_hold_all_that_they_may)
{
	uint64_t first;

	live_broker(&live, SOURCE MODE CHANNEL, mode);
	start_hogs("all");
	fill_hogs();
	first = sent;
	taker_open(&taker, "all", 0);
	send_and_take(20000);
	expect_all_of(&taker, first);
	taker_close(&taker);
	kill_hogs();
	eventually(frames_are_whole());
	live_stop(&live);
}

BOTH(stopped_consumers_cost_others_nothing)
{
	uint64_t drops;

	live_broker(&live, SOURCE MODE CHANNEL, mode);
	start_hogs("all");
	taker_open(&taker, "all", 0);
	broker_read_stat(&stat, NULL);
	drops = stat.source[0].kernel_drops;
	for (int i = 0; i < HOGS; i++)
		kill(hog_pids[i], SIGSTOP);
	send_and_take(20000);
	expect_all_of(&taker, 0);
	broker_read_stat(&stat, NULL);
	cr_assert_eq(stat.source[0].kernel_drops, drops);
	kill_hogs();
	taker_close(&taker);
	eventually(frames_are_whole());
	live_stop(&live);
}

BOTH(consumers_killed_under_traffic_give_all_frames_back)
{
	live_broker(&live, SOURCE MODE CHANNEL, mode);
	taker_open(&taker, "all", 0);
	for (int round = 0; round < 20; round++) {
		start_hogs("all");
		send_and_take(1000);
		kill_hogs();
	}
	expect_all_of(&taker, 0);
	taker_close(&taker);
	eventually(frames_are_whole());
	live_stop(&live);
}

Test(xdp_frames, two_loaned_channels_have_one_account)
{
	uint32_t pool, promised;

	live_broker(&live, SOURCE CHANNEL "[channel too]\nsource = s\n");
	start_hogs("all");
	taker_open(&taker, "too", 0);
	broker_read_stat(&stat, NULL);
	cr_assert_eq(stat.channel_lanes, 2);
	pool = stat.channel_lane[0].pool;
	promised = stat.channel_lane[0].promised;
	cr_assert_eq(stat.channel_lane[1].pool, pool);
	/* four and one captures of two blocks, and an open block each */
	cr_assert_eq(promised, 4 * 2 + 1 + 2 + 1);
	cr_assert_eq(stat.channel_lane[1].promised, promised);
	send_and_take(20000);
	expect_all_of(&taker, 0);
	kill_hogs();
	taker_close(&taker);
	eventually(frames_are_whole());
	live_stop(&live);
}

/* As somebody who is not the owner: holds captures of two channels. */
static int take_shares(void *data)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	char text[NR_TEXT_MAX] = "";
	uint32_t *most = data;
	struct nr_capture *capture;

	options.leases = 256;
	options.error_text = text;
	options.error_text_size = sizeof(text);
	options.guarantee = *most / 2;
	if (nr_capture_open("all", &options, &capture))
		return 1;
	options.guarantee = *most - *most / 2;
	if (nr_capture_open("too", &options, &capture))
		return 2;
	options.guarantee = 1;
	if (nr_capture_open("too", &options, &capture) != -ENOSPC ||
	    !strstr(text, "share its frames"))
		return 3;
	return nr_capture_open("all", &options, &capture) == -ENOSPC ? 0 : 4;
}

Test(xdp_frames, one_user_has_one_share_of_all_channels_that_lend_the_frames)
{
	uint32_t *most = shared_memory(sizeof(*most));

	live_broker(&live, SOURCE "[channel all]\nsource = s\n"
				  "allow = everyone\n[channel too]\n"
				  "source = s\nallow = everyone\n");
	taker_open(&taker, "all", 0);
	broker_read_stat(&stat, NULL);
	*most = stat.channel_lane[0].set_aside;
	*most -= (*most + 7) / 8;
	taker_close(&taker);
	cr_assert_eq(child_wait(child_start(12345, take_shares, most)), 0);
	live_stop(&live);
}

Test(xdp_frames, eight_captures_find_room_by_default)
{
	struct taker eight[8];

	live_broker(&live, SOURCE CHANNEL);
	for (int i = 0; i < 8; i++)
		taker_open(&eight[i], "all", 0);
	broker_read_stat(&stat, NULL);
	cr_assert_eq(stat.captures, 8);
	for (int i = 0; i < 8; i++)
		taker_close(&eight[i]);
	live_stop(&live);
}

Test(xdp_frames, a_group_shares_frames_by_flow)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *members[2];
	uint64_t seen[2] = { 0 };

	options.group = "g";
	live_broker(&live, SOURCE CHANNEL);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(nr_capture_open("all", &options, &members[i]), 0);
	for (uint32_t flow = 0; flow < 200; flow++) {
		struct traffic_frame frame = { .flow = flow, .seq = flow };

		cr_assert_eq(traffic_send_like(live.traffic, &frame, 5, 0), 0);
	}
	eventually(live_count().captured == 1000);
	for (int i = 0; i < 2; i++) {
		struct nr_batch batch;

		while (nr_capture_next(members[i], &batch) == 1) {
			seen[i] += batch.count;
			nr_batch_release(&batch);
		}
	}
	cr_assert_eq(seen[0] + seen[1], 1000);
	cr_assert(seen[0] > 0 && seen[1] > 0);
	nr_capture_close(members[0]);
	nr_capture_close(members[1]);
	eventually(frames_are_whole());
	live_stop(&live);
}
