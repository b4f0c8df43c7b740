/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A sensor to start from: each second a line for each of its captures, with
 * packets, bytes, flows, protocols and losses. It reads what it was left by
 *
 *	netring run lan,dns --user nobody -- netring-sensor
 *
 * where it can do nothing else, or attaches to the channels it is told, which
 * is good for trying: netring-sensor lan dns
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <netring.h>

#define CAPTURES_MAX 16
#define FLOWS_MAX (1u << 16) /* hashes kept a second; a power of two */
#define BATCHES_MAX 256
#define LINK_ETHERNET 1

enum { TCP, UDP, ICMP, OTHER, PROTOCOLS };

/* What one second has brought. */
struct second {
	uint64_t packets;
	uint64_t bytes;
	uint64_t flows;
	uint64_t lost;
	uint64_t protocols[PROTOCOLS];
	uint32_t seen[FLOWS_MAX]; /* flow hashes, open addressing; 0: free */
};

struct sensor {
	struct nr_capture *capture;
	bool is_over;
	struct second now;
};

static struct sensor sensors[CAPTURES_MAX];
static unsigned sensor_count;
static unsigned running;

/* ---------------------------------------------------------------- packets */

static uint16_t be16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

/* What is parsed is hostile: nothing is read but what caplen says is there. */
static unsigned protocol_of(const uint8_t *data, uint32_t caplen)
{
	uint32_t at = 12;
	unsigned number = 0;

	while (at + 4 <= caplen &&
	       (be16(data + at) == 0x8100 || be16(data + at) == 0x88a8))
		at += 4;
	if (at + 2 + 10 > caplen)
		return OTHER;
	if (be16(data + at) == 0x0800)
		number = data[at + 2 + 9];
	else if (be16(data + at) == 0x86dd)
		number = data[at + 2 + 6]; /* of an extension header: other */
	switch (number) {
	case 1:
	case 58:
		return ICMP;
	case 6:
		return TCP;
	case 17:
		return UDP;
	default:
		return OTHER;
	}
}

/* Two flows of one hash count once, and what a full table has no room for not.
 */
static void flow_count(struct second *second, uint32_t hash)
{
	uint32_t at = hash % FLOWS_MAX;

	hash = hash ? hash : 1;
	if (second->flows == FLOWS_MAX / 2)
		return;
	while (second->seen[at] && second->seen[at] != hash)
		at = (at + 1) % FLOWS_MAX;
	if (!second->seen[at])
		second->flows++;
	second->seen[at] = hash;
}

static void batch_count(struct second *second, const struct nr_batch *batch)
{
	second->lost += batch->gap;
	for (uint32_t i = 0; i < batch->count; i++) {
		const struct nr_record *record = nr_batch_record(batch, i);
		const uint8_t *data = nr_batch_data(batch, record);

		if (!data)
			continue;
		second->packets++;
		second->bytes += record->wirelen;
		flow_count(second, record->flow_hash);
		second->protocols[batch->link_type == LINK_ETHERNET ?
					  protocol_of(data, record->caplen) :
					  OTHER]++;
	}
}

/* A line a second, written at once: somebody may be waiting for it. */
static void second_print(struct sensor *sensor)
{
	struct second *s = &sensor->now;

	printf("%s: %" PRIu64 " packets, %" PRIu64 " bytes, %" PRIu64
	       " flows, tcp %" PRIu64 ", udp %" PRIu64 ", icmp %" PRIu64
	       ", other %" PRIu64 ", lost %" PRIu64 "\n",
	       nr_capture_channel(sensor->capture), s->packets, s->bytes,
	       s->flows, s->protocols[TCP], s->protocols[UDP],
	       s->protocols[ICMP], s->protocols[OTHER], s->lost);
	memset(s, 0, sizeof(*s));
	if (fflush(stdout))
		exit(1);
}

/* --------------------------------------------------------------- captures */

static void sensor_add(const char *name, int err)
{
	if (err) {
		fprintf(stderr, "netring-sensor: %s: %s\n", name,
			nr_strerror(err));
		exit(1);
	}
	sensor_count++;
	running++;
}

static void sensors_open(char **channels)
{
	for (; *channels && sensor_count < CAPTURES_MAX; channels++)
		sensor_add(*channels,
			   nr_capture_open(*channels, NULL,
					   &sensors[sensor_count].capture));
}

/* NETRING_CAPTURE, NETRING_CAPTURE_2 ... */
static void sensors_inherit(void)
{
	char name[64] = NR_CAPTURE_ENV;
	const char *spec = getenv(name);

	while (spec && sensor_count < CAPTURES_MAX) {
		sensor_add(name, nr_capture_open_inherited(
					 spec, &sensors[sensor_count].capture));
		snprintf(name, sizeof(name), NR_CAPTURE_ENV "_%u",
			 sensor_count + 1);
		spec = getenv(name);
	}
}

/*
 * Takes what is there, but not for ever. Returns 1 if there is more, 0 after it
 * asked to be woken when there is, or why there will be no more.
 */
static int sensor_read(struct sensor *sensor)
{
	struct nr_batch batch;
	int r = 1;

	for (unsigned i = 0; i < BATCHES_MAX && r > 0; i++) {
		r = nr_capture_next(sensor->capture, &batch);
		if (r <= 0)
			break;
		batch_count(&sensor->now, &batch);
		nr_batch_release(&batch);
	}
	return r ? r : nr_capture_arm(sensor->capture);
}

/* Returns 0, or 1 after a message if it did not end as files do. */
static int sensor_end(struct sensor *sensor, int err)
{
	second_print(sensor);
	sensor->is_over = true;
	running--;
	if (err == -ENODATA || err == -ESHUTDOWN)
		return 0;
	fprintf(stderr, "netring-sensor: %s: %s\n",
		nr_capture_channel(sensor->capture), nr_strerror(err));
	return 1;
}

static int64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Reads all, and waits for more until @until_ms. Returns as sensor_end(). */
static int sensors_read(int64_t until_ms)
{
	struct pollfd fds[CAPTURES_MAX];
	int status = 0, busy = 0;
	int64_t left;

	for (unsigned i = 0; i < sensor_count; i++) {
		struct sensor *sensor = &sensors[i];
		int r = sensor->is_over ? 0 : sensor_read(sensor);

		if (r < 0)
			status |= sensor_end(sensor, r);
		else
			busy |= r;
		/* poll() passes over what is negative */
		fds[i].fd = nr_capture_fd(sensor->capture);
		if (sensor->is_over)
			fds[i].fd = -1;
		fds[i].events = POLLIN;
	}
	left = until_ms - clock_ms();
	if (running && !busy && left > 0)
		poll(fds, sensor_count, (int)left);
	return status;
}

static int sensors_run(void)
{
	int64_t next = clock_ms() + 1000;
	int status = 0;

	while (running) {
		status |= sensors_read(next);
		if (clock_ms() < next)
			continue;
		next += 1000;
		for (unsigned i = 0; i < sensor_count; i++)
			if (!sensors[i].is_over)
				second_print(&sensors[i]);
	}
	return status;
}

int main(int argc, char **argv)
{
	int status;

	if (argc > 1)
		sensors_open(argv + 1);
	else
		sensors_inherit();
	if (!sensor_count) {
		fprintf(stderr,
			"Usage: netring-sensor CHANNEL...\n"
			"   or: netring run CHANNEL[,...] -- netring-sensor\n");
		return 2;
	}
	status = sensors_run();
	for (unsigned i = 0; i < sensor_count; i++)
		nr_capture_close(sensors[i].capture);
	return status;
}
