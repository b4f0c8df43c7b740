// SPDX-License-Identifier: BSD-2-Clause
/*
 * Sources as the control thread sees them: opened through the warden, run by
 * lanes, looked after when a link goes away.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control.h"
#include "flow.h"
#include "log.h"
#include "source_packet.h"
#include "source_xdp.h"

#define LINK_PERIOD_NS UINT64_C(200000000)

/* ---------------------------------------------------------------- opening */

static int open_packet_lane(const struct control_source *source,
			    uint32_t number, struct source **out)
{
	uint32_t interface = number / source->config->lanes;
	uint32_t lane = number % source->config->lanes;
	struct priv_reply geometry;
	int fds[PRIV_FDS_MAX];
	int err = priv_packet_open(source->index, interface, lane, &geometry,
				   fds);

	if (err)
		return err;
	source->lanes[number].ring_bytes = geometry.packet.ring_size;
	return source_packet_new(out, fds[0], fds[1], &geometry, interface);
}

/* As much as the most careful channel wants. */
uint32_t control_source_percent(const struct config *config, uint32_t index)
{
	uint32_t percent = 1;

	for (uint32_t i = 0; i < config->channel_count; i++)
		if (config->channels[i].source == index &&
		    config->channels[i].guaranteed > percent)
			percent = config->channels[i].guaranteed;
	return percent;
}

static int make_frames(struct control_source *source, uint32_t number)
{
	const struct config_source *config = source->config;
	struct frames **frames = &source->next_frames[number];
	uint64_t size;
	int fd, err = priv_xdp_umem(source->index, number / config->lanes,
				    number % config->lanes, &size, &fd);

	if (err)
		return err;
	frames_free(*frames);
	*frames = NULL;
	return frames_new(frames, fd, size, config->frame_size,
			  config_frames_kept(config), source->percent);
}

int control_source_make_frames(struct control_source *source, uint32_t percent)
{
	int err = 0;

	if (source->config->backend != BACKEND_XDP)
		return 0;
	source->percent = percent;
	for (uint32_t l = 0; l < source->lane_count && !err; l++)
		err = make_frames(source, l);
	if (err)
		log_error("source %s: no memory for its frames: %s",
			  source->config->name, strerror(-err));
	return err;
}

/* A socket that follows another gets the same frames, unless there are new. */
static int open_xdp_lane(struct control_source *source, uint32_t number,
			 struct source **out)
{
	const struct config_source *config = source->config;
	struct lane *lane = &source->lanes[number];
	struct frames *frames = source->next_frames[number];
	uint32_t interface = number / config->lanes;
	struct priv_reply reply;
	int fds[PRIV_FDS_MAX];
	int err =
		priv_xdp_open(source->index, interface, number % config->lanes,
			      frames != NULL, &reply, fds);

	if (err)
		return err;
	close(fds[1]); /* we have it from when it was made */
	if (reply.xdp.rests) {
		close(fds[0]);
		*out = lane_no_source();
		return 0;
	}
	lane->ring_bytes = reply.xdp.umem_size;
	lane->is_generic = reply.xdp.is_generic;
	lane->is_zerocopy = reply.xdp.is_zerocopy;
	err = source_xdp_new(out, config, fds[0],
			     frames ? frames : source->frames[number],
			     interface, reply.xdp.magic);
	/* No lane has new ones yet: the kernel can, before the first packet. */
	if (!err && frames)
		source_xdp_start(*out);
	return err;
}

static int open_live_lane(struct control_source *source, uint32_t number,
			  struct source **out)
{
	if (source->config->backend == BACKEND_XDP)
		return open_xdp_lane(source, number, out);
	return open_packet_lane(source, number, out);
}

static int take_queue(const struct control_source *source, struct lane *lane,
		      bool takes);

/*
 * Lets packets into lanes that have been opened. Those that have not, their
 * interface is gone, or the host needs, do not hold the others.
 */
static int start_lanes(const struct control_source *source)
{
	int err = 0, failed;

	if (source->config->backend == BACKEND_PACKET)
		return priv_packet_start(source->index);
	for (uint32_t i = 0; i < source->lane_count; i++) {
		if (source->lanes[i].users == 0)
			continue;
		failed = take_queue(source, &source->lanes[i], true);
		if (failed && failed != -EADDRINUSE)
			err = failed;
	}
	return err;
}

static int open_replay(const struct control_source *source, struct source **out)
{
	char error[256];
	int fd, err;

	err = priv_replay_open(source->index, &fd);
	if (err) {
		log_error("source %s: %s: %s", source->config->name,
			  source->config->file, strerror(-err));
		return err;
	}
	err = source_replay_new(out, source->config, fd, source->config->file,
				error);
	if (err)
		log_error("source %s: %s", source->config->name, error);
	return err;
}

static void lane_has_failed(struct lane_command *command);

/* Of a socket that is open. Returns those that the lane had, with one use. */
static struct frames *adopt_frames(struct control_source *source,
				   uint32_t number)
{
	struct frames *old = source->frames[number];

	if (!source->next_frames[number])
		return NULL;
	source->frames[number] = source->next_frames[number];
	source->next_frames[number] = NULL;
	return old;
}

