/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Attacks on the doorbell: the lane rings by a send on a connection whose
 * other end is the attacker's, with all that the kernel lets it set there.
 */
#include "attacks.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <netring/ring.h>

/* ----------------------------------------------------------------- doorbell */

static int arm_in_a_loop(struct play *play, bool reads)
{
	struct nr_capture *capture;

	must_attach(capture, play);
	be_of_low_priority();
	/* The bells pile up, and nobody's description blocks the lane. */
	must(fcntl(capture->socket, F_SETFL, 0) == 0);
	while (goes_on(play)) {
		nr_return_arm(capture->lanes[0].page);
		if (reads)
			(void)recv(capture->socket, &(struct nr_msg){ 0 },
				   sizeof(struct nr_msg), MSG_DONTWAIT);
	}
	return 0;
}

int arm_and_never_read(struct play *play)
{
	return arm_in_a_loop(play, false);
}

int arm_and_read(struct play *play)
{
	return arm_in_a_loop(play, true);
}

struct pollers {
	struct nr_capture *capture;
	uint64_t end;
};

/* Sleeps apart from that, so as to cost the lane's time and not the CPU's. */
static void *poll_it(void *data)
{
	const struct pollers *pollers = data;
	struct pollfd fd = { .fd = pollers->capture->socket, .events = POLLIN };

	while (scene_now_ns() < pollers->end && !(fd.revents & POLLHUP)) {
		poll(&fd, 1, 100);
		usleep(2000);
	}
	return NULL;
}

/* Returns when it has been ended, or has not been in all that time. */
static void arm_now_and_then(struct nr_capture *capture, uint64_t end)
{
	struct nr_msg bell;
	ssize_t n = 1;

	while (n != 0 && scene_now_ns() < end) {
		do {
			n = recv(capture->socket, &bell, sizeof(bell),
				 MSG_DONTWAIT);
		} while (n > 0);
		nr_return_arm(capture->lanes[0].page);
		usleep(4000);
	}
}

int poll_with_many_threads(struct play *play)
{
	struct pollers pollers = { .end = play->end_ns };
	pthread_attr_t attr;
	pthread_t thread;

	must_attach(pollers.capture, play);
	be_of_low_priority();
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 65536);
	for (int i = 0; i < 200; i++)
		must(pthread_create(&thread, &attr, poll_it, &pollers) == 0);
	arm_now_and_then(pollers.capture, pollers.end);
	fflush(NULL);
	_exit(0); /* the threads with it */
}

/*
 * The same without threads: epolls, each with hundreds of duplicates of the
 * connection, are called one after the other by one ring. The lane learns what
 * a ring costs by ringing, so the first one costs what it costs (some 0.3 us a
 * watcher, and a user has fs.epoll.max_user_watches of them).
 */
#define WATCHERS 64000
#define DUPLICATES 500
#define PLACES_MAX 1000000

int watch_with_many_epolls(struct play *play)
{
	struct nr_capture *capture;
	const struct rlimit limit = { 4096, 4096 };
	int fds[DUPLICATES];

	must_attach(capture, play);
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	for (int i = 0; i < DUPLICATES; i++)
		must((fds[i] = dup(capture->socket)) >= 0);
	for (int n = 0; n < WATCHERS; n += DUPLICATES) {
		struct epoll_event event = { .events = EPOLLIN | EPOLLET };
		int epoll = epoll_create1(0);

		must(epoll >= 0);
		for (int i = 0; i < DUPLICATES; i++)
			must(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event) ==
			     0);
	}
	arm_now_and_then(capture, play->end_ns);
	return 0;
}

/*
 * One call to poll may name a connection as often as a process may have
 * descriptors, and each time is a place in the queue that a ring walks.
 */
static int poll_one_many_times(int socket, uint64_t end_ns)
{
	struct rlimit limit;
	struct pollfd *fds;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur > PLACES_MAX)
		limit.rlim_cur = PLACES_MAX;
	fds = calloc(limit.rlim_cur, sizeof(*fds));
	must(fds);
	for (rlim_t i = 0; i < limit.rlim_cur; i++)
		fds[i] = (struct pollfd){ .fd = socket, .events = POLLIN };
	while (scene_now_ns() < end_ns && poll(fds, limit.rlim_cur, 100) >= 0 &&
	       !(fds[0].revents & POLLHUP))
		continue;
	return 0;
}

int poll_at_many_places(struct play *play)
{
	struct nr_capture *capture;
	pid_t pids[4];

	must_attach(capture, play);
	be_of_low_priority();
	for (int i = 0; i < 4; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			_exit(poll_one_many_times(capture->socket,
						  play->end_ns));
	}
	arm_now_and_then(capture, play->end_ns);
	nr_capture_close(capture);
	for (int i = 0; i < 4; i++)
		must(waitpid(pids[i], NULL, 0) == pids[i]);
	return 0;
}

/* --------------------------------------------------- the attacker's own end */

static void ring_often(const struct nr_capture *capture, unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		nr_return_arm(capture->lanes[0].page);
		usleep(100);
	}
}

