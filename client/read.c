/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading in place. A batch costs three loads of shared words (F, B, and D when
 * a block is over) and no system call, whatever the number of records; only
 * waiting enters the kernel.
 *
 * The order of looking is what makes the end exact: the end word is loaded
 * first and believed last, when block and ring, looked at later, gave nothing.
 * (netring/ring.h draws the letters.)
 */
#include "capture.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <netring/ring.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* A hostile broker could keep us reading bells for ever. */
#define BELLS_MAX 1024
/* How often a capture that follows looks for messages: it has a second. */
#define LISTEN_MS 100

/* ------------------------------------------------------------------ leases */

/* The last one out gives the block back; then it may be overwritten. */
static void held_drop(struct lane *lane, uint32_t place)
{
	struct held *held = &lane->held[place];

	/* 0: the caller releases a second copy, and hurts nobody but itself */
	if (held->refs == 0 || --held->refs)
		return;
	nr_return_give(lane->page, lane->given++, held->lease); /* K */
	lane->free[lane->free_count++] = (uint16_t)place;
	if (unlikely(lane->left))
		move_settle(lane->left);
}

void lane_drop_current(struct lane *lane)
{
	if (!lane->block)
		return;
	lane->block = NULL;
	held_drop(lane, lane->current);
}

void nr_batch_release(struct nr_batch *batch)
{
	if (batch->capture)
		held_drop(batch->lane_state, batch->lease_slot);
	memset(batch, 0, sizeof(*batch));
}

/* ------------------------------------------------------------------ looking */

static const struct nr_block *block_at(const struct lane *lane, uint32_t index)
{
	return (const void *)(lane->arena + lane->block_offset +
			      (uint64_t)index * lane->block_size);
}

/*
 * Takes the next descriptor, if there is one, and makes its block the current
 * one. The whole descriptor is copied before anything of it is released.
 * Returns 1, 0 or -EPROTO.
 */
static int lane_take(struct lane *lane)
{
	uint64_t queued = nr_ring_head(lane->ring) - lane->taken; /* D */
	struct nr_descriptor next;
	uint64_t slot;

	if (queued == 0)
		return 0;
	if (queued > lane->slot_count || lane->free_count == 0)
		return -EPROTO;
	slot = lane->taken & (lane->slot_count - 1);
	memcpy(&next, lane->slots + slot * lane->slot_stride, sizeof(next));
	if (next.arena_id != lane->arena_id ||
	    next.block >= lane->block_count ||
	    next.first > lane->block_capacity || next.seq < lane->next_seq)
		return -EPROTO;
	lane->taken++;
	lane->gap += next.seq - lane->next_seq;
	lane->next_seq = next.seq;
	lane->block = block_at(lane, next.block);
	lane->link_type = lane->block->link_type;
	lane->read = next.first;
	lane->current = lane->free[--lane->free_count];
	lane->held[lane->current] = (struct held){ next.lease, 1 };
	return 1;
}

static void lane_give(struct nr_capture *capture, struct lane *lane,
		      uint32_t count, bool is_last, struct nr_batch *batch)
{
	const uint8_t *block = (const void *)lane->block;

	*batch = (struct nr_batch){
		.count = count,
		.link_type = lane->link_type,
		.lane = (uint16_t)lane->number,
		.seq = lane->next_seq + lane->seq_shift,
		.gap = lane->gap,
		.flags = lane->news | (is_last ? NR_BATCH_LAST_OF_BLOCK : 0),
		.epoch = lane->block->epoch, /* settled with its first record */
		.stride = lane->record_stride,
		.records = block + lane->record_offset +
			   (size_t)lane->read * lane->record_stride,
		.region = lane->region,
		.region_size = lane->region_size,
		.capture = capture,
		.lease_slot = lane->current,
		.lane_state = lane,
	};
	lane->gap = 0;
	lane->news = 0;
	lane->read += count;
	lane->next_seq += count;
	if (is_last)
		lane->block = NULL; /* its reference is the batch's now */
	else
		lane->held[lane->current].refs++;
}

