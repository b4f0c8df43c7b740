/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * netring-generate: more packets a second than anything else can send here.
 * The kernel runs an XDP program over recycled frames (BPF_PROG_TEST_RUN with
 * live frames), and the program sends each into a veth. All of it is one
 * endless call, because each new call sleeps for some 24 ms; a signal ends it.
 *
 * The other end of the veth receives on this CPU, inside the same call. It
 * needs NAPI: ethtool -K FAR gro on.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "generate.skel.h"
#include "traffic.h"

#define NS_PER_S UINT64_C(1000000000)
#define SIZES 12
#define SIZE_MAX_LIVE 3000 /* a page, less what the kernel keeps in it */
#define BATCH 64	   /* what one poll of a veth takes; its ring: 256 */

static const char usage[] =
	"usage: netring-generate --interface IFACE [OPTION...]\n"
	"\n"
	"  --size N|imix  bytes of a frame, 60 to 3000; imix: 60, 590 and 1514\n"
	"                 as 7 : 4 : 1 (default 60)\n"
	"  --flows N      then the flows repeat; 0: never (default)\n"
	"  --rate N       frames a second, evenly, but in step with no timer:\n"
	"                 fifteen gaps longer by a sixteenth, one very short; 0:\n"
	"                 as fast as it goes. A frame then carries the ns at\n"
	"                 which it was sent (the lower 32 bits of\n"
	"                 CLOCK_MONOTONIC), behind the mark\n"
	"  --seconds N    ends after N seconds; default: at SIGTERM, SIGINT\n"
	"  --count N      ends after exactly N frames (without --rate)\n"
	"  --cpu N        runs on this CPU\n"
	"  --json         prints the result as JSON\n"
	"\n"
	"Sends from inside the network namespace it is run in.\n";

/* 7 : 4 : 1, mixed as evenly as it goes. */
static const uint32_t imix[SIZES] = { 60,   590, 60,  60, 590, 60,
				      1514, 60,	 590, 60, 590, 60 };

struct options {
	const char *interface;
	const char *size_name;
	uint32_t size; /* of the largest frame */
	bool is_imix, is_json;
	uint64_t flows, rate, seconds, count, cpu;
};

enum { INTERFACE, SIZE, JSON, HELP, FLOWS, RATE, SECONDS, COUNT, CPU };

static const struct option longs[] = {
	{ "interface", required_argument, NULL, INTERFACE },
	{ "size", required_argument, NULL, SIZE },
	{ "json", no_argument, NULL, JSON },
	{ "help", no_argument, NULL, HELP },
	{ "flows", required_argument, NULL, FLOWS },
	{ "rate", required_argument, NULL, RATE },
	{ "seconds", required_argument, NULL, SECONDS },
	{ "count", required_argument, NULL, COUNT },
	{ "cpu", required_argument, NULL, CPU },
	{ 0 },
};

__attribute__((noreturn, format(printf, 1, 2))) static void
die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("netring-generate: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

static uint64_t number(const char *option, uint64_t min, uint64_t max)
{
	char *end;
	uint64_t value;

	errno = 0;
	value = strtoull(optarg, &end, 10);
	if (errno || end == optarg || *end || *optarg == '-' || value < min ||
	    value > max)
		die("--%s %s: not a number from %" PRIu64 " to %" PRIu64,
		    option, optarg, min, max);
	return value;
}

static void set_option(struct options *options, int which)
{
	switch (which) {
	case INTERFACE:
		options->interface = optarg;
		return;
	case SIZE:
		options->size_name = optarg;
		options->is_imix = strcmp(optarg, "imix") == 0;
		options->size =
			options->is_imix ?
				1514 :
				(uint32_t)number("size", 60, SIZE_MAX_LIVE);
		return;
	case JSON:
		options->is_json = true;
		return;
	case HELP:
		fputs(usage, stdout);
		exit(0);
	case FLOWS:
		options->flows = number("flows", 0, UINT32_MAX);
		return;
	case RATE:
		options->rate = number("rate", 0, NS_PER_S);
		return;
	case SECONDS:
		options->seconds = number("seconds", 0, 1000000);
		return;
	case COUNT:
		/* The kernel counts to 2^32 in steps of a batch. */
		options->count = number("count", 0, UINT32_MAX - BATCH);
		return;
	case CPU:
		options->cpu = number("cpu", 0, CPU_SETSIZE - 1);
		return;
	default:
		fputs(usage, stderr);
		exit(2);
	}
}

static void parse(struct options *options, int argc, char **argv)
{
	int which;

	*options = (struct options){ .size = TRAFFIC_FRAME_MIN,
				     .size_name = "60",
				     .cpu = UINT64_MAX };
	while ((which = getopt_long(argc, argv, "", longs, NULL)) != -1)
		set_option(options, which);
	if (optind < argc || !options->interface ||
	    (options->count && options->rate)) {
		fputs(usage, stderr);
		exit(2);
	}
}

/* The IP header's sum without what the program changes. */
static uint32_t base_sum(const uint8_t *frame)
{
	const uint8_t *ip = frame + 14;
	uint32_t sum = 0;

	for (unsigned i = 0; i < 20; i += 2)
		if (i != 2 && i != 10 && i != 12 && i != 14)
			sum += (uint32_t)(ip[i] << 8 | ip[i + 1]);
	return sum;
}

static struct generate *load(const struct options *options,
			     const uint8_t *frame)
{
	struct generate *skeleton = generate__open();
	unsigned interface = if_nametoindex(options->interface);

	if (!interface)
		die("%s: no such interface in this network namespace",
		    options->interface);
	if (!skeleton)
		die("the BPF program does not open: %s", strerror(errno));
	skeleton->rodata->interface = interface;
	skeleton->rodata->flows = (uint32_t)options->flows;
	skeleton->rodata->rate = options->rate;
	skeleton->rodata->largest = options->size;
	skeleton->rodata->base_sum = base_sum(frame);
	if (options->is_imix)
		memcpy(skeleton->rodata->sizes, imix, sizeof(imix));
	if (generate__load(skeleton))
		die("the BPF program does not load (is this root?): %s",
		    strerror(errno));
	return skeleton;
}

static volatile sig_atomic_t is_ended;
static timer_t timer;

/*
 * A signal that comes just before the call would not end it, so after the first
 * one the timer repeats until the call has seen one.
 */
static void on_signal(int number)
{
	struct itimerspec again = { { 0, 10000000 }, { 0, 10000000 } };

	(void)number;
	if (!is_ended)
		timer_settime(timer, 0, &again, NULL);
	is_ended = 1;
}

static void prepare_end(uint64_t seconds)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct itimerspec once = { .it_value.tv_sec = (time_t)seconds };

	if (timer_create(CLOCK_MONOTONIC, NULL, &timer))
		die("timer_create: %s", strerror(errno));
	sigaction(SIGALRM, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	timer_settime(timer, 0, &once, NULL);
}

/* What the interface has passed to the other end, from /proc. */
static uint64_t interface_passed(const char *interface)
{
	FILE *file = fopen("/proc/thread-self/net/dev", "re");
	char line[512], name[IFNAMSIZ];
	uint64_t packets, found = 0;

	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line,
			   " %15[^:]: %*u %*u %*u %*u %*u %*u %*u %*u %*u "
			   "%" SCNu64,
			   name, &packets) == 2 &&
		    strcmp(name, interface) == 0)
			found = packets;
	fclose(file);
	return found;
}

