/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Consumers against memory and processes: what they are given cannot be
 * written, by any call there is, and it holds what their channel lets through
 * and nothing else.
 */
#include "attacks.h"
#include "live.h"

#include <criterion/criterion.h>

static struct scene scene;

Test(attacks, no_call_writes_what_a_consumer_was_given)
{
	scene_start(&scene, NULL);
	attack(write_everywhere, play_new(&scene, "all", 0), 1);
	scene_end(&scene);
}

/* By every path, even root cannot: what the engine has is no better. */
static void attack_as_the_engine(pid_t engine)
{
	unsigned found = 0;

	for (int fd = 0; fd < 256; fd++) {
		char path[64], what[64] = "";

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", engine, fd);
		if (readlink(path, what, sizeof(what) - 1) < 0 ||
		    !strstr(what, "netring-umem"))
			continue;
		found++;
		cr_assert_eq(write_by_path(path), 0);
	}
	cr_assert_gt(found, 0);
}

Test(attacks, no_call_writes_frames_of_af_xdp)
{
	struct live live;

	live_network(&live);
	live_broker(&live, "[source s]\nbackend = xdp\ninterface = inside\n"
			   "[channel all]\nsource = s\nallow = everyone\n");
	scene.engine = broker_engine(&live.broker);
	attack(write_everywhere, play_new(&scene, "all", 0), 1);
	attack_as_the_engine(scene.engine);
	live_stop(&live);
}

Test(attacks, a_plain_store_is_a_fault)
{
	scene_start(&scene, NULL);
	attack(store_plainly, play_new(&scene, "all", 0), 1);
	scene_end(&scene);
}

Test(attacks, a_return_page_cannot_be_frozen_or_punched)
{
	scene_start(&scene, NULL);
	attack(abuse_return_page, play_new(&scene, "all", 0), 1);
	/* The same page, given to the same user again. */
	attack(attach_and_read, play_new(&scene, "all", 0), 1);
	scene_end(&scene);
}

Test(attacks, scanning_memory_finds_what_the_channel_lets_through_and_no_more)
{
	scene_start(&scene, NULL);
	attack(scan_finds_nothing, play_new(&scene, "none", 1500), 1);
	attack(scan_finds_nothing, play_new(&scene, "short", 1500), 1);
	/* The scan can find something, where something is. */
	attack(scan_finds_packets, play_new(&scene, "all", 1500), 1);
	scene_end(&scene);
}

Test(attacks, a_channel_of_others_is_not_to_be_had)
{
	scene_start(&scene, NULL);
	attack(open_closed_channel, play_new(&scene, "all", 0), 1);
	scene_end(&scene);
}
