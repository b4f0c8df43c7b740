/* SPDX-License-Identifier: BSD-2-Clause */
/* netring stat: what was seen, given and lost; once, or again and again. */
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "snapshot.h"
#include "verbs.h"

struct values {
	bool json;
	bool captures;
	uint64_t interval_ms; /* 0: once */
	uint64_t for_ms;      /* 0: until ended by hand */
};

#define AT(field) offsetof(struct values, field)

static const struct option_spec options[] = {
	{ "json", 0, OPTION_FLAG, AT(json), 0, 0, NULL,
	  "JSON; with --watch one document a line" },
	{ "captures", 0, OPTION_FLAG, AT(captures), 0, 0, NULL,
	  "only a line a capture, and a short one" },
	{ "watch", 0, OPTION_INTERVAL, AT(interval_ms), 100, 86400000,
	  "SECONDS", "again and again, with rates; default 1" },
	{ "for", 0, OPTION_SECONDS, AT(for_ms), 100, 86400000, "SECONDS",
	  "watch for so long" },
	{ 0 },
};

/* An end by hand is a success; see watch_signals() for when it is taken. */
static void ended_by_hand(int number)
{
	(void)number;
	_exit(STATUS_OK);
}

/*
 * Between two documents SIGINT and SIGTERM end the program on the spot; while
 * one is printed they wait, so that its reader gets it whole.
 */
static void watch_signals(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(how, &set, NULL);
}

/* On a terminal the new table takes the place of the one before. */
static void table_replace(const struct values *values,
			  const struct snapshot *last)
{
	bool is_first = !last || !last->monotonic_ns;

	if (!values->interval_ms)
		return;
	if (!isatty(STDOUT_FILENO)) {
		if (!is_first)
			fputc('\n', stdout);
	} else if (!values->captures) {
		fputs("\033[H\033[2J", stdout);
	} else if (!is_first && last->capture_count) {
		/* a cursor cannot be moved up by 0 lines */
		printf("\033[%zuA\033[J", snapshot_capture_lines(last));
	}
}

static enum status print(const struct values *values,
			 const struct snapshot *now,
			 const struct snapshot *last)
{
	if (values->json) {
		snapshot_print_json(now, values->interval_ms != 0, stdout);
		return finish_stdout();
	}
	table_replace(values, last);
	if (values->captures)
		snapshot_print_captures(now, last, stdout);
	else
		snapshot_print(now, last, stdout);
	return finish_stdout();
}

static enum status take(struct snapshot *now, const char *socket,
			const char *channel)
{
	char text[NR_TEXT_MAX] = "";
	int err = snapshot_take(now, socket, channel, text, sizeof(text));

	if (!err)
		return STATUS_OK;
	snapshot_deinit(now);
	return complain_refused(err, text);
}

static enum status stat_once(const struct values *values, const char *socket,
			     const char *channel)
{
	struct snapshot now;
	enum status status = take(&now, socket, channel);

	if (status)
		return status;
	status = print(values, &now, NULL);
	snapshot_deinit(&now);
	return status;
}

static bool is_time_over(const struct values *values, uint64_t start_ns,
			 uint64_t now_ns)
{
	return values->for_ms && now_ns - start_ns >= values->for_ms * 1000000u;
}

/* The first table has the columns of the others, and rates of 0. */
static enum status stat_watch(const struct values *values, const char *socket,
			      const char *channel)
{
	struct timespec pause = {
		.tv_sec = (time_t)(values->interval_ms / 1000),
		.tv_nsec = (long)(values->interval_ms % 1000) * 1000000,
	};
	struct snapshot last = { 0 };
	uint64_t start_ns = 0;
	struct snapshot now;
	enum status status;

	signal(SIGINT, ended_by_hand);
	signal(SIGTERM, ended_by_hand);
	while ((status = take(&now, socket, channel)) == STATUS_OK) {
		watch_signals(SIG_BLOCK);
		status = print(values, &now, &last);
		watch_signals(SIG_UNBLOCK);
		snapshot_deinit(&last);
		last = now;
		start_ns = start_ns ? start_ns : now.monotonic_ns;
		if (status || ferror(stdout) ||
		    is_time_over(values, start_ns, now.monotonic_ns))
			break;
		nanosleep(&pause, NULL);
	}
	snapshot_deinit(&last);
	return status;
}

static enum status stat_run(const struct verb *verb, int argc, char **argv,
			    const char *socket)
{
	struct arguments arguments = { .socket = socket };
	struct values values = { 0 };

	switch (options_parse(verb, argc, argv, &values, &arguments)) {
	case OPTIONS_HELP:
		return finish_stdout();
	case OPTIONS_WRONG:
		return STATUS_USAGE;
	case OPTIONS_OK:
		break;
	}
	if (arguments.rest < argc)
		return options_wrong(verb, "%s: stat takes one channel at most",
				     argv[arguments.rest]);
	if (values.json && values.captures)
		return options_wrong(
			verb, "--captures is for tables, without --json");
	if (values.for_ms && !values.interval_ms)
		values.interval_ms = 1000;
	if (values.interval_ms)
		return stat_watch(&values, arguments.socket, arguments.channel);
	return stat_once(&values, arguments.socket, arguments.channel);
}

const struct verb stat_verb = {
	.name = "stat",
	.arguments = "[CHANNEL] [--json] [--captures] [--watch[=SECONDS]]",
	.summary =
		"Shows what sources, channels and captures have seen and lost.",
	.options = options,
	.notes =
		"A capture's packets: seen = delivered + filtered + others + lost;\n"
		"seen and filtered are \"-\" (null) where the policy hides them.\n"
		"held: blocks it reads now, of those it may hold at once; backlog and\n"
		"highest: packets from the first of the oldest of them on, read or not,\n"
		"now and at most; oldest: since when it has that; bells: times it was\n"
		"woken; stalled: for a second it has given nothing back while it holds\n"
		"full blocks, or has not come back to sleep after it was woken.\n"
		"Without CHANNEL: all that you may attach to.\n",
	.takes_channel = true,
	.run = stat_run,
};
