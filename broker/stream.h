/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One ordered sequence of records, in blocks of an arena, read by any number
 * of captures. Appending costs the same however many they are.
 */
#ifndef NETRINGD_STREAM_H
#define NETRINGD_STREAM_H

#include <string.h>

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

/* Writes the record of a packet of which @caplen bytes are at @offset. */
static inline void stream_record(struct stream *stream,
				 const struct packet *packet, uint32_t offset,
				 uint32_t caplen)
{
	struct nr_record *record = (struct nr_record *)(void *)stream->front;

	record->ts_ns = packet->ts_ns;
	record->offset = offset;
	record->caplen = caplen;
	record->wirelen = packet->wirelen;
	record->flow_hash = packet->flow_hash;
	record->vlan_tci = packet->vlan_tci;
	record->vlan_tpid = packet->vlan_tpid;
	record->flags = packet->flags;
	if (caplen < packet->wirelen)
		record->flags |= NR_TRUNCATED;
	record->interface = packet->interface;
	stream->front += sizeof(*record);
	stream->appended++;
	stream->bytes += caplen;
}

/* Appends a packet by naming the frame that it lies in. */
static inline void stream_append_loaned(struct stream *stream,
					const struct packet *packet)
{
	struct arena *arena = stream->arena;
	struct frames *frames = arena->frames;
	uint64_t offset = (uint64_t)(packet->data - frames->base);
	uint32_t frame = frames_at(frames, offset);

	if (stream->appended == frames->records)
		stream_turn_over(stream, stream->link_type);
	arena->named[(size_t)stream->block_index * frames->records +
		     stream->appended] = frame;
	arena->named_count[stream->block_index]++;
	frames_hold(frames, frame);
	stream_record(stream, packet, (uint32_t)offset, packet->caplen);
}

/* Packet bytes start at multiples of this. */
#define STREAM_ALIGN 16

/*
 * Appends the first @caplen bytes of a packet. Nothing beyond them is read,
 * nothing but the record and them is written.
 */
static inline void stream_append(struct stream *stream,
				 const struct packet *packet, uint32_t caplen)
{
	uint8_t *bytes;

	bytes = (uint8_t *)((uintptr_t)(stream->back - caplen) &
			    ~(uintptr_t)(STREAM_ALIGN - 1));
	if (bytes < stream->front + sizeof(struct nr_record)) {
		stream_turn_over(stream, stream->link_type);
		bytes = (uint8_t *)((uintptr_t)(stream->back - caplen) &
				    ~(uintptr_t)(STREAM_ALIGN - 1));
	}
	memcpy(bytes, packet->data, caplen);
	stream->back = bytes;
	stream_record(stream, packet,
		      (uint32_t)(bytes - stream->arena->region.base), caplen);
}

#endif
