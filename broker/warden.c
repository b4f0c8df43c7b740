// SPDX-License-Identifier: BSD-2-Clause
/*
 * The warden's loop: a request of the engine, a signal, or the engine's death.
 * A request is checked for its length, its verb and its ranges; on anything
 * else the warden ends, and the engine with it.
 */
#include "warden.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <netring/layout.h>

#include "engine.h"
#include "lane_sched.h"
#include "log.h"
#include "priv.h"
#include "warden_offload.h"
#include "warden_packet.h"
#include "warden_xdp.h"

#define STOP_TIMEOUT_MS 5000
#define BACKOFF_MAX_S 30
#define DESCRIPTORS_MIN 65536
#define RETURN_PAGES_MAX 16384 /* made in the life of a warden */
#define LANES_MAX (CONFIG_INTERFACES_MAX * NR_LANES_MAX)

struct warden {
	struct warden_options *options;
	int engine_socket;
	pid_t engine;
	int signals;
	bool engine_was_ready;
	bool is_stopping;
	bool was_told; /* the engine, to stop */
	uint32_t pages_made;
	struct packet_socket sockets[CONFIG_SOURCES_MAX][LANES_MAX];
	struct xdp_socket xdp_sockets[CONFIG_SOURCES_MAX][LANES_MAX];
	struct redirection redirections[CONFIG_SOURCES_MAX]
				       [CONFIG_INTERFACES_MAX];
};

/* ------------------------------------------------------------------ verbs */

__attribute__((noreturn)) static void surprise(const struct warden *warden,
					       const char *what)
{
	log_error("the engine asked for something impossible (%s): stopping",
		  what);
	kill(warden->engine, SIGKILL);
	offload_restore();
	unlink(warden->options->config->socket);
	exit(1);
}

static const struct config_source *
requested_source(const struct warden *warden,
		 const struct priv_request *request,
		 enum config_backend backend)
{
	const struct config *config = warden->options->config;

	if (request->source >= config->source_count ||
	    config->sources[request->source].backend != (uint32_t)backend)
		surprise(warden, "source");
	return &config->sources[request->source];
}

static struct packet_socket *requested_lane(struct warden *warden,
					    const struct priv_request *request)
{
	const struct config_source *source =
		requested_source(warden, request, BACKEND_PACKET);

	if (request->interface >= source->interface_count ||
	    request->lane >= source->lanes)
		surprise(warden, "lane");
	return &warden->sockets[request->source]
			       [request->interface * source->lanes +
				request->lane];
}

static int asroot_open(struct warden *warden,
		       const struct priv_request *request,
		       struct priv_reply *reply, int *fds)
{
	struct packet_socket *socket = requested_lane(warden, request);
	const struct config_source *source =
		&warden->options->config->sources[request->source];
	int err;

	if (source->offloads_off)
		offload_off(source->interfaces[request->interface]);
	err = asroot_packet_open(source, request->interface, request->lane,
				 socket, socket - request->lane, reply);
	if (err)
		return err;
	fds[0] = socket->fd;
	fds[1] = socket->epoll_fd;
	return 2;
}

static int asroot_start(struct warden *warden,
			const struct priv_request *request,
			struct priv_reply *reply, int *fds)
{
	const struct config_source *source =
		requested_source(warden, request, BACKEND_PACKET);
	struct packet_socket *socket = warden->sockets[request->source];
	int err = 0;

	(void)reply;
	(void)fds;
	for (uint32_t i = 0; i < source->interface_count * source->lanes; i++)
		if (!err && socket[i].fd >= 0)
			err = asroot_packet_start(source, &socket[i]);
	return err;
}

static int asroot_stats(struct warden *warden,
			const struct priv_request *request,
			struct priv_reply *reply, int *fds)
{
	struct packet_socket *socket = requested_lane(warden, request);
	int err = asroot_packet_stats(socket);

	(void)fds;
	reply->stats.packets = socket->packets;
	reply->stats.drops = socket->drops;
	reply->stats.freezes = socket->freezes;
	return err;
}

static int asroot_error(struct warden *warden,
			const struct priv_request *request,
			struct priv_reply *reply, int *fds)
{
	struct packet_socket *socket = requested_lane(warden, request);

	(void)fds;
	if (socket->fd < 0)
		return -EBADF;
	asroot_packet_error(&warden->options->config->sources[request->source],
			    request->interface, socket, reply);
	return 0;
}

/* A lane of an AF_XDP source, as a request names it. */
struct xdp_lane {
	const struct config_source *source;
	struct xdp_socket *socket;
	struct redirection *redirection;
};

