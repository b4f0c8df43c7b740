// SPDX-License-Identifier: BSD-2-Clause
/*
 * A channel's life on the lanes of its source: added to each, and freed when
 * each has let go of it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "capture.h"
#include "lane_channel.h"
#include "log.h"
#include "move.h"
#include "policy.h"

/* To every lane, by the commands that are part of the channel. */
static void tell_lanes(struct control_channel *channel,
		       void (*run)(struct lane *, struct lane_command *),
		       void (*done)(struct lane_command *))
{
	for (uint32_t l = 0; l < channel->source->lane_count; l++) {
		struct channel_command *command = &channel->commands[l];

		command->base = (struct lane_command){
			.run = run,
			.done = done,
			.owner = channel,
		};
		command->channel = &channel->lane_channels[l];
		command->why = channel->end;
		lane_send(&channel->source->lanes[l], &command->base);
	}
}

static void is_added(struct lane_command *command)
{
	struct control_channel *channel = command->owner;

	if (--channel->pending == 0)
		control_channel_settle(channel);
}

static struct frames *frames_of(const struct control_source *source,
				uint32_t number)
{
	return source->next_frames[number] ? source->next_frames[number] :
					     source->frames[number];
}

/*
 * What shows every packet whole is loaned the frames they lie in: of all lanes,
 * or, where there was no memory for some, of none.
 */
static void take_frames(struct control_channel *channel)
{
	const struct control_source *source = channel->source;

	if (!config_channel_is_whole(channel->config))
		return;
	for (uint32_t l = 0; l < source->lane_count; l++)
		if (!frames_of(source, l))
			return;
	for (uint32_t l = 0; l < source->lane_count; l++)
		channel->frames[l] = frames_keep(frames_of(source, l));
}

struct control_channel *control_channel_new(struct control *control,
					    struct control_source *source,
					    const struct config_channel *config)
{
	struct control_channel *channel = calloc(1, sizeof(*channel));
	struct config_channel *copy = malloc(sizeof(*copy));

	if (!channel || !copy) {
		free(channel);
		free(copy);
		return NULL;
	}
	policy_warn(control->config, config, control->has_privilege);
	memcpy(copy, config, sizeof(*copy));
	channel->control = control;
	channel->config = copy;
	channel->source = source;
	for (uint32_t l = 0; l < source->lane_count; l++)
		channel->lane_channels[l].config = copy;
	take_frames(channel);
	channel->pending = source->lane_count;
	tell_lanes(channel, lane_add_channel, is_added);
	return channel;
}

int control_channel_make_arena(struct control_channel *channel, uint32_t lane)
{
	const struct config_channel *config = channel->config;
	bool small_pages = channel->source->config->small_pages;
	struct arena **arena = &channel->arenas[lane];

	if (*arena)
		return 0;
	if (channel->frames[lane])
		return arena_new_loaned(arena, channel->frames[lane],
					config->show_counts, small_pages);
	return arena_new(arena, config->arena_size, config->block_size,
			 config->guaranteed, config->show_counts, small_pages);
}

static void unlink_channel(struct control_channel *channel)
{
	struct control_channel **link = &channel->control->channels;

	while (*link != channel)
		link = &(*link)->next;
	*link = channel->next;
}

static void is_removed(struct lane_command *command)
{
	struct control_channel *channel = command->owner;

	if (--channel->pending > 0)
		return;
	unlink_channel(channel);
	control_source_settle(channel->control, channel->source);
	control_channel_free(channel);
}

void control_channel_settle(struct control_channel *channel)
{
	if (!channel->is_retired || channel->capture_count > 0 ||
	    channel->pending > 0 || channel->ending > 0 ||
	    move_concerns(channel->control, channel))
		return;
	channel->pending = channel->source->lane_count;
	tell_lanes(channel, lane_remove_channel, is_removed);
}

static void end_session(struct control_channel *channel,
			struct session *session)
{
	bool is_gone = channel->end == NR_END_CHANNEL;

	if (session->state == SESSION_ATTACHING ||
	    session->state == SESSION_READY)
		session_refuse(session, is_gone ? ENOENT : ESTALE,
			       is_gone ? "the channel was removed meanwhile" :
					 "the channel has changed meanwhile: "
					 "attach again");
	else if (session->capture->lanes[0].sub.is_denied)
		session_close(session, "it is not allowed any more");
	else
		session_close(session,
			      is_gone ? "the channel was removed" :
					"its source has changed: it has to "
					"attach again");
}

static void end_is_done(struct lane_command *command)
{
	struct control_channel *channel = command->owner;
	struct session *session, *following;

	if (--channel->ending > 0)
		return;
	for (session = channel->control->sessions; session;
	     session = following) {
		following = session->next;
		if (session->capture && session->capture->channel == channel)
			end_session(channel, session);
	}
	control_channel_settle(channel);
}

void control_channel_end(struct control_channel *channel, unsigned why)
{
	channel->is_retired = true;
	channel->end = why;
	channel->ending = channel->source->lane_count;
	tell_lanes(channel, lane_end_channel, end_is_done);
}

void control_channel_retire(struct control_channel *channel)
{
	channel->is_retired = true;
	control_channel_settle(channel);
}

void control_channel_free(struct control_channel *channel)
{
	for (uint32_t l = 0; l < NR_LANES_MAX; l++) {
		lane_channel_deinit(&channel->lane_channels[l]);
		arena_free(channel->arenas[l]);
		frames_free(channel->frames[l]);
	}
	free((void *)(uintptr_t)channel->config);
	free(channel);
}
