/* SPDX-License-Identifier: BSD-2-Clause */
/* Inside of the readers: what each does with a packet, wherever it is from. */
#ifndef BENCH_READER_H
#define BENCH_READER_H

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>

#include "bench.h"
#include "traffic.h"

#define LOOK_MS 50	    /* how often a reader looks whether to stop */
#define MARK (14 + 20 + 8)  /* behind Ethernet, IPv4 and UDP */
#define SENT_AT (MARK + 12) /* when it was sent, see generate.c */
#define HEADERS (SENT_AT + 4)

/* A reader's own; told to the others once a batch. */
struct reading {
	const struct reader_options *options;
	struct readers *readers;
	struct reader *reader;
	uint64_t packets, next, missing, misordered, foreign, longest_ns;
	uint64_t sum; /* of what LOOK_WALK and LOOK_TOUCH have read */
};

/* Each reads until it is to stop, in a process of its own. */
void reader_recv(struct reading *r);
void reader_ring(struct reading *r);
void reader_pcap(struct reading *r);
void reader_xsk(struct reading *r);

static inline bool reading_is_stopped(const struct reading *r)
{
	return __atomic_load_n(&r->readers->stop, __ATOMIC_ACQUIRE);
}

static inline bool reading_is_open(const struct reading *r)
{
	return __atomic_load_n(&r->readers->is_open, __ATOMIC_RELAXED);
}

static inline void reading_is_ready(struct reading *r)
{
	__atomic_store_n(&r->reader->is_ready, 1, __ATOMIC_RELEASE);
}

static inline void reading_tell(struct reading *r)
{
	struct reader *reader = r->reader;

	__atomic_store_n(&reader->packets, r->packets, __ATOMIC_RELAXED);
	__atomic_store_n(&reader->missing, r->missing, __ATOMIC_RELAXED);
	__atomic_store_n(&reader->misordered, r->misordered, __ATOMIC_RELAXED);
	__atomic_store_n(&reader->foreign, r->foreign, __ATOMIC_RELAXED);
	__atomic_store_n(&reader->longest_ns, r->longest_ns, __ATOMIC_RELAXED);
}

/* @sent_ns: the lower half of the sender's clock. */
static inline void reading_add_age(struct reading *r, uint32_t sent_ns)
{
	struct reader *reader = r->reader;

	if (reading_is_open(r) && reader->age_count < r->options->samples)
		reader->ages[reader->age_count++] =
			(uint32_t)bench_now_ns() - sent_ns;
}

/* Takes the age of a packet, and wakes the next process if there is one. */
static inline void reading_age(struct reading *r, const uint8_t *data)
{
	uint32_t sent_ns, now;

	memcpy(&sent_ns, data + SENT_AT, sizeof(sent_ns));
	reading_add_age(r, sent_ns);
	if (!r->options->wake_fd)
		return;
	now = (uint32_t)bench_now_ns();
	send(r->options->wake_fd, &now, sizeof(now),
	     MSG_DONTWAIT | MSG_NOSIGNAL);
}

static inline void reading_look(struct reading *r, const uint8_t *data,
				uint32_t caplen)
{
	struct traffic_mark mark;
	uint64_t seq;

	if (!data || caplen < HEADERS) {
		r->foreign++;
		return;
	}
	memcpy(&mark, data + MARK, sizeof(mark));
	if (mark.magic != htonl(TRAFFIC_MAGIC) || data[12] != 8 ||
	    data[23] != 17) {
		r->foreign++;
		return;
	}
	if (r->options->look == LOOK_AGE)
		reading_age(r, data);
	seq = __builtin_bswap64(mark.seq); /* the CPU is little-endian */
	if (seq < r->next) {
		r->misordered++;
	} else {
		r->missing += seq - r->next;
		r->next = seq + 1;
	}
	r->packets++;
}

#endif
