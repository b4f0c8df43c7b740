/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Attacks on and with processes: those of the broker are touched, and the
 * attacker's own share what one of them was given.
 */
#include "attacks.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

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

int touch_broker(struct play *play)
{
	struct nr_capture *capture;

	must_attach(capture, play);
	return touch_process(play->engine) || touch_process(play->warden);
}

int be_the_engine_s_user(struct play *play)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *capture;
	char text[NR_TEXT_MAX] = "";

	options.error_text = text;
	options.error_text_size = sizeof(text);
	must(nr_capture_open(play->channel, &options, &capture) < 0);
	must(strstr(text, "own uid"));
	must(ptrace(PTRACE_ATTACH, play->engine, NULL, NULL) < 0);
	return 0;
}

/* Keeps a mapping and the descriptors of every round as long as it can. */
int attach_map_close(struct play *play)
{
	for (uint64_t i = 0; i < play->count && goes_on(play); i++) {
		struct nr_capture *capture;
		struct lane *lane;

		must_attach(capture, play);
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

/* All of them read one capture, write one return page, and go one by one. */
static int share_capture(struct nr_capture *capture, struct play *play)
{
	uint64_t end = scene_now_ns() + (play->seed % 7 + 1) * 10000000;
	struct nr_batch batch;

	while (scene_now_ns() < end && nr_capture_recv(capture, &batch, 5) > 0)
		nr_batch_release(&batch);
	return 0;
}

/* The last process that has the connection ends the capture. */
int fork_with_captures(struct play *play)
{
	do {
		struct nr_capture *capture;
		pid_t pids[3];

		must_attach(capture, play);
		for (int i = 0; i < 3; i++) {
			pids[i] = fork();
			play->seed++;
			if (pids[i] == 0)
				_exit(share_capture(capture, play));
		}
		nr_capture_close(capture);
		for (int i = 0; i < 3; i++)
			must(waitpid(pids[i], NULL, 0) == pids[i]);
	} while (goes_on(play));
	return 0;
}

static int send_capture(int socket, const struct nr_capture *capture)
{
	const int fds[] = { capture->socket, capture->return_fd,
			    capture->lanes[0].arena_fd,
			    capture->lanes[0].ring_fd };
	struct nr_msg msg;

	wire_init(&msg, NR_MSG_LANE, sizeof(msg), 0);
	return wire_send(socket, &msg, fds, 4);
}

/* With them it does what the first may do: it has its rights, and no more. */
static int use_passed(int socket)
{
	struct wire_msg msg;
	void *page;

	must(wire_recv(socket, &msg) == 1 && msg.fd_count == 4);
	page = mmap(NULL, NR_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
		    msg.fds[1], 0);
	must(page != MAP_FAILED);
	must(mmap(NULL, NR_PAGE, PROT_READ, MAP_SHARED, msg.fds[2], 0) !=
	     MAP_FAILED);
	must(mmap(NULL, NR_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, msg.fds[2],
		  0) == MAP_FAILED);
	for (unsigned i = 0; i < 1000; i++)
		__atomic_fetch_add(&((struct nr_return *)page)->armed, 1,
				   __ATOMIC_SEQ_CST);
	memset(page, (int)getpid(), NR_PAGE);
	return 0;
}

int pass_captures_on(struct play *play)
{
	do {
		struct nr_capture *capture;
		int pair[2], status;
		pid_t pid;

		must_attach(capture, play);
		must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
		must(send_capture(pair[0], capture) == 0);
		nr_capture_close(capture); /* it is in flight alone */
		pid = fork();
		if (pid == 0)
			_exit(use_passed(pair[1]));
		must(waitpid(pid, &status, 0) == pid && status == 0);
		close(pair[0]);
		close(pair[1]);
	} while (goes_on(play));
	return 0;
}
