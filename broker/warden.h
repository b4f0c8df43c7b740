/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The privileged process: opens what the configuration names, hands it to the
 * engine, starts the engine again when it dies. Parses no packet, no message
 * of a client and no text.
 */
#ifndef NETRINGD_WARDEN_H
#define NETRINGD_WARDEN_H

#include <sys/types.h>

#include "config.h"
#include "warden_listener.h"
#include "warden_start.h"

struct warden_options {
	const struct start_options *start; /* to read the configuration again */
	const struct config *config;
	int config_fd;
	struct listener listener;
	uid_t uid; /* of the engine */
	gid_t gid;
};

/* Serves until SIGTERM or SIGINT. Returns the exit status of the program. */
int warden_run(struct warden_options *options);

#endif
