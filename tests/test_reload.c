/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A configuration read again while captures go on: what they are given is
 * looked up packet by packet.
 */
#include "command.h"
#include "ledger.h"
#include "traffic.h"

#include <criterion/criterion.h>

#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live.h"
#include "scene.h"

#define UID 12345
#define OTHER_UID 23456

static struct broker broker;
static struct trace trace;
static struct broker_stat stat_now;
static struct command c;

TestSuite(reload, .timeout = 120);

/* Channel "trace" with @keys; channel "other" that never changes. */
static void configure(const char *keys)
{
	config_write("[source trace]\nbackend = replay\nfile = %s\n"
		     "rate = 20000\n"
		     "[channel trace]\nsource = trace\n%s"
		     "[channel other]\nsource = trace\nallow = everyone\n"
		     "arena = 16M\n",
		     test_path("trace.pcap"), keys);
}

#define EVERYONE "allow = everyone\narena = 16M\n"

static void make_trace(uint32_t packets)
{
	trace_init(&trace, packets, 1);
	trace.is_nano = true;
	trace.size_max = 400;
	cr_assert_eq(trace_write(&trace, test_path("trace.pcap")), 0);
}

static void serve(uint32_t packets, const char *keys)
{
	need_root();
	make_trace(packets);
	configure(keys);
	broker_start_args(&broker, NULL, "-c", test_path("broker.conf"), NULL);
}

static void change(const char *keys)
{
	configure(keys);
	command_reload();
}

/* One that follows and one that does not need to. */
static struct reader *two_readers(void)
{
	struct reader *readers = readers_new(ledger_new(&trace), 2, "trace");

	readers[0].follows = true;
	readers[1].ledger = ledger_new(&trace);
	readers[1].channel = "other";
	reader_start(&readers[0], UID);
	reader_start(&readers[1], UID);
	return readers;
}

/* It was not concerned: it has all from its attach on. */
static void end_other(struct reader *reader)
{
	reader_end(reader, -ENODATA);
	reader_check_sum(reader);
	cr_assert_eq(nr_stats_lost(&reader->stats), 0);
	for (uint32_t i = trace.packets - (uint32_t)reader->count;
	     i < trace.packets; i++)
		cr_assert(reader->ledger->owner[i], "packet %u", i);
}

/* Its packets, from the first to the last of the trace, without one missing. */
static void check_complete(const struct reader *reader)
{
	uint32_t i = 0;

	while (i < trace.packets && !reader->ledger->owner[i])
		i++;
	cr_assert_eq(trace.packets - i, reader->count);
	cr_assert_eq(ledger_missing(reader->ledger), i);
}

/* Arenas of the broker. What a user's rings and pages cost stays the user's. */
static unsigned arenas(void)
{
	broker_read_stat(&stat_now, NULL); /* the lanes look around */
	cr_assert_eq(command_run(&c, "ls -l /proc/%d/fd",
				 (int)broker_engine(&broker)),
		     0);
	return lines_of(c.out, "netring-arena");
}

Test(reload, of_what_a_channel_is_made_of_misses_no_packet)
{
	static const char *const keys[] = {
		"allow = everyone\narena = 8M\n",
		"allow = everyone\narena = 16M\nblock_size = 128K\n",
		"allow = everyone\narena = 16M\nsnaplen = 100\n",
		"allow = user:12345, user:23456\narena = 16M\n",
		"allow = user:12345\narena = 16M\nguaranteed = 70\n",
		EVERYONE,
	};
	struct reader *readers;
	unsigned long rss;

	serve(200000, EVERYONE);
	readers = two_readers();
	reader_let_come(&readers[0], 2000);
	rss = process_rss_kb(broker_engine(&broker));
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		change(keys[i]);
		reader_let_come(&readers[0], 3000);
	}
	cr_assert_eq(broker_said_times(&broker, "move uid 12345"), 6);
	reader_end(&readers[0], -ENODATA);
	reader_check_sum(&readers[0]);
	cr_assert(readers[0].stats.counts_shown);
	cr_assert_eq(nr_stats_lost(&readers[0].stats), 0);
	check_complete(&readers[0]);
	end_other(&readers[1]);
	/* Old arenas are gone, and what their captures were promised. */
	eventually(arenas() == 2);
	cr_assert_lt(process_rss_kb(broker_engine(&broker)), rss + 8192);
	cr_assert_eq(stat_now.channel_lanes, 2);
	cr_assert_eq(stat_now.channel_lane[0].promised +
			     stat_now.channel_lane[1].promised,
		     0);
	broker_stop(&broker);
}

