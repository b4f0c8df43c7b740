// SPDX-License-Identifier: BSD-2-Clause
/*
 * What the engine may ask of the warden: a request is checked for its length,
 * its verb and its ranges; on anything else the warden ends, and the engine
 * with it.
 */
#include "warden_verbs.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <netring/layout.h>

#include "log.h"
#include "warden_held.h"
#include "warden_offload.h"

#define SEND_TRIES 100 /* of an answer, 1 ms apart */
/* Between two readings of the configuration. Who asks sooner waits. */
#define RELOAD_PERIOD_NS 50000000

uint64_t warden_clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void warden_surprise(const struct warden *warden, const char *what)
{
	log_error("the engine asked for something impossible (%s): stopping",
		  what);
	kill(warden->engine, SIGKILL);
	offload_restore();
	listener_remove(&warden->options->listener, warden->options->config);
	exit(1);
}

/*
 * As send(), with descriptors; tried again while it is the kernel that has no
 * memory. Ours reads what is sent: the warden waits for none that doesn't.
 */
static ssize_t send_with_fds(int socket, const void *bytes, size_t size,
			     const int *fds, unsigned count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(PRIV_FDS_MAX * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)bytes, size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *cmsg = &control.align;
	const struct timespec pause = { .tv_nsec = 1000000 };
	unsigned tries = 0;
	ssize_t n;

	if (count > 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, count * sizeof(int));
	}
	while ((n = sendmsg(socket, &msg, MSG_NOSIGNAL | MSG_DONTWAIT)) < 0 &&
	       (errno == ENOBUFS || errno == ENOMEM) && ++tries < SEND_TRIES)
		nanosleep(&pause, NULL);
	return n;
}

const struct config_source *
warden_requested_source(const struct warden *warden,
			const struct priv_request *request,
			enum config_backend backend)
{
	bool is_next = request->source >= PRIV_NEXT;
	uint32_t index = request->source - (is_next ? PRIV_NEXT : 0);
	const struct config *config =
		is_next ? warden->next : warden->options->config;

	if (!config || index >= config->source_count ||
	    config->sources[index].backend != (uint32_t)backend)
		warden_surprise(warden, "source");
	return &config->sources[index];
}

static struct packet_socket *requested_lane(struct warden *warden,
					    const struct priv_request *request)
{
	const struct config_source *source =
		warden_requested_source(warden, request, BACKEND_PACKET);

	if (request->interface >= source->interface_count ||
	    request->lane >= source->lanes)
		warden_surprise(warden, "lane");
	return &warden->sockets[request->source]
			       [request->interface * source->lanes +
				request->lane];
}

/*
 * A ring is memory for as long as the engine has it mapped, whatever it says.
 * So it gets each once, and none for a source that only stays what it is over a
 * reload.
 */
static bool is_present(const struct warden *warden,
		       const struct priv_request *request,
		       const struct config_source *source)
{
	const struct config *config = warden->options->config;

	for (uint32_t s = 0; s < config->source_count; s++)
		if (request->source >= PRIV_NEXT &&
		    strcmp(config->sources[s].name, source->name) == 0 &&
		    config_source_is_same(&config->sources[s], source))
			return true;
	return false;
}

/*
 * Another only if the warden itself sees why: the interface has gone, or a lane
 * of it is not open. One whose ring is broken is for the next engine.
 */
static bool may_open(const struct warden *warden,
		     const struct priv_request *request,
		     const struct config_source *source,
		     struct packet_socket *socket)
{
	const struct packet_socket *first = socket - request->lane;

	if (is_present(warden, request, source))
		return false;
	if (!socket->is_lent)
		return true;
	for (uint32_t l = 0; l < source->lanes; l++)
		if (first[l].fd < 0 ||
		    !asroot_packet_is_bound(source, request->interface,
					    &first[l]))
			return true;
	return false;
}

