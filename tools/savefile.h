/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A pcap file with nanoseconds (pcap-savefile(5)). Not written through
 * libpcap: what a full disk or a reader that went away leaves must be whole
 * packets, and their number known.
 */
#ifndef NETRING_TOOL_SAVEFILE_H
#define NETRING_TOOL_SAVEFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <netring.h>

#define SAVEFILE_SNAPLEN 262144u /* what readers take at most */

struct savefile {
	int fd;
	char *buffer;
	size_t used;	  /* bytes in the buffer */
	size_t header;	  /* of these, the file's header */
	uint64_t packets; /* whole ones, in the file and in the buffer */
	bool has_begun;
};

/* Makes the file; "-" is stdout. Returns 0 or -errno. */
int savefile_open(struct savefile *file, const char *path);

/* Starts it with its header. The link type is one of LINKTYPE_, or DLT_RAW. */
void savefile_begin(struct savefile *file, uint16_t link_type);

/*
 * Adds a packet. Returns 0, or -errno after the file has been cut to its last
 * whole packet and what was buffered beyond has been dropped.
 */
int savefile_add(struct savefile *file, const struct nr_record *record,
		 const uint8_t *data);

/* Writes out the buffer. Returns as savefile_add(). */
int savefile_flush(struct savefile *file);

/* The same, and closes the file; @packets stays. */
int savefile_close(struct savefile *file);

#endif
