/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Capture files, from the disk to processes without privilege. Readers know the
 * trace and check each packet against it; none has seen the file.
 */
#include "support.h"
#include "trace.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define UID 12345
#define READERS 8
/* Longer than anything takes; a reader that waits so long has lost. */
#define PATIENCE_MS 30000

static struct broker broker;
static struct trace trace;
static struct broker_stat stat_now;

static const char *write_trace(void)
{
	const char *path = test_path("trace.pcap");

	cr_assert_eq(trace_write(&trace, path), 0);
	return path;
}

/* Writes the trace and serves it on channel "trace". */
static void serve(const char *keys)
{
	broker_start(&broker, NULL,
		     "[source trace]\nbackend = replay\nfile = %s\n%s"
		     "[channel trace]\nsource = trace\nallow = everyone\n",
		     write_trace(), keys);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ------------------------------------------------------------------ readers */

/* What a reader is to do, and how far it is; shared with the test. */
struct reader {
	uint64_t most;	  /* packets, then it closes; 0: until the end */
	bool holds_first; /* until the end, and then looks at it again */
	int end;	  /* what must come behind the last packet */
	/* when the packet may come at the earliest; NULL: at any time */
	uint64_t (*due_ns)(uint64_t number);
	uint64_t count;
	struct nr_stats stats;
};

static struct reader *readers_new(unsigned count, int end)
{
	struct reader *readers = shared_memory(count * sizeof(*readers));

	for (unsigned i = 0; i < count; i++)
		readers[i].end = end;
	return readers;
}

static bool differs(uint64_t number, const char *what, uint64_t is,
		    uint64_t must)
{
	if (is != must)
		fprintf(stderr, "packet %llu: %s is %#llx, not %#llx\n",
			(unsigned long long)number, what,
			(unsigned long long)is, (unsigned long long)must);
	return is != must;
}

/* Packet @number of the stream; a trace that loops starts again. */
static bool record_is_right(const struct nr_batch *batch, uint32_t index,
			    uint64_t number)
{
	static struct trace_packet must;
	const struct nr_record *r = nr_batch_record(batch, index);
	const uint8_t *data = nr_batch_data(batch, r);

	trace_packet(&trace, (uint32_t)(number % trace.packets), &must);
	if (differs(number, "link type", batch->link_type, must.link_type) ||
	    differs(number, "caplen", r->caplen, must.caplen) ||
	    differs(number, "wirelen", r->wirelen, must.wirelen) ||
	    differs(number, "time", r->ts_ns, must.ts_ns) ||
	    differs(number, "tci", r->vlan_tci, must.vlan_tci) ||
	    differs(number, "tpid", r->vlan_tpid, must.vlan_tpid) ||
	    differs(number, "flags", r->flags, must.flags) ||
	    differs(number, "interface", r->interface, must.interface))
		return false;
	return data && !differs(number, "bytes",
				memcmp(data, must.data, must.caplen) != 0, 0);
}

static bool batch_is_right(const struct nr_batch *batch, uint64_t number)
{
	if (differs(number, "sequence number", batch->seq, number) ||
	    differs(number, "gap", batch->gap, 0))
		return false;
	for (uint32_t i = 0; i < batch->count; i++)
		if (!record_is_right(batch, i, number + i))
			return false;
	return true;
}

/* Reads until the end, or the most. Returns what came, or -EBADMSG. */
static int read_on(struct nr_capture *capture, struct reader *reader,
		   uint64_t start_ns)
{
	struct nr_batch batch, held = { 0 };
	int r;

	while ((r = nr_capture_recv(capture, &batch, PATIENCE_MS)) > 0) {
		uint64_t last = reader->count + batch.count - 1;

		if (reader->due_ns &&
		    now_ns() < start_ns + reader->due_ns(last))
			return -ETIME;
		if (!batch_is_right(&batch, reader->count))
			return -EBADMSG;
		__atomic_store_n(&reader->count, last + 1, __ATOMIC_RELAXED);
		if (reader->holds_first && !held.count)
			held = batch;
		else
			nr_batch_release(&batch);
		if (reader->most && reader->count >= reader->most)
			return reader->end;
	}
	if (held.count && !batch_is_right(&held, 0))
		return -EBADMSG;
	nr_batch_release(&held);
	return r;
}

/* The body of a reader's process. */
static int read_trace(void *data)
{
	struct reader *reader = data;
	struct nr_capture *capture;
	uint64_t start_ns = now_ns();
	int err = nr_capture_open("trace", NULL, &capture);

	if (err) {
		fprintf(stderr, "open: %s\n", nr_strerror(err));
		return 1;
	}
	err = read_on(capture, reader, start_ns);
	if (err != reader->end) {
		fprintf(stderr, "after %llu packets: %s (%d)\n",
			(unsigned long long)reader->count, nr_strerror(err),
			err);
		return 2;
	}
	reader->stats.size = sizeof(reader->stats);
	err = nr_capture_stats(capture, &reader->stats);
	nr_capture_close(capture);
	return err ? 3 : 0;
}

static void start_readers(struct reader *readers, pid_t *pids, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		pids[i] = child_start(UID, read_trace, &readers[i]);
}

static void wait_readers(const pid_t *pids, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		cr_assert_eq(child_wait(pids[i]), 0, "reader %u", i);
}

static void run_readers(struct reader *readers, unsigned count)
{
	pid_t pids[READERS];

	start_readers(readers, pids, count);
	wait_readers(pids, count);
}

/* Delivered all @packets, and nothing went anywhere else. */
static void check_counts(const struct reader *reader, uint64_t packets)
{
	const struct nr_stats *stats = &reader->stats;

	cr_assert_eq(reader->count, packets);
	cr_assert_eq(stats->delivered, packets);
	cr_assert_eq(nr_stats_lost(stats), 0);
	cr_assert_eq(stats->refusals, 0);
	cr_assert_eq(stats->to_others, 0);
	if (stats->counts_shown) {
		cr_assert_eq(stats->seen, packets);
		cr_assert_eq(stats->filtered, 0);
	}
}

/* -------------------------------------------------------------------- tests */

Test(replay, gives_every_byte_of_every_packet_to_eight_in_order, .timeout = 240)
{
	struct reader *readers = readers_new(READERS, -ENODATA);

	need_root();
	trace_init(&trace, 100000, 1);
	trace.is_nano = true;
	trace.vlan_percent = 30;
	trace.cut_percent = 10;
	serve("wait = 8\n");
	run_readers(readers, READERS);
	for (unsigned i = 0; i < READERS; i++)
		check_counts(&readers[i], trace.packets);
	broker_read_stat(&stat_now, "trace");
	cr_assert_eq(stat_now.source[0].captured, trace.packets);
	cr_assert_eq(stat_now.source[0].state, NR_SOURCE_OVER);
	cr_assert_eq(stat_now.channel_lane[0].published, trace.packets);
	broker_stop(&broker);
}

Test(replay, gives_packets_of_64_KiB_whole, .timeout = 60)
{
	struct reader *readers = readers_new(2, -ENODATA);

	need_root();
	trace_init(&trace, 1000, 2);
	trace.size_max = 65535;
	serve("wait = 2\n");
	run_readers(readers, 2);
	check_counts(&readers[0], trace.packets);
	check_counts(&readers[1], trace.packets);
	broker_stop(&broker);
}

Test(replay, keeps_interfaces_and_link_types_of_pcapng, .timeout = 60)
{
	static const struct trace_interface interfaces[] = {
		{ .link_type = TRACE_ETHERNET },
		{ TRACE_RAW, true, 9, 0 },
		{ TRACE_SLL, true, 0x80 | 20, 3600 },
		{ TRACE_ETHERNET, true, 3, -7 },
	};
	struct reader *readers = readers_new(2, -ENODATA);

	need_root();
	trace_init(&trace, 20000, 3);
	trace.format = TRACE_PCAPNG;
	trace.vlan_percent = 30;
	trace.cut_percent = 10;
	trace.simple_percent = 10;
	trace.has_direction = true;
	trace.has_noise = true;
	trace.interface_count = 4;
	memcpy(trace.interfaces, interfaces, sizeof(interfaces));
	serve("wait = 2\n");
	run_readers(readers, 2);
	check_counts(&readers[0], trace.packets);
	check_counts(&readers[1], trace.packets);
	broker_stop(&broker);
}

/* The clock starts after a reader has asked to attach: none is early. */
static uint64_t due_at_4000_a_second(uint64_t number)
{
	return number * 250000;
}

static uint64_t due_as_recorded(uint64_t number)
{
	return number * trace.gap_ns;
}

static void play_by_the_clock(const char *keys, uint64_t (*due_ns)(uint64_t))
{
	struct reader *reader = readers_new(1, -ENODATA);
	uint64_t start_ns, took_ns;

	serve(keys);
	reader->due_ns = due_ns;
	start_ns = now_ns();
	run_readers(reader, 1);
	took_ns = now_ns() - start_ns;
	check_counts(reader, trace.packets);
	/* not earlier is exact; later is what a busy machine makes of it */
	cr_assert_lt(took_ns, due_ns(trace.packets) + 5000000000u);
	broker_stop(&broker);
}

Test(replay, keeps_to_a_rate, .timeout = 60)
{
	need_root();
	trace_init(&trace, 4000, 4);
	play_by_the_clock("rate = 4000\n", due_at_4000_a_second);
}

Test(replay, plays_as_recorded, .timeout = 60)
{
	need_root();
	trace_init(&trace, 1000, 5);
	trace.is_nano = true;
	trace.gap_ns = 1000000;
	play_by_the_clock("rate = recorded\n", due_as_recorded);
}

Test(replay, waits_for_as_many_as_it_was_told, .timeout = 60)
{
	struct nr_capture *captures[2];
	struct reader readers[2] = { { .end = -ENODATA }, { .end = -ENODATA } };
	struct reader *third = readers_new(1, -ENODATA);
	struct nr_batch batch;

	need_root();
	trace_init(&trace, 1000, 6);
	serve("wait = 3\n");
	for (int i = 0; i < 2; i++)
		cr_assert_eq(nr_capture_open("trace", NULL, &captures[i]), 0);
	/* time enough for a broker that starts too early */
	cr_assert_eq(nr_capture_recv(captures[0], &batch, 300), 0);
	cr_assert_eq(nr_capture_recv(captures[1], &batch, 0), 0);
	broker_read_stat(&stat_now, "trace");
	cr_assert_eq(stat_now.source[0].state, NR_SOURCE_WAITING);
	cr_assert_eq(stat_now.source[0].captured, 0);
	run_readers(third, 1);
	check_counts(third, trace.packets);
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(read_on(captures[i], &readers[i], 0), -ENODATA);
		cr_assert_eq(readers[i].count, trace.packets);
		nr_capture_close(captures[i]);
	}
	broker_stop(&broker);
}

