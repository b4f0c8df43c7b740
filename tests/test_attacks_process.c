/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Consumers against the broker's processes: they cannot be touched, and what
 * one user's attaches cost them does not grow.
 */
#include "attacks.h"

#include <criterion/criterion.h>

#include <stdio.h>

static struct scene scene;

Test(attacks, engine_and_warden_cannot_be_touched)
{
	scene_start(&scene, NULL);
	attack(touch_broker, play_new(&scene, "all", 0), 1);
	scene_end(&scene);
}

Test(attacks, who_has_the_engine_s_own_uid_is_not_served_and_cannot_trace_it)
{
	uid_t uid;

	scene_start(&scene, NULL);
	uid = process_uid(scene.engine);
	cr_assert_neq(uid, 0);
	cr_assert_eq(child_wait(attack_start(uid, be_the_engine_s_user,
					     play_new(&scene, "all", 0))),
		     0);
	eventually(broker_said(&scene.broker, "own uid"));
	scene_end(&scene);
}

/* ------------------------------------------------------------ memory's cost */

/* A slice a round would be 12 MB, a page 4 MB, a capture 5 MB. */
#ifdef __SANITIZE_ADDRESS__
#define GROWTH_MAX_KB 40000 /* what is free is kept in quarantine */
#else
#define GROWTH_MAX_KB 3000
#endif

struct growth {
	unsigned long rss_kb;
	unsigned fds;
};

static struct growth growth_now(pid_t pid)
{
	return (struct growth){ process_rss_kb(pid), process_fds(pid) };
}

static bool is_alone(void)
{
	static struct broker_stat stat;

	broker_read_stat(&stat, "all");
	return stat.captures == 1;
}

Test(attacks, a_capture_shared_by_many_processes_is_one)
{
	static struct broker_stat stat;

	scene_start(&scene, "attach_rate = 1000");
	attack(fork_with_captures, play_new(&scene, "all", 1000), 2);
	attack(pass_captures_on, play_new(&scene, "all", 1000), 2);
	eventually((broker_read_stat(&stat, "all"), stat.captures == 1));
	scene_end(&scene);
}

Test(attacks, attaching_mapping_and_closing_for_ever_costs_no_memory)
{
	struct play *play;
	struct growth engine, warden, now;

	/* All descriptors that it kept are its own to have. */
	scene_start(&scene, "attach_rate = 100000");
	play = play_new(&scene, "all", 0);
	play->count = 64;
	attack(attach_map_close, play, 1);
	eventually(is_alone());
	engine = growth_now(scene.engine);
	warden = growth_now(scene.broker.pid);
	play->count = 1000;
	attack(attach_map_close, play, 1);
	eventually(is_alone());
	now = growth_now(scene.engine);
	fprintf(stderr, "engine: %lu kB and %u fds, then %lu kB and %u fds\n",
		engine.rss_kb, engine.fds, now.rss_kb, now.fds);
	cr_assert_lt(now.rss_kb, engine.rss_kb + GROWTH_MAX_KB);
	cr_assert_leq(now.fds, engine.fds + 1);
	now = growth_now(scene.broker.pid);
	cr_assert_lt(now.rss_kb, warden.rss_kb + 500);
	cr_assert_eq(now.fds, warden.fds);
	scene_end(&scene);
}
