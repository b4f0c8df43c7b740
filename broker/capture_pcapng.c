/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pcapng: a file is blocks, each with its length at both ends. Blocks that say
 * nothing about packets are stepped over unread; one that is needed is looked
 * at when all of it is in the window.
 */
#include "capture_file_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <netring/layout.h>

#define INTERFACES_MAX 65536u

/* draft-ietf-opsawg-pcapng */
#define BLOCK_SECTION PCAPNG_START
#define BLOCK_INTERFACE 1u
#define BLOCK_PACKET 2u /* obsolete, but still found */
#define BLOCK_SIMPLE 3u
#define BLOCK_ENHANCED 6u
#define SECTION_ORDER 0x1a2b3c4du
#define OPTION_EPB_FLAGS 2
#define OPTION_TSRESOL 9
#define OPTION_TSOFFSET 14

__extension__ typedef unsigned __int128 u128;
__extension__ typedef __int128 s128;

/* Sets the resolution: 10^-n, or 2^-n where the top bit is set. */
static void interface_set_resolution(struct interface *in, uint8_t tsresol)
{
	unsigned n = tsresol & 0x7f;

	in->divisor = 1;
	in->factor = 1;
	in->shift = 0;
	if (tsresol & 0x80) {
		in->factor = 1000000000;
		in->shift = n;
		return;
	}
	for (; n < 9; n++)
		in->factor *= 10;
	/* Beyond 10^19 per ns no 64 bits reach one ns. */
	if (n > 9 + 19)
		in->factor = 0;
	else
		for (; n > 9; n--)
			in->divisor *= 10;
}

/* In ns since the epoch; what no 64 bits can say is brought to their ends. */
static uint64_t interface_time(const struct interface *in, uint64_t t)
{
	u128 ns = t;
	s128 sum;

	if (__builtin_expect(in->divisor != 1, 0))
		ns = t / in->divisor;
	ns = ns * in->factor >> in->shift;
	sum = (s128)ns + (s128)in->offset_s * 1000000000;
	if (sum < 0)
		return 0;
	return sum > (s128)UINT64_MAX ? UINT64_MAX : (uint64_t)sum;
}

/*
 * Steps through options from @at to @end. Returns 1 with one, 0 at the end, -1
 * if they run over.
 */
static int option_next(const struct capture_file *f, const uint8_t **at,
		       const uint8_t *end, unsigned *code, unsigned *length,
		       const uint8_t **value)
{
	size_t padded;

	if (end - *at < 4)
		return 0;
	*code = get16(f, *at);
	*length = get16(f, *at + 2);
	*value = *at + 4;
	if (!*code)
		return 0;
	padded = (*length + 3u) & ~3u;
	if ((size_t)(end - *value) < padded)
		return -1;
	*at = *value + padded;
	return 1;
}

/* A new section: its interfaces are numbered from 0 again. */
static enum capture_outcome read_section(struct capture_file *f,
					 const uint8_t *block, uint32_t length)
{
	if (length < 28)
		return capture_file_damaged(f, "a section header of %u bytes",
					    length);
	if (get16(f, block + 12) != 1)
		return capture_file_damaged(
			f,
			"a pcapng section of version %u.%u; it "
			"should be 1.0",
			get16(f, block + 12), get16(f, block + 14));
	f->interface_count = 0;
	return CAPTURE_FILL;
}

static bool interfaces_grow(struct capture_file *f)
{
	uint32_t room = f->interface_room ? f->interface_room * 2 : 16;
	struct interface *grown;

	grown = realloc(f->interfaces, room * sizeof(*grown));
	if (!grown)
		return false;
	f->interfaces = grown;
	f->interface_room = room;
	return true;
}

