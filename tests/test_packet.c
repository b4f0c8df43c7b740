/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Live AF_PACKET capture: bytes, lengths, direction, time stamps and hashes of
 * frames that were really sent.
 */
#include <criterion/criterion.h>

#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "flow.h"
#include "live.h"

#define NS_PER_S UINT64_C(1000000000)

static struct live live;
static struct taker taker;
static uint8_t frame_bytes[TRAFFIC_FRAME_MAX];

#define SOURCE "[source s]\ninterface = inside\n"
#define CHANNEL "[channel all]\nsource = s\n"

static void make_network(void)
{
	live_network(&live);
	stay_on_cpu(0);
}

static void stop(void)
{
	taker_close(&taker);
	live_stop(&live);
}

TestSuite(packet, .init = make_network, .timeout = 120);

static void send_like(const struct traffic_frame *frame, uint64_t count)
{
	cr_assert_eq(traffic_send_like(live.traffic, frame, count, 0), 0);
}

static void send_mix(uint64_t count)
{
	struct traffic_plan plan = { .describe = traffic_mix, .count = count };
	uint64_t sent;

	cr_assert_eq(traffic_send(live.traffic, &plan, &sent), 0);
	cr_assert_eq(sent, count);
}

static size_t build_mix(uint64_t seq)
{
	struct traffic_frame frame;

	traffic_mix(&frame, seq, NULL);
	return traffic_build(&frame, frame_bytes);
}

/* ------------------------------------------------------------------ bytes */

Test(packet, every_byte_is_what_was_sent_in_order)
{
	live_broker(&live, SOURCE CHANNEL);
	taker_open(&taker, "all", 0);
	send_mix(20000);
	live_settle(&taker, 1, 20000);
	cr_assert_eq(taker.count, 20000);
	for (size_t i = 0; i < taker.count; i++) {
		const struct taken *t = &taker.packets[i];
		size_t size = build_mix(i);

		cr_assert_eq(t->record.caplen, size, "packet %zu", i);
		cr_assert_eq(t->record.wirelen, size, "packet %zu", i);
		cr_assert_eq(memcmp(t->bytes, frame_bytes, size), 0,
			     "packet %zu", i);
		cr_assert_eq(t->link_type, 1);
		cr_assert_eq(t->record.interface, 0);
		cr_assert_eq(
			t->record.flags & (NR_TRUNCATED | NR_VLAN | NR_GSO), 0);
	}
	stop();
}

/* Checks the lengths and flag of frames of 60 to 1500 bytes cut at @snaplen. */
static void check_cut(const struct taker *cut, uint32_t snaplen)
{
	for (size_t i = 0; i < cut->count; i++) {
		const struct nr_record *r = &cut->packets[i].record;
		uint32_t size = (uint32_t)build_mix(i);
		uint32_t left = size < snaplen ? size : snaplen;

		cr_assert_eq(r->wirelen, size, "packet %zu", i);
		cr_assert_eq(r->caplen, left, "packet %zu", i);
		cr_assert_eq(!!(r->flags & NR_TRUNCATED), left < size,
			     "packet %zu", i);
		cr_assert_eq(memcmp(cut->packets[i].bytes, frame_bytes, left),
			     0);
	}
}

Test(packet, is_cut_by_the_snap_length_of_a_channel_alone)
{
	struct taker whole;

	live_broker(&live, SOURCE CHANNEL "[channel cut]\nsource = s\n"
					  "snaplen = 96\n");
	taker_open(&taker, "cut", 0);
	taker_open(&whole, "all", 0);
	send_mix(3000);
	live_settle(&taker, 1, 3000);
	live_settle(&whole, 1, 3000);
	cr_assert_eq(taker.count, 3000);
	cr_assert_eq(whole.count, 3000);
	check_cut(&taker, 96);
	check_cut(&whole, 65536);
	taker_close(&whole);
	stop();
}

