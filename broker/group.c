// SPDX-License-Identifier: BSD-2-Clause
/*
 * Which member gets which slots. Shares are even to within one slot, and kept
 * so by moving as few as possible: a new member is given some of everybody's,
 * a leaving one's are dealt out to those that have least. One that may be
 * refused yet, or may never read, has no share; it gets what nobody else would.
 */
#include "group.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct flow_group *group_get(struct flow_group **groups, const char *name,
			     uid_t uid)
{
	struct flow_group *group;

	for (group = *groups; group; group = group->next)
		if (group->uid == uid && strcmp(group->name, name) == 0)
			return group;
	group = calloc(1, sizeof(*group));
	if (!group)
		return NULL;
	memcpy(group->name, name, strlen(name) + 1);
	group->uid = uid;
	group->next = *groups;
	*groups = group;
	return group;
}

void group_put(struct flow_group **groups, struct flow_group *group)
{
	struct flow_group **link = groups;

	if (group->member_count > 0)
		return;
	while (*link != group)
		link = &(*link)->next;
	*link = group->next;
	free(group);
}

/* A walk over all slots that does not take a member's neighbours in a row. */
static uint32_t scattered(uint32_t i)
{
	return i * 2654435761u >> (32 - GROUP_BITS);
}

static void move_slot(struct flow_group *group, uint32_t slot, uint32_t to)
{
	group->members[group->table[slot]]->slots--;
	group->table[slot] = (uint8_t)to;
	group->members[to]->slots++;
}

static uint32_t richest(const struct flow_group *group)
{
	uint32_t best = 0;

	for (uint32_t i = 1; i < group->member_count; i++)
		if (group->members[i]->slots > group->members[best]->slots)
			best = i;
	return best;
}

/* A member takes its share from whoever has most. */
static void give_share(struct flow_group *group, uint32_t index)
{
	struct group_member *member = group->members[index];
	uint32_t share = GROUP_SLOTS / group->share_count;

	for (uint32_t i = 0; i < GROUP_SLOTS && group->share_count == 1; i++)
		move_slot(group, i, index);
	for (uint32_t i = 0, from = richest(group); member->slots < share;
	     i++) {
		uint32_t slot = scattered(i);

		if (group->table[slot] != from)
			continue;
		move_slot(group, slot, index);
		from = richest(group);
	}
}

/* Who may be dealt flows: members without a share only if there is no other. */
static bool is_eligible(const struct flow_group *group, uint32_t index)
{
	return group->share_count == 0 || group->members[index]->has_share;
}

/* @but: GROUP_MEMBERS_MAX: nobody. */
static uint32_t poorest(const struct flow_group *group, uint32_t but)
{
	uint32_t best = GROUP_MEMBERS_MAX;

	for (uint32_t i = 0; i < group->member_count; i++)
		if (i != but && is_eligible(group, i) &&
		    (best == GROUP_MEMBERS_MAX ||
		     group->members[i]->slots < group->members[best]->slots))
			best = i;
	return best;
}

/* Every member is told, in its stream, that flows have moved. */
static void tell(struct flow_group *group)
{
	group->epoch++;
	for (uint32_t i = 0; i < group->member_count; i++)
		stream_next_epoch(&group->members[i]->stream, group->epoch);
}

/* The first: until somebody has a share, it has all. */
static void give_all(struct flow_group *group)
{
	memset(group->table, 0, sizeof(group->table));
	group->members[0]->slots = GROUP_SLOTS;
	tell(group);
}

int group_join(struct flow_group *group, struct subscription *sub,
	       struct arena *arena, uint16_t link_type)
{
	struct group_member *member;
	int slot;

	if (group->member_count == GROUP_MEMBERS_MAX)
		return GROUP_FULL;
	member = calloc(1, sizeof(*member));
	if (!member)
		return -ENOMEM;
	slot = arena_take_stream(arena);
	if (slot < 0) {
		free(member);
		return GROUP_FULL;
	}
	stream_init(&member->stream, arena, (uint32_t)slot);
	member->stream.epoch = group->epoch;
	if (!stream_add(&member->stream, sub, link_type)) {
		arena_give_stream(arena, (uint32_t)slot);
		free(member);
		return GROUP_FULL;
	}
	group->members[group->member_count++] = member;
	if (group->member_count == 1)
		give_all(group);
	return GROUP_OK;
}

static uint32_t find(const struct flow_group *group,
		     const struct stream *stream)
{
	uint32_t i = 0;

	while (&group->members[i]->stream != stream)
		i++;
	return i;
}

void group_share(struct flow_group *group, const struct subscription *sub)
{
	uint32_t index = find(group, sub->stream);
	struct group_member *member = group->members[index];
	uint32_t had = member->slots;

	if (member->has_share)
		return;
	member->has_share = true;
	group->share_count++;
	give_share(group, index);
	if (member->slots != had)
		tell(group);
}

/* What a member has become elsewhere, or NULL. */
static const struct subscription *successor(const struct group_member *member)
{
	const struct subscription *after = member->stream.subscriptions->after;

	return after && after->group ? after : NULL;
}

/* Before any of its slots is dealt out. */
static void start_shares(struct flow_group *group)
{
	group->share_count = group->member_count;
	for (uint32_t i = 0; i < group->member_count; i++) {
		group->members[i]->has_share = true;
		group->members[i]->slots = 0;
	}
}

static void set_slot(struct flow_group *group, uint32_t slot, uint32_t to)
{
	group->table[slot] = (uint8_t)to;
	group->members[to]->slots++;
}

void group_follow(const struct flow_group *from)
{
	uint32_t places[GROUP_MEMBERS_MAX];
	struct flow_group *to = NULL;

	for (uint32_t i = 0; i < from->member_count; i++) {
		const struct subscription *after = successor(from->members[i]);

		places[i] = GROUP_MEMBERS_MAX;
		if (!after)
			continue;
		to = after->group;
		places[i] = find(to, after->stream);
	}
	if (!to)
		return;
	start_shares(to);
	for (uint32_t i = 0; i < GROUP_SLOTS; i++)
		if (places[from->table[i]] < GROUP_MEMBERS_MAX)
			set_slot(to, i, places[from->table[i]]);
	for (uint32_t i = 0; i < GROUP_SLOTS; i++)
		if (places[from->table[i]] == GROUP_MEMBERS_MAX)
			set_slot(to, i, poorest(to, GROUP_MEMBERS_MAX));
}

void group_leave(struct flow_group *group, struct subscription *sub)
{
	uint32_t index = find(group, sub->stream);
	uint32_t last = group->member_count - 1;
	struct group_member *member = group->members[index];
	struct arena *arena = member->stream.arena;
	bool had_flows = member->slots > 0;

	group->share_count -= member->has_share;
	for (uint32_t i = 0; i < GROUP_SLOTS && last > 0; i++)
		if (group->table[i] == index)
			move_slot(group, i, poorest(group, index));
	/* The last one moves into the gap. */
	for (uint32_t i = 0; i < GROUP_SLOTS; i++)
		if (group->table[i] == last)
			group->table[i] = (uint8_t)index;
	group->members[index] = group->members[last];
	group->member_count--;
	stream_remove(&member->stream, sub);
	arena_give_stream(arena, member->stream.slot);
	free(member);
	if (had_flows)
		tell(group);
}
