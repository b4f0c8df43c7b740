// SPDX-License-Identifier: BSD-2-Clause
/* The engine's half of each verb: one request, one reply, no concurrency. */
#include "priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

#define TRIES_MAX 100 /* 1 ms apart */

/* Without its warden the engine has nothing to serve. */
static void warden_is_gone(ssize_t n)
{
	if (n < 0)
		log_error("engine: cannot talk to the warden: %s",
			  strerror(errno));
	else
		log_error("engine: the warden is gone");
	exit(1);
}

/* @count of them; or what came goes, when our table had no room for all. */
static int take_fds(struct msghdr *msg, int *fds, unsigned count)
{
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);
	int came[PRIV_FDS_MAX];
	size_t n = cmsg ? (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;

	if (n > 0)
		memcpy(came, CMSG_DATA(cmsg), n * sizeof(int));
	if (!(msg->msg_flags & MSG_CTRUNC)) {
		if (n != count)
			warden_is_gone(1);
		memcpy(fds, came, n * sizeof(int));
		return 0;
	}
	while (n > 0)
		close(came[--n]);
	log_error("engine: no descriptor is left for what the warden gives");
	return -EMFILE;
}

/* Short of memory, the kernel may have some in a moment. */
static bool is_worth_a_try(unsigned *tries)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	if (errno == EINTR)
		return true;
	if ((errno != ENOBUFS && errno != ENOMEM) || ++*tries > TRIES_MAX)
		return false;
	nanosleep(&pause, NULL);
	return true;
}

static int receive(struct priv_reply *reply, int *fds, unsigned fd_count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(PRIV_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = reply, .iov_len = sizeof(*reply) };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	unsigned tries = 0;
	ssize_t n;

	do
		n = recvmsg(PRIV_FD_WARDEN, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && is_worth_a_try(&tries));
	if (n != sizeof(*reply))
		warden_is_gone(n);
	if (reply->status && reply->why[0])
		log_keep_text(reply->why);
	if (reply->status || fd_count == 0)
		return reply->status;
	return take_fds(&msg, fds, fd_count);
}

static int ask(const struct priv_request *request, struct priv_reply *reply,
	       int *fds, unsigned fd_count)
{
	unsigned tries = 0;
	ssize_t n;

	do
		n = send(PRIV_FD_WARDEN, request, sizeof(*request),
			 MSG_NOSIGNAL);
	while (n < 0 && is_worth_a_try(&tries));
	if (n != sizeof(*request))
		warden_is_gone(n);
	return receive(reply, fds, fd_count);
}

static struct priv_request request_of(uint32_t verb, uint32_t source,
				      uint32_t interface, uint32_t lane,
				      uint32_t count)
{
	return (struct priv_request){ .verb = verb,
				      .source = source,
				      .interface = interface,
				      .lane = lane,
				      .count = count };
}

static int ask_plainly(uint32_t verb, uint32_t source)
{
	const struct priv_request request = { .verb = verb, .source = source };
	struct priv_reply reply;

	return ask(&request, &reply, NULL, 0);
}

int priv_packet_open(uint32_t source, uint32_t interface, uint32_t lane,
		     struct priv_reply *reply, int *epoll_fd)
{
	const struct priv_request request =
		request_of(PRIV_PACKET_OPEN, source, interface, lane, 0);

	return ask(&request, reply, epoll_fd, 1);
}

int priv_packet_start(uint32_t source)
{
	return ask_plainly(PRIV_PACKET_START, source);
}

int priv_packet_stats(uint32_t source, uint32_t interface, uint32_t lane,
		      struct priv_reply *reply)
{
	const struct priv_request request =
		request_of(PRIV_PACKET_STATS, source, interface, lane, 0);

	return ask(&request, reply, NULL, 0);
}

int priv_packet_users(uint32_t source, uint32_t interface, uint32_t lane,
		      const struct users *users)
{
	struct priv_request request =
		request_of(PRIV_PACKET_USERS, source, interface, lane, 0);
	struct priv_reply reply;

	request.users = *users;
	return ask(&request, &reply, NULL, 0);
}

