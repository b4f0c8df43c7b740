/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The replay source and its reader: every packet of every kind of file,
 * exactly, and from any other bytes at most words.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sys/mman.h>

#include <pcap/pcap.h>

#include <netring/layout.h>

#include "capture_file.h"
#include "flow.h"
#include "source.h"
#include "trace.h"

#define MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

static struct burst burst;
static struct trace_packet expected;

static int file_new(void)
{
	int fd = memfd_create("trace", MFD_CLOEXEC);

	cr_assert_geq(fd, 0);
	return fd;
}

static int file_of_bytes(const void *bytes, size_t size)
{
	int fd = file_new();

	cr_assert_eq(write(fd, bytes, size), (ssize_t)size);
	return fd;
}

static int file_of_trace(const struct trace *trace)
{
	int fd = file_new();

	cr_assert_eq(trace_write_fd(trace, fd), 0);
	return fd;
}

static size_t file_bytes(int fd, uint8_t *bytes, size_t room)
{
	ssize_t n = pread(fd, bytes, room, 0);

	cr_assert(n > 0 && (size_t)n < room);
	return (size_t)n;
}

static struct config_source config_of(enum config_rate mode, uint64_t rate,
				      bool preload, bool loop)
{
	static struct config_source config;

	memset(&config, 0, sizeof(config));
	config.rate_mode = mode;
	config.rate = rate;
	config.preload = preload;
	config.loop = loop;
	return config;
}

/* Takes @fd. */
static struct source *open_with(int fd, enum config_rate mode, uint64_t rate,
				bool preload, bool loop)
{
	static struct config_source config;
	struct source *source = NULL;
	char error[256] = "";
	int err;

	config = config_of(mode, rate, preload, loop);
	err = source_replay_new(&source, &config, fd, "trace.pcap", error);
	cr_assert_eq(err, 0, "%s", error);
	return source;
}

static int next_burst(struct source *source, uint32_t max, size_t bytes)
{
	return source->ops->burst(source, &burst, max, bytes);
}

/* stderr goes to a file while the log's words are of interest. */
static int log_begin(void)
{
	int fd = file_new();

	fflush(stderr);
	cr_assert_geq(dup2(fd, STDERR_FILENO), 0);
	return fd;
}

static const char *log_text(int fd)
{
	static char text[4096];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	text[n < 0 ? 0 : n] = '\0';
	return text;
}

/* ----------------------------------------------------------- every packet */

static void check_packet(const struct trace *trace, uint32_t number,
			 const struct packet *packet)
{
	trace_packet(trace, number, &expected);
	cr_assert_eq(burst.link_type, expected.link_type, "of %u", number);
	cr_assert_eq(packet->caplen, expected.caplen, "of %u", number);
	cr_assert_eq(packet->wirelen, expected.wirelen, "of %u", number);
	cr_assert_eq(packet->ts_ns, expected.ts_ns, "of %u: %lu, not %lu",
		     number, packet->ts_ns, expected.ts_ns);
	cr_assert_eq(packet->interface, expected.interface, "of %u", number);
	cr_assert_eq(packet->flags, expected.flags, "of %u: %x, not %x", number,
		     packet->flags, expected.flags);
	cr_assert_eq(packet->vlan_tci, expected.vlan_tci, "of %u", number);
	cr_assert_eq(packet->vlan_tpid, expected.vlan_tpid, "of %u", number);
	cr_assert_eq(memcmp(packet->data, expected.data, packet->caplen), 0);
	cr_assert_eq(packet->flow_hash, flow_hash(expected.data, packet->caplen,
						  expected.link_type));
}

/* Bursts of odd sizes, each inside its limits; returns their packets. */
static uint32_t check_round(const struct trace *trace, struct source *source)
{
	uint32_t number = 0;
	int n;

	for (uint32_t max = 1;; max = max * 5 % 307 % BURST_MAX + 1) {
		size_t room = 1000 + max * 50, bytes = 0;

		n = next_burst(source, max, room);
		if (n == SOURCE_NOTHING)
			continue;
		if (n < 0)
			break;
		cr_assert_eq((uint32_t)n, burst.count);
		cr_assert_leq(burst.count, max);
		for (uint32_t i = 0; i < burst.count; i++) {
			bytes += burst.packets[i].caplen;
			check_packet(trace, number++, &burst.packets[i]);
		}
		cr_assert(burst.count == 1 || bytes <= room);
		source->ops->done(source);
	}
	cr_assert_eq(n, SOURCE_IS_OVER);
	cr_assert_eq(next_burst(source, BURST_MAX, SIZE_MAX), SOURCE_IS_OVER);
	return number;
}

