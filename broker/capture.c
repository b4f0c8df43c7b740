// SPDX-License-Identifier: BSD-2-Clause
/*
 * Attaching: quotas, memory, the lanes' admission, then the descriptors. Each
 * step that fails takes back the ones before it.
 */
#include "capture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "../client/wire.h"
#include "log.h"

#define ACK_DEADLINE_NS UINT64_C(1000000000)
/* Descriptors that nobody has read count against our limit, for everybody. */
#define UNACKED_MAX 16u
#define UNACKED_UID_MAX 6u

/* Makes what is missing: the first capture of a channel pays for its arenas. */
static int make_arenas(struct control_channel *channel,
		       const struct terms *terms)
{
	int err = 0;

	for (uint32_t i = 0; i < terms->lane_count && !err; i++)
		err = control_channel_make_arena(channel,
						 terms->first_lane + i);
	return err;
}

/* ------------------------------------------------------------- the answer */

static int send_attached(const struct capture *capture, uint32_t type)
{
	struct nr_msg_attached msg = {
		.capture_id = capture->id,
		.lane_count = capture->lane_count,
	};

	wire_init(&msg.msg, type, sizeof(msg), capture->session->request);
	return wire_send(capture->session->event.fd, &msg.msg,
			 &capture->pages->fd, 1);
}

static int send_lane(const struct capture *capture, uint32_t index)
{
	const struct capture_lane *cl = &capture->lanes[index];
	const struct region *ring = cl->slice->region;
	const struct arena *arena = capture->channel->arenas[cl->lane->number];
	const int fds[3] = { arena->region.fd, ring->fd,
			     arena->frames ? arena->frames->fd : -1 };
	struct nr_msg_lane msg = {
		.lane = cl->lane->number,
		.return_page = index,
		.arena_size = arena->region.size,
		.arena_id = arena->id,
		.ring_map_offset = cl->slice->offset,
		.ring_map_size = NR_RING_SIZE,
	};

	if (ring->is_hugetlb) { /* can only be mapped whole */
		msg.ring_map_offset = 0;
		msg.ring_map_size = ring->size;
		msg.ring_offset = cl->slice->offset;
	}
	if (arena->frames)
		msg.region_size = arena->frames->size;
	wire_init(&msg.msg, NR_MSG_LANE, sizeof(msg),
		  capture->session->request);
	return wire_send(capture->session->event.fd, &msg.msg, fds,
			 arena->frames ? 3 : 2);
}

static int send_all(const struct capture *capture, uint32_t type)
{
	int err;

	capture->session->has_sent_fds = true;
	err = send_attached(capture, type);
	for (uint32_t i = 0; i < capture->lane_count && !err; i++)
		err = send_lane(capture, i);
	return err;
}

static void hand_over(struct capture *capture)
{
	struct session *session = capture->session;
	int err = send_all(capture, NR_MSG_ATTACHED);

	if (err == -ETOOMANYREFS) {
		session_refuse(session, EAGAIN,
			       "too many of the broker's descriptors have been "
			       "sent and not been read: try again later");
		return;
	}
	if (err == -EAGAIN) {
		session_close(session, "it does not read its descriptors");
		return;
	}
	if (err) {
		session_refuse(session, -err,
			       "the broker cannot send its descriptors: %s",
			       strerror(-err));
		return;
	}
	log_info("attach uid %u pid %d (%s) channel %s: capture %u",
		 session->peer.uid, (int)session->peer.pid,
		 session->peer.comm_text, capture->channel->config->name,
		 capture->id);
	session->state = SESSION_UNACKED;
	session->deadline_ns = control_now_ns() + ACK_DEADLINE_NS;
	session->control->unacked++;
	session->account->unacked++;
}

static bool may_hand_over(const struct session *session)
{
	return session->control->unacked < UNACKED_MAX &&
	       session->account->unacked < UNACKED_UID_MAX;
}

/* Who waits longest, or NULL: new sessions are put in front. */
static struct session *first_ready(const struct control *control)
{
	struct session *session, *first = NULL;

