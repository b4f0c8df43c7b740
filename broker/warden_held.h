/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that engines were given: whoever was taken over can pass it on, and
 * then it outlives all that the warden has of it. What somebody still holds
 * counts, so that engines to come do not add to it for ever.
 */
#ifndef NETRINGD_WARDEN_HELD_H
#define NETRINGD_WARDEN_HELD_H

#include <stdbool.h>
#include <stdint.h>

#include "region.h"

#define RETURN_PAGES_MAX 16384 /* made in the life of an engine */
#define RETURN_PAGES_HELD (2 * RETURN_PAGES_MAX) /* with those before it */

/*
 * Frees it here, and counts it while others have it open or mapped; until that
 * is found out by held_frames() it is memory all the same. Whether nobody had.
 */
bool held_let_go(struct region *frames);

/* How many of those there are. */
uint32_t held_frames(void);

/*
 * A ring's socket: closed as soon as no engine has the ring mapped, and its
 * memory is given back then, wherever the socket may be.
 */
void held_ring_let_go(int fd);

/*
 * How many of those there are. The kernel takes 40 ms to take one back, and
 * somebody may wait for us meanwhile: unless @at_once that is done for one.
 */
uint32_t held_rings(bool at_once);

/* A BPF array of @pages that was made for an engine. Returns 0 or -errno. */
int held_pages_add(int fd, uint32_t pages);

/* How many pages of all that were made there are still. */
uint32_t held_pages(void);

#endif
