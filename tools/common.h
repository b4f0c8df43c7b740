/* SPDX-License-Identifier: BSD-2-Clause */
/* What the verbs of the netring command share. */
#ifndef NETRING_TOOL_COMMON_H
#define NETRING_TOOL_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <netring.h>

/* What the command exits with; documented in --help. */
enum status {
	STATUS_OK = 0,
	STATUS_FAILED = 1,
	STATUS_USAGE = 2,
	STATUS_NO_BROKER = 3,
	STATUS_NO_CHANNEL = 4,
	STATUS_NOT_ALLOWED = 5,
	STATUS_FULL = 6,
	/* `netring run`: the others are the command's */
	STATUS_NOT_RUN = 125,
	STATUS_NOT_EXECUTABLE = 126,
	STATUS_NOT_FOUND = 127,
};

/* An escaped string is at most four times as long. */
#define ESCAPED(length) (4 * (size_t)(length) + 1)

/*
 * Copies a string that somebody else chose, at most @length bytes of it, with
 * backslash and everything that is not printable ASCII as \xNN. Cuts what does
 * not fit; always terminates @out, and returns it.
 */
char *escape(char *out, size_t size, const char *text, size_t length);

/* "netring: ..." and a new line, on stderr. */
__attribute__((format(printf, 1, 2))) void complain(const char *format, ...);

/*
 * Says why the library refused: in the broker's words if it sent some (@text
 * not empty). Returns the status for @err.
 */
enum status complain_refused(int err, const char *text);

/*
 * Writes out stdout. A reader that went away is no failure. Returns STATUS_OK,
 * or STATUS_FAILED after a message.
 */
enum status finish_stdout(void);

#endif
