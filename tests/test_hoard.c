/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an engine that was taken over keeps of the host's memory, dead or alive,
 * for itself or for others: there is an end to it.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hijack.h"
#include "live.h"

static struct live live;

TestSuite(hoard, .timeout = 120);

/* The most that each engine is given, and of which two may keep all. */
#define PAGES_AT_ONCE 16
#define PAGES_EACH 16384
#define UMEMS_EACH 4 /* of a lane */
#define HELD_MAX 4096

static int held[HELD_MAX];
static unsigned held_count;

/* Asks until there is no more, and keeps it. Returns how often it was given. */
static unsigned hoard(int socket, pid_t engine,
		      const struct priv_request *request)
{
	unsigned given = 0;

	for (;; given++) {
		union {
			struct cmsghdr header;
			char bytes[CMSG_SPACE(sizeof(int))];
		} control;
		struct priv_reply reply;
		struct iovec iov = { &reply, sizeof(reply) };
		struct msghdr msg = { .msg_iov = &iov,
				      .msg_iovlen = 1,
				      .msg_control = control.bytes,
				      .msg_controllen = sizeof(control.bytes) };

		cr_assert(hijack_ask(socket, engine, request));
		cr_assert_eq(recvmsg(socket, &msg, 0), sizeof(reply));
		if (reply.status)
			return given;
		cr_assert(CMSG_FIRSTHDR(&msg) && held_count < HELD_MAX);
		memcpy(&held[held_count++], CMSG_DATA(&control.header),
		       sizeof(int));
	}
}

/* Stops this one, has all it can be given, and waits for the next. */
static unsigned hoard_and_die(const struct priv_request *request)
{
	static unsigned engines = 1;
	pid_t engine = broker_engine(&live.broker);
	int socket = hijack_socket(engine);
	unsigned given;

	eventually(broker_said_times(&live.broker, "serving") >= engines);
	kill(engine, SIGSTOP);
	given = hoard(socket, engine, request);
	close(socket);
	kill(engine, SIGKILL);
	engines++;
	eventually(broker_said_times(&live.broker, "serving") >= engines);
	return given;
}

static void give_back(void)
{
	while (held_count > 0)
		close(held[--held_count]);
}

