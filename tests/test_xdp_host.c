/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * AF_XDP and the host: what is taken from it was meant, what nobody wants
 * passes, and whatever ends the broker leaves nothing on the interface.
 */
#include <criterion/criterion.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "live.h"

static struct live live;
static struct taker taker;
static struct command command;

#define SOURCE                                                                 \
	"[source s]\nbackend = xdp\ninterface = inside\nsmall_pages = yes\n"   \
	"frame_count = 8192\n"
#define CHANNEL "[channel all]\nsource = s\n"

static void make_network(void)
{
	live_network(&live);
	stay_on_cpu(0);
}

TestSuite(xdp_host, .init = make_network, .timeout = 300);

static void send_frames(uint64_t first, uint64_t count)
{
	struct traffic_frame frame = { .seq = first };

	cr_assert_eq(traffic_send_like(live.traffic, &frame, count, 0), 0);
}

static bool tap_gets_one(int fd)
{
	uint8_t bytes[2048];
	uint64_t seq;
	ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	return n > 0 && traffic_seq(bytes, (size_t)n, &seq);
}

static bool got_one;

/* Once true it stays so, as eventually() wants it. */
static bool tap_got_one(int fd)
{
	got_one = got_one || tap_gets_one(fd);
	return got_one;
}

static void write_config(const char *text)
{
	FILE *file = fopen(test_path("x.conf"), "we");

	cr_assert(file && fprintf(file, "[broker]\nsocket = %s\n%s",
				  test_path("x.sock"), text) > 0);
	fclose(file);
}

/* netringd refuses this configuration; what it says is in command.err. */
static void refuses(int status, const char *config, const char *words)
{
	write_config(config);
	cr_assert_eq(command_run(&command, "exec netringd -c %s",
				 test_path("x.conf")),
		     status, "%s", command.err);
	cr_assert(strstr(command.err, words), "not '%s' but: %s", words,
		  command.err);
	cr_assert_eq(live_program("inside"), 0);
}

/* --------------------------------------------------------- what is meant */

Test(xdp_host, an_interface_with_an_address_is_refused)
{
	network_run(&live.network, "ip addr add 10.9.8.7/24 dev inside");
	refuses(2, SOURCE CHANNEL, "inside has the address 10.9.8.7");
	cr_assert(strstr(command.err, "exclusive = yes"));
	traffic_close(live.traffic);
}

Test(xdp_host, an_interface_with_the_default_route_is_refused)
{
	network_run(&live.network,
		    "ip route add default dev inside scope link");
	refuses(2, SOURCE CHANNEL, "inside holds the default route");
	traffic_close(live.traffic);
}

/* Which the kernel does not spell out in the route. */
Test(xdp_host, an_interface_with_the_default_route_by_a_nexthop_is_refused)
{
	network_run(&live.network, "sysctl -qw net.ipv4.nexthop_compat_mode=0\n"
				   "ip nexthop add id 1 dev inside\n"
				   "ip route add default nhid 1");
	refuses(2, SOURCE CHANNEL, "inside holds the default route");
	network_run(&live.network, "ip nexthop del id 1\n"
				   "ip nexthop add id 2 dev outside\n"
				   "ip route add default nhid 2");
	live_broker(&live, SOURCE CHANNEL);
	live_stop(&live);
}

Test(xdp_host, an_interface_with_an_address_is_taken_when_that_is_meant)
{
	network_run(&live.network, "ip addr add 10.9.8.7/24 dev inside");
	live_broker(&live, SOURCE "exclusive = yes\n" CHANNEL);
	cr_assert(live_program("inside"));
	live_stop(&live);
}

Test(xdp_host, a_program_of_somebody_else_is_named_and_left)
{
	struct bpf_insn pass[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = XDP_PASS },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "somebodys", "GPL", pass, 2,
			       NULL);
	int inside = (int)if_nametoindex("inside");
	const uint32_t modes[] = { XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE };

	cr_assert(fd >= 0);
	for (int i = 0; i < 2; i++) {
		uint32_t id;

		cr_assert_eq(bpf_xdp_attach(inside, fd, modes[i], NULL), 0);
		id = live_program("inside");
		write_config(SOURCE CHANNEL);
		cr_assert_eq(command_run(&command, "exec netringd -c %s",
					 test_path("x.conf")),
			     1);
		cr_assert(strstr(command.err, "'somebodys'"), "%s",
			  command.err);
		cr_assert_eq(live_program("inside"), id);
		cr_assert_eq(bpf_xdp_detach(inside, modes[i], NULL), 0);
	}
	traffic_close(live.traffic);
}

