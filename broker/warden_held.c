// SPDX-License-Identifier: BSD-2-Clause
/*
 * Frames are known by a descriptor of our own, which the kernel grants a lease
 * as soon as nobody else has the file; rings by their socket, from which it
 * takes the memory as soon as nobody has it mapped. Return pages are not kept
 * open here: the kernel says by their number whether they are there.
 */
#include "warden_held.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <sys/socket.h>
#include <unistd.h>

#define HELD_MAX 4096

/* What is closed as soon as it is ours alone. */
struct held {
	bool (*is_ours)(int fd);
	uint32_t count;
	int fds[HELD_MAX];
};

/* And has no memory any more, whoever else has the socket. */
static bool ring_is_ours_alone(int fd)
{
	const struct tpacket_req3 none = { 0 };

	return setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &none,
			  sizeof(none)) == 0 ||
	       errno != EBUSY;
}

static struct held frames = { .is_ours = region_is_ours_alone };
static struct held rings = { .is_ours = ring_is_ours_alone };

static void hold(struct held *held, int fd)
{
	if (held->count < HELD_MAX)
		held->fds[held->count++] = fd;
	else
		close(fd);
}

/* Closes @most that are ours alone. How many are left. */
static uint32_t look(struct held *held, uint32_t most)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < held->count; i++)
		if (most > 0 && held->is_ours(held->fds[i])) {
			close(held->fds[i]);
			most--;
		} else {
			held->fds[count++] = held->fds[i];
		}
	held->count = count;
	return count;
}

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
	hold(&frames, fd);
	return false;
}

uint32_t held_frames(void)
{
	return look(&frames, HELD_MAX);
}

void held_ring_let_go(int fd)
{
	if (ring_is_ours_alone(fd))
		close(fd);
	else
		hold(&rings, fd);
}

uint32_t held_rings(bool at_once)
{
	return look(&rings, at_once ? HELD_MAX : 1);
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
