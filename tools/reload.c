/* SPDX-License-Identifier: BSD-2-Clause */
/* netring reload: the broker reads its configuration again. */
#include "verbs.h"

static const struct option_spec options[] = { { 0 } };

static enum status reload_run(const struct verb *verb, int argc, char **argv,
			      const char *socket)
{
	struct arguments arguments = { .socket = socket };
	char text[NR_TEXT_MAX];
	int err;

	switch (options_parse(verb, argc, argv, NULL, &arguments)) {
	case OPTIONS_HELP:
		return finish_stdout();
	case OPTIONS_WRONG:
		return STATUS_USAGE;
	case OPTIONS_OK:
		break;
	}
	if (arguments.rest < argc)
		return options_wrong(verb, "%s: reload takes no argument",
				     argv[arguments.rest]);
	err = nr_broker_reload(arguments.socket, text, sizeof(text));
	return err ? complain_refused(err, text) : STATUS_OK;
}

const struct verb reload_verb = {
	.name = "reload",
	.arguments = "",
	.summary = "Has the broker read its configuration file again (root).",
	.options = options,
	.notes =
		"A file with an error changes nothing; what is wrong is said.\n"
		"Warnings are in the broker's log; netringd --check has them too.\n"
		"Captures that a change does not concern miss nothing.\n",
	.run = reload_run,
};
