/* SPDX-License-Identifier: BSD-2-Clause */
/* Random schedules that are the same each time: one state, set by a seed. */
#ifndef TESTS_RANDOM_H
#define TESTS_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

static uint64_t random_state;

static inline void random_seed(uint64_t seed)
{
	random_state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

/* A number below @n. */
static inline uint32_t below(uint32_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)((random_state >> 32) * n >> 32);
}

static inline bool chance(uint32_t percent)
{
	return below(100) < percent;
}

#endif
