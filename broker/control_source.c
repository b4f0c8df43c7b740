// SPDX-License-Identifier: BSD-2-Clause
/*
 * Sources as the control thread sees them: opened through the warden, run by
 * lanes, closed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control_source.h"
#include "flow.h"
#include "log.h"
#include "ring_mapper.h"
#include "source_packet.h"
#include "source_xdp.h"

/* ---------------------------------------------------------------- opening */

/*
 * A ring that was kept waits for the captures that another engine had. One
 * that is opened while the lane runs is new, and waits for nobody.
 */
static int open_packet_lane(const struct control_source *source,
			    uint32_t number, struct source **out)
{
	uint32_t interface = number / source->config->lanes;
	uint32_t lane = number % source->config->lanes;
	struct priv_reply geometry;
	void *ring;
	int epoll_fd, err = priv_packet_open(source->index, interface, lane,
					     &geometry, &epoll_fd);

	if (err)
		return err;
	err = ring_mapper_map(geometry.packet.number, geometry.packet.ring_size,
			      &ring);
	if (err) {
		close(epoll_fd);
		return err;
	}
	source->lanes[number].ring_bytes = geometry.packet.ring_size;
	if (geometry.packet.is_kept) {
		log_info("source %s: lane %u on %s: goes on with the ring it "
			 "had",
			 source->config->name, lane,
			 source->config->interfaces[interface]);
		source->lanes[number].awaited = geometry.packet.users;
		if (!users_are_none(&geometry.packet.users))
			source->lanes[number].wait = LANE_WAITS_TO_BE_TOLD;
	}
	return source_packet_new(out, source->config, ring, epoll_fd, &geometry,
				 interface);
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
	if (err && !source->may_wait)
		log_error("source %s: no memory for its frames: %s",
			  source->config->name, strerror(-err));
	return err;
}

/*
 * A socket that follows another gets the same frames, unless there are new; one
 * that had to wait for memory has none yet.
 */
static int open_xdp_lane(struct control_source *source, uint32_t number,
			 struct source **out)
{
	const struct config_source *config = source->config;
	struct lane *lane = &source->lanes[number];
	uint32_t interface = number / config->lanes;
	struct frames *frames;
	struct priv_reply reply;
	int fds[PRIV_FDS_MAX];
	int err = 0;

	if (!source->frames[number] && !source->next_frames[number])
		err = make_frames(source, number);
	if (err)
		return err;
	frames = source->next_frames[number];
	err = priv_xdp_open(source->index, interface, number % config->lanes,
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

int control_open_lane(struct control_source *source, uint32_t number,
		      struct source **out)
{
	if (source->config->backend == BACKEND_XDP)
		return open_xdp_lane(source, number, out);
	return open_packet_lane(source, number, out);
}

int control_start_lanes(const struct control_source *source)
{
	int err = 0, failed;

	if (source->config->backend == BACKEND_PACKET)
		return priv_packet_start(source->index);
	for (uint32_t i = 0; i < source->lane_count; i++) {
		if (source->lanes[i].users == 0)
			continue;
		failed = control_take_queue(source, &source->lanes[i], true);
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

struct frames *control_adopt_frames(struct control_source *source,
				    uint32_t number)
{
	struct frames *old = source->frames[number];

	if (!source->next_frames[number])
		return NULL;
	source->frames[number] = source->next_frames[number];
	source->next_frames[number] = NULL;
	return old;
}

/*
 * A broker does not start without a source that it is to have; but what has
 * become of one must not keep the next engine from serving the others. Its
 * links are tried again, a file is not. The reason has been logged.
 */
static bool can_wait(struct control_source *source, uint32_t interface, int err)
{
	if (err && source->may_wait)
		source->links[interface].is_stale = true;
	return err && source->may_wait;
}

static int open_lane(struct control *control, struct control_source *source,
		     uint32_t number)
{
	const struct config_source *config = source->config;
	struct lane *lane = &source->lanes[number];
	uint32_t interface =
		config->backend == BACKEND_REPLAY ? 0 : number / config->lanes;
	struct source *kernel_source;
	int err;

	if (config->backend == BACKEND_REPLAY)
		err = open_replay(source, &kernel_source);
	else
		err = control_open_lane(source, number, &kernel_source);
	if (can_wait(source, interface, err)) {
		kernel_source = lane_no_source();
		err = 0;
	}
	if (err)
		return err;
	control_adopt_frames(source, number);
	lane->frames = source->frames[number];
	lane->failed.owner = control;
	return lane_init(lane, kernel_source, &control->in,
			 control_lane_has_failed);
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
	lane->wait = config->backend == BACKEND_REPLAY ? config->wait : 0;
}

static int make_lanes(struct control_source *source)
{
	const struct config_source *config = source->config;
	uint32_t count = config->backend == BACKEND_REPLAY ?
				 1 :
				 config->interface_count * config->lanes;
	int err;

	source->lanes = calloc(count, sizeof(*source->lanes));
	if (!source->lanes)
		return -ENOMEM;
	while (source->lane_count < count)
		init_lane(source, source->lane_count++);
	err = control_source_make_frames(source, source->percent);
	/* Those that have none ask again when they are opened. */
	return source->may_wait ? 0 : err;
}

struct control_source *control_source_new(const struct config *config,
					  uint32_t index, uint32_t first,
					  bool may_wait)
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
		source->may_wait = may_wait;
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

static int start_lanes(struct control_source *source)
{
	int err = control_start_lanes(source);

	for (uint32_t i = 0; i < source->config->interface_count; i++)
		if (!can_wait(source, i, err))
			return err;
	return 0;
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
	else
		control_first_look(control, source);
	source->may_wait = false; /* a reload may not */
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

/* ---------------------------------------------------- waiting, and stopping */

static void has_started(struct lane_command *command)
{
	(void)command;
}

void control_start_lane(struct lane *lane)
{
	if (lane->wait != LANE_WAITS_TO_BE_TOLD || lane->start.run)
		return;
	lane->start.run = lane_wait_no_more;
	lane->start.done = has_started;
	lane_send(lane, &lane->start);
}

void control_wait_no_more(struct control *control)
{
	struct control_source *source;

	for (source = control->sources; source; source = source->next)
		for (uint32_t l = 0; l < source->lane_count; l++)
			control_start_lane(&source->lanes[l]);
}

static void is_done(struct lane_command *command)
{
	free(command);
}

static void close_is_done(struct lane_command *command)
{
	sem_destroy(&((struct close_command *)command)->is_closed);
	free(command);
}

void control_close_lane(struct lane *lane)
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
			control_close_lane(lane);
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
		stop->done = is_done;
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
