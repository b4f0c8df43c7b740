/* SPDX-License-Identifier: BSD-2-Clause */
/* What is measured of the machine, so that like is compared with like. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define TURNS 1000 /* of both sides, in one sample */
#define SAMPLES 101
#define NS_PER_S UINT64_C(1000000000)

void bench_die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("bench: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

static uint64_t to_ns(const struct timespec *time)
{
	return (uint64_t)time->tv_sec * NS_PER_S + (uint64_t)time->tv_nsec;
}

uint64_t bench_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return to_ns(&ts);
}

void bench_pin(unsigned cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		bench_die("CPU %u: %s", cpu, strerror(errno));
}

/*
 * Ping-pong on one word: even is the first thread's turn, odd the other's. A
 * round is two hops. Of many short samples the middle one counts: others want
 * these CPUs too.
 */
static uint64_t ball __attribute__((aligned(128)));

static void *answer(void *unused)
{
	bench_pin(BENCH_RECEIVE_CPU);
	for (uint64_t turn = 1; turn < 2 * TURNS * SAMPLES; turn += 2) {
		while (__atomic_load_n(&ball, __ATOMIC_ACQUIRE) != turn)
			;
		__atomic_store_n(&ball, turn + 1, __ATOMIC_RELEASE);
	}
	return unused;
}

static double serve_sample(uint64_t turn)
{
	uint64_t start = bench_now_ns(), end = turn + 2 * TURNS;

	for (; turn < end; turn += 2) {
		__atomic_store_n(&ball, turn + 1, __ATOMIC_RELEASE);
		while (__atomic_load_n(&ball, __ATOMIC_ACQUIRE) != turn + 2)
			;
	}
	return (double)(bench_now_ns() - start) / (2 * TURNS);
}

static void *serve(void *samples)
{
	bench_pin(BENCH_SEND_CPU);
	for (unsigned i = 0; i < SAMPLES; i++)
		((double *)samples)[i] = serve_sample(UINT64_C(2) * TURNS * i);
	return NULL;
}

double bench_hop_ns(void)
{
	pthread_t there, here;
	double samples[SAMPLES];

	ball = 0;
	if (pthread_create(&there, NULL, answer, NULL) ||
	    pthread_create(&here, NULL, serve, samples))
		bench_die("cannot start a thread");
	pthread_join(here, NULL);
	pthread_join(there, NULL);
	return bench_median(samples, SAMPLES);
}

/* Fields of /proc/PID/stat behind the name, of which the first is field 3. */
struct process {
	pid_t parent;
	unsigned priority;
};

static bool read_process(const char *path, struct process *process)
{
	FILE *file = fopen(path, "re");
	char line[1024], *at = NULL;
	unsigned long field;

	*process = (struct process){ 0 };
	if (!file)
		return false;
	if (fgets(line, sizeof(line), file))
		at = strrchr(line, ')');
	fclose(file);
	if (!at)
		return false;
	at += 4; /* ") S " */
	for (unsigned number = 4; number <= 40; number++) {
		field = strtoul(at, &at, 10);
		if (number == 4)
			process->parent = (pid_t)field;
		else if (number == 40)
			process->priority = (unsigned)field;
	}
	return true;
}

static bool is_descendant(pid_t pid, pid_t root)
{
	struct process process;
	char path[64];

	while (pid > 0 && pid != root) {
		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
		if (!read_process(path, &process))
			return false;
		pid = process.parent;
	}
	return pid == root;
}

/* Calls @fn with each numeric entry of a directory. */
static void each_number(const char *path, void (*fn)(pid_t, void *), void *data)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	if (!dir)
		return;
	while ((entry = readdir(dir)))
		if (isdigit((unsigned char)entry->d_name[0]))
			fn((pid_t)strtol(entry->d_name, NULL, 10), data);
	closedir(dir);
}

struct sum {
	pid_t root, pid;
	uint64_t cpu_ns, memory, switches;
	unsigned priority;
};

/* How often a thread went to sleep by itself. */
static uint64_t read_switches(const char *path)
{
	FILE *file = fopen(path, "re");
	unsigned long switches = 0;
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "voluntary_ctxt_switches: %lu", &switches) ==
		    1)
			break;
	if (file)
		fclose(file);
	return switches;
}

