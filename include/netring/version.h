/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef NETRING_VERSION_H
#define NETRING_VERSION_H

/* The release. */
#define NR_VERSION_STRING "0.1.0"

/*
 * The contract of shared memory and control messages. Two sides work together
 * when their majors are equal; of a minor each uses what both know.
 */
#define NR_ABI_MAJOR 1
#define NR_ABI_MINOR 0
#define NR_ABI_VERSION ((NR_ABI_MAJOR << 16) | NR_ABI_MINOR)

#endif