	for (session = control->sessions; session; session = session->next)
		if (session->state == SESSION_READY && may_hand_over(session))
			first = session;
	return first;
}

void capture_was_acked(struct session *session)
{
	struct control *control = session->control;

	control->unacked--;
	session->account->unacked--;
	/* One that fails leaves its turn to the next. */
	while ((session = first_ready(control)))
		hand_over(session->capture);
}

static bool is_attached(const struct capture *capture)
{
	for (uint32_t i = 0; i < capture->lane_count; i++)
		if (capture->lanes[i].is_attached)
			return true;
	return false;
}

static void attach_is_done(struct lane_command *command)
{
	struct capture_lane *cl = command->owner;
	struct attach_command *attach = &cl->command.attach;
	struct capture *capture = cl->sub.evicted.owner;
	struct session *session = capture->session;

	cl->is_attached = !attach->is_refused;
	if (attach->is_refused) {
		capture->is_refused = true;
		capture->set_aside = attach->set_aside;
		capture->promised = attach->promised;
	}
	if (session->state == SESSION_CLOSING) {
		capture_detach(capture);
		session_settle(session);
		return;
	}
	session->pending--;
	if (session->pending > 0)
		return;
	if (capture->is_refused) {
		session_refuse(session, ENOSPC,
			       "channel '%s' is full: %u of the %u blocks set "
			       "aside for guarantees are promised, and this "
			       "capture asks for %u a lane%s",
			       capture->channel->config->name,
			       capture->promised, capture->set_aside,
			       cl->sub.grant.guarantee,
			       capture->terms.membership.name[0] ?
				       " and one for its stream in the group "
				       "(of at most 64 members)" :
				       "");
	} else if (may_hand_over(session)) {
		hand_over(capture);
	} else {
		session->state = SESSION_READY;
	}
}

static void enter_is_done(struct lane_command *command)
{
	struct capture *capture = command->owner;

	session_settle(capture->session);
}

static void enter_lanes(struct capture *capture)
{
	capture->is_entered = true;
	for (uint32_t i = 0; i < capture->lane_count; i++)
		control_enter_lane(capture->channel->source,
				   capture->lanes[i].lane,
				   capture->session->account->uid);
}

static void exit_lanes(struct capture *capture)
{
	for (uint32_t i = 0; i < capture->lane_count && capture->is_entered;
	     i++)
		control_exit_lane(capture->channel->source,
				  capture->lanes[i].lane,
				  capture->session->account->uid);
	capture->is_entered = false;
}

void capture_enter(struct capture *capture)
{
	for (uint32_t i = 0; i < capture->lane_count; i++) {
		struct capture_lane *cl = &capture->lanes[i];

		cl->enter = (struct enter_command){
			.base = { .run = lane_enter,
				  .done = enter_is_done,
				  .owner = capture },
			.sub = &cl->sub,
		};
		capture->session->pending++;
		lane_send(cl->lane, &cl->enter.base);
	}
	enter_lanes(capture); /* a lane that starts of it knows of it */
}

static void detach_is_done(struct lane_command *command)
{
	struct capture *capture = command->owner;
	struct session *session = capture->session;
	struct capture **link = &session->retiring;

	capture->pending--;
	while (*link && *link != capture)
		link = &(*link)->next;
	if (*link && capture->pending == 0 && !is_attached(capture)) {
		*link = capture->next;
		capture_free(capture);
	}
	session_settle(session);
}

static void detach_lane(struct capture *capture, struct capture_lane *cl)
{
	if (!cl->is_attached)
		return;
	cl->is_attached = false;
	cl->command.detach = (struct detach_command){
		.base = { .run = lane_detach,
			  .done = detach_is_done,
			  .owner = capture },
		.channel = &capture->channel->lane_channels[cl->lane->number],
		.sub = &cl->sub,
	};
	capture->pending++;
	capture->session->pending++;
	lane_send(cl->lane, &cl->command.base);
}

void capture_detach(struct capture *capture)
{
	for (uint32_t i = 0; capture && i < capture->lane_count; i++)
		detach_lane(capture, &capture->lanes[i]);
}

