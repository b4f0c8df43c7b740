/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The thread that maps rings: it is given descriptors, each with a number, and
 * maps the one that is meant.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "priv.h"
#include "ring_mapper.h"
#include "scene.h"

#define SIZE 4096

TestSuite(ring_mapper, .timeout = 60);

/* As the warden does: a ring, here a file that holds its number. */
static bool send_ring(int socket, uint32_t number)
{
	int fd = memfd_create("ring", MFD_CLOEXEC);

	return ftruncate(fd, SIZE) == 0 &&
	       pwrite(fd, &number, sizeof(number), 0) == sizeof(number) &&
	       send_with_fd(socket, &number, sizeof(number), fd);
}

static uint32_t number_in(const void *ring)
{
	uint32_t number;

	memcpy(&number, ring, sizeof(number));
	return number;
}

/* Ring 1 was opened for nobody, as its reply could not be taken. */
static int map_some(void *data)
{
	int pair[2];
	void *ring;

	(void)data;
	must(ring_mapper_map(1, SIZE, &ring) == -ESRCH);
	must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
	must(dup2(pair[0], 100) == 100 && dup2(pair[1], PRIV_FD_RINGS) >= 0);
	for (uint32_t number = 1; number <= 3; number++)
		must(send_ring(100, number));
	must(ring_mapper_start() == 0);
	must(ring_mapper_map(2, SIZE, &ring) == 0 && number_in(ring) == 2);
	must(ring_mapper_map(3, SIZE, &ring) == 0 && number_in(ring) == 3);
	must(ring_mapper_map(4, SIZE, &ring) == -EAGAIN);
	/* It is not in this thread's table. */
	must(close(PRIV_FD_RINGS) < 0 && errno == EBADF);
	return 0;
}

Test(ring_mapper, maps_the_ring_that_is_meant)
{
	cr_assert_eq(child_wait(child_start(0, map_some, NULL)), 0);
}