static struct xdp_lane requested_xdp(struct warden *warden,
				     const struct priv_request *request)
{
	const struct config_source *source =
		requested_source(warden, request, BACKEND_XDP);

	if (request->interface >= source->interface_count ||
	    request->lane >= source->lanes)
		surprise(warden, "lane");
	return (struct xdp_lane){
		.source = source,
		.socket = &warden->xdp_sockets[request->source]
					      [request->interface *
						       source->lanes +
					       request->lane],
		.redirection = &warden->redirections[request->source]
						    [request->interface],
	};
}

static int asroot_xopen(struct warden *warden,
			const struct priv_request *request,
			struct priv_reply *reply, int *fds)
{
	struct xdp_lane lane = requested_xdp(warden, request);
	int err = asroot_xdp_open(lane.source, request->interface,
				  request->lane, request->count != 0,
				  lane.socket, lane.redirection, reply);

	if (err)
		return err;
	fds[0] = lane.socket->fd;
	fds[1] = lane.socket->umem.fd;
	return 2;
}

static int asroot_xtake(struct warden *warden,
			const struct priv_request *request,
			struct priv_reply *reply, int *fds)
{
	struct xdp_lane lane = requested_xdp(warden, request);

	(void)reply;
	(void)fds;
	return asroot_xdp_take(lane.source, request->lane, lane.socket,
			       lane.redirection, request->count != 0);
}

static int asroot_xstats(struct warden *warden,
			 const struct priv_request *request,
			 struct priv_reply *reply, int *fds)
{
	struct xdp_lane lane = requested_xdp(warden, request);

	(void)fds;
	return asroot_xdp_stats(lane.socket, lane.redirection,
				lane.source->interfaces[request->interface],
				reply);
}

static int asroot_xlink(struct warden *warden,
			const struct priv_request *request,
			struct priv_reply *reply, int *fds)
{
	struct xdp_lane lane = requested_xdp(warden, request);

	(void)fds;
	asroot_xdp_link(lane.source, request->interface, lane.socket, reply);
	return 0;
}

static int asroot_return_pages(struct warden *warden,
			       const struct priv_request *request,
			       struct priv_reply *reply, int *fds)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);

	(void)reply;
	if (request->count < 1 || request->count > NR_LANES_MAX)
		surprise(warden, "return pages");
	if (request->count > RETURN_PAGES_MAX - warden->pages_made)
		return -ENOSPC;
	fds[0] = bpf_map_create(BPF_MAP_TYPE_ARRAY, "netring_return",
				sizeof(uint32_t), NR_PAGE, request->count,
				&opts);
	if (fds[0] < 0)
		return fds[0];
	warden->pages_made += request->count;
	return 1;
}

static int asroot_replay(struct warden *warden,
			 const struct priv_request *request,
			 struct priv_reply *reply, int *fds)
{
	const struct config_source *source =
		requested_source(warden, request, BACKEND_REPLAY);

