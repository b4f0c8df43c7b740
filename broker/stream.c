// SPDX-License-Identifier: BSD-2-Clause
/*
 * A stream's blocks follow each other: the full one is closed, a free one is
 * opened, and each capture is offered it once. In between, a burst is
 * published to all captures by a single store.
 */
#include "stream.h"

#include <string.h>

void stream_init(struct stream *stream, struct arena *arena, uint32_t slot)
{
	*stream = (struct stream){
		.arena = arena,
		.shared = arena_stream(arena, slot),
		.slot = slot,
	};
}

static void open_block(struct stream *stream, uint16_t link_type)
{
	struct arena *arena = stream->arena;
	struct nr_block *block;

	stream->block_index = admission_open(&arena->admission);
	block = arena_block(arena, stream->block_index);
	block->seq = stream->block_seq;
	block->link_type = link_type;
	block->flags = 0;
	block->epoch = stream->epoch;
	/* Nobody has a lease of it yet; those who get one read this. */
	nr_block_publish(block, 0, 0);
	stream->block = block;
	stream->link_type = link_type;
	stream->appended = 0;
	stream->published = 0;
	stream->front = (uint8_t *)(block + 1);
	stream->back = (uint8_t *)block + arena->block_size;
}

static void close_block(struct stream *stream)
{
	nr_block_publish(stream->block, stream->appended, NR_BLOCK_CLOSED);
	stream->block_seq += stream->appended;
	stream->appended = 0;
	stream->published = 0;
	stream->has_changed = true;
	stream->block = NULL;
	admission_close(&stream->arena->admission, stream->block_index);
}

void stream_turn_over(struct stream *stream, uint16_t link_type)
{
	struct subscription *sub;

	close_block(stream);
	open_block(stream, link_type);
	for (sub = stream->subscriptions; sub; sub = sub->next)
		subscription_offer(sub, 0);
}

void stream_next_epoch(struct stream *stream, uint32_t epoch)
{
	stream->epoch = epoch;
	if (stream->appended > 0)
		stream_turn_over(stream, stream->link_type);
	else
		stream->block->epoch = epoch; /* nobody has read it yet */
}

bool stream_add(struct stream *stream, struct subscription *sub,
		uint16_t link_type)
{
	struct admission *admission = &stream->arena->admission;
	uint32_t open = stream->subscription_count == 0;

	if (!admission_promise(admission, sub->grant.guarantee + open))
		return false;
	if (open)
		open_block(stream, link_type);
	sub->stream = stream;
	sub->next = stream->subscriptions;
	stream->subscriptions = sub;
	stream->subscription_count++;
	sub->ring->base_seq = stream_published_seq(stream);
	sub->ring->stream = stream->slot;
	sub->base_bytes = stream->bytes;
	subscription_offer(sub, stream->published);
	return true;
}

void stream_remove(struct stream *stream, struct subscription *sub)
{
	struct admission *admission = &stream->arena->admission;
	struct subscription **link = &stream->subscriptions;

	subscription_drop(sub);
	while (*link != sub)
		link = &(*link)->next;
	*link = sub->next;
	admission_unpromise(admission, sub->grant.guarantee);
	if (--stream->subscription_count == 0) {
		close_block(stream);
		admission_unpromise(admission, 1);
	}
}

bool stream_has_room(const struct stream *stream, uint32_t *pool)
{
	const struct subscription *sub;
	bool needs_pool = false;

	for (sub = stream->subscriptions; sub; sub = sub->next)
		if (!subscription_has_room(sub, &needs_pool))
			return false;
	*pool += needs_pool;
	return true;
}

bool stream_fits(const struct stream *stream, uint32_t records, size_t bytes)
{
	size_t need =
		bytes + records * (sizeof(struct nr_record) + STREAM_ALIGN - 1);
	const struct subscription *sub;

	for (sub = stream->subscriptions; sub; sub = sub->next)
		if (sub->state == SUBSCRIPTION_REFUSED)
			return false;
	return need <= (size_t)(stream->back - stream->front);
}

void stream_collect(struct stream *stream)
{
	struct subscription *sub;

	for (sub = stream->subscriptions; sub; sub = sub->next) {
		subscription_collect(sub);
		if (sub->state == SUBSCRIPTION_REFUSED)
			subscription_offer(sub, stream->published);
	}
}

/* --------------------------------------------------------------- appending */

static inline void write_record(struct nr_record *record,
				const struct packet *packet, uint64_t offset,
				uint32_t caplen)
{
	record->ts_ns = packet->ts_ns;
	record->offset = (uint32_t)offset;
	record->caplen = caplen;
	record->wirelen = packet->wirelen;
	record->flow_hash = packet->flow_hash;
	record->vlan_tci = packet->vlan_tci;
	record->vlan_tpid = packet->vlan_tpid;
	record->flags = packet->flags;
	if (caplen < packet->wirelen)
		record->flags |= NR_TRUNCATED;
	record->interface = packet->interface;
}

