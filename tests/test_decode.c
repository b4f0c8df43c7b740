/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * decode_packet() against hostile bytes: each packet ends where a page without
 * access begins, so a read beyond caplen is a SIGSEGV.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "../tools/decode.c" /* a program: there is no library to link */

#define ETHERNET 1
#define MACS "\x02\0\0\0\0\x02\x02\0\0\0\0\x01"
#define IP4(length, fragment, protocol)                                        \
	"\x45\0" length "\x12\x34" fragment "\x40" protocol                    \
	"\0\0\x0a\0\0\x01\x0a\0\0\x02"
#define IP6(length, next)                                                      \
	"\x60\0\0\0" length next "\x40"                                        \
	"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"                           \
	"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02"
#define TCP "\x04\xd2\0\x50\0\0\0\x07\0\0\0\x09\x50\x12\x10\0\0\0\0\0"
#define UDP "\xd4\x31\0\x35\0\x0c\0\0ABCD"
#define ECHO6 "\x80\0\0\0\0\x11\0\x03"

struct sample {
	const char *words;
	const char *bytes;
	uint32_t length;
	uint16_t link_type;
};

#define SAMPLE(link, bytes, words)                                             \
	{                                                                      \
		words, bytes, sizeof(bytes) - 1, link                          \
	}

static const struct sample samples[] = {
	SAMPLE(ETHERNET,
	       MACS "\x08\0" IP4("\0\x2d", "\0\0", "\x06") TCP "hello",
	       "IP 10.0.0.1.1234 > 10.0.0.2.80: "
	       "tcp [S.] seq 7 ack 9 win 4096 len 5"),
	SAMPLE(ETHERNET,
	       MACS "\x08\0" IP4("\0\x20", "\0\0", "\x11") UDP "\0\0\0\0\0\0",
	       "IP 10.0.0.1.54321 > 10.0.0.2.53: udp len 4"),
	SAMPLE(ETHERNET,
	       MACS "\x81\0\0\x64\x08\0" IP4("\0\x1c", "\0\0",
					     "\x01") "\x08\0\0\0\0\x05\0\x06",
	       "vlan 100 IP 10.0.0.1 > 10.0.0.2: icmp echo request id 5 seq 6"),
	SAMPLE(ETHERNET,
	       MACS "\x88\xa8\0\x0a\x81\0\x60\0\x86\xdd" IP6("\0\x08", "\x3a")
		       ECHO6,
	       "vlan 10 vlan 0 pri 3 IP6 2001:db8::1 > 2001:db8::2: "
	       "icmp6 echo request id 17 seq 3"),
	SAMPLE(ETHERNET,
	       MACS "\x86\xdd" IP6("\0\x24", "\0") "\x3c\0\0\0\0\0\0\0"
						   "\x2c\0\0\0\0\0\0\0"
						   "\x11\0\0\x01\0\0\0\x63" UDP,
	       "IP6 2001:db8::1.54321 > 2001:db8::2.53: udp len 4 "
	       "frag 99 offset 0+"),
	SAMPLE(ETHERNET,
	       MACS "\x08\0" IP4("\0\x1c", "\0\xb9", "\x11") "12345678",
	       "IP 10.0.0.1 > 10.0.0.2: proto 17 frag 4660 offset 1480"),
	SAMPLE(ETHERNET,
	       MACS
	       "\x08\x06\0\x01\x08\0\x06\x04\0\x01\x02\0\0\0\0\x01\x0a\0\0\x01"
	       "\0\0\0\0\0\0\x0a\0\0\x02",
	       "ARP who-has 10.0.0.2 tell 10.0.0.1"),
	SAMPLE(ETHERNET, MACS "\x88\xcc\x02\x07",
	       "ethertype 0x88cc LLDP 02:00:00:00:00:01 > 02:00:00:00:00:02"),
	SAMPLE(ETHERNET, MACS "\0\x26\x42\x42\x03",
	       "802.3 len 38 02:00:00:00:00:01 > 02:00:00:00:00:02"),
	SAMPLE(ETHERNET,
	       MACS "\x08\0\x65"
		    "1234567890123456789",
	       "IP with a bad header: version 6, header 20, length 12851"),
	SAMPLE(101, IP6("\0\x0c", "\x11") UDP,
	       "IP6 2001:db8::1.54321 > 2001:db8::2.53: udp len 4"),
	SAMPLE(12, IP4("\0\x20", "\0\0", "\x11") UDP,
	       "IP 10.0.0.1.54321 > 10.0.0.2.53: udp len 4"),
	SAMPLE(113,
	       "\0\0\0\x01\0\x06\x02\0\0\0\0\x01\0\0\x08\0" IP4("\0\x20",
								"\0\0", "\x84"),
	       "IP 10.0.0.1 > 10.0.0.2: proto 132 len 12"),
	SAMPLE(276,
	       "\x08\0\0\0\0\0\0\x02\0\x01\0\x06\x02\0\0\0\0\x01\0\0" IP4(
		       "\0\x20", "\0\0", "\x11") UDP,
	       "IP 10.0.0.1.54321 > 10.0.0.2.53: udp len 4"),
	SAMPLE(0, "\x02\0\0\0" IP4("\0\x20", "\0\0", "\x11") UDP,
	       "IP 10.0.0.1.54321 > 10.0.0.2.53: udp len 4"),
	SAMPLE(147, "?", "link type 147"),
};