static bool is_udp(uint32_t number)
{
	static struct trace_packet packet;
	const uint8_t *ip = packet.data + 14;

	trace_packet(&trace, number, &packet);
	return (ip[0] >> 4 == 4 ? ip[9] : ip[6]) == 17;
}

Test(reload, of_a_filter_takes_effect_between_two_packets)
{
	struct reader *readers;
	uint32_t first = 0, last = 0, filtered = 0;

	serve(120000, EVERYONE "counts = yes\n");
	readers = two_readers();
	reader_let_come(&readers[0], 5000);
	change(EVERYONE "counts = yes\nfilter = udp\n");
	reader_end(&readers[0], -ENODATA);
	end_other(&readers[1]);
	reader_check_sum(&readers[0]);
	cr_assert(readers[0].stats.counts_shown);
	while (!readers[0].ledger->owner[first])
		first++;
	for (uint32_t i = first; i < trace.packets; i++)
		if (readers[0].ledger->owner[i] && !is_udp(i))
			last = i;
	cr_assert_gt(last, first + 4000);
	cr_assert_lt(last, 110000);
	for (uint32_t i = first; i < trace.packets; i++) {
		cr_assert(readers[0].ledger->owner[i] ||
				  (i > last && !is_udp(i)),
			  "packet %u", i);
		filtered += !readers[0].ledger->owner[i];
	}
	cr_assert_eq(readers[0].stats.filtered, filtered);
	cr_assert_eq(readers[0].stats.seen, trace.packets - first);
	broker_stop(&broker);
}

Test(reload, hides_counts_from_then_on_and_for_all)
{
	struct reader *readers;

	serve(100000, EVERYONE);
	readers = two_readers();
	reader_let_come(&readers[0], 2000);
	change(EVERYONE "counts = no\n");
	reader_let_come(&readers[0], 2000);
	change(EVERYONE);
	reader_end(&readers[0], -ENODATA);
	cr_assert_eq(readers[0].stats.counts_shown, 0);
	reader_check_sum(&readers[0]);
	check_complete(&readers[0]);
	end_other(&readers[1]);
	broker_stop(&broker);
}

Test(reload, leaves_readable_what_is_held)
{
	struct reader *readers;

	serve(100000, EVERYONE);
	readers = readers_new(ledger_new(&trace), 1, "trace");
	readers[0].follows = true;
	readers[0].keeps_first = true;
	reader_start(&readers[0], UID);
	reader_let_come(&readers[0], 2000);
	cr_assert_eq(arenas(), 1);
	change("allow = everyone\narena = 8M\n");
	reader_let_come(&readers[0], 2000);
	change(EVERYONE);
	reader_let_come(&readers[0], 2000);
	/* One arena of the two is kept, with the batch. */
	eventually(arenas() == 2);
	reader_end(&readers[0], -ENODATA);
	reader_check_sum(&readers[0]);
	check_complete(&readers[0]);
	eventually(arenas() == 1);
	broker_stop(&broker);
}

static void allow_two_captures(const char *arena)
{
	config_write("[source trace]\nbackend = replay\nfile = %s\n"
		     "rate = 20000\n[channel trace]\nsource = trace\n"
		     "allow = everyone\narena = %s\n",
		     test_path("trace.pcap"), arena);
	cr_assert_eq(command_run(&c,
				 "sed -i 's/^max_captures.*/max_captures = 2/;"
				 "s/^max_guaranteed.*/max_guaranteed = 4/' %s",
				 test_path("broker.conf")),
		     0);
}

