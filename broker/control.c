// SPDX-License-Identifier: BSD-2-Clause
/*
 * The control thread's loop. It sleeps unless a client, a lane, the warden or a
 * deadline wants something; deadlines exist only while something is pending.
 */
#include "control.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lane_sched.h"
#include "log.h"
#include "move.h"
#include "session.h"

#define LISTENER_PARKED_NS UINT64_C(100000000)
#define LISTENER_EVENTS (EPOLLIN | EPOLLRDHUP)
/* What a reload of many sources may take; a quarter where there are few. */
#define FDS_RESERVED 1024
#define DEAF_NS UINT64_C(10000000)
/* For captures of an engine that died, to attach again. */
#define WAIT_NS UINT64_C(500000000)
/* The kernel's counters have 32 bits and are taken over in time. */
#define COUNTERS_PERIOD_NS UINT64_C(60000000000)

/*
 * Deadlines are for what peers have to say. The time in which this thread did
 * not listen (it was making an arena) is not theirs: the clock stands still.
 */
static uint64_t deaf_ns;

uint64_t control_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec -
	       deaf_ns;
}

static void listens_again(uint64_t since)
{
	uint64_t took = control_now_ns() - since;

	if (took > DEAF_NS)
		deaf_ns += took;
}

int control_watch(struct control *control, struct event *event, uint32_t events)
{
	struct epoll_event request = { .events = events, .data.ptr = event };

	return epoll_ctl(control->epoll_fd, EPOLL_CTL_ADD, event->fd,
			 &request) ?
		       -errno :
		       0;
}

void control_change(struct control *control, struct event *event,
		    uint32_t events)
{
	struct epoll_event request = { .events = events, .data.ptr = event };

	epoll_ctl(control->epoll_fd, EPOLL_CTL_MOD, event->fd, &request);
}

void control_unwatch(struct control *control, struct event *event)
{
	epoll_ctl(control->epoll_fd, EPOLL_CTL_DEL, event->fd, NULL);
}

/* ----------------------------------------------------------- event handlers */

/* Handles the commands that have come back. */
static void empty_mailbox(struct control *control)
{
	struct lane_command *command;

	mailbox_clear(&control->in);
	while ((command = mailbox_take(&control->in)))
		command->done(command);
}

static void take_mail(struct control *control, struct event *event,
		      uint32_t events)
{
	(void)event;
	(void)events;
	empty_mailbox(control);
}

/* Out of descriptors: the queue waits a little instead of spinning. */
static void park_listener(struct control *control)
{
	log_warn("no descriptor for another client: %s", strerror(errno));
	control_change(control, &control->listener_event, 0);
	control->listener_parked_ns = control_now_ns() + LISTENER_PARKED_NS;
}

/* Shut down, which only who was given it can do; the next has another. */
__attribute__((noreturn)) static void listener_is_gone(void)
{
	log_error("engine: the socket for clients was shut down");
	_exit(1);
}

static void take_client(struct control *control, struct event *event,
			uint32_t events)
{
	int fd;

	if (events & ~EPOLLIN)
		listener_is_gone();
	fd = accept4(event->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0)
		session_accept(control, fd);
	else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
		 errno == ENOBUFS)
		park_listener(control);
}

static void take_signal(struct control *control, struct event *event,
			uint32_t events)
{
	struct signalfd_siginfo info;

	(void)events;
	if (read(event->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP)
		control_reload(control, NULL);
	else
		control->must_stop = true;
}

/*
 * It never speaks first: this is its end, and not a good one, as it outlives
 * its engine. Consumers must not be told otherwise, so the engine dies too,
 * now and not when the kernel's signal comes.
 */
static void warden_is_gone(struct control *control, struct event *event,
			   uint32_t events)
{
	(void)control;
	(void)event;
	(void)events;
	log_error("engine: the warden is gone");
	_exit(1);
}

/* ------------------------------------------------------------------ set-up */

/* In the order of the text, which is how they are listed. */
static int add_sources(struct control *control)
{
	const struct config *config = control->config;
	struct control_source **link = &control->sources;

	for (uint32_t i = 0; i < config->source_count; i++) {
		*link = control_source_new(config, i, 0, control->restarts > 0);
		if (!*link || control_source_open(control, *link))
			return -EIO;
		link = &(*link)->next;
	}
	return 0;
}

static struct control_source *source_at(const struct control *control,
					uint32_t index)
{
	struct control_source *source = control->sources;

	while (source->index != index)
		source = source->next;
	return source;
}

static int add_channels(struct control *control)
{
	const struct config *config = control->config;
	struct control_channel **link = &control->channels;

	for (uint32_t i = 0; i < config->channel_count; i++) {
		const struct config_channel *channel = &config->channels[i];

		*link = control_channel_new(
			control, source_at(control, channel->source), channel);
		if (!*link)
			return -ENOMEM;
		link = &(*link)->next;
	}
	return 0;
}

static int open_signals(void)
{
	sigset_t set;
	int fd;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	/* Before any thread starts, so that all of them block it. */
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

static int watch_all(struct control *control)
{
	const struct {
		struct event *event;
		int fd;
		void (*handle)(struct control *, struct event *, uint32_t);
		uint32_t events;
	} table[] = {
		{ &control->mailbox_event, control->in.fd, take_mail, EPOLLIN },
		{ &control->listener_event, PRIV_FD_LISTENER, take_client,
		  LISTENER_EVENTS },
		{ &control->signal_event, open_signals(), take_signal,
		  EPOLLIN },
		{ &control->warden_event, PRIV_FD_WARDEN, warden_is_gone,
		  EPOLLIN },
	};
	int err = 0;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]) && !err; i++) {
		table[i].event->fd = table[i].fd;
		table[i].event->handle = table[i].handle;
		err = table[i].fd < 0 ? table[i].fd :
					control_watch(control, table[i].event,
						      table[i].events);
	}
	return err;
}

