// SPDX-License-Identifier: BSD-2-Clause
/*
 * A session reads one message at a time and answers it. What a client may say
 * depends on the state: a request first, an acknowledgement after an attach,
 * nothing else ever.
 */
#include "session.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../client/wire.h"
#include "capture.h"
#include "log.h"
#include "move.h"

#define MS UINT64_C(1000000)
#define REQUEST_DEADLINE (5000 * MS)
#define READ_DEADLINE (5000 * MS)
#define LINGER_PERIOD (100 * MS)
#define LATE_MESSAGES_MAX 8

static void end_captures(struct session *session)
{
	struct capture *capture;

	while ((capture = session->retiring)) {
		session->retiring = capture->next;
		capture_end(capture);
	}
	capture = session->moving;
	session->moving = NULL;
	capture_end(capture);
	capture = session->capture;
	session->capture = NULL;
	capture_end(capture);
}

static void session_free(struct session *session)
{
	session->account->connections--;
	*session->link = session->next;
	if (session->next)
		session->next->link = session->link;
	end_captures(session);
	capture_give_memory(session);
	peer_deinit(&session->peer);
	close(session->event.fd);
	free(session->out);
	free(session);
}

/* Whether what we sent lies in the peer's socket still. */
static bool is_unread(const struct session *session)
{
	int bytes = 0;

	return ioctl(session->event.fd, SIOCOUTQ, &bytes) == 0 && bytes > 0;
}

/*
 * No lane uses it any more. What the peer has got of ours stays its own for as
 * long as it keeps its end; and descriptors that are never read count against
 * our limit so long, whatever we do to ours. So the connection counts against
 * the quota of its user.
 */
static void session_finish(struct session *session)
{
	end_captures(session);
	if (session->slices && !session->peer_is_gone) {
		session->state = SESSION_LINGERING;
		return;
	}
	if (session->has_sent_fds && is_unread(session)) {
		session->state = SESSION_LINGERING;
		session->deadline_ns = control_now_ns() + LINGER_PERIOD;
		return;
	}
	session_free(session);
}

/* An attach has its line whatever else comes: its rate is limited already. */
static void log_end(struct session *session, const char *why)
{
	bool was_attached = session->state == SESSION_UNACKED ||
			    session->state == SESSION_ATTACHED;

	if (!session->is_let_in &&
	    (!why || !account_take_line(session->account, control_now_ns())))
		return;
	log_info("%s uid %u pid %d (%s)%s%s: %s",
		 was_attached ? "detach" : "close", session->peer.uid,
		 (int)session->peer.pid, session->peer.comm_text,
		 session->asked[0] ? " channel " : "", session->asked,
		 why ? why : "it hung up");
}

void session_close(struct session *session, const char *why)
{
	const struct capture *capture = session->capture;
	struct capture *retiring;
	bool was_unacked;

	if (session->state == SESSION_CLOSING ||
	    session->state == SESSION_LINGERING)
		return;
	log_end(session, why);
	was_unacked = session->state == SESSION_UNACKED;
	move_was_read(session);
	session->state = SESSION_CLOSING;
	session->deadline_ns = 0;
	if (was_unacked)
		capture_was_acked(session);
	session->peer_is_gone = !why;
	/* The peer sees its end now, the descriptor goes with the last lane. */
	if (why && capture && session->has_sent_fds) {
		shutdown(session->event.fd, SHUT_WR); /* we want to see its */
		control_change(session->control, &session->event, EPOLLIN);
	} else {
		control_unwatch(session->control, &session->event);
		shutdown(session->event.fd, SHUT_RDWR);
	}
	capture_detach(session->capture);
	capture_detach(session->moving);
	for (retiring = session->retiring; retiring; retiring = retiring->next)
		capture_detach(retiring);
	if (session->pending == 0)
		session_finish(session);
}

void session_settle(struct session *session)
{
	session->pending--;
	if (session->state == SESSION_CLOSING && session->pending == 0)
		session_finish(session);
}

void session_refuse(struct session *session, int code, const char *format, ...)
{
	struct nr_msg_error error = { .code = (uint32_t)code };
	va_list args;

	va_start(args, format);
	vsnprintf(error.text, sizeof(error.text), format, args);
	va_end(args);
	wire_init(&error.msg, NR_MSG_ERROR, sizeof(error), session->request);
	(void)wire_send(session->event.fd, &error.msg, NULL, 0);
	session_close(session, error.text);
}

