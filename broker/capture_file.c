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
#include "capture_file_private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <netring/layout.h>

/* One huge page; at least CAPTURE_BLOCK_MAX, so that each block fits. */
#define BUFFER_SIZE ((size_t)2 << 20)
#define HUGE_PAGE ((size_t)2 << 20)
#define LINK_ETHERNET 1

/* libpcap, pcap-savefile(5) */
#define PCAP_MICRO 0xa1b2c3d4u
#define PCAP_NANO 0xa1b23c4du
#define PCAP_HEADER 24
#define PCAP_RECORD 16

__attribute__((format(printf, 2, 3), cold)) enum capture_outcome
capture_file_damaged(struct capture_file *f, const char *format, ...)
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
		return capture_file_damaged(f,
					    "%u bytes captured: more than %u",
					    caplen, CAPTURE_PACKET_MAX);
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

/* ------------------------------------------------------------------ either */

enum capture_outcome capture_file_next(struct capture_file *file,
				       struct packet *packet,
				       uint16_t *link_type)
{
	enum capture_outcome outcome;

	if (file->problem[0])
		return CAPTURE_DAMAGED;
	outcome = file->is_pcapng ?
			  capture_pcapng_next(file, packet, link_type) :
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
			capture_file_damaged(f, "cannot be read: %s",
					     strerror(errno));
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
	if (magic == PCAPNG_START)
		return capture_pcapng_open(f, error);
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

	/* As such: libc's makes the call that takes names, too. */
	if (syscall(SYS_fstat, f->fd, &st)) {
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
