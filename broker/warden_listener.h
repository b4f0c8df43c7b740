/* SPDX-License-Identifier: BSD-2-Clause */
/* The socket that clients connect to: one for each engine, in one place. */
#ifndef NETRINGD_WARDEN_LISTENER_H
#define NETRINGD_WARDEN_LISTENER_H

#include <sys/stat.h>

#include "config.h"

struct listener {
	int fd;	      /* -1: none */
	dev_t device; /* of its file */
	ino_t inode;
};

/*
 * In a directory made for it. Says which broker is in the way if one is.
 * Returns 0, or 1 after a message.
 */
int listener_open(struct listener *listener, const struct config *config);

/*
 * An engine has ended: what it had of the listener, and may have passed on, is
 * worth nothing any more; who waits in it is hung up on. The next engine's is
 * in its place before. Returns 0, or 1 after a message: then there is none.
 */
int listener_renew(struct listener *listener, const struct config *config);

/* Removes the file, unless another's is there now. */
void listener_remove(const struct listener *listener,
		     const struct config *config);

#endif
