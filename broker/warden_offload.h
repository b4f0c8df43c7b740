/* SPDX-License-Identifier: BSD-2-Clause */
/* offloads = off: packets as they were on the wire. */
#ifndef NETRINGD_WARDEN_OFFLOAD_H
#define NETRINGD_WARDEN_OFFLOAD_H

#include <stdbool.h>

/*
 * Turns GRO, LRO and VLAN stripping of @interface off and remembers what was
 * on. What cannot be changed is logged. Does nothing the second time, but for
 * an interface that was made anew.
 */
void offload_off(const char *interface);

/* Whether the NIC keeps VLAN tags apart from the packets' bytes. */
bool offload_strips_tags(const char *interface);

/* Turns on again what offload_off() has turned off. */
void offload_restore(void);

#endif
