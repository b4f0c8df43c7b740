/* SPDX-License-Identifier: BSD-2-Clause */
/* Who may attach, how much of it, what is shown to whom, and what the log says.
 */
#include "command.h"
#include "ledger.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scene.h"

#define UID 12345
#define GID 54321
#define OTHER_UID 23456

static struct broker broker;
static struct trace trace;
static struct command c;

TestSuite(policy, .timeout = 60);

/* @keys of [broker] and then sections of channels on source "trace". */
static void serve(const char *keys, const char *channels)
{
	const char *path = test_path("policy.conf");
	FILE *file = fopen(path, "we");

	need_root();
	trace_init(&trace, 100, 1);
	cr_assert_eq(trace_write(&trace, test_path("trace.pcap")), 0);
	fprintf(file,
		"[broker]\n%s[source trace]\nbackend = replay\n"
		"file = %s\nwait = 1000\n%s",
		keys, test_path("trace.pcap"), channels);
	cr_assert_eq(fclose(file), 0);
	broker_start_args(&broker, NULL, "-c", path, NULL);
}

/* An attach as somebody, and how it went. */
struct
try {
	const char *channel;
	uid_t uid;
	gid_t gid;
	gid_t groups[2];
	unsigned group_count;
	unsigned guarantee;
	unsigned times; /* that it is done at most, each is kept */
	int err;	/* of the last */
	unsigned done;
	char text[NR_TEXT_MAX];
};

static int try_body(void *data)
{
	struct try *try = data;
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *capture;

	must(setgroups(try->group_count, try->groups) == 0);
	must(setresgid(try->gid, try->gid, try->gid) == 0);
	must(setresuid(try->uid, try->uid, try->uid) == 0);
	options.guarantee = try->guarantee;
	options.error_text = try->text;
	options.error_text_size = sizeof(try->text);
	do {
		try->err = nr_capture_open(try->channel, &options, &capture);
		try->done += !try->err;
	} while (!try->err && try->done < try->times);
	return 0;
}

static int try_once(struct try try, char *text)
{
	struct try *shared = shared_memory(sizeof(*shared));

	*shared = try;
	cr_assert_eq(child_wait(child_start(0, try_body, shared)), 0);
	if (text)
		memcpy(text, shared->text, sizeof(shared->text));
	return shared->err;
}

#define TRY(...) try_once((struct try){ __VA_ARGS__ }, NULL)
#define GROUPS(...) .groups = { __VA_ARGS__ }, .group_count = 2

Test(policy, lets_in_users_and_groups_by_name_and_number)
{
	char text[NR_TEXT_MAX];

	serve("group = daemon\n",
	      "[channel user]\nsource = trace\nallow = user:nobody\n"
	      "[channel number]\nsource = trace\nallow = user:12345\n"
	      "[channel group]\nsource = trace\nallow = group:54321\n"
	      "[channel named]\nsource = trace\nallow = group:games, user:7\n"
	      "[channel all]\nsource = trace\nallow = everyone\n"
	      "[channel default]\nsource = trace\n");
	cr_assert_eq(TRY("user", .uid = 65534, .gid = GID), 0);
	cr_assert_eq(TRY("user", .uid = UID, .gid = 65534), -EACCES);
	cr_assert_eq(TRY("number", .uid = UID, .gid = GID), 0);
	cr_assert_eq(TRY("number", .uid = OTHER_UID, .gid = UID), -EACCES);
	/* The primary group, and a supplementary one. */
	cr_assert_eq(TRY("group", .uid = UID, .gid = GID), 0);
	cr_assert_eq(TRY("group", .uid = UID, .gid = 1000, GROUPS(7, GID)), 0);
	cr_assert_eq(TRY("group", .uid = GID, .gid = 1000, GROUPS(7, 8)),
		     -EACCES);
	cr_assert_eq(TRY("named", .uid = UID, .gid = 60), 0);
	cr_assert_eq(TRY("named", .uid = 7, .gid = 1000), 0);
	cr_assert_eq(TRY("named", .uid = 60, .gid = 7), -EACCES);
	cr_assert_eq(TRY("all", .uid = UID, .gid = UID), 0);
	/* By default: root, and the members of the socket's group (1). */
	cr_assert_eq(TRY("default", .uid = 0), 0);
	cr_assert_eq(TRY("default", .uid = UID, .gid = 1), 0);
	cr_assert_eq(TRY("default", .uid = UID, .gid = 9, GROUPS(3, 1)), 0);
	cr_assert_eq(TRY("default", .uid = UID, .gid = UID), -EACCES);
	cr_assert_eq(TRY("user", .uid = 0), 0);
	cr_assert_eq(try_once((struct try){ "user", .uid = UID, .gid = UID },
			      text),
		     -EACCES);
	cr_assert(strstr(text, "channel 'user' does not allow user 12345"),
		  "%s", text);
	broker_stop(&broker);
}

