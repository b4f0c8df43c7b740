/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One lane and several captures at full speed, the broker's code on one side
 * and the library's on the other: every packet is what it must be, sequence
 * numbers and gaps add up, and whoever sleeps is woken. First as processes, as
 * in life, with arena and ring mapped from what the broker hands out,
 * read-only; then as threads on one mapping, where ThreadSanitizer sees a race.
 *
 * A lost wake-up shows when nothing comes after it: again and again the lane
 * stops until every capture has read all that it may. One capture is hostile:
 * it writes what it likes into its return page, all the time.
 *
 * Usage: stress_ring [--processes | --threads] [--seconds N]
 *        (without: both; default 5 of each)
 */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../client/capture.h"

#include "arena.h"
#include "region.h"
#include "stream.h"

#define CONSUMERS 6
#define HELD_MAX 8
#define SIZE_MAX_BYTES 1500u
#define BYTES 65536u
#define STUCK_S 20

enum state { RUNNING, LEAVING, OVER };

/* How a consumer behaves. */
struct manner {
	uint32_t leases;
	uint32_t guarantee;
	uint32_t budget;
	uint32_t hold;	    /* batches kept back, at most */
	uint32_t pause_us;  /* a nap now and then */
	uint32_t leave_one; /* detaches once in so many batches; 0: never */
	bool is_hostile;    /* reads nothing, writes anything */
};

static const struct manner manners[CONSUMERS] = {
	{ .leases = 64, .guarantee = 2, .budget = 62, .hold = 0 },
	{ .leases = 64, .guarantee = 2, .budget = 62, .hold = 6 },
	{ .leases = 4, .guarantee = 1, .budget = 2, .hold = 2 },
	{ .leases = 3,
	  .guarantee = 2,
	  .budget = 1,
	  .hold = 1,
	  .pause_us = 300 },
	{ .leases = 256,
	  .guarantee = 1,
	  .budget = 255,
	  .hold = 3,
	  .pause_us = 20,
	  .leave_one = 100 },
	{ .leases = 16,
	  .guarantee = 1,
	  .budget = 15,
	  .pause_us = 50,
	  .is_hostile = true },
};

/* All of it in memory that processes share. */
struct consumer {
	const struct manner *manner;
	uint64_t random;

	/* the lane's */
	struct subscription sub;
	struct region region;
	struct nr_ring *ring; /* in that */
	struct nr_return *page;
	int sockets[2]; /* the lane's end, the consumer's */

	/* the consumer's, set up by the lane while it is away */
	struct nr_capture capture;
	struct lane lane;
	uint64_t gap;
	uint64_t batches;
	uint64_t sleeps;

	/* between them */
	uint32_t state;
	uint64_t delivered; /* records read since it came */
};

struct world {
	struct arena *arena;
	struct stream stream;
	struct consumer *consumers;
	uint8_t bytes[BYTES];
};

static struct world world;
static uint64_t lane_random = 88172645463325252u;

__attribute__((format(printf, 1, 2), noreturn)) static void
fail(const char *format, ...)
{
	char text[256];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text, sizeof(text) - 1, format, args);
	va_end(args);
	text[n++] = '\n';
	(void)!write(STDERR_FILENO, text, (size_t)n);
	_exit(1);
}

static uint32_t below(uint64_t *state, uint32_t n)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (uint32_t)((*state >> 32) * n >> 32);
}

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void nap(uint32_t us)
{
	struct timespec pause = { 0, us * 1000L };

	if (us)
		nanosleep(&pause, NULL);
}

/* Any packet is a function of its number. */
static struct packet packet_of(uint64_t seq)
{
	uint64_t x = seq * UINT64_C(0xff51afd7ed558ccd);

	x ^= x >> 33;
	return (struct packet){
		.data = world.bytes + x % (BYTES - SIZE_MAX_BYTES),
		.ts_ns = x,
		.caplen = (uint32_t)(x >> 20) % SIZE_MAX_BYTES,
		.wirelen = SIZE_MAX_BYTES,
		.flow_hash = (uint32_t)seq,
	};
}

/* ------------------------------------------------------------ the consumer */

static void check_batch(const struct nr_batch *batch)
{
	for (uint32_t i = 0; i < batch->count; i++) {
		const struct nr_record *record = nr_batch_record(batch, i);
		struct packet packet = packet_of(batch->seq + i);
		const uint8_t *data = nr_batch_data(batch, record);

		if (!data || record->ts_ns != packet.ts_ns ||
		    record->caplen != packet.caplen ||
		    record->wirelen != packet.wirelen ||
		    record->flow_hash != packet.flow_hash ||
		    record->flags != NR_TRUNCATED ||
		    memcmp(data, packet.data, packet.caplen) != 0)
			fail("record %llu is not what was sent",
			     (unsigned long long)(batch->seq + i));
	}
}

