/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Captures that share a channel's flows. The flow hash chooses one of
 * GROUP_SLOTS slots, the slot's member gets the packet. When a member comes or
 * goes only the slots that have to move do.
 */
#ifndef NETRINGD_GROUP_H
#define NETRINGD_GROUP_H

#include <stdint.h>
#include <sys/types.h>

#include <netring/proto.h>

#include "stream.h"

#define GROUP_BITS 12
#define GROUP_SLOTS (1u << GROUP_BITS)
#define GROUP_MEMBERS_MAX 64

struct group_member {
	struct stream stream;
	uint32_t slots; /* how many of the group's are its */
	bool has_share; /* see group_share() */
};

/*
 * Of one user: a group of that name of another user is another group, so that
 * nobody can join and take what is somebody else's.
 */
struct flow_group {
	struct flow_group *next;
	uid_t uid;
	char name[NR_GROUP_MAX];
	uint32_t epoch;
	uint32_t member_count;
	uint32_t share_count; /* members that have a share */
	struct group_member *members[GROUP_MEMBERS_MAX];
	uint8_t table[GROUP_SLOTS]; /* index in members */
};

/* Index of the member that has the flow. */
static inline uint8_t group_owner(const struct flow_group *group,
				  uint32_t flow_hash)
{
	return group->table[flow_hash >> (32 - GROUP_BITS)];
}

/*
 * The group of that name, made if there is none. NULL: no memory.
 */
struct flow_group *group_get(struct flow_group **groups, const char *name,
			     uid_t uid);

/* Frees a group without members. */
void group_put(struct flow_group **groups, struct flow_group *group);

enum group_outcome { GROUP_OK = 0, GROUP_FULL = 1 };

/*
 * @sub becomes a member, with a stream of its own in @arena, and has a place
 * but no share yet: as long as there are members that have one, the flows are
 * theirs. Returns an outcome (GROUP_FULL: members, stream slots, or the arena's
 * set-aside) or -ENOMEM.
 */
int group_join(struct flow_group *group, struct subscription *sub,
	       struct arena *arena, uint16_t link_type);

/* @sub, a member, takes part: it gets its share of the flows. */
void group_share(struct flow_group *group, const struct subscription *sub);

/*
 * Members of @from have joined a group elsewhere (see subscription.after), and
 * go on there: each has the flows that it had, and what those had that do not
 * follow is dealt out. Before the first packet there.
 */
void group_follow(const struct flow_group *from);

/* Its flows go to the others. Takes @sub's stream along. */
void group_leave(struct flow_group *group, struct subscription *sub);

#endif
