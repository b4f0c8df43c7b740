/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Everything waits for a condition: a packet that was sent has arrived when
 * the source has counted it, and was delivered when the answer to that
 * question has come, for the lanes publish before they answer.
 */
#include "live.h"

#include <criterion/criterion.h>

#include <arpa/inet.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WAIT_MS 20000

/* ----------------------------------------------------------------- takers */

void taker_open(struct taker *taker, const char *channel,
		unsigned lane_plus_one)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	char text[NR_TEXT_MAX] = "";
	int err;

	memset(taker, 0, sizeof(*taker));
	options.lane_plus_one = lane_plus_one;
	options.error_text = text;
	options.error_text_size = sizeof(text);
	err = nr_capture_open(channel, &options, &taker->capture);
	cr_assert(err == 0, "%s: %s (%s)", channel, nr_strerror(err), text);
}

void taker_close(struct taker *taker)
{
	nr_capture_close(taker->capture);
	for (size_t i = 0; i < taker->count; i++)
		free(taker->packets[i].bytes);
	free(taker->packets);
	memset(taker, 0, sizeof(*taker));
}

static void keep(struct taker *taker, const struct nr_batch *batch,
		 uint32_t index)
{
	const struct nr_record *record = nr_batch_record(batch, index);
	const uint8_t *bytes = nr_batch_data(batch, record);
	struct taken *taken;

	cr_assert(bytes, "a record that points nowhere");
	if (taker->count == taker->room) {
		taker->room = taker->room ? 2 * taker->room : 1024;
		taker->packets =
			realloc(taker->packets, taker->room * sizeof(*taken));
		cr_assert(taker->packets);
	}
	taken = &taker->packets[taker->count++];
	taken->record = *record;
	taken->link_type = batch->link_type;
	taken->lane = batch->lane;
	/* malloc: so that AddressSanitizer knows where they end */
	taken->bytes = malloc(record->caplen ? record->caplen : 1);
	cr_assert(taken->bytes);
	memcpy(taken->bytes, bytes, record->caplen);
}

static void take_batch(struct taker *taker, struct nr_batch *batch)
{
	taker->gaps += batch->gap;
	for (uint32_t i = 0; i < batch->count; i++)
		keep(taker, batch, i);
	nr_batch_release(batch);
}

size_t taker_take(struct taker *taker)
{
	struct nr_batch batch;
	int err;

	while ((err = nr_capture_next(taker->capture, &batch)) > 0)
		take_batch(taker, &batch);
	cr_assert(err == 0, "%s", nr_strerror(err));
	return taker->count;
}

void taker_wait(struct taker *taker, size_t count)
{
	struct nr_batch batch;
	int err;

	while (taker->count < count) {
		err = nr_capture_recv(taker->capture, &batch, WAIT_MS);
		cr_assert(err > 0, "%zu of %zu packets, then: %s", taker->count,
			  count, err ? nr_strerror(err) : "nothing");
		take_batch(taker, &batch);
	}
}

/* ------------------------------------------------------------------ broker */

void live_network(struct live *live)
{
	memset(live, 0, sizeof(*live));
	network_make(&live->network);
	network_enter(&live->network);
	cr_assert(traffic_open(&live->traffic, live->network.outside) == 0);
}

void live_broker(struct live *live, const char *config, ...)
{
	char text[4096];
	va_list args;
	int length;

	va_start(args, config);
	length = vsnprintf(text, sizeof(text), config, args);
	va_end(args);
	cr_assert(length > 0 && length < (int)sizeof(text));
	broker_start(&live->broker, live->network.netns, "%s", text);
}

void live_stop(struct live *live)
{
	if (live->broker.pid)
		broker_stop(&live->broker);
	traffic_close(live->traffic);
}

struct live_counts live_count(void)
{
	static struct broker_stat stat;
	struct live_counts counts = { 0 };

	broker_read_stat(&stat, NULL);
	for (unsigned i = 0; i < stat.sources; i++) {
		const struct nr_msg_source *source = &stat.source[i];

		counts.captured += source->captured;
		counts.drops += source->kernel_drops;
		counts.state_mask |= UINT64_C(1) << source->state;
		counts.ring_bytes += source->ring_bytes;
	}
	return counts;
}

