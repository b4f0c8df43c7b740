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
#include "packet_ring.h"

#ifndef TP_STATUS_GSO_TCP
#define TP_STATUS_GSO_TCP (1 << 8)
#endif

#define VLAN_TAG PACKET_RING_RESERVE
#define MACS 12
#define MACS_PADDING                                                           \
	8 /* of these, saved in tp_padding; the rest in tp_rxhash */
/* In tp_status, where the kernel has no such bit: MACs are saved. */
#define STATUS_SAVED (1u << 24)
#define FRAME_OVERHEAD 26 /* Ethernet header, three tags */

struct packet_source {
	struct source source;
	struct packet_ring ring;
	bool is_broken;
	uint32_t frame_max;
	uint16_t interface;
	int epoll_fd;
};

static uint16_t get16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

/*
 * Puts the tag behind the MAC addresses, which move to the front. An engine
 * that is killed in the middle leaves neither here nor there: so they are
 * saved first, in fields of the header that nobody uses, and whoever reads the
 * packet again does it again from these.
 */
static void restore_tag(struct tpacket3_hdr *header, uint8_t *bytes,
			uint32_t status)
{
	uint16_t tci = (uint16_t)header->hv1.tp_vlan_tci;
	uint16_t tpid = status & TP_STATUS_VLAN_TPID_VALID ?
				header->hv1.tp_vlan_tpid :
				ETH_P_8021Q;

	if (!(status & STATUS_SAVED)) {
		memcpy(header->tp_padding, bytes, MACS_PADDING);
		memcpy(&header->hv1.tp_rxhash, bytes + MACS_PADDING,
		       MACS - MACS_PADDING);
		__atomic_signal_fence(__ATOMIC_SEQ_CST); /* in this order */
		header->tp_status = status | STATUS_SAVED;
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
	}
	bytes -= VLAN_TAG;
	memcpy(bytes, header->tp_padding, MACS_PADDING);
	memcpy(bytes + MACS_PADDING, &header->hv1.tp_rxhash,
	       MACS - MACS_PADDING);
	bytes[MACS] = (uint8_t)(tpid >> 8);
	bytes[MACS + 1] = (uint8_t)tpid;
	bytes[MACS + 2] = (uint8_t)(tci >> 8);
	bytes[MACS + 3] = (uint8_t)tci;
}

static bool is_vlan(uint16_t ethertype)
{
	return ethertype == ETH_P_8021Q || ethertype == ETH_P_8021AD;
}

/* Fills in the VLAN fields; may move the start of the packet. */
static void decode_vlan(const struct packet_source *s,
			struct tpacket3_hdr *header, uint32_t status,
			struct packet *packet)
{
	bool has_tag = status & TP_STATUS_VLAN_VALID;

	if (s->source.link_type != DLT_EN10MB) {
		if (!has_tag)
			return;
		packet->vlan_tci = (uint16_t)header->hv1.tp_vlan_tci;
		packet->vlan_tpid = header->hv1.tp_vlan_tpid;
		packet->flags |= NR_VLAN;
		return;
	}
	if (has_tag && packet->caplen >= MACS) {
		restore_tag(header, (uint8_t *)(uintptr_t)packet->data, status);
		packet->data -= VLAN_TAG;
		packet->caplen += VLAN_TAG;
		packet->wirelen += VLAN_TAG;
	}
	if (packet->caplen < MACS + VLAN_TAG ||
	    !is_vlan(get16(packet->data + MACS)))
		return;
	packet->vlan_tpid = get16(packet->data + MACS);
	packet->vlan_tci = get16(packet->data + MACS + 2);
	packet->flags |= NR_VLAN | NR_VLAN_IN_BAND;
}

static uint16_t decode_flags(const struct packet_source *s,
			     const struct tpacket3_hdr *header, uint32_t status,
			     uint32_t wirelen)
{
	const struct sockaddr_ll *from =
		(const void *)((const uint8_t *)header +
			       TPACKET_ALIGN(sizeof(*header)));
	uint8_t type = __atomic_load_n(&from->sll_pkttype, __ATOMIC_RELAXED);
	uint16_t flags = type <= PACKET_OUTGOING ? type : NR_DIRECTION_UNKNOWN;

	if (status & TP_STATUS_CSUM_VALID)
		flags |= NR_CSUM_VALID;
	if (status & TP_STATUS_CSUMNOTREADY)
		flags |= NR_CSUM_NOT_READY;
	if (status & TP_STATUS_TS_RAW_HARDWARE)
		flags |= NR_CLOCK_HARDWARE;
	if (status & TP_STATUS_GSO_TCP || wirelen > s->frame_max)
		flags |= NR_GSO;
	/* V3 says so of a block, never of a packet. */
	if (s->ring.status & TP_STATUS_LOSING)
		flags |= NR_LOSING;
	return flags;
}

