// SPDX-License-Identifier: BSD-2-Clause
/*
 * Lending blocks to one capture. The ids that it writes into its return page
 * are looked up in a private table: a wrong or a doubled one ends the capture
 * and changes nothing else.
 */
#include "subscription.h"

#include <errno.h>
#include <sys/socket.h>
#include <time.h>

#include <netring/proto.h>

#include "clock.h"
#include "stream.h"

/*
 * A ring that takes longer than this is slow. What slow rings cost is forgiven
 * at 1 % of the time that passes; who owes too much is ended.
 */
#define RING_SLOW_NS 200000
#define RING_PARDON 100
#define RING_DEBT_MAX_NS 50000000
#define RING_CHANCE_NS 5000000

/* Full blocks held so long, with none given back, are a standstill. */
#define STALLED_NS UINT64_C(1000000000)

#define LEASE_NONE UINT32_MAX

void subscription_init(struct subscription *sub, struct nr_ring *ring,
		       const struct nr_return *page, uint32_t lease_count,
		       uint32_t guarantee, uint32_t budget)
{
	uint32_t slots = 1;

	while (slots < lease_count)
		slots *= 2;
	sub->ring = ring;
	sub->page = page;
	sub->lease_count = lease_count;
	sub->grant = (struct grant){
		.guarantee = guarantee,
		.budget = budget,
	};
	sub->refused_at = NR_SEQ_NONE;
	for (uint32_t i = 0; i < lease_count; i++)
		sub->leases[i].next_free =
			i + 1 < lease_count ? i + 1 : LEASE_NONE;
	ring->magic = NR_RING_MAGIC;
	ring->capture_id = sub->capture_id;
	ring->lane = sub->lane;
	ring->slots = slots;
	ring->slot_offset = sizeof(struct nr_ring);
	ring->slot_stride = sizeof(struct nr_descriptor);
	ring->leases = lease_count;
	ring->refused_at = NR_SEQ_NONE;
	/* Last: a reader that finds the version finds the rest. */
	__atomic_store_n(&ring->version, NR_ABI_VERSION, __ATOMIC_RELEASE);
}

static void share_loss(struct subscription *sub)
{
	nr_ring_store_loss(sub->ring, sub->lost, sub->refused_at,
			   sub->refusals);
}

static void refuse(struct subscription *sub, uint64_t seq)
{
	if (sub->state == SUBSCRIPTION_REFUSED)
		return;
	sub->state = SUBSCRIPTION_REFUSED;
	sub->refused_at = seq;
	sub->refused_at_bytes = sub->stream->bytes;
	sub->refusals++;
	share_loss(sub);
}

static void admit(struct subscription *sub, uint64_t seq)
{
	if (sub->state != SUBSCRIPTION_REFUSED)
		return;
	sub->state = SUBSCRIPTION_ADMITTED;
	sub->lost += seq - sub->refused_at;
	sub->lost_bytes += sub->stream->bytes - sub->refused_at_bytes;
	sub->refused_at = NR_SEQ_NONE;
	share_loss(sub);
}

static void queue_descriptor(struct subscription *sub, uint32_t index,
			     uint64_t seq, uint32_t first)
{
	struct nr_ring *ring = sub->ring;
	struct nr_descriptor *slots = (struct nr_descriptor *)(ring + 1);
	struct nr_descriptor *slot = &slots[sub->head & (ring->slots - 1)];
	const struct lease *lease = &sub->leases[index];

	slot->lease = (uint64_t)lease->generation << 16 | index;
	slot->seq = seq;
	slot->arena_id = sub->stream->arena->id;
	slot->block = lease->block;
	slot->first = first;
	slot->flags = 0;
	nr_ring_publish(ring, ++sub->head);
}

/* The lease it has had longest, or NULL. */
static const struct lease *oldest_lease(const struct subscription *sub)
{
	const struct lease *oldest = NULL;

	for (uint32_t i = 0; i < sub->lease_count; i++)
		if (sub->leases[i].charge != CHARGE_NONE &&
		    (!oldest || sub->leases[i].seq < oldest->seq))
			oldest = &sub->leases[i];
	return oldest;
}

/* Where what it can read ends. */
static uint64_t readable_seq(const struct subscription *sub)
{
	if (sub->state == SUBSCRIPTION_REFUSED)
		return sub->refused_at;
	if (sub->state == SUBSCRIPTION_ENDED)
		return sub->ended_at;
	return stream_published_seq(sub->stream);
}

