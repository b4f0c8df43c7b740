/* SPDX-License-Identifier: BSD-2-Clause */
/* What a NIC does with packets: offloads = off, clock = hardware. */
#ifndef NETRINGD_WARDEN_OFFLOAD_H
#define NETRINGD_WARDEN_OFFLOAD_H

#include <stdbool.h>

struct config;

/*
 * Turns GRO, LRO and VLAN stripping of @interface off and remembers what was
 * on. What cannot be changed is logged. Does nothing the second time, but for
 * an interface that was made anew.
 */
void offload_off(const char *interface);

/*
 * Has the NIC stamp all that it receives; what it sends is stamped as before.
 * Returns 0 or -errno.
 */
int offload_stamp(const char *interface);

/* Whether the NIC keeps VLAN tags apart from the packets' bytes. */
bool offload_strips_tags(const char *interface);

/* Puts back what was changed by these and no source of @config wants so. */
void offload_restore_others(const struct config *config);

/* Puts back all that was changed by these. */
void offload_restore(void);

#endif