static void decode(const struct packet_source *s,
		   const struct ring_packet *from, struct packet *packet)
{
	struct tpacket3_hdr *header = (void *)from->header;
	uint32_t status = __atomic_load_n(&header->tp_status, __ATOMIC_RELAXED);

	packet->ts_ns =
		(uint64_t)header->tp_sec * 1000000000u + header->tp_nsec;
	packet->data = from->header + from->mac;
	packet->caplen = from->caplen;
	packet->wirelen = header->tp_len;
	packet->flags = decode_flags(s, header, status, packet->wirelen);
	packet->vlan_tci = 0;
	packet->vlan_tpid = 0;
	decode_vlan(s, header, status, packet);
	packet->interface = s->interface;
	packet->flow_hash =
		flow_hash(packet->data, packet->caplen, s->source.link_type);
}

static void prefetch_next(const struct packet_ring *ring)
{
	const uint8_t *next = ring->base +
			      (size_t)ring->block * ring->block_size +
			      ring->offset;

	__builtin_prefetch(next);
	__builtin_prefetch(next + 64);
	__builtin_prefetch(next + 128);
}

/* Once; then the lane waits for another ring. */
static int broken(struct packet_source *s)
{
	s->is_broken = true;
	return SOURCE_IS_BROKEN;
}

static int packet_burst(struct source *source, struct burst *burst,
			uint32_t max_packets, size_t max_bytes)
{
	struct packet_source *s = (struct packet_source *)source;
	struct ring_packet packet;
	uint32_t n = 0;
	int err = PACKET_RING_OK;

	(void)max_bytes; /* only a lossless source has to heed it */
	if (s->is_broken)
		return SOURCE_NOTHING;
	if (s->ring.left == 0)
		err = packet_ring_open(&s->ring);
	if (err == PACKET_RING_NOTHING)
		return SOURCE_NOTHING;
	while (!err && n < max_packets && s->ring.left > 0) {
		err = packet_ring_next(&s->ring, &packet);
		if (err)
			break;
		if (s->ring.left > 0)
			prefetch_next(&s->ring);
		decode(s, &packet, &burst->packets[n++]);
	}
	if (err)
		return broken(s);
	burst->count = n;
	burst->link_type = source->link_type;
	if (n == 0)
		source->ops->done(source); /* a block retired empty */
	return (int)n;
}

static void packet_done(struct source *source)
{
	packet_ring_done(&((struct packet_source *)source)->ring);
}

static int packet_wait_fd(const struct source *source)
{
	return ((const struct packet_source *)source)->epoll_fd;
}

static uint32_t packet_filled(const struct source *source)
{
	return packet_ring_filled(
		&((const struct packet_source *)source)->ring);
}

static void packet_free(struct source *source)
{
	struct packet_source *s = (struct packet_source *)source;

	munmap(s->ring.base, s->ring.size);
	close(s->epoll_fd);
	free(s);
}

static const struct source_ops packet_ops = {
	.burst = packet_burst,
	.done = packet_done,
	.wait_fd = packet_wait_fd,
	.filled = packet_filled,
	.free = packet_free,
};

/*
 * Packets wait for their block to be full, or for its time; a sixteenth of that
 * they may wait longer. Not if the ring is so small that 100 Gbit/s, which are
 * 12 bytes a ns, fill a quarter of it meanwhile.
 */
static uint32_t gather_ns(const struct config_source *config, size_t ring_size)
{
	uint64_t ns = config->retire_timeout * UINT64_C(62500);
	uint64_t most = ring_size / 4 / 12;

	return (uint32_t)(ns < most ? ns : most);
}

int source_packet_new(struct source **source,
		      const struct config_source *config, void *ring,
		      int epoll_fd, const struct priv_reply *geometry,
		      uint32_t interface)
{
	struct packet_source *s = calloc(1, sizeof(*s));
	size_t size = geometry->packet.ring_size;

	if (!s) {
		munmap(ring, size);
		close(epoll_fd);
		return -ENOMEM;
	}
	*s = (struct packet_source){
		.source = { .ops = &packet_ops,
			    .can_wait = UINT32_MAX,
			    .gather_ns = gather_ns(config, size),
			    .link_type = (uint16_t)geometry->packet.link_type },
		.ring = { .base = ring,
			  .size = size,
			  .block_size = geometry->packet.block_size,
			  .block_count =
				  (uint32_t)(size /
					     geometry->packet.block_size) },
		.frame_max = geometry->packet.mtu + FRAME_OVERHEAD,
		.interface = (uint16_t)interface,
		.epoll_fd = epoll_fd,
	};
	if (geometry->packet.is_kept)
		packet_ring_take_over(&s->ring);
	*source = &s->source;
	return 0;
}