/* Records published in the blocks it holds. The oldest is the farthest back. */
static uint64_t backlog(const struct subscription *sub)
{
	const struct lease *oldest = oldest_lease(sub);

	return oldest ? readable_seq(sub) - oldest->seq : 0;
}

/*
 * It slept, was woken, and has not come back to sleep, while more came. Who
 * never sleeps shows nothing of what it reads inside a block.
 */
static bool does_not_wake(const struct subscription *sub, uint64_t now)
{
	return sub->rung && nr_return_armed(sub->page) == sub->rung &&
	       now - sub->rung_ns > STALLED_NS &&
	       readable_seq(sub) > sub->rung_seq;
}

/* Seldom: a capture that keeps up never holds more than it did before. */
static void note_high_water(struct subscription *sub)
{
	uint64_t now = backlog(sub);

	sub->held_high = sub->held;
	if (now > sub->backlog_high)
		sub->backlog_high = now;
}

void subscription_stat_backlog(const struct subscription *sub,
			       struct nr_msg_capture *msg)
{
	const struct lease *oldest = oldest_lease(sub);
	uint64_t now = now_ns();

	msg->backlog = backlog(sub);
	msg->backlog_high = sub->backlog_high;
	if (msg->backlog > msg->backlog_high)
		msg->backlog_high = msg->backlog;
	if (!oldest)
		return;
	msg->oldest_ns = now - oldest->lent_ns;
	/* The open block is held by everybody, for as long as it takes. */
	msg->is_stalled =
		(sub->held > 1 || sub->state == SUBSCRIPTION_REFUSED ||
		 does_not_wake(sub, now)) &&
		msg->oldest_ns > STALLED_NS &&
		now - sub->released_ns > STALLED_NS;
}

void subscription_offer(struct subscription *sub, uint32_t first)
{
	struct stream *stream = sub->stream;
	uint64_t seq = stream->block_seq + first;
	uint32_t index = sub->free_lease;
	enum admission_charge charge;
	struct lease *lease;

	if (sub->state == SUBSCRIPTION_ENDED)
		return;
	if (index == LEASE_NONE) {
		refuse(sub, seq);
		return;
	}
	charge = admission_lease(&stream->arena->admission, &sub->grant,
				 stream->block_index);
	if (charge == CHARGE_NONE) {
		refuse(sub, seq);
		return;
	}
	admit(sub, seq);
	lease = &sub->leases[index];
	sub->free_lease = lease->next_free;
	lease->block = stream->block_index;
	lease->charge = charge;
	lease->seq = seq;
	lease->lent_ns = now_ns();
	if (++sub->held > sub->held_high)
		note_high_water(sub);
	queue_descriptor(sub, index, seq, first);
	stream->has_changed = true;
}

static void release(struct subscription *sub, uint32_t index)
{
	struct lease *lease = &sub->leases[index];

	admission_release(&sub->stream->arena->admission, &sub->grant,
			  lease->block, lease->charge);
	lease->charge = CHARGE_NONE;
	lease->generation++;
	lease->next_free = sub->free_lease;
	sub->free_lease = index;
	sub->held--;
}

/* The only place that reads what the capture wrote about its leases. */
void subscription_collect(struct subscription *sub)
{
	uint64_t head = nr_return_head(sub->page);

	if (head == sub->tail || sub->offence)
		return;
	if (head - sub->tail > sub->held) {
		sub->offence = "released more than it holds";
		return;
	}
	for (; sub->tail != head; sub->tail++) {
		uint64_t id = nr_return_slot(sub->page, sub->tail);
		uint64_t index = id & 0xffff;

		if (index >= sub->lease_count ||
		    sub->leases[index].charge == CHARGE_NONE ||
		    sub->leases[index].generation != id >> 16) {
			sub->offence = "released what it does not hold";
			return;
		}
		release(sub, (uint32_t)index);
	}
	sub->released_ns = now_ns();
}

void subscription_drop(struct subscription *sub)
{
	for (uint32_t i = 0; i < sub->lease_count; i++)
		if (sub->leases[i].charge != CHARGE_NONE)
			release(sub, i);
}

void subscription_miss(struct subscription *sub, uint64_t packets)
{
	if (sub->state == SUBSCRIPTION_ENDED)
		return;
	/* Two causes: what it was refused is told before this. */
	admit(sub, stream_published_seq(sub->stream));
	sub->retired += packets;
	nr_count_store(&sub->ring->retired, sub->retired);
}

