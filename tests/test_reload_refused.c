/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A reload that cannot be done changes nothing: whatever is wrong, and however
 * late that turns out, those who capture go on without a packet missing.
 */
#include "command.h"
#include "ledger.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "live.h"
#include "scene.h"

#define UID 12345
#define SENT_MAX 400000
#define RATE 5000

static struct live live;
static struct command c;
static struct trace trace;
static struct stream_of_frames frames;
static struct broker_stat stat;

TestSuite(reload_refused, .timeout = 120);

#define TRACE                                                                  \
	"[source trace]\nbackend = replay\nfile = %s\nrate = 10000\n"          \
	"[channel trace]\nsource = trace\nallow = everyone\n"

#define INSIDE "interface = inside\n"

static void describe(struct traffic_frame *frame, uint64_t seq,
		     const void *data)
{
	(void)data;
	*frame = (struct traffic_frame){ .seq = seq, .flow = seq % 100 };
}

/* Source s with @keys, a file, and @more. */
static void configure(const char *keys, const char *more)
{
	config_write("[source s]\n%s"
		     "[channel all]\nsource = s\nallow = everyone\n" TRACE "%s",
		     keys, test_path("trace.pcap"), more);
}

static void serve(const char *keys)
{
	FILE *file;

	need_root();
	live_network(&live);
	trace_init(&trace, 60000, 1);
	trace.is_nano = true;
	cr_assert_eq(trace_write(&trace, test_path("trace.pcap")), 0);
	file = fopen(test_path("text"), "we");
	cr_assert(file && fputs("This is not a capture.\n", file) > 0);
	fclose(file);
	network_run(&live.network, "ip link add wide type veth peer name w2 && "
				   "ip link set wide mtu 9000 && "
				   "ip tuntap add dev tun9 mode tun");
	configure(keys, "");
	broker_start_args(&live.broker, live.network.netns, "-c",
			  test_path("broker.conf"), NULL);
	strcpy(frames.interface, "outside");
	frames.describe = describe;
	frames.rate = RATE;
	frames.cpu = 0; /* else the kernel may reorder */
}

static struct reader *start(const char *channel, struct ledger *ledger)
{
	struct reader *reader = readers_new(ledger, 1, channel);

	reader->follows = true;
	reader_start(reader, UID);
	return reader;
}

static char before[4096];

/* What is listed, and what the kernel has for it. */
static void look(char *text)
{
	cr_assert_eq(command_run(&c, "netring list && ls /proc/%d/fd | wc -l",
				 (int)live.broker.pid),
		     0);
	cr_assert_lt(strlen(c.out), sizeof(before));
	strcpy(text, c.out);
}

static void refuses(const char *says)
{
	static char after[4096];

	cr_assert_eq(command_run(&c, "netring reload"), 2, "%s: %d %s", says,
		     c.status, c.err);
	cr_assert(strstr(c.err, says), "not '%s': %s", says, c.err);
	cr_assert(broker_said(&live.broker, says));
	/* The warden has a ring until the engine has it mapped no more. */
	eventually((look(after), strcmp(after, before) == 0));
}

/* All that was sent, but for what was before the first. */
static void check_all(struct reader *reader, uint64_t sent)
{
	uint64_t missing;

	eventually(__atomic_load_n(&reader->last, __ATOMIC_RELAXED) + 1 ==
		   sent);
	reader_stop(reader);
	reader_check_sum(reader);
	missing = ledger_missing(reader->ledger) - (SENT_MAX - sent);
	cr_assert_eq(missing, 0, "%llu missing", (unsigned long long)missing);
	cr_assert_eq(nr_stats_lost(&reader->stats), 0);
}

