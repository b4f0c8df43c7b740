/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a channel excludes is in no memory that its consumers can map. Every
 * packet carries a mark that says whether the channel may show it, and its
 * number; another user looks for marks in all it has.
 */
#include "command.h"
#include "ledger.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "flow.h"
#include "scene.h"

#define UID 12345
#define ETHERNET 1

TestSuite(confinement, .timeout = 120);

static struct broker broker;
static struct command c;

/* ------------------------------------------------------------ marked traffic
 */

/* Without a NUL behind, and split: they are in no memory but the packets'. */
static const char open_mark[8] = "OpenMark";
static const char shut_mark[8] = "ShutMark";
#define PACKETS 200000u
#define RATE 20000
#define SIZE 600u

/* UDP; to port 53 the open ones, every third. Marks from byte 42 on. */
static void write_marked(const char *path)
{
	const uint32_t header[6] = { 0xa1b2c3d4, 2 | 4 << 16, 0, 0, 65535, 1 };
	uint8_t frame[SIZE] = { [5] = 1,
				[11] = 2,
				[12] = 8,
				[14] = 0x45,
				[16] = (SIZE - 14) >> 8,
				[17] = (SIZE - 14) & 255,
				[22] = 64,
				[23] = 17,
				[26] = 10,
				[29] = 1,
				[30] = 10,
				[33] = 2,
				[35] = 99,
				[38] = (SIZE - 34) >> 8,
				[39] = (SIZE - 34) & 255 };
	FILE *file = fopen(path, "we");

	cr_assert(file, "%s: %s", path, strerror(errno));
	fwrite(header, sizeof(header), 1, file);
	for (uint32_t i = 0; i < PACKETS; i++) {
		const uint32_t record[4] = { 1700000000, i, SIZE, SIZE };
		const char *mark = i % 3 ? shut_mark : open_mark;

		frame[37] = i % 3 ? 99 : 53;
		for (uint32_t at = 42; at + 12 <= SIZE; at += 12) {
			memcpy(frame + at, mark, 8);
			memcpy(frame + at + 8, &i, 4);
		}
		fwrite(record, sizeof(record), 1, file);
		fwrite(frame, SIZE, 1, file);
	}
	cr_assert_eq(fclose(file), 0);
}

/* A channel with @keys, in a small arena, so that blocks are used again. */
static void configure(const char *keys)
{
	config_write("[source marked]\nbackend = replay\nfile = %s\n"
		     "rate = %d\n[channel marked]\nsource = marked\n"
		     "allow = everyone\narena = 4M\nblock_size = 128K\n%s",
		     test_path("marked.pcap"), RATE, keys);
}

static void serve(const char *keys)
{
	need_root();
	write_marked(test_path("marked.pcap"));
	configure(keys);
	broker_start_args(&broker, NULL, "-c", test_path("broker.conf"), NULL);
}

struct found {
	uint64_t bytes; /* looked at */
	uint64_t open;	/* marks */
	uint64_t shut;
	uint32_t last_shut; /* highest number behind one */
};

/* Not memmem(): a sanitizer looks at all of the rest at each call. */
static void look_in(struct found *found, const char *at, const char *end)
{
	found->bytes += (uint64_t)(end - at);
	for (; at + 12 <= end; at++) {
		uint32_t number;

		if (at[4] != 'M')
			continue;
		found->open += memcmp(at, open_mark, 8) == 0;
		if (memcmp(at, shut_mark, 8) != 0)
			continue;
		found->shut++;
		memcpy(&number, at + 8, 4);
		if (number > found->last_shut && number < PACKETS)
			found->last_shut = number;
	}
}

/* All memory that came from the broker, and stays after a close. */
static struct found look(void)
{
	FILE *file = fopen("/proc/self/maps", "re");
	struct found found = { 0 };
	char line[512], rights[8];
	unsigned long from, to;

	while (fgets(line, sizeof(line), file)) {
		if (!strstr(line, "memfd:") && !strstr(line, "bpf"))
			continue;
		if (sscanf(line, "%lx-%lx %7s", &from, &to, rights) != 3 ||
		    rights[0] != 'r')
			continue;
		look_in(&found, (char *)from, (char *)to);
	}
	fclose(file);
	return found;
}

