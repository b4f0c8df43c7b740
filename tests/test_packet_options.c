/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a source's keys change in the kernel: seen there while the broker runs,
 * and gone when it has ended. And what happens when its ring is too small, or
 * too large to be had.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "live.h"

#define MIB (1024u * 1024)

#ifndef SO_PREFER_BUSY_POLL
#define SO_PREFER_BUSY_POLL 69
#define SO_BUSY_POLL_BUDGET 70
#endif

static struct live live;
static struct taker taker;

#define SOURCE "[source s]\ninterface = inside\n"
#define CHANNEL "[channel all]\nsource = s\n"

static void make_network(void)
{
	live_network(&live);
	stay_on_cpu(0);
}

TestSuite(packet_options, .init = make_network, .timeout = 120);

static void send_some(uint64_t first_seq, uint64_t count)
{
	struct traffic_frame frame = { .seq = first_seq, .size = 200 };

	cr_assert_eq(traffic_send_like(live.traffic, &frame, count, 0), 0);
}

/* A broker with these keys captures. It is left running. */
static void check_captures(const char *keys)
{
	live_broker(&live, SOURCE "%s\n" CHANNEL, keys);
	taker_open(&taker, "all", 0);
	send_some(0, 1000);
	live_settle(&taker, 1, 1000);
	cr_assert_eq(taker.count, 1000);
	taker_close(&taker);
}

/* With these keys it ends, and its log has these words (grep). */
static void check_does_not_start(const char *keys, const char *words)
{
	FILE *file = fopen(test_path("refused.conf"), "we");

	cr_assert(file);
	fprintf(file, "[broker]\nsocket = %s\n" SOURCE "%s\n" CHANNEL,
		test_path("refused.sock"), keys);
	fclose(file);
	network_run(&live.network,
		    "code=0; timeout 20 " NETRINGD
		    " -c %s >%s 2>&1 || code=$?\n"
		    "[ $code != 0 ] && [ $code != 124 ] && grep -q '%s' %s || "
		    "{ cat %s >&2; exit 1; }",
		    test_path("refused.conf"), test_path("refused.log"), words,
		    test_path("refused.log"), test_path("refused.log"));
}

/* ---------------------------------------------------------------- offloads */

/* "on" or "off", as ethtool -k says of inside. */
static void check_offload(const char *name, const char *state)
{
	network_run(&live.network,
		    "ethtool -k inside | grep -qx '%s: %s' || "
		    "{ ethtool -k inside | grep '%s' >&2; exit 1; }",
		    name, state, name);
}

Test(packet_options, offloads_are_off_while_it_runs_and_put_back)
{
	network_run(&live.network, "ethtool -K inside gro on rxvlan on");
	check_captures("offloads = off\nlanes = 2");
	check_offload("generic-receive-offload", "off");
	check_offload("rx-vlan-offload", "off");
	broker_stop(&live.broker);
	check_offload("generic-receive-offload", "on");
	check_offload("rx-vlan-offload", "on");
	live_stop(&live);
}

Test(packet_options, offloads_that_were_off_stay_off)
{
	network_run(&live.network, "ethtool -K inside gro off rxvlan on");
	check_captures("offloads = off");
	broker_stop(&live.broker);
	check_offload("generic-receive-offload", "off");
	check_offload("rx-vlan-offload", "on");
	live_stop(&live);
}

Test(packet_options, offloads_are_kept_unless_said)
{
	network_run(&live.network, "ethtool -K inside gro on rxvlan on");
	check_captures("");
	check_offload("generic-receive-offload", "on");
	check_offload("rx-vlan-offload", "on");
	live_stop(&live);
}

Test(packet_options, offloads_are_put_back_when_another_source_does_not_start)
{
	if (access("/dev/net/tun", R_OK | W_OK))
		cr_skip_test("needs /dev/net/tun");
	network_run(&live.network, "ethtool -K inside gro on rxvlan on\n"
				   "ip tuntap add dev tun9 mode tun\n"
				   "ip link set tun9 up");
	check_does_not_start("offloads = off\n"
			     "[source t]\ninterface = tun9\nfilter = udp",
			     "source t does not start");
	check_offload("generic-receive-offload", "on");
	check_offload("rx-vlan-offload", "on");
	live_stop(&live);
}

/* ------------------------------------------------------------- promiscuous */

/* The kernel takes it back when the last holder of the ring is gone. */
static void check_promiscuity(unsigned count)
{
	network_run(&live.network,
		    "for i in $(seq 100); do ip -d link show inside | "
		    "grep -q 'promiscuity %u ' && exit 0; sleep 0.1; done; "
		    "exit 1",
		    count);
}

