// SPDX-License-Identifier: BSD-2-Clause
/*
 * The flow hash of any bytes: it reads no byte beyond them, both directions
 * of a flow have the same, the BPF program says the same, and what
 * `payload = headers` leaves of a packet is never more than there is.
 * Input: link type (a number of the table), packet.
 */
#include "fuzz.h"

#include <stdbool.h>
#include <stdlib.h>

#include "flow.h"

uint32_t flow_hash_bpf(const uint8_t *data, uint32_t size);

static const uint16_t link_types[] = { 1, 0, 12, 101, 108, 113, 276, 147 };

/* A second reading of the headers, to find what changes with the direction. */
struct reader {
	uint8_t *data;
	size_t size;
	size_t at;
};

static bool has(const struct reader *r, size_t bytes)
{
	return r->at + bytes <= r->size;
}

static unsigned word_at(const struct reader *r, size_t offset)
{
	return r->data[r->at + offset] << 8 | r->data[r->at + offset + 1];
}

static void swap(struct reader *r, size_t a, size_t b, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		uint8_t byte = r->data[r->at + a + i];

		r->data[r->at + a + i] = r->data[r->at + b + i];
		r->data[r->at + b + i] = byte;
	}
}

/* What is swapped where there are no ports the hash must not look at. */
static void turn_ports(struct reader *r, unsigned protocol)
{
	if ((protocol == 6 || protocol == 17 || protocol == 132) && has(r, 4))
		swap(r, 0, 2, 2);
}

static void turn_ipv4(struct reader *r)
{
	unsigned fragment, protocol, length;

	if (!has(r, 20) || r->data[r->at] >> 4 != 4)
		return;
	fragment = word_at(r, 6) & 0x3fff;
	protocol = r->data[r->at + 9];
	swap(r, 12, 16, 4);
	length = (r->data[r->at] & 15) * 4u;
	r->at += length;
	if (length >= 20 && !fragment)
		turn_ports(r, protocol);
}

static void turn_ipv6(struct reader *r)
{
	unsigned protocol, next;

	if (!has(r, 40) || r->data[r->at] >> 4 != 6)
		return;
	protocol = r->data[r->at + 6];
	swap(r, 8, 24, 16);
	r->at += 40;
	for (int i = 0; i < 8; i++) {
		if (protocol != 0 && protocol != 43 && protocol != 44 &&
		    protocol != 51 && protocol != 60)
			break;
		if (!has(r, 8) || (protocol == 44 && word_at(r, 2) & 0xfff9))
			return;
		next = r->data[r->at];
		if (protocol == 44)
			r->at += 8;
		else if (protocol == 51)
			r->at += (r->data[r->at + 1] + 2u) * 4;
		else
			r->at += (r->data[r->at + 1] + 1u) * 8;
		protocol = next;
	}
	turn_ports(r, protocol);
}

/* The same packet the other way. */
static void turn_ethernet(struct reader *r)
{
	unsigned type;

	if (!has(r, 12))
		return;
	swap(r, 0, 6, 6);
	if (!has(r, 14))
		return;
	type = word_at(r, 12);
	r->at = 14;
	for (int i = 0; i < 3; i++) {
		if (type != 0x8100 && type != 0x88a8 && type != 0x9100)
			break;
		if (!has(r, 4))
			return;
		type = word_at(r, 2);
		r->at += 4;
	}
	if (type == 0x0800)
		turn_ipv4(r);
	else if (type == 0x86dd)
		turn_ipv6(r);
}

static void check_ethernet(const uint8_t *data, uint32_t size, uint32_t hash)
{
	/* malloc(): as long as the packet, and aligned as the kernel's. */
	uint8_t *other = malloc(size);
	struct reader reader = { other, size, 0 };

	assert(other || size == 0);
	if (size)
		memcpy(other, data, size);
	assert(flow_hash_bpf(other, size) == hash);
	turn_ethernet(&reader);
	assert(flow_hash(other, size, 1) == hash);
	free(other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint16_t link_type;
	uint32_t hash, headers, length;

	if (size < 1 || size > 65536)
		return 0;
	link_type = link_types[*data % 8];
	data++;
	length = (uint32_t)size - 1;
	hash = flow_hash(data, length, link_type);
	headers = flow_headers(data, length, link_type);
	assert(headers <= length);
	assert(flow_headers(data, headers, link_type) == headers);
	if (link_type == 1)
		check_ethernet(data, length, hash);
	if (link_type == 147)
		assert(hash == 0 && headers == 0);
	return 0;
}
