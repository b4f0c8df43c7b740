/* SPDX-License-Identifier: BSD-2-Clause */
/* What the machine does to a broker: no memory, another broker, a clock that
 * jumps. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "calls.h"
#include "command.h"
#include "ledger.h"
#include "live.h"
#include "priv.h"
#include "scene.h"

#define UID 12345
#define SECOND UINT64_C(1000000000)

TestSuite(faults, .timeout = 120);

static struct live live;
static struct command c, other;

/* ------------------------------------------------------------------- memory */

static int be_refused(void *data)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *capture;
	char text[NR_TEXT_MAX] = "";

	options.error_text = text;
	options.error_text_size = sizeof(text);
	must(nr_capture_open(data, &options, &capture) == -ENOMEM);
	must(strstr(text, "no memory for its "));
	must(strstr(text, data));
	return 0;
}

/* While memory is short; in the deciding thread. */
struct pressure {
	struct calls calls;
	bool is_on;
	unsigned refused;
};

static int refuse_memory(const struct call *call, void *data)
{
	struct pressure *pressure = data;

	if (call->number != SYS_fallocate ||
	    !__atomic_load_n(&pressure->is_on, __ATOMIC_SEQ_CST))
		return 0;
	pressure->refused++;
	return -ENOMEM;
}

static void press(struct pressure *pressure, bool is_on)
{
	__atomic_store_n(&pressure->is_on, is_on, __ATOMIC_SEQ_CST);
}

/* No arena, no rings: who is there goes on, who comes is told. */
Test(faults, no_memory_is_an_attach_refused_and_costs_nobody_a_packet)
{
	static struct pressure pressure;
	struct taker taker;

	live_network(&live);
	config_write("[source s]\ninterface = inside\n"
		     "[channel a]\nsource = s\n"
		     "[channel b]\nsource = s\n"
		     "allow = everyone\narena = 4M\n");
	pressure.calls.fn = refuse_memory;
	pressure.calls.data = &pressure;
	pressure.calls.numbers[pressure.calls.count++] = SYS_fallocate;
	calls_start_broker(&pressure.calls, &live.broker);
	cr_assert(wait_until(broker_answers, NULL, 20000));
	taker_open(&taker, "a", 0);
	press(&pressure, true);
	for (uint64_t i = 0; i < 20; i++) {
		const struct traffic_frame frame = { .seq = 100 * i };

		cr_assert_eq(traffic_send_like(live.traffic, &frame, 100, 0),
			     0);
		cr_assert_eq(child_wait(child_start(UID, be_refused,
						    (void *)(uintptr_t) "b")),
			     0);
	}
	cr_assert_geq(pressure.refused, 20);
	press(&pressure, false);
	live_settle(&taker, 1, 2000);
	cr_assert_eq(taker.count, 2000);
	taker_close(&taker);
	taker_open(&taker, "b", 0);
	taker_close(&taker);
	live_stop(&live);
	calls_end(&pressure.calls);
}

#ifndef __SANITIZE_ADDRESS__ /* whose shadow is larger than any limit */
Test(faults, an_arena_beyond_the_limit_is_refused_and_others_are_served)
{
	const struct rlimit limit = { 400u << 20, 400u << 20 };
	struct nr_capture *capture;
	struct trace trace;
	struct rlimit usual;

	need_root();
	trace_init(&trace, 100, 1);
	cr_assert_eq(trace_write(&trace, test_path("trace.pcap")), 0);
	getrlimit(RLIMIT_AS, &usual);
	cr_assert_eq(setrlimit(RLIMIT_AS, &(struct rlimit){ limit.rlim_cur,
							    usual.rlim_max }),
		     0);
	broker_start(&live.broker, NULL,
		     "[source s]\nbackend = replay\nfile = %s\n"
		     "[channel large]\nsource = s\nallow = everyone\n"
		     "arena = 512M\n"
		     "[channel small]\nsource = s\nallow = everyone\n"
		     "arena = 4M\n",
		     test_path("trace.pcap"));
	setrlimit(RLIMIT_AS, &usual);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(
			child_wait(child_start(UID, be_refused,
					       (void *)(uintptr_t) "large")),
			0);
	cr_assert_eq(nr_capture_open("small", NULL, &capture), 0);
	nr_capture_close(capture);
	broker_stop(&live.broker);
}
#endif

/* ------------------------------------------------------------ another broker
 */

static void write_trace(uint32_t packets)
{
	struct trace trace;

	trace_init(&trace, packets, 1);
	cr_assert_eq(trace_write(&trace, test_path("trace.pcap")), 0);
}

static bool has_ended(void *command)
{
	siginfo_t info = { 0 };

	waitid(P_PID, (id_t)((struct command *)command)->pid, &info,
	       WEXITED | WNOHANG | WNOWAIT);
	return info.si_pid != 0;
}

static bool one_has_ended(void *data)
{
	(void)data;
	return has_ended(&c) || has_ended(&other);
}

