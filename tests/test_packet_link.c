/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interfaces that go down, go away and come back under traffic, and those that
 * are not Ethernet.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "flow.h"
#include "live.h"

#define ETHERNET_HEADER 14
#define LINKTYPE_RAW 101

static struct live live;
static struct taker taker;
static uint8_t frame_bytes[TRAFFIC_FRAME_MAX];

#define CHANNEL "[channel all]\nsource = s\n"

TestSuite(packet_link, .timeout = 120);

static void stop(void)
{
	taker_close(&taker);
	live_stop(&live);
}

/* --------------------------------------------------------- going and coming */

static void describe(struct traffic_frame *frame, uint64_t seq,
		     const void *data)
{
	(void)data;
	*frame = (struct traffic_frame){ .seq = seq, .flow = seq % 32 };
}

static struct stream_of_frames frames = {
	.interface = "outside",
	.describe = describe,
	.rate = 2000,
	.cpu = 0,
};

static void start_capture(unsigned lanes)
{
	live_network(&live);
	live_broker(&live,
		    "[source s]\ninterface = inside\nlanes = %u\n" CHANNEL,
		    lanes);
	taker_open(&taker, "all", 0);
	frames_start(&frames);
	taker_wait(&taker, 500);
}

static void make_pair(void)
{
	network_run(&live.network,
		    "ip link add outside type veth peer name inside\n"
		    "ip link set outside up\nip link set inside up");
}

/* Whether all lanes are in this state. */
static bool is_in_state(enum nr_source_state state)
{
	return live_count().state_mask == UINT64_C(1) << state;
}

/* More arrives, and what arrives is whole and new. */
static void check_goes_on(void)
{
	static uint8_t times_seen[1 << 20];

	taker_wait(&taker, taker_take(&taker) + 500);
	memset(times_seen, 0, sizeof(times_seen));
	for (size_t i = 0; i < taker.count; i++) {
		const struct taken *t = &taker.packets[i];
		uint64_t seq;

		cr_assert(traffic_seq(t->bytes, t->record.caplen, &seq));
		cr_assert_lt(seq, sizeof(times_seen));
		cr_assert_eq(times_seen[seq]++, 0, "a frame twice");
	}
}

static void go_down_and_up(unsigned lanes)
{
	unsigned long cpu_ms;

	start_capture(lanes);
	for (unsigned round = 1; round <= 3; round++) {
		network_run(&live.network, "ip link set inside down");
		eventually(is_in_state(NR_SOURCE_DOWN));
		cpu_ms = process_cpu_ms(broker_engine(&live.broker));
		sleep_ms(500);
		/* It looks now and then, and does not spin on the error. */
		cr_assert_lt(process_cpu_ms(broker_engine(&live.broker)),
			     cpu_ms + 100);
		network_run(&live.network, "ip link set inside up");
		eventually(is_in_state(NR_SOURCE_RUNNING));
		check_goes_on();
		cr_assert_eq(broker_said_times(&live.broker, "inside is down"),
			     round);
		cr_assert_eq(broker_said_times(&live.broker,
					       "inside is up again"),
			     round);
	}
	frames_stop(&frames);
	stop();
}

Test(packet_link, that_is_down_for_a_while_is_captured_on)
{
	go_down_and_up(1);
}

Test(packet_link, that_is_down_for_a_while_is_captured_on_by_all_lanes)
{
	go_down_and_up(4);
}

static void go_and_return(unsigned lanes)
{
	start_capture(lanes);
	for (unsigned round = 1; round <= 3; round++) {
		network_run(&live.network, "ip link del inside");
		eventually(is_in_state(NR_SOURCE_GONE));
		make_pair();
		eventually(is_in_state(NR_SOURCE_RUNNING));
		check_goes_on();
		cr_assert_eq(broker_said_times(&live.broker, "inside is gone"),
			     round);
		cr_assert_eq(broker_said_times(&live.broker,
					       "inside is up again"),
			     round);
		/* It may be seen on its way. */
		cr_assert_leq(broker_said_times(&live.broker, "inside is down"),
			      round);
	}
	frames_stop(&frames);
	stop();
}

Test(packet_link, that_is_deleted_and_made_again_is_captured_on)
{
	go_and_return(1);
}

Test(packet_link, that_is_deleted_and_made_again_is_captured_on_by_all_lanes)
{
	go_and_return(4);
}

Test(packet_link, that_is_made_again_at_once_is_captured_on)
{
	start_capture(2);
	for (unsigned round = 0; round < 5; round++) {
		network_run(&live.network, "ip link del inside");
		make_pair();
		check_goes_on();
	}
	cr_assert_eq(broker_said_times(&live.broker, "inside is gone"), 5);
	frames_stop(&frames);
	stop();
}

/* It keeps its name and its index, but sockets lose it. */
Test(packet_link, that_was_in_another_namespace_is_captured_on)
{
	struct network other;

	start_capture(2);
	network_make(&other);
	network_run(&other, "ip link del inside");
	network_run(&live.network, "ip link set inside netns %s", other.netns);
	network_run(&other, "ip link set inside netns %s", live.network.netns);
	network_run(&live.network, "ip link set inside up");
	check_goes_on();
	frames_stop(&frames);
	network_remove(&other);
	stop();
}

