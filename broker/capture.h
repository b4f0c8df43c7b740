/* SPDX-License-Identifier: BSD-2-Clause */
/* A capture as the control thread sees it: from the request to the last lane
 * that has let go. */
#ifndef NETRINGD_CAPTURE_H
#define NETRINGD_CAPTURE_H

#include "session.h"

struct capture_lane {
	struct subscription sub;
	struct lane *lane;
	struct ring_slice *slice;
	bool is_attached;
	bool is_user; /* counts as one of the lane's */
	union {
		struct lane_command base;
		struct attach_command attach;
		struct detach_command detach;
	} command;
	struct enter_command enter; /* a detach may follow at once */
};

/* What a request comes down to, within its limits. */
struct terms {
	uint32_t leases;
	uint32_t guarantee;
	uint32_t budget;
	uint32_t first_lane;
	uint32_t lane_count;
	bool follows;
	struct membership membership;
};

struct capture {
	struct capture *next; /* of the session's that it has moved away from */
	struct session *session;
	struct control_channel *channel;
	struct return_pages *pages;
	struct terms terms;
	uint32_t pending; /* lanes that have not let go of it */
	uint32_t id;
	uint32_t guaranteed;  /* blocks, all lanes */
	bool is_entered;      /* counts as one that reads */
	bool is_charged;      /* counts against its user's quotas */
	uint64_t attached_ns; /* since the epoch */
	bool is_refused;
	uint32_t set_aside; /* of the lane that refused */
	uint32_t promised;
	uint32_t lane_count;
	struct capture_lane lanes[];
};

/*
 * Attaches @session to @channel as @request says, which has been checked for
 * length. Refuses, or asks the lanes; the answer goes out when all have
 * answered.
 */
void capture_attach(struct session *session, struct control_channel *channel,
		    const struct nr_msg_attach *request);

/*
 * What @capture is to become on @channel, which has replaced its own: as an
 * attach, but nothing is asked of the lanes yet. NULL: it cannot.
 */
struct capture *capture_prepare_move(struct capture *capture,
				     struct control_channel *channel);

/* The session goes on with its `moving` capture; the old one winds down. */
void capture_has_moved(struct session *session);

/*
 * Its client has its descriptors, and reads: groups may give it flows now, and
 * sources that wait for captures count it.
 */
void capture_enter(struct capture *capture);

/* The session has left SESSION_UNACKED: the next may have its descriptors. */
void capture_was_acked(struct session *session);

/*
 * Asks the lanes to let go; session->pending says how many still have to. Takes
 * NULL.
 */
void capture_detach(struct capture *capture);

/* No lane knows it any more. Takes NULL. */
void capture_free(struct capture *capture);

/*
 * The same; but its ring and pages stay the session's for as long as the peer
 * can look into them. And gives those back.
 */
void capture_end(struct capture *capture);
void capture_give_memory(struct session *session);

/*
 * terms.c: reads a request; each of these returns 0, or after a refusal 1.
 */
int terms_read(struct session *session, const struct control_channel *channel,
	       const struct nr_msg_attach *request, struct terms *terms);
/* Within the quotas of its user? */
int terms_fit_quotas(struct session *session, const struct terms *terms);
/* And within a user's share of what is set aside, which has been made? */
int terms_fit_share(struct session *session,
		    const struct control_channel *channel,
		    const struct terms *terms);
/* Refuses as @err says: there was no memory, or there are no packets. */
void terms_refuse_memory(struct session *session,
			 const struct control_channel *channel, int err);
void terms_refuse_packets(struct session *session,
			  const struct capture *capture, int err);

#endif
