/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef NETRINGD_SOURCE_PACKET_H
#define NETRINGD_SOURCE_PACKET_H

#include "priv.h"
#include "source.h"

/*
 * An AF_PACKET TPACKET_V3 ring that the warden has opened and that is mapped
 * at @ring. Takes the mapping and the descriptor, also on error. @interface:
 * its index within the source. Returns 0 or -errno.
 */
int source_packet_new(struct source **source,
		      const struct config_source *config, void *ring,
		      int epoll_fd, const struct priv_reply *geometry,
		      uint32_t interface);

#endif
