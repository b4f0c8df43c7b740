/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Consumers against the control socket: rubbish, silence, and as much of
 * everything as there is. The attacker's connection ends, with a reason in the
 * log; another user's attach works all the while.
 */
#include "scene.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#define OTHER_UID 34567

static struct scene scene;

/* In ms: how long the attach of another user takes; -1: it fails. */
struct other {
	double took_ms;
	int result;
};

static int attach_once(void *data)
{
	struct other *other = data;
	uint64_t start = scene_now_ns();
	struct nr_capture *capture;
	struct nr_batch batch;

	other->result = nr_capture_open("all", NULL, &capture);
	other->took_ms = (double)(scene_now_ns() - start) / 1e6;
	if (other->result)
		return 1;
	must(nr_capture_recv(capture, &batch, 5000) == 1);
	nr_capture_close(capture);
	return 0;
}

/* The bound: what a user would not notice. */
static void another_user_attaches_within(double ms)
{
	struct other *other = shared_memory(sizeof(*other));

	cr_assert_eq(child_wait(child_start(OTHER_UID, attach_once, other)), 0,
		     "another user's attach fails: %s",
		     nr_strerror(other->result));
	fprintf(stderr, "another user's attach took %.1f ms\n", other->took_ms);
	cr_assert_lt(other->took_ms, ms);
}

/* An attacker that goes on until it is stopped. */
struct goes_on {
	uint32_t is_ready;
	uint32_t must_stop;
	uint64_t rounds;
	uint64_t unread; /* attaches whose descriptors it has not read */
};

static void is_ready(struct goes_on *state)
{
	__atomic_store_n(&state->is_ready, 1, __ATOMIC_RELEASE);
}

static bool goes_on(struct goes_on *state)
{
	state->rounds++;
	return !__atomic_load_n(&state->must_stop, __ATOMIC_ACQUIRE);
}

static struct goes_on *start(int (*body)(void *), pid_t *pid)
{
	struct goes_on *state = shared_memory(sizeof(*state));

	*pid = child_start(ATTACKER_UID, body, state);
	eventually(__atomic_load_n(&state->is_ready, __ATOMIC_ACQUIRE));
	return state;
}

static void stop(struct goes_on *state, pid_t pid)
{
	__atomic_store_n(&state->must_stop, 1, __ATOMIC_RELEASE);
	cr_assert_eq(child_wait(pid), 0);
	fprintf(stderr, "%llu rounds\n", (unsigned long long)state->rounds);
}

/* ---------------------------------------------------------------- messages */

/* A connection that is attached, its socket alone. */
static int attached_socket(void)
{
	struct nr_capture *capture = scene_open("all");

	return capture ? capture->socket : -1;
}

static int send_bytes(int fd, const void *bytes, size_t length)
{
	return send(fd, bytes, length, MSG_NOSIGNAL) == (ssize_t)length ? 0 :
									  -1;
}

