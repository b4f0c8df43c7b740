/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages: each on one line, and nothing in it that a terminal obeys. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common.h"

char *escape(char *out, size_t size, const char *text, size_t length)
{
	size_t used = 0;

	for (size_t i = 0; i < length && text[i]; i++) {
		unsigned char c = (unsigned char)text[i];
		bool plain = c >= 0x20 && c < 0x7f && c != '\\';

		if (used + (plain ? 1 : 4) >= size)
			break;
		if (plain)
			out[used++] = (char)c;
		else
			used += (size_t)snprintf(out + used, size - used,
						 "\\x%02x", c);
	}
	out[used] = '\0';
	return out;
}

void complain(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("netring: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
}

static enum status status_of(int err)
{
	switch (-err) {
	case ECONNREFUSED:
		return STATUS_NO_BROKER;
	case ENOENT:
		return STATUS_NO_CHANNEL;
	case EACCES:
		return STATUS_NOT_ALLOWED;
	case ENOSPC:
	case EAGAIN:
		return STATUS_FULL;
	case EINVAL:
		return STATUS_USAGE;
	default:
		return STATUS_FAILED;
	}
}

enum status complain_refused(int err, const char *text)
{
	char words[ESCAPED(NR_TEXT_MAX)];

	if (!text || !text[0])
		text = nr_strerror(err);
	complain("%s", escape(words, sizeof(words), text, NR_TEXT_MAX));
	return status_of(err);
}

enum status finish_stdout(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return STATUS_OK;
	if (errno == EPIPE)
		return STATUS_OK;
	complain("standard output: %s", strerror(errno));
	return STATUS_FAILED;
}