Test(packet, is_cut_by_the_snap_length_of_a_source_for_all_channels)
{
	struct taker shorter;

	live_broker(&live, SOURCE "snaplen = 128\n" CHANNEL
				  "[channel cut]\nsource = s\nsnaplen = 64\n");
	taker_open(&taker, "all", 0);
	taker_open(&shorter, "cut", 0);
	send_mix(3000);
	live_settle(&taker, 1, 3000);
	live_settle(&shorter, 1, 3000);
	cr_assert_eq(taker.count, 3000);
	cr_assert_eq(shorter.count, 3000);
	check_cut(&taker, 128);
	check_cut(&shorter, 64);
	taker_close(&shorter);
	stop();
}

Test(packet, is_left_in_the_kernel_by_the_filter_of_its_source)
{
	uint64_t udp = 0;

	for (uint64_t i = 0; i < 2000; i++) {
		struct traffic_frame frame;

		traffic_mix(&frame, i, NULL);
		udp += frame.protocol == 0;
	}
	live_broker(&live, SOURCE "filter = udp\nsnaplen = 100\n" CHANNEL);
	taker_open(&taker, "all", 0);
	send_mix(2000);
	live_settle(&taker, 1, udp);
	cr_assert_eq(taker.count, udp);
	for (size_t i = 0; i < taker.count; i++) {
		const struct taken *t = &taker.packets[i];
		bool is_ipv6 = t->bytes[12] == 0x86;

		cr_assert_eq(t->bytes[is_ipv6 ? 20 : 23], IPPROTO_UDP);
		cr_assert_leq(t->record.caplen, 100);
	}
	stop();
}

/* -------------------------------------------------------------- direction */

static void hardware_address(const char *interface, uint8_t *address)
{
	struct ifreq request = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	memcpy(request.ifr_name, interface, strlen(interface));
	cr_assert_eq(ioctl(fd, SIOCGIFHWADDR, &request), 0);
	memcpy(address, request.ifr_hwaddr.sa_data, 6);
	close(fd);
}

Test(packet, says_for_whom_it_was)
{
	static const unsigned directions[] = { NR_TO_HOST, NR_BROADCAST,
					       NR_MULTICAST, NR_OTHER_HOST };
	uint8_t to[4][6] = { { 0 },
			     { 255, 255, 255, 255, 255, 255 },
			     { 1, 0, 0x5e, 0, 0, 9 },
			     { 2, 9, 9, 9, 9, 9 } };

	hardware_address(live.network.inside, to[0]);
	live_broker(&live, SOURCE CHANNEL);
	taker_open(&taker, "all", 0);
	for (unsigned i = 0; i < 4; i++) {
		struct traffic_frame frame = { .seq = i };

		memcpy(frame.to, to[i], 6);
		send_like(&frame, 1);
	}
	live_settle(&taker, 1, 4);
	cr_assert_eq(taker.count, 4);
	for (unsigned i = 0; i < 4; i++)
		cr_expect_eq(nr_record_direction(&taker.packets[i].record),
			     directions[i], "frame %u", i);
	stop();
}

/* Ten out of @interface, then one into it. */
static void send_both_ways(const char *interface, const char *peer)
{
	struct traffic_frame frame = { 0 };

	for (; frame.seq < 10; frame.seq++)
		send_through(interface, frame_bytes,
			     traffic_build(&frame, frame_bytes));
	send_through(peer, frame_bytes, traffic_build(&frame, frame_bytes));
}

Test(packet, that_this_host_sends_is_outgoing)
{
	live_broker(&live, SOURCE "ignore_outgoing = no\n" CHANNEL);
	taker_open(&taker, "all", 0);
	send_both_ways(live.network.inside, live.network.outside);
	live_settle(&taker, 1, 11);
	cr_assert_eq(taker.count, 11);
	for (unsigned i = 0; i < 11; i++) {
		uint64_t seq;

		cr_assert(traffic_seq(taker.packets[i].bytes,
				      taker.packets[i].record.caplen, &seq));
		cr_assert_eq(seq, i);
		cr_expect_eq(nr_record_direction(&taker.packets[i].record),
			     i < 10 ? NR_OUTGOING : NR_OTHER_HOST);
	}
	stop();
}