Test(reload_refused, leaves_everything_as_it_was_whatever_is_wrong)
{
	static const struct {
		const char *keys; /* of the source that runs */
		const char *more;
		const char *says;
	} table[] = {
		/* found before anything is opened */
		{ INSIDE, "[source x]\ninterface = nowhere\n",
		  "there is no interface 'nowhere'" },
		{ INSIDE, "[source x]\nbackend = replay\nfile = /nowhere\n",
		  "/nowhere" },
		/* found when it is opened */
		{ INSIDE, "[source x]\nbackend = replay\nfile = %s\n",
		  "source x: " },
		{ INSIDE, "[source x]\nbackend = xdp\ninterface = wide\n",
		  "MTU of 9000" },
		{ INSIDE,
		  "[source x]\nbackend = xdp\ninterface = w2\nqueues = 7\n",
		  "no queue 7" },
		{ INSIDE,
		  "[source x]\nbackend = xdp\ninterface = w2\n"
		  "bind = zerocopy\n",
		  "bind = zerocopy" },
		/* a source that runs, changed: Ethernet's filter elsewhere */
		{ "interface = tun9\nfilter = udp\n", "",
		  "the filter of a source is for Ethernet" },
		/* behind one that can be opened, with a channel each */
		{ INSIDE,
		  "[source a]\ninterface = w2\n[channel a]\nsource = a\n"
		  "[source b]\nbackend = xdp\ninterface = wide\n"
		  "[channel b]\nsource = b\n",
		  "MTU of 9000" },
	};
	struct reader *all, *file;
	char more[4096];

	serve(INSIDE);
	all = start("all", ledger_of_sent(SENT_MAX));
	file = start("trace", ledger_new(&trace));
	look(before);
	frames_start(&frames);
	reader_let_come(all, 500);
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		snprintf(more, sizeof(more), "%s", table[i].more);
		if (strstr(more, "%s"))
			snprintf(more, sizeof(more), "%s%s\n",
				 "[source x]\nbackend = replay\nfile = ",
				 test_path("text"));
		configure(table[i].keys, more);
		refuses(table[i].says);
	}
	cr_assert_eq(broker_said_times(&live.broker, "was read again"), 0);
	/* And can be changed when it is right. */
	configure(INSIDE,
		  "[source x]\ninterface = w2\n[channel x]\nsource = x\n");
	command_reload();
	cr_assert_eq(command_run(&c, "netring list"), 0);
	cr_assert_eq(lines_of(c.out, NULL), 4, "%s", c.out);
	reader_let_come(all, 500);
	check_all(all, frames_stop(&frames));
	reader_end(file, -ENODATA);
	cr_assert_eq(file->count, trace.packets);
	live_stop(&live);
}

/* The file of a source that runs. */
Test(reload_refused, to_another_file_plays_on_the_old_one)
{
	struct reader *file;

	serve(INSIDE);
	file = start("trace", ledger_new(&trace));
	look(before);
	reader_let_come(file, 1000);
	config_write("[source s]\ninterface = inside\n"
		     "[channel all]\nsource = s\nallow = everyone\n" TRACE,
		     test_path("text"));
	refuses("source trace: ");
	reader_end(file, -ENODATA);
	cr_assert_eq(file->count, trace.packets);
	live_stop(&live);
}

/* Frames that were made for nothing are no reason to refuse what is right. */
Test(reload_refused, any_number_of_times_and_then_the_same_text_is_in_force)
{
	static const char xdp[] = "backend = xdp\ninterface = inside\n"
				  "small_pages = yes\nframe_count = 8192\n";

	serve(xdp);
	/* Frames anew for those who are allowed still, and one too many. */
	config_write("[source s]\n%s[channel all]\nsource = s\n"
		     "[source x]\nbackend = xdp\ninterface = wide\n"
		     "small_pages = yes\n[channel x]\nsource = x\n",
		     xdp);
	look(before);
	for (int i = 0; i < 20; i++)
		refuses("MTU of 9000");
	network_run(&live.network, "ip link set wide mtu 1500");
	command_reload();
	live_stop(&live);
}