/* Holding on to what it has left, it is one capture, not two. */
Test(reload, counts_a_capture_that_moves_once)
{
	struct reader *readers;

	need_root();
	make_trace(100000);
	allow_two_captures("16M");
	broker_start_args(&broker, NULL, "-c", test_path("broker.conf"), NULL);
	readers = readers_new(ledger_new(&trace), 3, "trace");
	for (int i = 0; i < 3; i++) {
		readers[i].ledger = ledger_new(&trace);
		readers[i].follows = true;
		readers[i].keeps_first = true;
	}
	reader_start(&readers[0], UID);
	reader_let_come(&readers[0], 2000);
	for (int i = 0; i < 4; i++) {
		allow_two_captures(i % 2 ? "16M" : "8M");
		command_reload();
		reader_let_come(&readers[0], 500);
	}
	broker_read_stat(&stat_now, NULL);
	cr_assert_eq(stat_now.captures, 1);
	/* Its first batch lies in the memory that it left first. */
	cr_assert_geq(stat_now.capture[0].held, 2);
	cr_assert_gt(stat_now.capture[0].oldest_ns, 100000000);
	reader_start(&readers[1], UID);
	reader_let_come(&readers[1], 500);
	for (int i = 0; i < 2; i++) {
		reader_end(&readers[i], -ENODATA);
		reader_check_sum(&readers[i]);
		check_complete(&readers[i]);
	}
	broker_stop(&broker);
}

/*
 * A flow that has come to a member stays there, from @epoch on: the first that
 * knows of all members.
 */
static void check_flows_stay(const struct ledger *ledger, uint32_t epoch)
{
	static struct trace_packet packet;
	uint8_t *member = calloc(trace.flows, 1);

	for (uint32_t i = 0; i < trace.packets; i++) {
		if (ledger->epoch[i] < epoch)
			continue;
		trace_packet(&trace, i, &packet);
		if (!member[packet.flow])
			member[packet.flow] = ledger->owner[i];
		cr_assert_eq(ledger->owner[i], member[packet.flow],
			     "packet %u of flow %u", i, packet.flow);
	}
	free(member);
}

Test(reload, moves_groups_with_all_their_members)
{
	struct reader *readers;
	uint64_t sum = 0;

	serve(120000, EVERYONE);
	readers = readers_new(ledger_new(&trace), 4, "trace");
	for (unsigned i = 0; i < 4; i++) {
		readers[i].group = "ids";
		readers[i].follows = true;
		reader_start(&readers[i], UID);
	}
	reader_let_come(&readers[0], 1000);
	for (unsigned i = 0; i < 6; i++) {
		change(i % 2 ? EVERYONE : "allow = everyone\narena = 8M\n");
		reader_let_come(&readers[0], 500);
	}
	for (unsigned i = 0; i < 4; i++) {
		reader_end(&readers[i], -ENODATA);
		reader_check_sum(&readers[i]);
		cr_assert_eq(nr_stats_lost(&readers[i].stats), 0);
		cr_assert_gt(readers[i].stats.to_others, 0);
		cr_assert_eq(readers[i].backwards, 0);
		cr_assert_geq(readers[i].epochs, 6);
		sum += readers[i].count;
	}
	cr_assert_eq(readers[0].stats.seen, sum);
	cr_assert_eq(ledger_missing(readers[0].ledger), trace.packets - sum);
	check_flows_stay(readers[0].ledger, 4);
	broker_stop(&broker);
}

