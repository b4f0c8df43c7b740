/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One ordered sequence of records, in blocks of an arena, read by any number
 * of captures. Appending costs the same however many they are.
 */
#ifndef NETRINGD_STREAM_H
#define NETRINGD_STREAM_H

#include <netring/ring.h>

#include "arena.h"
#include "source.h"
#include "subscription.h"

struct stream {
	struct stream *next; /* of the channel's streams that have captures */
	struct arena *arena;
	struct nr_stream *shared; /* its slot in the arena */
	uint32_t slot;
	struct subscription *subscriptions;
	uint32_t subscription_count;

	/* the open block; valid while there are captures */
	struct nr_block *block;
	uint32_t block_index;
	uint32_t appended;  /* records written */
	uint32_t published; /* of these, readable */
	uint8_t *front;	    /* where the next record goes */
	uint8_t *back;	    /* start of the last packet's bytes */
	uint16_t link_type;
	bool has_changed; /* a store since the last wake-up */

	uint32_t epoch;	    /* of the group it belongs to */
	uint64_t block_seq; /* sequence number of its record 0 */
	uint64_t bytes;	    /* captured bytes, ever */
};

/* Sequence number that the next record will have. */
static inline uint64_t stream_seq(const struct stream *stream)
{
	return stream->block_seq + stream->appended;
}

static inline uint64_t stream_published_seq(const struct stream *stream)
{
	return stream->block_seq + stream->published;
}

void stream_init(struct stream *stream, struct arena *arena, uint32_t slot);

/*
 * Adds a capture: draws its guarantee (and the open block of the first) and
 * offers it the open block. False, with nothing done: the set-aside has not
 * enough left.
 */
bool stream_add(struct stream *stream, struct subscription *sub,
		uint16_t link_type);

/* Removes a capture and all it holds. The last one takes the block along. */
void stream_remove(struct stream *stream, struct subscription *sub);

/* Closes the open block, opens the next, hands it over. */
void stream_turn_over(struct stream *stream, uint16_t link_type);

/*
 * Flows have moved from or to this stream: what comes next is of the next
 * epoch, and starts a block.
 */
void stream_next_epoch(struct stream *stream, uint32_t epoch);

/*
 * Whether a turn-over now would refuse nobody. Adds to @pool the block that it
 * would take from there: what streams want of it together has to be left.
 */
bool stream_has_room(const struct stream *stream, uint32_t *pool);

/*
 * Whether @records with together @bytes fit the open block, and nobody was
 * refused that.
 */
bool stream_fits(const struct stream *stream, uint32_t records, size_t bytes);

/* The source has missed @packets of it. Nothing is appended after that. */
void stream_miss(struct stream *stream, uint64_t packets);

/* Start of a burst: takes releases, lets in who was refused. */
void stream_collect(struct stream *stream);

/* End of a burst: publishes, by one store for all captures. */
void stream_publish(struct stream *stream);

/* After all stores: wakes who sleeps. Who could not be woken is owed it. */
void stream_ring(struct stream *stream);

/* Packet bytes start at multiples of this. */
#define STREAM_ALIGN 16

/* Appends packets by naming the frames that they lie in. */
void stream_append_loaned(struct stream *stream,
			  const struct packet *const *packets, uint32_t count);

/*
 * Appends copies of packets: of each caplen bytes, or as many as a block holds.
 * Nothing beyond them is read, nothing but the records and them is written.
 */
void stream_append(struct stream *stream, const struct packet *const *packets,
		   uint32_t count);

static inline void stream_append_one(struct stream *stream,
				     const struct packet *packet)
{
	stream_append(stream, &packet, 1);
}

#endif
