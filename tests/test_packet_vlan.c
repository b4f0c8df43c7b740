/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VLAN tags: whichever way the kernel keeps the outer one, a capture has the
 * bytes that were on the wire, and the tag in the record too.
 */
#include <criterion/criterion.h>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "flow.h"
#include "live.h"

#define TCX_EGRESS 47 /* enum bpf_attach_type; linux/bpf.h may be older */

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

TestSuite(packet_vlan, .init = make_network, .timeout = 120);

/* Frames to send, one of a kind; numbered by their place. */
static const struct traffic_frame frames[] = {
	{ 0 },
	{ .vlan_count = 1, .vlan = { { 0, 100 } } },
	{ .vlan_count = 1, .vlan = { { 0, 0xe064 } } }, /* priority 7 */
	{ .vlan_count = 1, .vlan = { { 0, 0 } } },	/* a priority tag */
	{ .vlan_count = 1, .vlan = { { 0x88a8, 7 } } },
	{ .vlan_count = 2, .vlan = { { 0x88a8, 100 }, { 0x8100, 200 } } },
	{ .vlan_count = 2, .vlan = { { 0x8100, 100 }, { 0x8100, 200 } } },
	{ .vlan_count = 2, .vlan = { { 0x88a8, 0 }, { 0x8100, 0 } } },
	{ .vlan_count = 1, .vlan = { { 0, 100 } }, .size = 1500 },
	{ .vlan_count = 1, .vlan = { { 0, 100 } }, .is_ipv6 = true },
	{ .vlan_count = 1,
	  .vlan = { { 0, 100 } },
	  .protocol = IPPROTO_TCP,
	  .port = 80 },
	{ .vlan_count = 2,
	  .vlan = { { 0x88a8, 100 }, { 0x8100, 200 } },
	  .size = 1514 },
};
#define FRAMES (sizeof(frames) / sizeof(frames[0]))

static size_t build(size_t i)
{
	struct traffic_frame frame = frames[i];

	frame.seq = i;
	return traffic_build(&frame, frame_bytes);
}

static void check_tag(const struct taken *taken, const struct traffic_frame *f)
{
	const struct nr_record *r = &taken->record;
	uint16_t tpid = f->vlan[0].tpid ? f->vlan[0].tpid : 0x8100;

	cr_assert_eq(r->flags & (NR_VLAN | NR_VLAN_IN_BAND),
		     f->vlan_count ? NR_VLAN | NR_VLAN_IN_BAND : 0);
	cr_assert_eq(r->vlan_tci, f->vlan_count ? f->vlan[0].tci : 0);
	cr_assert_eq(r->vlan_tpid, f->vlan_count ? tpid : 0);
}

/* @taken is frame @i, cut at @snaplen: bytes, lengths and tag. */
static void check(const struct taken *taken, size_t i, uint32_t snaplen)
{
	uint32_t size = (uint32_t)build(i);
	uint32_t left = size < snaplen ? size : snaplen;

	cr_assert_eq(taken->record.wirelen, size, "frame %zu: %u, not %u", i,
		     taken->record.wirelen, size);
	cr_assert_eq(taken->record.caplen, left, "frame %zu", i);
	cr_assert_eq(memcmp(taken->bytes, frame_bytes, left), 0, "frame %zu",
		     i);
	cr_assert_eq(!!(taken->record.flags & NR_TRUNCATED), left < size);
	cr_assert_eq(taken->record.flow_hash, flow_hash(taken->bytes, size, 1));
	check_tag(taken, &frames[i]);
}

static void send_all(void)
{
	for (size_t i = 0; i < FRAMES; i++)
		cr_assert_eq(traffic_send_raw(live.traffic, frame_bytes,
					      build(i)),
			     0);
}

static void check_all(void)
{
	cr_assert_eq(taker.count, FRAMES);
	for (size_t i = 0; i < FRAMES; i++)
		check(&taker.packets[i], i, UINT32_MAX);
}

/*
 * The receiving side takes the outer tag of every frame out of its bytes
 * before sockets see it, whether or not the device did.
 */
Test(packet_vlan, is_put_back_where_the_kernel_took_it_from)
{
	live_broker(&live, SOURCE CHANNEL);
	taker_open(&taker, "all", 0);
	send_all();
	live_settle(&taker, 1, FRAMES);
	check_all();
	stop();
}