Test(xdp_host, an_mtu_that_does_not_fit_a_frame_is_explained)
{
	static uint8_t bytes[TRAFFIC_FRAME_MAX];
	struct traffic_frame frame = { .size = 3014 };

	network_run(&live.network, "ip link set outside mtu 3000\n"
				   "ip link set inside mtu 3000");
	refuses(1, SOURCE CHANNEL, "MTU of 3000");
	cr_assert(strstr(command.err, "frame_size = 4096"), "%s", command.err);
	live_broker(&live, SOURCE "frame_size = 4096\n" CHANNEL);
	taker_open(&taker, "all", 0);
	cr_assert_eq(traffic_send_like(live.traffic, &frame, 1, 0), 0);
	taker_wait(&taker, 1);
	cr_assert_eq(taker.packets[0].record.caplen, 3014);
	cr_assert_eq(traffic_build(&frame, bytes), 3014);
	cr_assert_eq(memcmp(taker.packets[0].bytes, bytes, 3014), 0);
	taker_close(&taker);
	live_stop(&live);
}

Test(xdp_host, a_queue_that_is_not_there_is_told)
{
	refuses(1, SOURCE "queues = 3\n" CHANNEL,
		"inside has 1 receive queues, so no queue 3");
	traffic_close(live.traffic);
}

Test(xdp_host, zero_copy_that_the_driver_cannot_is_refused)
{
	refuses(1, SOURCE "bind = zerocopy\n" CHANNEL, "bind = zerocopy");
	traffic_close(live.traffic);
}

/* ----------------------------------------------------- what nobody wants */

static void check_passing(const char *mode)
{
	int tap = live_tap("inside");

	live_broker(&live, SOURCE "mode = %s\n" CHANNEL, mode);
	send_frames(0, 1);
	eventually(tap_got_one(tap));
	taker_open(&taker, "all", 0);
	send_frames(1, 1);
	taker_wait(&taker, 1);
	cr_assert_not(tap_gets_one(tap));
	taker_close(&taker);
	got_one = false;
	eventually((send_frames(2, 1), sleep_ms(1), tap_got_one(tap)));
	/* The engine is down, and the warden still there. */
	taker_open(&taker, "all", 0);
	while (tap_gets_one(tap))
		;
	kill(broker_engine(&live.broker), SIGKILL);
	got_one = false;
	eventually((send_frames(3, 1), sleep_ms(1), tap_got_one(tap)));
	cr_assert(live_program("inside"));
	nr_capture_close(taker.capture);
	close(tap);
	live_stop(&live);
}

Test(xdp_host, packets_that_nobody_wants_pass_in_driver_mode)
{
	check_passing("driver");
}

/* Between engines the host gets its packets, all of them. */
Test(xdp_host, packets_pass_while_there_is_no_engine)
{
	unsigned passed = 0;
	int tap = live_tap("inside");

	live_broker(&live, SOURCE CHANNEL);
	/* Engines that die young: the fourth is waited for. */
	for (unsigned i = 1; i <= 3; i++) {
		taker_open(&taker, "all", 0);
		send_frames(0, 1);
		taker_wait(&taker, 1);
		live_tap_got(tap);
		kill(broker_engine(&live.broker), SIGKILL);
		if (i < 3)
			eventually(broker_said_times(&live.broker, "serving") ==
				   i + 1);
		nr_capture_close(taker.capture);
	}
	eventually(broker_said(&live.broker, "in 400 ms"));
	send_frames(0, 100);
	for (int ms = 0; passed < 100 && ms < 5000; ms++) {
		passed += live_tap_got(tap);
		sleep_ms(1);
	}
	cr_assert_eq(passed, 100);
	eventually(broker_said_times(&live.broker, "serving") == 4);
	taker_open(&taker, "all", 0);
	send_frames(1, 10);
	taker_wait(&taker, 10);
	taker_close(&taker);
	close(tap);
	live_stop(&live);
}

/* The warden ends on an index that it does not know. */
Test(xdp_host, numbers_of_a_source_that_is_not_the_first_are_told)
{
	static struct broker_stat stat;

	live_broker(&live, "[source a]\ninterface = outside\n"
			   "[channel a]\nsource = a\n" SOURCE CHANNEL);
	taker_open(&taker, "all", 0);
	send_frames(0, 10);
	taker_wait(&taker, 10);
	broker_read_stat(&stat, NULL);
	cr_assert_eq(stat.sources, 2);
	cr_assert_str_eq(stat.source[1].backend, "xdp");
	cr_assert_eq(stat.source[1].captured, 10);
	cr_assert_eq(stat.source[1].kernel_drops, 0);
	taker_close(&taker);
	live_stop(&live);
}

