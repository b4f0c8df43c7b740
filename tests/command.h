/* SPDX-License-Identifier: BSD-2-Clause */
/* Programs run as a user types them, and what they answer. */
#ifndef TESTS_COMMAND_H
#define TESTS_COMMAND_H

#include <stdbool.h>
#include <sys/types.h>

#define COMMAND_OUTPUT_MAX (1u << 20)

/* Large: static. */
struct command {
	pid_t pid;
	int status; /* its exit status; 256 + the signal that killed it */
	char out[COMMAND_OUTPUT_MAX]; /* what it wrote, cut to that */
	char err[COMMAND_OUTPUT_MAX];
};

/*
 * Starts a shell command (printf format), as @uid without groups. PATH finds
 * netring, netringd and netring-traffic of this build first; a single program
 * behind "exec" has the pid.
 */
__attribute__((format(printf, 3, 4))) void
command_start(struct command *command, uid_t uid, const char *format, ...);

/*
 * Copies what other users need to run netring, netring-sensor and netring-probe
 * into test_dir()/bin; done when one starts a command.
 */
void command_lend(void);

/* Waits for its end. Returns its status. */
int command_wait(struct command *command);

/* Reads what it has written so far into @command. */
void command_look(struct command *command);

/* Both, as who runs the test. */
__attribute__((format(printf, 2, 3))) int command_run(struct command *command,
						      const char *format, ...);

/* `netring reload`, which succeeds. */
void command_reload(void);

/* How many lines there are in a text, or only those with @part (NULL: all). */
unsigned lines_of(const char *text, const char *part);

/* Whether the text is one JSON document (RFC 8259) and white space. */
bool json_is_valid(const char *text);

/* The number behind the first "key": of a document; fails without one. */
unsigned long long json_number_of(const char *text, const char *key);

#endif
