/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which threads of the engine run before all others: lanes that sleep, while
 * they are not busy, as long as a CPU is left to everybody else. Lanes are told
 * apart by the CPU that the configuration gives them.
 */
#include <criterion/criterion.h>

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "ledger.h"
#include "live.h"
#include "trace.h"

#define CHANNEL(name)                                                          \
	"[channel " name "]\nsource = " name "\nallow = everyone\n"
#define SOURCE(name)                                                           \
	CHANNEL(name)                                                          \
	"[source " name "]\ninterface = inside\nring_size = 1M\n"              \
	"ring_block = 128K\nsmall_pages = yes\n"
#define REPLAY(name)                                                           \
	CHANNEL(name)                                                          \
	"[source " name "]\nbackend = replay\nfile = %s\nloop = yes\n"         \
	"small_pages = yes\n"

static struct live live;
static struct broker_stat stat;
static struct command command;
static unsigned cpus;
static char *trace_path;

static int be_urgent(void *data)
{
	const struct sched_param param = { .sched_priority = 1 };

	(void)data;
	return sched_setscheduler(0, SCHED_FIFO, &param) ? errno : 0;
}

static void prepare(void)
{
	struct trace trace;

	need_root();
	cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	if (child_wait(child_start(0, be_urgent, NULL)))
		cr_skip_test("needs SCHED_FIFO, which is not allowed here");
	if (cpus < 2)
		cr_skip_test("needs two CPUs");
	trace_path = strdup(test_path("trace.pcap"));
	trace_init(&trace, 1000, 10);
	cr_assert_eq(trace_write(&trace, trace_path), 0);
	live_network(&live);
}

TestSuite(sched, .init = prepare, .timeout = 60);

static bool is_on_cpu(pid_t tid, int cpu)
{
	cpu_set_t set;

	cr_assert_eq(sched_getaffinity(tid, sizeof(set), &set), 0);
	return cpu < 0 || (CPU_COUNT(&set) == 1 && CPU_ISSET(cpu, &set));
}

/* Threads at real-time priority, and pinned to @cpu, unless it is -1. */
static unsigned urgent_on(int cpu)
{
	pid_t engine = broker_engine(&live.broker);
	struct sched_param param;
	unsigned count = 0;
	char path[64];
	DIR *dir;

	/* An answer of each lane: it has its priority. */
	broker_read_stat(&stat, NULL);
	snprintf(path, sizeof(path), "/proc/%d/task", (int)engine);
	dir = opendir(path);
	cr_assert(dir, "%s", path);
	for (struct dirent *entry; (entry = readdir(dir));) {
		pid_t tid = atoi(entry->d_name);

		if (tid == 0 || sched_getscheduler(tid) != SCHED_FIFO)
			continue;
		cr_assert_neq(tid, engine, "the control thread");
		cr_assert_eq(sched_getparam(tid, &param), 0);
		cr_assert_eq(param.sched_priority, 1);
		count += is_on_cpu(tid, cpu);
	}
	closedir(dir);
	return count;
}

Test(sched, a_lane_that_sleeps_is_urgent)
{
	live_broker(&live, SOURCE("a"));
	cr_assert_eq(urgent_on(-1), 1);
	broker_stop(&live.broker);
	live_broker(&live, SOURCE("a") "priority = 0\n");
	cr_assert_eq(urgent_on(-1), 0);
	live_stop(&live);
}

Test(sched, lanes_that_could_take_all_cpus_are_not_unless_asked_for)
{
	unsigned lanes = cpus < NR_LANES_MAX ? cpus : NR_LANES_MAX;

	live_broker(&live, SOURCE("a") "lanes = %u\n", lanes);
	cr_assert_eq(urgent_on(-1), lanes < cpus ? lanes : 0);
	broker_stop(&live.broker);
	live_broker(&live, SOURCE("a") "lanes = %u\n", lanes - 1);
	cr_assert_eq(urgent_on(-1), lanes - 1);
	broker_stop(&live.broker);
	live_broker(&live, SOURCE("a") "lanes = %u\npriority = 1\n", lanes);
	cr_assert_eq(urgent_on(-1), lanes);
	live_stop(&live);
}