	(void)reply;
	fds[0] = open(source->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	return fds[0] < 0 ? -errno : 1;
}

static uint32_t source_named(const struct config *config, const char *name)
{
	uint32_t i = 0;

	while (i < config->source_count &&
	       strcmp(config->sources[i].name, name) != 0)
		i++;
	return i;
}

static bool has_same_lanes(const struct config_source *a,
			   const struct config_source *b)
{
	return a->backend == b->backend && a->lanes == b->lanes &&
	       a->interface_count == b->interface_count &&
	       memcmp(a->interfaces, b->interfaces, sizeof(a->interfaces)) == 0;
}

/* The same for AF_XDP: another lane, or another program, is another source. */
static void move_xdp(struct warden *warden, const struct config *config)
{
	static struct xdp_socket sockets[CONFIG_SOURCES_MAX][LANES_MAX];
	static struct redirection programs[CONFIG_SOURCES_MAX]
					  [CONFIG_INTERFACES_MAX];
	const struct config *old = warden->options->config;

	for (int s = 0; s < CONFIG_SOURCES_MAX; s++)
		for (int l = 0; l < LANES_MAX; l++)
			sockets[s][l] = (struct xdp_socket){ .fd = -1 };
	memset(programs, 0, sizeof(programs));
	for (uint32_t s = 0; s < old->source_count; s++) {
		uint32_t to = source_named(config, old->sources[s].name);
		bool stays = to < config->source_count &&
			     config_source_is_same(&old->sources[s],
						   &config->sources[to]);

		for (int l = 0; l < LANES_MAX; l++)
			if (stays)
				sockets[to][l] = warden->xdp_sockets[s][l];
			else
				asroot_xdp_close(&warden->xdp_sockets[s][l]);
		for (int i = 0; i < CONFIG_INTERFACES_MAX; i++)
			if (stays)
				programs[to][i] = warden->redirections[s][i];
			else
				redirect_detach(&warden->redirections[s][i]);
	}
	memcpy(warden->xdp_sockets, sockets, sizeof(sockets));
	memcpy(warden->redirections, programs, sizeof(programs));
}

/* Sockets go with the names of their sources, to the new places of these. */
static void move_sockets(struct warden *warden, const struct config *config)
{
	static struct packet_socket moved[CONFIG_SOURCES_MAX][LANES_MAX];
	const struct config *old = warden->options->config;

	for (int s = 0; s < CONFIG_SOURCES_MAX; s++)
		for (int l = 0; l < LANES_MAX; l++)
			moved[s][l].fd = -1;
	for (uint32_t s = 0; s < old->source_count; s++) {
		uint32_t to = source_named(config, old->sources[s].name);
		bool stays =
			to < config->source_count &&
			has_same_lanes(&old->sources[s], &config->sources[to]);

		for (int l = 0; l < LANES_MAX; l++)
			if (stays)
				moved[to][l] = warden->sockets[s][l];
			else
				asroot_packet_close(&warden->sockets[s][l]);
	}
	memcpy(warden->sockets, moved, sizeof(moved));
}

static void adopt(struct warden *warden, const struct config *config, int fd)
{
	struct warden_options *options = warden->options;

	move_sockets(warden, config);
	move_xdp(warden, config);
	munmap((void *)(uintptr_t)options->config, sizeof(*config));
	close(options->config_fd);
	options->config = config;
	options->config_fd = fd;
}

/* What cannot change while the broker runs. */
static int check_fixed(const struct config *old, const struct config *new,
		       const char *name)
{
	if (strcmp(old->socket, new->socket) == 0 &&
	    strcmp(old->user, new->user) == 0)
		return 0;
	fprintf(stderr,
		"%s: socket and user cannot change while the broker "
		"runs: leave them, or start it again\n",
		name);
	return 1;
}

static int asroot_reload(struct warden *warden,
			 const struct priv_request *request,
			 struct priv_reply *reply, int *fds)
{
	const struct start_options *start = warden->options->start;
	const struct config *config;
	int text, saved, config_fd = -1;
	bool is_good;

	(void)request;
	if (!start->config_file)
		return -EOPNOTSUPP;
	text = memfd_create("netring-messages", MFD_CLOEXEC);
	saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 16);
	if (text < 0 || saved < 0) {
		int err = errno;

		close(text);
		close(saved);
		return -err;
	}
	/* What there is to say goes to the asker, who logs it. */
	dup2(text, STDERR_FILENO);
	config = start_config(start, &config_fd);
	is_good = config && !start_check(config, start->config_file) &&
		  !check_fixed(warden->options->config, config,
			       start->config_file);
	fflush(stderr);
	dup2(saved, STDERR_FILENO);
	close(saved);
	if (is_good) {
		/* The engine has to have what the warden goes by, or neither.
		 */
		fds[0] = fcntl(config_fd, F_DUPFD_CLOEXEC, 0);
		is_good = fds[0] >= 0;
	}
	if (is_good) {
		adopt(warden, config, config_fd);
		close(text);
		return 1;
	}
	if (config) {
		munmap((void *)(uintptr_t)config, sizeof(*config));
		close(config_fd);
	}
	reply->reload.is_refused = 1;
	fds[0] = text;
	return 1;
}

static int asroot_ready(struct warden *warden,
			const struct priv_request *request,
			struct priv_reply *reply, int *fds)
{
	(void)request;
	(void)reply;
	(void)fds;
	warden->engine_was_ready = true;
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
	[PRIV_XDP_OPEN] = { asroot_xopen, true },
	[PRIV_XDP_TAKE] = { asroot_xtake, false },
	[PRIV_XDP_STATS] = { asroot_xstats, false },
	[PRIV_XDP_LINK] = { asroot_xlink, false },
	[PRIV_RETURN_PAGES] = { asroot_return_pages, false },
	[PRIV_REPLAY_OPEN] = { asroot_replay, false },
	[PRIV_READY] = { asroot_ready, false },
	[PRIV_RELOAD] = { asroot_reload, false },
};

