/* SPDX-License-Identifier: BSD-2-Clause */
/* Where and how urgently a lane's thread runs. Called by that thread. */
#ifndef NETRINGD_LANE_SCHED_H
#define NETRINGD_LANE_SCHED_H

#include "lane.h"

/* CPU and priority as configured, or as is good for it. */
void lane_sched_start(struct lane *lane);

/* A real-time lane that is busy for long goes back to normal priority. */
void lane_sched_demote_if_busy(struct lane *lane);

uint64_t lane_sched_cpu_ns(void);

static inline void lane_sched_check(struct lane *lane)
{
	if (lane->is_realtime && ++lane->rounds % 256 == 0)
		lane_sched_demote_if_busy(lane);
}

#endif