/* At the end: what the library says is what was seen. */
static void check_stats(struct consumer *consumer, uint64_t delivered)
{
	struct nr_stats stats = { .size = sizeof(stats) };
	uint64_t end = NR_END_SEQ(nr_ring_end_word(consumer->ring));
	uint64_t tail = end - consumer->lane.next_seq;

	nr_capture_stats(&consumer->capture, &stats);
	if (stats.delivered != delivered ||
	    nr_stats_lost(&stats) != consumer->gap + tail ||
	    delivered + consumer->gap + tail != end - consumer->lane.base_seq)
		fail("read %llu, gaps %llu, tail %llu; told %llu and %llu",
		     (unsigned long long)delivered,
		     (unsigned long long)consumer->gap,
		     (unsigned long long)tail,
		     (unsigned long long)stats.delivered,
		     (unsigned long long)nr_stats_lost(&stats));
}

/* Until the end, or until it leaves. Returns false at the end. */
static bool consume(struct consumer *consumer)
{
	const struct manner *manner = consumer->manner;
	struct nr_batch held[HELD_MAX], batch;
	struct nr_stats stats = { .size = sizeof(stats) };
	uint64_t delivered = 0, next = consumer->lane.base_seq;
	uint32_t holds = 0;
	int r;

	while ((r = nr_capture_recv(&consumer->capture, &batch,
				    2 * STUCK_S * 1000)) == 1) {
		if (batch.seq != next + batch.gap)
			fail("a jump from %llu to %llu with a gap of %llu",
			     (unsigned long long)next,
			     (unsigned long long)batch.seq,
			     (unsigned long long)batch.gap);
		check_batch(&batch);
		next = batch.seq + batch.count;
		consumer->gap += batch.gap;
		delivered += batch.count;
		consumer->batches++;
		held[holds++] = batch;
		while (holds > manner->hold) {
			uint32_t i = below(&consumer->random, holds);

			nr_batch_release(&held[i]);
			held[i] = held[--holds];
		}
		__atomic_store_n(&consumer->delivered, delivered,
				 __ATOMIC_RELEASE);
		if (below(&consumer->random, 8) == 0) {
			nap(manner->pause_us);
			nr_capture_stats(&consumer->capture, &stats);
		}
		if (manner->leave_one &&
		    below(&consumer->random, manner->leave_one) == 0)
			return true;
	}
	if (r != -ENODATA)
		fail("recv says %s", r ? strerror(-r) : "nothing came");
	while (holds)
		nr_batch_release(&held[--holds]);
	check_stats(consumer, delivered);
	return false;
}

static enum state state_of(const struct consumer *consumer)
{
	return __atomic_load_n(&consumer->state, __ATOMIC_ACQUIRE);
}

static void set_state(struct consumer *consumer, enum state state)
{
	__atomic_store_n(&consumer->state, (uint32_t)state, __ATOMIC_RELEASE);
}

/* A lease that it holds, or held, or not; near enough to be right at times. */
static uint64_t some_lease(uint64_t *random)
{
	if (below(random, 4) == 0)
		return *random;
	return (uint64_t)below(random, 4) << 16 | below(random, 4);
}

/* Until the end, or until it leaves. Returns false at the end. */
static bool scribble(struct consumer *consumer)
{
	uint64_t *random = &consumer->random;
	struct nr_return *page = consumer->page;
	uint32_t rounds = below(random, 500);

	while (rounds--) {
		uint64_t head = nr_return_head(page);

		if (nr_ring_end_word(consumer->ring))
			return false;
		nr_return_give(page,
			       below(random, 50) ? head + below(random, 2) - 1 :
						   *random,
			       some_lease(random));
		if (below(random, 4) == 0)
			nr_return_arm(page);
		if (below(random, 8) == 0)
			nap(consumer->manner->pause_us);
	}
	return true;
}

static bool live(struct consumer *consumer)
{
	return consumer->manner->is_hostile ? scribble(consumer) :
					      consume(consumer);
}

static void *consumer_main(void *arg)
{
	struct consumer *consumer = arg;

	while (live(consumer)) {
		set_state(consumer, LEAVING);
		while (state_of(consumer) == LEAVING)
			nap(20);
	}
	set_state(consumer, OVER);
	return NULL;
}

/* ---------------------------------------------------------------- the lane */

