/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Consumers against the lane: what they write into their return pages, how
 * they hold what they were lent, how they let themselves be woken, what they
 * do to pages that the lane writes. The honest consumer loses nothing, and
 * its longest time without a packet stays within STALL_MAX_MS.
 *
 * That bound is generous on purpose: attackers may use all the CPU that the
 * scheduler gives them, on two CPUs under a sanitizer, and that alone delays
 * an honest process by tens of ms. The attacks it is about were seen to stall a
 * broker without defences for 500 to 1800 ms, and each of them goes on for
 * longer than a second.
 */
#include "scene.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <netring/ring.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define STALL_MAX_MS 400

static struct scene scene;

/*
 * Runs attackers for as long as they take, and says what it did to others.
 * They run at the lowest priority: whom the CPU belongs to is the scheduler's
 * to say, not ours.
 */
static void attack_and_measure(const char *what, int (*body)(void *),
			       void *data, unsigned processes)
{
	unsigned long cpu_ms = process_cpu_ms(scene.engine);
	uint64_t start = scene_now_ns();
	double stall_ms, took_ms;

	scene_stall_ms(&scene);
	attack(body, data, processes);
	took_ms = (double)(scene_now_ns() - start) / 1e6;
	stall_ms = scene_stall_ms(&scene);
	fprintf(stderr, "%s: longest stall %.1f ms; engine %lu ms of %.0f\n",
		what, stall_ms, process_cpu_ms(scene.engine) - cpu_ms, took_ms);
	cr_assert_lt(stall_ms, STALL_MAX_MS, "%s", what);
}

static void be_of_low_priority(void)
{
	const struct sched_param param = { 0 };

	sched_setscheduler(0, SCHED_IDLE, &param);
}

static bool is_before(uint64_t end)
{
	return scene_now_ns() < end;
}

static uint64_t in_ms(uint64_t ms)
{
	return scene_now_ns() + ms * 1000000;
}

/* -------------------------------------------------------------------- pages */

static void advise_all(const struct lane *lane, int advice)
{
	madvise((void *)(uintptr_t)lane->arena, lane->arena_size, advice);
	madvise(lane->ring_map, lane->ring_map_size, advice);
}

/* Whatever of it exists; what it returns is its own affair. */
static int move_pages_about(void *data)
{
	static const int advices[] = { MADV_COLLAPSE, MADV_PAGEOUT,
				       MADV_COLD,     MADV_NOHUGEPAGE,
				       MADV_HUGEPAGE, MADV_DONTNEED,
				       MADV_WILLNEED, MADV_MERGEABLE,
				       MADV_RANDOM };
	struct nr_capture *capture = scene_open("all");
	const struct lane *lane;
	uint64_t end = in_ms(1500);
	void *whole;

	(void)data;
	must(capture);
	be_of_low_priority();
	lane = &capture->lanes[0];
	/* The ring's file is longer than the slice: huge pages need it all. */
	whole = mmap(NULL, (size_t)2 << 20, PROT_READ, MAP_SHARED,
		     lane->ring_fd, 0);
	while (is_before(end))
		for (size_t i = 0; i < sizeof(advices) / sizeof(*advices);
		     i++) {
			advise_all(lane, advices[i]);
			madvise(whole, (size_t)2 << 20, advices[i]);
			(void)!mlock(lane->arena, NR_PAGE * 16);
			munlock(lane->arena, NR_PAGE * 16);
			/* Split what is mapped huge. */
			mprotect((void *)(uintptr_t)(lane->arena + NR_PAGE),
				 NR_PAGE, PROT_NONE);
			mprotect((void *)(uintptr_t)(lane->arena + NR_PAGE),
				 NR_PAGE, PROT_READ);
		}
	return 0;
}

static int burn_cpu(void *data)
{
	uint64_t end = in_ms(1500);

	(void)data;
	must(scene_open("all"));
	be_of_low_priority();
	while (is_before(end))
		getppid();
	return 0;
}

Test(attacks, moving_pages_that_a_lane_writes_does_not_hold_it_up)
{
	scene_start(&scene, NULL);
	attack_and_measure("burning CPU, for comparison", burn_cpu, NULL, 3);
	attack_and_measure("collapse and pageout", move_pages_about, NULL, 3);
	scene_end(&scene);
}

/* ----------------------------------------------------------------- releases */

static uint64_t lease_of(const struct nr_capture *capture,
			 const struct nr_batch *batch)
{
	return capture->lanes[0].held[batch->lease_slot].lease;
}

/* Reads until it holds @count blocks, or there are no more; how many it has. */
static int hold(struct nr_capture *capture, struct nr_batch *held, int count)
{
	int n = 0;

	while (n < count && nr_capture_recv(capture, &held[n], 2000) == 1)
		if (n && lease_of(capture, &held[n]) ==
				 lease_of(capture, &held[n - 1]))
			nr_batch_release(&held[n]);
		else
			n++;
	return n;
}

