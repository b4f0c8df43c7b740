/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One buffer of whole packets, written at once. When a write stops short, the
 * buffer says where the last whole packet ended.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "savefile.h"

#define BUFFER_SIZE (1u << 20)

struct file_header {
	uint32_t magic;
	uint16_t major;
	uint16_t minor;
	uint32_t reserved[2];
	uint32_t snaplen;
	uint32_t link_type;
};

struct packet_header {
	uint32_t seconds;
	uint32_t nanoseconds;
	uint32_t caplen;
	uint32_t wirelen;
};

int savefile_open(struct savefile *file, const char *path)
{
	int err;

	memset(file, 0, sizeof(*file));
	file->buffer = malloc(BUFFER_SIZE);
	if (!file->buffer)
		return -ENOMEM;
	if (strcmp(path, "-") == 0)
		file->fd = STDOUT_FILENO;
	else
		file->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
				0666);
	if (file->fd >= 0)
		return 0;
	err = -errno;
	free(file->buffer);
	file->buffer = NULL;
	return err;
}

/* DLT_RAW is 12 or 14 in memory, by system, and 101 in files. */
static uint32_t link_type_in_file(uint16_t link_type)
{
	return link_type == 12 || link_type == 14 ? 101 : link_type;
}

void savefile_begin(struct savefile *file, uint16_t link_type)
{
	struct file_header header = {
		.magic = 0xa1b23c4d, /* nanoseconds, byte order of this host */
		.major = 2,
		.minor = 4,
		.snaplen = SAVEFILE_SNAPLEN,
		.link_type = link_type_in_file(link_type),
	};

	memcpy(file->buffer, &header, sizeof(header));
	file->used = sizeof(header);
	file->header = sizeof(header);
	file->has_begun = true;
}

/*
 * Only @done bytes of the buffer went out: takes back those of a packet that is
 * not whole, where that is possible (not in a pipe), and counts the rest out.
 */
static void savefile_cut(struct savefile *file, size_t done)
{
	size_t whole = done < file->header ? 0 : file->header;
	size_t at = file->header;
	off_t end = lseek(file->fd, 0, SEEK_CUR);

	while (at < file->used) {
		struct packet_header header;

		memcpy(&header, file->buffer + at, sizeof(header));
		at += sizeof(header) + header.caplen;
		if (at <= done)
			whole = at;
		else
			file->packets--;
	}
	if (end >= 0 && ftruncate(file->fd, end - (off_t)(done - whole)) == 0)
		lseek(file->fd, end - (off_t)(done - whole), SEEK_SET);
}

/* A stdout that somebody else made non-blocking. */
static void wait_writable(int fd)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLOUT };

	poll(&pollfd, 1, -1);
}

int savefile_flush(struct savefile *file)
{
	size_t done = 0;
	int err = 0;

	while (done < file->used && !err) {
		ssize_t n =
			write(file->fd, file->buffer + done, file->used - done);

		if (n >= 0)
			done += (size_t)n;
		else if (errno == EAGAIN)
			wait_writable(file->fd);
		else if (errno != EINTR)
			err = -errno;
	}
	if (err)
		savefile_cut(file, done);
	file->used = 0;
	file->header = 0;
	return err;
}

int savefile_add(struct savefile *file, const struct nr_record *record,
		 const uint8_t *data)
{
	struct packet_header header = {
		.seconds = (uint32_t)(record->ts_ns / 1000000000u),
		.nanoseconds = (uint32_t)(record->ts_ns % 1000000000u),
		.caplen = record->caplen < SAVEFILE_SNAPLEN ? record->caplen :
							      SAVEFILE_SNAPLEN,
		.wirelen = record->wirelen,
	};
	int err;

	if (file->used + sizeof(header) + header.caplen > BUFFER_SIZE) {
		err = savefile_flush(file);
		if (err)
			return err;
	}
	memcpy(file->buffer + file->used, &header, sizeof(header));
	memcpy(file->buffer + file->used + sizeof(header), data, header.caplen);
	file->used += sizeof(header) + header.caplen;
	file->packets++;
	return 0;
}

int savefile_close(struct savefile *file)
{
	int err = savefile_flush(file);

	if (close(file->fd) < 0 && !err)
		err = -errno;
	free(file->buffer);
	file->buffer = NULL;
	return err;
}
