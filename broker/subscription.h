/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The broker's side of a capture on one lane: what was lent to it, what it
 * gave back, and how to wake it. Owned by the lane from the attach to the
 * detach; everything here is the lane's plain memory but for the ring slice
 * (the capture reads it) and the return page (the capture writes it).
 */
#ifndef NETRINGD_SUBSCRIPTION_H
#define NETRINGD_SUBSCRIPTION_H

#include <stdbool.h>
#include <stdint.h>

#include <netring/proto.h>
#include <netring/ring.h>

#include "admission.h"
#include "mailbox.h"

struct flow_group;
struct stream;

/* A lent block. The id that goes out is generation << 16 | index. */
struct lease {
	uint32_t block;
	uint32_t generation;
	uint32_t charge; /* enum admission_charge; NONE: the entry is free */
	uint64_t seq;	 /* of the first record it lets read */
	uint64_t lent_ns;
	uint32_t next_free;
};

/* What a capture had before it moved here. */
struct subscription_totals {
	uint64_t seen;
	uint64_t delivered;
	uint64_t bytes;
	uint64_t filtered;
	uint64_t to_others;
	uint64_t lost;
	uint64_t retired;
	uint64_t refusals;
	uint64_t bells;
	uint64_t backlog_high;
	uint32_t held_high;
};

enum subscription_state {
	SUBSCRIPTION_ADMITTED, /* it can read the stream's open block */
	SUBSCRIPTION_REFUSED,  /* it holds too much: see refused_at */
	SUBSCRIPTION_ENDED,    /* the end word is out */
};

struct subscription {
	struct subscription *next; /* of the stream's captures */
	struct stream *stream;
	struct flow_group *group; /* or NULL */
	struct nr_ring *ring;
	const struct nr_return *page;
	int bell; /* the connection; borrowed from the session */
	uint32_t capture_id;
	uint32_t lane;
	enum subscription_state state;
	struct grant grant;
	uint32_t lease_count; /* slots, leases and release slots of it */
	uint32_t held;
	uint32_t held_high;
	uint64_t backlog_high;
	uint64_t released_ns; /* when it last gave something back */
	uint32_t free_lease;
	uint64_t head;	   /* descriptors queued */
	uint64_t tail;	   /* releases taken */
	uint64_t rung;	   /* value of armed that was last answered, */
	uint64_t rung_ns;  /* when, */
	uint64_t rung_seq; /* and what was published by then */
	uint64_t bells;
	uint64_t ended_at; /* sequence number, once it has ended */
	uint64_t refused_at;
	uint64_t lost;
	uint64_t retired; /* lost, too: see subscription_miss() */
	/* of the channel, at the attach; its consumer may not know them */
	uint64_t base_seen;
	uint64_t base_filtered;
	/* and at its end */
	uint64_t end_seen;
	uint64_t end_filtered;
	/* bytes of the stream at the same moments, for the statistics */
	uint64_t base_bytes;
	uint64_t refused_at_bytes;
	uint64_t lost_bytes;
	uint64_t ended_at_bytes;
	uint64_t refusals;
	uint64_t ring_debt_ns; /* what slow rings have cost, less pardons */
	uint64_t ring_slow_ns; /* when it was last slow */
	bool was_slow;	       /* by the clock, once: its rings are timed */
	struct subscription_totals carried;
	bool is_denied;	 /* may not go on; the control thread's, see there */
	bool is_counted; /* one of the lane's captures */
	bool has_moved;	 /* ended, to go on elsewhere: */
	struct subscription *after;
	struct subscription *before; /* the same, seen from there */
	bool is_let_go; /* evicted, or moved and holding nothing: was told */
	const char *offence;	     /* why it is to be ended, or NULL */
	struct mailbox *out;	     /* to the control thread */
	struct lane_command evicted; /* what is put there then */
	struct lease leases[NR_LEASES_MAX];
};

/*
 * Prepares @sub for @lease_count leases, of which @guarantee are promised; ring
 * and page are zeroed memory that it borrows. Writes the slice's header.
 */
void subscription_init(struct subscription *sub, struct nr_ring *ring,
		       const struct nr_return *page, uint32_t lease_count,
		       uint32_t guarantee, uint32_t budget);

/*
 * Offers the stream's open block from record @first on. If admission grants
 * it, a descriptor is queued; else what follows is lost to this capture.
 */
void subscription_offer(struct subscription *sub, uint32_t first);

/* Takes back what the capture released. Checks everything; sets offence. */
void subscription_collect(struct subscription *sub);

/* Takes back all that it holds, released or not: it is gone. */
void subscription_drop(struct subscription *sub);

/*
 * @packets passed by behind what its stream has published, which is about to
 * end: told by the end word as a gap.
 */
void subscription_miss(struct subscription *sub, uint64_t packets);

/* Says that nothing follows, and why (NR_END_*). Once. */
void subscription_end(struct subscription *sub, unsigned why);

/*
 * Wakes the capture if it sleeps and has not been woken since. False: there was
 * no memory to, and it sleeps on.
 */
bool subscription_ring(struct subscription *sub);

/* Lost so far, the tail it is being refused included. */
uint64_t subscription_lost(const struct subscription *sub);

/* Captured bytes of what was made readable to it. */
uint64_t subscription_delivered_bytes(const struct subscription *sub);

/* What it holds, for how long, and whether it has come to a halt. */
void subscription_stat_backlog(const struct subscription *sub,
			       struct nr_msg_capture *msg);

/*
 * It was offered a block and may be lent another; @needs_pool is set if that
 * one would have to come from the pool.
 */
bool subscription_has_room(const struct subscription *sub, bool *needs_pool);

#endif