static void play_in_a_loop(const char *keys)
{
	struct reader *readers = readers_new(2, 0);

	trace_init(&trace, 1000, 7);
	serve(keys);
	readers[0].most = readers[1].most = 10500;
	run_readers(readers, 2);
	cr_assert_geq(readers[0].count, 10500);
	cr_assert_geq(readers[1].count, 10500);
	broker_stop(&broker);
}

Test(replay, starts_again_when_told_to_loop, .timeout = 60)
{
	need_root();
	play_in_a_loop("wait = 2\nloop = yes\n");
}

Test(replay, starts_again_from_memory_too, .timeout = 60)
{
	need_root();
	play_in_a_loop("wait = 2\nloop = yes\npreload = yes\n");
}

static void cut_file(const char *path, off_t from_end)
{
	struct stat file;

	cr_assert_eq(stat(path, &file), 0);
	cr_assert_eq(truncate(path, file.st_size - from_end), 0);
}

Test(replay, gives_what_a_file_has_before_it_breaks_off, .timeout = 60)
{
	struct reader *reader = readers_new(1, -ENODATA);
	const char *path;

	need_root();
	trace_init(&trace, 5000, 8);
	path = write_trace();
	/* into the last packet, which has 64 bytes at least */
	cut_file(path, 10);
	broker_start_args(&broker, NULL, "-r", path, NULL);
	run_readers(reader, 1);
	check_counts(reader, trace.packets - 1);
	cr_assert_eq(broker_said_times(&broker, "nothing after it is read"), 1);
	cr_assert(broker_said(&broker, "trace.pcap"));
	broker_stop(&broker);
}