/* Maps once more what a capture has, so that it stays when that is closed. */
static int keep(const struct nr_capture *capture)
{
	const struct lane *lane = &capture->lanes[0];

	must(mmap(NULL, lane->arena_size, PROT_READ, MAP_SHARED, lane->arena_fd,
		  0) != MAP_FAILED);
	must(mmap(NULL, lane->ring_map_size, PROT_READ, MAP_SHARED,
		  lane->ring_fd, (off_t)lane->ring_map_offset) != MAP_FAILED);
	return 0;
}

static int read_for(struct nr_capture *capture, uint64_t ms)
{
	uint64_t end = scene_now_ns() + ms * 1000000;
	struct nr_batch batch;
	int r;

	while (scene_now_ns() < end) {
		r = nr_capture_recv(capture, &batch, 20);
		if (r < 0)
			return r;
		if (r)
			nr_batch_release(&batch);
	}
	return 0;
}

/* -------------------------------------------------------------------- tests */

/*
 * While another reader keeps the channel busy: attached, and behind the detach
 * with all of it still mapped. Blocks are used many times over.
 */
static int find_nothing_shut(void *data)
{
	struct nr_capture *capture = scene_open("marked");
	struct found found = { 0 };

	(void)data;
	must(capture);
	must(keep(capture) == 0);
	for (int i = 0; i < 12; i++) {
		must(read_for(capture, 100) == 0);
		found = look();
		must(found.shut == 0);
		must(found.open > 100);
		must(found.bytes >= 2 * (4u << 20));
	}
	nr_capture_close(capture);
	for (int i = 0; i < 12; i++) {
		sleep_ms(100);
		found = look();
		must(found.shut == 0);
		must(found.open > 100);
	}
	return 0;
}

static void check_channel(const char *keys)
{
	struct nr_capture *root;

	serve(keys);
	cr_assert_eq(nr_capture_open("marked", NULL, &root), 0);
	cr_assert_eq(child_wait(child_start(UID, find_nothing_shut, NULL)), 0);
	nr_capture_close(root);
	broker_stop(&broker);
}

Test(confinement, of_a_filter_leaves_no_byte_in_any_memory)
{
	check_channel("filter = port 53\n");
}

Test(confinement, of_a_filter_holds_for_a_channel_with_a_group)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *member;

	options.group = "g";
	serve("filter = port 53\n");
	cr_assert_eq(nr_capture_open("marked", &options, &member), 0);
	cr_assert_eq(child_wait(child_start(UID, find_nothing_shut, NULL)), 0);
	nr_capture_close(member);
	broker_stop(&broker);
}

static int find_something_shut(void *data)
{
	struct nr_capture *capture = scene_open("marked");

	(void)data;
	must(capture && read_for(capture, 300) == 0);
	must(look().shut > 100);
	must(look().open > 100);
	return 0;
}

/* The search can find what is there. */
Test(confinement, is_seen_where_there_is_none)
{
	serve("");
	cr_assert_eq(child_wait(child_start(UID, find_something_shut, NULL)),
		     0);
	broker_stop(&broker);
}

/* The hash of what is cut off would give it away, port by port. */
static bool tells_no_more(const struct nr_batch *batch, uint32_t n)
{
	const struct nr_record *record = nr_batch_record(batch, n);

	return record->flow_hash == flow_hash(nr_batch_data(batch, record),
					      record->caplen, batch->link_type);
}

static int find_no_payload(void *data)
{
	struct nr_capture *capture = scene_open("marked");
	struct nr_batch batch;
	uint32_t caplen = *(const uint32_t *)data;

	must(capture);
	for (int i = 0; i < 30; i++) {
		must(nr_capture_recv(capture, &batch, 5000) == 1);
		for (uint32_t n = 0; n < batch.count; n++) {
			must(nr_batch_record(&batch, n)->caplen == caplen);
			must(nr_batch_record(&batch, n)->wirelen == SIZE);
			must(nr_batch_record(&batch, n)->flags & NR_TRUNCATED);
			must(tells_no_more(&batch, n));
		}
		nr_batch_release(&batch);
		must(look().shut == 0 && look().open == 0);
	}
	return 0;
}

