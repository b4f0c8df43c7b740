/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * netring run: attaches, and becomes a command that can do nothing but read
 * what was attached. The order is what makes it right: the network is left by
 * whom we are; then we become the user, so that the broker, and the file
 * system, decide about that one; then everything is opened; then the door is
 * shut. The command takes our place, so signals and exit status are its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "identity.h"
#include "jail.h"
#include "verbs.h"

struct values {
	const char *user;
	const char *group;
	struct option_list read;
	struct option_list env;
	uint64_t wait_ms;
	bool no_netns;
};

#define AT(field) offsetof(struct values, field)

static const struct option_spec options[] = {
	{ "user", 0, OPTION_STRING, AT(user), 0, 0, "USER",
	  "attach and run as that user (root); default: as you are" },
	{ "group", 0, OPTION_STRING, AT(group), 0, 0, "GROUP",
	  "with that group; default: the user's" },
	{ "read", 0, OPTION_LIST, AT(read), 0, 0, "PATH",
	  "it may read PATH and what is below; several times" },
	{ "env", 0, OPTION_LIST, AT(env), 0, 0, "NAME",
	  "it gets that variable, too; several times" },
	{ "wait", 0, OPTION_SECONDS, AT(wait_ms), 0, 86400000, "SECONDS",
	  "wait for broker and channel to appear" },
	{ "no-netns", 0, OPTION_FLAG, AT(no_netns), 0, 0, NULL,
	  "stay in this network, where no other can be made" },
	{ 0 },
};

struct run {
	struct values values;
	const char *socket;
	char *channels; /* taken apart on the way */
	char **command;
	struct identity identity;
	int jail;
	int program; /* a descriptor of it */
};

/* ------------------------------------------------------------ the command */

static enum status command_refused(const char *command, int err)
{
	complain("%s: %s", command, strerror(err));
	return err == ENOENT || err == ENOTDIR ? STATUS_NOT_FOUND :
						 STATUS_NOT_EXECUTABLE;
}

/* Returns a descriptor that can be executed, or -errno. */
static int program_open(const char *path)
{
	int fd = open(path, O_PATH | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	    faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0)
		return fd;
	close(fd);
	return -EACCES;
}

/* As execvp() searches: what cannot be executed is passed over. */
static int program_search(const char *name)
{
	const char *at = getenv("PATH");
	int worst = -ENOENT;

	if (strchr(name, '/'))
		return program_open(name);
	for (at = at ? at : "/usr/local/bin:/usr/bin:/bin";; at++) {
		int length = (int)strcspn(at, ":");
		char path[PATH_MAX];
		int fd;

		snprintf(path, sizeof(path), "%.*s/%s", length ? length : 1,
			 length ? at : ".", name);
		fd = program_open(path);
		if (fd >= 0)
			return fd;
		if (fd != -ENOENT && fd != -ENOTDIR)
			worst = fd;
		at += length;
		if (!*at)
			return worst;
	}
}

/* Its interpreter would have to open it, by a name that it does not have. */
static bool is_script(int fd)
{
	char path[32], start[2];
	bool is = false;
	int file;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return false;
	is = read(file, start, 2) == 2 && memcmp(start, "#!", 2) == 0;
	close(file);
	return is;
}

static enum status command_find(struct run *run)
{
	const char *name = run->command[0];

	run->program = program_search(name);
	if (run->program < 0)
		return command_refused(name, -run->program);
	if (!is_script(run->program))
		return STATUS_OK;
	complain("%s: is a script: run its interpreter, and let it --read the "
		 "script and its own files",
		 name);
	return STATUS_NOT_EXECUTABLE;
}

/* --------------------------------------------------------------- captures */

static enum status capture_hand_over(struct nr_capture *capture,
				     unsigned number)
{
	char name[sizeof(NR_CAPTURE_ENV) + 16] = NR_CAPTURE_ENV;
	char spec[NR_SPEC_MAX];
	int err = nr_capture_export(capture, spec, sizeof(spec));

	if (number > 1)
		snprintf(name, sizeof(name), NR_CAPTURE_ENV "_%u", number);
	if (!err && setenv(name, spec, 1))
		err = -errno;
	if (!err)
		return STATUS_OK;
	complain("%s", nr_strerror(err));
	return STATUS_NOT_RUN;
}

