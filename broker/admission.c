// SPDX-License-Identifier: BSD-2-Clause
/* The arithmetic of guarantees and pool: see admission.h for why it holds. */
#include "admission.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int admission_init(struct admission *admission, uint32_t block_count,
		   uint32_t percent)
{
	uint64_t set_aside = (uint64_t)block_count * percent / 100;

	/* At least one open block and one guarantee of one; a pool of one. */
	if (set_aside < 2)
		set_aside = 2;
	if (set_aside > block_count - 2)
		set_aside = block_count - 2;
	*admission = (struct admission){
		.account = admission,
		.block_count = block_count,
		.set_aside = (uint32_t)set_aside,
		.pool = block_count - 1 - (uint32_t)set_aside,
		.recent = 1,
	};
	admission->free = calloc(block_count, sizeof(*admission->free));
	admission->blocks = calloc(block_count, sizeof(*admission->blocks));
	if (!admission->free || !admission->blocks) {
		admission_deinit(admission);
		return -ENOMEM;
	}
	while (admission->free_count < block_count) {
		admission->free[admission->free_count] =
			block_count - 1 - admission->free_count;
		admission->free_count++;
	}
	return 0;
}

void admission_deinit(struct admission *admission)
{
	free(admission->free);
	free(admission->blocks);
	*admission = (struct admission){ 0 };
}

bool admission_promise(struct admission *admission, uint32_t count)
{
	struct admission *account = admission->account;

	if (count > account->set_aside - account->promised)
		return false;
	account->promised += count;
	return true;
}

void admission_unpromise(struct admission *admission, uint32_t count)
{
	assert(count <= admission->account->promised);
	admission->account->promised -= count;
}

/* Of the blocks freed last, the one that is free longest. */
static uint32_t take_recent(struct admission *admission)
{
	uint32_t count = admission->recent < admission->free_count ?
				 admission->recent :
				 admission->free_count;
	uint32_t *oldest = &admission->free[admission->free_count - count];
	uint32_t block = *oldest;

	memmove(oldest, oldest + 1, (count - 1) * sizeof(*oldest));
	admission->free_count--;
	return block;
}

uint32_t admission_open(struct admission *admission)
{
	uint32_t block;

	assert(admission->free_count > 0);
	block = take_recent(admission);
	admission->blocks[block].is_open = true;
	return block;
}

static void free_if_unused(struct admission *admission, uint32_t block)
{
	struct admission_block *b = &admission->blocks[block];

	if (b->is_open || b->leases > 0)
		return;
	admission->free[admission->free_count++] = block;
	if (admission->freed)
		admission->freed(admission->owner, block);
}

void admission_close(struct admission *admission, uint32_t block)
{
	assert(admission->blocks[block].is_open);
	admission->blocks[block].is_open = false;
	free_if_unused(admission, block);
}

enum admission_charge admission_ask(const struct admission *admission,
				    const struct grant *grant, uint32_t block)
{
	if (grant->charged < grant->guarantee)
		return CHARGE_GUARANTEE;
	if (grant->beyond >= grant->budget)
		return CHARGE_NONE;
	if (admission->blocks[block].pool_leases == 0 &&
	    admission->account->pool_used == admission->account->pool)
		return CHARGE_NONE;
	return CHARGE_POOL;
}

enum admission_charge admission_lease(struct admission *admission,
				      struct grant *grant, uint32_t block)
{
	enum admission_charge charge = admission_ask(admission, grant, block);
	struct admission_block *b = &admission->blocks[block];

	if (charge == CHARGE_NONE)
		return charge;
	b->leases++;
	if (charge == CHARGE_GUARANTEE) {
		grant->charged++;
	} else {
		grant->beyond++;
		if (b->pool_leases++ == 0)
			admission->account->pool_used++;
	}
	return charge;
}

void admission_release(struct admission *admission, struct grant *grant,
		       uint32_t block, enum admission_charge charge)
{
	struct admission_block *b = &admission->blocks[block];

	assert(b->leases > 0);
	b->leases--;
	if (charge == CHARGE_GUARANTEE) {
		grant->charged--;
	} else {
		grant->beyond--;
		if (--b->pool_leases == 0)
			admission->account->pool_used--;
	}
	free_if_unused(admission, block);
}

bool admission_has_room(const struct admission *admission,
			const struct grant *grant)
{
	return grant->charged < grant->guarantee ||
	       (grant->beyond < grant->budget &&
		admission->account->pool_used < admission->account->pool);
}