Test(packet, that_this_host_sends_can_be_left_out)
{
	live_broker(&live, SOURCE "ignore_outgoing = yes\n" CHANNEL);
	taker_open(&taker, "all", 0);
	send_both_ways(live.network.inside, live.network.outside);
	live_settle(&taker, 1, 1);
	cr_assert_eq(taker.count, 1);
	cr_expect_eq(nr_record_direction(&taker.packets[0].record),
		     NR_OTHER_HOST);
	stop();
}

/* On lo all that goes out comes in: both are packets. */
static void send_on_loopback(const char *ignore_outgoing, uint64_t times)
{
	unsigned out = 0;

	network_run(&live.network, "ip link set lo up");
	live_broker(
		&live,
		"[source s]\ninterface = lo\nignore_outgoing = %s\n" CHANNEL,
		ignore_outgoing);
	taker_open(&taker, "all", 0);
	for (uint64_t seq = 0; seq < 100; seq++) {
		struct traffic_frame frame = { .seq = seq };

		send_through("lo", frame_bytes,
			     traffic_build(&frame, frame_bytes));
	}
	live_settle(&taker, 1, 100 * times);
	cr_assert_eq(taker.count, 100 * times);
	for (size_t i = 0; i < taker.count; i++) {
		unsigned direction =
			nr_record_direction(&taker.packets[i].record);

		out += direction == NR_OUTGOING;
		cr_assert_eq(taker.packets[i].link_type, 1);
	}
	cr_assert_eq(out, 100 * (times - 1));
	stop();
}

Test(packet, on_the_loopback_comes_twice)
{
	send_on_loopback("no", 2);
}

Test(packet, on_the_loopback_comes_once_without_outgoing)
{
	send_on_loopback("yes", 1);
}

/* ------------------------------------------------------------ time stamps */

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

Test(packet, is_stamped_when_it_comes_to_the_nanosecond)
{
	uint64_t before, after, last = 0;
	unsigned fine = 0;

	live_broker(&live, SOURCE CHANNEL);
	taker_open(&taker, "all", 0);
	before = now_ns();
	send_mix(2000);
	after = now_ns();
	live_settle(&taker, 1, 2000);
	for (size_t i = 0; i < taker.count; i++) {
		const struct nr_record *r = &taker.packets[i].record;

		/* A second more: it may wait for its turn in a softirq. */
		cr_assert_geq(r->ts_ns, before, "packet %zu", i);
		cr_assert_leq(r->ts_ns, after + NS_PER_S, "packet %zu", i);
		cr_assert_geq(r->ts_ns, last, "packet %zu", i);
		cr_assert_eq(nr_record_clock(r), NR_CLOCK_SOFTWARE);
		fine += r->ts_ns % 1000 != 0;
		last = r->ts_ns;
	}
	/* Whole microseconds are one in a thousand. */
	cr_assert_geq(fine, 1900);
	stop();
}

/* ------------------------------------------------------------------ hashes */

Test(packet, has_the_hash_of_its_flow_whichever_way_it_goes)
{
	static uint32_t hashes[2][512];
	unsigned differ = 0;

	live_broker(&live, SOURCE CHANNEL);
	taker_open(&taker, "all", 0);
	for (uint32_t i = 0; i < 1024; i++) {
		struct traffic_frame frame = {
			.seq = i,
			.flow = i / 2 * 40503,
			.is_reply = i % 2,
			.is_ipv6 = i / 2 % 3 == 0,
			.protocol = i / 2 % 2 ? IPPROTO_TCP : IPPROTO_UDP,
			.port = 443,
		};

		send_like(&frame, 1);
	}
	live_settle(&taker, 1, 1024);
	cr_assert_eq(taker.count, 1024);
	for (uint32_t i = 0; i < 1024; i++) {
		const struct taken *t = &taker.packets[i];

		hashes[i % 2][i / 2] = t->record.flow_hash;
		cr_assert_eq(t->record.flow_hash,
			     flow_hash(t->bytes, t->record.caplen,
				       t->link_type));
	}
	cr_assert_arr_eq(hashes[0], hashes[1], sizeof(hashes[0]));
	for (unsigned i = 1; i < 512; i++)
		differ += hashes[0][i] != hashes[0][0];
	cr_assert_geq(differ, 510, "flows have one hash");
	stop();
}

