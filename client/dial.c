/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Talking to the broker: each wait has an end, so a broker that is stopped
 * cannot stop its clients, and a refusal is read even when the broker has
 * already hung up behind it.
 */
#include "capture.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* An attach may have the broker make an arena first; that is no 10 s. */
#define ANSWER_MS 10000
#define BACKLOG_STEP_MS 20
#define ERRNO_MAX 4095

int64_t dial_clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void dial_sleep_ms(int ms)
{
	struct timespec left = { ms / 1000, ms % 1000 * 1000000L };

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

#define STEP_MIN_MS 20
#define STEP_MAX_MS 200

struct patience patience_start(int wait_ms)
{
	return (struct patience){ dial_clock_ms(), wait_ms, STEP_MIN_MS };
}

/* A signal makes the next try earlier, which hurts nobody. */
bool patience_wait(struct patience *patience, int fd)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };
	int step = patience->step_ms;
	struct timespec nap;

	if (patience->wait_ms >= 0) {
		int64_t left = patience->started_ms + patience->wait_ms -
			       dial_clock_ms();

		if (left <= 0)
			return false;
		if (left < step)
			step = (int)left;
	}
	nap = (struct timespec){ step / 1000, step % 1000 * 1000000L };
	ppoll(&pollfd, 1, &nap, NULL);
	patience->step_ms = 2 * step < STEP_MAX_MS ? 2 * step : STEP_MAX_MS;
	return true;
}

static int address_init(struct sockaddr_un *address, const char *path)
{
	size_t length;

	if (!path)
		path = secure_getenv(NR_SOCKET_ENV);
	if (!path || !*path)
		path = NR_SOCKET_DEFAULT;
	length = strlen(path);
	if (length >= sizeof(address->sun_path))
		return -EINVAL;
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	memcpy(address->sun_path, path, length);
	return 0;
}

/*
 * Non-blocking: connect() to a full backlog would wait without a limit; like
 * this it says EAGAIN, and we have one. Refused may be who has looked at the
 * path just before the next engine's socket was there: so it looks again.
 */
static int connect_until(int fd, const struct sockaddr_un *address,
			 int64_t deadline)
{
	bool was_refused = false;

	while (connect(fd, (const struct sockaddr *)address,
		       sizeof(*address))) {
		int err = errno;

		if (err == ECONNREFUSED && !was_refused) {
			was_refused = true;
			continue;
		}
		if (err == ENOENT)
			return -ECONNREFUSED;
		if (err != EAGAIN && err != EINTR)
			return -err;
		if (dial_clock_ms() >= deadline)
			return -ETIMEDOUT;
		if (err == EAGAIN)
			dial_sleep_ms(BACKLOG_STEP_MS);
	}
	return 0;
}

int dial_connect(const char *path)
{
	struct sockaddr_un address;
	int err = address_init(&address, path);
	int fd;

	if (err)
		return err;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	err = connect_until(fd, &address, dial_clock_ms() + ANSWER_MS);
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

bool dial_again(int err)
{
	return err == -EPIPE || err == -ECONNRESET;
}

int dial_ask(int socket, const struct nr_msg *msg)
{
	int err = wire_send(socket, msg, NULL, 0);

	/* it hung up on us: why is in the answer that is queued */
	if (err == -EPIPE || err == -ECONNRESET)
		return 0;
	return err;
}

static int read_error(const struct wire_msg *answer, const struct words *words)
{
	struct nr_msg_error error;

	memcpy(&error, answer->bytes, sizeof(error));
	error.text[NR_TEXT_MAX - 1] = '\0';
	if (words && words->text && words->size) {
		size_t length = strlen(error.text);

		if (length >= words->size)
			length = words->size - 1;
		memcpy(words->text, error.text, length);
		words->text[length] = '\0';
	}
	if (error.msg.major != NR_ABI_MAJOR)
		return -EPROTONOSUPPORT;
	if (error.code == 0 || error.code > ERRNO_MAX)
		return -EPROTO;
	return -(int)error.code;
}

static int judge(struct wire_msg *answer, const struct words *words)
{
	int err = 0;

	if (answer->msg.type == NR_MSG_ERROR)
		err = read_error(answer, words);
	else if (answer->msg.major != NR_ABI_MAJOR)
		err = -EPROTONOSUPPORT;
	if (err)
		wire_close_fds(answer);
	return err;
}

static int wait_readable(int socket, int64_t deadline)
{
	struct pollfd fd = { .fd = socket, .events = POLLIN };

	for (;;) {
		int64_t left = deadline - dial_clock_ms();
		struct timespec timeout = { left / 1000,
					    left % 1000 * 1000000 };
		int n;

		if (left <= 0)
			return -ETIMEDOUT;
		n = ppoll(&fd, 1, &timeout, NULL);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

int dial_answer(int socket, struct wire_msg *answer, const struct words *words)
{
	int64_t deadline = dial_clock_ms() + ANSWER_MS;
	bool was_reset = false;
	int err;

	do {
		int r = wire_recv(socket, answer);

		if (r == 1) {
			if (answer->msg.type != NR_MSG_BELL)
				return judge(answer, words);
			wire_close_fds(answer);
		} else if (r == 0) {
			return -EPIPE;
		} else if (r == -ECONNRESET) {
			/* said once; what was queued before it comes next */
			if (was_reset)
				return -EPIPE;
			was_reset = true;
		} else if (r != -EAGAIN) {
			return r;
		}
		err = wait_readable(socket, deadline);
	} while (!err);
	return err;
}