static enum capture_outcome
read_interface(struct capture_file *f, const uint8_t *block, uint32_t length)
{
	const uint8_t *at = block + 16, *end = block + length - 4, *value;
	struct interface *in;
	unsigned code, size;
	int more;

	if (length < 20)
		return capture_file_damaged(f, "an interface block of %u bytes",
					    length);
	if (f->interface_count == INTERFACES_MAX)
		return capture_file_damaged(f, "more than %u interfaces",
					    INTERFACES_MAX);
	if (f->interface_count == f->interface_room && !interfaces_grow(f))
		return capture_file_damaged(f,
					    "no memory for another interface");
	in = &f->interfaces[f->interface_count];
	in->link_type = get16(f, block + 8);
	in->snaplen = get32(f, block + 12);
	in->offset_s = 0;
	interface_set_resolution(in, 6);
	while ((more = option_next(f, &at, end, &code, &size, &value)) > 0) {
		if (code == OPTION_TSRESOL && size == 1)
			interface_set_resolution(in, value[0]);
		else if (code == OPTION_TSOFFSET && size == 8)
			in->offset_s = (int64_t)get64(f, value);
		else if (code == OPTION_TSRESOL || code == OPTION_TSOFFSET)
			return capture_file_damaged(
				f,
				"option %u of an interface has %u "
				"bytes",
				code, size);
	}
	if (more < 0)
		return capture_file_damaged(
			f, "an option runs over its interface block");
	f->interface_count++;
	return CAPTURE_FILL;
}

/* epb_flags: bits 0 and 1 the direction, 2 to 4 how it was received. */
static uint16_t direction(uint32_t flags)
{
	static const uint8_t inbound[8] = {
		NR_TO_HOST,    NR_TO_HOST, NR_MULTICAST, NR_BROADCAST,
		NR_OTHER_HOST, NR_TO_HOST, NR_TO_HOST,	 NR_TO_HOST,
	};

	if ((flags & 3) == 1)
		return inbound[flags >> 2 & 7];
	return (flags & 3) == 2 ? NR_OUTGOING : NR_DIRECTION_UNKNOWN;
}

/* Options that run over are not worth a packet: the direction is unknown. */
static uint16_t packet_direction(const struct capture_file *f,
				 const uint8_t *at, const uint8_t *end)
{
	const uint8_t *value;
	unsigned code, size;

	while (option_next(f, &at, end, &code, &size, &value) > 0)
		if (code == OPTION_EPB_FLAGS && size == 4)
			return direction(get32(f, value));
	return NR_DIRECTION_UNKNOWN;
}

static enum capture_outcome read_packet(struct capture_file *f, uint32_t type,
					const uint8_t *block, uint32_t length,
					struct packet *packet,
					uint16_t *link_type)
{
	uint32_t index, caplen, room = length - 32;
	const struct interface *in;

	if (length < 32)
		return capture_file_damaged(f, "a packet block of %u bytes",
					    length);
	index = type == BLOCK_PACKET ? get16(f, block + 8) :
				       get32(f, block + 8);
	if (index >= f->interface_count)
		return capture_file_damaged(f, "it names interface %u of %u",
					    index, f->interface_count);
	in = &f->interfaces[index];
	caplen = get32(f, block + 20);
	if (caplen > CAPTURE_PACKET_MAX)
		return capture_file_damaged(f,
					    "%u bytes captured: more than %u",
					    caplen, CAPTURE_PACKET_MAX);
	if (caplen > room)
		return capture_file_damaged(
			f, "%u bytes captured in a block for %u", caplen, room);

	packet->data = block + 28;
	packet->ts_ns =
		interface_time(in, (uint64_t)get32(f, block + 12) << 32 |
					   get32(f, block + 16));
	packet->caplen = caplen;
	packet->wirelen = get32(f, block + 24);
	packet->interface = (uint16_t)index;
	packet->flags = NR_DIRECTION_UNKNOWN;
	caplen = (caplen + 3) & ~3u;
	if (room > caplen)
		packet->flags = packet_direction(f, block + 28 + caplen,
						 block + length - 4);
	*link_type = in->link_type;
	return CAPTURE_PACKET;
}

/* Of interface 0, without a time stamp: 0. */
static enum capture_outcome read_simple(struct capture_file *f,
					const uint8_t *block, uint32_t length,
					struct packet *packet,
					uint16_t *link_type)
{
	const struct interface *in = f->interfaces;
	uint32_t caplen;

	if (length < 16)
		return capture_file_damaged(
			f, "a simple packet block of %u bytes", length);
	if (!f->interface_count)
		return capture_file_damaged(f, "a packet without an interface");
	packet->wirelen = get32(f, block + 8);
	caplen = packet->wirelen;
	if (in->snaplen && in->snaplen < caplen)
		caplen = in->snaplen;
	if (caplen > CAPTURE_PACKET_MAX)
		return capture_file_damaged(f,
					    "%u bytes captured: more than %u",
					    caplen, CAPTURE_PACKET_MAX);
	if (caplen > length - 16)
		return capture_file_damaged(
			f, "%u bytes captured in a block for %u", caplen,
			length - 16);
	packet->data = block + 12;
	packet->ts_ns = 0;
	packet->caplen = caplen;
	packet->interface = 0;
	packet->flags = NR_DIRECTION_UNKNOWN;
	*link_type = in->link_type;
	return CAPTURE_PACKET;
}

