/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who may hold which block of an arena. Nothing is ever taken from under a
 * reader, so what readers can pin is bounded beforehand:
 *
 *	blocks = reserve (1) + set-aside + pool
 *
 * - A promise (a capture's guarantee, a stream's open block) is drawn from the
 *   set-aside at attach, or refused.
 * - A lease taken while fewer blocks are charged to the capture's guarantee
 *   than it was promised is charged there, and never refused.
 * - Any other lease needs its *block* in the pool. A block enters the pool with
 *   its first such lease, refused if the pool is full, and leaves with its
 *   last.
 *
 * Hence every block in use is an open one (promised), one charged to some
 * guarantee (promised), or one in the pool: with the reserve there is always
 * a free block for the next burst.
 *
 * Plain memory of one lane; knows nothing of packets.
 */
#ifndef NETRINGD_ADMISSION_H
#define NETRINGD_ADMISSION_H

#include <stdbool.h>
#include <stdint.h>

struct admission_block {
	uint32_t leases;      /* by anybody */
	uint32_t pool_leases; /* of these, charged to the pool */
	bool is_open;	      /* a stream appends to it */
};

struct admission {
	/*
	 * Whose set-aside and pool count: its own, or those of one that several
	 * arenas share, which has no blocks in use itself.
	 */
	struct admission *account;
	/* Called when a block has become free; may be NULL. */
	void (*freed)(void *owner, uint32_t block);
	void *owner;
	uint32_t block_count;
	uint32_t set_aside;
	uint32_t promised; /* of the set-aside */
	uint32_t pool;
	uint32_t pool_used;
	uint32_t free_count;
	/* A stack; the blocks freed last are used next, so many in turn. */
	uint32_t recent;
	uint32_t *free;
	struct admission_block *blocks;
};

/* What one capture was promised, and has taken. */
struct grant {
	uint32_t guarantee;
	uint32_t budget;  /* blocks beyond it, at most */
	uint32_t charged; /* to the guarantee */
	uint32_t beyond;  /* in the pool */
};

enum admission_charge { CHARGE_NONE, CHARGE_GUARANTEE, CHARGE_POOL };

/*
 * @percent of the blocks is set aside. Returns 0 or -ENOMEM; @block_count is at
 * least 4.
 */
int admission_init(struct admission *admission, uint32_t block_count,
		   uint32_t percent);
void admission_deinit(struct admission *admission);

/* Draws @count blocks from the set-aside. False: it has not so many left. */
bool admission_promise(struct admission *admission, uint32_t count);
void admission_unpromise(struct admission *admission, uint32_t count);

/* A free block, now open. There always is one (see above). */
uint32_t admission_open(struct admission *admission);
void admission_close(struct admission *admission, uint32_t block);

/* What a lease of @block would be charged to; CHARGE_NONE: refused. */
enum admission_charge admission_ask(const struct admission *admission,
				    const struct grant *grant, uint32_t block);

/* Takes the lease. As admission_ask(). */
enum admission_charge admission_lease(struct admission *admission,
				      struct grant *grant, uint32_t block);
void admission_release(struct admission *admission, struct grant *grant,
		       uint32_t block, enum admission_charge charge);

/* Whether a lease of a block that nobody holds yet would be granted. */
bool admission_has_room(const struct admission *admission,
			const struct grant *grant);

#endif
