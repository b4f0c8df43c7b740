/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libpcap compiles for a link type as it is called in memory (DLT_), which for
 * a few old ones is not what it is called in files (LINKTYPE_).
 */
#include <stdio.h>
#include <stdlib.h>

#include <pcap/pcap.h>

#include "match.h"
#include "savefile.h"

struct match {
	struct bpf_program program;
};

static int dlt_of(uint16_t link_type)
{
	switch (link_type) {
	case 100:
		return DLT_ATM_RFC1483;
	case 101:
		return DLT_RAW;
	case 102:
		return DLT_SLIP_BSDOS;
	case 103:
		return DLT_PPP_BSDOS;
	case 106:
		return DLT_ATM_CLIP;
	default:
		return link_type;
	}
}

struct match *match_new(const char *text, uint16_t link_type, char *error)
{
	pcap_t *pcap = pcap_open_dead(dlt_of(link_type), SAVEFILE_SNAPLEN);
	struct match *match = calloc(1, sizeof(*match));

	snprintf(error, PCAP_ERRBUF_SIZE, "out of memory");
	if (pcap && match &&
	    pcap_compile(pcap, &match->program, text, 1, PCAP_NETMASK_UNKNOWN) <
		    0) {
		snprintf(error, PCAP_ERRBUF_SIZE, "%s", pcap_geterr(pcap));
		free(match);
		match = NULL;
	}
	if (pcap)
		pcap_close(pcap);
	return match;
}

void match_free(struct match *match)
{
	if (match)
		pcap_freecode(&match->program);
	free(match);
}

bool match_passes(const struct match *match, const uint8_t *data,
		  uint32_t caplen, uint32_t wirelen)
{
	return bpf_filter(match->program.bf_insns, data, wirelen, caplen) != 0;
}