Test(xdp_host, packets_that_nobody_wants_pass_in_generic_mode)
{
	check_passing("generic");
}

/* --------------------------------------------------------------- the end */

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

Test(xdp_host, a_broker_killed_under_traffic_leaves_nothing)
{
	struct stream_of_frames frames = { .describe = traffic_mix,
					   .rate = 20000,
					   .cpu = 1 };

	strcpy(frames.interface, "outside");
	frames_start(&frames);
	for (int i = 0; i < 50; i++) {
		int64_t start;
		int tap;

		live_broker(&live, SOURCE "mode = %s\n" CHANNEL,
			    i % 2 ? "driver" : "generic");
		taker_open(&taker, "all", 0);
		taker_wait(&taker, 100);
		cr_assert(live_program("inside"));
		broker_kill(&live.broker);
		start = now_ms();
		tap = live_tap("inside");
		while (live_program("inside") || !tap_gets_one(tap))
			cr_assert(now_ms() - start < 1000, "round %d", i);
		close(tap);
		taker_close(&taker);
	}
	frames_stop(&frames);
	traffic_close(live.traffic);
}

Test(xdp_host, a_broker_that_ends_leaves_nothing)
{
	live_broker(&live, SOURCE CHANNEL);
	cr_assert(live_program("inside"));
	live_stop(&live);
	cr_assert_eq(live_program("inside"), 0);
}

/* ----------------------------------------------------------------- links */

Test(xdp_host, a_link_that_goes_down_and_up_goes_on)
{
	live_broker(&live, SOURCE CHANNEL);
	taker_open(&taker, "all", 0);
	send_frames(0, 10);
	taker_wait(&taker, 10);
	network_run(&live.network, "ip link set inside down");
	eventually(live_count().state_mask == 1u << NR_SOURCE_DOWN);
	cr_assert(broker_said(&live.broker, "inside is down"));
	network_run(&live.network, "ip link set inside up");
	eventually(live_count().state_mask == 1u << NR_SOURCE_RUNNING);
	eventually((send_frames(100, 1), sleep_ms(1), taker_take(&taker) > 10));
	cr_assert(broker_said(&live.broker, "inside is up again"));
	taker_close(&taker);
	live_stop(&live);
}

Test(xdp_host, an_interface_that_is_made_anew_is_taken_again)
{
	size_t before = 0;

	live_broker(&live, SOURCE CHANNEL);
	taker_open(&taker, "all", 0);
	for (int i = 0; i < 3; i++) {
		send_frames(0, 300);
		taker_wait(&taker, before + 300);
		traffic_close(live.traffic);
		network_run(&live.network, "ip link del inside");
		eventually(live_count().state_mask == 1u << NR_SOURCE_GONE);
		network_run(&live.network,
			    "ip link add outside type veth peer name inside\n"
			    "ip link set outside up\nip link set inside up");
		eventually(live_count().state_mask == 1u << NR_SOURCE_RUNNING);
		cr_assert_eq(traffic_open(&live.traffic, "outside"), 0);
		before = taker.count;
	}
	cr_assert_eq(taker.gaps, 0);
	send_frames(0, 300);
	taker_wait(&taker, before + 300);
	taker_close(&taker);
	live_stop(&live);
}

Test(xdp_host, every_queue_has_a_lane)
{
	network_run(&live.network,
		    "ip link del inside\n"
		    "ip link add outside numrxqueues 4 numtxqueues 4 type veth "
		    "peer name inside numrxqueues 4 numtxqueues 4\n"
		    "ip link set outside up\nip link set inside up");
	traffic_close(live.traffic);
	cr_assert_eq(traffic_open(&live.traffic, "outside"), 0);
	live_broker(&live, SOURCE CHANNEL "[source t]\nbackend = xdp\n"
					  "interface = outside\nqueues = 2, 0\n"
					  "small_pages = yes\n");
	cr_assert(broker_said(&live.broker, "lane 3 on inside, queue 3"));
	cr_assert(broker_said(&live.broker, "lane 0 on outside, queue 2"));
	cr_assert(broker_said(&live.broker, "lane 1 on outside, queue 0"));
	taker_open(&taker, "all", 0);
	send_frames(0, 100);
	taker_wait(&taker, 100);
	taker_close(&taker);
	live_stop(&live);
}

