// SPDX-License-Identifier: BSD-2-Clause
/* Dividing a UMEM: what the kernel keeps comes first, the rest can be lent. */
#include "frames.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "region.h"
#include "source.h"

/* Captures with the default guarantee of two blocks that are to find room. */
#define CAPTURES_AIM 8u

/*
 * So many records that the aim and an open block fit the set-aside, however
 * few frames there are.
 */
static uint32_t records_of_block(uint32_t lent, uint32_t percent)
{
	uint32_t records = (uint32_t)((uint64_t)lent * percent / 100) /
			   (2 * CAPTURES_AIM + 1);

	if (records > FRAMES_RECORDS_MAX)
		return FRAMES_RECORDS_MAX;
	return records > 2 ? records & ~1u : 2;
}

int frames_new(struct frames **out, int fd, uint64_t size, uint32_t frame_size,
	       uint32_t kept, uint32_t percent)
{
	struct frames *frames = calloc(1, sizeof(*frames));
	uint32_t count = (uint32_t)(size / frame_size), lent;
	int err = -ENOMEM;

	if (!frames) {
		close(fd);
		return -ENOMEM;
	}
	frames->users = 1;
	frames->fd = fd;
	frames->size = size;
	frames->frame_size = frame_size;
	frames->frame_shift = (uint32_t)__builtin_ctz(frame_size);
	frames->count = count;
	frames->kept = kept;
	lent = count - kept - 2 * BURST_MAX;
	frames->records = records_of_block(lent, percent);
	frames->free = calloc(count, sizeof(*frames->free));
	frames->holds = calloc(count, sizeof(*frames->holds));
	if (!frames->free || !frames->holds)
		goto fail;
	err = admission_init(&frames->account, lent / frames->records, percent);
	if (err)
		goto fail;
	frames->base = region_map(fd, size);
	if (!frames->base) {
		err = -errno;
		goto fail;
	}
	*out = frames;
	return 0;
fail:
	frames_free(frames);
	return err;
}

void frames_free(struct frames *frames)
{
	if (!frames || --frames->users > 0)
		return;
	if (frames->base)
		munmap((void *)(uintptr_t)frames->base, frames->size);
	close(frames->fd);
	admission_deinit(&frames->account);
	free(frames->free);
	free(frames->holds);
	free(frames);
}

void frames_reclaim(struct frames *frames)
{
	frames->free_count = 0;
	for (uint32_t i = frames->count; i-- > 0;)
		if (frames->holds[i] == 0)
			frames->free[frames->free_count++] = i;
}
