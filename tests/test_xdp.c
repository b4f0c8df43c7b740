/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Live AF_XDP capture on veth, in driver and in generic mode: bytes, records
 * and memory of frames that were really sent.
 */
#include <criterion/criterion.h>

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "flow.h"
#include "live.h"

#define NS_PER_S UINT64_C(1000000000)
#define TAKERS 8
#define TCX_EGRESS 47 /* enum bpf_attach_type; linux/bpf.h may be older */

static struct live live;
static struct taker takers[TAKERS];
static uint8_t frame_bytes[TRAFFIC_FRAME_MAX];
static struct broker_stat stat;

#define SOURCE                                                                 \
	"[source s]\nbackend = xdp\ninterface = inside\nmode = %s\n"           \
	"small_pages = yes\n"
#define CHANNEL "[channel all]\nsource = s\n"

static void make_network(void)
{
	live_network(&live);
	stay_on_cpu(0);
}

TestSuite(xdp, .init = make_network, .timeout = 120);

/* A test for both modes. */
#define BOTH(name)                                                             \
	static void name(const char *mode);                                    \
	Test(xdp, name##_in_driver_mode)                                       \
	{                                                                      \
		name("driver");                                                \
	}                                                                      \
	Test(xdp, name##_in_generic_mode)                                      \
	{                                                                      \
		name("generic");                                               \
	}                                                                      \
	static void name(const char *mode)

static void send_mix(uint64_t first, uint64_t count)
{
	struct traffic_plan plan = { .describe = traffic_mix,
				     .first_seq = first,
				     .count = count };
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

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* ------------------------------------------------------------------ bytes */

static void check_packet(const struct taken *t, uint64_t seq)
{
	size_t size = build_mix(seq);

	cr_assert_eq(t->record.caplen, size, "packet %llu",
		     (unsigned long long)seq);
	cr_assert_eq(t->record.wirelen, size);
	cr_assert_eq(memcmp(t->bytes, frame_bytes, size), 0, "packet %llu",
		     (unsigned long long)seq);
	cr_assert_eq(t->record.flow_hash,
		     flow_hash(frame_bytes, (uint32_t)size, 1));
	cr_assert_eq(t->link_type, 1);
	cr_assert_eq(t->record.flags & NR_DIRECTION, NR_OTHER_HOST);
	cr_assert_eq(t->record.flags &
			     (NR_TRUNCATED | NR_VLAN | NR_GSO | NR_CLOCK),
		     0);
}

BOTH(every_byte_is_what_was_sent_to_8_consumers)
{
	uint64_t start;

	live_broker(&live, SOURCE CHANNEL, mode);
	for (int i = 0; i < TAKERS; i++)
		taker_open(&takers[i], "all", 0);
	start = now_ns();
	send_mix(0, 8000);
	live_settle(takers, TAKERS, 8000);
	for (int i = 0; i < TAKERS; i++) {
		uint64_t last = start;

		cr_assert_eq(takers[i].count, 8000);
		for (uint64_t n = 0; n < 8000; n++) {
			const struct taken *t = &takers[i].packets[n];

			check_packet(t, n);
			cr_assert(t->record.ts_ns >= last &&
				  t->record.ts_ns <= now_ns());
			last = t->record.ts_ns;
		}
		taker_close(&takers[i]);
	}
	live_stop(&live);
}

BOTH(loaned_and_copied_channels_go_side_by_side)
{
	size_t udp = 0;

	live_broker(&live,
		    SOURCE CHANNEL "[channel udp]\nsource = s\nfilter = udp\n"
				   "[channel cut]\nsource = s\nsnaplen = 64\n"
				   "[channel too]\nsource = s\n",
		    mode);
	taker_open(&takers[0], "all", 0);
	taker_open(&takers[1], "udp", 0);
	taker_open(&takers[2], "cut", 0);
	taker_open(&takers[3], "too", 0);
	send_mix(0, 4000);
	live_settle(takers, 4, 4000);
	cr_assert_eq(takers[0].count, 4000);
	cr_assert_eq(takers[2].count, 4000);
	cr_assert_eq(takers[3].count, 4000);
	for (uint64_t n = 0; n < 4000; n++) {
		struct traffic_frame frame;
		size_t size;

		traffic_mix(&frame, n, NULL);
		check_packet(&takers[0].packets[n], n);
		check_packet(&takers[3].packets[n], n);
		size = build_mix(n);
		cr_assert_eq(takers[2].packets[n].record.caplen,
			     size < 64 ? size : 64);
		cr_assert_eq(memcmp(takers[2].packets[n].bytes, frame_bytes,
				    size < 64 ? size : 64),
			     0);
		if (frame.protocol == 17 || frame.protocol == 0)
			check_packet(&takers[1].packets[udp++], n);
	}
	cr_assert_eq(takers[1].count, udp);
	for (int i = 0; i < 4; i++)
		taker_close(&takers[i]);
	live_stop(&live);
}

Test(xdp, a_lane_that_polls_the_driver_gets_all_packets)
{
	live_broker(&live,
		    SOURCE "busy_poll = 50\nprefer_busy_poll = yes\n"
			   "busy_poll_budget = 64\nneed_wakeup = no\n" CHANNEL,
		    "driver");
	taker_open(&takers[0], "all", 0);
	send_mix(0, 2000);
	live_settle(takers, 1, 2000);
	for (uint64_t n = 0; n < 2000; n++)
		check_packet(&takers[0].packets[n], n);
	taker_close(&takers[0]);
	live_stop(&live);
}

/* ---------------------------------------------------------------- records */

/*
 * The other end's AF_PACKET tap sees the same frames when they are sent: what
 * is between the stamps is the way through the pair. On a busy machine the
 * second half of that way may have to wait, so a few may be late.
 */
BOTH(stamps_and_hashes_are_those_of_af_packet)
{
	struct traffic_frame frame = { .port = 9 };
	unsigned late = 0;

	live_broker(&live,
		    SOURCE CHANNEL "[source p]\ninterface = outside\n"
				   "[channel tap]\nsource = p\n",
		    mode);
	taker_open(&takers[0], "all", 0);
	taker_open(&takers[1], "tap", 0);
	for (uint64_t i = 0; i < 1000; i++) {
		uint8_t bytes[TRAFFIC_FRAME_MAX];

		frame.seq = i;
		frame.flow = (uint32_t)i % 100;
		send_through("outside", bytes, traffic_build(&frame, bytes));
	}
	taker_wait(&takers[0], 1000);
	taker_wait(&takers[1], 1000);
	for (size_t i = 0; i < 1000; i++) {
		const struct nr_record *xdp = &takers[0].packets[i].record;
		const struct nr_record *tap = &takers[1].packets[i].record;
		int64_t apart = (int64_t)(xdp->ts_ns - tap->ts_ns);

		cr_assert_eq(xdp->flow_hash, tap->flow_hash);
		late += apart < 0 || apart > 1000000;
	}
	cr_assert(late <= 20, "%u of 1000 are over 1 ms apart", late);
	taker_close(&takers[0]);
	taker_close(&takers[1]);
	live_stop(&live);
}

static void check_tag(const struct taken *t, const struct traffic_frame *frame)
{
	size_t size = traffic_build(frame, frame_bytes);

	cr_assert_eq(t->record.flags & (NR_VLAN | NR_VLAN_IN_BAND),
		     NR_VLAN | NR_VLAN_IN_BAND);
	cr_assert_eq(t->record.vlan_tci, frame->vlan[0].tci);
	cr_assert_eq(t->record.vlan_tpid, 0x8100);
	cr_assert_eq(t->record.caplen, size);
	cr_assert_eq(memcmp(t->bytes, frame_bytes, size), 0);
	cr_assert_eq(t->record.flow_hash,
		     flow_hash(frame_bytes, (uint32_t)size, 1));
}

BOTH(a_tag_in_the_bytes_is_in_the_record_too)
{
	struct traffic_frame frame = { .vlan_count = 1,
				       .vlan = { { 0, 0x6064 } } };

	live_broker(&live, SOURCE CHANNEL, mode);
	taker_open(&takers[0], "all", 0);
	cr_assert_eq(traffic_send_like(live.traffic, &frame, 1, 0), 0);
	taker_wait(&takers[0], 1);
	check_tag(&takers[0].packets[0], &frame);
	taker_close(&takers[0]);
	live_stop(&live);
}

/* A tag that goes beside the bytes, as the offloads of a NIC leave it. */
static void push_tags(uint16_t tci)
{
	struct bpf_insn program[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K,
		  .dst_reg = 2,
		  .imm = 0x0081 }, /* 0x8100 in network order */
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K,
		  .dst_reg = 3,
		  .imm = tci },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_skb_vlan_push },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int link, fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "tag", "GPL",
				     program, 5, NULL);

	cr_assert(fd >= 0, "%s", strerror(errno));
	link = bpf_link_create(fd, (int)if_nametoindex("outside"), TCX_EGRESS,
			       NULL);
	if (link < 0)
		cr_skip_test("needs tcx (Linux 6.6)");
}

