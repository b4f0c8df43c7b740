/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An engine that was taken over, to its warden: whoever has its end of their
 * socket gets no more than it may, and can neither keep nor deafen the warden.
 */
#include <criterion/criterion.h>

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <netring/layout.h>

#include "hijack.h"
#include "live.h"
#include "scene.h"

static struct live live;

static void start(void)
{
	live_network(&live);
	live_broker(&live, "[source lan]\ninterface = inside\nlanes = 2\n"
			   "ring_size = 1M\n"
			   "[channel lan]\nsource = lan\nallow = everyone\n");
}

TestSuite(hijack, .init = start, .timeout = 120);

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool has_another_engine(void *data)
{
	return broker_said_times(&live.broker, "serving") >= 2 &&
	       broker_engine(&live.broker) != *(pid_t *)data;
}

static bool has_no_broker(void *data)
{
	(void)data;
	return waitpid(live.broker.pid, NULL, WNOHANG) == live.broker.pid;
}

/* What the warden answers when the engine, which is stopped, asks. */
static int status_of_open(int socket, pid_t engine, uint32_t lane)
{
	const struct priv_request request = { .verb = PRIV_PACKET_OPEN,
					      .lane = lane };

	return hijack_status(socket, engine, &request);
}

/* What each lane is given without a reason that the warden sees. */
static unsigned given_anew(int socket, pid_t engine)
{
	unsigned given = 0;

	for (unsigned i = 0; i < 40; i++)
		given += status_of_open(socket, engine, i % 2) == 0;
	return given;
}

/*
 * Its last close takes ten seconds, as nobody reads what was sent on it: not
 * the warden's, whatever comes with a request.
 */
static int lingering_socket(void)
{
	const struct linger linger = { 1, 10 };
	static char bytes[1 << 20];
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	int peer = socket(AF_INET, SOCK_STREAM, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	cr_assert_eq(bind(peer, (struct sockaddr *)&address, length), 0);
	cr_assert_eq(listen(peer, 1), 0);
	getsockname(peer, (struct sockaddr *)&address, &length);
	cr_assert_eq(connect(fd, (struct sockaddr *)&address, length), 0, "%s",
		     strerror(errno));
	while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger,
				sizeof(linger)),
		     0);
	return fd;
}

static bool send_request_with(int socket, int fd)
{
	const struct priv_request request = { .verb = PRIV_START };

	return send_with_fd(socket, &request, sizeof(request), fd);
}

Test(hijack, descriptors_that_come_with_a_request_stop_no_warden)
{
	pid_t engine = broker_engine(&live.broker);
	int socket = hijack_socket(engine), fd;
	int64_t start_ms;

	network_run(&live.network, "ip link set lo up");
	fd = lingering_socket();
	kill(engine, SIGSTOP);
	start_ms = now_ms();
	/* Refused, it is ours to close. */
	if (!send_request_with(socket, fd))
		cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER,
					&(struct linger){ 0 },
					sizeof(struct linger)),
			     0);
	close(fd);
	kill(live.broker.pid, SIGTERM);
	kill(engine, SIGKILL);
	cr_assert(wait_until(has_no_broker, NULL, 20000));
	cr_assert_lt(now_ms() - start_ms, 5000);
	close(socket);
}

/* Whatever it says of the ring that it has. */
Test(hijack, gets_no_socket_again)
{
	const struct priv_request broken = { .verb = PRIV_PACKET_BROKEN };
	pid_t engine = broker_engine(&live.broker);
	int socket = hijack_socket(engine);

	kill(engine, SIGSTOP);
	cr_assert_eq(given_anew(socket, engine), 0);
	cr_assert_eq(hijack_status(socket, engine, &broken), 0);
	cr_assert_eq(given_anew(socket, engine), 0);
	cr_assert_eq(status_of_open(socket, engine, 0), -EPERM);
	/* It has gone, and another comes: the warden sees it. */
	network_run(&live.network,
		    "ip link del inside && "
		    "ip link add outside type veth peer name inside && "
		    "ip link set outside up && ip link set inside up");
	cr_assert_eq(status_of_open(socket, engine, 0), 0);
	cr_assert_eq(status_of_open(socket, engine, 1), 0);
	cr_assert_eq(status_of_open(socket, engine, 0), -EPERM);
	close(socket);
	/* Its rings are not those that the warden holds now. */
	kill(engine, SIGKILL);
	cr_assert(wait_until(has_another_engine, &engine, 10000));
	live_stop(&live);
}