/* -------------------------------------------------------------------- IPv6 */

/* A UDP packet behind @length bytes of extension headers, the first @type. */
static size_t build_extended(uint8_t type, const uint8_t *headers,
			     size_t length, uint64_t seq)
{
	struct traffic_frame frame = { .seq = seq, .is_ipv6 = true };
	size_t size = traffic_build(&frame, frame_bytes);
	uint16_t payload = htons((uint16_t)(size - 54 + length));

	memmove(frame_bytes + 54 + length, frame_bytes + 54, size - 54);
	memcpy(frame_bytes + 54, headers, length);
	memcpy(frame_bytes + 18, &payload, sizeof(payload));
	frame_bytes[20] = type;
	return size + length;
}

#define HOP_BY_HOP 0
#define OPTIONS 60

/* Routers' alert, then padded options for the target, then UDP. */
static const uint8_t two_headers[] = { OPTIONS, 0, 5,		2, 0, 0,
				       1,	0, IPPROTO_UDP, 1, 1, 12 };
/* The first fragment of a packet in one: an atomic fragment. */
static const uint8_t fragment[8] = { IPPROTO_UDP };

Test(packet, of_ipv6_behind_extension_headers_passes_filters_as_in_tcpdump)
{
	static uint8_t extended[24];
	struct taker chain;
	size_t sizes[2], plain = 0;

	memcpy(extended, two_headers, sizeof(two_headers));
	live_broker(&live,
		    SOURCE "[channel udp]\nsource = s\nfilter = ip6 and udp\n"
			   "[channel chain]\nsource = s\n"
			   "filter = ip6 protochain 17\n");
	taker_open(&taker, "udp", 0);
	taker_open(&chain, "chain", 0);
	send_mix(1000);
	sizes[0] = build_extended(HOP_BY_HOP, extended, sizeof(extended), 1);
	traffic_send_raw(live.traffic, frame_bytes, sizes[0]);
	sizes[1] = build_extended(IPPROTO_FRAGMENT, fragment, 8, 2);
	traffic_send_raw(live.traffic, frame_bytes, sizes[1]);
	live_settle(&taker, 1, 1002);
	taker_take(&chain);
	/* "udp" looks behind a fragment's header, and behind no other */
	cr_assert_eq(taker.count + 1, chain.count);
	cr_assert_eq(taker.packets[taker.count - 1].record.caplen, sizes[1]);
	cr_assert_eq(chain.packets[chain.count - 2].record.caplen, sizes[0]);
	for (size_t i = 0; i < taker.count - 1; i++)
		cr_assert(taker.packets[i].bytes[12] == 0x86 &&
			  taker.packets[i].bytes[20] == IPPROTO_UDP);
	for (uint64_t seq = 0; seq < 1000; seq++) {
		struct traffic_frame frame;

		traffic_mix(&frame, seq, NULL);
		plain += frame.is_ipv6 && frame.protocol == 0;
	}
	/* the bytes, and the flow, whatever stands before the ports */
	build_extended(HOP_BY_HOP, extended, sizeof(extended), 1);
	cr_assert_eq(memcmp(chain.packets[chain.count - 2].bytes, frame_bytes,
			    sizes[0]),
		     0);
	cr_assert_eq(chain.packets[chain.count - 2].record.flow_hash,
		     chain.packets[chain.count - 1].record.flow_hash);
	cr_assert_eq(taker.count, plain + 1);
	taker_close(&chain);
	stop();
}
