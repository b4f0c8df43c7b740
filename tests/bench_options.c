/* SPDX-License-Identifier: BSD-2-Clause */
/* The options of all benchmark programs. */
#include <errno.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

static const char usage[] =
	"usage: bench_NAME [OPTION...]   (tests/bench/run runs all of them)\n"
	"\n"
	"Measures once each, as root, and prints what it measures. Of the\n"
	"options each program heeds those that concern it.\n"
	"\n"
	"  --json FILE         appends the results, an object a line\n"
	"  --round N           a label of the results (0)\n"
	"  --ms N              measured for so long each time (2000)\n"
	"  --sizes N,...       bytes of a frame; or imix\n"
	"  --consumers K,...   how many\n"
	"  --rates N,...       frames a second; 0: as fast as it goes\n"
	"  --modes NAME,...    only these rows of the program's table\n"
	"  --ring-mib N        each kernel ring, of plain sockets too (64)\n"
	"  --leases N          of each capture (the library's default)\n"
	"  --guarantee N       of each capture (the broker's default)\n"
	"  --source KEYS       'busy_poll = 50,...' for the broker's source\n"
	"  --netringd PATH     (beside the build of this program)\n"
	"  --generator PATH    bench_generate (beside this program)\n";

enum option_number {
	OPT_JSON,
	OPT_ROUND,
	OPT_MS,
	OPT_SIZES,
	OPT_CONSUMERS,
	OPT_RATES,
	OPT_MODES,
	OPT_RING_MIB,
	OPT_LEASES,
	OPT_GUARANTEE,
	OPT_SOURCE,
	OPT_NETRINGD,
	OPT_GENERATOR,
	OPT_HELP
};

static const struct option longs[] = {
	{ "json", required_argument, NULL, OPT_JSON },
	{ "round", required_argument, NULL, OPT_ROUND },
	{ "ms", required_argument, NULL, OPT_MS },
	{ "sizes", required_argument, NULL, OPT_SIZES },
	{ "consumers", required_argument, NULL, OPT_CONSUMERS },
	{ "rates", required_argument, NULL, OPT_RATES },
	{ "modes", required_argument, NULL, OPT_MODES },
	{ "ring-mib", required_argument, NULL, OPT_RING_MIB },
	{ "leases", required_argument, NULL, OPT_LEASES },
	{ "guarantee", required_argument, NULL, OPT_GUARANTEE },
	{ "source", required_argument, NULL, OPT_SOURCE },
	{ "netringd", required_argument, NULL, OPT_NETRINGD },
	{ "generator", required_argument, NULL, OPT_GENERATOR },
	{ "help", no_argument, NULL, OPT_HELP },
	{ 0 },
};

unsigned bench_number(const char *text, unsigned min, unsigned max)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || value < min ||
	    value > max)
		bench_die("%s: not a number from %u to %u", text, min, max);
	return (unsigned)value;
}

void bench_list_parse(struct bench_list *list, const char *text)
{
	char *at = list->text, *item;

	list->count = 0;
	if (snprintf(list->text, sizeof(list->text), "%s", text) >=
	    (int)sizeof(list->text))
		bench_die("%s: too long", text);
	while ((item = strsep(&at, ","))) {
		if (list->count == BENCH_LIST_MAX)
			bench_die("%s: at most %d", text, BENCH_LIST_MAX);
		list->item[list->count++] = item;
	}
}

bool bench_list_has(const struct bench_list *list, const char *item)
{
	for (unsigned i = 0; i < list->count; i++)
		if (strcmp(list->item[i], item) == 0)
			return true;
	return list->count == 0;
}

static void set_path(char *path, const char *text)
{
	if (!realpath(text, path))
		bench_die("%s: %s", text, strerror(errno));
}

static void set_option(struct bench_options *options, int which)
{
	switch (which) {
	case OPT_JSON:
		record_open_file(optarg);
		return;
	case OPT_ROUND:
		options->round = bench_number(optarg, 0, 1000);
		return;
	case OPT_MS:
		options->window_ms = bench_number(optarg, 1, 600000);
		return;
	case OPT_SIZES:
		bench_list_parse(&options->sizes, optarg);
		return;
	case OPT_CONSUMERS:
		bench_list_parse(&options->consumers, optarg);
		return;
	case OPT_RATES:
		bench_list_parse(&options->rates, optarg);
		return;
	case OPT_MODES:
		bench_list_parse(&options->modes, optarg);
		return;
	case OPT_RING_MIB:
		options->ring_mib = bench_number(optarg, 1, 2048);
		return;
	case OPT_LEASES:
		options->leases = bench_number(optarg, 1, 256);
		return;
	case OPT_GUARANTEE:
		options->guarantee = bench_number(optarg, 1, 256);
		return;
	case OPT_SOURCE:
		bench_list_parse(&options->source, optarg);
		return;
	case OPT_NETRINGD:
		set_path(options->netringd, optarg);
		return;
	case OPT_GENERATOR:
		set_path(options->generator, optarg);
		return;
	default:
		fputs(usage, which == OPT_HELP ? stdout : stderr);
		exit(which == OPT_HELP ? 0 : 2);
	}
}

static void find_programs(struct bench_options *options)
{
	char self[PATH_MAX] = "", *dir;
	int a, b;

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		bench_die("/proc/self/exe: %s", strerror(errno));
	dir = dirname(self);
	a = snprintf(options->netringd, PATH_MAX, "%s/../broker/netringd", dir);
	b = snprintf(options->generator, PATH_MAX, "%s/bench_generate", dir);
	if (a >= PATH_MAX || b >= PATH_MAX)
		bench_die("%s: too long", dir);
}

void bench_options_parse(struct bench_options *options, int argc, char **argv)
{
	int which;

	options->window_ms = 2000;
	options->ring_mib = 64;
	find_programs(options);
	while ((which = getopt_long(argc, argv, "", longs, NULL)) != -1)
		set_option(options, which);
	if (optind < argc)
		set_option(options, -1);
}

void bench_each(const struct bench_options *options, bench_fn fn)
{
	for (unsigned s = 0; s < options->sizes.count; s++)
		for (unsigned r = 0; r < options->rates.count; r++)
			fn(options, options->sizes.item[s],
			   options->rates.item[r]);
}
