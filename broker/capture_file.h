/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reads pcap and pcapng files, packet by packet, in place. The file may hold
 * anything: its sizes are believed only within fixed limits.
 */
#ifndef NETRINGD_CAPTURE_FILE_H
#define NETRINGD_CAPTURE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "source.h"

/* A larger packet is damage, and so is a larger block with something in it. */
#define CAPTURE_PACKET_MAX (256u << 10)
#define CAPTURE_BLOCK_MAX (1u << 20)

enum capture_outcome {
	CAPTURE_PACKET = 1,
	CAPTURE_FILL = 0, /* the next packet is not in memory yet */
	CAPTURE_OVER = -1,
	CAPTURE_DAMAGED = -2, /* see capture_file_problem(); it stays so */
};

struct capture_file;

/*
 * Takes @fd, also on error; it must be a regular file. What is appended to it
 * later is not read. @in_memory: reads all of it now; CAPTURE_FILL then never
 * comes, and a packet's bytes stay until the free.
 * Returns 0, or -errno with the reason in @error (at least 256 bytes); -EINVAL:
 * it is not a capture file.
 */
int capture_file_new(struct capture_file **file, int fd, const char *name,
		     bool in_memory, char *error);
void capture_file_free(struct capture_file *file);

/*
 * The next packet: all of @packet but its VLAN tag and flow hash. Its bytes
 * lie in the reader's memory until the next capture_file_fill(). Makes no
 * system call.
 */
enum capture_outcome capture_file_next(struct capture_file *file,
				       struct packet *packet,
				       uint16_t *link_type);
/* The packet that was last read comes next again. */
void capture_file_unread(struct capture_file *file);

/* Reads on. Bytes of all packets so far become invalid. */
void capture_file_fill(struct capture_file *file);

/* Starts over. To be followed by capture_file_next(), as ever. */
void capture_file_rewind(struct capture_file *file);

/* Of pcap's header, else of the first interface so far, else Ethernet. */
uint16_t capture_file_link_type(const struct capture_file *file);

/* "NAME: packet 7, at byte 1234: what is wrong". */
const char *capture_file_problem(const struct capture_file *file);

#endif
