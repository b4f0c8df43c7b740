// SPDX-License-Identifier: BSD-2-Clause
/*
 * A channel on one lane: its filter and its snap length decide before a byte
 * of a packet enters the arena. A channel without captures costs nothing.
 */
#include "lane_channel.h"

#include <stdlib.h>
#include <string.h>

#include "lane_append.h"
#include "log.h"

static bool is_used(const struct lane_channel *channel)
{
	return channel->streams != NULL;
}

static void link_stream(struct lane_channel *channel, struct stream *stream)
{
	channel->bytes_gone -= stream->bytes;
	stream->next = channel->streams;
	channel->streams = stream;
}

static void unlink_stream(struct lane_channel *channel,
			  const struct stream *stream)
{
	struct stream **link = &channel->streams;

	while (*link != stream)
		link = &(*link)->next;
	*link = stream->next;
	channel->bytes_gone += stream->bytes;
}

/*
 * The filter for packets of @link_type: compiled by the first of them. One
 * that does not compile for them ("tcp" on a link without IP) passes none.
 */
static void set_link_type(struct lane_channel *channel, uint16_t link_type)
{
	char error[256];

	channel->filter_link_type = link_type;
	filter_free(channel->filter);
	channel->filter = NULL;
	channel->filter_is_unfit =
		filter_new(&channel->filter, channel->config->filter, link_type,
			   error) != 0;
	if (channel->filter_is_unfit)
		log_warn("channel %s: its filter passes nothing of link type "
			 "%u: %s",
			 channel->config->name, link_type, error);
}

static bool add_to_all(struct lane_channel *channel, struct subscription *sub,
		       uint16_t link_type)
{
	bool is_first = channel->broadcast.subscription_count == 0;

	if (!stream_add(&channel->broadcast, sub, link_type))
		return false;
	if (is_first)
		link_stream(channel, &channel->broadcast);
	return true;
}

static bool add_to_group(struct lane_channel *channel, struct subscription *sub,
			 const struct membership *membership,
			 uint16_t link_type)
{
	struct flow_group *group =
		group_get(&channel->groups, membership->name, membership->uid);

	if (!group)
		return false;
	if (group->epoch < membership->epoch)
		group->epoch = membership->epoch;
	sub->group = group;
	if (group_join(group, sub, channel->arena, link_type) != GROUP_OK) {
		sub->group = NULL;
		group_put(&channel->groups, group);
		return false;
	}
	link_stream(channel, sub->stream);
	return true;
}

bool lane_channel_add(struct lane_channel *channel, struct subscription *sub,
		      const struct membership *membership, struct arena *arena,
		      const struct source *source)
{
	if (!channel->arena) {
		channel->arena = arena;
		channel->link_type = source->link_type;
		stream_init(&channel->broadcast, arena,
			    (uint32_t)arena_take_stream(arena));
		channel->broadcast.epoch =
			membership->epoch & ~(NR_EPOCH_ENGINE - 1);
		set_link_type(channel, channel->link_type);
	}
	sub->base_seen = channel->seen;
	sub->base_filtered = channel->filtered;
	sub->ring->base_passed = channel->passed;
	if (channel->config->show_counts) {
		sub->ring->base_seen = channel->seen;
		sub->ring->base_filtered = channel->filtered;
	}
	if (membership->name[0])
		sub->ring->flags = NR_RING_GROUP;
	if (membership->name[0])
		return add_to_group(channel, sub, membership,
				    channel->link_type);
	return add_to_all(channel, sub, channel->link_type);
}

void lane_channel_enter(const struct subscription *sub)
{
	if (sub->group && sub->state != SUBSCRIPTION_ENDED)
		group_share(sub->group, sub);
}

/* It counts no further, whatever the others of the channel get. */
static void end(const struct lane_channel *channel, struct subscription *sub,
		unsigned why)
{
	if (sub->state == SUBSCRIPTION_ENDED)
		return;
	sub->end_seen = channel->seen;
	sub->end_filtered = channel->filtered;
	nr_count_store(&sub->ring->end_passed, channel->passed);
	if (channel->config->show_counts) {
		nr_count_store(&sub->ring->end_seen, channel->seen);
		nr_count_store(&sub->ring->end_filtered, channel->filtered);
	}
	subscription_end(sub, why);
}

