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

static void write_trace(const char *path)
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

/* Returns false if it is not the packet that follows @number. */
static bool check_packet(const struct nr_batch *batch, uint32_t index,
			 uint32_t *number)
{
	const struct nr_record *record = nr_batch_record(batch, index);
	const uint8_t *data = nr_batch_data(batch, record);
	uint32_t n;

	if (!data || record->caplen < SCENE_HEAD)
		return false;
	memcpy(&n, data + HEADERS, sizeof(n));
	if (n >= SCENE_PACKETS ||
	    (*number != UINT32_MAX && n != (*number + 1) % SCENE_PACKETS) ||
	    record->caplen != frame_size(n) ||
	    memcmp(data, frames[n], record->caplen) != 0)
		return false;
	*number = n;
	return true;
}

static void note_stall(struct honest *honest, uint64_t ns)
{
	uint64_t before = __atomic_load_n(&honest->stall_ns, __ATOMIC_RELAXED);

	if (ns > before)
		__atomic_store_n(&honest->stall_ns, ns, __ATOMIC_RELAXED);
}

static int honest_read(struct honest *honest, struct nr_capture *capture)
{
	uint64_t last = scene_now_ns(), now;
	uint32_t number = UINT32_MAX;
	struct nr_batch batch;
	int r;

	while (!__atomic_load_n(&honest->must_stop, __ATOMIC_ACQUIRE)) {
		r = nr_capture_recv(capture, &batch, 100);
		if (r < 0)
			return r;
		now = scene_now_ns();
		note_stall(honest, now - last);
		if (r == 0)
			continue;
		last = now;
		for (uint32_t i = 0; i < batch.count; i++)
			if (!check_packet(&batch, i, &number))
				honest->is_wrong++;
		honest->lost += batch.gap;
		__atomic_add_fetch(&honest->delivered, batch.count,
				   __ATOMIC_RELEASE);
		nr_batch_release(&batch);
		__atomic_store_n(&honest->is_ready, 1, __ATOMIC_RELEASE);
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

	/* Enough that its own delays on a busy machine are no loss. */
	options.leases = 64;
	options.guarantee = 12;
	options.error_text = text;
	options.error_text_size = sizeof(text);
	honest->result = nr_capture_open("all", &options, &capture);
	if (honest->result) {
		fprintf(stderr, "the honest one: %s: %s\n",
			nr_strerror(honest->result), text);
		return 1;
	}
	honest->result = honest_read(honest, capture);
	nr_capture_stats(capture, &stats);
	honest->lost += nr_stats_lost(&stats);
	nr_capture_close(capture);
	return honest->result ? 1 : 0;
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
	write_trace(trace);
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
	scene->honest = shared_memory(sizeof(*scene->honest));
	scene->honest->pid =
		child_start(HONEST_UID, honest_main, scene->honest);
	eventually(__atomic_load_n(&scene->honest->is_ready, __ATOMIC_ACQUIRE));
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
	__atomic_store_n(&honest->must_stop, 1, __ATOMIC_RELEASE);
	cr_assert_eq(child_wait(honest->pid), 0, "the honest one: %s",
		     nr_strerror(honest->result));
	cr_assert_eq(honest->lost, 0, "the honest one lost %llu of %llu",
		     (unsigned long long)honest->lost,
		     (unsigned long long)honest->delivered);
	cr_assert_eq(honest->is_wrong, 0, "%u packets were not as sent",
		     honest->is_wrong);
	cr_assert_eq(broker_engine(&scene->broker), scene->engine);
	broker_stop(&scene->broker);
}

/* ------------------------------------------------------------ the attackers */

void attack(int (*body)(void *data), void *data, unsigned processes)
{
	pid_t pids[64];

	cr_assert_leq(processes, 64);
	for (unsigned i = 0; i < processes; i++)
		pids[i] = child_start(ATTACKER_UID, body, data);
	for (unsigned i = 0; i < processes; i++)
		cr_assert_eq(child_wait(pids[i]), 0,
			     "an attacker says it is not as it must be");
}

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