Test(packet_vlan, is_the_same_without_help_from_the_device)
{
	network_run(&live.network, "ethtool -K inside rxvlan off\n"
				   "ethtool -K outside txvlan off");
	live_broker(&live, SOURCE CHANNEL);
	taker_open(&taker, "all", 0);
	send_all();
	live_settle(&taker, 1, FRAMES);
	check_all();
	stop();
}

Test(packet_vlan, is_the_same_with_offloads_off)
{
	live_broker(&live, SOURCE "offloads = off\n" CHANNEL);
	taker_open(&taker, "all", 0);
	send_all();
	live_settle(&taker, 1, FRAMES);
	check_all();
	stop();
}

/* On the sending side it stays in the bytes. */
Test(packet_vlan, in_the_bytes_is_left_there)
{
	live_broker(&live, "[source s]\ninterface = outside\n" CHANNEL);
	taker_open(&taker, "all", 0);
	for (size_t i = 0; i < FRAMES; i++)
		send_through("outside", frame_bytes, build(i));
	live_settle(&taker, 1, FRAMES);
	check_all();
	for (size_t i = 0; i < FRAMES; i++)
		cr_assert_eq(nr_record_direction(&taker.packets[i].record),
			     NR_OUTGOING);
	stop();
}

/* From here on, the kernel keeps this tag beside all that @interface sends. */
static void tag_on_sending(const char *interface, uint16_t tpid, uint16_t tci)
{
	const struct bpf_insn program[] = {
		/* bpf_skb_vlan_push(context, tpid, tci); return 0; */
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K,
		  .dst_reg = BPF_REG_2,
		  .imm = htons(tpid) },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K,
		  .dst_reg = BPF_REG_3,
		  .imm = tci },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_skb_vlan_push },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "tag", "BSD", program,
			       sizeof(program) / sizeof(program[0]), NULL);
	int link;

	cr_assert_geq(fd, 0, "bpf: %s", strerror(errno));
	/* Stays until the process ends. */
	link = bpf_link_create(fd, (int)if_nametoindex(interface),
			       (enum bpf_attach_type)TCX_EGRESS, NULL);
	cr_assert_geq(link, 0, "tcx: %s", strerror(errno));
	close(fd);
}

/* As from a VLAN device: the tag never is in the sender's bytes. */
static void send_with_metadata(uint16_t tpid, uint16_t tci, const char *txvlan)
{
	struct traffic_frame frame = {
		.vlan_count = 1,
		.vlan = { { tpid, tci } },
		.size = 204,
	};

	network_run(&live.network, "ethtool -K outside txvlan %s", txvlan);
	tag_on_sending("outside", tpid, tci);
	live_broker(&live, "[source s]\ninterface = inside, outside\n" CHANNEL);
	taker_open(&taker, "all", 0);
	for (; frame.seq < 50; frame.seq++) {
		struct traffic_frame untagged = frame;

		untagged.vlan_count = 0;
		untagged.size = 200;
		send_through("outside", frame_bytes,
			     traffic_build(&untagged, frame_bytes));
	}
	live_settle(&taker, 1, 100);
	cr_assert_eq(taker.count, 100);
	for (unsigned i = 0; i < 100; i++) {
		const struct taken *t = &taker.packets[i];
		size_t size;

		cr_assert(traffic_seq(t->bytes, t->record.caplen, &frame.seq));
		size = traffic_build(&frame, frame_bytes);
		cr_assert_eq(t->record.wirelen, size);
		cr_assert_eq(t->record.caplen, size);
		cr_assert_eq(memcmp(t->bytes, frame_bytes, size), 0);
		check_tag(t, &frame);
	}
	stop();
}

Test(packet_vlan, beside_the_bytes_is_put_into_them)
{
	send_with_metadata(0x8100, 100, "on");
}

Test(packet_vlan, of_a_provider_beside_the_bytes_is_put_into_them)
{
	send_with_metadata(0x88a8, 0x2007, "on");
}

Test(packet_vlan, of_a_priority_beside_the_bytes_is_put_into_them)
{
	send_with_metadata(0x8100, 0, "on");
}

Test(packet_vlan, beside_the_bytes_is_the_same_if_the_sender_puts_it_there)
{
	send_with_metadata(0x8100, 100, "off");
}

/* ----------------------------------------------------------------- cutting */

