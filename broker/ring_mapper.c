// SPDX-License-Identifier: BSD-2-Clause
/*
 * Who holds the socket of an AF_PACKET ring can send on its interface. So the
 * engine never does: a thread that shares its memory, and not its descriptors,
 * gets the sockets, maps their rings and closes them. It can make no other
 * call. Whoever takes the engine over, this thread too, finds rings mapped, and
 * no way from one to a socket that sends or that can be passed on.
 */
#include "ring_mapper.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lane_sched.h"
#include "priv.h"
#include "sandbox.h"

/*
 * No engine is sent a ring twice: where there is no memory to map it for a
 * moment, all of the engine would have to make room for another.
 */
#define TRIES 3

static struct {
	sem_t wanted;
	sem_t done;
	uint32_t number;
	size_t size;
	void *ring;
	int err;
} job;

/* Why there is no such thread. */
static int start_error = -ESRCH;

static void wait_for(sem_t *semaphore)
{
	while (sem_wait(semaphore))
		; /* a debugger's signal */
}

/* The socket of the next ring that the warden has sent, or -errno. */
static int receive(uint32_t *number)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = number, .iov_len = sizeof(*number) };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t n =
		recvmsg(PRIV_FD_RINGS, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	struct cmsghdr *cmsg = n < 0 ? NULL : CMSG_FIRSTHDR(&msg);
	int fd;

	if (n < 0)
		return -errno;
	if (!cmsg)
		return msg.msg_flags & MSG_CTRUNC ? -EMFILE : -EPROTO;
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	return fd;
}

/* One that was sent before, and that nobody came to take, is dropped. */
static int receive_number(uint32_t wanted)
{
	uint32_t number = 0;
	int fd, tries = TRIES;

	for (;;) {
		fd = receive(&number);
		if ((fd == -ENOMEM || fd == -EINTR) && --tries > 0)
			continue;
		if (fd < 0 || number == wanted)
			return fd;
		close(fd);
	}
}

static int map(void)
{
	int fd = receive_number(job.number);
	int err = 0;

	if (fd < 0)
		return fd;
	for (int i = 0; i < TRIES; i++) {
		job.ring = mmap(NULL, job.size, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_POPULATE, fd, 0);
		err = job.ring == MAP_FAILED ? -errno : 0;
		if (!err)
			break;
	}
	close(fd);
	return err;
}

/* Of what is open now it keeps stderr and the socket for rings. */
static int leave_descriptors(void)
{
	if (unshare(CLONE_FILES) ||
	    close_range(STDERR_FILENO + 1, PRIV_FD_RINGS - 1, 0) ||
	    close_range(PRIV_FD_RINGS + 1, ~0u, 0))
		return -errno;
	return 0;
}

static void *serve(void *data)
{
	int err = leave_descriptors();

	lane_sched_normal();
	job.err = err ? err : sandbox_enter_mapper();
	sem_post(&job.done);
	if (job.err)
		return data;
	for (;;) {
		wait_for(&job.wanted);
		job.err = map();
		sem_post(&job.done);
	}
}

/* No signal is for it: what handlers do is not what it may do. */
static int start_deaf(void)
{
	sigset_t all, before;
	pthread_t thread;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&thread, NULL, serve, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -err;
}

int ring_mapper_start(void)
{
	int err;

	sem_init(&job.wanted, 0, 0);
	sem_init(&job.done, 0, 0);
	err = start_deaf();
	if (!err) {
		wait_for(&job.done);
		err = job.err;
	}
	close(PRIV_FD_RINGS);
	start_error = err;
	return err;
}

int ring_mapper_map(uint32_t number, size_t size, void **ring)
{
	if (start_error)
		return start_error;
	job.number = number;
	job.size = size;
	sem_post(&job.wanted);
	wait_for(&job.done);
	if (!job.err)
		*ring = job.ring;
	return job.err;
}
