/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A frame is described, then built, header by header from the outside in;
 * lengths and checksums are right, so every tool agrees on what it sees. All of
 * a frame follows from its description, and that from the sequence number:
 * whoever receives it can build it again and compare.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "traffic.h"

#define NS_PER_S UINT64_C(1000000000)
#define BATCH 32
#define DNS_PORT 53
#define DNS_HEADER 12

/* Where a packet's bytes go, and how many there are. */
struct writer {
	uint8_t *at;
};

static void put(struct writer *w, const void *bytes, size_t length)
{
	memcpy(w->at, bytes, length);
	w->at += length;
}

static void put8(struct writer *w, uint8_t value)
{
	*w->at++ = value;
}

static void put16(struct writer *w, uint16_t value)
{
	value = htons(value);
	put(w, &value, sizeof(value));
}

static void put32(struct writer *w, uint32_t value)
{
	value = htonl(value);
	put(w, &value, sizeof(value));
}

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static void set16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/* The Internet checksum's sum (RFC 1071), not yet folded. */
static uint64_t sum16(const uint8_t *bytes, size_t length)
{
	uint64_t sum = 0;

	for (size_t i = 0; i + 1 < length; i += 2)
		sum += get16(bytes + i);
	if (length & 1)
		sum += (uint64_t)bytes[length - 1] << 8;
	return sum;
}

