/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A reload that is being tried: what of the next configuration has to be made
 * is made beside what there is. Then all of it takes its place, or none.
 */
#ifndef NETRINGD_RELOAD_H
#define NETRINGD_RELOAD_H

#include "control.h"

struct reload {
	struct control *control;
	const struct config *old;
	const struct config *config;

	/* By index in the next configuration: what runs and stays, or is new.
	 */
	struct control_source *sources[CONFIG_SOURCES_MAX];
	bool is_new[CONFIG_SOURCES_MAX];
	bool is_refitted[CONFIG_SOURCES_MAX]; /* it gets new frames */
	/* Those that had to give their queues to new ones. */
	struct control_source *closed[CONFIG_SOURCES_MAX];
	uint32_t closed_count;

	/* New ones, and whom they replace, or NULL. */
	struct control_channel *channels[CONFIG_CHANNELS_MAX];
	struct control_channel *replaces[CONFIG_CHANNELS_MAX];
};

/*
 * reload_sources.c: opens and starts what is new, or has changed, and makes new
 * frames where a right narrows. 0, or negative after a message.
 */
int reload_open_sources(struct reload *reload);
/*
 * The same for those whose queues another source has, which goes: it gives them
 * up for this.
 */
int reload_swap_sources(struct reload *reload);
/* The warden has taken the next configuration for the present one. */
void reload_adopt_sources(struct reload *reload);
/* Sources that are no more go when their channels have. */
void reload_remove_sources(struct reload *reload);
/* Takes back what was done. In between the warden has to abandon it, too. */
void reload_close_sources(struct reload *reload);
void reload_restore_sources(struct reload *reload);

/* reload_channels.c: makes those of sources that run. Like the others. */
int reload_make_channels(struct reload *reload);
void reload_adopt_channels(struct reload *reload);
void reload_drop_channels(struct reload *reload);

/* The channel of that name in @config, or NULL. */
const struct config_channel *reload_find_channel(const struct config *config,
						 const char *name);
/* Whether what is in its memory is the same, and who has it. */
bool reload_memory_is_same(const struct config_channel *a,
			   const struct config_channel *b);

#endif
