// SPDX-License-Identifier: BSD-2-Clause
/*
 * Sources of the next configuration are opened beside those that run: a ring
 * that is not had leaves all as it was. Only a queue of AF_XDP cannot be had
 * twice; its present source gives it up last of all, and gets it back if that
 * was for nothing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "policy.h"
#include "reload.h"

static struct control_source *running_source(const struct control *control,
					     const char *name)
{
	struct control_source *source;

	for (source = control->sources; source; source = source->next)
		if (!source->is_removed &&
		    strcmp(source->config->name, name) == 0)
			return source;
	return NULL;
}

static bool stays(const struct reload *reload,
		  const struct control_source *source)
{
	for (uint32_t i = 0; i < reload->config->source_count; i++)
		if (reload->sources[i] == source && !reload->is_new[i])
			return true;
	return false;
}

/*
 * Whether all who have mapped the frames of a source may go on reading them.
 * A mapping cannot be taken back: else the frames have to be made anew.
 */
static bool loans_stay(const struct reload *reload,
		       const struct control_source *source)
{
	const struct config *old = reload->old, *config = reload->config;
	const struct control_channel *channel = reload->control->channels;

	for (; channel; channel = channel->next) {
		const struct config_channel *now;

		if (channel->source != source || channel->is_retired ||
		    !config_channel_is_whole(channel->config))
			continue;
		now = reload_find_channel(config, channel->config->name);
		if (!now || !reload_memory_is_same(channel->config, now) ||
		    policy_narrows(old, channel->config, config, now) ||
		    strcmp(config->sources[now->source].name,
			   source->config->name) != 0)
			return false;
	}
	return true;
}

/* One that stays, in new frames if a right to the old ones ends. */
static int keep_source(struct reload *reload, uint32_t index,
		       struct control_source *source)
{
	reload->sources[index] = source;
	if (source->config->backend != BACKEND_XDP ||
	    loans_stay(reload, source))
		return 0;
	reload->is_refitted[index] = true;
	return control_source_make_frames(
		source, control_source_percent(reload->config, index));
}

static bool share_interface(const struct config_source *a,
			    const struct config_source *b)
{
	for (uint32_t i = 0; i < a->interface_count; i++)
		for (uint32_t j = 0; j < b->interface_count; j++)
			if (strcmp(a->interfaces[i], b->interfaces[j]) == 0)
				return true;
	return false;
}

/* A source that goes, and has queues that the new one at @index wants. */
static struct control_source *in_the_way(const struct reload *reload,
					 uint32_t index)
{
	const struct config_source *new = &reload->config->sources[index];
	struct control_source *source = reload->control->sources;

	for (; source; source = source->next)
		if (new->backend == BACKEND_XDP && !source->is_removed &&
		    source->config->backend == BACKEND_XDP &&
		    !stays(reload, source) &&
		    share_interface(source->config, new))
			return source;
	return NULL;
}

static int open_and_start(struct reload *reload, uint32_t index)
{
	int err = control_source_open(reload->control, reload->sources[index]);

	return err ? err : control_source_start(reload->sources[index]);
}

int reload_open_sources(struct reload *reload)
{
	const struct config *config = reload->config;
	int err = 0;

	/* First who stays: what a new one may have depends on it. */
	for (uint32_t i = 0; i < config->source_count && !err; i++) {
		struct control_source *source = running_source(
			reload->control, config->sources[i].name);

		if (source &&
		    config_source_is_same(source->config, &config->sources[i]))
			err = keep_source(reload, i, source);
	}
	for (uint32_t i = 0; i < config->source_count && !err; i++) {
		if (reload->sources[i])
			continue;
		reload->sources[i] =
			control_source_new(config, i, PRIV_NEXT, false);
		if (!reload->sources[i])
			return -EIO;
		reload->is_new[i] = true;
		if (!in_the_way(reload, i))
			err = open_and_start(reload, i);
	}
	return err;
}

static bool runs(const struct control_source *source)
{
	return source->lanes[0].has_thread;
}

int reload_swap_sources(struct reload *reload)
{
	struct control_source *source;
	int err = 0;

	for (uint32_t i = 0; i < reload->config->source_count && !err; i++) {
		if (!reload->is_new[i] || runs(reload->sources[i]))
			continue;
		while ((source = in_the_way(reload, i))) {
			reload->closed[reload->closed_count++] = source;
			err = control_source_give_back(source);
			control_source_close(source);
			/* Until it is known whether it goes. */
			source->is_removed = true;
		}
		if (!err)
			err = open_and_start(reload, i);
	}
	return err;
}

/* ------------------------------------------------------------ as it was */

void reload_close_sources(struct reload *reload)
{
	for (uint32_t i = 0; i < CONFIG_SOURCES_MAX; i++) {
		struct control_source *source = reload->sources[i];

		if (!source)
			continue;
		for (uint32_t l = 0; l < NR_LANES_MAX; l++) {
			/* Others may wait for a link that is gone. */
			if (!reload->is_new[i] && !reload->is_refitted[i])
				break;
			/* Before the warden looks who holds them. */
			frames_free(source->next_frames[l]);
			source->next_frames[l] = NULL;
		}
		if (reload->is_new[i])
			control_source_close(source);
	}
}

/* The lanes may have got channels, which go first. */
static void drop_source(struct control *control, struct control_source *source)
{
	if (!runs(source)) {
		control_source_stop(source);
		control_source_free(source);
		return;
	}
	source->is_removed = true;
	source->next = control->sources;
	control->sources = source;
	control_source_settle(control, source);
}

void reload_restore_sources(struct reload *reload)
{
	struct control *control = reload->control;

	for (uint32_t i = 0; i < CONFIG_SOURCES_MAX; i++)
		if (reload->sources[i] && reload->is_new[i])
			drop_source(control, reload->sources[i]);
	for (uint32_t i = 0; i < reload->closed_count; i++) {
		log_warn("source %s gets its queues back: packets of some ms "
			 "went to the host",
			 reload->closed[i]->config->name);
		reload->closed[i]->is_removed = false;
		control_source_reopen(control, reload->closed[i]);
	}
}

/* -------------------------------------------------------------- as it is now
 */

static void append(struct control *control, struct control_source *source)
{
	struct control_source **link = &control->sources;

	while (*link)
		link = &(*link)->next;
	*link = source;
}

void reload_adopt_sources(struct reload *reload)
{
	struct control *control = reload->control;
	struct control_source *source;

	for (source = control->sources; source; source = source->next) {
		if (source->is_removed || stays(reload, source))
			continue;
		source->is_removed = true;
		control_source_close(source);
	}
	for (uint32_t i = 0; i < reload->config->source_count; i++) {
		reload->sources[i]->index = i;
		if (reload->is_new[i])
			append(control, reload->sources[i]);
	}
}

void reload_remove_sources(struct reload *reload)
{
	struct control_source *source, *following;

	for (source = reload->control->sources; source; source = following) {
		following = source->next;
		control_source_settle(reload->control, source);
	}
	for (uint32_t i = 0; i < reload->config->source_count; i++)
		reload->sources[i]->is_refitting |= reload->is_refitted[i];
}