static void check_trace(const struct trace *trace)
{
	for (int preload = 0; preload <= 1; preload++) {
		struct source *source = open_with(file_of_trace(trace),
						  RATE_MAX, 0, preload, false);

		trace_packet(trace, 0, &expected);
		cr_assert_eq(source->link_type, expected.link_type);
		cr_assert(source->is_lossless);
		cr_assert_eq(source->ops->wait_fd(source), -1);
		cr_assert_eq(source->ops->wait_ns(source), 0);
		cr_assert_eq(check_round(trace, source), trace->packets);
		source->ops->free(source);
	}
}

Test(replay, gives_every_packet_of_pcap_in_both_orders_and_resolutions)
{
	struct trace trace;

	trace_init(&trace, 3000, 1);
	trace.vlan_percent = 20;
	trace.cut_percent = 20;
	for (int i = 0; i < 4; i++) {
		trace.is_big_endian = i & 1;
		trace.is_nano = i & 2;
		trace.interfaces[0].link_type =
			i == 3 ? TRACE_RAW : TRACE_ETHERNET;
		check_trace(&trace);
	}
}

static void trace_init_many(struct trace *trace, uint32_t packets)
{
	static const struct trace_interface interfaces[] = {
		{ TRACE_ETHERNET, false, 0, 0 },
		{ TRACE_ETHERNET, true, 9, 0 },
		{ TRACE_RAW, true, 3, -3600 },
		{ TRACE_RAW, true, 0x80 | 20, 1600000000 },
		{ TRACE_SLL, true, 0x80 | 30, 0 },
		{ TRACE_ETHERNET, true, 12, 1699999999 },
		{ TRACE_ETHERNET, true, 0, 86400 },
	};

	trace_init(trace, packets, 2);
	trace->format = TRACE_PCAPNG;
	trace->interface_count = sizeof(interfaces) / sizeof(interfaces[0]);
	memcpy(trace->interfaces, interfaces, sizeof(interfaces));
	trace->vlan_percent = 30;
	trace->cut_percent = 10;
	trace->simple_percent = 20;
	trace->has_direction = true;
	trace->has_noise = true;
}

Test(replay, gives_every_packet_of_pcapng_with_its_interface_time_and_direction)
{
	struct trace trace;

	trace_init_many(&trace, 5000);
	check_trace(&trace);
	trace.is_big_endian = true;
	check_trace(&trace);
}

/* 30 MB: the reader's buffer is filled again and again. */
Test(replay, gives_packets_of_64_KiB)
{
	struct trace trace;

	trace_init(&trace, 700, 3);
	trace.size_max = 65535 + 14;
	check_trace(&trace);
	trace_init_many(&trace, 700);
	trace.size_max = 65535 + 14;
	check_trace(&trace);
}

Test(replay, gives_a_packet_of_256_KiB_and_no_larger_one)
{
	struct trace trace;
	uint32_t caplen = CAPTURE_PACKET_MAX + 1;
	struct source *source;
	int fd;

	trace_init(&trace, 40, 4);
	trace.size_min = trace.size_max = TRACE_SIZE_MAX;
	check_trace(&trace);

	trace_init(&trace, 1, 4);
	fd = file_of_trace(&trace);
	cr_assert_eq(pwrite(fd, &caplen, 4, 24 + 8), 4);
	cr_assert_eq(ftruncate(fd, 1 << 20), 0);
	source = open_with(fd, RATE_MAX, 0, false, false);
	cr_assert_eq(next_burst(source, 1, 1), SOURCE_IS_OVER);
	source->ops->free(source);
}

Test(replay, puts_one_link_type_in_a_burst)
{
	struct trace trace;
	struct source *source;
	unsigned changes = 0;
	uint16_t last = 0;

	trace_init_many(&trace, 500);
	source = open_with(file_of_trace(&trace), RATE_MAX, 0, true, false);
	while (next_burst(source, BURST_MAX, SIZE_MAX) > 0) {
		cr_assert_neq(burst.link_type, last);
		last = burst.link_type;
		changes++;
	}
	cr_assert_gt(changes, 100);
	source->ops->free(source);
}

Test(replay, the_first_packet_always_fits)
{
	struct trace trace;
	struct source *source;

	trace_init(&trace, 3, 1);
	source = open_with(file_of_trace(&trace), RATE_MAX, 0, false, false);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(next_burst(source, BURST_MAX, 0), 1);
	source->ops->free(source);
}

/* ------------------------------------------------------------------ libpcap */

