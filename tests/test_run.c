/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * netring run: a command with its captures in a jail. What it should not be
 * able to do, a probe tries from inside; tried by the same user in freedom, it
 * works.
 */
#include "command.h"
#include "support.h"
#include "trace.h"

#include <criterion/criterion.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define UID 12345
#define OTHER_UID 23456
#define PACKETS 1000u
#define FOREVER "rate = 5000\nloop = yes\n"
/* What a sanitizer's run time does that the jail forbids. */
#define ASAN "ASAN_OPTIONS=detect_leaks=0:disable_coredump=0 "
#define RUN ASAN "exec netring run --env LD_LIBRARY_PATH "

TestSuite(run, .timeout = 120);

static struct broker broker;
static struct command c, victim;
static char file[128], dir[64];

/* "trace" is for all, "closed" for OTHER_UID, "grouped" for its group. */
static void serve(const char *keys)
{
	static struct trace trace;

	need_root();
	trace_init(&trace, PACKETS, 1);
	cr_assert_eq(trace_write(&trace, test_path("trace.pcap")), 0);
	broker_start(&broker, NULL,
		     "[source trace]\nbackend = replay\nfile = %s\n%s"
		     "[channel trace]\nsource = trace\nallow = everyone\n"
		     "[channel udp]\nsource = trace\nallow = everyone\n"
		     "filter = udp\n"
		     "[channel closed]\nsource = trace\nallow = user:23456\n"
		     "[channel grouped]\nsource = trace\nallow = group:23456\n",
		     test_path("trace.pcap"), keys);
	command_lend();
}

/* What the user who attacks could touch, but for the jail. */
static void lay_out(void)
{
	FILE *stream;

	snprintf(dir, sizeof(dir), "%s", test_path("place"));
	snprintf(file, sizeof(file), "%s/file", dir);
	cr_assert_eq(mkdir(dir, 0700), 0);
	stream = fopen(file, "we");
	cr_assert(stream && fputs("words\n", stream) > 0);
	fclose(stream);
	cr_assert_eq(chown(file, UID, UID), 0);
	cr_assert_eq(chown(dir, UID, UID), 0);
	command_start(&victim, UID, "exec sleep 1000");
}

static bool has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fprintf(stderr, "there is no \"%s\" in:\n%s\n", part, text);
	return strstr(text, part) != NULL;
}

/* Whether it says so on a line of its own. */
static bool says(const struct command *command, const char *name,
		 const char *outcome)
{
	char line[128];

	snprintf(line, sizeof(line), "\n%s: %s\n", name, outcome);
	return has(command->out, line);
}

/* The number behind @key in /proc/PID/status, in any base. */
static unsigned long long status_of(pid_t pid, const char *key, int base)
{
	char path[64], line[256];
	unsigned long long value = 0;
	FILE *stream;
	bool is_there = false;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	stream = fopen(path, "re");
	cr_assert(stream, "%s", path);
	while (fgets(line, sizeof(line), stream))
		if (strncmp(line, key, strlen(key)) == 0) {
			value = strtoull(line + strlen(key) + 1, NULL, base);
			is_there = true;
		}
	fclose(stream);
	cr_assert(is_there, "no %s of %d", key, pid);
	return value;
}

static ino_t network_of(const char *process)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%s/ns/net", process);
	cr_assert_eq(stat(path, &st), 0, "%s", path);
	return st.st_ino;
}

/* ------------------------------------------------------------- the attempts */

/* What comes of it in the jail; and free, NULL: not tried there. */
static const struct {
	const char *name, *jailed, *free;
} outcomes[] = {
	{ "open", "EACCES", "ok" },
	{ "open-relative", "EACCES", "ok" },
#ifndef __SANITIZE_ADDRESS__
	{ "open-proc", "EACCES", "ok" },
#endif
	{ "open-list", "EACCES", "ok" },
	{ "open-write", "EPERM", "ok" },
	{ "open-truncate", "EPERM", "ok" },
	{ "open-create", "EPERM", "ok" },
	{ "unlink", "EPERM", "ok" },
	{ "socket", "EPERM", "ok" },
	{ "socket-inet", "EPERM", "ok" },
	{ "socketpair", "EPERM", "ok" },
	{ "connect", "EPERM", NULL },
	{ "attach", "EPERM", "ok" },
	{ "send", "EPERM", NULL },
	{ "fork", "EPERM", "ok" },
	{ "kill", "EPERM", "ok" },
	{ "kill-all", "EPERM", "ok" },
	{ "tgkill", "EPERM", "ok" },
	{ "peek", "EPERM", "EFAULT" },
	{ "ptrace", "EPERM", "ok" },
	{ "trace-me", "EPERM", NULL },
	{ "owner", "EPERM", "ok" },
	{ "type", "EPERM", NULL },
	{ "memfd", "EPERM", "ok" },
	{ "bpf", "EPERM", NULL },
	{ "io-uring", "EPERM", NULL },
	{ "unshare", "EPERM", "ok" },
	{ "mount", "EPERM", NULL },
	{ "setuid", "EPERM", NULL },
	{ "exec", "EPERM", NULL },
	{ "exec-again", "EPERM", NULL },
	{ "exec-at", "ENOSYS", NULL },
	{ "exec-descriptor", "ENOSYS", NULL },
	{ "write-code", "EPERM", "ok" },
	{ "change-code", "EPERM", "ok" },
	{ "filter", "EPERM", NULL },
	{ "filter-prctl", "EPERM", NULL },
};

