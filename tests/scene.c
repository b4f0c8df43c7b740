/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The honest consumer is the judge: whatever an attacker does, it gets each
 * packet, whole, in order, in time.
 */
#include "scene.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define FRAME_MAX 1400u
#define HEADERS 42u

static uint8_t frames[SCENE_PACKETS][FRAME_MAX];

uint64_t scene_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ----------------------------------------------------------------- traffic */

static uint32_t frame_size(uint32_t number)
{
	return SCENE_HEAD + 16 + number * 7919u % (FRAME_MAX - SCENE_HEAD - 16);
}

/* Ethernet, IPv4, UDP, the number, and marks all through. */
static void make_frame(uint32_t number)
{
	static const char mark[] = SCENE_MARK;
	uint32_t size = frame_size(number), ip = size - 14, udp = size - 34;
	uint8_t *frame = frames[number];
	const uint8_t headers[HEADERS] = {
		2,
		0,
		0,
		0,
		0,
		1,
		2,
		0,
		0,
		0,
		0,
		2,
		8,
		0,
		0x45,
		0,
		(uint8_t)(ip >> 8),
		(uint8_t)ip,
		0,
		0,
		0,
		0,
		64,
		17,
		0,
		0,
		10,
		0,
		0,
		1,
		10,
		0,
		0,
		2,
		(uint8_t)(number >> 8),
		(uint8_t)number,
		0,
		9,
		(uint8_t)(udp >> 8),
		(uint8_t)udp,
		0,
		0,
	};

	memcpy(frame, headers, HEADERS);
	memset(frame + HEADERS, 'h', SCENE_HEAD - HEADERS);
	memcpy(frame + HEADERS, &number, sizeof(number));
	for (uint32_t i = SCENE_HEAD; i < size; i++)
		frame[i] = (uint8_t)mark[(i - SCENE_HEAD) % (sizeof(mark) - 1)];
}

void scene_write_trace(const char *path)
{
	const uint32_t header[6] = { 0xa1b2c3d4, 2 | 4 << 16, 0, 0, 65535, 1 };
	FILE *file = fopen(path, "we");

	cr_assert(file, "%s: %s", path, strerror(errno));
	fwrite(header, sizeof(header), 1, file);
	for (uint32_t i = 0; i < SCENE_PACKETS; i++) {
		uint32_t size = frame_size(i);
		const uint32_t record[4] = { 1700000000, i, size, size };

		make_frame(i);
		fwrite(record, sizeof(record), 1, file);
		fwrite(frames[i], size, 1, file);
	}
	cr_assert_eq(fclose(file), 0);
}

/* ------------------------------------------------------ the honest consumer */

bool honest_check_trace(struct honest *honest, const struct nr_batch *batch,
			uint32_t index)
{
	const struct nr_record *record = nr_batch_record(batch, index);
	const uint8_t *data = nr_batch_data(batch, record);
	uint32_t n;

	if (!data || record->caplen < SCENE_HEAD)
		return false;
	memcpy(&n, data + HEADERS, sizeof(n));
	if (n >= SCENE_PACKETS ||
	    (honest->next != UINT64_MAX && n != honest->next) ||
	    record->wirelen != frame_size(n) ||
	    record->caplen > record->wirelen ||
	    (record->caplen < record->wirelen) !=
		    ((record->flags & NR_TRUNCATED) != 0) ||
	    memcmp(data, frames[n], record->caplen) != 0)
		return false;
	honest->next = (n + 1) % SCENE_PACKETS;
	return true;
}

static void note_stall(struct honest *honest, uint64_t from, uint64_t to)
{
	uint64_t before = __atomic_load_n(&honest->stall_ns, __ATOMIC_RELAXED);

	if (to - from > before)
		__atomic_store_n(&honest->stall_ns, to - from,
				 __ATOMIC_RELAXED);
	if (honest->stalled)
		honest->stalled(from, to);
}

static int honest_read(struct honest *honest, struct nr_capture *capture)
{
	uint64_t last = scene_now_ns(), now;
	struct nr_batch batch;
	int r;

	while (!__atomic_load_n(&honest->must_stop, __ATOMIC_ACQUIRE)) {
		r = nr_capture_recv(capture, &batch, 100);
		if (r < 0)
			return r;
		now = scene_now_ns();
		if (honest->delivered)
			note_stall(honest, last, now);
		if (r == 0)
			continue;
		last = now;
		for (uint32_t i = 0; i < batch.count; i++)
			if (!honest->check(honest, &batch, i))
				honest->is_wrong++;
		honest->lost += batch.gap;
		__atomic_add_fetch(&honest->delivered, batch.count,
				   __ATOMIC_RELEASE);
		nr_batch_release(&batch);
	}
	return 0;
}

static int honest_main(void *data)
{
	struct honest *honest = data;
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	char text[NR_TEXT_MAX] = "";
	struct nr_stats stats = { .size = sizeof(stats) };
	struct nr_capture *capture;

	options.leases = 64;
	options.guarantee = honest->guarantee;
	options.group = honest->group;
	options.follow = honest->follows;
	options.error_text = text;
	options.error_text_size = sizeof(text);
	honest->result = nr_capture_open(honest->channel, &options, &capture);
	if (honest->result) {
		fprintf(stderr, "the honest one: %s: %s\n",
			nr_strerror(honest->result), text);
		return 1;
	}
	__atomic_store_n(&honest->is_ready, 1, __ATOMIC_RELEASE);
	honest->result = honest_read(honest, capture);
	nr_capture_stats(capture, &stats);
	honest->lost += nr_stats_lost(&stats);
	nr_capture_close(capture);
	return honest->result ? 1 : 0;
}

