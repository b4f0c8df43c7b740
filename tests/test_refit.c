/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A reload that narrows who may read the frames of an AF_XDP source: they are
 * made anew under its captures, and what passes by meanwhile is counted.
 */
#include "command.h"
#include "ledger.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "live.h"
#include "scene.h"

#define UID 12345
#define OTHER_UID 23456
#define SENT_MAX 400000
#define RATE 8000

static struct live live;
static struct command c;
static struct broker_stat stat;
static struct trace trace;
static struct stream_of_frames frames;

TestSuite(refit, .timeout = 120);

/* A loaned channel with @all, a copied one, and another source's. */
static void configure(const char *all)
{
	config_write("[source s]\nbackend = xdp\ninterface = inside\n"
		     "small_pages = yes\n"
		     "[channel all]\nsource = s\n%s"
		     "[channel udp]\nsource = s\nfilter = udp\n"
		     "allow = everyone\n"
		     "[source trace]\nbackend = replay\nfile = %s\n"
		     "rate = 10000\n"
		     "[channel trace]\nsource = trace\nallow = everyone\n",
		     all, test_path("trace.pcap"));
}

static void describe(struct traffic_frame *frame, uint64_t seq,
		     const void *data)
{
	(void)data;
	*frame = (struct traffic_frame){ .seq = seq, .flow = seq % 100 };
}

static void serve(const char *all)
{
	need_root();
	live_network(&live);
	trace_init(&trace, 60000, 1);
	trace.is_nano = true;
	cr_assert_eq(trace_write(&trace, test_path("trace.pcap")), 0);
	configure(all);
	broker_start_args(&live.broker, live.network.netns, "-c",
			  test_path("broker.conf"), NULL);
	strcpy(frames.interface, "outside");
	frames.describe = describe;
	frames.rate = RATE;
	frames.cpu = 0; /* else the kernel may reorder */
}

static void reload(const char *all)
{
	configure(all);
	command_reload();
}

/* The lane's numbers of source s, when all that was sent is in them. */
static const struct nr_msg_source *all_arrived(uint64_t sent)
{
	const struct nr_msg_source *s = &stat.source[0];

	eventually((broker_read_stat(&stat, "all"),
		    s->captured + s->kernel_drops + s->retired == sent));
	cr_assert_eq(s->kernel_drops, 0);
	return s;
}

static struct reader *start(const char *channel, const char *group)
{
	struct reader *reader =
		readers_new(ledger_of_sent(SENT_MAX), 1, channel);

	reader->follows = true;
	reader->group = group;
	reader_start(reader, UID);
	return reader;
}

Test(refit, loses_what_it_says_and_tells_it_where_it_was)
{
	struct reader *all, *udp, *other;
	const struct nr_msg_source *s;
	uint64_t sent, gap;

	serve("allow = everyone\n");
	all = start("all", NULL);
	udp = start("udp", NULL);
	other = readers_new(ledger_new(&trace), 1, "trace");
	reader_start(other, UID);
	frames_start(&frames);
	reader_let_come(all, 4000);
	reload("allow = user:12345\n");
	reader_let_come(all, 4000);
	reload("allow = user:12345, user:23456\n"); /* widens: stays */
	reader_let_come(all, 1000);
	sent = frames_stop(&frames);
	s = all_arrived(sent);
	gap = s->retired;
	fprintf(stderr, "frames made anew: %.1f ms of packets\n",
		(double)gap * 1000 / RATE);
	cr_assert(gap > 0 && gap < RATE, "%llu", (unsigned long long)gap);
	cr_assert_eq(stat.capture[0].seen, sent);
	cr_assert_eq(stat.capture[0].delivered, sent - gap);
	cr_assert_eq(stat.capture[0].lost[NR_LOST_RETIRED], gap);
	cr_assert_eq(command_run(&c, "netring stat all --json"), 0);
	cr_assert_eq(json_number_of(c.out, "retired"), gap);
	cr_assert_eq(command_run(&c, "netring stat all"), 0);
	cr_assert(strstr(c.out, " retired"), "%s", c.out);
	reader_stop(all);
	reader_check_sum(all);
	cr_assert(all->stats.counts_shown);
	cr_assert_eq(all->count, sent - gap);
	cr_assert_eq(all->gaps, gap);
	cr_assert_eq(all->stats.lost[NR_LOST_RETIRED], gap);
	cr_assert_eq(nr_stats_lost(&all->stats), gap);
	/* In one place of the stream. */
	for (uint32_t i = 0, runs = 0; i < sent; i++) {
		runs += !all->ledger->owner[i] &&
			(i == 0 || all->ledger->owner[i - 1]);
		cr_assert_leq(runs, 1);
	}
	reader_stop(udp);
	reader_check_sum(udp);
	cr_assert_eq(udp->count, sent - gap);
	cr_assert_eq(nr_stats_lost(&udp->stats), 0);
	reader_end(other, -ENODATA);
	cr_assert_eq(other->count, trace.packets);
	cr_assert_eq(broker_said_times(&live.broker, "move uid"), 1);
	live_stop(&live);
}

