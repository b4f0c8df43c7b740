/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A broker that captures from a veth pair, and what its captures were given,
 * copied, so that a test can look at all of it at the end.
 */
#ifndef TESTS_LIVE_H
#define TESTS_LIVE_H

#include "support.h"
#include "traffic.h"

/* One packet as a capture got it. */
struct taken {
	struct nr_record record;
	uint16_t link_type;
	uint16_t lane;
	uint8_t *bytes; /* record.caplen of them */
};

/* A capture and all that it was given so far. */
struct taker {
	struct nr_capture *capture;
	size_t count;
	size_t room;
	struct taken *packets;
	uint64_t gaps;
};

/* @lane_plus_one: 0: all. */
void taker_open(struct taker *taker, const char *channel,
		unsigned lane_plus_one);
void taker_close(struct taker *taker);
/* Takes what is published now, without waiting. Returns the count. */
size_t taker_take(struct taker *taker);
/* Waits until there are @count; more may come with them. */
void taker_wait(struct taker *taker, size_t count);

/*
 * The test's network (the test process enters it), a sender on its outside,
 * and a broker whose configuration is given in printf format.
 */
struct live {
	struct network network;
	struct broker broker;
	struct traffic *traffic;
};
void live_network(struct live *live);
__attribute__((format(printf, 2, 3))) void live_broker(struct live *live,
						       const char *config, ...);
void live_stop(struct live *live);

/* The warden's (first) AF_PACKET socket, as a descriptor of ours. */
int live_socket(const struct live *live);

/* Sums over the lanes of all sources. */
struct live_counts {
	uint64_t captured;
	uint64_t drops;
	uint64_t state_mask; /* a bit for each enum nr_source_state seen */
	uint64_t ring_bytes;
};
struct live_counts live_count(void);

/*
 * Waits until the sources have captured exactly @packets since their start
 * (all that was sent), then takes what each of @takers was given of them.
 */
void live_settle(struct taker *takers, unsigned count, uint64_t packets);

/*
 * A tap of the host's stack on an interface: what XDP takes never gets there.
 * How many of our frames it has been given since it was last asked.
 */
int live_tap(const char *interface);
unsigned live_tap_got(int tap);

/* The id of the XDP program on an interface; 0: none hangs there. */
uint32_t live_program(const char *interface);

/* Sends as programs do, through queues and taps: traffic.h bypasses them. */
void send_through(const char *interface, const void *bytes, size_t length);

/* Keeps this process, or child, on one CPU: else the kernel may reorder. */
void stay_on_cpu(unsigned index);

/*
 * A process that sends frames with rising numbers on an interface, for ever,
 * also when the interface goes and comes.
 */
struct stream_of_frames {
	char interface[16];
	traffic_fn describe;
	uint64_t first_seq;
	uint64_t rate;
	int cpu; /* -1: any */
	pid_t pid;
	struct shared {
		volatile sig_atomic_t must_stop;
		uint64_t sent; /* set at its end */
	} * shared;
};
void frames_start(struct stream_of_frames *frames);
/* Returns how many it has sent. */
uint64_t frames_stop(struct stream_of_frames *frames);

#endif