/* One that is gone does not keep the next engine from serving another. */
Test(replay, is_served_by_the_next_engine_if_another_file_is_gone,
     .timeout = 60)
{
	struct reader *reader = readers_new(1, -ENODATA);
	char lost[140];

	need_root();
	trace_init(&trace, 1000, 10);
	snprintf(lost, sizeof(lost), "%s", test_path("lost.pcap"));
	cr_assert_eq(trace_write(&trace, lost), 0);
	broker_start(&broker, NULL,
		     "[source lost]\nbackend = replay\nfile = %s\nwait = 1\n"
		     "[channel lost]\nsource = lost\n"
		     "[source trace]\nbackend = replay\nfile = %s\nwait = 1\n"
		     "[channel trace]\nsource = trace\nallow = everyone\n",
		     lost, write_trace());
	cr_assert_eq(unlink(lost), 0);
	kill(broker_engine(&broker), SIGKILL);
	eventually(broker_said(&broker, "lost.pcap: No such file"));
	run_readers(reader, 1);
	check_counts(reader, trace.packets);
	broker_read_stat(&stat_now, NULL);
	cr_assert_eq(stat_now.sources, 2);
	cr_assert_eq(stat_now.source[0].state, NR_SOURCE_GONE);
	cr_assert_eq(stat_now.source[1].state, NR_SOURCE_OVER);
	cr_assert_eq(broker_said_times(&broker, "lost.pcap: No such"), 1);
	broker_stop(&broker);
}

