/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One connection: a peer, what it asked for, and at most one capture. Only
 * here are a client's messages looked at, and only their checked contents
 * go on.
 */
#ifndef NETRINGD_SESSION_H
#define NETRINGD_SESSION_H

#include "control.h"
#include "policy.h"

struct capture;

enum session_state {
	SESSION_NEW,	   /* has asked nothing yet */
	SESSION_QUEUED,	   /* wants a channel whose captures are moving */
	SESSION_ATTACHING, /* the lanes are asked */
	SESSION_READY,	   /* attached; its descriptors wait their turn */
	SESSION_UNACKED,   /* the descriptors are on their way */
	SESSION_ATTACHED,
	SESSION_WAITING,   /* for a reload, to have another */
	SESSION_RELOADING, /* for its own */
	SESSION_REPORTING, /* the lanes are asked for numbers */
	SESSION_SENDING,   /* an answer is being read */
	SESSION_CLOSING,   /* waits for the lanes to let go */
	SESSION_LINGERING, /* gone, but its descriptors lie unread */
};

struct session {
	struct event event;
	struct session *next;
	struct session **link; /* what points to it */
	struct control *control;
	struct peer peer;
	struct account *account;
	enum session_state state;
	bool is_let_in; /* the attach rate has allowed its attach */
	bool has_sent_fds;
	uint64_t deadline_ns; /* 0: none */
	uint32_t request;     /* id that answers carry */
	uint32_t pending;     /* lane commands on their way */
	struct nr_msg_attach wanted;
	char asked[NR_NAME_MAX * 4]; /* its channel, for the log */
	struct capture *capture;
	struct capture *moving; /* what it is to become, see move.c */
	bool is_told_to_move;	/* or could not be */
	bool is_move_unread;	/* its descriptors may be, as yet */
	bool has_acked_move;
	struct capture *retiring; /* what it was, until nothing is held */
	uint32_t late_messages;	  /* after its end */
	bool peer_is_gone;	  /* else it may look into these still: */
	struct ring_slice *slices;
	struct return_pages *pages;
	uint8_t *out; /* an answer of several messages */
	size_t out_size;
	size_t out_length;
	size_t out_sent;
};

/* A client connected. Takes @fd. */
void session_accept(struct control *control, int fd);

/*
 * Ends the session, as soon as no lane uses it. @why: for the log, NULL: the
 * peer hung up.
 */
void session_close(struct session *session, const char *why);

/* Captures have moved: attaches that waited for that go on. */
void session_go_on(struct control *control);

/* A lane command came back. Frees the session if it waited for that. */
void session_settle(struct session *session);

/* Closes those whose time is up. Returns when to look again (ns), or 0. */
uint64_t session_check_deadlines(struct control *control);

void session_close_all(struct control *control);

/* Refuses: sends ERROR with a positive errno @code and words, then closes. */
__attribute__((format(printf, 3, 4))) void
session_refuse(struct session *session, int code, const char *format, ...);

/* Adds a message to the answer. Its header is filled in. False: no memory. */
bool session_add(struct session *session, struct nr_msg *msg, uint32_t type,
		 size_t length);

/* Sends what was added, then DONE. */
void session_send(struct session *session);

/* report.c: what may be attached to, and how it is doing. */
void report_list(struct session *session);
void report_stat(struct session *session, const char *channel);

#endif