static int asroot_open(struct warden *warden,
		       const struct priv_request *request,
		       struct priv_reply *reply, int *fds)
{
	struct packet_socket *socket = requested_lane(warden, request);
	const struct config_source *source =
		warden_requested_source(warden, request, BACKEND_PACKET);
	struct packet_socket *first = socket - request->lane;
	int err = -ENODEV;

	if (!may_open(warden, request, source, socket)) {
		log_error("source %s: the engine wants another socket of "
			  "lane %u, and needs none: refused",
			  source->name, request->lane);
		return -EPERM;
	}
	/* Honest ones have it mapped until a lane has read it out. */
	if (held_rings(true) >= warden->rings_held) {
		log_error("source %s: the engine has not given back the rings "
			  "that it had: no other is opened until it does",
			  source->name);
		return -ENOSPC;
	}
	if (source->offloads_off)
		offload_off(source->interfaces[request->interface]);
	if (socket->is_kept)
		err = asroot_packet_lend(source, request->interface, socket,
					 reply);
	/* One of a fanout group that is not as it was: none of it is. */
	for (uint32_t l = 0; err && l < source->lanes; l++)
		if (first[l].is_kept)
			asroot_packet_close(&first[l]);
	if (err)
		err = asroot_packet_open(source, request->interface,
					 request->lane, socket, first, reply);
	if (err)
		return err;
	reply->packet.number = ++warden->rings_sent;
	if (send_with_fds(warden->rings_socket, &reply->packet.number,
			  sizeof(reply->packet.number), &socket->fd, 1) < 0)
		return -errno;
	socket->is_lent = true;
	fds[0] = socket->epoll_fd;
	return 1;
}

/* One that cannot have its filter rejects all, for ever: none is left. */
static int start_interface(const struct config_source *source,
			   struct packet_socket *lanes)
{
	int err = 0;

	for (uint32_t l = 0; l < source->lanes && !err; l++)
		if (lanes[l].fd >= 0)
			err = asroot_packet_start(source, &lanes[l]);
	for (uint32_t l = 0; l < source->lanes && err; l++)
		asroot_packet_close(&lanes[l]);
	return err;
}

static int asroot_start(struct warden *warden,
			const struct priv_request *request,
			struct priv_reply *reply, int *fds)
{
	const struct config_source *source =
		warden_requested_source(warden, request, BACKEND_PACKET);
	struct packet_socket *socket = warden->sockets[request->source];
	int err = 0;

	(void)reply;
	(void)fds;
	for (uint32_t i = 0; i < source->interface_count && !err; i++)
		err = start_interface(source, socket + i * source->lanes);
	return err;
}

static int asroot_stats(struct warden *warden,
			const struct priv_request *request,
			struct priv_reply *reply, int *fds)
{
	struct packet_socket *socket = requested_lane(warden, request);
	int err = asroot_packet_stats(socket);

	(void)fds;
	reply->stats.packets = socket->counts.packets - socket->before.packets;
	reply->stats.drops = socket->counts.drops - socket->before.drops;
	reply->stats.freezes = socket->counts.freezes - socket->before.freezes;
	reply->stats.drops_before = socket->before.drops;
	return err;
}

/* Whatever it says: it only makes the next engine wait for them. */
static int asroot_users(struct warden *warden,
			const struct priv_request *request,
			struct priv_reply *reply, int *fds)
{
	(void)reply;
	(void)fds;
	requested_lane(warden, request)->users = request->users;
	return 0;
}

/* At worst what was in the ring is lost, which was its own to give. */
static int asroot_broken(struct warden *warden,
			 const struct priv_request *request,
			 struct priv_reply *reply, int *fds)
{
	(void)reply;
	(void)fds;
	requested_lane(warden, request)->is_broken = true;
	return 0;
}

static int asroot_error(struct warden *warden,
			const struct priv_request *request,
			struct priv_reply *reply, int *fds)
{
	struct packet_socket *socket = requested_lane(warden, request);

