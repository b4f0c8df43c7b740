// SPDX-License-Identifier: BSD-2-Clause
/*
 * Which packets of a burst go to which stream is decided first, for all of
 * them; then each stream gets its own in one go.
 */
#include "lane_append.h"

#include "flow.h"

/* Some packets of a burst, in its order. */
struct picked {
	uint32_t count;
	const struct packet *packets[BURST_MAX];
};

static void pick(const struct lane_channel *channel, const struct burst *burst,
		 struct picked *picked)
{
	const struct filter *filter = channel->filter;
	uint32_t n = 0;

	if (!channel->filter_is_unfit)
		for (uint32_t i = 0; i < burst->count; i++) {
			const struct packet *packet = &burst->packets[i];

			picked->packets[n] = packet;
			n += !filter ||
			     filter_passes(filter, packet->data, packet->caplen,
					   packet->wirelen);
		}
	picked->count = n;
}

uint32_t lane_append_shows(const struct lane_channel *channel,
			   const struct packet *packet)
{
	uint32_t caplen = packet->caplen;
	uint32_t snaplen = channel->config->snaplen;

	if (channel->config->headers_only)
		caplen = flow_headers(packet->data, caplen, channel->link_type);
	if (snaplen && caplen > snaplen)
		caplen = snaplen;
	return caplen;
}

/* A hash of what is cut off would tell of it: made of what is shown. */
static void cut(const struct lane_channel *channel, struct packet *packet)
{
	uint32_t caplen = lane_append_shows(channel, packet);

	if (caplen < packet->caplen && caplen == channel->config->snaplen)
		packet->flow_hash =
			flow_hash(packet->data, caplen, channel->link_type);
	packet->caplen = caplen;
}

static void append_cut(const struct lane_channel *channel,
		       struct stream *stream,
		       const struct packet *const *packets, uint32_t count)
{
	const struct packet *shown[BURST_MAX];
	struct packet copies[BURST_MAX];

	for (uint32_t i = 0; i < count; i++) {
		copies[i] = *packets[i];
		cut(channel, &copies[i]);
		shown[i] = &copies[i];
	}
	stream_append(stream, shown, count);
}

static void append(const struct lane_channel *channel, struct stream *stream,
		   const struct packet *const *packets, uint32_t count)
{
	const struct config_channel *config = channel->config;

	if (channel->arena->frames)
		stream_append_loaned(stream, packets, count);
	else if (!config->headers_only && !config->snaplen)
		stream_append(stream, packets, count);
	else
		append_cut(channel, stream, packets, count);
}

/* Sorts them by member; those of one stay in order. */
static void append_group(const struct lane_channel *channel,
			 const struct flow_group *group,
			 const struct picked *picked)
{
	uint16_t ends[GROUP_MEMBERS_MAX] = { 0 }, end = 0;
	const struct packet *sorted[BURST_MAX];
	uint8_t member[BURST_MAX];

	for (uint32_t i = 0; i < picked->count; i++) {
		member[i] = group_owner(group, picked->packets[i]->flow_hash);
		ends[member[i]]++;
	}
	for (uint32_t m = 0; m < group->member_count; m++) {
		uint16_t count = ends[m];

		ends[m] = end;
		end += count;
	}
	for (uint32_t i = 0; i < picked->count; i++)
		sorted[ends[member[i]]++] = picked->packets[i];
	end = 0;
	for (uint32_t m = 0; m < group->member_count; m++) {
		append(channel, &group->members[m]->stream, sorted + end,
		       ends[m] - end);
		end = ends[m];
	}
}

uint32_t lane_append(struct lane_channel *channel, const struct burst *burst)
{
	const struct flow_group *group;
	struct picked picked;

	pick(channel, burst, &picked);
	if (channel->broadcast.subscription_count > 0)
		append(channel, &channel->broadcast, picked.packets,
		       picked.count);
	for (group = channel->groups; group; group = group->next)
		append_group(channel, group, &picked);
	return picked.count;
}
