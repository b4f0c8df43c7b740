/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A seccomp filter that asks us: it is inherited by everything, agrees with
 * filters that come on top, and unlike ptrace leaves the processes to leak
 * checkers and to their parents. The child makes the listener, and is held at
 * its next call until we have taken that descriptor from it.
 */
#include "calls.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* So long what has been killed may take to be gone. */
#define END_S 20

/* Between the child, which writes, and the thread that decides. */
struct calls_shared {
	pid_t pid;
	int listener; /* in the child's table; stored last; 0: not yet */
	int is_over;
};

static int install(const struct calls *calls)
{
	struct sock_filter code[2 * CALLS_MAX + 2], *at = code;
	struct sock_fprog program = { .filter = code };

	*at++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
					     offsetof(struct seccomp_data, nr));
	for (unsigned i = 0; i < calls->count; i++) {
		*at++ = (struct sock_filter)BPF_JUMP(
			BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)calls->numbers[i],
			0, 1);
		*at++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
						     SECCOMP_RET_USER_NOTIF);
	}
	*at++ = (struct sock_filter)BPF_STMT(
		BPF_RET | BPF_K,
		calls->count ? SECCOMP_RET_ALLOW : SECCOMP_RET_USER_NOTIF);
	program.len = (unsigned short)(at - code);
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			    SECCOMP_FILTER_FLAG_NEW_LISTENER |
				    SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
			    &program);
}

void calls_enter(struct calls *calls)
{
	int listener;

	/* As root this would do without, and so keep set-uid programs. */
	if (geteuid() != 0)
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	calls->shared->pid = (pid_t)syscall(SYS_gettid);
	listener = install(calls);
	/* No call between these two: it would be held. */
	__atomic_store_n(&calls->shared->listener, listener, __ATOMIC_SEQ_CST);
	if (listener < 0) {
		perror("seccomp");
		_exit(254);
	}
	/* Nobody holds us for calls that are not watched: wait. */
	while (__atomic_load_n(&calls->shared->listener, __ATOMIC_SEQ_CST))
		;
}

/* The child's descriptor, or -1 when there will be none. */
static int take_listener(struct calls_shared *shared)
{
	int listener, pidfd, fd;

	while (!(listener =
			 __atomic_load_n(&shared->listener, __ATOMIC_SEQ_CST)))
		if (__atomic_load_n(&shared->is_over, __ATOMIC_SEQ_CST))
			return -1;
		else
			usleep(100);
	pidfd = (int)syscall(SYS_pidfd_open, shared->pid, 0);
	fd = listener < 0 ? -1 :
			    (int)syscall(SYS_pidfd_getfd, pidfd, listener, 0);
	close(pidfd);
	__atomic_store_n(&shared->listener, 0, __ATOMIC_SEQ_CST);
	return fd;
}

static void decide(const struct calls *calls, int listener)
{
	struct seccomp_notif ask;
	struct seccomp_notif_resp answer = { 0 };
	struct call call;

	memset(&ask, 0, sizeof(ask));
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &ask))
		return; /* who asked has died */
	call.number = ask.data.nr;
	call.thread = (pid_t)ask.pid;
	memcpy(call.args, ask.data.args, sizeof(call.args));
	answer.id = ask.id;
	answer.error = calls->fn(&call, calls->data);
	if (answer.error == 0)
		answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	(void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
}

static void *serve(void *data)
{
	const struct calls *calls = data;
	struct pollfd fd = { .fd = take_listener(calls->shared),
			     .events = POLLIN };

	/* It hangs up when the last process with the filter has gone. */
	while (fd.fd >= 0 && !(fd.revents & POLLHUP)) {
		if (poll(&fd, 1, -1) == 1 && fd.revents & POLLIN)
			decide(calls, fd.fd);
	}
	if (fd.fd >= 0)
		close(fd.fd);
	return NULL;
}

void calls_watch(struct calls *calls)
{
	calls->shared = shared_memory(sizeof(*calls->shared));
	cr_assert(pthread_create(&calls->thread, NULL, serve, calls) == 0);
}

/* Paths of the test's directory: a child would get one of its own. */
struct start {
	struct calls *calls;
	const struct broker *broker;
	const char *config;
};

static int be_broker(void *data)
{
	const struct start *start = data;
	int log = open(start->broker->log, O_WRONLY | O_APPEND);
	int null = open("/dev/null", O_RDWR);

	if (log < 0 || null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 ||
	    dup2(log, 2) < 0)
		return 255;
	close_range(3, ~0u, 0);
	calls_enter(start->calls);
	execl(NETRINGD, "netringd", "-c", start->config, "--socket",
	      start->broker->socket, NULL);
	return 255;
}

void calls_start_broker(struct calls *calls, struct broker *broker)
{
	struct start start = { calls, broker, test_path("broker.conf") };
	int log;

	memset(broker, 0, sizeof(*broker));
	snprintf(broker->socket, sizeof(broker->socket), "%s",
		 test_path("broker.sock"));
	snprintf(broker->log, sizeof(broker->log), "%s",
		 test_path("broker.log"));
	setenv(NR_SOCKET_ENV, broker->socket, 1);
	log = open(broker->log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	cr_assert(log >= 0, "%s: %s", broker->log, strerror(errno));
	close(log);
	calls_watch(calls);
	broker->pid = child_start(0, be_broker, &start);
}

void calls_end(struct calls *calls)
{
	struct timespec deadline;

	__atomic_store_n(&calls->shared->is_over, 1, __ATOMIC_SEQ_CST);
	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += END_S;
	cr_assert_eq(pthread_timedjoin_np(calls->thread, NULL, &deadline), 0,
		     "a process that was watched goes on");
}
