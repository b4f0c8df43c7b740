/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * netring: what a broker has, how it is doing, and its packets. One command
 * with verbs; each verb is a client like any other, without privilege.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "verbs.h"

static const struct verb *const verbs[] = { &list_verb, &stat_verb, &dump_verb,
					    &run_verb, &reload_verb };

struct values {
	bool version;
};

static const struct option_spec options[] = {
	{ "version", 'V', OPTION_FLAG, offsetof(struct values, version), 0, 0,
	  NULL, "print the version" },
	{ 0 },
};

static enum status command_run(const struct verb *verb, int argc, char **argv,
			       const char *socket);

static const struct verb command = {
	.name = "",
	.arguments = "[--socket PATH] VERB ...",
	.summary = "Looks at the channels of a netring broker.",
	.options = options,
	.notes =
		"Verbs (netring VERB --help says more):\n"
		"  list   the channels that you may attach to\n"
		"  stat   what sources, channels and captures have seen and lost\n"
		"  dump   the packets of a channel, as text or as a pcap file\n"
		"  run    a command in a jail, with channels attached\n"
		"  reload the broker reads its configuration again (root)\n"
		"\n"
		"Exit status (of run: the command's):\n"
		"  0  success\n"
		"  1  failed: could not write, the broker is gone, ...\n"
		"  2  wrong usage, or a filter that does not compile\n"
		"  3  there is no broker on that socket\n"
		"  4  the broker has no such channel, or no such lane\n"
		"  5  this user may not attach to the channel\n"
		"  6  full: the channel's guarantees or this user's quota\n",
	.run = command_run,
};

static enum status verb_run(int argc, char **argv, const char *socket)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strcmp(argv[0], verbs[i]->name) == 0)
			return verbs[i]->run(verbs[i], argc, argv, socket);
	return options_wrong(
		&command,
		"%s: no such verb; there are list, stat, dump, run and reload",
		argv[0]);
}

static enum status command_run(const struct verb *verb, int argc, char **argv,
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
	if (values.version) {
		printf("netring %s\n", nr_version());
		return finish_stdout();
	}
	if (arguments.rest >= argc)
		return options_wrong(verb, "a verb is missing");
	return verb_run(argc - arguments.rest, argv + arguments.rest,
			arguments.socket);
}

int main(int argc, char **argv)
{
	if (argc < 1)
		return STATUS_USAGE;
	/* Told by write() instead: each verb knows what it means there. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	return (int)command.run(&command, argc, argv, NULL);
}
