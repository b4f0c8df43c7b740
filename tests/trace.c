/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Everything about packet n comes from a generator seeded with (seed, n), and
 * everything about its flow from one seeded with (seed, flow).
 */
#include "trace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <endian.h>

#include <netring/layout.h>

/* Ethernet, two tags, IPv6, TCP, the packet's number */
#define HEADERS_MAX (14 + 8 + 40 + 20 + 4)

__extension__ typedef unsigned __int128 u128;

/* splitmix64 */
static uint64_t draw(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static uint64_t stream(uint64_t seed, uint64_t kind, uint64_t number)
{
	uint64_t state = seed ^ kind << 56;

	return draw(&state) ^ number * UINT64_C(0xd1342543de82ef95);
}

static bool draw_percent(uint64_t *state, unsigned percent)
{
	return draw(state) % 100 < percent;
}

static uint8_t *put_be16(uint8_t *p, uint16_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
	return p + 2;
}

static uint8_t *put_bytes(uint8_t *p, uint64_t *state, size_t count)
{
	while (count) {
		uint64_t word = draw(state);
		size_t part = count < sizeof(word) ? count : sizeof(word);

		memcpy(p, &word, part);
		p += part;
		count -= part;
	}
	return p;
}

/* ------------------------------------------------------------ packet bytes */

struct flow {
	bool is_ipv6;
	bool is_tcp;
	uint8_t address[2][16];
	uint16_t port[2];
};

static void flow_of(const struct trace *trace, uint32_t number, struct flow *f)
{
	uint64_t state = stream(trace->seed, 1, number);

	f->is_ipv6 = number & 1;
	f->is_tcp = draw(&state) & 1;
	put_bytes(f->address[0], &state, sizeof(f->address));
	f->port[0] = (uint16_t)draw(&state);
	f->port[1] = (uint16_t)draw(&state);
}

static uint8_t *put_ip(uint8_t *p, const struct flow *f, bool reverse,
		       uint32_t length)
{
	size_t size = f->is_ipv6 ? 16 : 4;
	uint8_t protocol = f->is_tcp ? 6 : 17;

	memset(p, 0, 40);
	if (f->is_ipv6) {
		p[0] = 0x60;
		put_be16(p + 4, (uint16_t)(length < 40 ? 0 : length - 40));
		p[6] = protocol;
		p[7] = 64;
		p += 8;
	} else {
		p[0] = 0x45;
		put_be16(p + 2, (uint16_t)length);
		p[8] = 64;
		p[9] = protocol;
		p += 12;
	}
	memcpy(p, f->address[reverse], size);
	memcpy(p + size, f->address[!reverse], size);
	p += 2 * size;

	memset(p, 0, 20);
	put_be16(p, f->port[reverse]);
	put_be16(p + 2, f->port[!reverse]);
	if (f->is_tcp)
		p[12] = 0x50;
	return p + (f->is_tcp ? 20 : 8);
}

/* Puts up to two tags; the outermost is what the record tells. */
static uint8_t *put_tags(const struct trace *trace, struct trace_packet *packet,
			 uint64_t *state, uint8_t *p)
{
	if (!draw_percent(state, trace->vlan_percent))
		return p;
	packet->vlan_tpid = draw(state) & 1 ? 0x88a8 : 0x8100;
	packet->vlan_tci = (uint16_t)draw(state);
	packet->flags |= NR_VLAN | NR_VLAN_IN_BAND;
	p = put_be16(p, packet->vlan_tpid);
	p = put_be16(p, packet->vlan_tci);
	if (draw(state) & 1) {
		p = put_be16(p, 0x8100);
		p = put_be16(p, (uint16_t)(draw(state) & 0xfff));
	}
	return p;
}

static void fill_bytes(const struct trace *trace, uint32_t number,
		       struct trace_packet *packet, uint64_t *state)
{
	bool reverse = draw(state) & 1;
	uint8_t *p = packet->data, *end = p + packet->wirelen;
	struct flow flow;
	uint32_t needed;

	flow_of(trace, packet->flow, &flow);
	if (packet->link_type == TRACE_ETHERNET) {
		p = put_bytes(p, state, 12);
		packet->data[0] &= 0xfe;
		packet->data[6] &= 0xfe;
		p = put_tags(trace, packet, state, p);
	} else if (packet->link_type == TRACE_SLL) {
		memset(p, 0, 14);
		p[3] = 1; /* ARPHRD_ETHER */
		p += 14;
	}
	if (packet->link_type != TRACE_RAW)
		p = put_be16(p, flow.is_ipv6 ? 0x86dd : 0x0800);
	/* The headers and the packet's number fit, however small it was to be.
	 */
	needed = (flow.is_ipv6 ? 40 : 20) + (flow.is_tcp ? 20 : 8) + 4;
	if (p + needed > end)
		end = p + needed;
	packet->wirelen = (uint32_t)(end - packet->data);
	p = put_ip(p, &flow, reverse, (uint32_t)(end - p));
	p = put_be16(p, (uint16_t)(number >> 16));
	p = put_be16(p, (uint16_t)number);
	put_bytes(p, state, (size_t)(end - p));
}

/* -------------------------------------------------------------- time stamp */

static uint64_t power_of_ten(unsigned n)
{
	uint64_t power = 1;

	while (n--)
		power *= 10;
	return power;
}

static unsigned resolution(const struct trace *trace, uint32_t interface)
{
	const struct trace_interface *in = &trace->interfaces[interface];

	if (trace->format == TRACE_PCAP)
		return trace->is_nano ? 9 : 6;
	return in->has_tsresol ? in->tsresol : 6;
}

/* The units that the file holds, and what they mean. */
static void stamp(const struct trace *trace, struct trace_packet *packet,
		  uint64_t ts_ns)
{
	unsigned r = resolution(trace, packet->interface), n = r & 0x7f;
	uint64_t offset = 0, t, back;

	if (trace->format == TRACE_PCAPNG)
		offset = (uint64_t)trace->interfaces[packet->interface]
				 .tsoffset *
			 1000000000;
	t = ts_ns - offset;
	if (r & 0x80) {
		packet->time_units = (uint64_t)(((u128)t << n) / 1000000000);
		back = (uint64_t)((u128)packet->time_units * 1000000000 >> n);
	} else if (n <= 9) {
		packet->time_units = t / power_of_ten(9 - n);
		back = packet->time_units * power_of_ten(9 - n);
	} else {
		packet->time_units = t * power_of_ten(n - 9);
		back = t;
	}
	packet->ts_ns = packet->is_simple ? 0 : back + offset;
}

/* ------------------------------------------------------------------ packet */

void trace_init(struct trace *trace, uint32_t packets, uint64_t seed)
{
	memset(trace, 0, sizeof(*trace));
	trace->packets = packets;
	trace->seed = seed;
	trace->size_min = 64;
	trace->size_max = 1514;
	trace->flows = 100;
	trace->start_ns = UINT64_C(1700000000123456789);
	trace->gap_ns = 10007;
	trace->interface_count = 1;
	trace->interfaces[0].link_type = TRACE_ETHERNET;
}

/* Small, large, and anything between: a third each. */
static uint32_t draw_size(const struct trace *trace, uint64_t *state)
{
	uint32_t span = trace->size_max - trace->size_min;
	uint64_t which = draw(state) % 3;

	if (which == 0)
		span = span < 64 ? span : 64;
	else if (which == 1)
		return trace->size_max;
	return trace->size_min + (uint32_t)(draw(state) % (span + 1));
}

static void draw_direction(struct trace_packet *packet, uint64_t *state)
{
	static const struct {
		uint8_t epb_flags;
		uint8_t direction;
	} table[] = {
		{ 0, NR_DIRECTION_UNKNOWN },  { 1, NR_TO_HOST },
		{ 1 | 1 << 2, NR_TO_HOST },   { 1 | 2 << 2, NR_MULTICAST },
		{ 1 | 3 << 2, NR_BROADCAST }, { 1 | 4 << 2, NR_OTHER_HOST },
		{ 2, NR_OUTGOING },
	};
	size_t i = draw(state) % (sizeof(table) / sizeof(table[0]));

	packet->epb_flags = table[i].epb_flags;
	packet->flags &= (uint16_t)~NR_DIRECTION;
	packet->flags |= table[i].direction;
}

void trace_packet(const struct trace *trace, uint32_t number,
		  struct trace_packet *packet)
{
	uint64_t state = stream(trace->seed, 2, number);
	bool is_pcapng = trace->format == TRACE_PCAPNG;

	packet->vlan_tci = 0;
	packet->vlan_tpid = 0;
	packet->epb_flags = 0;
	packet->flags = NR_CLOCK_FILE | NR_DIRECTION_UNKNOWN;
	packet->interface =
		is_pcapng ? (uint16_t)(draw(&state) % trace->interface_count) :
			    0;
	packet->link_type = trace->interfaces[packet->interface].link_type;
	packet->flow = (uint32_t)(draw(&state) % trace->flows);
	packet->wirelen = draw_size(trace, &state);
	fill_bytes(trace, number, packet, &state);
	packet->caplen = packet->wirelen;
	if (draw_percent(&state, trace->cut_percent)) {
		packet->caplen = (uint32_t)(draw(&state) % packet->wirelen);
		packet->flags |= NR_TRUNCATED;
	}
	/* A simple block names no interface and no captured length. */
	packet->is_simple = is_pcapng && !packet->interface &&
			    packet->caplen == packet->wirelen &&
			    draw_percent(&state, trace->simple_percent);
	if (is_pcapng && trace->has_direction && !packet->is_simple)
		draw_direction(packet, &state);
	/* A tag that was cut off cannot be told. */
	if (packet->caplen < 16) {
		packet->flags &= (uint16_t) ~(NR_VLAN | NR_VLAN_IN_BAND);
		packet->vlan_tci = 0;
		packet->vlan_tpid = 0;
	}
	stamp(trace, packet, trace->start_ns + number * trace->gap_ns);
}

/* -------------------------------------------------------------------- file */

struct writer {
	FILE *file;
	bool is_big_endian;
};

static void write16(struct writer *w, uint16_t value)
{
	value = w->is_big_endian ? htobe16(value) : htole16(value);
	fwrite(&value, sizeof(value), 1, w->file);
}

static void write32(struct writer *w, uint32_t value)
{
	value = w->is_big_endian ? htobe32(value) : htole32(value);
	fwrite(&value, sizeof(value), 1, w->file);
}

static void write64(struct writer *w, uint64_t value)
{
	value = w->is_big_endian ? htobe64(value) : htole64(value);
	fwrite(&value, sizeof(value), 1, w->file);
}

static void write_padded(struct writer *w, const uint8_t *data, uint32_t size)
{
	fwrite(data, 1, size, w->file);
	fwrite("\0\0\0", 1, -size & 3, w->file);
}

static void write_pcap_header(struct writer *w, const struct trace *trace)
{
	write32(w, trace->is_nano ? 0xa1b23c4d : 0xa1b2c3d4);
	write16(w, 2);
	write16(w, 4);
	write32(w, 0);
	write32(w, 0);
	write32(w, TRACE_SIZE_MAX);
	write32(w, trace->interfaces[0].link_type);
}

static void write_pcap_packet(struct writer *w, const struct trace *trace,
			      const struct trace_packet *packet)
{
	uint64_t units = trace->is_nano ? 1000000000 : 1000000;

	write32(w, (uint32_t)(packet->time_units / units));
	write32(w, (uint32_t)(packet->time_units % units));
	write32(w, packet->caplen);
	write32(w, packet->wirelen);
	fwrite(packet->data, 1, packet->caplen, w->file);
}

static void write_section(struct writer *w)
{
	write32(w, 0x0a0d0d0a);
	write32(w, 28);
	write32(w, 0x1a2b3c4d);
	write16(w, 1);
	write16(w, 0);
	write64(w, UINT64_MAX);
	write32(w, 28);
}

static void write_interface(struct writer *w, const struct trace_interface *in)
{
	bool has_options = in->has_tsresol || in->tsoffset;
	uint32_t length = 20 + (in->has_tsresol ? 8 : 0) +
			  (in->tsoffset ? 12 : 0) + (has_options ? 4 : 0);
	uint8_t value[] = { in->tsresol };

	write32(w, 1);
	write32(w, length);
	write16(w, in->link_type);
	write16(w, 0);
	write32(w, 0);
	if (in->has_tsresol) {
		write16(w, 9);
		write16(w, 1);
		write_padded(w, value, 1);
	}
	if (in->tsoffset) {
		write16(w, 14);
		write16(w, 8);
		write64(w, (uint64_t)in->tsoffset);
	}
	if (has_options)
		write32(w, 0);
	write32(w, length);
}

static void write_enhanced(struct writer *w, const struct trace *trace,
			   const struct trace_packet *packet)
{
	uint32_t length = 32 + ((packet->caplen + 3) & ~3u);

	length += trace->has_direction ? 12 : 0;
	write32(w, 6);
	write32(w, length);
	write32(w, packet->interface);
	write32(w, (uint32_t)(packet->time_units >> 32));
	write32(w, (uint32_t)packet->time_units);
	write32(w, packet->caplen);
	write32(w, packet->wirelen);
	write_padded(w, packet->data, packet->caplen);
	if (trace->has_direction) {
		write16(w, 2);
		write16(w, 4);
		write32(w, packet->epb_flags);
		write32(w, 0);
	}
	write32(w, length);
}

static void write_simple(struct writer *w, const struct trace_packet *packet)
{
	uint32_t length = 16 + ((packet->caplen + 3) & ~3u);

	write32(w, 3);
	write32(w, length);
	write32(w, packet->wirelen);
	write_padded(w, packet->data, packet->caplen);
	write32(w, length);
}

/* A custom block (of nobody) that a reader has to step over. */
static void write_noise(struct writer *w, uint32_t words)
{
	write32(w, 0x0bad);
	write32(w, 12 + words * 4);
	for (uint32_t i = 0; i < words; i++)
		write32(w, 6);
	write32(w, 12 + words * 4);
}

static void write_all(struct writer *w, const struct trace *trace,
		      struct trace_packet *packet)
{
	if (trace->format == TRACE_PCAP) {
		write_pcap_header(w, trace);
	} else {
		write_section(w);
		for (uint32_t i = 0; i < trace->interface_count; i++)
			write_interface(w, &trace->interfaces[i]);
	}
	for (uint32_t i = 0; i < trace->packets; i++) {
		trace_packet(trace, i, packet);
		if (trace->format == TRACE_PCAP) {
			write_pcap_packet(w, trace, packet);
			continue;
		}
		if (trace->has_noise && i % 7 == 0)
			write_noise(w, i % 100);
		if (packet->is_simple)
			write_simple(w, packet);
		else
			write_enhanced(w, trace, packet);
	}
}

int trace_write_fd(const struct trace *trace, int fd)
{
	struct writer w = { NULL, trace->is_big_endian };
	struct trace_packet *packet;
	int copy, err = 0;

	if (trace->size_max > TRACE_SIZE_MAX || trace->size_max < HEADERS_MAX ||
	    trace->size_min > trace->size_max || !trace->flows ||
	    !trace->interface_count)
		return -EINVAL;
	packet = malloc(sizeof(*packet));
	if (!packet)
		return -ENOMEM;
	copy = dup(fd);
	w.file = copy < 0 ? NULL : fdopen(copy, "wb");
	if (!w.file) {
		err = -errno;
		free(packet);
		return err;
	}
	write_all(&w, trace, packet);
	if (fflush(w.file) || ferror(w.file))
		err = -EIO;
	fclose(w.file);
	free(packet);
	return err;
}

int trace_write(const struct trace *trace, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	int err;

	if (fd < 0)
		return -errno;
	err = trace_write_fd(trace, fd);
	if (close(fd) && !err)
		err = -errno;
	return err;
}
