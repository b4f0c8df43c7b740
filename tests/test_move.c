/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * While captures move: how much lies unread with one user, and who waits for
 * those that are on their way.
 */
#include "command.h"
#include "ledger.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MANY 10
#define UNREAD_MAX 6 /* messages with descriptors, of one user */

static struct broker broker;
static struct trace trace;
static struct broker_stat stat_now;
static struct command c;

TestSuite(move, .timeout = 120);

static void configure(const char *arena)
{
	config_write("[source trace]\nbackend = replay\nfile = %s\n"
		     "rate = 20000\n[channel trace]\nsource = trace\n"
		     "allow = everyone\narena = %s\n",
		     test_path("trace.pcap"), arena);
}

static void serve(void)
{
	need_root();
	trace_init(&trace, 400000, 1);
	trace.is_nano = true;
	trace.size_max = 400;
	cr_assert_eq(trace_write(&trace, test_path("trace.pcap")), 0);
	configure("16M");
	broker_start_args(&broker, NULL, "-c", test_path("broker.conf"), NULL);
}

static struct nr_capture *open_with(unsigned guarantee, bool follows)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *capture;

	options.guarantee = guarantee;
	options.follow = follows;
	cr_assert_eq(nr_capture_open("trace", &options, &capture), 0);
	return capture;
}

/* Returns when the new memory has been handed out, to whom it is for now. */
static void begin_to_move(const char *arena)
{
	configure(arena);
	command_start(&c, geteuid(), "exec netring reload");
	eventually(broker_said(&broker, "channel trace has changed"));
	broker_read_stat(&stat_now, NULL);
}

/* What comes next is the word that there is new memory. Reads nothing. */
static bool is_told(const struct nr_capture *capture)
{
	struct nr_msg msg;

	return recv(nr_capture_fd(capture), &msg, sizeof(msg),
		    MSG_DONTWAIT | MSG_PEEK) == sizeof(msg) &&
	       msg.type == NR_MSG_MOVE;
}

static unsigned told(struct nr_capture *const *captures)
{
	unsigned count = 0;

	for (unsigned i = 0; i < MANY; i++)
		count += is_told(captures[i]);
	return count;
}

/* Descriptors that nobody reads count against the broker's limit. */
Test(move, leaves_no_more_unread_than_a_few_of_one_user)
{
	struct nr_capture *captures[MANY];
	bool has_read[MANY] = { false };

	serve();
	for (unsigned i = 0; i < MANY; i++)
		captures[i] = open_with(1, true);
	begin_to_move("8M");
	cr_assert_eq(told(captures), UNREAD_MAX);
	/* Who reads it makes room for another, until all have had theirs. */
	for (unsigned read = 0; read < MANY; read++) {
		unsigned i = 0, left = MANY - 1 - read;

		while (!is_told(captures[i]) && ++i < MANY)
			continue;
		cr_assert_lt(i, MANY);
		cr_assert_not(has_read[i]);
		has_read[i] = true;
		nr_capture_arm(captures[i]);
		eventually(told(captures) ==
			   (left < UNREAD_MAX ? left : UNREAD_MAX));
	}
	cr_assert_eq(command_wait(&c), 0, "%s", c.err);
	cr_assert_eq(broker_said_times(&broker, "move uid"), MANY);
	for (unsigned i = 0; i < MANY; i++)
		nr_capture_close(captures[i]);
	broker_stop(&broker);
}

/*
 * One that never answers holds the others up for a second. What the new memory
 * has set aside is theirs meanwhile: a newcomer has what they leave.
 */
Test(move, is_before_whoever_comes_meanwhile)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *silent, *newcomer = NULL;
	struct reader *reader;
	uint32_t set_aside;

	serve();
	silent = open_with(1, true);
	broker_read_stat(&stat_now, "trace");
	set_aside = stat_now.channel_lane[0].set_aside;
	reader = readers_new(ledger_new(&trace), 1, "trace");
	reader->follows = true;
	reader->guarantee = reader->leases = set_aside - 3;
	reader_start(reader, geteuid()); /* who may have all of it */
	begin_to_move("16M\nsnaplen = 999");
	options.guarantee = 3;
	cr_assert_eq(nr_capture_open("trace", &options, &newcomer), -ENOSPC);
	cr_assert_eq(command_wait(&c), 0, "%s", c.err);
	cr_assert_eq(broker_said_times(&broker, "move uid"), 1);
	/* There is room for one that asks for less. */
	options.guarantee = 2;
	cr_assert_eq(nr_capture_open("trace", &options, &newcomer), 0);
	reader_let_come(reader, 1000);
	reader_stop(reader);
	nr_capture_close(newcomer);
	nr_capture_close(silent);
	broker_stop(&broker);
}