Test(reload, that_comes_right_behind_another_is_done_behind_it)
{
	static struct command commands[6];
	struct reader *readers;

	serve(120000, EVERYONE);
	readers = two_readers();
	reader_let_come(&readers[0], 1000);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 6; i++) {
			configure(i % 2 ? EVERYONE :
					  "allow = everyone\narena = 8M\n");
			command_start(&commands[i], 0, "exec netring reload");
			kill(broker.pid, SIGHUP);
		}
		for (unsigned i = 0; i < 6; i++)
			cr_assert_eq(command_wait(&commands[i]), 0, "%s",
				     commands[i].err);
	}
	reader_end(&readers[0], -ENODATA);
	reader_check_sum(&readers[0]);
	check_complete(&readers[0]);
	end_other(&readers[1]);
	broker_stop(&broker);
}

/* Lossless, with a reader that keeps the lane waiting nearly all the time. */
Test(reload, while_the_lane_waits_for_consumers_misses_no_packet)
{
	struct reader *readers;

	need_root();
	make_trace(60000);
#define LOSSLESS(arena)                                                        \
	config_write("[source trace]\nbackend = replay\nfile = %s\nwait = 2\n" \
		     "[channel trace]\nsource = trace\nallow = everyone\n"     \
		     "arena = %s\nblock_size = 128K\n"                         \
		     "[channel other]\nsource = trace\nallow = everyone\n"     \
		     "arena = 4M\nblock_size = 128K\n",                        \
		     test_path("trace.pcap"), arena)
	LOSSLESS("4M");
	broker_start_args(&broker, NULL, "-c", test_path("broker.conf"), NULL);
	readers = readers_new(ledger_new(&trace), 2, "trace");
	readers[1].ledger = ledger_new(&trace);
	readers[1].channel = "other";
	for (unsigned i = 0; i < 2; i++) {
		readers[i].follows = true;
		readers[i].leases = 3;
		readers[i].pause_us = 15000;
		reader_start(&readers[i], UID);
	}
	for (unsigned i = 0; i < 8; i++) {
		LOSSLESS(i % 2 ? "4M" : "6M");
		command_reload();
		sleep_ms(50);
	}
	for (unsigned i = 0; i < 2; i++) {
		readers[i].pause_us = 0;
		reader_end(&readers[i], -ENODATA);
		reader_check_sum(&readers[i]);
		cr_assert_eq(readers[i].count, trace.packets);
		cr_assert_eq(nr_stats_lost(&readers[i].stats), 0);
	}
	cr_assert_gt(broker_said_times(&broker, "move uid"), 4);
	broker_stop(&broker);
}

/* ------------------------------------------------------------ who is ended */

Test(reload, ends_who_does_not_follow_and_who_lost_the_right)
{
	struct reader *readers;

	serve(200000, EVERYONE);
	readers = readers_new(ledger_new(&trace), 5, "trace");
	for (unsigned i = 0; i < 5; i++)
		readers[i].ledger = ledger_new(&trace);
	readers[0].follows = true;  /* stays */
	readers[1].follows = false; /* may stay, but cannot */
	readers[2].follows = true;  /* may not */
	readers[3].channel = readers[4].channel = "other";
	reader_start(&readers[0], UID);
	reader_start(&readers[1], UID);
	reader_start(&readers[2], OTHER_UID);
	reader_start(&readers[3], OTHER_UID);
	reader_let_come(&readers[2], 1000);
	change("allow = user:12345\narena = 16M\n");
	reader_end(&readers[1], -ESTALE);
	reader_check_sum(&readers[1]);
	reader_end(&readers[2], -EKEYREVOKED);
	reader_check_sum(&readers[2]);
	reader_let_come(&readers[0], 1000);
	/* It may have left before it was to be ended. */
	cr_assert(broker_said(&broker, "it has to attach again") ||
		  broker_said(&broker, "channel trace: it hung up"));
	/* The channel goes: its own end, and the other does not notice. */
	config_write("[source trace]\nbackend = replay\nfile = %s\n"
		     "rate = 20000\n[channel other]\nsource = trace\n"
		     "allow = everyone\narena = 16M\n"
		     "[channel new]\nsource = trace\n",
		     test_path("trace.pcap"));
	command_reload();
	reader_end(&readers[0], -EIDRM);
	reader_check_sum(&readers[0]);
	reader_let_come(&readers[3], 1000);
	cr_assert_eq(command_run(&c, "netring list"), 0);
	cr_assert_eq(lines_of(c.out, NULL), 3, "%s", c.out);
	cr_assert_eq(command_run(&c, "netring dump -c 1 new"), 0);
	/* Its source goes; the right of one to the next goes with it. */
	reader_start(&readers[4], UID);
	reader_let_come(&readers[4], 1);
	config_write("[source trace]\nbackend = replay\nfile = %s\n"
		     "rate = 20001\n[channel other]\nsource = trace\n"
		     "allow = user:23456\narena = 16M\n",
		     test_path("trace.pcap"));
	command_reload();
	reader_end(&readers[3], -ESTALE);
	reader_check_sum(&readers[3]);
	reader_end(&readers[4], -EKEYREVOKED);
	reader_check_sum(&readers[4]);
	broker_stop(&broker);
}

