/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hostile bytes are read through one door: take() gives the next n bytes of
 * what was captured, or nothing. Numbers and names are all that is printed.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "decode.h"

#define ETHERTYPE_LEAST 0x600 /* below: a length, IEEE 802.3 */
#define VLAN_TAGS_MAX 4
#define EXTENSIONS_MAX 8

enum link {
	LINK_NULL = 0,
	LINK_ETHERNET = 1,
	LINK_DLT_RAW = 12,
	LINK_DLT_RAW_BSD = 14,
	LINK_RAW = 101,
	LINK_LOOP = 108,
	LINK_SLL = 113,
	LINK_IPV4 = 228,
	LINK_IPV6 = 229,
	LINK_SLL2 = 276,
};

struct text {
	char *at;
	size_t left; /* with room for the NUL */
};

/* What was captured of the packet, from here on. */
struct bytes {
	const uint8_t *at;
	uint32_t left;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *text,
						      const char *format, ...)
{
	va_list args;
	size_t length;

	va_start(args, format);
	length = (size_t)vsnprintf(text->at, text->left, format, args);
	va_end(args);
	if (length >= text->left)
		length = text->left - 1;
	text->at += length;
	text->left -= length;
}

static const uint8_t *take(struct bytes *bytes, uint32_t count)
{
	const uint8_t *at = bytes->at;

	if (count > bytes->left)
		return NULL;
	bytes->at += count;
	bytes->left -= count;
	return at;
}

static void put_cut(struct text *text)
{
	put(text, " [cut]");
}

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static void put_mac(struct text *text, const uint8_t *mac)
{
	put(text, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
	    mac[3], mac[4], mac[5]);
}

/* The two ends of an IP packet, and what it carries. */
struct ip {
	int family;
	const uint8_t *source;
	const uint8_t *target;
	uint32_t length; /* of the payload, by its header */
	uint8_t protocol;
	bool is_later_fragment;
};

static void put_address(struct text *text, int family, const uint8_t *address)
{
	char words[INET6_ADDRSTRLEN];

	put(text, "%s", inet_ntop(family, address, words, sizeof(words)));
}

/* "IP 10.0.0.1.53 > 10.0.0.2.4000:"; without ports if @ports is NULL. */
static void put_ends(struct text *text, const struct ip *ip,
		     const uint8_t *ports)
{
	put(text, ip->family == AF_INET ? "IP " : "IP6 ");
	put_address(text, ip->family, ip->source);
	if (ports)
		put(text, ".%u", get16(ports));
	put(text, " > ");
	put_address(text, ip->family, ip->target);
	if (ports)
		put(text, ".%u", get16(ports + 2));
	put(text, ": ");
}

/* ---------------------------------------------------------- transport */

static void put_tcp_flags(struct text *text, const uint8_t *tcp)
{
	static const char letters[] = "FSRP.UEW"; /* bit 0 on */
	char flags[9];
	size_t n = 0;

	for (unsigned i = 0; i < 8; i++)
		if (tcp[13] & (1u << i))
			flags[n++] = letters[i];
	if (!n)
		flags[n++] = '-';
	flags[n] = '\0';
	put(text, "tcp [%s]", flags);
}

static void put_tcp(struct text *text, const struct ip *ip, struct bytes *bytes)
{
	const uint8_t *tcp = bytes->left >= 4 ? bytes->at : NULL;
	uint32_t header;

	put_ends(text, ip, tcp);
	tcp = take(bytes, 20);
	if (!tcp) {
		put(text, "tcp");
		put_cut(text);
		return;
	}
	put_tcp_flags(text, tcp);
	put(text, " seq %" PRIu32, get32(tcp + 4));
	if (tcp[13] & 0x10)
		put(text, " ack %" PRIu32, get32(tcp + 8));
	put(text, " win %u", get16(tcp + 14));
	header = (tcp[12] >> 4) * 4u;
	if (header < 20 || header > ip->length)
		put(text, " bad header length %" PRIu32, header);
	else
		put(text, " len %" PRIu32, ip->length - header);
}