static void check_cut(const char *keys, uint32_t caplen)
{
	serve(keys);
	cr_assert_eq(child_wait(child_start(UID, find_no_payload, &caplen)), 0);
	broker_stop(&broker);
}

Test(confinement, of_a_snap_length_holds_for_the_flow_hash)
{
	check_cut("snaplen = 34\n", 34);
	cr_assert(broker_said(&broker, "channel marked: snaplen = 34 can cut "
				       "off addresses and ports"));
}

Test(confinement, of_a_snap_length_leaves_no_byte_behind_it)
{
	check_cut("snaplen = 40\n", 40);
}

Test(confinement, to_headers_leaves_no_payload)
{
	check_cut("payload = headers\n", 42);
}

Test(confinement, to_headers_and_a_snap_length_is_the_shorter)
{
	check_cut("payload = headers\nsnaplen = 38\n", 38);
}

/* Shared with the one that looks. */
struct narrowing {
	uint32_t step; /* of the test */
	uint32_t done; /* of the other */
	bool follows;
	bool keeps; /* what it was lent first */
};

/* Reads until the step is another. 0, or why its capture has ended. */
static int read_until(struct nr_capture *capture, const struct narrowing *n,
		      uint32_t step)
{
	int r = 0;

	while (__atomic_load_n(&n->step, __ATOMIC_ACQUIRE) < step)
		if (!r)
			r = read_for(capture, 10);
		else
			sleep_ms(1);
	return r;
}

static int look_behind_narrowing(void *data)
{
	struct narrowing *n = data;
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *capture;
	struct nr_batch kept = { 0 };
	struct found before, after;
	int r;

	options.follow = n->follows;
	must(nr_capture_open("marked", &options, &capture) == 0);
	must(keep(capture) == 0); /* the wide one */
	must(!n->keeps || nr_capture_recv(capture, &kept, 5000) == 1);
	must(read_for(capture, 200) == 0);
	must(look().shut > 0);
	__atomic_store_n(&n->done, 1, __ATOMIC_RELEASE);
	r = read_until(capture, n, 2);
	must(r == (n->follows ? 0 : -ESTALE));
	before = look();
	must(before.shut > 0); /* what it had it keeps */
	for (int i = 0; i < 10; i++) {
		if (n->follows)
			must(read_for(capture, 100) == 0);
		else
			sleep_ms(100);
		after = look();
		must(after.last_shut == before.last_shut);
	}
	must(!n->follows || after.open > 0);
	nr_batch_release(&kept);
	nr_capture_close(capture);
	/* A new one, beside the old memory. */
	must(nr_capture_open("marked", &options, &capture) == 0);
	must(read_for(capture, 300) == 0);
	after = look();
	must(after.last_shut == before.last_shut && after.open > 0);
	return 0;
}

static void check_narrowing(const char *wide, const char *narrow, bool follows,
			    bool keeps)
{
	struct narrowing *n = shared_memory(sizeof(*n));
	pid_t pid;

	serve(wide);
	n->follows = follows;
	n->keeps = keeps;
	pid = child_start(UID, look_behind_narrowing, n);
	eventually(__atomic_load_n(&n->done, __ATOMIC_ACQUIRE));
	configure(narrow);
	command_reload();
	__atomic_store_n(&n->step, 2, __ATOMIC_RELEASE);
	cr_assert_eq(child_wait(pid), 0);
	broker_stop(&broker);
}

Test(confinement, by_a_reload_holds_for_who_follows)
{
	check_narrowing("", "filter = port 53\n", true, false);
}

/* The lane knows its old channel for as long as it has something of it. */
Test(confinement, by_a_reload_holds_for_who_follows_and_keeps_what_it_was_lent)
{
	check_narrowing("", "filter = port 53\n", true, true);
}

Test(confinement, by_a_reload_holds_for_who_does_not_follow)
{
	check_narrowing("filter = udp\n", "filter = port 53\n", false, false);
}

/* It has mapped the channel, closed its capture, and may not attach now. */
static int look_without_a_right(void *data)
{
	struct narrowing *n = data;
	struct nr_capture *capture = scene_open("marked");
	struct found before, after;

	must(capture && keep(capture) == 0 && read_for(capture, 200) == 0);
	nr_capture_close(capture);
	before = look();
	sleep_ms(200);
	after = look();
	must(after.last_shut > before.last_shut); /* a mapping reads on */
	__atomic_store_n(&n->done, 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&n->step, __ATOMIC_ACQUIRE) < 2)
		sleep_ms(1);
	before = look();
	sleep_ms(500);
	after = look();
	must(after.last_shut == before.last_shut);
	return 0;
}

