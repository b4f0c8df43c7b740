/* SPDX-License-Identifier: BSD-2-Clause */
/* When a lane sleeps, and for how long. */
#ifndef NETRINGD_LANE_REST_H
#define NETRINGD_LANE_REST_H

#include "lane.h"

/* epoll data of its mailbox; a source's events carry another, from whoever
 * made it. */
#define LANE_MAILBOX_EVENT 0

/*
 * Without packets: sleeps until there are some, or a command. Returns whether
 * the source has an error.
 */
bool lane_rest(struct lane *lane);

/* After a long turn: leaves its CPU to others, if nothing is lost by that. */
void lane_rest_after(struct lane *lane);

/* Between two bursts. */
static inline void lane_rest_between(struct lane *lane)
{
	/* packets: not worth a look at the clock before */
	if (lane->turn_packets >= 1024)
		lane_rest_after(lane);
}

#endif
