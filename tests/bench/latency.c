/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_latency: from the send to the consumer's first look at a packet, at
 * rates that leave the CPUs time to sleep; and again with the consumers' CPU
 * kept from sleeping by a process that runs when nobody else wants to.
 *
 * What a second process between the kernel and a consumer costs at least is one
 * wake-up more, of one process by another: measured here too, in the way of a
 * plain reader that wakes another for each packet.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"

#define WARM_UP_MS 200
#define RING_BLOCK (256u << 10) /* profile = latency */
#define RETIRE_MS 1
#define SAMPLES_MAX 2000000u

struct mode {
	const char *name;
	enum reader_kind kind;
	const char *backend; /* netring's */
	bool is_relay;
	bool is_normal; /* the lane's priority */
};

static const struct mode modes[] = {
	{ "recv", READER_RECV, NULL, false, false },
	{ "recv and a wake-up", READER_RECV, NULL, true, false },
	{ "TPACKET_V3", READER_RING, NULL, false, false },
	{ "netring af_packet", READER_NETRING, "af_packet", false, false },
	{ "AF_XDP", READER_XSK, NULL, false, false },
	{ "netring xdp", READER_NETRING, "xdp", false, false },
	{ "netring xdp SCHED_OTHER", READER_NETRING, "xdp", false, true },
};

struct run {
	const struct bench_options *options;
	const struct mode *mode;
	const char *size, *rate;
	bool is_awake;
};

/* Runs only when the CPU has nothing else to do. */
static pid_t keep_awake(void)
{
	const struct sched_param param = { 0 };
	pid_t pid = stage_fork(BENCH_RECEIVE_CPU);

	if (pid != 0)
		return pid;
	if (sched_setscheduler(0, SCHED_IDLE, &param))
		bench_die("SCHED_IDLE: %s", strerror(errno));
	for (;;)
		__asm__ volatile("pause");
}

static void name(const struct run *run, const char *mode)
{
	record_begin("latency", run->options->round);
	record_text("mode", "%s", mode);
	record_text("size", "%s", run->size);
	record_text("cpu", "%s", run->is_awake ? "awake" : "sleeping");
	record_number("rate", bench_number(run->rate, 1, 100000000));
}

static void record_ages(const struct readers *readers)
{
	const struct reader *r = &readers->reader[0];

	record_number("samples", (double)r->age_count);
	if (r->age_count == 0) {
		record_text("error", "nothing was received");
		return;
	}
	record_number("p50_ns", bench_quantile(r->ages, r->age_count, 0.5));
	record_number("p99_ns", bench_quantile(r->ages, r->age_count, 0.99));
	record_number("p999_ns", bench_quantile(r->ages, r->age_count, 0.999));
}

/* The reader that is measured, and the one that it wakes if any. */
struct pair {
	struct readers *first, *second;
	int ends[2];
};

static void start(struct pair *pair, const struct run *run)
{
	struct reader_options reader = {
		.kind = run->mode->kind,
		.look = LOOK_AGE,
		.ring_size = run->options->ring_mib << 20,
		.ring_block = RING_BLOCK,
		.retire_ms = RETIRE_MS,
		.cpu = BENCH_RECEIVE_CPU,
		.samples = SAMPLES_MAX,
	};

	*pair = (struct pair){ 0 };
	if (run->mode->is_relay) {
		struct reader_options piped = reader;

		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
			       pair->ends))
			bench_die("socketpair: %s", strerror(errno));
		piped.kind = READER_PIPED;
		piped.wake_fd = pair->ends[0];
		reader.wake_fd = pair->ends[1];
		pair->second = readers_start(&piped, 1);
	}
	pair->first = readers_start(&reader, 1);
}

static void open_window(const struct pair *pair, bool is_open)
{
	readers_open(pair->first, is_open);
	if (pair->second)
		readers_open(pair->second, is_open);
}

static void stop(struct pair *pair)
{
	readers_stop(pair->first);
	readers_free(pair->first);
	if (!pair->second)
		return;
	readers_stop(pair->second);
	readers_free(pair->second);
	close(pair->ends[0]);
	close(pair->ends[1]);
}

static pid_t start_broker(const struct run *run)
{
	struct broker_setup setup = { .backend = run->mode->backend,
				      .is_normal = run->mode->is_normal,
				      .cpu = BENCH_RECEIVE_CPU };

	if (!setup.backend)
		return 0;
	if (strcmp(setup.backend, "af_packet") == 0)
		setup.source = "profile = latency\n";
	return broker_start(run->options, &setup);
}

static void report(const struct run *run, const struct pair *pair,
		   const struct noise *noise)
{
	name(run, run->mode->name);
	record_ages(pair->first);
	noise_record(noise);
	record_end();
	if (!pair->second)
		return;
	/* From before the call that wakes to the first instruction after. */
	name(run, "one wake-up");
	record_ages(pair->second);
	noise_record(noise);
	record_end();
}

static void measure(const struct run *run)
{
	struct generator generator;
	struct noise noise;
	struct pair pair;
	pid_t broker, spinner;

	noise_open(&noise);
	spinner = run->is_awake ? keep_awake() : 0;
	broker = start_broker(run);
	start(&pair, run);
	generator_start(&generator, run->options->generator, run->size,
			run->rate);
	usleep(WARM_UP_MS * 1000);
	open_window(&pair, true);
	usleep(run->options->window_ms * 1000);
	open_window(&pair, false);
	generator_stop(&generator);
	if (spinner) {
		kill(spinner, SIGKILL);
		stage_reap(spinner);
	}
	report(run, &pair, &noise);
	stop(&pair);
	if (broker)
		broker_stop(broker);
}

static void measure_all(const struct bench_options *options, const char *size,
			const char *rate)
{
	for (int awake = 0; awake < 2; awake++)
		for (size_t m = 0; m < sizeof(modes) / sizeof(*modes); m++) {
			const struct run run = { options, &modes[m], size, rate,
						 awake };

			if (bench_list_has(&options->modes, modes[m].name))
				measure(&run);
		}
}

int main(int argc, char **argv)
{
	struct bench_options options = { 0 };

	bench_list_parse(&options.sizes, "60");
	bench_list_parse(&options.rates, "1000,10000,100000");
	bench_options_parse(&options, argc, argv);
	stage_enter();
	bench_each(&options, measure_all);
	return 0;
}