Test(confinement, by_a_right_that_is_taken_holds_for_who_has_left_before)
{
	struct narrowing *n = shared_memory(sizeof(*n));
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *root;
	struct nr_batch batch;
	pid_t pid, reload;

	serve("");
	options.follow = 1;
	cr_assert_eq(nr_capture_open("marked", &options, &root), 0);
	pid = child_start(UID, look_without_a_right, n);
	while (!__atomic_load_n(&n->done, __ATOMIC_ACQUIRE))
		cr_assert_eq(read_for(root, 20), 0);
	config_write("[source marked]\nbackend = replay\nfile = %s\n"
		     "rate = %d\n[channel marked]\nsource = marked\n"
		     "allow = user:23456\narena = 4M\nblock_size = 128K\n",
		     test_path("marked.pcap"), RATE);
	command_start(&c, 0, "exec netring reload");
	reload = c.pid;
	cr_assert_gt(reload, 0);
	cr_assert_eq(read_for(root, 1500), 0);
	cr_assert_eq(command_wait(&c), 0, "%s", c.err);
	__atomic_store_n(&n->step, 2, __ATOMIC_RELEASE);
	for (int i = 0; i < 50; i++) {
		cr_assert_eq(nr_capture_recv(root, &batch, 5000), 1);
		nr_batch_release(&batch);
		sleep_ms(10);
	}
	cr_assert_eq(child_wait(pid), 0);
	nr_capture_close(root);
	broker_stop(&broker);
}

/* ------------------------------------------------------------------- counts */

static int see_no_counts(void *data)
{
	static struct broker_stat stat;
	struct nr_capture *capture = scene_open("marked"), *later;
	struct nr_stats stats = NR_STATS_INIT;
	const struct nr_arena *arena;

	(void)data;
	must(capture && read_for(capture, 300) == 0);
	must(nr_capture_stats(capture, &stats) == 0);
	must(stats.delivered > 0 && !stats.counts_shown);
	must(stats.seen == 0 && stats.filtered == 0);
	arena = (const void *)capture->lanes[0].arena;
	must(arena->seen == 0 && arena->filtered == 0);
	/* Where the counting of a later capture starts would tell it too. */
	later = scene_open("marked");
	must(later && later->lanes[0].ring->base_passed > 0);
	must(later->lanes[0].ring->base_seen == 0);
	must(later->lanes[0].ring->base_filtered == 0);
	nr_capture_close(later);
	eventually((broker_read_stat(&stat, NULL), stat.captures == 1));
	must(stat.sources == 0 && stat.channel_lanes == 1);
	must(!stat.channel_lane[0].counts_shown);
	must(stat.channel_lane[0].seen == 0);
	must(stat.channel_lane[0].filtered == 0);
	must(stat.captures == 1 && stat.capture[0].delivered > 0);
	must(stat.capture[0].seen == 0 && stat.capture[0].filtered == 0);
	nr_capture_close(capture);
	return 0;
}

Test(confinement, hides_how_much_there_is_that_it_hides)
{
	static struct broker_stat stat;

	serve("filter = port 53\n");
	cr_assert_eq(child_wait(child_start(UID, see_no_counts, NULL)), 0);
	/* Root is told. */
	broker_read_stat(&stat, NULL);
	cr_assert_eq(stat.sources, 1);
	cr_assert_gt(stat.channel_lane[0].seen, 0);
	cr_assert_gt(stat.channel_lane[0].filtered, 0);
	command_start(&c, UID, "exec netring stat");
	cr_assert_eq(command_wait(&c), 0);
	cr_assert_null(strstr(c.out, "kernel drops"), "%s", c.out);
	broker_stop(&broker);
}

/* --------------------------------------------------- payload = headers, alone
 */

/* Headers, written as words: what they are, and how long they are. */
#define ETH "\2\0\0\0\0\1\2\0\0\0\0\2"
#define IP4(proto, frag)                                                       \
	"\x45\0\0\x54\0\1" frag "\x40" proto "\0\0\x0a\0\0\1\x0a\0\0\2"
