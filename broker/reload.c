// SPDX-License-Identifier: BSD-2-Clause
/*
 * From one configuration to the next, all of it or nothing. The warden has the
 * text read and checked as a whole; what differs is made beside what there is;
 * then both, warden and engine, go over to it, and nothing else is touched.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "log.h"
#include "move.h"
#include "reload.h"
#include "session.h"

/* ---------------------------------------------------- what the warden says */

/* The new configuration, mapped; or NULL, and why in @text. */
static const struct config *ask_warden(char *text, size_t size)
{
	const struct config *config;
	bool is_refused;
	ssize_t length;
	int fd, err = priv_reload(&fd, &is_refused);

	text[0] = '\0';
	if (err == -EOPNOTSUPP)
		snprintf(text, size,
			 "the broker was started without a configuration file "
			 "(-c)");
	else if (err)
		snprintf(text, size, "the warden cannot read it: %s",
			 strerror(-err));
	if (err)
		return NULL;
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
	/* The warden goes by it already, and a new engine will. */
	log_error("engine: no memory for the configuration");
	_exit(1);
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
void control_reload_ask_lanes(struct control *control)
{
	struct control_source *source;

	for (source = control->sources; source; source = source->next)
		for (uint32_t l = 0; l < source->lane_count; l++) {
			struct lane_command *command =
				calloc(1, sizeof(*command));

			if (!command || !source->lanes[l].has_thread) {
				free(command);
				continue;
			}
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

static int try(struct reload *reload)
{
	int err = reload_open_sources(reload);

	if (!err)
		err = reload_make_channels(reload);
	if (!err)
		err = reload_swap_sources(reload);
	/* Those of sources that have been opened only now. */
	return err ? err : reload_make_channels(reload);
}

static void take_back(struct reload *reload)
{
	reload_close_sources(reload);
	priv_abandon();
	reload_drop_channels(reload);
	reload_restore_sources(reload);
	munmap((void *)(uintptr_t)reload->config, sizeof(*reload->config));
}

static void adopt(struct reload *reload)
{
	const struct config *config = reload->config;

	priv_commit();
	reload->control->config = config;
	reload_adopt_sources(reload);
	reload_adopt_channels(reload);
	reload_remove_sources(reload);
	munmap((void *)(uintptr_t)reload->old, sizeof(*reload->old));
	log_info("the configuration was read again: %u channels of %u sources",
		 config->channel_count, config->source_count);
	move_check(reload->control);
}

static void refuse(struct control *control, const char *text)
{
	log_error("the configuration stays as it is: %s", text);
	answer(control, text);
}

static void reload(struct control *control)
{
	char text[NR_TEXT_MAX];
	struct reload reload = {
		.control = control,
		.old = control->config,
		.config = ask_warden(text, sizeof(text)),
	};
	int err;

	if (!reload.config) {
		refuse(control, text);
		return;
	}
	log_keep(text, sizeof(text));
	err = try(&reload);
	log_keep(NULL, 0);
	if (err) {
		take_back(&reload);
		refuse(control, text[0] ? text : strerror(-err));
		return;
	}
	adopt(&reload);
	control_reload_ask_lanes(control);
	control_reload_settle(control);
}

static bool is_under_way(const struct control *control)
{
	const struct control_source *source = control->sources;

	while (source && !source->is_refitting)
		source = source->next;
	return source || control->reload_lanes > 0 || control->moves;
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
