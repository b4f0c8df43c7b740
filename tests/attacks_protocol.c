/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Attacks on the control socket: rubbish, silence, and as much of everything
 * as there is.
 */
#include "attacks.h"

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

/* ---------------------------------------------------------------- messages */

/* A connection that is attached, its socket alone. */
static int attached_socket(const struct play *play)
{
	struct nr_capture *capture = play_open(play);

	return capture ? capture->socket : -1;
}

static int send_bytes(int fd, const void *bytes, size_t length)
{
	return send(fd, bytes, length, MSG_NOSIGNAL) == (ssize_t)length ? 0 :
									  -1;
}

int send_wrong_messages(struct play *play)
{
	struct nr_msg good = { NR_ABI_MAJOR, NR_ABI_MINOR, NR_MSG_LIST,
			       sizeof(good), 7 };
	struct nr_msg msg;
	char big[64 * 1024];
	int fd;

#define EXPECT_END(prepare, send)                                              \
	do {                                                                   \
		fd = prepare;                                                  \
		if (fd < 0)                                                    \
			return ATTACK_REFUSED;                                 \
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
	EXPECT_END(attached_socket(play), raw_attach(fd, play->channel));
	EXPECT_END(attached_socket(play),
		   raw_send(fd, NR_MSG_ACK, sizeof(msg)));
	EXPECT_END(attached_socket(play),
		   raw_send(fd, NR_MSG_LIST, sizeof(msg)));
	EXPECT_END(attached_socket(play),
		   raw_send(fd, NR_MSG_STAT, sizeof(struct nr_msg_stat)));
	EXPECT_END(attached_socket(play),
		   raw_send(fd, NR_MSG_BELL, sizeof(msg)));
	EXPECT_END(attached_socket(play), send_bytes(fd, "", 0));
	EXPECT_END(attached_socket(play), shutdown(fd, SHUT_WR));
	EXPECT_END(raw_connect(), shutdown(fd, SHUT_WR));
	EXPECT_END(raw_connect(), shutdown(fd, SHUT_RDWR));
#undef EXPECT_END
	return 0;
}

int send_rubbish(struct play *play)
{
	uint64_t x = (play->seed + (uint64_t)getpid()) * 2654435761u + 1;
	uint32_t words[NR_MSG_MAX / 4];

	for (int round = 0; round < 3000 && goes_on(play); round++) {
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

/* Its close would take seconds, if what was sent on it were not read. */
static int lingering_socket(void)
{
	const struct linger linger = { 1, 10 };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	return fd;
}

int pass_descriptors(struct play *play)
{
	int fds[4] = { 0, 0, 0, 0 }, fd = raw_connect(), err;
	struct nr_msg msg;
	struct utsname name;
	int major, minor;

	(void)play;
	must(fd >= 0);
	for (int i = 0; i < 4; i++)
		must((fds[i] = lingering_socket()) >= 0);
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

/* ------------------------------------------------- quotas, unread answers */

int hold_connections(struct play *play)
{
	int fds[200];

	for (int i = 0; i < 200; i++) {
		fds[i] = raw_connect();
		must(fds[i] >= 0);
	}
	/* The first 64 may ask; the others are refused. */
	must(play->has_company || !raw_ends(fds[0], 0));
	must(raw_ends(fds[199], 3000));
	is_ready(play);
	while (goes_on(play)) {
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

/*
 * Descriptors that are sent and not read count against the limit of the
 * engine's user, for everybody, even when the connection has long ended: they
 * lie in the attacker's socket. So it acknowledges without reading, breaks
 * the protocol, and keeps the socket.
 */
int leave_descriptors_unread(struct play *play)
{
	struct rlimit limit;
	uint64_t most;

	must(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	most = limit.rlim_cur - 100 < 1000 ? limit.rlim_cur - 100 : 1000;
	while (goes_on(play) && play->rounds < most) {
		int fd = raw_connect();
		struct pollfd answer = { .fd = fd, .events = POLLIN };
		struct nr_msg msg;

		must(fd >= 0);
		raw_attach(fd, play->channel);
		if (poll(&answer, 1, 100) == 1 &&
		    recv(fd, &msg, sizeof(msg), MSG_PEEK) > 0 &&
		    msg.type == NR_MSG_ATTACHED)
			play->has++;
		if (play->rounds % 3 == 1)
			shutdown(fd, SHUT_WR);
		raw_send(fd, NR_MSG_ACK, sizeof(struct nr_msg));
		raw_send(fd, NR_MSG_ACK, sizeof(struct nr_msg));
		if (play->rounds == 400)
			is_ready(play);
	}
	while (goes_on(play))
		usleep(10000);
	return 0;
}

/* Attaches by the score, and never a word more. */
int never_acknowledge(struct play *play)
{
	int fds[60], i;

	for (i = 0; i < 60; i++)
		fds[i] = -1;
	while (goes_on(play)) {
		for (i = 0; i < 60; i++) {
			if (fds[i] >= 0 && !raw_ends(fds[i], 0))
				continue;
			close(fds[i]);
			fds[i] = raw_connect();
			raw_attach(fds[i], play->channel);
		}
		is_ready(play);
		usleep(1000);
	}
	return 0;
}

int ask_for_ever(struct play *play)
{
	is_ready(play);
	while (goes_on(play)) {
		int fd = raw_connect();

		must(fd >= 0);
		raw_send(fd, play->rounds % 2 ? NR_MSG_STAT : NR_MSG_LIST,
			 sizeof(struct nr_msg_stat));
		close(fd);
	}
	return 0;
}

/* --------------------------------------------------------------------- logs */

#define ESCAPES "\033[2J\r\n\x9b!x"

int have_a_name(struct play *play)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *capture;
	char text[NR_TEXT_MAX] = "";
	int err, fd;

	prctl(PR_SET_NAME, ESCAPES);
	options.error_text = text;
	options.error_text_size = sizeof(text);
	err = nr_capture_open("\033]0;owned\a\nnetringd: error: x", &options,
			      &capture);
	/* Company of the same user may have used up what that user may ask. */
	must(play->has_company ? err < 0 : err == -ENOENT);
	must(!strpbrk(text, "\033\n\r\a"));
	fd = raw_connect();
	must(send_bytes(fd, "", 0) == 0);
	must_attach(capture, play);
	is_ready(play);
	while (goes_on(play))
		usleep(1000);
	return 0;
}

/* ------------------------------------------------------------------- moving */

/*
 * It says that it follows, and acknowledges what it never read, too early,
 * twice, or never, while the channel is changed by reloads.
 */
int forge_move_acks(struct play *play)
{
	struct nr_msg_attach attach = { .lane = NR_ALL_LANES,
					.flags = NR_ATTACH_FOLLOWS };
	unsigned manner = (unsigned)play->seed;
	int fd;

	snprintf(attach.channel, sizeof(attach.channel), "%s", play->channel);
	wire_init(&attach.msg, NR_MSG_ATTACH, sizeof(attach), 1);
	do {
		struct wire_msg msg;
		uint64_t end = scene_now_ns() + 300000000;

		fd = raw_connect();
		must(fd >= 0);
		wire_send(fd, &attach.msg, NULL, 0);
		while (scene_now_ns() < end && !raw_ends(fd, 2)) {
			int n = wire_recv(fd, &msg);

			if (n == 1)
				wire_close_fds(&msg);
			if (n == 1 && (msg.msg.type == NR_MSG_LANE ||
				       msg.msg.type == NR_MSG_MOVE))
				for (unsigned i = 0; i < manner % 4; i++)
					raw_send(fd, NR_MSG_ACK,
						 sizeof(msg.msg));
		}
		close(fd);
		manner++;
	} while (goes_on(play));
	return 0;
}

/* ------------------------------------------------------------------- groups */

static int open_in_group(const struct play *play, const char *name,
			 struct nr_capture **capture)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;

	options.group = name;
	options.follow = play->seed & 1;
	return nr_capture_open(play->channel, &options, capture);
}

int join_and_leave_groups(struct play *play)
{
	static const char *const names[] = {
		"ids",	   "../../etc/passwd",
		"\033[2J", "a",
		"%s%n%s",  "",
		"ids",	   "0123456789012345678901234567890",
	};
	struct nr_capture *members[6] = { NULL };
	struct nr_batch batch;

	while (goes_on(play)) {
		unsigned n = (unsigned)(play->rounds + play->seed);
		struct nr_capture **member = &members[n % 6];

		if (*member && n % 5 == 0 &&
		    nr_capture_recv(*member, &batch, 5) == 1)
			continue; /* and it gives nothing back */
		if (*member)
			nr_capture_close(*member);
		if (open_in_group(play, names[n / 6 % 8], member)) {
			*member = NULL;
			usleep(1000);
		}
	}
	return 0;
}

/* ------------------------------------------------------------------ quotas */

/*
 * All captures that it may have, each ended by a breach of the protocol, and
 * what came with them kept as long as the connection: so its rings and return
 * pages cannot be used for the next.
 */
int take_all_there_is(struct play *play)
{
	int fds[100], count = 0;

	while (count < 100 && goes_on(play)) {
		struct nr_capture *capture;
		int err = nr_capture_open(play->channel, NULL, &capture);

		if (err == -ENOSPC)
			break;
		if (err) { /* too fast, or a reload */
			usleep(5000);
			continue;
		}
		fds[count] = capture->socket;
		must(send_bytes(fds[count], "", 0) == 0);
		must(raw_ends(fds[count], 3000));
		count++;
		play->has++;
	}
	return 0;
}
