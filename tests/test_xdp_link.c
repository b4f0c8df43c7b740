/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * AF_XDP and interfaces that come and go: what is there is captured, what is
 * not is waited for, and nothing is left on one that is not captured.
 */
#include <criterion/criterion.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "live.h"

static struct live live;
static struct taker taker;
static struct broker_stat stat;
static struct command command;

#define KEYS "small_pages = yes\nframe_count = 8192\n"
#define SOURCE "[source s]\nbackend = xdp\ninterface = inside\n" KEYS
#define CHANNEL "[channel all]\nsource = s\n"
#define TWO "[source s]\nbackend = xdp\ninterface = inside, here\n" KEYS

static void make_network(void)
{
	live_network(&live);
	stay_on_cpu(0);
}

TestSuite(xdp_link, .init = make_network, .timeout = 120);

static void run(const char *text)
{
	network_run(&live.network, "%s", text);
}

/* Opened for this: interfaces come and go. */
static void send_on(const char *interface, uint64_t count)
{
	struct traffic_frame frame = { .seq = 1 };
	struct traffic *traffic;

	cr_assert_eq(traffic_open(&traffic, interface), 0);
	cr_assert_eq(traffic_send_like(traffic, &frame, count, 0), 0);
	traffic_close(traffic);
}

static bool are_in_state(enum nr_source_state state)
{
	return live_count().state_mask == 1u << state;
}

/* --------------------------------------------------- several interfaces */

Test(xdp_link, one_of_several_interfaces_goes_and_comes_alone)
{
	size_t n;

	run("ip link add there type veth peer name here\n"
	    "ip link set there up\nip link set here up");
	live_broker(&live, TWO CHANNEL);
	taker_open(&taker, "all", 0);
	send_on("outside", 10);
	send_on("there", 10);
	taker_wait(&taker, 20);
	for (int i = 0; i < 20; i++)
		cr_assert_eq(taker.packets[i].record.interface,
			     taker.packets[i].lane);
	run("ip link del here");
	eventually(live_count().state_mask ==
		   (1u << NR_SOURCE_GONE | 1u << NR_SOURCE_RUNNING));
	send_on("outside", 10);
	taker_wait(&taker, 30);
	/* The other one is made anew while this one is gone. */
	run("ip link del inside\n"
	    "ip link add outside type veth peer name inside\n"
	    "ip link set outside up\nip link set inside up");
	eventually(broker_said_times(&live.broker,
				     "lane 0 on inside, queue 0") == 2);
	eventually(live_count().state_mask ==
		   (1u << NR_SOURCE_GONE | 1u << NR_SOURCE_RUNNING));
	n = taker.count;
	eventually((send_on("outside", 1), taker_take(&taker) > n));
	run("ip link add there type veth peer name here\n"
	    "ip link set there up\nip link set here up");
	eventually(are_in_state(NR_SOURCE_RUNNING));
	n = taker_take(&taker);
	eventually((send_on("there", 1), taker_take(&taker) > n));
	cr_assert_eq(taker.packets[taker.count - 1].record.interface, 1);
	taker_close(&taker);
	live_stop(&live);
}

Test(xdp_link, an_engine_that_starts_again_waits_for_what_is_gone)
{
	pid_t engine;
	size_t n;

	run("ip link add there type veth peer name here\n"
	    "ip link set there up\nip link set here up");
	live_broker(&live, TWO CHANNEL);
	run("ip link del here");
	eventually(broker_said(&live.broker, "here is gone"));
	engine = broker_engine(&live.broker);
	kill(engine, SIGKILL);
	eventually(broker_said_times(&live.broker, "lane 0 on inside") == 2);
	taker_open(&taker, "all", 0);
	cr_assert(live_count().state_mask ==
		  (1u << NR_SOURCE_GONE | 1u << NR_SOURCE_RUNNING));
	send_on("outside", 10);
	taker_wait(&taker, 10);
	run("ip link add there type veth peer name here\n"
	    "ip link set there up\nip link set here up");
	eventually(are_in_state(NR_SOURCE_RUNNING));
	n = taker_take(&taker);
	eventually((send_on("there", 1), taker_take(&taker) > n));
	taker_close(&taker);
	live_stop(&live);
}