static struct nr_record *next_record(const struct stream *stream)
{
	return (struct nr_record *)(void *)stream->front;
}

/* As many as the open block has records for. */
static void append_loaned(struct stream *stream,
			  const struct packet *const *packets, uint32_t count)
{
	struct arena *arena = stream->arena;
	struct frames *frames = arena->frames;
	struct nr_record *record = next_record(stream);
	uint32_t *named = arena_named(arena, stream->block_index);
	uint64_t bytes = 0;

	named += stream->appended;
	for (uint32_t i = 0; i < count; i++) {
		const struct packet *packet = packets[i];
		uint64_t offset = (uint64_t)(packet->data - frames->base);

		named[i] = frames_at(frames, offset);
		frames_hold(frames, named[i]);
		write_record(&record[i], packet, offset, packet->caplen);
		bytes += packet->caplen;
	}
	stream->front = (uint8_t *)&record[count];
	stream->appended += count;
	stream->bytes += bytes;
	arena->named_count[stream->block_index] = (uint16_t)stream->appended;
}

void stream_append_loaned(struct stream *stream,
			  const struct packet *const *packets, uint32_t count)
{
	uint32_t records = stream->arena->frames->records, n;

	while (count > 0) {
		if (stream->appended == records)
			stream_turn_over(stream, stream->link_type);
		n = records - stream->appended;
		if (n > count)
			n = count;
		append_loaned(stream, packets, n);
		packets += n;
		count -= n;
	}
}

static inline uint32_t copied(const struct arena *arena,
			      const struct packet *packet)
{
	return packet->caplen < arena->capacity ? packet->caplen :
						  arena->capacity;
}

static inline size_t aligned(uint32_t caplen)
{
	return (caplen + (size_t)STREAM_ALIGN - 1) &
	       ~((size_t)STREAM_ALIGN - 1);
}

/* Takes of them as many as fit in @room. Returns what their bytes take. */
static size_t fit(const struct arena *arena, size_t room,
		  const struct packet *const *packets, uint32_t *count)
{
	size_t bytes = 0;

	for (uint32_t i = 0; i < *count; i++)
		bytes += aligned(copied(arena, packets[i]));
	while (*count * sizeof(struct nr_record) + bytes > room)
		bytes -= aligned(copied(arena, packets[--*count]));
	return bytes;
}

/*
 * Returns how many of them the open block had room for. Their bytes lie in
 * their order: where each lay below the one before, a CPU that fetches ahead
 * would guess wrong, and 1500 bytes take twice as long.
 */
static uint32_t append_copied(struct stream *stream,
			      const struct packet *const *packets,
			      uint32_t count)
{
	const struct arena *arena = stream->arena;
	struct nr_record *record = next_record(stream);
	uint8_t *base = arena->region.base, *at;
	uint64_t bytes = 0;

	at = stream->back -= fit(arena, (size_t)(stream->back - stream->front),
				 packets, &count);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t caplen = copied(arena, packets[i]);

		memcpy(at, packets[i]->data, caplen);
		write_record(&record[i], packets[i], (uint64_t)(at - base),
			     caplen);
		at += aligned(caplen);
		bytes += caplen;
	}
	stream->front = (uint8_t *)&record[count];
	stream->appended += count;
	stream->bytes += bytes;
	return count;
}

void stream_append(struct stream *stream, const struct packet *const *packets,
		   uint32_t count)
{
	uint32_t n;

	while ((n = append_copied(stream, packets, count)) < count) {
		packets += n;
		count -= n;
		stream_turn_over(stream, stream->link_type);
	}
}

void stream_publish(struct stream *stream)
{
	if (stream->appended == stream->published)
		return;
	stream->published = stream->appended;
	nr_count_store(&stream->shared->published, stream_seq(stream));
	nr_count_store(&stream->shared->bytes, stream->bytes);
	nr_block_publish(stream->block, stream->published, 0);
	stream->has_changed = true;
}

void stream_miss(struct stream *stream, uint64_t packets)
{
	struct subscription *sub;

	stream_publish(stream);
	for (sub = stream->subscriptions; sub; sub = sub->next)
		subscription_miss(sub, packets);
	stream->block_seq += packets;
}

void stream_ring(struct stream *stream)
{
	struct subscription *sub;

	if (!stream->has_changed)
		return;
	stream->has_changed = false;
	for (sub = stream->subscriptions; sub; sub = sub->next)
		stream->has_changed |= !subscription_ring(sub);
}
