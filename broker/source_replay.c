/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A capture file as a source. Packets are decoded ahead into a window, all of
 * one link type; a burst is a copy of its next entries, as many as are due.
 *
 *   preload = no   the window is decoded BURST_MAX packets at a time, out of
 *                  the reader's buffer; it is decoded anew when it was given
 *                  away and the lane is done with it
 *   preload = yes  the whole file was decoded once, into one array, and the
 *                  window moves over it
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <sys/mman.h>

#include <netring/layout.h>

#include "capture_file.h"
#include "clock.h"
#include "flow.h"
#include "log.h"
#include "source.h"

/* A lane that was away longer than this does not catch up on the rest. */
#define LATE_MAX_NS (100 * UINT64_C(1000000))
/* Packets given at once when they come by the clock. */
#define PACED_MAX 64
#define INDEX_START ((size_t)2 << 20)
#define LINK_ETHERNET 1

/* When the next packet is due. */
struct pace {
	enum config_rate mode;
	bool is_running;
	bool is_known;	 /* due_ns is that of the next packet */
	uint64_t due_ns; /* CLOCK_MONOTONIC; of the last one if not known */
	uint64_t ts_ns;	 /* recorded: of the last packet that had one */
	uint64_t rate;	 /* fixed: packets/s */
	uint64_t rest;	 /* fixed: of the division, in 1/rate ns */
};

/* Packets of one link type in the index, up to @end. */
struct run {
	size_t end;
	uint16_t link_type;
};

struct replay {
	struct source source;
	struct capture_file *file;
	struct pace pace;
	bool loop;
	bool preload;
	bool is_over;
	bool has_packets; /* since the start, or the last start over */

	/* The window: decoded and not given yet. */
	const struct packet *next;
	const struct packet *end;
	uint16_t link_type;

	/* The memory it is in: BURST_MAX packets, or the index. */
	struct packet *packets;
	size_t bytes;
	size_t count;
	struct run *runs;
	size_t run_count;
	size_t run_room;
	size_t run; /* the window's next */
};

/* -------------------------------------------------------------------- pace */

static uint64_t pace_gap(struct pace *pace, const struct packet *packet)
{
	uint64_t gap;

	if (pace->mode == RATE_FIXED) {
		gap = NS_PER_S / pace->rate;
		pace->rest += NS_PER_S % pace->rate;
		if (pace->rest >= pace->rate) {
			pace->rest -= pace->rate;
			gap++;
		}
		return gap;
	}
	/* A simple packet block has no time: it comes with the one before. */
	if (!packet->ts_ns)
		return 0;
	gap = pace->ts_ns && packet->ts_ns > pace->ts_ns ?
		      packet->ts_ns - pace->ts_ns :
		      0;
	pace->ts_ns = packet->ts_ns;
	return gap;
}

/* The first packet is due when it is first asked for. */
static void pace_start(struct pace *pace, const struct packet *first,
		       uint64_t now)
{
	pace->is_running = true;
	pace->is_known = true;
	pace->due_ns = now;
	pace->ts_ns = first->ts_ns;
}

/* Finds out once for each packet when it is due. */
static bool pace_is_due(struct pace *pace, const struct packet *packet,
			uint64_t now)
{
	if (!pace->is_known) {
		uint64_t gap = pace_gap(pace, packet);

		if (__builtin_add_overflow(pace->due_ns, gap, &pace->due_ns))
			pace->due_ns = UINT64_MAX;
		pace->is_known = true;
	}
	if (now > LATE_MAX_NS && pace->due_ns < now - LATE_MAX_NS)
		pace->due_ns = now - LATE_MAX_NS;
	return pace->due_ns <= now;
}

/* How many of the next @max packets are due. */
static uint32_t pace_count(struct pace *pace, const struct packet *next,
			   uint32_t max)
{
	uint64_t now = now_ns();
	uint32_t n = 0;

	if (!pace->is_running)
		pace_start(pace, next, now);
	while (n < max && pace_is_due(pace, &next[n], now)) {
		pace->is_known = false;
		n++;
	}
	return n;
}

/* ------------------------------------------------------------------ window */

/* What the file does not say of a packet. */
static void describe(struct packet *packet, uint16_t link_type)
{
	const uint8_t *p = packet->data;

	packet->vlan_tci = 0;
	packet->vlan_tpid = 0;
	if (link_type == LINK_ETHERNET && packet->caplen >= 16) {
		uint16_t type = (uint16_t)(p[12] << 8 | p[13]);

		if (type == 0x8100 || type == 0x88a8) {
			packet->vlan_tpid = type;
			packet->vlan_tci = (uint16_t)(p[14] << 8 | p[15]);
			packet->flags |= NR_VLAN | NR_VLAN_IN_BAND;
		}
	}
	packet->flow_hash = flow_hash(p, packet->caplen, link_type);
}

