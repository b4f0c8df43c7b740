// SPDX-License-Identifier: BSD-2-Clause
/*
 * AF_PACKET: the kernel fills the blocks of a TPACKET_V3 ring in turn and hands
 * each over by its status word; a burst is a piece of one block. The outer
 * VLAN tag, which the kernel keeps apart from the bytes, is put back in place,
 * in the room that PACKET_RESERVE left in front of each packet.
 */
#include "source_packet.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <pcap/dlt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <netring/layout.h>

#include "flow.h"

#ifndef TP_STATUS_GSO_TCP
#define TP_STATUS_GSO_TCP (1 << 8)
#endif

#define VLAN_TAG 4
#define MACS 12
#define FRAME_OVERHEAD 26 /* Ethernet header, three tags */

struct packet_source {
	struct source source;
	uint8_t *ring;
	size_t ring_size;
	uint32_t block_size;
	uint32_t block_count;
	uint32_t block;	      /* in use, or next */
	uint32_t left;	      /* packets of it not given yet */
	uint8_t *next;	      /* the first of these */
	uint16_t block_flags; /* of all its packets */
	uint32_t frame_max;
	uint16_t interface;
	int epoll_fd;
};

static struct tpacket_block_desc *current_block(const struct packet_source *s)
{
	return (struct tpacket_block_desc *)(void *)(s->ring +
						     (size_t)s->block *
							     s->block_size);
}

/* Whether the kernel has handed over the current block. */
static bool block_is_ours(const struct packet_source *s)
{
	/* Acquire: pairs with the kernel's barrier before it sets the word. */
	return __atomic_load_n(&current_block(s)->hdr.bh1.block_status,
			       __ATOMIC_ACQUIRE) &
	       TP_STATUS_USER;
}

static uint16_t get16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

/*
 * Puts the tag behind the MAC addresses. Done once: the header then says that
 * the tag is in the bytes, should this block be read again.
 */
static void restore_tag(struct tpacket3_hdr *header)
{
	uint8_t *bytes = (uint8_t *)header + header->tp_mac;
	uint16_t tpid = header->tp_status & TP_STATUS_VLAN_TPID_VALID ?
				header->hv1.tp_vlan_tpid :
				ETH_P_8021Q;

	memmove(bytes - VLAN_TAG, bytes, MACS);
	bytes -= VLAN_TAG;
	bytes[MACS] = (uint8_t)(tpid >> 8);
	bytes[MACS + 1] = (uint8_t)tpid;
	bytes[MACS + 2] = (uint8_t)(header->hv1.tp_vlan_tci >> 8);
	bytes[MACS + 3] = (uint8_t)header->hv1.tp_vlan_tci;
	header->tp_mac -= VLAN_TAG;
	header->tp_snaplen += VLAN_TAG;
	header->tp_len += VLAN_TAG;
	header->tp_status &= ~(uint32_t)TP_STATUS_VLAN_VALID;
}

static bool is_vlan(uint16_t ethertype)
{
	return ethertype == ETH_P_8021Q || ethertype == ETH_P_8021AD;
}

/* Fills in the VLAN fields; may move the start of the packet. */
static void decode_vlan(const struct packet_source *s,
			struct tpacket3_hdr *header, struct packet *packet)
{
	const uint8_t *bytes;

	if (s->source.link_type != DLT_EN10MB) {
		if (!(header->tp_status & TP_STATUS_VLAN_VALID))
			return;
		packet->vlan_tci = (uint16_t)header->hv1.tp_vlan_tci;
		packet->vlan_tpid = header->hv1.tp_vlan_tpid;
		packet->flags |= NR_VLAN;
		return;
	}
	if (header->tp_status & TP_STATUS_VLAN_VALID &&
	    header->tp_snaplen >= MACS)
		restore_tag(header);
	bytes = (uint8_t *)header + header->tp_mac;
	if (header->tp_snaplen < MACS + VLAN_TAG ||
	    !is_vlan(get16(bytes + MACS)))
		return;
	packet->vlan_tpid = get16(bytes + MACS);
	packet->vlan_tci = get16(bytes + MACS + 2);
	packet->flags |= NR_VLAN | NR_VLAN_IN_BAND;
}

