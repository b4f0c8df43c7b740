/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The shared words of netring and their ordering: every access to a word that
 * another process writes, or reads while it is written, is here.
 *
 *   lane (only writer)                     consumer (maps it read-only)
 *   -------------------------------        --------------------------------
 *   packet bytes, records
 *   A: store block.state  ---------------> B: load block.state
 *                                             records below the count, bytes
 *   slot[head % slots] = descriptor
 *   C: store ring.head  -----------------> D: load ring.head
 *                                             slot[own count % slots]
 *   E: store ring.end  ------------------> F: load ring.end
 *
 *   lane (reads, believes nothing)         consumer (only writer)
 *   -------------------------------        --------------------------------
 *                                             last reads of the block
 *                                             slot[head % 256] = lease
 *   J: load return.head  <---------------- K: store return.head
 *      slots below it, each loaded once
 *      the block may be reused
 *   G: load return.armed  <--------------- H: add 1 to return.armed
 *
 * A-B, C-D, E-F and K-J are release and acquire: what was written before the
 * store is seen after the load.
 *
 * No wake-up is lost: the lane does A (or C, or E) and then G; the consumer H
 * and then B, D and F again before it sleeps. All of these are sequentially
 * consistent, so at least one side sees the other's store: either the consumer
 * finds something, or the lane finds `armed` changed and rings.
 *
 * Which calls may run at once: one lane thread for all stores to a stream and
 * its rings, any number of consumers; of one capture, one thread.
 */
#ifndef NETRING_RING_H
#define NETRING_RING_H

#include <netring/layout.h>

/* ------------------------------------------------------------- lane's side */

/* A, pairs with B: @count records are readable, and whether more may come. */
static inline void nr_block_publish(struct nr_block *block, uint32_t count,
				    uint32_t closed)
{
	__atomic_store_n(&block->state, count | closed, __ATOMIC_SEQ_CST);
}

/* C, pairs with D: one more descriptor is readable. */
static inline void nr_ring_publish(struct nr_ring *ring, uint64_t head)
{
	__atomic_store_n(&ring->head, head, __ATOMIC_SEQ_CST);
}

/* E, pairs with F: nothing comes after NR_END_SEQ(@word) - 1. */
static inline void nr_ring_end(struct nr_ring *ring, uint64_t word)
{
	__atomic_store_n(&ring->end, word, __ATOMIC_SEQ_CST);
}

/* G, pairs with H. */
static inline uint64_t nr_return_armed(const struct nr_return *page)
{
	return __atomic_load_n(&page->armed, __ATOMIC_SEQ_CST);
}

/* J, pairs with K. */
static inline uint64_t nr_return_head(const struct nr_return *page)
{
	return __atomic_load_n(&page->head, __ATOMIC_ACQUIRE);
}

/*
 * A released lease, below J's head. Relaxed: ordered by J; atomic because an
 * attacker may write it at this moment.
 */
static inline uint64_t nr_return_slot(const struct nr_return *page, uint64_t n)
{
	return __atomic_load_n(&page->slots[n % NR_LEASES_MAX],
			       __ATOMIC_RELAXED);
}

/*
 * Counters that one lane writes and anybody reads. Each is a number of its own,
 * and readers that want several to agree look at a quiet moment. Release: what
 * was counted elsewhere before is not older.
 */
static inline void nr_count_store(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/*
 * The losses of a capture change together (sequence lock, writer's side).
 * The lock is odd in between. All accesses are sequentially consistent: this is
 * the rare path, and nothing weaker orders a store before later stores without
 * a fence.
 */
static inline void nr_ring_store_loss(struct nr_ring *ring, uint64_t lost,
				      uint64_t refused_at, uint64_t refusals)
{
	uint64_t lock = __atomic_load_n(&ring->lock, __ATOMIC_RELAXED);

	__atomic_store_n(&ring->lock, lock + 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&ring->lost, lost, __ATOMIC_SEQ_CST);
	__atomic_store_n(&ring->refused_at, refused_at, __ATOMIC_SEQ_CST);
	__atomic_store_n(&ring->refusals, refusals, __ATOMIC_SEQ_CST);
	__atomic_store_n(&ring->lock, lock + 2, __ATOMIC_SEQ_CST);
}

/* --------------------------------------------------------- consumer's side */

/* B, pairs with A. */
static inline uint32_t nr_block_state(const struct nr_block *block)
{
	return __atomic_load_n(&block->state, __ATOMIC_SEQ_CST);
}

/* D, pairs with C. */
static inline uint64_t nr_ring_head(const struct nr_ring *ring)
{
	return __atomic_load_n(&ring->head, __ATOMIC_SEQ_CST);
}

/* F, pairs with E. */
static inline uint64_t nr_ring_end_word(const struct nr_ring *ring)
{
	return __atomic_load_n(&ring->end, __ATOMIC_SEQ_CST);
}

/* H, pairs with G. Look once more (B, D, F) before sleeping. */
static inline void nr_return_arm(struct nr_return *page)
{
	__atomic_fetch_add(&page->armed, 1, __ATOMIC_SEQ_CST);
}

/*
 * Gives the lease back: slot, then K (pairs with J). @head counts the leases
 * given back before this one. The slot is atomic and relaxed: K orders it.
 */
static inline void nr_return_give(struct nr_return *page, uint64_t head,
				  uint64_t lease)
{
	__atomic_store_n(&page->slots[head % NR_LEASES_MAX], lease,
			 __ATOMIC_RELAXED);
	__atomic_store_n(&page->head, head + 1, __ATOMIC_RELEASE);
}

static inline uint64_t nr_count_load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

/*
 * Reads the losses (sequence lock, reader's side). Returns 0, or -1 when the
 * lane was changing them: look again.
 */
static inline int nr_ring_load_loss(const struct nr_ring *ring, uint64_t *lost,
				    uint64_t *refused_at, uint64_t *refusals)
{
	uint64_t lock = __atomic_load_n(&ring->lock, __ATOMIC_SEQ_CST);

	*lost = __atomic_load_n(&ring->lost, __ATOMIC_SEQ_CST);
	*refused_at = __atomic_load_n(&ring->refused_at, __ATOMIC_SEQ_CST);
	*refusals = __atomic_load_n(&ring->refusals, __ATOMIC_SEQ_CST);
	if ((lock & 1) ||
	    __atomic_load_n(&ring->lock, __ATOMIC_SEQ_CST) != lock)
		return -1;
	return 0;
}

#endif
