/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Several brokers on one host, and what else runs there: the uid of each engine
 * is its alone.
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "support.h"
#include "trace.h"

#define BROKERS 4
#define ROUNDS 5
/* A user of every Debian that no process has. */
#define CONFIGURED "games"

TestSuite(brokers, .timeout = 120);

static struct command brokers[BROKERS], list;

static void start(unsigned i, const char *config)
{
	command_start(&brokers[i], 0, "exec netringd %s --socket %s/%u.sock",
		      config, test_dir(), i);
}

static bool serves(unsigned i)
{
	return command_run(&list, "netring --socket %s/%u.sock list",
			   test_dir(), i) == 0;
}

static pid_t engine_of(unsigned i)
{
	struct broker broker = { .pid = brokers[i].pid };

	return broker_engine(&broker);
}

static void stop(unsigned i)
{
	kill(brokers[i].pid, SIGTERM);
	cr_assert_eq(command_wait(&brokers[i]), 0, "%s", brokers[i].err);
}

/* Arguments of netringd: a replay of a few packets. */
static const char *replay(void)
{
	static char arguments[160];
	struct trace trace;

	trace_init(&trace, 10, 1);
	cr_assert_eq(trace_write(&trace, test_path("trace.pcap")), 0);
	snprintf(arguments, sizeof(arguments), "-r %s",
		 test_path("trace.pcap"));
	return arguments;
}

/* The same by a file that names a user. */
static const char *replay_as(const char *user)
{
	static char arguments[160];
	FILE *file = fopen(test_path("conf"), "we");

	replay();
	cr_assert(file);
	fprintf(file,
		"[broker]\nuser = %s\n[source s]\nbackend = replay\n"
		"file = %s\n[channel c]\nsource = s\nallow = everyone\n",
		user, test_path("trace.pcap"));
	cr_assert_eq(fclose(file), 0);
	snprintf(arguments, sizeof(arguments), "-c %s", test_path("conf"));
	return arguments;
}

static int sleep_on(void *data)
{
	(void)data;
	pause(); /* for the signal that kills it */
	return 0;
}

Test(brokers, of_each_of_several_brokers_is_another)
{
	const char *arguments;

	need_root();
	arguments = replay();
	for (unsigned round = 0; round < ROUNDS; round++) {
		uid_t uids[BROKERS];

		for (unsigned i = 0; i < BROKERS; i++)
			start(i, arguments);
		for (unsigned i = 0; i < BROKERS; i++) {
			eventually(serves(i));
			uids[i] = process_uid(engine_of(i));
			for (unsigned other = 0; other < i; other++)
				cr_assert_neq(uids[i], uids[other]);
		}
		for (unsigned i = 0; i < BROKERS; i++)
			stop(i);
	}
}

/* A broker without an engine has not given its uid up. */
Test(brokers, is_kept_while_there_is_no_engine)
{
	const char *arguments;
	uid_t uid;

	need_root();
	arguments = replay();
	start(0, arguments);
	eventually(serves(0));
	uid = process_uid(engine_of(0));
	for (unsigned i = 0; i < 4; i++) {
		pid_t engine = engine_of(0);

		kill(engine, SIGKILL);
		eventually(kill(engine, 0));
		if (i < 3)
			eventually(serves(0));
	}
	/* 800 ms until the next. */
	start(1, arguments);
	eventually(serves(1));
	cr_assert_neq(process_uid(engine_of(1)), uid);
	eventually(serves(0));
	cr_assert_neq(process_uid(engine_of(0)), process_uid(engine_of(1)));
	stop(1);
	stop(0);
}

Test(brokers, that_a_process_has_by_now_is_left_to_it)
{
	const char *arguments;
	pid_t engine, other;
	uid_t uid;

	need_root();
	arguments = replay();
	start(0, arguments);
	eventually(serves(0));
	engine = engine_of(0);
	uid = process_uid(engine);
	other = child_start(uid, sleep_on, NULL);
	eventually(process_uid(other) == uid);
	kill(engine, SIGKILL);
	eventually(kill(engine, 0));
	eventually(serves(0));
	cr_assert_neq(process_uid(engine_of(0)), uid);
	kill(other, SIGKILL);
	child_wait(other);
	stop(0);
	cr_assert(strstr(brokers[0].err, "the engine gets another"), "%s",
		  brokers[0].err);
}

static bool said(unsigned i, const char *words)
{
	command_look(&brokers[i]);
	return strstr(brokers[i].err, words) != NULL;
}

Test(brokers, that_was_configured_is_waited_for)
{
	const char *arguments;
	pid_t engine, other;
	uid_t uid;

	need_root();
	arguments = replay_as(CONFIGURED);
	start(0, arguments);
	eventually(serves(0));
	engine = engine_of(0);
	uid = process_uid(engine);
	other = child_start(uid, sleep_on, NULL);
	eventually(process_uid(other) == uid);
	kill(engine, SIGKILL);
	eventually(said(0, "is in use by a process"));
	kill(other, SIGKILL);
	child_wait(other);
	eventually(serves(0));
	cr_assert_eq(process_uid(engine_of(0)), uid);
	stop(0);
}

Test(brokers, that_was_configured_serves_one_broker)
{
	const char *arguments;
	char words[128];

	need_root();
	arguments = replay_as(CONFIGURED);
	start(0, arguments);
	eventually(serves(0));
	start(1, arguments);
	cr_assert_eq(command_wait(&brokers[1]), 1);
	snprintf(words, sizeof(words),
		 "user '%s' is that of another broker's engine (process %d)",
		 CONFIGURED, (int)brokers[0].pid);
	cr_assert(strstr(brokers[1].err, words), "%s", brokers[1].err);
	cr_assert(strstr(brokers[1].err, "adduser --system"));
	stop(0);
	start(1, arguments);
	eventually(serves(1));
	stop(1);
}
