/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A source turns a kernel ring, or a file, into bursts of packets for a lane.
 * It knows nothing of channels or consumers.
 */
#ifndef NETRINGD_SOURCE_H
#define NETRINGD_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"

#define BURST_MAX 256

/* One packet as the lane sees it: borrowed until source->ops->done(). */
struct packet {
	const uint8_t *data;
	uint64_t ts_ns;
	uint32_t caplen;
	uint32_t wirelen;
	uint32_t flow_hash;
	uint16_t vlan_tci;
	uint16_t vlan_tpid;
	uint16_t flags; /* of struct nr_record */
	uint16_t interface;
};

struct burst {
	uint32_t count;
	uint16_t link_type; /* one for all of a burst */
	struct packet packets[BURST_MAX];
};

/* What source_ops.burst says besides "this many packets" (> 0). */
enum source_outcome {
	SOURCE_NOTHING = 0,  /* sleep on wait_fd, or for wait_ns */
	SOURCE_IS_OVER = -1, /* there will be no more, ever */
	/* ask the control thread what is wrong with it */
	SOURCE_HAS_FAILED = -2,
	/* its ring is not as the kernel writes it; said once */
	SOURCE_IS_BROKEN = -3,
};

struct source;

struct source_ops {
	/*
	 * Fills @burst with what is there, at most @max_packets (<= BURST_MAX)
	 * packets, and, after the first, no more than @max_bytes captured
	 * bytes; sets the count. Never blocks. Returns the count or an outcome.
	 */
	int (*burst)(struct source *source, struct burst *burst,
		     uint32_t max_packets, size_t max_bytes);
	/* The packets of the last burst are used up. */
	void (*done)(struct source *source);
	/*
	 * With wait_fd, if at all: looks for packets without a sleep, as long
	 * as is configured. Whether there are some. All bells have rung.
	 */
	bool (*poll)(struct source *source);
	/* A descriptor that becomes readable when packets come, or -1. */
	int (*wait_fd)(const struct source *source);
	/* With one: how much of its ring waits to be taken, in percent. */
	uint32_t (*filled)(const struct source *source);
	/* Without one: ns until the next packet is due. */
	uint64_t (*wait_ns)(const struct source *source);
	void (*free)(struct source *source);
};

/* The first member of each kind of source. */
struct source {
	const struct source_ops *ops;
	bool is_lossless;   /* wait for consumers instead of losing */
	uint32_t can_wait;  /* packets: its ring has room for many times that */
	uint32_t gather_ns; /* so long they may wait, where many come */
	uint16_t link_type; /* of the first packets */
};

/*
 * A capture file (pcap or pcapng), read from @fd, which it takes, also on
 * error. @name is for messages. Fails with -EINVAL and the reason in @error
 * (at least 256 bytes) if the file is not a capture. A file that breaks off
 * or is damaged later gives what came before it, a logged warning that says
 * at which byte and packet, and then its end.
 */
int source_replay_new(struct source **source,
		      const struct config_source *config, int fd,
		      const char *name, char *error);

#endif
