/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Consumers against the broker's processes: they cannot be touched, and what
 * one user's attaches cost them does not grow.
 */
#include "scene.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static struct scene scene;

static int touch_process(pid_t pid)
{
	static const char *const files[] = { "mem",   "maps",	  "environ",
					     "stack", "auxv",	  "syscall",
					     "fd/3",  "map_files" };
	char bytes[8] = "";
	struct iovec local = { bytes, sizeof(bytes) };
	struct iovec remote = { (void *)0x400000, 8 };
	struct rlimit limit = { 0, 0 };
	struct sched_param param = { 0 };
	cpu_set_t set;
	char path[64];
	int fd, pidfd;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char c;

		snprintf(path, sizeof(path), "/proc/%d/%s", pid, files[i]);
		fd = open(path, O_RDONLY);
		must(fd < 0 || read(fd, &c, 1) <= 0);
	}
	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", pid);
	must(open(path, O_WRONLY) < 0);
	/* SIGCONT may go to anybody of the same session, and does nothing. */
	for (int signal = 0; signal < 65; signal++)
		must(signal == SIGCONT || kill(pid, signal) < 0);
	must(ptrace(PTRACE_ATTACH, pid, NULL, NULL) < 0);
	must(ptrace(PTRACE_SEIZE, pid, NULL, NULL) < 0);
	must(process_vm_writev(pid, &local, 1, &remote, 1, 0) < 0);
	must(process_vm_readv(pid, &local, 1, &remote, 1, 0) < 0);
	must(prlimit(pid, RLIMIT_NOFILE, &limit, NULL) < 0);
	must(sched_setaffinity(pid, sizeof(set), &set) < 0);
	must(sched_setscheduler(pid, SCHED_IDLE, &param) < 0);
	must(setpriority(PRIO_PROCESS, (id_t)pid, 19) < 0);
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	must(pidfd >= 0);
	must(syscall(SYS_pidfd_getfd, pidfd, 3, 0) < 0);
	must(syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0);
	return 0;
}

static int touch_broker(void *data)
{
	(void)data;
	must(scene_open("all"));
	return touch_process(scene.engine) || touch_process(scene.broker.pid);
}

Test(attacks, engine_and_warden_cannot_be_touched)
{
	scene_start(&scene, NULL);
	attack(touch_broker, NULL, 1);
	scene_end(&scene);
}

static uid_t uid_of(pid_t pid)
{
	char path[64];
	char line[256];
	unsigned uid = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "Uid: %u", &uid) == 1)
			break;
	fclose(file);
	return uid;
}

static int be_the_engine_s_user(void *data)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *capture;
	char text[NR_TEXT_MAX] = "";

	(void)data;
	options.error_text = text;
	options.error_text_size = sizeof(text);
	must(nr_capture_open("all", &options, &capture) < 0);
	must(strstr(text, "own uid"));
	must(ptrace(PTRACE_ATTACH, scene.engine, NULL, NULL) < 0);
	return 0;
}

Test(attacks, who_has_the_engine_s_own_uid_is_not_served_and_cannot_trace_it)
{
	uid_t uid;

	scene_start(&scene, NULL);
	uid = uid_of(scene.engine);
	cr_assert_neq(uid, 0);
	cr_assert_eq(child_wait(child_start(uid, be_the_engine_s_user, NULL)),
		     0);
	eventually(broker_said(&scene.broker, "own uid"));
	scene_end(&scene);
}

/* ------------------------------------------------------------ memory's cost */

/* A slice a round would be 12 MB, a page 4 MB, a capture 5 MB. */
#ifdef __SANITIZE_ADDRESS__
#define GROWTH_MAX_KB 40000 /* what is free is kept in quarantine */
#else
#define GROWTH_MAX_KB 3000
#endif

struct growth {
	unsigned long rss_kb;
	unsigned fds;
};

static struct growth growth_now(pid_t pid)
{
	return (struct growth){ process_rss_kb(pid), process_fds(pid) };
}

/* Keeps a mapping and the descriptors of every round as long as it can. */
static int attach_map_close(void *data)
{
	unsigned rounds = *(unsigned *)data;

	for (unsigned i = 0; i < rounds; i++) {
		struct nr_capture *capture = scene_open("all");
		struct lane *lane;

		must(capture);
		lane = &capture->lanes[0];
		if (i < 500) {
			fcntl(lane->ring_fd, F_DUPFD, 0);
			fcntl(capture->return_fd, F_DUPFD, 0);
			mmap(NULL, NR_PAGE, PROT_READ, MAP_SHARED,
			     lane->ring_fd, 0);
			mmap(NULL, NR_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			     capture->return_fd, 0);
		}
		nr_capture_close(capture);
	}
	return 0;
}

static bool is_alone(void)
{
	static struct broker_stat stat;

	broker_read_stat(&stat, "all");
	return stat.captures == 1;
}

Test(attacks, attaching_mapping_and_closing_for_ever_costs_no_memory)
{
	unsigned first = 64, many = 1000;
	struct growth engine, warden, now;

	/* All descriptors that it kept are its own to have. */
	scene_start(&scene, "attach_rate = 100000");
	attack(attach_map_close, &first, 1);
	eventually(is_alone());
	engine = growth_now(scene.engine);
	warden = growth_now(scene.broker.pid);
	attack(attach_map_close, &many, 1);
	eventually(is_alone());
	now = growth_now(scene.engine);
	fprintf(stderr, "engine: %lu kB and %u fds, then %lu kB and %u fds\n",
		engine.rss_kb, engine.fds, now.rss_kb, now.fds);
	cr_assert_lt(now.rss_kb, engine.rss_kb + GROWTH_MAX_KB);
	cr_assert_leq(now.fds, engine.fds + 1);
	now = growth_now(scene.broker.pid);
	cr_assert_lt(now.rss_kb, warden.rss_kb + 500);
	cr_assert_eq(now.fds, warden.fds);
	scene_end(&scene);
}
