/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A message is formatted into one buffer on the stack and leaves in one
 * write(2): lines of several threads never mix, no lock is held while stderr
 * is slow, and a lane may log without touching the heap.
 */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOG_LINE_MAX 1024

static const char *const level_names[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARN] = "warning",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

static int log_level = LOG_LEVEL_INFO;

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
	/* There is nobody to tell that stderr is gone. */
	while (write(STDERR_FILENO, line, length) < 0 && errno == EINTR)
		;
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