static void warn(const struct replay *replay)
{
	log_warn("%s; nothing after it is read",
		 capture_file_problem(replay->file));
}

static enum capture_outcome window_decode(struct replay *replay)
{
	enum capture_outcome outcome = CAPTURE_FILL;
	uint16_t link_type;
	uint32_t n;

	for (n = 0; n < BURST_MAX; n++) {
		struct packet *packet = &replay->packets[n];

		outcome = capture_file_next(replay->file, packet, &link_type);
		if (outcome != CAPTURE_PACKET)
			break;
		if (n && link_type != replay->link_type) {
			capture_file_unread(replay->file);
			break;
		}
		replay->link_type = link_type;
		describe(packet, link_type);
	}
	replay->next = replay->packets;
	replay->end = replay->packets + n;
	return n ? CAPTURE_PACKET : outcome;
}

/*
 * At most: the rest of the file without a packet, from the start again, its
 * first part without one, and then one. What needs longer (megabytes of blocks
 * that are no packets) goes on in the next burst: none waits for much reading.
 */
#define DECODE_TRIES 4

/* Returns 1 when there is something in the window. */
static int window_read(struct replay *replay)
{
	for (int i = 0; i < DECODE_TRIES; i++) {
		enum capture_outcome outcome = window_decode(replay);

		if (outcome == CAPTURE_PACKET) {
			replay->has_packets = true;
			return 1;
		}
		if (outcome == CAPTURE_FILL) {
			capture_file_fill(replay->file);
			continue;
		}
		if (outcome == CAPTURE_DAMAGED)
			warn(replay);
		if (outcome == CAPTURE_DAMAGED || !replay->loop ||
		    !replay->has_packets) {
			replay->is_over = true;
			return SOURCE_IS_OVER;
		}
		replay->has_packets = false;
		capture_file_rewind(replay->file);
	}
	return SOURCE_NOTHING;
}

/* The same over the index. */
static int window_move(struct replay *replay)
{
	const struct run *run;

	if (replay->run == replay->run_count) {
		if (!replay->loop || !replay->count) {
			replay->is_over = true;
			return SOURCE_IS_OVER;
		}
		replay->run = 0;
	}
	run = &replay->runs[replay->run];
	replay->next = replay->packets + (replay->run ? run[-1].end : 0);
	replay->end = replay->packets + run->end;
	replay->link_type = run->link_type;
	replay->run++;
	return 1;
}

static int window_advance(struct replay *replay)
{
	if (replay->is_over)
		return SOURCE_IS_OVER;
	return replay->preload ? window_move(replay) : window_read(replay);
}

/* ------------------------------------------------------------------- index */

static struct packet *packets_new(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return NULL;
	/* Without huge pages it works as well, only slower. */
	madvise(memory, bytes, MADV_HUGEPAGE);
	return memory;
}

static bool index_grow(struct replay *replay)
{
	void *grown = mremap(replay->packets, replay->bytes, replay->bytes * 2,
			     MREMAP_MAYMOVE);

	if (grown == MAP_FAILED)
		return false;
	replay->packets = grown;
	replay->bytes *= 2;
	madvise(grown, replay->bytes, MADV_HUGEPAGE);
	return true;
}

static bool runs_add(struct replay *replay, uint16_t link_type)
{
	if (replay->run_count == replay->run_room) {
		size_t room = replay->run_room ? replay->run_room * 2 : 16;
		struct run *grown;

		grown = realloc(replay->runs, room * sizeof(*grown));
		if (!grown)
			return false;
		replay->runs = grown;
		replay->run_room = room;
	}
	replay->runs[replay->run_count++].link_type = link_type;
	return true;
}

static bool index_add(struct replay *replay, uint16_t link_type)
{
	size_t last = replay->run_count;

	if ((!last || replay->runs[last - 1].link_type != link_type) &&
	    !runs_add(replay, link_type))
		return false;
	describe(&replay->packets[replay->count], link_type);
	replay->count++;
	replay->runs[replay->run_count - 1].end = replay->count;
	return true;
}