int priv_packet_broken(uint32_t source, uint32_t interface, uint32_t lane)
{
	const struct priv_request request =
		request_of(PRIV_PACKET_BROKEN, source, interface, lane, 0);
	struct priv_reply reply;

	return ask(&request, &reply, NULL, 0);
}

int priv_packet_error(uint32_t source, uint32_t interface, uint32_t lane,
		      struct priv_reply *reply)
{
	const struct priv_request request =
		request_of(PRIV_PACKET_ERROR, source, interface, lane, 0);

	return ask(&request, reply, NULL, 0);
}

int priv_xdp_umem(uint32_t source, uint32_t interface, uint32_t lane,
		  uint64_t *size, int *fd)
{
	const struct priv_request request =
		request_of(PRIV_XDP_UMEM, source, interface, lane, 0);
	struct priv_reply reply;
	int err = ask(&request, &reply, fd, 1);

	if (!err)
		*size = reply.xdp.umem_size;
	return err;
}

int priv_xdp_open(uint32_t source, uint32_t interface, uint32_t lane,
		  bool is_new, struct priv_reply *reply, int fds[PRIV_FDS_MAX])
{
	const struct priv_request request =
		request_of(PRIV_XDP_OPEN, source, interface, lane, is_new);

	return ask(&request, reply, fds, 2);
}

int priv_xdp_close(uint32_t source, uint32_t interface)
{
	const struct priv_request request =
		request_of(PRIV_XDP_CLOSE, source, interface, 0, 0);
	struct priv_reply reply;

	return ask(&request, &reply, NULL, 0);
}

int priv_xdp_take(uint32_t source, uint32_t interface, uint32_t lane,
		  uint32_t how, uint64_t *passed)
{
	const struct priv_request request =
		request_of(PRIV_XDP_TAKE, source, interface, lane, how);
	struct priv_reply reply;
	int err = ask(&request, &reply, NULL, 0);

	if (!err && passed)
		*passed = reply.taken.passed;
	return err;
}

int priv_xdp_stats(uint32_t source, uint32_t interface, uint32_t lane,
		   struct priv_reply *reply)
{
	const struct priv_request request =
		request_of(PRIV_XDP_STATS, source, interface, lane, 0);

	return ask(&request, reply, NULL, 0);
}

int priv_xdp_link(uint32_t source, uint32_t interface, uint32_t lane,
		  struct priv_reply *reply)
{
	const struct priv_request request =
		request_of(PRIV_XDP_LINK, source, interface, lane, 0);

	return ask(&request, reply, NULL, 0);
}

int priv_return_pages(uint32_t count, int *fd)
{
	const struct priv_request request = { .verb = PRIV_RETURN_PAGES,
					      .count = count };
	struct priv_reply reply;

	return ask(&request, &reply, fd, 1);
}

int priv_replay_open(uint32_t source, int *fd)
{
	const struct priv_request request = { .verb = PRIV_REPLAY_OPEN,
					      .source = source };
	struct priv_reply reply;

	return ask(&request, &reply, fd, 1);
}

int priv_process_name(pid_t pid, char name[PRIV_NAME_MAX])
{
	const struct priv_request request = { .verb = PRIV_PROCESS_NAME,
					      .count = (uint32_t)pid };
	struct priv_reply reply;
	int err = ask(&request, &reply, NULL, 0);

	if (!err)
		memcpy(name, reply.name, PRIV_NAME_MAX);
	return err;
}

int priv_start(struct priv_reply *reply)
{
	const struct priv_request request = { .verb = PRIV_START };

	return ask(&request, reply, NULL, 0);
}

int priv_ready(void)
{
	return ask_plainly(PRIV_READY, 0);
}

int priv_reload(int *fd, bool *is_refused)
{
	const struct priv_request request = { .verb = PRIV_RELOAD };
	struct priv_reply reply;
	int err = ask(&request, &reply, fd, 1);

	*is_refused = !err && reply.reload.is_refused;
	return err;
}

int priv_commit(void)
{
	return ask_plainly(PRIV_COMMIT, 0);
}

int priv_abandon(void)
{
	return ask_plainly(PRIV_ABANDON, 0);
}