Test(xdp, a_tag_beside_the_bytes_is_put_back_in_driver_mode)
{
	struct traffic_frame frame = { .seq = 7 };
	struct traffic_frame tagged = {
		.seq = 7, .size = 64, .vlan_count = 1, .vlan = { { 0, 0x123 } }
	};
	size_t size;

	push_tags(0x123);
	live_broker(&live,
		    SOURCE CHANNEL "[channel v]\nsource = s\n"
				   "filter = vlan 0x123 and udp\n",
		    "driver");
	taker_open(&takers[0], "all", 0);
	taker_open(&takers[1], "v", 0);
	size = traffic_build(&frame, frame_bytes);
	send_through("outside", frame_bytes, size);
	taker_wait(&takers[0], 1);
	taker_wait(&takers[1], 1);
	check_tag(&takers[0].packets[0], &tagged);
	check_tag(&takers[1].packets[0], &tagged);
	cr_assert_not(broker_said(&live.broker, "rx-vlan-offload"));
	taker_close(&takers[0]);
	taker_close(&takers[1]);
	live_stop(&live);
}

Test(xdp, tags_that_cannot_be_read_are_warned_of)
{
	live_broker(&live, SOURCE CHANNEL, "generic");
	cr_assert(broker_said(&live.broker, "rx-vlan-offload is on"));
	live_stop(&live);
}

