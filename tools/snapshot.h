/* SPDX-License-Identifier: BSD-2-Clause */
/* All that the broker answered to one question for statistics. */
#ifndef NETRING_TOOL_SNAPSHOT_H
#define NETRING_TOOL_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <netring.h>

struct snapshot {
	struct nr_msg_broker
		broker; /* zero of a broker that has no such word */
	struct nr_msg_source *sources;
	struct nr_msg_channel_lane *lanes;
	struct nr_msg_capture *captures;
	size_t source_count;
	size_t lane_count;
	size_t capture_count;
	uint64_t time_ns;      /* since the epoch */
	uint64_t monotonic_ns; /* for rates */
};

/* As nr_broker_stat(), or -ENOMEM. Call snapshot_deinit() in any case. */
int snapshot_take(struct snapshot *snapshot, const char *socket,
		  const char *channel, char *error_text, size_t size);
void snapshot_deinit(struct snapshot *snapshot);

/* The same thing in another snapshot, or NULL. */
const struct nr_msg_source *snapshot_source(const struct snapshot *snapshot,
					    const struct nr_msg_source *like);
const struct nr_msg_channel_lane *
snapshot_lane(const struct snapshot *snapshot,
	      const struct nr_msg_channel_lane *like);
const struct nr_msg_capture *
snapshot_capture(const struct snapshot *snapshot,
		 const struct nr_msg_capture *like);

/* Whether this is the first entry of its capture; others are further lanes. */
bool snapshot_is_first_lane(const struct snapshot *snapshot, size_t i);

/*
 * Adds up the lanes of a capture: delivered, delivered_bytes and lost. Returns
 * false, and all of them 0, if the snapshot does not have it.
 */
bool snapshot_sum(const struct snapshot *snapshot, uint32_t capture_id,
		  struct nr_msg_capture *sum);

/* Whether seen and filtered of a capture are shown to this user. */
bool snapshot_shows_counts(const struct snapshot *snapshot,
			   const struct nr_msg_capture *capture);

/* A source's state in words. */
const char *snapshot_state(uint32_t state);

/* Tables for people. With @last, also what came a second since then. */
void snapshot_print(const struct snapshot *now, const struct snapshot *last,
		    FILE *out);

/*
 * Only the captures, a short line each, whatever the number of its lanes; and
 * how many lines that makes with the heading.
 */
void snapshot_print_captures(const struct snapshot *now,
			     const struct snapshot *last, FILE *out);
size_t snapshot_capture_lines(const struct snapshot *snapshot);

/* One JSON document. */
void snapshot_print_json(const struct snapshot *now, bool is_compact,
			 FILE *out);

#endif