/*
 * One that was ended holds a batch, attaches again, and gives the batch back
 * then: into a page that must not be the new capture's.
 */
Test(reload, leaves_its_memory_to_who_was_ended_until_it_closes)
{
	struct nr_capture *old, *new;
	struct nr_batch held, batch;
	int r;

	serve(200000, EVERYONE);
	for (int round = 0; round < 5; round++) {
		cr_assert_eq(nr_capture_open("trace", NULL, &old), 0);
		cr_assert_eq(nr_capture_recv(old, &held, 5000), 1);
		change(round % 2 ? EVERYONE : EVERYONE "snaplen = 99\n");
		cr_assert_eq(nr_capture_open("trace", NULL, &new), 0);
		cr_assert_eq(nr_capture_recv(new, &batch, 5000), 1);
		nr_batch_release(&batch);
		while ((r = nr_capture_recv(old, &batch, 5000)) > 0)
			nr_batch_release(&batch);
		cr_assert_eq(r, -ESTALE);
		nr_batch_release(&held);
		for (int i = 0; i < 50; i++) {
			r = nr_capture_recv(new, &batch, 5000);
			cr_assert_eq(r, 1, "%s", nr_strerror(r));
			nr_batch_release(&batch);
		}
		nr_capture_close(old);
		nr_capture_close(new);
	}
	cr_assert_not(broker_said(&broker, "evicted"));
	broker_stop(&broker);
}

/* Attaches, says that it follows, and never reads what comes. */
static int sleep_through(void *data)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *capture;

	options.follow = 1;
	must(nr_capture_open("trace", &options, &capture) == 0);
	*(uint32_t *)data = 1;
	for (;;)
		pause();
}

Test(reload, waits_a_second_for_who_never_acknowledges_and_goes_on)
{
	uint32_t *is_ready = shared_memory(sizeof(*is_ready));
	struct reader *readers;
	uint64_t start, took;
	pid_t pid;

	serve(100000, EVERYONE);
	readers = two_readers();
	pid = child_start(UID, sleep_through, is_ready);
	eventually(*is_ready);
	start = scene_now_ns();
	configure("allow = everyone\narena = 8M\n");
	command_start(&c, 0, "exec netring reload");
	eventually(broker_said(&broker, "channel trace has changed"));
	/* It is still what it was. */
	broker_read_stat(&stat_now, "trace");
	cr_assert_geq(stat_now.captures, 1);
	cr_assert_eq(stat_now.channel_lanes, 1);
	cr_assert_gt(stat_now.channel_lane[0].blocks, 0);
	cr_assert_eq(command_wait(&c), 0, "%s", c.err);
	took = (scene_now_ns() - start) / 1000000;
	cr_assert(took >= 900 && took < 3000, "%llu ms",
		  (unsigned long long)took);
	broker_read_stat(&stat_now, "trace");
	cr_assert_eq(stat_now.captures, 1);
	reader_let_come(&readers[0], 1000);
	start = scene_now_ns();
	change(EVERYONE);
	took = (scene_now_ns() - start) / 1000000;
	cr_assert_lt(took, 800, "%llu ms", (unsigned long long)took);
	kill(pid, SIGKILL);
	child_wait(pid);
	reader_end(&readers[0], -ENODATA);
	reader_check_sum(&readers[0]);
	check_complete(&readers[0]);
	end_other(&readers[1]);
	broker_stop(&broker);
}

