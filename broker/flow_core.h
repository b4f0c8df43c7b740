/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The flow hash of Ethernet, said once for the engine and for redirect.bpf.c:
 * 64-bit arithmetic without tables, over at most TAGS_MAX VLAN tags and
 * EXTENSIONS_MAX IPv6 headers. What differs is only how a packet is read: by
 * index here, by pointers that the verifier can follow there.
 * Words are read as big-endian: the hash is the same on every host.
 */
#ifndef NETRINGD_FLOW_CORE_H
#define NETRINGD_FLOW_CORE_H

#define TAGS_MAX 3
#define EXTENSIONS_MAX 8

#define TYPE_IPV4 0x0800
#define TYPE_IPV6 0x86dd
#define TYPE_NONE 0

/* IANA protocol numbers */
#define PROTOCOL_HOP_BY_HOP 0
#define PROTOCOL_ICMP 1
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_ROUTING 43
#define PROTOCOL_FRAGMENT 44
#define PROTOCOL_AH 51
#define PROTOCOL_ICMPV6 58
#define PROTOCOL_OPTIONS 60
#define PROTOCOL_SCTP 132

#ifdef __bpf__

#include <linux/types.h>
#include <bpf/bpf_endian.h>

typedef __u8 uint8_t;
typedef __u16 uint16_t;
typedef __u32 uint32_t;
typedef __u64 uint64_t;
#define UINT64_C(n) n##ULL
#define bool _Bool
#define true 1
#define false 0
#define FLOW_INLINE static __attribute__((always_inline)) inline

/* What is there of a packet. */
struct cursor {
	const uint8_t *at;
	const uint8_t *end;
};

FLOW_INLINE bool has(const struct cursor *c, uint32_t bytes)
{
	return c->at + bytes <= c->end;
}

FLOW_INLINE void skip(struct cursor *c, uint32_t bytes)
{
	c->at += bytes;
}

FLOW_INLINE uint8_t get8(const struct cursor *c, uint32_t offset)
{
	return c->at[offset];
}

FLOW_INLINE uint16_t get16(const struct cursor *c, uint32_t offset)
{
	return bpf_ntohs(*(const uint16_t *)(c->at + offset));
}

FLOW_INLINE uint32_t get32(const struct cursor *c, uint32_t offset)
{
	return bpf_ntohl(*(const uint32_t *)(c->at + offset));
}

FLOW_INLINE uint64_t get64(const struct cursor *c, uint32_t offset)
{
	return bpf_be64_to_cpu(*(const uint64_t *)(c->at + offset));
}

#else

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define FLOW_INLINE static inline

/* What is there of a packet, and how far it has been read. */
struct cursor {
	const uint8_t *data;
	uint32_t caplen;
	uint32_t at;
};

FLOW_INLINE bool has(const struct cursor *c, uint32_t bytes)
{
	return c->at <= c->caplen && c->caplen - c->at >= bytes;
}

FLOW_INLINE void skip(struct cursor *c, uint32_t bytes)
{
	c->at += bytes;
}

FLOW_INLINE uint8_t get8(const struct cursor *c, uint32_t offset)
{
	return c->data[c->at + offset];
}

FLOW_INLINE uint16_t get16(const struct cursor *c, uint32_t offset)
{
	const uint8_t *p = c->data + c->at + offset;

	return (uint16_t)(p[0] << 8 | p[1]);
}

FLOW_INLINE uint32_t get32(const struct cursor *c, uint32_t offset)
{
	uint32_t word;

	memcpy(&word, c->data + c->at + offset, sizeof(word));
	return be32toh(word);
}

FLOW_INLINE uint64_t get64(const struct cursor *c, uint32_t offset)
{
	uint64_t word;

	memcpy(&word, c->data + c->at + offset, sizeof(word));
	return be64toh(word);
}

#endif

/*
 * Multiplying carries a bit upwards, the shift brings it down again: a bit has
 * reached all of the upper half after the next word's turn.
 */
FLOW_INLINE uint64_t mix(uint64_t hash, uint64_t word)
{
	hash = (hash ^ word) * UINT64_C(0x9fb21c651e98df25);
	return hash ^ hash >> 32;
}

#define MIX_START UINT64_C(0x6e657472696e6721)

/* Of two endpoints of up to 64 bits; @kind goes last, see mix(). */
FLOW_INLINE uint32_t hash_pair(uint64_t a, uint64_t b, uint32_t kind)
{
	uint64_t low = a < b ? a : b;
	uint64_t high = a < b ? b : a;

	return (uint32_t)(mix(mix(mix(MIX_START, low), high), kind) >> 32);
}

/*
 * The ports, or 0: not of this protocol, or beyond the captured bytes.
 * Upper half: the source's.
 */
FLOW_INLINE uint32_t ports(const struct cursor *c, uint8_t protocol)
{
	if (protocol != PROTOCOL_TCP && protocol != PROTOCOL_UDP &&
	    protocol != PROTOCOL_SCTP)
		return 0;
	return has(c, 4) ? get32(c, 0) : 0;
}

