/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Taking packets away from the host must be meant, also when the host comes to
 * need them later: then it has them, at once, and captures are told.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <string.h>

#include "live.h"

static struct live live;
static struct taker taker;
static int tap;

#define SOURCE                                                                 \
	"[source s]\nbackend = xdp\ninterface = inside\nsmall_pages = yes\n"   \
	"frame_count = 8192\n"
#define CHANNEL "[channel all]\nsource = s\n"

static void make_network(void)
{
	live_network(&live);
	stay_on_cpu(0);
	tap = live_tap("inside");
}

TestSuite(xdp_needs, .init = make_network, .timeout = 60);

static void run(const char *command)
{
	network_run(&live.network, "%s", command);
}

static void send_frames(uint64_t count)
{
	struct traffic_frame frame = { .seq = 1 };

	cr_assert_eq(traffic_send_like(live.traffic, &frame, count, 0), 0);
}

static bool is_in_state(enum nr_source_state state)
{
	return live_count().state_mask == 1u << state;
}

static void expect_the_host_to_get_packets(void)
{
	bool has = false;

	eventually((send_frames(1), sleep_ms(1),
		    has = has || live_tap_got(tap) > 0));
}

/* An attach is refused: the client and the log are told why. */
static void expect_refusal(const char *words)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	char text[NR_TEXT_MAX] = "";
	struct nr_capture *capture;
	int err;

	options.error_text = text;
	options.error_text_size = sizeof(text);
	err = nr_capture_open("all", &options, &capture);
	cr_assert_eq(err, -EADDRINUSE, "%s: %s", nr_strerror(err), text);
	cr_assert(strstr(text, "inside") && strstr(text, "exclusive = yes"),
		  "%s", text);
	cr_assert(broker_said(&live.broker, words));
	expect_the_host_to_get_packets();
}

static void expect_packets(void)
{
	taker_open(&taker, "all", 0);
	send_frames(10);
	taker_wait(&taker, 10);
	taker_close(&taker);
}

/* @come and @go are shell commands. */
static void check_late(const char *come, const char *go, const char *words)
{
	live_broker(&live, SOURCE CHANNEL);
	run(come);
	expect_refusal(words);
	expect_refusal(words);
	cr_assert_eq(broker_said_times(&live.broker, words), 1);
	run(go);
	expect_packets();
	live_stop(&live);
}

Test(xdp_needs, an_address_that_came_after_the_start_refuses_an_attach)
{
	check_late("ip addr add 10.9.8.7/24 dev inside",
		   "ip addr del 10.9.8.7/24 dev inside",
		   "inside has the address 10.9.8.7");
}

Test(xdp_needs, an_address_with_a_label_is_one_too)
{
	check_late("ip addr add 10.9.8.7/24 dev inside label inside:1",
		   "ip addr del 10.9.8.7/24 dev inside",
		   "inside has the address 10.9.8.7");
}

Test(xdp_needs, a_default_route_of_another_table_is_one_too)
{
	check_late("ip route add default dev inside scope link table 77",
		   "ip route del default dev inside table 77",
		   "inside holds the default route");
}

Test(xdp_needs, a_default_route_over_several_interfaces_is_one_too)
{
	check_late("ip route add default nexthop dev outside "
		   "nexthop dev inside",
		   "ip route del default", "inside holds the default route");
}

Test(xdp_needs, a_port_of_a_bridge_is_needed)
{
	run("ip link add br0 type bridge");
	check_late("ip link set inside master br0",
		   "ip link set inside nomaster", "inside is a port of br0");
}

Test(xdp_needs, an_ipv6_address_is_one_and_the_automatic_one_is_not)
{
	run("sysctl -qw net.ipv6.conf.inside.accept_dad=0 "
	    "net.ipv6.conf.inside.disable_ipv6=0\n"
	    "ip -6 addr show dev inside | grep -q 'inet6 fe80'");
	live_broker(&live, SOURCE CHANNEL);
	taker_open(&taker, "all", 0);
	taker_close(&taker);
	live_stop(&live);
	cr_assert_eq(traffic_open(&live.traffic, "outside"), 0);
	check_late("ip -6 addr add 2001:db8::7/64 dev inside nodad",
		   "ip -6 addr del 2001:db8::7/64 dev inside",
		   "inside has the address 2001:db8::7");
}

Test(xdp_needs, a_link_local_address_that_somebody_gave_counts)
{
	run("sysctl -qw net.ipv6.conf.inside.accept_dad=0 "
	    "net.ipv6.conf.inside.disable_ipv6=0");
	check_late("ip -6 addr add fe80::7/64 dev inside nodad",
		   "ip -6 addr del fe80::7/64 dev inside",
		   "inside has the address fe80::7");
}

/* ---------------------------------------------------- while somebody reads */

static void check_running(const char *come, const char *go)
{
	size_t before;

	live_broker(&live, SOURCE CHANNEL);
	taker_open(&taker, "all", 0);
	send_frames(10);
	taker_wait(&taker, 10);
	cr_assert_eq(live_tap_got(tap), 0);
	run(come);
	eventually(is_in_state(NR_SOURCE_TO_HOST));
	expect_the_host_to_get_packets();
	before = taker_take(&taker);
	send_frames(10);
	cr_assert_eq(live_count().captured, before);
	cr_assert(broker_said(&live.broker, "packets are left to the host"));
	expect_refusal("packets are left to the host");
	run(go);
	eventually(is_in_state(NR_SOURCE_RUNNING));
	send_frames(10);
	taker_wait(&taker, before + 10);
	cr_assert_eq(broker_said_times(&live.broker,
				       "packets are left to the host"),
		     1);
	taker_close(&taker);
	live_stop(&live);
}

Test(xdp_needs, an_address_that_comes_while_it_runs_gives_the_packets_back)
{
	check_running("ip addr add 10.9.8.7/24 dev inside",
		      "ip addr del 10.9.8.7/24 dev inside");
}

Test(xdp_needs, a_macvlan_that_comes_gives_the_packets_back)
{
	check_running("ip link add link inside name upper type macvlan",
		      "ip link del upper");
}

Test(xdp_needs, a_default_route_that_comes_gives_the_packets_back)
{
	check_running("ip route add default dev inside scope link",
		      "ip route del default dev inside");
}

/* It is asked again what it needs, and what for: nobody reads. */
Test(xdp_needs, what_comes_and_goes_while_nobody_reads_takes_no_packet)
{
	int passed = 0;

	live_broker(&live, SOURCE CHANNEL);
	expect_packets();
	run("ip addr add 10.9.8.7/24 dev inside");
	run("ip addr del 10.9.8.7/24 dev inside");
	(void)live_tap_got(tap);
	/* A second, in which each of them passes. */
	for (int sent = 1; sent <= 100; sent++, sleep_ms(10)) {
		send_frames(1);
		eventually((passed += (int)live_tap_got(tap)) >= sent);
	}
	live_stop(&live);
}

Test(xdp_needs, a_host_that_was_told_to_do_without_does)
{
	live_broker(&live, SOURCE "exclusive = yes\n" CHANNEL);
	taker_open(&taker, "all", 0);
	run("ip addr add 10.9.8.7/24 dev inside");
	taker_close(&taker);
	expect_packets();
	cr_assert_eq(live_tap_got(tap), 0);
	live_stop(&live);
}
