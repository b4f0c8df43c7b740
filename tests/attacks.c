/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of all attacks, and what their bodies have in common. */
#include "attacks.h"

#include <criterion/criterion.h>

#include <sched.h>
#include <unistd.h>

const struct attack attacks[] = {
	/* memory */
	{ "write what was handed out", write_everywhere, 1, NULL, 0 },
	{ "store into it", store_plainly, 1, NULL, 0 },
	{ "freeze, punch the return page", abuse_return_page, 1, NULL, 0 },
	{ "search an empty channel", scan_finds_nothing, 1, "none", 0 },
	{ "search a cut channel", scan_finds_nothing, 1, "short", 0 },
	{ "open another's channel", open_closed_channel, 1, NULL, 0 },
	{ "attach, map, close", attach_map_close, 2, NULL, 0 },
	{ "collapse and page out", move_pages_about, 3, NULL, 0 },
	/* processes */
	{ "touch engine and warden", touch_broker, 1, NULL, 0 },
	{ "be the engine's user", be_the_engine_s_user, 1, "all", ROLE_ENGINE },
	{ "fork with captures", fork_with_captures, 1, NULL, 0 },
	{ "pass captures on", pass_captures_on, 1, NULL, 0 },
	{ "burn CPU", burn_cpu, 3, NULL, 0 },
	/* blocks */
	{ "forge releases", forge_releases, 2, NULL, 0 },
	{ "release in any order", release_in_any_order, 1, NULL, 0 },
	{ "hold everything, stopped", hold_everything, 2, NULL, 0 },
	{ "join and leave groups", join_and_leave_groups, 2, NULL, 0 },
	{ "take all there is", take_all_there_is, 1, NULL, 0 },
	/* messages */
	{ "wrong messages", send_wrong_messages, 1, "all", 0 },
	{ "rubbish", send_rubbish, 2, NULL, 0 },
	{ "pass descriptors in", pass_descriptors, 1, NULL, 0 },
	{ "hold connections", hold_connections, 1, NULL, 0 },
	{ "never read descriptors", leave_descriptors_unread, 1, NULL, 0 },
	{ "never acknowledge", never_acknowledge, 1, NULL, 0 },
	{ "acknowledge moves falsely", forge_move_acks, 2, "moving", 0 },
	{ "ask for ever", ask_for_ever, 2, NULL, 0 },
	{ "names of escape sequences", have_a_name, 1, "all", 0 },
	/* the doorbell */
	{ "arm, never read", arm_and_never_read, 2, NULL, 0 },
	{ "arm and read", arm_and_read, 2, NULL, 0 },
	{ "200 threads poll", poll_with_many_threads, 1, NULL, 0 },
	{ "64000 watchers", watch_with_many_epolls, 1, NULL, 0 },
	{ "poll at many places", poll_at_many_places, 1, NULL, 0 },
	{ "splice the bell", splice_the_bell, 1, NULL, 0 },
	{ "tune the socket", tune_the_socket, 1, NULL, 0 },
	{ "a signal at each bell", signal_at_each_bell, 1, NULL, 0 },
	{ "hold the socket's locks", hold_the_socket_s_locks, 1, NULL, 0 },
	{ "send sockets in circles", send_sockets_in_circles, 1, NULL, 0 },
};

const unsigned attack_count = sizeof(attacks) / sizeof(attacks[0]);

/* ------------------------------------------------------------ for the bodies
 */

bool goes_on(struct play *play)
{
	__atomic_add_fetch(&play->rounds, 1, __ATOMIC_RELAXED);
	return !__atomic_load_n(&play->must_stop, __ATOMIC_ACQUIRE) &&
	       scene_now_ns() < play->end_ns;
}

void is_ready(struct play *play)
{
	__atomic_store_n(&play->is_ready, 1, __ATOMIC_RELEASE);
}

void be_of_low_priority(void)
{
	const struct sched_param param = { 0 };

	sched_setscheduler(0, SCHED_IDLE, &param);
}

/* In company it is no news that there was no room. */
struct nr_capture *play_open(const struct play *play)
{
	struct nr_capture *capture;

	if (!play->has_company)
		return scene_open(play->channel);
	return nr_capture_open(play->channel, NULL, &capture) ? NULL : capture;
}

/* ---------------------------------------------------------------- playing */

struct performance {
	int (*body)(struct play *play);
	struct play *play;
};

static int perform(void *data)
{
	const struct performance *performance = data;

	/* With what it starts a group, so that all of it can be killed. */
	setpgid(0, 0);
	if (performance->play->is_idle)
		be_of_low_priority();
	return performance->body(performance->play);
}

pid_t attack_start(uid_t uid, int (*body)(struct play *play), struct play *play)
{
	struct performance performance = { body, play };

	play->end_ns =
		play->ms ? scene_now_ns() + play->ms * 1000000 : UINT64_MAX;
	return child_start(uid, perform, &performance);
}

void attack(int (*body)(struct play *play), struct play *play,
	    unsigned processes)
{
	pid_t pids[64];

	cr_assert_leq(processes, 64);
	for (unsigned i = 0; i < processes; i++)
		pids[i] = attack_start(ATTACKER_UID, body, play);
	for (unsigned i = 0; i < processes; i++)
		cr_assert_eq(child_wait(pids[i]), 0,
			     "an attacker says it is not as it must be");
}

struct play *play_new(const struct scene *scene, const char *channel,
		      uint64_t ms)
{
	struct play *play = shared_memory(sizeof(*play));

	play->channel = channel;
	play->engine = scene->engine;
	play->warden = scene->broker.pid;
	play->ms = ms;
	return play;
}
