/* SPDX-License-Identifier: BSD-2-Clause */
/* What the engine takes from itself before it meets a packet or a client. */
#ifndef NETRINGD_SANDBOX_H
#define NETRINGD_SANDBOX_H

#include <stdbool.h>

/*
 * From here on the calling thread, and each that it starts, can make no call
 * that is not on the list, no file is to be had, and no code but what is loaded
 * runs. For good.
 * @has_own_user: nothing else has its uid, so threads can be counted.
 * Returns 0 or -errno; where the kernel has no Landlock, a warning is logged.
 */
int sandbox_enter(bool has_own_user);

/*
 * The calling thread, of which nothing is inherited, can receive, map, close
 * and wait for another thread. Returns 0 or -errno.
 */
int sandbox_enter_mapper(void);

#endif
