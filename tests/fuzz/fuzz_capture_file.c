// SPDX-License-Identifier: BSD-2-Clause
/*
 * A capture file that may hold anything. Read through the window, from memory,
 * and again after a rewind it gives the same packets; each is a piece of the
 * file, none is longer than it was on the wire.
 * Input: 1 to have the file repeated until it is longer than the window; file.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "capture_file.h"

#define WINDOW ((size_t)2 << 20)
#define PCAP_HEADER 24

/* What a file gives, in short. */
struct summary {
	uint64_t packets;
	uint64_t bytes;
	uint64_t hash;
	enum capture_outcome outcome;
};

static uint64_t mix(uint64_t hash, uint64_t word)
{
	hash = (hash ^ word) * UINT64_C(0xff51afd7ed558ccd);
	return hash ^ hash >> 32;
}

static uint64_t mix_packet(uint64_t hash, const struct packet *packet,
			   uint16_t link_type)
{
	hash = mix(hash, packet->ts_ns);
	hash = mix(hash, (uint64_t)packet->caplen << 32 | packet->wirelen);
	hash = mix(hash, (uint64_t)packet->flags << 32 |
				 (uint32_t)packet->interface << 16 | link_type);
	for (uint32_t i = 0; i < packet->caplen; i++)
		hash = mix(hash, packet->data[i]);
	return hash;
}

static void check_packet(const struct packet *packet)
{
	assert(packet->caplen <= CAPTURE_PACKET_MAX);
	assert(packet->caplen <= packet->wirelen);
	assert(!!(packet->flags & NR_TRUNCATED) ==
	       (packet->caplen < packet->wirelen));
	assert((packet->flags & NR_CLOCK) == NR_CLOCK_FILE);
}

/* @where: the file, to find the packets in, in their order; NULL: don't. */
static struct summary read_all(struct capture_file *file, const uint8_t *where,
			       size_t left)
{
	struct summary sum = { .hash = 1 };
	struct packet packet, again;
	uint16_t link_type;

	for (;;) {
		sum.outcome = capture_file_next(file, &packet, &link_type);
		if (sum.outcome == CAPTURE_FILL) {
			capture_file_fill(file);
			continue;
		}
		if (sum.outcome != CAPTURE_PACKET)
			break;
		check_packet(&packet);
		/* A lane that has no room for it comes back for it. */
		if (sum.packets % 3 == 0) {
			capture_file_unread(file);
			memset(&again, 0, sizeof(again));
			assert(capture_file_next(file, &again, &link_type) ==
			       CAPTURE_PACKET);
			assert(again.data == packet.data &&
			       again.ts_ns == packet.ts_ns &&
			       again.caplen == packet.caplen &&
			       again.flags == packet.flags);
		}
		sum.packets++;
		sum.bytes += packet.caplen;
		sum.hash = mix_packet(sum.hash, &packet, link_type);
		if (where && packet.caplen) {
			const uint8_t *at =
				memmem(where, left, packet.data, packet.caplen);

			assert(at);
			left -= (size_t)(at - where) + packet.caplen;
			where = at + packet.caplen;
		}
	}
	/* It stays so. */
	assert(capture_file_next(file, &packet, &link_type) == sum.outcome);
	assert((sum.outcome == CAPTURE_DAMAGED) ==
	       (capture_file_problem(file)[0] != '\0'));
	return sum;
}

static void check_same(const struct summary *a, const struct summary *b)
{
	assert(a->packets == b->packets && a->bytes == b->bytes &&
	       a->hash == b->hash && a->outcome == b->outcome);
}

static int make_file(const uint8_t *data, size_t size, size_t times)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	assert(fd >= 0);
	for (size_t i = 0; i < times; i++) {
		/* The packets of a pcap file stand behind one header. */
		size_t skip = i && data[0] != 0x0a ? PCAP_HEADER : 0;

		assert(write(fd, data + skip, size - skip) ==
		       (ssize_t)(size - skip));
	}
	return fd;
}

static void check_file(const uint8_t *data, size_t size, size_t times)
{
	struct capture_file *window, *memory;
	struct summary a, b;
	char error[256] = "", same[256] = "";
	int fd = make_file(data, size, times);
	int other = dup(fd), err, r;

	err = capture_file_new(&window, fd, "fuzz", false, error);
	r = capture_file_new(&memory, other, "fuzz", true, same);
	assert(err == r && strcmp(error, same) == 0);
	assert(!err == !error[0]);
	if (err)
		return;
	a = read_all(window, NULL, 0);
	b = read_all(memory, times == 1 ? data : NULL, size);
	check_same(&a, &b);
	assert(a.bytes <= (uint64_t)size * times);
	if (a.outcome == CAPTURE_OVER) {
		capture_file_rewind(window);
		b = read_all(window, NULL, 0);
		check_same(&a, &b);
	}
	(void)capture_file_link_type(window);
	capture_file_free(window);
	capture_file_free(memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t times = 1;

	if (size < 1 || size > 65536)
		return 0;
	/* Of tiny ones that would be too many packets. */
	if ((*data & 1) && size > 4096)
		times = WINDOW / size + 2;
	check_file(data + 1, size - 1, times);
	return 0;
}
