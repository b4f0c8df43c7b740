/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory that is written here and can only be read elsewhere. */
#ifndef NETRINGD_REGION_H
#define NETRINGD_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REGION_ALIGN ((size_t)2 << 20) /* a huge page */

/* Small pages let a consumer stall the broker's writes: see region_new(). */
enum region_outcome { REGION_OK = 0, REGION_NO_HUGE_PAGES = 1 };

struct region {
	int fd; /* an O_RDONLY description, to be handed out */
	uint8_t *base;
	size_t size;
	bool is_hugetlb; /* can only be mapped in whole huge pages */
};

/*
 * Opens while the process still can what it needs of /proc: descriptors are
 * reopened read-only through /proc/self/fd. Returns 0 or -errno.
 */
int region_init(void);

/*
 * Makes @size bytes (a multiple of REGION_ALIGN) of zeroed, populated,
 * sealed memory, written through @region->base only.
 *
 * A page that a consumer maps can be collapsed into a huge page by it
 * (MADV_COLLAPSE works on a read-only mapping), and the broker's next write
 * waits meanwhile; a page that is huge already cannot. So it is huge pages, or
 * REGION_NO_HUGE_PAGES unless @small_pages. Returns an outcome or -errno.
 */
int region_new(struct region *region, const char *name, size_t size,
	       bool small_pages);

void region_free(struct region *region);

/*
 * Frees it, too, but for a descriptor while others have it open or mapped, by
 * which region_is_ours_alone() finds out when that is over. Or -errno.
 */
int region_let_go(struct region *region);
bool region_is_ours_alone(int fd);

/*
 * Bytes that can be allocated. Asked for more than there is, the kernel would
 * rather kill a process than say ENOMEM.
 */
uint64_t region_memory_available(void);

/* Maps such memory read-only, where huge pages fit. NULL: see errno. */
const void *region_map(int fd, size_t size);

#endif