static uint32_t last_flags(void)
{
	size_t count = taker_take(&takers[0]);

	return takers[0].packets[count - 1].record.flags;
}

Test(xdp, tells_who_a_packet_is_for)
{
	static const uint8_t all[6] = { 255, 255, 255, 255, 255, 255 };
	static const uint8_t some[6] = { 1, 0, 0x5e, 0, 0, 1 };
	struct traffic_frame frame = { 0 };
	uint8_t own[6];

	network_run(&live.network,
		    "ip link set inside address 02:11:22:33:44:55");
	memcpy(own, "\x02\x11\x22\x33\x44\x55", 6);
	live_broker(&live, SOURCE CHANNEL, "driver");
	taker_open(&takers[0], "all", 0);
	cr_assert_eq(traffic_send_like(live.traffic, &frame, 1, 0), 0);
	memcpy(frame.to, own, 6);
	cr_assert_eq(traffic_send_like(live.traffic, &frame, 1, 0), 0);
	memcpy(frame.to, all, 6);
	cr_assert_eq(traffic_send_like(live.traffic, &frame, 1, 0), 0);
	memcpy(frame.to, some, 6);
	cr_assert_eq(traffic_send_like(live.traffic, &frame, 1, 0), 0);
	taker_wait(&takers[0], 4);
	cr_assert_eq(takers[0].packets[0].record.flags, NR_OTHER_HOST);
	cr_assert_eq(takers[0].packets[1].record.flags, NR_TO_HOST);
	cr_assert_eq(takers[0].packets[2].record.flags, NR_BROADCAST);
	cr_assert_eq(takers[0].packets[3].record.flags, NR_MULTICAST);
	/* Its address changes while it runs. */
	network_run(&live.network,
		    "ip link set inside address 02:11:22:33:44:66");
	own[5] = 0x66;
	memcpy(frame.to, own, 6);
	eventually((traffic_send_like(live.traffic, &frame, 1, 0),
		    last_flags() == NR_TO_HOST));
	taker_close(&takers[0]);
	live_stop(&live);
}

/* ----------------------------------------------------------------- memory */

/* A batch of a loaned channel, with a packet in it. */
static void get_batch(struct nr_batch *batch)
{
	live_broker(&live, SOURCE CHANNEL, "driver");
	taker_open(&takers[0], "all", 0);
	send_mix(0, 1);
	cr_assert_eq(nr_capture_recv(takers[0].capture, batch, 10000), 1);
}