/* A lane has ended a capture that broke the rules, or is done with it. */
static void was_evicted(struct lane_command *command)
{
	struct capture *capture = command->owner;
	const struct subscription *sub =
		caa_container_of(command, struct subscription, evicted);
	char why[128];

	if (!sub->offence) { /* it has moved on and holds nothing here */
		detach_lane(capture, (struct capture_lane *)(uintptr_t)sub);
		return;
	}
	snprintf(why, sizeof(why), "evicted: it %s", sub->offence);
	session_close(capture->session, why);
}

/* ---------------------------------------------------------------- the life */

static int init_lane(struct capture *capture, uint32_t index)
{
	const struct terms *terms = &capture->terms;
	struct capture_lane *cl = &capture->lanes[index];
	struct control *control = capture->session->control;

	int err = control_use_lane(capture->channel->source, cl->lane);

	cl->is_user = true;
	cl->sub.bell = capture->session->event.fd;
	cl->sub.capture_id = capture->id;
	cl->sub.lane = cl->lane->number;
	cl->sub.out = &control->in;
	cl->sub.evicted.done = was_evicted;
	cl->sub.evicted.owner = capture;
	subscription_init(&cl->sub, ring_slice_ring(cl->slice),
			  &capture->pages->pages[index], terms->leases,
			  terms->guarantee, terms->budget);
	return err;
}

static void ask_lane(struct capture *capture, uint32_t index)
{
	struct control_channel *channel = capture->channel;
	struct capture_lane *cl = &capture->lanes[index];
	uint32_t lane = cl->lane->number;

	cl->command.attach = (struct attach_command){
		.base = { .run = lane_attach,
			  .done = attach_is_done,
			  .owner = cl },
		.channel = &channel->lane_channels[lane],
		.arena = channel->arenas[lane],
		.sub = &cl->sub,
		.membership = capture->terms.membership,
	};
	capture->session->pending++;
	lane_send(cl->lane, &cl->command.base);
}

/* Why there was none: its quota, or the machine's. */
static int memory_errno(const struct account *account)
{
	return account->memory + REGION_ALIGN > account->max_memory ? -EDQUOT :
								      -ENOMEM;
}

/* Memory for all lanes first: what fails here has touched no lane. */
static int take_memory(struct capture *capture, const struct terms *terms)
{
	struct session *session = capture->session;
	struct control_source *source = capture->channel->source;

	capture->pages = account_take_pages(session->account, terms->lane_count,
					    session->control->has_privilege);
	if (!capture->pages)
		return memory_errno(session->account);
	for (uint32_t i = 0; i < terms->lane_count; i++) {
		struct capture_lane *cl = &capture->lanes[i];

		cl->lane = &source->lanes[terms->first_lane + i];
		cl->slice = account_take_slice(session->account,
					       source->config->small_pages);
		if (!cl->slice)
			return memory_errno(session->account);
	}
	return 0;
}

static struct capture *capture_new(struct session *session,
				   struct control_channel *channel,
				   const struct terms *terms)
{
	struct capture *capture = calloc(
		1, sizeof(*capture) +
			   terms->lane_count * sizeof(struct capture_lane));

	if (!capture)
		return NULL;
	capture->session = session;
	capture->channel = channel;
	capture->terms = *terms;
	capture->lane_count = terms->lane_count;
	capture->id = ++session->control->capture_ids;
	capture->guaranteed = terms->guarantee * terms->lane_count;
	capture->attached_ns = clock_ns(CLOCK_REALTIME);
	channel->capture_count++;
	return capture;
}

static void charge(struct capture *capture)
{
	capture->is_charged = true;
	capture->session->account->captures++;
	capture->session->account->guaranteed += capture->guaranteed;
}

static void uncharge(struct capture *capture)
{
	if (!capture->is_charged)
		return;
	capture->is_charged = false;
	capture->session->account->captures--;
	capture->session->account->guaranteed -= capture->guaranteed;
}

