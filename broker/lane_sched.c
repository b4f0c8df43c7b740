// SPDX-License-Identifier: BSD-2-Clause
/*
 * A lane that sleeps in the kernel runs at SCHED_FIFO 1 where it may: it is
 * short and must be on time, and at normal priority a few busy processes
 * delay it by milliseconds. A lane that is busy for long does not need that
 * and would starve others, so it goes back by itself.
 */
#include "lane_sched.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"

#define PRIORITY 1 /* unless configured */
#define BUSY_PERCENT 80
/* Of CPU at SCHED_FIFO, without a sleep: a warning, then the end. */
#define SPIN_US 2000000
#define SPIN_END_US 5000000

uint64_t lane_sched_cpu_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static void set_cpu(const struct lane *lane)
{
	cpu_set_t set;
	int cpu;

	if (lane->config->cpu < 0)
		return;
	cpu = lane->config->cpu + (int)lane->number;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		log_warn("source %s: lane %u cannot run on CPU %d: %s",
			 lane->config->name, lane->number, cpu,
			 strerror(errno));
}

/*
 * As of the first call: in the sandbox libc has no file to find it in, and
 * counts those that the calling thread may run on.
 */
static uint32_t cpu_count(void)
{
	static long count;

	if (count == 0)
		count = sysconf(_SC_NPROCESSORS_ONLN);
	return count > 0 ? (uint32_t)count : 1;
}

/*
 * Never by itself for a replay or a busy-polling lane, which do not sleep, nor
 * where lanes could take all CPUs.
 */
static int priority_of(const struct config_source *config)
{
	uint32_t lanes = config->interface_count * config->lanes;

	if (config->priority >= 0)
		return config->priority;
	return config->backend != BACKEND_REPLAY && config->busy_poll == 0 &&
	       cpu_count() > lanes;
}

/*
 * Lanes inherit it from the engine's start. Those that a reload adds are
 * started by a thread that has given it up: they take it, where the warden may
 * set a limit that lets them (CAP_SYS_RESOURCE).
 */
void lane_sched_prepare(const struct config *config)
{
	struct rlimit limit = { PRIORITY, PRIORITY };
	struct sched_param param = { 0 };

	for (uint32_t i = 0; i < config->source_count; i++) {
		int priority = priority_of(&config->sources[i]);

		if (priority > param.sched_priority)
			param.sched_priority = priority;
	}
	if (limit.rlim_cur < (rlim_t)param.sched_priority)
		limit.rlim_cur = limit.rlim_max = (rlim_t)param.sched_priority;
	(void)setrlimit(RLIMIT_RTPRIO, &limit);
	if (param.sched_priority > 0 &&
	    sched_setscheduler(0, SCHED_FIFO, &param))
		log_warn("lanes run at normal priority: %s", strerror(errno));
}

void lane_sched_normal(void)
{
	const struct sched_param normal = { 0 };

	(void)sched_setscheduler(0, SCHED_OTHER, &normal);
}

/* Lanes at real-time priority, of all sources. */
static uint32_t realtime;

/* Unless it was asked for, those of all sources leave a CPU to the others. */
static bool take_priority(const struct config_source *config)
{
	uint32_t count = __atomic_add_fetch(&realtime, 1, __ATOMIC_RELAXED);

	if (config->priority >= 0 || count < cpu_count())
		return true;
	__atomic_sub_fetch(&realtime, 1, __ATOMIC_RELAXED);
	return false;
}

void lane_sched_end(struct lane *lane)
{
	if (lane->is_realtime)
		__atomic_sub_fetch(&realtime, 1, __ATOMIC_RELAXED);
	lane->is_realtime = false;
	lane_sched_normal();
}

/* Where the kernel counts differently from us: it must not come to the end. */
static void has_run_for_long(int signal)
{
	int err = errno;

	(void)signal;
	lane_sched_normal();
	errno = err;
}

int lane_sched_limit(void)
{
	const struct rlimit limit = { SPIN_US, SPIN_END_US };
	const struct sigaction action = { .sa_handler = has_run_for_long,
					  .sa_flags = SA_RESTART };

	cpu_count();
	if (sigaction(SIGXCPU, &action, NULL) ||
	    setrlimit(RLIMIT_RTTIME, &limit))
		return -errno;
	return 0;
}

void lane_sched_start(struct lane *lane)
{
	struct sched_param param = { .sched_priority =
					     priority_of(lane->config) };

	set_cpu(lane);
	lane->is_realtime =
		param.sched_priority > 0 && take_priority(lane->config);
	if (!lane->is_realtime || sched_setscheduler(0, SCHED_FIFO, &param)) {
		lane_sched_end(lane);
		return;
	}
	lane->checked_ns = now_ns();
	lane->checked_cpu_ns = lane_sched_cpu_ns();
}

void lane_sched_demote_if_busy(struct lane *lane)
{
	uint64_t now = now_ns(), cpu;

	if (now - lane->checked_ns < NS_PER_S)
		return;
	cpu = lane_sched_cpu_ns();
	if ((cpu - lane->checked_cpu_ns) * 100 >
		    (now - lane->checked_ns) * BUSY_PERCENT ||
	    sched_getscheduler(0) != SCHED_FIFO) {
		lane_sched_end(lane);
		log_warn("source %s: lane %u uses over %d %% of its CPU: back "
			 "to normal priority",
			 lane->config->name, lane->number, BUSY_PERCENT);
	}
	lane->checked_ns = now;
	lane->checked_cpu_ns = cpu;
}