Test(xdp_link, an_interface_that_is_not_there_at_the_start_is_refused)
{
	FILE *file = fopen(test_path("x.conf"), "we");

	fprintf(file, "[broker]\nsocket = %s\n" TWO CHANNEL,
		test_path("x.sock"));
	fclose(file);
	cr_assert_eq(command_run(&command, "exec netringd -c %s",
				 test_path("x.conf")),
		     2, "%s", command.err);
	cr_assert(strstr(command.err, "there is no interface 'here'"), "%s",
		  command.err);
	cr_assert_eq(live_program("inside"), 0);
	traffic_close(live.traffic);
}

/* ------------------------------------------------------------ made anew */

/* Nobody could tell the two by their numbers. */
Test(xdp_link, an_interface_made_anew_with_the_same_index_is_taken_again)
{
	static const char make[] =
		"ip link add outside index 4711 type veth "
		"peer name inside index 4712\n"
		"ip link set outside up\nip link set inside up";
	size_t n;

	run("ip link del inside");
	run(make);
	live_broker(&live, SOURCE CHANNEL);
	taker_open(&taker, "all", 0);
	for (int i = 0; i < 3; i++) {
		n = taker.count;
		send_on("outside", 10);
		taker_wait(&taker, n + 10);
		/* Not seen while it was gone: it looks up when it goes on. */
		kill(broker_engine(&live.broker), SIGSTOP);
		run("ip link del inside");
		run(make);
		kill(broker_engine(&live.broker), SIGCONT);
		eventually(live_program("inside") != 0);
		n = taker_take(&taker);
		eventually((send_on("outside", 1), taker_take(&taker) > n));
	}
	taker_close(&taker);
	live_stop(&live);
}

/* As an administrator can: the program is off, the sockets are not. */
static void detach_program(const char *interface)
{
	struct bpf_link_info info;
	uint32_t id = 0, length;
	int fd;

	while (bpf_link_get_next_id(id, &id) == 0) {
		fd = bpf_link_get_fd_by_id(id);
		length = sizeof(info);
		memset(&info, 0, sizeof(info));
		if (fd >= 0 &&
		    bpf_obj_get_info_by_fd(fd, &info, &length) == 0 &&
		    info.type == BPF_LINK_TYPE_XDP &&
		    info.prog_id == live_program(interface))
			cr_assert_eq(bpf_link_detach(fd), 0);
		if (fd >= 0)
			close(fd);
	}
	cr_assert_eq(live_program(interface), 0);
}

/* Its queues are had by sockets still: those of the lanes. */
Test(xdp_link, an_interface_whose_program_was_taken_off_is_taken_again)
{
	size_t n;

	live_broker(&live, SOURCE CHANNEL);
	taker_open(&taker, "all", 0);
	send_on("outside", 10);
	taker_wait(&taker, 10);
	detach_program("inside");
	run("ip link set inside down\nip link set inside up");
	eventually(live_program("inside") != 0);
	eventually(are_in_state(NR_SOURCE_RUNNING));
	n = taker_take(&taker);
	eventually((send_on("outside", 1), taker_take(&taker) > n));
	taker_close(&taker);
	live_stop(&live);
}

Test(xdp_link, an_interface_with_another_name_has_its_packets_back)
{
	bool host_has = false;
	size_t n;
	int tap;

	live_broker(&live, SOURCE CHANNEL);
	taker_open(&taker, "all", 0);
	send_on("outside", 10);
	taker_wait(&taker, 10);
	tap = live_tap("inside");
	run("ip link set inside down\nip link set inside name other\n"
	    "ip link set other up");
	eventually(are_in_state(NR_SOURCE_GONE));
	cr_assert_eq(live_program("other"), 0);
	eventually((send_on("outside", 1), sleep_ms(1),
		    host_has = host_has || live_tap_got(tap) > 0));
	run("ip link set other down\nip link set other name inside\n"
	    "ip link set inside up");
	eventually(are_in_state(NR_SOURCE_RUNNING));
	n = taker_take(&taker);
	eventually((send_on("outside", 1), taker_take(&taker) > n));
	taker_close(&taker);
	live_stop(&live);
}