#define IP4_OPTIONS(proto)                                                     \
	"\x47\0\0\x54\0\1\0\0\x40" proto                                       \
	"\0\0\x0a\0\0\1\x0a\0\0\2\1\1\1\1\1\1\1\0"
#define ADDRESS6 "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
#define IP6(next) "\x60\0\0\0\0\x40" next "\x40" ADDRESS6 ADDRESS6
#define TCP(words) "\0\x50\x12\x34\0\0\0\1\0\0\0\2" words "\x18\1\0\0\0\0\0"
#define TCP_OPTIONS "\1\1\x08\x0a\0\0\0\1\0\0\0\2"
#define UDP "\0\x35\x12\x34\0\x40\0\0"
#define ICMP "\x08\0\0\0\0\1\0\1"
#define SCTP "\x0b\x59\x0b\x59\0\0\0\1\0\0\0\0"
#define TAG "\x81\0\0\x64"
#define PAYLOAD "SecretSecretSecretSecretSecretSecretSecret"

struct known {
	const char *name;
	uint16_t link_type;
	uint32_t headers; /* what is to be shown */
	uint32_t size;
	const char *bytes;
};

#define ROW(name, link, headers, bytes)                                        \
	{                                                                      \
		name, link, headers, sizeof(bytes) - 1, bytes                  \
	}

static const struct known known[] = {
	ROW("tcp", 1, 54, ETH "\x08\0" IP4("\6", "\0\0") TCP("\x50") PAYLOAD),
	ROW("tcp with options", 1, 66,
	    ETH "\x08\0" IP4("\6", "\0\0") TCP("\x80") TCP_OPTIONS PAYLOAD),
	ROW("tcp behind ip options", 1, 62,
	    ETH "\x08\0" IP4_OPTIONS("\6") TCP("\x50") PAYLOAD),
	ROW("tcp of a length that cannot be", 1, 34,
	    ETH "\x08\0" IP4("\6", "\0\0") TCP("\0") PAYLOAD),
	ROW("udp", 1, 42, ETH "\x08\0" IP4("\x11", "\0\0") UDP PAYLOAD),
	ROW("sctp", 1, 46, ETH "\x08\0" IP4("\x84", "\0\0") SCTP PAYLOAD),
	ROW("icmp", 1, 42, ETH "\x08\0" IP4("\1", "\0\0") ICMP PAYLOAD),
	ROW("gre", 1, 34, ETH "\x08\0" IP4("\x2f", "\0\0") PAYLOAD),
	ROW("a first fragment", 1, 42,
	    ETH "\x08\0" IP4("\x11", "\x20\0") UDP PAYLOAD),
	ROW("a later fragment", 1, 34,
	    ETH "\x08\0" IP4("\x11", "\x20\x40") PAYLOAD),
	ROW("a last fragment", 1, 34,
	    ETH "\x08\0" IP4("\x11", "\0\x40") PAYLOAD),
	ROW("udp of ipv6", 1, 62, ETH "\x86\xdd" IP6("\x11") UDP PAYLOAD),
	ROW("tcp of ipv6", 1, 74, ETH "\x86\xdd" IP6("\6") TCP("\x50") PAYLOAD),
	ROW("icmpv6", 1, 62, ETH "\x86\xdd" IP6("\x3a") ICMP PAYLOAD),
	ROW("hop-by-hop and destination options", 1, 86,
	    ETH "\x86\xdd" IP6(
		    "\0") "\x3c\0\1\4\0\0\0\0"
			  "\x11\1\1\x0c\0\0\0\0\0\0\0\0\0\0\0\0" UDP PAYLOAD),
	ROW("routing and authentication", 1, 94,
	    ETH "\x86\xdd" IP6(
		    "\x2b") "\x33\0\0\0\0\0\0\0"
			    "\x11\4\0\0\0\0\0\1\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0" UDP
				    PAYLOAD),
	ROW("a first fragment of ipv6", 1, 70,
	    ETH "\x86\xdd" IP6("\x2c") "\x11\0\0\1\0\0\0\7" UDP PAYLOAD),
	ROW("a later fragment of ipv6", 1, 62,
	    ETH "\x86\xdd" IP6("\x2c") "\x11\0\0\x41\0\0\0\7" PAYLOAD),
	ROW("nothing behind ipv6", 1, 54, ETH "\x86\xdd" IP6("\x3b") PAYLOAD),
	ROW("esp", 1, 54, ETH "\x86\xdd" IP6("\x32") PAYLOAD),
	ROW("one tag", 1, 46, ETH TAG "\x08\0" IP4("\x11", "\0\0") UDP PAYLOAD),
	ROW("three tags", 1, 54,
	    ETH TAG TAG TAG "\x08\0" IP4("\x11", "\0\0") UDP PAYLOAD),
	ROW("four tags", 1, 26,
	    ETH TAG TAG TAG TAG "\x08\0" IP4("\x11", "\0\0") UDP PAYLOAD),
	ROW("arp", 1, 14, ETH "\x08\6\0\1\x08\0\6\4\0\1" PAYLOAD),
	ROW("a length of 802.3", 1, 14, ETH "\0\x26\xaa\xaa\3" PAYLOAD),
	ROW("an ethertype and a version that differ", 1, 14,
	    ETH "\x86\xdd" IP4("\x11", "\0\0") UDP PAYLOAD),
	ROW("raw ip", 101, 28, IP4("\x11", "\0\0") UDP PAYLOAD),
	ROW("raw ipv6", 12, 48, IP6("\x11") UDP PAYLOAD),
	ROW("linux cooked", 113, 44,
	    "\0\4\0\1\0\6\1\2\3\4\5\6\0\0\x08\0" IP4("\x11", "\0\0")
		    UDP PAYLOAD),
	ROW("linux cooked, second version", 276, 48,
	    "\x08\0\0\0\0\0\0\2\0\1\0\6\1\2\3\4\5\6\0\0" IP4("\x11", "\0\0")
		    UDP PAYLOAD),
	ROW("an unknown link type", 147, 0, PAYLOAD),
};

