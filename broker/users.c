// SPDX-License-Identifier: BSD-2-Clause
/*
 * A list with a bound. Who finds no place in it is counted among the others,
 * of whom nobody knows who they are: so nothing is concluded from their number
 * but that there were some.
 */
#include "users.h"

#include <stddef.h>

/* USERS_MAX: it has none. */
static unsigned place_of(const struct users *users, uint32_t uid)
{
	unsigned i = 0;

	while (i < USERS_MAX &&
	       (users->user[i].captures == 0 || users->user[i].uid != uid))
		i++;
	return i;
}

/* The place of @uid, now if not before; NULL: there is none left. */
static struct user *find_place(struct users *users, uint32_t uid)
{
	unsigned i = place_of(users, uid);

	if (i == USERS_MAX)
		for (i = 0; i < USERS_MAX && users->user[i].captures; i++)
			;
	if (i == USERS_MAX)
		return NULL;
	users->user[i].uid = uid;
	return &users->user[i];
}

void users_add(struct users *users, uint32_t uid)
{
	struct user *user = find_place(users, uid);

	if (user)
		user->captures++;
	else
		users->others++;
}

/* One that was without a place may have one now: the sum is what it was. */
void users_remove(struct users *users, uint32_t uid)
{
	unsigned i = place_of(users, uid);

	if (i < USERS_MAX)
		users->user[i].captures--;
	else
		users->others--;
}

bool users_are_none(const struct users *users)
{
	for (unsigned i = 0; i < USERS_MAX; i++)
		if (users->user[i].captures > 0)
			return false;
	return users->others == 0;
}

static uint32_t captures_of(const struct users *users, uint32_t uid)
{
	unsigned i = place_of(users, uid);

	return i < USERS_MAX ? users->user[i].captures : 0;
}

bool users_are_back(const struct users *now, const struct users *before)
{
	for (unsigned i = 0; i < USERS_MAX; i++)
		if (captures_of(now, before->user[i].uid) <
		    before->user[i].captures)
			return false;
	return before->others == 0;
}

void users_raise(struct users *users, const struct users *with)
{
	for (unsigned i = 0; i < USERS_MAX; i++) {
		const struct user *other = &with->user[i];
		struct user *user =
			other->captures ? find_place(users, other->uid) : NULL;

		if (user && user->captures < other->captures)
			user->captures = other->captures;
		else if (!user && other->captures)
			users->others = 1;
	}
	if (with->others > users->others)
		users->others = with->others;
}