static void make_queues(unsigned count)
{
	network_run(&live.network,
		    "ip link del inside\n"
		    "ip link add outside numrxqueues %u numtxqueues 1 type "
		    "veth peer name inside numrxqueues %u numtxqueues 1\n"
		    "ip link set outside up\nip link set inside up",
		    count, count);
}

static unsigned lanes_in_state(enum nr_source_state state)
{
	unsigned count = 0;

	broker_read_stat(&stat, NULL);
	for (unsigned i = 0; i < stat.sources; i++)
		count += stat.source[i].state == state;
	return count;
}

Test(xdp_link, lanes_of_queues_that_are_no_more_rest)
{
	size_t n;

	make_queues(4);
	live_broker(&live, SOURCE CHANNEL);
	taker_open(&taker, "all", 0);
	cr_assert_eq(lanes_in_state(NR_SOURCE_RUNNING), 4);
	make_queues(2);
	eventually(lanes_in_state(NR_SOURCE_RUNNING) == 2 &&
		   lanes_in_state(NR_SOURCE_GONE) == 2);
	cr_assert(broker_said(&live.broker, "inside has 2 receive queues"));
	n = taker_take(&taker);
	eventually((send_on("outside", 1), taker_take(&taker) > n));
	/* An engine that starts with fewer than the broker did. */
	taker_close(&taker);
	kill(broker_engine(&live.broker), SIGKILL);
	eventually(broker_said_times(&live.broker, "lane 1 on inside") == 3);
	taker_open(&taker, "all", 0);
	cr_assert_eq(lanes_in_state(NR_SOURCE_RUNNING), 2);
	send_on("outside", 10);
	taker_wait(&taker, 10);
	make_queues(4);
	eventually(lanes_in_state(NR_SOURCE_RUNNING) == 4);
	n = taker_take(&taker);
	eventually((send_on("outside", 1), taker_take(&taker) > n));
	make_queues(6);
	eventually(broker_said(&live.broker, "inside has 6 receive queues"));
	eventually(lanes_in_state(NR_SOURCE_RUNNING) == 4);
	taker_close(&taker);
	live_stop(&live);
}

/* The interface stays, and gets more of them. */
#define MAKE_OTHER                                                             \
	"ip link add outside numrxqueues 4 numtxqueues 1 type veth "           \
	"peer name other numrxqueues 4 numtxqueues 4\n"

Test(xdp_link, queues_that_are_added_are_taken_by_lanes_that_rest_or_told)
{
	size_t n;

	run("ip link del inside\n" MAKE_OTHER
	    "ethtool -L other rx 3 tx 3\nip link set other name inside\n"
	    "ip link set outside up\nip link set inside up");
	live_broker(&live, SOURCE CHANNEL);
	taker_open(&taker, "all", 0);
	run("ip link del inside\n" MAKE_OTHER
	    "ethtool -L other rx 2 tx 2\nip link set other name inside\n"
	    "ip link set outside up\nip link set inside up");
	eventually(lanes_in_state(NR_SOURCE_RUNNING) == 2 &&
		   lanes_in_state(NR_SOURCE_GONE) == 1);
	run("ethtool -L inside rx 3 tx 3");
	eventually(lanes_in_state(NR_SOURCE_RUNNING) == 3);
	n = taker_take(&taker);
	eventually((send_on("outside", 1), taker_take(&taker) > n));
	cr_assert(!broker_said(&live.broker, "4 receive queues"));
	run("ethtool -L inside rx 4 tx 4");
	eventually(broker_said(&live.broker, "inside has 4 receive queues"));
	taker_close(&taker);
	live_stop(&live);
}