/* Pages that consumers write, in the life of an engine: 64 MiB of them. */
Test(hijack, gets_so_many_return_pages_and_no_more)
{
	const struct priv_request request = { .verb = PRIV_RETURN_PAGES,
					      .count = NR_LANES_MAX };
	pid_t engine = broker_engine(&live.broker);
	int socket = hijack_socket(engine), status;
	unsigned pages = 0;

	kill(engine, SIGSTOP);
	while ((status = hijack_status(socket, engine, &request)) == 0) {
		pages += NR_LANES_MAX;
		cr_assert_leq(pages, 16384);
	}
	cr_assert_eq(status, -ENOSPC);
	cr_assert_geq(pages, 16384 - NR_LANES_MAX);
	close(socket);
	kill(engine, SIGKILL);
	cr_assert(wait_until(has_another_engine, &engine, 10000));
	live_stop(&live);
}

/* Nothing of it is done: the warden ends, with a word, and the engine. */
static void check_surprise(const void *bytes, size_t size, const char *word)
{
	pid_t engine = broker_engine(&live.broker);
	int socket = hijack_socket(engine);
	char said[64];

	kill(engine, SIGSTOP);
	snprintf(said, sizeof(said), "something impossible (%s)", word);
	cr_assert(hijack_say(socket, engine, bytes, size));
	cr_assert(wait_until(has_no_broker, NULL, 10000), "%s", word);
	cr_assert(broker_said(&live.broker, said), "%s", word);
	close(socket);
	cr_assert_eq(unlink(live.broker.log), 0);
	broker_start_again(&live.broker, live.network.netns);
}

Test(hijack, asks_for_nothing_that_is_no_request)
{
	static const struct {
		struct priv_request request;
		const char *word;
	} table[] = {
		{ { .verb = 0 }, "verb" },
		{ { .verb = PRIV_VERBS }, "verb" },
		{ { .verb = 1u << 20 }, "verb" },
		{ { .verb = UINT32_MAX }, "verb" },
		{ { .verb = PRIV_PACKET_OPEN, .source = 1 }, "source" },
		{ { .verb = PRIV_PACKET_OPEN, .source = PRIV_NEXT }, "source" },
		{ { .verb = PRIV_PACKET_OPEN, .source = UINT32_MAX },
		  "source" },
		{ { .verb = PRIV_XDP_OPEN }, "source" },
		{ { .verb = PRIV_REPLAY_OPEN }, "source" },
		{ { .verb = PRIV_PACKET_OPEN, .interface = 1 }, "lane" },
		{ { .verb = PRIV_PACKET_STATS, .lane = 2 }, "lane" },
		{ { .verb = PRIV_RETURN_PAGES, .count = 0 }, "return pages" },
		{ { .verb = PRIV_RETURN_PAGES, .count = NR_LANES_MAX + 1 },
		  "return pages" },
	};
	const struct priv_request two[2] = { { .verb = PRIV_START } };

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		check_surprise(&table[i].request, sizeof(table[i].request),
			       table[i].word);
	check_surprise(two, 4, "length");
	check_surprise(two, sizeof(two[0]) - 1, "length");
	check_surprise(two, sizeof(two[0]) + 1, "length");
	check_surprise(two, sizeof(two), "length");
	live_stop(&live);
}

