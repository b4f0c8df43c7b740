/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A lane: one queue of a source, one thread, the only producer of all that
 * hangs on it. The lane owns its streams, blocks, leases and counts outright;
 * the control thread asks it things by commands, which come back done.
 */
#ifndef NETRINGD_LANE_H
#define NETRINGD_LANE_H

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>

#include <netring/proto.h>

#include "config.h"
#include "filter.h"
#include "group.h"
#include "mailbox.h"
#include "source.h"
#include "stream.h"
#include "users.h"

/* For any number of captures that come. */
#define LANE_WAITS_TO_BE_TOLD UINT32_MAX

struct lane;

/*
 * A channel on this lane. The control thread makes and frees it, and its
 * arena; from lane_add_channel() to lane_remove_channel() it is the lane's.
 */
struct lane_channel {
	struct lane_channel *next; /* on the lane */
	const struct config_channel *config;
	bool is_retired;	 /* gets no packets any more, see lane_move() */
	struct arena *arena;	 /* NULL until the first capture */
	struct stream broadcast; /* of the captures without a group */
	struct flow_group *groups;
	struct stream *streams; /* all that have captures */
	uint16_t link_type;	/* of the packets now */
	struct filter *filter;
	bool filter_is_unfit; /* it does not compile for this link type */
	uint16_t filter_link_type;
	uint64_t seen;
	uint64_t filtered;
	uint64_t passed;
	uint64_t bytes_gone; /* published by streams that are not among them */
};

struct lane {
	uint32_t number; /* within its source */
	const struct config_source *config;
	const char *interface;
	uint64_t ring_bytes; /* of the kernel's ring; the control thread's */
	struct source *source;
	uint32_t link_type;	      /* of its source; see lane_link_type() */
	struct frames *frames;	      /* of an xdp source, lent: its packets' */
	bool is_generic, is_zerocopy; /* of that; the control thread's */
	uint32_t users;		      /* captures on it; the control thread's */
	/* likewise: those whose clients read, and whom an engine before had */
	struct users entered, awaited;
	struct lane_command start;
	bool is_left; /* to the host, which needs its packets; the same */
	struct lane_channel *channels; /* those of its source */
	struct mailbox in;	       /* to this lane */
	struct mailbox *out;	       /* to the control thread */
	pthread_t thread;
	bool has_thread;

	/* the thread's own */
	int epoll_fd;
	bool owns_epoll;
	enum nr_source_state state;
	uint32_t wait;	  /* captures without which it does not start */
	bool is_parked;	  /* the source has an error: control looks at it */
	bool is_draining; /* a source that goes: its errors are nobody's */
	bool must_stop;
	bool is_realtime;
	uint32_t awake_packets; /* since it slept */
	uint32_t turn_packets;	/* since it last left its CPU to others */
	uint64_t woke_ns;	/* when it last slept to the end */
	uint64_t each_ns;	/* from one such time to the next */
	uint64_t turn_ns;	/* when this turn began */
	uint64_t rang_ns;	/* when it last rang all that sleep */
	uint64_t ringing_ns;	/* how long that took */
	uint32_t turn_filled;	/* of the ring, percent, when the last ended */
	uint32_t rounds;	/* until its share of the CPU is looked at */
	uint64_t checked_ns;
	uint64_t checked_cpu_ns;
	uint32_t capture_count;
	uint64_t captured;
	uint64_t bytes;
	uint64_t bursts;
	uint64_t bells_gone; /* of captures that have left */
	uint64_t retired; /* packets missed while its frames were made anew */
	struct burst burst;

	/* a note to the control thread, on its way once at most */
	struct lane_command failed;
	bool ring_is_broken; /* goes with it */
};

/* It takes no packets, and knows no time at which it will. */
static inline bool lane_is_idle(const struct lane *lane)
{
	return lane->state == NR_SOURCE_WAITING ||
	       lane->state == NR_SOURCE_OVER || lane->is_parked;
}

/* For a lane whose queue is not there. */
struct source *lane_no_source(void);

/*
 * Prepares a lane for @source, which it takes, to start when lane->wait
 * captures are attached.
 * @failed is called in the control thread when the source reports an error;
 * lane_resume() goes on. Returns 0 or -errno.
 */
int lane_init(struct lane *lane, struct source *source, struct mailbox *out,
	      void (*failed)(struct lane_command *));