Test(replay, tells_those_who_come_late_at_once, .timeout = 60)
{
	struct reader *readers = readers_new(2, -ENODATA);
	struct nr_capture *capture;
	struct nr_batch batch;

	need_root();
	trace_init(&trace, 1000, 9);
	serve("");
	run_readers(&readers[0], 1);
	check_counts(&readers[0], trace.packets);
	cr_assert_eq(nr_capture_open("trace", NULL, &capture), 0);
	cr_assert_eq(nr_capture_next(capture, &batch), -ENODATA);
	cr_assert_eq(nr_capture_recv(capture, &batch, -1), -ENODATA);
	nr_capture_close(capture);
	run_readers(&readers[1], 1);
	check_counts(&readers[1], 0);
	broker_stop(&broker);
}

Test(replay, tells_its_readers_when_it_is_ended, .timeout = 60)
{
	struct reader *readers = readers_new(3, -ESHUTDOWN);
	pid_t pids[3];

	need_root();
	trace_init(&trace, 1000, 10);
	serve("wait = 3\nloop = yes\n");
	readers[2].holds_first = true;
	start_readers(readers, pids, 3);
	for (int i = 0; i < 3; i++)
		eventually(__atomic_load_n(&readers[i].count,
					   __ATOMIC_RELAXED) > 5000);
	broker_stop(&broker);
	wait_readers(pids, 3);
	/* lossless to the last: all have read the same */
	cr_assert_eq(readers[0].count, readers[1].count);
	cr_assert_eq(readers[0].count, readers[2].count);
	for (int i = 0; i < 3; i++)
		check_counts(&readers[i], readers[0].count);
}

#define HELD 4

/* Holds the rests of HELD blocks; returns how many packets were read. */
static uint64_t hold_blocks(struct nr_capture *capture, struct nr_batch *held)
{
	uint64_t count = 0;
	struct nr_batch batch;

	for (int i = 0; i < HELD;) {
		cr_assert_eq(nr_capture_recv(capture, &batch, PATIENCE_MS), 1);
		cr_assert(batch_is_right(&batch, count));
		count += batch.count;
		if (batch.flags & NR_BATCH_LAST_OF_BLOCK)
			held[i++] = batch;
		else
			nr_batch_release(&batch);
	}
	return count;
}

