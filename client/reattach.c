/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A broker that comes back. The capture is attached anew beside the dead one,
 * and only when all of it stands does it take the other's place: a try that
 * fails changes nothing. What was leased from the dead stays mapped until it is
 * released, as when a capture moves.
 */
#include "capture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

bool reattach_helps(int err)
{
	return err == -EPIPE || err == -ESHUTDOWN || err == -ESTALE;
}

/*
 * What a broker that is just starting, or ending, answers: nobody there, no
 * such channel yet, dead in the middle of it, too many come back at once, and
 * what the dead capture held is not given back yet.
 */
static bool may_pass(int err)
{
	switch (-err) {
	case ECONNREFUSED:
	case ENOENT:
	case EPIPE:
	case ECONNRESET:
	case ETIMEDOUT:
	case EAGAIN:
	case ENOSPC:
		return true;
	default:
		return false;
	}
}

/* What it was reading is read out, and what it does not hold is given back. */
static void let_go(struct nr_capture *capture)
{
	unsigned i;

	for (i = 0; i < capture->lane_count; i++)
		lane_drop_current(&capture->lanes[i]);
	move_forget(capture);
	/* else it counts against this user's quota while it is replaced */
	if (move_held(capture) == 0)
		shutdown(capture->socket, SHUT_RDWR);
}

/*
 * The connection keeps its number. The old one lives as long as batches are
 * held: its end would give back to a living broker what they lie in.
 */
static int take_place(struct nr_capture *capture, struct nr_capture *fresh)
{
	int old = fcntl(capture->socket, F_DUPFD_CLOEXEC, 0);
	struct left *left = move_room();
	unsigned i;
	int err = 0;

	if (old < 0)
		err = -errno;
	else if (!left)
		err = -ENOMEM;
	else if (dup3(fresh->socket, capture->socket, O_CLOEXEC) < 0)
		err = -errno;
	if (err) {
		if (old >= 0)
			close(old);
		free(left);
		return err;
	}
	for (i = 0; i < fresh->lane_count; i++) {
		fresh->lanes[i].news = NR_BATCH_REATTACHED;
		if (i < capture->lane_count)
			move_numbers(&fresh->lanes[i], &capture->lanes[i]);
	}
	move_lanes(capture, fresh, left, old);
	capture->final = 0;
	capture->broker_gone = false;
	return 0;
}

/* Returns 0 to try again, or why not. */
static int wait_for_broker(struct nr_capture *capture,
			   struct patience *patience, int err)
{
	if (!may_pass(err))
		return err;
	if (!patience_wait(patience, capture->break_fd))
		return err == -ECONNREFUSED ? capture->final : err;
	if (break_take(capture))
		return -EINTR;
	break_fd_clear(capture);
	return 0;
}

int nr_capture_reattach(struct nr_capture *capture, int wait_ms)
{
	struct patience patience = patience_start(wait_ms);
	struct nr_capture *fresh;
	int err;

	if (!reattach_helps(capture->final) || !capture->request.msg.length)
		return -EINVAL;
	let_go(capture);
	while ((err = capture_attach(&fresh, capture->path, &capture->request,
				     NULL))) {
		err = wait_for_broker(capture, &patience, err);
		if (err)
			return err;
	}
	err = take_place(capture, fresh);
	capture_free(fresh);
	return err;
}