static void put_udp(struct text *text, const struct ip *ip, struct bytes *bytes)
{
	const uint8_t *udp = bytes->left >= 4 ? bytes->at : NULL;

	put_ends(text, ip, udp);
	udp = take(bytes, 8);
	put(text, "udp");
	if (!udp)
		put_cut(text);
	else if (get16(udp + 4) < 8)
		put(text, " bad length %u", get16(udp + 4));
	else
		put(text, " len %u", get16(udp + 4) - 8u);
}

struct name {
	uint16_t value;
	const char *words;
};

static const char *name_of(const struct name *names, uint16_t value)
{
	for (; names->words; names++)
		if (names->value == value)
			return names->words;
	return NULL;
}

static const struct name icmp_names[] = {
	{ 0, "echo reply" },   { 3, "unreachable" },	{ 5, "redirect" },
	{ 8, "echo request" }, { 11, "time exceeded" }, { 0, NULL },
};

static const struct name icmp6_names[] = {
	{ 1, "unreachable" },
	{ 2, "packet too big" },
	{ 3, "time exceeded" },
	{ 128, "echo request" },
	{ 129, "echo reply" },
	{ 133, "router solicitation" },
	{ 134, "router advertisement" },
	{ 135, "neighbor solicitation" },
	{ 136, "neighbor advertisement" },
	{ 143, "multicast listener report" },
	{ 0, NULL },
};

static void put_icmp(struct text *text, const struct ip *ip,
		     struct bytes *bytes)
{
	bool is_4 = ip->protocol == IPPROTO_ICMP;
	const uint8_t *icmp = take(bytes, 4);
	const char *name;
	const uint8_t *id;

	put_ends(text, ip, NULL);
	put(text, is_4 ? "icmp" : "icmp6");
	if (!icmp) {
		put_cut(text);
		return;
	}
	name = name_of(is_4 ? icmp_names : icmp6_names, icmp[0]);
	if (name)
		put(text, " %s", name);
	else
		put(text, " type %u", icmp[0]);
	if (icmp[1])
		put(text, " code %u", icmp[1]);
	if (!name || strncmp(name, "echo", 4) != 0)
		return;
	id = take(bytes, 4);
	if (id)
		put(text, " id %u seq %u", get16(id), get16(id + 2));
	else
		put_cut(text);
}

static void put_transport(struct text *text, const struct ip *ip,
			  struct bytes *bytes)
{
	if (ip->is_later_fragment) {
		put_ends(text, ip, NULL);
		put(text, "proto %u", ip->protocol);
	} else if (ip->protocol == IPPROTO_TCP) {
		put_tcp(text, ip, bytes);
	} else if (ip->protocol == IPPROTO_UDP) {
		put_udp(text, ip, bytes);
	} else if (ip->protocol == IPPROTO_ICMP ||
		   ip->protocol == IPPROTO_ICMPV6) {
		put_icmp(text, ip, bytes);
	} else {
		put_ends(text, ip, NULL);
		put(text, "proto %u len %" PRIu32, ip->protocol, ip->length);
	}
}

/* ----------------------------------------------------------- network */

/* Padding behind the packet is not part of it. */
static void trim(struct bytes *bytes, uint32_t length)
{
	if (bytes->left > length)
		bytes->left = length;
}

static void put_ip4(struct text *text, struct bytes *bytes)
{
	uint32_t captured = bytes->left;
	const uint8_t *head = take(bytes, 20);
	struct ip ip = { .family = AF_INET };
	uint32_t header, total;
	uint16_t fragment;

	if (!head) {
		put(text, "IP");
		put_cut(text);
		return;
	}
	header = (head[0] & 0xf) * 4u;
	total = get16(head + 2);
	if (total == 0) /* a super-frame, longer than the field can say */
		total = captured;
	if (head[0] >> 4 != 4 || header < 20 || total < header) {
		put(text,
		    "IP with a bad header: version %u, header %" PRIu32
		    ", length %" PRIu32,
		    head[0] >> 4, header, total);
		return;
	}
	fragment = get16(head + 6);
	ip.source = head + 12;
	ip.target = head + 16;
	ip.protocol = head[9];
	ip.length = total - header;
	ip.is_later_fragment = fragment & 0x1fff;
	take(bytes, header - 20 > bytes->left ? bytes->left : header - 20);
	trim(bytes, ip.length);
	put_transport(text, &ip, bytes);
	if (fragment & 0x3fff)
		put(text, " frag %u offset %u%s", get16(head + 4),
		    (fragment & 0x1fff) * 8u, fragment & 0x2000 ? "+" : "");
}

