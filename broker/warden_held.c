// SPDX-License-Identifier: BSD-2-Clause
/*
 * Frames are known by a descriptor of our own, which the kernel grants a lease
 * as soon as nobody else has the file. Return pages are not kept open here: the
 * kernel says by their number whether they are there.
 */
#include "warden_held.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <unistd.h>

#define FRAMES_MAX 4096

static int frames[FRAMES_MAX];
static uint32_t frames_count;

static struct {
	uint32_t id;
	uint32_t pages;
} arrays[RETURN_PAGES_HELD];
static uint32_t arrays_count;

bool held_let_go(struct region *region)
{
	bool was_there = region->base != NULL;
	int fd = region_let_go(region);

	if (fd < 0)
		return was_there;
	if (frames_count < FRAMES_MAX)
		frames[frames_count++] = fd;
	else
		close(fd);
	return false;
}

uint32_t held_frames(void)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < frames_count; i++)
		if (region_is_ours_alone(frames[i]))
			close(frames[i]);
		else
			frames[count++] = frames[i];
	frames_count = count;
	return count;
}

int held_pages_add(int fd, uint32_t pages)
{
	struct bpf_map_info info = { 0 };
	uint32_t length = sizeof(info);

	if (arrays_count == RETURN_PAGES_HELD)
		return -ENOSPC;
	if (bpf_obj_get_info_by_fd(fd, &info, &length))
		return -errno;
	arrays[arrays_count].id = info.id;
	arrays[arrays_count++].pages = pages;
	return 0;
}

uint32_t held_pages(void)
{
	uint32_t count = 0, pages = 0;

	for (uint32_t i = 0; i < arrays_count; i++) {
		int fd = bpf_map_get_fd_by_id(arrays[i].id);

		if (fd == -ENOENT)
			continue;
		if (fd >= 0)
			close(fd);
		pages += arrays[i].pages;
		arrays[count++] = arrays[i];
	}
	arrays_count = count;
	return pages;
}