static bool has_captured(void *packets)
{
	uint64_t captured = live_count().captured;

	cr_assert(captured <= *(uint64_t *)packets,
		  "captured %llu, sent only %llu", (unsigned long long)captured,
		  (unsigned long long)*(uint64_t *)packets);
	return captured == *(uint64_t *)packets;
}

void live_settle(struct taker *takers, unsigned count, uint64_t packets)
{
	cr_assert(wait_until(has_captured, &packets, WAIT_MS),
		  "of %llu packets sent, captured %llu",
		  (unsigned long long)packets,
		  (unsigned long long)live_count().captured);
	for (unsigned i = 0; i < count; i++) {
		taker_take(&takers[i]);
		cr_assert(takers[i].gaps == 0, "the test reads too slowly");
	}
}

int live_tap(const char *interface)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)if_nametoindex(interface),
	};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&address,
				  sizeof(address)) == 0,
		  "%s: %s", interface, strerror(errno));
	return fd;
}

unsigned live_tap_got(int tap)
{
	uint8_t bytes[2048];
	unsigned count = 0;
	uint64_t seq;
	ssize_t n;

	while ((n = recv(tap, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		count += traffic_seq(bytes, (size_t)n, &seq);
	return count;
}

uint32_t live_program(const char *interface)
{
	struct bpf_xdp_query_opts query = { .sz = sizeof(query) };
	int index = (int)if_nametoindex(interface);

	cr_assert(index > 0 && bpf_xdp_query(index, 0, &query) == 0, "%s: %s",
		  interface, strerror(errno));
	return query.prog_id	 ? query.prog_id :
	       query.drv_prog_id ? query.drv_prog_id :
				   query.skb_prog_id;
}

int live_socket(const struct live *live)
{
	int pidfd = (int)syscall(SYS_pidfd_open, live->broker.pid, 0);

	for (int n = 3; n < 256; n++) {
		int fd = (int)syscall(SYS_pidfd_getfd, pidfd, n, 0);
		int domain = 0;
		socklen_t length = sizeof(domain);

		if (fd < 0)
			continue;
		if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) ==
			    0 &&
		    domain == AF_PACKET)
			return fd;
		close(fd);
	}
	cr_assert_fail("the broker has no AF_PACKET socket");
	return -1;
}

/* ----------------------------------------------------------------- sending */

void send_through(const char *interface, const void *bytes, size_t length)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_ifindex = (int)if_nametoindex(interface),
	};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	cr_assert(fd >= 0 && address.sll_ifindex, "%s: %s", interface,
		  strerror(errno));
	cr_assert(sendto(fd, bytes, length, 0, (struct sockaddr *)&address,
			 sizeof(address)) == (ssize_t)length,
		  "%s: %s", interface, strerror(errno));
	close(fd);
}

void stay_on_cpu(unsigned index)
{
	cpu_set_t all, one;

	CPU_ZERO(&one);
	if (sched_getaffinity(0, sizeof(all), &all))
		return;
	index %= (unsigned)CPU_COUNT(&all);
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &all) && index-- == 0)
			CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

static int send_frames(void *data)
{
	struct stream_of_frames *frames = data;
	struct traffic_plan plan = {
		.describe = frames->describe,
		.first_seq = frames->first_seq,
		.rate = frames->rate,
		.stop = &frames->shared->must_stop,
	};
	struct traffic *traffic;
	uint64_t sent;

	if (frames->cpu >= 0)
		stay_on_cpu((unsigned)frames->cpu);
	while (!frames->shared->must_stop) {
		if (traffic_open(&traffic, frames->interface)) {
			sleep_ms(1);
			continue;
		}
		/* An error: the interface has gone. */
		traffic_send(traffic, &plan, &sent);
		plan.first_seq += sent;
		frames->shared->sent += sent;
		traffic_close(traffic);
	}
	return 0;
}

void frames_start(struct stream_of_frames *frames)
{
	frames->shared = shared_memory(sizeof(*frames->shared));
	frames->pid = child_start(0, send_frames, frames);
}

uint64_t frames_stop(struct stream_of_frames *frames)
{
	frames->shared->must_stop = 1;
	cr_assert(child_wait(frames->pid) == 0);
	return frames->shared->sent;
}
