/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One message, whole or not at all: what is cut, empty, or longer or shorter
 * than it says never gets past this file, and no descriptor that came with it
 * stays open.
 */
#include "wire.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(WIRE_FDS_MAX * sizeof(int))];
};

void wire_init(struct nr_msg *msg, uint32_t type, size_t length, uint32_t id)
{
	msg->major = NR_ABI_MAJOR;
	msg->minor = NR_ABI_MINOR;
	msg->type = type;
	msg->length = (uint32_t)length;
	msg->id = id;
}

static void put_fds(struct msghdr *header, union control *control,
		    const int *fds, unsigned fd_count)
{
	struct cmsghdr *cmsg;

	memset(control, 0, sizeof(*control));
	header->msg_control = control->bytes;
	header->msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
	cmsg = CMSG_FIRSTHDR(header);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
	memcpy(CMSG_DATA(cmsg), fds, fd_count * sizeof(int));
}

int wire_send(int socket, const struct nr_msg *msg, const int *fds,
	      unsigned fd_count)
{
	struct iovec iov = { (void *)(uintptr_t)msg, msg->length };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };
	union control control;
	ssize_t sent;

	if (fd_count > WIRE_FDS_MAX || msg->length < sizeof(*msg) ||
	    msg->length > NR_MSG_MAX)
		return -EINVAL;
	if (fd_count)
		put_fds(&header, &control, fds, fd_count);
	do {
		sent = sendmsg(socket, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

static void take_fds(struct msghdr *header, struct wire_msg *msg)
{
	struct cmsghdr *cmsg;

	for (cmsg = CMSG_FIRSTHDR(header); cmsg;
	     cmsg = CMSG_NXTHDR(header, cmsg)) {
		size_t n;

		if (cmsg->cmsg_level != SOL_SOCKET ||
		    cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		/* the control buffer has room for no more */
		if (n > WIRE_FDS_MAX - msg->fd_count)
			n = WIRE_FDS_MAX - msg->fd_count;
		memcpy(msg->fds + msg->fd_count, CMSG_DATA(cmsg),
		       n * sizeof(int));
		msg->fd_count += (unsigned)n;
	}
}

/*
 * What 0 bytes mean. An empty message reads as the end of the connection does,
 * but then there is no end. And the kernel looks for a message first and for
 * the end second: when both came in between it says the end, with the message
 * still to be read. Returns 1 for that, 0 at the end, or -EPROTO.
 */
static int end_or_empty(int socket)
{
	struct pollfd fd = { .fd = socket, .events = POLLRDHUP };
	const struct timespec at_once = { 0, 0 };
	char byte;
	ssize_t n;

	do {
		n = ppoll(&fd, 1, &at_once, NULL);
	} while (n < 0 && errno == EINTR);
	if (!(fd.revents & (POLLRDHUP | POLLHUP)))
		return -EPROTO;
	do {
		n = recv(socket, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
	} while (n < 0 && errno == EINTR);
	return n > 0;
}

/* As wire_recv(); 1 with a length of 0: look again. */
static int recv_once(int socket, struct wire_msg *msg)
{
	struct iovec iov = { msg->bytes, sizeof(msg->bytes) };
	union control control;
	struct msghdr header = { .msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = control.bytes,
				 .msg_controllen = sizeof(control.bytes) };
	ssize_t n;

	msg->length = 0;
	msg->fd_count = 0;
	do {
		n = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	take_fds(&header, msg);
	if (n == 0) {
		wire_close_fds(msg);
		return end_or_empty(socket);
	}
	memset(msg->bytes + n, 0, sizeof(msg->bytes) - (size_t)n);
	msg->length = (size_t)n;
	if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ||
	    msg->length < sizeof(msg->msg) || msg->msg.length != msg->length) {
		/* Room there was for more: it is our table that is full. */
		bool is_full = (header.msg_flags & MSG_CTRUNC) &&
			       msg->fd_count < WIRE_FDS_MAX;

		wire_close_fds(msg);
		return is_full ? -EMFILE : -EPROTO;
	}
	return 1;
}

int wire_recv(int socket, struct wire_msg *msg)
{
	int r;

	do {
		r = recv_once(socket, msg);
	} while (r == 1 && msg->length == 0);
	return r;
}

void wire_close_fds(struct wire_msg *msg)
{
	while (msg->fd_count)
		close(msg->fds[--msg->fd_count]);
}