/* Decodes the whole file, which is in memory. */
static int index_new(struct replay *replay, const char *name, char *error)
{
	enum capture_outcome outcome;
	uint16_t link_type;

	for (;;) {
		if ((replay->count + 1) * sizeof(struct packet) >
			    replay->bytes &&
		    !index_grow(replay))
			break;
		outcome = capture_file_next(replay->file,
					    &replay->packets[replay->count],
					    &link_type);
		if (outcome == CAPTURE_OVER)
			return 0;
		if (outcome == CAPTURE_DAMAGED) {
			warn(replay);
			/* Damage is where a loop ends, too. */
			replay->loop = false;
			return 0;
		}
		if (!index_add(replay, link_type))
			break;
	}
	snprintf(error, 256,
		 "%.160s: no memory for its packets: use preload = no", name);
	return -ENOMEM;
}

/* ------------------------------------------------------------------ source */

static int replay_burst(struct source *source, struct burst *burst,
			uint32_t max_packets, size_t max_bytes)
{
	struct replay *replay = (struct replay *)source;
	size_t left, bytes = 0;
	uint32_t n = 0, max = max_packets < BURST_MAX ? max_packets : BURST_MAX;
	int outcome;

	burst->count = 0;
	if (replay->next == replay->end) {
		outcome = window_advance(replay);
		if (outcome <= 0)
			return outcome;
	}
	left = (size_t)(replay->end - replay->next);
	if (left < max)
		max = (uint32_t)left;
	for (; n < max; n++) {
		bytes += replay->next[n].caplen;
		if (n && bytes > max_bytes)
			break;
		burst->packets[n] = replay->next[n];
	}
	if (replay->pace.mode != RATE_MAX)
		n = pace_count(&replay->pace, replay->next,
			       n < PACED_MAX ? n : PACED_MAX);
	burst->link_type = replay->link_type;
	burst->count = n;
	replay->next += n;
	return (int)n;
}

/* Nothing to do: what was lent is left alone until the window is used up. */
static void replay_done(struct source *source)
{
	(void)source;
}

static int replay_wait_fd(const struct source *source)
{
	(void)source;
	return -1;
}

static uint64_t replay_wait_ns(const struct source *source)
{
	const struct replay *replay = (const struct replay *)source;
	uint64_t now;

	if (!replay->pace.is_known)
		return 0;
	now = now_ns();
	return replay->pace.due_ns > now ? replay->pace.due_ns - now : 0;
}

static void replay_free(struct source *source)
{
	struct replay *replay = (struct replay *)source;

	if (!replay)
		return;
	capture_file_free(replay->file);
	if (replay->packets)
		munmap(replay->packets, replay->bytes);
	free(replay->runs);
	free(replay);
}

static const struct source_ops replay_ops = {
	.burst = replay_burst,
	.done = replay_done,
	.wait_fd = replay_wait_fd,
	.wait_ns = replay_wait_ns,
	.free = replay_free,
};

/* Decodes as far as the first packet: the source's link type is its. */
static int replay_open(struct replay *replay, int fd, const char *name,
		       char *error)
{
	int outcome, err = capture_file_new(&replay->file, fd, name,
					    replay->preload, error);

	if (err)
		return err;
	replay->bytes = replay->preload ? INDEX_START :
					  BURST_MAX * sizeof(struct packet);
	replay->packets = packets_new(replay->bytes);
	if (!replay->packets) {
		snprintf(error, 256, "%.160s: no memory", name);
		return -ENOMEM;
	}
	if (replay->preload)
		err = index_new(replay, name, error);
	if (err)
		return err;
	do
		outcome = window_advance(replay);
	while (outcome == SOURCE_NOTHING);
	replay->source.link_type =
		outcome == SOURCE_IS_OVER ?
			capture_file_link_type(replay->file) :
			replay->link_type;
	return 0;
}

int source_replay_new(struct source **source,
		      const struct config_source *config, int fd,
		      const char *name, char *error)
{
	struct replay *replay = calloc(1, sizeof(*replay));
	int err;

	if (!replay) {
		close(fd);
		snprintf(error, 256, "%.160s: no memory", name);
		return -ENOMEM;
	}
	replay->source.ops = &replay_ops;
	replay->source.is_lossless = config->rate_mode == RATE_MAX;
	replay->pace.mode = (enum config_rate)config->rate_mode;
	replay->pace.rate = config->rate ? config->rate : 1;
	replay->loop = config->loop;
	replay->preload = config->preload;
	err = replay_open(replay, fd, name, error);
	if (err) {
		replay_free(&replay->source);
		return err;
	}
	*source = &replay->source;
	return 0;
}
