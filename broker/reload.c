// SPDX-License-Identifier: BSD-2-Clause
/*
 * From one configuration to the next. The warden has the text read and checked
 * as a whole; what then differs is changed, and nothing else is touched.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "capture.h"
#include "log.h"
#include "move.h"

/* ---------------------------------------------------- what the warden says */

/* The new configuration, mapped; or NULL, and why in @text. */
static const struct config *ask_warden(char *text, size_t size)
{
	const struct config *config;
	bool is_refused;
	ssize_t length;
	int fd, err = priv_reload(&fd, &is_refused);

	text[0] = '\0';
	if (err) {
		snprintf(
			text, size, "%s",
			err == -EOPNOTSUPP ?
				"the broker was started without a configuration file "
				"(-c)" :
				strerror(-err));
		return NULL;
	}
	if (is_refused) {
		length = pread(fd, text, size - 1, 0);
		while (length > 0 && text[length - 1] == '\n')
			length--;
		text[length > 0 ? length : 0] = '\0';
		close(fd);
		return NULL;
	}
	config = mmap(NULL, sizeof(*config), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (config != MAP_FAILED)
		return config;
	snprintf(text, size, "no memory for the configuration");
	return NULL;
}

/* ---------------------------------------------------------------- sources */

static const struct config_source *
find_source(const struct config *config, const char *name, uint32_t *index)
{
	for (uint32_t i = 0; i < config->source_count; i++)
		if (strcmp(config->sources[i].name, name) == 0) {
			*index = i;
			return &config->sources[i];
		}
	return NULL;
}

static void end_is_done(struct lane_command *command)
{
	struct channel_command *end = (struct channel_command *)command;
	struct control_channel *channel = command->owner;
	struct session *session, *following;

	free(end);
	if (--channel->ending > 0)
		return;
	for (session = channel->control->sessions; session;
	     session = following) {
		following = session->next;
		if (session->capture && session->capture->channel == channel)
			session_close(session, "the channel was removed");
	}
	control_channel_settle(channel);
}

/* Its captures are told that there will be no more, and why. */
static void end_channel(struct control_channel *channel, unsigned why)
{
	channel->is_retired = true;
	for (uint32_t l = 0; l < channel->source->lane_count; l++) {
		struct channel_command *end = calloc(1, sizeof(*end));

		if (!end)
			continue;
		end->base.run = lane_end_channel;
		end->base.done = end_is_done;
		end->base.owner = channel;
		end->channel = &channel->lane_channels[l];
		end->why = why;
		channel->ending++;
		lane_send(&channel->source->lanes[l], &end->base);
	}
}

static void remove_source(struct control *control,
			  struct control_source *source, unsigned why)
{
	struct control_channel *channel;

	source->is_removed = true;
	control_source_close(source);
	for (channel = control->channels; channel; channel = channel->next)
		if (channel->source == source && !channel->is_retired)
			end_channel(channel, why);
	control_source_settle(control, source);
}

/* What is in its memory, and who has it, is as it was. */
static bool memory_is_same(const struct config_channel *a,
			   const struct config_channel *b)
{
	return strcmp(a->filter, b->filter) == 0 && a->snaplen == b->snaplen &&
	       a->headers_only == b->headers_only &&
	       a->show_counts == b->show_counts &&
	       a->arena_size == b->arena_size &&
	       a->block_size == b->block_size && a->guaranteed == b->guaranteed;
}

static const struct config_channel *find_channel(const struct config *config,
						 const char *name)
{
	for (uint32_t i = 0; i < config->channel_count; i++)
		if (strcmp(config->channels[i].name, name) == 0)
			return &config->channels[i];
	return NULL;
}

/*
 * Whether all who have mapped the frames of a source may go on reading them.
 * A mapping cannot be taken back: else the frames have to be made anew.
 */
static bool loans_stay(const struct control *control, const struct config *old,
		       const struct control_source *source,
		       const struct config *config)
{
	const struct control_channel *channel = control->channels;

	for (; channel; channel = channel->next) {
		const struct config_channel *now;

		if (channel->source != source || channel->is_retired ||
		    !config_channel_is_whole(channel->config))
			continue;
		now = find_channel(config, channel->config->name);
		if (!now || !memory_is_same(channel->config, now) ||
		    policy_narrows(old, channel->config, config, now) ||
		    strcmp(config->sources[now->source].name,
			   source->config->name) != 0)
			return false;
	}
	return true;
}

static void update_sources(struct control *control, const struct config *old,
			   const struct config *config)
{
	struct control_source *source, *following;

	for (source = control->sources; source; source = following) {
		const struct config_source *new;

		following = source->next;
		if (source->is_removed)
			continue;
		new = find_source(config, source->config->name, &source->index);
		if (!new)
			remove_source(control, source, NR_END_CHANNEL);
		else if (!config_source_is_same(source->config, new) ||
			 (new->backend == BACKEND_XDP &&
			  !loans_stay(control, old, source, config)))
			/*
			 * Two rings at once would give packets twice: who reads
			 * it ends, and attaches to the new one.
			 */
			remove_source(control, source, NR_END_RETIRED);
	}
}

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

/* Returns the name of one that does not start, or NULL. */
static const char *add_sources(struct control *control,
			       const struct config *config)
{
	const char *failed = NULL;

	for (uint32_t i = 0; i < config->source_count; i++) {
		struct control_source **link = &control->sources;
		struct control_source *source;

		if (running_source(control, config->sources[i].name))
			continue;
		source = control_source_new(control, &config->sources[i], i);
		if (source && control_source_start(source)) {
			log_error("source %s: cannot start its lanes",
				  source->config->name);
			control_source_stop(source);
			control_source_free(source);
			source = NULL;
		}
		if (!source) { /* the log says why */
			failed = config->sources[i].name;
			continue;
		}
		while (*link)
			link = &(*link)->next;
		*link = source;
	}
	return failed;
}

/* --------------------------------------------------------------- channels */

static void replace_channel(struct control *control,
			    struct control_channel *channel,
			    const struct config_channel *config)
{
	struct control_channel *new =
		control_channel_new(control, channel->source, config);

	if (!new) {
		log_error("channel %s: no memory to change it", config->name);
		return;
	}
	new->next = channel->next;
	channel->next = new;
	log_info("channel %s has changed: its captures get new memory",
		 config->name);
	move_start(channel, new);
	control_channel_retire(channel);
}

/*
 * Who may not attach any more may have mapped its memory before, and hold it
 * without a capture.
 */
static void update_channel(struct control *control, const struct config *old,
			   struct control_channel *channel,
			   const struct config_channel *config,
			   const char *source)
{
	struct config_channel *mine =
		(struct config_channel *)(uintptr_t)channel->config;

	if (strcmp(channel->source->config->name, source) != 0) {
		end_channel(channel, NR_END_RETIRED);
		return;
	}
	if (!memory_is_same(mine, config) ||
	    policy_narrows(old, mine, control->config, config)) {
		replace_channel(control, channel, config);
		return;
	}
	/* The lanes do not look at who is allowed. */
	mine->allow_everyone = config->allow_everyone;
	mine->allow_count = config->allow_count;
	memcpy(mine->allow, config->allow, sizeof(mine->allow));
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

static void update_channels(struct control *control, const struct config *old,
			    const struct config *config)
{
	struct control_channel *channel, *following;

	for (channel = control->channels; channel; channel = following) {
		const struct config_channel *new;

		following = channel->next;
		if (channel->is_retired)
			continue;
		new = find_channel(config, channel->config->name);
		if (new)
			update_channel(control, old, channel, new,
				       config->sources[new->source].name);
		else
			end_channel(channel, NR_END_CHANNEL);
	}
}

static void add_channels(struct control *control, const struct config *config)
{
	for (uint32_t i = 0; i < config->channel_count; i++) {
		const struct config_channel *new = &config->channels[i];
		struct control_channel **link = &control->channels, *channel;
		struct control_source *source = running_source(
			control, config->sources[new->source].name);

		if (!source || running_channel(control, new->name))
			continue;
		channel = control_channel_new(control, source, new);
		if (!channel) {
			log_error("channel %s: no memory for it", new->name);
			continue;
		}
		while (*link)
			link = &(*link)->next;
		*link = channel;
	}
}

/* -------------------------------------------------------------- the whole */

static void lane_has_done(struct lane_command *command)
{
	struct control *control = command->owner;

	free(command);
	control->reload_lanes--;
	control_reload_settle(control);
}

static void do_nothing(struct lane *lane, struct lane_command *command)
{
	(void)lane;
	(void)command;
}

/* Lanes do what they are told in order: this comes behind all of it. */
static void ask_lanes(struct control *control)
{
	struct control_source *source;

	for (source = control->sources; source; source = source->next)
		for (uint32_t l = 0; l < source->lane_count; l++) {
			struct lane_command *command =
				calloc(1, sizeof(*command));

			if (!command)
				continue;
			command->run = do_nothing;
			command->done = lane_has_done;
			command->owner = control;
			control->reload_lanes++;
			lane_send(&source->lanes[l], command);
		}
}

/* Tells all who wait for it. @text: why nothing has changed, or NULL. */
static void answer(struct control *control, const char *text)
{
	struct session *session, *following;

	for (session = control->sessions; session; session = following) {
		following = session->next;
		if (session->state != SESSION_RELOADING)
			continue;
		if (text)
			session_refuse(session, EINVAL, "%s", text);
		else
			session_send(session);
	}
}

static void apply(struct control *control, const struct config *config)
{
	const struct config *old = control->config;
	const char *failed;

	control->config = config;
	update_sources(control, old, config);
	failed = add_sources(control, config);
	if (failed)
		snprintf(
			control->reload_failure,
			sizeof(control->reload_failure),
			"the configuration is in force, but source %s does not "
			"start: the broker's log says why",
			failed);
	update_channels(control, old, config);
	add_channels(control, config);
	munmap((void *)(uintptr_t)old, sizeof(*old));
	log_info("the configuration was read again: %u channels of %u sources",
		 config->channel_count, config->source_count);
}

static void reload(struct control *control)
{
	char text[NR_TEXT_MAX];
	const struct config *config = ask_warden(text, sizeof(text));

	if (!config) {
		log_error("the configuration stays as it is: %s", text);
		answer(control, text);
		return;
	}
	apply(control, config);
	ask_lanes(control);
	control_reload_settle(control);
}

static bool is_under_way(const struct control *control)
{
	return control->reload_lanes > 0 || control->moves;
}

void control_reload_settle(struct control *control)
{
	struct session *session;

	if (is_under_way(control))
		return;
	answer(control,
	       control->reload_failure[0] ? control->reload_failure : NULL);
	control->reload_failure[0] = '\0';
	if (!control->reload_is_due || control->must_stop)
		return;
	control->reload_is_due = false;
	for (session = control->sessions; session; session = session->next)
		if (session->state == SESSION_WAITING)
			session->state = SESSION_RELOADING;
	reload(control);
}

/*
 * One at a time: captures are where one configuration had put them before the
 * next moves them on.
 */
void control_reload(struct control *control, struct session *asker)
{
	bool waits = is_under_way(control);

	if (asker) {
		asker->state = waits ? SESSION_WAITING : SESSION_RELOADING;
		asker->deadline_ns = 0;
	}
	if (waits)
		control->reload_is_due = true;
	else
		reload(control);
}