Test(xdp, a_loaned_channel_reads_frames_where_the_kernel_put_them)
{
	struct nr_batch batch;
	struct nr_msg_source *s = &stat.source[0];

	get_batch(&batch);
	broker_read_stat(&stat, NULL);
	cr_assert_eq(batch.region_size, (uint64_t)s->frames * 2048);
	/* 256 bytes of the kernel's in front, and 24 for the words */
	cr_assert_eq(nr_batch_record(&batch, 0)->offset % 2048, 280);
	nr_batch_release(&batch);
	taker_close(&takers[0]);
	live_stop(&live);
}

Test(xdp, a_consumer_cannot_write_a_frame, .signal = SIGSEGV)
{
	struct nr_batch batch;
	const uint8_t *data;

	get_batch(&batch);
	data = nr_batch_data(&batch, nr_batch_record(&batch, 0));
	*(volatile uint8_t *)(uintptr_t)data = 0;
}

Test(xdp, a_consumer_cannot_make_frames_writable)
{
	struct nr_batch batch;
	void *region;

	get_batch(&batch);
	region = (void *)(uintptr_t)batch.region;
	cr_assert_eq(mprotect(region, batch.region_size,
			      PROT_READ | PROT_WRITE),
		     -1);
	cr_assert_eq(errno, EACCES);
	nr_batch_release(&batch);
	taker_close(&takers[0]);
	live_stop(&live);
}

/* How many mappings of frames a process has, and how many it may write. */
static void count_maps(pid_t pid, unsigned *all, unsigned *writable)
{
	char line[512];
	FILE *file;

	snprintf(line, sizeof(line), "/proc/%d/maps", pid);
	file = fopen(line, "re");
	cr_assert(file);
	*all = *writable = 0;
	while (fgets(line, sizeof(line), file)) {
		if (!strstr(line, "netring-umem"))
			continue;
		++*all;
		*writable += strstr(line, " rw") != NULL;
	}
	fclose(file);
}

Test(xdp, neither_the_engine_nor_the_warden_can_write_frames)
{
	unsigned all, writable;

	live_broker(&live, SOURCE CHANNEL, "driver");
	count_maps(broker_engine(&live.broker), &all, &writable);
	cr_assert(all > 0 && writable == 0);
	count_maps(live.broker.pid, &all, &writable);
	cr_assert_eq(writable, 0);
	live_stop(&live);
}

/* -------------------------------------------------------------- statistics */

/*
 * The lane cannot take packets while it is stopped: what its few frames do not
 * hold is dropped by the kernel, and counted once.
 */
BOTH(packets_dropped_by_the_kernel_are_counted_once)
{
	struct nr_msg_source *s = &stat.source[0];

	live_broker(&live, SOURCE "fill_ring = 128\nrx_ring = 64\n" CHANNEL,
		    mode);
	taker_open(&takers[0], "all", 0);
	cr_assert_eq(kill(broker_engine(&live.broker), SIGSTOP), 0);
	send_mix(0, 1000);
	cr_assert_eq(kill(broker_engine(&live.broker), SIGCONT), 0);
	taker_wait(&takers[0], 64);
	/* The way through the pair may be under way still. */
	eventually((broker_read_stat(&stat, NULL),
		    s->captured + s->kernel_drops == 1000));
	cr_assert(s->kernel_drops > 0);
	cr_assert_eq(s->kernel_drops, s->xdp_dropped + s->xdp_ring_full);
	cr_assert(s->xdp_fill_empty > 0);
	cr_assert_eq(s->xdp_invalid, 0);
	cr_assert_eq(s->xdp_flags,
		     strcmp(mode, "driver") ? NR_XDP | NR_XDP_GENERIC : NR_XDP);
	taker_take(&takers[0]);
	cr_assert_eq(takers[0].count, s->captured);
	taker_close(&takers[0]);
	live_stop(&live);
}

/* ------------------------------------------------------------ super-frames */

#define SUPER 10000u