/* Memory for socket options of this namespace: for a short filter only. */
static void limit_filters(unsigned bytes)
{
	network_run(&live.network, "echo %u >/proc/sys/net/core/optmem_max",
		    bytes);
}

/* It was behind a filter that rejects all, and stayed there. */
Test(packet_link, whose_filter_cannot_be_had_for_a_while_is_captured_on)
{
	pid_t engine;

	live_network(&live);
	live_broker(&live,
		    "[source s]\ninterface = inside\nlanes = 2\n"
		    "filter = not (portrange 1-2 or portrange 4-5 or "
		    "portrange 7-8 or tcp port 10 or udp port 11)\n" CHANNEL);
	taker_open(&taker, "all", 0);
	frames_start(&frames);
	taker_wait(&taker, 500);
	engine = broker_engine(&live.broker);
	limit_filters(300);
	network_run(&live.network, "ip link del inside");
	make_pair();
	eventually(broker_said(&live.broker, "source s: its filter"));
	limit_filters(1 << 16);
	check_goes_on();
	cr_assert_eq(broker_engine(&live.broker), engine);
	frames_stop(&frames);
	stop();
}

Test(packet_link, that_is_down_at_the_start_is_captured_when_it_is_up)
{
	live_network(&live);
	network_run(&live.network, "ip link set inside down");
	live_broker(&live,
		    "[source s]\ninterface = inside\nlanes = 2\n" CHANNEL);
	taker_open(&taker, "all", 0);
	eventually(is_in_state(NR_SOURCE_DOWN));
	frames_start(&frames);
	network_run(&live.network, "ip link set inside up");
	check_goes_on();
	cr_assert_eq(broker_said_times(&live.broker, "inside is down"), 1);
	frames_stop(&frames);
	stop();
}

Test(packet_link, that_is_gone_harms_no_other_of_its_source)
{
	struct traffic_frame frame = { .seq = 1 };

	live_network(&live);
	network_run(&live.network, "ip link add gone type veth peer name peer\n"
				   "ip link set gone up");
	live_broker(&live, "[source s]\ninterface = gone, inside\n" CHANNEL);
	taker_open(&taker, "all", 0);
	network_run(&live.network, "ip link del gone");
	eventually(broker_said(&live.broker, "gone is gone"));
	cr_assert_eq(traffic_send_like(live.traffic, &frame, 1000, 0), 0);
	live_settle(&taker, 1, 1000);
	cr_assert_eq(taker.count, 1000);
	stop();
}

/* -------------------------------------------------------------------- tun */

/* A tun interface, up; what is written to it arrives there. */
static int make_tun(int mode)
{
	struct ifreq request = { .ifr_flags = (short)(mode | IFF_NO_PI) };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (fd < 0 && (errno == ENOENT || errno == ENODEV))
		cr_skip_test("needs /dev/net/tun");
	cr_assert_geq(fd, 0, "/dev/net/tun: %s", strerror(errno));
	strcpy(request.ifr_name, "tun9");
	cr_assert_eq(ioctl(fd, TUNSETIFF, &request), 0, "%s", strerror(errno));
	network_run(&live.network, "ip link set tun9 up");
	return fd;
}

/* Frame @seq without its Ethernet header. */
static size_t build_ip(uint64_t seq)
{
	struct traffic_frame frame;

	traffic_mix(&frame, seq, NULL);
	return traffic_build(&frame, frame_bytes) - ETHERNET_HEADER;
}

static void write_ip(int tun, uint64_t count)
{
	for (uint64_t seq = 0; seq < count; seq++) {
		size_t size = build_ip(seq);

		cr_assert_eq(write(tun, frame_bytes + ETHERNET_HEADER, size),
			     (ssize_t)size);
	}
}

Test(packet_link, without_ethernet_gives_raw_ip)
{
	struct taker udp;
	uint64_t udp_count = 0;
	int tun;

	live_network(&live);
	stay_on_cpu(0);
	tun = make_tun(IFF_TUN);
	live_broker(&live, "[source s]\ninterface = tun9\n" CHANNEL
			   "[channel udp]\nsource = s\nfilter = udp\n");
	taker_open(&taker, "all", 0);
	taker_open(&udp, "udp", 0);
	write_ip(tun, 2000);
	live_settle(&taker, 1, 2000);
	cr_assert_eq(taker.count, 2000);
	for (size_t i = 0; i < 2000; i++) {
		const struct taken *t = &taker.packets[i];
		size_t size = build_ip(i);

		cr_assert_eq(t->link_type, LINKTYPE_RAW);
		cr_assert_eq(t->record.caplen, size);
		cr_assert_eq(t->record.wirelen, size);
		cr_assert_eq(memcmp(t->bytes, frame_bytes + ETHERNET_HEADER,
				    size),
			     0);
		/* the flow is the same as on Ethernet */
		cr_assert_eq(t->record.flow_hash,
			     flow_hash(frame_bytes, (uint32_t)size + 14, 1));
		udp_count += t->bytes[0] >> 4 == 4 ?
				     t->bytes[9] == IPPROTO_UDP :
				     t->bytes[6] == IPPROTO_UDP;
	}
	taker_take(&udp);
	cr_assert_eq(udp.count, udp_count);
	taker_close(&udp);
	close(tun);
	stop();
}