void capture_attach(struct session *session, struct control_channel *channel,
		    const struct nr_msg_attach *request)
{
	struct capture *capture;
	struct terms terms;
	int err;

	if (terms_read(session, channel, request, &terms) ||
	    terms_fit_quotas(session, &terms))
		return;
	capture = capture_new(session, channel, &terms);
	session->capture = capture;
	if (capture)
		charge(capture);
	err = capture ? take_memory(capture, &terms) : -ENOMEM;
	if (!err)
		err = make_arenas(channel, &terms);
	if (err) {
		terms_refuse_memory(session, channel, err);
		return;
	}
	if (terms_fit_share(session, channel, &terms))
		return;
	session->state = SESSION_ATTACHING;
	session->deadline_ns = 0;
	for (uint32_t i = 0; i < capture->lane_count; i++)
		if (!err)
			err = init_lane(capture, i);
	if (err) {
		terms_refuse_packets(session, capture, err);
		return;
	}
	for (uint32_t i = 0; i < capture->lane_count; i++)
		ask_lane(capture, i);
}

/*
 * A capture that has ended reads its ring to the end word, and may give back
 * batches later: nobody else gets its ring and its pages before it has closed
 * its connection.
 */
static void keep_memory(struct capture *capture)
{
	struct session *session = capture->session;

	for (uint32_t i = 0; i < capture->lane_count; i++) {
		struct ring_slice *slice = capture->lanes[i].slice;

		if (!slice)
			continue;
		slice->next = session->slices;
		session->slices = slice;
		capture->lanes[i].slice = NULL;
	}
	if (!capture->pages)
		return;
	capture->pages->next = session->pages;
	session->pages = capture->pages;
	capture->pages = NULL;
}

void capture_end(struct capture *capture)
{
	if (capture && capture->session->has_sent_fds &&
	    !capture->session->peer_is_gone)
		keep_memory(capture);
	capture_free(capture);
}

void capture_give_memory(struct session *session)
{
	struct ring_slice *slice;
	struct return_pages *pages;

	while ((slice = session->slices)) {
		session->slices = slice->next;
		account_give_slice(session->account, slice);
	}
	while ((pages = session->pages)) {
		session->pages = pages->next;
		account_give_pages(session->account, pages);
	}
}

void capture_free(struct capture *capture)
{
	struct account *account;

	if (!capture)
		return;
	account = capture->session->account;
	exit_lanes(capture);
	for (uint32_t i = 0; i < capture->lane_count; i++) {
		if (capture->lanes[i].slice)
			account_give_slice(account, capture->lanes[i].slice);
		if (capture->lanes[i].is_user)
			control_leave_lane(capture->channel->source,
					   capture->lanes[i].lane);
	}
	if (capture->pages)
		account_give_pages(account, capture->pages);
	uncharge(capture);
	capture->channel->capture_count--;
	control_channel_settle(capture->channel);
	free(capture);
}

struct capture *capture_prepare_move(struct capture *capture,
				     struct control_channel *channel)
{
	struct session *session = capture->session;
	struct capture *moving = capture_new(session, channel, &capture->terms);

	if (!moving)
		return NULL;
	moving->id = capture->id;
	moving->attached_ns = capture->attached_ns;
	if (take_memory(moving, &moving->terms) ||
	    make_arenas(channel, &moving->terms)) {
		capture_free(moving);
		return NULL;
	}
	for (uint32_t i = 0; i < moving->lane_count; i++)
		init_lane(moving, i);
	if (send_all(moving, NR_MSG_MOVE)) {
		capture_end(moving); /* the peer may have some of it */
		return NULL;
	}
	return moving;
}

/* It is one capture: what it has left is not charged any more. */
void capture_has_moved(struct session *session)
{
	struct capture *old = session->capture;

	uncharge(old);
	charge(session->moving);
	exit_lanes(old);
	enter_lanes(session->moving);
	session->capture = session->moving;
	session->moving = NULL;
	session->is_told_to_move = false;
	/* Its lanes have let go of it, while others had not switched yet. */
	if (old->pending == 0 && !is_attached(old)) {
		capture_free(old);
		return;
	}
	old->next = session->retiring;
	session->retiring = old;
}
