/* SPDX-License-Identifier: BSD-2-Clause */
/* A packet in a few words. */
#ifndef NETRING_TOOL_DECODE_H
#define NETRING_TOOL_DECODE_H

#include <stddef.h>
#include <stdint.h>

/* An @out of this size holds the words of any packet. */
#define DECODE_MAX 1024

/*
 * Describes a packet of @link_type (LINKTYPE_; DLT_RAW is known too) on one
 * line: Ethernet with VLAN tags, ARP, IPv4, IPv6, TCP, UDP, ICMP; of anything
 * else what it says it is. Reads no byte beyond @caplen; "[cut]" where one was
 * needed. The text is printable ASCII, cut to @size, always terminated.
 * Returns its length.
 */
int decode_packet(char *out, size_t size, const uint8_t *data, uint32_t caplen,
		  uint16_t link_type);

#endif