struct honest *honest_new(const char *channel, uid_t uid)
{
	struct honest *honest = shared_memory(sizeof(*honest));

	honest->channel = channel;
	honest->uid = uid;
	/* Enough that its own delays on a busy machine are no loss. */
	honest->guarantee = 12;
	honest->check = honest_check_trace;
	honest->next = UINT64_MAX;
	return honest;
}

void honest_start(struct honest *honest)
{
	honest->pid = child_start(honest->uid, honest_main, honest);
	if (honest->is_urgent)
		process_be_urgent(honest->pid);
	eventually(__atomic_load_n(&honest->is_ready, __ATOMIC_ACQUIRE));
}

void honest_stop(struct honest *honest)
{
	__atomic_store_n(&honest->must_stop, 1, __ATOMIC_RELEASE);
	cr_assert_eq(child_wait(honest->pid), 0, "the honest one: %s",
		     nr_strerror(honest->result));
	cr_assert_eq(honest->lost, 0, "the honest one lost %llu of %llu",
		     (unsigned long long)honest->lost,
		     (unsigned long long)honest->delivered);
	cr_assert_eq(honest->is_wrong, 0, "%u packets were not as sent",
		     honest->is_wrong);
}

double scene_stall_ms(struct scene *scene)
{
	return (double)__atomic_exchange_n(&scene->honest->stall_ns, 0,
					   __ATOMIC_RELAXED) /
	       1e6;
}

/* ---------------------------------------------------------------- the scene */

void scene_start(struct scene *scene, const char *config)
{
	const char *trace = test_path("scene.pcap");
	const char *path = test_path("scene.conf");
	FILE *file;

	need_root();
	memset(scene, 0, sizeof(*scene));
	scene_write_trace(trace);
	file = fopen(path, "we");
	cr_assert(file, "%s: %s", path, strerror(errno));
	fprintf(file,
		"[broker]\n%s\n"
		"[source scene]\nbackend = replay\nfile = %s\nrate = %d\n"
		"loop = yes\n"
		"[channel all]\nsource = scene\nallow = everyone\n"
		"[channel none]\nsource = scene\nallow = everyone\n"
		"filter = udp and tcp\n"
		"[channel short]\nsource = scene\nallow = everyone\n"
		"snaplen = %d\n"
		"[channel closed]\nsource = scene\nallow = user:root\n",
		config ? config : "", trace, SCENE_RATE, SCENE_HEAD);
	cr_assert_eq(fclose(file), 0);
	broker_start_args(&scene->broker, NULL, "-c", path, NULL);
	scene->engine = broker_engine(&scene->broker);
	scene->honest = honest_new("all", HONEST_UID);
	honest_start(scene->honest);
	eventually(
		__atomic_load_n(&scene->honest->delivered, __ATOMIC_ACQUIRE));
	scene_stall_ms(scene);
}

void scene_end(struct scene *scene)
{
	struct honest *honest = scene->honest;
	uint64_t delivered =
		__atomic_load_n(&honest->delivered, __ATOMIC_ACQUIRE);

	/* It still gets packets, from the engine that it attached to. */
	eventually(__atomic_load_n(&honest->delivered, __ATOMIC_ACQUIRE) >
		   delivered + SCENE_RATE / 10);
	honest_stop(honest);
	cr_assert_eq(broker_engine(&scene->broker), scene->engine);
	broker_stop(&scene->broker);
}

/* ------------------------------------------------------------ the attackers */

struct nr_capture *scene_open(const char *channel)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	struct nr_capture *capture;
	char text[NR_TEXT_MAX] = "";
	int err;

	options.error_text = text;
	options.error_text_size = sizeof(text);
	err = nr_capture_open(channel, &options, &capture);
	if (!err)
		return capture;
	fprintf(stderr, "open %s: %s: %s\n", channel, nr_strerror(err), text);
	return NULL;
}

int raw_connect(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *path = getenv(NR_SOCKET_ENV);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd >= 0 &&
	    connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		close(fd);
		return -1;
	}
	return fd;
}

int raw_send(int socket, uint32_t type, size_t length)
{
	union {
		struct nr_msg msg;
		char bytes[NR_MSG_MAX];
	} buffer = { .bytes = "" };

	wire_init(&buffer.msg, type, length, 1);
	return wire_send(socket, &buffer.msg, NULL, 0);
}

int raw_attach(int socket, const char *channel)
{
	struct nr_msg_attach attach = { .lane = NR_ALL_LANES };

	snprintf(attach.channel, sizeof(attach.channel), "%s", channel);
	wire_init(&attach.msg, NR_MSG_ATTACH, sizeof(attach), 1);
	return wire_send(socket, &attach.msg, NULL, 0);
}

bool raw_ends(int socket, int ms)
{
	/* Not POLLIN: it may have left us something to read. */
	struct pollfd fd = { .fd = socket, .events = POLLRDHUP };

	return poll(&fd, 1, ms) == 1;
}

bool send_with_fd(int socket, const void *bytes, size_t size, int fd)
{
	struct iovec iov = { (void *)(uintptr_t)bytes, size };
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(fd))];
	} control = { .header = { .cmsg_len = CMSG_LEN(sizeof(fd)),
				  .cmsg_level = SOL_SOCKET,
				  .cmsg_type = SCM_RIGHTS } };
	const struct msghdr msg = { .msg_iov = &iov,
				    .msg_iovlen = 1,
				    .msg_control = control.bytes,
				    .msg_controllen = sizeof(control.bytes) };

	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	return sendmsg(socket, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) ==
	       (ssize_t)size;
}
