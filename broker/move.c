// SPDX-License-Identifier: BSD-2-Clause
/*
 * Moving captures: the new memory is handed out first, then each lane switches
 * between two packets. No packet is missed or given twice by that.
 */
#include "move.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "capture.h"
#include "log.h"

#define ACK_DEADLINE_NS UINT64_C(1000000000)
/* Told and not read yet, of one user: the others wait their turn. */
#define UNREAD_MAX 6u

struct move {
	struct move *next;
	struct control *control;
	struct control_channel *from;
	struct control_channel *to;
	uint64_t deadline_ns;
	bool with_source; /* all of a source switch at once, see refit() */
	bool is_switching;
	uint32_t pending; /* lanes that have not switched */
	struct move_command commands[NR_LANES_MAX];
};

/* Its capture is on the channel that is left. */
static bool concerns(const struct move *move, const struct session *session)
{
	return session->capture && session->capture->channel == move->from;
}

/* It said that it can go on there, and may. */
static bool follows(const struct move *move, const struct session *session)
{
	return concerns(move, session) && session->capture->terms.follows &&
	       policy_allows(move->control->config, move->to->config,
			     &session->peer);
}

/* It is about to be attached to what is left, and will be told then. */
static bool is_attaching(const struct session *session)
{
	return session->state == SESSION_ATTACHING ||
	       session->state == SESSION_READY ||
	       session->state == SESSION_UNACKED;
}

static void tell(struct move *move, struct session *session)
{
	session->is_told_to_move = true;
	session->has_acked_move = false;
	session->moving = capture_prepare_move(session->capture, move->to);
	session->is_move_unread = session->moving != NULL;
	session->account->moving += session->is_move_unread;
}

void move_was_read(struct session *session)
{
	session->account->moving -= session->is_move_unread;
	session->is_move_unread = false;
}

static void tell_all(struct move *move)
{
	struct session *session = move->control->sessions;

	for (; session; session = session->next)
		if (session->state == SESSION_ATTACHED &&
		    !session->is_told_to_move && follows(move, session) &&
		    session->account->moving < UNREAD_MAX)
			tell(move, session);
}

__attribute__((noreturn)) static void
give_up(const struct control_channel *channel)
{
	log_error("channel %s: no memory to move its captures",
		  channel->config->name);
	exit(1); /* the warden starts another engine */
}

void move_start(struct control_channel *from, struct control_channel *to,
		bool with_source)
{
	struct control *control = from->control;
	struct move *move = calloc(1, sizeof(*move));

	from->is_retired = true;
	if (!move)
		give_up(from);
	move->with_source = with_source;
	move->control = control;
	move->from = from;
	move->to = to;
	move->next = control->moves;
	control->moves = move;
	tell_all(move);
	/* From now on: making the memory may have taken a while. */
	move->deadline_ns = control_now_ns() + ACK_DEADLINE_NS;
	move_check(control);
}

/* ------------------------------------------------------------- the switch */

static void close_stayers(struct move *move)
{
	struct session *session, *following;

	for (session = move->control->sessions; session; session = following) {
		following = session->next;
		if (!concerns(move, session))
			continue;
		/* Attached there: an acknowledgement may have come too late. */
		if (session->moving && session->state == SESSION_ATTACHED &&
		    session->moving->lanes[0].is_attached &&
		    !session->moving->is_refused) {
			log_info("move uid %u pid %d (%s) channel %s: capture "
				 "%u",
				 session->peer.uid, (int)session->peer.pid,
				 session->peer.comm_text,
				 move->to->config->name, session->capture->id);
			capture_has_moved(session);
		} else if (session->state == SESSION_ATTACHING ||
			   session->state == SESSION_READY) {
			session_refuse(session, ESTALE,
				       "the channel has changed meanwhile: "
				       "attach again");
		} else if (!policy_allows(move->control->config,
					  move->to->config, &session->peer)) {
			session_close(session, "it is not allowed any more");
		} else {
			session_close(session,
				      "the channel has changed: it has "
				      "to attach again");
		}
	}
}

static void move_free(struct move *move)
{
	struct move **link = &move->control->moves;

	while (*link != move)
		link = &(*link)->next;
	*link = move->next;
	for (uint32_t l = 0; l < NR_LANES_MAX; l++)
		free(move->commands[l].pairs);
	free(move);
}

static struct capture *capture_of(struct subscription *sub)
{
	return sub->evicted.owner;
}

static void settle_pair(const struct move_pair *pair)
{
	struct capture_lane *cl = (struct capture_lane *)pair->to;
	struct capture *moving;
	struct session *session;

	if (!pair->to)
		return;
	moving = capture_of(pair->to);
	session = moving->session;
	cl->is_attached = !pair->is_refused;
	moving->is_refused |= pair->is_refused;
	if (session->state == SESSION_CLOSING)
		capture_detach(moving);
	session_settle(session);
}

static void switch_is_done(struct lane_command *command)
{
	struct move_command *switched = (struct move_command *)command;
	struct move *move = command->owner;
	struct control_channel *from = move->from, *to = move->to;
	struct control *control = move->control;

	for (uint32_t i = 0; i < switched->pair_count; i++)
		settle_pair(&switched->pairs[i]);
	if (--move->pending > 0)
		return;
	close_stayers(move);
	move_free(move);
	control_channel_settle(from);
	control_channel_settle(to);
	session_go_on(control);
	control_reload_settle(control);
}