static int send_wrong_messages(void *data)
{
	struct nr_msg good = { NR_ABI_MAJOR, NR_ABI_MINOR, NR_MSG_LIST,
			       sizeof(good), 7 };
	struct nr_msg msg;
	char big[64 * 1024];
	int fd;

	(void)data;
#define EXPECT_END(prepare, send)                                              \
	do {                                                                   \
		fd = prepare;                                                  \
		must(fd >= 0);                                                 \
		must(send == 0);                                               \
		must(raw_ends(fd, 3000));                                      \
		close(fd);                                                     \
	} while (0)
	memset(big, 'A', sizeof(big));
	EXPECT_END(raw_connect(), send_bytes(fd, "", 0));
	EXPECT_END(raw_connect(), send_bytes(fd, "x", 1));
	EXPECT_END(raw_connect(), send_bytes(fd, &good, sizeof(good) - 1));
	EXPECT_END(raw_connect(), send_bytes(fd, big, 200));
	EXPECT_END(raw_connect(), send_bytes(fd, big, NR_MSG_MAX));
	EXPECT_END(raw_connect(), send_bytes(fd, big, sizeof(big)));
	for (uint32_t length = 0; length < 40; length += 3) {
		msg = good;
		msg.length = length == sizeof(msg) ? 0 : length;
		EXPECT_END(raw_connect(), send_bytes(fd, &msg, sizeof(msg)));
	}
	msg = good;
	msg.length = UINT32_MAX;
	EXPECT_END(raw_connect(), send_bytes(fd, &msg, sizeof(msg)));
	msg = good;
	msg.major = NR_ABI_MAJOR + 1;
	EXPECT_END(raw_connect(), send_bytes(fd, &msg, sizeof(msg)));
	for (uint32_t type = 0; type < 80; type++)
		if (type != NR_MSG_LIST && type != NR_MSG_STAT &&
		    type != NR_MSG_ATTACH)
			EXPECT_END(raw_connect(),
				   raw_send(fd, type, sizeof(msg)));
	/* Too short for what they are. */
	EXPECT_END(raw_connect(), raw_send(fd, NR_MSG_ATTACH, sizeof(msg)));
	EXPECT_END(raw_connect(), raw_send(fd, NR_MSG_STAT, sizeof(msg)));
	/* Everything is wrong in an attached state. */
	EXPECT_END(attached_socket(), raw_attach(fd, "all"));
	EXPECT_END(attached_socket(), raw_send(fd, NR_MSG_ACK, sizeof(msg)));
	EXPECT_END(attached_socket(), raw_send(fd, NR_MSG_LIST, sizeof(msg)));
	EXPECT_END(attached_socket(),
		   raw_send(fd, NR_MSG_STAT, sizeof(struct nr_msg_stat)));
	EXPECT_END(attached_socket(), raw_send(fd, NR_MSG_BELL, sizeof(msg)));
	EXPECT_END(attached_socket(), send_bytes(fd, "", 0));
	EXPECT_END(attached_socket(), shutdown(fd, SHUT_WR));
	EXPECT_END(raw_connect(), shutdown(fd, SHUT_WR));
	EXPECT_END(raw_connect(), shutdown(fd, SHUT_RDWR));
#undef EXPECT_END
	return 0;
}

Test(attacks, wrong_messages_end_the_connection_and_nothing_else)
{
	scene_start(&scene, "attach_rate = 1000");
	attack(send_wrong_messages, NULL, 1);
	another_user_attaches_within(1000);
	scene_end(&scene);
}

static int send_rubbish(void *data)
{
	uint64_t x = (uint64_t)getpid() * 2654435761u + 1;
	uint32_t words[NR_MSG_MAX / 4];

	(void)data;
	for (int round = 0; round < 3000; round++) {
		int fd = raw_connect();

		must(fd >= 0);
		for (size_t i = 0; i < NR_MSG_MAX / 4; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			words[i] = (uint32_t)(x >> 32) >> x % 33 % 32;
		}
		words[0] = NR_ABI_MAJOR | NR_ABI_MINOR << 16;
		words[1] = (uint32_t)x % 5;
		words[2] = 16 + (uint32_t)(x >> 8) % (NR_MSG_MAX - 16);
		/* Half of them name a channel. */
		if (x & (1 << 20))
			strcpy((char *)&words[4],
			       x & (1 << 21) ? "all" : "none");
		(void)send(fd, words, words[2], MSG_NOSIGNAL | MSG_DONTWAIT);
		(void)send(fd, words, words[2], MSG_NOSIGNAL | MSG_DONTWAIT);
		close(fd);
	}
	return 0;
}

Test(attacks, rubbish_messages_hurt_nobody)
{
	scene_start(&scene, "attach_rate = 100000");
	attack(send_rubbish, NULL, 4);
	another_user_attaches_within(2000);
	scene_end(&scene);
}

static int pass_descriptors(void *data)
{
	int fds[4] = { 0, 0, 0, 0 }, fd = raw_connect(), err;
	struct nr_msg msg;
	struct utsname name;
	int major, minor;

	(void)data;
	must(fd >= 0);
	for (int i = 0; i < 4; i++)
		must((fds[i] = socket(AF_INET, SOCK_STREAM, 0)) >= 0);
	wire_init(&msg, NR_MSG_LIST, sizeof(msg), 1);
	err = wire_send(fd, &msg, fds, 4);
	uname(&name);
	must(sscanf(name.release, "%d.%d", &major, &minor) == 2);
	/* SO_PASSRIGHTS: the kernel does not even take them. */
	if (major > 6 || (major == 6 && minor >= 16))
		must(err == -EPERM);
	else
		must(raw_ends(fd, 3000));
	return 0;
}

