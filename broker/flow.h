/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The symmetric flow hash: the same value for both directions of a flow, on
 * every source, so that consumers and groups can use it instead of parsing.
 */
#ifndef NETRINGD_FLOW_H
#define NETRINGD_FLOW_H

#include <stdint.h>

/*
 * Hashes what identifies the flow of a packet of @link_type (DLT_EN10MB,
 * DLT_RAW, DLT_LINUX_SLL, DLT_NULL ...; of an unknown one: 0):
 *   IPv4 and IPv6 (behind its extension headers), also behind up to three VLAN
 *   tags: addresses, protocol, and for TCP, UDP and SCTP the ports;
 *   any fragment: addresses and protocol only, so that all fragments of a
 *   packet go together (and apart from the unfragmented packets of the flow);
 *   anything else on Ethernet: the pair of MAC addresses.
 * Reads no byte beyond @caplen.
 */
uint32_t flow_hash(const uint8_t *data, uint32_t caplen, uint16_t link_type);

/* Ethernet, IPv6, ports: what a hash is made of, without tags and options. */
#define FLOW_BYTES 58

/*
 * How long the headers of a packet are: up to the end of its TCP, UDP, SCTP,
 * ICMP or ICMPv6 header, or of what comes before where there is none (another
 * protocol, a later fragment, not IP). At most @caplen. Of an unknown link
 * type: 0.
 */
uint32_t flow_headers(const uint8_t *data, uint32_t caplen, uint16_t link_type);

#endif