#define SAMPLES (sizeof(samples) / sizeof(samples[0]))

/* The end of a page that is followed by one nobody may read. */
static uint8_t *guarded_end(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(pages, MAP_FAILED);
	cr_assert_eq(mprotect(pages + page, page, PROT_NONE), 0);
	return pages + page;
}

static void expect_printable(const char *text, int length)
{
	cr_assert_eq(strlen(text), (size_t)length);
	for (int i = 0; i < length; i++)
		cr_assert(isprint((unsigned char)text[i]), "byte 0x%02x in %s",
			  (unsigned char)text[i], text);
}

static void decode_guarded(uint8_t *end, const void *bytes, uint32_t length,
			   uint16_t link_type)
{
	char out[DECODE_MAX];
	uint8_t *data = end - length;

	memcpy(data, bytes, length);
	expect_printable(out, decode_packet(out, sizeof(out), data, length,
					    link_type));
}

Test(decode, says_what_is_in_a_packet)
{
	for (size_t i = 0; i < SAMPLES; i++) {
		const struct sample *s = &samples[i];
		char out[DECODE_MAX];

		decode_packet(out, sizeof(out), (const uint8_t *)s->bytes,
			      s->length, s->link_type);
		cr_expect_str_eq(out, s->words);
	}
}

Test(decode, reads_nothing_beyond_caplen)
{
	uint8_t *end = guarded_end();

	for (size_t i = 0; i < SAMPLES; i++)
		for (uint32_t n = 0; n <= samples[i].length; n++)
			decode_guarded(end, samples[i].bytes, n,
				       samples[i].link_type);
}

Test(decode, says_where_a_packet_was_cut)
{
	const struct sample *s = &samples[0];
	char out[DECODE_MAX];

	decode_packet(out, sizeof(out), (const uint8_t *)s->bytes, 14 + 20 + 10,
		      ETHERNET);
	cr_expect_str_eq(out, "IP 10.0.0.1.1234 > 10.0.0.2.80: tcp [cut]");
	decode_packet(out, sizeof(out), (const uint8_t *)s->bytes, 14 + 10,
		      ETHERNET);
	cr_expect_str_eq(out, "IP [cut]");
	decode_packet(out, sizeof(out), (const uint8_t *)s->bytes, 13,
		      ETHERNET);
	cr_expect_str_eq(out, "Ethernet [cut]");
}

/* Each byte of each packet set to values that lengths and types dislike. */
Test(decode, survives_damaged_packets)
{
	static const uint8_t values[] = { 0, 1, 0x0f, 0x2c, 0x7f, 0x80, 0xff };
	uint8_t *end = guarded_end();
	uint8_t bytes[256];

	for (size_t i = 0; i < SAMPLES; i++) {
		memcpy(bytes, samples[i].bytes, samples[i].length);
		for (uint32_t at = 0; at < samples[i].length; at++) {
			uint8_t was = bytes[at];

			for (size_t v = 0; v < sizeof(values); v++) {
				bytes[at] = values[v];
				decode_guarded(end, bytes, samples[i].length,
					       samples[i].link_type);
			}
			bytes[at] = was;
		}
	}
}

Test(decode, survives_random_bytes_on_every_link_type)
{
	uint8_t *end = guarded_end();
	uint8_t bytes[128];

	srandom(1);
	for (unsigned link = 0; link < 300; link++)
		for (unsigned round = 0; round < 200; round++) {
			for (size_t i = 0; i < sizeof(bytes); i++)
				bytes[i] = (uint8_t)random();
			decode_guarded(end, bytes,
				       (uint32_t)random() % sizeof(bytes),
				       (uint16_t)link);
		}
}

Test(decode, cuts_its_words_to_the_room_there_is)
{
	const struct sample *s = &samples[3];
	char *end = (char *)guarded_end();

	for (size_t size = 1; size <= strlen(s->words) + 1; size++) {
		char *out = end - size;
		int length = decode_packet(out, size, (const uint8_t *)s->bytes,
					   s->length, s->link_type);

		cr_assert_eq((size_t)length, size - 1);
		cr_assert_eq(strncmp(out, s->words, size - 1), 0);
		cr_assert_eq(out[size - 1], '\0');
	}
	cr_assert_eq(decode_packet(end, 0, (const uint8_t *)s->bytes, s->length,
				   s->link_type),
		     0);
}
