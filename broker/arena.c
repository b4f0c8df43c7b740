// SPDX-License-Identifier: BSD-2-Clause
/*
 * An arena: header, stream slots and blocks in one sealed region. Blocks start
 * behind a header of ARENA_HEADER bytes and fill the rest.
 */
#include "arena.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <netring/ring.h>

#define ARENA_HEADER 32768
/*
 * A block that was given back a moment ago is in the caches of the CPU that
 * read it, and each first store into a line of it waits for that CPU. So the
 * lane goes round in so many bytes: what a CPU's own cache holds, as those of
 * its own are best used again soon.
 */
#define REUSE_BYTES (1u << 20)

_Static_assert(sizeof(struct nr_arena) +
			       ARENA_STREAMS_MAX * sizeof(struct nr_stream) <=
		       ARENA_HEADER,
	       "the header holds the stream slots");

static void write_header(struct arena *arena, bool show_counts)
{
	struct nr_arena *header = arena->header;

	header->magic = NR_ARENA_MAGIC;
	header->size = arena->region.size;
	header->id = arena->id;
	header->block_size = arena->block_size;
	header->block_count = arena->admission.block_count;
	header->block_offset = ARENA_HEADER;
	header->record_offset = sizeof(struct nr_block);
	header->record_stride = sizeof(struct nr_record);
	header->stream_offset = sizeof(struct nr_arena);
	header->stream_stride = sizeof(struct nr_stream);
	header->stream_count = ARENA_STREAMS_MAX;
	header->flags = show_counts ? NR_ARENA_COUNTS : 0;
	/* Last: a reader that finds the version finds the rest. */
	__atomic_store_n(&header->version, NR_ABI_VERSION, __ATOMIC_RELEASE);
}

static int new_arena(struct arena **out, uint64_t size, uint32_t block_size,
		     uint32_t blocks, uint32_t percent, bool show_counts,
		     bool small_pages)
{
	static atomic_uint last_id;
	struct arena *arena = calloc(1, sizeof(*arena));
	int err;

	if (!arena)
		return -ENOMEM;
	err = region_new(&arena->region, "netring-arena", size, small_pages);
	if (err)
		goto fail;
	err = admission_init(&arena->admission, blocks, percent);
	if (err)
		goto fail;
	arena->admission.recent = REUSE_BYTES / block_size + 1;
	arena->id = atomic_fetch_add(&last_id, 1) + 1;
	arena->header = (struct nr_arena *)(void *)arena->region.base;
	arena->block_size = block_size;
	arena->capacity = block_size - (uint32_t)sizeof(struct nr_block) -
			  (uint32_t)sizeof(struct nr_record) - 16;
	write_header(arena, show_counts);
	*out = arena;
	return 0;
fail:
	arena_free(arena);
	return err;
}

int arena_new(struct arena **out, uint64_t size, uint32_t block_size,
	      uint32_t percent, bool show_counts, bool small_pages)
{
	return new_arena(out, size, block_size,
			 (uint32_t)((size - ARENA_HEADER) / block_size),
			 percent, show_counts, small_pages);
}

/* A block nobody reads any more names nothing. */
static void forget_frames(void *owner, uint32_t block)
{
	struct arena *arena = owner;
	const uint32_t *named = arena_named(arena, block);
	uint32_t count = arena->named_count[block];

	arena->named_count[block] = 0;
	while (count > 0)
		frames_drop(arena->frames, named[--count]);
}

int arena_new_loaned(struct arena **out, struct frames *frames,
		     bool show_counts, bool small_pages)
{
	/* One channel may have all that can be lent. */
	uint32_t blocks = frames->account.block_count;
	uint32_t block_size =
		(uint32_t)(sizeof(struct nr_block) +
			   frames->records * sizeof(struct nr_record));
	uint64_t size = ARENA_HEADER + (uint64_t)blocks * block_size;
	struct arena *arena;
	int err;

	size = (size + REGION_ALIGN - 1) & ~(uint64_t)(REGION_ALIGN - 1);
	err = new_arena(&arena, size, block_size, blocks, 50, show_counts,
			small_pages);
	if (err)
		return err;
	arena->frames = frames;
	arena->named =
		calloc((size_t)blocks * frames->records, sizeof(*arena->named));
	arena->named_count = calloc(blocks, sizeof(*arena->named_count));
	if (!arena->named || !arena->named_count) {
		arena_free(arena);
		return -ENOMEM;
	}
	arena->admission.account = &frames->account;
	arena->admission.freed = forget_frames;
	arena->admission.owner = arena;
	*out = arena;
	return 0;
}

int arena_take_stream(struct arena *arena)
{
	for (uint32_t i = 0; i < ARENA_STREAMS_MAX; i++) {
		uint32_t slot = (arena->stream_next + i) % ARENA_STREAMS_MAX;

		if (arena->stream_used[slot])
			continue;
		arena->stream_used[slot] = true;
		arena->stream_next = slot + 1;
		nr_count_store(&arena_stream(arena, slot)->published, 0);
		nr_count_store(&arena_stream(arena, slot)->bytes, 0);
		return (int)slot;
	}
	return -1;
}

void arena_give_stream(struct arena *arena, uint32_t stream)
{
	arena->stream_used[stream] = false;
}

void arena_free(struct arena *arena)
{
	if (!arena)
		return;
	admission_deinit(&arena->admission);
	region_free(&arena->region);
	free(arena->named);
	free(arena->named_count);
	free(arena);
}
