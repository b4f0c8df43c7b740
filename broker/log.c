/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A message is formatted into one buffer on the stack and leaves in one
 * write(2): lines of several threads never mix, and a lane may log without
 * touching the heap. Nobody ever waits for who reads them: what stderr has no
 * room for is lost, and told when there is room again.
 */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_LINE_MAX 1024
_Static_assert(LOG_LINE_MAX <= PIPE_BUF, "a pipe takes all of a line, or none");

static const char *const level_names[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARN] = "warning",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

static int log_level = LOG_LEVEL_INFO;
static unsigned lines_lost; /* since a line said so */

static _Thread_local char *kept;
static _Thread_local size_t kept_size;

void log_keep(char *text, size_t size)
{
	kept = text;
	kept_size = size;
	if (kept)
		kept[0] = '\0';
}

void log_keep_text(const char *message)
{
	if (kept && !kept[0])
		snprintf(kept, kept_size, "%s", message);
}

/* Relaxed: which messages pass just after a change does not matter. */
void log_set_level(enum log_level level)
{
	__atomic_store_n(&log_level, (int)level, __ATOMIC_RELAXED);
}

void log_never_wait(void)
{
	struct stat st;
	int fd;

	if (fstat(STDERR_FILENO, &st) ||
	    !(S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)))
		return; /* a file takes all; a socket is asked each time */
	/* Of our own: who started us goes on with what it has. */
	fd = open("/proc/self/fd/2",
		  O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return; /* then there is room, or not, when it is asked */
	dup2(fd, STDERR_FILENO);
	close(fd);
}

/* Whether all of it was taken. */
static bool put(const char *line, size_t length)
{
	struct pollfd fd = { .fd = STDERR_FILENO, .events = POLLOUT };
	ssize_t n;

	do {
		n = send(STDERR_FILENO, line, length,
			 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n >= 0 || errno != ENOTSOCK)
			continue;
		if (poll(&fd, 1, 0) != 1 || !(fd.revents & POLLOUT))
			return false;
		n = write(STDERR_FILENO, line, length);
	} while (n < 0 && errno == EINTR);
	return n == (ssize_t)length;
}

/* Relaxed: a count, and any thread may be the one that tells it. */
static bool tell_lost(void)
{
	unsigned lost = __atomic_exchange_n(&lines_lost, 0, __ATOMIC_RELAXED);
	char line[128];
	int length;

	if (lost == 0)
		return true;
	length = snprintf(line, sizeof(line),
			  "netringd: warning: nobody read this log: %u lines "
			  "lost\n",
			  lost);
	if (put(line, (size_t)length))
		return true;
	__atomic_fetch_add(&lines_lost, lost, __ATOMIC_RELAXED);
	return false;
}

void log_line(enum log_level level, const char *format, ...)
{
	int saved = errno; /* a message must not change what it is about */
	char line[LOG_LINE_MAX];
	size_t room = sizeof(line) - 1; /* for the newline */
	size_t length, start;
	va_list args;
	int n;

	if ((int)level > __atomic_load_n(&log_level, __ATOMIC_RELAXED))
		return;
	start = (size_t)snprintf(line, room,
				 "netringd: %s: ", level_names[level]);
	length = start;
	va_start(args, format);
	n = vsnprintf(line + length, room - length, format, args);
	va_end(args);
	if (n > 0)
		length += (size_t)n;
	if (length > room - 1) {
		length = room - 1;
		memcpy(line + length - 3, "...", 3);
	}
	line[length] = '\0';
	if (level == LOG_LEVEL_ERROR)
		log_keep_text(line + start);
	line[length++] = '\n';
	if (!tell_lost() || !put(line, length))
		__atomic_fetch_add(&lines_lost, 1, __ATOMIC_RELAXED);
	errno = saved;
}

char *log_escape(char *out, size_t size, const char *text, size_t length)
{
	static const char hex[] = "0123456789abcdef";
	size_t used = 0;

	if (!size)
		return out;
	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)text[i];
		bool is_plain = c >= ' ' && c < 0x7f && c != '\\' && c != '"';
		size_t need = is_plain ? 1 : 4;

		if (size - used <= need)
			break;
		if (is_plain) {
			out[used++] = (char)c;
			continue;
		}
		out[used++] = '\\';
		out[used++] = 'x';
		out[used++] = hex[c >> 4];
		out[used++] = hex[c & 15];
	}
	out[used] = '\0';
	return out;
}
