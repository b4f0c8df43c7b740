// SPDX-License-Identifier: BSD-2-Clause
/*
 * How far an engine has come it writes into the ring itself, which outlives it:
 * each block has a word for that (tp_sizeof_priv), in the cache line of the
 * block's header. It holds the block's number and the packets done, so it needs
 * no clearing: the kernel numbers a block anew each time it fills it.
 */
#include "packet_ring.h"

#include <linux/if_packet.h>

/* In front of a packet's bytes, at least. */
#define HEADERS                                                                \
	((uint32_t)(TPACKET_ALIGN(sizeof(struct tpacket3_hdr)) +               \
		    sizeof(struct sockaddr_ll)))
#define ALIGNMENT 8u
/* Of the progress word: all done, the block was given back. */
#define ALL_DONE UINT32_MAX
#define LOOKS_MAX 16

static struct tpacket_hdr_v1 *header_of(const struct packet_ring *ring,
					uint32_t block)
{
	struct tpacket_block_desc *desc =
		(void *)(ring->base + (size_t)block * ring->block_size);

	return &desc->hdr.bh1;
}

/* Behind the block's header; where the kernel says so, but it is fixed. */
static uint64_t *progress_of(const struct packet_ring *ring, uint32_t block)
{
	return (void *)(ring->base + (size_t)block * ring->block_size +
			sizeof(struct tpacket_block_desc));
}

static bool is_ours(const struct packet_ring *ring, uint32_t block)
{
	/* Acquire: pairs with the kernel's barrier before it sets the word. */
	return __atomic_load_n(&header_of(ring, block)->block_status,
			       __ATOMIC_ACQUIRE) &
	       TP_STATUS_USER;
}

static uint32_t number_of(const struct packet_ring *ring, uint32_t block)
{
	/* Relaxed: settled before the status; one of a block that the kernel
	 * has opened meanwhile is looked at again. */
	return (uint32_t)__atomic_load_n(&header_of(ring, block)->seq_num,
					 __ATOMIC_RELAXED);
}

/* Packets of this filling of the block that were done. */
static uint32_t done_of(const struct packet_ring *ring, uint32_t block,
			uint32_t number)
{
	/* Relaxed: whoever wrote it is dead. */
	uint64_t word =
		__atomic_load_n(progress_of(ring, block), __ATOMIC_RELAXED);

	return (uint32_t)word == number ? (uint32_t)(word >> 32) : 0;
}

/* ------------------------------------------------------------ taking over */