static bool is_needed(uint32_t type)
{
	return type == BLOCK_ENHANCED || type == BLOCK_SIMPLE ||
	       type == BLOCK_PACKET || type == BLOCK_INTERFACE ||
	       type == BLOCK_SECTION;
}

/*
 * The byte order is the section's own, so it is known before the length is
 * read.
 */
static bool read_order(struct capture_file *f)
{
	uint32_t order;

	memcpy(&order, f->buffer + f->at + 8, sizeof(order));
	f->is_swapped = order == __builtin_bswap32(SECTION_ORDER);
	return f->is_swapped || order == SECTION_ORDER;
}

/*
 * What starts here. Returns CAPTURE_PACKET if the block is all in the window,
 * or is not needed.
 */
static enum capture_outcome begin_block(struct capture_file *f, uint32_t *type,
					uint32_t *length)
{
	int outcome = reach(f, 12, "a block's header");

	if (outcome != CAPTURE_PACKET)
		return outcome;
	*type = get32(f, f->buffer + f->at);
	if (*type == BLOCK_SECTION && !read_order(f))
		return capture_file_damaged(f,
					    "a section without a byte order");
	*length = get32(f, f->buffer + f->at + 4);
	if (*length < 12 || *length % 4)
		return capture_file_damaged(f, "a block of %u bytes", *length);
	if (!is_needed(*type)) {
		outcome = reach(f, *length, "the block");
		/* Nothing of it is looked at, in memory or not. */
		return outcome == CAPTURE_DAMAGED ? outcome : CAPTURE_PACKET;
	}
	if (*length > CAPTURE_BLOCK_MAX)
		return capture_file_damaged(f,
					    "a block of %u bytes: more than %u",
					    *length, CAPTURE_BLOCK_MAX);
	return reach(f, *length, "the block");
}

/* Returns CAPTURE_FILL for a block that is no packet. */
static enum capture_outcome read_block(struct capture_file *f, uint32_t type,
				       uint32_t length, struct packet *packet,
				       uint16_t *link_type)
{
	const uint8_t *block = f->buffer + f->at;

	if (get32(f, block + length - 4) != length)
		return capture_file_damaged(
			f, "a block's two lengths differ: %u and %u", length,
			get32(f, block + length - 4));
	switch (type) {
	case BLOCK_SECTION:
		return read_section(f, block, length);
	case BLOCK_INTERFACE:
		return read_interface(f, block, length);
	case BLOCK_SIMPLE:
		return read_simple(f, block, length, packet, link_type);
	default:
		return read_packet(f, type, block, length, packet, link_type);
	}
}

enum capture_outcome capture_pcapng_next(struct capture_file *f,
					 struct packet *packet,
					 uint16_t *link_type)
{
	enum capture_outcome outcome;
	uint32_t type, length;

	for (;;) {
		if (f->base + f->at == f->size)
			return CAPTURE_OVER;
		outcome = begin_block(f, &type, &length);
		if (outcome != CAPTURE_PACKET)
			return outcome;
		outcome = CAPTURE_FILL;
		if (is_needed(type))
			outcome =
				read_block(f, type, length, packet, link_type);
		if (outcome == CAPTURE_DAMAGED)
			return outcome;
		f->packet_at = f->at;
		f->at += length;
		if (outcome == CAPTURE_PACKET)
			return outcome;
	}
}

int capture_pcapng_open(struct capture_file *f, char *error)
{
	uint32_t type, length;
	int outcome = CAPTURE_FILL;

	f->is_pcapng = true;
	if (f->end >= 12)
		outcome = begin_block(f, &type, &length);
	if (outcome == CAPTURE_PACKET &&
	    read_block(f, type, length, NULL, NULL) != CAPTURE_DAMAGED)
		return 0;
	snprintf(error, 256, "%.100s: not a whole pcapng file: %.120s", f->name,
		 f->problem[0] ? f->problem + strlen(f->name) + 2 :
				 "it breaks off in its header");
	return -EINVAL;
}