/* What libpcap reads from the same file. */
static void check_with_libpcap(const char *path)
{
	char error[PCAP_ERRBUF_SIZE];
	struct source *source = open_with(open(path, O_RDONLY | O_CLOEXEC),
					  RATE_MAX, 0, false, false);
	pcap_t *pcap = pcap_open_offline_with_tstamp_precision(
		path, PCAP_TSTAMP_PRECISION_NANO, error);
	struct pcap_pkthdr *header;
	const u_char *data;

	cr_assert_not_null(pcap, "%s", error);
	while (next_burst(source, BURST_MAX, SIZE_MAX) > 0) {
		for (uint32_t i = 0; i < burst.count; i++) {
			const struct packet *p = &burst.packets[i];

			cr_assert_eq(pcap_next_ex(pcap, &header, &data), 1);
			cr_assert_eq(p->caplen, header->caplen);
			cr_assert_eq(p->wirelen, header->len);
			cr_assert_eq(p->ts_ns,
				     (uint64_t)header->ts.tv_sec * NS_PER_S +
					     (uint64_t)header->ts.tv_usec);
			cr_assert_eq(memcmp(p->data, data, p->caplen), 0);
		}
	}
	cr_assert_eq(pcap_next_ex(pcap, &header, &data), PCAP_ERROR_BREAK);
	pcap_close(pcap);
	source->ops->free(source);
}

static void make_path(char *path)
{
	int fd;

	strcpy(path, "/tmp/netring-test-XXXXXX");
	fd = mkstemp(path);
	cr_assert_geq(fd, 0);
	close(fd);
}

static void dump_with_libpcap(const char *path, u_int precision)
{
	pcap_t *pcap = pcap_open_dead_with_tstamp_precision(
		DLT_EN10MB, CAPTURE_PACKET_MAX, precision);
	pcap_dumper_t *dumper = pcap_dump_open(pcap, path);
	struct trace trace;

	cr_assert_not_null(dumper);
	trace_init(&trace, 2000, 9);
	trace.cut_percent = 30;
	trace.gap_ns = 1234567891;
	for (uint32_t i = 0; i < trace.packets; i++) {
		struct pcap_pkthdr header;

		trace_packet(&trace, i, &expected);
		header.caplen = expected.caplen;
		header.len = expected.wirelen;
		header.ts.tv_sec = (time_t)(expected.ts_ns / NS_PER_S);
		header.ts.tv_usec = (suseconds_t)(expected.ts_ns % NS_PER_S);
		if (precision == PCAP_TSTAMP_PRECISION_MICRO)
			header.ts.tv_usec /= 1000;
		pcap_dump((u_char *)dumper, &header, expected.data);
	}
	pcap_dump_close(dumper);
	pcap_close(pcap);
}

Test(replay, reads_what_libpcap_writes)
{
	char path[32];

	make_path(path);
	dump_with_libpcap(path, PCAP_TSTAMP_PRECISION_MICRO);
	check_with_libpcap(path);
	dump_with_libpcap(path, PCAP_TSTAMP_PRECISION_NANO);
	check_with_libpcap(path);
	unlink(path);
}

/* libpcap wants one link type and snap length in a file. */
Test(replay, reads_pcapng_as_libpcap_does)
{
	struct trace trace;
	char path[32];

	make_path(path);
	trace_init_many(&trace, 2000);
	trace.simple_percent = 0;
	for (uint32_t i = 0; i < trace.interface_count; i++)
		trace.interfaces[i].link_type = TRACE_ETHERNET;
	/* libpcap rounds powers of two in its own way */
	trace.interfaces[3].tsresol = 6;
	trace.interfaces[4].tsresol = 9;
	for (int i = 0; i <= 1; i++) {
		trace.is_big_endian = i;
		cr_assert_eq(trace_write(&trace, path), 0);
		check_with_libpcap(path);
	}
	unlink(path);
}

/* ------------------------------------------------------------- hand-written */

struct bytes {
	uint8_t data[4096];
	size_t size;
};

static void put(struct bytes *b, const void *data, size_t size)
{
	cr_assert_leq(b->size + size, sizeof(b->data));
	memcpy(b->data + b->size, data, size);
	b->size += size;
}

static void put32(struct bytes *b, uint32_t value)
{
	put(b, &value, sizeof(value));
}

static void put64(struct bytes *b, uint64_t value)
{
	put(b, &value, sizeof(value));
}

static void put_section(struct bytes *b)
{
	put32(b, 0x0a0d0d0a);
	put32(b, 28);
	put32(b, 0x1a2b3c4d);
	put32(b, 1);
	put64(b, UINT64_MAX);
	put32(b, 28);
}

static void put_interface(struct bytes *b, uint16_t link_type, uint32_t snaplen,
			  uint8_t tsresol, int64_t tsoffset)
{
	put32(b, 1);
	put32(b, 44);
	put32(b, link_type);
	put32(b, snaplen);
	put32(b, 9 | 1 << 16);
	put32(b, tsresol);
	put32(b, 14 | 8 << 16);
	put64(b, (uint64_t)tsoffset);
	put32(b, 0);
	put32(b, 44);
}