Test(xdp_link, one_that_cannot_be_taken_any_more_is_let_be_and_told_once)
{
	static const char words[] = "inside has an MTU of 3000";
	bool host_has = false;
	size_t n;
	int tap;

	live_broker(&live, SOURCE CHANNEL);
	taker_open(&taker, "all", 0);
	run("ip link del inside\n"
	    "ip link add outside mtu 3000 type veth peer name inside mtu 3000\n"
	    "ip link set outside up\nip link set inside up");
	eventually(broker_said(&live.broker, words));
	sleep_ms(1000); /* it tries five times a second */
	cr_assert_eq(broker_said_times(&live.broker, words), 1);
	cr_assert_eq(live_program("inside"), 0);
	tap = live_tap("inside");
	eventually((send_on("outside", 1), sleep_ms(1),
		    host_has = host_has || live_tap_got(tap) > 0));
	run("ip link set inside mtu 1500");
	eventually(are_in_state(NR_SOURCE_RUNNING));
	n = taker_take(&taker);
	eventually((send_on("outside", 1), taker_take(&taker) > n));
	taker_close(&taker);
	live_stop(&live);
}

/* For the next reload. */
static void write_config(const char *text)
{
	char path[140];
	FILE *file;

	snprintf(path, sizeof(path), "%.120s.conf", live.broker.socket);
	file = fopen(path, "we");
	cr_assert(file && fprintf(file, "[broker]\nsocket = %s\n%s",
				  live.broker.socket, text) > 0);
	fclose(file);
}

/* One lane that cannot be opened: the other has nothing any more, either. */
Test(xdp_link, a_source_that_does_not_start_leaves_nothing)
{
	char text[NR_TEXT_MAX];

	live_broker(&live, SOURCE CHANNEL);
	write_config(SOURCE CHANNEL "[source t]\nbackend = xdp\n"
				    "interface = outside\nqueues = 0, 5\n" KEYS
				    "[channel t]\nsource = t\n");
	cr_assert_lt(nr_broker_reload(NULL, text, sizeof(text)), 0);
	cr_assert(broker_said(&live.broker, "no queue 5"));
	cr_assert_eq(live_program("outside"), 0);
	cr_assert_neq(live_program("inside"), 0);
	live_stop(&live);
}

/* What is refused is not changed, either. */
Test(xdp_link, offloads_of_an_interface_that_is_refused_stay_on)
{
	struct bpf_insn pass[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = XDP_PASS },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "somebodys", "GPL", pass, 2,
			       NULL);
	int outside = (int)if_nametoindex("outside");
	char text[NR_TEXT_MAX];

	cr_assert(fd >= 0);
	cr_assert_eq(bpf_xdp_attach(outside, fd, XDP_FLAGS_SKB_MODE, NULL), 0);
	run("ethtool -K outside gro on rxvlan on");
	live_broker(&live, SOURCE CHANNEL);
	write_config(SOURCE CHANNEL "[source t]\nbackend = xdp\n"
				    "interface = outside\noffloads = off\n" KEYS
				    "[channel t]\nsource = t\n");
	cr_assert_lt(nr_broker_reload(NULL, text, sizeof(text)), 0);
	cr_assert(broker_said(&live.broker, "'somebodys'"));
	run("ethtool -k outside | grep -q 'generic-receive-offload: on'\n"
	    "ethtool -k outside | grep -q 'rx-vlan-offload: on'");
	live_stop(&live);
}

/* On or off: both. */
static void offloads_are(const char *value)
{
	network_run(&live.network,
		    "ethtool -k here | grep -q 'generic-receive-offload: %s'\n"
		    "ethtool -k here | grep -q 'rx-vlan-offload: %s'",
		    value, value);
}

/* A source on another interface, with @keys; or none. */
static int reload_with(const char *backend, const char *keys)
{
	char text[NR_TEXT_MAX], all[1024] = SOURCE CHANNEL;

	if (backend)
		snprintf(all, sizeof(all),
			 SOURCE CHANNEL "[source t]\nbackend = %s\n"
					"interface = here\n%s"
					"[channel t]\nsource = t\n",
			 backend, keys);
	write_config(all);
	return nr_broker_reload(NULL, text, sizeof(text));
}