Test(policy, that_lets_nobody_in_is_warned_of)
{
	serve("", "[channel closed]\nsource = trace\n"
		  "[channel open]\nsource = trace\nallow = user:12345\n");
	/* There is no group netring here, nor another in the file. */
	cr_assert_null(getgrnam("netring"));
	cr_assert(broker_said(&broker, "warning: channel closed lets nobody in "
				       "but root: it has no 'allow'"));
	cr_assert_not(broker_said(&broker, "channel open lets"));
	cr_assert_eq(TRY("closed", .uid = UID, .gid = UID), -EACCES);
	broker_stop(&broker);
}

static void check_quota(const char *keys, struct try try, unsigned done,
			int err, const char *says)
{
	struct try *shared = shared_memory(sizeof(*shared));
	char line[256];

	serve(keys, "[channel all]\nsource = trace\nallow = everyone\n"
		    "block_size = 128K\n");
	*shared = try;
	shared->channel = "all";
	shared->uid = shared->gid = UID;
	cr_assert_eq(child_wait(child_start(0, try_body, shared)), 0);
	cr_assert_eq(shared->done, done, "%u: %s", shared->done, shared->text);
	cr_assert_eq(shared->err, err);
	cr_assert(strstr(shared->text, says), "%s", shared->text);
	/* Another user has another quota; root's question is answered. */
	cr_assert_eq(TRY("all", .uid = OTHER_UID, .gid = OTHER_UID), 0);
	eventually(broker_said(&broker, says));
	snprintf(line, sizeof(line), "(test_policy) channel all: %s", says);
	if (strncmp(says, "user", 4) == 0)
		cr_assert(broker_said(&broker, line));
	/* What is closed does not count any more. */
	if (err == -ENOSPC)
		cr_assert_eq(TRY("all", .uid = UID, .gid = UID), 0);
	broker_stop(&broker);
}

Test(policy, limits_the_connections_of_a_user)
{
	check_quota("max_connections = 3\n", (struct try){ .times = 9 }, 3,
		    -ENOSPC, "its user has too many connections");
}

Test(policy, limits_the_captures_of_a_user)
{
	check_quota("max_captures = 2\n", (struct try){ .times = 9 }, 2,
		    -ENOSPC,
		    "user 12345 has 2 captures, as many as a user may "
		    "have (max_captures)");
}

Test(policy, limits_the_blocks_guaranteed_to_a_user)
{
	check_quota("max_guaranteed = 25\n",
		    (struct try){ .times = 9, .guarantee = 10 }, 2, -ENOSPC,
		    "user 12345 has 20 blocks guaranteed and asks for 10 more: "
		    "a user may have 25 (max_guaranteed)");
}

/* 170 ring slices fit 2 MiB; for 2 MiB more and return pages is no room. */
Test(policy, limits_the_memory_of_a_user)
{
	check_quota("max_memory = 4M\nmax_captures = 4096\n"
		    "max_connections = 4096\nmax_guaranteed = 100000\n"
		    "attach_rate = 100000\n",
		    (struct try){ .times = 400, .guarantee = 1 }, 170, -ENOSPC,
		    "bytes of rings and return pages: a user may have 4194304 "
		    "(max_memory)");
}

Test(policy, limits_how_often_a_user_attaches)
{
	/* One a second: while these are made, hardly a second passes. */
	check_quota("attach_rate = 1\n", (struct try){ .times = 9 }, 1, -EAGAIN,
		    "user 12345 attaches more than 1 times a second");
}

Test(policy, of_zero_is_no_quota)
{
	cr_assert_eq(command_run(&c,
				 "printf '[broker]\\nmax_captures = 0\\n' "
				 ">%s; netringd --check -c %s",
				 test_path("q.conf"), test_path("q.conf")),
		     2);
	cr_assert(strstr(c.err, "q.conf:2: "), "%s", c.err);
	cr_assert(strstr(c.err, "must be a number from 1 to 4096"), "%s",
		  c.err);
}

