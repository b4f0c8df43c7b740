/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Test traces: capture files whose every packet is known. A packet is a pure
 * function of the trace's description and its number, so a test can say what
 * the n-th one must be without having kept it.
 */
#ifndef NETRING_TESTS_TRACE_H
#define NETRING_TESTS_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#define TRACE_SIZE_MAX (256u << 10)
#define TRACE_INTERFACES_MAX 8

#define TRACE_ETHERNET 1
#define TRACE_RAW 101
#define TRACE_SLL 113

enum trace_format { TRACE_PCAP, TRACE_PCAPNG };

struct trace_interface {
	uint16_t link_type; /* TRACE_ETHERNET, _RAW or _SLL */
	bool has_tsresol;
	uint8_t tsresol;  /* as in the file: 9, or 0x80 | 20 */
	int64_t tsoffset; /* seconds; written unless 0 */
};

struct trace {
	enum trace_format format;
	bool is_big_endian;
	bool is_nano; /* pcap: ns instead of us */
	uint64_t seed;
	uint32_t packets;
	uint32_t size_min; /* of a packet; more where its headers need it */
	uint32_t size_max;
	uint32_t flows; /* different ones, half of them IPv6 */
	uint64_t start_ns;
	uint64_t gap_ns;	 /* between two packets */
	unsigned vlan_percent;	 /* of Ethernet packets: one or two tags */
	unsigned cut_percent;	 /* caplen < wirelen */
	unsigned simple_percent; /* pcapng: in a block without a time stamp */
	bool has_direction;	 /* pcapng: some say their direction */
	bool has_noise; /* pcapng: blocks that are no packets between */
	uint32_t interface_count;
	struct trace_interface interfaces[TRACE_INTERFACES_MAX];
};

/*
 * A packet, as the source must give it. Behind its transport header it carries
 * its number, 4 bytes in network order, for tests that see only bytes.
 */
struct trace_packet {
	uint8_t data[TRACE_SIZE_MAX]; /* all of wirelen, cut or not */
	uint64_t ts_ns;		      /* rounded to what the file can say */
	uint32_t caplen;
	uint32_t wirelen;
	uint32_t flow; /* its flow's number */
	uint16_t link_type;
	uint16_t interface;
	uint16_t vlan_tci;
	uint16_t vlan_tpid;  /* 0: no tag */
	uint16_t flags;	     /* NR_* */
	uint64_t time_units; /* for the writer: of the interface's resolution */
	uint32_t epb_flags;
	bool is_simple;
};

/* Whole Ethernet packets of 64 to 1514 bytes in 100 flows, a pcap file. */
void trace_init(struct trace *trace, uint32_t packets, uint64_t seed);

/* @packet: large; not for the stack of a thread. */
void trace_packet(const struct trace *trace, uint32_t number,
		  struct trace_packet *packet);

/* Writes the file at @path, or to @fd (lent). Returns 0 or -errno. */
int trace_write(const struct trace *trace, const char *path);
int trace_write_fd(const struct trace *trace, int fd);

#endif