/* They are closed by nobody: the command has them. */
static enum status captures_attach(struct run *run)
{
	struct nr_open_options open = NR_OPEN_OPTIONS_INIT;
	char text[NR_TEXT_MAX] = "", *rest = run->channels, *channel;
	char next[sizeof(NR_CAPTURE_ENV) + 16];
	enum status status = STATUS_OK;
	unsigned count = 0;

	open.socket = run->socket;
	open.wait_ms = (int)run->values.wait_ms;
	open.error_text = text;
	open.error_text_size = sizeof(text);
	while (status == STATUS_OK && (channel = strsep(&rest, ","))) {
		struct nr_capture *capture;
		int err = nr_capture_open(channel, &open, &capture);

		if (err) {
			complain_refused(err, text);
			return STATUS_NOT_RUN;
		}
		status = capture_hand_over(capture, ++count);
	}
	/* Where the row ends; we may have been left captures ourselves. */
	snprintf(next, sizeof(next), NR_CAPTURE_ENV "_%u", count + 1);
	unsetenv(next);
	return status;
}

/* --------------------------------------------------------------- the jail */

static enum status jail_make(struct run *run)
{
	const struct option_list *read = &run->values.read;
	int err;

	run->jail = jail_new();
	if (run->jail < 0) {
		complain("Landlock, which is in Linux since 5.13: %s",
			 strerror(-run->jail));
		return STATUS_NOT_RUN;
	}
	for (unsigned i = 0; i < read->count; i++) {
		err = jail_allow_reading(run->jail, read->values[i]);
		if (err) {
			complain("--read %s: %s", read->values[i],
				 strerror(-err));
			return STATUS_NOT_RUN;
		}
	}
	err = jail_allow_command(run->jail, run->program);
	if (!err)
		return STATUS_OK;
	complain("%s: %s", run->command[0], strerror(-err));
	return STATUS_NOT_RUN;
}

/*
 * What was open here stays here. And the first three exist, so that nothing is
 * mistaken for them.
 */
static void descriptors_close(void)
{
	int fd;

	close_range(3, ~0u, 0);
	do {
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	} while (fd >= 0 && fd < 3 && fcntl(fd, F_SETFD, 0) == 0);
	if (fd >= 0)
		close(fd);
}

/* ------------------------------------------------------------- environment */

static bool has_name(const char *variable, const char *name)
{
	size_t length = strlen(name);

	return strncmp(variable, name, length) == 0 && variable[length] == '=';
}