/* netring dump writes what tcpdump reads as the same. */
Test(packet_link, without_ethernet_is_written_as_raw_ip)
{
	int tun;

	live_network(&live);
	tun = make_tun(IFF_TUN);
	live_broker(&live, "[source s]\ninterface = tun9\n" CHANNEL);
	taker_open(&taker, "all", 0);
	network_run(&live.network,
		    NETRING_TOOL
		    " dump all -c 50 -w %s 2>/dev/null &\n"
		    "until " NETRING_TOOL " list --json | tr -d ' ' | "
		    "grep -q '\"captures\":2'; do sleep 0.01; done",
		    test_path("raw.pcap"));
	write_ip(tun, 50);
	live_settle(&taker, 1, 50);
	network_run(&live.network,
		    "until [ $(tcpdump -nr %s 2>/dev/null | wc -l) = 50 ]; do "
		    "sleep 0.01; done; tcpdump -nr %s 2>&1 | grep -q 'RAW'",
		    test_path("raw.pcap"), test_path("raw.pcap"));
	close(tun);
	stop();
}

/* Its snap length alone is no filter. */
Test(packet_link, without_ethernet_can_be_cut_in_the_kernel)
{
	int tun;

	live_network(&live);
	tun = make_tun(IFF_TUN);
	live_broker(&live,
		    "[source s]\ninterface = tun9\nsnaplen = 40\n" CHANNEL);
	taker_open(&taker, "all", 0);
	write_ip(tun, 100);
	live_settle(&taker, 1, 100);
	for (size_t i = 0; i < 100; i++) {
		cr_assert_eq(taker.packets[i].record.caplen, 40);
		cr_assert_eq(taker.packets[i].record.wirelen, build_ip(i));
	}
	close(tun);
	stop();
}

/* Runs a broker that must not start, and says why. */
static void check_refused(const char *config, const char *words)
{
	FILE *file = fopen(test_path("refused.conf"), "we");

	cr_assert(file);
	fprintf(file, "[broker]\nsocket = %s\n%s", test_path("refused.sock"),
		config);
	fclose(file);
	network_run(&live.network,
		    "code=0; timeout 20 " NETRINGD
		    " -c %s >%s 2>&1 || code=$?\n"
		    "[ $code != 0 ] && [ $code != 124 ] && grep -q '%s' %s",
		    test_path("refused.conf"), test_path("refused.log"), words,
		    test_path("refused.log"));
}

Test(packet_link, without_ethernet_takes_no_filter_of_a_source)
{
	int tun;

	live_network(&live);
	tun = make_tun(IFF_TUN);
	check_refused("[source s]\ninterface = tun9\nfilter = udp\n" CHANNEL,
		      "lane 0 on tun9: .*filter of a source is for Ethernet.*"
		      "in the channel");
	close(tun);
	traffic_close(live.traffic);
}

Test(packet_link, of_tap_is_ethernet)
{
	struct traffic_frame frame = { .seq = 3 };
	size_t size = traffic_build(&frame, frame_bytes);
	int tap;

	live_network(&live);
	tap = make_tun(IFF_TAP);
	live_broker(&live,
		    "[source s]\ninterface = tun9\nfilter = udp\n" CHANNEL);
	taker_open(&taker, "all", 0);
	cr_assert_eq(write(tap, frame_bytes, size), (ssize_t)size);
	live_settle(&taker, 1, 1);
	cr_assert_eq(taker.packets[0].link_type, 1);
	cr_assert_eq(taker.packets[0].record.caplen, size);
	cr_assert_eq(memcmp(taker.packets[0].bytes, frame_bytes, size), 0);
	close(tap);
	stop();
}

/* Under the same name comes another kind: the records say so. */
Test(packet_link, that_returns_as_another_kind_has_another_link_type)
{
	int tun;

	live_network(&live);
	tun = make_tun(IFF_TAP);
	live_broker(&live, "[source s]\ninterface = tun9\n" CHANNEL);
	taker_open(&taker, "all", 0);
	traffic_build(&(struct traffic_frame){ .seq = 1 }, frame_bytes);
	cr_assert_eq(write(tun, frame_bytes, 60), 60);
	taker_wait(&taker, 1);
	close(tun);
	eventually(is_in_state(NR_SOURCE_GONE));
	tun = make_tun(IFF_TUN);
	eventually(is_in_state(NR_SOURCE_RUNNING));
	write_ip(tun, 10);
	taker_wait(&taker, 11);
	cr_assert_eq(taker.packets[0].link_type, 1);
	cr_assert_eq(taker.packets[10].link_type, LINKTYPE_RAW);
	cr_assert_eq(taker.packets[10].record.caplen, build_ip(9));
	close(tun);
	stop();
}