/* A TCP segment that is left to the device to be cut into packets. */
static void send_super_frame(void)
{
	struct traffic_frame frame = { .size = SUPER, .protocol = 6 };
	struct virtio_net_hdr header = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		.hdr_len = 54,
		.gso_size = 1400,
		.csum_start = 34,
		.csum_offset = 16,
	};
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_ifindex = (int)if_nametoindex("outside"),
	};
	static uint8_t bytes[sizeof(header) + TRAFFIC_FRAME_MAX];
	int on = 1, fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	size_t size = sizeof(header);

	memcpy(bytes, &header, sizeof(header));
	size += traffic_build(&frame, bytes + sizeof(header));
	cr_assert(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on,
			     sizeof(on)) == 0);
	cr_assert_eq(sendto(fd, bytes, size, 0, (struct sockaddr *)&address,
			    sizeof(address)),
		     (ssize_t)size, "%s", strerror(errno));
	close(fd);
}

/*
 * The peer of a virtual interface leaves segmenting to it, and in generic mode
 * the kernel does not segment before the program either: what no frame holds is
 * dropped, counted, and told.
 */
Test(xdp, super_frames_are_dropped_counted_and_told_of_in_generic_mode)
{
	static struct command command;
	struct nr_msg_source *s = &stat.source[0];

	live_broker(&live, SOURCE CHANNEL, "generic");
	taker_open(&takers[0], "all", 0);
	send_super_frame();
	eventually((broker_read_stat(&stat, NULL), s->xdp_dropped == 1));
	cr_assert_eq(s->kernel_drops, 1);
	cr_assert_eq(s->captured, 0);
	cr_assert_eq(command_run(&command, "netring stat"), 0);
	cr_assert(strstr(command.out, " 1: 1 dropped "), "%s", command.out);
	broker_read_stat(&stat, NULL);
	cr_assert_eq(broker_said_times(&live.broker,
				       "10000 bytes did not fit a frame"),
		     1);
	send_mix(0, 10);
	taker_wait(&takers[0], 10);
	taker_close(&takers[0]);
	live_stop(&live);
}

Test(xdp, super_frames_come_as_packets_in_driver_mode)
{
	live_broker(&live, SOURCE CHANNEL, "driver");
	taker_open(&takers[0], "all", 0);
	send_super_frame();
	taker_wait(&takers[0], 8);
	for (size_t i = 0; i < takers[0].count; i++)
		cr_assert_leq(takers[0].packets[i].record.caplen, 1514);
	taker_close(&takers[0]);
	live_stop(&live);
}

/* The longest of what comes of segments that arrive together. */
static uint32_t longest_of_segments(void)
{
	uint32_t longest = 0, all = 0;

	send_super_frame();
	/* Each has headers of 54 bytes; merged, they have them once. */
	while (all < SUPER - 54) {
		taker_wait(&takers[0], takers[0].count + 1);
		longest = all = 0;
		for (size_t i = 0; i < takers[0].count; i++) {
			uint32_t size = takers[0].packets[i].record.caplen;

			longest = size > longest ? size : longest;
			all += size - 54;
		}
	}
	return longest;
}

Test(xdp, gro_does_not_merge_what_comes_in_generic_mode)
{
	network_run(&live.network, "ethtool -K outside tso off gso off\n"
				   "ethtool -K inside gro on");
	broker_start(&live.broker, live.network.netns,
		     "[source s]\ninterface = inside\n" CHANNEL);
	taker_open(&takers[0], "all", 0);
	cr_assert_gt(longest_of_segments(), 1514, "GRO merges nothing here");
	taker_close(&takers[0]);
	broker_stop(&live.broker);
	live_broker(&live, SOURCE CHANNEL, "generic");
	taker_open(&takers[0], "all", 0);
	cr_assert_leq(longest_of_segments(), 1514);
	cr_assert_eq(live_count().drops, 0);
	taker_close(&takers[0]);
	live_stop(&live);
}

Test(xdp, offloads_are_off_while_it_runs_and_put_back)
{
	network_run(&live.network, "ethtool -K inside gro on rxvlan on");
	live_broker(&live, SOURCE "offloads = off\n" CHANNEL, "generic");
	network_run(
		&live.network,
		"ethtool -k inside | grep -q 'generic-receive-offload: off'\n"
		"ethtool -k inside | grep -q 'rx-vlan-offload: off'");
	cr_assert_not(broker_said(&live.broker, "rx-vlan-offload is on"));
	live_stop(&live);
	network_run(
		&live.network,
		"ethtool -k inside | grep -q 'generic-receive-offload: on'\n"
		"ethtool -k inside | grep -q 'rx-vlan-offload: on'");
}