Test(packet_options, promiscuous_while_it_runs_is_seen_and_gone_after)
{
	check_promiscuity(0);
	check_captures("promiscuous = yes");
	check_promiscuity(1);
	broker_stop(&live.broker);
	check_promiscuity(0);
	live_stop(&live);
}

Test(packet_options, promiscuous_ends_with_a_broker_that_is_killed)
{
	check_captures("promiscuous = yes\nlanes = 2");
	check_promiscuity(2);
	broker_kill(&live.broker);
	check_promiscuity(0);
	live_stop(&live);
}

Test(packet_options, promiscuous_is_not_the_default)
{
	check_captures("");
	check_promiscuity(0);
	live_stop(&live);
}

/* ---------------------------------------------------------------- polling */

static int option(int fd, int name)
{
	int value = -1;
	socklen_t length = sizeof(value);

	cr_assert_eq(getsockopt(fd, SOL_SOCKET, name, &value, &length), 0);
	return value;
}

Test(packet_options, busy_poll_is_set_on_the_socket)
{
	int fd;

	check_captures("busy_poll = 50\nprefer_busy_poll = yes\n"
		       "busy_poll_budget = 16");
	fd = live_socket(&live);
	cr_assert_eq(option(fd, SO_BUSY_POLL), 50);
	cr_assert_eq(option(fd, SO_PREFER_BUSY_POLL), 1);
	close(fd);
	live_stop(&live);
}

Test(packet_options, nobody_without_root_drops_the_filter_of_a_source)
{
	struct sock_filter all = BPF_STMT(BPF_RET | BPF_K, 0xffff);
	struct sock_fprog program = { 1, &all };
	int fd, one = 1;

	check_captures("filter = udp");
	fd = live_socket(&live);
	/* Locked: even whoever has the socket. */
	cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &one,
				sizeof(one)),
		     -1);
	cr_assert_eq(errno, EPERM);
	cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program,
				sizeof(program)),
		     -1);
	cr_assert_eq(errno, EPERM);
	close(fd);
	live_stop(&live);
}

/* ------------------------------------------------------------ time stamps */

Test(packet_options, hardware_stamps_that_are_not_to_be_had_fall_back)
{
	live_broker(&live, SOURCE "timestamp = hardware\n" CHANNEL);
	taker_open(&taker, "all", 0);
	send_some(0, 100);
	live_settle(&taker, 1, 100);
	for (size_t i = 0; i < taker.count; i++) {
		cr_assert_eq(nr_record_clock(&taker.packets[i].record),
			     NR_CLOCK_SOFTWARE);
		cr_assert_gt(taker.packets[i].record.ts_ns,
			     UINT64_C(1600000000000000000));
	}
	cr_assert_eq(broker_said_times(&live.broker,
				       "inside has no hardware time stamps"),
		     1);
	taker_close(&taker);
	live_stop(&live);
}

/* -------------------------------------------------------------- ring sizes */

Test(packet_options, profiles_choose_the_ring)
{
	static const struct {
		const char *keys;
		unsigned mib;
	} profiles[] = {
		{ "profile = default", 64 },
		{ "profile = throughput", 256 },
		{ "profile = latency", 16 },
		{ "profile = memory", 16 },
		{ "profile = jumbo", 64 },
		{ "profile = throughput\nring_size = 8M", 8 },
	};

	for (size_t i = 0; i < sizeof(profiles) / sizeof(profiles[0]); i++) {
		check_captures(profiles[i].keys);
		cr_assert_eq(live_count().ring_bytes,
			     (uint64_t)profiles[i].mib * MIB, "%s",
			     profiles[i].keys);
		broker_stop(&live.broker);
	}
	live_stop(&live);
}

/*
 * The kernel's memory is played by a watcher of the broker's system calls: it
 * refuses rings of more than blocks_to_be_had, as a kernel without memory does,
 * and lets the kernel do the others.
 */
static uint32_t blocks_to_be_had;
static uint32_t most_blocks_asked;

static int watch_ring_requests(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_setsockopt, 0, 5),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SOL_PACKET, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_RX_RING, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			    SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

static void *play_memory(void *listener)
{
	int fd = *(int *)listener;

	for (;;) {
		struct seccomp_notif asked = { 0 };
		struct seccomp_notif_resp answer = { 0 };
		struct tpacket_req3 request = { 0 };
		struct iovec here = { &request, sizeof(request) };
		struct iovec there = { .iov_len = sizeof(request) };

		if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &asked))
			return NULL;
		there.iov_base = (void *)(uintptr_t)asked.data.args[3];
		answer.id = asked.id;
		if (process_vm_readv((pid_t)asked.pid, &here, 1, &there, 1,
				     0) != sizeof(request))
			answer.error = -EFAULT;
		else if (request.tp_block_nr <= blocks_to_be_had)
			answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
		else
			answer.error = -ENOMEM;
		if (request.tp_block_nr > most_blocks_asked)
			most_blocks_asked = request.tp_block_nr;
		ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &answer);
	}
}