#ifndef __SANITIZE_ADDRESS__ /* which takes all of the address space */
/* Its captures have memory; the arena they are to get there is none for. */
Test(reload_refused, for_memory_that_there_is_not)
{
	const struct rlimit limit = { 400u << 20, 400u << 20 };
	struct reader *file;

	cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0); /* the broker's, too */
	serve(INSIDE);
	file = start("trace", ledger_new(&trace));
	look(before);
	reader_let_come(file, 1000);
	config_write("[source s]\ninterface = inside\n"
		     "[channel all]\nsource = s\nallow = everyone\n" TRACE
		     "arena = 320M\n",
		     test_path("trace.pcap"));
	refuses("no memory for its new arenas");
	reader_end(file, -ENODATA);
	cr_assert_eq(file->count, trace.packets);
	live_stop(&live);
}

#endif

/*
 * A queue of AF_XDP cannot be had twice, so the old source has given it up when
 * the new one fails: it gets it back, and its captures go on.
 */
Test(reload_refused, gives_a_queue_back_that_it_could_not_use)
{
	struct reader *all;
	struct nr_msg_source *s = &stat.source[0];
	uint64_t captured;

	serve(INSIDE "backend = xdp\nsmall_pages = yes\n");
	all = start("all", ledger_of_sent(SENT_MAX));
	look(before);
	frames_start(&frames);
	reader_let_come(all, 1000);
	/* What can be looked at beforehand is, and costs nobody a packet. */
	configure(INSIDE "backend = xdp\nsmall_pages = yes\nqueues = 3\n", "");
	refuses("no queue 3");
	broker_read_stat(&stat, "all");
	captured = s->captured;
	reader_let_come(all, 500);
	for (uint32_t i = 0; i < all->last; i++)
		cr_assert(all->ledger->owner[i], "packet %u", i);
	for (int i = 0; i < 3; i++) {
		configure(INSIDE
			  "backend = xdp\nsmall_pages = yes\nbind = zerocopy\n",
			  "");
		refuses("bind = zerocopy");
		reader_let_come(all, 1000);
	}
	broker_read_stat(&stat, "all");
	cr_assert_eq(s->state, NR_SOURCE_RUNNING);
	cr_assert_gt(s->captured, captured + 3000);
	cr_assert(broker_said(&live.broker, "gets its queues back"));
	configure(INSIDE
		  "backend = xdp\nsmall_pages = yes\nframe_count = 8192\n",
		  "");
	command_reload();
	reader_end(all, -ESTALE);
	reader_check_sum(all);
	cr_assert_eq(command_run(&c, "netring dump -c 100 all"), 0, "%s",
		     c.err);
	frames_stop(&frames);
	live_stop(&live);
}

/* A replay that waits for three is not started by one that has moved. */
Test(reload_refused, counts_a_capture_that_moves_once)
{
	struct ledger *ledgers[3];
	struct reader *readers[3];

	need_root();
	trace_init(&trace, 1000, 1);
	trace.is_nano = true;
	cr_assert_eq(trace_write(&trace, test_path("trace.pcap")), 0);
#define WAITING(keys)                                                          \
	config_write("[source trace]\nbackend = replay\nfile = %s\nwait = 3\n" \
		     "[channel trace]\nsource = trace\nallow = everyone\n"     \
		     "arena = 16M\n" keys,                                     \
		     test_path("trace.pcap"))
	WAITING("");
	broker_start_args(&live.broker, NULL, "-c", test_path("broker.conf"),
			  NULL);
	for (int i = 0; i < 3; i++)
		ledgers[i] = ledger_new(&trace);
	readers[0] = start("trace", ledgers[0]);
	WAITING("snaplen = 1000\n");
	command_reload();
	readers[1] = start("trace", ledgers[1]);
	WAITING("snaplen = 999\n");
	command_reload();
	broker_read_stat(&stat, NULL);
	cr_assert_eq(stat.source[0].state, NR_SOURCE_WAITING);
	readers[2] = start("trace", ledgers[2]);
	for (int i = 0; i < 3; i++) {
		reader_end(readers[i], -ENODATA);
		cr_assert_eq(readers[i]->count, trace.packets);
	}
	broker_stop(&live.broker);
}