/* The fragment header of IPv6, if there was one. */
struct fragment {
	const uint8_t *head;
};

/*
 * Walks over extension headers to what is transported. False if it
 * was not captured that far.
 */
static bool skip_extensions(struct ip *ip, struct bytes *bytes,
			    struct fragment *fragment)
{
	for (unsigned i = 0; i < EXTENSIONS_MAX && !ip->is_later_fragment;
	     i++) {
		uint8_t kind = ip->protocol;
		const uint8_t *head;
		uint32_t length;

		if (kind != IPPROTO_HOPOPTS && kind != IPPROTO_ROUTING &&
		    kind != IPPROTO_DSTOPTS && kind != IPPROTO_FRAGMENT &&
		    kind != IPPROTO_AH)
			break;
		head = take(bytes, 8);
		if (!head)
			return false;
		length = kind == IPPROTO_FRAGMENT ? 8 :
			 kind == IPPROTO_AH	  ? (head[1] + 2u) * 4 :
						    (head[1] + 1u) * 8;
		if (length < 8 || length > ip->length ||
		    !take(bytes, length - 8))
			return false;
		ip->length -= length;
		ip->protocol = head[0];
		if (kind != IPPROTO_FRAGMENT)
			continue;
		fragment->head = head;
		ip->is_later_fragment = get16(head + 2) & 0xfff8;
	}
	return true;
}

static void put_ip6(struct text *text, struct bytes *bytes)
{
	const uint8_t *head = take(bytes, 40);
	struct fragment fragment = { NULL };
	struct ip ip = { .family = AF_INET6 };

	if (!head) {
		put(text, "IP6");
		put_cut(text);
		return;
	}
	if (head[0] >> 4 != 6) {
		put(text, "IP6 with a bad header: version %u", head[0] >> 4);
		return;
	}
	ip.source = head + 8;
	ip.target = head + 24;
	ip.protocol = head[6];
	ip.length = get16(head + 4);
	if (ip.length == 0)
		ip.length = bytes->left;
	trim(bytes, ip.length);
	if (!skip_extensions(&ip, bytes, &fragment)) {
		put_ends(text, &ip, NULL);
		put(text, "extension header %u", ip.protocol);
		put_cut(text);
		return;
	}
	put_transport(text, &ip, bytes);
	if (fragment.head)
		put(text, " frag %" PRIu32 " offset %u%s",
		    get32(fragment.head + 4),
		    get16(fragment.head + 2) & 0xfff8u,
		    fragment.head[3] & 1 ? "+" : "");
}

static void put_arp(struct text *text, struct bytes *bytes)
{
	const uint8_t *arp = take(bytes, 28);

	put(text, "ARP");
	if (!arp) {
		put_cut(text);
		return;
	}
	if (get16(arp) != 1 || get16(arp + 2) != 0x800 || arp[4] != 6 ||
	    arp[5] != 4) {
		put(text, " hardware %u protocol 0x%04x", get16(arp),
		    get16(arp + 2));
		return;
	}
	if (get16(arp + 6) == 1) {
		put(text, " who-has ");
		put_address(text, AF_INET, arp + 24);
		put(text, " tell ");
		put_address(text, AF_INET, arp + 14);
	} else if (get16(arp + 6) == 2) {
		put(text, " reply ");
		put_address(text, AF_INET, arp + 14);
		put(text, " is-at ");
		put_mac(text, arp + 8);
	} else {
		put(text, " operation %u", get16(arp + 6));
	}
}

