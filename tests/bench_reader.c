/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Consumers: each a process that reads every packet, from netring or from
 * something plain. All do the same with a packet, and sleep when there is none.
 */
#include <errno.h>
#include <grp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <netring.h>

#include "bench_reader.h"

#define NOBODY 65534

/* ----------------------------------------------------------------- netring */

static void drop_privilege(void)
{
	if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
	    setresuid(NOBODY, NOBODY, NOBODY))
		bench_die("cannot become nobody: %s", strerror(errno));
}

static struct nr_capture *attach(const struct reader_options *options)
{
	struct nr_open_options open = NR_OPEN_OPTIONS_INIT;
	char text[NR_TEXT_MAX] = "";
	struct nr_capture *capture;
	int err;

	open.socket = BROKER_SOCKET;
	open.wait_ms = 10000;
	open.group = options->group;
	open.leases = options->leases;
	open.guarantee = options->guarantee;
	open.error_text = text;
	open.error_text_size = sizeof(text);
	err = nr_capture_open(options->channel ? options->channel : "lan",
			      &open, &capture);
	if (err)
		bench_die("attach: %s %s", nr_strerror(err), text);
	return capture;
}

/* The two cheapest things a consumer can do with a packet. */
static void walk(struct reading *r, const struct nr_batch *batch)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < batch->count; i++)
		sum += nr_batch_record(batch, i)->caplen;
	r->sum += sum;
	r->packets += batch->count;
}

static void touch(struct reading *r, const struct nr_batch *batch)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < batch->count; i++) {
		const struct nr_record *record = nr_batch_record(batch, i);
		const uint8_t *data = nr_batch_data(batch, record);

		if (data && record->caplen > 14)
			sum += data[12];
	}
	r->sum += sum;
	r->packets += batch->count;
}

static void look(struct reading *r, const struct nr_batch *batch)
{
	for (uint32_t i = 0; i < batch->count; i++) {
		const struct nr_record *record = nr_batch_record(batch, i);

		reading_look(r, nr_batch_data(batch, record), record->caplen);
	}
}

static void keep_longest(struct reading *r, const struct nr_batch *batch)
{
	uint64_t stamp = nr_batch_ts_first(batch), now;
	struct timespec time;

	if (!reading_is_open(r))
		return;
	clock_gettime(CLOCK_REALTIME, &time);
	now = (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
	if (now > stamp && now - stamp > r->longest_ns)
		r->longest_ns = now - stamp;
}

static void read_batch(struct reading *r, const struct nr_batch *batch)
{
	switch (r->options->look) {
	case LOOK_WALK:
		walk(r, batch);
		return;
	case LOOK_TOUCH:
		touch(r, batch);
		return;
	default:
		keep_longest(r, batch);
		look(r, batch);
	}
}

static void reader_netring(struct reading *r)
{
	struct nr_stats stats = NR_STATS_INIT;
	struct nr_capture *capture;
	struct nr_batch batch;
	int err;

	drop_privilege();
	capture = attach(r->options);
	reading_is_ready(r);
	while (!reading_is_stopped(r)) {
		err = nr_capture_recv(capture, &batch, LOOK_MS);
		if (err < 0)
			bench_die("a capture has ended: %s", nr_strerror(err));
		if (err == 0)
			continue;
		read_batch(r, &batch);
		nr_batch_release(&batch);
		reading_tell(r);
	}
	nr_capture_stats(capture, &stats);
	r->reader->lost = nr_stats_lost(&stats);
	nr_capture_close(capture);
}

/* ------------------------------------------------------------------- piped */

static void reader_piped(struct reading *r)
{
	const struct timeval pause = { .tv_usec = LOOK_MS * 1000 };
	int fd = r->options->wake_fd;
	uint32_t sent_ns;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &pause, sizeof(pause)))
		bench_die("setsockopt: %s", strerror(errno));
	reading_is_ready(r);
	while (!reading_is_stopped(r)) {
		if (recv(fd, &sent_ns, sizeof(sent_ns), 0) != sizeof(sent_ns))
			continue;
		reading_add_age(r, sent_ns);
		r->packets++;
		reading_tell(r);
	}
}

/* ------------------------------------------------------------ all of them */

static void check_alive(const struct readers *readers)
{
	for (unsigned i = 0; i < readers->count; i++) {
		pid_t pid = readers->reader[i].pid;

		if (pid && waitpid(pid, NULL, WNOHANG) == pid)
			bench_die("a reader has ended by itself");
	}
}

static void wait_ready(const struct readers *readers)
{
	uint64_t deadline = bench_now_ns() + UINT64_C(30000000000);

	for (unsigned i = 0; i < readers->count; i++) {
		while (!__atomic_load_n(&readers->reader[i].is_ready,
					__ATOMIC_ACQUIRE)) {
			check_alive(readers);
			if (bench_now_ns() > deadline)
				bench_die("a reader does not become ready");
			usleep(2000);
		}
	}
}

static void (*const kinds[])(struct reading *) = {
	[READER_RECV] = reader_recv,   [READER_RING] = reader_ring,
	[READER_PCAP] = reader_pcap,   [READER_XSK] = reader_xsk,
	[READER_PIPED] = reader_piped, [READER_NETRING] = reader_netring,
};

static struct readers *readers_new(const struct reader_options *options,
				   unsigned count)
{
	size_t ages = (size_t)options->samples * sizeof(uint32_t);
	size_t size = (count + 1) * (sizeof(struct reader) + ages);
	struct readers *readers = mmap(NULL, size, PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint32_t *at;

	if (readers == MAP_FAILED)
		bench_die("mmap: %s", strerror(errno));
	_Static_assert(sizeof(*readers) <= sizeof(struct reader), "one place");
	readers->size = size;
	readers->count = count;
	readers->reader = (struct reader *)(void *)readers + 1;
	at = (uint32_t *)(void *)(readers->reader + count);
	for (unsigned i = 0; i < count; i++)
		readers->reader[i].ages = at + (size_t)i * options->samples;
	return readers;
}

struct readers *readers_start(const struct reader_options *options,
			      unsigned count)
{
	struct readers *readers = readers_new(options, count);

	for (unsigned i = 0; i < count; i++) {
		struct reading reading = { .options = options,
					   .readers = readers,
					   .reader = &readers->reader[i] };
		pid_t pid = stage_fork(options->cpu);

		if (pid == 0) {
			kinds[options->kind](&reading);
			_exit(0);
		}
		reading.reader->pid = pid;
	}
	wait_ready(readers);
	return readers;
}

void readers_open(struct readers *readers, bool is_open)
{
	__atomic_store_n(&readers->is_open, is_open, __ATOMIC_RELAXED);
}

static uint64_t sum_of_packets(const struct readers *readers)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < readers->count; i++)
		sum += __atomic_load_n(&readers->reader[i].packets,
				       __ATOMIC_RELAXED);
	return sum;
}

void readers_drain(const struct readers *readers)
{
	uint64_t before = 0, now = sum_of_packets(readers);

	/* Longer than any ring holds a block back, and than a reader sleeps. */
	for (unsigned quiet = 0; quiet < 3;
	     quiet = now == before ? quiet + 1 : 0) {
		before = now;
		usleep(100000);
		now = sum_of_packets(readers);
	}
}

void readers_stop(struct readers *readers)
{
	check_alive(readers);
	__atomic_store_n(&readers->stop, 1, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < readers->count; i++)
		stage_reap(readers->reader[i].pid);
}

void readers_free(struct readers *readers)
{
	if (readers)
		munmap(readers, readers->size);
}
