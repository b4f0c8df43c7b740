/* SPDX-License-Identifier: BSD-2-Clause */
/* The flow hash: symmetric, fixed, even, and never beyond the captured bytes.
 */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/mman.h>

#include "flow.h"

#define ETHERNET 1
#define RAW 101

struct flow {
	unsigned version;
	uint8_t protocol;
	uint8_t a[16], b[16];
	uint16_t a_port, b_port;
};

struct bytes {
	uint8_t data[256];
	uint32_t size;
};

static uint64_t random64(void)
{
	static uint64_t state = 20240607;
	uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static void put(struct bytes *b, const void *data, uint32_t size)
{
	cr_assert(b->size + size <= sizeof(b->data));
	memcpy(b->data + b->size, data, size);
	b->size += size;
}

static void put8(struct bytes *b, unsigned value)
{
	uint8_t byte = (uint8_t)value;

	put(b, &byte, 1);
}

static void put16(struct bytes *b, unsigned value)
{
	put8(b, value >> 8);
	put8(b, value);
}

static void put_ethernet(struct bytes *b, unsigned tags, unsigned type)
{
	static const unsigned tpids[] = { 0x88a8, 0x9100, 0x8100, 0x8100 };

	put(b, "\x02\0\0\0\0\x01\x02\0\0\0\0\x02", 12);
	for (unsigned i = 0; i < tags; i++) {
		put16(b, tpids[i]);
		put16(b, 100 + i);
	}
	put16(b, type);
}

static void put_ports(struct bytes *b, const struct flow *f)
{
	put16(b, f->a_port);
	put16(b, f->b_port);
	put(b, "\0\0\0\0", 4);
}

/* @fragment: the flags-and-offset word */
static void put_ipv4(struct bytes *b, const struct flow *f, unsigned fragment)
{
	put(b, "\x45\0\0\x1c\x12\x34", 6);
	put16(b, fragment);
	put8(b, 64);
	put8(b, f->protocol);
	put16(b, 0);
	put(b, f->a, 4);
	put(b, f->b, 4);
}

static void put_ipv6(struct bytes *b, const struct flow *f, unsigned next)
{
	put(b, "\x60\0\0\0\0\x08", 6);
	put8(b, next);
	put8(b, 64);
	put(b, f->a, 16);
	put(b, f->b, 16);
}

static struct flow random_flow(void)
{
	static const uint8_t protocols[] = { 6, 17, 132, 1, 47, 50, 58 };
	struct flow f = { .version = random64() & 1 ? 4 : 6 };

	for (unsigned i = 0; i < 16; i++) {
		f.a[i] = (uint8_t)random64();
		/* often the same address but for its end, or quite the same */
		f.b[i] = random64() & 1 ? f.a[i] : (uint8_t)random64();
	}
	f.a_port = (uint16_t)random64();
	f.b_port = random64() & 3 ? (uint16_t)random64() : f.a_port;
	f.protocol = protocols[random64() % sizeof(protocols)];
	return f;
}

static struct flow reversed(const struct flow *f)
{
	struct flow r = *f;

	memcpy(r.a, f->b, sizeof(r.a));
	memcpy(r.b, f->a, sizeof(r.b));
	r.a_port = f->b_port;
	r.b_port = f->a_port;
	return r;
}

static struct bytes packet_of(const struct flow *f, unsigned tags)
{
	struct bytes b = { .size = 0 };

	put_ethernet(&b, tags, f->version == 4 ? 0x0800 : 0x86dd);
	if (f->version == 4)
		put_ipv4(&b, f, 0x4000);
	else
		put_ipv6(&b, f, f->protocol);
	put_ports(&b, f);
	return b;
}

static uint32_t hash(const struct bytes *b)
{
	return flow_hash(b->data, b->size, ETHERNET);
}

Test(flow, both_directions_have_one_hash_behind_any_tags)
{
	for (unsigned i = 0; i < 20000; i++) {
		struct flow f = random_flow(), r = reversed(&f);
		struct bytes plain = packet_of(&f, 0);
		uint32_t expected = hash(&plain);

		for (unsigned tags = 0; tags <= 3; tags++) {
			struct bytes there = packet_of(&f, tags);
			struct bytes back = packet_of(&r, tags);

			cr_assert_eq(hash(&there), expected);
			cr_assert_eq(hash(&back), expected);
		}
	}
}

Test(flow, each_part_of_a_flow_changes_the_hash)
{
	for (unsigned i = 0; i < 1000; i++) {
		struct flow f = random_flow(), g;
		struct bytes b, c;

		f.protocol = 6;
		b = packet_of(&f, 0);
		g = f;
		g.protocol = 17;
		c = packet_of(&g, 0);
		cr_assert_neq(hash(&b), hash(&c));
		g = f;
		g.a_port ^= 1;
		c = packet_of(&g, 0);
		cr_assert_neq(hash(&b), hash(&c));
		g = f;
		g.b[3] ^= 0x80;
		c = packet_of(&g, 0);
		cr_assert_neq(hash(&b), hash(&c));
		/* A's port on B is another flow. */
		if (f.a_port == f.b_port || !memcmp(f.a, f.b, 4))
			continue;
		g = f;
		g.a_port = f.b_port;
		g.b_port = f.a_port;
		c = packet_of(&g, 0);
		cr_assert_neq(hash(&b), hash(&c));
	}
}

/* ------------------------------------------------------------ known answers */

static const struct flow dns4 = {
	4, 17, { 192, 0, 2, 1 }, { 198, 51, 100, 53 }, 40000, 53
};
static const struct flow web6 = {
	6,
	6,
	{ 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 },
	{ 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2 },
	50000,
	443
};
static const struct flow ping4 = {
	4, 1, { 192, 0, 2, 1 }, { 192, 0, 2, 2 }, 0x0800, 0x1234
};

/*
 * Groups and files may keep these numbers, and other sources must compute the
 * same: they do not change.
 */
Test(flow, has_the_known_values)
{
	struct bytes arp = { .size = 0 }, fragment = { .size = 0 };
	struct bytes b;

	b = packet_of(&dns4, 0);
	cr_expect_eq(hash(&b), 0xe3c4c002u, "0x%08x", hash(&b));
	b = packet_of(&web6, 2);
	cr_expect_eq(hash(&b), 0xf6f299afu, "0x%08x", hash(&b));
	b = packet_of(&ping4, 0);
	cr_expect_eq(hash(&b), 0x4dd4bbbeu, "0x%08x", hash(&b));
	put_ethernet(&arp, 1, 0x0806);
	cr_expect_eq(hash(&arp), 0xa19cc780u, "0x%08x", hash(&arp));
	put_ethernet(&fragment, 0, 0x0800);
	put_ipv4(&fragment, &dns4, 0x2000);
	cr_expect_eq(hash(&fragment), 0x6e982099u, "0x%08x", hash(&fragment));
}

/* -------------------------------------------------------------- link types */

static struct bytes ip_behind(const void *header, uint32_t size,
			      const struct flow *f)
{
	struct bytes b = { .size = 0 };

	put(&b, header, size);
	if (f->version == 4)
		put_ipv4(&b, f, 0);
	else
		put_ipv6(&b, f, f->protocol);
	put_ports(&b, f);
	return b;
}

Test(flow, is_the_same_on_every_link_type)
{
	static const struct {
		const char *header;
		uint32_t size;
		uint16_t link_type;
		unsigned version;
	} table[] = {
		{ "", 0, 12, 4 },
		{ "", 0, 12, 6 },
		{ "", 0, 101, 4 },
		{ "", 0, 101, 6 },
		{ "\x02\0\0\0", 4, 0, 4 },
		{ "\0\0\0\x02", 4, 0, 4 },
		{ "\x1e\0\0\0", 4, 0, 6 },
		{ "\0\0\0\x1c", 4, 108, 6 },
		{ "\0\0\0\x0a", 4, 108, 6 },
		{ "\0\x04\0\x01\0\x06\1\2\3\4\5\6\0\0\x08\0", 16, 113, 4 },
		{ "\0\x04\0\x01\0\x06\1\2\3\4\5\6\0\0\x86\xdd", 16, 113, 6 },
		{ "\0\0\0\x01\0\x06\1\2\3\4\5\6\0\0\x81\0\0\x64\x08\0", 20, 113,
		  4 },
		{ "\x08\0\0\0\0\0\0\x02\0\x01\0\x06\1\2\3\4\5\6\0\0", 20, 276,
		  4 },
		{ "\x86\xdd\0\0\0\0\0\x02\0\x01\0\x06\1\2\3\4\5\6\0\0", 20, 276,
		  6 },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const struct flow *f = table[i].version == 4 ? &dns4 : &web6;
		struct bytes ethernet = packet_of(f, 0);
		struct bytes b = ip_behind(table[i].header, table[i].size, f);

		cr_expect_eq(flow_hash(b.data, b.size, table[i].link_type),
			     hash(&ethernet), "row %zu", i);
	}
}

Test(flow, of_an_unknown_link_type_or_family_is_0)
{
	struct bytes b = packet_of(&dns4, 0);

	cr_expect_eq(flow_hash(b.data, b.size, 147), 0);
	cr_expect_eq(flow_hash(b.data, 0, ETHERNET), 0);
	cr_expect_eq(flow_hash(b.data, 11, ETHERNET), 0);
	b = ip_behind("\x07\0\0\0", 4, &dns4);
	cr_expect_eq(flow_hash(b.data, b.size, 0), 0);
}

Test(flow, of_what_is_not_ip_is_the_pair_of_mac_addresses)
{
	struct bytes arp = { .size = 0 }, back = { .size = 0 };
	struct bytes four = packet_of(&dns4, 0), cut = { .size = 0 };

	put_ethernet(&arp, 0, 0x0806);
	put(&back, "\x02\0\0\0\0\x02\x02\0\0\0\0\x01\x88\xcc", 14);
	cr_expect_eq(hash(&arp), hash(&back));
	cr_expect_neq(hash(&arp), 0);
	/* more tags than three; IP whose addresses are not there */
	put_ethernet(&cut, 4, 0x0800);
	put_ipv4(&cut, &dns4, 0);
	cr_expect_eq(hash(&cut), hash(&arp));
	four.size = 14 + 19;
	cr_expect_eq(hash(&four), hash(&arp));
	/* an ethertype and a version that differ */
	four = packet_of(&dns4, 0);
	four.data[14] = 0x65;
	cr_expect_eq(hash(&four), hash(&arp));
	/* another station */
	back.data[11] = 3;
	cr_expect_neq(hash(&arp), hash(&back));
}

/* --------------------------------------------------- fragments, extensions */

Test(flow, of_ipv4_fragments_is_one_whatever_they_carry)
{
	struct bytes first = { .size = 0 }, later = { .size = 0 };
	struct bytes whole = packet_of(&dns4, 0);
	struct flow back = reversed(&dns4);

	put_ethernet(&first, 0, 0x0800);
	put_ipv4(&first, &dns4, 0x2000);
	put_ports(&first, &dns4);
	put_ethernet(&later, 0, 0x0800);
	put_ipv4(&later, &back, 0x00b9);
	put(&later, "some payload", 12);
	cr_expect_eq(hash(&first), hash(&later));
	cr_expect_neq(hash(&first), hash(&whole));
	/* A packet whose ports were cut off has no more than a fragment. */
	whole.size = 14 + 20 + 3;
	cr_expect_eq(hash(&first), hash(&whole));
}

/* A fragment header of @protocol; @word: offset and M. */
static void put_fragment(struct bytes *b, unsigned protocol, unsigned word)
{
	put8(b, protocol);
	put8(b, 0);
	put16(b, word);
	put(b, "\x12\x34\x56\x78", 4);
}

static uint32_t hash_fragment6(unsigned word, const void *payload)
{
	struct bytes b = { .size = 0 };

	put_ethernet(&b, 0, 0x86dd);
	put_ipv6(&b, &web6, 44);
	put_fragment(&b, 6, word);
	if (payload)
		put(&b, payload, 8);
	else
		put_ports(&b, &web6);
	return hash(&b);
}

Test(flow, of_ipv6_fragments_is_one_and_an_atomic_one_is_whole)
{
	struct bytes whole = packet_of(&web6, 0);

	cr_expect_eq(hash_fragment6(1, NULL), hash_fragment6(8, "payload8"));
	cr_expect_eq(hash_fragment6(1, NULL), hash_fragment6(9, "anything"));
	cr_expect_neq(hash_fragment6(1, NULL), hash(&whole));
	cr_expect_eq(hash_fragment6(0, NULL), hash(&whole));
	cr_expect_eq(hash_fragment6(6, NULL), hash(&whole), "reserved bits");
}

/* Hop-by-hop, routing, options, AH, and @more options in front of TCP. */
static struct bytes extended(unsigned more)
{
	struct bytes b = { .size = 0 };

	put_ethernet(&b, 0, 0x86dd);
	put_ipv6(&b, &web6, 0);
	put(&b, "\x2b\0\1\4\0\0\0\0", 8);
	put(&b, "\x3c\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	put(&b, "\x33\0\1\4\0\0\0\0", 8);
	/* AH counts words of four, less two: 12 bytes */
	put8(&b, more ? 60 : 6);
	put(&b, "\1\0\0\0\0\0\1\0\0\0\0", 11);
	for (; more; more--) {
		put8(&b, more == 1 ? 6 : 60);
		put(&b, "\0\1\4\0\0\0\0", 7);
	}
	put_ports(&b, &web6);
	return b;
}

Test(flow, is_found_behind_eight_extension_headers_and_not_behind_more)
{
	struct bytes whole = packet_of(&web6, 0);
	struct bytes b = extended(0), without_ports = whole;

	cr_expect_eq(hash(&b), hash(&whole));
	b = extended(4 - 1);
	cr_expect_eq(hash(&b), hash(&whole));
	without_ports.size -= 8;
	/* the eighth ends in "TCP", but is the last one looked at */
	b = extended(4);
	cr_expect_eq(hash(&b), hash(&without_ports));
	b = extended(5);
	cr_expect_neq(hash(&b), hash(&whole));
}

/* ------------------------------------------------------------------ spread */

static void expect_even(const unsigned *buckets, const char *what)
{
	/* 12,500 each; 5 % is six standard deviations of chance */
	for (unsigned i = 0; i < 8; i++)
		cr_expect(buckets[i] > 11875 && buckets[i] < 13125,
			  "%s: %u of 12500 in bucket %u", what, buckets[i], i);
}

/* @make: flow number i */
static void check_spread(struct flow (*make)(unsigned i), const char *what)
{
	unsigned scaled[8] = { 0 }, modulo[8] = { 0 };

	for (unsigned i = 0; i < 100000; i++) {
		struct flow f = make(i);
		struct bytes b = packet_of(&f, 0);
		uint32_t h = hash(&b);

		scaled[(uint64_t)h * 8 >> 32]++;
		modulo[h % 8]++;
	}
	expect_even(scaled, what);
	expect_even(modulo, what);
}

static struct flow make_random(unsigned i)
{
	struct flow f = random_flow();

	(void)i;
	f.protocol = 6;
	return f;
}

/* One server, clients that count up: what networks look like. */
static struct flow make_clients(unsigned i)
{
	struct flow f = dns4;

	f.a[1] = (uint8_t)(i >> 16);
	f.a[2] = (uint8_t)(i >> 8);
	f.a[3] = (uint8_t)i;
	return f;
}

static struct flow make_ports(unsigned i)
{
	struct flow f = i & 1 ? dns4 : web6;

	f.a_port = (uint16_t)(i >> 1);
	return f;
}

static struct flow make_prefixes6(unsigned i)
{
	struct flow f = web6;

	f.b[4] = (uint8_t)(i >> 16);
	f.b[5] = (uint8_t)(i >> 8);
	f.b[6] = (uint8_t)i;
	return f;
}

Test(flow, spreads_evenly_over_eight)
{
	check_spread(make_random, "random flows");
	check_spread(make_clients, "clients that count up");
	check_spread(make_ports, "ports that count up");
	check_spread(make_prefixes6, "IPv6 networks that count up");
}

/* ------------------------------------------------------------------ bounds */

/* The last byte of the packet is the last one of its page. */
static void check_bounds(const struct bytes *b, uint16_t link_type)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *memory = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(memory, MAP_FAILED);
	cr_assert_eq(mprotect(memory + page, page, PROT_NONE), 0);
	for (uint32_t caplen = 0; caplen <= b->size; caplen++) {
		uint8_t *data = memory + page - caplen;
		uint32_t there, again;

		memcpy(data, b->data, caplen);
		there = flow_hash(data, caplen, link_type);
		/* nor does what is in front of it count */
		memset(memory, 0xa5, page - caplen);
		again = flow_hash(data, caplen, link_type);
		cr_assert_eq(there, again);
	}
	munmap(memory, 2 * page);
}

Test(flow, never_reads_beyond_the_captured_length)
{
	static const uint16_t link_types[] = { 0, 1, 12, 101, 108, 113, 276 };

	for (unsigned i = 0; i < 300; i++) {
		struct flow f = random_flow();
		struct bytes b = packet_of(&f, i % 4);
		uint16_t link = link_types[i % 7];

		check_bounds(&b, ETHERNET);
		if (link != ETHERNET) {
			b = ip_behind("\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\x08\0",
				      16, &f);
			check_bounds(&b, link);
		}
		/* any length fields */
		b = extended(i % 6);
		for (uint32_t at = 14 + 40; at < b.size; at++)
			if (!(random64() & 3))
				b.data[at] = (uint8_t)random64();
		check_bounds(&b, ETHERNET);
	}
	for (unsigned i = 0; i < 1000; i++) {
		struct bytes b = { .size = 120 };

		for (uint32_t at = 0; at < b.size; at++)
			b.data[at] = (uint8_t)random64();
		check_bounds(&b, link_types[i % 7]);
	}
}
