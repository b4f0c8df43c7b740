/* SPDX-License-Identifier: BSD-2-Clause */
/* netringd's command line: what it refuses, its socket, its end. */
#include "command.h"
#include "support.h"
#include "trace.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct command c, other;

static bool has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fprintf(stderr, "there is no \"%s\" in:\n%s\n", part, text);
	return strstr(text, part) != NULL;
}

static bool is_there(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static bool has_child(pid_t pid)
{
	return command_run(&other, "grep -q . /proc/%d/task/%d/children",
			   (int)pid, (int)pid) == 0;
}

/* ---------------------------------------------------------------- bad input */

static const char *write_config(const char *text)
{
	const char *path = test_path("netringd.conf");
	FILE *file = fopen(path, "we");

	cr_assert(file && fputs(text, file) >= 0 && fclose(file) == 0);
	return path;
}

#define SOURCE "[source s]\nbackend = replay\nfile = /dev/null\n"
#define CHANNEL "[channel c]\nsource = s\n"
#define NAME_64                                                                \
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* What only those see that look further than the text. */
static const struct wrong {
	const char *text;
	unsigned line;
	const char *words; /* what would be right */
} wrong[] = {
	{ SOURCE "speed = 3\n" CHANNEL, 4, "unknown key speed" },
	{ SOURCE "wiat = 3\n" CHANNEL, 4, "did you mean wait?" },
	{ SOURCE "wait = 3x\n" CHANNEL, 4, "number from 1 to 1024" },
	{ SOURCE "wait = 0\n" CHANNEL, 4, "number from 1 to 1024" },
	{ SOURCE "wait = 99999999999999999999\n" CHANNEL, 4, "number from" },
	{ SOURCE CHANNEL "arena = 5M\n", 6, "multiple of 2M" },
	{ SOURCE "[channel c]\nallow = everyone\n", 4, "source" },
	{ SOURCE "[channel c]\nsource = t\n", 5, "must be one of: s" },
	{ SOURCE CHANNEL "filter = port http or\n", 6, "pcap filter" },
	{ SOURCE "[channel " NAME_64 "]\nsource = s\n", 4, "63 characters" },
	{ "[source s]\ninterface = 0123456789abcdef\n" CHANNEL, 2,
	  "interface" },
	{ SOURCE "[chanel c]\nsource = s\n", 4, "did you mean channel?" },
	{ SOURCE "nonsense\n" CHANNEL, 4, "KEY = VALUE" },
	{ SOURCE CHANNEL "allow = user:no-such-user\n", 6, "no-such-user" },
	{ SOURCE, 1, "there is no channel" },
	{ "", 1, "there is no channel" },
};
static const struct wrong wrong_in_world[] = {
	{ "[source s]\ninterface = nonesuch\n" CHANNEL, 1,
	  "no interface 'nonesuch'" },
	{ "[source s]\nbackend = replay\nfile = /nonesuch.pcap\n" CHANNEL, 3,
	  "/nonesuch.pcap" },
	{ "[source s]\nbackend = replay\nfile = /\n" CHANNEL, 3, "directory" },
};

static void check_refused(const struct wrong *w, const char *options)
{
	const char *path = write_config(w->text);
	char where[160];

	snprintf(where, sizeof(where), "%s:%u: ", path, w->line);
	cr_assert_eq(command_run(&c, "netringd -c %s --socket %s %s", path,
				 test_path("broker.sock"), options),
		     2, "status %d with %s%s", c.status, w->text, c.err);
	cr_assert(has(c.err, where));
	cr_assert(has(c.err, w->words));
	cr_assert_not(is_there(test_path("broker.sock")));
}

Test(start, a_wrong_configuration_is_refused_with_line_and_remedy)
{
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		check_refused(&wrong[i], "");
}

Test(start, check_finds_what_is_wrong_and_starts_nothing)
{
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		check_refused(&wrong[i], "--check");
	cr_assert_eq(
		command_run(&c, "netringd --check -c %s --socket %s",
			    write_config(SOURCE CHANNEL "allow = everyone\n"),
			    test_path("broker.sock")),
		0, "%s", c.err);
	cr_assert_str_eq(c.out, "");
	cr_assert_str_eq(c.err, "");
	/* What is no error, but hardly meant. */
	cr_assert_eq(command_run(&c, "netringd --check -c %s",
				 write_config(SOURCE "[channel c]\nsource = s\n"
						     "snaplen = 20\n")),
		     0, "%s", c.err);
	cr_assert(has(c.err, "warning: channel c lets nobody in but"));
	cr_assert(has(c.err, "snaplen = 20 can cut off addresses"));
	cr_assert_eq(lines_of(c.err, NULL), 2, "%s", c.err);
	cr_assert_not(is_there(test_path("broker.sock")));
}

Test(start, what_is_not_there_is_refused_with_line_and_remedy)
{
	for (size_t i = 0;
	     i < sizeof(wrong_in_world) / sizeof(wrong_in_world[0]); i++)
		check_refused(&wrong_in_world[i], "");
}

Test(start, every_mistake_of_a_file_is_told_at_once)
{
	cr_assert_eq(command_run(&c, "netringd -c %s",
				 write_config("[source s]\nbackend = tape\n"
					      "lanes = x\n[channel c]\n"
					      "source = s\nsnaplen = -1\n")),
		     2);
	cr_assert_eq(lines_of(c.err, "netringd.conf:2: "), 1, "%s", c.err);
	cr_assert_eq(lines_of(c.err, "netringd.conf:3: "), 1, "%s", c.err);
	cr_assert_eq(lines_of(c.err, "netringd.conf:6: "), 1, "%s", c.err);
}

Test(start, wrong_arguments_are_status_2)
{
	static const struct {
		const char *arguments, *words;
	} arguments[] = {
		{ "", "one of -c FILE, -i INTERFACE and -r FILE" },
		{ "-i lo -r x", "one of -c FILE, -i INTERFACE and -r FILE" },
		{ "--check", "one of -c FILE, -i INTERFACE and -r FILE" },
		{ "-r x y", "what is 'y'?" },
		{ "--frobnicate", "frobnicate" },
		{ "-c", "requires an argument" },
		{ "-c /nonesuch.conf", "/nonesuch.conf" },
		{ "-i nonesuch", "no interface 'nonesuch'" },
		{ "-i 0123456789abcdef", "0123456789abcdef" },
		{ "-r /nonesuch.pcap", "/nonesuch.pcap" },
		{ "-i lo --socket " NAME_64 NAME_64, "--socket" },
	};

	for (size_t i = 0; i < sizeof(arguments) / sizeof(arguments[0]); i++) {
		cr_assert_eq(
			command_run(&c, "netringd %s", arguments[i].arguments),
			2, "netringd %s: %d", arguments[i].arguments, c.status);
		cr_assert(has(c.err, arguments[i].words));
		cr_assert_str_eq(c.out, "");
	}
}

/* A reader of it waits until somebody who has it open ends. */
static int make_silent_config(void)
{
	const char *path = test_path("netringd.conf");
	int fd;

	unlink(path);
	cr_assert_eq(mkfifo(path, 0600), 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	cr_assert_geq(fd, 0);
	return fd;
}

/* Not one that daemons share and anybody's script runs as: it could stop it. */
Test(start, a_parser_that_does_not_end_is_killed, .timeout = 60)
{
	struct broker broker = { 0 };
	int fd = make_silent_config();

	need_root();
	command_start(&c, 0, "exec netringd --check -c %s",
		      test_path("netringd.conf"));
	broker.pid = c.pid;
	eventually(has_child(c.pid) &&
		   process_uid(broker_engine(&broker)) != 0);
	cr_assert_neq(process_uid(broker_engine(&broker)), 65534);
	kill(broker_engine(&broker), SIGSTOP);
	cr_assert_eq(command_wait(&c), 2);
	cr_assert(has(c.err, "parser did not end: killed"));
	close(fd);
}

/* --------------------------------------------------------- socket and end */

static char *trace_path;
static char *socket_path;

static void prepare(void)
{
	struct trace trace;

	trace_path = strdup(test_path("trace.pcap"));
	socket_path = strdup(test_path("broker.sock"));
	trace_init(&trace, 10, 1);
	cr_assert_eq(trace_write(&trace, trace_path), 0);
}

static void done(void)
{
	free(trace_path);
	free(socket_path);
}

TestSuite(socket, .init = prepare, .fini = done);

static void serve(struct command *broker)
{
	static struct command list;

	command_start(broker, geteuid(), "exec netringd -r %s --socket %s",
		      trace_path, socket_path);
	eventually(command_run(&list, "netring --socket %s list",
			       socket_path) == 0);
}

Test(socket, is_removed_when_the_broker_is_told_to_end)
{
	static const int signals[] = { SIGTERM, SIGINT };

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		serve(&c);
		cr_assert(is_there(socket_path));
		kill(c.pid, signals[i]);
		cr_assert_eq(command_wait(&c), 0, "%s", c.err);
		cr_assert_not(is_there(socket_path));
	}
}

Test(socket, of_a_broker_that_died_is_taken_over)
{
	serve(&c);
	kill(c.pid, SIGKILL);
	cr_assert_eq(command_wait(&c), 256 + SIGKILL);
	cr_assert(is_there(socket_path));
	serve(&c);
	kill(c.pid, SIGTERM);
	cr_assert_eq(command_wait(&c), 0, "%s", c.err);
}

Test(socket, is_not_taken_from_a_broker_that_lives)
{
	serve(&c);
	cr_assert_eq(command_run(&other, "netringd -r %s --socket %s",
				 trace_path, socket_path),
		     1);
	cr_assert(has(other.err, "another broker serves this socket"));
	cr_assert_eq(command_run(&other, "netring --socket %s dump trace",
				 socket_path),
		     0);
	cr_assert_eq(lines_of(other.out, NULL), 10);
	kill(c.pid, SIGTERM);
	cr_assert_eq(command_wait(&c), 0, "%s", c.err);
}

/* When it was made: of a file that is gone another may have the inode. */
static int64_t birth_of_socket(void)
{
	struct stat st;

	cr_assert_eq(lstat(socket_path, &st), 0);
	return (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
}

/* Somebody has removed it, and another serves there. */
Test(socket, of_another_broker_is_not_removed_at_the_end)
{
	static struct command next;
	int64_t birth;

	serve(&c);
	cr_assert_eq(unlink(socket_path), 0);
	serve(&next);
	birth = birth_of_socket();
	kill(c.pid, SIGTERM);
	cr_assert_eq(command_wait(&c), 0, "%s", c.err);
	cr_assert_eq(birth_of_socket(), birth);
	cr_assert_eq(command_run(&other, "netring --socket %s list",
				 socket_path),
		     0, "%s", other.err);
	kill(next.pid, SIGTERM);
	cr_assert_eq(command_wait(&next), 0, "%s", next.err);
	cr_assert_not(is_there(socket_path));
}

/* Has opened the directory: to lock it, and for nothing else. */
static bool waits_for_turn(pid_t pid)
{
	return command_run(&other, "ls -l /proc/%d/fd | grep -q -- '-> %s$'",
			   (int)pid, test_dir()) == 0;
}

/*
 * Brokers that start at once: the one that has the turn may have found what is
 * left over, and be about to replace it. Whoever just keeps the turn stops
 * none.
 */
Test(socket, is_taken_over_by_one_broker_at_a_time)
{
	int turn = open(test_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int64_t birth;
	time_t since;

	serve(&c);
	kill(c.pid, SIGKILL);
	command_wait(&c);
	birth = birth_of_socket();
	cr_assert_eq(flock(turn, LOCK_EX), 0);
	command_start(&c, geteuid(), "exec netringd -r %s --socket %s",
		      trace_path, socket_path);
	eventually(waits_for_turn(c.pid));
	since = time(NULL);
	for (unsigned ms = 0; ms < 200; ms++) {
		cr_assert_eq(birth_of_socket(), birth);
		sleep_ms(1);
	}
	eventually(command_run(&other, "netring --socket %s list",
			       socket_path) == 0);
	cr_assert_neq(birth_of_socket(), birth);
	cr_assert_leq(time(NULL) - since, 5);
	close(turn);
	kill(c.pid, SIGTERM);
	cr_assert_eq(command_wait(&c), 0, "%s", c.err);
}

static void replace_engine(void)
{
	struct broker broker = { .pid = c.pid };
	pid_t engine = broker_engine(&broker);

	kill(engine, SIGKILL);
	eventually(kill(engine, 0));
	eventually(has_child(c.pid));
}

Test(socket, of_the_next_engine_is_like_that_of_the_first)
{
	struct stat first, next;

	serve(&c);
	cr_assert_eq(stat(socket_path, &first), 0);
	replace_engine();
	eventually(command_run(&other, "netring --socket %s list",
			       socket_path) == 0);
	cr_assert_eq(stat(socket_path, &next), 0);
	cr_assert_neq(next.st_ino, first.st_ino);
	cr_assert_eq(next.st_mode, first.st_mode);
	cr_assert_eq(next.st_uid, first.st_uid);
	cr_assert_eq(next.st_gid, first.st_gid);
	cr_assert_eq(command_run(&other, "netringd -r %s --socket %s",
				 trace_path, socket_path),
		     1);
	cr_assert(has(other.err, "another broker serves this socket"));
	cr_assert_eq(command_run(&other, "ls %s | grep -c sock", test_dir()),
		     0);
	cr_assert_str_eq(other.out, "1\n");
	kill(c.pid, SIGTERM);
	cr_assert_eq(command_wait(&c), 0, "%s", c.err);
	cr_assert_not(is_there(socket_path));
}

/* Somebody has removed it, and started another broker there. */
Test(socket, that_is_anothers_by_now_is_left_to_it)
{
	static struct command second;

	serve(&c);
	cr_assert_eq(unlink(socket_path), 0);
	serve(&second);
	replace_engine();
	eventually((command_look(&c), has(c.err, "another broker has put")));
	kill(c.pid, SIGTERM);
	cr_assert_eq(command_wait(&c), 0, "%s", c.err);
	cr_assert_eq(command_run(&other, "netring --socket %s list",
				 socket_path),
		     0);
	kill(second.pid, SIGTERM);
	cr_assert_eq(command_wait(&second), 0, "%s", second.err);
}

/* What is left there goes by itself. */
Test(socket, of_the_next_engine_is_made_though_one_was_left_over)
{
	struct command *broker = &c;

	serve(broker);
	cr_assert_eq(command_run(&other,
				 "python3 -c 'import socket, sys; "
				 "socket.socket(socket.AF_UNIX).bind("
				 "sys.argv[1])' %s.new",
				 socket_path),
		     0);
	replace_engine();
	eventually(command_run(&other, "netring --socket %s list",
			       socket_path) == 0);
	kill(c.pid, SIGTERM);
	cr_assert_eq(command_wait(&c), 0, "%s", c.err);
}

Test(socket, stays_when_the_parser_of_a_reload_does_not_end, .timeout = 60)
{
	const char *socket = socket_path;
	char text[256];
	int fd;

	snprintf(text, sizeof(text),
		 "[source s]\nbackend = replay\nfile = %s\n" CHANNEL,
		 trace_path);
	command_start(&c, geteuid(), "exec netringd -c %s --socket %s",
		      write_config(text), socket);
	eventually(command_run(&other, "netring --socket %s list", socket) ==
		   0);
	fd = make_silent_config();
	cr_assert_neq(command_run(&other, "netring --socket %s reload", socket),
		      0);
	cr_assert(has(other.err, "parser did not end: killed"));
	cr_assert_eq(command_run(&other, "netring --socket %s list", socket),
		     0);
	kill(c.pid, SIGTERM);
	cr_assert_eq(command_wait(&c), 0, "%s", c.err);
	close(fd);
}

/* Returns what the last that was refused was. */
static int open_captures(struct nr_capture **captures, unsigned count,
			 const char **why)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	static char text[256];
	int err = 0;

	options.error_text = text;
	options.error_text_size = sizeof(text);
	*why = text;
	for (unsigned i = 0; i < count; i++) {
		int one = nr_capture_open("trace", &options, &captures[i]);

		if (one)
			captures[i] = NULL;
		err = one ? one : err;
	}
	return err;
}

/* Some are kept for the warden's verbs: the engine lives, and says so.
 */
Test(socket, refuses_clients_before_descriptors_run_out)
{
	struct nr_capture *captures[18];
	const char *why;
	int err;

	command_start(&c, geteuid(),
		      "ulimit -n 40; exec setpriv --bounding-set=-sys_resource "
		      "netringd -r %s --socket %s",
		      trace_path, socket_path);
	eventually(command_run(&other, "netring --socket %s list",
			       socket_path) == 0);
	setenv(NR_SOCKET_ENV, socket_path, 1);
	err = open_captures(captures, 18, &why);
	cr_assert_eq(err, -ENOSPC, "%s: %s", nr_strerror(err), why);
	cr_assert(has(why, "too few descriptors"));
	for (unsigned i = 0; i < 18; i++)
		if (captures[i])
			nr_capture_close(captures[i]);
	eventually(command_run(&other, "netring --socket %s list",
			       socket_path) == 0);
	kill(c.pid, SIGTERM);
	cr_assert_eq(command_wait(&c), 0, "%s", c.err);
	cr_assert_not(strstr(c.err, "died"), "%s", c.err);
}

Test(socket, is_not_made_where_another_file_is)
{
	cr_assert_eq(command_run(&c,
				 "echo precious >%s; exec netringd -r %s "
				 "--socket %s",
				 socket_path, trace_path, socket_path),
		     1);
	cr_assert(has(c.err, "another file is there"));
	cr_assert_eq(command_run(&c, "cat %s", socket_path), 0);
	cr_assert_str_eq(c.out, "precious\n");
}