/* What attach.c leaves behind, on the lane's own mapping. */
static void make_capture(struct consumer *consumer)
{
	const struct arena *arena = world.arena;
	struct lane *lane = &consumer->lane;
	int break_fd = consumer->capture.break_fd;

	*lane = (struct lane){
		.ring = consumer->ring,
		.slots = (const uint8_t *)(consumer->ring + 1),
		.slot_count = consumer->ring->slots,
		.slot_stride = sizeof(struct nr_descriptor),
		.base_seq = consumer->ring->base_seq,
		.next_seq = consumer->ring->base_seq,
		.arena = arena->region.base,
		.arena_size = arena->region.size,
		.region = arena->region.base,
		.region_size = arena->region.size,
		.arena_id = arena->id,
		.block_size = arena->block_size,
		.block_count = arena->header->block_count,
		.block_offset = arena->header->block_offset,
		.block_capacity = arena->block_size / sizeof(struct nr_record),
		.record_offset = sizeof(struct nr_block),
		.record_stride = sizeof(struct nr_record),
		.stream = world.stream.shared,
		.page = consumer->page,
		.free_count = consumer->ring->slots,
	};
	for (uint32_t i = 0; i < lane->free_count; i++)
		lane->free[i] = (uint16_t)i;
	consumer->capture = (struct nr_capture){
		.lanes = lane,
		.lane_count = 1,
		.socket = consumer->sockets[1],
		.break_fd = break_fd,
	};
}

static void attach(struct consumer *consumer)
{
	const struct manner *manner = consumer->manner;

	memset(consumer->ring, 0, NR_RING_SIZE);
	memset(consumer->page, 0, sizeof(*consumer->page));
	memset(&consumer->sub, 0, sizeof(consumer->sub));
	consumer->sub.bell = consumer->sockets[0];
	subscription_init(&consumer->sub, consumer->ring, consumer->page,
			  manner->leases, manner->guarantee, manner->budget);
	if (!stream_add(&world.stream, &consumer->sub, 1))
		fail("an attach is refused");
	make_capture(consumer);
	consumer->gap = 0;
	consumer->delivered = 0;
	set_state(consumer, RUNNING);
}

static void burst(uint32_t count)
{
	stream_collect(&world.stream);
	for (uint32_t i = 0; i < count; i++) {
		struct packet packet = packet_of(stream_seq(&world.stream));

		stream_append_one(&world.stream, &packet);
	}
	stream_publish(&world.stream);
	stream_ring(&world.stream);
}

static uint64_t evicted; /* the hostile one, when it broke the rules */

/* Those who have left come back. */
static void reattach(void)
{
	for (int c = 0; c < CONSUMERS; c++) {
		struct consumer *consumer = &world.consumers[c];

		if (consumer->sub.offence && !consumer->manner->is_hostile)
			fail("consumer %d %s", c, consumer->sub.offence);
		if (state_of(consumer) != LEAVING)
			continue;
		evicted += consumer->sub.offence != NULL;
		stream_remove(&world.stream, &consumer->sub);
		attach(consumer);
	}
}

/* Whether it has read all it may; also one that is on its way out. */
static bool is_done(const struct consumer *consumer)
{
	uint64_t delivered =
		__atomic_load_n(&consumer->delivered, __ATOMIC_ACQUIRE);
	uint64_t published = stream_published_seq(&world.stream);

	return state_of(consumer) != RUNNING || consumer->manner->is_hostile ||
	       delivered + subscription_lost(&consumer->sub) ==
		       published - consumer->ring->base_seq;
}

/* Nothing more comes until all have read everything: nobody sleeps on. */
static void quiet(void)
{
	double deadline = now_s() + STUCK_S;

	for (int c = 0; c < CONSUMERS; c++)
		while (!is_done(&world.consumers[c])) {
			if (now_s() > deadline)
				fail("consumer %d sleeps, or has lost count",
				     c);
			sched_yield();
		}
}

static void check_nothing_held(void)
{
	const struct admission *admission = &world.arena->admission;

	if (admission->free_count != admission->block_count ||
	    admission->promised || admission->pool_used)
		fail("%u of %u blocks are free when all have left",
		     admission->free_count, admission->block_count);
}

static void end_all(void)
{
	for (int c = 0; c < CONSUMERS; c++)
		subscription_end(&world.consumers[c].sub, NR_END_SOURCE);
	stream_ring(&world.stream);
}

/* The lane's life: bursts of all sizes, silences, then the end. */
static void produce(double seconds)
{
	double end = now_s() + seconds, deadline;
	uint64_t silences = 0;

	while (now_s() < end) {
		/* A while of one packet and silence, a while of storms. */
		bool is_trickle = below(&lane_random, 2);
		uint32_t rounds = 1 + below(&lane_random, 200);

		while (rounds--) {
			burst(1 + below(&lane_random, is_trickle ? 2 : 64));
			reattach();
			if (!is_trickle && below(&lane_random, 50))
				continue;
			quiet();
			silences++;
		}
	}
	end_all();
	deadline = now_s() + STUCK_S;
	for (int c = 0; c < CONSUMERS; c++)
		while (state_of(&world.consumers[c]) != OVER) {
			if (now_s() > deadline)
				fail("consumer %d sleeps over the end", c);
			if (state_of(&world.consumers[c]) == LEAVING) {
				reattach();
				end_all();
			}
			nap(100);
		}
	printf("  %llu records, %llu silences, %llu offences\n",
	       (unsigned long long)stream_published_seq(&world.stream),
	       (unsigned long long)silences, (unsigned long long)evicted);
}

