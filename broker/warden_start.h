/* SPDX-License-Identifier: BSD-2-Clause */
/* How the warden comes to its configuration. */
#ifndef NETRINGD_WARDEN_START_H
#define NETRINGD_WARDEN_START_H

#include <stdbool.h>
#include <stdio.h>

#include "config.h"

/* How the broker was called. */
struct start_options {
	const char *config_file; /* -c, or NULL */
	const char *interface;	 /* -i */
	const char *replay_file; /* -r */
	const char *socket;	 /* --socket */
};

/*
 * Has the configuration parsed by a child without privilege, in memory
 * that is shared with it; @fd: that memory, to be handed to the engine.
 * Messages have been printed on failure. Returns NULL then.
 */
const struct config *start_config(const struct start_options *options, int *fd);

/*
 * Checks what the text alone cannot tell: interfaces and files exist.
 * Messages have been printed. Returns the number of errors.
 */
int start_check(const struct config *config, const char *name);

#endif