/* Four bytes of packet. */
static void put_packet(struct bytes *b, uint32_t interface, uint64_t units)
{
	put32(b, 6);
	put32(b, 36);
	put32(b, interface);
	put32(b, (uint32_t)(units >> 32));
	put32(b, (uint32_t)units);
	put32(b, 4);
	put32(b, 4);
	put32(b, 0xabababab);
	put32(b, 36);
}

static struct source *open_bytes(const struct bytes *b)
{
	return open_with(file_of_bytes(b->data, b->size), RATE_MAX, 0, false,
			 false);
}

/* Worked out by hand, apart from the writer's arithmetic. */
Test(replay, time_stamps_of_any_resolution_are_exact)
{
	static const struct {
		uint8_t tsresol;
		int64_t tsoffset;
		uint64_t units;
		uint64_t ts_ns;
	} table[] = {
		{ 0, 0, 1700000000, UINT64_C(1700000000000000000) },
		{ 3, 0, 1700000000123, UINT64_C(1700000000123000000) },
		{ 6, 0, 1700000000123456, UINT64_C(1700000000123456000) },
		{ 9, 0, UINT64_C(1700000000123456789),
		  UINT64_C(1700000000123456789) },
		{ 9, -1, 1000000001, 1 },
		{ 12, 1700000000, 999999999999, UINT64_C(1700000000999999999) },
		{ 19, 0, UINT64_MAX, 1844674407 },
		{ 28, 0, UINT64_MAX, 1 },
		{ 29, 0, UINT64_MAX, 0 },
		{ 127, 5, UINT64_MAX, 5000000000 },
		{ 0x80, 0, 3, 3000000000 },
		{ 0x80 | 1, 0, 3, 1500000000 },
		{ 0x80 | 10, 0, 1024 + 1, 1000976562 },
		{ 0x80 | 32, 0, UINT64_C(1700000000) << 32 | 0x80000000,
		  UINT64_C(1700000000500000000) },
		{ 0x80 | 64, 7, UINT64_C(1) << 63, 7500000000 },
		{ 0x80 | 127, 0, UINT64_MAX, 0 },
		/* out of what 64 bits of ns can say */
		{ 0, 0, UINT64_MAX, UINT64_MAX },
		{ 6, INT64_MIN, 1, 0 },
		{ 6, INT64_MAX, 1, UINT64_MAX },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct bytes b = { .size = 0 };
		struct source *source;

		put_section(&b);
		put_interface(&b, 1, 0, table[i].tsresol, table[i].tsoffset);
		put_packet(&b, 0, table[i].units);
		source = open_bytes(&b);
		cr_assert_eq(next_burst(source, 1, 1), 1);
		cr_expect_eq(burst.packets[0].ts_ns, table[i].ts_ns,
			     "row %zu: %lu", i, burst.packets[0].ts_ns);
		source->ops->free(source);
	}
}

Test(replay, a_simple_packet_is_cut_by_its_interface)
{
	struct bytes b = { .size = 0 };
	struct source *source;

	put_section(&b);
	put_interface(&b, 1, 5, 6, 0);
	put32(&b, 3);
	put32(&b, 24);
	put32(&b, 1000);
	put(&b, "01234567", 8);
	put32(&b, 24);
	source = open_bytes(&b);
	cr_assert_eq(next_burst(source, 1, 1), 1);
	cr_expect_eq(burst.packets[0].caplen, 5);
	cr_expect_eq(burst.packets[0].wirelen, 1000);
	cr_expect_eq(burst.packets[0].ts_ns, 0);
	cr_expect(burst.packets[0].flags & NR_TRUNCATED);
	source->ops->free(source);
}

Test(replay, a_new_section_numbers_its_interfaces_anew)
{
	struct bytes b = { .size = 0 };
	struct source *source;

	put_section(&b);
	put_interface(&b, 1, 0, 0, 0);
	put_interface(&b, 101, 0, 0, 0);
	put_packet(&b, 1, 1);
	put_section(&b);
	put_interface(&b, 113, 0, 0, 0);
	put_packet(&b, 0, 2);
	put_packet(&b, 1, 3);
	source = open_bytes(&b);
	cr_assert_eq(next_burst(source, 9, 99), 1);
	cr_expect_eq(burst.link_type, 101);
	cr_expect_eq(burst.packets[0].interface, 1);
	cr_assert_eq(next_burst(source, 9, 99), 1);
	cr_expect_eq(burst.link_type, 113);
	cr_expect_eq(burst.packets[0].ts_ns, 2 * NS_PER_S);
	/* the second section has one interface only */
	cr_expect_eq(next_burst(source, 9, 99), SOURCE_IS_OVER);
	source->ops->free(source);
}