static int open_lane(struct control *control, struct control_source *source,
		     uint32_t number)
{
	const struct config_source *config = source->config;
	struct lane *lane = &source->lanes[number];
	struct source *kernel_source;
	int err;

	if (config->backend == BACKEND_REPLAY)
		err = open_replay(source, &kernel_source);
	else
		err = open_live_lane(source, number, &kernel_source);
	if (err)
		return err;
	adopt_frames(source, number);
	lane->frames = source->frames[number];
	lane->failed.owner = control;
	return lane_init(lane, kernel_source, &control->in, lane_has_failed);
}

static void init_lane(struct control_source *source, uint32_t number)
{
	const struct config_source *config = source->config;
	struct lane *lane = &source->lanes[number];

	lane->in.fd = -1;
	lane->epoll_fd = -1;
	lane->number = number;
	lane->config = config;
	lane->interface = config->backend == BACKEND_REPLAY ?
				  config->file :
				  config->interfaces[number / config->lanes];
}

static int make_lanes(struct control_source *source)
{
	const struct config_source *config = source->config;
	uint32_t count = config->backend == BACKEND_REPLAY ?
				 1 :
				 config->interface_count * config->lanes;

	source->lanes = calloc(count, sizeof(*source->lanes));
	if (!source->lanes)
		return -ENOMEM;
	while (source->lane_count < count)
		init_lane(source, source->lane_count++);
	return control_source_make_frames(source, source->percent);
}

struct control_source *control_source_new(const struct config *config,
					  uint32_t index, uint32_t first)
{
	struct control_source *source = calloc(1, sizeof(*source));
	struct config_source *copy = malloc(sizeof(*copy));
	const struct config_source *mine = &config->sources[index];
	int err = -ENOMEM;

	if (mine->snaplen && mine->snaplen < FLOW_BYTES)
		log_warn("source %s: snaplen = %u can cut off addresses and "
			 "ports (%d bytes and more): flow hash and groups go "
			 "by what is left of a packet",
			 mine->name, mine->snaplen, FLOW_BYTES);
	if (source && copy) {
		memcpy(copy, mine, sizeof(*copy));
		source->config = copy;
		source->index = first + index;
		source->percent = control_source_percent(config, index);
		err = make_lanes(source);
	}
	if (!err)
		return source;
	log_error("source %s does not start: %s", mine->name, strerror(-err));
	if (source && copy) {
		control_source_free(source);
		return NULL;
	}
	free(source);
	free(copy);
	return NULL;
}

int control_source_open(struct control *control, struct control_source *source)
{
	int err = 0;

	for (uint32_t l = 0; l < source->lane_count && !err; l++)
		err = open_lane(control, source, l);
	if (!err && source->config->backend != BACKEND_REPLAY)
		err = start_lanes(source);
	if (err)
		log_error("source %s does not start: %s", source->config->name,
			  strerror(-err));
	return err;
}

int control_source_start(struct control_source *source)
{
	int err = 0;

	for (uint32_t l = 0; l < source->lane_count && !err; l++)
		err = lane_start(&source->lanes[l]);
	if (err)
		log_error("source %s: cannot start its lanes: %s",
			  source->config->name, strerror(-err));
	return err;
}

/* --------------------------------------------------------------- stopping */

static void stop_is_done(struct lane_command *command)
{
	free(command);
}

static void close_is_done(struct lane_command *command)
{
	sem_destroy(&((struct close_command *)command)->is_closed);
	free(command);
}

/*
 * Gives what the lane has to its captures, and the socket back. Waits: another
 * can have the queue only when this one has not.
 */
static void close_lane(struct lane *lane)
{
	struct close_command *closing = calloc(1, sizeof(*closing));

	if (!closing) {
		log_error("no memory to close a lane of %s",
			  lane->config->name);
		exit(1); /* the warden starts another engine */
	}
	sem_init(&closing->is_closed, 0, 0);
	closing->base.run = lane_close_source;
	closing->base.done = close_is_done;
	lane_send(lane, &closing->base);
	while (sem_wait(&closing->is_closed) && errno == EINTR)
		;
}

int control_source_give_back(const struct control_source *source)
{
	int err = 0;

	if (source->config->backend != BACKEND_XDP)
		return 0;
	for (uint32_t i = 0; i < source->config->interface_count && !err; i++)
		err = priv_xdp_close(source->index, i);
	return err;
}

void control_source_close(struct control_source *source)
{
	if (source->config->backend != BACKEND_XDP)
		return;
	for (uint32_t l = 0; l < source->lane_count; l++) {
		struct lane *lane = &source->lanes[l];

		if (lane->has_thread)
			close_lane(lane);
		else if (lane->source)
			lane_drop_source(lane);
	}
}

void control_source_stop(struct control_source *source)
{
	for (uint32_t l = 0; l < source->lane_count; l++) {
		struct lane_command *stop = calloc(1, sizeof(*stop));

		if (!stop || !source->lanes[l].has_thread) {
			free(stop);
			continue;
		}
		stop->run = lane_stop;
		stop->done = stop_is_done;
		lane_send(&source->lanes[l], stop);
	}
	for (uint32_t l = 0; l < source->lane_count; l++)
		lane_join(&source->lanes[l]);
}

