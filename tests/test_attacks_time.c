/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Consumers against the lane: what they write into their return pages, how
 * they hold what they were lent, how they let themselves be woken, what they
 * do to pages that the lane writes. The honest consumer loses nothing, and
 * its longest time without a packet stays within SCENE_STALL_MAX_MS.
 */
#include "attacks.h"

#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>

static struct scene scene;

/*
 * Runs attackers for as long as they take, and says what it did to others.
 * They run at the lowest priority: whom the CPU belongs to is the scheduler's
 * to say, not ours.
 */
static void attack_and_measure(const char *what, int (*body)(struct play *),
			       uint64_t ms, unsigned processes)
{
	struct play *play = play_new(&scene, "all", ms);
	unsigned long cpu_ms = process_cpu_ms(scene.engine);
	uint64_t start = scene_now_ns();
	double stall_ms, took_ms;

	scene_stall_ms(&scene);
	attack(body, play, processes);
	took_ms = (double)(scene_now_ns() - start) / 1e6;
	stall_ms = scene_stall_ms(&scene);
	fprintf(stderr, "%s: longest stall %.1f ms; engine %lu ms of %.0f\n",
		what, stall_ms, process_cpu_ms(scene.engine) - cpu_ms, took_ms);
	cr_assert_lt(stall_ms, SCENE_STALL_MAX_MS, "%s", what);
}

Test(attacks, moving_pages_that_a_lane_writes_does_not_hold_it_up)
{
	scene_start(&scene, NULL);
	attack_and_measure("burning CPU, for comparison", burn_cpu, 1500, 3);
	attack_and_measure("collapse and pageout", move_pages_about, 1500, 3);
	scene_end(&scene);
}

Test(attacks, false_releases_end_the_capture_that_makes_them)
{
	static struct broker_stat stat;

	scene_start(&scene, NULL);
	attack_and_measure("false releases", forge_releases, 0, 1);
	eventually(broker_said_times(&scene.broker, "evicted: it released") ==
		   FORGERIES);
	cr_assert(broker_said(&scene.broker, "uid 12345"));
	/* In any order they are right. */
	attack_and_measure("releases in any order", release_in_any_order, 0, 1);
	cr_assert_eq(broker_said_times(&scene.broker, "evicted"), FORGERIES);
	/* All blocks are where they were: the honest one has two, or three. */
	broker_read_stat(&stat, "all");
	cr_assert_eq(stat.captures, 1);
	cr_assert_geq(stat.channel_lane[0].blocks_free + 4,
		      stat.channel_lane[0].blocks);
	scene_end(&scene);
}

Test(attacks, who_holds_all_blocks_and_stops_starves_nobody)
{
	static struct broker_stat stat;
	struct play *play;
	double stall_ms;
	pid_t pid;

	scene_start(&scene, NULL);
	play = play_new(&scene, "all", 0);
	pid = attack_start(ATTACKER_UID, hold_everything, play);
	/* 129 blocks of 256 KiB at 7.5 MB/s take some 5 s. */
	eventually(__atomic_load_n(&play->has, __ATOMIC_ACQUIRE) > 100);
	broker_read_stat(&stat, "all");
	cr_assert_eq(stat.channel_lane[0].pool_used, stat.channel_lane[0].pool,
		     "it has not the whole pool");
	scene_stall_ms(&scene);
	sleep_ms(1000);
	stall_ms = scene_stall_ms(&scene);
	fprintf(stderr, "all leases held: longest stall %.1f ms\n", stall_ms);
	cr_assert_lt(stall_ms, SCENE_STALL_MAX_MS);
	kill(pid, SIGKILL);
	cr_assert_eq(child_wait(pid), 256 + SIGKILL);
	/* What it held is free again. */
	do {
		broker_read_stat(&stat, "all");
	} while (stat.captures > 1);
	cr_assert_leq(stat.channel_lane[0].pool_used, 4);
	scene_end(&scene);
}

Test(attacks, ringing_without_end_delays_nobody)
{
	scene_start(&scene, NULL);
	attack_and_measure("bells never read", arm_and_never_read, 1500, 3);
	attack_and_measure("bells read at once", arm_and_read, 1500, 3);
	scene_end(&scene);
}

Test(attacks, many_threads_that_poll_one_connection_delay_nobody)
{
	scene_start(&scene, NULL);
	attack_and_measure("200 threads", poll_with_many_threads, 2000, 1);
	fprintf(stderr, "evicted: %u\n",
		broker_said_times(&scene.broker, "makes its doorbell slow"));
	scene_end(&scene);
}

Test(attacks, many_epolls_that_watch_one_connection_delay_nobody)
{
	scene_start(&scene, NULL);
	attack_and_measure("64000 watchers", watch_with_many_epolls, 5000, 1);
	eventually(broker_said(&scene.broker, "makes its doorbell slow"));
	scene_end(&scene);
}

Test(attacks, no_setting_of_the_other_end_delays_anybody)
{
	scene_start(&scene, NULL);
	attack_and_measure("the bell spliced", splice_the_bell, 1000, 1);
	attack_and_measure("socket options", tune_the_socket, 1500, 2);
	attack_and_measure("many places", poll_at_many_places, 1500, 1);
	attack_and_measure("signals", signal_at_each_bell, 1500, 1);
	attack_and_measure("locks held", hold_the_socket_s_locks, 1500, 2);
	attack_and_measure("garbage", send_sockets_in_circles, 1500, 2);
	scene_end(&scene);
}