static void raise_limit(void)
{
	const struct rlimit limit = { 2 * HELD_MAX, 2 * HELD_MAX };

	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

Test(hoard, of_return_pages_ends_with_two_engines)
{
	const struct priv_request request = { .verb = PRIV_RETURN_PAGES,
					      .count = PAGES_AT_ONCE };
	const unsigned most = PAGES_EACH / PAGES_AT_ONCE;

	live_network(&live);
	live_broker(&live, "[source lan]\ninterface = inside\n"
			   "ring_size = 1M\n"
			   "[channel lan]\nsource = lan\nallow = everyone\n");
	raise_limit();
	cr_assert_geq(hoard_and_die(&request), most - 1);
	cr_assert_geq(hoard_and_die(&request), most - 1);
	cr_assert_leq(hoard_and_die(&request), 2);
	cr_assert(broker_said(&live.broker, "return pages of engines before"));
	give_back();
	hoard_and_die(&request); /* is counted at the next start */
	give_back();
	cr_assert_geq(hoard_and_die(&request), most - 1);
	live_stop(&live);
}

Test(hoard, of_frames_ends_with_two_engines)
{
	const struct priv_request request = { .verb = PRIV_XDP_UMEM };
	unsigned given = 0;

	live_network(&live);
	live_broker(&live, "[source x]\ninterface = inside\nbackend = xdp\n"
			   "frame_count = 6144\nsmall_pages = yes\n"
			   "[channel x]\nsource = x\nallow = everyone\n");
	for (unsigned i = 0; i < 4; i++)
		given += hoard_and_die(&request);
	cr_assert_geq(given, UMEMS_EACH);
	/* and the one that the lane has */
	cr_assert_leq(given, 2 * UMEMS_EACH + 1);
	cr_assert_eq(hoard_and_die(&request), 0);
	cr_assert(broker_said(&live.broker, "is held by somebody yet"));
	give_back();
	cr_assert_gt(hoard_and_die(&request), 1);
	live_stop(&live);
}

/* ----------------------------------------------------------------- rings */

#define RING (1u << 20)
#define RINGS_TRIED 40

static void *rings_had[RINGS_TRIED];
static unsigned rings_count;

/* An engine, stopped, and both sockets that it had. */
struct taken_over {
	pid_t engine;
	int socket;
	int rings;
};

static struct taken_over take_over(void)
{
	pid_t engine = broker_engine(&live.broker);
	struct taken_over it = { engine, hijack_socket(engine),
				 hijack_rings(engine) };

	kill(engine, SIGSTOP);
	return it;
}

static void let_go(struct taken_over *it)
{
	close(it->socket);
	close(it->rings);
	kill(it->engine, SIGKILL);
	eventually(broker_said_times(&live.broker, "serving") == 2);
}

/* Asks for the ring of lane 0 of @source, and keeps it mapped. */
static int keep_ring(const struct taken_over *it, uint32_t source)
{
	const struct priv_request request = { .verb = PRIV_PACKET_OPEN,
					      .source = source };
	int status = hijack_status(it->socket, it->engine, &request);

	if (status == 0)
		rings_had[rings_count++] = hijack_map(it->rings, RING);
	return status;
}

static void unmap_rings(void)
{
	while (rings_count > 0)
		munmap(rings_had[--rings_count], RING);
}

/* Of a configuration that is never to be in force. */
static int keep_next(const struct taken_over *it)
{
	const struct priv_request reload = { .verb = PRIV_RELOAD };

	cr_assert_eq(hijack_status(it->socket, it->engine, &reload), 0);
	return keep_ring(it, PRIV_NEXT + 1);
}

Test(hoard, of_rings_that_a_reload_might_bring_has_an_end)
{
	struct taken_over it;
	int status = 0;

	live_network(&live);
	live_broker(&live, "[source lan]\ninterface = inside\n"
			   "ring_size = 1M\n"
			   "[channel lan]\nsource = lan\nallow = everyone\n");
	network_run(&live.network,
		    "printf '[source more]\ninterface = inside\n"
		    "ring_size = 1M\n[channel more]\nsource = more\n' >>"
		    "%s.conf",
		    live.broker.socket);
	it = take_over();
	while (rings_count < RINGS_TRIED && status == 0)
		status = keep_next(&it);
	/* Two of each lane in it, and one that is open. */
	cr_assert_leq(rings_count, 5);
	cr_assert_eq(status, -ENOSPC);
	cr_assert(broker_said(&live.broker, "has not given back"));
	/* What it does give back does not count. */
	unmap_rings();
	cr_assert_eq(keep_next(&it), 0);
	unmap_rings();
	let_go(&it);
	live_stop(&live);
}

/* The interface is another one: as long as one lane has no ring of it. */
Test(hoard, of_rings_of_a_link_that_returned_has_an_end)
{
	struct taken_over it;
	int status = 0;

	live_network(&live);
	live_broker(&live, "[source lan]\ninterface = inside\nlanes = 2\n"
			   "ring_size = 1M\n"
			   "[channel lan]\nsource = lan\nallow = everyone\n");
	it = take_over();
	network_run(&live.network,
		    "ip link del inside && "
		    "ip link add outside type veth peer name inside && "
		    "ip link set outside up && ip link set inside up");
	while (rings_count < RINGS_TRIED && status == 0)
		status = keep_ring(&it, 0);
	cr_assert_leq(rings_count, 5);
	cr_assert_eq(status, -ENOSPC);
	unmap_rings();
	cr_assert_eq(keep_ring(&it, 0), 0);
	unmap_rings();
	let_go(&it);
	live_stop(&live);
}