/* Numbers wrap around: which of two is older is a difference. */
static bool is_older(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

/*
 * The oldest of the blocks that are ours. If there is none: the one the kernel
 * fills, which it numbered last; or, if that was given back and the kernel has
 * not gone on yet, the one behind it.
 */
static uint32_t find_oldest(const struct packet_ring *ring, uint32_t *number)
{
	uint32_t oldest = 0, newest = 0;
	bool is_found = false;

	for (uint32_t i = 0; i < ring->block_count; i++) {
		bool ours = is_ours(ring, i);
		uint32_t n = number_of(ring, i);

		if (ours && (!is_found || is_older(n, number_of(ring, oldest))))
			oldest = i;
		is_found |= ours;
		if (is_older(number_of(ring, newest), n))
			newest = i;
	}
	if (is_found) {
		*number = number_of(ring, oldest);
		return oldest;
	}
	*number = number_of(ring, newest);
	if (done_of(ring, newest, *number) != ALL_DONE)
		return newest;
	++*number;
	return (newest + 1) % ring->block_count;
}

/*
 * The kernel goes on meanwhile. It hands blocks over in their order, so two
 * looks that find the same have missed none. (Looks that never agree, or find
 * what is not so, are found out: see packet_ring_open().)
 */
void packet_ring_take_over(struct packet_ring *ring)
{
	uint32_t before, number;

	ring->block = find_oldest(ring, &number);
	for (int i = 0; i < LOOKS_MAX; i++) {
		before = ring->block;
		ring->block = find_oldest(ring, &number);
		if (ring->block == before)
			break;
	}
	ring->expected = number;
	ring->inherited = ring->block_count;
}

/* The kernel waits with a block that is ours, and we with another. */
static bool is_stuck(const struct packet_ring *ring)
{
	for (uint32_t i = 0; i < ring->block_count; i++)
		if (i != ring->block && is_ours(ring, i))
			return !is_ours(ring, ring->block); /* not just now */
	return false;
}

/* ---------------------------------------------------------------- reading */

static bool can_start_at(const struct packet_ring *ring, uint32_t offset)
{
	return offset % ALIGNMENT == 0 && offset <= ring->block_size - HEADERS;
}

/* Over packets that were given before. */
static int skip(struct packet_ring *ring, uint32_t count)
{
	struct ring_packet packet;

	while (count-- > 0)
		if (packet_ring_next(ring, &packet))
			return PACKET_RING_IS_BROKEN;
	return PACKET_RING_OK;
}

/* Of a block that an engine before this one may have had in its hands. */
static int inherit(struct packet_ring *ring)
{
	uint32_t done = done_of(ring, ring->block, ring->number);

	if (ring->number != ring->expected)
		return PACKET_RING_IS_BROKEN;
	if (done == ALL_DONE)
		done = ring->count;
	return skip(ring, done <= ring->count ? done : 0);
}

int packet_ring_open(struct packet_ring *ring)
{
	struct tpacket_hdr_v1 *header = header_of(ring, ring->block);

	ring->status = __atomic_load_n(&header->block_status, __ATOMIC_ACQUIRE);
	if (!(ring->status & TP_STATUS_USER))
		return ring->inherited && is_stuck(ring) ?
			       PACKET_RING_IS_BROKEN :
			       PACKET_RING_NOTHING;
	ring->number = number_of(ring, ring->block);
	ring->count = __atomic_load_n(&header->num_pkts, __ATOMIC_RELAXED);
	ring->offset =
		__atomic_load_n(&header->offset_to_first_pkt, __ATOMIC_RELAXED);
	ring->left = ring->count;
	if (ring->count > ring->block_size / HEADERS ||
	    (ring->count && !can_start_at(ring, ring->offset)))
		return PACKET_RING_IS_BROKEN;
	return ring->inherited ? inherit(ring) : PACKET_RING_OK;
}

int packet_ring_next(struct packet_ring *ring, struct ring_packet *packet)
{
	uint8_t *at = ring->base + (size_t)ring->block * ring->block_size +
		      ring->offset;
	struct tpacket3_hdr *header = (void *)at;
	/* Relaxed, here and below: settled before the block's status. */
	uint32_t next =
		__atomic_load_n(&header->tp_next_offset, __ATOMIC_RELAXED);

	packet->header = at;
	packet->mac = __atomic_load_n(&header->tp_mac, __ATOMIC_RELAXED);
	packet->caplen = __atomic_load_n(&header->tp_snaplen, __ATOMIC_RELAXED);
	if (packet->mac < HEADERS + PACKET_RING_RESERVE ||
	    (uint64_t)ring->offset + packet->mac + packet->caplen >
		    ring->block_size)
		return PACKET_RING_IS_BROKEN;
	if (--ring->left == 0)
		return PACKET_RING_OK;
	if (next < HEADERS || next > ring->block_size - ring->offset ||
	    !can_start_at(ring, ring->offset + next))
		return PACKET_RING_IS_BROKEN;
	ring->offset += next;
	return PACKET_RING_OK;
}

void packet_ring_done(struct packet_ring *ring)
{
	uint32_t done = ring->left ? ring->count - ring->left : ALL_DONE;

	/* Relaxed: read when this process is dead. */
	__atomic_store_n(progress_of(ring, ring->block),
			 (uint64_t)done << 32 | ring->number, __ATOMIC_RELAXED);
	if (ring->left > 0)
		return;
	/* Release: our reads are over before the kernel writes again. */
	__atomic_store_n(&header_of(ring, ring->block)->block_status,
			 TP_STATUS_KERNEL, __ATOMIC_RELEASE);
	ring->block = (ring->block + 1) % ring->block_count;
	ring->expected = ring->number + 1;
	ring->inherited -= ring->inherited > 0;
}

/* Blocks wait in a row, so the end of the row can be searched in halves. */
uint32_t packet_ring_filled(const struct packet_ring *ring)
{
	uint32_t low = 0, high = ring->block_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (is_ours(ring, (ring->block + middle) % ring->block_count))
			low = middle + 1;
		else
			high = middle;
	}
	return low * 100 / ring->block_count;
}