static uint16_t decode_flags(const struct packet_source *s,
			     const struct tpacket3_hdr *header)
{
	const struct sockaddr_ll *from =
		(const void *)((const uint8_t *)header +
			       TPACKET_ALIGN(sizeof(*header)));
	uint32_t status = header->tp_status;
	uint16_t flags = from->sll_pkttype <= PACKET_OUTGOING ?
				 from->sll_pkttype :
				 NR_DIRECTION_UNKNOWN;

	if (status & TP_STATUS_CSUM_VALID)
		flags |= NR_CSUM_VALID;
	if (status & TP_STATUS_CSUMNOTREADY)
		flags |= NR_CSUM_NOT_READY;
	if (status & TP_STATUS_TS_RAW_HARDWARE)
		flags |= NR_CLOCK_HARDWARE;
	if (status & TP_STATUS_GSO_TCP || header->tp_len > s->frame_max)
		flags |= NR_GSO;
	return flags | s->block_flags;
}

static void decode(const struct packet_source *s, struct tpacket3_hdr *header,
		   struct packet *packet)
{
	packet->ts_ns =
		(uint64_t)header->tp_sec * 1000000000u + header->tp_nsec;
	packet->flags = decode_flags(s, header);
	packet->vlan_tci = 0;
	packet->vlan_tpid = 0;
	decode_vlan(s, header, packet);
	packet->data = (uint8_t *)header + header->tp_mac;
	packet->caplen = header->tp_snaplen;
	packet->wirelen = header->tp_len;
	packet->interface = s->interface;
	packet->flow_hash =
		flow_hash(packet->data, packet->caplen, s->source.link_type);
}

static int packet_burst(struct source *source, struct burst *burst,
			uint32_t max_packets, size_t max_bytes)
{
	struct packet_source *s = (struct packet_source *)source;
	uint32_t n = 0;

	(void)max_bytes; /* only a lossless source has to heed it */
	if (s->left == 0) {
		struct tpacket_block_desc *block = current_block(s);

		if (!block_is_ours(s))
			return SOURCE_NOTHING;
		s->left = block->hdr.bh1.num_pkts;
		s->next = (uint8_t *)block + block->hdr.bh1.offset_to_first_pkt;
		/* V3 says so of a block, never of a packet. */
		s->block_flags =
			block->hdr.bh1.block_status & TP_STATUS_LOSING ?
				NR_LOSING :
				0;
	}
	while (n < max_packets && s->left > 0) {
		struct tpacket3_hdr *header = (void *)s->next;

		s->left--;
		s->next += header->tp_next_offset;
		if (s->left > 0) {
			__builtin_prefetch(s->next);
			__builtin_prefetch(s->next + 64);
			__builtin_prefetch(s->next + 128);
		}
		decode(s, header, &burst->packets[n++]);
	}
	burst->count = n;
	burst->link_type = source->link_type;
	if (n == 0)
		source->ops->done(source); /* a block retired empty */
	return (int)n;
}

static void packet_done(struct source *source)
{
	struct packet_source *s = (struct packet_source *)source;

	if (s->left > 0)
		return;
	/* Release: our reads are over before the kernel writes again. */
	__atomic_store_n(&current_block(s)->hdr.bh1.block_status,
			 TP_STATUS_KERNEL, __ATOMIC_RELEASE);
	s->block = (s->block + 1) % s->block_count;
}

static int packet_wait_fd(const struct source *source)
{
	return ((const struct packet_source *)source)->epoll_fd;
}

static void packet_free(struct source *source)
{
	struct packet_source *s = (struct packet_source *)source;

	munmap(s->ring, s->ring_size);
	close(s->epoll_fd);
	free(s);
}

static const struct source_ops packet_ops = {
	.burst = packet_burst,
	.done = packet_done,
	.wait_fd = packet_wait_fd,
	.free = packet_free,
};

int source_packet_new(struct source **source, int ring_fd, int epoll_fd,
		      const struct priv_reply *geometry, uint32_t interface)
{
	struct packet_source *s = calloc(1, sizeof(*s));
	size_t size = geometry->packet.ring_size;
	void *ring = MAP_FAILED;
	int err = ENOMEM;

	if (s)
		ring = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_POPULATE, ring_fd, 0);
	if (ring == MAP_FAILED)
		err = errno;
	close(ring_fd);
	if (ring == MAP_FAILED) {
		close(epoll_fd);
		free(s);
		return -err;
	}
	*s = (struct packet_source){
		.source = { .ops = &packet_ops,
			    .link_type = (uint16_t)geometry->packet.link_type },
		.ring = ring,
		.ring_size = size,
		.block_size = geometry->packet.block_size,
		.block_count = (uint32_t)(size / geometry->packet.block_size),
		.frame_max = geometry->packet.mtu + FRAME_OVERHEAD,
		.interface = (uint16_t)interface,
		.epoll_fd = epoll_fd,
	};
	*source = &s->source;
	return 0;
}