/* What a program needs; captures are among it. */
static bool is_needed(const char *variable)
{
	static const char *const names[] = { "PATH", "HOME", "LANG", "TZ",
					     "TERM" };
	static const char *const starts[] = {
		"LC_",
		"NETRING_",
#ifdef __SANITIZE_ADDRESS__
		"ASAN_OPTIONS=",
		"UBSAN_OPTIONS=",
#endif
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (has_name(variable, names[i]))
			return true;
	for (size_t i = 0; i < sizeof(starts) / sizeof(*starts); i++)
		if (strncmp(variable, starts[i], strlen(starts[i])) == 0)
			return true;
	return false;
}

/* Other variables may hold what is no business of who parses packets. */
static void environment_reduce(const struct option_list *more)
{
	char **to = environ;

	for (char **from = environ; from && *from; from++) {
		bool stays = is_needed(*from);

		for (unsigned i = 0; i < more->count && !stays; i++)
			stays = has_name(*from, more->values[i]);
		if (stays)
			*to++ = *from;
	}
	if (to)
		*to = NULL;
}

/* Who may not leave it as it is does so behind the attach, see run_prepare().
 */
static enum status leave_network(int err)
{
	if (!err)
		return STATUS_OK;
	complain("no network namespace: %s; --no-netns does without one, and "
		 "the command still cannot make a socket",
		 strerror(-err));
	return STATUS_NOT_RUN;
}

static enum status run_prepare(struct run *run)
{
	bool must_leave = !run->values.no_netns;
	enum status status;

	descriptors_close();
	if (must_leave && network_leave() == 0)
		must_leave = false;
	if ((run->values.user || run->values.group) &&
	    (identity_find(&run->identity, run->values.user,
			   run->values.group) ||
	     identity_take(&run->identity)))
		return STATUS_NOT_RUN;
	status = command_find(run);
	if (!status)
		status = jail_make(run);
	if (!status)
		status = captures_attach(run);
	/* A user namespace changes how others see us: so behind the attach. */
	if (!status && must_leave)
		status = leave_network(network_leave_as_user());
	return status;
}

/* Once in the jail there is only write() and _exit() to complain with. */
__attribute__((noreturn)) static void run_become(struct run *run)
{
	int err;

	signal(SIGPIPE, SIG_DFL);
	signal(SIGXFSZ, SIG_DFL);
	fflush(NULL);
	environment_reduce(&run->values.env);
	err = jail_enter(run->jail);
	if (err) {
		complain("the jail: %s", strerror(-err));
		_exit(STATUS_NOT_RUN);
	}
	execveat(run->program, "", run->command, environ, AT_EMPTY_PATH);
	_exit((int)command_refused(run->command[0], errno));
}

static enum status usage_wrong(const struct verb *verb, const char *words)
{
	options_wrong(verb, "%s", words);
	return STATUS_NOT_RUN;
}

static enum status run_run(const struct verb *verb, int argc, char **argv,
			   const char *socket)
{
	struct arguments arguments = { .socket = socket };
	struct run run = { .jail = -1 };
	enum status status;

	switch (options_parse(verb, argc, argv, &run.values, &arguments)) {
	case OPTIONS_HELP:
		return finish_stdout();
	case OPTIONS_WRONG:
		return STATUS_NOT_RUN;
	case OPTIONS_OK:
		break;
	}
	if (!arguments.channel)
		return usage_wrong(verb, "run: which channel?");
	if (arguments.rest >= argc)
		return usage_wrong(verb, "run: which command?");
	run.socket = arguments.socket;
	run.command = argv + arguments.rest;
	run.channels = strdup(arguments.channel);
	if (!run.channels)
		return STATUS_NOT_RUN;
	status = run_prepare(&run);
	if (status == STATUS_OK)
		run_become(&run);
	free(run.channels);
	return status;
}

const struct verb run_verb = {
	.name = "run",
	.arguments =
		"CHANNEL[,CHANNEL...] [OPTIONS] [--] COMMAND [ARGUMENT...]",
	.summary = "Attaches, and runs a command that can do nothing but read "
		   "the channels.",
	.options = options,
	.notes =
		"COMMAND finds the captures by nr_capture_open_inherited(): the first in\n"
		"$NETRING_CAPTURE, the others in $NETRING_CAPTURE_2, _3 ... Whether it may\n"
		"have a channel is decided for the user that it runs as. It has\n"
		"  - no capability, and never gets any (no_new_privs);\n"
		"  - no file open but the first three and the captures;\n"
		"  - of the environment PATH, HOME, LANG, LC_*, TZ, TERM and NETRING_*;\n"
		"    with --env, more;\n"
		"  - a network namespace with nothing in it;\n"
		"  - of the file system (Landlock): itself, and to load libraries, /lib,\n"
		"    /usr/lib, /usr/local/lib (with 32, 64), /etc/ld.so.cache and\n"
		"    libnetring; with --read, more to read; nothing to write. It can\n"
		"    still see what names exist (stat);\n"
		"  - of the system calls (seccomp): memory, reading and writing what is\n"
		"    open, opening to read, waiting, clocks, its own signals, exit. Any\n"
		"    other fails with EPERM: socket, connect, execve, ptrace, kill, fork,\n"
		"    threads too. So it cannot follow a reload, nor attach again. Memory\n"
		"    can be had to write or to run code, not both at once;\n"
		"  - no bound to its memory and its CPU time but those that netring was\n"
		"    started with (ulimit -v, ulimit -t, a control group). There is no\n"
		"    core file.\n"
		"A hostile COMMAND can end later captures of the same user (it may keep\n"
		"memory mapped that these get): give each sensor a user of its own.\n"
		"COMMAND is a program, not a script.\n"
		"It is run in place of netring: signals and exit status are its own, but\n"
		"  125  netring failed: the broker refused, no such user, wrong usage ...\n"
		"  126  COMMAND cannot be executed\n"
		"  127  COMMAND was not found\n",
	.takes_channel = true,
	.run = run_run,
};
