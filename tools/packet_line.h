/* SPDX-License-Identifier: BSD-2-Clause */
/* One line of text a packet. */
#ifndef NETRING_TOOL_PACKET_LINE_H
#define NETRING_TOOL_PACKET_LINE_H

#include <netring.h>

#include "decode.h"

#define PACKET_LINE_MAX (DECODE_MAX + 128)

/*
 * "12:00:00.123456789 60 in IP 10.0.0.1 > ...", and a new line. @size: at least
 * PACKET_LINE_MAX. Returns the length. Not for several threads.
 */
size_t packet_line(char *out, size_t size, const struct nr_record *record,
		   const uint8_t *data, uint16_t link_type);

#endif
