/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A window of the file in memory, and a position in it. Each step first asks
 * whether the *file* has as many bytes as a header claims (if not, it is
 * damaged, and no memory is touched), then whether the window has them (if not,
 * it must be filled), and only then looks at them.
 *
 *   buffer      at            end              capacity
 *   |-----------|-------------|----------------|
 *   base        base + at                            size (of the file)
 *
 * `at` may lie beyond `end`: a large block that is skipped is never read.
 */
#include "capture_file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/mman.h>
#include <sys/stat.h>

#include <netring/layout.h>

/* One huge page; at least CAPTURE_BLOCK_MAX, so that each block fits. */
#define BUFFER_SIZE ((size_t)2 << 20)
#define HUGE_PAGE ((size_t)2 << 20)
#define INTERFACES_MAX 65536u
#define LINK_ETHERNET 1

/* libpcap, pcap-savefile(5) */
#define PCAP_MICRO 0xa1b2c3d4u
#define PCAP_NANO 0xa1b23c4du
#define PCAP_HEADER 24
#define PCAP_RECORD 16

/* draft-ietf-opsawg-pcapng */
#define BLOCK_SECTION 0x0a0d0d0au
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

static uint16_t get16(const struct capture_file *f, const uint8_t *p)
{
	uint16_t word;

	memcpy(&word, p, sizeof(word));
	return f->is_swapped ? __builtin_bswap16(word) : word;
}

static uint32_t get32(const struct capture_file *f, const uint8_t *p)
{
	uint32_t word;

	memcpy(&word, p, sizeof(word));
	return f->is_swapped ? __builtin_bswap32(word) : word;
}

static uint64_t get64(const struct capture_file *f, const uint8_t *p)
{
	uint64_t word;

	memcpy(&word, p, sizeof(word));
	return f->is_swapped ? __builtin_bswap64(word) : word;
}

__attribute__((format(printf, 2, 3), cold)) static enum capture_outcome
damaged(struct capture_file *f, const char *format, ...)
{
	char what[128];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	snprintf(f->problem, sizeof(f->problem),
		 "%s: packet %llu, at byte %llu: %s", f->name,
		 (unsigned long long)f->packets + 1,
		 (unsigned long long)(f->base + f->at), what);
	return CAPTURE_DAMAGED;
}

const char *capture_file_problem(const struct capture_file *file)
{
	return file->problem;
}

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
		return damaged(f, "%s breaks off: %llu of %llu bytes are there",
			       what, (unsigned long long)left,
			       (unsigned long long)bytes);
	return CAPTURE_FILL;
}

/* -------------------------------------------------------------------- pcap */

static enum capture_outcome
next_pcap(struct capture_file *f, struct packet *packet, uint16_t *link_type)
{
	const uint8_t *p = f->buffer + f->at;
	uint32_t caplen, wirelen;
	int outcome;

	if (f->base + f->at == f->size)
		return CAPTURE_OVER;
	outcome = reach(f, PCAP_RECORD, "the packet's header");
	if (outcome != CAPTURE_PACKET)
		return outcome;
	caplen = get32(f, p + 8);
	wirelen = get32(f, p + 12);
	if (caplen > CAPTURE_PACKET_MAX)
		return damaged(f, "%u bytes captured: more than %u", caplen,
			       CAPTURE_PACKET_MAX);
	outcome = reach(f, PCAP_RECORD + (size_t)caplen, "the packet");
	if (outcome != CAPTURE_PACKET)
		return outcome;

	packet->data = p + PCAP_RECORD;
	packet->ts_ns = get32(f, p) * UINT64_C(1000000000) +
			(uint64_t)get32(f, p + 4) * f->fraction_ns;
	packet->caplen = caplen;
	packet->wirelen = wirelen;
	packet->flags = NR_DIRECTION_UNKNOWN;
	packet->interface = 0;
	*link_type = f->link_type;
	f->packet_at = f->at;
	f->at += PCAP_RECORD + caplen;
	return CAPTURE_PACKET;
}

static int open_pcap(struct capture_file *f, char *error)
{
	unsigned major, minor;

	if (f->end < PCAP_HEADER) {
		snprintf(error, 256,
			 "%s: not a whole pcap file: it breaks off in its "
			 "header, after %zu of %d bytes",
			 f->name, f->end, PCAP_HEADER);
		return -EINVAL;
	}
	major = get16(f, f->buffer + 4);
	minor = get16(f, f->buffer + 6);
	if (major != 2 || minor != 4) {
		snprintf(error, 256,
			 "%s: a pcap file of version %u.%u; it should be 2.4",
			 f->name, major, minor);
		return -EINVAL;
	}
	/* The upper half is about frame check sequences. */
	f->link_type = (uint16_t)get32(f, f->buffer + 20);
	f->at = PCAP_HEADER;
	return 0;
}

