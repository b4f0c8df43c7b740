/* SPDX-License-Identifier: BSD-2-Clause */
/* A pcap-filter(7) expression that dump applies to each packet itself. */
#ifndef NETRING_TOOL_MATCH_H
#define NETRING_TOOL_MATCH_H

#include <stdbool.h>
#include <stdint.h>

struct match;

/*
 * Compiles @text for packets of @link_type (LINKTYPE_). Returns NULL with the
 * reason in @error, PCAP_ERRBUF_SIZE bytes.
 */
struct match *match_new(const char *text, uint16_t link_type, char *error);
void match_free(struct match *match);

bool match_passes(const struct match *match, const uint8_t *data,
		  uint32_t caplen, uint32_t wirelen);

#endif
