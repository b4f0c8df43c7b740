/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Uids that nothing else has: no process, and no other broker until this one
 * ends, whether or not it has an engine just then.
 */
#ifndef NETRINGD_WARDEN_USER_H
#define NETRINGD_WARDEN_USER_H

#include <sys/types.h>

#include "config.h"

/*
 * The engine's user: the configured one, else "netring" if nothing has it, else
 * a free uid. Ours from here on. Returns 0, or 1 after a message.
 */
int user_choose(const struct config *config, uid_t *uid, gid_t *gid);

/*
 * Before another engine: is it still free of processes? Else another uid,
 * unless it was configured. Returns 0, or 1 after a message.
 */
int user_check(const struct config *config, uid_t *uid, gid_t *gid);

/* A uid for a while, or nobody's if none can be had. */
uid_t user_borrow(void);
void user_give_back(uid_t uid);

#endif
