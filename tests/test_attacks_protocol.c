/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Consumers against the control socket: rubbish, silence, and as much of
 * everything as there is. The attacker's connection ends, with a reason in the
 * log; another user's attach works all the while.
 */
#include "attacks.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define OTHER_UID 34567

static struct scene scene;

/* In ms: how long the attach of another user takes; -1: it fails. */
struct other {
	double took_ms;
	int result;
};

static int attach_once(void *data)
{
	struct other *other = data;
	uint64_t start = scene_now_ns();
	struct nr_capture *capture;
	struct nr_batch batch;

	other->result = nr_capture_open("all", NULL, &capture);
	other->took_ms = (double)(scene_now_ns() - start) / 1e6;
	if (other->result)
		return 1;
	must(nr_capture_recv(capture, &batch, 5000) == 1);
	nr_capture_close(capture);
	return 0;
}

/* The bound: what a user would not notice. */
static void another_user_attaches_within(double ms)
{
	struct other *other = shared_memory(sizeof(*other));

	cr_assert_eq(child_wait(child_start(OTHER_UID, attach_once, other)), 0,
		     "another user's attach fails: %s",
		     nr_strerror(other->result));
	fprintf(stderr, "another user's attach took %.1f ms\n", other->took_ms);
	cr_assert_lt(other->took_ms, ms);
}

/* An attacker that goes on until it is stopped. */
static struct play *start(int (*body)(struct play *), pid_t *pid)
{
	struct play *play = play_new(&scene, "all", 0);

	*pid = attack_start(ATTACKER_UID, body, play);
	eventually(__atomic_load_n(&play->is_ready, __ATOMIC_ACQUIRE));
	return play;
}

static void stop(struct play *play, pid_t pid)
{
	__atomic_store_n(&play->must_stop, 1, __ATOMIC_RELEASE);
	cr_assert_eq(child_wait(pid), 0);
	fprintf(stderr, "%llu rounds\n", (unsigned long long)play->rounds);
}

Test(attacks, wrong_messages_end_the_connection_and_nothing_else)
{
	scene_start(&scene, "attach_rate = 1000");
	attack(send_wrong_messages, play_new(&scene, "all", 0), 1);
	another_user_attaches_within(1000);
	scene_end(&scene);
}

Test(attacks, rubbish_messages_hurt_nobody)
{
	scene_start(&scene, "attach_rate = 100000");
	attack(send_rubbish, play_new(&scene, "all", 0), 4);
	another_user_attaches_within(2000);
	scene_end(&scene);
}

Test(attacks, descriptors_sent_to_the_broker_do_not_arrive)
{
	unsigned before;

	scene_start(&scene, NULL);
	before = process_fds(scene.engine);
	attack(pass_descriptors, play_new(&scene, "all", 0), 1);
	eventually(process_fds(scene.engine) <= before);
	scene_end(&scene);
}

Test(attacks, all_of_one_user_s_connections_keep_no_other_user_out)
{
	struct play *play;
	unsigned fds;
	pid_t pid;

	scene_start(&scene, NULL);
	fds = process_fds(scene.engine);
	play = start(hold_connections, &pid);
	another_user_attaches_within(1000);
	cr_assert_leq(process_fds(scene.engine), fds + 64 + 10);
	another_user_attaches_within(1000);
	stop(play, pid);
	cr_assert(broker_said(&scene.broker, "too many connections"));
	eventually(process_fds(scene.engine) <= fds + 3);
	scene_end(&scene);
}

Test(attacks, descriptors_that_are_never_read_keep_no_other_user_out)
{
	const struct rlimit limit = { 512, 512 };
	struct rlimit saved;
	struct play *play;
	pid_t pid;

	getrlimit(RLIMIT_NOFILE, &saved);
	setrlimit(RLIMIT_NOFILE, &limit);
	scene_start(&scene, "attach_rate = 100000");
	setrlimit(RLIMIT_NOFILE, &saved);
	play = start(leave_descriptors_unread, &pid);
	another_user_attaches_within(1000);
	/* However often it comes back, its connections are not more. */
	cr_assert_gt(play->has, 10);
	cr_assert_leq(play->has, 64);
	stop(play, pid);
	another_user_attaches_within(1000);
	scene_end(&scene);
}

Test(attacks, attaches_that_are_never_acknowledged_keep_no_other_user_out)
{
	struct play *play;
	pid_t pid;

	scene_start(&scene, NULL);
	play = start(never_acknowledge, &pid);
	for (int i = 0; i < 10; i++) {
		sleep_ms(150);
		another_user_attaches_within(1000);
	}
	eventually(broker_said(&scene.broker, "did not acknowledge in time"));
	stop(play, pid);
	scene_end(&scene);
}

Test(attacks, questions_without_end_delay_no_packet)
{
	struct play *plays[3];
	pid_t pids[3];
	double stall_ms;

	scene_start(&scene, NULL);
	for (int i = 0; i < 3; i++)
		plays[i] = start(ask_for_ever, &pids[i]);
	scene_stall_ms(&scene);
	sleep_ms(1500);
	stall_ms = scene_stall_ms(&scene);
	another_user_attaches_within(2000);
	for (int i = 0; i < 3; i++)
		stop(plays[i], pids[i]);
	fprintf(stderr, "longest stall: %.1f ms\n", stall_ms);
	cr_assert_lt(stall_ms, 300);
	scene_end(&scene);
}

/* Whether @path holds printable ASCII and line ends alone (UTF-8 is neither).
 */
static bool is_plain(const char *path)
{
	FILE *file = fopen(path, "re");
	bool plain = true;
	int c;

	while ((c = getc(file)) != EOF)
		plain = plain && (c == '\n' || (c >= ' ' && c < 0x7f));
	fclose(file);
	return plain;
}

/* "netring stat", as an administrator would. */
static int run_stat(void *data)
{
	char command[512];

	snprintf(command, sizeof(command), "%s stat %s >%s", NETRING_TOOL,
		 (const char *)data, test_path("stat.txt"));
	return WEXITSTATUS(system(command));
}

Test(attacks, escape_sequences_in_names_do_not_reach_a_terminal)
{
	struct play *play;
	pid_t pid;

	scene_start(&scene, NULL);
	play = start(have_a_name, &pid);
	cr_assert_eq(run_stat((void *)(uintptr_t) ""), 0);
	cr_assert(is_plain(test_path("stat.txt")));
	cr_assert_eq(run_stat((void *)(uintptr_t) "--json"), 0);
	cr_assert(is_plain(test_path("stat.txt")));
	stop(play, pid);
	eventually(broker_said(&scene.broker, "\\x1b[2J\\x0d\\x0a"));
	cr_assert(is_plain(scene.broker.log));
	scene_end(&scene);
}
