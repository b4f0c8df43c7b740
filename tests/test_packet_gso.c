/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Super-frames: TCP between two namespaces with segmentation left to the
 * device, as between containers. They are captured whole, and what was sent
 * can be put together from them.
 */
#include <criterion/criterion.h>

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "live.h"

#define PORT 5001
#define STREAM_BYTES (8u << 20)
#define CHUNK (256u << 10)
#define MTU 1500

static struct network client_side, server_side;
static struct broker broker;
static struct taker taker;

TestSuite(packet_gso, .timeout = 120);

/* Byte @at of what is sent. */
static uint8_t byte_at(uint64_t at)
{
	return (uint8_t)((at * UINT64_C(0x9e3779b97f4a7c15)) >> 56);
}

/* A veth pair with an address at each end, "left" and "right". */
static void make_networks(const char *ethtool)
{
	network_make(&client_side);
	network_make(&server_side);
	network_run(&client_side,
		    "ip link add left type veth peer name right netns %s\n"
		    "ip addr add 198.51.100.1/24 dev left\n"
		    "ip link set left up\nethtool -K left %s",
		    server_side.netns, ethtool);
	network_run(&server_side,
		    "ip addr add 198.51.100.2/24 dev right\n"
		    "ip link set right up\nethtool -K right %s",
		    ethtool);
}

static struct sockaddr_in server(void)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons(PORT),
		.sin_addr.s_addr = inet_addr("198.51.100.2"),
	};
}

/* In a child: sends all to the server. */
static int send_stream(void *data)
{
	static uint8_t chunk[CHUNK];
	struct sockaddr_in address = server();
	int fd;

	(void)data;
	network_enter(&client_side);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return 1;
	for (uint64_t at = 0; at < STREAM_BYTES; at += CHUNK) {
		for (uint64_t i = 0; i < CHUNK; i++)
			chunk[i] = byte_at(at + i);
		for (size_t sent = 0; sent < CHUNK;) {
			ssize_t n = send(fd, chunk + sent, CHUNK - sent, 0);

			if (n < 0)
				return 2;
			sent += (size_t)n;
		}
	}
	close(fd);
	return 0;
}