static uint32_t larger(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

/* What it was and had in @old goes on in @new. */
static void carry_over(struct subscription *new, struct subscription *old,
		       const struct nr_msg_capture *so_far)
{
	new->carried = (struct subscription_totals){
		.seen = so_far->seen,
		.delivered = so_far->delivered,
		.bytes = so_far->delivered_bytes,
		.filtered = so_far->filtered,
		.to_others = so_far->to_others,
		.lost = so_far->lost[NR_LOST_NOT_ADMITTED],
		.retired = so_far->lost[NR_LOST_RETIRED],
		.refusals = so_far->refusals,
		.bells = so_far->bells,
		.backlog_high = so_far->backlog_high,
		.held_high = so_far->held_high,
	};
	/* One capture still, also while the old one holds something. */
	new->is_counted = old->is_counted;
	old->is_counted = false;
	new->before = old;
	old->after = new;
}

/* One of those that a capture was, is, or becomes. */
static void unchain(struct subscription *sub)
{
	if (sub->before)
		sub->before->after = sub->after;
	if (sub->after)
		sub->after->before = sub->before;
	sub->before = sub->after = NULL;
}

void lane_channel_move(struct lane_channel *from, struct lane_channel *to,
		       struct move_pair *pair, struct arena *arena,
		       const struct source *source)
{
	struct nr_msg_capture so_far = { 0 };
	struct subscription *old = pair->from;

	stream_publish(old->stream);
	if (old->group)
		pair->membership.epoch = old->group->epoch;
	pair->is_refused = !pair->to || old->offence ||
			   !lane_channel_add(to, pair->to, &pair->membership,
					     arena, source);
	if (pair->is_refused) {
		end(from, old,
		    pair->is_denied ? NR_END_DENIED : NR_END_RETIRED);
		return;
	}
	end(from, old, NR_END_MOVED);
	lane_channel_stat_capture(from, old, &so_far);
	carry_over(pair->to, old, &so_far);
	subscription_ring(old);
}

void lane_channel_follow(const struct lane_channel *from)
{
	const struct flow_group *group;

	for (group = from->groups; group; group = group->next)
		group_follow(group);
}

void lane_channel_remove(struct lane_channel *channel, struct subscription *sub)
{
	struct flow_group *group = sub->group;

	unchain(sub);
	if (group) {
		unlink_stream(channel, sub->stream);
		group_leave(group, sub);
		group_put(&channel->groups, group);
		return;
	}
	stream_remove(&channel->broadcast, sub);
	if (channel->broadcast.subscription_count == 0)
		unlink_stream(channel, &channel->broadcast);
}

static void count(struct lane_channel *channel, uint64_t seen, uint64_t passed)
{
	struct nr_arena *header = channel->arena->header;

	channel->seen += seen;
	channel->passed += passed;
	channel->filtered += seen - passed;
	nr_count_store(&header->passed, channel->passed);
	if (!channel->config->show_counts)
		return;
	nr_count_store(&header->seen, channel->seen);
	nr_count_store(&header->filtered, channel->filtered);
}

static void follow_link_type(struct lane_channel *channel, uint16_t link_type)
{
	struct stream *stream;

	channel->link_type = link_type;
	for (stream = channel->streams; stream; stream = stream->next)
		stream_turn_over(stream, link_type);
	set_link_type(channel, link_type);
}

/*
 * Whose a group's packets would have been, nobody can say: each member has its
 * share of them, so that all add up.
 */
static void miss_in_group(const struct flow_group *group, uint64_t packets)
{
	uint32_t left = group->member_count;

	for (uint32_t i = 0; i < group->member_count; i++, left--) {
		uint64_t share = packets / left;

		stream_miss(&group->members[i]->stream, share);
		packets -= share;
	}
}

void lane_channel_miss(struct lane_channel *channel, uint64_t packets)
{
	const struct flow_group *group;

	if (packets == 0 || !is_used(channel) || !channel->arena->frames)
		return;
	if (channel->broadcast.subscription_count > 0)
		stream_miss(&channel->broadcast, packets);
	for (group = channel->groups; group; group = group->next)
		miss_in_group(group, packets);
	/* Behind their shares, which consumers take off what passed. */
	count(channel, packets, packets);
}

void lane_channel_append(struct lane_channel *channel,
			 const struct burst *burst, const struct frames *frames)
{
	if (!is_used(channel) || channel->is_retired ||
	    (channel->arena->frames && channel->arena->frames != frames))
		return;
	if (burst->link_type != channel->link_type)
		follow_link_type(channel, burst->link_type);
	count(channel, burst->count, lane_append(channel, burst));
}

static bool pool_has(const struct lane_channel *channel, uint32_t blocks)
{
	const struct admission *admission = &channel->arena->admission;

	return blocks <= admission->pool - admission->pool_used;
}

static bool all_have_room(const struct lane_channel *channel)
{
	const struct stream *stream;
	uint32_t pool = 0;

	for (stream = channel->streams; stream; stream = stream->next)
		if (!stream_has_room(stream, &pool))
			return false;
	return pool_has(channel, pool);
}

bool lane_channel_has_room(const struct lane_channel *channel,
			   const struct burst *burst)
{
	const struct stream *stream;
	size_t bytes = 0;
	uint32_t pool = 0;

	if (!is_used(channel) || channel->is_retired || all_have_room(channel))
		return true;
	if (burst->link_type != channel->link_type)
		return false;
	for (uint32_t i = 0; i < burst->count; i++)
		bytes += lane_append_shows(channel, &burst->packets[i]);
	for (stream = channel->streams; stream; stream = stream->next)
		if (!stream_fits(stream, burst->count, bytes) &&
		    !stream_has_room(stream, &pool))
			return false;
	return pool_has(channel, pool);
}

void lane_channel_collect(struct lane_channel *channel)
{
	struct stream *stream;

	for (stream = channel->streams; stream; stream = stream->next)
		stream_collect(stream);
}

/*
 * The rules were broken: this capture ends, at once, and nothing else. No bell:
 * the control thread closes the connection.
 */
static void evict(const struct lane_channel *channel, struct subscription *sub)
{
	if (sub->is_let_go)
		return;
	sub->is_let_go = true;
	subscription_drop(sub);
	end(channel, sub, NR_END_EVICTED);
	mailbox_put(sub->out, &sub->evicted);
}

/*
 * It has moved on to the channel's new arena, left nothing behind here, and
 * will not look at its old ring again: it has waited or given back there.
 */
static bool has_left(const struct subscription *sub)
{
	const struct subscription *after = sub->after;

	return sub->has_moved && sub->held == 0 &&
	       (!after || nr_return_armed(after->page) ||
		nr_return_head(after->page));
}

static void let_go(struct subscription *sub)
{
	if (sub->is_let_go)
		return;
	sub->is_let_go = true;
	mailbox_put(sub->out, &sub->evicted);
}

static void look_after(const struct lane_channel *channel,
		       const struct stream *stream)
{
	struct subscription *sub;

	for (sub = stream->subscriptions; sub; sub = sub->next)
		if (sub->offence)
			evict(channel, sub);
		else if (has_left(sub))
			let_go(sub);
}

void lane_channel_publish(struct lane_channel *channel)
{
	struct stream *stream;

	for (stream = channel->streams; stream; stream = stream->next)
		stream_publish(stream);
}

void lane_channel_ring(struct lane_channel *channel)
{
	struct stream *stream;

	for (stream = channel->streams; stream; stream = stream->next) {
		stream_ring(stream);
		look_after(channel, stream);
	}
}

bool lane_channel_owes_bell(const struct lane_channel *channel)
{
	const struct stream *stream;

	for (stream = channel->streams; stream; stream = stream->next)
		if (stream->has_changed)
			return true;
	return false;
}

void lane_channel_end(struct lane_channel *channel, unsigned why)
{
	struct subscription *sub;
	struct stream *stream;

	for (stream = channel->streams; stream; stream = stream->next) {
		stream_publish(stream);
		for (sub = stream->subscriptions; sub; sub = sub->next)
			end(channel, sub, sub->is_denied ? NR_END_DENIED : why);
		stream_ring(stream);
	}
}

uint64_t lane_channel_bells(const struct lane_channel *channel)
{
	const struct subscription *sub;
	const struct stream *stream;
	uint64_t bells = 0;

	for (stream = channel->streams; stream; stream = stream->next)
		for (sub = stream->subscriptions; sub; sub = sub->next)
			bells += sub->bells;
	return bells;
}

void lane_channel_stat(const struct lane_channel *channel,
		       struct nr_msg_channel_lane *msg)
{
	const struct admission *admission, *account;
	const struct stream *stream;

	msg->published_bytes = channel->bytes_gone;
	for (stream = channel->streams; stream; stream = stream->next) {
		msg->captures += stream->subscription_count;
		msg->published_bytes += stream->bytes;
	}
	msg->seen = channel->seen;
	msg->filtered = channel->filtered;
	if (!channel->arena)
		return;
	admission = &channel->arena->admission;
	account = admission->account;
	msg->published = channel->passed;
	msg->arena_bytes = channel->arena->region.size;
	msg->block_size = channel->arena->block_size;
	msg->blocks = admission->block_count;
	msg->blocks_free = admission->free_count;
	msg->set_aside = account->set_aside;
	msg->promised = account->promised;
	msg->pool = account->pool;
	msg->pool_used = account->pool_used;
}

/* What it has had, and holds, of the memory it has moved away from. */
static void add_carried(const struct subscription *sub,
			struct nr_msg_capture *msg)
{
	const struct subscription_totals *carried = &sub->carried;
	const struct subscription *before;

	msg->seen += carried->seen;
	msg->delivered += carried->delivered;
	msg->delivered_bytes += carried->bytes;
	msg->filtered += carried->filtered;
	msg->to_others += carried->to_others;
	msg->lost[NR_LOST_NOT_ADMITTED] += carried->lost;
	msg->lost[NR_LOST_RETIRED] += carried->retired;
	msg->refusals += carried->refusals;
	msg->bells += carried->bells;
	for (before = sub->before; before; before = before->before) {
		struct nr_msg_capture there = { 0 };

		subscription_stat_backlog(before, &there);
		msg->held += before->held;
		msg->backlog += there.backlog;
		if (there.oldest_ns > msg->oldest_ns)
			msg->oldest_ns = there.oldest_ns;
	}
	msg->held_high =
		larger(msg->held, larger(msg->held_high, carried->held_high));
	if (msg->backlog_high < carried->backlog_high)
		msg->backlog_high = carried->backlog_high;
	if (msg->backlog_high < msg->backlog)
		msg->backlog_high = msg->backlog;
}

void lane_channel_stat_capture(const struct lane_channel *channel,
			       const struct subscription *sub,
			       struct nr_msg_capture *msg)
{
	const struct stream *stream = sub->stream;
	uint64_t published = stream_published_seq(stream);
	uint64_t lost = subscription_lost(sub);
	uint64_t seen = channel->seen, filtered = channel->filtered;
	uint64_t passed = channel->passed;

	if (sub->state == SUBSCRIPTION_ENDED) {
		published = sub->ended_at;
		seen = sub->end_seen;
		filtered = sub->end_filtered;
		passed = seen - filtered;
	}
	msg->seen = seen - sub->base_seen;
	msg->filtered = filtered - sub->base_filtered;
	msg->delivered = published - sub->ring->base_seq - lost - sub->retired;
	if (sub->group) {
		msg->to_others = passed - sub->ring->base_passed -
				 (published - sub->ring->base_seq);
		msg->epoch = sub->group->epoch;
		memcpy(msg->group, sub->group->name, sizeof(msg->group));
	}
	msg->delivered_bytes = subscription_delivered_bytes(sub);
	msg->lost[NR_LOST_NOT_ADMITTED] = lost;
	msg->lost[NR_LOST_RETIRED] = sub->retired;
	msg->refusals = sub->refusals;
	msg->bells = sub->bells;
	msg->leases = sub->lease_count;
	msg->guarantee = sub->grant.guarantee;
	msg->held = sub->held;
	msg->held_high = sub->held_high;
	subscription_stat_backlog(sub, msg);
	add_carried(sub, msg);
}

void lane_channel_deinit(struct lane_channel *channel)
{
	while (channel->groups) {
		struct flow_group *group = channel->groups;

		channel->groups = group->next;
		for (uint32_t i = 0; i < group->member_count; i++)
			free(group->members[i]);
		free(group);
	}
	filter_free(channel->filter);
}