/* ---------------------------------------------------------------- answers */

bool session_add(struct session *session, struct nr_msg *msg, uint32_t type,
		 size_t length)
{
	size_t size = session->out_length + length;

	if (size > session->out_size) {
		uint8_t *out = realloc(session->out, size * 2);

		if (!out)
			return false;
		session->out = out;
		session->out_size = size * 2;
	}
	wire_init(msg, type, length, session->request);
	memcpy(session->out + session->out_length, msg, length);
	session->out_length = size;
	return true;
}

/* Sends as much as the peer takes, and the kernel has memory for by now. */
static void flush_out(struct session *session)
{
	while (session->out_sent < session->out_length) {
		struct nr_msg msg;
		uint8_t *next = session->out + session->out_sent;
		int err;

		memcpy(&msg, next, sizeof(msg));
		err = wire_send(session->event.fd,
				(struct nr_msg *)(void *)next, NULL, 0);
		if (err == -EAGAIN || err == -ENOBUFS || err == -ENOMEM)
			return;
		if (err) {
			session_close(session, NULL);
			return;
		}
		session->out_sent += msg.length;
	}
	session_close(session, NULL);
}

void session_send(struct session *session)
{
	struct nr_msg done;

	if (!session_add(session, &done, NR_MSG_DONE, sizeof(done))) {
		session_refuse(session, ENOMEM,
			       "the broker has no memory left");
		return;
	}
	session->state = SESSION_SENDING;
	session->deadline_ns = control_now_ns() + READ_DEADLINE;
	control_change(session->control, &session->event, EPOLLOUT);
	flush_out(session);
}

/* --------------------------------------------------------------- requests */

/* "lan, dns": what this peer may attach to. */
static void name_channels(const struct session *session, char *text,
			  size_t size)
{
	const struct control *control = session->control;
	const struct control_channel *channel;
	size_t used = 0;

	text[0] = '\0';
	for (channel = control->channels; channel; channel = channel->next) {
		const struct config_channel *c = channel->config;

		if (channel->is_retired ||
		    !policy_allows(control->config, c, &session->peer) ||
		    used + strlen(c->name) + 3 > size)
			continue;
		used += (size_t)snprintf(text + used, size - used, "%s%s",
					 used ? ", " : "", c->name);
	}
}

/*
 * The channel of that name, or NULL after a refusal. A channel that the peer
 * may not attach to is no secret: its name is what it has to ask for.
 */
static struct control_channel *find_channel(struct session *session,
					    const char *name)
{
	struct control *control = session->control;
	struct control_channel *channel;
	char known[256], escaped[NR_NAME_MAX * 4];

	for (channel = control->channels; channel; channel = channel->next) {
		if (channel->is_retired ||
		    strcmp(channel->config->name, name) != 0)
			continue;
		if (policy_allows(control->config, channel->config,
				  &session->peer))
			return channel;
		session_refuse(session, EACCES,
			       "channel '%s' does not allow user %u: its "
			       "'allow =' would have to name that user or one "
			       "of its groups",
			       name, session->peer.uid);
		return NULL;
	}
	name_channels(session, known, sizeof(known));
	log_escape(escaped, sizeof(escaped), name, strlen(name));
	session_refuse(session, ENOENT,
		       "there is no channel '%s'; this user may attach to: %s",
		       escaped, known[0] ? known : "none");
	return NULL;
}

/* What is set aside of a channel's new memory is for those who move there. */
static void attach(struct session *session)
{
	const char *name = session->wanted.channel;
	struct control_channel *channel = find_channel(session, name);

	if (!channel)
		return;
	session->state = SESSION_QUEUED;
	session->deadline_ns = 0;
	if (!move_concerns(session->control, channel))
		capture_attach(session, channel, &session->wanted);
}

void session_go_on(struct control *control)
{
	struct session *session, *following;

	for (session = control->sessions; session; session = following) {
		following = session->next;
		if (session->state == SESSION_QUEUED)
			attach(session);
	}
}

