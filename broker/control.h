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
	const struct config_source *config;
	uint32_t lane_count;
	struct lane *lanes; /* by interface, then by its lanes */
	struct link links[CONFIG_INTERFACES_MAX];
};

struct control_channel {
	const struct config_channel *config;
	struct control_source *source;
	uint32_t index; /* in each lane's channels */
	uint32_t capture_count;
	struct arena *arenas[NR_LANES_MAX]; /* of its lanes, made on demand */
	bool lane_has_arena[NR_LANES_MAX];  /* it owns it now */
};

struct control {
	const struct config *config;
	bool has_privilege; /* the warden can make return pages */
	uid_t own_uid;	    /* not served where has_privilege */
	uid_t owner;	    /* may everything: root, else own_uid */
	int epoll_fd;
	bool must_stop;
	struct mailbox in; /* commands that come back from lanes */
	struct event mailbox_event;
	struct event listener_event;
	struct event signal_event;
	struct event warden_event;
	struct event links_event; /* fd 0: not watched */
	uint64_t listener_parked_ns; /* accept() goes on then; 0: it does */
	uint64_t links_due_ns;	     /* 0: all links are up */
	uint64_t counters_due_ns;
	uint32_t capture_ids;
	uint32_t unacked; /* attaches whose descriptors may be unread */
	uint32_t source_count;
	struct control_source sources[CONFIG_SOURCES_MAX];
	uint32_t channel_count;
	struct control_channel channels[CONFIG_CHANNELS_MAX];
	struct session *sessions;
	struct account *accounts;
};

/* CLOCK_MONOTONIC */
uint64_t control_now_ns(void);

/*
 * Prepares everything for @config but starts nothing. Messages are logged.
 * Returns 0 or -errno; control_deinit() in any case.
 */
int control_init(struct control *control, const struct config *config);
void control_deinit(struct control *control);

/* Serves until SIGTERM. */
void control_run(struct control *control);

/* Handles the commands that have come back. */
void control_take_mail(struct control *control);

int control_watch(struct control *control, struct event *event,
		  uint32_t events);
void control_change(struct control *control, struct event *event,
		    uint32_t events);
void control_unwatch(struct control *control, struct event *event);

/* Opens the sources and makes their lanes (control_source.c). */
int control_open_sources(struct control *control);
int control_start_lanes(struct control *control);
/* Ends all captures and waits for the lanes. */
void control_stop_lanes(struct control *control);
/*
 * A capture more, or less, on a lane. What AF_XDP takes is lost to the host, so
 * a queue's packets are taken only while somebody wants them.
 */
void control_use_lane(struct control *control, struct control_source *source,
		      struct lane *lane);
void control_leave_lane(struct control *control, struct control_source *source,
			struct lane *lane);
/* Hears of links that change: AF_XDP sockets say nothing. */
int control_watch_links(struct control *control);
/* Looks whether links that were down or gone are back. */
void control_check_links(struct control *control);

#endif
