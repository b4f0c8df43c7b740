/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A mapping cannot be taken back. So a channel that changes gets new memory,
 * and its captures move there: those that may, and said at attach that they
 * can. The others are told to attach again.
 */
#ifndef NETRINGD_MOVE_H
#define NETRINGD_MOVE_H

#include "control.h"

/*
 * Moves the captures of @from, which is retired, to @to. They have a second to
 * map the new memory; then the lanes switch. @with_source: together with all of
 * the source, which then gets new frames (it `is_refitting`).
 */
void move_start(struct control_channel *from, struct control_channel *to,
		bool with_source);

/* An acknowledgement has come, or time has passed. */
void move_check(struct control *control);

/* What a move has sent to the session's peer lies unread no more. */
void move_was_read(struct session *session);

/* When to call move_check() at the latest (ns); 0: nothing moves. */
uint64_t move_deadline(const struct control *control);

/* Whether captures are being moved from or to @channel. */
bool move_concerns(const struct control *control,
		   const struct control_channel *channel);

/* Where the captures of @channel are being moved to, or NULL. */
const struct control_channel *move_next(const struct control *control,
					const struct control_channel *channel);

void move_free_all(struct control *control);

#endif
