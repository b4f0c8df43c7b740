/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A lane: one queue of a source, one thread, the only producer of all that
 * hangs on it. The lane owns its streams, blocks, leases and counts outright;
 * the control thread asks it things by commands, which come back done.
 */
#ifndef NETRINGD_LANE_H
#define NETRINGD_LANE_H

#include <pthread.h>
#include <stdbool.h>

#include <netring/proto.h>

#include "config.h"
#include "filter.h"
#include "group.h"
#include "mailbox.h"
#include "source.h"
#include "stream.h"

struct lane;

/* A channel on this lane. */
struct lane_channel {
	const struct config_channel *config;
	struct arena *arena; /* NULL until the first capture */
	struct stream broadcast; /* of the captures without a group */
	struct group *groups;
	struct stream *streams; /* all that have captures */
	uint16_t link_type;	/* of the packets now */
	struct filter *filter;
	bool filter_is_unfit; /* it does not compile for this link type */
	uint16_t filter_link_type;
	uint64_t seen;
	uint64_t filtered;
	uint64_t passed;
};

struct lane {
	uint32_t number; /* within its source */
	const struct config_source *config;
	const char *interface;
	struct source *source;
	struct frames *frames; /* of an xdp source: outlives its sockets */
	bool is_generic, is_zerocopy; /* of that; the control thread's */
	uint32_t users; /* captures on it; the control thread's */
	uint32_t channel_count;
	struct lane_channel *channels; /* those of its source */
	struct mailbox in;	       /* to this lane */
	struct mailbox *out;	       /* to the control thread */
	pthread_t thread;
	bool has_thread;

	/* the thread's own */
	int epoll_fd;
	bool owns_epoll;
	enum nr_source_state state;
	bool is_parked; /* the source has an error: control looks at it */
	bool must_stop;
	bool is_realtime;
	uint32_t rounds; /* until its share of the CPU is looked at */
	uint64_t checked_ns;
	uint64_t checked_cpu_ns;
	uint32_t capture_count;
	uint64_t captured;
	uint64_t bytes;
	uint64_t bursts;
	uint64_t bells_gone; /* of captures that have left */
	struct burst burst;

	/* notes to the control thread, one of each on its way at most */
	struct lane_command failed;
	struct lane_command over;
};

/*
 * Prepares a lane for @source, which it takes. @failed is called in the
 * control thread when the source reports an error; lane_resume() goes on.
 * Returns 0 or -errno.
 */
int lane_init(struct lane *lane, struct source *source, struct mailbox *out,
	      void (*failed)(struct lane_command *));
int lane_start(struct lane *lane);
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
};

/* Attach. @arena: made for the channel, if it had none; taken by the lane. */
struct attach_command {
	struct lane_command base;
	uint32_t channel; /* index in lane->channels */
	struct arena *arena;
	struct subscription *sub;
	struct membership membership;
	bool is_refused;
	uint32_t set_aside; /* for the message that refuses */
	uint32_t promised;
};
void lane_attach(struct lane *lane, struct lane_command *command);

/* Detach: after this the lane knows nothing of the capture. */
struct detach_command {
	struct lane_command base;
	uint32_t channel;
	struct subscription *sub;
};
void lane_detach(struct lane *lane, struct lane_command *command);

/* Statistics: the numbers of what the control thread has laid out. */
struct stat_entry {
	uint32_t channel;
	struct subscription *sub;
	struct nr_msg_capture *msg;
};
struct stat_command {
	struct lane_command base;
	struct nr_msg_source *source;	      /* or NULL */
	struct nr_msg_channel_lane *channels; /* as lane->channels */
	uint32_t entry_count;
	struct stat_entry *entries;
};
void lane_stat(struct lane *lane, struct lane_command *command);

/* Goes on after a failure; @source: replaces the lane's, or NULL. */
struct resume_command {
	struct lane_command base;
	struct source *source;
	enum nr_source_state state;
};
void lane_resume(struct lane *lane, struct lane_command *command);

/* Tells all captures that the broker ends; the thread returns. */
void lane_stop(struct lane *lane, struct lane_command *command);

#endif