Test(policy, shows_a_user_only_what_it_may_attach_to)
{
	static struct broker_stat stat;
	struct nr_capture *capture;

	serve("", "[channel mine]\nsource = trace\nallow = user:12345\n"
		  "[channel theirs]\nsource = trace\nallow = user:23456\n");
	cr_assert_eq(nr_capture_open("theirs", NULL, &capture), 0);
	broker_read_stat(&stat, NULL);
	cr_assert_eq(stat.captures, 1);
	for (int i = 0; i < 3; i++) {
		static const char *const commands[] = {
			"exec netring list", "exec netring stat",
			"exec netring stat --json"
		};

		command_start(&c, UID, "%s", commands[i]);
		cr_assert_eq(command_wait(&c), 0, "%s", c.err);
		cr_assert(strstr(c.out, "mine"), "%s", c.out);
		cr_assert_null(strstr(c.out, "theirs"), "%s", c.out);
		cr_assert_null(strstr(c.out, "test_policy"), "%s", c.out);
	}
	command_start(&c, UID, "exec netring stat theirs");
	cr_assert_eq(command_wait(&c), 5);
	command_start(&c, UID, "exec netring dump nothing");
	cr_assert_eq(command_wait(&c), 4);
	cr_assert(strstr(c.err, "may attach to: mine"), "%s", c.err);
	nr_capture_close(capture);
	broker_stop(&broker);
}

Test(policy, is_logged_with_who_and_what_and_why)
{
	struct nr_capture *capture;
	char line[256];

	serve("", "[channel mine]\nsource = trace\nallow = user:12345\n");
	cr_assert_eq(nr_capture_open("mine", NULL, &capture), 0);
	snprintf(line, sizeof(line),
		 "attach uid 0 pid %d (test_policy) "
		 "channel mine: capture 1",
		 (int)getpid());
	eventually(broker_said(&broker, line)); /* behind the answer */
	nr_capture_close(capture);
	snprintf(line, sizeof(line),
		 "detach uid 0 pid %d (test_policy) "
		 "channel mine: it hung up",
		 (int)getpid());
	eventually(broker_said(&broker, line));
	command_start(&c, OTHER_UID, "exec netring dump mine");
	cr_assert_eq(command_wait(&c), 5);
	snprintf(line, sizeof(line),
		 "close uid 23456 pid %d (netring) channel mine: "
		 "channel 'mine' does not allow user 23456",
		 (int)c.pid);
	eventually(broker_said(&broker, line));
	cr_assert_eq(broker_said_times(&broker, "uid 23456"), 1);
	broker_stop(&broker);
}

/* More than are logged one by one. */
static int send_junk(void *data)
{
	for (int i = 0; i < 100; i++) {
		int fd = raw_connect();

		must(fd >= 0);
		must(send(fd, "x", 1, MSG_NOSIGNAL) == 1);
		must(raw_ends(fd, 3000));
		close(fd);
	}
	(void)data;
	return 0;
}

Test(policy, refusals_are_logged_whatever_else_comes)
{
	static const char line[] = "channel 'mine' does not allow user 23456";

	serve("", "[channel mine]\nsource = trace\nallow = user:12345\n");
	cr_assert_eq(child_wait(child_start(OTHER_UID, send_junk, NULL)), 0);
	cr_assert_lt(broker_said_times(&broker, "a message that is none"), 100);
	for (int i = 0; i < 10; i++)
		cr_assert_eq(TRY("mine", .uid = OTHER_UID, .gid = OTHER_UID),
			     -EACCES);
	eventually(broker_said_times(&broker, line) == 10);
	broker_stop(&broker);
}

Test(policy, root_can_ask_however_many_connections_it_has)
{
	struct nr_capture *captures[3];

	serve("max_connections = 3\n", "[channel mine]\nsource = trace\n");
	for (int i = 0; i < 3; i++)
		cr_assert_eq(nr_capture_open("mine", NULL, &captures[i]), 0);
	cr_assert_eq(command_run(&c, "netring stat"), 0, "%s", c.err);
	command_reload();
	for (int i = 0; i < 3; i++)
		nr_capture_close(captures[i]);
	broker_stop(&broker);
}

/* ------------------------------------------------------------ what stat says
 */