/* 3 GiB that are a hole, and nobody reads it. */
Test(replay, steps_over_a_block_of_gigabytes)
{
	struct bytes b = { .size = 0 }, end = { .size = 0 };
	uint32_t length = 3u << 30;
	struct source *source;
	int fd;

	put_section(&b);
	put_interface(&b, 1, 0, 9, 0);
	put_packet(&b, 0, 1);
	put32(&b, 0x0bad);
	put32(&b, length);
	fd = file_of_bytes(b.data, b.size);
	put_packet(&end, 0, 2);
	cr_assert_eq(pwrite(fd, end.data, end.size, (off_t)b.size - 8 + length),
		     (ssize_t)end.size);
	source = open_with(fd, RATE_MAX, 0, false, false);
	cr_assert_eq(next_burst(source, 9, 99), 1);
	while (next_burst(source, 9, 99) == SOURCE_NOTHING)
		;
	cr_expect_eq(burst.count, 1);
	cr_expect_eq(burst.packets[0].ts_ns, 2);
	source->ops->free(source);
}

/* -------------------------------------------------------- what is no capture
 */

static void expect_refused(const void *bytes, size_t size, const char *reason)
{
	struct config_source config = config_of(RATE_MAX, 0, false, false);
	int fd = file_of_bytes(bytes, size);
	struct source *source;
	char error[256] = "";

	cr_expect_eq(source_replay_new(&source, &config, fd, "some/file",
				       error),
		     -EINVAL);
	cr_expect_str_eq(error, reason);
	cr_expect(fcntl(fd, F_GETFD) == -1, "the descriptor is taken");
}

Test(replay, refuses_what_is_no_capture_in_words)
{
	static const uint8_t old[24] = { 0xd4, 0xc3, 0xb2, 0xa1, 1, 0, 9 };

	expect_refused("", 0,
		       "some/file: not a pcap or pcapng file: it is empty");
	expect_refused("#!", 2,
		       "some/file: not a pcap or pcapng file: "
		       "starts with 0x2321");
	expect_refused("\x7f"
		       "ELF\2\1",
		       6,
		       "some/file: not a pcap or pcapng file: "
		       "starts with 0x7f454c46");
	expect_refused(old, 20,
		       "some/file: not a whole pcap file: it breaks off in "
		       "its header, after 20 of 24 bytes");
	expect_refused(old, 24,
		       "some/file: a pcap file of version 1.9; "
		       "it should be 2.4");
	expect_refused("\x0a\x0d\x0d\x0a", 4,
		       "some/file: not a whole pcapng file: it breaks off in "
		       "its header");
}

Test(replay, refuses_what_is_no_regular_file)
{
	struct config_source config = config_of(RATE_MAX, 0, false, false);
	struct source *source;
	char error[256] = "";
	int fds[2];

	cr_assert_eq(pipe(fds), 0);
	cr_expect_eq(source_replay_new(&source, &config, fds[0], "-", error),
		     -EINVAL);
	cr_expect_not_null(strstr(error, "not a regular file"));
	close(fds[1]);
}

Test(replay, of_a_file_without_packets_is_over_at_once_also_in_a_loop)
{
	struct trace trace;

	trace_init(&trace, 0, 1);
	trace.interfaces[0].link_type = TRACE_RAW;
	for (int i = 0; i < 8; i++) {
		struct source *source;

		trace.format = i & 1 ? TRACE_PCAPNG : TRACE_PCAP;
		source = open_with(file_of_trace(&trace), RATE_MAX, 0, i & 2,
				   i & 4);
		cr_expect_eq(source->link_type, TRACE_RAW);
		cr_expect_eq(next_burst(source, 9, 99), SOURCE_IS_OVER);
		source->ops->free(source);
	}
}

/* ------------------------------------------------------------------- damage */

/* All that comes, in one number, which must be the same however it is read. */
static uint64_t read_all(int fd, bool preload, uint64_t *packets)
{
	struct config_source config = config_of(RATE_MAX, 0, preload, false);
	struct source *source;
	char error[256] = "";
	uint64_t sum = 0;
	int n;

	*packets = 0;
	if (source_replay_new(&source, &config, dup(fd), "damaged", error)) {
		cr_assert(!strncmp(error, "damaged: ", 9), "%s", error);
		return 1;
	}
	while ((n = next_burst(source, BURST_MAX, 1 << 20)) >= 0) {
		for (int i = 0; i < n; i++) {
			const struct packet *p = &burst.packets[i];

			for (uint32_t at = 0; at < p->caplen; at++)
				sum = sum * 31 + p->data[at];
			cr_assert_leq(p->caplen, p->wirelen);
			sum = sum * 31 + p->ts_ns + p->flags + p->interface;
			sum = sum * 31 + p->flow_hash + burst.link_type;
		}
		*packets += (uint64_t)n;
	}
	cr_assert_eq(n, SOURCE_IS_OVER);
	source->ops->free(source);
	return sum;
}