static void take_attach(struct session *session, struct wire_msg *msg)
{
	struct nr_msg_attach *request = (struct nr_msg_attach *)msg->bytes;

	request->channel[NR_NAME_MAX - 1] = '\0';
	log_escape(session->asked, sizeof(session->asked), request->channel,
		   strlen(request->channel));
	if (!account_take_attach(session->account,
				 session->control->config->attach_rate,
				 control_now_ns())) {
		session_refuse(session, EAGAIN,
			       "user %u attaches more than %u times a second: "
			       "try again later",
			       session->peer.uid,
			       session->control->config->attach_rate);
		return;
	}
	if (control_is_full(session->control)) {
		session_refuse(session, ENOSPC,
			       "the broker has too few descriptors left (its "
			       "limit of open files): try again later");
		return;
	}
	session->is_let_in = true;
	session->wanted = *request;
	attach(session);
}

static void take_ack(struct session *session, struct wire_msg *msg)
{
	(void)msg;
	session->state = SESSION_ATTACHED;
	session->deadline_ns = 0;
	capture_enter(session->capture);
	capture_was_acked(session);
	move_check(session->control); /* its channel may have changed */
}

static void take_move_ack(struct session *session, struct wire_msg *msg)
{
	(void)msg;
	if (!session->moving || session->has_acked_move) {
		session_close(session, "an acknowledgement of nothing");
		return;
	}
	session->has_acked_move = true;
	move_was_read(session);
	move_check(session->control);
}

static void take_reload(struct session *session, struct wire_msg *msg)
{
	(void)msg;
	if (session->peer.is_owner)
		control_reload(session->control, session);
	else
		session_refuse(session, EACCES,
			       "only root may have the configuration read "
			       "again");
}

static void take_list(struct session *session, struct wire_msg *msg)
{
	(void)msg;
	report_list(session);
}

static void take_stat(struct session *session, struct wire_msg *msg)
{
	struct nr_msg_stat *request = (struct nr_msg_stat *)msg->bytes;

	request->channel[NR_NAME_MAX - 1] = '\0';
	if (!request->channel[0] || find_channel(session, request->channel))
		report_stat(session, request->channel);
}

/* All that a client may say, and when. */
static const struct request {
	uint32_t type;
	enum session_state state;
	size_t length;
	void (*take)(struct session *session, struct wire_msg *msg);
} requests[] = {
	{ NR_MSG_ATTACH, SESSION_NEW, sizeof(struct nr_msg_attach),
	  take_attach },
	{ NR_MSG_ACK, SESSION_UNACKED, sizeof(struct nr_msg), take_ack },
	{ NR_MSG_ACK, SESSION_ATTACHED, sizeof(struct nr_msg), take_move_ack },
	{ NR_MSG_RELOAD, SESSION_NEW, sizeof(struct nr_msg), take_reload },
	{ NR_MSG_LIST, SESSION_NEW, sizeof(struct nr_msg), take_list },
	{ NR_MSG_STAT, SESSION_NEW, sizeof(struct nr_msg_stat), take_stat },
};

static void take_message(struct session *session, struct wire_msg *msg)
{
	bool is_known = false;

	if (msg->msg.major != NR_ABI_MAJOR) {
		session_refuse(
			session, EPROTONOSUPPORT,
			"the client speaks version %u of the protocol, "
			"this broker version %u: use a libnetring of the "
			"broker's release",
			msg->msg.major, NR_ABI_MAJOR);
		return;
	}
	if (session->state == SESSION_NEW)
		session->request = msg->msg.id;
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		if (requests[i].type != msg->msg.type)
			continue;
		is_known = true;
		if (requests[i].state != session->state)
			continue;
		if (msg->length < requests[i].length)
			session_close(session, "a request that is too short");
		else
			requests[i].take(session, msg);
		return;
	}
	session_close(session, is_known ? "a request at the wrong moment" :
					  "an unknown request");
}

static void read_message(struct session *session)
{
	struct wire_msg msg;
	int n = wire_recv(session->event.fd, &msg);

	/* Not there; or there still, and the kernel has no memory for it. */
	if (n == -EAGAIN || n == -ENOMEM || n == -ENOBUFS)
		return;
	if (n == 0 || n == -ECONNRESET) {
		session_close(session, NULL);
	} else if (n < 0) {
		session_close(session, "a message that is none");
	} else if (msg.fd_count > 0) {
		wire_close_fds(&msg);
		session_close(session, "a message with descriptors");
	} else {
		take_message(session, &msg);
	}
}

