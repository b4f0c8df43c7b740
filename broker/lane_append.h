/* SPDX-License-Identifier: BSD-2-Clause */
/* From a burst into the streams of a channel. */
#ifndef NETRINGD_LANE_APPEND_H
#define NETRINGD_LANE_APPEND_H

#include "lane.h"

/* How many bytes of @packet the channel shows. */
uint32_t lane_append_shows(const struct lane_channel *channel,
			   const struct packet *packet);

/*
 * Appends what passes the channel's filter: to the stream of all, and of each
 * group to that of one member. Returns how many packets passed.
 */
uint32_t lane_append(struct lane_channel *channel, const struct burst *burst);

#endif
