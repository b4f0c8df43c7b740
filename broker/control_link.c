// SPDX-License-Identifier: BSD-2-Clause
/*
 * Sources while they run: links that go and come back, queues that somebody
 * wants, packets that the host needs more.
 */
#include "control_source.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "log.h"

#define LINK_PERIOD_NS UINT64_C(200000000)

/* ---------------------------------------------------------- links that go */

static void resume_is_done(struct lane_command *command)
{
	frames_free(command->owner); /* those that the lane has left */
	free(command);
}

static void resume_lane(struct lane *lane, enum nr_source_state state,
			const struct resume_command *how)
{
	struct resume_command *resume = calloc(1, sizeof(*resume));

	if (!resume) {
		log_error("no memory to go on with lane %u of %s", lane->number,
			  lane->config->name);
		exit(1); /* the warden starts another engine */
	}
	if (how)
		*resume = *how;
	resume->base.run = lane_resume;
	resume->base.done = resume_is_done;
	resume->state = lane->is_left && state == NR_SOURCE_RUNNING ?
				NR_SOURCE_TO_HOST :
				state;
	lane_send(lane, &resume->base);
}

void control_resume_lane(struct control_source *source, uint32_t number,
			 struct source *opened, uint64_t missed)
{
	struct resume_command how = { .source = opened, .missed = missed };

	how.base.owner = control_adopt_frames(source, number);
	how.frames = source->frames[number];
	resume_lane(&source->lanes[number], NR_SOURCE_RUNNING, &how);
}

/* What is wrong with a lane's socket, and the state of its link. */
static int ask_link(const struct control_source *source, uint32_t interface,
		    uint32_t lane, struct priv_reply *reply)
{
	if (source->config->backend == BACKEND_XDP)
		return priv_xdp_link(source->index, interface, lane, reply);
	return priv_packet_error(source->index, interface, lane, reply);
}

static enum nr_source_state state_of(enum priv_link link)
{
	switch (link) {
	case PRIV_LINK_DOWN:
		return NR_SOURCE_DOWN;
	case PRIV_LINK_GONE:
	case PRIV_LINK_NEW:
		return NR_SOURCE_GONE;
	default:
		return NR_SOURCE_RUNNING;
	}
}

/* Says each change once, whatever the number of lanes. */
static void note_link(struct control *control, struct control_source *source,
		      uint32_t interface, enum priv_link state)
{
	struct link *link = &source->links[interface];
	const char *name = source->config->interfaces[interface];

	if (state == PRIV_LINK_NEW)
		state = PRIV_LINK_GONE; /* until it has been opened anew */
	link->is_watched = state != PRIV_LINK_UP || link->is_stale;
	if (link->is_watched && control->links_due_ns == 0)
		control->links_due_ns = control_now_ns() + LINK_PERIOD_NS;
	if (link->state == state)
		return;
	link->state = state;
	if (state == PRIV_LINK_DOWN)
		log_warn("source %s: %s is down", source->config->name, name);
	else if (state == PRIV_LINK_GONE)
		log_warn("source %s: %s is gone: waiting for it",
			 source->config->name, name);
	else
		log_info("source %s: %s is up again", source->config->name,
			 name);
}

/*
 * The interface is back under its name: all its lanes get new sockets. A queue
 * is had by one socket of AF_XDP, so what they have of those goes first.
 */
static bool reopen(struct control_source *source, uint32_t interface)
{
	uint32_t lanes = source->config->lanes;
	struct source *opened[NR_LANES_MAX];
	uint32_t count = 0;
	bool is_xdp = source->config->backend == BACKEND_XDP;
	int err = 0;

	for (uint32_t i = 0; i < lanes && is_xdp; i++)
		control_close_lane(&source->lanes[interface * lanes + i]);
	while (!err && count < lanes) {
		err = control_open_lane(source, interface * lanes + count,
					&opened[count]);
		count += err == 0;
	}
	if (!err)
		err = control_start_lanes(source);
	if (err == -EPERM && !is_xdp) {
		log_error(
			"source %s: this engine has had all the rings that it "
			"may have: another one goes on",
			source->config->name);
		exit(1);
	}
	/* Sockets that nobody reads must get nothing. */
	if (err && is_xdp)
		(void)priv_xdp_close(source->index, interface);
	for (uint32_t i = 0; i < count; i++) {
		if (err)
			opened[i]->ops->free(opened[i]);
		else
			control_resume_lane(source, interface * lanes + i,
					    opened[i], 0);
	}
	return err == 0;
}

/*
 * What a dead engine has left in a ring cannot be what the kernel wrote. No
 * engine is given a second socket because it says so: the next one gets it.
 */
__attribute__((noreturn)) static void
leave_ring(const struct control_source *source, const struct lane *lane)
{
	uint32_t interface = lane->number / source->config->lanes;
	uint32_t number = lane->number % source->config->lanes;

	log_error("source %s: lane %u on %s: its ring is not as the kernel "
		  "writes it: opened anew by another engine",
		  source->config->name, number, lane->interface);
	(void)priv_packet_broken(source->index, interface, number);
	exit(1);
}