/* ---------------------------------------------------------------- reload */

static void reload(const char *config)
{
	char path[140], text[NR_TEXT_MAX];
	FILE *file;

	snprintf(path, sizeof(path), "%.120s.conf", live.broker.socket);
	file = fopen(path, "we");
	cr_assert(file);
	fprintf(file,
		"[broker]\nsocket = %s\nmax_connections = 4096\n"
		"max_captures = 4096\nmax_guaranteed = 1000000\n"
		"attach_rate = 100000\n%s",
		live.broker.socket, config);
	fclose(file);
	cr_assert_eq(nr_broker_reload(NULL, text, sizeof(text)), 0, "%s", text);
}

/* It is told that the channel has changed, after all that it was given. */
static void expect_stale(struct nr_capture *capture)
{
	struct nr_batch batch;
	int err;

	while ((err = nr_capture_recv(capture, &batch, 10000)) == 1)
		nr_batch_release(&batch);
	cr_assert_eq(err, -ESTALE, "%s", nr_strerror(err));
}

Test(xdp_host, who_may_not_read_on_does_not_see_new_frames)
{
	static const char secret[] = "only for whom it is allowed now";
	uint8_t bytes[128] = { 0 };
	struct nr_batch batch;

	live_broker(&live, SOURCE CHANNEL "allow = everyone\n");
	taker_open(&taker, "all", 0);
	send_frames(0, 1);
	cr_assert_eq(nr_capture_recv(taker.capture, &batch, 10000), 1);
	reload(SOURCE CHANNEL "allow = user:root\n");
	expect_stale(taker.capture);
	{
		struct taker new;

		taker_open(&new, "all", 0);
		memcpy(bytes + 14, secret, sizeof(secret));
		for (int i = 0; i < 300; i++)
			cr_assert_eq(traffic_send_raw(live.traffic, bytes,
						      sizeof(bytes)),
				     0);
		taker_wait(&new, 300);
		taker_close(&new);
	}
	/* The old frames are mapped still: all of them. */
	cr_assert(memmem(batch.region, batch.region_size, secret,
			 sizeof(secret)) == NULL);
	nr_batch_release(&batch);
	taker_close(&taker);
	live_stop(&live);
}

Test(xdp_host, a_source_that_changes_is_opened_as_it_is_now)
{
	live_broker(&live, SOURCE CHANNEL);
	taker_open(&taker, "all", 0);
	for (int i = 0; i < 6; i++) {
		reload(i % 2 ? SOURCE CHANNEL :
			       SOURCE
			       "frame_size = 4096\nmode = generic\n" CHANNEL);
		expect_stale(taker.capture);
		taker_close(&taker);
		taker_open(&taker, "all", 0);
		send_frames(0, 100);
		taker_wait(&taker, 100);
	}
	reload(SOURCE CHANNEL "[channel more]\nsource = s\nfilter = udp\n");
	send_frames(0, 100);
	taker_wait(&taker, 200);
	taker_close(&taker);
	reload("[source r]\ninterface = outside\n[channel r]\nsource = r\n");
	eventually(live_program("inside") == 0);
	live_stop(&live);
}

/* What is still fed is not emptied first: it is taken off the interface. */
Test(xdp_host, a_source_ends_though_traffic_does_not)
{
	static const char *const configs[] = {
		SOURCE CHANNEL "allow = user:root\n",
		SOURCE CHANNEL "allow = everyone\n",
		SOURCE "frame_size = 4096\n" CHANNEL,
		SOURCE CHANNEL,
	};
	struct stream_of_frames frames = { .describe = traffic_mix, .cpu = 1 };

	strcpy(frames.interface, "outside");
	live_broker(&live, SOURCE CHANNEL "allow = everyone\n");
	frames_start(&frames);
	for (int i = 0; i < 4; i++) {
		int64_t start;

		taker_open(&taker, "all", 0);
		taker_wait(&taker, 1000);
		start = now_ms();
		reload(configs[i]);
		cr_assert_lt(now_ms() - start, 3000, "reload %d", i);
		taker_close(&taker);
	}
	reload("[source r]\ninterface = outside\n[channel r]\nsource = r\n");
	cr_assert_eq(live_program("inside"), 0);
	frames_stop(&frames);
	live_stop(&live);
}
