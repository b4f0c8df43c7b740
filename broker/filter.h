/* SPDX-License-Identifier: BSD-2-Clause */
/* pcap-filter(7) expressions, compiled and run by libpcap. */
#ifndef NETRINGD_FILTER_H
#define NETRINGD_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/filter.h>

struct filter; /* a channel's, for packets with the VLAN tag in their bytes */

/*
 * Compiles @text for packets of @link_type (LINKTYPE_). An empty text gives
 * NULL and success: everything passes. Returns 0, or -EINVAL with the reason in
 * @error (at least 256 bytes).
 */
int filter_new(struct filter **filter, const char *text, int link_type,
	       char *error);
void filter_free(struct filter *filter);

/* Whether the packet passes. Reads no byte beyond @caplen. */
bool filter_passes(const struct filter *filter, const uint8_t *data,
		   uint32_t caplen, uint32_t wirelen);

/*
 * Compiles @text for a socket in the kernel, where the outer VLAN tag is not in
 * the bytes: as libpcap does for a live device, through a handle on the
 * loopback of a network namespace of its own (made by
 * filter_prepare_kernel()); without one, a filter that never mentions VLAN
 * compiles all the same. @snaplen: what it returns for a packet that passes (0:
 * everything). Returns the number of instructions, at most @max, or -EINVAL
 * with the reason in @error.
 */
int filter_compile_kernel(const char *text, uint32_t snaplen,
			  struct sock_filter *program, uint32_t max,
			  char *error);

/*
 * To be called with CAP_SYS_ADMIN and CAP_NET_ADMIN by the short-lived process
 * that parses the configuration, before it drops them. Moves the process into
 * an empty network namespace. Returns 0 or -errno.
 */
int filter_prepare_kernel(void);

#endif