	(void)fds;
	if (socket->fd < 0)
		return -EBADF;
	asroot_packet_error(warden_requested_source(warden, request,
						    BACKEND_PACKET),
			    request->interface, socket, reply);
	return 0;
}

static int asroot_return_pages(struct warden *warden,
			       const struct priv_request *request,
			       struct priv_reply *reply, int *fds)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);
	int err;

	(void)reply;
	if (request->count < 1 || request->count > NR_LANES_MAX)
		warden_surprise(warden, "return pages");
	if (request->count > RETURN_PAGES_MAX - warden->pages_made ||
	    request->count + warden->pages_made + warden->pages_held >
		    RETURN_PAGES_HELD)
		return -ENOSPC;
	fds[0] = bpf_map_create(BPF_MAP_TYPE_ARRAY, "netring_return",
				sizeof(uint32_t), NR_PAGE, request->count,
				&opts);
	if (fds[0] < 0)
		return fds[0];
	err = held_pages_add(fds[0], request->count);
	if (err) {
		close(fds[0]);
		return err;
	}
	warden->pages_made += request->count;
	return 1;
}

static int asroot_replay(struct warden *warden,
			 const struct priv_request *request,
			 struct priv_reply *reply, int *fds)
{
	const struct config_source *source =
		warden_requested_source(warden, request, BACKEND_REPLAY);

	(void)reply;
	fds[0] = open(source->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	return fds[0] < 0 ? -errno : 1;
}

static int asroot_ready(struct warden *warden,
			const struct priv_request *request,
			struct priv_reply *reply, int *fds)
{
	(void)request;
	(void)reply;
	(void)fds;
	warden->was_ready = true;
	warden->ready_ns = warden_clock_ns(CLOCK_MONOTONIC);
	if (warden->reload_is_due)
		kill(warden->engine, SIGHUP); /* it asks: PRIV_RELOAD */
	return 0;
}

/*
 * Clients ask for it through the engine, so the warden cannot know whether
 * anybody does; but no engine has it parse, or open, without a pause.
 */
static int asroot_paced_reload(struct warden *warden,
			       const struct priv_request *request,
			       struct priv_reply *reply, int *fds)
{
	uint64_t now = warden_clock_ns(CLOCK_MONOTONIC);
	uint64_t due = warden->reloaded_ns + RELOAD_PERIOD_NS;
	const struct timespec pause = { 0, due > now ? (long)(due - now) : 0 };

	if (warden->reloaded_ns && pause.tv_nsec)
		nanosleep(&pause, NULL);
	warden->reloaded_ns = warden_clock_ns(CLOCK_MONOTONIC);
	warden->reload_is_due = false;
	return asroot_reload(warden, request, reply, fds);
}

/*
 * The kernel's words, for the log: of any process, but no more than anybody
 * may know. Reading them waits for nothing that a process can hold.
 */
static int asroot_name(struct warden *warden,
		       const struct priv_request *request,
		       struct priv_reply *reply, int *fds)
{
	char path[32];
	ssize_t n;
	int fd;

	(void)warden;
	(void)fds;
	snprintf(path, sizeof(path), "/proc/%u/comm", request->count);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, reply->name, sizeof(reply->name) - 1);
	close(fd);
	if (n <= 0)
		return -ESRCH;
	if (reply->name[n - 1] == '\n')
		reply->name[n - 1] = '\0';
	return 0;
}

static int asroot_which(struct warden *warden,
			const struct priv_request *request,
			struct priv_reply *reply, int *fds)
{
	(void)request;
	(void)fds;
	reply->start.restarts = warden->restarts;
	reply->start.died_ns = warden->died_ns;
	return 0;
}

/*
 * All that the engine can have done. Each returns the number of descriptors
 * to send, or -errno; is_lent: they stay the warden's.
 */