/* ------------------------------------------------------- a lane that is late
 */

static void serve_two_lanes(const char *arena)
{
	config_write("[source s]\ninterface = inside\nlanes = 2\n"
		     "[channel all]\nsource = s\nallow = everyone\n"
		     "arena = %s\n",
		     arena);
}

static void many_flows(struct traffic_frame *frame, uint64_t seq,
		       const void *data)
{
	(void)data;
	*frame = (struct traffic_frame){ .seq = seq, .flow = seq % 500 };
}

/* The engine's threads are control's and the lanes', in order. */
static pid_t last_lane(void)
{
	struct dirent *entry;
	char path[64];
	pid_t last = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task",
		 (int)broker_engine(&broker));
	dir = opendir(path);
	cr_assert(dir);
	while ((entry = readdir(dir)))
		if (atoi(entry->d_name) > last)
			last = atoi(entry->d_name);
	closedir(dir);
	return last;
}

static int read_lane_0(void *data)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *capture;
	struct nr_batch batch;
	uint64_t *count = data;

	options.follow = 1;
	options.lane_plus_one = 1;
	must(nr_capture_open("all", &options, &capture) == 0);
	while (nr_capture_recv(capture, &batch, -1) >= 0) {
		__atomic_fetch_add(count, batch.count, __ATOMIC_RELAXED);
		nr_batch_release(&batch);
	}
	return 1;
}

static void let_count(const uint64_t *count, uint64_t more)
{
	uint64_t goal = __atomic_load_n(count, __ATOMIC_RELAXED) + more;

	eventually(__atomic_load_n(count, __ATOMIC_RELAXED) >= goal);
}

/* Lane 0 is done with the old memory long before lane 1 switches. */
Test(reload, leaves_no_memory_behind_when_another_lane_is_late)
{
	static struct live live;
	struct stream_of_frames frames = { .describe = many_flows,
					   .rate = 20000,
					   .cpu = -1 };
	uint64_t *count = shared_memory(sizeof(*count));
	unsigned before;
	pid_t late, pid;

	need_root();
	live_network(&live);
	serve_two_lanes("16M");
	broker_start_args(&broker, live.network.netns, "-c",
			  test_path("broker.conf"), NULL);
	pid = child_start(UID, read_lane_0, count);
	strcpy(frames.interface, live.network.outside);
	frames_start(&frames);
	let_count(count, 100);
	before = arenas();
	late = last_lane();
	for (int i = 0; i < 3; i++) {
		serve_two_lanes(i % 2 ? "16M" : "8M");
		cr_assert_eq(ptrace(PTRACE_SEIZE, late, NULL, NULL), 0);
		cr_assert_eq(ptrace(PTRACE_INTERRUPT, late, NULL, NULL), 0);
		cr_assert_eq(waitpid(late, NULL, __WALL), late);
		command_start(&c, geteuid(), "exec netring reload");
		let_count(count, 4000);
		cr_assert_eq(ptrace(PTRACE_DETACH, late, NULL, NULL), 0);
		cr_assert_eq(command_wait(&c), 0, "%s", c.err);
		let_count(count, 100);
	}
	eventually(arenas() <= before);
	frames_stop(&frames);
	kill(pid, SIGKILL);
	child_wait(pid);
	broker_stop(&broker);
	live_stop(&live);
}

/* --------------------------------------------------------------------- soak */