/* What is behind the end is not ours: an evicted capture's stream goes on. */
static uint32_t cut_at_end(const struct lane *lane, uint64_t end,
			   uint32_t count)
{
	uint64_t left = 0;

	if (NR_END_SEQ(end) > lane->next_seq)
		left = NR_END_SEQ(end) - lane->next_seq;
	return left < count ? (uint32_t)left : count;
}

/* Not said to anybody: the lane goes on elsewhere. */
#define MOVED (-EREMCHG)

static int end_errno(uint64_t end)
{
	switch (NR_END_WHY(end)) {
	case NR_END_SOURCE:
		return -ENODATA;
	case NR_END_SHUTDOWN:
		return -ESHUTDOWN;
	case NR_END_RETIRED:
		return -ESTALE;
	case NR_END_CHANNEL:
		return -EIDRM;
	case NR_END_DENIED:
		return -EKEYREVOKED;
	case NR_END_MOVED:
		return MOVED;
	default: /* NR_END_EVICTED, or a reason we do not know */
		return -EPROTO;
	}
}

/*
 * Nothing more will come through this lane. Behind a refused tail the end lies
 * further than we could read: a gap that has no batch to ride on, which
 * nr_capture_stats() tells.
 */
static void lane_end(struct nr_capture *capture, struct lane *lane,
		     uint64_t end)
{
	/* the worst first, for a capture whose lanes end differently */
	static const int severity[] = { -EPROTO, -EKEYREVOKED, -ESTALE,
					-EIDRM,	 -ESHUTDOWN,   -ENODATA,
					MOVED };
	size_t i;

	lane->ended = end_errno(end);
	lane_drop_current(lane);
	for (i = 0; severity[i] != lane->ended; i++)
		if (severity[i] == capture->worst)
			break;
	capture->worst = severity[i];
	if (++capture->lanes_ended == capture->lane_count &&
	    capture->worst != MOVED)
		capture->final = capture->worst;
}

/*
 * What the current block has got since the last look. A block that is closed
 * and read out is dropped. Returns 1 with a batch, 0, or -EPROTO.
 */
static int block_next(struct nr_capture *capture, struct lane *lane,
		      uint64_t end, struct nr_batch *batch)
{
	uint32_t state = nr_block_state(lane->block); /* B */
	uint32_t count = state & NR_BLOCK_COUNT;
	uint32_t ours;

	if (unlikely(count > lane->block_capacity))
		return -EPROTO;
	count = count > lane->read ? count - lane->read : 0;
	ours = unlikely(end) ? cut_at_end(lane, end, count) : count;
	if (likely(ours)) {
		lane_give(capture, lane, ours,
			  (state & NR_BLOCK_CLOSED) && ours == count, batch);
		return 1;
	}
	if (state & NR_BLOCK_CLOSED)
		lane_drop_current(lane);
	return 0;
}

/* The order of looking. Returns 1 with a batch, 0, or -EPROTO. */
static int lane_next(struct nr_capture *capture, struct lane *lane,
		     struct nr_batch *batch)
{
	uint64_t end = nr_ring_end_word(lane->ring); /* F */
	int r;

	do {
		if (lane->block) {
			r = block_next(capture, lane, end, batch);
			if (r)
				return r;
			if (lane->block)
				break; /* open: the ring has none behind it */
		}
		r = lane_take(lane);
		if (r < 0)
			return r;
	} while (r);
	if (unlikely(end))
		lane_end(capture, lane, end);
	return 0;
}

static int look(struct nr_capture *capture, struct nr_batch *batch)
{
	unsigned i;

	for (i = 0; i < capture->lane_count; i++) {
		struct lane *lane = &capture->lanes[capture->turn];
		int r = lane->ended ? 0 : lane_next(capture, lane, batch);

		if (++capture->turn == capture->lane_count)
			capture->turn = 0;
		if (r > 0)
			return r;
		if (r < 0) {
			capture->final = r;
			return r;
		}
	}
	return 0;
}

