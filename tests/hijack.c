// SPDX-License-Identifier: BSD-2-Clause
/* What an engine that was taken over can say, said from outside. */
#include "hijack.h"

#include <criterion/criterion.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define THREAD O_EXCL /* PIDFD_THREAD */

int hijack_fd(pid_t engine, enum priv_fd number)
{
	int pidfd = (int)syscall(SYS_pidfd_open, engine, 0);
	int fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);

	cr_assert(pidfd >= 0 && fd >= 0, "%s", strerror(errno));
	close(pidfd);
	return fd;
}

/* The thread with a descriptor table of its own. */
static pid_t mapper_of(pid_t engine)
{
	pid_t mapper = 0;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", engine);
	dir = opendir(path);
	cr_assert(dir);
	for (struct dirent *entry; (entry = readdir(dir));) {
		pid_t thread = atoi(entry->d_name);

		if (thread != 0 &&
		    syscall(SYS_kcmp, engine, thread, KCMP_FILES, 0, 0) != 0)
			mapper = thread;
	}
	closedir(dir);
	cr_assert(mapper);
	return mapper;
}

int hijack_rings(pid_t engine)
{
	int pidfd = (int)syscall(SYS_pidfd_open, mapper_of(engine), THREAD);
	int fd = (int)syscall(SYS_pidfd_getfd, pidfd, PRIV_FD_RINGS, 0);

	cr_assert(pidfd >= 0 && fd >= 0, "%s", strerror(errno));
	close(pidfd);
	return fd;
}

void *hijack_map(int rings, size_t size)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	uint32_t number;
	struct iovec iov = { &number, sizeof(number) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.bytes,
			      .msg_controllen = sizeof(control.bytes) };
	void *ring;
	int fd;

	cr_assert_eq(recvmsg(rings, &msg, MSG_DONTWAIT), sizeof(number));
	cr_assert(CMSG_FIRSTHDR(&msg));
	memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
	ring = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cr_assert(ring != MAP_FAILED, "%s", strerror(errno));
	close(fd);
	return ring;
}

int hijack_socket(pid_t engine)
{
	return hijack_fd(engine, PRIV_FD_WARDEN);
}

bool hijack_say(int socket, pid_t pid, const void *bytes, size_t size)
{
	const struct ucred sender = { .pid = pid };
	struct iovec iov = { (void *)(uintptr_t)bytes, size };
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(sender))];
	} control = { .header = { .cmsg_len = CMSG_LEN(sizeof(sender)),
				  .cmsg_level = SOL_SOCKET,
				  .cmsg_type = SCM_CREDENTIALS } };
	const struct msghdr msg = { .msg_iov = &iov,
				    .msg_iovlen = 1,
				    .msg_control = control.bytes,
				    .msg_controllen = sizeof(control.bytes) };

	memcpy(CMSG_DATA(&control.header), &sender, sizeof(sender));
	return sendmsg(socket, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) > 0;
}

bool hijack_ask(int socket, pid_t pid, const struct priv_request *request)
{
	return hijack_say(socket, pid, request, sizeof(*request));
}

int hijack_status(int socket, pid_t engine, const struct priv_request *request)
{
	struct priv_reply reply;

	cr_assert(hijack_ask(socket, engine, request));
	cr_assert_eq(recv(socket, &reply, sizeof(reply), 0), sizeof(reply));
	return reply.status;
}
