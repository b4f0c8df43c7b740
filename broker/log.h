/* SPDX-License-Identifier: BSD-2-Clause */
/* One line a message on stderr, "netringd: ...". Safe from any thread. */
#ifndef NETRINGD_LOG_H
#define NETRINGD_LOG_H

#include <stddef.h>

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARN,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG
};

/*
 * From now on no line waits for who reads stderr, nor does what others write
 * to it: one that is full loses them. Before: only if others fill it just then.
 */
void log_never_wait(void);

void log_set_level(enum log_level level);
__attribute__((format(printf, 2, 3))) void log_line(enum log_level level,
						    const char *format, ...);

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

/*
 * From now on the first error that this thread logs is also written to @text,
 * which is emptied; NULL: no more. log_keep_text(): one that was logged
 * elsewhere, by the warden.
 */
void log_keep(char *text, size_t size);
void log_keep_text(const char *message);

/*
 * Copies @text with everything that is not printable ASCII, and backslash and
 * quote, as \xNN: for strings that a peer chose. Always terminates @out.
 */
char *log_escape(char *out, size_t size, const char *text, size_t length);

#endif