int lane_start(struct lane *lane);
/* Of the source's packets at first. Any thread may ask. */
static inline uint32_t lane_link_type(const struct lane *lane)
{
	return __atomic_load_n(&lane->link_type, __ATOMIC_RELAXED);
}
/* After a stop command has come back. */
void lane_join(struct lane *lane);
void lane_deinit(struct lane *lane);

/* Sends @command, which the lane borrows until done() is called. */
static inline void lane_send(struct lane *lane, struct lane_command *command)
{
	command->lane = lane;
	mailbox_put(&lane->in, command);
}

/* ---------------------------------------------------------- the commands */

/* The group that a capture joins; without a name, none. */
struct membership {
	char name[NR_GROUP_MAX];
	uid_t uid;
	uint32_t epoch; /* it has been told, where it comes from */
};

/* Adds or removes a channel; one that is removed has no captures. */
struct channel_command {
	struct lane_command base;
	struct lane_channel *channel;
	unsigned why; /* lane_end_channel(): NR_END_* */
};
void lane_add_channel(struct lane *lane, struct lane_command *command);
void lane_remove_channel(struct lane *lane, struct lane_command *command);
/* Ends all captures of a channel, and gives it no more packets. */
void lane_end_channel(struct lane *lane, struct lane_command *command);

/*
 * Attach: a place on this lane; others may refuse. @arena: lent for as long as
 * the channel lives.
 */
struct attach_command {
	struct lane_command base;
	struct lane_channel *channel;
	struct arena *arena;
	struct subscription *sub;
	struct membership membership;
	bool is_refused;
	uint32_t set_aside; /* for the message that refuses */
	uint32_t promised;
};
void lane_attach(struct lane *lane, struct lane_command *command);

/*
 * All lanes have a place for it, and its client has acknowledged: it counts,
 * and takes part in its group.
 */
struct enter_command {
	struct lane_command base;
	struct subscription *sub;
};
void lane_enter(struct lane *lane, struct lane_command *command);

/* Detach: after this the lane knows nothing of the capture. */
struct detach_command {
	struct lane_command base;
	struct lane_channel *channel;
	struct subscription *sub;
};
void lane_detach(struct lane *lane, struct lane_command *command);

/* Statistics: the numbers of what the control thread has laid out. */
struct stat_entry {
	const struct lane_channel *channel;
	struct subscription *sub;
	struct nr_msg_capture *msg;
};
struct stat_channel {
	struct lane_channel *channel;
	struct nr_msg_channel_lane msg;
};
struct stat_command {
	struct lane_command base;
	struct nr_msg_source *source; /* or NULL */
	uint32_t channel_count;
	struct stat_channel *channels;
	uint32_t entry_count;
	struct stat_entry *entries;
};
void lane_stat(struct lane *lane, struct lane_command *command);

/*
 * A channel was changed: from the next packet on it is @to, and @from is
 * retired. Captures that follow have a subscription in both; all others of
 * @from (their `to` is NULL) end with NR_END_RETIRED or NR_END_DENIED. What a
 * capture holds of @from it may keep; when it holds nothing more, its `evicted`
 * note says so.
 */
struct move_pair {
	struct subscription *from;
	struct subscription *to;
	struct membership membership;
	bool is_denied; /* it ends with NR_END_DENIED */
	bool is_refused;
};
struct move_command {
	struct lane_command base;
	struct lane_channel *from;
	struct lane_channel *to;
	struct arena *arena;
	uint64_t missed; /* by the source, between the two */
	uint32_t pair_count;
	struct move_pair *pairs;
};
void lane_move(struct lane *lane, struct lane_command *command);

/*
 * Gives what there is of the source to the captures and closes it for good.
 * Whoever sends it waits for @is_closed: then the kernel has its queue again.
 */
struct close_command {
	struct lane_command base;
	sem_t is_closed;
};
void lane_close_source(struct lane *lane, struct lane_command *command);
/* The same for a lane that does not run. */
void lane_drop_source(struct lane *lane);

/* Goes on after a failure; @source: replaces the lane's, or NULL. */
struct resume_command {
	struct lane_command base;
	struct source *source;
	struct frames *frames; /* that it has its packets in, or NULL */
	uint64_t missed;       /* packets that it was too late for */
	enum nr_source_state state;
};
void lane_resume(struct lane *lane, struct lane_command *command);

/* Starts, whoever is missing of those it waits for. */
void lane_wait_no_more(struct lane *lane, struct lane_command *command);

/* Tells all captures that the broker ends; the thread returns. */
void lane_stop(struct lane *lane, struct lane_command *command);

#endif
