/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The engine's control thread: what it knows of sources, channels and
 * sessions, and its event loop. Everything here is that thread's alone.
 */
#ifndef NETRINGD_CONTROL_H
#define NETRINGD_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "account.h"
#include "config.h"
#include "lane.h"
#include "priv.h"

struct session;
struct control;
struct move;

/* Something to wait for, the first member of what it belongs to. */
struct event {
	int fd;
	void (*handle)(struct control *control, struct event *event,
		       uint32_t events);
};

/* One interface of a source, or its file. */
struct link {
	enum priv_link state;
	bool is_watched; /* down or gone: looked at from time to time */
	bool is_stale;	 /* its lanes have to be opened anew */
};

struct control_source {
	struct control_source *next;
	const struct config_source *config; /* its own copy */
	uint32_t index; /* the warden's; from PRIV_NEXT on: of the next */
	bool may_wait;	/* an engine before this one had it: see can_wait() */
	bool is_removed;
	bool is_refitting; /* it waits for its captures to follow, see refit.h
			    */
	uint32_t percent;  /* of its frames, set aside */
	struct lane_command gone; /* behind the last that its lanes have said */
	uint32_t lane_count;
	struct lane *lanes; /* by interface, then by its lanes */
	struct link links[CONFIG_INTERFACES_MAX];
	/* Of AF_XDP: of each lane, and what it is to have with its next socket
	 */
	struct frames *frames[NR_LANES_MAX];
	struct frames *next_frames[NR_LANES_MAX];
};

struct control_channel {
	struct control_channel *next;
	struct control *control;
	const struct config_channel *config; /* its own copy */
	struct control_source *source;
	bool is_retired; /* removed or replaced: nobody can attach any more */
	uint32_t capture_count;
	uint32_t pending; /* lanes that have not taken it, or let go of it */
	uint32_t ending;  /* lanes that have not ended its captures */
	unsigned end;	  /* NR_END_*: why they end */
	struct arena *arenas[NR_LANES_MAX];  /* of its lanes, made on demand */
	struct frames *frames[NR_LANES_MAX]; /* loaned by them, or NULL */
	struct lane_channel lane_channels[NR_LANES_MAX];
	struct channel_command commands[NR_LANES_MAX];
};

struct control {
	const struct config *config; /* changes with a reload */
	bool has_privilege;	     /* the warden can make return pages */
	uid_t own_uid;		     /* not served where has_privilege */
	uid_t owner;		     /* may everything: root, else own_uid */
	int epoll_fd;
	bool must_stop;
	struct mailbox in; /* commands that come back from lanes */
	struct event mailbox_event;
	struct event listener_event;
	struct event signal_event;
	struct event warden_event;
	int fds_max; /* no client gets those above: see control_is_full() */
	struct event links_event;    /* fd 0: not watched */
	struct event needs_event;    /* addresses and routes; the same */
	bool needs_are_due;	     /* what the host needs may have changed */
	uint64_t listener_parked_ns; /* accept() goes on then; 0: it does */
	uint64_t links_due_ns;	     /* 0: all links are up */
	uint64_t counters_due_ns;
	uint64_t wait_due_ns; /* for captures to come back; 0: nobody does */
	uint32_t restarts;    /* engines before this one, */
	uint64_t died_ns;     /* and when the last died, since the epoch */
	uint64_t started_ns;  /* this one, since the epoch */
	uint32_t capture_ids;
	uint32_t unacked; /* attaches whose descriptors may be unread */
	struct control_source *sources;
	struct control_channel *channels;
	struct session *sessions;
	struct move *moves;
	uint32_t reload_lanes; /* that have not done all a reload asked for */
	bool reload_is_due;    /* another, behind the one under way */
	char reload_failure[512];	/* what the asker is told, or "" */
	uint32_t report_count;		/* being put together */
	struct control_source *removed; /* freed when there are none */
	struct account *accounts;
};

/* CLOCK_MONOTONIC, less the time in which the thread was busy for long. */
uint64_t control_now_ns(void);

/*
 * Prepares everything for @config but opens nothing of it. Messages are logged.
 * Returns 0 or -errno; control_deinit() in any case.
 */
int control_init(struct control *control, const struct config *config);
void control_deinit(struct control *control);

/*
 * Opens the sources, and reads what a file starts with: from in the sandbox.
 * Messages are logged. Returns 0 or -errno.
 */
int control_open(struct control *control);
/* Starts the lanes. 0 or -errno. */
int control_start(struct control *control);
/*
 * Whether there are no descriptors left but those that are for what the warden
 * gives: a link that comes back and a reload must not depend on clients.
 */
