/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_groups: what it costs the lane to spread packets over the members of a
 * group instead of publishing them to all, and what a second channel adds: one
 * with a filter that passes none, half or all, and one that cuts them short.
 */
#include "bench.h"

static const char channels[] =
	"[channel none]\nsource = lan\nallow = everyone\n"
	"filter = udp port 1\n"
	"[channel half]\nsource = lan\nallow = everyone\n"
	"filter = udp[1] & 1 = 0\n"
	"[channel all]\nsource = lan\nallow = everyone\n"
	"filter = udp\n"
	"[channel cut]\nsource = lan\nallow = everyone\n"
	"snaplen = 60\n";

struct mode {
	const char *name;
	unsigned k;	    /* captures of the channel "lan" */
	const char *group;  /* that they share */
	const char *beside; /* a channel with one more capture */
};

static const struct mode modes[] = {
	{ "one capture", 1, NULL, NULL },
	{ "eight captures", 8, NULL, NULL },
	{ "group of eight", 8, "bench", NULL },
	{ "one and a filter that passes none", 1, NULL, "none" },
	{ "one and a filter that passes half", 1, NULL, "half" },
	{ "one and a filter that passes all", 1, NULL, "all" },
	{ "one and a snap length of 60", 1, NULL, "cut" },
};

struct run {
	const struct bench_options *options;
	const struct mode *mode;
	const char *backend, *size, *rate;
};

static uint64_t stop_beside(struct readers *beside)
{
	uint64_t lost;

	readers_stop(beside);
	lost = beside->reader[0].lost;
	readers_free(beside);
	return lost;
}

static void measure(const struct run *run)
{
	static struct trial trial;
	struct reader_options reader = { .kind = READER_NETRING,
					 .group = run->mode->group,
					 .cpu = BENCH_RECEIVE_CPU };
	const struct broker_setup setup = { .backend = run->backend,
					    .channel = channels,
					    .cpu = BENCH_RECEIVE_CPU };
	struct readers *beside = NULL;

	trial_start(&trial, run->options, &setup, &reader, run->mode->k);
	reader.channel = run->mode->beside;
	if (reader.channel)
		beside = readers_start(&reader, 1);
	trial_send(&trial, run->size, run->rate);
	trial_watch(&trial);
	record_begin("groups", run->options->round);
	record_text("backend", "%s", run->backend);
	record_text("mode", "%s", run->mode->name);
	record_text("size", "%s", run->size);
	record_text("rate", "%s", run->rate);
	trial_record(&trial);
	if (beside)
		record_number("beside_lost", (double)stop_beside(beside));
	trial_stop(&trial);
	trial_end(&trial);
}

static void measure_all(const struct bench_options *options, const char *size,
			const char *rate)
{
	static const char *const backends[] = { "af_packet", "xdp" };

	for (int b = 0; b < 2; b++)
		for (size_t m = 0; m < sizeof(modes) / sizeof(*modes); m++) {
			const struct run run = { options, &modes[m],
						 backends[b], size, rate };

			if (bench_list_has(&options->modes, modes[m].name))
				measure(&run);
		}
}

int main(int argc, char **argv)
{
	struct bench_options options = { 0 };

	bench_list_parse(&options.sizes, "60,1500");
	bench_list_parse(&options.rates, "0");
	bench_options_parse(&options, argc, argv);
	stage_enter();
	bench_each(&options, measure_all);
	return 0;
}