/* ------------------------------------------------------------------ pcapng */

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
		return damaged(f, "a section header of %u bytes", length);
	if (get16(f, block + 12) != 1)
		return damaged(f,
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
		return damaged(f, "an interface block of %u bytes", length);
	if (f->interface_count == INTERFACES_MAX)
		return damaged(f, "more than %u interfaces", INTERFACES_MAX);
	if (f->interface_count == f->interface_room && !interfaces_grow(f))
		return damaged(f, "no memory for another interface");
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
			return damaged(f,
				       "option %u of an interface has %u "
				       "bytes",
				       code, size);
	}
	if (more < 0)
		return damaged(f, "an option runs over its interface block");
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
		return damaged(f, "a packet block of %u bytes", length);
	index = type == BLOCK_PACKET ? get16(f, block + 8) :
				       get32(f, block + 8);
	if (index >= f->interface_count)
		return damaged(f, "it names interface %u of %u", index,
			       f->interface_count);
	in = &f->interfaces[index];
	caplen = get32(f, block + 20);
	if (caplen > CAPTURE_PACKET_MAX)
		return damaged(f, "%u bytes captured: more than %u", caplen,
			       CAPTURE_PACKET_MAX);
	if (caplen > room)
		return damaged(f, "%u bytes captured in a block for %u", caplen,
			       room);

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
		return damaged(f, "a simple packet block of %u bytes", length);
	if (!f->interface_count)
		return damaged(f, "a packet without an interface");
	packet->wirelen = get32(f, block + 8);
	caplen = packet->wirelen;
	if (in->snaplen && in->snaplen < caplen)
		caplen = in->snaplen;
	if (caplen > CAPTURE_PACKET_MAX)
		return damaged(f, "%u bytes captured: more than %u", caplen,
			       CAPTURE_PACKET_MAX);
	if (caplen > length - 16)
		return damaged(f, "%u bytes captured in a block for %u", caplen,
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
		return damaged(f, "a section without a byte order");
	*length = get32(f, f->buffer + f->at + 4);
	if (*length < 12 || *length % 4)
		return damaged(f, "a block of %u bytes", *length);
	if (!is_needed(*type)) {
		outcome = reach(f, *length, "the block");
		/* Nothing of it is looked at, in memory or not. */
		return outcome == CAPTURE_DAMAGED ? outcome : CAPTURE_PACKET;
	}
	if (*length > CAPTURE_BLOCK_MAX)
		return damaged(f, "a block of %u bytes: more than %u", *length,
			       CAPTURE_BLOCK_MAX);
	return reach(f, *length, "the block");
}

/* Returns CAPTURE_FILL for a block that is no packet. */
static enum capture_outcome read_block(struct capture_file *f, uint32_t type,
				       uint32_t length, struct packet *packet,
				       uint16_t *link_type)
{
	const uint8_t *block = f->buffer + f->at;

	if (get32(f, block + length - 4) != length)
		return damaged(f, "a block's two lengths differ: %u and %u",
			       length, get32(f, block + length - 4));
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

static enum capture_outcome
next_pcapng(struct capture_file *f, struct packet *packet, uint16_t *link_type)
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

static int open_pcapng(struct capture_file *f, char *error)
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

/* ------------------------------------------------------------------ either */

enum capture_outcome capture_file_next(struct capture_file *file,
				       struct packet *packet,
				       uint16_t *link_type)
{
	enum capture_outcome outcome;

	if (file->problem[0])
		return CAPTURE_DAMAGED;
	outcome = file->is_pcapng ? next_pcapng(file, packet, link_type) :
				    next_pcap(file, packet, link_type);
	if (outcome != CAPTURE_PACKET)
		return outcome;
	/* The next headers are on their way while this packet is looked at. */
	__builtin_prefetch(file->buffer + file->at);
	__builtin_prefetch(file->buffer + file->at + 64);
	file->packets++;
	packet->flags |= NR_CLOCK_FILE;
	/* Some writers leave the wire length out; no record says caplen > it.
	 */
	if (packet->wirelen < packet->caplen)
		packet->wirelen = packet->caplen;
	else if (packet->wirelen > packet->caplen)
		packet->flags |= NR_TRUNCATED;
	return CAPTURE_PACKET;
}

void capture_file_unread(struct capture_file *file)
{
	file->at = file->packet_at;
	file->packets--;
}

void capture_file_fill(struct capture_file *f)
{
	if (f->at >= f->end) {
		f->base += f->at;
		f->end = 0;
	} else {
		memmove(f->buffer, f->buffer + f->at, f->end - f->at);
		f->base += f->at;
		f->end -= f->at;
	}
	f->at = 0;
	while (f->end < f->capacity && f->base + f->end < f->size) {
		uint64_t left = f->size - f->base - f->end;
		size_t room = f->capacity - f->end;
		ssize_t n = pread(f->fd, f->buffer + f->end,
				  left < room ? left : room,
				  (off_t)(f->base + f->end));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			damaged(f, "cannot be read: %s", strerror(errno));
			return;
		}
		/* Shorter than it was: so the file ends here. */
		if (n == 0)
			f->size = f->base + f->end;
		f->end += (size_t)n;
	}
}