Test(policy, stat_shows_what_a_capture_holds_and_that_it_is_stalled)
{
	static struct broker_stat stat;
	uint64_t published;
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_batch batches[4];
	struct nr_capture *capture;
	unsigned held = 0;

	need_root();
	trace_init(&trace, 20000, 1);
	cr_assert_eq(trace_write(&trace, test_path("trace.pcap")), 0);
	broker_start(
		&broker, NULL,
		"[source trace]\nbackend = replay\nfile = %s\n"
		"rate = 15000\nloop = yes\n[channel all]\nsource = trace\n",
		test_path("trace.pcap"));
	options.group = "ids";
	options.leases = 3;
	cr_assert_eq(nr_capture_open("all", &options, &capture), 0);
	while (held < 3) {
		cr_assert_eq(nr_capture_recv(capture, &batches[held], 5000), 1);
		if (batches[held].flags & NR_BATCH_LAST_OF_BLOCK || held == 2)
			held++;
		else
			nr_batch_release(&batches[held]);
	}
	do
		cr_assert_eq(command_run(&c, "netring stat --json"), 0);
	while (!strstr(c.out, "\"stalled\": 1"));
	cr_assert(json_is_valid(c.out), "%s", c.out);
	cr_assert(strstr(c.out, "\"group\": \"ids\""), "%s", c.out);
	cr_assert_gt(json_number_of(c.out, "backlog"), 0);
	cr_assert_geq(json_number_of(c.out, "backlog_high"),
		      json_number_of(c.out, "backlog"));
	cr_assert_gt(json_number_of(c.out, "oldest_ns"), 1000000000);
	cr_assert_gt(json_number_of(c.out, "not_admitted"), 0);
	cr_assert_eq(json_number_of(c.out, "held"), 3);
	cr_assert_eq(command_run(&c, "netring stat"), 0);
	cr_assert(strstr(c.out, "group"), "%s", c.out);
	cr_assert(strstr(c.out, " ids "), "%s", c.out);
	cr_assert(strstr(c.out, " 3/3 "), "%s", c.out);
	cr_assert(strstr(c.out, "not admitted  stalled"), "%s", c.out);
	while (held > 0)
		nr_batch_release(&batches[--held]);
	/* It goes on, and so does its state. */
	for (int i = 0; i < 20; i++) {
		cr_assert_eq(nr_capture_recv(capture, &batches[0], 5000), 1);
		nr_batch_release(&batches[0]);
	}
	cr_assert_eq(command_run(&c, "netring stat --json"), 0);
	cr_assert(strstr(c.out, "\"stalled\": 0"), "%s", c.out);
	broker_read_stat(&stat, NULL);
	published = stat.channel_lane[0].published_bytes;
	cr_assert_gt(published, 0);
	nr_capture_close(capture);
	do
		broker_read_stat(&stat, NULL);
	while (stat.channel_lane[0].captures > 0);
	cr_assert_geq(stat.channel_lane[0].published_bytes, published);
	broker_stop(&broker);
}

static int read_in_time(void *data)
{
	struct nr_capture *capture;
	struct nr_batch batch;

	must(nr_capture_open("all", NULL, &capture) == 0);
	for (;;) {
		must(nr_capture_recv(capture, &batch, 5000) == 1);
		*(uint32_t *)data += batch.count;
		nr_batch_release(&batch);
	}
}

/* So few packets, and so small, that a block lasts for the whole test. */
Test(policy, stat_shows_that_who_sleeps_does_not_wake)
{
	static struct broker_stat stat;
	uint32_t *count = shared_memory(sizeof(*count));
	pid_t pid;

	need_root();
	trace_init(&trace, 20000, 1);
	trace.size_max = 100;
	cr_assert_eq(trace_write(&trace, test_path("trace.pcap")), 0);
	broker_start(&broker, NULL,
		     "[source trace]\nbackend = replay\nfile = %s\n"
		     "rate = 50\nwait = 1\n[channel all]\nsource = trace\n"
		     "allow = everyone\n",
		     test_path("trace.pcap"));
	pid = child_start(UID, read_in_time, count);
	eventually(*count >= 100); /* for 2 s */
	broker_read_stat(&stat, NULL);
	cr_assert_eq(stat.captures, 1);
	cr_assert_eq(stat.capture[0].held, 1);
	cr_assert_gt(stat.capture[0].oldest_ns, 1500000000);
	cr_assert_not(stat.capture[0].is_stalled);
	kill(pid, SIGSTOP);
	eventually((broker_read_stat(&stat, NULL), stat.capture[0].is_stalled));
	cr_assert_eq(stat.capture[0].held, 1);
	kill(pid, SIGCONT);
	eventually(
		(broker_read_stat(&stat, NULL), !stat.capture[0].is_stalled));
	kill(pid, SIGKILL);
	child_wait(pid);
	broker_stop(&broker);
}