/* Attaches and leaves, in good order or not, for as long as it lives. */
static int come_and_go(void *data)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	unsigned i = (unsigned)(uintptr_t)data;

	for (;; i++) {
		struct nr_capture *capture;
		struct nr_batch batch;
		char text[NR_TEXT_MAX] = "";
		int err;

		options.follow = i % 3;
		options.group = i % 4 == 1 ? "ids" : NULL;
		options.leases = 4;
		options.error_text = text;
		options.error_text_size = sizeof(text);
		err = nr_capture_open("trace", &options, &capture);
		if (err == -ESTALE || err == -EAGAIN || err == -ENOSPC)
			continue;
		if (err) {
			fprintf(stderr, "open: %s: %s\n", nr_strerror(err),
				text);
			return 1;
		}
		for (unsigned n = 0; n < i % 20; n++) {
			err = nr_capture_recv(capture, &batch, 20);
			if (err < 0)
				break;
			if (err)
				nr_batch_release(&batch);
		}
		if (err < 0 && err != -ESTALE && err != -EPIPE) {
			fprintf(stderr, "recv: %s\n", nr_strerror(err));
			return 2;
		}
		nr_capture_close(capture);
	}
}

#define GUESTS 6

Test(reload, survives_captures_that_come_and_go_and_die)
{
	pid_t guests[GUESTS];
	struct reader *readers;

	serve(200000, "allow = everyone\narena = 32M\n");
	readers = two_readers();
	for (unsigned i = 0; i < GUESTS; i++)
		guests[i] = child_start(UID, come_and_go, (void *)(uintptr_t)i);
	for (unsigned i = 0; readers[0].last < 160000; i++) {
		pid_t *guest = &guests[i % GUESTS];

		/* Large enough: who has no place any more is ended. */
		change(i % 3 == 0 ? "allow = everyone\narena = 48M\n" :
		       i % 3 == 1 ? "allow = everyone\narena = 32M\n"
				    "snaplen = 90\n" :
				    "allow = everyone\narena = 32M\n");
		kill(*guest, SIGKILL);
		cr_assert_eq(child_wait(*guest), 256 + SIGKILL);
		*guest = child_start(UID, come_and_go, (void *)(uintptr_t)i);
	}
	for (unsigned i = 0; i < GUESTS; i++) {
		kill(guests[i], SIGKILL);
		cr_assert_eq(child_wait(guests[i]), 256 + SIGKILL);
	}
	reader_end(&readers[0], -ENODATA);
	reader_check_sum(&readers[0]);
	cr_assert_eq(readers[0].gaps, nr_stats_lost(&readers[0].stats));
	end_other(&readers[1]);
	broker_stop(&broker);
}

/* ------------------------------------------------------------------ sources */

Test(reload, of_a_source_opens_it_again_and_captures_go_on)
{
	struct traffic_frame frame = { .seq = 0 };
	static struct live live;
	struct ledger *ledger = ledger_of_sent(4000);
	struct reader *readers;

#define LIVE(keys, channel)                                                    \
	config_write("[source s]\ninterface = inside\nlanes = 2\n%s"           \
		     "[channel all]\nsource = s\nallow = everyone\n%s",        \
		     keys, channel)
	need_root();
	live_network(&live);
	LIVE("", "");
	broker_start_args(&broker, live.network.netns, "-c",
			  test_path("broker.conf"), NULL);
	readers = readers_new(ledger, 1, "all");
	readers[0].lanes = 2;
	readers[0].follows = true;
	reader_start(&readers[0], UID);
	for (uint32_t i = 0; i < 4; i++) {
		frame.seq = i * 1000;
		frame.flow = i;
		cr_assert_eq(traffic_send_like(live.traffic, &frame, 1000,
					       50000),
			     0);
		eventually(readers[0].count == (i + 1) * 1000);
		if (i == 0)
			LIVE("", "snaplen = 2000\n");
		else if (i == 1)
			LIVE("", "filter = udp\n");
		else
			LIVE("", "arena = 8M\n");
		command_reload();
	}
	/* The source itself: two rings at once would give packets twice. */
	LIVE("retire_timeout = 3\n", "arena = 8M\n");
	command_reload();
	reader_end(&readers[0], -ESTALE);
	cr_assert_eq(ledger_missing(ledger), 0);
	traffic_close(live.traffic);
	broker_stop(&broker);
}

