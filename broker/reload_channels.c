// SPDX-License-Identifier: BSD-2-Clause
/*
 * Channels of the next configuration: one that has changed is made anew, beside
 * the one that it replaces, with as much memory as that has. Nobody sees them
 * before all of it is there.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "capture.h"
#include "log.h"
#include "move.h"
#include "policy.h"
#include "region.h"
#include "reload.h"

const struct config_channel *reload_find_channel(const struct config *config,
						 const char *name)
{
	for (uint32_t i = 0; i < config->channel_count; i++)
		if (strcmp(config->channels[i].name, name) == 0)
			return &config->channels[i];
	return NULL;
}

bool reload_memory_is_same(const struct config_channel *a,
			   const struct config_channel *b)
{
	return strcmp(a->filter, b->filter) == 0 && a->snaplen == b->snaplen &&
	       a->headers_only == b->headers_only &&
	       a->show_counts == b->show_counts &&
	       a->arena_size == b->arena_size &&
	       a->block_size == b->block_size && a->guaranteed == b->guaranteed;
}

static struct control_channel *running_channel(const struct control *control,
					       const char *name)
{
	struct control_channel *channel;

	for (channel = control->channels; channel; channel = channel->next)
		if (!channel->is_retired &&
		    strcmp(channel->config->name, name) == 0)
			return channel;
	return NULL;
}

/* Of those that are loaned something: their frames are made anew. */
static bool is_refitted(const struct reload *reload,
			const struct control_channel *channel, uint32_t source)
{
	return reload->is_refitted[source] && channel->frames[0];
}

/*
 * Whether it can stay as it is. Who may not attach any more may have mapped its
 * memory before, and hold it without a capture.
 */
static bool stays(const struct reload *reload,
		  const struct control_channel *channel,
		  const struct config_channel *config)
{
	return channel->source == reload->sources[config->source] &&
	       !is_refitted(reload, channel, config->source) &&
	       reload_memory_is_same(channel->config, config) &&
	       !policy_narrows(reload->old, channel->config, reload->config,
			       config);
}

/* What captures of the old one are to move to is there before they are told. */
static int make_arenas(struct control_channel *to,
		       const struct control_channel *from)
{
	int err = 0;

	for (uint32_t l = 0; l < from->source->lane_count && !err; l++)
		if (from->arenas[l])
			err = control_channel_make_arena(to, l);
	if (err)
		log_error("channel %s: no memory for its new arenas (%s)",
			  to->config->name,
			  err == REGION_NO_HUGE_PAGES ? "no huge pages" :
							strerror(-err));
	return err;
}

static int make_channel(struct reload *reload, uint32_t index,
			struct control_channel *running)
{
	const struct config_channel *config = &reload->config->channels[index];
	struct control_source *source = reload->sources[config->source];
	struct control_channel *channel =
		control_channel_new(reload->control, source, config);

	if (!channel) {
		log_error("channel %s: no memory for it", config->name);
		return -ENOMEM;
	}
	channel->is_retired = true; /* as long as this is a try */
	reload->channels[index] = channel;
	if (!running || running->source != source)
		return 0;
	reload->replaces[index] = running;
	return make_arenas(channel, running);
}

int reload_make_channels(struct reload *reload)
{
	const struct config *config = reload->config;
	int err = 0;

	for (uint32_t i = 0; i < config->channel_count && !err; i++) {
		const struct config_channel *new = &config->channels[i];
		struct control_source *source = reload->sources[new->source];
		struct control_channel *running =
			running_channel(reload->control, new->name);

		if (reload->channels[i] || !source->lanes[0].has_thread ||
		    (running && stays(reload, running, new)))
			continue;
		err = make_channel(reload, i, running);
	}
	return err;
}

/* Their lanes have them: they go as all channels go. */
void reload_drop_channels(struct reload *reload)
{
	for (uint32_t i = 0; i < CONFIG_CHANNELS_MAX; i++) {
		struct control_channel *channel = reload->channels[i];

		if (!channel)
			continue;
		channel->next = reload->control->channels;
		reload->control->channels = channel;
		control_channel_retire(channel);
	}
}

/* ------------------------------------------------------------------ adopting
 */

/* The lanes do not look at who is allowed. */
static void allow(struct control_channel *channel,
		  const struct config_channel *config)
{
	struct config_channel *mine =
		(struct config_channel *)(uintptr_t)channel->config;

	mine->allow_everyone = config->allow_everyone;
	mine->allow_count = config->allow_count;
	memcpy(mine->allow, config->allow, sizeof(mine->allow));
}

static bool is_replaced(const struct reload *reload,
			const struct control_channel *channel)
{
	for (uint32_t i = 0; i < reload->config->channel_count; i++)
		if (reload->replaces[i] == channel)
			return true;
	return false;
}

/*
 * Who may not attach to the @new one is told that. The lanes look at the mark
 * when they have the command to end the channel, which is sent after this.
 */
static void mark_denied(const struct reload *reload,
			const struct control_channel *channel,
			const struct config_channel *new)
{
	struct session *session = reload->control->sessions;

	for (; session; session = session->next) {
		struct capture *capture = session->capture;

		if (!capture || capture->channel != channel ||
		    policy_allows(reload->config, new, &session->peer))
			continue;
		for (uint32_t i = 0; i < capture->lane_count; i++)
			capture->lanes[i].sub.is_denied = true;
	}
}

static void end_channels(struct reload *reload)
{
	struct control_channel *channel = reload->control->channels;

	for (; channel; channel = channel->next) {
		const struct config_channel *new = reload_find_channel(
			reload->config, channel->config->name);

		if (channel->is_retired || is_replaced(reload, channel))
			continue;
		if (!new) {
			control_channel_end(channel, NR_END_CHANNEL);
		} else if (channel->source != reload->sources[new->source]) {
			mark_denied(reload, channel, new);
			control_channel_end(channel, NR_END_RETIRED);
		} else {
			allow(channel, new);
		}
	}
}

static void append(struct control *control, struct control_channel *channel)
{
	struct control_channel **link = &control->channels;

	while (*link)
		link = &(*link)->next;
	*link = channel;
}

static void replace(struct control_channel *from, struct control_channel *to,
		    bool is_refitted)
{
	to->next = from->next;
	from->next = to;
	log_info("channel %s has changed: its captures get new memory",
		 to->config->name);
	/* What is loaned on one side waits for the frames. */
	move_start(from, to, is_refitted && (from->frames[0] || to->frames[0]));
	control_channel_retire(from);
}

void reload_adopt_channels(struct reload *reload)
{
	const struct config *config = reload->config;

	end_channels(reload);
	for (uint32_t i = 0; i < config->channel_count; i++) {
		struct control_channel *channel = reload->channels[i];
		uint32_t source = config->channels[i].source;

		if (!channel)
			continue;
		channel->is_retired = false;
		if (reload->replaces[i])
			replace(reload->replaces[i], channel,
				reload->is_refitted[source]);
		else
			append(reload->control, channel);
	}
}
