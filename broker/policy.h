/* SPDX-License-Identifier: BSD-2-Clause */
/* Who a peer is, and what it may. */
#ifndef NETRINGD_POLICY_H
#define NETRINGD_POLICY_H

#include <stdbool.h>
#include <sys/types.h>

#include "config.h"

/* As the kernel vouches for it, at the moment it connected. */
struct peer {
	bool is_owner; /* root; or, without privilege, who runs the broker */
	uid_t uid;
	gid_t gid;
	pid_t pid;
	uint32_t group_count;
	gid_t *groups;
	char comm[16];	    /* its name, raw: for structures */
	char comm_text[64]; /* escaped: for messages */
};

/*
 * Asks the kernel who is behind @socket. @owner: the uid that may everything.
 * Returns 0 or -errno.
 */
int peer_init(struct peer *peer, int socket, uid_t owner);
void peer_deinit(struct peer *peer);

/*
 * The owner may attach to every channel; others as `allow` says, or where it
 * says nothing the members of the socket's group.
 */
bool policy_allows(const struct config *config,
		   const struct config_channel *channel,
		   const struct peer *peer);

/* Whether somebody who could attach under @old cannot any more under @new. */
bool policy_narrows(const struct config *old_config,
		    const struct config_channel *old,
		    const struct config *new_config,
		    const struct config_channel *new);

/* Says in the log what is allowed, but hardly meant. */
void policy_warn(const struct config *config,
		 const struct config_channel *channel, bool has_privilege);

/* Whether @peer is shown what a channel filters, and its source's rate. */
bool policy_shows_counts(const struct config_channel *channel,
			 const struct peer *peer);

#endif
