/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The frames of a lane's UMEM: which are free, and how often each is named by
 * blocks in use. A frame is free, or the kernel's, or held; it goes back to the
 * kernel only when nothing holds it.
 *
 *	frames = kept in the kernel + two bursts + what blocks may name
 *
 * The last is one account for all loaned channels, counted in blocks of
 * @records frames each, whether a block is full or not: see admission.h for
 * why it holds. So consumers never take what the kernel is to have.
 *
 * Plain memory of one lane, but for what never changes (the control thread
 * reads that).
 */
#ifndef NETRINGD_FRAMES_H
#define NETRINGD_FRAMES_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "admission.h"

/* A leased or open block keeps all its frames from the kernel. */
#define FRAMES_RECORDS_MAX 256u

struct frames {
	uint32_t users; /* the control thread's: see frames_free() */
	int fd;		/* read-only, to be handed out */
	const uint8_t *base;
	uint64_t size;
	uint32_t frame_size; /* 1 << frame_shift */
	uint32_t frame_shift;
	uint32_t count;
	uint32_t kept;	  /* of these, the kernel's, always */
	uint32_t records; /* of a block that names frames, at most */
	struct admission account;

	uint32_t free_count;
	uint32_t *free;	 /* a stack: what was used last is in cache */
	uint16_t *holds; /* of each frame: blocks, and the burst */
};

/*
 * Maps @fd (taken, also on error). @percent of what can be lent is set aside
 * for guarantees. Returns 0 or -errno.
 */
int frames_new(struct frames **frames, int fd, uint64_t size,
	       uint32_t frame_size, uint32_t kept, uint32_t percent);
/* Another reason to keep them. */
static inline struct frames *frames_keep(struct frames *frames)
{
	frames->users++;
	return frames;
}
/* One less; with the last they are gone. Takes NULL. */
void frames_free(struct frames *frames);

/* The kernel has none any more: what nothing holds is free. */
void frames_reclaim(struct frames *frames);

static inline uint32_t frames_at(const struct frames *frames, uint64_t offset)
{
	return (uint32_t)(offset >> frames->frame_shift);
}

static inline void frames_hold(struct frames *frames, uint32_t frame)
{
	frames->holds[frame]++;
}

static inline void frames_drop(struct frames *frames, uint32_t frame)
{
	assert(frames->holds[frame] > 0);
	if (--frames->holds[frame] == 0)
		frames->free[frames->free_count++] = frame;
}

#endif
