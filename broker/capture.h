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
};

struct capture {
	struct session *session;
	struct control_channel *channel;
	struct return_pages *pages;
	struct membership membership;
	uint32_t id;
	uint32_t guaranteed; /* blocks, all lanes: charged to the account */
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

/* The session has left SESSION_UNACKED: the next may have its descriptors. */
void capture_was_acked(struct session *session);

/* Asks the lanes to let go; session->pending says how many still have to. */
void capture_detach(struct capture *capture);

/* No lane knows it any more. Takes NULL. */
void capture_free(struct capture *capture);

#endif
