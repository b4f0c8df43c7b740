/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef NETRINGD_RING_MAPPER_H
#define NETRINGD_RING_MAPPER_H

#include <stddef.h>
#include <stdint.h>

/*
 * Before the sandbox. Takes PRIV_FD_RINGS. Returns 0 or -errno, which is that
 * of ring_mapper_map() from then on.
 */
int ring_mapper_start(void);

/*
 * Maps the ring of which the warden has said that it is its @number-th, and
 * @size bytes. By the control thread only. Returns 0 or -errno.
 */
int ring_mapper_map(uint32_t number, size_t size, void **ring);

#endif