void control_lane_has_failed(struct lane_command *command)
{
	struct control *control = command->owner;
	struct lane *lane = command->lane;
	struct control_source *source = control->sources;
	uint32_t interface = lane->number / lane->config->lanes;
	struct priv_reply reply;

	while (source && source->config != lane->config)
		source = source->next;
	/* The warden does not know it any more: what is asked ends the broker.
	 */
	if (!source || source->is_removed)
		return;
	if (lane->ring_is_broken)
		leave_ring(source, lane);
	if (ask_link(source, interface, lane->number % lane->config->lanes,
		     &reply))
		return; /* not open: it will be when the link is back */
	if (reply.link.error && reply.link.error != ENETDOWN)
		log_warn("source %s: lane %u: %s", source->config->name,
			 lane->number, strerror(reply.link.error));
	note_link(control, source, interface, reply.link.state);
	resume_lane(lane, state_of(reply.link.state), NULL);
}

static enum priv_link look_at(const struct control_source *source,
			      uint32_t interface)
{
	struct priv_reply reply;

	/* A socket that could not be opened again: try that. */
	if (ask_link(source, interface, 0, &reply))
		return PRIV_LINK_NEW;
	return reply.link.state;
}

void control_first_look(struct control *control, struct control_source *source)
{
	uint32_t lanes = source->config->lanes;

	if (source->config->backend == BACKEND_REPLAY)
		return;
	for (uint32_t i = 0; i < source->config->interface_count; i++) {
		enum priv_link state = look_at(source, i);

		if (state == PRIV_LINK_NEW)
			source->links[i].is_stale = true;
		note_link(control, source, i, state);
	}
	for (uint32_t l = 0; l < source->lane_count; l++)
		if (source->lanes[l].state == NR_SOURCE_RUNNING)
			source->lanes[l].state =
				state_of(source->links[l / lanes].state);
}

static void check_link(struct control *control, struct control_source *source,
		       uint32_t interface)
{
	struct link *link = &source->links[interface];
	uint32_t lanes = source->config->lanes;
	enum priv_link state = look_at(source, interface);

	/* All lanes or none: one that could not be opened is tried again. */
	if (state == PRIV_LINK_NEW)
		link->is_stale = true;
	if (link->is_stale && state != PRIV_LINK_GONE) {
		link->is_stale = !reopen(source, interface);
		state = link->is_stale ? PRIV_LINK_NEW :
					 look_at(source, interface);
	} else if (state == PRIV_LINK_UP) {
		for (uint32_t i = 0; i < lanes; i++)
			resume_lane(&source->lanes[interface * lanes + i],
				    NR_SOURCE_RUNNING, NULL);
	}
	note_link(control, source, interface, state);
}

void control_source_reopen(struct control *control,
			   struct control_source *source)
{
	for (uint32_t i = 0; i < source->config->interface_count; i++) {
		source->links[i].is_stale = true;
		check_link(control, source, i);
	}
}

/* ---------------------------------------------- queues that somebody wants */

/* The host has its packets, whoever wants them; or has not, any more. */
static void set_left(const struct control_source *source, struct lane *lane,
		     bool is_left)
{
	uint32_t interface = lane->number / source->config->lanes;

	if (lane->is_left == is_left)
		return;
	lane->is_left = is_left;
	resume_lane(lane, state_of(source->links[interface].state), NULL);
}

int control_take_queue(const struct control_source *source, struct lane *lane,
		       bool takes)
{
	uint32_t each = source->config->lanes;
	int err =
		priv_xdp_take(source->index, lane->number / each,
			      lane->number % each, takes ? PRIV_TAKE : 0, NULL);

	set_left(source, lane, err == -EADDRINUSE);
	if (err && err != -ENODEV && err != -EADDRINUSE)
		log_warn("source %s: lane %u %s its packets: %s",
			 source->config->name, lane->number,
			 takes ? "does not get" : "keeps", strerror(-err));
	return err == -ENODEV ? 0 : err;
}

static bool takes_queues(const struct control_source *source)
{
	return source->config->backend == BACKEND_XDP && !source->is_removed;
}

int control_use_lane(const struct control_source *source, struct lane *lane)
{
	lane->users++;
	if (lane->users == 1 && takes_queues(source))
		return control_take_queue(source, lane, true);
	return lane->is_left ? -EADDRINUSE : 0;
}

void control_leave_lane(const struct control_source *source, struct lane *lane)
{
	lane->users--;
	if (lane->users == 0 && takes_queues(source))
		control_take_queue(source, lane, false);
}

/* Its ring outlives this engine: the next one waits for them. */
static void tell_users(const struct control_source *source,
		       const struct lane *lane)
{
	uint32_t each = source->config->lanes;

	if (source->config->backend == BACKEND_PACKET && !source->is_removed)
		priv_packet_users(source->index, lane->number / each,
				  lane->number % each, &lane->entered);
}