/* Bells into a pipe, and the pipe into a socket that takes no more. */
static int splice_into_full_socket(int bell)
{
	int pipes[2], pair[2];
	char bytes[4096] = "";

	must(pipe(pipes) == 0);
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	while (send(pair[0], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		continue;
	must(write(pipes[1], bytes, sizeof(bytes)) == sizeof(bytes));
	for (;;) {
		(void)!splice(bell, NULL, pipes[1], NULL, 4096,
			      SPLICE_F_NONBLOCK);
		(void)!splice(pipes[0], NULL, pair[0], NULL, 4096, 0);
	}
}

int splice_the_bell(struct play *play)
{
	struct nr_capture *capture;
	pid_t pid;

	must_attach(capture, play);
	pid = fork();
	if (pid == 0)
		_exit(splice_into_full_socket(capture->socket));
	while (goes_on(play))
		ring_often(capture, 10);
	must(waitpid(pid, NULL, WNOHANG) == 0); /* it hangs, and nobody else */
	kill(pid, SIGKILL);
	must(waitpid(pid, NULL, 0) == pid);
	return 0;
}

/* Whatever can be set on the end that it has. */
int tune_the_socket(struct play *play)
{
	static const int names[] = { SO_RCVBUF,	   SO_SNDBUF,
				     SO_PASSCRED,  SO_PASSSEC,
				     SO_LINGER,	   SO_TIMESTAMPNS,
				     SO_OOBINLINE, SO_BROADCAST,
				     SO_MARK,	   SO_PRIORITY,
				     SO_RCVLOWAT,  SO_PEEK_OFF,
				     SO_BUSY_POLL, 76 /* SO_PASSPIDFD */,
				     SO_RCVTIMEO,  SO_SNDTIMEO };
	static const int values[] = { 0, 1, -1, 4608, 1 << 28, INT32_MAX };
	struct nr_capture *capture;
	uint64_t x = play->seed | 1;

	must_attach(capture, play);
	while (goes_on(play)) {
		char bytes[256];

		x = x * 6364136223846793005u + 1442695040888963407u;
		(void)setsockopt(capture->socket, SOL_SOCKET,
				 names[(x >> 33) % 16], &values[(x >> 40) % 6],
				 sizeof(int));
		ring_often(capture, 3);
		if (x >> 63)
			(void)recv(capture->socket, bytes, sizeof(bytes),
				   MSG_DONTWAIT |
					   ((x >> 62) & 1 ? MSG_PEEK : 0));
	}
	return 0;
}

static void count_signal(int number)
{
	(void)number;
}

/* A whole process group is sent SIGIO by the lane's send. */
int signal_at_each_bell(struct play *play)
{
	struct nr_capture *capture;
	struct nr_msg bell;

	must_attach(capture, play);
	must(setpgid(0, 0) == 0 || getpgrp() == getpid());
	signal(SIGIO, SIG_IGN);
	for (int i = 0; i < 200; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			signal(SIGIO, count_signal);
			while (goes_on(play))
				usleep(100000);
			_exit(0);
		}
	}
	must(fcntl(capture->socket, F_SETOWN, -getpgrp()) == 0);
	must(fcntl(capture->socket, F_SETFL, O_ASYNC | O_NONBLOCK) == 0);
	while (goes_on(play)) {
		ring_often(capture, 2);
		(void)recv(capture->socket, &bell, sizeof(bell), MSG_DONTWAIT);
	}
	return 0;
}

struct holding {
	struct play *play;
	int socket;
};

/* Keeps the locks of queue and wait queue busy, at the lowest priority. */
static void *hold_locks(void *data)
{
	const struct holding *holding = data;
	struct pollfd fds[64];
	char bytes[2048];

	for (int i = 0; i < 64; i++)
		fds[i] = (struct pollfd){ holding->socket, POLLIN, 0 };
	while (goes_on(holding->play)) {
		poll(fds, 64, 0);
		for (int i = 0; i < 100; i++)
			if (recv(holding->socket, bytes, sizeof(bytes),
				 MSG_PEEK | MSG_DONTWAIT) == 0)
				return NULL;
	}
	return NULL;
}

int hold_the_socket_s_locks(struct play *play)
{
	struct nr_capture *capture;
	struct holding holding = { .play = play };
	struct nr_msg bell;
	pthread_t threads[4];

	must_attach(capture, play);
	holding.socket = capture->socket;
	be_of_low_priority();
	for (int i = 0; i < 4; i++)
		must(pthread_create(&threads[i], NULL, hold_locks, &holding) ==
		     0);
	while (goes_on(play)) {
		ring_often(capture, 20);
		(void)recv(capture->socket, &bell, sizeof(bell), MSG_DONTWAIT);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	return 0;
}

/* --------------------------------------------------- garbage of the kernel */

static int send_fd(int socket, int fd)
{
	struct nr_msg msg;

	wire_init(&msg, NR_MSG_BELL, sizeof(msg), 0);
	return wire_send(socket, &msg, &fd, 1);
}

/*
 * Sockets whose only reference is in their own queue: the kernel's collector
 * has to find them, and those who send descriptors may have to wait for it.
 */
int send_sockets_in_circles(struct play *play)
{
	const struct rlimit limit = { 4096, 4096 };
	struct nr_capture *capture;

	(void)setrlimit(RLIMIT_NOFILE, &limit);
	must_attach(capture, play);
	while (goes_on(play)) {
		for (int i = 0; i < 200; i++) {
			int pair[2];

			if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair))
				break;
			(void)send_fd(pair[0], pair[0]);
			(void)send_fd(pair[0], pair[1]);
			(void)send_fd(pair[1], pair[0]);
			(void)send_fd(pair[1], capture->socket);
			close(pair[0]);
			close(pair[1]);
		}
		ring_often(capture, 10);
	}
	return 0;
}
