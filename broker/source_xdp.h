/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef NETRINGD_SOURCE_XDP_H
#define NETRINGD_SOURCE_XDP_H

#include "frames.h"
#include "source.h"

/*
 * An AF_XDP socket that the warden has opened and bound, which it takes, also
 * on error. @frames, borrowed, are its UMEM; another socket may have had them
 * before. @interface: its index within the source. @magic: what the program
 * puts in front of frames has it, see redirect.h. Returns 0 or -errno.
 */
int source_xdp_new(struct source **source, const struct config_source *config,
		   int socket, struct frames *frames, uint32_t interface,
		   uint32_t magic);

/*
 * Gives the kernel its frames. The lane does so by itself; for frames that no
 * lane has yet it can be done before.
 */
void source_xdp_start(struct source *source);

#endif