static int start_watching(struct control *control)
{
	int err = mailbox_init(&control->in);

	if (err)
		return err;
	control->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (control->epoll_fd < 0)
		return -errno;
	err = watch_all(control);
	return err ? err : control_watch_links(control);
}

/* Before the sandbox, which lets nobody ask. */
static int most_fds(void)
{
	struct rlimit limit;
	rlim_t reserve;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur > INT_MAX)
		return INT_MAX;
	reserve = limit.rlim_cur / 4;
	if (reserve > FDS_RESERVED)
		reserve = FDS_RESERVED;
	return (int)(limit.rlim_cur - reserve);
}

bool control_is_full(const struct control *control)
{
	int fd = eventfd(0, EFD_CLOEXEC); /* it has the lowest free number */

	if (fd >= 0)
		close(fd);
	return fd < 0 || fd >= control->fds_max;
}

int control_init(struct control *control, const struct config *config)
{
	int err = start_watching(control);

	control->config = config;
	if (err) {
		log_error("engine: cannot wait for clients: %s",
			  strerror(-err));
		return err;
	}
	control->fds_max = most_fds();
	control->counters_due_ns = control_now_ns() + COUNTERS_PERIOD_NS;
	return 0;
}

int control_open(struct control *control)
{
	int err = add_sources(control);

	return err ? err : add_channels(control);
}

int control_start(struct control *control)
{
	struct control_source *source;
	int err = 0;

	/* Lanes inherit the priority; what clients can cause is not urgent. */
	for (source = control->sources; source && !err; source = source->next)
		err = control_source_start(source);
	lane_sched_normal();
	return err;
}

void control_stop(struct control *control)
{
	struct control_source *source;

	for (source = control->sources; source; source = source->next)
		control_source_stop(source);
	empty_mailbox(control);
	session_close_all(control);
	move_free_all(control);
}

void control_deinit(struct control *control)
{
	struct control_channel *channel;
	struct control_source *source;

	while ((channel = control->channels)) {
		control->channels = channel->next;
		control_channel_free(channel);
	}
	while ((source = control->sources)) {
		control->sources = source->next;
		control_source_free(source);
	}
	control->report_count = 0;
	control_free_removed(control);
	account_free_all(&control->accounts);
	mailbox_deinit(&control->in);
	if (control->links_event.fd > 0)
		close(control->links_event.fd);
	if (control->needs_event.fd > 0)
		close(control->needs_event.fd);
	if (control->signal_event.fd > 0)
		close(control->signal_event.fd);
	if (control->epoll_fd > 0)
		close(control->epoll_fd);
}

/* ---------------------------------------------------------------- the loop */

static void take_counters(struct control *control)
{
	const struct control_source *source;
	struct priv_reply reply;

	for (source = control->sources; source; source = source->next) {
		const struct config_source *config = source->config;

		if (config->backend == BACKEND_REPLAY || source->is_removed)
			continue;
		/* AF_XDP's have more bits; its program has things to tell. */
		for (uint32_t l = 0; l < source->lane_count; l++)
			(config->backend == BACKEND_XDP ?
				 priv_xdp_stats :
				 priv_packet_stats)(source->index,
						    l / config->lanes,
						    l % config->lanes, &reply);
	}
}

/* Does what is due. Returns ms until the next deadline, -1: there is none. */
static int run_deadlines(struct control *control)
{
	uint64_t now = control_now_ns(), due, next;

	if (control->listener_parked_ns && control->listener_parked_ns <= now) {
		control->listener_parked_ns = 0;
		control_change(control, &control->listener_event,
			       LISTENER_EVENTS);
	}
	if (control->links_due_ns && control->links_due_ns <= now) {
		control_check_links(control);
		listens_again(now);
	}
	if (control->counters_due_ns <= now) {
		take_counters(control);
		control->counters_due_ns = now + COUNTERS_PERIOD_NS;
	}
	if (control->wait_due_ns && control->wait_due_ns <= now) {
		control->wait_due_ns = 0;
		control_wait_no_more(control);
	}
	next = control->counters_due_ns;
	if (control->wait_due_ns && control->wait_due_ns < next)
		next = control->wait_due_ns;
	move_check(control);
	due = session_check_deadlines(control);
	if (due && due < next)
		next = due;
	due = move_deadline(control);
	if (due && due < next)
		next = due;
	if (control->links_due_ns && control->links_due_ns < next)
		next = control->links_due_ns;
	if (control->listener_parked_ns && control->listener_parked_ns < next)
		next = control->listener_parked_ns;
	return next <= now ? 0 : (int)((next - now) / 1000000 + 1);
}

/*
 * One event a turn: its handler may free what another event of the same turn
 * would point to.
 */
void control_run(struct control *control)
{
	struct epoll_event event;

	if (control->restarts > 0)
		control->wait_due_ns = control_now_ns() + WAIT_NS;
	while (!control->must_stop) {
		int timeout_ms = run_deadlines(control);
		int n = epoll_wait(control->epoll_fd, &event, 1, timeout_ms);

		if (n == 1) {
			struct event *e = event.data.ptr;
			uint64_t since = control_now_ns();

			e->handle(control, e, event.events);
			listens_again(since);
		}
	}
}
