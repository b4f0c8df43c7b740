/* SPDX-License-Identifier: BSD-2-Clause */
/* Questions about an interface that the warden asks before it takes it. */
#ifndef NETRINGD_WARDEN_HOST_H
#define NETRINGD_WARDEN_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"

/*
 * An interface's ioctl: 0 or -errno, -ENODEV: there is none of this name. The
 * descriptor to ask by is opened once, so that a lack of them is not taken for
 * an interface that has gone.
 */
struct ifreq;
int host_ask(const char *name, unsigned long question, struct ifreq *request);
int host_index(const char *name); /* above 0, or -errno as above */

struct host_interface {
	unsigned index;
	bool is_up;
	uint16_t type; /* ARPHRD_ */
	uint8_t mac[6];
	uint32_t mtu;
};
/* 0, or -errno as above. */
int host_look(struct host_interface *interface, const char *name);

/* Receive queues; 1 where the driver does not tell. */
uint32_t host_queues(const char *name);

/*
 * Whether the host itself needs the packets of the interface: it has an address
 * (but for the link-local one that the kernel gives by itself) or holds a
 * default route, of any table; also if that cannot be found out. Then @why says
 * which, for a person.
 */
bool host_needs(const char *name, char *why, size_t size);

/* lanes = the queues that there are, where all were asked for. */
void host_count_queues(struct config_source *source);

#endif