static void check_jailed(void)
{
	cr_assert_eq(c.status, 7, "%d: %s", c.status, c.err);
	for (size_t i = 0; i < sizeof(outcomes) / sizeof(*outcomes); i++)
		cr_assert(says(&c, outcomes[i].name, outcomes[i].jailed));
	cr_assert(has(c.out, "channel: trace\n"));
	cr_assert(says(&c, "packets", "1000"));
	cr_assert(says(&c, "ended", "ENODATA"));
}

Test(run, leaves_nothing_to_do_but_to_read)
{
	serve("");
	lay_out();
	command_start(&c, 0,
		      RUN "trace --user 12345 --group 12345 "
			  "-- %s/bin/netring-probe %s %s %d",
		      test_dir(), file, dir, victim.pid);
	command_wait(&c);
	check_jailed();
	cr_assert(says(&c, "open-readable", "EACCES"));
	broker_stop(&broker);
}

Test(run, by_any_user_leaves_nothing_to_do_but_to_read)
{
	serve("");
	lay_out();
	command_start(&c, UID, RUN "trace --read %s netring-probe %s %s %d",
		      dir, file, dir, victim.pid);
	command_wait(&c);
	check_jailed();
	cr_assert(says(&c, "open-readable", "ok"));
	broker_stop(&broker);
}

Test(run, by_root_leaves_nothing_to_do_but_to_read)
{
	serve("");
	lay_out();
	command_start(&c, 0, RUN "trace -- netring-probe %s %s %d", file, dir,
		      victim.pid);
	command_wait(&c);
	check_jailed();
	broker_stop(&broker);
}

Test(run, keeps_from_what_the_same_user_can_do_elsewhere)
{
	serve("wait = 1\n");
	lay_out();
	command_start(&c, UID, "exec netring-probe %s %s %d", file, dir,
		      victim.pid);
	command_wait(&c);
	for (size_t i = 0; i < sizeof(outcomes) / sizeof(*outcomes); i++)
		if (outcomes[i].free)
			cr_assert(says(&c, outcomes[i].name, outcomes[i].free));
	broker_stop(&broker);
}

/* The connection is there to be written to; the broker ends who does. */
Test(run, gives_no_second_capture_on_the_connection_of_the_first)
{
	static struct broker_stat stat;

	serve(FOREVER);
	command_start(&c, UID, RUN "trace netring-probe x x 0 attach");
	cr_assert_eq(command_wait(&c), 7, "%s", c.err);
	cr_assert(has(c.out, "ended: EP"), "%s", c.out);
	broker_read_stat(&stat, "trace");
	cr_assert_eq(stat.captures, 0);
	broker_stop(&broker);
}

/* -------------------------------------------------------------- what it has */

/* Whether the command has taken its place. */
static bool is_run(pid_t pid)
{
	char path[64], exe[256] = "";

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	return readlink(path, exe, sizeof(exe) - 1) > 0 &&
	       strstr(exe, "/netring-sensor");
}

static void check_process(pid_t pid, uid_t uid)
{
	static const char *const sets[] = { "CapInh:", "CapPrm:", "CapEff:",
					    "CapAmb:" };
	static struct command look;
	char process[16];

	snprintf(process, sizeof(process), "%d", pid);
	for (size_t i = 0; i < sizeof(sets) / sizeof(*sets); i++)
		cr_assert_eq(status_of(pid, sets[i], 16), 0, "%s", sets[i]);
	cr_assert_eq(status_of(pid, "Uid:", 10), uid);
	cr_assert_eq(status_of(pid, "NoNewPrivs:", 10), 1);
	cr_assert_eq(status_of(pid, "Seccomp:", 10), 2);
	cr_assert_eq(status_of(pid, "SigIgn:", 16), 0);
	cr_assert_neq(network_of(process), network_of("self"));
	cr_assert_eq(
		command_run(&look,
			    "grep -c '^Max \\(processes\\|core file size\\)"
			    " *0 *0 ' /proc/%d/limits",
			    pid),
		0);
	cr_assert_str_eq(look.out, "2\n");
}

