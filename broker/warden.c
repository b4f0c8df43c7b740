// SPDX-License-Identifier: BSD-2-Clause
/*
 * The warden's loop: a request of the engine, a signal, or the engine's death.
 */
#include "warden.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"
#include "lane_sched.h"
#include "log.h"
#include "warden_held.h"
#include "warden_offload.h"
#include "region.h"
#include "warden_user.h"
#include "warden_verbs.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

#define STOP_TIMEOUT_MS 5000
#define HELD_PERIOD_MS 100
#define PAUSE_MIN_MS 100
#define PAUSE_MAX_MS 30000
#define MS UINT64_C(1000000)
/* An engine that has served so long did not die of how it was started. */
#define SERVED_NS (1000 * MS)
/* So many that have served are followed at once; it takes so long for one. */
#define QUICK_MAX 32
#define QUICK_NS (30000 * MS)
#define HALF_NS (5000 * MS) /* what halves the pause, served */
#define DESCRIPTORS_MIN 65536

/* ------------------------------------------------------------- the engine */

/* Out of the way of the targets; what is -errno already stays that. */
static int lift_fd(int fd)
{
	int high = fd < 0 ? fd : fcntl(fd, F_DUPFD_CLOEXEC, 16);

	return fd >= 0 && high < 0 ? -errno : high;
}

static int move_fd(int from, int to)
{
	if (from < 0)
		return from;
	return dup2(from, to) < 0 ? -errno : 0;
}