Test(refit, can_be_done_again_and_again_and_leaves_no_memory_behind)
{
	unsigned long rss = 0;
	struct reader *all;
	uint64_t sent, gap;

	serve("allow = everyone\n");
	all = start("all", NULL);
	frames_start(&frames);
	for (unsigned i = 0; i < 12; i++) {
		reader_let_come(all, 1000);
		reload(i % 2 ? "allow = user:12345, user:1\n" :
			       "allow = user:12345\nguaranteed = 40\n");
		if (i == 3)
			rss = process_rss_kb(broker_engine(&live.broker));
	}
	reader_let_come(all, 1000);
	sent = frames_stop(&frames);
	gap = all_arrived(sent)->retired;
	reader_stop(all);
	reader_check_sum(all);
	cr_assert_eq(all->count, sent - gap);
	cr_assert_eq(all->stats.lost[NR_LOST_RETIRED], gap);
	/* Old frames, 8 MiB and more, are gone with who held them. */
	eventually((broker_read_stat(&stat, NULL),
		    process_rss_kb(broker_engine(&live.broker)) < rss + 8192));
	live_stop(&live);
}

/* Whose the packets would have been, nobody knows: all of them add up. */
Test(refit, of_a_group_adds_up_over_its_members)
{
	struct ledger *ledger = ledger_of_sent(SENT_MAX);
	struct reader *readers;
	uint64_t sent, gap, sum = 0, lost = 0;

	serve("allow = everyone\n");
	readers = readers_new(ledger, 3, "all");
	for (unsigned i = 0; i < 3; i++) {
		readers[i].group = "ids";
		readers[i].follows = true;
		reader_start(&readers[i], UID);
	}
	frames_start(&frames);
	reader_let_come(&readers[0], 1000);
	reload("allow = user:12345\n");
	reader_let_come(&readers[0], 1000);
	sent = frames_stop(&frames);
	gap = all_arrived(sent)->retired;
	for (unsigned i = 0; i < 3; i++) {
		reader_stop(&readers[i]);
		reader_check_sum(&readers[i]);
		cr_assert_eq(readers[i].stats.seen, sent);
		cr_assert_eq(readers[i].gaps,
			     readers[i].stats.lost[NR_LOST_RETIRED]);
		sum += readers[i].count;
		lost += nr_stats_lost(&readers[i].stats);
	}
	cr_assert_eq(lost, gap);
	cr_assert_eq(sum, sent - gap);
	live_stop(&live);
}

/* The channel gets a filter: its captures go on, in memory of its own. */
Test(refit, of_a_channel_that_is_loaned_nothing_any_more_goes_on)
{
	struct reader *all;
	uint64_t sent, gap;

	serve("allow = everyone\n");
	all = start("all", NULL);
	frames_start(&frames);
	reader_let_come(all, 2000);
	reload("allow = everyone\nfilter = udp\n");
	reader_let_come(all, 2000);
	reload("allow = everyone\n"); /* widens, and is loaned again */
	reader_let_come(all, 2000);
	sent = frames_stop(&frames);
	gap = all_arrived(sent)->retired;
	reader_stop(all);
	reader_check_sum(all);
	cr_assert_eq(all->count, sent - gap);
	cr_assert_eq(all->gaps, gap);
	live_stop(&live);
}