/* Each has had what it may before it can be taken over, and serves with it. */
Test(hijack, leaves_the_next_engine_its_sockets_and_no_more)
{
	for (unsigned i = 0; i < 2; i++) {
		pid_t engine = broker_engine(&live.broker);
		int socket = hijack_socket(engine);

		kill(engine, SIGSTOP);
		cr_assert_eq(given_anew(socket, engine), 0);
		close(socket);
		kill(engine, SIGKILL);
		eventually(broker_said_times(&live.broker, "serving") == i + 2);
	}
	live_stop(&live);
}

/* Each is a parser that the warden starts, and waits for. */
Test(hijack, has_the_configuration_read_twenty_times_a_second_at_most)
{
	const struct priv_request request = { .verb = PRIV_RELOAD };
	pid_t engine = broker_engine(&live.broker);
	int socket = hijack_socket(engine);
	int64_t start_ms = now_ms();
	struct priv_reply reply;

	kill(engine, SIGSTOP);
	for (unsigned i = 0; i < 11; i++) {
		cr_assert(hijack_ask(socket, engine, &request));
		cr_assert_eq(recv(socket, &reply, sizeof(reply), 0),
			     sizeof(reply));
		cr_assert_eq(reply.status, 0);
	}
	cr_assert_geq(now_ms() - start_ms, 10 * 50);
	kill(engine, SIGCONT);
	close(socket);
	live_stop(&live);
}

/* Its socket is open all the same: it was passed on. */
Test(hijack, an_engine_that_passed_its_socket_on_is_followed)
{
	pid_t engine = broker_engine(&live.broker);
	int socket = hijack_socket(engine);

	kill(engine, SIGKILL);
	cr_assert(wait_until(has_another_engine, &engine, 10000));
	close(socket);
	live_stop(&live);
}

Test(hijack, another_process_with_its_socket_is_not_served)
{
	const struct priv_request request = { .verb = PRIV_START };
	int socket = hijack_socket(broker_engine(&live.broker));

	cr_assert_eq(send(socket, &request, sizeof(request), 0),
		     sizeof(request));
	cr_assert(wait_until(has_no_broker, NULL, 10000));
	cr_assert(broker_said(&live.broker, "impossible (sender)"));
	close(socket);
}

Test(hijack, answers_that_are_not_read_stop_no_warden)
{
	const struct priv_request request = { .verb = PRIV_START };
	pid_t engine = broker_engine(&live.broker);
	int socket = hijack_socket(engine);

	kill(engine, SIGSTOP);
	for (int ms = 0; ms < 10000 && !broker_said(&live.broker, "is killed");
	     ms++) {
		while (hijack_ask(socket, engine, &request))
			;
		sleep_ms(1);
	}
	cr_assert(wait_until(has_another_engine, &engine, 10000));
	close(socket);
	live_stop(&live);
}

/* Each request was five seconds more. */
Test(hijack, requests_without_end_put_off_no_end)
{
	const struct priv_request request = { .verb = PRIV_START };
	pid_t engine = broker_engine(&live.broker);
	int socket = hijack_socket(engine);
	struct priv_reply reply;
	time_t start_s = time(NULL);

	kill(engine, SIGSTOP);
	kill(live.broker.pid, SIGTERM);
	while (time(NULL) < start_s + 20 && !has_no_broker(NULL)) {
		(void)hijack_ask(socket, engine, &request);
		while (recv(socket, &reply, sizeof(reply), MSG_DONTWAIT) > 0)
			;
		sleep_ms(50);
	}
	cr_assert_lt(time(NULL), start_s + 10);
	cr_assert(broker_said(&live.broker, "does not stop: killed"));
	close(socket);
}

/* The next engine asks, if this one died before it could. */
Test(hijack, a_reload_outlives_the_engine_that_was_told)
{
	pid_t engine = broker_engine(&live.broker);

	kill(engine, SIGSTOP);
	kill(live.broker.pid, SIGHUP);
	/* It has the signal: pending, as long as it is stopped. */
	eventually(process_status(engine, "ShdPnd:", 16) & 1);
	kill(engine, SIGKILL);
	cr_assert(wait_until(has_another_engine, &engine, 10000));
	eventually(broker_said(&live.broker, "configuration was read again"));
	live_stop(&live);
}