void control_enter_lane(const struct control_source *source, struct lane *lane,
			uint32_t uid)
{
	users_add(&lane->entered, uid);
	tell_users(source, lane);
	if (users_are_back(&lane->entered, &lane->awaited))
		control_start_lane(lane);
}

void control_exit_lane(const struct control_source *source, struct lane *lane,
		       uint32_t uid)
{
	users_remove(&lane->entered, uid);
	tell_users(source, lane);
}

/* An address or a route has come or gone: asks for what it has, again. */
static void ask_again(const struct control_source *source)
{
	if (!takes_queues(source) || source->config->exclusive)
		return;
	for (uint32_t l = 0; l < source->lane_count; l++)
		if (source->lanes[l].users > 0)
			control_take_queue(source, &source->lanes[l], true);
}

/* Starts or ends to take the packets of a lane that has captures. */
static bool turn_queue(const struct control_source *source,
		       const struct lane *lane, uint32_t how, uint64_t *passed)
{
	uint32_t each = source->config->lanes;

	return lane->users > 0 &&
	       priv_xdp_take(source->index, lane->number / each,
			     lane->number % each, how | PRIV_SETTLE,
			     passed) == 0;
}

struct source *control_change_socket(struct control *control,
				     struct control_source *source,
				     uint32_t number, uint64_t *missed)
{
	struct lane *lane = &source->lanes[number];
	uint32_t interface = number / source->config->lanes;
	struct source *opened = NULL;
	uint64_t before, after;
	bool is_counted = turn_queue(source, lane, 0, &before);

	control_close_lane(lane);
	*missed = 0;
	if (control_open_lane(source, number, &opened)) {
		source->links[interface].is_stale = true;
		note_link(control, source, interface, PRIV_LINK_NEW);
		return NULL;
	}
	/* Less than before: its program is another one. */
	if (turn_queue(source, lane, PRIV_TAKE, &after) && is_counted)
		*missed = after < before ? after : after - before;
	return opened;
}

/* ------------------------------------------------- links that change quietly
 */

/* AF_XDP sockets have no error that says so: their lanes are told from here. */
static void note_quiet_link(struct control *control,
			    struct control_source *source, uint32_t interface)
{
	enum priv_link before = source->links[interface].state;
	uint32_t lanes = source->config->lanes;
	enum priv_link now;

	check_link(control, source, interface);
	now = source->links[interface].state;
	for (uint32_t i = 0; i < lanes && now != before; i++)
		resume_lane(&source->lanes[interface * lanes + i],
			    state_of(now), NULL);
}

static void empty(int fd)
{
	char message[8192];

	/* Whatever it says, and if it says that there was too much: look. */
	while (recv(fd, message, sizeof(message), MSG_DONTWAIT) >= 0 ||
	       errno == ENOBUFS)
		;
}

/*
 * There may be thousands of routes that change: what the host needs is looked
 * at a few times a second at most.
 */
static void needs_have_changed(struct control *control, struct event *event,
			       uint32_t events)
{
	(void)events;
	empty(event->fd);
	control->needs_are_due = true;
	if (control->links_due_ns == 0)
		control->links_due_ns = control_now_ns() + LINK_PERIOD_NS;
}

static void links_have_changed(struct control *control, struct event *event,
			       uint32_t events)
{
	struct control_source *source;

	/* It may have become one that carries others. */
	needs_have_changed(control, event, events);
	for (source = control->sources; source; source = source->next) {
		if (source->config->backend != BACKEND_XDP ||
		    source->is_removed)
			continue;
		/* What could not be opened anew has its turn by the clock: to
		 * try changes the link, too. */
		for (uint32_t i = 0; i < source->config->interface_count; i++)
			if (!source->links[i].is_stale)
				note_quiet_link(control, source, i);
	}
}

static int
watch_groups(struct control *control, struct event *event, uint32_t groups,
	     void (*handle)(struct control *, struct event *, uint32_t))
{
	const struct sockaddr_nl address = { .nl_family = AF_NETLINK,
					     .nl_groups = groups };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0)
		return -errno;
	event->fd = fd;
	event->handle = handle;
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)))
		return -errno;
	return control_watch(control, event, EPOLLIN);
}

int control_watch_links(struct control *control)
{
	int err = watch_groups(control, &control->links_event, RTMGRP_LINK,
			       links_have_changed);

	if (err)
		return err;
	return watch_groups(control, &control->needs_event,
			    RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |
				    RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE,
			    needs_have_changed);
}

void control_check_links(struct control *control)
{
	struct control_source *source;
	bool is_watching = false;

	control->links_due_ns = 0;
	for (source = control->sources; source; source = source->next) {
		if (source->is_removed)
			continue;
		if (control->needs_are_due)
			ask_again(source);
		for (uint32_t i = 0; i < source->config->interface_count; i++) {
			if (source->links[i].is_watched)
				check_link(control, source, i);
			is_watching |= source->links[i].is_watched;
		}
	}
	control->needs_are_due = false;
	control->links_due_ns =
		is_watching ? control_now_ns() + LINK_PERIOD_NS : 0;
}
