/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A flow is two endpoints and a protocol. The endpoints are put into one order
 * whichever way the packet went, and the words are mixed.
 */
#include "flow.h"

#include "flow_core.h"

#define LINK_NULL 0
#define LINK_ETHERNET 1
#define LINK_RAW_BSD 12 /* what DLT_RAW is on Linux */
#define LINK_RAW 101	/* what DLT_RAW is in a file */
#define LINK_LOOP 108
#define LINK_SLL 113
#define LINK_SLL2 276

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
