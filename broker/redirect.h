/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What redirect.bpf.c puts in front of each frame, so that the lane reads one
 * cache line of a packet and no byte of its contents. The frame may be at any
 * address: copied out before it is read.
 */
#ifndef NETRINGD_REDIRECT_H
#define NETRINGD_REDIRECT_H

struct redirect_meta {
	unsigned long long ts_ns; /* TAI; with CLOCK_HARDWARE the NIC's */
	unsigned int flow_hash;
	unsigned short vlan_tci;
	unsigned short vlan_tpid;
	unsigned short flags; /* as in struct nr_record */
	unsigned short reserved;
	/*
	 * Drawn anew for each program that is attached. A frame without it
	 * comes from a driver that leaves no room in front.
	 */
	unsigned int magic;
};

/* Of a queue: what nobody took. A cache line, as queues have each a CPU. */
struct redirect_passed {
	unsigned long long packets;
	unsigned long long reserved[7];
};

/* Of NR_*, which a BPF program cannot include; source_xdp.c compares them. */
#define REDIRECT_TO_HOST 0u
#define REDIRECT_BROADCAST 1u
#define REDIRECT_MULTICAST 2u
#define REDIRECT_OTHER_HOST 3u
#define REDIRECT_DIRECTION_UNKNOWN 7u
#define REDIRECT_CLOCK_HARDWARE 0x0040u
#define REDIRECT_VLAN 0x0100u
#define REDIRECT_VLAN_IN_BAND 0x0200u

#endif
