/* SPDX-License-Identifier: BSD-2-Clause */
/* What the record knows stands first; the bytes are for decode.c. */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "packet_line.h"

static const char *direction_word(const struct nr_record *record)
{
	static const char *const words[] = {
		[NR_TO_HOST] = "in",	      [NR_BROADCAST] = "broadcast",
		[NR_MULTICAST] = "multicast", [NR_OTHER_HOST] = "other",
		[NR_OUTGOING] = "out",
	};
	unsigned direction = nr_record_direction(record);

	return direction < sizeof(words) / sizeof(words[0]) ? words[direction] :
							      "-";
}

/* Local time of a second; the same one comes many times in a row. */
static const char *clock_text(time_t second)
{
	static char text[16];
	static time_t last = -1;
	struct tm tm;

	if (second == last)
		return text;
	if (!localtime_r(&second, &tm) ||
	    !strftime(text, sizeof(text), "%H:%M:%S", &tm))
		snprintf(text, sizeof(text), "??:??:??");
	last = second;
	return text;
}

size_t packet_line(char *out, size_t size, const struct nr_record *record,
		   const uint8_t *data, uint16_t link_type)
{
	size_t at = (size_t)snprintf(
		out, size, "%s.%09" PRIu32 " %" PRIu32,
		clock_text((time_t)(record->ts_ns / 1000000000u)),
		(uint32_t)(record->ts_ns % 1000000000u), record->caplen);

	if (record->wirelen != record->caplen)
		at += (size_t)snprintf(out + at, size - at, "/%" PRIu32,
				       record->wirelen);
	at += (size_t)snprintf(out + at, size - at, " %s ",
			       direction_word(record));
	/* A tag that is also in the bytes is shown where it is there. */
	if ((record->flags & NR_VLAN) && !(record->flags & NR_VLAN_IN_BAND))
		at += (size_t)snprintf(out + at, size - at, "vlan %u ",
				       record->vlan_tci & 0xfffu);
	at += (size_t)decode_packet(out + at, size - at - 1, data,
				    record->caplen, link_type);
	out[at++] = '\n';
	return at;
}
