// SPDX-License-Identifier: BSD-2-Clause
/*
 * A stream's blocks follow each other: the full one is closed, a free one is
 * opened, and each capture is offered it once. In between, a burst is
 * published to all captures by a single store.
 */
#include "stream.h"

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
