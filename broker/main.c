// SPDX-License-Identifier: BSD-2-Clause
/* netringd: reads its arguments, then becomes the warden or the engine. */
#include <fcntl.h>
#include <getopt.h>
#include <netring/version.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"
#include "log.h"
#include "policy.h"
#include "warden.h"
#include "warden_start.h"
#include "warden_user.h"

static const char usage[] =
	"Usage: netringd -c FILE [--check]\n"
	"       netringd -i INTERFACE | -r FILE [--socket PATH]\n"
	"\n"
	"Captures packets once and gives them to many unprivileged processes.\n"
	"\n"
	"  -c, --config FILE     serve what FILE says\n"
	"  -i, --interface NAME  serve one interface; the channel has its name\n"
	"  -r, --replay FILE     serve a pcap or pcapng file to everyone, as fast\n"
	"                        as its readers allow; the channel has the name\n"
	"                        of the file without directory and ending\n"
	"      --socket PATH     listen there (default /run/netring/broker.sock)\n"
	"      --check           only read the configuration and say what is wrong\n"
	"  -v, --verbose         log more\n"
	"  -h, --help            this text\n"
	"      --version         the version\n"
	"\n"
	"Messages go to stderr. SIGTERM and SIGINT end it in good order.\n"
	"Exit status: 0 ended as told, 1 failed, 2 wrong usage or configuration.\n";

struct arguments {
	struct start_options start;
	bool check_only;
};

enum { OPTION_SOCKET = 256, OPTION_CHECK, OPTION_VERSION };

static const struct option options[] = {
	{ "config", required_argument, NULL, 'c' },
	{ "interface", required_argument, NULL, 'i' },
	{ "replay", required_argument, NULL, 'r' },
	{ "socket", required_argument, NULL, OPTION_SOCKET },
	{ "check", no_argument, NULL, OPTION_CHECK },
	{ "verbose", no_argument, NULL, 'v' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, OPTION_VERSION },
	{ NULL, 0, NULL, 0 },
};

static void print_and_exit(const char *text)
{
	exit(fputs(text, stdout) < 0 || fflush(stdout) ? 1 : 0);
}

static int take_option(struct arguments *arguments, int option)
{
	switch (option) {
	case 'c':
		arguments->start.config_file = optarg;
		return 0;
	case 'i':
		arguments->start.interface = optarg;
		return 0;
	case 'r':
		arguments->start.replay_file = optarg;
		return 0;
	case OPTION_SOCKET:
		arguments->start.socket = optarg;
		return 0;
	case OPTION_CHECK:
		arguments->check_only = true;
		return 0;
	case 'v':
		log_set_level(LOG_LEVEL_DEBUG);
		return 0;
	case 'h':
		print_and_exit(usage);
		return 0;
	case OPTION_VERSION:
		print_and_exit("netringd " NR_VERSION_STRING "\n");
		return 0;
	default:
		return 1;
	}
}

static int parse_arguments(struct arguments *arguments, int argc, char **argv)
{
	const struct start_options *start = &arguments->start;
	int option;

	while ((option = getopt_long(argc, argv, "c:i:r:vh", options, NULL)) !=
	       -1)
		if (take_option(arguments, option))
			return 2;
	if (optind < argc) {
		log_error("what is '%s'? See netringd --help", argv[optind]);
		return 2;
	}
	if (!!start->config_file + !!start->interface + !!start->replay_file !=
	    1) {
		log_error(
			"one of -c FILE, -i INTERFACE and -r FILE says what to "
			"serve; see netringd --help");
		return 2;
	}
	return 0;
}

/* What the engine would say of them in its log. */
static void warn_of_channels(const struct config *config)
{
	for (uint32_t i = 0; i < config->channel_count; i++)
		policy_warn(config, &config->channels[i], geteuid() == 0);
}

/*
 * What else who started us had open is none of our business, still less an
 * engine's. The first three are there, so that nothing of ours gets in place of
 * one and is written to as the log.
 */
static int own_descriptors(void)
{
	int fd;

	close_range(STDERR_FILENO + 1, ~0u, 0);
	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	return fd < 0 ? 1 : close(fd);
}

int main(int argc, char **argv)
{
	static struct arguments arguments;
	struct warden_options warden = { 0 };
	const char *name;

	if (argc > 0 && strcmp(argv[0], ENGINE_NAME) == 0)
		return engine_run();
	if (own_descriptors()) {
		log_error("cannot open /dev/null");
		return 1;
	}
	if (parse_arguments(&arguments, argc, argv))
		return 2;
	warden.config = start_config(&arguments.start, &warden.config_fd);
	if (!warden.config)
		return 2;
	name = arguments.start.config_file ? arguments.start.config_file :
					     "command line";
	if (start_check(warden.config, name))
		return 2;
	if (arguments.check_only) {
		warn_of_channels(warden.config);
		return 0;
	}
	if (user_choose(warden.config, &warden.uid, &warden.gid) ||
	    listener_open(&warden.listener, warden.config))
		return 1;
	warden.start = &arguments.start;
	return warden_run(&warden);
}
