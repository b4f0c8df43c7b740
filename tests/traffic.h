/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frames for tests, quickstart and benchmarks: well-formed Ethernet with a
 * sequence number in each, built from a description, sent in exact numbers or
 * at a rate.
 */
#ifndef TESTS_TRAFFIC_H
#define TESTS_TRAFFIC_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TRAFFIC_FRAME_MIN 60
#define TRAFFIC_FRAME_MAX 65536
#define TRAFFIC_VLANS_MAX 2

/* First bytes of the payload, but of DNS (there it is the name asked for). */
struct traffic_mark {
	uint64_t seq;	/* big endian */
	uint32_t magic; /* TRAFFIC_MAGIC, big endian */
} __attribute__((packed));

#define TRAFFIC_MAGIC 0x6e727371u /* "nrsq" */

/*
 * How a frame looks. All zero is an IPv4/UDP frame of 60 bytes to port 9, from
 * the client of flow 0 to its server.
 */
struct traffic_frame {
	uint64_t seq;
	uint32_t flow; /* gives both addresses and the client's port */
	/*
	 * Bytes of the whole frame, tags counted, no checksum behind it. Too
	 * small for headers and mark: as small as it can be.
	 */
	uint32_t size;
	uint8_t protocol; /* IPPROTO_UDP (0 too), _TCP, _ICMP (also in IPv6) */
	bool is_ipv6;
	bool is_reply; /* from the server to the client */
	uint16_t
		port; /* the server's; UDP 53: a DNS message, of its own size */
	uint8_t to[6]; /* destination MAC; all zero: that of another host */
	uint8_t vlan_count;
	struct {
		uint16_t tpid;	   /* 0: 0x8100 */
		uint16_t tci;	   /* 0: a priority tag */
	} vlan[TRAFFIC_VLANS_MAX]; /* outermost first */
};

/* Writes the frame to @out (TRAFFIC_FRAME_MAX bytes). Returns its size. */
size_t traffic_build(const struct traffic_frame *frame, uint8_t *out);

/*
 * Finds the sequence number in a frame made here, behind any number of tags.
 * Reads no byte beyond @caplen. Returns false for other frames, and for
 * those cut before the end of the mark.
 */
bool traffic_seq(const uint8_t *data, size_t caplen, uint64_t *seq);

/* Describes the frame with number @seq. Called in order of @seq. */
typedef void (*traffic_fn)(struct traffic_frame *frame, uint64_t seq,
			   const void *data);

/*
 * Something like a network's traffic, the same each time: TCP, UDP, 10 % DNS,
 * some ICMP, a third of it IPv6, both directions, 60 to 1500 bytes.
 */
void traffic_mix(struct traffic_frame *frame, uint64_t seq, const void *data);

/* What to send. */
struct traffic_plan {
	traffic_fn describe;
	const void *data; /* its argument */
	uint64_t first_seq;
	uint64_t count;			   /* frames; 0: no limit */
	uint64_t rate;			   /* frames/s; 0: as fast as it goes */
	uint64_t time_ns;		   /* 0: no limit */
	const volatile sig_atomic_t *stop; /* ends it when not 0; may be NULL */
};

/* A sender: an AF_PACKET socket on one interface. */
struct traffic;

/* Returns 0 or -errno (-ENODEV: no such interface). */
int traffic_open(struct traffic **traffic, const char *interface);
void traffic_close(struct traffic *traffic);

/*
 * Sends what @plan says; sends again what the interface had no room for.
 * @sent: set to the exact number of frames it took, also on error.
 * Returns 0 or -errno.
 */
int traffic_send(struct traffic *traffic, const struct traffic_plan *plan,
		 uint64_t *sent);

/*
 * Sends @count frames like @frame at @rate, numbered from frame->seq on.
 * Returns 0 if all were sent, or -errno.
 */
int traffic_send_like(struct traffic *traffic,
		      const struct traffic_frame *frame, uint64_t count,
		      uint64_t rate);

/* Sends @length bytes as they are. Returns 0 or -errno. */
int traffic_send_raw(struct traffic *traffic, const void *bytes, size_t length);

/*
 * Writes what @plan says (the count must be set) as a pcap file with ns time
 * stamps, 1/rate apart (rate 0: all the same), the same file each time.
 * Returns 0 or -errno.
 */
int traffic_write_trace(FILE *file, const struct traffic_plan *plan);

#endif