static void send_reply(struct warden *warden, const struct priv_reply *reply,
		       const int *fds, unsigned fd_count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(PRIV_FDS_MAX * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)reply,
			     .iov_len = sizeof(*reply) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *cmsg = &control.align;

	if (fd_count > 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, fd_count * sizeof(int));
	}
	/* An engine that died meanwhile is noticed by its SIGCHLD. */
	(void)sendmsg(warden->engine_socket, &msg, MSG_NOSIGNAL);
}

static void serve_request(struct warden *warden)
{
	struct priv_request request;
	struct priv_reply reply = { 0 };
	int fds[PRIV_FDS_MAX], n;
	ssize_t length = recv(warden->engine_socket, &request, sizeof(request),
			      MSG_DONTWAIT | MSG_TRUNC);

	if (length <= 0)
		return; /* its death; SIGCHLD says so too */
	if (length != sizeof(request))
		surprise(warden, "length");
	if (request.verb >= PRIV_VERBS || !verbs[request.verb].act)
		surprise(warden, "verb");
	n = verbs[request.verb].act(warden, &request, &reply, fds);
	reply.verb = request.verb;
	reply.status = n < 0 ? n : 0;
	send_reply(warden, &reply, fds, n < 0 ? 0 : (unsigned)n);
	for (int i = 0; i < n && !verbs[request.verb].is_lent; i++)
		close(fds[i]);
}

/* ------------------------------------------------------------- the engine */

static int move_fd(int from, int to)
{
	return dup2(from, to) < 0 ? -errno : 0;
}

/* Puts the descriptors of enum priv_fd in place; nothing else survives. */
static int arrange_fds(const struct warden_options *options, int socket)
{
	/* First out of the way of the targets. */
	int high[3] = { fcntl(socket, F_DUPFD_CLOEXEC, 16),
			fcntl(options->config_fd, F_DUPFD_CLOEXEC, 16),
			fcntl(options->listener, F_DUPFD_CLOEXEC, 16) };
	int self = open("/proc/self/exe", O_PATH | O_CLOEXEC);
	int program = fcntl(self, F_DUPFD_CLOEXEC, 16);
	int err = move_fd(high[0], PRIV_FD_WARDEN);

	if (!err)
		err = move_fd(high[1], PRIV_FD_CONFIG);
	if (!err)
		err = move_fd(high[2], PRIV_FD_LISTENER);
	if (!err && program < 0)
		err = -errno;
	return err ? err : program;
}

/*
 * Every connection is a descriptor, and those that were sent and not read yet
 * count against this limit too: the quotas of many users have to fit.
 */
static void raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_max < DESCRIPTORS_MIN) {
		limit.rlim_cur = limit.rlim_max = DESCRIPTORS_MIN;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int drop_privilege(const struct warden_options *options)
{
	raise_descriptors();
	if (geteuid() != 0)
		return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? -errno : 0;
	lane_sched_prepare(options->config);
	if (setgroups(0, NULL) ||
	    setresgid(options->gid, options->gid, options->gid) ||
	    setresuid(options->uid, options->uid, options->uid) ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	return 0;
}

__attribute__((noreturn)) static void
exec_engine(const struct warden_options *options, int socket)
{
	char *const argv[] = { (char *)(uintptr_t)ENGINE_NAME, NULL };
	extern char **environ;
	sigset_t none;
	int program, err;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid(); /* a terminal's Ctrl-C is the warden's to handle */
	/* By descriptor: the engine's user may not reach the program's path. */
	program = arrange_fds(options, socket);
	err = program < 0 ? program : drop_privilege(options);
	if (!err) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execveat(program, "", argv, environ, AT_EMPTY_PATH);
		err = -errno;
	}
	log_error("cannot start the engine: %s", strerror(-err));
	_exit(1);
}

static int start_engine(struct warden *warden)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	warden->engine_was_ready = false;
	warden->pages_made = 0; /* those of the last one are gone */
	warden->engine = fork();
	if (warden->engine == 0)
		exec_engine(warden->options, pair[1]);
	close(pair[1]);
	warden->engine_socket = pair[0];
	return warden->engine < 0 ? -errno : 0;
}

static void sleep_ms(long ms)
{
	const struct timespec pause = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&pause, NULL);
}

/* Told to stop, it still is there. */
static void insist(struct warden *warden)
{
	log_warn("the engine does not stop: killed");
	kill(warden->engine, SIGKILL);
}