FLOW_INLINE bool hash_ipv4(struct cursor c, uint32_t *hash)
{
	uint64_t source, target;
	uint32_t length, both = 0;
	uint8_t protocol;

	if (!has(&c, 20) || get8(&c, 0) >> 4 != 4)
		return false;
	length = (get8(&c, 0) & 15u) * 4;
	protocol = get8(&c, 9);
	source = (uint64_t)get32(&c, 12) << 16;
	target = (uint64_t)get32(&c, 16) << 16;
	/* more fragments, or an offset */
	if (length >= 20 && !(get16(&c, 6) & 0x3fff)) {
		skip(&c, length);
		both = ports(&c, protocol);
	}
	*hash = hash_pair(source | both >> 16, target | (both & 0xffff),
			  protocol);
	return true;
}

FLOW_INLINE bool is_extension(uint8_t protocol)
{
	return protocol == PROTOCOL_HOP_BY_HOP ||
	       protocol == PROTOCOL_ROUTING || protocol == PROTOCOL_OPTIONS ||
	       protocol == PROTOCOL_FRAGMENT || protocol == PROTOCOL_AH;
}

/* Of the extension header that the cursor is on, which has 8 bytes. */
FLOW_INLINE uint32_t extension_length(const struct cursor *c, uint8_t protocol)
{
	uint32_t length = get8(c, 1);

	if (protocol == PROTOCOL_FRAGMENT)
		return 8;
	return protocol == PROTOCOL_AH ? (length + 2) * 4 : (length + 1) * 8;
}

/*
 * Goes from an IPv6 header's next-header field to what it carries. Returns the
 * protocol; *@is_there: the cursor is on it. Else there are no ports to be had:
 * in a fragment, or when the headers do not end.
 */
FLOW_INLINE uint8_t skip_extensions(struct cursor *c, uint8_t protocol,
				    bool *is_there)
{
	*is_there = false;
	for (unsigned i = 0; i < EXTENSIONS_MAX; i++) {
		uint8_t next;
		uint32_t length;

		if (!is_extension(protocol)) {
			*is_there = true;
			return protocol;
		}
		if (!has(c, 8))
			return protocol;
		next = get8(c, 0);
		/* An atomic fragment is whole: no offset, no more. */
		if (protocol == PROTOCOL_FRAGMENT && get16(c, 2) & 0xfff9)
			return next;
		length = extension_length(c, protocol);
		skip(c, length);
		protocol = next;
	}
	return protocol;
}

FLOW_INLINE bool hash_ipv6(struct cursor c, uint32_t *hash)
{
	uint64_t a[2], b[2], sum = MIX_START;
	uint32_t both, a_port, b_port;
	uint8_t protocol;
	bool swap, is_there;

	if (!has(&c, 40) || get8(&c, 0) >> 4 != 6)
		return false;
	a[0] = get64(&c, 8);
	a[1] = get64(&c, 16);
	b[0] = get64(&c, 24);
	b[1] = get64(&c, 32);
	protocol = get8(&c, 6);
	skip(&c, 40);
	protocol = skip_extensions(&c, protocol, &is_there);
	both = is_there ? ports(&c, protocol) : 0;
	a_port = both >> 16;
	b_port = both & 0xffff;

	swap = a[0] != b[0] ? a[0] > b[0] :
	       a[1] != b[1] ? a[1] > b[1] :
			      a_port > b_port;
	sum = mix(sum, swap ? b[0] : a[0]);
	sum = mix(sum, swap ? b[1] : a[1]);
	sum = mix(sum, swap ? a[0] : b[0]);
	sum = mix(sum, swap ? a[1] : b[1]);
	both = swap ? b_port << 16 | a_port : both;
	sum = mix(sum, (uint64_t)both << 8 | protocol);
	/* Once more: the ports came last, and mix() needs a turn to spread. */
	*hash = (uint32_t)(mix(sum, 6) >> 32);
	return true;
}

FLOW_INLINE bool is_tag(uint16_t type)
{
	return type == 0x8100 || type == 0x88a8 || type == 0x9100;
}

/* IP behind up to three VLAN tags. @type: the ethertype of what comes next. */
FLOW_INLINE bool hash_network(struct cursor c, uint16_t type, uint32_t *hash)
{
	for (unsigned i = 0; i < TAGS_MAX; i++) {
		if (!is_tag(type))
			break;
		if (!has(&c, 4))
			return false;
		type = get16(&c, 2);
		skip(&c, 4);
	}
	if (type == TYPE_IPV4)
		return hash_ipv4(c, hash);
	if (type == TYPE_IPV6)
		return hash_ipv6(c, hash);
	return false;
}

FLOW_INLINE uint32_t hash_ethernet(struct cursor c)
{
	uint32_t hash;
	uint64_t target, source;

	if (!has(&c, 12))
		return 0;
	target = (uint64_t)get32(&c, 0) << 16 | get16(&c, 4);
	source = (uint64_t)get16(&c, 6) << 32 | get32(&c, 8);
	if (has(&c, 14)) {
		uint16_t type = get16(&c, 12);

		skip(&c, 14);
		if (hash_network(c, type, &hash))
			return hash;
	}
	/* a kind that no IP protocol has */
	return hash_pair(source, target, 256);
}

#endif