static uint16_t fold16(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* ------------------------------------------------------------------ frames */

static unsigned protocol_of(const struct traffic_frame *frame)
{
	return frame->protocol ? frame->protocol : IPPROTO_UDP;
}

static uint16_t server_port(const struct traffic_frame *frame)
{
	return frame->port ? frame->port : 9;
}

static uint16_t client_port(const struct traffic_frame *frame)
{
	return (uint16_t)(0x8000 | (frame->flow & 0x7fff));
}

static bool is_dns(const struct traffic_frame *frame)
{
	return protocol_of(frame) == IPPROTO_UDP && frame->port == DNS_PORT;
}

static void put_ethernet(struct writer *w, const struct traffic_frame *frame)
{
	static const uint8_t macs[2][6] = { { 2, 0, 0, 0, 0, 1 },
					    { 2, 0, 0, 0, 0, 2 } };
	static const uint8_t none[6];
	bool is_default = memcmp(frame->to, none, sizeof(none)) == 0;

	put(w, is_default ? macs[!frame->is_reply] : frame->to, 6);
	put(w, macs[frame->is_reply], 6);
	for (unsigned i = 0; i < frame->vlan_count; i++) {
		uint16_t tpid = frame->vlan[i].tpid;

		put16(w, tpid ? tpid : ETHERTYPE_VLAN);
		put16(w, frame->vlan[i].tci);
	}
	put16(w, frame->is_ipv6 ? ETHERTYPE_IPV6 : ETHERTYPE_IP);
}

/* Client 10.x.y.z by flow, server 192.0.2.1 (a documentation network). */
static void put_ipv4(struct writer *w, const struct traffic_frame *frame,
		     size_t payload)
{
	uint32_t client = 0x0a000001u + (frame->flow >> 15);
	uint32_t server = 0xc0000201u;
	uint8_t *start = w->at;

	put16(w, 0x4500);
	put16(w, (uint16_t)(20 + payload));
	put16(w, (uint16_t)frame->seq);
	put16(w, 0x4000); /* don't fragment */
	put8(w, 64);
	put8(w, (uint8_t)protocol_of(frame));
	put16(w, 0);
	put32(w, frame->is_reply ? server : client);
	put32(w, frame->is_reply ? client : server);
	set16(start + 10, fold16(sum16(start, 20)));
}

/* The same in 2001:db8::/32 (documentation). */
static void put_ipv6(struct writer *w, const struct traffic_frame *frame,
		     size_t payload)
{
	uint8_t addresses[2][16] = { { 0x20, 0x01, 0x0d, 0xb8, 0, 0xc1 },
				     { 0x20, 0x01, 0x0d, 0xb8, 0, 0x5e } };
	unsigned protocol = protocol_of(frame);
	uint32_t client = htonl(1 + (frame->flow >> 15));

	memcpy(addresses[0] + 12, &client, 4);
	addresses[1][15] = 1;
	put32(w, 0x60000000u | (frame->flow & 0xfffff));
	put16(w, (uint16_t)payload);
	put8(w, protocol == IPPROTO_ICMP ? IPPROTO_ICMPV6 : (uint8_t)protocol);
	put8(w, 64);
	put(w, addresses[frame->is_reply], 16);
	put(w, addresses[!frame->is_reply], 16);
}

static size_t transport_length(const struct traffic_frame *frame)
{
	return protocol_of(frame) == IPPROTO_TCP ? 20 : 8;
}

/* The checksum in it stays 0: it is set when the payload is there. */
static void put_transport(struct writer *w, const struct traffic_frame *frame,
			  size_t length)
{
	uint16_t client = client_port(frame), server = server_port(frame);

	if (protocol_of(frame) == IPPROTO_ICMP) {
		uint8_t echo[2][2] = { { 8, 0 }, { 128, 129 } };

		put8(w, echo[frame->is_ipv6][frame->is_reply]);
		put8(w, 0);
		put16(w, 0);
		put16(w, (uint16_t)frame->flow);
		put16(w, (uint16_t)frame->seq);
		return;
	}
	put16(w, frame->is_reply ? server : client);
	put16(w, frame->is_reply ? client : server);
	if (protocol_of(frame) == IPPROTO_UDP) {
		put16(w, (uint16_t)length);
		put16(w, 0);
		return;
	}
	put32(w, (uint32_t)frame->seq);
	put32(w, (uint32_t)frame->seq);
	put16(w, 0x5018); /* 20 bytes; PSH, ACK */
	put16(w, 0xffff);
	put32(w, 0);
}

/* A question for <seq in 16 hex digits>.netring.test, and its answer. */
static void put_dns(struct writer *w, const struct traffic_frame *frame)
{
	char name[17];

	snprintf(name, sizeof(name), "%016" PRIx64, frame->seq);
	put16(w, (uint16_t)frame->seq);
	put16(w, frame->is_reply ? 0x8180 : 0x0100);
	put16(w, 1);
	put16(w, frame->is_reply);
	put32(w, 0);
	put8(w, 16);
	put(w, name, 16);
	put(w, "\7netring\4test", 14); /* with the root's empty label */
	put32(w, 0x00010001u);	       /* A, IN */
	if (!frame->is_reply)
		return;
	put16(w, 0xc00c); /* the name in the question */
	put32(w, 0x00010001u);
	put32(w, 300);
	put16(w, 4);
	put32(w, 0xc0000202u);
}

static size_t dns_length(const struct traffic_frame *frame)
{
	return frame->is_reply ? 63 : 47;
}

static void put_payload(struct writer *w, const struct traffic_frame *frame,
			size_t length)
{
	uint8_t *end = w->at + length;

	put32(w, (uint32_t)(frame->seq >> 32));
	put32(w, (uint32_t)frame->seq);
	put32(w, TRAFFIC_MAGIC);
	for (uint8_t fill = (uint8_t)frame->seq; w->at < end; fill++)
		put8(w, fill);
}

/* Sets the checksum of the transport header at @start; the IP one is before. */
static void set_checksum(const struct traffic_frame *frame, uint8_t *start,
			 size_t length)
{
	bool is_icmp = protocol_of(frame) == IPPROTO_ICMP;
	uint64_t sum = sum16(start, length);
	uint16_t checksum;
	size_t at = 16;

	if (is_icmp)
		at = 2;
	else if (protocol_of(frame) == IPPROTO_UDP)
		at = 6;
	if (frame->is_ipv6)
		sum += sum16(start - 32, 32) + length +
		       (is_icmp ? IPPROTO_ICMPV6 : protocol_of(frame));
	else if (!is_icmp)
		sum += sum16(start - 8, 8) + length + protocol_of(frame);
	checksum = fold16(sum);
	if (checksum == 0 && at == 6)
		checksum = 0xffff; /* UDP: 0 means there is none */
	set16(start + at, checksum);
}

static size_t payload_length(const struct traffic_frame *frame, size_t headers)
{
	size_t size = frame->size < TRAFFIC_FRAME_MIN ? TRAFFIC_FRAME_MIN :
							frame->size;

	if (is_dns(frame))
		return dns_length(frame);
	if (size > TRAFFIC_FRAME_MAX)
		size = TRAFFIC_FRAME_MAX;
	if (size < headers + sizeof(struct traffic_mark))
		return sizeof(struct traffic_mark);
	return size - headers;
}

size_t traffic_build(const struct traffic_frame *frame, uint8_t *out)
{
	struct writer w = { .at = out };
	size_t transport = transport_length(frame);
	size_t headers = ETH_HLEN + 4u * frame->vlan_count +
			 (frame->is_ipv6 ? 40 : 20) + transport;
	size_t payload = payload_length(frame, headers);
	uint8_t *start;

	put_ethernet(&w, frame);
	if (frame->is_ipv6)
		put_ipv6(&w, frame, transport + payload);
	else
		put_ipv4(&w, frame, transport + payload);
	start = w.at;
	put_transport(&w, frame, transport + payload);
	if (is_dns(frame))
		put_dns(&w, frame);
	else
		put_payload(&w, frame, payload);
	set_checksum(frame, start, transport + payload);
	return headers + payload;
}

/* The same way back: the offset of the payload, or 0. */
static size_t find_payload(const uint8_t *data, size_t caplen, bool *dns)
{
	size_t at = 12, ip;
	unsigned protocol;

	while (at + 2 <= caplen && (get16(data + at) == ETHERTYPE_VLAN ||
				    get16(data + at) == 0x88a8))
		at += 4;
	ip = at + 2;
	if (ip + 40 > caplen)
		return 0;
	if (get16(data + at) == ETHERTYPE_IP) {
		protocol = data[ip + 9];
		at = ip + (data[ip] & 15) * 4u;
	} else if (get16(data + at) == ETHERTYPE_IPV6) {
		protocol = data[ip + 6];
		at = ip + 40;
	} else {
		return 0;
	}
	if (at + 4 > caplen)
		return 0;
	*dns = protocol == IPPROTO_UDP && (get16(data + at) == DNS_PORT ||
					   get16(data + at + 2) == DNS_PORT);
	return at + (protocol == IPPROTO_TCP ? 20 : 8);
}

bool traffic_seq(const uint8_t *data, size_t caplen, uint64_t *seq)
{
	struct traffic_mark mark;
	bool dns;
	size_t at = find_payload(data, caplen, &dns);

	if (at == 0)
		return false;
	if (dns) {
		char name[17] = "", *end;

		at += DNS_HEADER + 1;
		if (at + 16 > caplen)
			return false;
		memcpy(name, data + at, 16);
		*seq = strtoull(name, &end, 16);
		return end == name + 16;
	}
	if (at + sizeof(mark) > caplen)
		return false;
	memcpy(&mark, data + at, sizeof(mark));
	*seq = (uint64_t)ntohl((uint32_t)mark.seq) << 32 |
	       ntohl((uint32_t)(mark.seq >> 32));
	return ntohl(mark.magic) == TRAFFIC_MAGIC;
}

/* Spreads a number over all bits (the finaliser of splitmix64). */
static uint64_t spread(uint64_t x)
{
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

void traffic_mix(struct traffic_frame *frame, uint64_t seq, const void *data)
{
	uint64_t dice = spread(seq + 1);
	unsigned kind = dice % 100, size = (dice >> 8) % 100;

	(void)data;
	*frame = (struct traffic_frame){
		.seq = seq,
		.flow = (uint32_t)spread(dice >> 58),
		.is_reply = dice >> 32 & 1,
	};
	frame->is_ipv6 = frame->flow % 3 == 0;
	if (kind < 10) {
		frame->port = DNS_PORT;
	} else if (kind < 15) {
		frame->protocol = IPPROTO_ICMP;
		frame->size = 98;
		return;
	} else if (kind < 40) {
		frame->port = 443; /* QUIC */
	} else {
		frame->protocol = IPPROTO_TCP;
		frame->port = frame->flow & 4 ? 443 : 80;
	}
	if (size < 40)
		frame->size = 60 + (dice >> 16) % 40;
	else if (size < 60)
		frame->size = 100 + (dice >> 16) % 1300;
	else
		frame->size = 1500;
}

/* ----------------------------------------------------------------- sending */

struct traffic {
	int socket;
	uint8_t (*frames)[TRAFFIC_FRAME_MAX];
	struct iovec iov[BATCH];
	struct mmsghdr messages[BATCH];
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static int socket_open(const char *interface)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET };
	int one = 1, fd, err;

	address.sll_ifindex = (int)if_nametoindex(interface);
	if (address.sll_ifindex == 0)
		return -errno;
	/* Protocol 0, and bound to it: it never receives anything. */
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one,
		       sizeof(one)) == 0 &&
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

int traffic_open(struct traffic **traffic, const char *interface)
{
	struct traffic *t = calloc(1, sizeof(*t));
	int err = -ENOMEM;

	if (!t)
		return err;
	t->socket = -1;
	t->frames = malloc(BATCH * sizeof(t->frames[0]));
	if (t->frames)
		err = t->socket = socket_open(interface);
	if (err < 0) {
		traffic_close(t);
		return err;
	}
	for (unsigned i = 0; i < BATCH; i++) {
		t->iov[i].iov_base = t->frames[i];
		t->messages[i].msg_hdr.msg_iov = &t->iov[i];
		t->messages[i].msg_hdr.msg_iovlen = 1;
	}
	*traffic = t;
	return 0;
}

void traffic_close(struct traffic *traffic)
{
	if (!traffic)
		return;
	if (traffic->socket >= 0)
		close(traffic->socket);
	free(traffic->frames);
	free(traffic);
}

static bool is_stopped(const struct traffic_plan *plan)
{
	return plan->stop && *plan->stop;
}

/* Sends the first @count built frames. Adds what went out to @sent. */
static int send_batch(struct traffic *t, const struct traffic_plan *plan,
		      unsigned count, uint64_t *sent)
{
	unsigned done = 0;

	while (done < count && !is_stopped(plan)) {
		int n = sendmmsg(t->socket, t->messages + done, count - done,
				 0);

		if (n > 0) {
			done += (unsigned)n;
			*sent += (unsigned)n;
		} else if (errno == ENOBUFS || errno == EAGAIN) {
			/* No room: the receiver's turn, then the same again. */
			usleep(50);
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

/* How many frames are due now; sleeps a little when there are none. */
static unsigned due_now(const struct traffic_plan *plan, uint64_t elapsed_ns,
			uint64_t sent)
{
	uint64_t due = plan->count ? plan->count : UINT64_MAX;

	if (plan->rate) {
		/* In two parts, so that the product cannot overflow. */
		uint64_t so_far = elapsed_ns / NS_PER_S * plan->rate +
				  elapsed_ns % NS_PER_S * plan->rate / NS_PER_S;

		if (so_far + 1 < due)
			due = so_far + 1;
	}
	if (due > sent)
		return due - sent < BATCH ? (unsigned)(due - sent) : BATCH;
	nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
	return 0;
}

int traffic_send(struct traffic *traffic, const struct traffic_plan *plan,
		 uint64_t *sent)
{
	uint64_t start = now_ns(), elapsed = 0;
	int err = 0;

	*sent = 0;
	while (!err && !is_stopped(plan) &&
	       (!plan->count || *sent < plan->count) &&
	       (!plan->time_ns || elapsed < plan->time_ns)) {
		unsigned n = due_now(plan, elapsed, *sent);

		for (unsigned i = 0; i < n; i++) {
			struct traffic_frame frame;

			plan->describe(&frame, plan->first_seq + *sent + i,
				       plan->data);
			traffic->iov[i].iov_len =
				traffic_build(&frame, traffic->frames[i]);
		}
		err = send_batch(traffic, plan, n, sent);
		elapsed = now_ns() - start;
	}
	return err;
}

static void describe_like(struct traffic_frame *frame, uint64_t seq,
			  const void *data)
{
	memcpy(frame, data, sizeof(*frame));
	frame->seq = seq;
}

int traffic_send_like(struct traffic *traffic,
		      const struct traffic_frame *frame, uint64_t count,
		      uint64_t rate)
{
	struct traffic_plan plan = {
		.describe = describe_like,
		.data = frame,
		.first_seq = frame->seq,
		.count = count,
		.rate = rate,
	};
	uint64_t sent;

	return count ? traffic_send(traffic, &plan, &sent) : 0;
}

int traffic_send_raw(struct traffic *traffic, const void *bytes, size_t length)
{
	struct traffic_plan plan = { .count = 1 };
	uint64_t sent = 0;

	if (length > TRAFFIC_FRAME_MAX)
		return -EMSGSIZE;
	memcpy(traffic->frames[0], bytes, length);
	traffic->iov[0].iov_len = length;
	return send_batch(traffic, &plan, 1, &sent);
}

/* ------------------------------------------------------------------- trace */

struct pcap_header {
	uint32_t magic; /* ns time stamps, the host's byte order */
	uint16_t major, minor;
	uint32_t zone, accuracy, snaplen, link_type;
};

struct pcap_record {
	uint32_t seconds, nanoseconds, caplen, wirelen;
};

int traffic_write_trace(FILE *file, const struct traffic_plan *plan)
{
	static uint8_t bytes[TRAFFIC_FRAME_MAX];
	struct pcap_header header = { 0xa1b23c4d, 2, 4, 0, 0, 262144, 1 };

	fwrite(&header, sizeof(header), 1, file);
	for (uint64_t i = 0; i < plan->count && !is_stopped(plan); i++) {
		struct pcap_record record = { .seconds = 1700000000 };
		struct traffic_frame frame;

		plan->describe(&frame, plan->first_seq + i, plan->data);
		record.caplen = (uint32_t)traffic_build(&frame, bytes);
		record.wirelen = record.caplen;
		if (plan->rate) {
			record.seconds += (uint32_t)(i / plan->rate);
			record.nanoseconds = (uint32_t)(i % plan->rate *
							NS_PER_S / plan->rate);
		}
		fwrite(&record, sizeof(record), 1, file);
		if (fwrite(bytes, record.caplen, 1, file) != 1)
			return -errno;
	}
	return fflush(file) ? -errno : 0;
}
