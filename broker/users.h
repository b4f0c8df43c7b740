/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How many captures each user has on a lane. The warden carries it from an
 * engine that died to the next, so it is of one size, and any bytes are one:
 * what a list says that somebody lied in is at worst waited for in vain.
 */
#ifndef NETRINGD_USERS_H
#define NETRINGD_USERS_H

#include <stdbool.h>
#include <stdint.h>

#define USERS_MAX 16

struct users {
	struct user {
		uint32_t uid;
		uint32_t captures; /* 0: nobody's place */
	} user[USERS_MAX];
	uint32_t others; /* captures of users that had no place */
};

/* One capture of @uid more, or less: then it has been added. */
void users_add(struct users *users, uint32_t uid);
void users_remove(struct users *users, uint32_t uid);

bool users_are_none(const struct users *users);

/*
 * Whether each user has as many of @now as of @before. False if that cannot be
 * said, as there were others.
 */
bool users_are_back(const struct users *now, const struct users *before);

/* Makes @users the larger of the two for each user. */
void users_raise(struct users *users, const struct users *with);

#endif