Test(attacks, descriptors_sent_to_the_broker_do_not_arrive)
{
	unsigned before;

	scene_start(&scene, NULL);
	before = process_fds(scene.engine);
	attack(pass_descriptors, NULL, 1);
	eventually(process_fds(scene.engine) == before);
	scene_end(&scene);
}

/* ------------------------------------------------- quotas, unread answers */

static int hold_connections(void *data)
{
	struct goes_on *state = data;
	int fds[200];

	for (int i = 0; i < 200; i++) {
		fds[i] = raw_connect();
		must(fds[i] >= 0);
	}
	/* The first 64 may ask; the others are refused. */
	must(!raw_ends(fds[0], 0));
	must(raw_ends(fds[199], 3000));
	is_ready(state);
	while (goes_on(state)) {
		int fd = raw_connect();

		close(fd);
		for (int i = 0; i < 200; i++)
			if (raw_ends(fds[i], 0)) {
				close(fds[i]);
				fds[i] = raw_connect();
			}
	}
	return 0;
}

Test(attacks, all_of_one_user_s_connections_keep_no_other_user_out)
{
	struct goes_on *state;
	unsigned fds;
	pid_t pid;

	scene_start(&scene, NULL);
	fds = process_fds(scene.engine);
	state = start(hold_connections, &pid);
	another_user_attaches_within(1000);
	cr_assert_leq(process_fds(scene.engine), fds + 64 + 10);
	another_user_attaches_within(1000);
	stop(state, pid);
	cr_assert(broker_said(&scene.broker, "too many connections"));
	eventually(process_fds(scene.engine) <= fds + 3);
	scene_end(&scene);
}

/*
 * Descriptors that are sent and not read count against the limit of the
 * engine's user, for everybody, even when the connection has long ended: they
 * lie in the attacker's socket. So it acknowledges without reading, breaks
 * the protocol, and keeps the socket.
 */
static int leave_descriptors_unread(void *data)
{
	struct goes_on *state = data;
	const struct rlimit limit = { 4096, 4096 };

	(void)setrlimit(RLIMIT_NOFILE, &limit);
	while (goes_on(state) && state->rounds < 1000) {
		int fd = raw_connect();
		struct pollfd answer = { .fd = fd, .events = POLLIN };
		struct nr_msg msg;

		must(fd >= 0);
		raw_attach(fd, "all");
		if (poll(&answer, 1, 100) == 1 &&
		    recv(fd, &msg, sizeof(msg), MSG_PEEK) > 0 &&
		    msg.type == NR_MSG_ATTACHED)
			state->unread++;
		if (state->rounds % 3 == 1)
			shutdown(fd, SHUT_WR);
		raw_send(fd, NR_MSG_ACK, sizeof(struct nr_msg));
		raw_send(fd, NR_MSG_ACK, sizeof(struct nr_msg));
		if (state->rounds == 400)
			is_ready(state);
	}
	while (goes_on(state))
		usleep(10000);
	return 0;
}

Test(attacks, descriptors_that_are_never_read_keep_no_other_user_out)
{
	const struct rlimit limit = { 512, 512 };
	struct rlimit saved;
	struct goes_on *state;
	pid_t pid;

	getrlimit(RLIMIT_NOFILE, &saved);
	setrlimit(RLIMIT_NOFILE, &limit);
	scene_start(&scene, "attach_rate = 100000");
	setrlimit(RLIMIT_NOFILE, &saved);
	state = start(leave_descriptors_unread, &pid);
	another_user_attaches_within(1000);
	/* However often it comes back, its connections are not more. */
	cr_assert_gt(state->unread, 10);
	cr_assert_leq(state->unread, 64);
	stop(state, pid);
	another_user_attaches_within(1000);
	scene_end(&scene);
}

