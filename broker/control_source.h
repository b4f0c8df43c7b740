/* SPDX-License-Identifier: BSD-2-Clause */
/* Between control_source.c, which opens lanes, and control_link.c. */
#ifndef NETRINGD_CONTROL_SOURCE_H
#define NETRINGD_CONTROL_SOURCE_H

#include "control.h"

/* The lane's next source, opened by the warden. 0 or -errno. */
int control_open_lane(struct control_source *source, uint32_t number,
		      struct source **out);
/* Of a socket that is open. Returns those that the lane had, with one use. */
struct frames *control_adopt_frames(struct control_source *source,
				    uint32_t number);
/*
 * Lets packets into lanes that have been opened. Those that have not, their
 * interface is gone, or the host needs, do not hold the others.
 */
int control_start_lanes(const struct control_source *source);
/*
 * Gives what the lane has to its captures, and the socket back. Waits: another
 * can have the queue only when this one has not.
 */
void control_close_lane(struct lane *lane);

/*
 * Takes the packets of an AF_XDP lane's queue, or leaves them to the host.
 * -EADDRINUSE: the host needs them. 0 also without a socket now: they are taken
 * when there is one again.
 */
int control_take_queue(const struct control_source *source, struct lane *lane,
		       bool takes);
/* Of lanes that are open and do not run yet: the state they begin with. */
void control_first_look(struct control *control, struct control_source *source);
/* A lane reports that its socket has an error. */
void control_lane_has_failed(struct lane_command *command);

#endif