void subscription_end(struct subscription *sub, unsigned why)
{
	if (sub->state == SUBSCRIPTION_ENDED)
		return;
	/* What it was refused to the end is lost, and shown as such. */
	sub->ended_at = stream_published_seq(sub->stream);
	sub->ended_at_bytes = sub->stream->bytes;
	admit(sub, sub->ended_at);
	sub->state = SUBSCRIPTION_ENDED;
	sub->has_moved = why == NR_END_MOVED;
	nr_ring_end(sub->ring, NR_END_WORD(sub->ended_at, why));
	sub->stream->has_changed = true;
}

/* Time that slow rings cost; a hundredth of all time is forgiven. */
static void charge_ring(struct subscription *sub, uint64_t took)
{
	uint64_t now = now_ns();
	uint64_t pardon = (now - sub->ring_slow_ns) / RING_PARDON;

	sub->ring_debt_ns -=
		pardon < sub->ring_debt_ns ? pardon : sub->ring_debt_ns;
	sub->ring_debt_ns += took;
	sub->ring_slow_ns = now;
	if (sub->ring_debt_ns > RING_DEBT_MAX_NS)
		sub->offence = "makes its doorbell slow";
}

/*
 * How long one took. @is_lost: there was no memory for it, so that nothing is
 * on its way to who sleeps.
 */
static uint64_t time_bell(const struct subscription *sub, clockid_t clock,
			  bool *is_lost)
{
	const struct nr_msg bell = {
		.major = NR_ABI_MAJOR,
		.minor = NR_ABI_MINOR,
		.type = NR_MSG_BELL,
		.length = sizeof(bell),
	};
	uint64_t start = clock_ns(clock);

	/* EAGAIN: bells enough are waiting. EPIPE: the session will see it. */
	*is_lost = send(sub->bell, &bell, sizeof(bell),
			MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
		   (errno == ENOBUFS || errno == ENOMEM);
	return clock_ns(clock) - start;
}

/*
 * A ring wakes everybody who polls the connection, so its cost is in the hands
 * of the capture: a thousand threads waiting on it cost the lane 10 ms. Time
 * of this thread is what counts: being preempted is not its fault. But to ask
 * for that is a system call, so of a capture that never took long by the
 * clock, which is none, it is not asked.
 *
 * An interrupt, or the host of this machine, can make any ring slow. Who has a
 * crowd of watchers has it at once again; who has not, pays a little, so that
 * it takes many in a short time.
 */
static bool send_bell(struct subscription *sub)
{
	clockid_t clock =
		sub->was_slow ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
	bool is_lost, is_one_lost;
	uint64_t took = time_bell(sub, clock, &is_lost), again;

	if (is_lost)
		return false;
	if (took <= RING_SLOW_NS)
		return true;
	again = time_bell(sub, CLOCK_THREAD_CPUTIME_ID, &is_one_lost);
	if (again > RING_SLOW_NS)
		charge_ring(sub, again + took);
	else if (sub->was_slow)
		charge_ring(sub, took < RING_CHANCE_NS ? took : RING_CHANCE_NS);
	sub->was_slow = true;
	return true;
}

bool subscription_ring(struct subscription *sub)
{
	uint64_t armed = nr_return_armed(sub->page);

	if (armed == sub->rung)
		return true;
	if (!send_bell(sub))
		return false;
	sub->bells++;
	sub->rung = armed;
	sub->rung_ns = now_ns();
	sub->rung_seq = stream_published_seq(sub->stream);
	return true;
}

uint64_t subscription_lost(const struct subscription *sub)
{
	if (sub->refused_at == NR_SEQ_NONE)
		return sub->lost;
	return sub->lost + stream_published_seq(sub->stream) - sub->refused_at;
}

uint64_t subscription_delivered_bytes(const struct subscription *sub)
{
	uint64_t end = sub->stream->bytes;

	if (sub->state == SUBSCRIPTION_ENDED)
		end = sub->ended_at_bytes;
	else if (sub->state == SUBSCRIPTION_REFUSED)
		end = sub->refused_at_bytes;
	return end - sub->base_bytes - sub->lost_bytes;
}

bool subscription_has_room(const struct subscription *sub, bool *needs_pool)
{
	if (sub->state == SUBSCRIPTION_ENDED)
		return true;
	*needs_pool |= sub->grant.charged >= sub->grant.guarantee;
	return (sub->state == SUBSCRIPTION_ADMITTED &&
		sub->free_lease != LEASE_NONE &&
		admission_has_room(&sub->stream->arena->admission,
				   &sub->grant));
}
