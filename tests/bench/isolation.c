/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_isolation: seven good consumers, alone, and beside a bad one of another
 * user: one that stopped while it holds packets, one that is killed again and
 * again, one that gives back leases it never had. What the good ones receive
 * meanwhile, and how long a packet ever waited for their first look: an upper
 * limit of how long the lane stood still.
 */
#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <netring.h>
#include <netring/ring.h>

#include "bench.h"
#include "../client/capture.h" /* not the broker's of that name */

#define GOOD 7
#define SOMEBODY 65533 /* the bad one; the good ones are nobody, 65534 */
#define SAMPLES 20     /* of the curve */
#define BATCHES_HELD 8

/* ------------------------------------------------------------ the bad ones */

static uint64_t *bad_count; /* of the kills or forgeries so far; shared */

static void become_somebody(void)
{
	if (setgroups(0, NULL) || setresgid(SOMEBODY, SOMEBODY, SOMEBODY) ||
	    setresuid(SOMEBODY, SOMEBODY, SOMEBODY))
		bench_die("cannot become somebody: %s", strerror(errno));
}

/* NULL: too soon after the one before, the broker says. */
static struct nr_capture *attach(void)
{
	struct nr_open_options open = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *capture;

	open.socket = BROKER_SOCKET;
	return nr_capture_open("lan", &open, &capture) ? NULL : capture;
}

/* Takes packets and does not give them back. */
static void hold(struct nr_capture *capture)
{
	struct nr_batch batch;

	for (int i = 0; i < BATCHES_HELD; i++)
		if (nr_capture_recv(capture, &batch, 1000) <= 0)
			return;
}

static void be_stopped(void)
{
	struct nr_capture *capture = attach();

	if (!capture)
		bench_die("the stopped one cannot attach");
	hold(capture);
	raise(SIGSTOP);
}

static void be_killed(void)
{
	for (;;) {
		pid_t pid = fork();

		if (pid == 0) {
			struct nr_capture *capture = attach();

			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (!capture)
				_exit(1);
			hold(capture);
			__atomic_fetch_add(bad_count, 1, __ATOMIC_RELAXED);
			raise(SIGKILL);
		}
		waitpid(pid, NULL, 0);
	}
}

static void forge(struct nr_capture *capture)
{
	struct lane *lane = &capture->lanes[0];
	struct nr_batch batch;

	/* Until the broker ends it, at most: it may have other things to do. */
	while (nr_capture_recv(capture, &batch, 10) >= 0) {
		nr_return_give(lane->page, lane->given++,
			       (uint64_t)random() << 32 | (uint64_t)random());
		__atomic_fetch_add(bad_count, 1, __ATOMIC_RELAXED);
	}
}

static void be_hostile(void)
{
	for (;;) {
		struct nr_capture *capture = attach();

		if (!capture)
			continue;
		forge(capture);
		nr_capture_close(capture);
	}
}

struct bad {
	const char *name;
	void (*be)(void); /* NULL: there is none */
};

static const struct bad bads[] = {
	{ "none", NULL },
	{ "stopped", be_stopped },
	{ "killed", be_killed },
	{ "hostile", be_hostile },
};

static pid_t bad_start(const struct bad *bad)
{
	pid_t pid;

	*bad_count = 0;
	if (!bad->be)
		return 0;
	pid = stage_fork(BENCH_RECEIVE_CPU);
	if (pid == 0) {
		become_somebody();
		bad->be();
		for (;;)
			pause();
	}
	return pid;
}

static void bad_end(pid_t pid)
{
	if (!pid)
		return;
	kill(pid, SIGKILL);
	stage_reap(pid);
}

/* ------------------------------------------------------------- the good ones
 */

struct run {
	const struct bench_options *options;
	const struct bad *bad;
	const char *rate;
};

static void name(const struct run *run, const char *bench)
{
	record_begin(bench, run->options->round);
	record_text("beside", "%s", run->bad->name);
	record_text("rate", "%s", run->rate);
}

static uint64_t slowest(const struct look *a, const struct look *b)
{
	uint64_t least = UINT64_MAX;

	for (unsigned i = 0; i < GOOD; i++)
		if (b->packets[i] - a->packets[i] < least)
			least = b->packets[i] - a->packets[i];
	return least;
}

/* As long again, in pieces: what the slowest of them received in each. */
static void watch(const struct run *run, const struct readers *readers)
{
	static struct look look[SAMPLES + 1];
	uint64_t start = bench_now_ns();

	look_at(&look[0], readers, 0);
	for (unsigned i = 1; i <= SAMPLES; i++) {
		usleep(run->options->window_ms * 1000 / SAMPLES);
		look_at(&look[i], readers, 0);
	}
	for (unsigned i = 1; i <= SAMPLES; i++) {
		uint64_t time = look[i].time_ns - look[i - 1].time_ns;

		name(run, "isolation curve");
		record_number("at_ms",
			      (double)(i * run->options->window_ms) / SAMPLES);
		record_number("late_ms",
			      (double)(look[i].time_ns - start) / 1e6);
		record_number("min_pps",
			      (double)slowest(&look[i - 1], &look[i]) * 1e9 /
				      (double)time);
		record_end();
	}
}

static void record_good(const struct readers *readers)
{
	uint64_t longest = 0, lost = 0;

	for (unsigned i = 0; i < readers->count; i++) {
		if (readers->reader[i].longest_ns > longest)
			longest = readers->reader[i].longest_ns;
		lost += readers->reader[i].lost;
	}
	record_number("longest_us", (double)longest / 1e3);
	record_number("good_lost", (double)lost);
	record_number("bad_times", (double)*bad_count);
}

static void measure(const struct run *run)
{
	static struct trial trial;
	const struct reader_options reader = { .kind = READER_NETRING,
					       .cpu = BENCH_RECEIVE_CPU };
	const struct broker_setup setup = { .backend = "af_packet",
					    .source = "profile = latency\n",
					    .is_default = true,
					    .cpu = BENCH_RECEIVE_CPU };
	pid_t bad;

	trial_start(&trial, run->options, &setup, &reader, GOOD);
	trial_send(&trial, "60", run->rate);
	bad = bad_start(run->bad);
	trial_watch(&trial);
	watch(run, trial.readers);
	name(run, "isolation");
	trial_record(&trial);
	bad_end(bad);
	trial_stop(&trial);
	record_good(trial.readers);
	trial_end(&trial);
}

int main(int argc, char **argv)
{
	struct bench_options options = { 0 };

	bench_list_parse(&options.rates, "200000,0");
	bench_options_parse(&options, argc, argv);
	stage_enter();
	bad_count = mmap(NULL, sizeof(*bad_count), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (bad_count == MAP_FAILED)
		bench_die("mmap: %s", strerror(errno));
	for (unsigned r = 0; r < options.rates.count; r++)
		for (size_t b = 0; b < sizeof(bads) / sizeof(*bads); b++) {
			const struct run run = { &options, &bads[b],
						 options.rates.item[r] };

			if (bench_list_has(&options.modes, bads[b].name))
				measure(&run);
		}
	return 0;
}