/* ------------------------------------------------------------- its listener */

static int ignore(const struct nr_msg *msg, void *data)
{
	(void)msg;
	(void)data;
	return 0;
}

static int list(void *data)
{
	(void)data;
	return -nr_broker_list(NULL, ignore, NULL);
}

static int attach(void *data)
{
	struct nr_capture *capture;
	int err = nr_capture_open("lan", NULL, &capture);

	(void)data;
	if (!err)
		nr_capture_close(capture);
	return -err;
}

/* How many wait to be accepted. */
static unsigned waiting(void)
{
	char command[256], text[32] = "";
	FILE *pipe;

	snprintf(command, sizeof(command),
		 "ss -xlH src %s | awk '{ n += $3 } END { print n + 0 }'",
		 live.broker.socket);
	pipe = popen(command, "r");
	cr_assert(pipe && fgets(text, sizeof(text), pipe));
	pclose(pipe);
	return (unsigned)strtoul(text, NULL, 10);
}

/* Who waited for it is not its clients': they come to the next. */
Test(hijack, its_listener_is_worth_nothing_after_it)
{
	int (*const bodies[])(void *) = { list, attach, list, attach };
	pid_t engine = broker_engine(&live.broker), clients[4];
	int listener = hijack_fd(engine, PRIV_FD_LISTENER);
	struct pollfd at = { .fd = listener, .events = POLLIN };

	kill(engine, SIGSTOP);
	for (unsigned i = 0; i < 4; i++)
		clients[i] = child_start(0, bodies[i], NULL);
	eventually(waiting() == 4);
	kill(engine, SIGKILL);
	cr_assert(wait_until(has_another_engine, &engine, 10000));
	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(child_wait(clients[i]), 0);
	cr_assert_eq(poll(&at, 1, 0), 1);
	cr_assert(at.revents & POLLHUP);
	for (unsigned i = 0; i < 20; i++) {
		cr_assert_eq(list(NULL), 0);
		cr_assert_lt(accept4(listener, NULL, NULL, SOCK_NONBLOCK), 0);
	}
	close(listener);
	live_stop(&live);
}

Test(hijack, a_listener_that_it_shuts_down_is_its_end)
{
	pid_t engine = broker_engine(&live.broker);
	int listener = hijack_fd(engine, PRIV_FD_LISTENER);

	cr_assert_eq(shutdown(listener, SHUT_RDWR), 0);
	cr_assert(wait_until(has_another_engine, &engine, 10000));
	cr_assert(broker_said(&live.broker, "was shut down"));
	cr_assert_eq(list(NULL), 0);
	/* It is not the next one's. */
	engine = broker_engine(&live.broker);
	shutdown(listener, SHUT_RDWR);
	close(listener);
	cr_assert_eq(list(NULL), 0);
	cr_assert_eq(broker_engine(&live.broker), engine);
	live_stop(&live);
}

/*
 * Connects all the time. Exit status: 0 unless there was nobody once. It may
 * come to the old one, just shut down; then the next is there already.
 */
static int knock(void *data)
{
	volatile bool *must_stop = data;
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	strcpy(address.sun_path, live.broker.socket);
	while (!*must_stop) {
		int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);

		for (unsigned tries = 0;
		     connect(fd, (struct sockaddr *)&address,
			     sizeof(address)) &&
		     errno != EAGAIN;
		     tries++)
			if (errno != ECONNREFUSED || tries > 0)
				return errno;
		close(fd);
	}
	return 0;
}

Test(hijack, there_is_a_listener_all_the_time)
{
	bool *must_stop = shared_memory(sizeof(*must_stop));
	pid_t knocker = child_start(0, knock, must_stop);

	for (unsigned i = 0; i < 4; i++) {
		pid_t engine = broker_engine(&live.broker);

		kill(engine, SIGKILL);
		eventually(broker_said_times(&live.broker, "serving") >= i + 2);
	}
	*must_stop = true;
	cr_assert_eq(child_wait(knocker), 0);
	live_stop(&live);
}