/* Receives all that a child sends; takes what is captured meanwhile. */
static void transfer(void)
{
	static uint8_t chunk[CHUNK];
	struct sockaddr_in address = server();
	int listener, fd, on = 1;
	uint64_t received = 0;
	ssize_t n;
	pid_t pid;

	network_enter(&server_side);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	cr_assert_geq(listener, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	cr_assert_eq(bind(listener, (struct sockaddr *)&address,
			  sizeof(address)),
		     0, "%s", strerror(errno));
	cr_assert_eq(listen(listener, 1), 0);
	pid = child_start(0, send_stream, NULL);
	fd = accept(listener, NULL, NULL);
	cr_assert_geq(fd, 0);
	while ((n = recv(fd, chunk, sizeof(chunk), 0)) > 0) {
		received += (uint64_t)n;
		taker_take(&taker);
	}
	cr_assert_eq(n, 0);
	cr_assert_eq(received, STREAM_BYTES);
	close(fd);
	close(listener);
	cr_assert_eq(child_wait(pid), 0);
}

struct segment {
	uint32_t seq; /* the number of its first byte */
	uint32_t length;
	uint8_t flags;
	const uint8_t *payload;
};

/* Whether @taken is TCP from the client. */
static bool parse(const struct taken *taken, struct segment *segment)
{
	const uint8_t *ip = taken->bytes + 14;
	const uint8_t *tcp = ip + (ip[0] & 15) * 4;
	uint32_t total, headers;

	if (taken->record.caplen < 54 || taken->bytes[12] != 8 ||
	    taken->bytes[13] != 0 || ip[9] != IPPROTO_TCP ||
	    (tcp[2] << 8 | tcp[3]) != PORT)
		return false;
	total = (uint32_t)ip[2] << 8 | ip[3];
	headers = (uint32_t)(tcp - ip) + (tcp[12] >> 4) * 4u;
	cr_assert_leq(total + 14, taken->record.caplen);
	memcpy(&segment->seq, tcp + 4, 4);
	segment->seq = ntohl(segment->seq);
	segment->flags = tcp[13];
	segment->payload = ip + headers;
	segment->length = total - headers;
	return true;
}

#define FIN 1
#define SYN 2

/* Whether the client's last segment is there. */
static bool has_fin(void)
{
	struct segment segment;

	taker_take(&taker);
	for (size_t i = taker.count; i-- > 0;)
		if (parse(&taker.packets[i], &segment) && segment.flags & FIN)
			return true;
	return false;
}

static uint32_t initial_seq(void)
{
	struct segment segment;

	for (size_t i = 0; i < taker.count; i++)
		if (parse(&taker.packets[i], &segment) && segment.flags & SYN)
			return segment.seq + 1;
	cr_assert_fail("no SYN");
	return 0;
}

/* Puts the stream together; also what was sent again must be the same. */
static void check_stream(void)
{
	uint8_t *is_there = calloc(1, STREAM_BYTES);
	uint32_t start = initial_seq();
	uint64_t there = 0;

	for (size_t i = 0; i < taker.count; i++) {
		struct segment segment;
		uint32_t at;

		if (!parse(&taker.packets[i], &segment) ||
		    segment.flags & SYN || !segment.length)
			continue;
		at = segment.seq - start;
		cr_assert_leq((uint64_t)at + segment.length, STREAM_BYTES);
		for (uint32_t b = 0; b < segment.length; b++) {
			cr_assert_eq(segment.payload[b], byte_at(at + b),
				     "byte %u", at + b);
			there += !is_there[at + b];
			is_there[at + b] = 1;
		}
	}
	cr_assert_eq(there, STREAM_BYTES);
	free(is_there);
}

/* The longest; each is whole, and marked if it was never on a wire. */
static uint32_t check_records(bool is_partial)
{
	uint32_t longest = 0;

	for (size_t i = 0; i < taker.count; i++) {
		const struct nr_record *r = &taker.packets[i].record;

		cr_assert_eq(r->caplen, r->wirelen);
		cr_assert(!(r->flags & NR_TRUNCATED));
		if (r->caplen > MTU + 14) {
			cr_assert(r->flags & NR_GSO, "%u bytes", r->caplen);
			cr_assert(!is_partial || r->flags & NR_CSUM_NOT_READY);
			cr_assert(!(r->flags & NR_CSUM_VALID));
		}
		if (r->caplen > longest)
			longest = r->caplen;
	}
	return longest;
}

static uint32_t capture_transfer(const char *interface,
				 const struct network *network,
				 const char *ethtool, bool is_partial)
{
	uint32_t longest;

	make_networks(ethtool);
	broker_start(&broker, network->netns,
		     "[source s]\ninterface = %s\n[channel all]\nsource = s\n",
		     interface);
	taker_open(&taker, "all", 0);
	transfer();
	eventually(has_fin());
	cr_assert_eq(taker.gaps, 0);
	cr_assert_eq(live_count().drops, 0);
	check_stream();
	longest = check_records(is_partial);
	taker_close(&taker);
	broker_stop(&broker);
	return longest;
}

Test(packet_gso, is_captured_whole_where_it_arrives)
{
	cr_assert_gt(capture_transfer("right", &server_side, "tso on gso on",
				      true),
		     32768);
}

Test(packet_gso, is_captured_whole_where_it_leaves)
{
	cr_assert_gt(capture_transfer("left", &client_side, "tso on gso on",
				      true),
		     32768);
}

Test(packet_gso, is_what_is_on_the_wire_without_segmentation_offload)
{
	cr_assert_leq(capture_transfer("right", &server_side,
				       "tso off gso off gro off", false),
		      MTU + 14);
}