/* Attaches by the score, and never a word more. */
static int never_acknowledge(void *data)
{
	struct goes_on *state = data;
	int fds[60], i;

	for (i = 0; i < 60; i++)
		fds[i] = -1;
	while (goes_on(state)) {
		for (i = 0; i < 60; i++) {
			if (fds[i] >= 0 && !raw_ends(fds[i], 0))
				continue;
			close(fds[i]);
			fds[i] = raw_connect();
			raw_attach(fds[i], "all");
		}
		is_ready(state);
		usleep(1000);
	}
	return 0;
}

Test(attacks, attaches_that_are_never_acknowledged_keep_no_other_user_out)
{
	struct goes_on *state;
	pid_t pid;

	scene_start(&scene, NULL);
	state = start(never_acknowledge, &pid);
	for (int i = 0; i < 10; i++) {
		sleep_ms(150);
		another_user_attaches_within(1000);
	}
	eventually(broker_said(&scene.broker, "did not acknowledge in time"));
	stop(state, pid);
	scene_end(&scene);
}

static int ask_for_ever(void *data)
{
	struct goes_on *state = data;

	is_ready(state);
	while (goes_on(state)) {
		int fd = raw_connect();

		must(fd >= 0);
		raw_send(fd, state->rounds % 2 ? NR_MSG_STAT : NR_MSG_LIST,
			 sizeof(struct nr_msg_stat));
		close(fd);
	}
	return 0;
}

Test(attacks, questions_without_end_delay_no_packet)
{
	struct goes_on *states[3];
	pid_t pids[3];
	double stall_ms;

	scene_start(&scene, NULL);
	for (int i = 0; i < 3; i++)
		states[i] = start(ask_for_ever, &pids[i]);
	scene_stall_ms(&scene);
	sleep_ms(1500);
	stall_ms = scene_stall_ms(&scene);
	another_user_attaches_within(2000);
	for (int i = 0; i < 3; i++)
		stop(states[i], pids[i]);
	fprintf(stderr, "longest stall: %.1f ms\n", stall_ms);
	cr_assert_lt(stall_ms, 300);
	scene_end(&scene);
}

/* --------------------------------------------------------------------- logs */

#define ESCAPES "\033[2J\r\n\x9b!x"

static int have_a_name(void *data)
{
	struct goes_on *state = data;
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *capture;
	char text[NR_TEXT_MAX] = "";
	int fd;

	prctl(PR_SET_NAME, ESCAPES);
	options.error_text = text;
	options.error_text_size = sizeof(text);
	must(nr_capture_open("\033]0;owned\a\nnetringd: error: x", &options,
			     &capture) == -ENOENT);
	must(!strpbrk(text, "\033\n\r\a"));
	fd = raw_connect();
	must(send_bytes(fd, "", 0) == 0);
	must(scene_open("all"));
	is_ready(state);
	while (goes_on(state))
		usleep(1000);
	return 0;
}

/* Whether @path holds printable ASCII and line ends alone (UTF-8 is neither).
 */
static bool is_plain(const char *path)
{
	FILE *file = fopen(path, "re");
	bool plain = true;
	int c;

	while ((c = getc(file)) != EOF)
		plain = plain && (c == '\n' || (c >= ' ' && c < 0x7f));
	fclose(file);
	return plain;
}

/* "netring stat", as an administrator would. */
static int run_stat(void *data)
{
	char command[512];

	snprintf(command, sizeof(command), "%s stat %s >%s", NETRING_TOOL,
		 (const char *)data, test_path("stat.txt"));
	return WEXITSTATUS(system(command));
}

Test(attacks, escape_sequences_in_names_do_not_reach_a_terminal)
{
	struct goes_on *state;
	pid_t pid;

	scene_start(&scene, NULL);
	state = start(have_a_name, &pid);
	cr_assert_eq(run_stat((void *)(uintptr_t) ""), 0);
	cr_assert(is_plain(test_path("stat.txt")));
	cr_assert_eq(run_stat((void *)(uintptr_t) "--json"), 0);
	cr_assert(is_plain(test_path("stat.txt")));
	stop(state, pid);
	eventually(broker_said(&scene.broker, "\\x1b[2J\\x0d\\x0a"));
	cr_assert(is_plain(scene.broker.log));
	scene_end(&scene);
}
