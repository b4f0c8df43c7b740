/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_scale: what each capture costs that is only attached (time to attach,
 * memory, CPU while there are no packets), and what it costs to wake them when
 * there are a few.
 */
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <netring.h>

#include "bench.h"

#define NOBODY 65534
#define IDLE_WINDOWS 30 /* so many windows long are the CPUs watched idling */
#define CAPTURES_MAX TRIAL_READERS_MAX

/* What the process that attaches says of it. */
struct attached {
	unsigned count;
	unsigned may_go_on; /* after the first; writer: who watches */
	uint32_t ns[CAPTURES_MAX];
};

/* An arena that can promise a block to each of 256 captures of one user. */
static const struct broker_setup setup = { .backend = "af_packet",
					   .channel = "arena = 192M\n",
					   .cpu = BENCH_RECEIVE_CPU };

static void attach_one(struct attached *attached, unsigned i)
{
	struct nr_open_options open = NR_OPEN_OPTIONS_INIT;
	uint64_t start = bench_now_ns();
	struct nr_capture *capture; /* kept until the process ends */
	char text[NR_TEXT_MAX] = "";
	int err;

	open.socket = BROKER_SOCKET;
	open.error_text = text;
	open.error_text_size = sizeof(text);
	/* All that the set-aside of the default arena can promise to so many.
	 */
	open.guarantee = 1;
	open.leases = 2;
	err = nr_capture_open("lan", &open, &capture);
	if (err)
		bench_die("capture %u: %s %s", i, nr_strerror(err), text);
	attached->ns[i] = (uint32_t)(bench_now_ns() - start);
	__atomic_store_n(&attached->count, i + 1, __ATOMIC_RELEASE);
}

/* One after the other, in one process, which then sleeps. */
static pid_t attach_all(struct attached *attached, unsigned k)
{
	const struct rlimit files = { 16384, 16384 };
	pid_t pid = stage_fork(BENCH_RECEIVE_CPU);

	if (pid == 0) {
		if (setrlimit(RLIMIT_NOFILE, &files) || setgroups(0, NULL) ||
		    setresuid(NOBODY, NOBODY, NOBODY))
			bench_die("cannot become nobody: %s", strerror(errno));
		for (unsigned i = 0; i < k; i++) {
			attach_one(attached, i);
			while (!__atomic_load_n(&attached->may_go_on,
						__ATOMIC_ACQUIRE))
				usleep(1000);
		}
		for (;;)
			pause();
	}
	return pid;
}

static void wait_attached(const struct attached *attached, unsigned k)
{
	uint64_t deadline = bench_now_ns() + UINT64_C(60000000000);

	while (__atomic_load_n(&attached->count, __ATOMIC_ACQUIRE) < k) {
		if (bench_now_ns() > deadline)
			bench_die("only %u attached", attached->count);
		usleep(2000);
	}
}

static void record_idle(const struct bench_options *options, unsigned k,
			pid_t broker)
{
	uint64_t start_ns = bench_now_ns(), cpu_ns = bench_cpu_ns(broker);
	uint64_t switches = bench_switches(broker);
	double seconds, cpu_us;

	for (int i = 0; i < IDLE_WINDOWS; i++)
		usleep(options->window_ms * 1000);
	seconds = (double)(bench_now_ns() - start_ns) / 1e9;
	record_number("idle_seconds", seconds);
	cpu_us = (double)(bench_cpu_ns(broker) - cpu_ns) / 1e3;
	record_number("idle_cpu_us", cpu_us);
	if (k)
		record_number("idle_each_us", cpu_us / seconds / k);
	record_number("idle_wakeups",
		      (double)(bench_switches(broker) - switches));
}

static void record_attached(struct attached *attached, unsigned k,
			    uint64_t first, uint64_t all)
{
	record_number("attach_first_us", attached->ns[0] / 1e3);
	if (k < 2)
		return;
	/* The first one's arena is the channel's, not the capture's. */
	record_number("capture_kib", (double)(all - first) / 1024 / (k - 1));
	record_number("attach_p50_us",
		      bench_quantile(attached->ns + 1, k - 1, 0.5) / 1e3);
	record_number("attach_max_us", attached->ns[k - 1] / 1e3);
}

static void measure_idle(const struct bench_options *options, unsigned k)
{
	struct attached *attached =
		mmap(NULL, sizeof(*attached), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t none, first, all;
	struct noise noise;
	pid_t broker, pid;

	if (attached == MAP_FAILED)
		bench_die("mmap: %s", strerror(errno));
	noise_open(&noise);
	broker = broker_start(options, &setup);
	none = bench_memory(broker);
	pid = attach_all(attached, k);
	wait_attached(attached, k ? 1 : 0);
	first = bench_memory(broker);
	__atomic_store_n(&attached->may_go_on, 1, __ATOMIC_RELEASE);
	wait_attached(attached, k);
	all = bench_memory(broker);
	record_begin("scale", options->round);
	record_number("k", k);
	record_number("memory_kib", (double)(all - none) / 1024);
	if (k)
		record_attached(attached, k, first, all);
	record_idle(options, k, broker);
	kill(pid, SIGKILL);
	stage_reap(pid);
	broker_stop(broker);
	noise_record(&noise);
	record_end();
	munmap(attached, sizeof(*attached));
}

static void measure_load(const struct bench_options *options, unsigned k,
			 const char *rate)
{
	static struct trial trial;
	const struct reader_options reader = { .kind = READER_NETRING,
					       .guarantee = 1,
					       .cpu = BENCH_RECEIVE_CPU };

	trial_start(&trial, options, &setup, &reader, k);
	trial_send(&trial, "60", rate);
	trial_watch(&trial);
	record_begin("scale load", options->round);
	record_number("k", k);
	record_text("rate", "%s", rate);
	trial_record(&trial);
	trial_stop(&trial);
	trial_end(&trial);
}

int main(int argc, char **argv)
{
	struct bench_options options = { 0 };

	bench_list_parse(&options.consumers, "0,1,8,64,256");
	bench_list_parse(&options.rates, "10000");
	bench_options_parse(&options, argc, argv);
	stage_enter();
	for (unsigned i = 0; i < options.consumers.count; i++) {
		unsigned k = bench_number(options.consumers.item[i], 0,
					  CAPTURES_MAX);

		measure_idle(&options, k);
		for (unsigned r = 0; k && r < options.rates.count; r++)
			measure_load(&options, k, options.rates.item[r]);
	}
	return 0;
}
