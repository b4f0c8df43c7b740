/* SPDX-License-Identifier: BSD-2-Clause */
/* Who is back after an engine has died: by user, in a list with a bound. */
#include <criterion/criterion.h>

#include <string.h>

#include "random.h"
#include "users.h"

static struct users before, now;

static void add(struct users *users, uint32_t uid, unsigned captures)
{
	while (captures-- > 0)
		users_add(users, uid);
}

Test(users, each_has_to_have_as_many_as_before)
{
	cr_assert(users_are_none(&before));
	cr_assert(users_are_back(&now, &before));
	add(&before, 0, 1);
	add(&before, 1000, 2);
	cr_assert_not(users_are_none(&before));
	add(&now, 1000, 3);
	cr_assert_not(users_are_back(&now, &before));
	add(&now, 7, 5);
	cr_assert_not(users_are_back(&now, &before));
	add(&now, 0, 1);
	cr_assert(users_are_back(&now, &before));
	users_remove(&now, 1000);
	cr_assert(users_are_back(&now, &before));
	users_remove(&now, 1000);
	cr_assert_not(users_are_back(&now, &before));
}

Test(users, one_that_has_left_leaves_its_place)
{
	for (uint32_t uid = 0; uid < 10 * USERS_MAX; uid++) {
		add(&now, uid, 2);
		users_remove(&now, uid);
		users_remove(&now, uid);
	}
	cr_assert(users_are_none(&now));
	for (uint32_t uid = 0; uid < USERS_MAX; uid++)
		add(&now, uid, 1);
	cr_assert_eq(now.others, 0);
}

Test(users, that_were_too_many_are_never_said_to_be_back)
{
	for (uint32_t uid = 0; uid < USERS_MAX; uid++)
		add(&before, uid, 1);
	now = before;
	cr_assert(users_are_back(&now, &before));
	add(&before, 1000, 1);
	add(&now, 1000, 1);
	cr_assert_not(users_are_back(&now, &before));
	users_remove(&before, 1000);
	cr_assert(users_are_back(&now, &before));
}

Test(users, of_whom_some_had_no_place_are_none_when_all_have_left)
{
	unsigned captures[2 * USERS_MAX] = { 0 };
	unsigned total = 0;

	random_seed(5);
	for (unsigned i = 0; i < 100000; i++) {
		uint32_t uid = below(2 * USERS_MAX);

		if (chance(50)) {
			users_add(&now, uid);
			captures[uid]++;
			total++;
		} else if (captures[uid] > 0) {
			users_remove(&now, uid);
			captures[uid]--;
			total--;
		}
		cr_assert_eq(users_are_none(&now), total == 0);
	}
	for (uint32_t uid = 0; uid < 2 * USERS_MAX; uid++)
		while (captures[uid]-- > 0)
			users_remove(&now, uid);
	cr_assert(users_are_none(&now));
}

Test(users, of_two_engines_are_those_of_either)
{
	struct users sum;

	add(&before, 1, 1);
	add(&before, 2, 5);
	add(&now, 2, 3);
	add(&now, 3, 2);
	users_raise(&before, &now);
	memset(&sum, 0, sizeof(sum));
	add(&sum, 1, 1);
	add(&sum, 2, 5);
	cr_assert_not(users_are_back(&sum, &before));
	add(&sum, 3, 2);
	cr_assert(users_are_back(&sum, &before));
	/* Together they are too many. */
	for (uint32_t uid = 100; uid < 100 + USERS_MAX; uid++)
		add(&sum, uid, 1);
	users_raise(&before, &sum);
	cr_assert_gt(before.others, 0);
}

/* As a taken-over engine may have written it. */
Test(users, that_somebody_made_up_are_waited_for_and_nothing_else)
{
	uint32_t *words = (uint32_t *)&before;

	random_seed(3);
	for (unsigned i = 0; i < 1000; i++) {
		for (size_t w = 0; w < sizeof(before) / 4; w++)
			words[w] =
				chance(30) ? 0 : below(1u << (1 + below(31)));
		now = before;
		users_raise(&now, &before);
		cr_assert_eq(users_are_back(&now, &before), before.others == 0);
	}
}