/* From here on, for this process's children. */
static void limit_memory(uint32_t blocks)
{
	static int listener;
	static pthread_t thread;

	blocks_to_be_had = blocks;
	listener = watch_ring_requests();
	cr_assert_geq(listener, 0, "seccomp: %s", strerror(errno));
	cr_assert_eq(pthread_create(&thread, NULL, play_memory, &listener), 0);
}

Test(packet_options, a_ring_too_large_for_memory_is_made_smaller)
{
	uint64_t ring;

	limit_memory(20);
	check_captures("ring_size = 64M\nring_block = 1M");
	ring = live_count().ring_bytes;
	cr_assert_leq(ring, 20 * MIB);
	cr_assert_geq(ring, 16 * MIB);
	cr_assert_eq(broker_said_times(&live.broker, "of 64 ring blocks"), 1);
	live_stop(&live);
}

Test(packet_options, a_ring_that_is_not_to_be_had_is_said_to_be_so)
{
	limit_memory(0);
	check_does_not_start("ring_size = 64M",
			     "source s: lane 0 on inside: Cannot allocate "
			     "memory");
	live_stop(&live);
}

Test(packet_options, a_ring_beyond_what_is_configurable_is_refused)
{
	check_does_not_start(
		"ring_size = 64G",
		":5: .*ring_size.*must be a size from 256K to 16G");
	live_stop(&live);
}

static uint64_t memory_available(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	unsigned long long kb = 0;
	char line[128];

	cr_assert(file);
	while (!kb && fgets(line, sizeof(line), file))
		if (sscanf(line, "MemAvailable: %llu kB", &kb) != 1)
			kb = 0;
	fclose(file);
	return (uint64_t)kb << 10;
}

/* Where the kernel would rather kill processes than refuse. */
Test(packet_options, a_ring_is_never_asked_to_take_more_than_half_of_memory)
{
	uint64_t available = memory_available();

	if (available > UINT64_C(31) << 30)
		cr_skip_test("a ring has at most 16 GiB, half of the memory");
	limit_memory(0);
	check_does_not_start("ring_size = 16G\nring_block = 4M",
			     "Cannot allocate memory");
	cr_assert_gt(most_blocks_asked, 0);
	/* Others may have given some back meanwhile. */
	cr_assert_lt(most_blocks_asked * UINT64_C(4) * MIB,
		     available / 2 + available / 8);
	live_stop(&live);
}

/* ------------------------------------------------------------------ losses */

#define SENT 5000

static bool last_is_marked(void)
{
	return taker_take(&taker) > 0 &&
	       taker.packets[taker.count - 1].record.flags & NR_LOSING;
}

Test(packet_options, what_a_small_ring_loses_is_counted_exactly)
{
	static struct broker_stat stat;
	uint64_t sent = SENT;
	pid_t engine;

	live_broker(&live,
		    SOURCE "ring_size = 256K\nring_block = 128K\n" CHANNEL);
	taker_open(&taker, "all", 0);
	engine = broker_engine(&live.broker);
	kill(engine, SIGSTOP);
	/* Each thread stops when it comes to it. */
	network_run(&live.network,
		    "while grep -L 'State:.*stopped' /proc/%d/task/*/status | "
		    "grep -q .; do sleep 0.01; done",
		    engine);
	send_some(0, SENT);
	kill(engine, SIGCONT);
	taker_wait(&taker, 1);
	cr_assert(!last_is_marked(), "marked before anything was lost");
	/* What comes when there is room again says that some was lost. */
	eventually((send_some(sent++, 1), last_is_marked()));
	eventually(live_count().captured + live_count().drops >= sent);
	broker_read_stat(&stat, NULL);
	cr_assert_eq(stat.source[0].captured + stat.source[0].kernel_drops,
		     sent);
	cr_assert_gt(stat.source[0].kernel_drops, SENT / 2);
	cr_assert_gt(stat.source[0].freezes, 0);
	cr_assert_eq(taker_take(&taker), stat.source[0].captured);
	cr_assert_eq(taker.gaps, 0);
	/* It has been reported. */
	eventually((send_some(sent++, 1), !last_is_marked()));
	eventually(live_count().captured + live_count().drops >= sent);
	cr_assert_eq(live_count().captured + live_count().drops, sent);
	taker_close(&taker);
	live_stop(&live);
}
