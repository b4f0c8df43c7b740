/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The blocks of a TPACKET_V3 ring, in the kernel's order. An engine that takes
 * a ring over from one that died goes on where that one was; and as that one
 * may have been taken over itself, and had the ring mapped writable, no word
 * of it is believed: each is read once and has to lie within its block.
 */
#ifndef NETRINGD_PACKET_RING_H
#define NETRINGD_PACKET_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct packet_ring {
	uint8_t *base;
	size_t size;
	uint32_t block_size;
	uint32_t block_count;
	uint32_t block;	 /* in use, or next */
	uint32_t count;	 /* its packets */
	uint32_t left;	 /* of these, not given yet */
	uint32_t offset; /* of the first of these, in the block */
	uint32_t status; /* of the block: V3 says of no packet that it is losing
			  */
	uint32_t number; /* lower half of the block's */
	/* Until the kernel has been all round: blocks that another engine had.
	 */
	uint32_t inherited;
	uint32_t expected; /* number of the next */
};

/* What the ring says of a packet; bytes are there as far as mac + caplen. */
struct ring_packet {
	uint8_t *header; /* struct tpacket3_hdr, and a struct sockaddr_ll */
	uint32_t mac;	 /* where its bytes start, from the header */
	uint32_t caplen;
};

enum packet_ring_outcome {
	PACKET_RING_OK = 0,
	PACKET_RING_NOTHING = 1,   /* the kernel is filling the block still */
	PACKET_RING_IS_BROKEN = 2, /* not as the kernel writes it */
};

/* Bytes in front of a packet that are free: see PACKET_RESERVE. */
#define PACKET_RING_RESERVE 4

/* Goes to the oldest block that an engine before this one has not finished. */
void packet_ring_take_over(struct packet_ring *ring);

/* The next block, if the kernel has handed it over. Returns an outcome. */
int packet_ring_open(struct packet_ring *ring);

/* The next packet of the block (left > 0). Returns an outcome. */
int packet_ring_next(struct packet_ring *ring, struct ring_packet *packet);

/* What was given is used up: notes that, and gives back a block that is. */
void packet_ring_done(struct packet_ring *ring);

/* How much of it waits to be read, in percent. */
uint32_t packet_ring_filled(const struct packet_ring *ring);

#endif