/* Their packets go to the host again; the programs stay, and let them pass. */
static void close_xdp(struct warden *warden)
{
	for (int s = 0; s < CONFIG_SOURCES_MAX; s++)
		for (int l = 0; l < LANES_MAX; l++)
			asroot_xdp_close(&warden->xdp_sockets[s][l]);
}

static void detach_xdp(struct warden *warden)
{
	for (int s = 0; s < CONFIG_SOURCES_MAX; s++)
		for (int i = 0; i < CONFIG_INTERFACES_MAX; i++)
			redirect_detach(&warden->redirections[s][i]);
}

/* Waits for the engine's end, and helps when it takes too long. */
static int reap_engine(struct warden *warden)
{
	int status = 0;

	for (int ms = 0; waitpid(warden->engine, &status, WNOHANG) == 0;
	     ms += 10) {
		if (ms == STOP_TIMEOUT_MS)
			insist(warden);
		sleep_ms(10);
	}
	close(warden->engine_socket);
	close_xdp(warden);
	return status;
}

/* Takes the signals that have come. SIGCHLD says nothing the socket doesn't. */
static void take_signals(struct warden *warden)
{
	struct signalfd_siginfo info;

	while (read(warden->signals, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			continue;
		if (info.ssi_signo == SIGHUP)
			kill(warden->engine, SIGHUP); /* it asks, see above */
		else
			warden->is_stopping = true;
	}
}

/* One engine's life. Returns how it ended (as of waitpid()). */
static int serve_engine(struct warden *warden)
{
	struct pollfd fds[] = {
		{ .fd = warden->engine_socket, .events = POLLIN },
		{ .fd = warden->signals, .events = POLLIN },
	};
	int n;

	warden->was_told = false;
	for (;;) {
		n = poll(fds, 2, warden->was_told ? STOP_TIMEOUT_MS : -1);
		if (n < 0 && errno != EINTR)
			surprise(warden, "poll");
		if (n == 0)
			insist(warden);
		take_signals(warden);
		if (warden->is_stopping && !warden->was_told)
			kill(warden->engine, SIGTERM);
		warden->was_told = warden->is_stopping;
		if (fds[0].revents & POLLIN)
			serve_request(warden);
		if (fds[0].revents & POLLHUP)
			return reap_engine(warden);
	}
}

static void log_end(int status)
{
	if (WIFSIGNALED(status))
		log_error("the engine died of signal %d (%s)", WTERMSIG(status),
			  strsignal(WTERMSIG(status)));
	else
		log_error("the engine ended with status %d",
			  WEXITSTATUS(status));
}

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Before the next engine; a signal to stop ends the wait. */
static void back_off(struct warden *warden, int seconds)
{
	struct pollfd fd = { .fd = warden->signals, .events = POLLIN };

	log_warn("starting the engine again in %d s", seconds);
	for (int s = 0; s < seconds && !warden->is_stopping; s++) {
		poll(&fd, 1, 1000);
		take_signals(warden);
	}
}

/* Starts engines until one is told to stop, or cannot even start. */
static int run_engines(struct warden *warden)
{
	int backoff_s = 1, status;

	for (;;) {
		if (start_engine(warden)) {
			log_error("cannot start an engine: %s",
				  strerror(errno));
			return 1;
		}
		status = serve_engine(warden);
		take_signals(warden);
		/* One that was told so early that it could not hear ends too.
		 */
		if (warden->is_stopping && !warden->was_told) {
			log_end(status); /* it had died just before */
			return 0;
		}
		if (warden->is_stopping && WIFSIGNALED(status))
			return WTERMSIG(status) == SIGTERM ? 0 : 1;
		if (warden->is_stopping)
			return WEXITSTATUS(status);
		log_end(status);
		if (!warden->engine_was_ready)
			return 1; /* it has said why */
		back_off(warden, backoff_s);
		if (warden->is_stopping)
			return 0;
		if (backoff_s < BACKOFF_MAX_S)
			backoff_s *= 2;
	}
}

int warden_run(struct warden_options *options)
{
	static struct warden warden;
	int status;

	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_DUMPABLE, 0);
	warden.options = options;
	warden.signals = open_signals();
	for (int s = 0; s < CONFIG_SOURCES_MAX; s++)
		for (int l = 0; l < LANES_MAX; l++)
			warden.sockets[s][l].fd = warden.xdp_sockets[s][l].fd =
				-1;
	status = warden.signals < 0 || region_init() ? 1 : run_engines(&warden);
	detach_xdp(&warden);
	offload_restore();
	unlink(options->config->socket);
	return status;
}
