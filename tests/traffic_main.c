/* SPDX-License-Identifier: BSD-2-Clause */
/* netring-traffic: sends traffic to look at, or writes it to a file. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "traffic.h"

static const char usage[] =
	"usage: netring-traffic --interface IFACE | --write-trace FILE\n"
	"\n"
	"  --interface IFACE   send there (needs CAP_NET_RAW)\n"
	"  --write-trace FILE  write a pcap file instead, - for stdout\n"
	"  --rate N            frames a second; 0: as fast as it goes (20000)\n"
	"  --count N           so many frames\n"
	"  --seconds N         for so long\n"
	"  --mix               TCP, UDP, DNS, ICMP over IPv4 and IPv6 (default)\n"
	"  --size N            UDP over IPv4, frames of N bytes, 1024 flows\n"
	"\n"
	"Ends at the count, the time, SIGINT or SIGTERM, and prints how many\n"
	"frames were sent.\n";

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
	(void)number;
	stopped = 1;
}

static void describe_sized(struct traffic_frame *frame, uint64_t seq,
			   const void *data)
{
	*frame = (struct traffic_frame){ .seq = seq, .flow = seq % 1024 };
	memcpy(&frame->size, data, sizeof(frame->size));
}

static uint64_t number(const char *option, const char *text, uint64_t max)
{
	char *end;
	uint64_t value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || value > max) {
		fprintf(stderr,
			"netring-traffic: --%s %s: not a number up to %" PRIu64
			"\n",
			option, text, max);
		exit(2);
	}
	return value;
}

struct options {
	const char *interface, *trace;
	uint32_t size;
	struct traffic_plan plan;
};

enum { INTERFACE, TRACE, RATE, COUNT, SECONDS, SIZE, MIX, HELP };

static const struct option longs[] = {
	{ "interface", required_argument, NULL, INTERFACE },
	{ "write-trace", required_argument, NULL, TRACE },
	{ "rate", required_argument, NULL, RATE },
	{ "count", required_argument, NULL, COUNT },
	{ "seconds", required_argument, NULL, SECONDS },
	{ "size", required_argument, NULL, SIZE },
	{ "mix", no_argument, NULL, MIX },
	{ "help", no_argument, NULL, HELP },
	{ 0 },
};

static void set_option(struct options *options, int which, const char *name)
{
	struct traffic_plan *plan = &options->plan;

	switch (which) {
	case INTERFACE:
		options->interface = optarg;
		break;
	case TRACE:
		options->trace = optarg;
		break;
	case RATE:
		plan->rate = number(name, optarg, 1000000000);
		break;
	case COUNT:
		plan->count = number(name, optarg, UINT64_MAX);
		break;
	case SECONDS:
		plan->time_ns = number(name, optarg, 1000000) * 1000000000;
		break;
	case SIZE:
		options->size =
			(uint32_t)number(name, optarg, TRAFFIC_FRAME_MAX);
		plan->describe = describe_sized;
		break;
	case MIX:
		plan->describe = traffic_mix;
		break;
	case HELP:
		fputs(usage, stdout);
		exit(0);
	default:
		fputs(usage, stderr);
		exit(2);
	}
}

static void parse(struct options *options, int argc, char **argv)
{
	int which, index = 0;

	*options = (struct options){
		.plan = { .describe = traffic_mix,
			  .data = &options->size,
			  .rate = 20000,
			  .stop = &stopped },
	};
	while ((which = getopt_long(argc, argv, "", longs, &index)) != -1)
		set_option(options, which, longs[index].name);
	if (optind < argc || !options->interface == !options->trace) {
		fputs(usage, stderr);
		exit(2);
	}
	if (options->trace && !options->plan.count)
		options->plan.count =
			options->plan.time_ns / 1000000000 * options->plan.rate;
	if (options->trace && !options->plan.count) {
		fprintf(stderr, "netring-traffic: --write-trace needs "
				"--count, or --seconds and --rate\n");
		exit(2);
	}
}

static int fail(const char *what, int err)
{
	fprintf(stderr, "netring-traffic: %s: %s\n", what, strerror(-err));
	return 1;
}

static int write_trace(const struct options *options)
{
	bool is_stdout = strcmp(options->trace, "-") == 0;
	FILE *file = is_stdout ? stdout : fopen(options->trace, "wbe");
	int err;

	if (!file)
		return fail(options->trace, -errno);
	err = traffic_write_trace(file, &options->plan);
	if (fclose(file) && !err)
		err = -errno;
	return err ? fail(options->trace, err) : 0;
}

static int send_traffic(const struct options *options)
{
	struct traffic *traffic;
	uint64_t sent;
	int err = traffic_open(&traffic, options->interface);

	if (err)
		return fail(options->interface, err);
	err = traffic_send(traffic, &options->plan, &sent);
	traffic_close(traffic);
	printf("%" PRIu64 " frames sent\n", sent);
	return err ? fail(options->interface, err) : 0;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct options options;

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	parse(&options, argc, argv);
	return options.trace ? write_trace(&options) : send_traffic(&options);
}
