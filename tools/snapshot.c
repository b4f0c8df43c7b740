/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The broker answers with one message a thing; kept until the last has come, a
 * snapshot can be compared with the one before.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "snapshot.h"

/* Appends @size bytes to an array of @count. Returns the array or NULL. */
static void *append(void *array, size_t count, const void *item, size_t size)
{
	char *grown = array;

	if ((count & (count - 1)) == 0) /* full at each power of two */
		grown = reallocarray(array, count ? 2 * count : 1, size);
	if (grown)
		memcpy(grown + count * size, item, size);
	return grown;
}

static int answer_take(const struct nr_msg *msg, void *data)
{
	struct snapshot *s = data;
	void *grown;

	switch (msg->type) {
	case NR_MSG_BROKER:
		memcpy(&s->broker, msg, sizeof(s->broker));
		return 0;
	case NR_MSG_SOURCE:
		grown = append(s->sources, s->source_count, msg,
			       sizeof(*s->sources));
		if (!grown)
			return -ENOMEM;
		s->sources = grown;
		s->source_count++;
		return 0;
	case NR_MSG_CHANNEL_LANE:
		grown = append(s->lanes, s->lane_count, msg, sizeof(*s->lanes));
		if (!grown)
			return -ENOMEM;
		s->lanes = grown;
		s->lane_count++;
		return 0;
	case NR_MSG_CAPTURE:
		grown = append(s->captures, s->capture_count, msg,
			       sizeof(*s->captures));
		if (!grown)
			return -ENOMEM;
		s->captures = grown;
		s->capture_count++;
		return 0;
	default:
		return 0;
	}
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int snapshot_take(struct snapshot *snapshot, const char *socket,
		  const char *channel, char *error_text, size_t size)
{
	int err;

	memset(snapshot, 0, sizeof(*snapshot));
	err = nr_broker_stat(socket, channel, answer_take, snapshot, error_text,
			     size);
	snapshot->time_ns = clock_ns(CLOCK_REALTIME);
	snapshot->monotonic_ns = clock_ns(CLOCK_MONOTONIC);
	return err;
}

void snapshot_deinit(struct snapshot *snapshot)
{
	free(snapshot->sources);
	free(snapshot->lanes);
	free(snapshot->captures);
	memset(snapshot, 0, sizeof(*snapshot));
}

const struct nr_msg_source *snapshot_source(const struct snapshot *snapshot,
					    const struct nr_msg_source *like)
{
	for (size_t i = 0; snapshot && i < snapshot->source_count; i++) {
		const struct nr_msg_source *s = &snapshot->sources[i];

		if (s->lane == like->lane && !strcmp(s->source, like->source))
			return s;
	}
	return NULL;
}

static const struct nr_msg_channel_lane *
lane_of(const struct snapshot *snapshot, const char *channel, uint32_t lane)
{
	for (size_t i = 0; snapshot && i < snapshot->lane_count; i++) {
		const struct nr_msg_channel_lane *l = &snapshot->lanes[i];

		if (l->lane == lane && !strcmp(l->channel, channel))
			return l;
	}
	return NULL;
}

const struct nr_msg_channel_lane *
snapshot_lane(const struct snapshot *snapshot,
	      const struct nr_msg_channel_lane *like)
{
	return lane_of(snapshot, like->channel, like->lane);
}

const struct nr_msg_capture *snapshot_capture(const struct snapshot *snapshot,
					      const struct nr_msg_capture *like)
{
	for (size_t i = 0; snapshot && i < snapshot->capture_count; i++) {
		const struct nr_msg_capture *c = &snapshot->captures[i];

		if (c->capture_id == like->capture_id && c->lane == like->lane)
			return c;
	}
	return NULL;
}

bool snapshot_is_first_lane(const struct snapshot *snapshot, size_t i)
{
	uint32_t id = snapshot->captures[i].capture_id;

	for (size_t j = 0; j < i; j++)
		if (snapshot->captures[j].capture_id == id)
			return false;
	return true;
}

bool snapshot_sum(const struct snapshot *snapshot, uint32_t capture_id,
		  struct nr_msg_capture *sum)
{
	bool found = false;

	memset(sum, 0, sizeof(*sum));
	for (size_t i = 0; snapshot && i < snapshot->capture_count; i++) {
		const struct nr_msg_capture *c = &snapshot->captures[i];

		if (c->capture_id != capture_id)
			continue;
		found = true;
		sum->delivered += c->delivered;
		sum->delivered_bytes += c->delivered_bytes;
		for (unsigned l = 0; l < NR_LOST_CAUSES; l++)
			sum->lost[l] += c->lost[l];
	}
	return found;
}

bool snapshot_shows_counts(const struct snapshot *snapshot,
			   const struct nr_msg_capture *capture)
{
	const struct nr_msg_channel_lane *lane =
		lane_of(snapshot, capture->channel, capture->lane);

	return lane && lane->counts_shown;
}

const char *snapshot_state(uint32_t state)
{
	static const char *const words[] = {
		[NR_SOURCE_WAITING] = "waiting",
		[NR_SOURCE_RUNNING] = "running",
		[NR_SOURCE_DOWN] = "link down",
		[NR_SOURCE_GONE] = "interface gone",
		[NR_SOURCE_TO_HOST] = "left to the host",
		[NR_SOURCE_OVER] = "over",
		[NR_SOURCE_FAILED] = "failed",
	};

	return state < sizeof(words) / sizeof(words[0]) ? words[state] :
							  "unknown";
}
