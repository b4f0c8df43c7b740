/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A flow is two endpoints and a protocol. The endpoints are put into one order
 * whichever way the packet went, and the words are mixed.
 *
 * Everything is 64-bit arithmetic without tables, over at most TAGS_MAX VLAN
 * tags and EXTENSIONS_MAX IPv6 headers, so that a BPF program can say the same.
 * Words are read as big-endian: the hash is the same on every host.
 */
#include "flow.h"

#include <stdbool.h>
#include <string.h>

#include <endian.h>

#define TAGS_MAX 3
#define EXTENSIONS_MAX 8

#define LINK_NULL 0
#define LINK_ETHERNET 1
#define LINK_RAW_BSD 12 /* what DLT_RAW is on Linux */
#define LINK_RAW 101	/* what DLT_RAW is in a file */
#define LINK_LOOP 108
#define LINK_SLL 113
#define LINK_SLL2 276

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

/* What is there of a packet, and how far it has been read. */
struct cursor {
	const uint8_t *data;
	uint32_t caplen;
	uint32_t at;
};

static bool has(const struct cursor *c, uint32_t bytes)
{
	return c->at <= c->caplen && c->caplen - c->at >= bytes;
}

static uint16_t get16(const struct cursor *c, uint32_t offset)
{
	const uint8_t *p = c->data + c->at + offset;

	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const struct cursor *c, uint32_t offset)
{
	uint32_t word;

	memcpy(&word, c->data + c->at + offset, sizeof(word));
	return be32toh(word);
}

static uint64_t get64(const struct cursor *c, uint32_t offset)
{
	uint64_t word;

	memcpy(&word, c->data + c->at + offset, sizeof(word));
	return be64toh(word);
}

/*
 * Multiplying carries a bit upwards, the shift brings it down again: a bit has
 * reached all of the upper half after the next word's turn.
 */
static uint64_t mix(uint64_t hash, uint64_t word)
{
	hash = (hash ^ word) * UINT64_C(0x9fb21c651e98df25);
	return hash ^ hash >> 32;
}

#define MIX_START UINT64_C(0x6e657472696e6721)

/* Of two endpoints of up to 64 bits; @kind goes last, see mix(). */
static uint32_t hash_pair(uint64_t a, uint64_t b, uint32_t kind)
{
	uint64_t low = a < b ? a : b;
	uint64_t high = a < b ? b : a;

	return (uint32_t)(mix(mix(mix(MIX_START, low), high), kind) >> 32);
}

/*
 * The ports, or 0: not of this protocol, or beyond the captured bytes.
 * Upper half: the source's.
 */
static uint32_t ports(const struct cursor *c, uint8_t protocol)
{
	if (protocol != PROTOCOL_TCP && protocol != PROTOCOL_UDP &&
	    protocol != PROTOCOL_SCTP)
		return 0;
	return has(c, 4) ? get32(c, 0) : 0;
}

static bool hash_ipv4(struct cursor c, uint32_t *hash)
{
	uint64_t source, target;
	uint32_t length, both = 0;
	uint8_t protocol;

	if (!has(&c, 20) || c.data[c.at] >> 4 != 4)
		return false;
	length = (c.data[c.at] & 15u) * 4;
	protocol = c.data[c.at + 9];
	source = (uint64_t)get32(&c, 12) << 16;
	target = (uint64_t)get32(&c, 16) << 16;
	/* more fragments, or an offset */
	if (length >= 20 && !(get16(&c, 6) & 0x3fff)) {
		c.at += length;
		both = ports(&c, protocol);
	}
	*hash = hash_pair(source | both >> 16, target | (both & 0xffff),
			  protocol);
	return true;
}

static bool is_extension(uint8_t protocol)
{
	return protocol == PROTOCOL_HOP_BY_HOP ||
	       protocol == PROTOCOL_ROUTING || protocol == PROTOCOL_OPTIONS ||
	       protocol == PROTOCOL_FRAGMENT || protocol == PROTOCOL_AH;
}

