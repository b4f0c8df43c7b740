/* SPDX-License-Identifier: BSD-2-Clause */
/* Where and how urgently a lane's thread runs. */
#ifndef NETRINGD_LANE_SCHED_H
#define NETRINGD_LANE_SCHED_H

#include "lane.h"

/*
 * Takes the highest priority that a lane of @config wants. Done by the warden
 * for an engine to be, which inherits it and can only go down from there:
 * without privilege RLIMIT_RTPRIO would have to be raised, and that takes
 * CAP_SYS_RESOURCE.
 */
void lane_sched_prepare(const struct config *config);

/* The calling thread goes to normal priority, for good. */
void lane_sched_normal(void);

/*
 * For the whole process: a thread that spins at SCHED_FIFO for seconds goes to
 * normal priority, and who evades that ends the process. A lane sees sooner
 * that it is busy for long. Before the sandbox. Returns 0 or -errno.
 */
int lane_sched_limit(void);

/* By the lane's thread: CPU and priority as configured, or as is good for it.
 */
void lane_sched_start(struct lane *lane);
/* It goes to normal priority, and leaves its place to others. */
void lane_sched_end(struct lane *lane);

/* A real-time lane that is busy for long goes back to normal priority. */
void lane_sched_demote_if_busy(struct lane *lane);

uint64_t lane_sched_cpu_ns(void);

static inline void lane_sched_check(struct lane *lane)
{
	if (lane->is_realtime && ++lane->rounds % 256 == 0)
		lane_sched_demote_if_busy(lane);
}

#endif
