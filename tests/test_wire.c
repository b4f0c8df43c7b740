/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages and their end, as they leave and arrive in one connection. */
#include "wire.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int ends[2];

static void connect_pair(void)
{
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
}

static void close_pair(void)
{
	close(ends[0]);
	close(ends[1]);
}

static int send_bell(void)
{
	struct nr_msg msg;

	wire_init(&msg, NR_MSG_BELL, sizeof(msg), 7);
	return wire_send(ends[1], &msg, NULL, 0);
}

Test(wire, tells_nothing_from_the_end)
{
	struct wire_msg msg;

	connect_pair();
	cr_assert_eq(wire_recv(ends[0], &msg), -EAGAIN);
	cr_assert_eq(send_bell(), 0);
	cr_assert_eq(wire_recv(ends[0], &msg), 1);
	cr_assert_eq(msg.msg.id, 7);
	cr_assert_eq(send_bell(), 0);
	shutdown(ends[1], SHUT_RDWR);
	cr_assert_eq(wire_recv(ends[0], &msg), 1);
	cr_assert_eq(wire_recv(ends[0], &msg), 0);
	cr_assert_eq(wire_recv(ends[0], &msg), 0);
	close_pair();
}

Test(wire, an_empty_message_is_an_error_and_no_end)
{
	struct wire_msg msg;

	connect_pair();
	cr_assert_eq(send(ends[1], "", 0, 0), 0);
	cr_assert_eq(wire_recv(ends[0], &msg), -EPROTO);
	cr_assert_eq(send(ends[1], "", 0, 0), 0);
	cr_assert_eq(send_bell(), 0);
	cr_assert_eq(wire_recv(ends[0], &msg), -EPROTO);
	cr_assert_eq(wire_recv(ends[0], &msg), 1);
	close_pair();
}

/* One has no room for what came: no matter whose fault, no peer's. */
Test(wire, a_table_without_room_is_no_error_of_the_peer)
{
	const int fds[2] = { STDIN_FILENO, STDOUT_FILENO };
	struct rlimit before, limit;
	struct wire_msg msg;
	struct nr_msg bell;

	connect_pair();
	wire_init(&bell, NR_MSG_BELL, sizeof(bell), 7);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	for (unsigned room = 0; room < 2; room++) {
		int next = dup(STDIN_FILENO);

		close(next);
		cr_assert_eq(wire_send(ends[1], &bell, fds, 2), 0);
		limit = before;
		limit.rlim_cur = (rlim_t)next + room;
		cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
		cr_assert_eq(wire_recv(ends[0], &msg), -EMFILE);
		cr_assert_eq(msg.fd_count, 0);
		cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	}
	cr_assert_eq(wire_send(ends[1], &bell, fds, 2), 0);
	cr_assert_eq(wire_recv(ends[0], &msg), 1);
	cr_assert_eq(msg.fd_count, 2);
	wire_close_fds(&msg);
	close_pair();
}

#define RACE_S 3

static void *send_and_end(void *data)
{
	(void)data;
	send_bell();
	send_bell();
	shutdown(ends[1], SHUT_RDWR);
	return NULL;
}

/*
 * A receiver that looks while both messages and the end come: the kernel says
 * "end" with them still to be read, once in a thousand times.
 */
Test(wire, a_message_just_before_the_end_is_not_lost, .timeout = 60)
{
	time_t end = time(NULL) + RACE_S;

	while (time(NULL) < end) {
		struct wire_msg msg;
		unsigned count = 0;
		pthread_t thread;
		int r;

		connect_pair();
		cr_assert_eq(pthread_create(&thread, NULL, send_and_end, NULL),
			     0);
		while ((r = wire_recv(ends[0], &msg)) == 1 || r == -EAGAIN)
			count += r == 1;
		cr_assert_eq(r, 0);
		cr_assert_eq(count, 2);
		pthread_join(thread, NULL);
		close_pair();
	}
}