/* All lanes have ended, and the capture with them unless it can go on. */
static bool goes_on(struct nr_capture *capture)
{
	return capture->lanes_ended == capture->lane_count &&
	       capture->worst == MOVED && move_on(capture);
}

int nr_capture_next(struct nr_capture *capture, struct nr_batch *batch)
{
	int r;

	if (unlikely(capture->final))
		return capture->final;
	do {
		r = look(capture, batch);
		if (likely(r))
			return r;
	} while (unlikely(goes_on(capture)));
	/* it was gone before we looked: this was all */
	if (capture->broker_gone && !capture->final)
		capture->final = -EPIPE;
	return capture->final;
}

/* ------------------------------------------------------------------ waiting */

/* The same for a capture that follows: what comes may be new memory. */
static void drain_messages(struct nr_capture *capture)
{
	struct wire_msg msg;
	int i;

	for (i = 0; i < BELLS_MAX && !capture->broker_gone; i++) {
		int r = wire_recv(capture->socket, &msg);

		if (r > 0)
			move_take(capture, &msg);
		else if (r == -EAGAIN)
			return;
		else if (r != -ECONNRESET)
			capture->broker_gone = true;
	}
}

/*
 * Reads the bells away. A connection that was reset says so once, before what
 * was queued and the end. Descriptors that came with a message are closed by
 * the kernel, as recv() has no place for them.
 */
static void drain(struct nr_capture *capture)
{
	char bell[sizeof(struct nr_msg)];
	bool was_reset = false;
	int i;

	if (capture->follows) {
		drain_messages(capture);
		return;
	}
	for (i = 0; i < BELLS_MAX && !capture->broker_gone; i++) {
		ssize_t n =
			recv(capture->socket, bell, sizeof(bell), MSG_DONTWAIT);

		if (n > 0 || (n < 0 && errno == EINTR))
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0 && errno == ECONNRESET && !was_reset)
			was_reset = true;
		else
			capture->broker_gone = true;
	}
}

/*
 * Whether next() has something to do. That is also a block that was closed
 * after it had been read out: as long as we hold it, the lane may have none to
 * lend us.
 */
static bool lane_has_news(const struct lane *lane)
{
	uint32_t state;

	if (lane->ended)
		return false;
	if (nr_ring_end_word(lane->ring)) /* F */
		return true;
	if (!lane->block)
		return nr_ring_head(lane->ring) != lane->taken; /* D */
	state = nr_block_state(lane->block);			/* B */
	return (state & NR_BLOCK_CLOSED) ||
	       (state & NR_BLOCK_COUNT) > lane->read;
}

int nr_capture_arm(struct nr_capture *capture)
{
	unsigned i;

	drain(capture);
	if (capture->broker_gone || capture->final)
		return 1;
	for (i = 0; i < capture->lane_count; i++)
		if (!capture->lanes[i].ended)
			nr_return_arm(capture->lanes[i].page); /* H */
	for (i = 0; i < capture->lane_count; i++)
		if (lane_has_news(&capture->lanes[i]))
			return 1;
	if (capture->lanes_ended == capture->lane_count)
		return capture->moving && capture->moving->is_acked;
	return 0;
}

/*
 * The flag is what counts, the eventfd only ends a ppoll: one that comes too
 * late for the recv it was meant for wakes the next one for nothing.
 */
void nr_capture_break(struct nr_capture *capture)
{
	static const uint64_t one = 1;
	int saved_errno = errno; /* we may be in a signal handler */

	__atomic_store_n(&capture->broken, 1, __ATOMIC_SEQ_CST);
	if (write(capture->break_fd, &one, sizeof(one)) < 0)
		errno = saved_errno; /* full: so it is readable */
}

void break_fd_clear(struct nr_capture *capture)
{
	uint64_t count;
	ssize_t n = read(capture->break_fd, &count, sizeof(count));

	(void)n; /* EAGAIN: the write is still to come */
}