Test(xdp_link, offloads_are_put_back_when_no_source_wants_them_off)
{
	run("ip link add there type veth peer name here\n"
	    "ip link set there up\nip link set here up\n"
	    "ethtool -K here gro on rxvlan on");
	live_broker(&live, SOURCE CHANNEL);
	for (int i = 0; i < 2; i++) {
		const char *backend = i ? "xdp" : "af_packet";
		const char *keys =
			i ? KEYS "offloads = off\n" : "offloads = off\n";

		cr_assert_eq(reload_with(backend, keys), 0);
		offloads_are("off");
		cr_assert_eq(reload_with("af_packet", ""), 0);
		offloads_are("on");
		cr_assert_eq(reload_with(backend, keys), 0);
		offloads_are("off");
		cr_assert_eq(reload_with(NULL, ""), 0);
		offloads_are("on");
	}
	/* Refused by the driver, when they had been turned off. */
	run("ip link set there mtu 9000");
	cr_assert_lt(reload_with("xdp", KEYS "offloads = off\nmode = driver\n"),
		     0);
	cr_assert(broker_said(&live.broker, "here takes no XDP program"));
	offloads_are("on");
	live_stop(&live);
}

/* ------------------------------------------------------------- lost engines */

/* Returns when each of its threads has stopped. */
static void stop(pid_t pid)
{
	kill(pid, SIGSTOP);
	network_run(&live.network,
		    "timeout 10 sh -c 'while grep -h ^State: "
		    "/proc/%d/task/*/status | grep -qv T\ndo sleep 0.01; done'",
		    pid);
}

/* Waits until so many packets have been put into the ring, ever. */
static void wait_for_redirects(uint64_t count)
{
	network_run(&live.network,
		    "timeout 10 sh -c 'until ethtool -S inside |\n"
		    "grep -q \"rx_queue_0_xdp_redirect: %llu$\"\n"
		    "do sleep 0.01; done'",
		    (unsigned long long)count);
}

static uint64_t drops(void)
{
	broker_read_stat(&stat, NULL);
	return stat.source[0].kernel_drops;
}

Test(xdp_link, what_the_rings_of_a_dead_engine_held_is_lost_and_counted_once)
{
	uint64_t captured, before;
	pid_t engine;

	live_broker(&live, SOURCE "fill_ring = 1024\nrx_ring = 512\n" CHANNEL);
	taker_open(&taker, "all", 0);
	engine = broker_engine(&live.broker);
	stop(engine);
	/* Some lie in the ring, others the kernel drops. */
	send_on("outside", 1000);
	kill(engine, SIGCONT);
	eventually(live_count().captured + drops() == 1000);
	before = drops();
	cr_assert(before > 0);
	captured = live_count().captured;
	stop(engine);
	send_on("outside", 100);
	wait_for_redirects(captured + 100);
	kill(engine, SIGKILL);
	nr_capture_close(taker.capture);
	eventually(broker_said_times(&live.broker, "lane 0 on inside") == 2);
	/* Of this one's life, not of the one before. */
	cr_assert_eq(drops(), 100, "%llu", (unsigned long long)drops());
	cr_assert(
		broker_said(&live.broker, "100 packets were in AF_XDP rings"));
	cr_assert_eq(stat.source[0].drops_before, before);
	cr_assert(broker_said(&live.broker, "the kernel had dropped"));
	cr_assert_eq(live_count().captured, 0);
	taker_open(&taker, "all", 0);
	send_on("outside", 10);
	taker_wait(&taker, 10);
	cr_assert_eq(drops(), 100, "%llu", (unsigned long long)drops());
	kill(broker_engine(&live.broker), SIGKILL);
	eventually(broker_said_times(&live.broker, "lane 0 on inside") == 3);
	eventually(drops() == 0);
	cr_assert_eq(stat.source[0].drops_before, before + 100);
	taker_close(&taker);
	live_stop(&live);
}

