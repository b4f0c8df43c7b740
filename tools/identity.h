/* SPDX-License-Identifier: BSD-2-Clause */
/* Becoming somebody else, in a network where there is nothing. */
#ifndef NETRING_TOOL_IDENTITY_H
#define NETRING_TOOL_IDENTITY_H

#include <stdbool.h>
#include <sys/types.h>

#define IDENTITY_GROUPS_MAX 256

struct identity {
	uid_t uid;
	gid_t gid;
	gid_t groups[IDENTITY_GROUPS_MAX];
	int group_count;
};

/*
 * Finds the user, by name or number, with all their groups. @user NULL: who
 * runs this; @group NULL: the user's own. Returns 0, or -1 after a message.
 */
int identity_find(struct identity *identity, const char *user,
		  const char *group);

/* Becomes it, for good. Returns 0, or -1 after a message. */
int identity_take(const struct identity *identity);

/*
 * Leaves the network for an empty one, where that is allowed to who calls.
 * Returns 0 or -errno.
 */
int network_leave(void);

/* The same in a user namespace of its own, for whom it is not allowed. */
int network_leave_as_user(void);

#endif
