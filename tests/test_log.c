/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages: one line each, whatever is in them. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "log.h"
#include "support.h"
#include "trace.h"

/* What log_line() writes to stderr, which is a pipe here. */
static ssize_t logged(char *out, size_t size, enum log_level level,
		      const char *text)
{
	int fds[2];
	int saved = dup(STDERR_FILENO);
	ssize_t n;

	cr_assert(eq(int, pipe(fds), 0));
	dup2(fds[1], STDERR_FILENO);
	close(fds[1]);
	log_line(level, "%s", text);
	dup2(saved, STDERR_FILENO);
	close(saved);
	n = read(fds[0], out, size - 1);
	out[n > 0 ? n : 0] = '\0';
	close(fds[0]);
	return n;
}

Test(log, a_message_is_one_line_with_its_level)
{
	char line[2048];

	logged(line, sizeof(line), LOG_LEVEL_WARN, "queue 3");
	cr_assert(eq(str, line, "netringd: warning: queue 3\n"));
}

Test(log, a_long_message_is_cut_at_1024_bytes)
{
	char line[4096], text[3000];

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	cr_assert(le(int,
		     (int)logged(line, sizeof(line), LOG_LEVEL_ERROR, text),
		     1024));
	cr_assert(eq(str, line + strlen(line) - 5, "x...\n"));
}

Test(log, what_is_below_the_level_is_not_written)
{
	char line[64];

	cr_assert(eq(int, (int)logged(line, sizeof(line), LOG_LEVEL_DEBUG, "x"),
		     0));
	log_set_level(LOG_LEVEL_DEBUG);
	logged(line, sizeof(line), LOG_LEVEL_DEBUG, "x");
	cr_assert(eq(str, line, "netringd: debug: x\n"));
}

Test(log, what_is_not_printable_is_escaped)
{
	char out[64];

	cr_assert(eq(str,
		     log_escape(out, sizeof(out), "a\x1b[\"\\\n\0\xff z", 10),
		     "a\\x1b[\\x22\\x5c\\x0a\\x00\\xff z"));
}

Test(log, an_escape_is_never_cut_in_two)
{
	char out[8];

	cr_assert(eq(str, log_escape(out, sizeof(out), "abcd\x01", 5), "abcd"));
	cr_assert(eq(str, log_escape(out, sizeof(out), "abc\x01z", 5),
		     "abc\\x01"));
	cr_assert(eq(str, log_escape(out, 1, "abc", 3), ""));
}

/* ----------------------------------------------------------- nobody reads it
 */

/* Until it takes no more, not even a byte; @fd stays as it is. */
static void fill(int fd)
{
	static const char bytes[4096];
	size_t size = sizeof(bytes);
	struct stat st;
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	cr_assert_eq(fstat(fd, &st), 0);
	if (!S_ISSOCK(st.st_mode))
		fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	cr_assert_geq(fd, 0);
	while (size > 0)
		if ((S_ISSOCK(st.st_mode) ?
			     send(fd, bytes, size, MSG_DONTWAIT) :
			     write(fd, bytes, size)) < 0)
			size /= 2;
	cr_assert_eq(errno, EAGAIN);
	if (!S_ISSOCK(st.st_mode))
		close(fd);
}

static void drain(int fd)
{
	char bytes[4096];

	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (read(fd, bytes, sizeof(bytes)) > 0)
		;
	cr_assert_eq(errno, EAGAIN);
}

/* What is said to a full one is lost, counted, and told at the next chance. */
static void check_full(int reader, int writer)
{
	int saved = dup(STDERR_FILENO);
	char text[256] = "";

	fill(writer);
	dup2(writer, STDERR_FILENO);
	alarm(10); /* the test's death, should it wait */
	log_line(LOG_LEVEL_WARN, "one");
	log_line(LOG_LEVEL_WARN, "two");
	drain(reader);
	log_line(LOG_LEVEL_WARN, "three");
	alarm(0);
	dup2(saved, STDERR_FILENO);
	for (size_t length = 0; !strstr(text, "three\n");) {
		ssize_t n =
			read(reader, text + length, sizeof(text) - 1 - length);

		cr_assert_gt(n, 0, "%s", text);
		length += (size_t)n;
		text[length] = '\0';
	}
	cr_assert(eq(str, text,
		     "netringd: warning: nobody read this log: 2 lines lost\n"
		     "netringd: warning: three\n"));
}

Test(log, a_pipe_that_nobody_reads_is_not_waited_for)
{
	int fds[2];

	cr_assert(eq(int, pipe(fds), 0));
	check_full(fds[0], fds[1]);
}

Test(log, a_socket_that_nobody_reads_is_not_waited_for)
{
	int fds[2];

	cr_assert(eq(int, socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0));
	check_full(fds[0], fds[1]);
}

Test(log, a_terminal_that_was_stopped_is_not_waited_for)
{
	int reader = posix_openpt(O_RDWR | O_NOCTTY);
	int writer, saved = dup(STDERR_FILENO);

	cr_assert(reader >= 0 && grantpt(reader) == 0 && unlockpt(reader) == 0);
	writer = open(ptsname(reader), O_RDWR | O_NOCTTY);
	cr_assert(writer >= 0);
	dup2(writer, STDERR_FILENO);
	log_never_wait();
	alarm(10);
	for (unsigned i = 0; i < 10000; i++)
		log_line(LOG_LEVEL_WARN, "line %u", i);
	alarm(0);
	/* Those who have it beside us wait as ever. */
	cr_assert(eq(int, fcntl(writer, F_GETFL) & O_NONBLOCK, 0));
	dup2(saved, STDERR_FILENO);
}

#define LIST "timeout 5 netring --socket %s list"

/* Neither its clients nor the next engine notice. */
Test(log, a_broker_whose_log_nobody_reads_serves, .timeout = 120)
{
	static struct command c, list;
	struct broker broker = { 0 };
	const char *fifo = test_path("log"), *trace = test_path("trace.pcap");
	const char *socket = test_path("broker.sock");
	struct trace packets;
	struct pollfd said = { .events = POLLIN };
	int reader, writer;
	pid_t engine;

	trace_init(&packets, 10, 1);
	cr_assert_eq(trace_write(&packets, trace), 0);
	cr_assert_eq(mkfifo(fifo, 0600), 0);
	reader = open(fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	writer = open(fifo, O_WRONLY | O_CLOEXEC);
	cr_assert(reader >= 0 && writer >= 0);
	said.fd = reader;
	command_start(&c, geteuid(), "exec netringd -v -r %s --socket %s 2>%s",
		      trace, socket, fifo);
	broker.pid = c.pid;
	eventually(poll(&said, 1, 0) == 1);
	fill(writer);
	engine = broker_engine(&broker);
	cr_assert_eq(command_run(&list, LIST, socket), 0);
	kill(engine, SIGKILL);
	eventually(command_run(&list, LIST, socket) == 0);
	cr_assert_neq(broker_engine(&broker), engine);
	kill(c.pid, SIGTERM);
	cr_assert_eq(command_wait(&c), 0);
	close(reader);
	close(writer);
}