Test(reload, of_a_file_plays_the_new_one)
{
	struct reader *readers;
	struct trace second;

	serve(100000, EVERYONE);
	readers = readers_new(ledger_new(&trace), 1, "trace");
	reader_start(&readers[0], UID);
	reader_let_come(&readers[0], 1000);
	trace_init(&second, 500, 2);
	cr_assert_eq(trace_write(&second, test_path("second.pcap")), 0);
	config_write("[source trace]\nbackend = replay\nfile = %s\n"
		     "[channel trace]\nsource = trace\nallow = everyone\n"
		     "[source new]\nbackend = replay\nfile = %s\n"
		     "[channel new]\nsource = new\n",
		     test_path("second.pcap"), test_path("second.pcap"));
	command_reload();
	reader_end(&readers[0], -ESTALE);
	cr_assert_eq(command_run(&c, "netring dump trace"), 0);
	cr_assert_eq(lines_of(c.out, NULL), 500);
	cr_assert_eq(command_run(&c, "netring dump new"), 0);
	cr_assert_eq(lines_of(c.out, NULL), 500);
	configure(EVERYONE);
	command_reload();
	cr_assert_eq(command_run(&c, "netring list"), 0);
	cr_assert_eq(lines_of(c.out, NULL), 3, "%s", c.out);
	cr_assert_not(strstr(c.out, "new"));
	broker_stop(&broker);
}

/* ---------------------------------------------------------------- refusals */

Test(reload, with_an_error_in_the_file_changes_nothing_and_says_where)
{
	static const struct {
		const char *keys;
		const char *says;
	} table[] = {
		{ "allow = everyone\nfliter = udp\n", "broker.conf:13: " },
		{ "allow = everyone\nfilter = ud p\n", "broker.conf:13: " },
		{ "allow = user:nobody-of-that-name\n", "broker.conf:12: " },
		{ "arena = 1M\n", "broker.conf:12: " },
	};
	struct reader *readers;

	serve(120000, EVERYONE);
	readers = two_readers();
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		configure(table[i].keys);
		cr_assert_eq(command_run(&c, "netring reload"), 2, "%s", c.err);
		cr_assert(strstr(c.err, table[i].says), "%s", c.err);
		cr_assert(broker_said(&broker, table[i].says));
	}
	cr_assert_eq(broker_said_times(&broker, "configuration was read again"),
		     0);
	kill(broker.pid, SIGHUP);
	eventually(broker_said_times(&broker, "stays as it is") == 5);
	config_write("[source trace]\nbackend = replay\nfile = /nowhere\n"
		     "[channel trace]\nsource = trace\n");
	cr_assert_eq(command_run(&c, "netring reload"), 2);
	cr_assert(strstr(c.err, "/nowhere"), "%s", c.err);
	/* It is as it was, and can be changed when the file is right. */
	change("allow = everyone\narena = 8M\n");
	kill(broker.pid, SIGHUP);
	eventually(broker_said_times(&broker, "configuration was read again") ==
		   2);
	reader_end(&readers[0], -ENODATA);
	check_complete(&readers[0]);
	end_other(&readers[1]);
	broker_stop(&broker);
}

Test(reload, is_for_root_and_for_a_broker_with_a_file)
{
	serve(10, EVERYONE);
	command_start(&c, UID, "exec netring reload");
	cr_assert_eq(command_wait(&c), 5, "%s", c.err);
	cr_assert(strstr(c.err, "only root"), "%s", c.err);
	broker_stop(&broker);
	broker_start_args(&broker, NULL, "-r", test_path("trace.pcap"), NULL);
	cr_assert_neq(command_run(&c, "netring reload"), 0);
	cr_assert(strstr(c.err, "without a configuration file"), "%s", c.err);
	broker_stop(&broker);
}
