/* SPDX-License-Identifier: BSD-2-Clause */
/* When a lane sleeps, and for how long. */
#ifndef NETRINGD_LANE_REST_H
#define NETRINGD_LANE_REST_H

#include "lane.h"

/* epoll data of its mailbox; a source's events carry another, from whoever
 * made it. */
#define LANE_MAILBOX_EVENT 0

/* Whether it would sleep for a short time only, as more are on their way. */
bool lane_lets_gather(const struct lane *lane);

/*
 * Without packets: sleeps until there are some, or a command. Returns whether
 * the source has an error.
 */
bool lane_rest(struct lane *lane);

/*
 * Whether the lane has been at it for long, and loses nothing if it leaves its
 * CPU to others now; begins the next turn if it does.
 */
bool lane_turn_is_over(struct lane *lane);
/* As long as the turn was. */
void lane_rest_after(struct lane *lane);

#endif