/* Each gets a capture with two leases held besides the open one. */
static void forge(struct nr_capture *capture, struct nr_batch *held, int number)
{
	struct lane *lane = &capture->lanes[0];
	struct nr_return *page = lane->page;
	uint64_t first = lease_of(capture, &held[0]);
	uint64_t second = lease_of(capture, &held[1]);

	switch (number) {
	case 0: /* forged */
		nr_return_give(page, lane->given, 0xdead0007);
		break;
	case 1: /* beyond the table */
		nr_return_give(page, lane->given, first | 0xffff);
		break;
	case 2: /* doubled */
		nr_return_give(page, lane->given, first);
		nr_return_give(page, lane->given + 1, first);
		break;
	case 3: /* of an older generation */
		nr_return_give(page, lane->given, second - (1 << 16));
		break;
	case 4: /* flooded */
		for (uint64_t i = 0; i < 1000; i++)
			nr_return_give(page, lane->given + i, first);
		break;
	case 5: /* a head far off */
		__atomic_store_n(&page->head, UINT64_MAX / 2, __ATOMIC_RELEASE);
		break;
	case 6: /* a head that goes back */
		__atomic_store_n(&page->head, lane->given - 1,
				 __ATOMIC_RELEASE);
		break;
	default: /* all of the page */
		for (size_t i = 0; i < sizeof(*page) / 8; i++)
			__atomic_store_n((uint64_t *)page + i,
					 (i + 1) * 0x10001, __ATOMIC_RELAXED);
	}
}

#define FORGERIES 8

/* The channel goes on; what has ended counts no further, and adds up. */
static int adds_up_at_its_end(struct nr_capture *capture)
{
	struct nr_stats stats = { .size = sizeof(stats) };

	sleep_ms(20);
	must(nr_capture_stats(capture, &stats) == 0);
	must(stats.counts_shown && stats.seen > 0);
	must(stats.seen == stats.delivered + nr_stats_lost(&stats));
	return 0;
}

static int forge_releases(void *data)
{
	struct nr_batch held[2], batch;
	int r;

	(void)data;
	for (int i = 0; i < FORGERIES; i++) {
		struct nr_capture *capture = scene_open("all");

		must(capture);
		must(hold(capture, held, 2) == 2);
		forge(capture, held, i);
		while ((r = nr_capture_recv(capture, &batch, 5000)) == 1)
			continue; /* gives nothing back any more */
		must(r == -EPROTO || r == -EPIPE);
		must(adds_up_at_its_end(capture) == 0);
		nr_capture_close(capture);
	}
	return 0;
}

static int release_in_any_order(void *data)
{
	struct nr_capture *capture = scene_open("all");
	struct nr_batch held[12];
	unsigned seed = 1;

	(void)data;
	must(capture);
	for (int round = 0; round < 4; round++) {
		int n = hold(capture, held, 12);

		must(n == 12);
		while (n) {
			int i = rand_r(&seed) % n;

			nr_batch_release(&held[i]);
			held[i] = held[--n];
		}
	}
	nr_capture_close(capture);
	return 0;
}

Test(attacks, false_releases_end_the_capture_that_makes_them)
{
	static struct broker_stat stat;

	scene_start(&scene, NULL);
	attack_and_measure("false releases", forge_releases, NULL, 1);
	eventually(broker_said_times(&scene.broker, "evicted: it released") ==
		   FORGERIES);
	cr_assert(broker_said(&scene.broker, "uid 12345"));
	/* In any order they are right. */
	attack_and_measure("releases in any order", release_in_any_order, NULL,
			   1);
	cr_assert_eq(broker_said_times(&scene.broker, "evicted"), FORGERIES);
	/* All blocks are where they were: the honest one has two, or three. */
	broker_read_stat(&stat, "all");
	cr_assert_eq(stat.captures, 1);
	cr_assert_geq(stat.channel_lane[0].blocks_free + 4,
		      stat.channel_lane[0].blocks);
	scene_end(&scene);
}

/* Stops with all it can have; is killed then. */
static int hold_everything(void *data)
{
	struct nr_open_options options = NR_OPEN_OPTIONS_INIT;
	static struct nr_batch held[256];
	struct nr_capture *capture;

	options.leases = 256;
	must(nr_capture_open("all", &options, &capture) == 0);
	__atomic_store_n((int *)data, hold(capture, held, 256),
			 __ATOMIC_RELEASE);
	raise(SIGSTOP);
	return 1;
}