static uint64_t check_reading(int fd)
{
	uint64_t streamed, preloaded, sum = read_all(fd, false, &streamed);

	cr_assert_eq(read_all(fd, true, &preloaded), sum);
	cr_assert_eq(streamed, preloaded);
	return streamed;
}

static void init_small(struct trace *trace, int kind)
{
	if (kind == 0)
		trace_init(trace, 20, 7);
	else
		trace_init_many(trace, 20);
	trace->size_max = 120;
	trace->is_big_endian = kind == 2;
}

Test(replay, of_a_file_cut_anywhere_ends_cleanly)
{
	static uint8_t bytes[1 << 16];

	log_begin();
	for (int kind = 0; kind <= 2; kind++) {
		struct trace trace;
		uint64_t last = 0, packets = 0;
		size_t size;
		int fd;

		init_small(&trace, kind);
		fd = file_of_trace(&trace);
		size = file_bytes(fd, bytes, sizeof(bytes));
		for (size_t length = 0; length <= size; length++) {
			int cut = file_of_bytes(bytes, length);

			packets = check_reading(cut);
			cr_assert(packets == last || packets == last + 1);
			last = packets;
			close(cut);
		}
		cr_assert_eq(packets, 20);
		close(fd);
	}
}

Test(replay, says_where_a_file_breaks_off)
{
	struct trace trace;
	struct source *source;
	int log, fd;

	trace_init(&trace, 10, 1);
	trace.size_min = trace.size_max = 100;
	fd = file_of_trace(&trace);
	cr_assert_eq(ftruncate(fd, 24 + 3 * 116 + 16 + 60), 0);
	log = log_begin();
	source = open_with(fd, RATE_MAX, 0, false, true);
	cr_expect_eq(next_burst(source, 9, 9999), 3);
	cr_expect_str_eq(log_text(log), "");
	cr_expect_eq(next_burst(source, 9, 9999), SOURCE_IS_OVER);
	cr_expect_eq(next_burst(source, 9, 9999), SOURCE_IS_OVER);
	cr_expect_not_null(strstr(log_text(log),
				  "trace.pcap: packet 4, at byte 372: the "
				  "packet breaks off: 76 of 116 bytes are "
				  "there"),
			   "%s", log_text(log));
	cr_expect_null(strchr(strchr(log_text(log), '\n') + 1, '\n'),
		       "said once");
	source->ops->free(source);
}

/*
 * A file of a section, an interface and one good packet; then a word of the
 * packet behind it is a lie. Nothing of that packet comes.
 */