static void source_is_gone(struct lane_command *command)
{
	struct control *control = command->owner;
	struct control_source *source =
		caa_container_of(command, struct control_source, gone);

	source->next = control->removed;
	control->removed = source;
	control_free_removed(control);
}

/*
 * Reports that are being put together may still name it: it is kept aside until
 * there are none. And notes of its lanes may lie in our mailbox.
 */
void control_source_settle(struct control *control,
			   struct control_source *source)
{
	struct control_source **link = &control->sources;
	const struct control_channel *channel;

	if (!source->is_removed)
		return;
	for (channel = control->channels; channel; channel = channel->next)
		if (channel->source == source)
			return;
	control_source_stop(source);
	while (*link != source)
		link = &(*link)->next;
	*link = source->next;
	source->gone.done = source_is_gone;
	source->gone.owner = control;
	mailbox_put(&control->in, &source->gone);
}

void control_free_removed(struct control *control)
{
	struct control_source *source;

	if (control->report_count > 0)
		return;
	while ((source = control->removed)) {
		control->removed = source->next;
		control_source_free(source);
	}
}

void control_source_free(struct control_source *source)
{
	for (uint32_t l = 0; l < source->lane_count; l++) {
		lane_deinit(&source->lanes[l]);
		frames_free(source->frames[l]);
		frames_free(source->next_frames[l]);
	}
	free(source->lanes);
	free((void *)(uintptr_t)source->config);
	free(source);
}

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

	how.base.owner = adopt_frames(source, number);
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

/* A lane reports that its socket has an error. */
static void lane_has_failed(struct lane_command *command)
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
	if (ask_link(source, interface, lane->number % lane->config->lanes,
		     &reply))
		return; /* not open: it will be when the link is back */
	if (reply.link.error && reply.link.error != ENETDOWN)
		log_warn("source %s: lane %u: %s", source->config->name,
			 lane->number, strerror(reply.link.error));
	note_link(control, source, interface, reply.link.state);
	resume_lane(lane, state_of(reply.link.state), NULL);
}

/* The interface is back under its name: all its lanes get new sockets. */
static bool reopen(struct control_source *source, uint32_t interface)
{
	uint32_t lanes = source->config->lanes;
	struct source *opened[NR_LANES_MAX];
	uint32_t count = 0;
	int err = 0;

	while (!err && count < lanes) {
		err = open_live_lane(source, interface * lanes + count,
				     &opened[count]);
		count += err == 0;
	}
	if (!err)
		err = start_lanes(source);
	/* Sockets that nobody reads must get nothing. */
	if (err && source->config->backend == BACKEND_XDP)
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

static enum priv_link look_at(const struct control_source *source,
			      uint32_t interface)
{
	struct priv_reply reply;

	/* A socket that could not be opened again: try that. */
	if (ask_link(source, interface, 0, &reply))
		return PRIV_LINK_NEW;
	return reply.link.state;
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

/* -ENODEV: it has no socket now, and is taken when it has one again. */
static int take_queue(const struct control_source *source, struct lane *lane,
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
	if (lane->users++ == 0 && takes_queues(source))
		return take_queue(source, lane, true);
	return lane->is_left ? -EADDRINUSE : 0;
}

void control_leave_lane(const struct control_source *source, struct lane *lane)
{
	if (--lane->users == 0 && takes_queues(source))
		take_queue(source, lane, false);
}

/* An address or a route has come or gone: asks for what it has, again. */
static void ask_again(const struct control_source *source)
{
	if (!takes_queues(source) || source->config->exclusive)
		return;
	for (uint32_t l = 0; l < source->lane_count; l++)
		if (source->lanes[l].users > 0)
			take_queue(source, &source->lanes[l], true);
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

	close_lane(lane);
	*missed = 0;
	if (open_live_lane(source, number, &opened)) {
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

/* Whatever it says, and if it says that there was too much: look. */
static void links_have_changed(struct control *control, struct event *event,
			       uint32_t events)
{
	struct control_source *source;
	char message[8192];

	(void)events;
	while (recv(event->fd, message, sizeof(message), MSG_DONTWAIT) >= 0 ||
	       errno == ENOBUFS)
		;
	for (source = control->sources; source; source = source->next) {
		if (source->config->backend != BACKEND_XDP ||
		    source->is_removed)
			continue;
		for (uint32_t i = 0; i < source->config->interface_count; i++)
			note_quiet_link(control, source, i);
	}
}

/*
 * There may be thousands of routes that change: what the host needs is looked
 * at a few times a second at most.
 */
static void needs_have_changed(struct control *control, struct event *event,
			       uint32_t events)
{
	char message[8192];

	(void)events;
	while (recv(event->fd, message, sizeof(message), MSG_DONTWAIT) >= 0 ||
	       errno == ENOBUFS)
		;
	control->needs_are_due = true;
	if (control->links_due_ns == 0)
		control->links_due_ns = control_now_ns() + LINK_PERIOD_NS;
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
