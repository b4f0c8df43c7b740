/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a benchmark runs: namespaces without a name, which end with their last
 * process. The benchmark is the first process of a PID namespace, so the kernel
 * kills all the others with it; and it dies with the program that was
 * started.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

static int near_net = -1; /* the generator's network namespace */

__attribute__((format(printf, 1, 2))) static void run(const char *format, ...)
{
	char command[256];
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	if (system(command) != 0)
		bench_die("failed: %s", command);
}

static void mount_at(const char *type, const char *where)
{
	if (mount(type, where, type, MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL))
		bench_die("mount %s: %s", where, strerror(errno));
}

static int open_net(void)
{
	int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		bench_die("/proc/self/ns/net: %s", strerror(errno));
	return fd;
}

static void enter_net(int fd)
{
	if (setns(fd, CLONE_NEWNET))
		bench_die("setns: %s", strerror(errno));
}

/* No addresses, so that nobody but the generator sends anything. */
static void silence(void)
{
	run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 "
	    "net.ipv6.conf.default.disable_ipv6=1");
}

static void make_veth(void)
{
	int far_net = open_net();

	silence();
	if (unshare(CLONE_NEWNET))
		bench_die("unshare: %s", strerror(errno));
	near_net = open_net();
	silence();
	enter_net(far_net);
	run("ip link add far type veth peer name near");
	run("ethtool -K far gro on");
	run("ip link set near netns /proc/%d/fd/%d", (int)getpid(), near_net);
	run("ip link set far up");
	enter_net(near_net);
	run("ip link set near up");
	enter_net(far_net);
	close(far_net);
}

/* The process that was started: waits, and takes the stage with it. */
static void wait_outside(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			bench_die("wait: %s", strerror(errno));
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

void stage_enter(void)
{
	pid_t pid;

	if (geteuid() != 0)
		bench_die("needs root, for namespaces and BPF");
	if (unshare(CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWNS))
		bench_die("no namespaces here: %s", strerror(errno));
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		bench_die("fork: %s", strerror(errno));
	if (pid > 0)
		wait_outside(pid);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		bench_die("mount /: %s", strerror(errno));
	mount_at("proc", "/proc");
	mount_at("sysfs", "/sys");
	mount_at("tmpfs", "/run");
	make_veth();
}

pid_t stage_fork(unsigned cpu)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		bench_die("fork: %s", strerror(errno));
	if (pid == 0)
		bench_pin(cpu);
	return pid;
}

void stage_reap(pid_t pid)
{
	uint64_t deadline = bench_now_ns() + UINT64_C(10000000000);

	while (waitpid(pid, NULL, WNOHANG) == 0) {
		if (bench_now_ns() > deadline) {
			fprintf(stderr, "bench: process %d had to be killed\n",
				pid);
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
			return;
		}
		usleep(2000);
	}
}

uint64_t stage_received(void)
{
	FILE *file = fopen("/proc/thread-self/net/dev", "re");
	uint64_t packets = 0;
	char line[512];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, " far: %*u %" SCNu64, &packets) == 1)
			break;
	if (file)
		fclose(file);
	return packets;
}

void generator_start(struct generator *generator, const char *path,
		     const char *size, const char *rate)
{
	uint64_t before = stage_received();
	uint64_t deadline = bench_now_ns() + UINT64_C(10000000000);
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		bench_die("pipe: %s", strerror(errno));
	generator->pid = stage_fork(BENCH_SEND_CPU);
	if (generator->pid == 0) {
		enter_net(near_net);
		dup2(ends[1], STDOUT_FILENO);
		execl(path, path, "--interface", "near", "--size", size,
		      "--rate", rate, "--json", (char *)NULL);
		bench_die("%s: %s (--generator names another)", path,
			  strerror(errno));
	}
	close(ends[1]);
	generator->output = ends[0];
	while (stage_received() == before) {
		if (waitpid(generator->pid, NULL, WNOHANG) == generator->pid)
			bench_die("the generator has ended");
		if (bench_now_ns() > deadline)
			bench_die("the generator's frames do not arrive");
		usleep(1000);
	}
}

void generator_stop(struct generator *generator)
{
	FILE *file = fdopen(generator->output, "r");
	char line[512] = "";
	const char *sent, *passed;

	kill(generator->pid, SIGTERM);
	if (!file || !fgets(line, sizeof(line), file))
		bench_die("the generator says nothing");
	fclose(file);
	stage_reap(generator->pid);
	sent = strstr(line, "\"sent\": ");
	passed = strstr(line, "\"passed\": ");
	if (!sent || !passed)
		bench_die("the generator says: %s", line);
	generator->sent = strtoull(sent + 8, NULL, 10);
	generator->passed = strtoull(passed + 10, NULL, 10);
}
