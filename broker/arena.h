/* SPDX-License-Identifier: BSD-2-Clause */
/* A channel's blocks on one lane. */
#ifndef NETRINGD_ARENA_H
#define NETRINGD_ARENA_H

#include <netring/layout.h>

#include "admission.h"
#include "frames.h"
#include "region.h"

#define ARENA_STREAMS_MAX 510

struct arena {
	struct region region;
	struct nr_arena *header; /* the front of the region */
	uint32_t id;
	uint32_t block_size;
	uint32_t capacity;    /* bytes of the largest packet a block can hold */
	uint32_t stream_next; /* where the search for a free slot starts */
	bool stream_used[ARENA_STREAMS_MAX];
	struct admission admission;

	/* Loaned: its records name frames, and blocks hold nothing else. */
	struct frames *frames; /* or NULL */
	uint32_t *named;       /* frames, frames->records of each block */
	uint16_t *named_count; /* of each block */
};

/*
 * Makes an arena of @size bytes with blocks of @block_size, @percent of them
 * set aside for guarantees. Takes some 100 ms for 64 MiB, so not in a lane.
 * Returns 0, REGION_NO_HUGE_PAGES or -errno.
 */
int arena_new(struct arena **arena, uint64_t size, uint32_t block_size,
	      uint32_t percent, bool show_counts, bool small_pages);
/* The same for records that name @frames, borrowed. */
int arena_new_loaned(struct arena **arena, struct frames *frames,
		     bool show_counts, bool small_pages);
void arena_free(struct arena *arena);

/* A stream slot of its own, zeroed; -1: all are taken. */
int arena_take_stream(struct arena *arena);
void arena_give_stream(struct arena *arena, uint32_t stream);

static inline struct nr_block *arena_block(const struct arena *arena,
					   uint32_t block)
{
	return (struct nr_block *)(void *)(arena->region.base +
					   arena->header->block_offset +
					   (size_t)block * arena->block_size);
}

/* Of a loaned arena: the frames that the records of @block name. */
static inline uint32_t *arena_named(const struct arena *arena, uint32_t block)
{
	return arena->named + (size_t)block * arena->frames->records;
}

static inline struct nr_stream *arena_stream(const struct arena *arena,
					     uint32_t stream)
{
	return (struct nr_stream *)(void *)(arena->region.base +
					    sizeof(struct nr_arena)) +
	       stream;
}

#endif