/* Paced, a batch is a burst: as small as the rate allows. */
static uint32_t batch_size(uint64_t rate)
{
	uint64_t size = rate / 100000;

	if (rate == 0 || size > BATCH)
		return BATCH;
	return size ? (uint32_t)size : 1;
}

static void run(struct generate *skeleton, const struct options *options,
		const uint8_t *frame)
{
	struct bpf_test_run_opts opts = {
		.sz = sizeof(opts),
		.data_in = frame,
		.data_size_in = options->size,
		.repeat = (int)(options->count ? (uint32_t)options->count :
						 UINT32_MAX),
		.flags = BPF_F_TEST_XDP_LIVE_FRAMES,
		.batch_size = batch_size(options->rate),
	};
	int fd = bpf_program__fd(skeleton->progs.generate), err = 0;

	while (!is_ended && !err) {
		err = bpf_prog_test_run_opts(fd, &opts);
		if (options->count)
			break;
	}
	if (err && err != -EINTR)
		die("BPF_PROG_TEST_RUN: %s", strerror(-err));
}

static void print_result(const struct generate *skeleton,
			 const struct options *options, uint64_t passed)
{
	uint64_t sent = skeleton->bss->sent;
	/* From the first frame to the last that was stamped. */
	uint64_t counted = skeleton->bss->stamp_sent;
	double seconds =
		(double)(skeleton->bss->stamp_ns - skeleton->bss->first_ns) /
		1e9;
	double pps = seconds > 0 ? (double)counted / seconds : 0;

	if (options->is_json)
		printf("{\"interface\": \"%s\", \"size\": \"%s\", "
		       "\"sent\": %" PRIu64 ", \"passed\": %" PRIu64
		       ", \"seconds\": %.6f, \"pps\": %.0f}\n",
		       options->interface, options->size_name, sent, passed,
		       seconds, pps);
	else
		printf("%" PRIu64 " frames sent, %" PRIu64
		       " passed by %s, %.3f s, %.0f frames/s, %.1f ns each\n",
		       sent, passed, options->interface, seconds, pps,
		       pps > 0 ? 1e9 / pps : 0);
}

static void pin(uint64_t cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("CPU %" PRIu64 ": %s", cpu, strerror(errno));
}

int main(int argc, char **argv)
{
	static uint8_t frame[TRAFFIC_FRAME_MAX];
	struct traffic_frame shape = { 0 };
	struct options options;
	struct generate *skeleton;
	uint64_t passed;

	parse(&options, argc, argv);
	shape.size = options.size;
	traffic_build(&shape, frame);
	/* The program does not know the payload's sum: 0 is "not computed". */
	memset(frame + 14 + 20 + 6, 0, 2);
	skeleton = load(&options, frame);
	if (options.cpu != UINT64_MAX)
		pin(options.cpu);
	prepare_end(options.seconds);
	passed = interface_passed(options.interface);
	run(skeleton, &options, frame);
	passed = interface_passed(options.interface) - passed;
	if (skeleton->bss->sent && !passed)
		die("%s passed nothing on: its other end needs NAPI "
		    "(ethtool -K FAR gro on) and to be up",
		    options.interface);
	print_result(skeleton, &options, passed);
	generate__destroy(skeleton);
	return 0;
}
