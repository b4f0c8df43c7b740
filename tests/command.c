/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a program writes goes to files, so that none ever waits for the test.
 * Other users run copies: the build tree may be closed to them.
 */
#include "command.h"

#include "support.h"

#include <criterion/criterion.h>

#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The files of a command are called by where it is. */
static const char *file_of(const struct command *command, const char *what)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%p.%s", test_dir(),
		 (const void *)command, what);
	return path;
}

void command_lend(void)
{
	Dl_info library;
	char command[1024];

	if (access(test_path("bin"), F_OK) == 0)
		return;
	cr_assert(dladdr((void *)(uintptr_t)nr_version, &library));
	snprintf(command, sizeof(command),
		 "mkdir -p %s/bin && cp %s %s %s %s/bin && cp -L %s %s/bin/%s",
		 test_dir(), NETRING_TOOL, NETRING_SENSOR, NETRING_PROBE,
		 test_dir(), library.dli_fname, test_dir(),
		 strrchr(library.dli_fname, '/') + 1);
	cr_assert(system(command) == 0, "%s", command);
	setenv("LD_LIBRARY_PATH", test_path("bin"), 1);
}

static void set_path(uid_t uid)
{
	static const char *const programs[] = { NETRING_TOOL, NETRINGD,
						NETRING_TRAFFIC };
	char path[4096];
	size_t used = 0;

	path[0] = '\0';
	if (uid != geteuid())
		used = (size_t)snprintf(path, sizeof(path),
					"%s/bin:", test_dir());
	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
		const char *end = strrchr(programs[i], '/');

		used += (size_t)snprintf(path + used, sizeof(path) - used,
					 "%.*s:", (int)(end - programs[i]),
					 programs[i]);
	}
	snprintf(
		path + used, sizeof(path) - used,
		"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	setenv("PATH", path, 1);
}

struct start {
	int out, err;
	char *text;
};

static int shell(void *data)
{
	struct start *start = data;
	int null = open("/dev/null", O_RDONLY);

	if (null < 0 || dup2(null, 0) < 0 || dup2(start->out, 1) < 0 ||
	    dup2(start->err, 2) < 0)
		return 255;
	close_range(3, ~0u, 0);
	execl("/bin/sh", "sh", "-c", start->text, NULL);
	return 255;
}

static void start(struct command *command, uid_t uid, const char *format,
		  va_list args)
{
	struct start start = { -1, -1, NULL };

	memset(command, 0, sizeof(*command));
	cr_assert(vasprintf(&start.text, format, args) > 0);
	start.out = open(file_of(command, "out"),
			 O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	start.err = open(file_of(command, "err"),
			 O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	cr_assert(start.out >= 0 && start.err >= 0, "%s", strerror(errno));
	if (uid != geteuid())
		command_lend();
	set_path(uid);
	command->pid = child_start(uid, shell, &start);
	close(start.out);
	close(start.err);
	free(start.text);
}

void command_start(struct command *command, uid_t uid, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	start(command, uid, format, args);
	va_end(args);
}

static void read_file(const char *path, char *text)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t n;

	cr_assert(fd >= 0, "%s: %s", path, strerror(errno));
	while ((n = read(fd, text + used, COMMAND_OUTPUT_MAX - 1 - used)) > 0)
		used += (size_t)n;
	text[used] = '\0';
	close(fd);
}

void command_look(struct command *command)
{
	read_file(file_of(command, "out"), command->out);
	read_file(file_of(command, "err"), command->err);
}

int command_wait(struct command *command)
{
	command->status = child_wait(command->pid);
	command_look(command);
	cr_assert(!strstr(command->err, "Sanitizer") &&
			  !strstr(command->err, "runtime error:"),
		  "a bug:\n%s", command->err);
	return command->status;
}

int command_run(struct command *command, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	start(command, geteuid(), format, args);
	va_end(args);
	return command_wait(command);
}

void command_reload(void)
{
	static struct command command;

	cr_assert_eq(command_run(&command, "netring reload"), 0, "%s",
		     command.err);
}

unsigned lines_of(const char *text, const char *part)
{
	unsigned count = 0;

	while (*text) {
		size_t length = strcspn(text, "\n");
		const char *found = part ? strstr(text, part) : text;

		count += found && found < text + length;
		text += length + (text[length] == '\n');
	}
	return count;
}

/* -------------------------------------------------------------------- JSON */

static const char *value_end(const char *at);

static const char *blank(const char *at)
{
	return at + strspn(at, " \t\r\n");
}

static const char *string_end(const char *at)
{
	if (*at++ != '"')
		return NULL;
	for (; *at != '"'; at++) {
		if ((unsigned char)*at < 0x20)
			return NULL;
		if (*at != '\\')
			continue;
		if (*++at == 'u') {
			if (strspn(at + 1, "0123456789abcdefABCDEF") < 4)
				return NULL;
			at += 4;
		} else if (!*at || !strchr("\"\\/bfnrt", *at)) {
			return NULL;
		}
	}
	return at + 1;
}

/* Ours are whole and not negative. */
static const char *number_end(const char *at)
{
	size_t digits = strspn(at, "0123456789");

	return digits == 0 || (*at == '0' && digits > 1) ? NULL : at + digits;
}

static const char *members_end(const char *at, char close, bool has_keys)
{
	at = blank(at + 1);
	if (*at == close)
		return at + 1;
	for (;;) {
		if (has_keys) {
			at = string_end(at);
			at = at ? blank(at) : NULL;
			if (!at || *at++ != ':')
				return NULL;
		}
		at = value_end(blank(at));
		if (!at)
			return NULL;
		at = blank(at);
		if (*at == close)
			return at + 1;
		if (*at != ',')
			return NULL;
		at = blank(at + 1);
	}
}

static const char *value_end(const char *at)
{
	static const char *const words[] = { "null", "true", "false" };

	if (*at == '{')
		return members_end(at, '}', true);
	if (*at == '[')
		return members_end(at, ']', false);
	if (*at == '"')
		return string_end(at);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strncmp(at, words[i], strlen(words[i])) == 0)
			return at + strlen(words[i]);
	return number_end(at);
}

bool json_is_valid(const char *text)
{
	const char *end = value_end(blank(text));

	return end && !*blank(end);
}

unsigned long long json_number_of(const char *text, const char *key)
{
	char quoted[64];
	const char *at;

	snprintf(quoted, sizeof(quoted), "\"%s\":", key);
	at = strstr(text, quoted);
	cr_assert(at, "no %s in: %s", quoted, text);
	at = blank(at + strlen(quoted));
	cr_assert(isdigit((unsigned char)*at), "%s %.20s", quoted, at);
	return strtoull(at, NULL, 10);
}