/* Of the extension header that the cursor is on, which has 8 bytes. */
static uint32_t extension_length(const struct cursor *c, uint8_t protocol)
{
	uint32_t length = c->data[c->at + 1];

	if (protocol == PROTOCOL_FRAGMENT)
		return 8;
	return protocol == PROTOCOL_AH ? (length + 2) * 4 : (length + 1) * 8;
}

/*
 * Goes from an IPv6 header's next-header field to what it carries. Returns the
 * protocol; leaves the cursor on it, or beyond everything where there are no
 * ports to be had: in a fragment, or when the headers do not end.
 */
static uint8_t skip_extensions(struct cursor *c, uint8_t protocol)
{
	for (unsigned i = 0; i < EXTENSIONS_MAX; i++) {
		uint8_t next;
		uint32_t length;

		if (!is_extension(protocol))
			return protocol;
		if (!has(c, 8))
			break;
		next = c->data[c->at];
		/* An atomic fragment is whole: no offset, no more. */
		if (protocol == PROTOCOL_FRAGMENT && get16(c, 2) & 0xfff9) {
			protocol = next;
			break;
		}
		length = extension_length(c, protocol);
		c->at += length;
		protocol = next;
	}
	c->at = c->caplen;
	return protocol;
}

static bool hash_ipv6(struct cursor c, uint32_t *hash)
{
	uint64_t a[2], b[2], sum = MIX_START;
	uint32_t both, a_port, b_port;
	uint8_t protocol;
	bool swap;

	if (!has(&c, 40) || c.data[c.at] >> 4 != 6)
		return false;
	a[0] = get64(&c, 8);
	a[1] = get64(&c, 16);
	b[0] = get64(&c, 24);
	b[1] = get64(&c, 32);
	protocol = c.data[c.at + 6];
	c.at += 40;
	protocol = skip_extensions(&c, protocol);
	both = ports(&c, protocol);
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

static bool is_tag(uint16_t type)
{
	return type == 0x8100 || type == 0x88a8 || type == 0x9100;
}

/* IP behind up to three VLAN tags. @type: the ethertype of what comes next. */
static bool hash_network(struct cursor c, uint16_t type, uint32_t *hash)
{
	for (unsigned i = 0; i < TAGS_MAX; i++) {
		if (!is_tag(type))
			break;
		if (!has(&c, 4))
			return false;
		type = get16(&c, 2);
		c.at += 4;
	}
	if (type == TYPE_IPV4)
		return hash_ipv4(c, hash);
	if (type == TYPE_IPV6)
		return hash_ipv6(c, hash);
	return false;
}

static uint32_t hash_ethernet(struct cursor c)
{
	uint32_t hash;
	uint64_t target, source;

	if (!has(&c, 12))
		return 0;
	target = (uint64_t)get32(&c, 0) << 16 | get16(&c, 4);
	source = (uint64_t)get16(&c, 6) << 32 | get32(&c, 8);
	if (has(&c, 14)) {
		uint16_t type = get16(&c, 12);

		c.at += 14;
		if (hash_network(c, type, &hash))
			return hash;
	}
	/* a kind that no IP protocol has */
	return hash_pair(source, target, 256);
}

/*
 * The address family of DLT_NULL, in the order of the host that wrote it, and
 * DLT_LOOP. Every system has its own number for IPv6.
 */
static uint16_t family_type(uint32_t family)
{
	if (family >> 16)
		family = __builtin_bswap32(family);
	switch (family) {
	case 2:
		return TYPE_IPV4;
	case 10:
	case 24:
	case 28:
	case 30:
		return TYPE_IPV6;
	default:
		return TYPE_NONE;
	}
}

static uint16_t version_type(uint8_t first)
{
	return first >> 4 == 4 ? TYPE_IPV4 : first >> 4 == 6 ? TYPE_IPV6 : 0;
}

/*
 * Steps over the link-layer header. Returns the ethertype of what follows,
 * TYPE_NONE if that cannot be told.
 */
static uint16_t skip_link(struct cursor *c, uint16_t link_type)
{
	uint16_t type = TYPE_NONE;
	uint32_t header = 0;

	switch (link_type) {
	case LINK_ETHERNET:
		header = 14;
		type = has(c, header) ? get16(c, 12) : TYPE_NONE;
		break;
	case LINK_RAW_BSD:
	case LINK_RAW:
		type = has(c, 1) ? version_type(c->data[0]) : TYPE_NONE;
		break;
	case LINK_NULL:
	case LINK_LOOP:
		header = 4;
		type = has(c, header) ? family_type(get32(c, 0)) : TYPE_NONE;
		break;
	case LINK_SLL:
		header = 16;
		type = has(c, header) ? get16(c, 14) : TYPE_NONE;
		break;
	case LINK_SLL2:
		header = 20;
		type = has(c, header) ? get16(c, 0) : TYPE_NONE;
		break;
	default:
		break;
	}
	c->at = header;
	return type;
}

uint32_t flow_hash(const uint8_t *data, uint32_t caplen, uint16_t link_type)
{
	struct cursor c = { data, caplen, 0 };
	uint32_t hash = 0;
	uint16_t type;

	if (link_type == LINK_ETHERNET)
		return hash_ethernet(c);
	type = skip_link(&c, link_type);
	return hash_network(c, type, &hash) ? hash : 0;
}

/* The length of the transport header that the cursor is on. */
static uint32_t transport_header(const struct cursor *c, uint8_t protocol)
{
	switch (protocol) {
	case PROTOCOL_TCP:
		return has(c, 13) ? (c->data[c->at + 12] >> 4) * 4u : 20;
	case PROTOCOL_UDP:
	case PROTOCOL_ICMP:
	case PROTOCOL_ICMPV6:
		return 8;
	case PROTOCOL_SCTP:
		return 12;
	default:
		return 0;
	}
}

static void skip_ipv4(struct cursor *c)
{
	uint32_t start = c->at, length;
	uint8_t protocol;
	bool is_later;

	if (!has(c, 20) || c->data[start] >> 4 != 4)
		return;
	length = (c->data[start] & 15u) * 4;
	if (length < 20)
		length = 20;
	protocol = c->data[start + 9];
	is_later = get16(c, 6) & 0x1fff;
	c->at += length;
	if (!is_later)
		c->at += transport_header(c, protocol);
}

/* As skip_extensions(), but stays behind the last header that there is. */
static void skip_ipv6(struct cursor *c)
{
	uint8_t protocol;

	if (!has(c, 40) || c->data[c->at] >> 4 != 6)
		return;
	protocol = c->data[c->at + 6];
	c->at += 40;
	for (unsigned i = 0; i < EXTENSIONS_MAX; i++) {
		uint32_t length;
		bool is_later = false;

		if (!is_extension(protocol) || !has(c, 8))
			break;
		length = extension_length(c, protocol);
		if (protocol == PROTOCOL_FRAGMENT)
			is_later = get16(c, 2) & 0xfff8;
		protocol = c->data[c->at];
		c->at += length;
		if (is_later)
			return;
	}
	c->at += transport_header(c, protocol);
}

uint32_t flow_headers(const uint8_t *data, uint32_t caplen, uint16_t link_type)
{
	struct cursor c = { data, caplen, 0 };
	uint16_t type = skip_link(&c, link_type);

	for (unsigned i = 0; i < TAGS_MAX && is_tag(type) && has(&c, 4); i++) {
		type = get16(&c, 2);
		c.at += 4;
	}
	if (type == TYPE_IPV4)
		skip_ipv4(&c);
	else if (type == TYPE_IPV6)
		skip_ipv6(&c);
	return c.at < caplen ? c.at : caplen;
}