/* The subscriptions of @session on @lane, in the old channel and in the new. */
static void add_pair(struct move *move, struct move_command *command,
		     struct session *session, const struct lane *lane)
{
	struct capture *capture = session->capture;
	bool comes = session->moving && session->has_acked_move &&
		     session->state == SESSION_ATTACHED;

	for (uint32_t i = 0; i < capture->lane_count; i++) {
		struct move_pair *pair = &command->pairs[command->pair_count];

		if (capture->lanes[i].lane != lane ||
		    !capture->lanes[i].is_attached)
			continue;
		*pair = (struct move_pair){ .from = &capture->lanes[i].sub };
		pair->membership = capture->terms.membership;
		if (comes) {
			pair->to = &session->moving->lanes[i].sub;
			session->pending++;
		}
		pair->is_denied =
			!policy_allows(move->control->config, move->to->config,
				       &session->peer);
		command->pair_count++;
	}
}

static void switch_lane(struct move *move, uint32_t number, uint64_t missed)
{
	struct move_command *command = &move->commands[number];
	struct lane *lane = &move->from->source->lanes[number];
	struct session *session;
	uint32_t count = 0;

	for (session = move->control->sessions; session;
	     session = session->next)
		count += concerns(move, session);
	command->pairs = calloc(count + 1, sizeof(*command->pairs));
	if (!command->pairs)
		give_up(move->from);
	for (session = move->control->sessions; session;
	     session = session->next)
		if (concerns(move, session))
			add_pair(move, command, session, lane);
	command->base.run = lane_move;
	command->base.done = switch_is_done;
	command->base.owner = move;
	command->from = &move->from->lane_channels[number];
	command->to = &move->to->lane_channels[number];
	command->arena = move->to->arenas[number];
	command->missed = missed;
	lane_send(lane, &command->base);
}

static void begin(struct move *move)
{
	move->is_switching = true;
	move->pending = move->from->source->lane_count;
}

static void switch_all(struct move *move)
{
	begin(move);
	for (uint32_t l = 0; l < move->from->source->lane_count; l++)
		switch_lane(move, l, 0);
}

static bool is_of(const struct move *move, const struct control_source *source)
{
	return move->with_source && move->from->source == source;
}

/*
 * Lane by lane: its captures are in the new memory before the first packet is.
 * A lane whose new socket is not had now goes on when it is.
 */
static void refit(struct control *control, struct control_source *source)
{
	uint64_t missed;
	struct move *move;

	source->is_refitting = false;
	for (move = control->moves; move; move = move->next)
		if (is_of(move, source))
			begin(move);
	for (uint32_t l = 0; l < source->lane_count; l++) {
		struct source *opened =
			control_change_socket(control, source, l, &missed);

		for (move = control->moves; move; move = move->next)
			if (is_of(move, source))
				switch_lane(move, l, missed);
		if (opened)
			control_resume_lane(source, l, opened, missed);
		if (missed)
			log_info("source %s: lane %u: %llu packets went to the "
				 "host while its memory was made anew",
				 source->config->name, l,
				 (unsigned long long)missed);
	}
	control_reload_ask_lanes(control);
}

static void refit_and_tell(struct control *control,
			   struct control_source *source)
{
	char text[256];

	log_keep(text, sizeof(text));
	refit(control, source);
	log_keep(NULL, 0);
	if (text[0])
		snprintf(control->reload_failure,
			 sizeof(control->reload_failure),
			 "the configuration is in force, but: %s", text);
}

static bool is_waiting(const struct move *move)
{
	const struct session *session = move->control->sessions;

	if (control_now_ns() >= move->deadline_ns)
		return false;
	for (; session; session = session->next)
		if (follows(move, session) &&
		    (is_attaching(session) ||
		     (session->state == SESSION_ATTACHED &&
		      (!session->is_told_to_move || session->is_move_unread))))
			return true;
	return false;
}

static bool waits_for_captures(const struct control *control,
			       const struct control_source *source)
{
	const struct move *move;

	for (move = control->moves; move; move = move->next)
		if (is_of(move, source) && is_waiting(move))
			return true;
	return false;
}

void move_check(struct control *control)
{
	struct control_source *source;
	struct move *move;

	for (move = control->moves; move; move = move->next) {
		if (move->is_switching)
			continue;
		tell_all(move);
		if (!move->with_source && !is_waiting(move))
			switch_all(move);
	}
	for (source = control->sources; source; source = source->next)
		if (source->is_refitting &&
		    !waits_for_captures(control, source))
			refit_and_tell(control, source);
}

uint64_t move_deadline(const struct control *control)
{
	const struct move *move;
	uint64_t due = 0;

	for (move = control->moves; move; move = move->next)
		if (!move->is_switching && (!due || move->deadline_ns < due))
			due = move->deadline_ns;
	return due;
}

bool move_concerns(const struct control *control,
		   const struct control_channel *channel)
{
	const struct move *move;

	for (move = control->moves; move; move = move->next)
		if (move->from == channel || move->to == channel)
			return true;
	return false;
}

const struct control_channel *move_next(const struct control *control,
					const struct control_channel *channel)
{
	const struct move *move;

	for (move = control->moves; move; move = move->next)
		if (move->from == channel)
			return move->to;
	return NULL;
}

void move_free_all(struct control *control)
{
	while (control->moves)
		move_free(control->moves);
}
