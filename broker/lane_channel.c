// SPDX-License-Identifier: BSD-2-Clause
/*
 * A channel on one lane: its filter and its snap length decide before a byte
 * of a packet enters the arena. A channel without captures costs nothing.
 */
#include "lane_channel.h"

#include "log.h"

static bool is_used(const struct lane_channel *channel)
{
	return channel->stream.subscription_count > 0;
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
	channel->filter_is_unfit = filter_new(&channel->filter,
					      channel->config->filter,
					      link_type, error) != 0;
	if (channel->filter_is_unfit)
		log_warn("channel %s: its filter passes nothing of link type "
			 "%u: %s", channel->config->name, link_type, error);
}

bool lane_channel_add(struct lane_channel *channel, struct subscription *sub,
		      struct arena *arena, const struct source *source)
{
	uint16_t link_type = source->link_type;

	if (arena) {
		channel->arena = arena;
		stream_init(&channel->stream, arena, 0);
		set_link_type(channel, link_type);
	}
	if (is_used(channel))
		link_type = channel->stream.link_type;
	sub->ring->base_seen = channel->seen;
	sub->ring->base_filtered = channel->filtered;
	return stream_add(&channel->stream, sub, link_type);
}

static inline uint32_t cut(const struct lane_channel *channel, uint32_t caplen)
{
	uint32_t snaplen = channel->config->snaplen;

	if (snaplen && caplen > snaplen)
		caplen = snaplen;
	if (caplen > channel->arena->capacity)
		caplen = channel->arena->capacity;
	return caplen;
}

static void append_all(struct lane_channel *channel, const struct burst *burst)
{
	for (uint32_t i = 0; i < burst->count; i++) {
		const struct packet *packet = &burst->packets[i];

		stream_append(&channel->stream, packet,
			      cut(channel, packet->caplen));
	}
}

static void append_filtered(struct lane_channel *channel,
			    const struct burst *burst)
{
	for (uint32_t i = 0; i < burst->count; i++) {
		const struct packet *packet = &burst->packets[i];

		if (filter_passes(channel->filter, packet->data,
				  packet->caplen, packet->wirelen))
			stream_append(&channel->stream, packet,
				      cut(channel, packet->caplen));
		else
			channel->filtered++;
	}
}

void lane_channel_append(struct lane_channel *channel,
			 const struct burst *burst)
{
	if (!is_used(channel))
		return;
	if (burst->link_type != channel->stream.link_type)
		stream_turn_over(&channel->stream, burst->link_type);
	if (burst->link_type != channel->filter_link_type)
		set_link_type(channel, burst->link_type);
	channel->seen += burst->count;
	if (channel->filter_is_unfit)
		channel->filtered += burst->count;
	else if (channel->filter)
		append_filtered(channel, burst);
	else
		append_all(channel, burst);
	if (channel->config->show_counts) {
		nr_count_store(&channel->arena->header->seen, channel->seen);
		nr_count_store(&channel->arena->header->filtered,
			       channel->filtered);
	}
}

bool lane_channel_has_room(const struct lane_channel *channel,
			   const struct burst *burst)
{
	size_t bytes = 0;

	if (!is_used(channel) || stream_has_room(&channel->stream))
		return true;
	if (burst->link_type != channel->stream.link_type)
		return false;
	for (uint32_t i = 0; i < burst->count; i++)
		bytes += cut(channel, burst->packets[i].caplen);
	return stream_fits(&channel->stream, burst->count, bytes);
}

void lane_channel_collect(struct lane_channel *channel)
{
	if (is_used(channel))
		stream_collect(&channel->stream);
}

/*
 * The rules were broken: this capture ends, at once, and nothing else. No bell:
 * the control thread closes the connection.
 */
static void evict(struct subscription *sub)
{
	if (sub->state == SUBSCRIPTION_ENDED)
		return;
	subscription_drop(sub);
	subscription_end(sub, NR_END_EVICTED);
	mailbox_put(sub->out, &sub->evicted);
}

void lane_channel_settle(struct lane_channel *channel)
{
	struct subscription *sub;

	if (!is_used(channel))
		return;
	stream_publish(&channel->stream);
	stream_ring(&channel->stream);
	for (sub = channel->stream.subscriptions; sub; sub = sub->next)
		if (sub->offence)
			evict(sub);
}

void lane_channel_end(struct lane_channel *channel, unsigned why)
{
	struct subscription *sub;

	if (!is_used(channel))
		return;
	stream_publish(&channel->stream);
	for (sub = channel->stream.subscriptions; sub; sub = sub->next)
		subscription_end(sub, why);
	stream_ring(&channel->stream);
}

void lane_channel_stat(const struct lane_channel *channel,
		       struct nr_msg_channel_lane *msg)
{
	const struct admission *admission;

	msg->captures = channel->stream.subscription_count;
	msg->seen = channel->seen;
	msg->filtered = channel->filtered;
	if (!channel->arena)
		return;
	admission = &channel->arena->admission;
	msg->published = channel->stream.block_seq + channel->stream.published;
	msg->published_bytes = channel->stream.bytes;
	msg->arena_bytes = channel->arena->region.size;
	msg->block_size = channel->arena->block_size;
	msg->blocks = admission->block_count;
	msg->blocks_free = admission->free_count;
	msg->set_aside = admission->set_aside;
	msg->promised = admission->promised;
	msg->pool = admission->pool;
	msg->pool_used = admission->pool_used;
}

void lane_channel_stat_capture(const struct lane_channel *channel,
			       const struct subscription *sub,
			       struct nr_msg_capture *msg)
{
	const struct stream *stream = sub->stream;
	uint64_t published = stream->block_seq + stream->published;
	uint64_t lost = subscription_lost(sub);

	if (sub->state == SUBSCRIPTION_ENDED)
		published = sub->ended_at;
	msg->seen = channel->seen - sub->ring->base_seen;
	msg->filtered = channel->filtered - sub->ring->base_filtered;
	msg->delivered = published - sub->ring->base_seq - lost;
	msg->delivered_bytes = subscription_delivered_bytes(sub);
	msg->lost[NR_LOST_NOT_ADMITTED] = lost;
	msg->refusals = sub->refusals;
	msg->bells = sub->bells;
	msg->leases = sub->lease_count;
	msg->guarantee = sub->grant.guarantee;
	msg->held = sub->held;
	msg->held_high = sub->held_high;
}

void lane_channel_deinit(struct lane_channel *channel)
{
	filter_free(channel->filter);
	arena_free(channel->arena);
}