Test(refit, ends_who_does_not_follow_and_who_lost_the_right)
{
	struct reader *all, *stays, *denied;

	serve("allow = everyone\n");
	all = start("all", NULL);
	stays = readers_new(ledger_of_sent(SENT_MAX), 1, "all");
	reader_start(stays, UID);
	denied = readers_new(ledger_of_sent(SENT_MAX), 1, "all");
	denied->follows = true;
	reader_start(denied, OTHER_UID);
	frames_start(&frames);
	reader_let_come(denied, 1000);
	reload("allow = user:12345\n");
	reader_end(stays, -ESTALE);
	reader_check_sum(stays);
	reader_end(denied, -EKEYREVOKED);
	reader_check_sum(denied);
	reader_let_come(all, 1000);
	frames_stop(&frames);
	reader_stop(all);
	live_stop(&live);
}

/* -------------------------------------------------------------- confinement */

struct look {
	uint32_t is_mapped;
	uint32_t must_look;
	uint32_t has_looked;
};

/* The highest number of a frame that lies in these bytes. */
static uint64_t newest(const uint8_t *bytes, size_t size)
{
	static const uint8_t magic[4] = { 0x6e, 0x72, 0x73, 0x71 };
	const uint8_t *at = bytes + 8, *end = bytes + size - 4;
	uint64_t most = 0;

	for (; (at = memchr(at, magic[0], (size_t)(end - at))); at++) {
		uint64_t number = 0;

		if (memcmp(at, magic, 4) != 0)
			continue;
		for (int i = -8; i < 0; i++)
			number = number << 8 | at[i];
		if (number < SENT_MAX && number > most)
			most = number;
	}
	return most;
}

/* Keeps the frames mapped that it was loaned, and leaves. */
static int keep_frames(void *data)
{
	struct nr_capture *capture = scene_open("all");
	struct look *look = data;
	const uint8_t *kept;
	uint64_t before, after;
	size_t size;

	must(capture && capture->lanes[0].region_fd >= 0);
	size = capture->lanes[0].region_size;
	kept = mmap(NULL, size, PROT_READ, MAP_SHARED,
		    capture->lanes[0].region_fd, 0);
	must(kept != MAP_FAILED);
	nr_capture_close(capture);
	before = newest(kept, size);
	for (int i = 0; i < 1000 && newest(kept, size) == before; i++)
		sleep_ms(1);
	must(newest(kept, size) > before); /* a mapping reads on */
	__atomic_store_n(&look->is_mapped, 1, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&look->must_look, __ATOMIC_ACQUIRE))
		sleep_ms(1);
	before = newest(kept, size);
	must(before > 0);
	__atomic_store_n(&look->has_looked, 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&look->must_look, __ATOMIC_ACQUIRE) < 2)
		sleep_ms(1);
	after = newest(kept, size);
	must(after == before);
	return 0;
}

Test(refit, leaves_no_later_packet_in_frames_that_somebody_has_kept)
{
	struct look *look = shared_memory(sizeof(*look));
	struct reader *all;
	pid_t pid;

	serve("allow = everyone\n");
	all = start("all", NULL);
	frames_start(&frames);
	pid = child_start(OTHER_UID, keep_frames, look);
	eventually(__atomic_load_n(&look->is_mapped, __ATOMIC_ACQUIRE));
	reload("allow = user:12345\n");
	__atomic_store_n(&look->must_look, 1, __ATOMIC_RELEASE);
	eventually(__atomic_load_n(&look->has_looked, __ATOMIC_ACQUIRE));
	reader_let_come(all, 8000); /* twice all that the frames hold */
	__atomic_store_n(&look->must_look, 2, __ATOMIC_RELEASE);
	cr_assert_eq(child_wait(pid), 0);
	frames_stop(&frames);
	reader_stop(all);
	live_stop(&live);
}
