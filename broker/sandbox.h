/* SPDX-License-Identifier: BSD-2-Clause */
/* What the engine takes from itself before it meets a packet or a client. */
#ifndef NETRINGD_SANDBOX_H
#define NETRINGD_SANDBOX_H

/*
 * From here on no thread of this process can make a call that is not on the
 * list, and no file is to be had but to read in /proc. For good.
 * Returns 0 or -errno; where the kernel has no Landlock, a warning is logged.
 */
int sandbox_enter(void);

#endif
