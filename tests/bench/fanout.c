/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_fanout: what it costs to give one packet to k consumers. One after the
 * other under the same load: no consumer at all, plain sockets, libpcap, and
 * netring, each with k of them.
 *
 * The veth receives on the sender's CPU, inside the sender's call. So whatever
 * a tap costs in the kernel slows the sender down, and shows as ns a
 * frame, before it shows as loss.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define WARM_UP_MS 300
#define RING_BLOCK (1u << 20)
#define RETIRE_MS 8

struct mode {
	const char *name;
	bool has_readers, is_single;
	enum reader_kind kind;
	const char *backend; /* netring's */
};

static const struct mode modes[] = {
	{ "no tap", false, true, READER_RECV, NULL },
	{ "TPACKET_V3", true, false, READER_RING, NULL },
	{ "libpcap", true, false, READER_PCAP, NULL },
	{ "netring af_packet", true, false, READER_NETRING, "af_packet" },
	{ "AF_XDP", true, true, READER_XSK, NULL },
	{ "netring xdp", true, false, READER_NETRING, "xdp" },
};

struct run {
	const struct bench_options *options;
	const struct mode *mode;
	const char *size, *rate;
	unsigned k;
};

static pid_t start_broker(const struct run *run)
{
	struct broker_setup setup = { .backend = run->mode->backend,
				      .cpu = BENCH_RECEIVE_CPU };
	char source[128];

	if (!setup.backend)
		return 0;
	snprintf(source, sizeof(source),
		 "ring_block = %u\nretire_timeout = %u\n", RING_BLOCK,
		 RETIRE_MS);
	if (strcmp(setup.backend, "af_packet") == 0)
		setup.source = source;
	return broker_start(run->options, &setup);
}

static struct readers *start_readers(const struct run *run)
{
	const struct reader_options reader = {
		.kind = run->mode->kind,
		.ring_size = run->options->ring_mib << 20,
		.ring_block = RING_BLOCK,
		.retire_ms = RETIRE_MS,
		.leases = run->options->leases,
		.guarantee = run->options->guarantee,
		.cpu = BENCH_RECEIVE_CPU,
	};

	return run->mode->has_readers ? readers_start(&reader, run->k) : NULL;
}

static void name(const struct run *run)
{
	record_begin("fanout", run->options->round);
	record_text("mode", "%s", run->mode->name);
	record_text("size", "%s", run->size);
	record_text("rate", "%s", run->rate);
	record_number("k", run->mode->has_readers ? run->k : 0);
}

static void finish(struct generator *generator, struct readers *readers,
		   pid_t broker)
{
	struct broker_counts lane = { 0 };

	generator_stop(generator);
	if (readers) {
		readers_drain(readers);
		if (broker)
			broker_ask(&lane);
		readers_stop(readers);
	}
	if (broker)
		broker_stop(broker);
	account_record(generator, readers, broker ? &lane : NULL);
	readers_free(readers);
}

static void measure(const struct run *run)
{
	static struct look before, after;
	struct generator generator;
	struct readers *readers;
	struct noise noise;
	pid_t broker;

	noise_open(&noise);
	broker = start_broker(run);
	readers = start_readers(run);
	generator_start(&generator, run->options->generator, run->size,
			run->rate);
	usleep(WARM_UP_MS * 1000);
	look_at(&before, readers, broker);
	usleep(run->options->window_ms * 1000);
	look_at(&after, readers, broker);
	name(run);
	look_record(&before, &after, readers, broker);
	finish(&generator, readers, broker);
	noise_record(&noise);
	record_end();
}

/* One after the other, so that each has its neighbours' conditions. */
static void measure_all(const struct bench_options *options, const char *size,
			const char *rate)
{
	for (unsigned m = 0; m < sizeof(modes) / sizeof(*modes); m++) {
		const struct mode *mode = &modes[m];
		unsigned rows = mode->is_single ? 1 : options->consumers.count;

		for (unsigned i = 0; i < rows; i++) {
			const char *k = options->consumers.item[i];
			struct run run = { options, mode, size, rate, 1 };

			if (!mode->is_single)
				run.k = bench_number(k, 1, LOOK_READERS_MAX);
			if (bench_list_has(&options->modes, mode->name))
				measure(&run);
		}
	}
}

int main(int argc, char **argv)
{
	struct bench_options options = { 0 };

	bench_list_parse(&options.sizes, "60");
	bench_list_parse(&options.rates, "0");
	bench_list_parse(&options.consumers, "1,8,32");
	bench_options_parse(&options, argc, argv);
	stage_enter();
	for (unsigned s = 0; s < options.sizes.count; s++)
		for (unsigned r = 0; r < options.rates.count; r++)
			measure_all(&options, options.sizes.item[s],
				    options.rates.item[r]);
	return 0;
}