static const struct verb {
	int (*act)(struct warden *warden, const struct priv_request *request,
		   struct priv_reply *reply, int *fds);
	bool is_lent;
} verbs[PRIV_VERBS] = {
	[PRIV_PACKET_OPEN] = { asroot_open, true },
	[PRIV_PACKET_START] = { asroot_start, false },
	[PRIV_PACKET_STATS] = { asroot_stats, false },
	[PRIV_PACKET_ERROR] = { asroot_error, false },
	[PRIV_XDP_UMEM] = { asroot_xumem, true },
	[PRIV_XDP_OPEN] = { asroot_xopen, true },
	[PRIV_XDP_CLOSE] = { asroot_xclose, false },
	[PRIV_XDP_TAKE] = { asroot_xtake, false },
	[PRIV_XDP_STATS] = { asroot_xstats, false },
	[PRIV_XDP_LINK] = { asroot_xlink, false },
	[PRIV_RETURN_PAGES] = { asroot_return_pages, false },
	[PRIV_REPLAY_OPEN] = { asroot_replay, false },
	[PRIV_READY] = { asroot_ready, false },
	[PRIV_RELOAD] = { asroot_paced_reload, false },
	[PRIV_COMMIT] = { asroot_commit, false },
	[PRIV_ABANDON] = { asroot_abandon, false },
	[PRIV_START] = { asroot_which, false },
	[PRIV_PACKET_USERS] = { asroot_users, false },
	[PRIV_PROCESS_NAME] = { asroot_name, false },
	[PRIV_PACKET_BROKEN] = { asroot_broken, false },
};

/*
 * An engine that died meanwhile is noticed by its SIGCHLD. Any other would wait
 * for ever, or for what the warden has done already.
 */
static void send_reply(struct warden *warden, const struct priv_reply *reply,
		       const int *fds, unsigned count)
{
	if (send_with_fds(warden->engine_socket, reply, sizeof(*reply), fds,
			  count) < 0 &&
	    errno != EPIPE && errno != ECONNRESET) {
		log_error("cannot answer the engine: %s: it is killed",
			  strerror(errno));
		kill(warden->engine, SIGKILL);
	}
}

/* Of the engine's process: it could have given its end to another. */
static bool is_sent_by(const struct msghdr *msg, pid_t pid)
{
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);
	struct ucred sender;

	if (!cmsg || cmsg->cmsg_level != SOL_SOCKET ||
	    cmsg->cmsg_type != SCM_CREDENTIALS ||
	    cmsg->cmsg_len != CMSG_LEN(sizeof(sender)))
		return false;
	memcpy(&sender, CMSG_DATA(cmsg), sizeof(sender));
	return sender.pid == pid;
}

/* Its length, or 0 or less if there is none. No descriptor can come with it. */
static ssize_t take_request(struct warden *warden, struct priv_request *request)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(struct ucred))];
	} control;
	struct iovec iov = { .iov_base = request, .iov_len = sizeof(*request) };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t length = recvmsg(warden->engine_socket, &msg,
				 MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);

	if (length > 0 && !is_sent_by(&msg, warden->engine))
		warden_surprise(warden, "sender");
	return length;
}

void warden_serve_request(struct warden *warden)
{
	struct priv_request request;
	struct priv_reply reply = { 0 };
	int fds[PRIV_FDS_MAX], n;
	ssize_t length = take_request(warden, &request);

	if (length <= 0)
		return; /* its death; SIGCHLD says so too */
	if (length != sizeof(request))
		warden_surprise(warden, "length");
	if (request.verb >= PRIV_VERBS || !verbs[request.verb].act)
		warden_surprise(warden, "verb");
	(void)held_frames(); /* what is free by now is not kept for long */
	log_keep(reply.why, sizeof(reply.why));
	n = verbs[request.verb].act(warden, &request, &reply, fds);
	log_keep(NULL, 0);
	reply.verb = request.verb;
	reply.status = n < 0 ? n : 0;
	send_reply(warden, &reply, fds, n < 0 ? 0 : (unsigned)n);
	for (int i = 0; i < n && !verbs[request.verb].is_lent; i++)
		close(fds[i]);
}