void capture_file_rewind(struct capture_file *file)
{
	file->packets = 0;
	file->interface_count = 0;
	if (file->base) {
		file->base = 0;
		file->end = 0;
	}
	file->at = file->is_pcapng ? 0 : PCAP_HEADER;
}

uint16_t capture_file_link_type(const struct capture_file *file)
{
	if (!file->is_pcapng)
		return file->link_type;
	return file->interface_count ? file->interfaces[0].link_type :
				       LINK_ETHERNET;
}

/* By the first four bytes: which format, which byte order. */
static int open_format(struct capture_file *f, char *error)
{
	uint32_t magic = 0;
	char start[16] = "";

	if (f->end >= sizeof(magic))
		memcpy(&magic, f->buffer, sizeof(magic));
	if (magic == BLOCK_SECTION)
		return open_pcapng(f, error);
	f->is_swapped = magic == __builtin_bswap32(PCAP_MICRO) ||
			magic == __builtin_bswap32(PCAP_NANO);
	if (f->is_swapped)
		magic = __builtin_bswap32(magic);
	f->fraction_ns = magic == PCAP_NANO ? 1 : 1000;
	if (magic == PCAP_MICRO || magic == PCAP_NANO)
		return open_pcap(f, error);

	for (size_t i = 0; i < 4 && i < f->end; i++)
		sprintf(start + 2 * i, "%02x", f->buffer[i]);
	if (f->end)
		snprintf(error, 256,
			 "%s: not a pcap or pcapng file: starts with 0x%s",
			 f->name, start);
	else
		snprintf(error, 256,
			 "%s: not a pcap or pcapng file: it is empty", f->name);
	return -EINVAL;
}

static int buffer_new(struct capture_file *f, bool in_memory, char *error)
{
	uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) *
			  (uint64_t)sysconf(_SC_PAGESIZE);

	f->capacity = BUFFER_SIZE;
	if (in_memory && f->size > f->capacity) {
		if (f->size > memory) {
			snprintf(error, 256,
				 "%s: %llu bytes do not fit in memory: use "
				 "preload = no",
				 f->name, (unsigned long long)f->size);
			return -ENOMEM;
		}
		f->capacity = (f->size + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
	}
	f->buffer = mmap(NULL, f->capacity, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	f->is_mapped = f->buffer != MAP_FAILED;
	if (!f->is_mapped) {
		snprintf(error, 256, "%s: no memory for %zu bytes of it",
			 f->name, f->capacity);
		return -ENOMEM;
	}
	/* Reading fills every page; without huge ones it only takes longer. */
	madvise(f->buffer, f->capacity, MADV_HUGEPAGE);
	return 0;
}

static int open_file(struct capture_file *f, bool in_memory, char *error)
{
	struct stat st;
	int err;

	if (fstat(f->fd, &st)) {
		err = -errno;
		snprintf(error, 256, "%s: %s", f->name, strerror(-err));
		return err;
	}
	if (!S_ISREG(st.st_mode)) {
		snprintf(error, 256,
			 "%s: not a regular file; write the packets to one",
			 f->name);
		return -EINVAL;
	}
	f->size = (uint64_t)st.st_size;
	err = buffer_new(f, in_memory, error);
	if (err)
		return err;
	capture_file_fill(f);
	if (f->problem[0]) {
		snprintf(error, 256, "%.255s", f->problem);
		return -EIO;
	}
	return open_format(f, error);
}

int capture_file_new(struct capture_file **file, int fd, const char *name,
		     bool in_memory, char *error)
{
	struct capture_file *f = calloc(1, sizeof(*f));
	int err;

	if (!f) {
		close(fd);
		snprintf(error, 256, "%.160s: no memory", name);
		return -ENOMEM;
	}
	f->fd = fd;
	snprintf(f->name, sizeof(f->name), "%s", name);
	err = open_file(f, in_memory, error);
	if (err) {
		capture_file_free(f);
		return err;
	}
	*file = f;
	return 0;
}

void capture_file_free(struct capture_file *file)
{
	if (!file)
		return;
	if (file->is_mapped)
		munmap(file->buffer, file->capacity);
	close(file->fd);
	free(file->interfaces);
	free(file);
}