bool break_take(struct nr_capture *capture)
{
	if (likely(!__atomic_load_n(&capture->broken, __ATOMIC_RELAXED)))
		return false;
	__atomic_store_n(&capture->broken, 0, __ATOMIC_SEQ_CST);
	break_fd_clear(capture);
	return true;
}

static struct timespec time_left(const struct timespec *deadline)
{
	struct timespec now, left;

	clock_gettime(CLOCK_MONOTONIC, &now);
	left.tv_sec = deadline->tv_sec - now.tv_sec;
	left.tv_nsec = deadline->tv_nsec - now.tv_nsec;
	if (left.tv_nsec < 0) {
		left.tv_sec--;
		left.tv_nsec += 1000000000;
	}
	if (left.tv_sec < 0)
		left = (struct timespec){ 0, 0 };
	return left;
}

/* Sleeps. Returns 1 when woken, 0 when it is time, or -errno. */
static int sleep_until(struct nr_capture *capture,
		       const struct timespec *deadline)
{
	struct pollfd fds[2] = { { .fd = capture->socket, .events = POLLIN },
				 { .fd = capture->break_fd,
				   .events = POLLIN } };
	int n;

	do {
		struct timespec left;

		if (deadline)
			left = time_left(deadline);
		n = ppoll(fds, 2, deadline ? &left : NULL, NULL);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n > 0 && fds[1].revents)
		break_fd_clear(capture);
	return n > 0;
}

/*
 * Who always finds packets never waits, and would never hear that the channel
 * has changed. The clock costs no system call.
 */
static void listen_now_and_then(struct nr_capture *capture)
{
	struct timespec now;
	int64_t ms;

	if (likely(!capture->follows))
		return;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
	if (ms - capture->listened_ms < LISTEN_MS)
		return;
	capture->listened_ms = ms;
	drain(capture);
}

static int next_until(struct nr_capture *capture, struct nr_batch *batch,
		      const struct timespec *deadline)
{
	for (;;) {
		int r;

		listen_now_and_then(capture);
		if (break_take(capture))
			return 0;
		r = nr_capture_next(capture, batch);
		if (r)
			return r;
		if (nr_capture_arm(capture))
			continue;
		r = sleep_until(capture, deadline);
		if (r <= 0)
			return r;
	}
}

int nr_capture_recv_until(struct nr_capture *capture, struct nr_batch *batch,
			  const struct timespec *deadline)
{
	return next_until(capture, batch, deadline);
}

int nr_capture_recv(struct nr_capture *capture, struct nr_batch *batch,
		    int timeout_ms)
{
	struct timespec deadline;
	int r;

	if (timeout_ms < 0)
		return next_until(capture, batch, NULL);
	if (break_take(capture))
		return 0;
	listen_now_and_then(capture);
	r = nr_capture_next(capture, batch);
	if (r)
		return r;
	if (timeout_ms == 0) {
		drain(capture);
		return capture->broker_gone ? nr_capture_next(capture, batch) :
					      0;
	}
	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += timeout_ms / 1000;
	deadline.tv_nsec += timeout_ms % 1000 * 1000000L;
	if (deadline.tv_nsec >= 1000000000) {
		deadline.tv_sec++;
		deadline.tv_nsec -= 1000000000;
	}
	return next_until(capture, batch, &deadline);
}

/* Returns 1, or why the loop ends; 0: it was told to. */
static int loop_next(struct nr_capture *capture, struct nr_batch *batch)
{
	for (;;) {
		int r = next_until(capture, batch, NULL);

		if (likely(r >= 0) || !capture->reattach_ms ||
		    !reattach_helps(r))
			return r;
		r = nr_capture_reattach(capture, capture->reattach_ms);
		if (r)
			return r == -EINTR ? 0 : r;
	}
}

int nr_capture_loop(struct nr_capture *capture, nr_loop_fn fn, void *data)
{
	struct nr_batch batch;
	int r;

	while ((r = loop_next(capture, &batch)) > 0) {
		r = fn(&batch, data);
		nr_batch_release(&batch);
		if (r)
			break;
	}
	return r;
}
