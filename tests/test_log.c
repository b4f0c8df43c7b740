/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages: one line each, whatever is in them. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include <string.h>
#include <unistd.h>

#include "log.h"

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