/* It has been told its end: what it says is not heard, only that it goes. */
static void wait_for_end(struct session *session)
{
	struct wire_msg msg;
	int n = wire_recv(session->event.fd, &msg);

	if (n > 0)
		wire_close_fds(&msg);
	/* An acknowledgement may have been on its way; a flood was not. */
	if (n == -EAGAIN || (n != 0 && n != -ECONNRESET &&
			     ++session->late_messages < LATE_MESSAGES_MAX))
		return;
	session->peer_is_gone = true;
	control_unwatch(session->control, &session->event);
	if (session->state == SESSION_LINGERING)
		session_finish(session);
}

static void handle(struct control *control, struct event *event,
		   uint32_t events)
{
	struct session *session = (struct session *)event;

	(void)control;
	if (session->state == SESSION_CLOSING ||
	    session->state == SESSION_LINGERING)
		wait_for_end(session);
	else if (events & EPOLLIN)
		read_message(session);
	else if (events & (EPOLLHUP | EPOLLERR))
		session_close(session, NULL);
	else if (events & EPOLLOUT)
		flush_out(session);
}

/* ---------------------------------------------------------------- the life */

/*
 * The reason not to serve this peer at all, or NULL. The owner has to be able
 * to ask what is wrong, and to put it right.
 */
static const char *unwelcome(const struct session *session)
{
	const struct control *control = session->control;

	if (control->has_privilege && session->peer.uid == control->own_uid)
		return "it has the engine's own uid";
	if (!session->peer.is_owner &&
	    session->account->connections >= control->config->max_connections)
		return "its user has too many connections";
	if (!session->peer.is_owner && session->event.fd >= control->fds_max)
		return "the broker has too few descriptors left (its limit of "
		       "open files)";
	return NULL;
}

static void link_session(struct session *session)
{
	struct control *control = session->control;

	session->account->connections++;
	session->next = control->sessions;
	session->link = &control->sessions;
	if (session->next)
		session->next->link = &session->next;
	control->sessions = session;
}

/* No session can be had for it: it is told all the same. */
static void turn_away(int fd)
{
	struct nr_msg_error error = { .code = ENOMEM };

	strcpy(error.text, "the broker has no memory left");
	wire_init(&error.msg, NR_MSG_ERROR, sizeof(error), 0);
	(void)wire_send(fd, &error.msg, NULL, 0);
	close(fd);
}

void session_accept(struct control *control, int fd)
{
	struct session *session = calloc(1, sizeof(*session));
	const char *why;

	if (!session || peer_init(&session->peer, fd, control->owner)) {
		free(session);
		turn_away(fd);
		return;
	}
	session->control = control;
	session->event = (struct event){ .fd = fd, .handle = handle };
	session->account = account_get(&control->accounts, session->peer.uid,
				       control->config->max_memory);
	session->deadline_ns = control_now_ns() + REQUEST_DEADLINE;
	if (!session->account ||
	    control_watch(control, &session->event, EPOLLIN)) {
		peer_deinit(&session->peer);
		free(session);
		turn_away(fd);
		return;
	}
	why = unwelcome(session);
	link_session(session);
	if (why)
		session_refuse(session, ENOSPC, "refused: %s", why);
}

static void is_late(struct session *session)
{
	switch (session->state) {
	case SESSION_NEW:
		session_close(session, "it asked for nothing");
		break;
	case SESSION_LINGERING:
		session_finish(session);
		break;
	case SESSION_UNACKED:
		session_close(session, "it did not acknowledge in time");
		break;
	default:
		session_close(session, "it does not read its answer");
	}
}

uint64_t session_check_deadlines(struct control *control)
{
	uint64_t now = control_now_ns(), next = 0;
	struct session *session, *following;

	for (session = control->sessions; session; session = following) {
		following = session->next;
		if (session->deadline_ns == 0)
			continue;
		if (session->deadline_ns <= now)
			is_late(session);
		else if (next == 0 || session->deadline_ns < next)
			next = session->deadline_ns;
	}
	return next;
}

void session_close_all(struct control *control)
{
	struct session *session, *following;

	for (session = control->sessions; session; session = following) {
		following = session->next;
		/* The lanes have ended: nobody else knows the session. */
		shutdown(session->event.fd, SHUT_RDWR);
		session_free(session);
	}
}
