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

#include "bench.h"

#define RING_BLOCK (1u << 20)
#define RETIRE_MS 8
#define MANY 16
#define LEASES_MAX 256 /* blocks of 256 KiB */

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

static void name(const struct run *run)
{
	record_begin("fanout", run->options->round);
	record_text("mode", "%s", run->mode->name);
	record_text("size", "%s", run->size);
	record_text("rate", "%s", run->rate);
	record_number("k", run->mode->has_readers ? run->k : 0);
}

/*
 * The set-aside of a UMEM is for some 24 captures of one user, as it is unless
 * configured: where there are more of them, they are promised less.
 */
static unsigned guarantee(const struct run *run)
{
	if (run->options->guarantee == 0 && run->k > MANY)
		return 1;
	return run->options->guarantee;
}

/*
 * Of what is copied: as many bytes as a plain socket's ring holds. Of a UMEM,
 * the library's default: its frames are the ring's.
 */
static unsigned leases(const struct run *run)
{
	bool is_copied =
		run->mode->backend && strcmp(run->mode->backend, "xdp") != 0;
	unsigned blocks = run->options->ring_mib * 4;

	if (run->options->leases || !is_copied)
		return run->options->leases;
	return blocks < LEASES_MAX ? blocks : LEASES_MAX;
}

static void measure(const struct run *run)
{
	static struct trial trial;
	char channel[64];
	const struct mode *mode = run->mode;
	const struct reader_options reader = {
		.kind = mode->kind,
		.ring_size = run->options->ring_mib << 20,
		.ring_block = RING_BLOCK,
		.retire_ms = RETIRE_MS,
		.leases = leases(run),
		.guarantee = guarantee(run),
		.cpu = BENCH_RECEIVE_CPU,
	};
	/* Its ring is as those above, unless configured. */
	const struct broker_setup setup = { .backend = mode->backend,
					    .channel = channel,
					    .cpu = BENCH_RECEIVE_CPU };

	snprintf(channel, sizeof(channel), "arena = %uM\n",
		 3 * run->options->ring_mib);
	trial_start(&trial, run->options, mode->backend ? &setup : NULL,
		    mode->has_readers ? &reader : NULL, run->k);
	trial_send(&trial, run->size, run->rate);
	trial_watch(&trial);
	name(run);
	trial_record(&trial);
	trial_stop(&trial);
	trial_end(&trial);
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
				run.k = bench_number(k, 1, TRIAL_READERS_MAX);
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
	bench_each(&options, measure_all);
	return 0;
}