Test(run, as_a_user_has_no_right_and_no_network)
{
	serve(FOREVER);
	command_start(&c, 0,
		      RUN "trace --user 12345 --group 54321 "
			  "-- %s/bin/netring-sensor",
		      test_dir());
	eventually(is_run(c.pid));
	check_process(c.pid, UID);
	cr_assert_eq(status_of(c.pid, "Gid:", 10), 54321);
	cr_assert_eq(status_of(c.pid, "Groups:", 10), 54321);
	kill(c.pid, SIGTERM);
	cr_assert_eq(command_wait(&c), 256 + SIGTERM, "%s", c.err);
	broker_stop(&broker);
}

Test(run, by_a_user_has_no_right_and_no_network)
{
	serve(FOREVER);
	command_start(&c, UID, RUN "trace netring-sensor");
	eventually(is_run(c.pid));
	check_process(c.pid, UID);
	kill(c.pid, SIGKILL);
	cr_assert_eq(command_wait(&c), 256 + SIGKILL);
	broker_stop(&broker);
}

Test(run, leaves_of_the_environment_what_a_program_needs)
{
	static const char *const kept[] = { "PATH=",	"HOME=/nonesuch\n",
					    "TZ=UTC\n", "LC_TIME=C\n",
					    "LANG=C\n", "NETRING_CAPTURE=" };

	serve("");
	command_start(&c, UID,
		      "export SECRET_TOKEN=abc LANGUAGE=de LD_BIND_NOW=1 "
		      "MORE=1 MORE_OF_IT=2 HOME=/nonesuch TZ=UTC LC_TIME=C "
		      "LANG=C; " RUN "trace --env MORE --env nonesuch -- env");
	cr_assert_eq(command_wait(&c), 0, "%s", c.err);
	for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++)
		cr_assert(has(c.out, kept[i]));
	cr_assert(has(c.out, "MORE=1\n"));
	cr_assert_not(strstr(c.out, "SECRET") || strstr(c.out, "LANGUAGE") ||
			      strstr(c.out, "BIND") ||
			      strstr(c.out, "MORE_OF_IT"),
		      "%s", c.out);
	broker_stop(&broker);
}

/* Five each: connection, wake-up, return page, arena, ring. */
Test(run, leaves_no_descriptor_but_the_captures)
{
	serve(FOREVER);
	command_start(&c, 0,
		      "exec 3</etc/passwd 7>&1; " RUN
		      "trace -- netring-sensor");
	eventually(is_run(c.pid));
	eventually(process_fds(c.pid) == 3 + 5);
	kill(c.pid, SIGTERM);
	command_wait(&c);
	command_start(&c, 0, RUN "trace,udp -- netring-sensor <&- >&-");
	eventually(is_run(c.pid));
	eventually(process_fds(c.pid) == 3 + 10);
	kill(c.pid, SIGTERM);
	command_wait(&c);
	broker_stop(&broker);
}

/* ------------------------------------------------------------------- rights */

Test(run, attaches_with_the_rights_of_the_user_it_runs_as)
{
	serve("");
	command_start(&c, 0, RUN "closed --user 12345 --group 12345 -- ls");
	cr_assert_eq(command_wait(&c), 125, "%s", c.err);
	cr_assert(has(c.err, "user 12345"));
	command_start(&c, 0, RUN "grouped --user 12345 --group 12345 -- ls");
	cr_assert_eq(command_wait(&c), 125, "%s", c.err);
	command_start(&c, 0,
		      RUN "closed --user 23456 --group 12345 "
			  "-- %s/bin/netring-sensor",
		      test_dir());
	cr_assert_eq(command_wait(&c), 0, "%s", c.err);
	broker_stop(&broker);
}

Test(run, attaches_with_the_group_it_is_given)
{
	serve("");
	command_start(&c, 0,
		      RUN "grouped --user 12345 --group 23456 "
			  "-- %s/bin/netring-sensor",
		      test_dir());
	cr_assert_eq(command_wait(&c), 0, "%s", c.err);
	broker_stop(&broker);
}

Test(run, as_somebody_else_is_for_root)
{
	serve("");
	command_start(&c, UID, RUN "trace --user root ls");
	cr_assert_eq(command_wait(&c), 125, "%s", c.err);
	cr_assert(has(c.err, "cannot become user 0"));
	broker_stop(&broker);
}

