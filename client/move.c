/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A channel that changes gets new memory. The broker sends it ahead; it is
 * checked and mapped as at an attach, and waits until all lanes have been read
 * to where they end here and go on there. Batches of the old memory stay
 * valid: it is unmapped when the last of them is released.
 */
#include "capture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <netring/ring.h>

/* The one that is being put together, or NULL. */
static struct nr_capture *unfinished(struct nr_capture *capture)
{
	struct nr_capture *last = capture->moving;

	while (last && last->moving)
		last = last->moving;
	return last && !last->is_acked ? last : NULL;
}

/* The list holds captures that have only lanes: the socket is the first's. */
static void discard(struct nr_capture *capture, struct nr_capture *moving)
{
	struct nr_capture **link = &capture->moving;

	while (*link != moving)
		link = &(*link)->moving;
	*link = moving->moving;
	moving->moving = NULL;
	capture_free(moving);
}

static void take_move(struct nr_capture *capture, struct wire_msg *msg)
{
	struct nr_capture **link = &capture->moving, *moving;
	struct nr_msg_attached attached;

	if (msg->length < sizeof(attached) || msg->fd_count != 1 ||
	    unfinished(capture))
		return;
	moving = capture_new();
	if (!moving)
		return;
	while (*link)
		link = &(*link)->moving;
	*link = moving;
	memcpy(&attached, msg->bytes, sizeof(attached));
	moving->move_id = attached.capture_id;
	msg->fd_count = 0; /* taken by the next call */
	if (attach_return_pages(moving, msg->fds[0], attached.lane_count))
		discard(capture, moving);
}

/*
 * Not acknowledged is refused: the broker ends the capture with -ESTALE.
 */
static void take_lane(struct nr_capture *capture, struct wire_msg *msg)
{
	struct nr_capture *moving = unfinished(capture);
	struct nr_msg ack;
	int err;

	if (!moving || msg->length < sizeof(struct nr_msg_lane) ||
	    (msg->fd_count != 2 && msg->fd_count != 3))
		return;
	err = attach_lane_message(moving, msg, moving->move_id);
	if (!err && ++moving->move_lanes < moving->lane_count)
		return;
	wire_init(&ack, NR_MSG_ACK, sizeof(ack), 0);
	if (!err)
		err = wire_send(capture->socket, &ack, NULL, 0);
	if (err)
		discard(capture, moving);
	else
		moving->is_acked = true;
}

void move_take(struct nr_capture *capture, struct wire_msg *msg)
{
	if (msg->msg.type == NR_MSG_MOVE)
		take_move(capture, msg);
	else if (msg->msg.type == NR_MSG_LANE)
		take_lane(capture, msg);
	wire_close_fds(msg);
}

/* ---------------------------------------------------------------- going on */

unsigned move_held(const struct nr_capture *capture)
{
	unsigned held = 0, i;

	for (i = 0; i < capture->lane_count; i++)
		held += capture->lanes[i].slot_count -
			capture->lanes[i].free_count;
	return held;
}

static void left_free(struct left *left)
{
	struct left **link = &left->capture->left;

	while (*link != left)
		link = &(*link)->next;
	*link = left->next;
	lanes_free(left->lanes, left->lane_count, left->return_map,
		   left->return_fd);
	if (left->socket >= 0)
		close(left->socket);
	free(left);
}

void move_settle(struct left *left)
{
	if (--left->held == 0)
		left_free(left);
}

/*
 * The numbers go on, and what was lost at the end of the old lane is the gap
 * before what comes first in the new one. A lane that died has no end word.
 */
void move_numbers(struct lane *to, const struct lane *from)
{
	uint64_t end = NR_END_SEQ(nr_ring_end_word(from->ring));

	if (end < from->next_seq)
		end = from->next_seq;
	to->gap = from->gap + end - from->next_seq;
	to->seq_shift = from->seq_shift + end - to->base_seq;
}

static int lane_move_on(struct lane *to, const struct lane *from)
{
	int err = attach_lane_base(to);

	move_numbers(to, from);
	return err;
}

static int lanes_move_on(struct nr_capture *moving,
			 const struct nr_capture *capture)
{
	unsigned i;
	int err = moving->lane_count == capture->lane_count ? 0 : -EPROTO;

	for (i = 0; !err && i < moving->lane_count; i++)
		err = lane_move_on(&moving->lanes[i], &capture->lanes[i]);
	return err;
}

struct left *move_room(void)
{
	return malloc(sizeof(struct left));
}

void move_lanes(struct nr_capture *capture, struct nr_capture *from,
		struct left *left, int socket)
{
	unsigned i;

	stats_add(capture, &capture->carried);
	*left = (struct left){ .next = capture->left,
			       .capture = capture,
			       .lanes = capture->lanes,
			       .lane_count = capture->lane_count,
			       .held = move_held(capture),
			       .socket = socket,
			       .return_fd = capture->return_fd,
			       .return_map = capture->return_map };
	capture->left = left;
	for (i = 0; i < left->lane_count; i++)
		left->lanes[i].left = left;
	capture->lanes = from->lanes;
	capture->lane_count = from->lane_count;
	capture->return_fd = from->return_fd;
	capture->return_map = from->return_map;
	capture->lanes_ended = 0;
	capture->worst = 0;
	capture->turn = 0;
	from->lanes = NULL;
	from->lane_count = 0;
	from->return_fd = -1;
	from->return_map = NULL;
	if (left->held == 0)
		left_free(left);
}

bool move_on(struct nr_capture *capture)
{
	struct nr_capture *moving = capture->moving;
	struct left *left;

	if (!moving || !moving->is_acked)
		return false;
	left = move_room();
	if (!left)
		return false;
	capture->final = lanes_move_on(moving, capture);
	if (capture->final) {
		free(left);
		return false;
	}
	move_lanes(capture, moving, left, -1);
	discard(capture, moving);
	return true;
}

void move_forget(struct nr_capture *capture)
{
	while (capture->moving)
		discard(capture, capture->moving);
}

void move_free(struct nr_capture *capture)
{
	move_forget(capture);
	while (capture->left)
		left_free(capture->left);
}
