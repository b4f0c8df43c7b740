/* SPDX-License-Identifier: BSD-2-Clause */
/* What a lane does for each of its channels. */
#ifndef NETRINGD_LANE_CHANNEL_H
#define NETRINGD_LANE_CHANNEL_H

#include "lane.h"

/*
 * Adds a capture, which has a place then, and no share of a group's flows that
 * others have. @arena is taken if the channel has none yet, else it is NULL.
 * False: the set-aside cannot hold its guarantee.
 */
bool lane_channel_add(struct lane_channel *channel, struct subscription *sub,
		      const struct membership *membership, struct arena *arena,
		      const struct source *source);
/* A capture is there to stay: a group gives it a share of its flows. */
void lane_channel_enter(const struct subscription *sub);

/*
 * A capture goes on in @to where it leaves off in @from, without a packet
 * between; or ends, if it does not follow or has no place there.
 */
void lane_channel_move(struct lane_channel *from, struct lane_channel *to,
		       struct move_pair *pair, struct arena *arena,
		       const struct source *source);
/* All who do have moved: their groups' flows follow them. */
void lane_channel_follow(const struct lane_channel *from);
/* Removes a capture and all it holds. */
void lane_channel_remove(struct lane_channel *channel,
			 struct subscription *sub);

/*
 * The source has missed @packets, all of which a loaned channel would have had:
 * a gap at the end of it. It is left, or ended, right after this.
 */
void lane_channel_miss(struct lane_channel *channel, uint64_t packets);

/*
 * Filters, cuts and appends; publishes nothing unless a block gets full. A
 * channel that is loaned others than @frames waits for those.
 */
void lane_channel_append(struct lane_channel *channel,
			 const struct burst *burst,
			 const struct frames *frames);

/* Whether @burst can be appended without refusing any capture. */
bool lane_channel_has_room(const struct lane_channel *channel,
			   const struct burst *burst);

/* Takes back what was released, lets in who was refused. */
void lane_channel_collect(struct lane_channel *channel);

/* Publishes what was appended. */
void lane_channel_publish(struct lane_channel *channel);

/* Wakes who sleeps although there is more, ends who broke the rules. */
void lane_channel_ring(struct lane_channel *channel);

/* There was no memory to wake somebody: it is to be settled again. */
bool lane_channel_owes_bell(const struct lane_channel *channel);

/* Nothing more will come: tells all captures so. */
void lane_channel_end(struct lane_channel *channel, unsigned why);

uint64_t lane_channel_bells(const struct lane_channel *channel);
void lane_channel_stat(const struct lane_channel *channel,
		       struct nr_msg_channel_lane *msg);
void lane_channel_stat_capture(const struct lane_channel *channel,
			       const struct subscription *sub,
			       struct nr_msg_capture *msg);

void lane_channel_deinit(struct lane_channel *channel);

#endif