Test(packet_vlan, does_not_count_as_bytes_of_the_snap_length_of_a_source)
{
	live_broker(&live, SOURCE "snaplen = 60\n" CHANNEL);
	taker_open(&taker, "all", 0);
	send_all();
	live_settle(&taker, 1, FRAMES);
	cr_assert_eq(taker.count, FRAMES);
	/* The kernel cut what it had: the frame without its outer tag. */
	for (size_t i = 0; i < FRAMES; i++)
		check(&taker.packets[i], i, frames[i].vlan_count ? 64 : 60);
	stop();
}

Test(packet_vlan, counts_in_the_snap_length_of_a_channel)
{
	live_broker(&live, SOURCE "[channel cut]\nsource = s\nsnaplen = 54\n");
	taker_open(&taker, "cut", 0);
	send_all();
	live_settle(&taker, 1, FRAMES);
	cr_assert_eq(taker.count, FRAMES);
	for (size_t i = 0; i < FRAMES; i++) {
		uint32_t size = (uint32_t)build(i);

		cr_assert_eq(taker.packets[i].record.caplen, 54);
		cr_assert_eq(taker.packets[i].record.wirelen, size);
		cr_assert_eq(memcmp(taker.packets[i].bytes, frame_bytes, 54),
			     0);
		check_tag(&taker.packets[i], &frames[i]);
	}
	stop();
}

/* --------------------------------------------------------------- filtering */

/* Which of the frames a capture of @channel was given. */
static unsigned long passed(struct taker *from)
{
	unsigned long mask = 0;

	for (size_t i = 0; i < from->count; i++) {
		uint64_t seq = UINT64_MAX;

		cr_assert(traffic_seq(from->packets[i].bytes,
				      from->packets[i].record.caplen, &seq));
		cr_assert_lt(seq, FRAMES);
		check(&from->packets[i], seq, UINT32_MAX);
		cr_assert(!(mask & 1ul << seq), "frame %u twice",
			  (unsigned)seq);
		mask |= 1ul << seq;
	}
	return mask;
}

static bool is_vlan_100(const struct traffic_frame *frame)
{
	return frame->vlan_count && (frame->vlan[0].tci & 0xfff) == 100;
}

static bool is_udp(const struct traffic_frame *frame)
{
	return frame->protocol == 0;
}

static unsigned long expected(bool only_100, bool only_udp, bool may_be_double)
{
	unsigned long mask = 0;

	for (size_t i = 0; i < FRAMES; i++)
		if ((!only_100 || is_vlan_100(&frames[i])) &&
		    (!only_udp || is_udp(&frames[i])) &&
		    (may_be_double || frames[i].vlan_count < 2))
			mask |= 1ul << i;
	return mask;
}

Test(packet_vlan, is_seen_by_the_filters_of_channels)
{
	static const char *const channels[] = { "vlan", "vlanudp", "double",
						"udp" };
	struct taker takers[4];

	live_broker(&live,
		    SOURCE "[channel vlan]\nsource = s\nfilter = vlan 100\n"
			   "[channel vlanudp]\nsource = s\n"
			   "filter = vlan 100 and udp\n"
			   "[channel double]\nsource = s\n"
			   "filter = vlan 100 and vlan 200 and udp\n"
			   "[channel udp]\nsource = s\nfilter = udp\n");
	for (unsigned i = 0; i < 4; i++)
		taker_open(&takers[i], channels[i], 0);
	send_all();
	live_settle(takers, 4, FRAMES);
	cr_expect_eq(passed(&takers[0]), expected(true, false, true));
	cr_expect_eq(passed(&takers[1]), expected(true, true, false));
	cr_expect_eq(passed(&takers[2]), 1ul << 5 | 1ul << 6 | 1ul << 11);
	/* as tcpdump: a tagged packet is not "udp" by itself */
	cr_expect_eq(passed(&takers[3]), 1ul);
	for (unsigned i = 0; i < 4; i++)
		taker_close(&takers[i]);
	live_stop(&live);
}

static void filter_in_kernel(const char *filter, unsigned long mask)
{
	live_broker(&live, SOURCE "filter = %s\n" CHANNEL, filter);
	taker_open(&taker, "all", 0);
	send_all();
	live_settle(&taker, 1, (uint64_t)__builtin_popcountl(mask));
	cr_expect_eq(passed(&taker), mask);
	stop();
}

Test(packet_vlan, is_seen_by_the_filter_of_a_source)
{
	filter_in_kernel("vlan 100", expected(true, false, true));
}

Test(packet_vlan, and_more_are_seen_by_the_filter_of_a_source)
{
	filter_in_kernel("vlan 100 and udp", expected(true, true, false));
}