Test(replay, says_what_is_wrong_with_a_block)
{
	static const struct {
		unsigned word; /* of the second packet's block */
		uint32_t lie;
		const char *what;
	} table[] = {
		{ 1, 8, "a block of 8 bytes" },
		{ 1, 38, "a block of 38 bytes" },
		{ 1, 40, "the block breaks off: 36 of 40 bytes are there" },
		{ 1, 2 << 20, "a block of 2097152 bytes: more than 1048576" },
		{ 1, 28, "a block's two lengths differ: 28 and 4" },
		{ 2, 1, "it names interface 1 of 1" },
		{ 5, 5, "5 bytes captured in a block for 4" },
		{ 5, 262145, "262145 bytes captured: more than 262144" },
		{ 8, 40, "a block's two lengths differ: 36 and 40" },
		{ 0, 3, "" }, /* as a simple packet it is well-formed */
		{ 0, 0x0a0d0d0a, "a section without a byte order" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct bytes b = { .size = 0 };
		struct source *source;
		int log = log_begin();
		char line[160] = "";
		size_t at;

		put_section(&b);
		put_interface(&b, 1, 4, 9, 0);
		put_packet(&b, 0, 1);
		at = b.size;
		put_packet(&b, 0, 2);
		memcpy(b.data + at + 4 * table[i].word, &table[i].lie, 4);
		if (table[i].what[0])
			snprintf(line, sizeof(line),
				 "packet 2, at byte %zu: %s; nothing", at,
				 table[i].what);
		source = open_bytes(&b);
		cr_expect_eq(next_burst(source, 9, 99), line[0] ? 1 : 2);
		cr_expect_eq(next_burst(source, 9, 99), SOURCE_IS_OVER);
		cr_expect(line[0] ? strstr(log_text(log), line) != NULL :
				    log_text(log)[0] == '\0',
			  "row %zu: %s", i, log_text(log));
		source->ops->free(source);
		close(log);
	}
}

/* Blocks too short for what their type needs, though well-formed. */
Test(replay, says_that_a_block_is_too_short)
{
	static const struct {
		uint32_t words[5];
		const char *what;
	} table[] = {
		{ { 6, 20, 0, 0, 20 }, "a packet block of 20 bytes" },
		{ { 2, 20, 0, 0, 20 }, "a packet block of 20 bytes" },
		{ { 3, 12, 12 }, "a simple packet block of 12 bytes" },
		{ { 3, 20, 9, 0, 20 }, "9 bytes captured in a block for 4" },
		{ { 1, 16, 1, 16 }, "an interface block of 16 bytes" },
		{ { 0x0a0d0d0a, 20, 0x1a2b3c4d, 1, 20 },
		  "a section header of 20 bytes" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct bytes b = { .size = 0 };
		struct source *source;
		int log = log_begin();

		put_section(&b);
		put_interface(&b, 1, 0, 9, 0);
		put(&b, table[i].words, table[i].words[1]);
		/* what a reader that goes too far would take for its bytes */
		put_packet(&b, 0, 2);
		put_packet(&b, 0, 2);
		source = open_bytes(&b);
		cr_expect_eq(next_burst(source, 9, 99), SOURCE_IS_OVER);
		cr_expect_not_null(strstr(log_text(log), table[i].what),
				   "row %zu: %s", i, log_text(log));
		source->ops->free(source);
		close(log);
	}
}

/* A file that another process cuts while it is read: no SIGBUS. */
Test(replay, of_a_file_that_shrinks_ends_there)
{
	struct trace trace;
	struct source *source;
	int fd, n, total = 0;

	log_begin();
	trace_init(&trace, 10000, 1);
	fd = file_of_trace(&trace);
	source = open_with(dup(fd), RATE_MAX, 0, false, false);
	cr_assert_eq(ftruncate(fd, 5000), 0);
	while ((n = next_burst(source, BURST_MAX, SIZE_MAX)) >= 0)
		total += n;
	cr_expect_eq(n, SOURCE_IS_OVER);
	cr_expect(total > 100 && total < 10000);
	source->ops->free(source);
	close(fd);
}

static uint64_t random64(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* Single bits, whole bytes, and words that lie about a length. */
static void damage(uint8_t *bytes, size_t size, uint64_t *state)
{
	static const uint32_t lies[] = { 0,	     1,		 4,
					 0x7fffffff, 0xffffffff, 0xfffffffc,
					 0x40000,    0x40004,	 6 };

	for (uint64_t n = random64(state) % 8 + 1; n; n--) {
		size_t at = random64(state) % (size - 4);

		switch (random64(state) % 3) {
		case 0:
			bytes[at] ^= (uint8_t)(1 << random64(state) % 8);
			break;
		case 1:
			bytes[at] = (uint8_t)random64(state);
			break;
		default:
			memcpy(bytes + (at & ~3u), &lies[random64(state) % 9],
			       4);
		}
	}
}

Test(replay, survives_any_damage)
{
	static uint8_t whole[3][1 << 16], bytes[1 << 16];
	uint64_t seed = (uint64_t)time(NULL), state, packets = 0;
	const char *given = getenv("NETRING_TEST_SEED");
	size_t size[3];

	if (given)
		seed = strtoull(given, NULL, 0);
	state = seed;
	printf("NETRING_TEST_SEED=%llu\n", (unsigned long long)seed);
	fflush(stdout);
	for (int kind = 0; kind <= 2; kind++) {
		struct trace trace;
		int fd;

		init_small(&trace, kind);
		fd = file_of_trace(&trace);
		size[kind] = file_bytes(fd, whole[kind], sizeof(bytes));
		close(fd);
	}
	log_begin();
	for (int round = 0; round < 10000; round++) {
		int kind = round % 3, fd;

		memcpy(bytes, whole[kind], size[kind]);
		damage(bytes, size[kind], &state);
		fd = file_of_bytes(bytes, size[kind]);
		packets += check_reading(fd);
		close(fd);
	}
	/* most of the damage is late or in payload */
	cr_assert_gt(packets, 10000);
}

/* ------------------------------------------------------------- loop and pace
 */

Test(replay, in_a_loop_starts_over)
{
	struct trace trace;

	trace_init_many(&trace, 100);
	for (int i = 0; i < 4; i++) {
		struct source *source;
		uint32_t total = 0;

		/* a file in one buffer, and one in several */
		trace.size_max = i & 1 ? 60000 : 1514;
		source = open_with(file_of_trace(&trace), RATE_MAX, 0, i & 2,
				   true);
		while (total < 1000) {
			int n = next_burst(source, BURST_MAX, SIZE_MAX);

			cr_assert_geq(n, 0);
			for (int k = 0; k < n; k++)
				check_packet(&trace, total++ % 100,
					     &burst.packets[k]);
		}
		source->ops->free(source);
	}
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static void sleep_ns(uint64_t ns)
{
	struct timespec ts = { (time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S) };

	clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
}

/* As a lane does it. Returns the time that it took. */
static uint64_t drain(struct source *source, uint32_t *total)
{
	uint64_t start = now_ns();
	int n;

	*total = 0;
	while ((n = next_burst(source, BURST_MAX, SIZE_MAX)) >= 0) {
		*total += (uint32_t)n;
		if (!n)
			sleep_ns(source->ops->wait_ns(source));
	}
	return now_ns() - start;
}

/*
 * 1,001 packets are 1,000 gaps. Never early: that is exact. Late by what the
 * machine does to a sleeping thread, for which half a second is left (a
 * schedule that slipped is given up after 100 ms, so it can be more than once).
 */
Test(replay, at_a_fixed_rate_is_never_early_and_hardly_late)
{
	struct trace trace;
	struct source *source;
	uint32_t total;
	uint64_t took;

	trace_init(&trace, 1001, 1);
	for (int preload = 0; preload <= 1; preload++) {
		source = open_with(file_of_trace(&trace), RATE_FIXED, 3000,
				   preload, false);
		cr_assert_not(source->is_lossless);
		took = drain(source, &total);
		cr_expect_eq(total, 1001);
		cr_expect_geq(took, NS_PER_S / 3 - 1000);
		cr_expect_lt(took, NS_PER_S / 3 + 500 * MS);
		source->ops->free(source);
	}
}

/* 200 ms in the file; the bounds as above. */
Test(replay, as_recorded_keeps_the_gaps_of_the_file)
{
	struct trace trace;
	struct source *source;
	uint32_t total;
	uint64_t took;

	trace_init(&trace, 41, 1);
	trace.gap_ns = 5 * MS;
	source = open_with(file_of_trace(&trace), RATE_RECORDED, 0, false,
			   false);
	cr_assert_not(source->is_lossless);
	took = drain(source, &total);
	cr_expect_eq(total, 41);
	cr_expect_geq(took, 200 * MS - 1000);
	cr_expect_lt(took, 700 * MS);
	source->ops->free(source);
}

/*
 * A jump back counts as nothing, and what follows counts from there; a packet
 * without a time comes at once. The last is due a thousand years later.
 */
Test(replay, as_recorded_takes_a_jump_backwards_as_no_gap)
{
	struct bytes b = { .size = 0 };
	struct source *source;
	uint64_t start = now_ns(), wait;
	uint32_t total = 0;

	put_section(&b);
	put_interface(&b, 1, 0, 3, 0);
	put_packet(&b, 0, 1700000000000);
	put_packet(&b, 0, 1000);
	put_packet(&b, 0, 1020);
	put32(&b, 3);
	put32(&b, 20);
	put32(&b, 4);
	put32(&b, 0);
	put32(&b, 20);
	put_packet(&b, 0, 1040);
	put_packet(&b, 0, 1040 + UINT64_C(31556952000000) / 100);
	source = open_with(file_of_bytes(b.data, b.size), RATE_RECORDED, 0,
			   false, false);
	while (total < 5) {
		total += (uint32_t)next_burst(source, 9, 999);
		sleep_ns(total < 5 ? source->ops->wait_ns(source) : 0);
	}
	cr_expect_geq(now_ns() - start, 40 * MS);
	cr_expect_lt(now_ns() - start, 540 * MS);
	cr_expect_eq(next_burst(source, 9, 999), SOURCE_NOTHING);
	wait = source->ops->wait_ns(source);
	cr_expect(wait > 315569520 * (NS_PER_S - MS) &&
		  wait <= 315569520 * NS_PER_S);
	source->ops->free(source);
}

/*
 * Ten thousand a second, then half a second away: a tenth of a second of them
 * is caught up, in bursts of at most 64. More may become due while this runs,
 * so the bound is not exact; without it there would be 5,000.
 */
Test(replay, that_was_kept_away_catches_up_within_bounds)
{
	struct trace trace;
	struct source *source;
	int n, total = 0;

	trace_init(&trace, 50000, 1);
	source = open_with(file_of_trace(&trace), RATE_FIXED, 10000, true,
			   false);
	cr_assert_eq(next_burst(source, BURST_MAX, SIZE_MAX), 1);
	sleep_ns(500 * MS);
	while ((n = next_burst(source, BURST_MAX, SIZE_MAX)) > 0) {
		cr_assert_leq(n, 64);
		total += n;
	}
	cr_expect_eq(n, SOURCE_NOTHING);
	cr_expect(total >= 1000 && total < 4000, "%d", total);
	source->ops->free(source);
}