Test(sched, sources_together_leave_a_cpu_to_the_others)
{
	unsigned lanes = cpus < NR_LANES_MAX ? cpus - 1 : NR_LANES_MAX;
	unsigned both = 2 * lanes;

	live_broker(&live,
		    SOURCE("a") "lanes = %u\n" SOURCE("b") "lanes = %u\n",
		    lanes, lanes);
	cr_assert_eq(urgent_on(-1), both < cpus ? both : cpus - 1);
	live_stop(&live);
}

/* What the warden does where it may, so that lanes may later. */
static int allow_urgency(void *data)
{
	const struct rlimit limit = { 1, 1 };

	(void)data;
	return setrlimit(RLIMIT_RTPRIO, &limit) ? errno : 0;
}

Test(sched, a_lane_that_a_reload_adds_is_urgent_where_that_can_be_allowed)
{
	bool is_allowed = child_wait(child_start(0, allow_urgency, NULL)) == 0;

	config_write(SOURCE("a"));
	broker_start_args(&live.broker, live.network.netns, "-c",
			  test_path("broker.conf"), NULL);
	cr_assert_eq(urgent_on(-1), 1);
	config_write(SOURCE("b"));
	cr_assert_eq(command_run(&command, "netring reload"), 0, "%s",
		     command.err);
	cr_assert_eq(urgent_on(-1), is_allowed ? 1 : 0);
	live_stop(&live);
}

#define POLLING SOURCE("b") "busy_poll = 50\ncpu = 0\n"
#define REPLAYING REPLAY("r") "wait = 2\ncpu = 0\n"

Test(sched, a_lane_that_replays_or_polls_is_not)
{
	live_broker(&live, REPLAYING, trace_path);
	cr_assert_eq(urgent_on(-1), 0);
	broker_stop(&live.broker);
	live_broker(&live, POLLING);
	cr_assert_eq(urgent_on(-1), 0);
	broker_stop(&live.broker);
	/* Nor where the engine starts as urgent as another lane is. */
	live_broker(&live, REPLAYING POLLING SOURCE("a") "cpu = 1\n",
		    trace_path);
	cr_assert_eq(urgent_on(0), 0);
	cr_assert_eq(urgent_on(1), 1);
	live_stop(&live);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

#define WORDS                                                                  \
	"source r: lane 0 uses over 80 % of its CPU: back to normal priority"

/* It replays as fast as it can, for ever, to nobody. */
Test(sched, a_lane_that_is_busy_for_a_second_is_not_any_more)
{
	struct nr_capture *capture;
	int64_t since;

	live_broker(&live, REPLAY("r") "priority = 1\n", trace_path);
	cr_assert_eq(urgent_on(-1), 1);
	cr_assert_eq(nr_capture_open("r", NULL, &capture), 0);
	since = now_ms();
	nr_capture_close(capture);
	eventually(broker_said(&live.broker, WORDS));
	fprintf(stderr, "a busy lane was urgent for %d ms\n",
		(int)(now_ms() - since));
	cr_assert_eq(urgent_on(-1), 0);
	cr_assert_eq(broker_said_times(&live.broker, WORDS), 1);
	live_stop(&live);
}

/* It looks at itself every 256 bursts: a dozen times, for three seconds. */
Test(sched, a_lane_with_packets_to_do_stays_urgent)
{
	struct stream_of_frames frames = { .interface = "outside",
					   .describe = traffic_mix,
					   .rate = 3000,
					   .cpu = -1 };

	live_broker(&live, SOURCE("a") "retire_timeout = 1\n");
	frames_start(&frames);
	eventually(live_count().captured > 9000);
	frames_stop(&frames);
	cr_assert_eq(urgent_on(-1), 1);
	cr_assert_gt(stat.source[0].bursts, 1000, "%llu",
		     (unsigned long long)stat.source[0].bursts);
	cr_assert_not(broker_said(&live.broker, "back to normal priority"));
	live_stop(&live);
}