/* Both find nothing, or something stale, and one of them has it. */
static void start_two(void)
{
	char command[512];
	struct command *winner = &c, *loser = &other;

	snprintf(command, sizeof(command), "exec netringd -r %s --socket %s",
		 test_path("trace.pcap"), test_path("two.sock"));
	command_start(&c, 0, "%s", command);
	command_start(&other, 0, "%s", command);
	cr_assert(wait_until(one_has_ended, NULL, 10000),
		  "two brokers serve one socket");
	if (has_ended(&c)) {
		winner = &other;
		loser = &c;
	}
	cr_assert_eq(command_wait(loser), 1);
	cr_assert(strstr(loser->err, "another broker serves this socket"), "%s",
		  loser->err);
	cr_assert(wait_until(broker_answers,
			     (void *)(uintptr_t)test_path("two.sock"), 10000));
	kill(winner->pid, SIGKILL);
	command_wait(winner);
}

Test(faults, two_brokers_that_start_at_once_are_one)
{
	need_root();
	write_trace(10);
	for (int i = 0; i < 20; i++)
		start_two();
}

/* ------------------------------------------------------------ a clock's jumps
 */

static uint64_t now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

static void let_clock_jump(void)
{
	const char *options = getenv("ASAN_OPTIONS");
	char text[256];

	/* The preloaded library comes before the sanitizer's. */
	snprintf(text, sizeof(text), "%s:verify_asan_link_order=0",
		 options ? options : "");
	setenv("ASAN_OPTIONS", text, 1);
	setenv("LD_PRELOAD", STEPPING_CLOCK, 1);
}

Test(faults, a_clock_that_jumps_ends_nothing_early_or_late)
{
	uint64_t start, took;
	int idle;

	need_root();
	write_trace(3000);
	let_clock_jump();
	broker_start(&live.broker, NULL,
		     "[source trace]\nbackend = replay\nfile = %s\n"
		     "rate = 1000\n[channel trace]\nsource = trace\n"
		     "arena = 4M\n",
		     test_path("trace.pcap"));
	idle = raw_connect(); /* it has five seconds to say something */
	start = now_ns(CLOCK_MONOTONIC);
	cr_assert_eq(command_run(&c, "netring dump trace"), 0, "%s", c.err);
	took = now_ns(CLOCK_MONOTONIC) - start;
	cr_assert_eq(lines_of(c.out, NULL), 3000);
	cr_assert(took > 2900 * SECOND / 1000 && took < 20 * SECOND,
		  "3 s of packets in %llu ms",
		  (unsigned long long)took / 1000000);
	cr_assert(!raw_ends(idle, 0), "ended early");
	cr_assert(raw_ends(idle, 10000), "ended late");
	close(idle);
	broker_stop(&live.broker);
}

/* The program's clock is TAI, which jumps with the other: the stamps do not. */
Test(faults, a_clock_that_jumps_leaves_the_stamps_of_af_xdp)
{
	const struct traffic_frame frame = { .size = 100 };
	struct taker taker;
	uint64_t start, off = 0;

	live_network(&live);
	let_clock_jump();
	live_broker(&live, "[source s]\nbackend = xdp\ninterface = inside\n"
			   "small_pages = yes\n[channel c]\nsource = s\n");
	taker_open(&taker, "c", 0);
	start = now_ns(CLOCK_REALTIME);
	cr_assert_eq(traffic_send_like(live.traffic, &frame, 2000, 1000), 0);
	live_settle(&taker, 1, 2000);
	for (size_t i = 0; i < taker.count; i++)
		off += taker.packets[i].record.ts_ns < start ||
		       taker.packets[i].record.ts_ns > now_ns(CLOCK_REALTIME);
	cr_assert_eq(taker.count, 2000);
	/* Of a burst that is read in the moment of a jump. */
	cr_assert_leq(off, 20);
	taker_close(&taker);
	live_stop(&live);
}

/* ------------------------------------------------------- too few descriptors
 */

/* A warden's answer to whatever is asked next: it went well, with this. */
static bool answer(int socket, int fd)
{
	struct priv_reply reply = { .status = 0 };

	return send_with_fd(socket, &reply, sizeof(reply), fd);
}

/* As the engine: asks twice, the first time with a table that is full. */
static int ask_when_full(void *data)
{
	struct rlimit before, limit;
	int pair[2], fd = -1;

	(void)data;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) ||
	    dup2(pair[0], PRIV_FD_WARDEN) < 0 || (pair[1] = dup(pair[1])) < 0)
		return 2;
	if (!answer(pair[1], pair[1]) || !answer(pair[1], pair[1]) ||
	    getrlimit(RLIMIT_NOFILE, &before))
		return 3;
	limit = before;
	limit.rlim_cur = PRIV_FD_WARDEN + 1; /* all below are there */
	if (setrlimit(RLIMIT_NOFILE, &limit) ||
	    priv_replay_open(0, &fd) != -EMFILE || fd != -1)
		return 4;
	if (setrlimit(RLIMIT_NOFILE, &before) || priv_replay_open(0, &fd) ||
	    fd < 0)
		return 5;
	return 0;
}

/* What the warden gives does not fit: a verb that failed, no warden gone. */
Test(faults, descriptors_that_run_out_end_no_engine)
{
	cr_assert_eq(child_wait(child_start(0, ask_when_full, NULL)), 0);
}