/* A user namespace where no other can be made, and no right to do without. */
#define SMALL_WORLD                                                            \
	"unshare -U -r sh -c 'echo 0 >/proc/sys/user/max_user_namespaces; "    \
	"exec setpriv --bounding-set=-sys_admin --inh-caps=-all "              \
	"netring run --env LD_LIBRARY_PATH trace %s -- netring-sensor'"

Test(run, says_what_to_do_where_there_is_no_other_network)
{
	serve("");
	command_start(&c, UID, ASAN "exec " SMALL_WORLD, "");
	cr_assert_eq(command_wait(&c), 125, "%s", c.err);
	cr_assert(has(c.err, "--no-netns"));
	command_start(&c, UID, ASAN "exec " SMALL_WORLD, "--no-netns");
	cr_assert_eq(command_wait(&c), 0, "%s", c.err);
	broker_stop(&broker);
}

/* ------------------------------------------------------------ how it is run */

static unsigned long long sum_of(const char *text, const char *channel)
{
	unsigned long long sum = 0;

	for (const char *at = text; (at = strstr(at, channel));
	     at += strlen(channel))
		sum += strtoull(at + strlen(channel), NULL, 10);
	return sum;
}

Test(run, gives_several_channels_to_one_command)
{
	static struct command dump;
	unsigned long long udp;

	serve("wait = 3\n");
	command_start(&dump, UID, "exec netring dump udp");
	command_start(&c, UID, RUN "trace,udp netring-sensor");
	cr_assert_eq(command_wait(&dump), 0, "%s", dump.err);
	cr_assert_eq(command_wait(&c), 0, "%s", c.err);
	udp = lines_of(dump.out, NULL);
	cr_assert(udp > 0 && udp < PACKETS);
	cr_assert_eq(sum_of(c.out, "trace: "), PACKETS, "%s", c.out);
	cr_assert_eq(sum_of(c.out, "udp: "), udp, "%s", c.out);
	cr_assert_eq(sum_of(c.out, "lost "), 0, "%s", c.out);
	broker_stop(&broker);
}

Test(run, is_refused_in_words_and_with_the_status_of_env)
{
	static const struct {
		const char *arguments, *words;
		int status;
	} wrong[] = {
		{ "", "which channel?", 125 },
		{ "trace", "which command?", 125 },
		{ "trace --frobnicate ls", "--help", 125 },
		{ "trance -- ls", "'trance'", 125 },
		{ "trace, -- ls", "argument", 125 },
		{ "trace --user nonesuch ls", "no such user", 125 },
		{ "trace --user 4711 ls", "--group", 125 },
		{ "trace --group nonesuch ls", "no such group", 125 },
		{ "trace --read /nonesuch ls", "/nonesuch: No such file", 125 },
		{ "--socket /nonesuch trace ls", "no broker", 125 },
		{ "trace /etc/passwd", "Permission denied", 126 },
		{ "trace /usr", "Permission denied", 126 },
		{ "trace ./script", "is a script", 126 },
		{ "trace ./rubbish", "Exec format error", 126 },
		{ "trace nonesuch", "nonesuch: No such file", 127 },
		{ "trace ./nonesuch", "nonesuch: No such file", 127 },
	};

	serve("");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		cr_assert_eq(command_run(&c,
					 "cd %s && echo '#!/bin/sh' >script && "
					 "echo rubbish >rubbish && "
					 "chmod +x script rubbish && " RUN "%s",
					 test_dir(), wrong[i].arguments),
			     wrong[i].status, "netring run %s: %d, %s",
			     wrong[i].arguments, c.status, c.err);
		cr_assert(has(c.err, wrong[i].words));
		cr_assert_str_eq(c.out, "");
	}
	broker_stop(&broker);
}

Test(run, lets_a_command_read_what_is_named)
{
	serve("");
	cr_assert_eq(command_run(&c, RUN "trace --read /etc/passwd --read "
					 "/etc/apt -- cat /etc/passwd"),
		     0, "%s", c.err);
	cr_assert(has(c.out, "root:"));
	cr_assert_eq(command_run(&c, RUN "trace --read /etc/passwd "
					 "-- cat /etc/group"),
		     1);
	cr_assert(has(c.err, "Permission denied"));
	broker_stop(&broker);
}

Test(run, leaves_a_command_the_right_to_abort_itself)
{
	serve("");
	command_start(&c, UID, RUN "trace netring-probe x x 0 abort");
	cr_assert_eq(command_wait(&c), 256 + SIGABRT, "%s", c.err);
	broker_stop(&broker);
}