#define KNOWN (sizeof(known) / sizeof(known[0]))

Test(confinement, to_headers_has_the_known_lengths)
{
	for (size_t i = 0; i < KNOWN; i++) {
		const struct known *k = &known[i];
		uint32_t length = flow_headers((const uint8_t *)k->bytes,
					       k->size, k->link_type);

		cr_expect_eq(length, k->headers, "%s: %u, not %u", k->name,
			     length, k->headers);
	}
}

/* At the end of a page: a byte too far is a fault. Never longer than whole. */
static void check_bounds(const uint8_t *bytes, uint32_t size, uint16_t link,
			 uint32_t most)
{
	static uint8_t *page;
	size_t length = (size_t)sysconf(_SC_PAGESIZE);

	if (!page) {
		page = mmap(NULL, 2 * length, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		cr_assert_eq(mprotect(page + length, length, PROT_NONE), 0);
	}
	for (uint32_t caplen = 0; caplen <= size; caplen++) {
		uint8_t *data = page + length - caplen;
		uint32_t there;

		memcpy(data, bytes, caplen);
		there = flow_headers(data, caplen, link);
		cr_assert_leq(there, caplen);
		cr_assert_leq(there, most);
	}
}

Test(confinement, to_headers_reads_nothing_beyond_what_was_captured)
{
	static const uint16_t links[] = { 0, 1, 12, 101, 108, 113, 276 };
	uint8_t bytes[160];

	for (size_t i = 0; i < KNOWN; i++)
		check_bounds((const uint8_t *)known[i].bytes, known[i].size,
			     known[i].link_type,
			     /* of TCP cut before its length: the usual one */
			     known[i].headers < 54 ? 54 : known[i].headers);
	srandom(6);
	for (unsigned i = 0; i < 3000; i++) {
		const struct known *k = &known[random() % (long)KNOWN];
		uint32_t size = k->size < sizeof(bytes) ?
					k->size :
					(uint32_t)sizeof(bytes);

		memcpy(bytes, k->bytes, size);
		for (unsigned n = 0; n < 4; n++)
			bytes[(unsigned long)random() % size] =
				(uint8_t)random();
		check_bounds(bytes, size, links[i % 7], UINT32_MAX);
	}
}