static void report(void)
{
	for (int c = 0; c < CONSUMERS; c++) {
		struct consumer *consumer = &world.consumers[c];

		printf("  consumer %d: %llu batches, %llu bells, "
		       "lost %llu in %llu refusals\n",
		       c, (unsigned long long)consumer->batches,
		       (unsigned long long)consumer->sub.bells,
		       (unsigned long long)subscription_lost(&consumer->sub),
		       (unsigned long long)consumer->sub.refusals);
		stream_remove(&world.stream, &consumer->sub);
	}
	check_nothing_held();
}

/* ------------------------------------------------------------------ set-up */

static void *shared(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		fail("no memory");
	return memory;
}

static void world_init(void)
{
	if (region_init() ||
	    arena_new(&world.arena, REGION_ALIGN, 32768, 50, true, true))
		fail("no arena");
	stream_init(&world.stream, world.arena, 0);
	world.consumers = shared(CONSUMERS * sizeof(*world.consumers));
	for (uint32_t i = 0; i < BYTES; i++)
		world.bytes[i] = (uint8_t)below(&lane_random, 256);
	for (int c = 0; c < CONSUMERS; c++) {
		struct consumer *consumer = &world.consumers[c];

		consumer->manner = &manners[c];
		consumer->random = 1000003u + (uint64_t)c;
		if (region_new(&consumer->region, "ring", REGION_ALIGN, true))
			fail("no ring");
		consumer->ring = (void *)consumer->region.base;
		consumer->page = shared(sizeof(struct nr_return));
		consumer->capture.break_fd = eventfd(0, EFD_NONBLOCK);
		if (consumer->capture.break_fd < 0 ||
		    socketpair(AF_UNIX, SOCK_SEQPACKET, 0, consumer->sockets))
			fail("no sockets");
		attach(consumer);
	}
}

static void world_deinit(void)
{
	for (int c = 0; c < CONSUMERS; c++) {
		struct consumer *consumer = &world.consumers[c];

		close(consumer->capture.break_fd);
		close(consumer->sockets[0]);
		close(consumer->sockets[1]);
		region_free(&consumer->region);
		munmap(consumer->page, sizeof(struct nr_return));
	}
	munmap(world.consumers, CONSUMERS * sizeof(*world.consumers));
	arena_free(world.arena);
}

/* In place of the lane's mapping: what is attached knows its address. */
static void map_what_is_handed_out(const struct region *region)
{
	if (mmap(region->base, region->size, PROT_READ, MAP_SHARED | MAP_FIXED,
		 region->fd, 0) != region->base)
		fail("cannot map what the broker hands out");
}

__attribute__((noreturn)) static void process_main(struct consumer *consumer)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	map_what_is_handed_out(&world.arena->region);
	map_what_is_handed_out(&consumer->region);
	consumer_main(consumer);
	_exit(0);
}

static void as_processes(double seconds)
{
	pid_t pids[CONSUMERS];
	int status;

	puts("processes:");
	fflush(stdout);
	world_init();
	for (int c = 0; c < CONSUMERS; c++) {
		pids[c] = fork();
		if (pids[c] == 0)
			process_main(&world.consumers[c]);
	}
	produce(seconds);
	for (int c = 0; c < CONSUMERS; c++)
		if (waitpid(pids[c], &status, 0) != pids[c] || status)
			fail("consumer %d has status %x", c, status);
	report();
	world_deinit();
}

static void as_threads(double seconds)
{
	pthread_t threads[CONSUMERS];

	puts("threads:");
	world_init();
	for (int c = 0; c < CONSUMERS; c++)
		if (pthread_create(&threads[c], NULL, consumer_main,
				   &world.consumers[c]))
			fail("no thread");
	produce(seconds);
	for (int c = 0; c < CONSUMERS; c++)
		pthread_join(threads[c], NULL);
	report();
	world_deinit();
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "processes", no_argument, NULL, 'p' },
		{ "threads", no_argument, NULL, 't' },
		{ "seconds", required_argument, NULL, 's' },
		{ NULL, 0, NULL, 0 },
	};
	bool processes = true, threads = true;
	double seconds = 5;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'p')
			threads = false;
		else if (option == 't')
			processes = false;
		else if (option == 's')
			seconds = atof(optarg);
		else
			return 2;
	}
	if (processes)
		as_processes(seconds);
	if (threads)
		as_threads(seconds);
	return 0;
}