bool control_is_full(const struct control *control);
/* Ends all captures, the lanes and the sessions. */
void control_stop(struct control *control);

/*
 * reload.c: has the warden read the configuration again and changes to it,
 * behind the reload that is under way. @asker: who is told how it went, or
 * NULL; it is answered when the new one is in force, and closed.
 */
void control_reload(struct control *control, struct session *asker);
/* It is over only when the lanes have done what they have been told so far. */
void control_reload_ask_lanes(struct control *control);
/* A lane, or a move, has done what a reload asked for. */
void control_reload_settle(struct control *control);

/* Serves until SIGTERM. */
void control_run(struct control *control);

int control_watch(struct control *control, struct event *event,
		  uint32_t events);
void control_change(struct control *control, struct event *event,
		    uint32_t events);
void control_unwatch(struct control *control, struct event *event);

/*
 * control_source.c: makes the source with this index in @config, and the memory
 * that it has to have; @first: what the warden adds to that index. Returns NULL
 * after a logged message.
 */
struct control_source *control_source_new(const struct config *config,
					  uint32_t index, uint32_t first,
					  bool may_wait);
/* Opens its lanes; they do not run yet. 0, or -errno after a message. */
int control_source_open(struct control *control, struct control_source *source);
int control_source_start(struct control_source *source);
/* Gives an AF_XDP source's queues back, now; its captures may end later. */
void control_source_close(struct control_source *source);
/*
 * Before that, while the warden knows it: takes it off its interfaces, for what
 * is still fed cannot be emptied. 0 or -errno.
 */
int control_source_give_back(const struct control_source *source);
/* Opens such a one again, now or as soon as that is possible. */
void control_source_reopen(struct control *control,
			   struct control_source *source);
/*
 * Makes the frames that its lanes have with their next sockets, with @percent
 * set aside. 0, or -errno after a message.
 */
int control_source_make_frames(struct control_source *source, uint32_t percent);
/* What @config wants set aside of the frames of a source. */
uint32_t control_source_percent(const struct config *config, uint32_t index);
/* Ends what is attached to it and waits for its lanes. */
void control_source_stop(struct control_source *source);
void control_source_free(struct control_source *source);
/* Frees sources that were removed, unless a report may name them. */
void control_free_removed(struct control *control);
/* One that was removed goes when its last channel has. */
void control_source_settle(struct control *control,
			   struct control_source *source);

/* control_channel.c: a channel on all lanes of its source. NULL: no memory. */
struct control_channel *
control_channel_new(struct control *control, struct control_source *source,
		    const struct config_channel *config);
/*
 * Nobody can attach any more. When its last capture has left, the lanes let go
 * of it and it is freed.
 */
void control_channel_retire(struct control_channel *channel);
/* Its captures are told that there will be no more, and why (NR_END_*). */
void control_channel_end(struct control_channel *channel, unsigned why);
/* A capture has left. */
void control_channel_settle(struct control_channel *channel);
void control_channel_free(struct control_channel *channel);
/* Unless it has one. Returns 0, REGION_NO_HUGE_PAGES or -errno. */
int control_channel_make_arena(struct control_channel *channel, uint32_t lane);

/*
 * control_link.c: a capture more, or less, on a lane. What AF_XDP takes is lost
 * to the host, so a queue's packets are taken only while somebody wants them,
 * and not when the host needs them: then -EADDRINUSE.
 */
int control_use_lane(const struct control_source *source, struct lane *lane);
void control_leave_lane(const struct control_source *source, struct lane *lane);
/*
 * The same capture, from when its client reads on. An AF_PACKET ring outlives
 * this engine: the next one waits for them, by user, so that nobody's captures
 * can stand for somebody else's.
 */
void control_enter_lane(const struct control_source *source, struct lane *lane,
			uint32_t uid);
void control_exit_lane(const struct control_source *source, struct lane *lane,
		       uint32_t uid);
/*
 * A lane of AF_XDP gets a new socket, on its next frames: the old one is read
 * out before. What passes meanwhile is counted: @missed. NULL: there is none
 * yet, and it is tried again.
 */
struct source *control_change_socket(struct control *control,
				     struct control_source *source,
				     uint32_t number, uint64_t *missed);
/* The lane goes on with it. */
void control_resume_lane(struct control_source *source, uint32_t number,
			 struct source *opened, uint64_t missed);
/*
 * The captures that an engine had on a lane have come back; or on all lanes
 * they have had their time.
 */
void control_start_lane(struct lane *lane);
void control_wait_no_more(struct control *control);
/* Hears of links that change: AF_XDP sockets say nothing. */
int control_watch_links(struct control *control);
/* Looks whether links that were down or gone are back. */
void control_check_links(struct control *control);

#endif
