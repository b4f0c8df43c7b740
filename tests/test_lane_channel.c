/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a channel takes of a burst, and of what its source has missed: packets
 * in frames that its arena does not name are none of its own.
 */
#include <criterion/criterion.h>

#include "frames.h"
#include "lane_channel.h"
#include "region.h"

#define COUNT 3u

static struct config_channel config;
static struct lane_channel channel = { .config = &config, .link_type = 1 };
static struct frames own, others;
static struct burst burst = { .link_type = 1, .count = COUNT };

/* Somebody is attached, as far as can be seen; nobody is appended to. */
static void set_up(void)
{
	cr_assert_eq(region_init(), 0);
	cr_assert_eq(arena_new(&channel.arena, 2u << 20, 128u << 10, 50, false,
			       true),
		     0);
	channel.streams = &channel.broadcast;
}

static void tear_down(void)
{
	arena_free(channel.arena);
}

TestSuite(lane_channel, .init = set_up, .fini = tear_down);

Test(lane_channel, that_is_loaned_takes_packets_in_its_own_frames_only)
{
	channel.arena->frames = &own;
	lane_channel_append(&channel, &burst, &others);
	lane_channel_append(&channel, &burst, NULL);
	cr_assert_eq(channel.seen, 0);
	lane_channel_append(&channel, &burst, &own);
	cr_assert_eq(channel.seen, COUNT);
	cr_assert_eq(channel.passed, COUNT);
}

Test(lane_channel, that_is_copied_takes_packets_wherever_they_are)
{
	lane_channel_append(&channel, &burst, &others);
	lane_channel_append(&channel, &burst, NULL);
	cr_assert_eq(channel.seen, 2 * COUNT);
}

Test(lane_channel, that_is_retired_or_has_no_capture_takes_nothing)
{
	channel.is_retired = true;
	lane_channel_append(&channel, &burst, NULL);
	channel.is_retired = false;
	channel.streams = NULL;
	lane_channel_append(&channel, &burst, NULL);
	cr_assert_eq(channel.seen, 0);
}

Test(lane_channel, that_is_loaned_is_the_one_to_miss_what_its_source_has)
{
	lane_channel_miss(&channel, COUNT);
	cr_assert_eq(channel.seen, 0);
	channel.arena->frames = &own;
	lane_channel_miss(&channel, COUNT);
	cr_assert_eq(channel.seen, COUNT);
	cr_assert_eq(channel.arena->header->passed, COUNT);
}