#define OTHER                                                                  \
	"[source p]\ninterface = here\nsmall_pages = yes\n"                    \
	"[channel p]\nsource = p\n"

static void kill_engine(void)
{
	kill(broker_engine(&live.broker), SIGKILL);
}

/* @come and @go are commands, and @words why it cannot be opened between. */
static void check_others_are_served(const char *come, const char *go,
				    const char *words)
{
	run("ip link add there type veth peer name here\n"
	    "ip link set there up\nip link set here up");
	live_broker(&live, SOURCE CHANNEL OTHER);
	run(come);
	kill_engine();
	eventually(broker_said(&live.broker, words));
	taker_open(&taker, "p", 0);
	cr_assert_eq(live_count().state_mask,
		     1u << NR_SOURCE_GONE | 1u << NR_SOURCE_RUNNING);
	send_on("there", 10);
	taker_wait(&taker, 10);
	taker_close(&taker);
	run(go);
	eventually(are_in_state(NR_SOURCE_RUNNING));
	cr_assert_eq(broker_said_times(&live.broker, words), 1);
	taker_open(&taker, "all", 0);
	send_on("outside", 10);
	taker_wait(&taker, 10);
	taker_close(&taker);
	live_stop(&live);
}

Test(xdp_link, an_engine_that_starts_again_leaves_what_the_host_needs_by_now)
{
	check_others_are_served("ip addr add 10.9.8.7/24 dev inside",
				"ip addr del 10.9.8.7/24 dev inside",
				"inside has the address 10.9.8.7");
}

Test(xdp_link, an_engine_that_starts_again_leaves_what_does_not_fit_by_now)
{
	check_others_are_served("ip link del inside\n"
				"ip link add outside mtu 3000 type veth "
				"peer name inside mtu 3000\n"
				"ip link set outside up\n"
				"ip link set inside up",
				"ip link set inside mtu 1500",
				"inside has an MTU of 3000");
}

Test(xdp_link, an_engine_that_starts_on_links_that_are_down_says_so)
{
	run("ip link add there type veth peer name here\n"
	    "ip link set there up\nip link set here up");
	live_broker(&live, SOURCE CHANNEL OTHER);
	run("ip link set inside down\nip link set here down");
	eventually(are_in_state(NR_SOURCE_DOWN));
	kill_engine();
	eventually(broker_said_times(&live.broker, "lane 0 on inside") == 2);
	cr_assert(are_in_state(NR_SOURCE_DOWN));
	run("ip link set inside up\nip link set here up");
	eventually(are_in_state(NR_SOURCE_RUNNING));
	live_stop(&live);
}

/* ------------------------------------------------------------ what is typed */

Test(xdp_link, a_source_from_the_command_line_is_shown_by_stat)
{
	static const char *const modes[] = { "driver", "generic" };

	broker_start_args(&live.broker, live.network.netns, "-i", "inside:xdp",
			  NULL);
	taker_open(&taker, "inside", 0);
	send_on("outside", 10);
	taker_wait(&taker, 10);
	cr_assert_eq(command_run(&command, "netring stat"), 0);
	cr_assert(strstr(command.out, "xdp driver copy"), "%s", command.out);
	cr_assert_eq(command_run(&command, "netring stat --json"), 0);
	cr_assert(json_is_valid(command.out));
	cr_assert(strstr(command.out, "\"xdp_mode\""), "%s", command.out);
	cr_assert(strstr(command.out, "\"copy\""), "%s", command.out);
	cr_assert_eq(json_number_of(command.out, "captured"), 10);
	taker_close(&taker);
	broker_stop(&live.broker);
	for (int i = 0; i < 2; i++) {
		char row[32];

		snprintf(row, sizeof(row), "xdp %s copy", modes[i]);
		live_broker(&live, SOURCE "mode = %s\nbind = copy\n" CHANNEL,
			    modes[i]);
		cr_assert_eq(command_run(&command, "netring stat all"), 0);
		cr_assert(strstr(command.out, row), "%s", command.out);
		broker_stop(&live.broker);
	}
	traffic_close(live.traffic);
}