static int open_path(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/*
 * Puts the descriptors of enum priv_fd in place, beside stderr: nothing else
 * survives the exec, whatever it is and whoever has opened it. Returns that of
 * the program, or -errno.
 */
static int arrange_fds(const struct warden_options *options, int socket,
		       int rings)
{
	static const int targets[] = { STDIN_FILENO,	 STDOUT_FILENO,
				       PRIV_FD_WARDEN,	 PRIV_FD_CONFIG,
				       PRIV_FD_LISTENER, PRIV_FD_RINGS };
	int null = open_path("/dev/null", O_RDWR);
	int high[] = { lift_fd(null),
		       lift_fd(null),
		       lift_fd(socket),
		       lift_fd(options->config_fd),
		       lift_fd(options->listener.fd),
		       lift_fd(rings) };
	int program = lift_fd(open_path("/proc/self/exe", O_PATH));
	int err = program < 0 ? program : 0;

	for (size_t i = 0; i < sizeof(high) / sizeof(high[0]) && !err; i++)
		err = move_fd(high[i], targets[i]);
	if (!err && close_range(PRIV_FDS_GIVEN, ~0u, CLOSE_RANGE_CLOEXEC))
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
exec_engine(const struct warden_options *options, int socket, int rings)
{
	char *const argv[] = { (char *)(uintptr_t)ENGINE_NAME, NULL };
	extern char **environ;
	sigset_t none;
	int program, err;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid(); /* a terminal's Ctrl-C is the warden's to handle */
	/* By descriptor: the engine's user may not reach the program's path. */
	program = arrange_fds(options, socket, rings);
	err = program < 0 ? program : drop_privilege(options);
	if (!err) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execveat(program, "", argv, environ, AT_EMPTY_PATH);
		err = -errno;
	}
	log_error("cannot start the engine: %s", strerror(-err));
	_exit(1);
}

/* This engine has no socket of those that the one before it had. */
static void lend_nothing(struct warden *warden)
{
	for (int s = 0; s < SOURCES_MAX; s++)
		for (int l = 0; l < LANES_MAX; l++)
			warden->sockets[s][l].is_lent = false;
}

/* Each is for this engine alone: [0] is the warden's end. */
static int make_sockets(int requests[2], int rings[2])
{
	const int yes = 1, none = 0, type = SOCK_SEQPACKET | SOCK_CLOEXEC;
	int err;

	if (socketpair(AF_UNIX, type, 0, requests))
		return -errno;
	/* The last to close one may have to wait. Kernels before 6.16: no. */
	(void)setsockopt(requests[0], SOL_SOCKET, SO_PASSRIGHTS, &none,
			 sizeof(none));
	/* Who has sent a request: the kernel says. */
	if (setsockopt(requests[0], SOL_SOCKET, SO_PASSCRED, &yes,
		       sizeof(yes)) == 0 &&
	    socketpair(AF_UNIX, type, 0, rings) == 0)
		return 0;
	err = -errno;
	close(requests[0]);
	close(requests[1]);
	return err;
}

static int fork_engine(struct warden *warden)
{
	int requests[2], rings[2];
	int err = make_sockets(requests, rings);

	if (err)
		return err;
	warden->engine = fork();
	if (warden->engine == 0)
		exec_engine(warden->options, requests[1], rings[1]);
	err = warden->engine < 0 ? -errno : 0;
	close(requests[1]);
	close(rings[1]);
	warden->engine_socket = requests[0];
	warden->rings_socket = rings[0];
	if (err) {
		warden->engine = 0;
		close(requests[0]);
		close(rings[0]);
	}
	return err;
}

static int start_engine(struct warden *warden)
{
	warden->ready_ns = 0;
	warden->was_told = false;
	lend_nothing(warden);
	warden->pages_made = 0;
	warden->pages_held = held_pages();
	if (warden->pages_held > RETURN_PAGES_MAX)
		log_warn("%u return pages of engines before this one are held "
			 "by somebody yet: this one may make fewer",
			 warden->pages_held);
	warden->rings_held = 0;
	warden_allow_frames(warden, warden->options->config);
	warden_allow_rings(warden, warden->options->config);
	return fork_engine(warden);
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

static void leave_queues(struct warden *warden,
			 const struct config_source *source, uint32_t index)
{
	for (uint32_t l = 0; l < source->interface_count * source->lanes; l++)
		redirect_queue(&warden->redirections[index][l / source->lanes],
			       config_queue(source, l % source->lanes), -1);
}

/*
 * Their packets go to the host again; the programs stay, and let them pass.
 * What the rings hold by then nobody will read.
 */
static void close_xdp(struct warden *warden)
{
	const struct config *config = warden->options->config;
	uint32_t left = 0, count = 0;
	uint64_t drops = 0;

	for (uint32_t s = 0; s < config->source_count; s++) {
		if (config->sources[s].backend != BACKEND_XDP)
			continue;
		leave_queues(warden, &config->sources[s], s);
		count++;
	}
	if (count == 0)
		return;
	/* Packets that were on their way to a ring are in it behind this. */
	redirect_settle();
	for (uint32_t s = 0; s < config->source_count; s++)
		for (int l = 0; l < LANES_MAX; l++)
			left += asroot_xdp_abandon(&config->sources[s],
						   &warden->xdp_sockets[s][l],
						   &drops);
	if (drops && !warden->is_stopping)
		log_warn("the kernel had dropped %llu packets of AF_XDP "
			 "sources in the time of the engine",
			 (unsigned long long)drops);
	if (left && !warden->is_stopping)
		log_warn("%u packets were in AF_XDP rings of the engine: lost",
			 left);
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
	struct warden_options *options = warden->options;
	int status = 0;

	for (int ms = 0; waitpid(warden->engine, &status, WNOHANG) == 0;
	     ms += 10) {
		if (ms == STOP_TIMEOUT_MS)
			insist(warden);
		sleep_ms(10);
	}
	warden->engine = 0;
	close(warden->engine_socket);
	close(warden->rings_socket);
	if (!warden->is_stopping)
		listener_renew(&options->listener, options->config);
	warden_abandon(warden);
	close_xdp(warden);
	(void)held_rings(true); /* it has none any more */
	return status;
}

/* It asks then: PRIV_RELOAD. One that is not there yet, or dies, later. */
static void tell_to_reload(struct warden *warden)
{
	warden->reload_is_due = true;
	if (warden->ready_ns && warden->engine)
		kill(warden->engine, SIGHUP);
}

/* Takes the signals that have come. SIGCHLD has only woken us. */
static void take_signals(struct warden *warden)
{
	struct signalfd_siginfo info;

	while (read(warden->signals, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			continue;
		if (info.ssi_signo != SIGHUP)
			warden->is_stopping = true;
		else
			tell_to_reload(warden);
	}
}

/* Its end of the socket may be open all the same: it can have passed it on. */
static bool engine_has_ended(const struct warden *warden)
{
	siginfo_t info = { .si_pid = 0 };

	return waitid(P_PID, (id_t)warden->engine, &info,
		      WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid != 0;
}

/* Once; it may take a while from then on, whatever it asks for meanwhile. */
static void tell_to_stop(struct warden *warden)
{
	kill(warden->engine, SIGTERM);
	warden->was_told = true;
	warden->stop_ns =
		warden_clock_ns(CLOCK_MONOTONIC) + STOP_TIMEOUT_MS * MS;
}

/*
 * How long to wait for what comes: -1: for ever, unless there are rings that
 * the engine is about to give back.
 */
static int patience_ms(struct warden *warden)
{
	uint64_t now = warden_clock_ns(CLOCK_MONOTONIC);

	if (!warden->was_told)
		return held_rings(false) ? HELD_PERIOD_MS : -1;
	if (now >= warden->stop_ns) {
		insist(warden);
		warden->stop_ns = now + STOP_TIMEOUT_MS * MS;
	}
	return (int)((warden->stop_ns - now) / MS + 1);
}

/* One engine's life. Returns how it ended (as of waitpid()). */
static int serve_engine(struct warden *warden)
{
	struct pollfd fds[] = {
		{ .fd = warden->engine_socket, .events = POLLIN },
		{ .fd = warden->signals, .events = POLLIN },
	};
	int n;

	for (;;) {
		n = poll(fds, 2, patience_ms(warden));
		if (n < 0 && errno != EINTR && errno != ENOMEM)
			warden_surprise(warden, "poll");
		if (n < 0)
			continue;
		take_signals(warden);
		if (warden->is_stopping && !warden->was_told)
			tell_to_stop(warden);
		if (fds[0].revents & POLLIN)
			warden_serve_request(warden);
		if (fds[0].revents & POLLHUP || engine_has_ended(warden))
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

/* Twice as long as before, but half for each while that it has served. */
static uint32_t longer_pause(uint32_t pause_ms, uint64_t served_ns)
{
	uint32_t next =
		pause_ms < PAUSE_MAX_MS / 2 ? 2 * pause_ms : PAUSE_MAX_MS;

	if (pause_ms == 0)
		return PAUSE_MIN_MS;
	for (; served_ns >= HALF_NS && next > PAUSE_MIN_MS;
	     served_ns -= HALF_NS)
		next /= 2;
	return next;
}

/*
 * One that has served for a while is followed at once, if that does not happen
 * all the time: somebody who can kill it would have it start for ever. Engines
 * that die young are waited for longer each time.
 */
static uint32_t next_pause(struct warden *warden, uint64_t served_ns)
{
	uint64_t quick = warden->quick_left + served_ns / QUICK_NS;

	warden->quick_left = quick < QUICK_MAX ? (uint32_t)quick : QUICK_MAX;
	if (served_ns < SERVED_NS || warden->quick_left == 0)
		return longer_pause(warden->pause_ms, served_ns);
	warden->quick_left--;
	return 0;
}

/* Before the next engine; a signal to stop ends the wait. */
static void back_off(struct warden *warden)
{
	struct pollfd fd = { .fd = warden->signals, .events = POLLIN };
	uint64_t now = warden_clock_ns(CLOCK_MONOTONIC);
	uint64_t end = now + warden->pause_ms * MS;

	if (warden->pause_ms)
		log_warn("starting the engine again (for the %uth time) in "
			 "%u ms",
			 warden->restarts, warden->pause_ms);
	while (now < end && !warden->is_stopping) {
		poll(&fd, 1, (int)((end - now) / MS + 1));
		take_signals(warden);
		now = warden_clock_ns(CLOCK_MONOTONIC);
	}
}

/* What the next one is to go on with, and when. */
static void prepare_next(struct warden *warden)
{
	const struct config *config = warden->options->config;
	uint64_t now = warden_clock_ns(CLOCK_MONOTONIC);
	uint64_t served_ns = warden->ready_ns ? now - warden->ready_ns : 0;
	bool has_served = served_ns >= SERVED_NS;

	for (uint32_t s = 0; s < config->source_count; s++)
		if (config->sources[s].backend == BACKEND_PACKET)
			asroot_packet_keep(&config->sources[s],
					   warden->sockets[s], has_served);
	warden->ready_ns = 0;
	warden->restarts++;
	warden->died_ns = warden_clock_ns(CLOCK_REALTIME);
	warden->pause_ms = next_pause(warden, served_ns);
}

/* What another engine needs and there may be no more. */
static bool can_start(struct warden *warden)
{
	struct warden_options *options = warden->options;

	if (user_check(options->config, &options->uid, &options->gid))
		return false;
	return options->listener.fd >= 0 ||
	       listener_renew(&options->listener, options->config) == 0;
}

/* One engine, to its end. Returns how that was (as of waitpid()). */
static int run_engine(struct warden *warden)
{
	int err;

	if (!can_start(warden))
		return W_EXITCODE(1, 0);
	err = start_engine(warden);
	if (err) {
		log_error("cannot start an engine: %s", strerror(-err));
		return W_EXITCODE(1, 0);
	}
	return serve_engine(warden);
}

/* The exit status of a broker that was told to stop. */
static int stopped_status(const struct warden *warden, int status)
{
	/* One that was told so early that it could not hear ends too. */
	if (!warden->was_told) {
		log_end(status); /* it had died just before */
		return 0;
	}
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGTERM ? 0 : 1;
	return WEXITSTATUS(status);
}

/* Starts engines until one is told to stop, or the first cannot serve. */
static int run_engines(struct warden *warden)
{
	for (;;) {
		int status = run_engine(warden);

		take_signals(warden);
		if (warden->is_stopping)
			return stopped_status(warden, status);
		log_end(status);
		if (!warden->was_ready)
			return 1; /* it has said why */
		prepare_next(warden);
		back_off(warden);
		if (warden->is_stopping)
			return 0;
	}
}

int warden_run(struct warden_options *options)
{
	static struct warden warden;
	int status;

	signal(SIGPIPE, SIG_IGN);
	log_never_wait();
	prctl(PR_SET_DUMPABLE, 0);
	warden.options = options;
	warden.signals = open_signals();
	warden.quick_left = QUICK_MAX;
	for (int s = 0; s < SOURCES_MAX; s++)
		for (int l = 0; l < LANES_MAX; l++)
			warden.sockets[s][l].fd = warden.xdp_sockets[s][l].fd =
				-1;
	if (warden.signals < 0 || region_init()) {
		log_error("cannot start: %s", strerror(errno));
		status = 1;
	} else {
		status = run_engines(&warden);
	}
	detach_xdp(&warden);
	offload_restore();
	listener_remove(&options->listener, options->config);
	return status;
}