Test(attacks, who_holds_all_blocks_and_stops_starves_nobody)
{
	static struct broker_stat stat;
	int *holds = shared_memory(NR_PAGE);
	double stall_ms;
	pid_t pid;

	scene_start(&scene, NULL);
	pid = child_start(ATTACKER_UID, hold_everything, holds);
	/* 129 blocks of 256 KiB at 7.5 MB/s take some 5 s. */
	eventually(__atomic_load_n(holds, __ATOMIC_ACQUIRE) > 100);
	broker_read_stat(&stat, "all");
	cr_assert_eq(stat.channel_lane[0].pool_used, stat.channel_lane[0].pool,
		     "it has not the whole pool");
	scene_stall_ms(&scene);
	sleep_ms(1000);
	stall_ms = scene_stall_ms(&scene);
	fprintf(stderr, "all leases held: longest stall %.1f ms\n", stall_ms);
	cr_assert_lt(stall_ms, STALL_MAX_MS);
	kill(pid, SIGKILL);
	cr_assert_eq(child_wait(pid), 256 + SIGKILL);
	/* What it held is free again. */
	do {
		broker_read_stat(&stat, "all");
	} while (stat.captures > 1);
	cr_assert_leq(stat.channel_lane[0].pool_used, 4);
	scene_end(&scene);
}

/* ----------------------------------------------------------------- doorbell */

static int arm_in_a_loop(void *data)
{
	struct nr_capture *capture = scene_open("all");
	uint64_t end = in_ms(1500);

	must(capture);
	be_of_low_priority();
	/* The bells pile up, and nobody's description blocks the lane. */
	must(fcntl(capture->socket, F_SETFL, 0) == 0);
	while (is_before(end)) {
		nr_return_arm(capture->lanes[0].page);
		if (data)
			(void)recv(capture->socket, &(struct nr_msg){ 0 },
				   sizeof(struct nr_msg), MSG_DONTWAIT);
	}
	return 0;
}

Test(attacks, ringing_without_end_delays_nobody)
{
	scene_start(&scene, NULL);
	attack_and_measure("bells never read", arm_in_a_loop, NULL, 3);
	attack_and_measure("bells read at once", arm_in_a_loop, &scene, 3);
	scene_end(&scene);
}

struct pollers {
	struct nr_capture *capture;
	uint64_t end;
};

/* Sleeps apart from that, so as to cost the lane's time and not the CPU's. */
static void *poll_it(void *data)
{
	const struct pollers *pollers = data;
	struct pollfd fd = { .fd = pollers->capture->socket, .events = POLLIN };

	while (is_before(pollers->end) && !(fd.revents & POLLHUP)) {
		poll(&fd, 1, 100);
		usleep(2000);
	}
	return NULL;
}

/* Returns when it has been ended, or has not been in all that time. */
static void arm_now_and_then(struct nr_capture *capture, uint64_t end)
{
	struct nr_msg bell;
	ssize_t n = 1;

	while (n != 0 && is_before(end)) {
		do {
			n = recv(capture->socket, &bell, sizeof(bell),
				 MSG_DONTWAIT);
		} while (n > 0);
		nr_return_arm(capture->lanes[0].page);
		usleep(4000);
	}
}

static int poll_with_many_threads(void *data)
{
	struct pollers pollers = { scene_open("all"), in_ms(2000) };
	pthread_attr_t attr;
	pthread_t thread;

	(void)data;
	must(pollers.capture);
	be_of_low_priority();
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 65536);
	for (int i = 0; i < 200; i++)
		must(pthread_create(&thread, &attr, poll_it, &pollers) == 0);
	arm_now_and_then(pollers.capture, pollers.end);
	fflush(NULL);
	_exit(0); /* the threads with it */
}

Test(attacks, many_threads_that_poll_one_connection_delay_nobody)
{
	scene_start(&scene, NULL);
	attack_and_measure("200 threads", poll_with_many_threads, NULL, 1);
	fprintf(stderr, "evicted: %u\n",
		broker_said_times(&scene.broker, "makes its doorbell slow"));
	scene_end(&scene);
}

/*
 * The same without threads: epolls, each with hundreds of duplicates of the
 * connection, are called one after the other by one ring. The lane learns what
 * a ring costs by ringing, so the first one costs what it costs (some 0.3 us a
 * watcher, and a user has fs.epoll.max_user_watches of them).
 */
#define WATCHERS 64000
#define DUPLICATES 500

static int watch_with_many_epolls(void *data)
{
	struct nr_capture *capture = scene_open("all");
	const struct rlimit limit = { 4096, 4096 };
	int fds[DUPLICATES];

	(void)data;
	must(capture);
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	for (int i = 0; i < DUPLICATES; i++)
		must((fds[i] = dup(capture->socket)) >= 0);
	for (int n = 0; n < WATCHERS; n += DUPLICATES) {
		struct epoll_event event = { .events = EPOLLIN | EPOLLET };
		int epoll = epoll_create1(0);

		must(epoll >= 0);
		for (int i = 0; i < DUPLICATES; i++)
			must(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event) ==
			     0);
	}
	arm_now_and_then(capture, in_ms(5000));
	return 0;
}

Test(attacks, many_epolls_that_watch_one_connection_delay_nobody)
{
	scene_start(&scene, NULL);
	attack_and_measure("64000 watchers", watch_with_many_epolls, NULL, 1);
	eventually(broker_said(&scene.broker, "makes its doorbell slow"));
	scene_end(&scene);
}
