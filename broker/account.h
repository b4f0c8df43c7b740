/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What one uid costs. Memory that a consumer has mapped cannot be taken back,
 * so ring slices and return pages stay with their uid and are used again for it
 * alone: attaching and leaving for ever costs no more than the quota.
 */
#ifndef NETRINGD_ACCOUNT_H
#define NETRINGD_ACCOUNT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <netring/layout.h>

#include "config.h"
#include "region.h"

/* Where the slice of a capture and lane is. */
struct ring_slice {
	struct ring_slice *next;
	const struct region *region;
	size_t offset;
};

/* The return pages of a capture: one for each of its lanes. */
struct return_pages {
	struct return_pages *next;
	struct nr_return *pages;
	uint32_t count;
	int fd;
};

struct ring_region {
	struct ring_region *next;
	struct region region;
	struct ring_slice slices[];
};

struct account {
	struct account *next;
	uid_t uid;
	uint32_t connections;
	uint32_t captures;
	uint32_t unacked;    /* attaches whose descriptors may be unread */
	uint32_t moving;     /* moves likewise */
	uint32_t guaranteed; /* blocks, all lanes */
	uint64_t memory; /* bytes of its rings and return pages, ever made */
	uint64_t max_memory;
	uint64_t rate_ns;  /* the attach rate's bucket: filled up to here */
	uint64_t lines_ns; /* the log's, in the same way */
	uint32_t untold;   /* lines kept back */
	struct ring_region *regions;
	struct ring_slice *free_slices;
	struct return_pages *free_pages;
};

/* The account of @uid, made if there is none. NULL: no memory. */
struct account *account_get(struct account **accounts, uid_t uid,
			    uint64_t max_memory);
void account_free_all(struct account **accounts);

/* One more attach now? Counts it. */
bool account_take_attach(struct account *account, uint32_t rate,
			 uint64_t now_ns);

/* One more line in the log for a connection that came to nothing? */
bool account_take_line(struct account *account, uint64_t now_ns);

/*
 * A zeroed slice. Returns NULL beyond the quota or without memory (also:
 * without huge pages, unless @small_pages).
 */
struct ring_slice *account_take_slice(struct account *account,
				      bool small_pages);
void account_give_slice(struct account *account, struct ring_slice *slice);

/*
 * @count zeroed return pages; from the warden, or where there is none with
 * privilege a sealed memfd. Returns NULL beyond the quota or without memory.
 */
struct return_pages *account_take_pages(struct account *account, uint32_t count,
					bool from_warden);
void account_give_pages(struct account *account, struct return_pages *pages);

static inline struct nr_ring *ring_slice_ring(const struct ring_slice *slice)
{
	return (struct nr_ring *)(void *)(slice->region->base + slice->offset);
}

#endif