static void add_thread(pid_t thread, void *data)
{
	struct sum *sum = data;
	struct process process;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", sum->pid, thread);
	if (read_process(path, &process) && process.priority > sum->priority)
		sum->priority = process.priority;
	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", sum->pid,
		 thread);
	sum->switches += read_switches(path);
}

static void add_memory(struct sum *sum)
{
	unsigned long pages = 0;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/statm", sum->pid);
	file = fopen(path, "re");
	if (file && fscanf(file, "%*u %lu", &pages) == 1)
		sum->memory += pages * (uint64_t)sysconf(_SC_PAGESIZE);
	if (file)
		fclose(file);
}

static void add_process(pid_t pid, void *data)
{
	struct sum *sum = data;
	struct timespec time;
	clockid_t clock;
	char path[64];

	if (!is_descendant(pid, sum->root))
		return;
	sum->pid = pid;
	if (clock_getcpuclockid(pid, &clock) == 0 &&
	    clock_gettime(clock, &time) == 0)
		sum->cpu_ns += to_ns(&time);
	add_memory(sum);
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	each_number(path, add_thread, sum);
}

static struct sum sum_up(pid_t root)
{
	struct sum sum = { .root = root };

	each_number("/proc", add_process, &sum);
	return sum;
}

uint64_t bench_cpu_ns(pid_t root)
{
	return sum_up(root).cpu_ns;
}

uint64_t bench_memory(pid_t root)
{
	return sum_up(root).memory;
}

uint64_t bench_switches(pid_t root)
{
	return sum_up(root).switches;
}

unsigned bench_priority(pid_t root)
{
	return sum_up(root).priority;
}

/* ------------------------------------------------------------------- noise */

/* Of all CPUs: what they were busy with, and what the host took. */
static void read_cpus(struct noise *noise)
{
	uint64_t tick = NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK);
	FILE *file = fopen("/proc/stat", "re");
	unsigned long user, nice, system, irq, soft_irq, stolen;

	if (file && fscanf(file, "cpu %lu %lu %lu %*u %*u %lu %lu %lu", &user,
			   &nice, &system, &irq, &soft_irq, &stolen) == 6) {
		noise->busy_ns = (user + nice + system + irq + soft_irq) * tick;
		noise->stolen_ns = stolen * tick;
	}
	if (file)
		fclose(file);
}

static uint64_t timeval_ns(const struct timeval *time)
{
	return (uint64_t)time->tv_sec * NS_PER_S +
	       (uint64_t)time->tv_usec * 1000;
}

static void look_around(struct noise *noise)
{
	struct rusage children;

	noise->hop_ns = bench_hop_ns();
	noise->time_ns = bench_now_ns();
	getrusage(RUSAGE_CHILDREN, &children);
	noise->own_ns = bench_cpu_ns(getpid()) +
			timeval_ns(&children.ru_utime) +
			timeval_ns(&children.ru_stime);
	read_cpus(noise);
}

void noise_open(struct noise *noise)
{
	*noise = (struct noise){ 0 };
	look_around(noise);
}

void noise_record(const struct noise *before)
{
	struct noise now = { 0 };
	double time, others;

	look_around(&now);
	time = (double)(now.time_ns - before->time_ns);
	others = (double)(now.busy_ns - before->busy_ns) -
		 (double)(now.own_ns - before->own_ns);
	if (now.hop_ns < before->hop_ns)
		now.hop_ns = before->hop_ns;
	record_text("placement", now.hop_ns < BENCH_NEAR_NS ? "near" : "far");
	record_number("hop_ns", now.hop_ns);
	record_number("others_cpu", others > 0 ? others / time : 0);
	record_number("stolen_cpu",
		      (double)(now.stolen_ns - before->stolen_ns) / time);
}

/* ------------------------------------------------------------------ numbers */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_median(double *values, unsigned count)
{
	qsort(values, count, sizeof(*values), compare);
	return count % 2 ? values[count / 2] :
			   (values[count / 2 - 1] + values[count / 2]) / 2;
}

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

uint32_t bench_quantile(uint32_t *values, uint64_t count, double share)
{
	uint64_t at = (uint64_t)((double)count * share);

	if (count == 0)
		return 0;
	qsort(values, count, sizeof(*values), compare_u32);
	return values[at < count ? at : count - 1];
}
