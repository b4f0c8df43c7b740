/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the formats of a capture file share: the window, the words in it, and
 * how far they may be looked at. See capture_file.c for the picture.
 */
#ifndef NETRINGD_CAPTURE_FILE_PRIVATE_H
#define NETRINGD_CAPTURE_FILE_PRIVATE_H

#include <string.h>

#include "capture_file.h"

/* How a pcapng file starts: the same bytes in both orders. */
#define PCAPNG_START 0x0a0d0d0au

/* A time stamp t means (t / divisor * factor >> shift) + offset_ns. */
struct interface {
	uint64_t divisor;
	uint64_t factor;
	unsigned shift;
	int64_t offset_s;
	uint32_t snaplen;
	uint16_t link_type;
};

struct capture_file {
	uint8_t *buffer;
	size_t at;
	size_t end;
	size_t capacity;
	uint64_t base;
	uint64_t size;
	bool is_swapped; /* of the other byte order than this host's */
	bool is_pcapng;
	bool is_mapped;
	int fd;

	/* pcap */
	uint32_t fraction_ns;
	uint16_t link_type;

	/* pcapng: of the current section */
	struct interface *interfaces;
	uint32_t interface_count;
	uint32_t interface_room;

	uint64_t packets; /* read so far */
	size_t packet_at; /* where the last one starts */
	char name[160];
	char problem[400];
};

static inline uint16_t get16(const struct capture_file *f, const uint8_t *p)
{
	uint16_t word;

	memcpy(&word, p, sizeof(word));
	return f->is_swapped ? __builtin_bswap16(word) : word;
}

static inline uint32_t get32(const struct capture_file *f, const uint8_t *p)
{
	uint32_t word;

	memcpy(&word, p, sizeof(word));
	return f->is_swapped ? __builtin_bswap32(word) : word;
}

static inline uint64_t get64(const struct capture_file *f, const uint8_t *p)
{
	uint64_t word;

	memcpy(&word, p, sizeof(word));
	return f->is_swapped ? __builtin_bswap64(word) : word;
}

/* Says what is wrong, and where. Returns CAPTURE_DAMAGED. */
__attribute__((format(printf, 2, 3), cold)) enum capture_outcome
capture_file_damaged(struct capture_file *f, const char *format, ...);

/*
 * Whether @bytes from the position on can be looked at: 1, or an outcome.
 * @what breaks off if the file has fewer.
 */
static inline int reach(struct capture_file *f, size_t bytes, const char *what)
{
	uint64_t left;

	if (__builtin_expect(f->at + bytes <= f->end, 1))
		return CAPTURE_PACKET;
	left = f->size - f->base - f->at;
	if (left < bytes)
		return capture_file_damaged(
			f, "%s breaks off: %llu of %llu bytes are there", what,
			(unsigned long long)left, (unsigned long long)bytes);
	return CAPTURE_FILL;
}

/*
 * capture_pcapng.c: as capture_file_next(); and its first section, from the
 * start of the window: 0, or -EINVAL with the reason in @error.
 */
enum capture_outcome capture_pcapng_next(struct capture_file *f,
					 struct packet *packet,
					 uint16_t *link_type);
int capture_pcapng_open(struct capture_file *f, char *error);

#endif
