/* SPDX-License-Identifier: BSD-2-Clause */
/* One message of the control protocol and the descriptors that come with it. */
#ifndef NETRING_WIRE_H
#define NETRING_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include <netring/proto.h>

#define WIRE_FDS_MAX 4

/* A received message: aligned, zero-padded up to NR_MSG_MAX. */
struct wire_msg {
	union {
		struct nr_msg msg;
		uint64_t align;
		uint8_t bytes[NR_MSG_MAX];
	};
	size_t length; /* bytes received */
	int fds[WIRE_FDS_MAX];
	unsigned fd_count;
};

/* Fills in the header: version, type, length, id. */
void wire_init(struct nr_msg *msg, uint32_t type, size_t length, uint32_t id);

/*
 * Sends one message, never blocking, never raising SIGPIPE. Lends the
 * descriptors. Returns 0 or -errno (-EAGAIN: the peer does not read).
 */
int wire_send(int socket, const struct nr_msg *msg, const int *fds,
	      unsigned fd_count);

/*
 * Receives one message, never blocking. The caller takes the descriptors
 * (close-on-exec), see wire_close_fds(). The header is checked: a
 * message is as long as it says and at least a header.
 *
 * Returns 1; 0 at the end of the connection; -EAGAIN if there is none;
 * -EPROTO for a message that is empty, cut, or lies about its length, or that
 * brings more than WIRE_FDS_MAX descriptors (all closed); or -errno.
 */
int wire_recv(int socket, struct wire_msg *msg);

/* Closes the descriptors of a message that nobody took. */
void wire_close_fds(struct wire_msg *msg);

#endif