Test(replay, leaves_readable_what_is_held_when_it_is_killed, .timeout = 60)
{
	struct nr_batch batch, held[HELD];
	struct reader reader = { .end = -EPIPE };
	struct nr_capture *capture;

	need_root();
	trace_init(&trace, 3000, 11);
	serve("loop = yes\n");
	cr_assert_eq(nr_capture_open("trace", NULL, &capture), 0);
	reader.count = hold_blocks(capture, held);
	broker_kill(&broker);
	for (int i = 0; i < HELD; i++)
		cr_assert(batch_is_right(&held[i], held[i].seq));
	/* and what was published and not looked at yet, in order */
	cr_assert_eq(read_on(capture, &reader, 0), -EPIPE);
	cr_assert_eq(nr_capture_next(capture, &batch), -EPIPE);
	cr_assert_eq(nr_capture_recv(capture, &batch, -1), -EPIPE);
	for (int i = HELD; i-- > 0;) {
		cr_assert(batch_is_right(&held[i], held[i].seq));
		nr_batch_release(&held[i]);
	}
	nr_capture_close(capture);
}

/* -------------------------------------------------------------- held batches
 */

#define HOARDED 6000
#define BLOCKS_MAX 256 /* of an arena of 64 MiB */

/* Batches, and of each block how many. */
struct hoard {
	struct nr_batch batches[HOARDED];
	unsigned count;
	unsigned left[BLOCKS_MAX];
	unsigned blocks;
};

static unsigned block_of(const struct nr_batch *batch)
{
	const struct nr_arena *arena = (const void *)batch->region;
	size_t offset = (size_t)(batch->records - batch->region);

	return (unsigned)((offset - arena->block_offset) / arena->block_size);
}

/* Reads a replay to its end and keeps everything. */
static void hoard_all(struct nr_capture *capture, struct hoard *hoard)
{
	struct nr_batch batch;
	int r;

	while ((r = nr_capture_recv(capture, &batch, PATIENCE_MS)) == 1) {
		cr_assert_lt(block_of(&batch), BLOCKS_MAX);
		hoard->blocks += hoard->left[block_of(&batch)]++ == 0;
		cr_assert_lt(hoard->count, HOARDED);
		hoard->batches[hoard->count++] = batch;
	}
	cr_assert_eq(r, -ENODATA);
}

/* Takes any one out. */
static void release_one(struct hoard *hoard)
{
	unsigned i = (unsigned)rand() % hoard->count;
	struct nr_batch *batch = &hoard->batches[i];

	cr_assert(batch_is_right(batch, batch->seq));
	hoard->blocks -= --hoard->left[block_of(batch)] == 0;
	nr_batch_release(batch);
	*batch = hoard->batches[--hoard->count];
}

static uint32_t held_now(void)
{
	broker_read_stat(&stat_now, "trace");
	cr_assert_eq(stat_now.captures, 1);
	return stat_now.capture[0].held;
}

Test(replay, takes_batches_back_in_any_order, .timeout = 60)
{
	static struct hoard hoard;
	struct nr_capture *capture;

	need_root();
	trace_init(&trace, HOARDED, 12);
	/* by the clock, so that blocks are read in many pieces */
	serve("rate = 20000\n");
	cr_assert_eq(nr_capture_open("trace", NULL, &capture), 0);
	hoard_all(capture, &hoard);
	cr_assert_gt(hoard.blocks, 10);
	cr_assert_gt(hoard.count, 2 * hoard.blocks);
	cr_assert_eq(held_now(), hoard.blocks);
	srand(1);
	while (hoard.count) {
		release_one(&hoard);
		cr_assert_eq(held_now(), hoard.blocks);
	}
	/* the open block is nobody's lease, but not free */
	cr_assert_eq(stat_now.channel_lane[0].pool_used, 0);
	cr_assert_eq(stat_now.channel_lane[0].blocks_free,
		     stat_now.channel_lane[0].blocks - 1);
	nr_capture_close(capture);
	broker_stop(&broker);
}