/* -------------------------------------------------------------- link */

static const struct name ethertype_names[] = {
	{ 0x8035, " RARP" },  { 0x8809, " LACP" },  { 0x8847, " MPLS" },
	{ 0x8863, " PPPoE" }, { 0x8864, " PPPoE" }, { 0x888e, " EAPOL" },
	{ 0x88cc, " LLDP" },  { 0x88f7, " PTP" },   { 0, NULL },
};

static bool is_vlan(uint16_t type)
{
	return type == 0x8100 || type == 0x88a8 || type == 0x9100;
}

/*
 * What follows an ethertype. @macs: target and source, or NULL where the link
 * has none to show.
 */
static void put_ethertype(struct text *text, struct bytes *bytes, uint16_t type,
			  const uint8_t *macs)
{
	const char *name;

	for (unsigned i = 0; i < VLAN_TAGS_MAX && is_vlan(type); i++) {
		const uint8_t *tag = take(bytes, 4);

		if (!tag) {
			put(text, "vlan");
			put_cut(text);
			return;
		}
		put(text, "vlan %u ", get16(tag) & 0xfffu);
		if (tag[0] >> 5)
			put(text, "pri %u ", tag[0] >> 5);
		type = get16(tag + 2);
	}
	if (type == 0x0800) {
		put_ip4(text, bytes);
		return;
	}
	if (type == 0x86dd) {
		put_ip6(text, bytes);
		return;
	}
	if (type == 0x0806) {
		put_arp(text, bytes);
		return;
	}
	name = name_of(ethertype_names, type);
	if (type < ETHERTYPE_LEAST)
		put(text, "802.3 len %u", type);
	else
		put(text, "ethertype 0x%04x%s", type, name ? name : "");
	if (!macs)
		return;
	put(text, " ");
	put_mac(text, macs + 6);
	put(text, " > ");
	put_mac(text, macs);
}

static void put_ethernet(struct text *text, struct bytes *bytes)
{
	const uint8_t *head = take(bytes, 14);

	if (head) {
		put_ethertype(text, bytes, get16(head + 12), head);
		return;
	}
	put(text, "Ethernet");
	put_cut(text);
}

static void put_raw(struct text *text, struct bytes *bytes)
{
	if (bytes->left && bytes->at[0] >> 4 == 6)
		put_ip6(text, bytes);
	else
		put_ip4(text, bytes);
}

/* Linux "cooked" headers: the protocol is an ethertype. */
static void put_cooked(struct text *text, struct bytes *bytes, uint32_t length,
		       uint32_t protocol)
{
	const uint8_t *head = take(bytes, length);

	if (head) {
		put_ethertype(text, bytes, get16(head + protocol), NULL);
		return;
	}
	put(text, "cooked");
	put_cut(text);
}

/* BSD loopback: an address family in the byte order of who wrote it. */
static void put_loop(struct text *text, struct bytes *bytes)
{
	const uint8_t *head = take(bytes, 4);

	if (head) {
		put_raw(text, bytes);
		return;
	}
	put(text, "loopback");
	put_cut(text);
}

int decode_packet(char *out, size_t size, const uint8_t *data, uint32_t caplen,
		  uint16_t link_type)
{
	struct bytes bytes = { data, caplen };
	struct text text = { out, size };

	if (!size)
		return 0;
	out[0] = '\0';
	switch (link_type) {
	case LINK_ETHERNET:
		put_ethernet(&text, &bytes);
		break;
	case LINK_DLT_RAW:
	case LINK_DLT_RAW_BSD:
	case LINK_RAW:
	case LINK_IPV4:
	case LINK_IPV6:
		put_raw(&text, &bytes);
		break;
	case LINK_NULL:
	case LINK_LOOP:
		put_loop(&text, &bytes);
		break;
	case LINK_SLL:
		put_cooked(&text, &bytes, 16, 14);
		break;
	case LINK_SLL2:
		put_cooked(&text, &bytes, 20, 0);
		break;
	default:
		put(&text, "link type %u", link_type);
		break;
	}
	return (int)(text.at - out);
}
